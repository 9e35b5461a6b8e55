r"""BYOL: bootstrap your own latent. Grill et al., NeurIPS 2020, arXiv 2006.07733.

Online network (theta): encoder, projector, predictor q. Target network (xi): encoder and projector, without gradient.
With p = q(z) of one view and z' the target's projection of the other, both of length 1:

    L = mean over N of  |p1 - z2'|^2 + |p2 - z1'|^2  =  4 - 2 cos(p1, z2') - 2 cos(p2, z1')        in [0, 8]
    xi <- m xi + (1 - m) theta,   m = 1 - (1 - m0) (1 + cos(pi k / K)) / 2     after step k of K

There are no negatives. The official code (deepmind-research, byol/byol_experiment.py) minimises the sum of the two
directions, not their mean.

Batch norm's buffers: the target's *parameters* follow the online network; its running statistics are its own, and it
runs in training mode, as in the official code. Only the online encoder is evaluated.

What other implementations get wrong: the target never updated, or m scheduled over epochs; gradient through
the target; predictor on both sides; buffers averaged. Many batch-normalise the projector's output, which the paper's
code does not: here that is the option `norm`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, byol_views
from course_lib.methods.base import TwoViewMethod
from course_lib.models.layers import MLP, Backbone, normalize
from course_lib.models.teacher import EMA
from course_lib.optim import Group, ema_momentum, parameter_groups
from course_lib.precision import in_float32


@in_float32
def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance on the sphere: (N, D), (N, D) -> scalar 2 - 2 cos; `target` is taken as a constant."""
    return (normalize(prediction, eps=1e-6) - normalize(target.detach(), eps=1e-6)).square().sum(1).mean()


def byol_loss(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """Both directions added: predictions p of one view against target projections z of the other, (N, D) each."""
    return regression_loss(p1, z2) + regression_loss(p2, z1)


class BYOL(TwoViewMethod):
    """The method: online network, predictor and target.

    hidden, out: of projector and predictor (4096 and 256 in the paper). momentum: m0, 0.996 for 1000 epochs, 0.99 for
    100 to 300, 0.97 for 40; it rises to 1 along a cosine, unless `constant`. predictor=False drops the predictor.
    norm: the projector ends in a batch norm without affine parameters, as in MoCo v3 and SimSiam; not in the paper, but
    it helps in short runs. predictor_lr: the predictor's learning rate over that of the rest; a fast predictor helps in
    short runs. augment, other: the paper's pair differs in blur and solarize (`augment.byol_views`).
    """

    title = "BYOL"
    week = 6
    needs = ("teacher", "predictor")
    recipe = {"lr": 5e-4, "batch_size": 64}
    resnet_options = {"zero_init_residual": True}

    def __init__(self, backbone: Backbone, image_size: int = 32, hidden: int = 512, out: int = 128,
                 momentum: float = 0.97, constant: bool = False, predictor: bool = True, norm: bool = True,
                 predictor_lr: float = 10.0, augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        self.backbone = backbone
        self.projector = MLP(backbone.dim, hidden, out, last_norm=norm)
        self.predictor = MLP(out, hidden, out) if predictor else nn.Identity()
        self.target = EMA(nn.Sequential(self.backbone, self.projector))
        self.momentum, self.constant, self.predictor_lr = momentum, constant, predictor_lr
        first, second = byol_views(image_size)
        self.augment, self.other = augment or first, other or augment or second

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        a, b = (standardize(view) for view in views)
        # one view at a time, as in the official code: batch norm's statistics are those of a view
        z1, z2 = self.projector(self.backbone(a)), self.projector(self.backbone(b))  # (N, out) each
        p1, p2 = self.predictor(z1), self.predictor(z2)
        t1, t2 = self.target(a), self.target(b)
        return {"loss": byol_loss(p1, p2, t1, t2), "embedding": normalize(z1.detach())}

    def after_update(self, progress: float) -> None:
        momentum = self.momentum if self.constant else ema_momentum(self.momentum, progress)
        self.target.update(nn.Sequential(self.backbone, self.projector), momentum)

    def param_groups(self, weight_decay: float) -> list[Group]:
        body = parameter_groups(nn.ModuleList([self.backbone, self.projector]), weight_decay)
        head = parameter_groups(self.predictor, weight_decay)
        return body + [{**group, "lr_scale": self.predictor_lr} for group in head]
