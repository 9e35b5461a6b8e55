"""The exercise engine: compare a learner's function with the library's, and say *what* is wrong. See `spec`."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from course_lib.exercises.grading import grade
from course_lib.exercises.panels import Hints, Progress, Solution
from course_lib.exercises.questions import Quiz
from course_lib.exercises.result import Check
from course_lib.exercises.spec import Exercise
from course_lib.files import lessons_folder
from course_lib.notebook import store

_EXERCISES: dict[str, Exercise] = {}
_LOADED: set[str] = set()
_LAST: dict[str, str] = {}


def register(*exercises: Exercise) -> None:
    """Add exercises by hand (those of a week file's EXERCISES list need no call)."""
    for exercise in exercises:
        _EXERCISES[exercise.key] = exercise


def _file(name: str) -> Path:
    return lessons_folder() / "exercises" / f"{name}.py"


def _read(name: str) -> ModuleType:
    """The module lessons.exercises.<name>, from where the lessons lie; they are no package on the path."""
    full = f"lessons.exercises.{name}"
    spec = importlib.util.spec_from_file_location(full, _file(name))
    assert spec is not None and spec.loader is not None  # a .py file always has both
    module = sys.modules[full] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load(week: str) -> None:
    """Read the exercises of a week, "03", or an appendix, "A1"; `shared` first, which the weeks import."""
    if week in _LOADED or not week.isalnum() or not _file(f"week{week}").is_file():
        return
    if "lessons.exercises.shared" not in sys.modules:
        _read("shared")
    register(*_read(f"week{week}").EXERCISES)
    _LOADED.add(week)


def exercise(key: str) -> Exercise:
    """The exercise of that key; KeyError with the keys that exist otherwise."""
    _load(key.partition(".")[0])
    if key not in _EXERCISES:
        known = ", ".join(sorted(e.key for e in all_exercises())) or "none yet"
        raise KeyError(f"there is no exercise {key!r}; the exercises are: {known}")
    return _EXERCISES[key]


def all_exercises() -> list[Exercise]:
    """The exercises of every week, in the order of their weeks."""
    for path in sorted((lessons_folder() / "exercises").glob("week*.py")):
        _load(path.stem.removeprefix("week"))
    order = list(_EXERCISES)
    return sorted(_EXERCISES.values(), key=lambda e: (e.key.partition(".")[0], order.index(e.key)))


def quizzes(week: str) -> list[Quiz]:
    """The questions of a lesson, "03" or "A1", as its file in lessons/exercises has them; KeyError if it has none."""
    _load(week)
    found = getattr(sys.modules.get(f"lessons.exercises.week{week}"), "QUIZZES", None)
    if not found:
        raise KeyError(f"there are no questions of week {week!r}: a lesson's number is wanted, such as '03' or 'A1'")
    return [replace(question) for question in found]  # each with controls of its own


# ------------------------------------------------------------------------------------------------ what a lesson calls
def check(key: str, fn: Any = None, record: bool = True) -> Check:
    """Judge a learner's function: a Check that draws itself, with `.state`, `.name`, `.hint` and `.use`.

    key: the exercise ("03.variance"; KeyError if there is none). fn: the learner's function. Whatever `fn` does, this
    does not raise. With $COURSE_SOLVED, the library's function stands in for one that is not right. With `record` the
    state goes into the progress; the library's own function never counts.
    """
    result = grade(exercise(key), fn)
    if result.state != "right" and os.environ.get("COURSE_SOLVED"):  # `course lesson --solved`
        result = grade(exercise(key), reference(key))
    if record and result.own:
        answer = ""
        if result.state == "right":
            with contextlib.suppress(OSError, TypeError, ValueError):
                answer = textwrap.dedent(inspect.getsource(fn))
        result.solved = bool(store.record(key, result.state, answer).get("solved"))
    else:
        result.solved = bool(store.read().get(key, {}).get("solved"))
    _LAST[key] = result.state
    return result


def states() -> dict[str, str]:
    """The state of the latest check of each exercise in this kernel."""
    return dict(_LAST)


def reference(key: str) -> Callable:
    """The library's function for an exercise."""
    return exercise(key).resolve()


def solution(key: str) -> Solution:
    """The source of the library's function, drawn; `.source` is its text, `.where` the file to read on in."""
    function = reference(key)
    module = inspect.getmodule(inspect.unwrap(function))
    where = f"{module.__name__ if module else '?'}.{getattr(function, '__qualname__', '')}"
    return Solution(key, exercise(key).title, where, textwrap.dedent(inspect.getsource(function)))


def hints(key: str, level: int = 1) -> Hints:
    """The first `level` hints of an exercise, each folded."""
    found = exercise(key)
    return Hints(key, found.title, found.hints[: max(0, level)], len(found.hints))


def answer(key: str) -> str:
    """The source of the learner's last right answer, "" where there is none."""
    return str(store.read().get(exercise(key).key, {}).get("answer", ""))


def progress() -> Progress:
    """A table of exercises, done and to do, for the recap of a lesson: of this lesson first, the others folded."""
    kept = store.read()
    rows = [(e.key, e.title, e.minutes, e.difficulty, kept.get(e.key, {})) for e in all_exercises()]
    checked = {key.partition(".")[0] for key in _LAST}  # where no notebook server has told the notebook's name
    lesson = store.lesson() or (checked.pop() if len(checked) == 1 else "")
    return Progress(rows, lesson)
