r"""SeLa: self-labelling. Asano, Rupprecht and Vedaldi, ICLR 2020, arXiv 1911.05371; official: yukimasano/self-label.

A network says p(y | x) over K labels. In turn: (a) it is trained with cross-entropy on the labels that images have; (b)
*all* N images get new labels, those that fit what it says best while each label has the same number of images. P is the
(N, K) matrix of p(y | x) / N:

    max over Q of  sum of Q log P  +  entropy of Q / lambda,   rows of Q sum to 1 / N, columns to 1 / K
    Q = diag(alpha) P^lambda diag(beta),   by scaling columns and rows in turn (Sinkhorn);   y_i = argmax of row i of Q

Without the balance one label for all images would be a perfect solution: cross-entropy 0. A large lambda is *little*
smoothing, and slow: 11, 71, 161 rounds for 1, 10, 25 in the stored example. (b) happens at few moments, denser at the
start: that of number i of n at the share (i / (n - 1))^2 of the training, first before the first step.

What other implementations get wrong: Sinkhorn on a batch; new labels at every step; P^lambda in float32, where it
underflows (here: logarithms, in float64); no stop rule, or one whose sum over N is taken for a mean; exactly equal
counts expected of argmax. Logits in place of log p have the same solution, as what tells them apart is a factor of each
row, which its scaling takes off, but not the same number of rounds.

As in the official code, (b) looks at augmented images with batch norm in training mode, and several heads have labels
of their own, each found alone. Its CIFAR version takes turns with the heads; not here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import check_images, standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import Batch
from course_lib.methods.base import ClusteringMethod
from course_lib.methods.clustering.shared import PerImage, check_clusters
from course_lib.models.layers import Backbone, normalize, sinkhorn_round
from course_lib.precision import check_positive, in_float32
from course_lib.seeds import mix


@torch.no_grad()
def transport_plan(log_p: Tensor, lam: float = 25.0, tolerance: float = 0.1,
                   most: int = 10_000) -> tuple[Tensor, float, int]:
    """Q of log probabilities (N, K), float64 (N, K), its error, and the rounds that it took.

    The error is the sum over the images of |beta / new beta - 1|; it is looked at in every 10th round, and at most
    `tolerance` ends (0.1 in the ImageNet version, 0.01 in CIFAR's). ValueError for a lam that is not above 0.
    """
    check_positive("lam", lam)
    log_q = lam * log_p.double()
    n, k = log_q.shape
    error = math.inf
    for step in range(1, most + 1):
        log_q, rows = sinkhorn_round(log_q)
        if step % 10 == 1:
            error = float(((rows + math.log(n / k)).exp() - 1).abs().sum())
            if error <= tolerance:
                break
    return log_q.exp(), error, step


def labels_of(log_p: Tensor, lam: float = 25.0, tolerance: float = 0.1, balance: bool = True) -> Tensor:
    """New labels, int64 (N,), of log probabilities (N, K); balance=False: the likeliest, without the plan."""
    return (transport_plan(log_p, lam, tolerance)[0] if balance else log_p).argmax(1)


def label_times(count: int) -> Tensor:
    """When images get new labels, as shares of the training, rising from 0 to 1: (count,) float64."""
    return torch.linspace(0, 1, count, dtype=torch.float64).square() if count > 1 else torch.zeros(1).double()


@in_float32
def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (B, H, K) and labels, int64 (B, H) -> scalar, the mean over this rank's images."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


class Labels(PerImage):
    """What each head calls each image: (N, H) int64."""

    labels: Tensor


class SeLa(ClusteringMethod):
    """The method over a backbone: linear heads, and a label of each head for every image.

    clusters: K (3000, on CIFAR-10 128); on the command line by default the number of classes, if known. heads: with
    labels of their own (10); the first one's are the clusters. lam: lambda (25, on CIFAR 10). tolerance: of the stop
    rule (0.1, 0.01). times: how often all images get new labels (100, 400); each looks at all of them. balance: no
    gives each image its likeliest label. augment: of images, also when they get labels. recipe: for small sets and
    short runs; the paper has SGD, 0.05, for 400 epochs.
    """

    title = "SeLa"
    week = 26
    needs = ("clusters",)
    recipe = {"lr": 1e-3, "batch_size": 128}
    shapes_options = {"augment": SHAPES_VIEWS}
    explored = ("heads",)
    progress: Tensor  # (): how much of the training is done
    found: Tensor     # () int64: how often labels have been found

    def __init__(self, backbone: Backbone, image_size: int = 32, clusters: int = 10, heads: int = 1, lam: float = 25.0,
                 tolerance: float = 0.1, times: int = 20, balance: bool = True, augment: Augment | None = None):
        super().__init__()
        check_clusters(clusters)
        for name, value in (("lam", lam), ("tolerance", tolerance)):
            check_positive(name, value)
        for name, value in (("heads", heads), ("times", times)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number from 1 up")
        self.backbone, self.heads = backbone, nn.Linear(backbone.dim, heads * clusters)  # H heads in one
        self.clusters, self.lam, self.tolerance, self.balance = clusters, lam, tolerance, balance
        self.times = label_times(times)
        self.memory = Labels()
        self.register_buffer("progress", torch.tensor(0.0))
        self.register_buffer("found", torch.tensor(0))
        self.augment = augment or Augment(image_size, jitter=(0.4, 0.4, 0.4, 0.4), scale=(0.3, 1.0))

    def prepare(self, images: Tensor) -> None:
        """Labels at random, equally many of each, for uint8 images (N, 3, H, W); those that there are stay."""
        check_clusters(self.clusters, len(images))
        self.progress.zero_()  # also of a finished run that gets a new schedule
        self.found.zero_()
        if len(self.memory):
            return self.memory.check(len(images), "the labels")
        drawn = torch.rand(len(images), self.heads.out_features // self.clusters,
                           generator=torch.Generator().manual_seed(0)).argsort(0)
        self.memory.fill(labels=(drawn % self.clusters).to(self.found.device))

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A view of each image (B, 3, H, W) and its labels (B, H), new ones for all images if it is time."""
        self.memory.check(len(self.memory) if batch.source is None else len(batch.source), "the labels")
        if int(self.found) < len(self.times) and self.progress >= self.times[int(self.found)]:
            self.relabel(batch)
        return self.augment(batch.images, generator), self.memory.labels[batch.indices]

    @torch.no_grad()
    def relabel(self, batch: Batch) -> None:
        """New labels for all images of the set that the batch is from, by the network of now; the same on each rank."""
        total = len(self.memory)
        generator = torch.Generator().manual_seed(mix(int(self.found), total))
        parts = torch.arange(total).tensor_split(-(-total // 256))
        logits = torch.cat([self.scores(self.augment(batch.others(part), generator)) for part in parts])  # (N, H, K)
        log_p = logits.double().cpu().log_softmax(2)
        labels = [labels_of(head, self.lam, self.tolerance, self.balance) for head in log_p.unbind(1)]
        self.memory.fill(labels=torch.stack(labels, 1).to(self.memory.labels))
        self.found += 1

    def scores(self, images: Tensor) -> Tensor:
        """All heads' logits of images in [0, 1]: (B, H, K)."""
        return self.heads(self.backbone(standardize(images))).unflatten(1, (-1, self.clusters))

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, labels = views
        logits = self.scores(images)  # (B, H, K)
        share = torch.bincount(self.memory.labels[:, 0], minlength=self.clusters) / len(self.memory)
        return {"loss": label_loss(logits, labels), "agreement": (logits.argmax(2) == labels).float().mean(),
                "clusters": torch.special.entr(share).sum().exp(), "embedding": normalize(logits.detach().flatten(1)),
                "views_per_image": 1}

    def after_update(self, progress: float) -> None:
        self.progress.fill_(progress)

    def logits(self, images: Tensor) -> Tensor:
        """Of the first head: (B, 3, H, W), uint8 or in [0, 1] -> (B, K)."""
        return self.scores(check_images(images))[:, 0]
