r"""RUC: improving unsupervised image clustering with robust learning. Park et al., CVPR 2021, arXiv 2012.11150.

Somebody else's clustering gives each image a label y, which is taken for a noisy one. An image is *clean* if its label
is trusted: by the clusterer's own confidence (from 0.99 on), by the majority of its k nearest neighbours' labels in an
embedding (the image among them), or by both. Two networks, from the same backbone but with new heads, then train:

    clean     t = sharpen((1 - w) y + w p_peer(x)),   w = the peer's confidence in x, as it was an epoch ago
    unclean   t = sharpen(mean of p over two weak views and both networks)
    sharpen(p) proportional to p^(1/T), T = 0.5

    L = - mean over clean t . log p  +  r lambda_u mean over unclean and classes (p - t)^2  +  smoothed(p(strong), y)

The first two terms are of weak views mixed with others of the batch (MixUp, MixMatch's way), inputs and targets alike.
The third is the cross-entropy of clean images with 1 - e on the label and e / (K - 1) on each other cluster, e = 0.5;
it is what keeps the confidence honest. r rises with the training, clip(progress, 0.1, 1). An unclean image whose own
network becomes confident turns clean, with that prediction as its label. Predictions are the mean of both networks.

Code: deu30303/RUC. It trains each network for an epoch in turn, by SGD (0.01, Nesterov, weight decay 5e-4, cosine, 200
epochs of batches of 250 on CIFAR-10, of 100 else); here both take each step together, so neither is an epoch ahead. The
recipe is theirs, 0.01 for a batch of 128, without Nesterov and without decay of biases and norms. There accuracy is
measured on the images trained on.

What other implementations get wrong: e spread over all K clusters; the squared error summed over the clusters instead
of their mean; MixUp's share below a half (it is max(l, 1 - l), one for the batch); the network's own prediction in t
for the peer's, or one of an augmented view; confidences not scaled to [0, 1]; clean and unclean images mixed apart.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import TURNED_VIEWS, Augment
from course_lib.collectives import all_reduce_sum, gather
from course_lib.data.images import Batch
from course_lib.methods.base import ClusteringMethod, Method
from course_lib.methods.clustering.shared import (
    PerImage,
    check_begun,
    check_clusters,
    check_shares,
    directions,
    nearest_rows,
    plain_view,
    soft_kmeans,
    through,
)
from course_lib.models.layers import Backbone
from course_lib.precision import in_float32

SELECTIONS = ("confidence", "neighbours", "both")


@in_float32
def confident(logits: Tensor, threshold: float = 0.99) -> Tensor:
    """(N, K) -> bool (N,): where the largest probability is `threshold` or more."""
    return logits.softmax(1).amax(1) >= threshold


def agreeing(z: Tensor, labels: Tensor, k: int, clusters: int) -> Tensor:
    """Where the label is the most frequent one among the k nearest rows by inner product, itself included.

    z (N, D), labels int64 (N,) -> bool (N,). Of labels that are equally frequent the smallest counts.
    """
    votes = F.one_hot(labels[nearest_rows(z, k)], clusters).sum(1)  # (N, K)
    return votes.argmax(1) == labels


@in_float32
def sharpen(p: Tensor, temperature: float = 0.5) -> Tensor:
    """Probabilities (N, K) -> proportional to p^(1 / temperature), (N, K)."""
    return F.softmax(p.clamp(min=1e-30).log() / temperature, dim=1)


@in_float32
def refined_targets(labels: Tensor, peer: Tensor, weight: Tensor) -> Tensor:
    """Co-refinement: labels int64 (N,), the peer's probabilities (N, K) and confidence (N,) -> targets (N, K)."""
    y = F.one_hot(labels, peer.shape[1]).to(peer)
    return sharpen(y.lerp(peer, weight[:, None].to(peer)))


def mix(x: Tensor, share: Tensor | float, order: Tensor) -> Tensor:
    """MixUp: share * x + (1 - share) * x[order]."""
    return x[order].lerp(x, share)


