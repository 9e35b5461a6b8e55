"""What a patch's position says: the small experiment of lesson 12."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from course_lib.models.positions import sincos_positions

TABLES = ("added up", "columns, then rows")


class AlikePositions(NamedTuple):
    """A table of positions (g*g, D), the cosine (g, g) of one with all others, how many others have the very same."""

    table: Tensor
    cosine: Tensor
    twins: int


def alike_positions(kind: str, place: tuple[int, int], grid: int = 8, dim: int = 96) -> AlikePositions:
    """How alike the position at (row, column) is to all others.

    kind: "columns, then rows", as in MAE, half of the channels for each; or both halves "added up", so that a patch and
    the one with row and column exchanged cannot be told apart.
    """
    table = sincos_positions(grid, dim, class_token=False).double()
    if kind == "added up":
        table = (table[:, :dim // 2] + table[:, dim // 2:]).repeat(1, 2)
    row, column = place
    cosine = F.cosine_similarity(table[row * grid + column, None], table).view(grid, grid)
    return AlikePositions(table, cosine, int((cosine > 1 - 1e-9).sum()) - 1)
