r"""Feature transformation (ImCo in the study group's list): MoCo with its embeddings mixed. Zhu, Zhao, Liu, Sun, Chen,
"Improving contrastive learning by visualizing feature transformation", ICCV 2021, arXiv 2108.02982.

MoCo's query q, its key k and the queue's keys n have length 1. Before the logits they are replaced by

    q' = a q + (1 - a) k,  k' = a k + (1 - a) q     a ~ Beta(alpha+, alpha+) + 1: positive extrapolation
    n' = b n + (1 - b) n_pi                         b ~ Beta(alpha-, alpha-), pi a permutation: negative interpolation

    L = mean over N of  -log( exp(q' . k' / tau) / (exp(q' . k' / tau) + sum over the queue of exp(q' . n' / tau)) )

The pair is moved apart along its own line: with s = q . k and one number a per batch, q' . k' = s + 2 a (1 - a)(1 - s)
is below s, so the positive is harder and its pull does not fade. The negatives become points between two others: more
various. The paper found both by looking at the histograms of positive and negative scores in the course of training
(`evaluate.scores` draws them).

What other implementations get wrong: a in (0, 1), which makes the positive easier; the mixtures scaled back to length 1
(the default leaves them longer, so logits may leave [-1/tau, 1/tau]; the option that does scale them touches q' and k'
only, not the negatives); k' taken as a constant, though it holds (1 - a) q, so gradients flow through both (k itself
has none); q in place of q' before the negatives; mixed keys in the queue, which must receive k as it is. alpha+ is 2.0,
alpha- 1.6, and one number is drawn for a whole batch: the command of the official README leaves `--dim_mask` at "none";
with "both" every element has its own, and the identity above no longer holds. Its `--alpha .999` is the key encoder's
momentum. Official code: DTennant/CL-Visualizing-Feature-Transformation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods.contrastive.moco import MoCoV2, info_nce
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import check_positive, in_float32
from course_lib.seeds import beta


def extrapolate(q: Tensor, k: Tensor, a: Tensor | float) -> tuple[Tensor, Tensor]:
    """A pair moved along its line, (N, D) each: apart for a above 1, together below. a: one number, or (N, D)."""
    return a * q + (1 - a) * k, a * k + (1 - a) * q


def interpolate(negatives: Tensor, b: Tensor | float, order: Tensor) -> Tensor:
    """Each of (K, D) negatives mixed with another, negatives[order]. b: one number, or (K, D); order int64 (K,)."""
    return b * negatives + (1 - b) * negatives[order]


def similarities(q: Tensor, k: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D), (N, D), (K, D) -> scores of the queries with their own keys, (N,), and with all negatives, (N, K)."""
    return (q * k).sum(1), q @ negatives.T


@in_float32
def imco_logits(q: Tensor, k: Tensor, negatives: Tensor, temperature: float = 0.2, a: Tensor | float | None = None,
                b: Tensor | float | None = None, order: Tensor | None = None, renormalize: bool = False) -> Tensor:
    """(N, D), (N, D), (K, D) unit rows -> (N, 1 + K) logits, the positive in column 0; k and negatives are constants.

    a: of `extrapolate`, already above 1; b, order: of `interpolate`; None: not mixed, and with neither it is MoCo.
    renormalize: q' and k' scaled back to length 1. ValueError for a temperature not above 0, or for b without order.
    """
    check_positive("temperature", temperature)
    k, negatives = k.detach(), negatives.detach()
    if a is not None:
        q, k = extrapolate(q, k, a)  # k' depends on q, too
        q, k = (normalize(q), normalize(k)) if renormalize else (q, k)
    if b is not None:
        if order is None:
            raise ValueError("negatives are mixed (b is given) but order is None; expected a permutation of the queue, "
                             "int64 (K,)")
        negatives = interpolate(negatives, b, order)
    positive, negative = similarities(q, k, negatives)  # (N,), (N, K)
    return torch.cat([positive.unsqueeze(1), negative], dim=1) / temperature


def imco_loss(q: Tensor, k: Tensor, negatives: Tensor, temperature: float = 0.2, a: Tensor | float | None = None,
              b: Tensor | float | None = None, order: Tensor | None = None,
              renormalize: bool = False) -> dict[str, Tensor]:
    """The loss of raw queries and keys, (N, D) each, against a queue (K, D) of unit rows -> "loss" and "accuracy".

    The rest: see `imco_logits`. The mean over this rank's queries; the queue already holds the keys of all ranks.
    """
    return info_nce(imco_logits(normalize(q), normalize(k), negatives, temperature, a, b, order, renormalize))


