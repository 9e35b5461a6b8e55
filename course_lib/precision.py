"""Losses in float32 under autocast."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 converted to float32; other types unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_positive(name: str, value: float) -> None:
    """ValueError unless the value, a temperature or the like, is above 0."""
    if not value > 0:
        raise ValueError(f"{name} is {value}; expected a number above 0")


def check_several(rows: Tensor, what: str) -> Tensor:
    """The rows (N, ...), if there are two or more; else a ValueError: `what` compares images with each other."""
    if len(rows) < 2:
        raise ValueError(f"{what} compares images with each other and needs two or more, got {len(rows)}: use a larger "
                         "batch")
    return rows


def _raised(value):
    """`at_least_float32` for every tensor in `value`, also inside lists and tuples."""
    if isinstance(value, (list, tuple)):
        return type(value)(_raised(each) for each in value)
    return at_least_float32(value) if isinstance(value, Tensor) else value


def _device_type(values) -> str | None:
    for value in values:
        found = value.device.type if isinstance(value, Tensor) else None
        if isinstance(value, (list, tuple)):
            found = _device_type(value)
        if found is not None:
            return found
    return None


def in_float32(function):
    """Decorator for losses: turns autocast off, which would cast matrix products back to half precision, and converts
    tensors in the arguments, also inside lists, to float32.
    """
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        with torch.autocast(_device_type((*args, *kwargs.values())) or "cpu", enabled=False):
            return function(*_raised(args), **{name: _raised(value) for name, value in kwargs.items()})

    return wrapped
