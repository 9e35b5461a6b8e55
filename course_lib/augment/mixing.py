"""Images mixed with each other: all pixels blended (mixup), or a rectangle exchanged (CutMix).

The partner of image i of a batch of B is image B - 1 - i, the batch in reverse, so that the partners' shares in a loss
need no second forward: the mixture of i and its partner is that of the partner and i, seen from the other end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.seeds import beta


def region(height: int, width: int, lam: float, row: int, column: int) -> tuple[int, int, int, int]:
    """The rectangle (top, left, bottom, right) around a centre that takes about 1 - lam of a picture's area.

    Its sides are those of the picture times sqrt(1 - lam), in whole pixels; what reaches over the edge is cut off.
    """
    tall, wide = (int(side * math.sqrt(1 - lam)) // 2 for side in (height, width))
    return max(row - tall, 0), max(column - wide, 0), min(row + tall, height), min(column + wide, width)


def mix_reversed(images: Tensor, lam: float, box: tuple[int, int, int, int] | None = None) -> tuple[Tensor, float]:
    """Images (B, C, H, W) with their partners -> the mixtures, and the share that is an image's own.

    box=None: lam * image + (1 - lam) * partner. A box (top, left, bottom, right): the partner's pixels inside; the
    share is then the area that is left, whatever lam was, as a box at the edge is smaller.
    """
    partners = images.flip(0)
    if box is None:
        return lam * images + (1 - lam) * partners, lam
    top, left, bottom, right = box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])


def random_mix(images: Tensor, alpha: float, blend_p: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """`mix_reversed` with one lam ~ Beta(alpha, alpha) for the batch; blended with probability blend_p, else a box."""
    height, width = images.shape[2:]
    lam = float(beta(alpha, (), generator))
    if float(torch.rand((), generator=generator, device=generator.device)) < blend_p:
        return mix_reversed(images, lam)
    row, column = (int(torch.randint(side, (), generator=generator, device=generator.device))
                   for side in (height, width))
    return mix_reversed(images, lam, region(height, width, lam, row, column))
