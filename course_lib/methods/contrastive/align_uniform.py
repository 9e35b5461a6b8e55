r"""Alignment and uniformity as a loss. Wang and Isola, ICML 2020, arXiv 2005.10242.

Two views of N images give embeddings scaled to length 1, x and y in R^(N x D):

    L = a * align(x, y) + b * (uniform(x) + uniform(y)) / 2

    align(x, y) = mean over N of |x_i - y_i|^alpha                           alpha = 2
    uniform(x)  = log of the mean over pairs i < j of exp(-t |x_i - x_j|^2)  t = 2

alpha, t and the definitions are those of the official code (SsnL/align_uniform); its STL-10 recipe weighs both terms 1.

What other implementations get wrong: embeddings that are not normalised (shrinking them all is then "aligned"); the
diagonal counted among the pairs, N zero distances that no training can change; the mean of the logarithms in place of
the logarithm of the mean, which is -t times the mean squared distance and ignores how the points are distributed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.collectives import gather
from course_lib.methods.base import TwoViewMethod
from course_lib.models.layers import MLP, Backbone, normalize
from course_lib.precision import check_positive, check_several, in_float32


@in_float32
def alignment_loss(x: Tensor, y: Tensor, alpha: float = 2.0) -> Tensor:
    """Mean distance to the power alpha between the two views of an image, on the sphere: (N, D), (N, D) -> scalar.

    ValueError for an alpha below 1, whose gradient is infinite where two views agree.
    """
    if not alpha >= 1:
        raise ValueError(f"alpha is {alpha}; expected 1 or more: below, the gradient of a distance of 0 is infinite")
    distance = (normalize(x) - normalize(y)).norm(dim=1)  # (N,)
    return distance.pow(alpha).mean()


@in_float32
def uniformity_loss(z: Tensor, t: float = 2.0) -> Tensor:
    """Log of the mean of exp(-t d^2) over the pairs i < j, on the sphere: (N, D) -> scalar, 0 when collapsed.

    ValueError for fewer than two rows, or a t that is not above 0.
    """
    check_positive("t", t)
    z = normalize(check_several(z, "uniformity"))
    lengths = z.square().sum(1)  # 1, or 0 of a row of zeros, which lies at the distance 0 from another
    i, j = torch.triu_indices(len(z), len(z), offset=1, device=z.device)  # the pairs i < j
    squared = lengths[i] + lengths[j] - 2 * (z @ z.T)[i, j]  # |z_i - z_j|^2, (N (N - 1) / 2,)
    return torch.logsumexp(-t * squared, dim=0) - math.log(len(squared))


class AlignUniform(TwoViewMethod):
    """The method: a backbone and a projector of two layers onto a sphere of `width` dimensions.

    align, uniform: the weights a and b of the two terms, which may change between steps (a lesson's knobs); uniform=0
    is attraction alone, which collapses. augment: of both views; other: of the second view, if it differs.
    """

    title = "alignment and uniformity"
    week = 1
    needs = ("negatives",)
    recipe = {"lr": 3e-3}

    def __init__(self, backbone: Backbone, image_size: int = 32, width: int = 128, align: float = 1.0,
                 uniform: float = 1.0, augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        self.backbone = backbone
        self.projector = MLP(backbone.dim, width, width)
        self.weights = {"align": align, "uniform": uniform}
        self.augment = augment or Augment(image_size)
        self.other = other or self.augment

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        x, y = (gather(self.projector(self.backbone(standardize(view)))) for view in views)  # (N, width) each
        parts = {"align": alignment_loss(x, y), "uniform": (uniformity_loss(x) + uniformity_loss(y)) / 2}
        loss = sum(self.weights[name] * parts[name] for name in parts)
        return {"loss": loss, **parts, "embedding": normalize(x.detach())}
