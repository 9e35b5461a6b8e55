"""Say what is wrong with an answer that is none of the planted mistakes. Rules that know no exercise, most telling first.

Each sentence is true of every probe, or it is not said. What a rule may use: the results side by side (`relations`,
`places`), the function run again on changed arguments, and small changes of its source or of the reference's
(`mutants`): an answer that one change makes right, or that equals the reference with one thing changed, is explained.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.difference import clone, difference
from course_lib.exercises.mutants import Edit, Source, insertions, short
from course_lib.exercises.places import in_common, where_wrong
from course_lib.exercises.relations import Pair, near, number, relation
from course_lib.exercises.running import Outcome, names_of, run

if TYPE_CHECKING:
    from course_lib.exercises.spec import Exercise

SECONDS = 0.3  # of processor time for each of the two searches


@dataclass
class Case:
    """One probe and what the learner's function and the reference did on it."""

    probe: Any
    dtype: torch.dtype
    seed: int
    mine: Outcome
    expected: Outcome


class Clues:
    """All that the rules look at."""

    def __init__(self, exercise: Exercise, fn: Callable, cases: list[Case]):
        self.exercise, self.fn, self.reference = replace(exercise, gradients=False), fn, exercise.resolve()
        doubles = [c for c in cases if c.dtype == torch.float64]
        if not any(self._differs(c.mine.value, c) for c in doubles):
            doubles = cases
        self.cases = [c for c in doubles if c.expected.error is None and c.mine.error is None]
        self.wrong = [c for c in self.cases if self._differs(c.mine.value, c)]
        self.defaults = {n: p.default for n, p in _parameters(self.reference).items()
                         if p.default is not inspect.Parameter.empty}
        names = names_of(exercise, cases[0].probe)
        self.arguments = [self.defaults | names_of(exercise, c.probe) for c in self.cases]
        self.arguments = [{n: v for n, v in a.items() if n in names or n in _parameters(self.reference)}
                          for a in self.arguments]
        self.words = exercise.words

    def _differs(self, value: Any, case: Case) -> bool:
        return difference(value, case.expected.value, self.exercise.tolerance) is not None

    def again(self, fn: Callable, case: Case, probe: Any = None) -> Outcome:
        return run(self.exercise, fn, case.probe if probe is None else probe, case.seed)

    # -------------------------------------------------------------------------------------------- the rules
    def first(self) -> str:
        """The first rule that has something to say, or ""."""
        if not self.wrong:
            return self.gradient() if self.cases else ""
        if not any(difference(c.mine.value, c.expected.value, self.exercise.tolerance).values for c in self.wrong):
            return self._parts() if any("shape" in difference(  # a kind or dtype is told by its name
                c.mine.value, c.expected.value, self.exercise.tolerance).reason for c in self.wrong) else ""
        for rule in (self._draws, self._unused, self._parts, self._arguments, self._mended, self._changed_reference,
                     self._where, self._probes, self._degree, self._symmetries, self._independence, self._size):
            if said := rule():
                return said
        return ""

    def _draws(self) -> str:
        """Random numbers of its own."""
        case = self.wrong[0]
        other = run(self.exercise, self.fn, case.probe, case.seed + 17)
        theirs = run(self.exercise, self.reference, case.probe, case.seed + 17)
        if other.error is None and not _equal(other.value, case.mine.value) and _equal(theirs.value, case.expected.value):
            return "Called twice with the same arguments, yours gives two results: it draws random numbers of its own."
        return ""

    def _parts(self) -> str:
        """Which named parts are wrong, and what relation they have to the right ones."""
        known = {path: pairs for path in _leaves(self.cases[0].expected.value) if (pairs := self._pairs(path))}
        wrong = [path for path, pairs in known.items() if not all(p.right for p in pairs)]
        right = [path for path in known if path not in wrong]
        if not wrong:
            return ""
        said = relation([p for path in wrong for p in known[path]], self.exercise.unit)
        if not said and len(wrong) <= 3:
            said = relation(known[wrong[0]], self.exercise.unit)
        if not right or len(known) > 6:
            return said
        inner = said or self._arguments() or self._mended() or self._changed_reference() or self._where(wrong[0])
        return (f"{_listed([self.called(p) for p in right])} {'is' if len(right) == 1 else 'are'} right, "
                f"{_listed([self.called(p) for p in wrong])} {'is' if len(wrong) == 1 else 'are'} not. {inner}").strip()

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

    def called(self, path: str) -> str:
        """A part of the result in the exercise's words."""
        return self.words.get(path) or (f'"{path[2:-2]}"' if path.startswith("['") else f"the result{path}")

    def _pairs(self, path: str) -> list[Pair] | None:
        """One part of the result on all probes; None where it is no number, or its shape is another."""
        found = []
        for case, arguments in zip(self.cases, self.arguments):
            values = [_leaves(o.value).get(path) for o in (case.mine, case.expected)]
            got, expected = map(number, values)
            if got is None or expected is None:
                return None
            found.append(Pair(got, expected, arguments))
        return found

    # -------------------------------------------------------------------------------------------- arguments
    def _unused(self) -> str:
        """An argument that moves the reference and not the learner's result."""
        for name in self.arguments[0]:
            changed = [(self._with(c, {name: other}), c) for c, a in zip(self.cases, self.arguments)
                       if not _has_nan(c.mine.value) for other in _others(a.get(name))]
            changed = [(p, c) for p, c in changed if p is not None]
            if not changed or not self._moves(self.reference, changed):
                continue
            if not self._moves(self.fn, changed):
                return f"Your result does not depend on {self._argument(name)}: another value of it changes nothing."
        return ""

    def _moves(self, fn: Callable, changed: list) -> bool:
        """Whether the result is another on any of the changed probes."""
        for probe, case in changed:
            before = case.mine if fn is self.fn else case.expected
            after = self.again(fn, case, probe)
            if after.error is not None or not _equal(after.value, before.value):
                return True
        return False

    def _argument(self, name: str) -> str:
        return self.words.get(name, name)

    def _with(self, case: Case, new: Mapping[str, Any]) -> Any:
        """The probe with some arguments replaced; None if the exercise's harness does not take them by name."""
        if not new or any(v is None for v in new.values()):
            return None
        known = names_of(self.exercise, case.probe)
        names = list(known)
        merged = {**known, **new}
        if isinstance(case.probe, tuple) and all(n in known for n in new):
            return tuple(merged[n] for n in names)
        return merged if all(n.isidentifier() for n in merged) else None

    def _arguments(self) -> str:
        """The reference on changed arguments gives the learner's result: swapped, squared, normalised, ..."""
        for said, new in self._replacements():
            def changed(case: Case, arguments: Mapping[str, Any], new=new) -> Any:
                try:
                    return self._with(case, new(arguments))
                except Exception:  # an operation that this argument does not know
                    return None

            if self._all_equal(self.reference, changed):
                return f"Yours is what is expected with {said}."
        return ""

    def _all_equal(self, fn: Callable, changed: Callable | None = None, to_mine: bool = True) -> bool:
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

    def _replacements(self) -> Iterator[tuple[str, Callable]]:
        sample = self.arguments[0]
        for name, value in sample.items():
            called = self._argument(name)
            if name in self.defaults and any(not _equal(a.get(name), self.defaults[name]) for a in self.arguments):
                yield f"{called} always {self.defaults[name]!r}, its default", lambda a, name=name: {name: self.defaults[name]}
            for said, operation in _operations(value):
                yield said.format(called), lambda a, name=name, operation=operation: {name: operation(a[name])}
        tensors = [n for n, v in sample.items() if isinstance(v, Tensor) and v.is_floating_point() and v.ndim]
        if len(tensors) > 1:
            for said, operation in _operations(sample[tensors[0]]):
                yield (said.format(_listed(tensors)),
                       lambda a, operation=operation: {n: operation(a[n]) for n in tensors})
        for i, a_name in enumerate(sample):
            for b_name in list(sample)[i + 1:]:
                if _alike(sample[a_name], sample[b_name]):
                    yield (f"{a_name} and {b_name} exchanged",
                           lambda a, x=a_name, y=b_name: {x: a[y], y: a[x]})
                    yield f"{b_name} in the place of {a_name}", lambda a, x=a_name, y=b_name: {x: a[y]}
                    yield f"{a_name} in the place of {b_name}", lambda a, x=a_name, y=b_name: {y: a[x]}

    # -------------------------------------------------------------------------------------------- source
    def _mended(self) -> str:
        """One change of the learner's source that makes every value right: where it is, and of what kind."""
        return self._search(self.fn, to_mine=False)

    def _changed_reference(self) -> str:
        """One change of the reference that gives the learner's result."""
        return self._search(self.reference, to_mine=True)

    def _search(self, fn: Callable, to_mine: bool) -> str:
        try:
            source = Source(fn)
        except (OSError, TypeError, SyntaxError, IndexError, ValueError, KeyError):
            return ""
        if not inspect.isfunction(source.original) or getattr(source.tree.body[0], "name", "") != source.original.__name__:
            return ""
        end = time.process_time() + SECONDS
        for tried, (edit, made) in enumerate(_candidates(source)):
            if tried % 16 == 0 and time.process_time() > end:
                break
            if made is not None and self._all_equal(made, to_mine=to_mine):
                return _as_mending(source, edit) if not to_mine else _as_reference(source, edit)
        return ""

    # -------------------------------------------------------------------------------------------- places, probes
    def _where(self, path: str | None = None) -> str:
        paths = [path] if path is not None else [p for p in _leaves(self.cases[0].expected.value)]
        for p in paths:
            pairs = self._pairs(p)
            if pairs and not all(x.right for x in pairs) and (said := where_wrong(pairs, self.exercise.unit)):
                return said
        return ""

    def _probes(self) -> str:
        """What the probes on which it is right have in common."""
        right = [a for c, a in zip(self.cases, self.arguments) if not any(c is w for w in self.wrong) and not _nothing(c)]
        wrong = [a for c, a in zip(self.cases, self.arguments) if any(c is w for w in self.wrong)]
        if fact := in_common(right, wrong, self.defaults):
            return f"It is right where {fact} ({len(right)} of {len(self.cases)} probes), and wrong elsewhere."
        return ""

    # -------------------------------------------------------------------------------------------- symmetries
    def _degree(self) -> str:
        """Doubling the floating arguments: the expected result grows with a power, the learner's with another."""
        tensors = [n for n, v in self.arguments[0].items() if isinstance(v, Tensor) and v.is_floating_point() and v.ndim]
        for names in ([tensors] if len(tensors) > 1 else []) + [[n] for n in tensors]:
            powers = []
            for case, arguments in zip(self.cases, self.arguments):
                probe = self._with(case, {n: 2 * arguments[n] for n in names})
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
                return (f"Where {_listed(names)} {'is' if len(names) == 1 else 'are'} doubled, the expected value becomes "
                        f"{theirs}, yours {mine}: another power.")
        return ""

    def _symmetries(self) -> str:
        """A change of the arguments that leaves the expected result alone and moves the learner's, or the reverse."""
        for said, change in _changes_of(self.arguments[0]):
            try:
                changed = [(self._with(c, change(a)), c) for c, a in zip(self.cases, self.arguments)
                           if any(c is w for w in self.wrong)]
            except Exception:
                continue
            if not changed or any(p is None for p, _ in changed):
                continue
            theirs = [self._moves(self.reference, [pair]) for pair in changed]
            mine = [self._moves(self.fn, [pair]) for pair in changed]
            if not any(theirs) and all(mine):
                return f"{said} must not change the result, but it changes yours."
            if all(theirs) and not any(mine):
                return f"{said} must change the result, but it does not change yours."
        return ""

    def _independence(self) -> str:
        """A row of the result that depends on other rows of the arguments, or does not."""
        def others(case: Case, arguments: Mapping[str, Any]) -> Any:
            tensors = {n: v for n, v in arguments.items() if isinstance(v, Tensor) and v.is_floating_point() and v.ndim > 1}
            rows = {len(v) for v in tensors.values()}
            if len(rows) != 1 or min(rows) < 2:
                return None
            return self._with(case, {n: torch.cat([v[:1], 1.7 * v[1:].flip(0) + 0.3]) for n, v in tensors.items()})

        depends = {True: [], False: []}
        for case, arguments in zip(self.cases, self.arguments):
            probe = others(case, arguments)
            if probe is None:
                return ""
            for fn in (self.fn, self.reference):
                before, after = (case.mine if fn is self.fn else case.expected).value, self.again(fn, case, probe).value
                if not all(isinstance(v, Tensor) and v.ndim > 1 for v in (before, after)) or before.shape != after.shape:
                    return ""
                depends[fn is self.fn].append(not near(after[0].double(), before[0].double()))
        if all(depends[True]) and not any(depends[False]):
            return "The first row of your result changes with the other rows of the batch; each should depend on its own only."
        if all(depends[False]) and not any(depends[True]):
            return "Each row of your result depends on its own row only; the expected one depends on the whole batch."
        return ""

    def _size(self) -> str:
        """The last resort: too large or too small on every wrong probe, and by how much."""
        pairs = self._pairs("")
        if not pairs or any(p.got.numel() != 1 or p.expected.numel() != 1 for p in pairs):
            return ""
        pairs = [p for p in pairs if not p.right]
        if all(p.got > p.expected for p in pairs) or all(p.got < p.expected for p in pairs):
            word = "large" if pairs[0].got > pairs[0].expected else "small"
            gaps = [abs((p.got - p.expected).item()) for p in pairs]
            return f"Yours is too {word} on every probe, by {min(gaps):.3g} to {max(gaps):.3g}."
        return ""


