"""The learner's copy of the lessons: updated without touching their work, and opened in JupyterLab.

Learners work in `my_lessons/` (or $COURSE_WORKSPACE), never in `lessons/`, so that updates cannot conflict. A manifest
records each file's hash when it was copied, which tells who has changed what.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.cli.lessons import NO_JUPYTER, find_lesson, kernel_environment, list_lessons
from course_lib.cli.rewriting import with_answers, without_outcomes, write_updated_copies
from course_lib.files import lessons_folder, refusal, workspace_folder, write_bytes, write_text

MANIFEST = ".course-manifest.json"
NEWS = "UPDATES.md"     # what JupyterLab opens with, where there are copies to look at
REPLACED = ".replaced"  # earlier copies that the learner had only executed, and earlier NAME.new.ipynb


@dataclass
class SyncReport:
    """What `sync_lessons` did, in file names relative to the workspace."""

    copied: list[str] = field(default_factory=list)         # new to the learner
    updated: list[str] = field(default_factory=list)        # replaced; the learner had not changed them
    beside: list[tuple[str, str]] = field(default_factory=list)   # (the learner's, the new one)
    kept: list[str] = field(default_factory=list)           # changed by the learner only
    gone: list[str] = field(default_factory=list)           # no longer in the course; the copy stays
    moved: list[tuple[str, str]] = field(default_factory=list)    # (the learner's, a copy with today's imports)

    def lines(self) -> list[str]:
        """One sentence for each change that the learner should know about."""
        lines = []
        if self.copied:
            lines.append(f"New: {', '.join(self.copied)}.")
        if self.updated:
            lines.append(f"Updated, you had not changed them: {', '.join(self.updated)}.")
        lines += [f"{mine} has a newer version in the course, and you have changed yours: yours stays, "
                  f"the new one is beside it as {new}, with your right answers." for mine, new in self.beside]
        lines += [f"{name} is no longer in the course; your copy stays." for name in self.gone]
        lines += [f"{mine} imports from places that have moved: yours stays, a copy of it that imports from the new "
                  f"ones is beside it as {copy}." for mine, copy in self.moved]
        return lines


    def page(self) -> str:
        """`lines` about copies as Markdown with links, "" without any."""
        pairs = [*self.beside, *self.moved]
        links = "\n".join(f"- [{mine}]({mine}) and [{new}]({new})" for mine, new in pairs)
        said = "\n\n".join(line for line in self.lines() if "yours stays" in line)
        return f"# Lessons with a copy beside yours\n\n{said}\n\n{links}\n" if pairs else ""


# ---------------------------------------------------------------- the learner's copy


def content_hash(path: Path) -> str:
    """SHA-256 of what a person wrote: a notebook's cell types and sources, another file's bytes.

    Running a notebook changes outputs and metadata only, so an update loses no work.
    """
    raw = path.read_bytes()
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(raw)["cells"]
            parts = [(c["cell_type"], "".join(c["source"]), c.get("attachments")) for c in cells]
            raw = json.dumps(parts, sort_keys=True).encode()
        except (ValueError, KeyError, TypeError):
            pass                                             # not a readable notebook: hash the bytes
    return hashlib.sha256(raw).hexdigest()


def _read_manifest(workspace: Path) -> dict[str, str]:
    """{file: hash when copied}. An unreadable manifest counts as empty, so nothing is overwritten."""
    try:
        files = json.loads((workspace / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {str(name): str(value) for name, value in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _course_files(source: Path) -> list[str]:
    """The files to copy: notebooks and what lies next to them, without folders and code."""
    return sorted(path.name for path in source.iterdir()
                  if path.is_file() and path.suffix != ".py" and not path.name.startswith("."))


def sync_lessons(source: Path | None = None, workspace: str | Path | None = None) -> SyncReport:
    """Copy the lessons of `source` into `workspace` without ever overwriting the learner's changes.

    Changed by the course only: replaced (an executed copy is kept in `.replaced`). By the learner only: kept. By both:
    the new one goes next to it as `NAME.new.ipynb` (an earlier one is kept in `.replaced`), with their right answers,
    and UPDATES.md says so. Removed from the course: the copy stays. Deleted by the learner: copied again. Notebooks
    with outdated imports get `NAME.moved.ipynb`, the learner's own with new imports. Stored outcomes of guesses are
    not copied: a learner sees their own, after the guess.

    Raises FileNotFoundError without lessons, ValueError if `workspace` is `source` or cannot be written.
    """
    source = Path(source) if source else lessons_folder()
    if not source.is_dir():
        raise FileNotFoundError(f"There are no lessons at {source}.")
    workspace = workspace_folder(workspace)
    if workspace == source.resolve():
        raise ValueError(f"The workspace {workspace} is the course's own lessons folder; give another one.")
    if why := refusal(workspace):
        raise ValueError(f"Your copy of the lessons cannot be written into {workspace} ({why}): choose another folder "
                         "with --workspace FOLDER, or $COURSE_WORKSPACE.")
    workspace.mkdir(parents=True, exist_ok=True)
    manifest, report = _read_manifest(workspace), SyncReport()
    course = _course_files(source)
    for name in course:
        theirs, mine = source / name, workspace / name
        new, old, copy = content_hash(theirs), manifest.get(name), without_outcomes(theirs.read_bytes())
        if not mine.exists():
            write_bytes(mine, copy)
            report.copied.append(name)
        elif (now := content_hash(mine)) == new:
            pass                                             # already the same
        elif now == old:
            if mine.read_bytes() != copy:
                write_bytes(workspace / REPLACED / name, mine.read_bytes())
            write_bytes(mine, copy)
            report.updated.append(name)
        elif new == old:
            report.kept.append(name)
        else:
            beside = mine.with_name(f"{mine.stem}.new{mine.suffix}")
            if beside.exists():                              # of an earlier update: it may hold work too
                write_bytes(workspace / REPLACED / beside.name, beside.read_bytes())
            write_bytes(beside, with_answers(copy, _answers(workspace)))
            report.beside.append((name, beside.relative_to(workspace).as_posix()))
        manifest[name] = new
    for name in sorted(set(manifest) - set(course)):
        if (workspace / name).exists():
            report.gone.append(name)
        del manifest[name]                                   # reported once
    text = json.dumps({"about": "What the course copied here, so that updates spare your changes.",
                       "files": manifest}, indent=1, sort_keys=True)
    write_bytes(workspace / MANIFEST, text.encode())
    report.moved = write_updated_copies(workspace)
    if news := report.page():
        write_text(workspace / NEWS, news)
    return report


def _answers(workspace: Path) -> dict[str, str]:
    """The learner's right answers, exercise -> source; {} where none can be read."""
    try:
        entries = json.loads((workspace / "progress.json").read_text(encoding="utf-8"))["exercises"]
        return {key: str(entry.get("answer", "")) for key, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


# ---------------------------------------------------------------- JupyterLab


def lab_arguments(workspace: Path, port: int | None = None, browser: bool = True, start: str | None = None,
                  extra_args: Sequence[str] = ()) -> list[str]:
    """JupyterLab's arguments: loopback only, and no requests for news."""
    arguments = [f"--ServerApp.root_dir={workspace}", "--ServerApp.ip=127.0.0.1", "--LabApp.news_url=None"]
    if port is not None:
        arguments.append(f"--ServerApp.port={port}")
    if not browser:
        arguments.append("--no-browser")
    if start:
        arguments.append(f"--LabApp.default_url=/lab/tree/{start}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")                     # containers often have no other user
    return arguments + list(extra_args)


def open_lab(workspace: str | Path | None = None, port: int | None = None, browser: bool = True,
             extra_args: Sequence[str] = (), lesson: str | None = None) -> int:
    """Update the learner's copy, then run JupyterLab on it; returns its exit code."""
    folder = workspace_folder(workspace)
    first_time = not (folder / MANIFEST).exists()
    report = sync_lessons(workspace=folder)
    print("\n".join([f"Your lessons are in {folder}", *report.lines()]), flush=True)
    lessons = list_lessons(folder)
    start = lessons[0].name if first_time and lessons else None
    if lesson:
        start = find_lesson(lesson, folder).name
    if report.page() and start in (None, *(mine for mine, _ in [*report.beside, *report.moved])):
        start = NEWS
    try:
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        raise RuntimeError(NO_JUPYTER.format(error)) from error
    os.environ.update(kernel_environment(folder))
    LabApp.launch_instance(lab_arguments(folder, port, browser, start, extra_args))
    return 0
