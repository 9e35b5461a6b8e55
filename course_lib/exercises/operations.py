"""What may have been done to an argument, in words: other values, operations, changes a result may be blind to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.difference import clone


def others(value: Any) -> list[Any]:
    """Other values of the same kind, to see whether it matters; none where none is known."""
    if isinstance(value, float) and not isinstance(value, bool):
        return [0.7 * value + 0.11, 0.35 * value, 0.5 + value / 2 if value < 1 else 2 * value]
    if isinstance(value, int) and not isinstance(value, bool):
        # a limit that is met, or far away, moves nothing by a little: smaller numbers, 0 and a large one as well
        return [value + 1, value + 3, 2 * value, value + 20, *([value - 1, 0] if value > 0 else [])]
    other = _other(value)
    found = [] if other is None else [other]
    if isinstance(value, Tensor) and value.ndim > 1 and not value.is_floating_point() and other is not None:
        found.append(value.roll(1, -2))  # what looks at rows alone does not see columns move
    return found


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


def floats(arguments: Mapping[str, Any]) -> list[str]:
    """The names of the floating tensors among the arguments."""
    return [n for n, v in arguments.items() if isinstance(v, Tensor) and v.is_floating_point() and v.ndim]


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype
    numbers = (int, float)
    return isinstance(a, numbers) and isinstance(b, numbers) and isinstance(a, bool) == isinstance(b, bool)


def operations(value: Any) -> Iterator[tuple[str, Callable]]:
    """What may have been done to an argument, in words."""
    if isinstance(value, bool):
        yield "{} always True", lambda x: True
        yield "{} always False", lambda x: False
        yield "{} the other way round", lambda x: not x
    elif isinstance(value, float):
        yield from (("1 / {0} for {0}", lambda x: 1 / x), ("{} squared", lambda x: x * x),
                    ("the root of {0} for {0}", lambda x: x**0.5), ("1 - {0} for {0}", lambda x: 1 - x),
                    ("minus {}", lambda x: -x), ("twice {}", lambda x: 2 * x), ("half of {}", lambda x: x / 2),
                    ("{} 1 (left out)", lambda x: 1.0), ("{} 0 (left out)", lambda x: 0.0),
                    ("1 + {0} for {0}", lambda x: 1 + x))
    elif isinstance(value, int):
        yield from (("{0} + 1 for {0}", lambda x: x + 1), ("{0} - 1 for {0}", lambda x: x - 1),
                    ("twice {}", lambda x: 2 * x), ("half of {}", lambda x: x // 2), ("{} always 0", lambda x: 0),
                    ("{} always 1", lambda x: 1), ("{} always 2", lambda x: 2), ("{} always 3", lambda x: 3))
    elif isinstance(value, Tensor) and value.dtype == torch.bool:
        yield from (("the complement of {}", lambda x: ~x), ("all of {} True", torch.ones_like),
                    ("all of {} False", torch.zeros_like),
                    ("the first row of {} for all", lambda x: x[:1].expand_as(x)),
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
            ("softmax of {} over the last axis", lambda x: x.softmax(-1)),
            ("log_softmax of {}", lambda x: x.log_softmax(-1)),
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
        yield from (("the inverse permutation of {}", lambda x: x.argsort(-1)),
                    ("{} in reverse order", lambda x: x.flip(-1)),
                    ("the first row of {} for all", lambda x: x[:1].expand_as(x) if x.ndim > 1 else None),
                    ("{} in its natural order", lambda x: x.sort(-1).values))
    elif isinstance(value, list):
        yield from (("{} in reverse order", lambda x: x[::-1]), ("only the first of {}", lambda x: x[:1]),
                    ("only the first two of {}", lambda x: x[:2]), ("{} without the first", lambda x: x[1:]),
                    ("the first of {} for all", lambda x: [x[0]] * len(x)))


def changes_of(sample: Mapping[str, Any]) -> Iterator[tuple[str, Callable]]:
    """Changes of the arguments that a result may be blind to, in words."""
    tensors = floats(sample)

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
            yield (said.format(listed(tensors) + " alike"),
                   lambda a, operation=operation: {n: operation(a[n]) for n in tensors})
    for i, a_name in enumerate(tensors):
        for b_name in tensors[i + 1:]:
            if sample[a_name].shape == sample[b_name].shape:
                yield f"Exchanging {a_name} and {b_name}", lambda a, x=a_name, y=b_name: {x: a[y], y: a[x]}


def listed(names: list[str]) -> str:
    """"a, b and c"."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
