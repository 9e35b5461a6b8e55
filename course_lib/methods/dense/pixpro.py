r"""PixPro: propagate yourself. Xie, Lin, Zhang, Cao, Lin and Hu, CVPR 2021, arXiv 2011.10043.

BYOL for places. Two crops of an image have maps, whose cells i lie at p_i in the image. Cells of the two views are
positive pairs where they are near each other, against the larger of the two views' cells:

    A_ij = 1 if |p_i - p_j| / max(diagonal of a cell, in either view) < T        T = 0.7

The online map x is smoothed before it is compared: every cell gathers the (transformed) vectors of the cells that
resemble it, and so what one place learns is propagated to those like it,

    y_i = sum_j max(cos(x_i, x_j), 0)^gamma g(x_j)        gamma = 2,  g = a 1x1 convolution, to length 1

    L = -2 mean over images of  sum_ij A_ij cos(y_i, x'_j) / sum_ij A_ij      with view 1 as y, 2 as x', and reversed

so the minimum is -4. x' is the map of the moving average of encoder and projector; there is no predictor. (The official
code moves the average before each step's keys, here it follows each update: the keys are the same.)

What other implementations get wrong: a softmax in the propagation; the distance over the image's size in place of the
larger cell's diagonal; a mirrored view whose corners are not (x1 and x2 change places, and the width of a cell is
negative); images whose views do not overlap left out of the mean: they add 0, but count. The function of the official
code has T = 0.5 as its default, its scripts 0.7; it counts corners from pixel to pixel, over the side less one pixel,
and here they are the crop's edges, over the side. The optional second loss of whole images (the weight of their best
run) is not built. Official code: zdaxie/PixPro.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.geometry import cell_centres
from course_lib.augment.pixels import standardize
from course_lib.augment.views import CROPPED_VIEWS, Augment, byol_views, check_placed
from course_lib.data.images import Batch
from course_lib.methods.base import ComparesMaps, TwoViewMethod
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.layers import ConvBackbone, check_maps
from course_lib.models.teacher import EMA
from course_lib.optim import ema_momentum
from course_lib.precision import check_positive, in_float32


@in_float32
def relative_distances(first: Tensor, second: Tensor, side: int) -> Tensor:
    """Corners (B, 4) of two views -> (B, L, L), L = side^2: between the centres of their cells, over the larger
    diagonal of a cell of the two."""
    here, there = cell_centres(first, side, side), cell_centres(second, side, side)
    apart = torch.cdist(here, there, compute_mode="donot_use_mm_for_euclid_dist")  # (B, L, L), exact also near 0
    diagonals = [(corners[:, 2:] - corners[:, :2]).norm(dim=1) / side for corners in (first, second)]  # (B,) each
    return apart / torch.maximum(*diagonals)[:, None, None]


@in_float32
def propagate(maps: Tensor, values: Tensor, gamma: float = 2.0) -> Tensor:
    """Maps (B, D, h, w) and their transformed values, alike -> (B, D, h, w), each place a sum over those like it."""
    x, values = (F.normalize(m.flatten(2), dim=1) for m in (maps, values))  # (B, D, L)
    like = (x.mT @ x).clamp(min=0)  # (B, L, L)
    if gamma < 1:
        like = like + 1e-6  # the root's slope at 0
    return (values @ like.pow(gamma)).view_as(maps)


@in_float32
def consistency(y: Tensor, keys: Tensor, positive: Tensor) -> Tensor:
    """Maps (B, D, h, w) of two views, positive (B, L, L) bool -> the mean over images of their pairs' mean cosine."""
    cosines = F.normalize(y.flatten(2), dim=1).mT @ F.normalize(keys.detach().flatten(2), dim=1)  # (B, L, L)
    pairs = positive.sum((1, 2)).to(cosines)
    return ((cosines * positive).sum((1, 2)) / (pairs + 1e-6)).mean()


