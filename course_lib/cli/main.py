"""The command line: `python -m course_lib COMMAND ...` or, installed, `course COMMAND ...`.

Each command is a module or object with `add_arguments(parser)` and `run(args) -> int`, imported only when needed, so
that help and typos answer at once. Errors that the user can fix end in one sentence; `--traceback` shows the rest.
"""
from __future__ import annotations

import argparse
import difflib
import importlib
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib import __version__

TRY_LESS_MEMORY = ("Out of memory. Close other programs, and try a smaller --image-size or --limit"
                   "{}. What was measured or trained before is kept.")
IN_TRAINING = ", a smaller --backbone, or half the --batch-size (--accumulate 2 keeps the effective batch)"


@dataclass(frozen=True)
class Command:
    """A sub-command: its name, its line in the overview, and where its functions are."""

    name: str
    help: str
    where: str      # "package.module" or "package.module:object", with add_arguments and run

    def load(self):
        """Import the command."""
        module, _, name = self.where.partition(":")
        found = importlib.import_module(module)
        return getattr(found, name) if name else found


class Lab:
    """Update your own copy of the lessons and open it in JupyterLab."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("lesson", nargs="?", help="open this lesson, by number or name: 3, 03, vicreg")
        parser.add_argument("--workspace", metavar="FOLDER", help="your copy (default: "
                            "$COURSE_WORKSPACE, else my_lessons next to lessons)")
        parser.add_argument("--port", type=int, help="the server's port (default: a free one)")
        parser.add_argument("--no-browser", action="store_true", help="only print the address")
        parser.epilog = "Arguments after `--` go to JupyterLab."

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.cli.workspace import open_lab
        return open_lab(args.workspace, args.port, not args.no_browser, args.rest, args.lesson)


class Lesson:
    """Run a lesson without a screen, top to bottom, and write it as HTML."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("lesson", help="number, name or notebook: 3, 03, vicreg, path/to/lesson.ipynb")
        parser.add_argument("--out", metavar="FILE.html", help="where to write (default: NAME.html here)")
        parser.add_argument("--mine", action="store_true", help="your own copy in its current state")
        parser.add_argument("--solved", action="store_true", help="with the exercises solved by the library")
        parser.add_argument("--timeout", type=int, default=600, metavar="SECONDS",
                            help="per cell (default: %(default)s)")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.cli.lessons import LessonFailed, render_lesson

        if args.timeout < 1:
            raise ValueError(f"--timeout is {args.timeout}; expected seconds, 1 or more")

        def say(line: str) -> None:
            print(line, flush=True)

        try:
            path = render_lesson(args.lesson, args.out, args.solved, args.mine, args.timeout, say)
        except LessonFailed as error:
            if args.traceback:
                raise
            print(f"The lesson stopped: {error}", file=sys.stderr)
            return 1
        print(f"Written: {path}")
        return 0


