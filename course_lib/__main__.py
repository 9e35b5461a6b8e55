"""The command line: `python -m course_lib COMMAND ...` or, installed, `course COMMAND ...`.

Each command is a module (or any object) with `add_arguments(parser)` and `run(args) -> int`; it is imported
only when its command is given, so that help and mistakes answer at once. Errors that a person can do
something about end in one sentence; `--traceback` shows all of it.
"""
from __future__ import annotations

import argparse
import difflib
import importlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from course_lib import __version__

TRY_LESS_MEMORY = ("The memory was not enough. Try half the --batch-size (--accumulate 2 keeps the effective "
                   "batch), a smaller --image-size or a smaller --backbone, and close other programs that "
                   "use the GPU.")


@dataclass(frozen=True)
class Command:
    """One sub-command: its name, the line that the overview shows, and where its functions are."""

    name: str
    help: str
    where: str      # "package.module" or "package.module:object", with add_arguments and run

    def load(self):
        """Import the command. Only here, so that `--help` of the overview imports nothing."""
        module, _, name = self.where.partition(":")
        found = importlib.import_module(module)
        return getattr(found, name) if name else found


class Lab:
    """Open the lessons in JupyterLab, in your own copy of them; bring the copy up to date first."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("lesson", nargs="?", help="open this lesson, by number or name: 3, 03, vicreg")
        parser.add_argument("--workspace", metavar="FOLDER", help="where your copy is (default: "
                            "$COURSE_WORKSPACE, else my_lessons beside the course's lessons)")
        parser.add_argument("--port", type=int, help="port of the server (default: a free one)")
        parser.add_argument("--no-browser", action="store_true", help="only print the address")
        parser.epilog = "What follows a `--` goes to JupyterLab as it is."

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.workspace import open_lab
        return open_lab(args.workspace, args.port, not args.no_browser, args.rest, args.lesson)


class Lesson:
    """Run a lesson without a screen, top to bottom, and write it as HTML."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("lesson", help="number, name or notebook: 3, 03, vicreg, path/to/lesson.ipynb")
        parser.add_argument("--out", metavar="FILE.html", help="where to write (default: NAME.html here)")
        parser.add_argument("--mine", action="store_true", help="your own copy, as far as you have come")
        parser.add_argument("--solved", action="store_true", help="with the exercises solved by the library")
        parser.add_argument("--timeout", type=int, default=600, metavar="SECONDS",
                            help="for one cell (default: %(default)s)")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from course_lib.workspace import LessonFailed, render_lesson
        try:
            path = render_lesson(args.lesson, args.out, args.solved, args.mine, args.timeout)
        except LessonFailed as error:
            if args.traceback:
                raise
            print(f"The lesson stopped: {error}", file=sys.stderr)
            return 1
        print(f"Written: {path}")
        return 0


class Guide:
    """Print the facilitator's notes of a lesson as a one-page guide (Markdown)."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("lesson", help="number or name: 3, 03, vicreg")
        parser.add_argument("--out", metavar="FILE.md", help="write it there and print nothing")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        from pathlib import Path

        from course_lib.workspace import facilitator_guide, write_atomic
        text = facilitator_guide(args.lesson)
        if args.out:
            write_atomic(Path(args.out), text.encode("utf-8"))
        else:
            print(text)
        return 0


COMMANDS = (
    Command("lab", "open the lessons in JupyterLab", "course_lib.__main__:Lab"),
    Command("lesson", "run a lesson without a screen, write it as HTML", "course_lib.__main__:Lesson"),
    Command("guide", "print the facilitator's guide of a lesson", "course_lib.__main__:Guide"),
    Command("train", "train a method on images of your own, or on a known set", "course_lib.commands:train"),
    Command("evaluate", "measure a checkpoint, beside raw pixels and a random encoder",
            "course_lib.commands:evaluate"),
    Command("embed", "write the representation of every image to a file", "course_lib.commands:embed"),
    Command("export", "write the backbone as a plain state dict", "course_lib.commands:export"),
    Command("papers", "search the reading list", "course_lib.commands:papers"),
    Command("doctor", "check the environment; says how to mend what is wrong", "course_lib.doctor"),
)


def overview() -> argparse.ArgumentParser:
    """The parser of the commands' names alone."""
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


def _sentence(error: BaseException) -> str | None:
    """What to tell a person about `error`; None where it is a mistake of the course."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", text, re.I):
        return TRY_LESS_MEMORY
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
    """Run one command. Its exit code: 0 done, 1 done with failures, 2 a mistake explained, 130 stopped."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")             # a Windows console may lack a letter
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
    command = commands[own[0]]
    try:
        module = command.load()
        parser = argparse.ArgumentParser(
            prog=f"course {command.name}", description=module.__doc__ or command.help,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(parser)
        parser.add_argument("--traceback", action="store_true", help="show all of an error, for a bug report")
        args = parser.parse_args(own[1:])
        args.traceback, args.rest = traceback, rest
        if rest and command.name != "lab":
            parser.error(f"nothing may follow a `--` here, but there is: {' '.join(rest)}")
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
        sentence = None if traceback else _sentence(error)
        if sentence is None:
            raise
        print(f"{sentence}\n(--traceback shows where this came from)", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
