r"""SCAN: learning to classify images without labels. Van Gansbeke et al., ECCV 2020, arXiv 2005.12320.

1. Pretext: a backbone that some self-supervised method has trained. Each image gets its nearest neighbours.
2. Clustering step. A head gives probabilities p over K clusters. An image x and one of its neighbours x' must agree,
   while the clusters of the batch stay different:

       L = -1/N sum over x of log <p(x), p(x')>  -  lambda H(p_bar),    p_bar = the mean of p(x) over the batch

   Confident agreement alone makes the first term 0, also with one cluster for all: a constant prediction p_bar has
   L = -log |p_bar|^2 - lambda H(p_bar), of which one cluster is the minimum below lambda = 1.
3. Self-label step. Where the plain image's largest probability exceeds 0.99, its cluster is the label of a strong view:

       L = sum of w_c(x) (-log p_c(x)(strong view)) / sum of w_c(x),    w_c = n / n_c over the n labelled of the batch

Code: wvangansbeke/Unsupervised-Classification. There the steps are three trainings; here 2 and 3 are one, so a single
checkpoint and schedule hold both. Code and paper train all weights with Adam at 1e-4, constant, for 50 to 250 epochs;
the recipe is for runs of minutes. Its neighbours are found in the pretext's head's output, ours in the backbone's,
centred: stored networks keep no heads.

What other implementations get wrong: the entropy of anchors and neighbours together (anchors only); the mean of
entropies for the entropy of the mean; log of a similarity that has underflowed to 0 (the official code clamps it at
-100, which stops its gradient; here log-sum-exp keeps both); an image left out of its own neighbours (it is one of the
k + 1 that are drawn from); weights w without the weighted mean's denominator; no label in a batch (the official loss
then raises; here it is 0); scores of the best epoch by test accuracy.
"""

from __future__ import annotations

import math
from typing import Any

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
    through,
)
from course_lib.models.layers import Backbone, normalize
from course_lib.optim import Group, parameter_groups
from course_lib.precision import in_float32


@in_float32
def scan_loss(anchors: Tensor, neighbours: Tensor, entropy_weight: float = 5.0) -> dict[str, Tensor]:
    """The clustering step: logits (N, K) of images and, row by row, of a neighbour of each -> scalars.

    "loss", "consistency" (how little the two agree) and "entropy" of the images' mean prediction, log K at most. Over
    several ranks those of the global batch.
    """
    p, q = (F.log_softmax(gather(logits), dim=1) for logits in (anchors, neighbours))  # (N, K), logarithms
    consistency = -torch.logsumexp(p + q, dim=1).mean()
    mean = torch.logsumexp(p, dim=0) - math.log(len(p))  # (K,), log of p_bar
    entropy = -(mean.exp() * mean).sum()
    return {"loss": consistency - entropy_weight * entropy, "consistency": consistency, "entropy": entropy}


@in_float32
def self_label_loss(weak: Tensor, strong: Tensor, threshold: float = 0.99, balance: bool = True) -> Tensor:
    """The self-label step: logits (N, K) of plain images, which give the labels, and of strong views -> scalar.

    The labels are taken as constants. balance: clusters with fewer labels weigh more, each the same in all. Over
    several ranks those of the global batch. The loss is 0 where no image is confident.
    """
    confidence, label = weak.detach().softmax(1).max(1)  # (N,) each
    confident = (confidence > threshold).to(strong.dtype)
    weight = confident  # (N,)
    if balance:
        counts = all_reduce_sum(torch.zeros_like(strong[0]).index_add_(0, label, confident))  # (K,)
        weight = confident * (counts.sum() / counts.clamp(min=1))[label]
    each = F.cross_entropy(strong, label, reduction="none")  # (N,)
    return all_reduce_sum((weight * each).sum()) / all_reduce_sum(weight.sum()).clamp(min=1e-12)


class Neighbours(PerImage):
    """The nearest neighbours of N images, the image itself among them: (N, 1 + k) int64."""

    neighbours: Tensor


