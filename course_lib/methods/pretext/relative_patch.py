r"""Relative patch position: where does this piece lie? Doersch, Gupta and Efros, ICCV 2015, arXiv 1505.05192; official:
cdoersch/deepcontext.

Of a picture cut into 3 x 3 cells a network f sees the patch in the middle and one of its eight neighbours, each alone,
and a head h says which neighbour it is:

    L = mean over the pictures and k = 1..8 of  -log softmax( h(f(x_middle), f(x_k)) )_k

Ear above eye, wheel below door: the answer needs parts of objects. It must not need anything else, and the paper is
best known for its list of *shortcuts* and what shuts them:

    edges and lines that continue from one patch to the next   a gap of about half a patch between them
    the exact distance between two patches                     each is moved at random, by up to 7 of 96 pixels
    the lens's colour fringes, which point to the centre       two of three colours are dropped, noise in their place,
                                                               or the axis from green to magenta is projected out

What other implementations get wrong: one of these left out, so that the task is solved and nothing learned (with colour
fringes, a network can even tell where in the whole photograph a patch was); the same colours dropped in both patches.

All eight neighbours of a picture are in one batch, and the middle is encoded once. The paper also shrinks some patches
to 100 pixels and enlarges them again; not here, where they have that few from the start.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import MEAN, standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.pretext.jigsaw import check_pieces, cut, random_offsets
from course_lib.models.batch_norm import BatchNorm1d
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import in_float32

MIDDLE, AROUND = 4, (0, 1, 2, 3, 5, 6, 7, 8)  # of nine cells, in reading order
COLOURS = ("drop", "project", "keep")


def patch_room(image_size: int, patch: int | None, jitter: int | None) -> tuple[int, int, int]:
    """Pixels along a patch's side, of its cell that it leaves free, and how far it may move either way.

    Without numbers as in the paper, a patch of 96 in a cell of 144 moves by 7. ValueError for what does not fit.
    """
    cell = image_size // 3
    if cell < 3:
        raise ValueError(f"image_size is {image_size}; expected 9 pixels or more, for 3 x 3 cells with a gap")
    patch = max(1, round(cell * 96 / 144)) if patch is None else patch
    if not 1 <= patch <= cell:
        raise ValueError(f"patch is {patch}, which does not fit: a picture of {image_size} pixels has 3 x 3 cells of "
                         f"{cell}; expected 1 to {cell}")
    room = cell - patch
    jitter = min(room // 2, max(1, round(cell * 7 / 144))) if jitter is None else jitter
    if not 0 <= jitter <= room // 2:
        raise ValueError(f"jitter is {jitter}; expected 0 to {room // 2}: a patch of {patch} pixels in a cell of {cell}"
                         " would leave it")
    return patch, room, jitter


def drop_colours(patches: Tensor, keep: Tensor, noise: Tensor) -> Tensor:
    """Patches (..., 3, p, p) in [0, 1] of which colour `keep` (...) of 0, 1, 2 stays, the others become noise.

    noise: standard normal, as the patches. It lies around the middle grey, with a hundredth of the deviation of the
    colour that stays, as in the paper.
    """
    stays = F.one_hot(keep, 3).bool()[..., None, None]  # (..., 3, 1, 1)
    deviation = (patches.std((-2, -1), keepdim=True, correction=0) * stays).sum(-3, keepdim=True)
    return torch.where(stays, patches, MEAN + noise * deviation / 100)


def project_colours(patches: Tensor) -> Tensor:
    """Patches (..., 3, p, p) without their part along a = (-1, 2, -1), from magenta to green: x - a (a.x) / (a.a)."""
    axis = torch.tensor([-1.0, 2.0, -1.0], dtype=patches.dtype, device=patches.device).view(3, 1, 1)
    return patches - axis * (patches * axis).sum(-3, keepdim=True) / 6


def with_middle(features: Tensor) -> Tensor:
    """Features of nine patches (B, 9, D) -> the middle one's beside each neighbour's, (B, 8, 2D), in reading order."""
    around = features[:, list(AROUND)]  # (B, 8, D)
    return torch.cat([features[:, MIDDLE : MIDDLE + 1].expand_as(around), around], 2)


@in_float32
def position_loss(logits: Tensor) -> dict[str, Tensor]:
    """Logits (B, 8, 8), those of neighbour k in row k -> "loss" and "accuracy", of this rank's images."""
    places = torch.arange(8, device=logits.device).repeat(len(logits))  # (B * 8,)
    accuracy = (logits.flatten(0, 1).argmax(1) == places).to(logits.dtype).mean()
    return {"loss": F.cross_entropy(logits.flatten(0, 1), places), "accuracy": accuracy}


class RelativePatch(Method):
    """The method: a backbone that sees one patch at a time, and a head over the middle one and a neighbour.

    patch: pixels along a patch's side (96 of a cell's 144, and about this share without one); as large as the cell,
    there is no gap. jitter: pixels that a patch moves, either way (7 of 144). colours: "drop" two of three in each
    patch, "project" green against magenta out, or "keep" all. hidden: of the head (4096). augment: of the picture
    before it is cut. recipe: for small sets and short runs; the paper trained for four weeks.
    """

    title = "Relative patch"
    week = 22
    recipe = {"lr": 1e-3, "batch_size": 128}
    shapes_options = {"augment": SHAPES_VIEWS}

    def __init__(self, backbone: Backbone, image_size: int = 32, patch: int | None = None, jitter: int | None = None,
                 colours: str = "drop", hidden: int = 256, augment: Augment | None = None):
        super().__init__()
        if colours not in COLOURS:
            raise ValueError(f"colours is {colours!r}; expected {', '.join(COLOURS[:-1])} or {COLOURS[-1]}")
        self.patch, self.room, self.jitter = patch_room(image_size, patch, jitter)
        check_pieces(self.patch, backbone)
        self.colours, self.backbone = colours, backbone
        self.head = nn.Sequential(nn.Linear(2 * backbone.dim, hidden), BatchNorm1d(hidden), nn.ReLU(inplace=True),
                                  nn.Linear(hidden, 8))
        self.augment = augment or Augment(image_size, scale=(0.6, 1.0), jitter_p=0.0, gray_p=0.0)

    def views(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Nine patches of each picture, in reading order: (B, 9, 3, p, p)."""
        pictures = self.augment(batch.images, generator)
        moves = random_offsets(len(pictures), 3, 2 * self.jitter, generator)  # 0 to twice the jitter
        patches = cut(pictures, 3, self.patch, self.room // 2 - self.jitter + moves)
        if self.colours == "drop":
            keep = torch.randint(3, patches.shape[:2], generator=generator, device=generator.device)
            noise = torch.randn(patches.shape, generator=generator, device=generator.device)
            return drop_colours(patches, keep.to(patches.device), noise.to(patches))
        return project_colours(patches) if self.colours == "project" else patches

    def loss(self, views: Tensor, progress: float = 0.0) -> dict[str, Any]:
        features = self.backbone(standardize(views.flatten(0, 1))).unflatten(0, views.shape[:2])  # (B, 9, D)
        logits = self.head(with_middle(features).flatten(0, 1)).unflatten(0, (-1, 8))  # (B, 8, 8)
        return {**position_loss(logits), "embedding": normalize(features.detach()[:, MIDDLE]), "views_per_image": 1}
