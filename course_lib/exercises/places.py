"""Which entries of a wrong result are wrong, and on which probes: the diagonal, hidden positions, a stride not 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.difference import difference
from course_lib.exercises.pairs import CLOSE, Pair


# ------------------------------------------------------------------------------------------------ entries
def where_wrong(pairs: list[Pair], unit: str = "positions") -> str:
    """One sentence that names the entries that are wrong, if they are the same kind on every probe; "" otherwise."""
    wrong = [(p, bad) for p in pairs if p.got.shape == p.expected.shape and p.expected.ndim
             and (bad := _bad(p)).any()]
    if not wrong or any(bad.numel() < 3 for _, bad in wrong):
        return ""
    kinds = [dict(_kinds(p, unit)) for p, _ in wrong]
    for kind in kinds[0]:
        masks = [k[kind] for k in kinds if kind in k]
        if len(masks) < len(kinds) or any(not m.any() or m.all() for m in masks):
            continue
        # the rest must say something: zeros that are right in any case do not
        if (all(not (bad & ~m).any() for (_, bad), m in zip(wrong, masks))
            and all(len(p.expected[~m].unique()) > 1 or (p.expected[m] == 0).all()
                    for (p, _), m in zip(wrong, masks))):
            return f"All that is wrong lies in {kind}; the rest is right."
    return ""


def _bad(p: Pair) -> Tensor:
    finite = p.expected[p.expected.isfinite()]
    scale = finite.abs().max().item() if finite.numel() else 1.0
    return ~torch.isclose(p.got, p.expected, rtol=0, atol=CLOSE * scale + 1e-12, equal_nan=True)


def _kinds(p: Pair, unit: str) -> Iterator[tuple[str, Tensor]]:
    """(words, entries) of the kinds of places that a result of this shape has."""
    shape = p.expected.shape
    for name, mask in p.arguments.items():
        if isinstance(mask, Tensor) and mask.dtype == torch.bool and (spread := _spread(mask, shape)) is not None:
            yield (f"hidden {unit}" if name == "visible" else f"entries where {name} is False"), ~spread
            yield (f"visible {unit}" if name == "visible" else f"entries where {name} is True"), spread
    if len(shape) == 2:
        for words, at in (("first", 0), ("last", -1)):
            corner = torch.zeros(shape, dtype=torch.bool)
            corner[at, at] = True
            yield f"one entry, {words} row, {words} column", corner
            if min(shape) > 3:  # a class token's; of a smaller result it is nearly all
                edge = corner.any(1)[:, None] | corner.any(0)
                yield f"the {words} row and the {words} column", edge
    if len(shape) == 2 and shape[0] == shape[1]:
        eye = torch.eye(shape[0], dtype=torch.bool)
        yield "the entries on the diagonal", eye
        yield "the entries off the diagonal", ~eye
        yield "the entries above the diagonal", torch.ones(shape, dtype=torch.bool).triu(1)
        yield "the entries below the diagonal", torch.ones(shape, dtype=torch.bool).tril(-1)
    for axis, size in enumerate(shape):
        if size > 1:
            at = torch.arange(size).view([-1 if a == axis else 1 for a in range(len(shape))]).expand(shape)
            plain = {(0, 1): "entries", (0, 2): "rows", (1, 2): "columns"}
            word = plain.get((axis, len(shape)), f"entries of axis {axis}")
            one = word.replace("rows", "row").replace("columns", "column").replace("entries", "entry")
            for (text, chosen) in ((f"the first {one}", at == 0), (f"the last {one}", at == size - 1)):
                yield f"the values in {text}", chosen
                yield f"the values in all {word} but {text.rsplit(maxsplit=1)[0]}", ~chosen
            if size > 2:
                yield f"the values in the second half of the {word}", at >= size // 2
                yield f"the values in the first half of the {word}", at < (size + 1) // 2
                yield f"the values in every second one of the {word}", at % 2 == 1
    if not p.expected.bool().all() and ((p.expected != 0) & (p.expected != 1)).any():
        yield "the entries that should be 0", p.expected == 0
        yield "the entries that should not be 0", p.expected != 0
    if (p.expected < 0).any() and (p.expected > 0).any():
        yield "the entries that should be negative", p.expected < 0
        yield "the entries that should be positive", p.expected > 0


def _spread(mask: Tensor, shape: torch.Size) -> Tensor | None:
    """A mask of images, patches or positions at the size of a result; None if it does not fit."""
    if mask.ndim == 4 and mask.shape[1] == 1 and len(shape) == 4:
        mask = mask[:, 0]
    if mask.ndim == 3 and len(shape) == 4 and mask.shape[0] == shape[0]:
        if shape[-1] % mask.shape[-1] or shape[-2] % mask.shape[-2]:
            return None
        return (F.interpolate(mask[:, None].float(), size=tuple(shape[-2:])) > 0.5).expand(shape)
    if mask.ndim <= len(shape) and mask.shape == shape[:mask.ndim]:
        return mask.view(*mask.shape, *[1] * (len(shape) - mask.ndim)).expand(shape)
    return None


# ------------------------------------------------------------------------------------------------ probes
def in_common(right: Sequence[Mapping[str, Any]], wrong: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> str:
    """What the arguments of the right probes share and those of the wrong ones have not: words, or "".

    given: the defaults of the function.
    """
    if not right or not wrong:
        return ""
    for facts in (_settings, _sizes) if len(right) > 1 else (_settings,):  # one probe has many sizes: chance
        tests = [dict(facts(a, given)) for a in (*right, *wrong)]
        shared = [fact for fact in tests[0] if all(t.get(fact) is True for t in tests[:len(right)])
                  and all(t.get(fact) is False for t in tests[len(right):])]
        if shared:  # of several defaults, which one matters is not known
            return " and ".join([fact for fact in shared if "has its default" in fact] or shared[:1])
    return ""


def _settings(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Facts of what is handed over: a default, None, True, a number 0 or 1."""
    for name, value in arguments.items():
        if isinstance(value, bool):
            yield f"{name} is True", value
            yield f"{name} is False", not value
        elif name in given:
            yield f"{name} has its default {given[name]!r}", value == given[name]
            yield f"{name} has another value than its default {given[name]!r}", value != given[name]
        if value is None or isinstance(value, (bool, Tensor)):
            yield f"{name} is None", value is None
            yield f"{name} is given", value is not None
        if isinstance(value, Tensor):
            yield from ((f"{name} has {axes} axes", value.ndim == axes) for axes in range(2, 5))
        if isinstance(value, Tensor) and value.dtype == torch.bool:
            yield f"all of {name} is True", bool(value.all())
            yield f"not all of {name} is True", not value.all()
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            for bound in (0, 1, 2):
                yield f"{name} is {bound}", value == bound
                yield f"{name} is not {bound}", value != bound


