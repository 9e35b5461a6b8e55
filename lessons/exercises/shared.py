"""What the exercises of several weeks share: random probes of the dtype that is asked for, and vectors of length 1."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def randn(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=dtype)


def rand(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=dtype)


def unit(z: Tensor, dim: int = -1) -> Tensor:
    return F.normalize(z, dim=dim)


def directions(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return unit(randn(generator, dtype, *shape))
