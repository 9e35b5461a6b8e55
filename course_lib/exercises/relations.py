"""What a wrong result has to do with the right one: a factor, a power, an order, a place. Rules that know no exercise.

Each rule sees one part of the result on all probes, as pairs of float64 tensors of one shape, and speaks only if it
explains every probe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from course_lib.exercises.factors import affine, factor, offset
from course_lib.exercises.pairs import CLOSE, Pair, near


def relation(pairs: list[Pair], unit: str = "positions") -> str:
    """One sentence on how the learner's part differs from the expected one, on every probe; "" if no rule fits."""
    if any(p.got.shape != p.expected.shape for p in pairs):
        return _shapes(pairs)
    if all(p.got.numel() == 1 and {p.got.item(), p.expected.item()} <= {0, 1} for p in pairs):
        return ""  # a yes or no
    pairs = [p for p in pairs if p.expected.isfinite().all()]
    if not pairs or not all(p.got.isfinite().all() for p in pairs):
        return ""
    for rule in (_transformed, factor, offset, affine, _counts, _lengths, _order):
        if said := rule(pairs, unit):
            return said
    return ""


# ------------------------------------------------------------------------------------------------ one operation
def _operations(dims: int) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    yield "has the opposite sign", lambda e: -e
    yield "is one minus the expected value", lambda e: 1 - e
    yield "is the square of the expected value", lambda e: e.square()
    yield "is the square root of the expected value", lambda e: e.sqrt()
    yield "is the absolute value of the expected one", lambda e: e.abs()
    yield "is the logarithm of the expected value", lambda e: e.log()
    yield "is minus the logarithm of the expected value", lambda e: -e.log()
    yield "is exp of the expected value", lambda e: e.exp()
    yield "is one over the expected value", lambda e: 1 / e
    yield "is the expected value, cut off at 0", lambda e: e.clamp(min=0)
    yield "is the expected value, cut off at 1", lambda e: e.clamp(max=1)
    yield "is the expected value, rounded down", lambda e: e.floor()
    yield "is the expected value, rounded up", lambda e: e.ceil()
    yield "is the expected value, rounded", lambda e: e.round()
    if dims >= 2:
        yield "is the expected one transposed", lambda e: e.mT
        yield "is the expected one with axes 0 and 1 exchanged", lambda e: e.transpose(0, 1)
        yield "keeps only the upper triangle of the expected one", torch.triu
        yield "keeps only the lower triangle of the expected one", torch.tril
        yield "has rows of length 1 where the expected ones have not", lambda e: e / e.norm(dim=-1, keepdim=True)
    if dims == 2:
        yield "is the expected one with 0 on the diagonal", lambda e: e - torch.diag_embed(e.diagonal())
    for axis in range(dims):
        yield f"is the expected one in reverse order along axis {axis}", lambda e, axis=axis: e.flip(axis)
        for shift in (1, -1):
            yield (f"is the expected one moved by {abs(shift)} along axis {axis}",
                   lambda e, axis=axis, shift=shift: e.roll(shift, axis))
        yield (f"has its mean over axis {axis} taken off, which the expected one has not",
               lambda e, axis=axis: e - e.mean(axis, keepdim=True))
        yield (f"is divided by its sum over axis {axis}, which the expected one is not",
               lambda e, axis=axis: e / e.sum(axis, keepdim=True))
        yield f"is the softmax over axis {axis} of the expected one", lambda e, axis=axis: e.softmax(axis)
        yield f"is the expected one sorted along axis {axis}", lambda e, axis=axis: e.sort(axis).values
        yield (f"repeats the first entry of axis {axis} for all the others",
               lambda e, axis=axis: e.narrow(axis, 0, 1).expand_as(e))
        yield f"is the running sum of the expected one over axis {axis}", lambda e, axis=axis: e.cumsum(axis)


def _transformed(pairs: list[Pair], unit: str) -> str:
    mask = all(((p.expected == 0) | (p.expected == 1)).all() and ((p.got == 0) | (p.got == 1)).all() for p in pairs)
    if mask and all(near(p.got, 1 - p.expected) for p in pairs) and any(p.got.numel() > 1 for p in pairs):
        return "Yours is the complement of the expected one: True and False (1 and 0) are exchanged."
    for values in (torch.cat([getattr(p, side).flatten() for p in pairs]) for side in ("got", "expected")):
        if len(values.unique()) < 3:  # too few numbers to tell one operation from another
            return ""
    for said, operation in _operations(min(p.expected.ndim for p in pairs)):
        if _fits(pairs, operation):
            return f"Yours {said}."
    # the other way round, where an operation loses something
    if all(near(p.got.abs(), p.expected.abs()) for p in pairs):
        return "Yours has the right magnitude; the signs differ."
    for said, operation in (("rounded up", torch.ceil), ("rounded down", torch.floor), ("rounded", torch.round),
                            ("cut off at 0", torch.relu)):
        if all(near(operation(p.got), p.expected) for p in pairs):
            return f"Yours, {said}, would be right."
    return ""


def constant(pairs: list[Pair]) -> str:
    """One and the same number on all probes."""
    got, expected = (torch.cat([getattr(p, side).flatten() for p in pairs]) for side in ("got", "expected"))
    if len(pairs) > 1 and len(got.unique()) == 1 and len(expected.unique()) > 1 and got.isfinite().all():
        return f"Yours is {got[0].item():.4g} on every probe, whatever the arguments."
    return ""


