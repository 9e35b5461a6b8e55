r"""Barlow Twins: redundancy reduction. Zbontar, Jing, Misra, LeCun, Deny, ICML 2021, arXiv 2103.03230.

Two views of N images give embeddings Z1, Z2 in R^(N x D). Each dimension of each view is standardised over the global
batch (mean 0, biased variance 1, epsilon 1e-5), and their cross-correlation is driven to the identity:

    C = Z1^T Z2 / N                                                        (D, D)
    L = sum over i of (C_ii - 1)^2  +  lambda * sum over i != j of C_ij^2

Both are sums, so L grows with D. m copies of one dimension cost lambda (m - 1) each: lambda = 0.0051 belongs to D =
8192, narrower embeddings need a larger one (at least about 1 / D; by default 6 / D here, which lesson 09 measures). On
W ranks the official code (facebookresearch/barlowtwins) all-reduces C outside autograd, which gives 1/W of the exact
gradient; LARS hides this for weights but not for biases.

What other implementations get wrong: the views standardised together; the unbiased variance, with which the diagonal
never reaches 1; features of one image normalised instead of one feature over the batch; means instead of sums.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, byol_views
from course_lib.collectives import gather, world_size
from course_lib.methods.base import TwoViewMethod
from course_lib.models.layers import MLP, Backbone
from course_lib.moved import signpost
from course_lib.optim import Group, parameter_groups
from course_lib.precision import check_several, in_float32

__getattr__ = signpost(__name__)  # names the new name of what has been renamed here


@in_float32
def cross_correlation(a: Tensor, b: Tensor, eps: float = 1e-5) -> Tensor:
    """(N, D), (N, D) -> (D, D): correlation of dimension i of view 1 with dimension j of view 2 over the batch.

    ValueError for a single row.
    """
    check_several(a, "a correlation over the batch")
    a, b = ((z - z.mean(0)) / torch.sqrt(z.var(0, correction=0) + eps) for z in (a, b))
    return a.T @ b / len(a)


def off_diagonal(matrix: Tensor) -> Tensor:
    """(D, D) -> (D * (D - 1),): the off-diagonal entries, row by row; differentiable."""
    d = len(matrix)
    if matrix.shape != (d, d):
        raise ValueError(f"expected a square matrix, got {tuple(matrix.shape)}")
    # read row by row and without its last entry, the matrix is D - 1 blocks of D + 1 that begin on the diagonal
    return matrix.flatten()[:-1].view(d - 1, d + 1)[:, 1:].flatten()


def divide_gradient_by_ranks(loss: Tensor) -> Tensor:
    """The same value, with its gradient divided by the number of ranks."""
    return loss.detach() + (loss - loss.detach()) / world_size()


def barlow_twins_loss(
    a: Tensor, b: Tensor, lambd: float = 0.0051, official_gradient: bool = False
) -> dict[str, Tensor]:
    """The loss and its two unweighted parts for the global batch: (N, D), (N, D) -> dict of scalars.

    official_gradient: 1/W of the exact gradient on W ranks, as in the official code; the value is the same.
    """
    c = cross_correlation(gather(a), gather(b))
    on = (c.diagonal() - 1).square().sum()
    off = off_diagonal(c).square().sum()
    loss = on + lambd * off
    if official_gradient:
        loss = divide_gradient_by_ranks(loss)
    return {"loss": loss, "on_diagonal": on, "off_diagonal": off}


class BarlowTwins(TwoViewMethod):
    """The method: a backbone and a projector of three layers (8192 wide in the paper; `width` here), without biases.

    lambd: weight of the off-diagonal part, by default 6 / width (the paper's at 8192); it may change between steps.
    augment, other: the paper's pair differs in blur and solarize (`augment.byol_views`); at 32 pixels, by default, both
    views are alike. Under LARS biases and norms have the official rate of their own, 0.0048 against 0.2.
    """

    title = "Barlow Twins"
    week = 9
    recipe = {"lr": 1e-3, "batch_size": 128}
    resnet_options = {"zero_init_residual": True}

    def __init__(self, backbone: Backbone, image_size: int = 32, width: int = 128, lambd: float | None = None,
                 official_gradient: bool = False, augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        self.backbone = backbone
        self.projector = MLP(backbone.dim, width, width, width, hidden_bias=False)
        self.lambd = (0.0051 if width == 8192 else 6 / width) if lambd is None else lambd
        self.official_gradient = official_gradient
        first, second = byol_views(image_size)
        self.augment, self.other = augment or first, other or augment or second

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        # one view at a time, as in the official code: batch norm's statistics are those of a view
        a, b = (self.projector(self.backbone(standardize(view))) for view in views)  # (N, width) each
        return {**barlow_twins_loss(a, b, self.lambd, self.official_gradient), "embedding": a.detach()}

    def param_groups(self, weight_decay: float) -> list[Group]:
        weights, *biases = parameter_groups(self, weight_decay)
        return [weights, *({**group, "lars_scale": 0.0048 / 0.2} for group in biases)]
