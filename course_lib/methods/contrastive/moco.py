r"""MoCo: momentum contrast. v1: He et al., CVPR 2020, arXiv 1911.05722. v2: Chen et al., 2020, arXiv 2003.04297.

A query q = f(view 1) must pick out its key k = f_k(view 2), the other view of its image, among K keys n of earlier
batches, kept in a queue. All have length 1; keys carry no gradient:

    L = mean over N of  -log( exp(q . k / tau) / (exp(q . k / tau) + sum over the queue of exp(q . n / tau)) )

The key encoder follows the query encoder: theta_k <- m theta_k + (1 - m) theta_q, once per update, parameters only.
v2 is v1 with a two-layer head, other views (weaker hue, blur), tau 0.2 instead of 0.07 and a cosine schedule.

What other implementations get wrong: keys enqueued before the logits, so that a positive is also a negative; a queue
or pointer that no checkpoint holds, or that each rank fills alone; batch norm over the whole batch, which leaks
to the network which key is its own (here: split batch norm, and the keys' batch shuffled); biases and norms exempt from
weight decay (the official code decays all).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, moco_v1_view, moco_view, two_views
from course_lib.methods.base import TwoViewMethod
from course_lib.models.batch_norm import split_batch_norm
from course_lib.models.layers import Backbone, Queue, check_queue, normalize
from course_lib.models.teacher import EMA
from course_lib.optim import Group, parameter_groups
from course_lib.precision import check_positive, in_float32


@in_float32
def moco_logits(q: Tensor, k: Tensor, negatives: Tensor, temperature: float = 0.07) -> Tensor:
    """(N, D), (N, D), (K, D) unit rows -> (N, 1 + K) logits, the positive in column 0; keys are taken as constants.

    ValueError for a temperature that is not above 0.
    """
    check_positive("temperature", temperature)
    positive = (q * k.detach()).sum(1, keepdim=True)  # (N, 1)
    return torch.cat([positive, q @ negatives.detach().T], dim=1) / temperature


def info_nce(logits: Tensor) -> dict[str, Tensor]:
    """Logits (N, 1 + K), the positive in column 0 -> "loss", their cross-entropy, and "accuracy", how often it wins."""
    zeros = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return {"loss": F.cross_entropy(logits, zeros), "accuracy": (logits.argmax(1) == 0).to(logits.dtype).mean()}


def moco_loss(q: Tensor, k: Tensor, negatives: Tensor, temperature: float = 0.07) -> dict[str, Tensor]:
    """InfoNCE of raw queries and keys, (N, D) each, against a queue (K, D) of unit rows -> "loss" and "accuracy".

    The mean over this rank's queries; the queue already holds the keys of all ranks.
    """
    return info_nce(moco_logits(normalize(q), normalize(k), negatives, temperature))


def shuffled_keys(encoder: Callable[[Tensor], Tensor], images: Tensor, order: Tensor) -> Tensor:
    """Keys (N, D) of length 1 in the order of the images, encoded in the order images[order].

    order: a permutation, int64 (N,). Each part of a split batch norm then holds other images.
    """
    keys = encoder(images[order])
    return normalize(keys[order.argsort()])


class MoCo(TwoViewMethod):
    """The method: query encoder, key encoder (its moving average) and queue.

    layers: of the head: 1 in v1, 2 in v2 (hidden `hidden`, with biases, without batch norm). queue: K, 65536 in the
    paper, 4096 in the official CIFAR demo; short runs need a short one, and small sets one no longer than they are.
    momentum: 0.999, in the demo 0.99. temperature: 0.07 in v1, 0.2 in v2, 0.1 in the demo. splits, shuffle: batch norm
    over that many parts of the batch, and the keys' batch shuffled (8 and yes in the demo); splits=1 is plain batch
    norm. symmetric: both views are queries in turn, the two losses added (a variant of the demo). augment: of both
    views, `moco_v1_view`. recipe: settings of `fit` for small sets and short runs; the paper has SGD, 0.03 for 256
    images.
    """

    title = "MoCo"
    week = 5
    needs = ("negatives", "queue", "teacher")
    recipe = {"lr": 1e-3, "batch_size": 128}
    view = staticmethod(moco_v1_view)
    asked = False  # where a subclass sets it, the queue's length was asked for: too long a one is refused

    def __init__(self, backbone: Backbone, image_size: int = 32, hidden: int = 512, out: int = 128, layers: int = 1,
                 queue: int = 512, momentum: float = 0.99, temperature: float = 0.1, splits: int = 2,
                 shuffle: bool = True, symmetric: bool = False, augment: Augment | None = None,
                 other: Augment | None = None):
        super().__init__()
        if layers not in (1, 2):
            raise ValueError(f"layers is {layers}; expected a head of 1 layer (MoCo v1) or of 2 (v2)")
        head = ([nn.Linear(backbone.dim, out)] if layers == 1 else
                [nn.Linear(backbone.dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out)])
        self.backbone, self.head = backbone, nn.Sequential(*head)
        self.keys = EMA(split_batch_norm(nn.Sequential(self.backbone, self.head), splits))
        self.queue = Queue(queue, out)
        self.momentum, self.temperature, self.symmetric = momentum, temperature, symmetric
        self.shuffle = shuffle and splits > 1
        self.augment = augment or self.view(image_size)
        self.other = other or self.augment

    def prepare(self, images: Tensor) -> None:
        check_queue(self.queue, len(images), self.asked)

    def views(self, batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        order = torch.randperm(len(batch.images), generator=generator, device=generator.device)
        return *two_views(batch.images, self.augment, generator, self.other), order.to(batch.images.device)

    def encode_keys(self, images: Tensor, order: Tensor) -> Tensor:
        """Keys (N, out) of length 1; with `shuffle` each is batch-normalised among other images than its query."""
        return shuffled_keys(self.keys, images, order) if self.shuffle else normalize(self.keys(images))

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        a, b, order = standardize(views[0]), standardize(views[1]), views[2]
        directions = [(a, b), (b, a)] if self.symmetric else [(a, b)]
        parts, keys = [], []
        for query, key in directions:
            q, k = self.head(self.backbone(query)), self.encode_keys(key, order)
            parts.append(moco_loss(q, k, self.queue.rows, self.temperature))
            keys.append(k)
        if self.training:  # after the logits: no key is its own query's negative
            self.queue.enqueue(torch.cat(keys[::-1]))
        return {"loss": sum(part["loss"] for part in parts), "accuracy": parts[0]["accuracy"],
                "embedding": normalize(q.detach())}

    def after_update(self, progress: float) -> None:
        self.keys.update(nn.Sequential(self.backbone, self.head), self.momentum)

    def param_groups(self, weight_decay: float) -> list[Group]:
        return parameter_groups(self, weight_decay, exempt=False)


class MoCoV2(MoCo):
    """MoCo v2: the same with a two-layer head and `moco_view`; in the paper also temperature 0.2, a cosine schedule."""

    title = "MoCo v2"
    week = 5
    view = staticmethod(moco_view)

    def __init__(self, backbone: Backbone, image_size: int = 32, layers: int = 2, **options):
        super().__init__(backbone, image_size, layers=layers, **options)