def clue(exercise: Exercise, fn: Callable, cases: list[Case]) -> str:
    """One or two sentences on what is wrong with `fn`, true of every probe; "" if no rule fits."""
    return Clues(exercise, fn, cases).first()


# ------------------------------------------------------------------------------------------------ helpers
def _parameters(fn: Callable) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return {}


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """The parts of a result by their path: "" for a single one, "['loss']", "[1]"."""
    if isinstance(value, Mapping):
        return {k: v for key, part in value.items() for k, v in _leaves(part, f"{path}[{key!r}]").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, part in enumerate(value) for k, v in _leaves(part, f"{path}[{i}]").items()}
    return {path: value}


def _equal(a: Any, b: Any) -> bool:
    return difference(a, b, 1e-7) is None


def _nothing(case: Case) -> bool:
    """Whether the expected result is zero or NaN throughout: then many a wrong answer is right."""
    values = [number(v) for v in _leaves(case.expected.value).values()]
    return all(v is not None and not v.nan_to_num().any() for v in values)


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype
    numbers = (int, float)
    return isinstance(a, numbers) and isinstance(b, numbers) and isinstance(a, bool) == isinstance(b, bool)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _has_nan(value: Any) -> bool:
    return any(v is None or bool(v.isnan().any()) for v in map(number, _leaves(value).values()))