@torch.no_grad()
@in_float32
def score_moments(q: Tensor, k: Tensor, negatives: Tensor) -> dict[str, Tensor]:
    """Mean and variance of the scores of raw queries and keys (N, D) with the queue (K, D), before any mixing."""
    positive, negative = similarities(normalize(q), normalize(k), negatives)
    return {"positive": positive.mean(), "positive_variance": positive.var(correction=0),
            "negative": negative.mean(), "negative_variance": negative.var(correction=0)}


class ImCo(MoCoV2):
    """The method: MoCo v2 with extrapolated positives and interpolated negatives.

    positives: "extrapolate", "interpolate" (easier ones) or "plain"; negatives: "interpolate" or "plain";
    with both plain it is MoCo v2. alpha_positive, alpha_negative: of their Beta draws.
    elementwise: a draw for every element in place of one for the batch. renormalize: mixed pairs scaled back to length
    1. queue: K (None: 512), at most as many as there are images. hidden, out, layers, momentum, temperature, splits,
    shuffle: see MoCo; MoCo v2 has a queue of 65536, 0.999 and 0.2 on ImageNet, the official command of this paper 0.999
    too.
    """

    title = "ImCo"
    week = 11
    recipe = {"lr": 1e-3, "batch_size": 128}
    explored = ("head", "keys", "queue")

    def __init__(self, backbone: Backbone, image_size: int = 32, hidden: int = 512, out: int = 128, layers: int = 2,
                 queue: int | None = None, momentum: float = 0.99, temperature: float = 0.1, splits: int = 2,
                 shuffle: bool = True, positives: str = "extrapolate", negatives: str = "interpolate",
                 alpha_positive: float = 2.0, alpha_negative: float = 1.6, elementwise: bool = False,
                 renormalize: bool = False, augment: Augment | None = None, other: Augment | None = None):
        super().__init__(backbone, image_size, layers, hidden=hidden, out=out, queue=512 if queue is None else queue,
                         momentum=momentum, temperature=temperature, splits=splits, shuffle=shuffle, augment=augment,
                         other=other)
        for name, given, known in (("positives", positives, ("extrapolate", "interpolate", "plain")),
                                   ("negatives", negatives, ("interpolate", "plain"))):
            if given not in known:
                raise ValueError(f"{name} is {given!r}; expected one of {', '.join(known)}")
        check_positive("alpha_positive", alpha_positive)
        check_positive("alpha_negative", alpha_negative)
        self.asked, self.positives, self.negatives = queue is not None, positives, negatives
        self.alpha_positive, self.alpha_negative = alpha_positive, alpha_negative
        self.elementwise, self.renormalize = elementwise, renormalize

    def views(self, batch: Batch, generator: torch.Generator) -> tuple:
        """MoCo's two views and the order of the keys' batch, then a, b and the permutation of the queue."""
        return *super().views(batch, generator), *self.mixing(len(batch.images), generator, batch.images.device)

    def mixing(self, n: int, generator: torch.Generator,
               device: torch.device | str) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """(a, b, order) of a batch of n; None for what is not mixed."""
        a = b = order = None
        length, width = self.queue.rows.shape
        if self.positives != "plain":
            a = beta(self.alpha_positive, (n, width) if self.elementwise else (), generator).to(device)
            a = a + 1 if self.positives == "extrapolate" else a
        if self.negatives != "plain":
            b = beta(self.alpha_negative, (length, width) if self.elementwise else (), generator).to(device)
            order = torch.randperm(length, generator=generator, device=generator.device).to(device)
        return a, b, order

    def loss(self, views: tuple, progress: float = 0.0) -> dict[str, Any]:
        first, second, shuffled, *mixing = views
        q = self.head(self.backbone(standardize(first)))  # (N, out)
        k = self.encode_keys(standardize(second), shuffled)  # (N, out), of length 1
        parts = imco_loss(q, k, self.queue.rows, self.temperature, *mixing, renormalize=self.renormalize)
        moments = score_moments(q, k, self.queue.rows)
        if self.training:  # after the logits, and the keys as they are
            self.queue.enqueue(k)
        return {**parts, **moments, "embedding": normalize(q.detach())}
