"""Say what is wrong with an answer that is none of the planted mistakes: rules that know no exercise.

Each sentence is true of every probe, or it is not said; the most telling comes first. What a rule may use: the results
side by side (`relations`, `places`), the function run again on changed arguments, and small changes of its source or of
the reference's (`one_change`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib.exercises.difference import difference
from course_lib.exercises.evidence import Case, asked_once, called, equal, leaves_of
from course_lib.exercises.one_change import OneChange
from course_lib.exercises.operations import alike, changes_of, floats, listed, operations, others
from course_lib.exercises.pairs import Pair, near, number
from course_lib.exercises.places import in_common, in_which_step, where_wrong
from course_lib.exercises.relations import constant, relation
from course_lib.exercises.running import known, run

if TYPE_CHECKING:
    from course_lib.exercises.spec import Exercise


class Clues(OneChange):
    """The rules, in the order in which they are asked."""

    def first(self) -> str:
        """The first rule that has something to say, or ""."""
        if not self.wrong:
            return self.gradient() if self.cases else ""
        found = [d for c in self.wrong if (d := difference(c.mine.value, c.expected.value, self.exercise.tolerance))]
        if not any(d.values for d in found):  # a wrong kind or dtype is told by its name
            return self._parts() if any("shape" in d.reason for d in found) else ""
        for rule in (self._constant, self._draws, self._unused, self._parts, self._arguments, self.mended,
                     self.changed_reference, self._where, self._probes, self._degree, self._symmetries,
                     self._independence, self._steps, self._size):
            with contextlib.suppress(Exception):  # whatever one rule stumbles over, the next one may have an answer
                if said := rule():
                    return said
        return ""

    def _constant(self) -> str:
        """A single result that is one and the same number on all probes."""
        pairs = self.pairs("")
        return constant(pairs) if pairs else ""

    def _draws(self) -> str:
        """Random numbers of its own."""
        case = self.wrong[0]
        other = run(self.exercise, self.fn, case.probe, case.seed + 17)
        theirs = known(self.exercise, self.reference, case.probe, case.seed + 17)
        if other.error is None and not equal(other.value, case.mine.value) and equal(theirs.value, case.expected.value):
            return "Called twice with the same arguments, yours gives two results: it draws random numbers of its own."
        return ""

    def _parts(self) -> str:
        """Which named parts are wrong, and what relation they have to the right ones."""
        known = {path: pairs for path in leaves_of(self.cases[0].expected.value) if (pairs := self.pairs(path))}
        wrong = [path for path, pairs in known.items() if not all(p.right for p in pairs)]
        right = [path for path in known if path not in wrong]
        if not wrong:
            return ""
        if len(wrong) == 2 and self._exchanged(*(known[path] for path in wrong)):
            return f"{listed([called(self.exercise, path) for path in wrong])} are exchanged."
        said = relation([p for path in wrong for p in known[path]], self.exercise.unit)
        if not said and len(wrong) <= 3:
            said = relation(known[wrong[0]], self.exercise.unit) or constant(known[wrong[0]])
        if len(known) > 6 and not said and (more := self._unused() or self._arguments() or self.mended()
                                            or self.changed_reference()):
            return more  # a cause tells more than which of many parts are wrong
        if len(known) > 6 and not said and 0 < len(right):
            few, word = (wrong, "wrong") if len(wrong) <= 4 else (right, "right")
            verb = "is" if len(few) == 1 else "are"
            names = listed([called(self.exercise, p) for p in few])
            return f"Of {len(known)} parts of the result only {names} {verb} {word}." if len(few) <= 4 else ""
        if not right or len(known) > 6:
            return said
        inner = said or self._arguments() or self.mended() or self.changed_reference() or self._where(wrong[0])
        good, bad = (listed([called(self.exercise, p) for p in paths]) for paths in (right, wrong))
        return f"Right: {good}. Wrong: {bad}. {inner}".strip()

    @staticmethod
    def _exchanged(first: list[Pair], second: list[Pair]) -> bool:
        """Whether each of two parts is what the other should be; of a yes or no that may be chance."""
        if len(torch.cat([p.expected.flatten() for p in first + second]).unique()) < 3:
            return False
        return all(near(a.got, b.expected) and near(b.got, a.expected) for a, b in zip(first, second))

    def gradient(self) -> str:
        """What a gradient that alone is wrong has to do with the expected one."""
        for i in range(len(self.cases[0].expected.gradients)):
            pairs = []
            for case, arguments in zip(self.cases, self.arguments):
                two = [o.gradients[i] if i < len(o.gradients) else None for o in (case.mine, case.expected)]
                if two[0] is None or two[1] is None:
                    break
                pairs.append(Pair(two[0].double(), two[1].double(), arguments))
            if len(pairs) == len(self.cases) and not all(p.right for p in pairs):
                return relation(pairs, self.exercise.unit)
        return ""

    @asked_once
    def _unused(self) -> str:
        """An argument that moves the reference and not the learner's result."""
        for name in self.arguments[0]:
            changed = [(self.changed(c, {name: other}), c) for c, a in zip(self.cases, self.arguments)
                       if not _no_number(c.mine.value) for other in others(a.get(name))]
            changed = [(p, c) for p, c in changed if p is not None and self.again(self.reference, c, p).error is None]
            if not changed or not self.moves(self.reference, changed):
                continue
            if not self.moves(self.fn, changed):
                return f"Your result does not depend on {self.argument(name)}: another value of it changes nothing."
        return ""

    @asked_once
    def _arguments(self) -> str:
        """The reference on changed arguments gives the learner's result: swapped, squared, normalised, ..."""
        if all(_no_number(case.mine.value) for case in self.wrong):
            return ""  # the root of a negative argument is nan, too, and explains nothing
        for said, new in self._replacements():
            def changed(case: Case, arguments: Mapping[str, Any], new=new) -> Any:
                try:
                    return self.changed(case, new(arguments))
                except Exception:  # an operation that this argument does not know
                    return None

            if self.all_equal(self.reference, changed):
                return f"Yours is what is expected with {said}."
        return ""

    def _replacements(self) -> Iterator[tuple[str, Callable]]:
        sample = self.arguments[0]
        for name, value in sample.items():
            called = self.argument(name)
            if name in self.defaults and any(not equal(a.get(name), self.defaults[name]) for a in self.arguments):
                default = self.defaults[name]
                yield f"{called} always {default!r}, its default", lambda a, n=name, d=default: {n: d}
            for said, operation in operations(value):
                yield said.format(called), lambda a, name=name, operation=operation: {name: operation(a[name])}
        tensors = floats(sample)
        if len(tensors) > 1:
            for said, operation in operations(sample[tensors[0]]):
                yield (said.format(listed(tensors)),
                       lambda a, operation=operation: {n: operation(a[n]) for n in tensors})
        for i, a_name in enumerate(sample):
            for b_name in list(sample)[i + 1:]:
                if alike(sample[a_name], sample[b_name]):
                    yield (f"{a_name} and {b_name} exchanged",
                           lambda a, x=a_name, y=b_name: {x: a[y], y: a[x]})
                    yield f"{b_name} in the place of {a_name}", lambda a, x=a_name, y=b_name: {x: a[y]}
                    yield f"{a_name} in the place of {b_name}", lambda a, x=a_name, y=b_name: {y: a[x]}

    def _where(self, path: str | None = None) -> str:
        paths = [path] if path is not None else [p for p in leaves_of(self.cases[0].expected.value)]
        for p in paths:
            pairs = self.pairs(p)
            if pairs and not all(x.right for x in pairs) and (said := where_wrong(pairs, self.exercise.unit)):
                return said
        return ""

    def _probes(self) -> str:
        """What the probes on which it is right have in common."""
        right = [a for c, a in zip(self.cases, self.arguments)
                 if not any(c is w for w in self.wrong) and not _nothing(c)]
        wrong = [a for c, a in zip(self.cases, self.arguments) if any(c is w for w in self.wrong)]
        if fact := in_common(right, wrong, self.defaults):
            return f"It is right where {fact} ({len(right)} of {len(self.cases)} probes), and wrong elsewhere."
        return ""

    def _degree(self) -> str:
        """Doubling the floating arguments: the expected result grows with a power, the learner's with another."""
        tensors = floats(self.arguments[0])
        for names in ([tensors] if len(tensors) > 1 else []) + [[n] for n in tensors]:
            powers = []
            for case, arguments in zip(self.cases, self.arguments):
                probe = self.changed(case, {n: 2 * arguments[n] for n in names})
                two = []
                for fn, before in ((self.fn, case.mine), (self.reference, case.expected)):
                    after = number(self.again(fn, case, probe).value) if probe is not None else None
                    start = number(before.value)
                    if after is None or start is None or after.shape != start.shape or not start.abs().sum():
                        break
                    power = (after.abs().sum() / start.abs().sum()).log2().item()
                    rounded = round(2 * power) / 2 if abs(power) < 9 else 0.0
                    two.append(rounded if near(after, 2**rounded * start) else None)
                if len(two) == 2 and None not in two:
                    powers.append(tuple(two))
            if powers and len(set(powers)) == 1 and powers[0][0] != powers[0][1]:
                mine, theirs = (f"{2**p:.3g} times as large" if p else "what it was" for p in powers[0])
                verb = "is" if len(names) == 1 else "are"
                return (f"Where {listed(names)} {verb} doubled, the expected value becomes {theirs}, "
                        f"yours {mine}: another power.")
        return ""

    def _symmetries(self) -> str:
        """A change of the arguments that leaves the expected result alone and moves the learner's, or the reverse."""
        for said, change in changes_of(self.arguments[0]):
            try:
                changed = [(self.changed(c, change(a)), c) for c, a in zip(self.cases, self.arguments)
                           if any(c is w for w in self.wrong)]
            except Exception:
                continue
            if not changed or any(p is None or self.again(self.reference, c, p).error for p, c in changed):
                continue
            theirs = [self.moves(self.reference, [pair]) for pair in changed]
            mine = [self.moves(self.fn, [pair]) for pair in changed]
            if not any(theirs) and all(mine):
                return f"{said} must not change the result, but it changes yours."
            if all(theirs) and not any(mine):
                return f"{said} must change the result, but it does not change yours."
        return ""

    def _independence(self) -> str:
        """A row of the result that depends on other rows of the arguments, or does not."""
        def others(case: Case, arguments: Mapping[str, Any]) -> Any:
            tensors = {n: arguments[n] for n in floats(arguments) if arguments[n].ndim > 1}
            rows = {len(v) for v in tensors.values()}
            if len(rows) != 1 or min(rows) < 2:
                return None
            return self.changed(case, {n: torch.cat([v[:1], 1.7 * v[1:].flip(0) + 0.3]) for n, v in tensors.items()})

        depends = {True: [], False: []}
        for case, arguments in zip(self.cases, self.arguments):
            probe = others(case, arguments)
            if probe is None:
                return ""
            for fn in (self.fn, self.reference):
                before, after = (case.mine if fn is self.fn else case.expected).value, self.again(fn, case, probe).value
                rows = all(isinstance(v, Tensor) and v.ndim > 1 for v in (before, after))
                if not rows or before.shape != after.shape:
                    return ""
                depends[fn is self.fn].append(not near(after[0].double(), before[0].double()))
        if all(depends[True]) and not any(depends[False]):
            return ("The first row of your result changes with the other rows of the batch; each should depend on its "
                    "own only.")
        if all(depends[False]) and not any(depends[True]):
            return "Each row of your result depends on its own row only; the expected one depends on the whole batch."
        return ""

    def _steps(self) -> str:
        return in_which_step([(c.mine.value, c.expected.value) for c in self.wrong], self.exercise.tolerance)

    def _size(self) -> str:
        """The last resort: too large or too small on every wrong probe, and by how much."""
        pairs = self.pairs("")
        if not pairs or any(p.got.numel() != 1 or p.expected.numel() != 1 for p in pairs):
            return ""
        probes, pairs = len(pairs), [p for p in pairs if not p.right]
        if all(p.got > p.expected for p in pairs) or all(p.got < p.expected for p in pairs):
            word = "large" if pairs[0].got > pairs[0].expected else "small"
            gaps = [abs((p.got - p.expected).item()) for p in pairs]
            low, high = f"{min(gaps):.3g}", f"{max(gaps):.3g}"
            where = "every probe" if len(pairs) == probes else f"{len(pairs)} of {probes} probes"
            return f"Yours is too {word} on {where}, by {low if low == high else f'{low} to {high}'}."
        return ""


def clue(exercise: Exercise, fn: Callable, cases: list[Case]) -> str:
    """One or two sentences on what is wrong with `fn`, true of every probe; "" if no rule fits."""
    return Clues(exercise, fn, cases).first()


def _nothing(case: Case) -> bool:
    """Whether the expected result is zero or NaN throughout: then many a wrong answer is right."""
    values = [number(v) for v in leaves_of(case.expected.value).values()]
    return all(v is not None and not v.nan_to_num().any() for v in values)


def _no_number(value: Any) -> bool:
    return any(v is None or not v.isfinite().all() for v in map(number, leaves_of(value).values()))