def _mean(values: Tensor, of: Tensor) -> Tensor:
    """The mean of values (N,) over the rows `of`, bool (N,), of all ranks; 0 if there are none."""
    of = of.to(values.dtype)
    return all_reduce_sum((values * of).sum()) / all_reduce_sum(of.sum()).clamp(min=1)


@in_float32
def mixed_losses(logits: Tensor, targets: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the clean rows, squared error of the others: logits, targets (N, K), clean bool (N,) -> scalars.

    The squared error is a mean over rows and clusters.
    """
    entropy = -(targets * F.log_softmax(logits, dim=1)).sum(1)  # (N,)
    error = (logits.softmax(1) - targets).square().mean(1)  # (N,)
    return _mean(entropy, clean), _mean(error, ~clean)


@in_float32
def smoothed_loss(logits: Tensor, labels: Tensor, clean: Tensor, smoothing: float = 0.5) -> Tensor:
    """Cross-entropy of the clean rows with `smoothing` shared by the K - 1 clusters that are not the label's."""
    log_p = F.log_softmax(logits, dim=1)  # (N, K)
    right = log_p.gather(1, labels[:, None])[:, 0]  # (N,)
    wrong = (log_p.sum(1) - right) / (logits.shape[1] - 1)
    return -_mean((1 - smoothing) * right + smoothing * wrong, clean)


def ramp(progress: float) -> float:
    """The weight of the unclean images' loss: rises with the training, from a tenth."""
    return min(1.0, max(0.1, progress))


def relabel_threshold(progress: float, start: float = 0.99, step: float = 0.0) -> float:
    """The confidence that makes an image clean, raised by `step` after each fifth of the training."""
    return start + step * int(5 * min(progress, 0.999))


# ------------------------------------------------------------------------------------------------ the method
class Labels(PerImage):
    """Of N images: labels int64 and clean bool, (N,), and of both networks confidence and weight, float (N, 2).

    confidence: the latest, 0 before the first. weight: as it was at the end of the epoch before, scaled to [0, 1] over
    all images (the 0 of one that no batch has held yet, as an epoch's incomplete last one is left out, is among them).
    """

    labels: Tensor
    clean: Tensor
    confidence: Tensor
    weight: Tensor


class RUC(ClusteringMethod):
    """The method: two networks that learn from the labels of another clustering.

    labels_from: whose clustering is to be mended: the folder of a run, such as SCAN's, or the name of a learned
    network; both networks begin with its backbone. Where that is no clustering method, and without one, the labels are
    k-means' on the backbone's features. pretext: the same for the embedding in which neighbours vote; by default that
    backbone. clusters: K. selection: what makes an image clean at the start, "confidence" (of `threshold` or more),
    "neighbours" (the majority of the `neighbours` nearest) or "both". unclean: lambda_u (25 on CIFAR-10, 50 on STL-10,
    100 for CIFAR-100's 20 classes). smoothing: e. relabel: the confidence that turns an unclean image clean, raised by
    relabel_step after each fifth of the training (0.99 and 0 on CIFAR-10, else 0.9 and 0.02). augment: the weak view,
    other: the strong one (RandAugment in the paper).
    """

    title = "RUC"
    week = 17
    needs = ("clusters", "trained network")
    recipe = {"optimizer": "sgd", "lr": 0.02, "weight_decay": 5e-4, "batch_size": 128}
    shapes_options = {"augment": Augment(scale=(0.8, 1.0), jitter_p=0.0, gray_p=0.0), "other": TURNED_VIEWS}
    explored = ("head", "peer")
    begins_with = ("labels_from", "pretext")

    def __init__(self, backbone: Backbone, image_size: int = 32, labels_from: str = "", pretext: str = "",
                 clusters: int = 10, selection: str = "both", threshold: float = 0.99, neighbours: int = 100,
                 unclean: float = 25.0, smoothing: float = 0.5, relabel: float = 0.99, relabel_step: float = 0.0,
                 augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        check_clusters(clusters)
        if selection not in SELECTIONS:
            raise ValueError(f"selection is {selection!r}; expected one of {', '.join(SELECTIONS)}")
        check_shares(threshold=threshold, smoothing=smoothing, relabel=relabel)
        self.backbone, self.head = backbone, nn.Linear(backbone.dim, clusters)
        self.peer = nn.Sequential(copy.deepcopy(backbone), nn.Linear(backbone.dim, clusters))
        self.clusters, self.selection, self.threshold, self.neighbours = clusters, selection, threshold, neighbours
        self.unclean, self.smoothing, self.relabel, self.relabel_step = unclean, smoothing, relabel, relabel_step
        self.labels_from, self.pretext, self.begun = labels_from, pretext, not (labels_from or pretext)
        self.memory = Labels()
        self.given: dict[str, Method] = {}
        self.augment = augment or Augment(image_size, jitter_p=0.0, gray_p=0.0)
        self.other, self.plain = other or augment or Augment(image_size), plain_view(image_size)

    def begin(self, labels_from: Method | None = None, pretext: Method | None = None) -> None:
        """Whose clustering is to be mended, and where neighbours vote; needed until `prepare` is done."""
        self.given = {name: network for name, network in (("labels_from", labels_from), ("pretext", pretext))
                      if network is not None}
        for network in list(self.given.values())[:1]:
            for backbone in (self.backbone, self.peer[0]):
                backbone.load_state_dict(network.evaluated.state_dict())
        self.begun = True

    def prepare(self, images: Tensor) -> None:
        """Take the labels over and choose the clean images, of uint8 (N, 3, H, W), unless that is done."""
        check_clusters(self.clusters, len(images))
        if len(self.memory):
            return self.memory.check(len(images), "the labels")
        check_begun(self, *self.begins_with)
        where = next(self.parameters()).device
        clusterer: Method = self.given.get("labels_from", self).to(where)
        embedding: Method = self.given.get("pretext", clusterer).to(where)
        logits = (through(clusterer, clusterer.logits, images)  # (N, K)
                  if isinstance(clusterer, ClusteringMethod) and clusterer is not self
                  else soft_kmeans(through(clusterer, clusterer.embed, images), self.clusters))
        self.use_labels(logits, through(embedding, embedding.embed, images))
        self.given = {}

    def use_labels(self, logits: Tensor, features: Tensor) -> None:
        """Labels by the logits (N, K) of a clustering, clean ones by those and by features (N, D) of the images.

        ValueError for another number of clusters, if all labels are the same, or if no image is clean.
        """
        if logits.shape[1] != self.clusters:
            raise ValueError(f"the clustering that is to be mended has {logits.shape[1]} clusters and this method "
                             f"{self.clusters}: give it clusters={logits.shape[1]}")
        labels = logits.argmax(1)  # (N,)
        sizes = torch.bincount(labels, minlength=self.clusters).tolist()
        if max(sizes) == len(labels):
            raise ValueError(f"the labels put all {len(labels)} images into one cluster, in which there is nothing to "
                             "mend: give another clustering (SCAN's collapses below entropy=2)")
        if empty := [number for number, size in enumerate(sizes) if not size]:
            warnings.warn(f"the labels leave {len(empty)} of {self.clusters} clusters without an image (first: "
                          f"{empty[0]}), and RUC fills no cluster: fewer clusters may suit these images", stacklevel=2)
        clean = confident(logits, self.threshold) if self.selection != "neighbours" else labels >= 0
        if self.selection != "confidence":
            clean &= agreeing(directions(features), labels, min(self.neighbours, len(labels)), self.clusters)
        if not clean.any():
            raise ValueError(f"selection={self.selection!r} finds no clean image among {len(labels)}: lower threshold "
                             f"({self.threshold}), or choose selection=neighbours")
        zeros = torch.zeros(len(labels), 2, device=labels.device)
        self.memory.fill(labels=labels, clean=clean, confidence=zeros, weight=zeros.clone())

    def on_epoch(self, epoch: int) -> None:
        """The confidences of the epoch that is over, scaled to [0, 1] for each network, are weights in the next."""
        seen = self.memory.confidence
        if epoch and len(seen):
            low, high = seen.amin(0), seen.amax(0)
            self.memory.fill(weight=(seen - low) / (high - low).clamp(min=1e-12))

    def views(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Plain images, two weak views and a strong one (B, 3, H, W); indices; and how each network mixes.

        share (2,) of Beta(4, 4), which is the fourth smallest of seven uniform numbers; order (2, 2B).
        """
        self.memory.check(len(self.memory) if batch.source is None else len(batch.source), "the labels")
        where, size = batch.images.device, 2 * len(batch.images)
        share = torch.rand(2, 7, generator=generator, device=generator.device).sort(1).values[:, 3]
        order = torch.stack([torch.randperm(size, generator=generator, device=generator.device) for _ in range(2)])
        return {"plain": self.plain(batch.images, generator), "weak": self.augment(batch.images, generator),
                "weak2": self.augment(batch.images, generator), "strong": self.other(batch.images, generator),
                "indices": batch.indices, "share": torch.maximum(share, 1 - share).to(where), "order": order.to(where)}

    @property
    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Both networks, images -> logits."""
        return nn.Sequential(self.backbone, self.head), self.peer

    @torch.no_grad()
    def predicted(self, views: dict[str, Tensor]) -> dict[str, list[Tensor]]:
        """Both networks' probabilities (B, K) of plain images and weak views, in training mode as officially."""
        return {name: [network(standardize(views[name])).float().softmax(1) for network in self.networks]
                for name in ("plain", "weak", "weak2")}

    def targets(self, predicted: dict[str, list[Tensor]], index: Tensor) -> list[Tensor]:
        """What each network is to predict, (B, K): clean images refined by its peer, the others guessed by both."""
        labels, clean, weight = (rows[index] for rows in (self.memory.labels, self.memory.clean, self.memory.weight))
        guessed = sharpen(torch.stack([*predicted["weak"], *predicted["weak2"]]).mean(0))
        refined = [refined_targets(labels, predicted["plain"][1 - i], weight[:, 1 - i]) for i in range(2)]
        return [torch.where(clean[:, None], own, guessed) for own in refined]

    def network_losses(self, views: dict[str, Tensor], targets: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The three unweighted terms of each network's loss."""
        labels, clean = self.memory.labels[views["indices"]], self.memory.clean[views["indices"]]
        strong, weak = standardize(views["strong"]), torch.cat([standardize(views[name]) for name in ("weak", "weak2")])
        parts = []
        for network, target, share, order in zip(self.networks, targets, views["share"], views["order"]):
            logits = network(mix(weak, share, order))  # (2B, K)
            entropy, error = mixed_losses(logits, mix(target.repeat(2, 1), share, order), clean.repeat(2))
            parts.append((entropy, error, smoothed_loss(network(strong), labels, clean, self.smoothing)))
        return parts

    def loss(self, views: dict[str, Tensor], progress: float = 0.0) -> dict[str, Tensor | int]:
        predicted, index = self.predicted(views), views["indices"]
        parts = self.network_losses(views, self.targets(predicted, index))
        if self.training:
            self.remember(index, predicted["plain"], progress)
        entropy, error, smooth = (torch.stack(pair).sum() for pair in zip(*parts))
        return {"loss": entropy + ramp(progress) * self.unclean * error + smooth,  # each network has its own loss
                "clean_loss": entropy.detach(), "unclean_loss": error.detach(), "strong_loss": smooth.detach(),
                "clean": self.memory.clean.float().mean(), "views_per_image": 4}

    @torch.no_grad()
    def remember(self, index: Tensor, plain: list[Tensor], progress: float) -> None:
        """Keep both networks' confidence in plain images; unclean ones of which one is sure turn clean.

        index (B,), and each network's probabilities (B, K), of all ranks.
        """
        index, bar = gather(index), relabel_threshold(progress, self.relabel, self.relabel_step)
        for i, p in enumerate(plain):
            sure, label = gather(p).max(1)  # (B,)
            self.memory.confidence[index, i] = sure
            turns = (sure >= bar) & ~self.memory.clean[index]
            self.memory.labels[index] = torch.where(turns, label, self.memory.labels[index])
            self.memory.clean[index] |= turns

    def logits(self, images: Tensor) -> Tensor:
        x = standardize(images)
        return torch.stack([network(x).float().softmax(1) for network in self.networks]).mean(0).clamp(min=1e-30).log()
