"""What the tests of the engine and of the exercises do with an exercise: stubs, and mutants of its reference."""

from __future__ import annotations

import ast
import contextlib
import json
import linecache
import signal
import textwrap
import threading
from collections.abc import Callable

from course_lib.exercises import Exercise, grade, reference
from course_lib.exercises.mutants import mutants
from course_lib.files import lessons_folder


@contextlib.contextmanager
def at_most(seconds: float):
    """A mutant may loop for ever: stop it, where the system can (elsewhere pytest's own limit stops the
    test)."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()

    def stop(*_):
        raise TimeoutError("stopped: too slow")

    if usable:
        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        if usable:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def stubs():
    """Stubs as lessons have them, whatever arguments they take."""

    def nothing(*_, **__):
        pass

    def dots(*_, **__):
        return ...

    def half(*_, **__):
        middle = ...
        return middle + 1

    def not_yet(*_, **__):
        raise NotImplementedError

    return [None, nothing, dots, half, not_yet]


def survivors(exercise: Exercise, equivalent: dict[str, str]) -> tuple[list[str], int]:
    """Names of the mutants of the reference that the check accepts, and how many there are in all."""
    alive, count = [], 0
    for mutant in mutants(exercise.resolve()):
        if mutant.name in equivalent:
            continue
        count += 1
        with at_most(10):
            if grade(exercise, mutant.function, explain=False).state == "right":
                alive.append(mutant.name)
    return alive, count


def lesson_space(week: str) -> tuple[dict, dict[str, str]]:
    """What a lesson's import statements define, with its exercises' functions, and the cells with stubs by key."""
    (path,) = lessons_folder().glob(f"{week}_*.ipynb")
    imports, stubs = [], {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            imports += [ast.unparse(n) for n in ast.parse(source).body if isinstance(n, (ast.Import, ast.ImportFrom))]
        if key := cell["metadata"].get("exercise"):
            stubs[key] = source
    space: dict = {}
    exec("\n".join(imports), space)
    space |= {_stub(source).name: reference(key) for key, source in stubs.items()}
    return space, stubs


def _stub(source: str) -> ast.FunctionDef:
    return next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef))


def typed_in(body: str, cell: str, space: dict, name: str) -> tuple[Callable, str]:
    """(the function, its source) of a body typed under the stub of a cell, in the names of its lesson."""
    stub = _stub(cell)
    stub.body = []
    code = f"{ast.unparse(stub).rstrip()}\n{textwrap.indent(body, '    ')}\n"
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    mine = dict(space)
    exec(compile(code, name, "exec"), mine)
    return mine[stub.name], code
