"""The house: every import of the library points down to a lower floor, and no modules import each other in a circle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from helpers.environment import ROOT

LIBRARY = ROOT / "course_lib"
# From the ground up; what stands in one row is on one floor and may see each other, without circles.
FLOORS = (
    ("", "device", "files", "moved", "collectives", "precision", "seeds", "optim", "papers", "text", "threads"),
    ("augment", "models", "data"),
    ("methods",),
    ("evaluate",),
    ("train", "runs"),
    ("plots",),
    ("notebook",),
    ("exercises",),
    ("cli", "__main__"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
           for path in sorted(LIBRARY.rglob("*.py"))}


def room(module: str) -> str:
    return (module.split(".") + [""])[1]


def imported(module: str) -> set[str]:
    """The modules of the library that a module imports, wherever in its text."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by dots: write `from course_lib...`, as the others do"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name in MODULES and name != module}


@pytest.mark.parametrize("module", MODULES)
def test_an_import_never_points_up(module):
    assert room(module) in FLOOR_OF, f"{module} is in no room: name its floor here"
    up = [name for name in imported(module) if FLOOR_OF[room(name)] > FLOOR_OF[room(module)]]
    assert not up, f"{module} stands below what it imports: {', '.join(up)}"


def test_no_circles_of_modules():
    packages = {name for name in MODULES if MODULES[name].name == "__init__.py"}
    graph = {name: imported(name) - packages for name in MODULES}  # a package only hands on what its modules define
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_no_circles_of_packages():
    graph: dict[str, set[str]] = {}
    for name in MODULES:
        graph.setdefault(room(name), set()).update(room(other) for other in imported(name) if room(other) != room(name))
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_methods_never_import_the_loop():
    for module in MODULES:
        if room(module) in ("methods", "evaluate"):
            assert not any(room(name) == "train" for name in imported(module)), module


def test_no_module_is_named_like_what_its_package_hands_on():
    """Else `from course_lib.room import thing` gives the one or the other, as the imports before it have it."""
    for module, path in MODULES.items():
        if path.name == "__init__.py":
            handed_on = {alias.asname or alias.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                         if isinstance(node, ast.ImportFrom) for alias in node.names}
            assert not handed_on & {other.stem for other in path.parent.iterdir()}, module