class SCAN(ClusteringMethod):
    """The method over a backbone that has learned something already, and a linear head.

    pretext: what has learned it: the folder of a run, or the name of a learned network, such as simclr; without one the
    backbone is taken as it is given. clusters: K; on the command line by default the number of classes, if known.
    neighbours: of each image (20; 50 on subsets of ImageNet), fewer where there are fewer images. entropy: lambda.
    self_label: the share of the training after which the self-label step begins; 1 for none. threshold: the confidence
    that makes a label. balance: clusters with fewer labels weigh more. head_lr: the head's learning rate over that of
    the backbone (1 in the paper). augment: the strong view, of which the paper's has flip, four random operations and a
    cut-out square.
    """

    title = "SCAN"
    week = 17
    needs = ("clusters", "trained network")
    recipe = {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 256}
    shapes_options = {"augment": TURNED_VIEWS}
    explored = ("head",)
    begins_with = ("pretext",)
    labelling: Tensor  # () bool

    def __init__(self, backbone: Backbone, image_size: int = 32, pretext: str = "", clusters: int = 10,
                 neighbours: int = 20, entropy: float = 5.0, self_label: float = 0.5, threshold: float = 0.99,
                 balance: bool = True, head_lr: float = 3.0, augment: Augment | None = None):
        super().__init__()
        check_clusters(clusters)
        if isinstance(neighbours, bool) or not isinstance(neighbours, int) or neighbours < 1:
            raise ValueError(f"neighbours is {neighbours!r}; expected a whole number from 1 up")
        check_shares(self_label=self_label, threshold=threshold)
        self.backbone, self.head = backbone, nn.Linear(backbone.dim, clusters)
        self.clusters, self.neighbours, self.entropy, self.head_lr = clusters, neighbours, entropy, head_lr
        self.self_label, self.threshold, self.balance = self_label, threshold, balance
        self.pretext, self.begun = pretext, not pretext
        self.memory = Neighbours()
        self.labels_itself = self_label == 0  # whether the self-label step has begun, and so in the checkpoint:
        self.register_buffer("labelling", torch.tensor(self.labels_itself))
        self.augment = augment or Augment(image_size)
        self.plain = plain_view(image_size)

    # ------------------------------------------------------------------------------------------------ the steps
    def begin(self, pretext: Method | None = None) -> None:
        """The pretext's backbone, as it was evaluated."""
        if pretext is not None:
            self.backbone.load_state_dict(pretext.evaluated.state_dict())
        self.begun = True

    def prepare(self, images: Tensor) -> None:
        """Find the neighbours of all images, uint8 (N, 3, H, W), unless they are known."""
        check_clusters(self.clusters, len(images))
        self.after_update(0.0)  # also of a finished run that gets a new schedule
        if len(self.memory):
            return self.memory.check(len(images), "the neighbours")
        check_begun(self, "pretext")
        count = min(self.neighbours + 1, len(images))
        self.use_neighbours(nearest_rows(directions(through(self, self.embed, images)), count), len(images))

    def use_neighbours(self, neighbours: Tensor, count: int) -> None:
        """Neighbours (N, k) int64 of `count` images, numbers of images; ValueError if they are of another set."""
        low, high = int(neighbours.min()), int(neighbours.max())
        if neighbours.ndim != 2 or len(neighbours) != count or low < 0 or high >= count:
            raise ValueError(f"the neighbours are of another data set: of {len(neighbours)} images, with numbers from "
                             f"{low} to {high}; expected a row for each of {count} images, with numbers below {count}")
        self.memory.fill(neighbours=neighbours)

    def views(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Strong views of images and of a neighbour of each, or in the self-label step plain images and strong views.

        (B, 3, H, W) each.
        """
        strong = self.augment(batch.images, generator)
        if self.labels_itself:
            return {"strong": strong, "plain": self.plain(batch.images, generator)}
        self.memory.check(len(self.memory) if batch.source is None else len(batch.source), "the neighbours")
        near = self.memory.neighbours[batch.indices]  # (B, 1 + k)
        which = torch.randint(near.shape[1], (len(near), 1), generator=generator, device=generator.device)
        drawn = near.gather(1, which.to(near.device))[:, 0]  # (B,)
        return {"strong": strong, "neighbour": self.augment(batch.others(drawn), generator)}

    def loss(self, views: dict[str, Tensor], progress: float = 0.0) -> dict[str, Any]:
        features = self.backbone(standardize(views["strong"]))  # (B, D)
        strong = self.head(features)  # (B, K)
        if "plain" in views:
            with torch.no_grad():
                other = self.head(self.backbone(standardize(views["plain"])))  # (B, K)
                watched = scan_loss(other, strong)
            loss = self_label_loss(other, strong, self.threshold, self.balance)
        else:
            other = self.head(self.backbone(standardize(views["neighbour"])))  # (B, K)
            watched = scan_loss(strong, other, self.entropy)
            loss = watched["loss"]
        sure = (other.detach().softmax(1).amax(1) > self.threshold).float().mean()
        return {"loss": loss, "consistency": watched["consistency"].detach(),
                "entropy": watched["entropy"].detach(), "confident": sure, "embedding": normalize(features.detach())}

    def after_update(self, progress: float) -> None:
        self.labels_itself = progress >= self.self_label
        self.labelling.fill_(self.labels_itself)

    # ------------------------------------------------------------------------------------------------ the rest
    def logits(self, images: Tensor) -> Tensor:
        return self.head(self.embed(images))

    def param_groups(self, weight_decay: float) -> list[Group]:
        head = [Group(**{**group, "lr_scale": self.head_lr}) for group in parameter_groups(self.head, weight_decay)]
        return parameter_groups(self.backbone, weight_decay) + head

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.labels_itself = bool(self.labelling)
