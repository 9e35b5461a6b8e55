r"""ReLIC: representation learning via invariant causal mechanisms. Mitrovic et al., ICLR 2021, arXiv 2010.07922.

Each of N images, seen under an augmentation a_l, has a distribution over the N images under another one, a_k. With
f the encoder, g the critic, and h either f or a target network that follows it, all outputs scaled to length 1:

    p_lk(j | x_i) = exp(phi_ij / tau) / sum over j' of exp(phi_ij' / tau),    phi_ij = <g(f(x_i^l)), g(h(x_j^k))>

    L = mean of -log p_lk(i | x_i)  +  alpha mean of KL(p_lk(. | x_i) || p_qt(. | x_i))

The first term is InfoNCE. The second asks that the whole distribution be the same whatever the augmentations: an image
is not only to find its partner, its likeness to all others is not to depend on colour or crop. With two views there are
two distributions, p_12 and p_21; both terms are means over the two directions here (the paper adds them). A network
that gives all images one vector has a KL of 0, so alpha alone teaches nothing.

What is not fixed by the paper's formula: the direction of the KL and whether a gradient stops in it. Here it is taken
both ways, with the gradient through both distributions. There is no official training code (google-deepmind/relicv2
evaluates only), so nothing else can be held to it than the formula; the critic's widths are this library's.

What other implementations get wrong: the KL between features, or between the softmax over the rows of one matrix and
that over its columns without the transpose, so that image i of one is compared with image j of the other; the target's
copy trained by gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.collectives import gather, world_size
from course_lib.methods.base import TwoViewMethod
from course_lib.methods.contrastive.simclr import simclr_views
from course_lib.models.layers import MLP, Backbone, normalize
from course_lib.models.teacher import EMA
from course_lib.optim import ema_momentum
from course_lib.precision import check_positive, check_several, in_float32


@in_float32
def log_likeness(anchors: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Critic outputs of two views, (N, D) each -> log p (N, N): row i, how image i is spread over all images.

    ValueError for a temperature that is not above 0.
    """
    check_positive("temperature", temperature)
    return (normalize(anchors) @ normalize(targets).T / temperature).log_softmax(1)


@in_float32
def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The mean over rows of KL(p || q) in nats: logarithms (N, N), (N, N) -> scalar."""
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


@in_float32
def relic_loss(o1: Tensor, o2: Tensor, t1: Tensor, t2: Tensor, alpha: float = 1.0,
               temperature: float = 0.1) -> dict[str, Tensor]:
    """ReLIC of the global batch: online outputs o and target outputs t of two views, (N, D) each -> dict of scalars.

    "loss", its parts "contrast" and "invariance" (the KL, without alpha), and "accuracy", how often the partner is
    ranked first. Over several ranks all are gathered first.
    """
    o1, o2, t1, t2 = map(gather, (o1, o2, t1, t2))
    log_p12, log_p21 = log_likeness(o1, t2, temperature), log_likeness(o2, t1, temperature)  # (N, N) each
    contrast = -(log_p12.diagonal().mean() + log_p21.diagonal().mean()) / 2
    invariance = (divergence(log_p12, log_p21) + divergence(log_p21, log_p12)) / 2
    own = torch.arange(len(o1), device=o1.device)
    accuracy = (torch.stack([log_p12, log_p21]).argmax(2) == own).to(contrast.dtype).mean()
    return {"loss": contrast + alpha * invariance, "contrast": contrast, "invariance": invariance, "accuracy": accuracy}


class ReLIC(TwoViewMethod):
    """The method: a backbone and a critic, which is discarded after training; with a momentum also their target copy.

    alpha: weight of the invariance (may change between steps). temperature: tau. hidden, out: of the critic. momentum:
    of the target network, rising to 1 along a cosine as in BYOL; 0 for none, h = f. With a target network the paper
    reports more (recalled, not confirmed: 74.8 for 70.3 on ImageNet, ResNet-50). augment, other: of the two views;
    SimCLR's. recipe: for short runs, SimCLR's, so that alpha = 0 is InfoNCE under the same conditions.
    """

    title = "ReLIC"
    week = 25
    needs = ("negatives",)
    recipe = {"lr": 3e-3, "weight_decay": 1e-4, "batch_size": 128}
    resnet_options = {"zero_init_residual": True}

    def __init__(self, backbone: Backbone, image_size: int = 32, hidden: int = 512, out: int = 128, alpha: float = 1.0,
                 temperature: float = 0.2, momentum: float = 0.0, augment: Augment | None = None,
                 other: Augment | None = None):
        super().__init__()
        check_positive("temperature", temperature)
        if not 0 <= momentum < 1 or not alpha >= 0:
            raise ValueError(f"momentum is {momentum} and alpha {alpha}; expected a momentum of 0 (no target network) "
                             "or more, below 1, and an alpha of 0 or more")
        self.backbone, self.critic = backbone, MLP(backbone.dim, hidden, out)
        self.target = EMA(nn.Sequential(self.backbone, self.critic)) if momentum else None
        self.alpha, self.temperature, self.momentum = alpha, temperature, momentum
        self.augment = augment or simclr_views(image_size)
        self.other = other or self.augment

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        if world_size() == 1:
            check_several(views[0], self.title)
        both = standardize(torch.cat(views))  # both views at once: batch norm's statistics are those of all 2N views
        o1, o2 = self.critic(self.backbone(both)).chunk(2)  # (N, out) each
        t1, t2 = (o1, o2) if self.target is None else self.target(both).chunk(2)
        return {**relic_loss(o1, o2, t1, t2, self.alpha, self.temperature), "embedding": normalize(o1.detach())}

    def after_update(self, progress: float) -> None:
        if self.target is not None:
            self.target.update(nn.Sequential(self.backbone, self.critic), ema_momentum(self.momentum, progress))