def _others(value: Any) -> list[Any]:
    """Other values of the same kind, to see whether it matters; none where none is known."""
    if isinstance(value, float) and not isinstance(value, bool):
        return [0.7 * value + 0.11, 0.35 * value, 0.5 + value / 2 if value < 1 else 2 * value]
    if isinstance(value, int) and not isinstance(value, bool):
        return [value + 1, value + 3]
    other = _other(value)
    return [] if other is None else [other]


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, Tensor) and value.is_floating_point() and value.ndim:
        twin = clone(value)
        return twin.flip(-1) * torch.linspace(0.6, 1.9, twin.shape[-1], dtype=twin.dtype) + 0.3 * twin.roll(1, 0)
    if isinstance(value, Tensor) and value.dtype == torch.bool:
        return value.roll(1, -1)
    if isinstance(value, Tensor) and value.ndim and not value.is_complex():
        return value.roll(1, -1)
    return None


def _operations(value: Any) -> Iterator[tuple[str, Callable]]:
    """What may have been done to an argument, in words."""
    if isinstance(value, bool):
        yield "{} always True", lambda x: True
        yield "{} always False", lambda x: False
        yield "{} the other way round", lambda x: not x
    elif isinstance(value, float):
        yield from (("1 / {0} for {0}", lambda x: 1 / x), ("{} squared", lambda x: x * x),
                    ("the root of {0} for {0}", lambda x: x**0.5), ("1 - {0} for {0}", lambda x: 1 - x),
                    ("minus {}", lambda x: -x), ("twice {}", lambda x: 2 * x), ("half of {}", lambda x: x / 2),
                    ("{} 1 (left out)", lambda x: 1.0), ("{} 0 (left out)", lambda x: 0.0), ("1 + {0} for {0}", lambda x: 1 + x))
    elif isinstance(value, int):
        yield from (("{0} + 1 for {0}", lambda x: x + 1), ("{0} - 1 for {0}", lambda x: x - 1),
                    ("twice {}", lambda x: 2 * x), ("half of {}", lambda x: x // 2), ("{} always 0", lambda x: 0),
                    ("{} always 1", lambda x: 1), ("{} always 2", lambda x: 2), ("{} always 3", lambda x: 3))
    elif isinstance(value, Tensor) and value.dtype == torch.bool:
        yield from (("the complement of {}", lambda x: ~x), ("all of {} True", torch.ones_like),
                    ("all of {} False", torch.zeros_like), ("the first row of {} for all", lambda x: x[:1].expand_as(x)),
                    ("{} transposed", lambda x: x.mT.contiguous() if x.shape[-1] == x.shape[-2] else None),
                    ("{} rolled by one", lambda x: x.roll(1, -1)))
    elif isinstance(value, Tensor) and value.is_floating_point() and value.ndim:
        yield from (
            ("minus {}", lambda x: -x), ("{} squared", lambda x: x * x), ("the absolute values of {}", abs),
            ("the rows of {} scaled to length 1", lambda x: F.normalize(x, dim=-1)),
            ("{} scaled to length 1 along axis 0", lambda x: F.normalize(x, dim=0)),
            ("{} divided by the norm of all of it", lambda x: x / x.norm()),
            ("the mean of all of {} taken off", lambda x: x - x.mean()),
            ("the mean of {} over axis 0 taken off", lambda x: x - x.mean(0)),
            ("the mean of each row of {} taken off", lambda x: x - x.mean(-1, keepdim=True)),
            ("{} standardised over axis 0", lambda x: (x - x.mean(0)) / x.std(0)),
            ("each row of {} standardised", lambda x: (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)),
            ("softmax of {} over the last axis", lambda x: x.softmax(-1)), ("log_softmax of {}", lambda x: x.log_softmax(-1)),
            ("{} in reverse order", lambda x: x.flip(0)), ("{} moved on by one row", lambda x: x.roll(1, 0)),
            ("the first row of {} for all", lambda x: x[:1].expand_as(x).clone()),
            ("{} 0 (left out)", torch.zeros_like), ("{} 1 (left out)", torch.ones_like),
            ("twice {}", lambda x: 2 * x), ("half of {}", lambda x: x / 2), ("1 / {0} for {0}", lambda x: 1 / x),
            ("exp of {}", torch.exp), ("the root of {}", torch.sqrt), ("{} transposed", lambda x: x.mT.contiguous()),
            ("{} turned by 180 degrees in its last two axes", lambda x: x.flip(-1, -2)),
            ("1 - {0} for {0}", lambda x: 1 - x), ("{} cut off at 0", lambda x: x.clamp(min=0)),
            ("one-hot maxima of {} along the last axis",
             lambda x: F.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype)),
            ("the mean of {} over axis 0 for each row", lambda x: x.mean(0, keepdim=True).expand_as(x).clone()))
    elif isinstance(value, Tensor) and value.ndim:
        yield from (("the inverse permutation of {}", lambda x: x.argsort(-1)), ("{} in reverse order", lambda x: x.flip(-1)),
                    ("the first row of {} for all", lambda x: x[:1].expand_as(x) if x.ndim > 1 else None),
                    ("{} in its natural order", lambda x: x.sort(-1).values))
    elif isinstance(value, list):
        yield from (("{} in reverse order", lambda x: x[::-1]), ("only the first of {}", lambda x: x[:1]),
                    ("only the first two of {}", lambda x: x[:2]), ("{} without the first", lambda x: x[1:]),
                    ("the first of {} for all", lambda x: [x[0]] * len(x)))


