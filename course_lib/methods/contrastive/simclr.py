r"""SimCLR: a simple framework for contrastive learning. Chen, Kornblith, Norouzi, Hinton, ICML 2020, arXiv 2002.05709.

Two views of N images give 2N embeddings z, scaled to length 1. Each anchor i must pick out its partner p(i), the
other view of its image, among the 2N - 1 others (NT-Xent):

    L = mean over the 2N anchors of  -log( exp(z_i . z_p(i) / tau) / sum over j != i of exp(z_i . z_j / tau) )

With P_ij the share of j in that sum, the gradient of anchor i's loss with respect to s_ij = z_i . z_j is
(P_ij - [j = p(i)]) / tau: the pull on the partner is as strong as the pushes on all others together. An encoder that
tells nothing apart has L = log(2N - 1). The official code (google-research/simclr, objective.py) returns the *sum* of
the two directions, twice this average.

What other implementations get wrong: the anchor itself left in the sum, or subtracted as a constant so that its
gradient still flows; the positive left out of the sum; the wrong partner after the views are concatenated; the
logarithm of a mean instead of the mean of logarithms; negatives of one rank only; exp without logsumexp at small tau.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, many_views
from course_lib.collectives import gather, world_size
from course_lib.data.images import Batch
from course_lib.methods.base import TwoViewMethod
from course_lib.methods.metric.supcon import supcon_loss
from course_lib.models.batch_norm import BatchNorm1d
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import check_positive, check_several, in_float32


def partners(n: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Who is whose among 2N views, the first views of all images above the second ones.

    -> partner (2N,) int64, the row of the other view of the same image; others (2N, 2N) bool, True where anchor i
    (row) may choose j (column): everywhere but on the diagonal.
    """
    rows = torch.arange(2 * n, device=device)
    return rows.roll(n), rows[:, None] != rows


@in_float32
def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.1, unit_length: bool = True) -> dict[str, Tensor]:
    """NT-Xent of the global batch: (N, D), (N, D) -> dict of scalars "loss" and "accuracy" (partner ranked first).

    Row i of `a` and row i of `b` are the two views of image i; over several ranks both are gathered first.
    unit_length=False takes the embeddings as they are (the official code's hidden_norm). ValueError for a temperature
    that is not above 0.
    """
    check_positive("temperature", temperature)
    z = torch.cat([gather(a), gather(b)])  # (2N, D), view 1 above view 2
    z = normalize(z) if unit_length else z
    partner, others = partners(len(z) // 2, z.device)
    logits = (z @ z.T / temperature).masked_fill(~others, -torch.inf)  # (2N, 2N), no self
    accuracy = (logits.argmax(1) == partner).to(z.dtype).mean()
    return {"loss": F.cross_entropy(logits, partner), "accuracy": accuracy}


def projection_head(width: int, hidden: int, out: int, layers: int = 2) -> nn.Sequential:
    """The official head: linear layers without bias, batch norm after each, ReLU between; no offset at the end."""
    widths = [width, *[hidden] * (layers - 1), out]
    modules: list[nn.Module] = []
    for before, after in zip(widths, widths[1:]):
        norm = BatchNorm1d(after)
        modules += [nn.Linear(before, after, bias=False), norm, nn.ReLU(inplace=True)]
    norm.bias.requires_grad_(False)  # of the last norm: it stays 0
    return nn.Sequential(*modules[:-1])


class SimCLR(TwoViewMethod):
    """The method: a backbone and a projection head, which is discarded after training.

    hidden, out, layers: the head (2048, 128, 2 in the paper for a ResNet-50; SimCLR v2 has 3 layers). temperature: 0.1
    for ImageNet, 0.5 for CIFAR-10 in the official code; may change between steps. augment, other: of the two
    views; the paper's has jitter (.8, .8, .8, .2) times a strength (1, on CIFAR 0.5) and, on large images, blur.

    Not in the paper: count, the views of an image; of more than two each has all the others of its image as partners
    (`supcon_loss` without labels), the second to the last are of kind `other`.
    """

    title = "SimCLR"
    week = 4
    needs = ("negatives",)
    recipe = {"lr": 3e-3, "weight_decay": 1e-4, "batch_size": 128}
    resnet_options = {"zero_init_residual": True}

    def __init__(self, backbone: Backbone, image_size: int = 32, hidden: int = 512, out: int = 128, layers: int = 2,
                 temperature: float = 0.2, augment: Augment | None = None, other: Augment | None = None,
                 count: int = 2):
        super().__init__()
        self.backbone = backbone
        self.head = projection_head(backbone.dim, hidden, out, layers)
        self.temperature = temperature
        self.augment = augment or simclr_views(image_size)
        self.other = other or self.augment
        if count < 2:
            raise ValueError(f"count is {count!r}; expected two views of each image or more")
        self.count = count

    def views(self, batch: Batch, generator: torch.Generator) -> list[Tensor]:
        return many_views(batch.images, [self.augment, *[self.other] * (self.count - 1)], generator)

    def loss(self, views: Sequence[Tensor], progress: float = 0.0) -> dict[str, Any]:
        if world_size() == 1:
            check_several(views[0], self.title)
        # all views through the network at once: batch norm's statistics are those of all
        z = self.head(self.backbone(standardize(torch.cat(list(views)))))  # (2N, out), or (count * N, out)
        each = z.chunk(len(views))  # (N, out)
        parts = (nt_xent(each[0], each[1], self.temperature) if len(each) == 2 else
                 supcon_loss(torch.stack(each, 1), temperature=self.temperature))
        return {**parts, "embedding": normalize(z.detach()), "views_per_image": len(views)}


def simclr_views(image_size: int) -> Augment:
    """The paper's view of large images (strength 1, blur); up to 64 pixels the official CIFAR one (0.5, no blur)."""
    if image_size > 64:
        return Augment(image_size, scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), blur_p=0.5,
                       interpolation="bicubic")
    return Augment(image_size, scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.4, 0.1))
