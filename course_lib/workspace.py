"""The learner's copy of the lessons: kept up to date without touching what they wrote, opened, executed.

A learner works in `my_lessons/` (or $COURSE_WORKSPACE), never in `lessons/`, so that updates cannot conflict.
A manifest there remembers what each file was when it was copied; from it follows who changed what.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST = ".course-manifest.json"
REPLACED = ".replaced"                                      # older copies whose code nobody had changed
LEFT_OUT = {"runs", ".ipynb_checkpoints", "__pycache__"}    # stored runs are read from the checkout
NO_JUPYTER = "JupyterLab is not installed here ({}). Run: python course.py setup"
LESSON_SECONDS = 600    # for one cell of a lesson that runs without a screen


class LessonFailed(RuntimeError):
    """A cell of a lesson stopped with an error; `path` is the HTML written up to there."""

    def __init__(self, message: str, path: Path):
        super().__init__(message)
        self.path = path


@dataclass
class SyncReport:
    """What `sync_lessons` did, as file names relative to the workspace."""

    copied: list[str] = field(default_factory=list)         # new to the learner
    updated: list[str] = field(default_factory=list)        # replaced; the learner had not changed them
    beside: list[tuple[str, str]] = field(default_factory=list)   # (the learner's, the new one)
    kept: list[str] = field(default_factory=list)           # changed by the learner only
    gone: list[str] = field(default_factory=list)           # no longer in the course; the copy stays

    def lines(self) -> list[str]:
        """One sentence for everything that a learner should know; nothing where nothing happened."""
        lines = []
        if self.copied:
            lines.append(f"New: {', '.join(self.copied)}.")
        if self.updated:
            lines.append(f"Updated, you had not changed them: {', '.join(self.updated)}.")
        lines += [f"{mine} has a newer version in the course, and you have changed yours: yours stays, "
                  f"the new one is beside it as {new}." for mine, new in self.beside]
        lines += [f"{name} is no longer in the course; your copy stays." for name in self.gone]
        return lines


# ---------------------------------------------------------------- where things are

def lessons_folder() -> Path:
    """The course's own `lessons/` beside this package; FileNotFoundError where there are none."""
    folder = Path(__file__).resolve().parent.parent / "lessons"
    if not folder.is_dir():
        raise FileNotFoundError(f"There are no lessons at {folder}: this course_lib was installed without "
                                "them. Clone the course's repository and start its course.py there.")
    return folder


def workspace_folder(workspace: str | Path | None = None) -> Path:
    """Argument, else $COURSE_WORKSPACE, else `my_lessons` beside the checkout's `lessons`."""
    chosen = workspace or os.environ.get("COURSE_WORKSPACE")
    return Path(chosen).expanduser().resolve() if chosen else lessons_folder().parent / "my_lessons"


def list_lessons(folder: Path | None = None) -> list[Path]:
    """The lessons (`NN_name.ipynb`) of a folder in the order of the schedule, then the appendices (`A1_name.ipynb`)."""
    return sorted(p for p in (folder or lessons_folder()).glob("[0-9A][0-9]_*.ipynb") if ".new" not in p.name)


def find_lesson(wanted: str | int, folder: Path | None = None) -> Path:
    """`3`, "03", "vicreg", "03_vicreg", "A1" or a notebook's path -> its path. FileNotFoundError names all."""
    text = str(wanted).strip()
    if text.endswith(".ipynb") and Path(text).is_file():
        return Path(text).resolve()
    text = text.removesuffix(".ipynb").lower()
    lessons = list_lessons(folder)
    for path in lessons:
        number, name = path.stem.lower().split("_", 1)
        same = text.isdigit() and number.isdigit() and int(text) == int(number)
        if same or text in (number, name, path.stem.lower()):
            return path
    there = ", ".join(path.stem for path in lessons) or "none yet"
    raise FileNotFoundError(f"There is no lesson {wanted!r}. The lessons are: {there}. "
                            "Give a number (3), a name (vicreg) or a notebook's path.")


# ---------------------------------------------------------------- the learner's copy

