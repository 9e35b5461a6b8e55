"""Random inputs of the tests, from seeds."""

from __future__ import annotations

import torch


def generator(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def visible_grid(b=2, grid=4, seed=5):
    """(b, 1, grid, grid) bool: about half of the patches visible, another number in each image."""
    return randn(b, 1, grid, grid, seed=seed) > 0
