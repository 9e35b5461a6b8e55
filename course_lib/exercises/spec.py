"""The parts of an exercise, and how to write one.

In a lesson, one cell holds the stub and its check; its metadata names the exercise:

    def variance(z, gamma=1.0, eps=1e-4):
        '''(N, D) -> scalar'''
        ...

    variance = check("03.variance", variance).use   # draws a card; the learner's function if right, else ours

The exercises of week 3 are the list EXERCISES of lessons/exercises/week03.py, its questions the list QUIZZES (what
three weeks or more need is in shared.py beside it); an exercise looks like this:

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
        hints=("The standard deviation over which axis?", "z.var(dim=0) has shape (D,).",
               "std = torch.sqrt(z.var(dim=0) + eps)\nreturn F.relu(gamma - std).mean()"),
    )

Choose probes that tell mistakes apart: shapes that are not square, N other than D, both sides of a hinge, defaults left
out at least once. Every probe runs in float32 and in float64, on clones, so a function that changes its inputs spoils
nothing; `gradients` also compares the derivative with respect to every floating input, which catches a missing or
superfluous detach.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field

import torch


@dataclass
class Exercise:
    """One exercise.

    key, title, minutes, difficulty   "03.variance", a line, self-paced minutes, 1 (easy) to 5
    reference    "package.module:name" (imported when needed), the library's function; or the function itself, where
                 only the exercise needs it
    probes       (torch.Generator, dtype) -> list of tuples (positional arguments) or dicts (keywords)
    wrong        misconception -> (callable, hint)
    right        name -> callable: correct answers in an unusual form
    hints        three, from a nudge to the answer: the last is the function's body, and passes as it stands
    tolerance    see difference.difference
    gradients    compare the gradients with respect to every floating input, too
    seeded       the function is called with `generator=`, a fresh one of the same seed each time
    call         call(function, *arguments) -> result, where the answer is a class or needs a harness
    judge        judge(got, expected, arguments by name) -> None (right), a misconception's name or sentence;
                 replaces equality, for answers that may differ (another draw of random numbers)
    words        what a clue calls the parts of the result ("[0]", "['loss']") and the arguments: {"[1]": "the pointer"}
    plain        a new tensor need not follow the dtype of the arguments: all probes are float32
    unit         what a mask's entries are: "positions", "patches", "pixels"
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
    words: dict[str, str] = field(default_factory=dict)
    unit: str = "positions"
    plain: bool = False

    def resolve(self) -> Callable:
        """The library's function."""
        if callable(self.reference):
            return self.reference
        module, _, name = self.reference.partition(":")
        return getattr(importlib.import_module(module), name)
