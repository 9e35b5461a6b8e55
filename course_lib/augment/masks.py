"""The masks of every masked method: which patches of an image stay visible."""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from torch import Tensor


def check_hidden(hidden: int, patches: int, mask_ratio: float) -> int:
    """`hidden`, if as many patches can be: at least one, and not all, by a ratio between 0 and 1; else a ValueError."""
    if not 0 < mask_ratio < 1 or not 1 <= hidden < patches:
        raise ValueError(f"mask_ratio={mask_ratio} leaves {patches - hidden} of {patches} patches visible; expected a "
                         "share between 0 and 1, with at least one hidden and one visible. Use another share, or "
                         "smaller patches.")
    return hidden


def patch_mask(
    batch: int, grid: int, mask_ratio: float, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Random patch masks, (batch, grid, grid) bool, True = visible; every image keeps the same number of patches.

    round(grid^2 * (1 - mask_ratio)) patches stay, Python's banker's rounding as in SparK's official code: those with
    the smallest noise.
    """
    if not 0 <= mask_ratio < 1:
        raise ValueError(f"mask_ratio must be in [0, 1): the share of patches to hide, got {mask_ratio}")
    noise = torch.rand(batch, grid * grid, generator=generator, device=generator.device).to(device)
    return mask_from_noise(noise, mask_ratio).view(batch, grid, grid)


def mask_from_noise(noise: Tensor, mask_ratio: float) -> Tensor:
    """(B, L) noise -> (B, L) bool: True for the round(L * (1 - mask_ratio)) smallest of each row (at least one)."""
    keep = max(1, round(noise.shape[1] * (1 - mask_ratio)))
    visible = torch.zeros_like(noise, dtype=torch.bool)
    return visible.scatter_(1, noise.argsort(1)[:, :keep], True)


def visible_count(visible: Tensor) -> int:
    """How many patches are visible in each image, (B, g, g) or (B, L) bool; a ValueError unless all have the same
    number.
    """
    counts = visible.flatten(1).sum(1)
    if (counts != counts[0]).any():
        raise ValueError(f"every image must have the same number of visible patches, got {counts.tolist()}: dropping "
                         "patches needs a rectangular batch")
    if counts[0] < 1:
        raise ValueError("no patch is visible: keep at least one in each image")
    return int(counts[0])


def visible_indices(visible: Tensor) -> Tensor:
    """(B, g, g) bool -> (B, n) int64: the visible patches of each image in reading order; errors: `visible_count`."""
    flat = visible.flatten(1)
    return flat.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : visible_count(flat)]


def enlarge(visible: Tensor, size: int) -> Tensor:
    """(B, 1, f, f) -> (B, 1, size, size): each patch's flag for all its positions."""
    times = size // visible.shape[-1]
    return visible.repeat_interleave(times, 2).repeat_interleave(times, 3)


def kept_count(length: int, mask_ratio: float) -> int:
    """How many of `length` patches stay visible: rounded *down*, in floating point, as the official code does."""
    return int(length * (1 - mask_ratio))


def random_masking(noise: Tensor, kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L) noise -> keep (B, kept) int64, restore (B, L) int64, visible (B, L) bool.

    keep: the patches with the smallest noise, smallest first. restore: the inverse of the whole shuffle, so that
    gathering [kept patches, others] with it brings each patch back to its place. Equal noise: in reading order.
    """
    order = noise.argsort(dim=1, stable=True)  # patch numbers, smallest noise first
    restore = order.argsort(dim=1)  # where each patch went
    return order[:, :kept], restore, restore < kept


def hidden_count(length: int, mask_ratio: float) -> int:
    """How many of `length` mask patches are hidden: rounded *up*, as the official code does."""
    return math.ceil(length * mask_ratio)


def coarse_mask(noise: Tensor, mask_ratio: float, scale: int = 1) -> Tensor:
    """(B, m, m) noise -> visible (B, m * scale, m * scale) bool, True = visible.

    The ceil(m^2 * mask_ratio) mask patches with the least noise are hidden; each covers scale x scale of the encoder's.
    ValueError where all or none would be.
    """
    ranks = noise.flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
    patches = ranks.shape[1]
    hidden = check_hidden(hidden_count(patches, mask_ratio), patches, mask_ratio)
    mask = (ranks >= hidden).view(noise.shape)
    return mask.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def add_block(visible, top: int, left: int, height: int, width: int, missing: float) -> int:
    """Hide a block: False in `visible`, bool (grid, grid), in place. Return how many patches it newly hides.

    It is refused (0, nothing is changed) if that would be none, or more than the `missing` ones.
    """
    block = visible[top : top + height, left : left + width]
    new = int(block.sum())
    if not 0 < new <= missing:
        return 0
    block[:] = False
    return new


def hide_blocks(grid: int, count: float, smallest: int, draw: random.Random, aspect: float = 0.3) -> np.ndarray:
    """One mask, bool (grid, grid), True = visible: blocks are added until `count` patches are hidden.

    A block's area is uniform between `smallest` and what is missing, height over width log-uniform in [aspect, 1 /
    aspect]. Blocks as long as the grid are refused, and so are those that would exceed the count (`add_block`). Ten
    refusals in a row end the search, and the count falls short.
    """
    visible, missing, refused = np.ones((grid, grid), dtype=bool), count, 0
    while missing > 0 and refused < 10:
        area = draw.uniform(smallest, missing)
        shape = math.exp(draw.uniform(math.log(aspect), -math.log(aspect)))
        height, width, new = round(math.sqrt(area * shape)), round(math.sqrt(area / shape)), 0
        if height < grid and width < grid:
            top, left = draw.randint(0, grid - height), draw.randint(0, grid - width)
            new = add_block(visible, top, left, height, width, missing)
        missing, refused = missing - new, 0 if new else refused + 1
    return visible


def block_mask(batch: int, grid: int, mask_ratio: float, generator: torch.Generator,
               device: torch.device | str = "cpu") -> Tensor:
    """Block masks, (batch, grid, grid) bool, True = visible, as `patch_mask`; the counts differ.

    mask_ratio: the share of patches to hide, at most. The smallest block has the paper's share, 16 of 196 patches.
    ValueError where all or none would be hidden.
    """
    count = check_hidden(round(mask_ratio * grid * grid), grid * grid, mask_ratio)
    smallest = max(1, round(grid * grid * 16 / 196))
    draw = random.Random(int(torch.randint(2**62, (1,), generator=generator, device=generator.device)))
    masks = np.stack([hide_blocks(grid, count, smallest, draw) for _ in range(batch)])
    return torch.from_numpy(masks).to(device)


RATIOS = ((0.0, 0.0), (0.3, 0.2))  # shares to hide, (middle, half width), one of them by lot


def random_ratio(draw: random.Random, ratios: tuple[tuple[float, float], ...] = RATIOS) -> float:
    """The share of patches to hide in one image: one of the (middle, half width) by lot, and uniform within it."""
    found = [draw.uniform(middle - half, middle + half) if half > 0 else middle for middle, half in ratios]
    return draw.choice(found)


def scattered(noise: Tensor, counts: Tensor) -> Tensor:
    """noise (B, L), counts (B,) -> (B, L) bool, True = visible: all but the counts[b] largest of row b."""
    return noise.argsort(1).argsort(1) < noise.shape[1] - counts[:, None]


def ibot_masks(batch: int, grid: int, generator: torch.Generator, device: torch.device | str = "cpu",
               shape: str = "block", ratios: tuple[tuple[float, float], ...] = RATIOS) -> Tensor:
    """(batch, grid, grid) bool, True = visible, with a share hidden of its own for every image (`random_ratio`).

    shape: "block" (BEiT's, of at least (grid // 3)^2 patches; the share is not always reached) or "random" patches.
    """
    draw = random.Random(int(torch.randint(2**62, (1,), generator=generator, device=generator.device)))
    targets = [random_ratio(draw, ratios) * grid**2 for _ in range(batch)]
    if shape == "block":
        smallest = (grid // 3) ** 2
        masks = np.stack([hide_blocks(grid, target, smallest, draw) for target in targets])
        return torch.from_numpy(masks).to(device)
    noise = torch.rand(batch, grid**2, generator=generator, device=generator.device).to(device)
    counts = torch.tensor([int(target) for target in targets], device=device)
    return scattered(noise, counts).view(batch, grid, grid)
