r"""Jigsaw: which permutation is it? Noroozi and Favaro, ECCV 2016, arXiv 1603.09246; scaled: Goyal, Mahajan, Gupta and
Misra, ICCV 2019, arXiv 1905.01235 (VISSL).

A picture is cut into g x g cells, and of each a smaller patch is taken, at a random place in it. The patches x_1, ...,
x_c come in the order of one of M permutations; one network f sees each alone, a head h all of them in that order:

    L = mean over the batch of  -log softmax( h(f(x_1), ..., f(x_c)) ) of the permutation

The M permutations are fixed before the training and as different as can be: one after another, that with the largest
sum of Hamming distances to those that are there. A permutation is easy to tell if it is unlike all others.

What other implementations get wrong: patches that touch, whose edges continue each other, so that lines are matched and
objects never looked at; colour left on, as the lens's colour fringes tell where in the picture a patch was (here two of
three pictures are grey); another set of permutations after a restart (it is saved with the method).

The paper goes through all 9! permutations for the farthest one; here through at most 50,000 drawn ones. Each patch was
standardised by its own mean and deviation in the paper; here, as in VISSL, all by the same.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.models.batch_norm import BatchNorm1d
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import in_float32

CANDIDATES = 50_000


def permutation_set(pieces: int, count: int, seed: int = 0) -> Tensor:
    """`count` different permutations of so many pieces, each far from those before it: int64 (count, pieces).

    Greedy: the first is drawn, the next has the largest sum of Hamming distances to all before. ValueError for more
    than there are.
    """
    generator, total = torch.Generator().manual_seed(seed), math.factorial(pieces)
    if not 2 <= count <= min(total, CANDIDATES):
        raise ValueError(f"permutations is {count}; expected 2 to {min(total, CANDIDATES):,}: {pieces} pieces have "
                         f"{total:,} orders" + (", and at most so many are drawn" if total > CANDIDATES else ""))
    if total <= CANDIDATES:
        pool = torch.tensor(list(itertools.permutations(range(pieces))), dtype=torch.int16)
    else:
        pool = torch.rand(CANDIDATES, pieces, generator=generator).argsort(1).to(torch.int16)
    chosen = [int(torch.randint(len(pool), (), generator=generator))]
    distance = torch.zeros(len(pool), dtype=torch.int64)
    while len(chosen) < count:
        to_newest = (pool != pool[chosen[-1]]).sum(1)
        distance = torch.where(to_newest > 0, distance + to_newest, -(2**40))  # no order twice
        chosen.append(int(distance.argmax()))
    return pool[chosen].long()


def patch_side(image_size: int, grid: int, patch: int | None) -> int:
    """Pixels along a patch's side: `patch`, or about 64 of 85 pixels of a cell; ValueError for what does not fit."""
    cell = image_size // max(1, grid)
    if grid < 2 or cell < 2:
        raise ValueError(f"grid is {grid}; expected 2 to {image_size // 2}, cells along a side of {image_size} pixels")
    if patch is None:
        return max(1, round(cell * 64 / 85))
    if not 1 <= patch <= cell:
        raise ValueError(f"patch is {patch}, which does not fit: a picture of {image_size} pixels in a grid of {grid} "
                         f"has cells of {cell}; expected 1 to {cell}")
    return patch


def check_pieces(patch: int, backbone: nn.Module) -> None:
    """ValueError for pieces of `patch` pixels along a side that a ViT cannot cut into its own patches."""
    if patch % (own := getattr(backbone, "patch", 1)):
        raise ValueError(f"patch is {patch}; expected a multiple of {own}, the side of the ViT's own patches: set "
                         "patch, or take a ViT with smaller patches, or a convolutional backbone")


def random_offsets(count: int, grid: int, room: int, generator: torch.Generator) -> Tensor:
    """Where in its cell each patch lies: int64 (count, grid * grid, 2), pixels down and right, 0 to `room`."""
    return torch.randint(room + 1, (count, grid * grid, 2), generator=generator, device=generator.device)


