"""Large pictures on a CPU: few at a time, and weighted sums of only the rows that count.

Small pictures and other devices take the whole batch at once, as dense matrix products: there that is fastest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL = 64  # pixels along the longer side; the stored runs depend on every bit of the dense products up to it
PIECE = 2**18  # numbers: with what an operation makes on the way they fit into the cache of one core


def is_large(images: Tensor) -> bool:
    """Whether images (B, C, H, W) are better worked through in pieces and row by row."""
    return images.device.type == "cpu" and max(images.shape[2:]) > SMALL


def in_pieces(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`operation` on images (B, C, H, W), applied to few large ones at a time: on fresh memory most time is waiting.

    Its other arguments may be numbers and tensors (B, ...), also in tuples; tensors are cut as the images are.
    """
    @wraps(operation)
    def run(images: Tensor, *others, **options) -> Tensor:
        batch, few = len(images), max(1, PIECE // images.shape[1:].numel())
        if batch <= few or not is_large(images):
            return operation(images, *others, **options)

        def cut(value, part: slice):
            if isinstance(value, tuple):
                return tuple(cut(each, part) for each in value)
            return value[part] if isinstance(value, Tensor) and value.shape[:1] == (batch,) else value

        def piece(start: int) -> Tensor:
            part = slice(start, start + few)
            named = zip(options, cut(tuple(options.values()), part))
            return operation(images[part], *cut(others, part), **dict(named))

        first = piece(0)
        found = first.new_empty(batch, *first.shape[1:])
        found[:few] = first
        for start in range(few, batch, few):
            found[start : start + few] = piece(start)
        return found
    return run


def weighted_rows(images: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Row o of image b: the sum of its rows places[b, o], each times its weight, in every channel.

    images (B, C, H, W), places int64 (B or 1, size, taps) and weights (B, size, taps) -> (B, C, size, W).
    """
    batch, channels, height, width = images.shape
    first = torch.arange(batch * channels, device=images.device).view(batch, channels, 1, 1) * height
    each = weights[:, None].expand(-1, channels, -1, -1).flatten(0, 2).to(images.dtype)
    rows = F.embedding_bag((first + places[:, None]).flatten(0, 2), images.reshape(-1, width), mode="sum",
                           per_sample_weights=each)
    return rows.view(batch, channels, -1, width)


@in_pieces
def weighted_pixels(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """`weighted_rows` along both sides, (places, weights) each: (B, C, H, W) -> (B, C, rows, columns)."""
    return weighted_rows(weighted_rows(images, *rows).mT, *columns).mT.contiguous()
