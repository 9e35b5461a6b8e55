r"""EqCo: equivalent rules for contrastive learning. Zhu, Huang, Li, Zhang, Sun, 2020, arXiv 2010.01929.

With K negatives, the sum over them grows with K, and with it the loss and its gradient. Weighed by alpha / K, it stays
what alpha negatives would give on average, whatever K is:

    L = mean over queries of  -log( exp(s+ / tau) / (exp(s+ / tau) + alpha / K * sum over K of exp(s_k / tau)) )

which is InfoNCE with a margin m = tau log(alpha / K) taken off the positive's similarity; K = alpha is InfoNCE itself.

SiMo, the method built on it, is MoCo without a queue: keys of the moving average of the encoder, the negatives of a
query being the keys of the *other* images of the same batch, K of them.

What other implementations get wrong: the factor outside of the logarithm, where it only scales the loss; the factor
left out, as in the first author's release (poodarchu/SelfSup, where it is a comment: right for its alpha = K only);
one random choice of K negatives for all rows, as there: here each query has its own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, moco_view, two_views
from course_lib.collectives import gather, rank, world_size
from course_lib.data.images import Batch
from course_lib.methods.base import TwoViewMethod
from course_lib.methods.contrastive.negatives import contrast
from course_lib.models.batch_norm import BatchNorm1d
from course_lib.models.layers import Backbone, normalize
from course_lib.models.teacher import EMA
from course_lib.optim import Group, parameter_groups
from course_lib.precision import check_positive, check_several, in_float32


def margin(temperature: float, alpha: float, k: int) -> float:
    """m = tau log(alpha / K), which is taken off the positive's similarity."""
    return temperature * math.log(alpha / k)


def some_others(n: int, total: int, k: int | None, generator: torch.Generator) -> Tensor:
    """For each of n images, k of the other total - 1, or all of them (None): int64 (n, k), places among these.

    ValueError if there are not so many.
    """
    k = total - 1 if k is None else k
    if not 1 <= k < total:
        raise ValueError(f"negatives is {k}; expected 1 to {total - 1}, the other images of a batch of {total}: use "
                         "fewer negatives, or a larger batch")
    return torch.rand(n, total - 1, generator=generator, device=generator.device).argsort(1)[:, :k]


@in_float32
def eqco_loss(q: Tensor, k: Tensor, columns: Tensor, temperature: float = 0.2,
              alpha: float | None = 256.0) -> dict[str, Tensor]:
    """The loss of raw queries and keys (N, D) of the same images, against K other keys -> "loss" and "accuracy".

    columns: int64 (N, K), which keys are query i's negatives: places in the row of all keys but its own. alpha=None is
    InfoNCE. Keys are constants; over several ranks they are those of all ranks, and the mean is over this rank's
    queries.
    """
    check_positive("temperature", temperature)
    own = rank() * len(q) + torch.arange(len(q), device=q.device)[:, None]  # the column of each query's own key
    logits = normalize(q) @ normalize(gather(k.detach())).T / temperature  # (N, W * N)
    negatives = logits.gather(1, columns + (columns >= own))  # (N, K): own keys skipped
    return contrast(logits.gather(1, own)[:, 0], negatives, temperature, alpha=alpha)


class EqCo(TwoViewMethod):
    """SiMo: query encoder and key encoder (its moving average), with the keys of the batch as negatives.

    hidden, out: of the head (2048, 128), which ends in a batch norm. negatives: K of the batch's other images (None:
    all). alpha: as if there were so many negatives (256; None: as many as there are). momentum: of the key encoder
    (0.999 for 200 epochs; short runs need less). temperature: 0.2. recipe: for small sets and short runs; the release
    has SGD, 0.03 for 256 images.
    """

    title = "EqCo (SiMo)"
    week = 10
    needs = ("negatives", "teacher")
    recipe = {"lr": 1e-3, "batch_size": 128}

    def __init__(self, backbone: Backbone, image_size: int = 32, hidden: int = 512, out: int = 128,
                 negatives: int | None = None, alpha: float | None = 256.0, momentum: float = 0.99,
                 temperature: float = 0.2, augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        check_positive("temperature", temperature)
        if alpha is not None:
            check_positive("alpha", alpha)
        self.backbone = backbone
        self.head = nn.Sequential(nn.Linear(backbone.dim, hidden, bias=False), BatchNorm1d(hidden),
                                  nn.ReLU(inplace=True), nn.Linear(hidden, out, bias=False), BatchNorm1d(out))
        self.keys = EMA(nn.Sequential(self.backbone, self.head))
        self.negatives, self.alpha, self.momentum, self.temperature = negatives, alpha, momentum, temperature
        self.augment = augment or moco_view(image_size)
        self.other = other or self.augment

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        n, total = len(batch.images), len(batch.images) * world_size()
        if total == 1:
            check_several(batch.images, self.title)
        a, b = two_views(batch.images, self.augment, generator, self.other)
        return a, b, some_others(n, total, self.negatives, generator).to(a.device)

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        a, b, columns = views
        q, k = self.head(self.backbone(standardize(a))), self.keys(standardize(b))  # (N, out) each
        return {**eqco_loss(q, k, columns, self.temperature, self.alpha), "embedding": normalize(q.detach())}

    def after_update(self, progress: float) -> None:
        self.keys.update(nn.Sequential(self.backbone, self.head), self.momentum)

    def param_groups(self, weight_decay: float) -> list[Group]:
        return parameter_groups(self, weight_decay, exempt=False)
