"""Where a patch is: fixed sines and cosines (MAE), and a bias for each offset between two patches (BEiT, SimMIM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sincos_positions(grid: int, dim: int, class_token: bool = True, dtype: torch.dtype = torch.float32) -> Tensor:
    """Fixed 2-D sine-cosine positions, (grid^2 [+ 1], dim), computed in float64 (MAE, util/pos_embed.py).

    The first half of the channels encodes the *column*, the second the row; each half is [sines, cosines] of
    position / 10000^(4k / dim), k = 0 .. dim/4 - 1. The class token's row, the first, is zero.
    """
    if dim % 4:
        raise ValueError(f"dim must be a multiple of 4 for 2-D sine-cosine positions, got {dim}")
    omega = 1.0 / 10000 ** (torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")

    def embed(position: Tensor) -> Tensor:
        angle = position.flatten()[:, None].double() * omega
        return torch.cat([angle.sin(), angle.cos()], 1)

    table = torch.cat([embed(x), embed(y)], 1)
    if class_token:
        table = torch.cat([torch.zeros(1, dim, dtype=table.dtype), table])
    return table.to(dtype)


def positions_for(x: Tensor, grid: int, table: Tensor) -> Tensor:
    """The stored float32 `table` (1 + g^2, dim) if it fits; recomputed for another grid and for float64 tokens."""
    if len(table) == 1 + grid**2 and x.dtype != torch.float64:
        return table
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return sincos_positions(grid, table.shape[1], dtype=dtype).to(x.device)


def relative_index(height: int, width: int) -> Tensor:
    """(T, T) int64, T = 1 + height * width: which row of a bias table a query (row) and a key (column) share.

    Patches share one row per offset (dy, dx); the last three rows of (2 height - 1)(2 width - 1) + 3 are
    class -> patch, patch -> class, class -> class (BEiT, modeling_finetune.py).
    """
    offsets = (2 * height - 1) * (2 * width - 1)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten(), x.flatten()
    down, right = y[:, None] - y + height - 1, x[:, None] - x + width - 1  # (L, L), from 0
    index = torch.empty(1 + len(y), 1 + len(y), dtype=torch.long)
    index[1:, 1:] = down * (2 * width - 1) + right
    index[0, :], index[:, 0], index[0, 0] = offsets, offsets + 1, offsets + 2
    return index


class RelativeBias(nn.Module):
    """A learned bias for each offset and head, added to the attention's logits: -> (heads, T, T). Starts at zero."""

    index: Tensor  # (T, T)

    def __init__(self, grid: int | tuple[int, int], heads: int):
        super().__init__()
        height, width = (grid, grid) if isinstance(grid, int) else grid
        self.table = nn.Parameter(torch.zeros((2 * height - 1) * (2 * width - 1) + 3, heads))
        self.register_buffer("index", relative_index(height, width), persistent=False)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.table)

    def forward(self) -> Tensor:
        return self.table[self.index].permute(2, 0, 1)
