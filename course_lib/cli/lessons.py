"""Lessons: find by name, execute without a screen, write as HTML; the facilitator's guide."""

from __future__ import annotations

import json
import os
import re
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from course_lib.files import CHECKOUT, PACKAGE, lessons_folder, refusal, workspace_folder, write_text

NO_JUPYTER = "JupyterLab is not installed here ({}). Run: python course.py setup"
LESSON_SECONDS = 600    # per cell


class LessonFailed(RuntimeError):
    """A lesson's cell failed; `path` is the HTML up to there."""

    def __init__(self, message: str, path: Path):
        super().__init__(message)
        self.path = path


def list_lessons(folder: Path | None = None) -> list[Path]:
    """A folder's lessons (`NN_name.ipynb`) in order, then appendices (`A1_`) and projects (`P1_`)."""
    return sorted(p for p in (folder or lessons_folder()).glob("[0-9AP][0-9]_*.ipynb")
                  if ".new" not in p.name and ".moved" not in p.name)


def find_lesson(wanted: str | int, folder: Path | None = None) -> Path:
    """`3`, "03", "vicreg", "03_vicreg", "A1" or a notebook's path -> its path. FileNotFoundError lists all."""
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


def kernel_environment(workspace: Path) -> dict[str, str]:
    """The environment variables of lessons: where to keep progress, this course_lib to import, `course` to call."""
    package_root = str(CHECKOUT)
    paths = [package_root] + [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep)
                              if p and p != package_root]
    # so that `course papers --map`, as lessons have it, is found by a cell or a terminal of JupyterLab
    commands = sysconfig.get_path("scripts")
    found = [commands] + [p for p in os.environ.get("PATH", "").split(os.pathsep) if p and p != commands]
    # its labconfig/page_config.json turns off the pop-up about Jupyter news
    configs = [str(PACKAGE / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return {**os.environ, **_jupyter_folders(workspace),
            "COURSE_WORKSPACE": str(workspace), "PYTHONPATH": os.pathsep.join(paths), "PATH": os.pathsep.join(found),
            "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, configs)),
            "JUPYTER_PREFER_ENV_PATH": "1"}   # rather than a python3 kernel in the home folder


def _jupyter_folders(workspace: Path) -> dict[str, str]:
    """Variables that move Jupyter's own folders into the workspace, where a class room's home is read-only."""
    from jupyter_core import paths

    usual = (paths.jupyter_runtime_dir(), paths.jupyter_data_dir(), paths.jupyter_config_dir())
    if not any(map(refusal, usual)):
        return {}
    names = {"JUPYTER_RUNTIME_DIR": "runtime", "JUPYTER_DATA_DIR": "data", "JUPYTER_CONFIG_DIR": "config",
             "IPYTHONDIR": "ipython", "MPLCONFIGDIR": "matplotlib"}
    return {name: str(workspace / ".jupyter" / folder) for name, folder in names.items()}


def render_lesson(wanted: str | int, out: str | Path | None = None, solved: bool = False, mine: bool = False,
                  timeout: int = LESSON_SECONDS, say: Callable[[str], None] = lambda line: None) -> Path:
    """Execute a lesson without a screen, write it as HTML (default: `NAME.html` here) and return the path.

    mine: the learner's copy in its current state; otherwise the course's own lesson runs in a temporary folder, which
    leaves the learner's progress alone. solved: sets COURSE_SOLVED=1, with which unsolved exercises count as solved by
    the library, and shows its functions. say: called with a line as each cell starts. Raises LessonFailed, naming the
    cell and its error, after writing the HTML up to there.
    """
    path = find_lesson(wanted, workspace_folder() if mine else None)
    out = Path(out).expanduser() if out else Path(f"{path.stem}.html")
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(f"The folder {out.resolve().parent} does not exist; create it first.")
    if why := refusal(out.resolve().parent):
        raise ValueError(f"{out.resolve().parent} cannot be written ({why}): choose another place with --out.")
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        from course_lib.cli.page import page
    except ImportError as error:
        raise RuntimeError(NO_JUPYTER.format(error)) from error
    notebook = nbformat.read(path, as_version=4)
    if solved:
        notebook.cells = [part for cell in notebook.cells for part in _with_solution(cell)]
    code = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    began, failure = time.perf_counter(), None

    def starts(cell, cell_index: int) -> None:
        where = f"cell {code.index(cell_index) + 1} of {len(code)}"
        say(f"{time.perf_counter() - began:4.0f} s  {where}: {_first_line(cell)}")

    with tempfile.TemporaryDirectory(prefix="course-lesson-") as scratch:
        environment = kernel_environment(workspace_folder() if mine else Path(scratch))
        environment |= {"COURSE_SOLVED": "1"} if solved else {}
        os.environ.update(_jupyter_folders(Path(scratch)))  # the kernel's connection file is written from here
        client = NotebookClient(notebook, timeout=timeout, kernel_name="python3",
                                on_cell_execute=starts, extra_arguments=["--IPKernelApp.log_level=40"],  # errors only
                                resources={"metadata": {"path": str(path.parent) if mine else scratch}})
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            failure = f"{error.ename}: {error.evalue}" if getattr(error, "ename", "") else str(error)
        except CellTimeoutError:
            failure = f"it took longer than {timeout} s"
        except DeadKernelError:
            failure = "its kernel died (most often: out of memory)"
    write_text(out, page(notebook, path.stem, path.parent))
    if failure:
        where = f"{path.name}, {_failed_cell(notebook)}"
        raise LessonFailed(f"{where}: {failure}. Written up to there: {out}", out)
    return out


def _failed_cell(notebook) -> str:
    """Where the run stopped: the last code cell started, with its first line."""
    code = [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    errors = [pair for pair in code if any(o.output_type == "error" for o in pair[1].get("outputs", []))]
    started = [pair for pair in code if "iopub.status.busy" in cell_times(pair[1])]
    number, cell = (errors or started or code)[-1]
    return f"cell {number} (`{_first_line(cell)}`)"


def _first_line(cell) -> str:
    return next((line.strip() for line in cell.source.splitlines() if line.strip()), "")[:60]


def _with_solution(cell) -> list:
    """The cell, and below an exercise's another that shows the library's function."""
    from nbformat.v4 import new_code_cell

    key = cell.metadata.get("exercise")
    if not key:
        return [cell]
    source = f"from course_lib.exercises import solution\nsolution({key!r})"
    return [cell, new_code_cell(source, metadata={"jupyter": {"source_hidden": True}})]


def cell_times(cell) -> dict:
    """When the kernel started and finished a cell, from nbclient's metadata."""
    return cell.get("metadata", {}).get("execution", {})


def facilitator_guide(wanted: str | int) -> str:
    """A lesson's facilitator notes (Markdown cells tagged `facilitator`) as Markdown. Raises ValueError without any."""
    path = find_lesson(wanted)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    title = next((m.group(1) for text in texts if (m := re.search(r"^#\s+(.+)$", text, re.M))), path.stem)
    notes = ["".join(cell["source"]) for cell in cells
             if cell["cell_type"] == "markdown" and "facilitator" in cell.get("metadata", {}).get("tags", [])]
    if not notes:
        raise ValueError(f"{path.name} has no facilitator notes (no Markdown cell tagged `facilitator`).")
    # the notebook folds the notes away, a page does not
    text = "\n\n".join(re.sub(r"</?(details|summary)[^>]*>", "", note).strip() for note in notes)
    return f"# Facilitator's guide: {title}\n\n{text}\n"
