r"""VICReg: variance-invariance-covariance regularization. Bardes, Ponce, LeCun, ICLR 2022, arXiv 2105.04906.

Two views of N images give embeddings Z, Z' in R^(N x D), neither normalised nor stopped:

    L = 25 s(Z, Z') + 25 * (v(Z) + v(Z')) / 2 + 1 * (c(Z) + c(Z'))

    s(Z, Z') = mean over N and D of (z - z')^2                        invariance
    v(Z)     = mean over d of max(0, 1 - sqrt(Var(z_d) + 1e-4))       variance, Var with N - 1
    c(Z)     = sum over i != j of Cov(Z)_ij^2 / D                     covariance, Cov with N - 1

This is the *code's* objective (facebookresearch/vicreg, main_vicreg.py), to which 25 / 25 / 1 belong. The paper's
formula has s without the 1/D and v without the half; its Algorithm 1 has the 1/D, but not the half.

What other implementations get wrong: the sum instead of the mean of the two variance terms; off-diagonal squares not
divided by D; epsilon outside the root, whose slope is then infinite at collapse; the biased variance; N taken from the
settings, so that a last partial batch is scaled wrongly; statistics of one rank's batch instead of the global batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, byol_views
from course_lib.collectives import gather
from course_lib.methods.base import TwoViewMethod
from course_lib.models.layers import MLP, Backbone
from course_lib.precision import check_several, in_float32


@in_float32
def invariance_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of the two views' embeddings: (N, D), (N, D) -> scalar."""
    return F.mse_loss(a, b)


@in_float32
def variance_loss(z: Tensor, gamma: float = 1.0, eps: float = 1e-4) -> Tensor:
    """How far the standard deviation of each dimension falls short of gamma: (N, D) -> scalar.

    ValueError for one row.
    """
    check_several(z, "the variance over the batch")
    std = torch.sqrt(z.var(dim=0) + eps)  # (D,)
    return F.relu(gamma - std).mean()


@in_float32
def covariance_loss(z: Tensor) -> Tensor:
    """Squared covariances of different dimensions, summed and divided by D: (N, D) -> scalar.

    ValueError for one row.
    """
    n, d = check_several(z, "the covariance over the batch").shape
    z = z - z.mean(dim=0)
    # Z^T Z and Z Z^T have the same sum of squares: with more dimensions than samples the second is the smaller one
    products = z.T @ z if d <= n else z @ z.T
    variances = z.square().sum(dim=0)  # the diagonal of Z^T Z, (D,)
    return (products.square().sum() - variances.square().sum()) / (n - 1) ** 2 / d


def vicreg_loss(
    a: Tensor, b: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> dict[str, Tensor]:
    """The loss and its unweighted parts for the global batch: (N, D), (N, D) -> dict of scalars.

    Over several ranks the embeddings are gathered first, so that variance and covariance are the global batch's.
    """
    a, b = gather(a), gather(b)
    parts = {
        "invariance": invariance_loss(a, b),
        "variance": (variance_loss(a) + variance_loss(b)) / 2,
        "covariance": covariance_loss(a) + covariance_loss(b),
    }
    loss = invariance * parts["invariance"] + variance * parts["variance"] + covariance * parts["covariance"]
    return {"loss": loss, **parts}


class VICReg(TwoViewMethod):
    """The method: a backbone and an expander of three layers (2048-8192-8192-8192 in the paper; `width` here).

    invariance, variance, covariance: the coefficients, which may change between steps (a lesson's knobs). The paper's
    covariance is 1, for 8192 dimensions; on an expander as narrow as 512, 4 keeps more of them in use (lesson 03
    measures it). augment, other: of the two views; the paper's pair differs in blur and solarize
    (`augment.byol_views`); at 32 pixels, by default, both views are alike and without blur.
    """

    title = "VICReg"
    week = 3
    recipe = {"lr": 3e-3}
    resnet_options = {"zero_init_residual": True}

    def __init__(self, backbone: Backbone, image_size: int = 32, width: int = 512, invariance: float = 25.0,
                 variance: float = 25.0, covariance: float = 4.0, augment: Augment | None = None,
                 other: Augment | None = None):
        super().__init__()
        self.backbone = backbone
        self.expander = MLP(backbone.dim, width, width, width)
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        first, second = byol_views(image_size)
        self.augment, self.other = augment or first, other or augment or second

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        # one view at a time, as in the official code: batch norm's statistics are those of a view
        a, b = (self.expander(self.backbone(standardize(view))) for view in views)  # (N, width) each
        return {**vicreg_loss(a, b, **self.weights), "embedding": a.detach()}
