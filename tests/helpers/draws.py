"""Random inputs of the tests, from seeds."""

from __future__ import annotations

import torch


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def visible_grid(b=2, grid=4, seed=5):
    """(b, 1, grid, grid) bool: about half of the patches visible, another number in each image."""
    return randn(b, 1, grid, grid, seed=seed) > 0