class Guide:
    """Print a lesson's facilitator notes as a one-page guide (Markdown)."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("lesson", help="number or name: 3, 03, vicreg")
        parser.add_argument("--out", metavar="FILE.md", help="write the guide to this file")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.cli.lessons import facilitator_guide
        from course_lib.files import write_text
        text = facilitator_guide(args.lesson)
        if args.out:
            write_text(Path(args.out).expanduser(), text)
        else:
            print(text)
        return 0


class Networks:
    """Make the learned networks that lessons look into: what is missing of them, and the table of all."""

    @staticmethod
    def plans():
        import course_lib.files
        sys.path.insert(0, str(course_lib.files.lessons_folder() / "grids"))  # its files import each other there
        return importlib.import_module("networks")

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        Networks.plans().add_arguments(parser)

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        return Networks.plans().run(args)


COMMANDS = (
    Command("lab", "open the lessons in JupyterLab", "course_lib.cli.main:Lab"),
    Command("lesson", "run a lesson without a screen, write it as HTML", "course_lib.cli.main:Lesson"),
    Command("guide", "print the facilitator's guide of a lesson", "course_lib.cli.main:Guide"),
    Command("train", "train a method on your own images or a public data set", "course_lib.cli.training:train"),
    Command("record", "train for five minutes on CIFAR-10 photographs, as well as it goes",
            "course_lib.cli.record:record"),
    Command("evaluate", "measure a checkpoint, next to raw pixels and a random encoder",
            "course_lib.cli.commands:evaluate"),
    Command("embed", "write the representation of every image to a file", "course_lib.cli.commands:embed"),
    Command("export", "write the backbone as a plain state dict, and how to use it", "course_lib.cli.commands:export"),
    Command("look", "show your own pictures as a trained network sees them, as HTML", "course_lib.cli.looking:look"),
    Command("cluster", "sort your own pictures into groups: a CSV and a picture sheet",
            "course_lib.cli.grouping:cluster"),
    Command("networks", "make the learned networks that lessons look into", "course_lib.cli.main:Networks"),
    Command("paths", "print ways through the course, and what a lesson needs", "course_lib.cli.paths:Paths"),
    Command("papers", "search the reading list", "course_lib.cli.commands:papers"),
    Command("doctor", "check the environment and say how to fix it", "course_lib.cli.doctor"),
)


def overview() -> argparse.ArgumentParser:
    """The parser for `course` without a command."""
    width = max(len(command.name) for command in COMMANDS)
    lines = "\n".join(f"  {command.name:<{width}}  {command.help}" for command in COMMANDS)
    parser = argparse.ArgumentParser(
        prog="course", usage="%(prog)s COMMAND [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Self-supervised learning for image representation: the course's commands.",
        epilog=f"commands:\n{lines}\n\n`course COMMAND --help` explains one. Start with: course lab")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("command", help=argparse.SUPPRESS)
    return parser


def _sentence(error: BaseException, command: str = "") -> str | None:
    """What to tell the user of `command` about `error`; None for a bug in the course."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", text, re.I):
        return TRY_LESS_MEMORY.format(IN_TRAINING if command == "train" else "")
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").split(".")[0]
        return (f"The package {error.name} is missing here. Run `python course.py setup`, or look with "
                "`python course.py doctor`.") if name != "course_lib" else \
            f"{text}: this command is not part of this version of the course."
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, FileNotFoundError) and error.strerror:
        return f"There is no file or folder {error.filename}."
    if isinstance(error, (ValueError, OSError, RuntimeError)):
        return text
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 done with failures, 2 user error, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")  # a Windows console may lack a letter
    own, rest = (words[:words.index("--")], words[words.index("--") + 1:]) if "--" in words else (words, [])
    traceback = "--traceback" in own
    own = [word for word in own if word != "--traceback"]
    top = overview()
    if not own:
        top.print_help()
        return 0
    commands = {command.name: command for command in COMMANDS}
    if own[0].startswith("-"):
        top.parse_args(own)
    if own[0] not in commands:
        near = difflib.get_close_matches(own[0], commands, 1)
        print(f"There is no command {own[0]!r}. " + (f"Did you mean {near[0]!r}? " if near else "")
              + f"The commands are: {', '.join(commands)}.", file=sys.stderr)
        return 2
    command, written = commands[own[0]], warnings.formatwarning
    try:
        warnings.formatwarning = _warning
        module = command.load()
        parser = argparse.ArgumentParser(
            prog=f"course {command.name}", description=module.__doc__ or command.help,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(parser)
        parser.add_argument("--traceback", action="store_true", help="show an error's traceback, for a bug report")
        args = parser.parse_args(own[1:])
        args.traceback, args.rest = traceback, rest
        if rest and command.name != "lab":
            parser.error(f"this command takes nothing after `--`, got: {' '.join(rest)}")
        return int(module.run(args) or 0)
    except KeyboardInterrupt:
        if traceback:
            raise
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:                                  # `course papers | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        sentence = None if traceback else _sentence(error, command.name)
        if sentence is None:
            raise
        print(f"{sentence}\n(--traceback shows where this came from)", file=sys.stderr)
        return 2
    finally:
        warnings.formatwarning = written


def _warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
             line: str | None = None) -> str:
    """A warning of the course is a sentence; others say where they come from, as Python writes them."""
    if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parents[1]):
        return f"{message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


if __name__ == "__main__":
    sys.exit(main())
