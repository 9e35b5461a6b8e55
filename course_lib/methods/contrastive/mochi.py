r"""MoCHi: hard negative mixing. Kalantidis, Sariyildiz, Pion, Weinzaepfel, Larlus, NeurIPS 2020, arXiv 2010.01028.

MoCo v2 with more negatives, made per query from the N hardest of its queue, those of the highest q . n:

    h  = a n_i + (1 - a) n_j,  made of length 1,   a in (0, 1)      s of them: two hard negatives mixed
    h' = b q + (1 - b) n_j,    made of length 1,   b in (0, 0.5)    s' of them: the query mixed into a hard negative

They join the queue's negatives in the sum of InfoNCE; written MoCHi(N, s, s'), such as (1024, 1024, 128) of 16384 keys
on ImageNet-100. There is no official code, only models: the equations are the paper's as the course's facts have them,
and two things are not certain: that mixing begins after 10 or 15 epochs, and that no gradient flows through h'.

What other implementations get wrong: b from 0.5 up, so that the query dominates and h' is a positive; mixtures left
shorter than 1; the hardest of the batch and not of each query; mixtures enqueued; mixtures in place of the queue's
negatives and not beside them; mixing from the first step, when the queue still holds noise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.methods.contrastive.moco import MoCoV2, info_nce, moco_logits
from course_lib.methods.contrastive.negatives import ranked
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import in_float32

Draws = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def draw_mixtures(batch: int, hard: int, s: int, s2: int, generator: torch.Generator) -> Draws:
    """What is mixed, at random: i, j, int64 (B, s), and a (B, s) for h; j2, int64 (B, s2), and b (B, s2) for h'.

    i, j and j2 are ranks among the `hard` hardest negatives, a is in (0, 1), b in (0, 0.5).
    """
    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=generator.device)

    i, j, j2 = ((rand(batch, count) * hard).long().clamp_(max=hard - 1) for count in (s, s, s2))
    return i, j, rand(batch, s), j2, 0.5 * rand(batch, s2)


def mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """share * first + (1 - share) * second, of length 1: (B, s, D), (B, s, D), (B, s) -> (B, s, D)."""
    return normalize(share.unsqueeze(-1) * first + (1 - share.unsqueeze(-1)) * second)


def mixtures(q: Tensor, queue: Tensor, hard: int, draws: Draws) -> Tensor:
    """h and h' of each query: unit queries (B, D), queue (K, D) of unit rows -> (B, s + s', D) of length 1."""
    i, j, a, j2, b = draws
    hardest = queue[ranked(q @ queue.T, 0, hard)]  # (B, hard, D)

    def pick(ranks: Tensor) -> Tensor:
        return hardest.gather(1, ranks.unsqueeze(-1).expand(-1, -1, queue.shape[1]))

    return torch.cat([mix(pick(i), pick(j), a), mix(q.unsqueeze(1).expand(-1, j2.shape[1], -1), pick(j2), b)], 1)


@in_float32
def mochi_logits(q: Tensor, k: Tensor, queue: Tensor, hard: int, draws: Draws, temperature: float = 0.2,
                 through: bool = False) -> Tensor:
    """(B, D), (B, D), (K, D) of length 1 -> logits (B, 1 + K + s + s'), the positive in column 0.

    hard: N. draws: see `draw_mixtures`. through: let the gradient flow through the query in h' too; by default all
    negatives are constants.
    """
    logits = moco_logits(q, k, queue, temperature)  # (B, 1 + K)
    mixed = mixtures(q if through else q.detach(), queue.detach(), hard, draws)
    return torch.cat([logits, (mixed @ q.unsqueeze(-1)).squeeze(-1) / temperature], 1)


def mochi_loss(q: Tensor, k: Tensor, queue: Tensor, hard: int, draws: Draws, temperature: float = 0.2,
               through: bool = False) -> dict[str, Tensor]:
    """InfoNCE of raw queries and keys, (B, D) each, against the queue and the mixtures -> "loss" and "accuracy"."""
    return info_nce(mochi_logits(normalize(q), normalize(k), queue, hard, draws, temperature, through))


class MoCHi(MoCoV2):
    """MoCo v2 whose hardest negatives are mixed with each other and with the query.

    hard, pairs, with_query: N, s and s' (1024, 1024, 128 for a queue of 16384). start: the share of the training after
    which mixing begins (10 of 100 epochs). queue: K (None: 512), at most as many as there are images. The others are
    MoCo v2's: momentum, temperature (0.2), splits and shuffle of batch norm, augment.
    """

    title = "MoCHi"
    week = 10

    def __init__(self, backbone: Backbone, image_size: int = 32, hard: int = 64, pairs: int = 64, with_query: int = 8,
                 start: float = 0.1, hidden: int = 512, out: int = 128, queue: int | None = None,
                 momentum: float = 0.99, temperature: float = 0.2, splits: int = 2, shuffle: bool = True,
                 augment: Augment | None = None, other: Augment | None = None):
        super().__init__(backbone, image_size, hidden=hidden, out=out, queue=512 if queue is None else queue,
                         momentum=momentum, temperature=temperature, splits=splits, shuffle=shuffle, augment=augment,
                         other=other)
        length = len(self.queue.rows)
        if not 1 <= hard <= length:
            raise ValueError(f"hard is {hard}; expected 1 to {length}, the length of the queue: how many of its "
                             "hardest negatives are mixed")
        if min(pairs, with_query) < 0:
            raise ValueError(f"pairs is {pairs} and with_query {with_query}; expected 0 (none) or more mixtures")
        if not 0 <= start <= 1:
            raise ValueError(f"start is {start}; expected a share of the training, 0 to 1, after which mixing begins")
        self.asked, self.hard, self.counts, self.start = queue is not None, hard, (pairs, with_query), start

    def views(self, batch, generator: torch.Generator) -> tuple[Any, ...]:
        views = super().views(batch, generator)
        draws = draw_mixtures(len(batch.images), self.hard, *self.counts, generator)
        return *views, tuple(draw.to(batch.images.device) for draw in draws)

    def loss(self, views: tuple[Any, ...], progress: float = 0.0) -> dict[str, Any]:
        a, b, order, draws = views
        if progress < self.start:
            draws = tuple(draw[:, :0] for draw in draws)
        q, k = self.head(self.backbone(standardize(a))), self.encode_keys(standardize(b), order)  # (N, out) each
        parts = mochi_loss(q, k, self.queue.rows, self.hard, draws, self.temperature)
        if self.training:  # the keys only, and after the logits
            self.queue.enqueue(k)
        return {**parts, "embedding": normalize(q.detach())}
