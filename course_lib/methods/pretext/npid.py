r"""NPID, instance discrimination. Wu, Xiong, Yu and Lin, CVPR 2018, arXiv 1805.01978; zhirongw/lemniscate.pytorch.

Each image is a class of its own, whose weight vector is the image's embedding as it was seen last: row m_i of a memory
bank of n rows. For an embedding v, all of length 1:

    P(i | v) = exp(m_i . v / tau) / Z,    Z = sum over j of exp(m_j . v / tau)

    softmax   L = mean over the batch of  -log P(i | v)                          over all n rows (negatives=0)
    NCE       L = mean over the batch of  -log h(i, v)  -  sum over K drawn rows k of log(1 - h(k, v))
              h(k, v) = P(k | v) / (P(k | v) + K / n):   is k the image, or one of K rows drawn from n alike?

    after it  m_i <- (m_i + v) / 2, scaled to length 1

NCE needs P itself, so Z: it is estimated *once*, by the first batch, as n times the mean of exp(m . v / tau), and kept.
The estimate is that of an untrained network; as a constant it only sets where P and the noise K / n balance.

What other implementations get wrong: Z estimated anew at each step, so that it rises with the scores and P cannot;
memory moved before the loss, so that an image meets itself; the noise terms averaged and not summed over K; the image's
own row kept out of the noise (it is drawn of all n rows, with repetition).

The official code adds 1e-7 to the denominator of h, as here (eps). The paper's proximal term, which ties v to its row,
is not in the release, and not here. The release's view for CIFAR-10 has no flip.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment, moco_v1_view
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.pretext.memory import MemoryBank, draw_rows, first_look
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import check_positive, in_float32

OFFICIAL_EPS = 1e-7


@in_float32
def nce_loss(scores: Tensor, log_z: Tensor | float, n: int, eps: float = OFFICIAL_EPS) -> dict[str, Tensor]:
    """NCE from scores m . v / tau (B, 1 + K), the image's own row in column 0 -> scalars "loss", "data", "noise".

    The K others are drawn from n rows. log_z: of the constant Z. "data" and "noise" are the two terms; the means are
    over this rank's images.
    """
    log_p = scores - log_z  # (B, 1 + K)
    k = scores.shape[1] - 1
    either = torch.logaddexp(log_p, torch.full_like(log_p, math.log(k / n + eps)))  # log(P + K / n)
    data = (either[:, 0] - log_p[:, 0]).mean()
    noise = (either[:, 1:] - math.log(k / n)).sum(1).mean()
    return {"loss": data + noise, "data": data, "noise": noise}


@in_float32
def instance_softmax(scores: Tensor, indices: Tensor) -> Tensor:
    """The softmax over all rows: scores m . v / tau (B, n), int64 (B,) which row is the image's own -> scalar."""
    return F.cross_entropy(scores, indices)


def check_bank_options(negatives: int, temperature: float, least: int) -> None:
    """ValueError for a temperature or a number of negatives that cannot be."""
    check_positive("temperature", temperature)
    if isinstance(negatives, bool) or not isinstance(negatives, int) or negatives < least:
        raise ValueError(f"negatives is {negatives!r}; expected a whole number from {least} up, of rows of the memory "
                         "bank that are drawn for each image" + ("; 0 takes all rows, by a softmax" * (least == 0)))


class NPID(Method):
    """The method: a backbone, a linear head, and the memory bank, which `fit` fills by `prepare`.

    out: the embedding's width (128). negatives: K, rows drawn for each image (4096 of 1.28 million; 0: the softmax
    over all). temperature: tau (0.07, on CIFAR 0.1). memory: the old row's share when it moves (0.5). warm: rows begin
    as the untrained network's embeddings, not as random directions (ours: on few images the noise is learned first).
    augment: of the one view, MoCo v1's. recipe: for small sets and short runs; the release has SGD, 0.03 for 256
    images, 200 epochs.
    """

    title = "NPID"
    week = 26
    needs = ("negatives", "memory bank")
    recipe = {"lr": 1e-3, "batch_size": 128}
    shapes_options = {"augment": SHAPES_VIEWS}
    explored = ("head",)

    def __init__(self, backbone: Backbone, image_size: int = 32, out: int = 128, negatives: int = 512,
                 temperature: float = 0.1, memory: float = 0.5, warm: bool = False,
                 augment: Augment | None = None):
        super().__init__()
        check_bank_options(negatives, temperature, 0)
        self.backbone, self.head = backbone, nn.Linear(backbone.dim, out)
        self.memory = MemoryBank(out, memory)
        self.negatives, self.temperature, self.warm = negatives, temperature, warm
        self.augment = augment or moco_v1_view(image_size)

    def prepare(self, images: Tensor) -> None:
        look = first_look(self.augment, lambda x: self.head(self.backbone(x))) if self.warm else None
        self.memory.prepare(images, look)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One view (B, 3, H, W), the images' numbers (B,), and the rows that are compared, own first (B, 1 + K)."""
        n, view = self.memory.of(batch), self.augment(batch.images, generator)
        drawn = draw_rows(len(view), self.negatives, n, generator, view.device)
        return view, batch.indices, torch.cat([batch.indices[:, None], drawn], 1)

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        view, indices, rows = views
        v = normalize(self.head(self.backbone(standardize(view))))  # (B, out)
        if self.negatives:
            scores = self.memory.scores(v, rows, self.temperature)  # (B, 1 + K)
            parts = nce_loss(scores, self.memory.log_partition(scores), len(self.memory))
        else:
            parts = {"loss": instance_softmax(self.memory.scores(v, None, self.temperature), indices)}
        if self.training:  # after the scores: no image meets itself
            self.memory.update(indices, v)
        return {**parts, "embedding": v.detach(), "views_per_image": 1}