def pixpro_loss(y1: Tensor, y2: Tensor, keys1: Tensor, keys2: Tensor, corners1: Tensor, corners2: Tensor,
                threshold: float = 0.7) -> dict[str, Tensor]:
    """Propagated maps and target maps of both views, (B, D, h, w) each, and the views' corners (B, 4).

    -> "loss", and "positives", the share of pairs of cells that are positive. Means over this rank's images.
    """
    positive = relative_distances(corners1, corners2, y1.shape[-1]) < threshold  # (B, L, L)
    loss = -2 * (consistency(y1, keys2, positive) + consistency(y2, keys1, positive.mT))
    return {"loss": loss, "positives": positive.float().mean()}


class PixPro(ComparesMaps, TwoViewMethod):
    """The method: online encoder, projector and value transform, and the moving average of encoder and projector.

    hidden, out: of the projector of 1x1 convolutions (4096 and 256 in the paper). threshold: T. gamma: of the
    propagation; None: without it, y = g(x). momentum: rises to 1 along a cosine. stage: which of the backbone's maps
    is compared, by default the last. recipe: for small sets and short runs; the paper has LARS, rate 1.0 for 256
    images, decay 1e-5.
    """

    title = "PixPro"
    week = 27
    needs = ("teacher",)
    recipe = {"lr": 1e-3, "batch_size": 64}
    shapes_options = {"augment": CROPPED_VIEWS, "hidden": 256, "out": 64}
    explored = ("projector", "transform")
    backbone: ConvBackbone

    def __init__(self, backbone: ConvBackbone, image_size: int = 32, hidden: int = 512, out: int = 128,
                 threshold: float = 0.7, gamma: float | None = 2.0, momentum: float = 0.99, stage: int = -1,
                 augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        check_map(backbone, stage, self.title)
        check_positive("threshold", threshold)
        if gamma is not None and gamma < 0:
            raise ValueError(f"gamma is {gamma}; expected a power of 0 or more")
        self.backbone, self.stage = backbone, stage
        width = backbone.widths[stage]
        self.projector = nn.Sequential(nn.Conv2d(width, hidden, 1), BatchNorm2d(hidden), nn.ReLU(inplace=True),
                                       nn.Conv2d(hidden, out, 1))
        self.transform = nn.Conv2d(out, out, 1)
        self.target = EMA(nn.ModuleList([self.backbone, self.projector]))
        self.threshold, self.gamma, self.momentum = threshold, gamma, momentum
        first, second = byol_views(image_size)
        self.augment, self.other = augment or first, other or augment or second
        check_placed(self.title, self.augment, self.other)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Two views (B, 3, H, W), then the corners of each, (B, 4)."""
        a, first = self.augment.placed(batch.images, generator)
        b, second = self.other.placed(batch.images, generator)
        return a, b, first, second

    def maps(self, images: Tensor) -> Tensor:
        """Images in [0, 1] -> what is compared, (B, out, h, w): vectors of places, not of length 1."""
        return self.projector(self.backbone.stages(standardize(images))[self.stage])

    def loss(self, views: tuple[Tensor, Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        a, b, first, second = views
        x1, x2 = self.maps(a), self.maps(b)  # (B, out, h, w)
        y1, y2 = self.transform(x1), self.transform(x2)
        if self.gamma is not None:
            y1, y2 = propagate(x1, y1, self.gamma), propagate(x2, y2, self.gamma)
        with torch.no_grad():
            backbone, projector = self.target.module
            keys1, keys2 = (projector(backbone.stages(standardize(view))[self.stage]) for view in (a, b))
        parts = pixpro_loss(y1, y2, keys1, keys2, first, second, self.threshold)
        return {**parts, "embedding": F.normalize(x1.detach().float().mean((2, 3)), dim=1)}

    def after_update(self, progress: float) -> None:
        self.target.update(nn.ModuleList([self.backbone, self.projector]), ema_momentum(self.momentum, progress))


def check_map(backbone: nn.Module, stage: int, what: str) -> None:
    """ValueError unless the backbone has maps, and one of that number."""
    check_maps(backbone, what)
    maps = len(cast(ConvBackbone, backbone).widths)
    if not -maps <= stage < maps:
        raise ValueError(f"stage is {stage}; expected one of the backbone's {maps} maps, 0 to {maps - 1}, or -1 for "
                         "the last")