def content_hash(path: Path) -> str:
    """SHA-256 of what a person writes: of a notebook the cells' kinds and sources, of other files the bytes.

    Running and saving a notebook changes outputs and metadata, which is no work that an update would lose; an
    edited cell is.
    """
    raw = path.read_bytes()
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(raw)["cells"]
            parts = [(c["cell_type"], "".join(c["source"]), c.get("attachments")) for c in cells]
            raw = json.dumps(parts, sort_keys=True).encode()
        except (ValueError, KeyError, TypeError):
            pass                                             # not a readable notebook: compare the bytes
    return hashlib.sha256(raw).hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that a stop at any moment leaves either the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, path.stat().st_mode if path.exists() else 0o644)   # mkstemp's own is private
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read_manifest(workspace: Path) -> dict[str, str]:
    """{file: hash when it was copied}. An unreadable manifest counts as empty, so nothing is overwritten."""
    try:
        files = json.loads((workspace / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {str(name): str(value) for name, value in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _course_files(source: Path) -> list[str]:
    files = (path.relative_to(source) for path in source.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files
                  if path.suffix != ".py"                    # what makes the lessons is not the learner's
                  and not any(part in LEFT_OUT or part.startswith(".") for part in path.parts))


def sync_lessons(source: Path | None = None, workspace: str | Path | None = None) -> SyncReport:
    """Bring the lessons of `source` into `workspace`; what the learner changed is never overwritten.

    Neither changed: nothing happens. Only the course: replaced (an executed copy is kept in `.replaced`).
    Only the learner: kept. Both: the new one goes beside it as `NAME.new.ipynb`. Gone from the course: the
    copy stays. Deleted by the learner: comes back. Raises FileNotFoundError where there are no lessons.
    """
    source = Path(source) if source else lessons_folder()
    if not source.is_dir():
        raise FileNotFoundError(f"There are no lessons at {source}.")
    workspace = workspace_folder(workspace)
    if workspace == source.resolve():
        raise ValueError(f"The workspace {workspace} is the course's own lessons folder; give another one.")
    workspace.mkdir(parents=True, exist_ok=True)
    manifest, report = _read_manifest(workspace), SyncReport()
    course = _course_files(source)
    for name in course:
        theirs, mine = source / name, workspace / name
        new, old = content_hash(theirs), manifest.get(name)
        if not mine.exists():
            write_atomic(mine, theirs.read_bytes())
            report.copied.append(name)
        elif (now := content_hash(mine)) == new:
            pass                                             # the same already, whoever brought it there
        elif now == old:
            if mine.read_bytes() != theirs.read_bytes():
                write_atomic(workspace / REPLACED / name, mine.read_bytes())
            write_atomic(mine, theirs.read_bytes())
            report.updated.append(name)
        elif new == old:
            report.kept.append(name)
        else:
            beside = mine.with_name(f"{mine.stem}.new{mine.suffix}")
            write_atomic(beside, theirs.read_bytes())
            report.beside.append((name, beside.relative_to(workspace).as_posix()))
        manifest[name] = new
    for name in sorted(set(manifest) - set(course)):
        if (workspace / name).exists():
            report.gone.append(name)
        del manifest[name]                                   # said once
    text = json.dumps({"about": "What the course copied here, so that updates spare your changes.",
                       "files": manifest}, indent=1, sort_keys=True)
    write_atomic(workspace / MANIFEST, text.encode())
    return report


# ---------------------------------------------------------------- JupyterLab

def kernel_environment(workspace: Path) -> dict[str, str]:
    """The environment in which lessons run: where progress is kept, and this very course_lib to import."""
    package_root = str(Path(__file__).resolve().parent.parent)
    paths = [package_root] + [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep)
                              if p and p != package_root]
    # our labconfig/page_config.json turns off the pop-up that asks about news of Jupyter
    configs = [str(Path(__file__).resolve().parent / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return {**os.environ, "COURSE_WORKSPACE": str(workspace), "PYTHONPATH": os.pathsep.join(paths),
            "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, configs)),
            "JUPYTER_PREFER_ENV_PATH": "1"}   # before a kernel python3 in the home folder


def lab_arguments(workspace: Path, port: int | None = None, browser: bool = True, start: str | None = None,
                  extra_args: Sequence[str] = ()) -> list[str]:
    """JupyterLab's arguments for the learner's copy: on loopback, and asking no server for news."""
    arguments = [f"--ServerApp.root_dir={workspace}", "--ServerApp.ip=127.0.0.1", "--LabApp.news_url=None"]
    if port is not None:
        arguments.append(f"--ServerApp.port={port}")
    if not browser:
        arguments.append("--no-browser")
    if start:
        arguments.append(f"--LabApp.default_url=/lab/tree/{start}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")                     # containers have no other user; still loopback
    return arguments + list(extra_args)


def open_lab(workspace: str | Path | None = None, port: int | None = None, browser: bool = True,
             extra_args: Sequence[str] = (), lesson: str | None = None) -> int:
    """Update the learner's copy, then run JupyterLab on it until it is closed. Returns its exit code."""
    folder = workspace_folder(workspace)
    first_time = not (folder / MANIFEST).exists()
    report = sync_lessons(workspace=folder)
    print("\n".join([f"Your lessons are in {folder}", *report.lines()]), flush=True)
    lessons = list_lessons(folder)
    start = lessons[0].name if first_time and lessons else None
    if lesson:
        start = find_lesson(lesson, folder).name
    try:
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        raise RuntimeError(NO_JUPYTER.format(error)) from error
    os.environ.update(kernel_environment(folder))
    LabApp.launch_instance(lab_arguments(folder, port, browser, start, extra_args))
    return 0


# ---------------------------------------------------------------- without a screen

def render_lesson(wanted: str | int, out: str | Path | None = None, solved: bool = False, mine: bool = False,
                  timeout: int = LESSON_SECONDS) -> Path:
    """Execute a lesson without a screen and write it as HTML (default: `NAME.html` here). Returns the path.

    The course's own lesson runs in a folder of its own, so that the learner's progress stays as it is; with
    `mine` it is the learner's copy, as far as it has come. `solved` sets COURSE_SOLVED=1 for the kernel.
    Raises LessonFailed naming the cell and its error; the HTML up to there is written all the same.
    """
    path = find_lesson(wanted, workspace_folder() if mine else None)
    out = Path(out) if out else Path(f"{path.stem}.html")
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(f"The folder {out.resolve().parent} is not there; make it first.")
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise RuntimeError(NO_JUPYTER.format(error)) from error
    notebook = nbformat.read(path, as_version=4)
    failure = None
    with tempfile.TemporaryDirectory(prefix="course-lesson-") as scratch:
        environment = kernel_environment(workspace_folder() if mine else Path(scratch))
        environment |= {"COURSE_SOLVED": "1"} if solved else {}
        client = NotebookClient(notebook, timeout=timeout, kernel_name="python3",
                                extra_arguments=["--IPKernelApp.log_level=40"],   # errors, not its warnings
                                resources={"metadata": {"path": str(path.parent) if mine else scratch}})
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            failure = f"{error.ename}: {error.evalue}" if getattr(error, "ename", "") else str(error)
        except CellTimeoutError:
            failure = f"it took longer than {timeout} s"
        except DeadKernelError:
            failure = "its kernel died (most often: out of memory)"
    exporter = HTMLExporter(embed_images=True)
    html, _ = exporter.from_notebook_node(notebook, resources={
        "metadata": {"name": path.stem, "path": str(path.parent)}})
    write_atomic(out, html.encode("utf-8"))
    if failure:
        where = f"{path.name}, {_failed_cell(notebook)}"
        raise LessonFailed(f"{where}: {failure}. Written up to there: {out}", out)
    return out


def _failed_cell(notebook) -> str:
    """Where the run stopped: the last code cell that was started, with its first line of code."""
    code = [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    errors = [pair for pair in code if any(o.output_type == "error" for o in pair[1].get("outputs", []))]
    started = [pair for pair in code if "iopub.status.busy" in cell_times(pair[1])]
    number, cell = (errors or started or code)[-1]
    first = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
    return f"cell {number} (`{first[:60]}`)"


def cell_times(cell) -> dict:
    """When the kernel took a cell up and finished it, as nbclient notes it in the cell's metadata."""
    return cell.get("metadata", {}).get("execution", {})


def facilitator_guide(wanted: str | int) -> str:
    """The facilitator notes of a lesson (its Markdown cells tagged `facilitator`) as one page of Markdown."""
    path = find_lesson(wanted)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    title = next((m.group(1) for text in texts if (m := re.search(r"^#\s+(.+)$", text, re.M))), path.stem)
    notes = ["".join(cell["source"]) for cell in cells
             if cell["cell_type"] == "markdown" and "facilitator" in cell.get("metadata", {}).get("tags", [])]
    if not notes:
        raise ValueError(f"{path.name} has no facilitator notes (no Markdown cell tagged `facilitator`).")
    # In the notebook the notes are folded away; on paper the folding has no meaning
    text = "\n\n".join(re.sub(r"</?(details|summary)[^>]*>", "", note).strip() for note in notes)
    return f"# Facilitator's guide: {title}\n\n{text}\n"
