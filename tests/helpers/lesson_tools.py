"""What the tests do with a lesson: find it, run it as committed, run its exercises solved, and lint it."""

from __future__ import annotations

import ast
import copy
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from course_lib.cli.lessons import list_lessons
from helpers.environment import ROOT, TESTS, offline_environment

LESSONS = ROOT / "lessons"
WIDGET = "application/vnd.jupyter.widget-view+json"
DRIVE = f"""
import sys
sys.path.append({str(TESTS)!r})
from helpers.driving import drive_all
print(drive_all(), "knobs driven to both ends in two orders")"""
SOLVE = '''
def _restated(key):
    """The reference under another identity, so that it is judged and not just known."""
    from course_lib.exercises import reference
    found = reference(key)
    return type(found.__name__, (found,), {}) if isinstance(found, type) else lambda *a, **k: found(*a, **k)
'''


def lessons() -> list[Path]:
    return list_lessons(LESSONS)


def builder():
    """lessons/build.py as a module."""
    spec = importlib.util.spec_from_file_location("lesson_builder", LESSONS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def desk(lesson: Path, folder: Path) -> Path:
    """A copy of a lesson with what lies beside it, as on a learner's desk; -> the notebook's path."""
    for item in LESSONS.iterdir() if lesson.parent == LESSONS else []:
        if item.is_dir() and not item.name.startswith((".", "__")):
            shutil.copytree(item, folder / item.name, dirs_exist_ok=True)
    return lesson if lesson.parent == folder else Path(shutil.copy(lesson, folder / lesson.name))


def code_cells(notebook) -> list:
    return [c for c in notebook.cells if c.cell_type == "code"]


def syntax(source: str) -> ast.Module:
    """A code cell's tree; magics and shell lines are left out."""
    return ast.parse(
        "\n".join("pass" if re.match(r"\s*[%!]", line) else line for line in source.splitlines())
    )


# ---------------------------------------------------------------- as committed


def run_with_nbval(notebook: Path, cell_timeout: int = 300) -> subprocess.CompletedProcess:
    """Run a notebook under nbval in the folder it lies in: tagged cells compared, others executed, no
    network."""
    folder = notebook.parent
    (folder / "pytest.ini").write_text("[pytest]\n")  # neither this project's settings nor a parent folder's
    env = offline_environment(COURSE_WORKSPACE=str(folder))
    env.pop("PYTEST_ADDOPTS", None)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "--nbval-current-env",
        f"--nbval-cell-timeout={cell_timeout}",
        "--nbval-kernel-startup-timeout=180",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-c",
        str(folder / "pytest.ini"),
        "--rootdir",
        str(folder),
        "-q",
        "--tb=short",
        "--color=no",
        "-x",
        str(notebook),
    ]
    return subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def tail(text: str, lines: int = 60) -> str:
    return "\n".join(text.splitlines()[-lines:])


def with_knobs_driven(notebook: Path) -> None:
    """Append a cell that drives every knob that the lesson made: it saves a second run."""
    document = nbformat.read(notebook, as_version=4)
    document.cells.append(nbformat.v4.new_code_cell(DRIVE))
    nbformat.write(document, notebook)


# ---------------------------------------------------------------- solved


def exercise_keys(cell) -> list[str]:
    found = cell.metadata.get("exercise", [])
    return [found] if isinstance(found, str) else list(found)


def checked_names(tree: ast.Module) -> dict[str, str]:
    """key -> the learner's function name, from every check("key", name) of a cell."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "check":
            values = [*node.args, *(k.value for k in node.keywords)]
            if len(values) >= 2 and isinstance(values[0], ast.Constant) and isinstance(values[1], ast.Name):
                found[values[0].value] = values[1].id
    return found


def solve_cell(cell) -> str:
    """The cell's code with each checked stub replaced by a right answer under the learner's name."""
    tree = syntax(cell.source)
    names = checked_names(tree)
    body: list[ast.stmt] = []
    for statement in tree.body:
        keys = [k for k, n in names.items() if getattr(statement, "name", None) == n]
        if keys:
            body += ast.parse(f"{names[keys[0]]} = _restated({keys[0]!r})").body
        else:
            body.append(statement)
    return ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))


def _defined_and_used(tree: ast.Module) -> tuple[set[str], set[str]]:
    defined, used = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
    for statement in ast.walk(tree):
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            defined.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            defined |= {(a.asname or a.name).split(".")[0] for a in statement.names}
    return defined, used


def solved(notebook):
    """A notebook of the cells that the exercises need, and the exercises, each with a right answer in place
    of its stub.

    The first code cell (set-up) is always kept; of the others those whose names an exercise uses, traced
    backwards.
    """
    cells, needed, kept = code_cells(notebook), set(), []
    for index in range(len(cells) - 1, -1, -1):
        cell = cells[index]
        source = solve_cell(cell) if exercise_keys(cell) else cell.source
        defined, used = _defined_and_used(syntax(source))
        if exercise_keys(cell) or index == 0 or defined & needed:
            needed = (needed - defined) | used
            kept.append(nbformat.v4.new_code_cell(source, metadata=copy.deepcopy(dict(cell.metadata))))
    report = "import json\nfrom course_lib.exercises import states\nprint(json.dumps(states()))"
    made = nbformat.v4.new_notebook(metadata=notebook.metadata)
    made.cells = [nbformat.v4.new_code_cell(SOLVE), *kept[::-1], nbformat.v4.new_code_cell(report)]
    return made


def run_solved(lesson: Path, folder: Path, timeout: int = 300) -> dict[str, str]:
    """Run `solved` in a fresh kernel; -> the state of each exercise's check."""
    from nbclient import NotebookClient

    notebook = solved(nbformat.read(desk(lesson, folder), as_version=4))
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        startup_timeout=180,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=offline_environment(COURSE_WORKSPACE=str(folder)))
    return json.loads("".join(o.text for o in notebook.cells[-1].outputs if o.output_type == "stream"))


# ---------------------------------------------------------------- names


def missing_names(notebook) -> list[str]:
    """Public names of course_lib that a lesson uses and that do not exist."""
    missing, modules = [], {}
    trees = [syntax(c.source) for c in code_cells(notebook)]
    for node in (n for tree in trees for n in ast.walk(tree)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "course_lib":
            try:
                module = importlib.import_module(node.module)
            except ImportError as error:
                missing.append(f"{node.module}: {error}")
                continue
            for alias in node.names:
                if hasattr(module, alias.name):
                    thing = getattr(module, alias.name)
                elif (
                    importlib.util.find_spec(f"{node.module}.{alias.name}")
                    if hasattr(module, "__path__")
                    else None
                ):
                    thing = importlib.import_module(f"{node.module}.{alias.name}")
                else:
                    missing.append(f"{node.module}.{alias.name}")
                    continue
                if type(thing).__name__ == "module":
                    modules[alias.asname or alias.name] = thing
                if alias.name.startswith("_"):
                    missing.append(f"{node.module}.{alias.name} (it is private)")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "course_lib":
                    module = importlib.import_module(alias.name)
                    if alias.asname:
                        modules[alias.asname] = module
    for node in (n for tree in trees for n in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            if not hasattr(modules[node.value.id], node.attr):
                missing.append(f"{modules[node.value.id].__name__}.{node.attr}")
    return sorted(set(missing))
