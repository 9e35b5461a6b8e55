r"""SupCon: supervised contrastive learning. Khosla et al., NeurIPS 2020, arXiv 2004.11362; HobbitLong/SupContrast.

SimCLR's loss where the labels are known: the positives P(i) of view i are *all* other views of its class in the batch,
its own image's other view among them. With p_ij = exp(z_i . z_j / tau) / sum over a != i of exp(z_i . z_a / tau):

    outside   L_i = - 1 / |P(i)| * sum over P(i) of log p_ij          the mean outside of the logarithm, the paper's
    inside    L_i = - log( 1 / |P(i)| * sum over P(i) of p_ij )

L is the mean over all views. By Jensen's inequality "inside" is never above "outside", and content once one positive is
near: its gradient weighs positives by p_ij, so that those which are near already count most. It is the worse one.

What other implementations get wrong: the other positives left out of the denominator (it holds all but i itself, so the
loss cannot reach 0: each of |P| positives gets 1 / |P| at best); embeddings not scaled to length 1 by the caller, who
has to do so in the official code; views of an image next to each other where view-major order is expected.

The official code multiplies the loss by tau / 0.07, whatever tau is: 1.4 times at 0.1, 7 times at 0.5. Here it is the
paper's. As there, a view without a positive adds 0 and counts in the mean, and without labels the loss is NT-Xent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, two_views
from course_lib.collectives import gather, world_size
from course_lib.data.images import Batch
from course_lib.methods.base import TwoViewMethod
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import check_positive, check_several, in_float32


def same_class(labels: Tensor) -> Tensor:
    """int64 (N,) -> (N, N), 1.0 where two images have one label."""
    return (labels[:, None] == labels).float()


@in_float32
def supcon_loss(z: Tensor, positives: Tensor | None = None, temperature: float = 0.1, inside: bool = False,
                first_only: bool = False, unit_length: bool = True) -> dict[str, Tensor]:
    """The loss of V views of each image, raw z (N, V, D) -> "loss" and "accuracy" (a positive is nearest).

    positives: (N, N), which images (columns) are an image's positives, such as `same_class(labels)`; None: only itself.
    first_only: only first views are anchors, as in the official mode "one". unit_length=False takes z as it is. Over
    several ranks z is gathered, and positives are those of the global batch. ValueError for a single view, or where
    shapes do not fit.
    """
    check_positive("temperature", temperature)
    if z.ndim != 3:
        raise ValueError(f"z has shape {tuple(z.shape)}; expected (N, views, D): torch.stack([first, second], 1)")
    z = gather(z)
    n, views = z.shape[:2]
    if positives is not None and positives.shape != (n, n):
        raise ValueError(f"positives have shape {tuple(positives.shape)}; expected {(n, n)}, such as "
                         "same_class(labels) of the global batch")
    rows = check_several(z.transpose(0, 1).flatten(0, 1), "a contrastive loss")  # (V * N, D), view 1 above view 2
    rows = normalize(rows) if unit_length else rows
    anchors = rows[:n] if first_only else rows  # (A, D)
    itself = torch.eye(len(rows), dtype=torch.bool, device=z.device)[: len(anchors)]
    logits = (anchors @ rows.T / temperature).masked_fill(itself, -torch.inf)
    log_p = logits - logits.logsumexp(1, keepdim=True)  # (A, V * N)
    same = torch.eye(n, device=z.device) if positives is None else positives
    weight = same.to(z).repeat(len(anchors) // n, views).masked_fill(itself, 0)  # (A, V * N)
    each = -mean_log(log_p.masked_fill(itself, 0), weight, inside)  # (A,)
    accuracy = (weight.gather(1, logits.argmax(1, keepdim=True)) > 0).to(z.dtype).mean()
    return {"loss": each.mean(), "accuracy": accuracy}


def mean_log(log_p: Tensor, weight: Tensor, inside: bool) -> Tensor:
    """Row by row the weighted mean of log_p (A, M), or the logarithm of that of p; 0 without weight: (A,)."""
    total = weight.sum(1)
    some = total > 0
    total = torch.where(some, total, 1.0)
    if not inside:
        return (weight * log_p).sum(1) / total
    weight = torch.where(some[:, None], weight, 1.0)
    return torch.where(some, (log_p + weight.log()).logsumexp(1) - total.log(), 0.0)


def learn_layers(layers: nn.Module, features: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor],
                 steps: int = 300, batch_size: int = 128, lr: float = 1e-3,
                 noise: float = 0.5, seed: int = 0) -> list[float]:
    """Train layers over frozen features (N, D) with labels int64 (N,); an image's views are noisy copies of its row.

    loss(z, labels): of what the layers make of the first views, then the second, (2B, out), and the labels (B,).
    noise: its standard deviation. Adam. -> the loss of each step.
    """
    draw = torch.Generator().manual_seed(seed)
    optimizer, losses = torch.optim.Adam(layers.parameters(), lr), []
    for _ in range(steps):
        rows = torch.randperm(len(features), generator=draw)[:batch_size]
        views = features[rows].repeat(2, 1)  # (2B, D)
        views = views + noise * torch.randn(views.shape, generator=draw)
        value = loss(layers(views), labels[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


class SupCon(TwoViewMethod):
    """SimCLR's network with a head without batch norm, on images whose labels are given.

    hidden, out: of the head (2048, 128). temperature: tau (0.1). inside: the mean inside of the logarithm. augment,
    other: of the two views. recipe: for small sets and short runs; the paper has SGD, 0.5 for 1024 images of CIFAR-10.
    """

    title = "SupCon"
    week = 28
    needs = ("negatives", "labels")
    needs_labels = True
    recipe = {"lr": 3e-3, "weight_decay": 1e-4, "batch_size": 128}

    def __init__(self, backbone: Backbone, image_size: int = 32, hidden: int = 512, out: int = 128,
                 temperature: float = 0.1, inside: bool = False, augment: Augment | None = None,
                 other: Augment | None = None):
        super().__init__()
        check_positive("temperature", temperature)
        self.backbone = backbone
        self.head = nn.Sequential(nn.Linear(backbone.dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out))
        self.temperature, self.inside = temperature, inside
        self.augment = augment or Augment(image_size, jitter=(0.4, 0.4, 0.4, 0.1))
        self.other = other or self.augment

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        if batch.labels is None:
            raise ValueError("SupCon learns from labels, and these images have none: give images with labels (a folder "
                             "for each class), or train simclr, which is the same without them")
        return *two_views(batch.images, self.augment, generator, self.other), batch.labels

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        a, b, labels = views
        if world_size() == 1:
            check_several(a, self.title)
        z = self.head(self.backbone(standardize(torch.cat([a, b]))))  # (2N, out)
        parts = supcon_loss(torch.stack(z.chunk(2), 1), same_class(gather(labels)), self.temperature, self.inside)
        return {**parts, "embedding": normalize(z.detach())}
