"""What a learner's function and the reference did on the probes, and what they do on others: the rules' evidence."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from course_lib.exercises.difference import difference
from course_lib.exercises.pairs import Pair, number
from course_lib.exercises.running import Outcome, known, names_of, run

if TYPE_CHECKING:
    from course_lib.exercises.spec import Exercise


@dataclass
class Case:
    """One probe and what the learner's function and the reference did on it."""

    probe: Any
    dtype: torch.dtype
    seed: int
    mine: Outcome
    expected: Outcome


def asked_once(rule: Callable[[Any], str]) -> Callable[[Any], str]:
    """A rule that several others ask, too: what it said is kept."""
    @functools.wraps(rule)
    def ask(self: Any) -> str:
        if rule.__name__ not in self.said:
            self.said[rule.__name__] = rule(self)
        return self.said[rule.__name__]
    return ask


class Evidence:
    """Both functions on the probes: `cases`, those that are `wrong`, and their `arguments`, defaults filled in."""

    def __init__(self, exercise: Exercise, fn: Callable, cases: list[Case]):
        self.exercise, self.fn, self.reference = replace(exercise, gradients=False), fn, exercise.resolve()
        doubles = [c for c in cases if c.dtype == torch.float64]
        if not any(self.differs(c.mine.value, c) for c in doubles):
            doubles = cases
        self.cases = [c for c in doubles if c.expected.error is None and c.mine.error is None]
        self.wrong = [c for c in self.cases if self.differs(c.mine.value, c)]
        self.defaults = {n: p.default for n, p in parameters(self.reference).items()
                         if p.default is not inspect.Parameter.empty}
        names = names_of(exercise, cases[0].probe)
        self.arguments = [self.defaults | names_of(exercise, c.probe) for c in self.cases]
        self.arguments = [{n: v for n, v in a.items() if n in names or n in parameters(self.reference)}
                          for a in self.arguments]
        self.words = exercise.words
        self.said: dict[str, str] = {}  # by rules that are asked once

    def differs(self, value: Any, case: Case) -> bool:
        return difference(value, case.expected.value, self.exercise.tolerance) is not None

    def again(self, fn: Callable, case: Case, probe: Any = None) -> Outcome:
        outcome_of = known if fn is self.reference else run
        return outcome_of(self.exercise, fn, case.probe if probe is None else probe, case.seed)

    def pairs(self, path: str) -> list[Pair] | None:
        """One part of the result on all probes; None where it is no number, or its shape is another."""
        found = []
        for case, arguments in zip(self.cases, self.arguments):
            values = [leaves_of(o.value).get(path) for o in (case.mine, case.expected)]
            got, expected = map(number, values)
            if got is None or expected is None:
                return None
            found.append(Pair(got, expected, arguments))
        return found

    def changed(self, case: Case, new: Mapping[str, Any]) -> Any:
        """The probe with some arguments replaced; None if the exercise's harness does not take them by name."""
        if not new or any(v is None for v in new.values()):
            return None
        known = names_of(self.exercise, case.probe)
        names = list(known)
        merged = {**known, **new}
        if isinstance(case.probe, tuple) and all(n in known for n in new):
            return tuple(merged[n] for n in names)
        return merged if all(n.isidentifier() for n in merged) else None

    def moves(self, fn: Callable, changed: list) -> bool:
        """Whether the result is another on any of the changed probes."""
        for probe, case in changed:
            before = case.mine if fn is self.fn else case.expected
            after = self.again(fn, case, probe)
            if after.error is not None or not equal(after.value, before.value):
                return True
        return False

    def all_equal(self, fn: Callable, changed: Callable | None = None, to_mine: bool = True) -> bool:
        """Whether `fn`, on changed probes, does what the learner's function did (or the reference): the wrong first."""
        order = [(c, a) for c, a in zip(self.cases, self.arguments)]
        order.sort(key=lambda pair: not any(pair[0] is w for w in self.wrong))
        for case, arguments in order:
            probe = changed(case, arguments) if changed else case.probe
            if probe is None:
                return False
            out = self.again(fn, case, probe)
            target = case.mine if to_mine else case.expected
            if out.error is not None or difference(out.value, target.value, min(self.exercise.tolerance, 1e-5)):
                return False
        return True

    def argument(self, name: str) -> str:
        return self.words.get(name, name)


def called(exercise: Exercise, path: str) -> str:
    """A part of the result in the exercise's words: "the pointer", '"loss"', '"losses" entry 0'."""
    if not path or path in exercise.words:
        return exercise.words.get(path, "Result")
    start = next((p for p in exercise.words if path.startswith(p)), "")
    names = [f"entry {n}" if n.isdigit() else f'"{n[1:-1]}"' for n in re.findall(r"\[([^]]+)\]", path[len(start):])]
    return " ".join(([exercise.words[start]] if start else []) + names)


def parameters(fn: Callable) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return {}


def leaves_of(value: Any, path: str = "") -> dict[str, Any]:
    """The parts of a result by their path: "" for a single one, "['loss']", "[1]"."""
    if isinstance(value, Mapping):
        return {k: v for key, part in value.items() for k, v in leaves_of(part, f"{path}[{key!r}]").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, part in enumerate(value) for k, v in leaves_of(part, f"{path}[{i}]").items()}
    return {path: value}


def equal(a: Any, b: Any) -> bool:
    return difference(a, b, 1e-5) is None
