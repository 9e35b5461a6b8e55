"""What is left of an image without its content: squares of it put together anew, and textures made from two patches.

The negatives of RoCo (methods/contrastive/roco.py): colours and textures are those of the image, shapes are gone.
Images are float tensors (B, C, H, W), H = W; every sample has draws of its own. All randomness comes from the
torch.Generator that is passed in.
"""

from __future__ import annotations

import torch
from torch import Tensor

OFFICIAL = 224         # pixels along the pictures that the paper's sizes are for
SOURCE = 96            # the side of the patches that a texture is made from, in these pixels
BLOCKS, CANDIDATES = 4, 16


# ------------------------------------------------------------------------------------------------ shuffled patches
def tile(images: Tensor, sizes: Tensor, places: Tensor) -> Tensor:
    """Image b made anew of squares of itself, sizes[b] pixels a side: square (i, j) is cut at places[b, i, j].

    images (B, C, H, W), sizes (B,), places (B, g, g, 2), top and left corners, all whole numbers, with g * sizes >= H
    -> (B, C, H, W). What sticks out at the bottom and on the right is cut off.
    """
    batch, _, height, width = images.shape
    which = torch.arange(batch, device=images.device)[:, None, None]
    y, x = (torch.arange(side, device=images.device)[None] for side in (height, width))
    cell_y, cell_x = y // sizes[:, None], x // sizes[:, None]  # (B, H), (B, W)
    corners = places[which, cell_y[:, :, None], cell_x[:, None, :]]  # (B, H, W, 2)
    rows = corners[..., 0] + (y % sizes[:, None])[:, :, None]
    columns = corners[..., 1] + (x % sizes[:, None])[:, None, :]  # (B, H, W)
    source = (rows * width + columns).flatten(1).unsqueeze(1)  # (B, 1, H * W)
    return images.flatten(2).gather(2, source.expand(-1, images.shape[1], -1)).view_as(images)


def patch_sides(side: int, patch: tuple[float, float]) -> tuple[int, int]:
    """The smallest and largest side of the squares for pictures of `side` pixels; `patch`: of 224. Else a ValueError.

    (16, 72), the official range, is (2, 10) at 32 pixels.
    """
    if len(patch) != 2 or not 1 <= patch[0] <= patch[1] <= OFFICIAL:
        raise ValueError(f"patch is {tuple(patch)}; expected the smallest and the largest side of the patches, two "
                         f"numbers from 1 to {OFFICIAL}, in pixels of a picture of {OFFICIAL}, such as (16, 72)")
    low, high = (max(1, round(size * side / OFFICIAL)) for size in patch)
    return low, high


def patch_negatives(images: Tensor, generator: torch.Generator, patch: tuple[float, float] = (16, 72)) -> Tensor:
    """Each image as a patchwork of its own squares, cut at random places (some twice, some parts never).

    (B, C, H, W) -> (B, C, H, W). One side for all squares of an image, uniform between the two of `patch` (in pixels of
    a picture of 224, scaled to this one's; the official default is (16, 56), its published runs have (16, 72)).
    """
    batch, side = len(images), images.shape[-1]
    low, high = patch_sides(side, patch)
    cells = -(-side // low)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=generator.device).to(images.device)

    sizes = low + (uniform(batch) * (high - low + 1)).long().clamp_(max=high - low)
    room = (side - sizes + 1)[:, None, None, None]
    places = (uniform(batch, cells, cells, 2) * room).long().minimum(room - 1)
    return tile(images, sizes, places)


# ------------------------------------------------------------------------------------------------ textures
def texture_sources(images: Tensor, generator: torch.Generator) -> Tensor:
    """Two square patches of each image, the centre and one at a random place: (B, C, H, W) -> (B, 2, C, p, p).

    p is 96 of 224 pixels, as in the official script.
    """
    batch, channels, side = images.shape[:3]
    p = max(2, round(side * SOURCE / OFFICIAL))
    corner = torch.rand(batch, 2, generator=generator, device=generator.device).to(images.device)
    corner = (corner * (side - p + 1)).long().clamp_(max=side - p)
    corners = torch.stack([torch.full_like(corner, (side - p) // 2), corner], 1)  # (B, 2, 2)
    return cut(images, corners, p)


def cut(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """From image b the n squares with top left corners corners[b]: (B, C, H, W), (B, n, 2) -> (B, n, C, size, size)."""
    (batch, channels, _, width), n = images.shape, corners.shape[1]
    step = torch.arange(size, device=images.device)
    pixels = (corners[..., :1, None] + step[:, None]) * width + corners[..., 1:, None] + step  # (B, n, size, size)
    pixels = pixels.flatten(1).unsqueeze(1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, pixels).view(batch, channels, n, size, size).transpose(1, 2)


def quilt(sources: Tensor, size: int, generator: torch.Generator, candidates: int = CANDIDATES) -> Tensor:
    """A texture of each pair of patches, block by block: (B, 2, C, p, p) -> (B, C, size, size).

    Image quilting (Efros and Freeman 2001), simplified: each block, a quarter of the side, is the one of `candidates`
    random blocks that agrees best with what lies above and to the left, and is faded into it over a quarter of a block.
    """
    batch, _, channels, p = sources.shape[:4]
    block = min(p, max(2, size // BLOCKS))
    overlap = max(1, block // BLOCKS)
    starts = range(0, size - overlap, block - overlap)
    canvas = sources.new_zeros(batch, channels, starts[-1] + block, starts[-1] + block)
    both = sources.transpose(1, 2).flatten(2, 3)  # (B, C, 2p, p): one below the other
    ramp = torch.ones(block, device=canvas.device, dtype=canvas.dtype)
    ramp[:overlap] = torch.arange(1, overlap + 1, device=canvas.device) / (overlap + 1)
    for top in starts:
        for left in starts:
            draw = torch.rand(3, batch, candidates, generator=generator, device=generator.device).to(canvas.device)
            place = (draw[1:] * (p - block + 1)).long().clamp_(max=p - block)
            corners = torch.stack([place[0] + p * (draw[0] < 0.5), place[1]], -1)  # (B, candidates, 2)
            blocks = cut(both, corners, block)  # (B, candidates, C, block, block)
            there = canvas[:, :, top : top + block, left : left + block]
            new_y, new_x = (ramp if start else torch.ones_like(ramp) for start in (top, left))
            new = new_y[:, None] * new_x  # (block, block): the share of the new block
            error = ((blocks - there.unsqueeze(1)).square() * (new < 1)).sum((2, 3, 4))  # (B, candidates)
            best = blocks[torch.arange(batch, device=canvas.device), error.argmin(1)]
            canvas[:, :, top : top + block, left : left + block] = torch.lerp(there, best, new)
    return canvas[:, :, :size, :size]


def texture_negatives(images: Tensor, generator: torch.Generator) -> Tensor:
    """A texture of each image, made from its centre and from another patch of it: (B, C, H, W) -> (B, C, H, W)."""
    return quilt(texture_sources(images, generator), images.shape[-1], generator)