def _fits(pairs: list[Pair], operation: Callable[[Tensor], Tensor]) -> bool:
    try:
        return all(near(p.got, operation(p.expected)) for p in pairs)
    except (RuntimeError, IndexError):  # not for this shape
        return False


# ------------------------------------------------------------------------------------------------ order, rows, counts
def _lengths(pairs: list[Pair], unit: str) -> str:
    """Each row (column) is the expected one times a number of its own."""
    if any(p.expected.ndim < 2 for p in pairs):
        return ""
    for axis, word in ((-1, "row"), (0, "column")):
        if all(p.expected.shape[axis] > 1 for p in pairs):
            if all(_parallel(p, axis) for p in pairs):
                return (f"Each {word} of yours is the expected one times a number of its own: the {word}s are scaled "
                        "otherwise (length, sum, deviation?).")
            if all(_shifted(p, axis) for p in pairs):
                return f"Each {word} of yours is the expected one plus a number of its own."
    return ""


def _parallel(p: Pair, axis: int) -> bool:
    weight = (p.got * p.expected).sum(axis, keepdim=True) / p.expected.square().sum(axis, keepdim=True)
    return near(p.got, torch.where(weight.isfinite(), weight, 0.0) * p.expected)


def _shifted(p: Pair, axis: int) -> bool:
    d = p.got - p.expected
    return bool((d - d.mean(axis, keepdim=True)).abs().max() <= CLOSE * max(p.expected.abs().max().item(), 1e-3))


def _order(pairs: list[Pair], unit: str) -> str:
    if not all(p.got.numel() > 1 for p in pairs) or all(_same_entries(p, None) and p.right for p in pairs):
        return ""
    if not all(_same_entries(p, None) for p in pairs) or all(len(p.expected.unique()) < 3 for p in pairs):
        return ""
    for axis, word in ((-1, "in each row"), (0, "in each column")):
        if all(p.expected.ndim > 1 and _same_entries(p, axis) for p in pairs):
            return f"{word.capitalize()} the right numbers stand in another order."
    return "The right numbers are there, in another order."


def _same_entries(p: Pair, axis: int | None) -> bool:
    a, b = (x.flatten().sort().values if axis is None else x.sort(axis).values for x in (p.got, p.expected))
    return near(a, b)


def _counts(pairs: list[Pair], unit: str) -> str:
    """Masks: more or fewer True than expected, or as many in other places."""
    if not all(((x == 0) | (x == 1)).all() for p in pairs for x in (p.got, p.expected)):
        return ""
    pairs = [p for p in pairs if p.expected.numel() > 1]
    wrong = [p for p in pairs if not p.right]
    if not wrong:
        return ""
    first = wrong[0]
    row = "row" if first.got.ndim == 2 else "image" if unit in ("patches", "pixels") else "entry of axis 0"
    rows = [x.flatten(1).sum(1) if x.ndim > 1 else x.sum()[None] for x in (first.got, first.expected)]
    each = f" in each {row}" if first.got.ndim > 1 and all((r == r[0]).all() for r in rows) else ""
    counts = [int(r[0] if each else r.sum()) for r in rows]
    extra = all((p.got >= p.expected).all() for p in pairs)
    missing = all((p.got <= p.expected).all() for p in pairs)
    if extra or missing:
        what = ("Every entry that should be True is, but others are, too" if extra
                else "Some entries that should be True are not")
        return f"{what}: {counts[0]} True{each}, expected {counts[1]}."
    equal = all(_same_entries(p, None) for p in pairs)
    if all(p.got.ndim > 1 and torch.equal(p.got.flatten(1).sum(1), p.expected.flatten(1).sum(1)) for p in pairs):
        return f"Each {row} has the right number of True, in other places."
    if equal:
        return f"The right number of True in all, but not in each {row}."
    if counts[0] != counts[1]:
        return f"{counts[0]} True{each}, expected {counts[1]}, and not in the same places."
    return ""


def _shapes(pairs: list[Pair]) -> str:
    """What would mend the shape."""
    for said, mend in (("transposed, yours is right", lambda g: g.mT),
                       ("without its axes of size 1, yours is right", torch.squeeze),
                       ("the sum of yours is right", torch.sum), ("the mean of yours is right", torch.mean)):
        if _mended(pairs, mend):
            return said[0].upper() + said[1:] + "."
    for axis in range(min(p.got.ndim for p in pairs)):
        for word in ("sum", "mean"):
            if _mended(pairs, lambda g, axis=axis, word=word: getattr(g, word)(axis)):
                return f"The {word} of yours over axis {axis} is right."
            if _mended(pairs, lambda g, axis=axis, word=word: getattr(g, word)(axis, keepdim=True)):
                return f"The {word} of yours over axis {axis}, that axis kept, is right."
    first = pairs[0]
    if first.got.numel() == first.expected.numel() and all(_flat(p) for p in pairs):
        return "The right numbers in the right order, in another shape."
    if all(p.got.numel() == p.expected.numel() and _same_entries_of(p) for p in pairs):
        return "The right numbers, in another order and shape."
    return ""


def _mended(pairs: list[Pair], mend: Callable[[Tensor], Tensor]) -> bool:
    try:
        return all(near(mend(p.got), p.expected) for p in pairs)
    except (RuntimeError, IndexError):
        return False


def _flat(p: Pair) -> bool:
    return p.got.numel() == p.expected.numel() and near(p.got.flatten(), p.expected.flatten())


def _same_entries_of(p: Pair) -> bool:
    return near(p.got.flatten().sort().values, p.expected.flatten().sort().values)
