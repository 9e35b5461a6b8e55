r"""AdpCLR: self-supervised representation learning via adaptive hard-positive mining. Zhang, Yan, Yang, 2021.

Withdrawn from ICLR 2021 (https://openreview.net/forum?id=aLIbnLY9NtH), not on arXiv, no public code. Known from its
abstract: instance discrimination wastes the nearest positives; mining them brings the loss closer to the supervised
one; a version goes on from a pre-trained network (pre), another mines all the time (full). *Reconstructed here* is all
that follows. With z_i the mean of an image's views, each of length 1, and M(i) the k other images of highest z_i . z_j:

    P(i)  = the views of image i and of the images in M(i), without the anchor itself
    L     = mean over anchors of  -1 / |P(i)|  sum over p in P(i) of  log softmax(z_i . z_p / tau)      (SupCon's)

M(i) is mined anew in each step from the batch, by the network as it is (so "adaptive" is read here), and no gradient
flows through the choice. k = 0 is NT-Xent. `start` is the share of the training before the mining: 0 is "full".

What can go wrong: the image itself among its k nearest; the mined left among the negatives and not among the positives;
mining before the network tells anything apart, so that what was alike by chance is made alike (a start above 0 helps);
gains credited to the choice which as many random positives have, too (the control: by_rank=False).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.collectives import gather, world_size
from course_lib.methods.contrastive.negatives import DCL, ranked
from course_lib.methods.metric.supcon import supcon_loss
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import check_several, in_float32


def check_fits(k: int, n: int) -> None:
    """ValueError unless k other images are in a batch of n."""
    if not 0 <= k < n:
        raise ValueError(f"k is {k}; expected 0 to {n - 1}: at most the other images of the batch, which has {n}")


@in_float32
def mined(z: Tensor, k: int, by_rank: bool = True) -> Tensor:
    """Which images are taken for an image's own kind: raw z (N, V, D) -> int64 (N, k), without gradient.

    Row i: the k other images of the highest mean cosine of their views with those of image i, the nearest first.
    by_rank=False takes the next k of the batch, which is random in a shuffled one: the control with as many. ValueError
    unless 0 <= k < N.
    """
    n = len(z)
    check_fits(k, n)
    rows = torch.arange(n, device=z.device)
    if not by_rank:
        return (rows[:, None] + 1 + torch.arange(k, device=z.device)) % n
    mean = normalize(z.detach()).mean(1)  # (N, D)
    return ranked((mean @ mean.T).fill_diagonal_(-torch.inf), 0, k)


def positives(neighbours: Tensor) -> Tensor:
    """int64 (N, k) -> (N, N), 1.0 where image j (column) is a positive of image i: itself and its neighbours."""
    return torch.eye(len(neighbours), device=neighbours.device).scatter(1, neighbours, 1.0)


def adpclr_loss(z: Tensor, k: int, temperature: float = 0.5, by_rank: bool = True) -> dict[str, Tensor]:
    """The loss of V views of each image with k mined positives, raw z (N, V, D) -> "loss" and "accuracy".

    "accuracy" is the share of anchors whose nearest view is one of their positives. Over several ranks z is gathered,
    and the positives are mined in the global batch. ValueError for a single view, or k out of its range.
    """
    return supcon_loss(z, positives(mined(gather(z.detach()), k, by_rank)), temperature)


class AdpCLR(DCL):
    """SimCLR with mined positives, over the network of DCL.

    k: how many images are mined for each (1; 0 is SimCLR's loss). start: the share of the training after which mining
    begins (0.5; 0: at once). by_rank: False takes as many at random, the control. The others are DCL's: hidden, out,
    temperature, augment, other.
    """

    title = "AdpCLR"
    week = 10

    def __init__(self, backbone: Backbone, image_size: int = 32, k: int = 1, start: float = 0.5, by_rank: bool = True,
                 hidden: int = 512, out: int = 128, temperature: float = 0.5, augment: Augment | None = None,
                 other: Augment | None = None):
        super().__init__(backbone, image_size, hidden, out, temperature, tau_plus=0.0, augment=augment, other=other)
        if k < 0:
            raise ValueError(f"k is {k}; expected 0 (none) or more images to mine for each")
        if not 0 <= start <= 1:
            raise ValueError(f"start is {start}; expected a share of the training, 0 to 1, after which mining begins")
        self.k, self.start, self.by_rank = k, start, by_rank

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        if world_size() == 1:
            check_several(views[0], self.title)
        check_fits(self.k, len(views[0]) * world_size())  # from the first step on, not only when mining begins
        z = torch.stack([self.head(self.backbone(standardize(view))) for view in views], 1)  # (N, 2, out)
        parts = adpclr_loss(z, self.k if progress >= self.start else 0, self.temperature, self.by_rank)
        return {**parts, "embedding": normalize(z[:, 0].detach())}