def _sizes(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Facts that compare numbers and sizes."""
    numbers: dict[str, float] = {}
    for name, value in arguments.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers[name] = value
        elif isinstance(value, Tensor) and value.ndim == 0:
            numbers[name] = value.item()
        elif isinstance(value, (list, tuple)):
            numbers[f"the number of {name}"] = len(value)
    numbers |= {f"the size of axis {axis} of {name}": size for name, value in arguments.items()
                if isinstance(value, Tensor) and value.dtype != torch.bool for axis, size in enumerate(value.shape)}
    for name, value in numbers.items():
        for bound in (0, 1, 2):
            yield f"{name} is {bound}", value == bound
            yield f"{name} is not {bound}", value != bound
    for (a, x), (b, y) in ((p, q) for p in numbers.items() for q in numbers.items() if p[0] < q[0]):
        if not all(isinstance(v, int) for v in (x, y)):
            continue  # two numbers of different kinds, such as a temperature and a share: chance
        yield f"{a} and {b} are equal", x == y
        yield f"{a} and {b} differ", x != y
        yield f"{a} is at most {b}", x <= y
        yield f"{a} is larger than {b}", x > y
        yield f"{a} is smaller than {b}", x < y
        yield f"{a} is at least {b}", x >= y
        if y > 0 and x >= 0:
            yield f"{a} is a multiple of {b}", math.fmod(x, y) == 0
            yield f"{a} is no multiple of {b}", math.fmod(x, y) != 0


# ------------------------------------------------------------------------------------------------ training steps
def in_which_step(results: Sequence[tuple[Any, Any]], tolerance: float) -> str:
    """Of pairs of results with the losses of several steps: that the first loss is wrong, if on every probe."""
    right = []
    for pair in results:
        losses = [value["losses"] for value in pair if isinstance(value, dict) and "losses" in value]
        if len(losses) < 2 or not all(isinstance(each, (list, tuple)) and len(each) > 1 for each in losses):
            return ""
        right.append(difference(losses[0][0], losses[1][0], tolerance) is None)
    return "" if any(right) else "The loss of the first step is wrong already: look at what stands before the update."
