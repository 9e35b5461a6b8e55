"""A part of the result on one probe, beside what it should be, and when the two agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CLOSE = 1e-5  # of the largest expected magnitude: above the rounding of float32


@dataclass
class Pair:
    """One probe: the learner's part, the expected one, and the arguments by name, defaults filled in."""

    got: Tensor
    expected: Tensor
    arguments: Mapping[str, Any]

    @property
    def right(self) -> bool:
        return near(self.got, self.expected)


def number(value: Any) -> Tensor | None:
    """A float64 tensor of a part of a result; None if it is no number."""
    try:
        return torch.as_tensor(value).detach().double()
    except (TypeError, ValueError, RuntimeError):
        return None


def near(a: Any, b: Tensor) -> bool:
    """Whether two results agree up to rounding, NaN and infinities included."""
    if not isinstance(a, Tensor) or a.shape != b.shape:
        return False
    finite = b[b.isfinite()]
    bound = CLOSE * (finite.abs().max().item() if finite.numel() else 1.0) + 1e-12
    return bool(torch.isclose(a.double(), b.double(), rtol=0, atol=bound, equal_nan=True).all())
