"""The exercise engine: compare a learner's function with the library's, and say *what* is wrong.

In a lesson, the stub and its check stand in one cell, whose metadata names the exercise:

    def variance(z, gamma=1.0, eps=1e-4):
        '''(N, D) -> scalar'''
        ...

    variance = check("03.variance", variance).use   # draws a card; the learner's function if right, else ours

The exercises of week 3 are the list EXERCISES of course_lib/exercises/week03.py; an entry looks like this:

    def probes(generator, dtype):
        z = torch.randn(16, 5, generator=generator, dtype=dtype)
        return [(z,), (0.1 * z[:, :3],), dict(z=z, gamma=2.0)]

    Exercise(
        key="03.variance", title="Keep each dimension alive", minutes=6, difficulty=2,
        reference="course_lib.methods.contrastive.vicreg:variance_loss",
        probes=probes, gradients=True,
        wrong={
            "variance instead of its root": (
                lambda z, gamma=1.0, eps=1e-4: torch.relu(gamma - z.var(0) - eps).mean(),
                "The hinge acts on the standard deviation: take the root."),
            ...                                    # at least four that real people wrote
        },
        right={
            "clamp": lambda z, gamma=1.0, eps=1e-4: (gamma - (z.var(0) + eps) ** 0.5).clamp(min=0).mean(),
        },
        hints=("Over which axis is the spread taken?", "z.var(dim=0) has shape (D,).", "relu(gamma - std)."),
    )

Probes are chosen so that mistakes differ: shapes that are not square, N other than D, both sides of a hinge,
defaults left out at least once. Every probe is run in float32 and in float64, on clones, so nothing that a
function does to its inputs spoils the next; with `gradients` the derivative with respect to every floating
input is compared as well, which catches a missing or superfluous detach.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from . import store
from .cards import Check
from .grading import grade
from .panels import Hints, Progress, Solution


@dataclass
class Exercise:
    """One exercise. See the module's docstring for an example.

    key, title, minutes, difficulty   "03.variance", a line, self-paced minutes, 1 (easy) to 5
    reference    "package.module:name" (imported when needed) or a callable: the library's function
    probes       (torch.Generator, dtype) -> list of tuples (positional arguments) or dicts (keywords)
    wrong        misconception -> (callable, hint)
    right        name -> callable: right answers written in an unusual way
    hints        three, from a nudge to nearly the answer
    tolerance    see compare.difference
    gradients    compare the gradients with respect to every floating input, too
    seeded       the function is called with `generator=`, a fresh one of the same seed each time
    call         call(function, *arguments) -> result, where the answer is a class or needs a harness
    judge        judge(got, expected, arguments by name) -> None (right), a misconception's name or sentence;
                 replaces equality, for answers that may differ (another draw of random numbers)
    """

    key: str
    title: str
    minutes: int
    difficulty: int
    reference: str | Callable
    probes: Callable[[torch.Generator, torch.dtype], list]
    wrong: dict[str, tuple[Callable, str]]
    right: dict[str, Callable]
    hints: tuple[str, ...] = ()
    tolerance: float = 1e-5
    gradients: bool = False
    seeded: bool = False
    call: Callable | None = None
    judge: Callable | None = None

    def resolve(self) -> Callable:
        """The library's function."""
        if callable(self.reference):
            return self.reference
        module, _, name = self.reference.partition(":")
        return getattr(importlib.import_module(module), name)


# ---------------------------------------------------------------- registry

_EXERCISES: dict[str, Exercise] = {}
_LOADED: set[str] = set()


def register(*exercises: Exercise) -> None:
    """Add exercises by hand (a week file needs no call: its EXERCISES list is read)."""
    for exercise in exercises:
        _EXERCISES[exercise.key] = exercise


def _load(prefix: str) -> None:
    if prefix in _LOADED or not prefix.isdigit():
        return
    name = f"{__package__}.week{prefix}"
    if importlib.util.find_spec(name) is not None:
        register(*importlib.import_module(name).EXERCISES)
    _LOADED.add(prefix)


def exercise(key: str) -> Exercise:
    """The exercise of that key; KeyError with the keys that exist otherwise."""
    _load(key.partition(".")[0])
    if key not in _EXERCISES:
        known = ", ".join(sorted(e.key for e in all_exercises())) or "none yet"
        raise KeyError(f"there is no exercise {key!r}; the exercises are: {known}")
    return _EXERCISES[key]


def all_exercises() -> list[Exercise]:
    """The exercises of every week, in the order of their weeks."""
    from pkgutil import iter_modules

    for module in iter_modules(importlib.import_module(__package__).__path__):
        if module.name.startswith("week"):
            _load(module.name.removeprefix("week"))
    order = list(_EXERCISES)
    return sorted(_EXERCISES.values(), key=lambda e: (e.key.partition(".")[0], order.index(e.key)))


# ---------------------------------------------------------------- what a lesson calls


def check(key: str, fn: Any = None, record: bool = True) -> Check:
    """Judge a learner's function: a Check that draws itself, with `.state`, `.name`, `.hint` and `.use`.

    key: the exercise ("03.variance"; KeyError if there is none). fn: the learner's function. Whatever `fn`
    does, this doesn't raise. With `record` the state goes into the progress; the library's own function is
    never counted.
    """
    result = grade(exercise(key), fn)
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


_LAST: dict[str, str] = {}


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
    """A table of all exercises, done and to do, for the recap of a lesson."""
    kept = store.read()
    return Progress([(e.key, e.title, e.minutes, e.difficulty, kept.get(e.key, {})) for e in all_exercises()])