def _changes_of(sample: Mapping[str, Any]) -> Iterator[tuple[str, Callable]]:
    """Changes of the arguments that a result may be blind to, in words."""
    tensors = [n for n, v in sample.items() if isinstance(v, Tensor) and v.is_floating_point() and v.ndim]

    def _half(v: Tensor) -> Tensor:
        return torch.cat([v[..., :v.shape[-1] // 2], 1.7 * v[..., v.shape[-1] // 2:]], -1)

    def rows(v: Tensor) -> Tensor:
        return torch.linspace(0.5, 2, len(v), dtype=v.dtype).view(-1, *[1] * (v.ndim - 1))

    operations: list[tuple[str, Callable]] = [
        ("Scaling all of {}", lambda v: 1.7 * v), ("Adding one number to all of {}", lambda v: v + 0.6),
        ("Scaling each row of {} by a number of its own", lambda v: v * rows(v)),
        ("Adding a number to each row of {}", lambda v: v + rows(v)),
        ("Scaling each column of {} by a number of its own",
         lambda v: v * torch.linspace(0.5, 2, v.shape[-1], dtype=v.dtype)),
        ("Adding a number to each column of {}", lambda v: v + torch.linspace(0.5, 2, v.shape[-1], dtype=v.dtype)),
        ("Another order of the rows of {}", lambda v: v.roll(1, 0)),
        ("Another order of the columns of {}", lambda v: v.roll(1, -1)),
        ("The opposite sign of {}", lambda v: -v), ("Scaling the second half of {} along the last axis", _half),
        ("Other values in the first row of {}", lambda v: torch.cat([v[:1].flip(-1) * 1.3 + 0.4, v[1:]])),
        ("Other values in the last row of {}", lambda v: torch.cat([v[:-1], v[-1:].flip(-1) * 1.3 + 0.4]))]
    for said, operation in operations:
        for name in tensors:
            yield said.format(name), lambda a, name=name, operation=operation: {name: operation(a[name])}
        if len(tensors) > 1:
            yield (said.format(_listed(tensors) + " alike"),
                   lambda a, operation=operation: {n: operation(a[n]) for n in tensors})
    for i, a_name in enumerate(tensors):
        for b_name in tensors[i + 1:]:
            if sample[a_name].shape == sample[b_name].shape:
                yield f"Exchanging {a_name} and {b_name}", lambda a, x=a_name, y=b_name: {x: a[y], y: a[x]}


def _candidates(source: Source) -> Iterator[tuple[Edit, Callable | None]]:
    for edit in source.edits():
        yield edit, source.compiled()
    yield from insertions(source)


def _as_mending(source: Source, edit: Edit) -> str:
    place, line = source.context(edit.node), source.line_of(edit.node)
    what = {"drop": f"`{edit.said}` does not belong there", "swap": f"look at `{edit.said}`",
            "add": f"{edit.said} is missing around `{short(edit.node)}`"}[edit.kind]
    return f"One step from right: line {line}, `{place}`: {what}."


def _as_reference(source: Source, edit: Edit) -> str:
    if edit.kind == "drop":
        return f"Yours is what comes out when `{edit.said}` is left out."
    if edit.kind == "swap":
        return f"Yours is what comes out with `{source.context(edit.node, edit.after)}`, which is not quite what is needed."
    return f"Yours is what comes out with {edit.said} too much, around `{short(edit.node)}`."