def cut(images: Tensor, grid: int, patch: int, offsets: Tensor) -> Tensor:
    """Images (B, C, S, S) -> a patch of each cell, row by row: (B, grid * grid, C, patch, patch).

    offsets: int64 (B, grid * grid, 2), pixels down and right of the cell's corner; cells are S // grid pixels large.
    """
    cell, along = images.shape[-1] // grid, torch.arange(patch, device=images.device)
    number = torch.arange(grid * grid, device=images.device)
    corners = torch.stack([number // grid, number % grid], 1) * cell + offsets.to(images.device)  # (B, c, 2)
    rows, columns = (corners[..., axis, None] + along for axis in (0, 1))  # (B, c, patch) each
    which = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    pixels = images.permute(0, 2, 3, 1)[which, rows[..., :, None], columns[..., None, :]]  # (B, c, patch, patch, C)
    return pixels.permute(0, 1, 4, 2, 3)


def in_order(patches: Tensor, order: Tensor) -> Tensor:
    """(B, c, ...), int64 (B, c) -> the patches whose place k is taken by patch order[k]."""
    return patches[torch.arange(len(patches), device=patches.device)[:, None], order]


@in_float32
def jigsaw_loss(logits: Tensor, permutation: Tensor) -> dict[str, Tensor]:
    """Logits (B, M) and the true permutations, int64 (B,) -> "loss" and "accuracy", of this rank's images."""
    accuracy = (logits.argmax(1) == permutation).to(logits.dtype).mean()
    return {"loss": F.cross_entropy(logits, permutation), "accuracy": accuracy}


class Jigsaw(Method):
    """The method: a backbone that sees one patch at a time, and a head over all of them.

    grid: cells along a side (3). patch: pixels along a patch's side (64 of a cell's 85, and about this share without
    one); as large as the cell, there is no gap. permutations: M (100 to 10,000; 2 x 2 pieces have 24). hidden: of the
    head, for each piece (1000). augment: of the picture before it is cut. recipe: for small sets and short runs; VISSL
    has SGD, 0.1 for 256 pictures, 105 epochs.
    """

    title = "Jigsaw"
    week = 26
    recipe = {"lr": 1e-3, "batch_size": 128}
    shapes_options = {"augment": SHAPES_VIEWS}
    permutations: Tensor  # (M, c) int64

    def __init__(self, backbone: Backbone, image_size: int = 32, grid: int = 2, patch: int | None = None,
                 permutations: int = 24, hidden: int = 128, augment: Augment | None = None):
        super().__init__()
        self.grid, self.patch = grid, patch_side(image_size, grid, patch)
        check_pieces(self.patch, backbone)
        self.room = image_size // grid - self.patch
        self.register_buffer("permutations", permutation_set(grid * grid, permutations))
        self.backbone = backbone
        self.piece = nn.Sequential(nn.Linear(backbone.dim, hidden), BatchNorm1d(hidden), nn.ReLU(inplace=True))
        self.head = nn.Linear(grid * grid * hidden, permutations)
        self.augment = augment or Augment(image_size, scale=(0.6, 1.0), jitter_p=0.0, gray_p=0.66)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The patches in their new order (B, c, 3, p, p), and which permutation that is (B,)."""
        pictures = self.augment(batch.images, generator)
        patches = cut(pictures, self.grid, self.patch, random_offsets(len(pictures), self.grid, self.room, generator))
        drawn = torch.randint(len(self.permutations), (len(patches),), generator=generator, device=generator.device)
        which = drawn.to(patches.device)
        return in_order(patches, self.permutations[which]), which

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        patches, which = views
        features = self.backbone(standardize(patches.flatten(0, 1)))  # (B * c, D)
        pieces = self.piece(features).unflatten(0, patches.shape[:2])  # (B, c, hidden)
        embedding = normalize(features.detach()[:: patches.shape[1]])  # of a patch of each image
        return {**jigsaw_loss(self.head(pieces.flatten(1)), which), "embedding": embedding, "views_per_image": 1}
