"""The scores of a contrastive method, positive and negative, in the course of training: the instrument with which
"Improving contrastive learning by visualizing feature transformation" (ICCV 2021, arXiv 2108.02982) looks at MoCo.

    looks = []
    fit(method, images, ..., watch=lambda history: looks.append(queue_scores(method, panel)))
    statistics = score_statistics(*map(torch.stack, zip(*looks)))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.data.images import Batch, ImageSet
from course_lib.evaluate.features import evaluating
from course_lib.methods.contrastive.imco import similarities
from course_lib.methods.contrastive.moco import MoCo
from course_lib.models.layers import normalize
from course_lib.precision import at_least_float32


def score_statistics(positive: Tensor, negative: Tensor, bins: int = 50,
                     span: tuple[float, float] = (-1.0, 1.0)) -> dict[str, Tensor]:
    """Histogram, mean and variance of positive scores (..., P) and of negative ones (..., M), over the last axis.

    The other axes, the same in both, are moments of training or whatever else is compared. -> "edges" (bins + 1,), and
    for "positive" and "negative" each: the histogram (..., bins), shares that sum to 1, "positive_mean" (...) and
    "positive_variance" (...), of all scores and not an estimate (divided by their number). Scores outside of `span`,
    which mixed embeddings reach, count in the outermost bins. ValueError for shapes that do not fit, or values that are
    not finite.
    """
    if not bins >= 1 or not span[0] < span[1]:
        raise ValueError(f"bins is {bins} and span {span}; expected one bin or more, between two rising numbers")
    positive, negative = (at_least_float32(torch.as_tensor(scores)) for scores in (positive, negative))
    if positive.shape[:-1] != negative.shape[:-1] or not positive.ndim or not negative.ndim:
        raise ValueError(f"positive scores have shape {tuple(positive.shape)} and negative ones "
                         f"{tuple(negative.shape)}; expected (..., P) and (..., M), alike but for the last axis")
    edges = torch.linspace(*span, bins + 1, device=positive.device)
    found = {"edges": edges}
    for name, scores in (("positive", positive), ("negative", negative)):
        if not scores.shape[-1] or not torch.isfinite(scores).all():
            raise ValueError(f"{name} scores are none, or hold NaN or infinity; expected finite numbers, one or more")
        place = torch.bucketize(scores.contiguous(), edges[1:-1].to(scores), right=True)  # (..., P), 0 to bins - 1
        counts = scores.new_zeros(*scores.shape[:-1], bins).scatter_add_(-1, place, torch.ones_like(scores))
        found |= {name: counts / scores.shape[-1], f"{name}_mean": scores.mean(-1),
                  f"{name}_variance": scores.var(-1, correction=0)}
    return found


def queue_scores(method: MoCo, images: ImageSet | Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores of a MoCo, or a method derived from it, on two fixed views of each image, before any mixing.

    -> positive (N,), query with its own key, and negative (N * K,), query with the queue; float32 on the CPU. In
    evaluation mode; the method is left as it was. ValueError for a method without a queue.
    """
    if not isinstance(method, MoCo):
        raise ValueError(f"{type(method).__name__} has no queue of keys; expected MoCo or a method derived from it")
    images = images if isinstance(images, Tensor) else images.images
    with evaluating(method) as where:
        batch = Batch(images.to(where), torch.arange(len(images)))
        first, second, *_ = method.views(batch, torch.Generator().manual_seed(seed))
        q = normalize(method.head(method.backbone(standardize(first))))  # (N, out)
        k = normalize(method.keys(standardize(second)))
        positive, negative = similarities(q, k, method.queue.rows)
    return positive.float().cpu(), negative.flatten().float().cpu()


class MovedPairs:
    """Scores of queries q with their keys k, (N, D) of length 1 each, when a lesson's `move` has moved each pair, and
    what the loss's gradient then is beside MoCo's.

    move(q, k, draw) -> moved queries, moved keys; lambda is draw + 1. negatives: (K, D) of length 1.
    """

    lambdas = tuple(i / 20 for i in range(4, 41))

    def __init__(self, move: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]], q: Tensor, k: Tensor,
                 negatives: Tensor):
        self.move, self.q, self.k, self.negatives = move, q, k, negatives
        self.before = (q * k).sum(1)
        self.balances = [pull / push for pull, push in map(self.forces, self.lambdas)]

    def scores(self, lam: float, scaled: bool = False) -> Tensor:
        """Of the moved pairs, (N,); scaled: moved vectors are given length 1 again."""
        q, k = self.move(self.q, self.k, lam - 1)
        return (normalize(q) * normalize(k)).sum(1) if scaled else (q * k).sum(1)

    def forces(self, lam: float, count: int = 8) -> tuple[float, float]:
        """How strongly the moved scores pull at q along the sphere, and push, relative to MoCo's.

        By autograd, means of the first `count` queries.
        """
        at, k, rows = self.q[:count].clone().requires_grad_(), self.k[:count], self.negatives[:count]
        moved_q, moved_k = self.move(at, k, lam - 1)
        pull = torch.autograd.grad((moved_q * moved_k).sum(), at, retain_graph=True)[0]
        push = torch.autograd.grad((moved_q * rows).sum(), at)[0]
        return self._against(pull, k), self._against(push, rows)

    def _against(self, gradient: Tensor, plain: Tensor) -> float:
        """The mean ratio of two gradients' lengths along the sphere, (count, D) each."""
        q = self.q[:len(plain)]
        along = [(vectors - (vectors * q).sum(1, keepdim=True) * q).norm(dim=1) for vectors in (gradient, plain)]
        return float((along[0] / along[1]).mean())

    def reading(self, lam: float, scaled: bool = False) -> dict[str, float]:
        """mean: of the moved scores; times: their standard deviation over that of the unmoved; pull, push; ratio."""
        after, (pull, push) = self.scores(lam, scaled), self.forces(lam)
        return {"mean": float(after.mean()), "times": float(after.std() / self.before.std()), "pull": pull,
                "push": push, "ratio": pull / push}


def mixing_effect(before: Tensor, after: Tensor) -> dict[str, float]:
    """Scores of queries with negatives (N, K), and with the mixed ones: what mixing changes.

    variance: after over before; mean: after; was, hardest: the mean of a query's largest score, before and after.
    """
    was, hardest = (float(scores.amax(1).mean()) for scores in (before, after))
    return {"variance": float(after.var() / before.var()), "mean": float(after.mean()), "was": was, "hardest": hardest}


def stored_looks(row: Mapping[str, Sequence[float]], steps: Sequence[int], bins: int = 40, count: int = 2000
                 ) -> list[tuple[int, tuple[Tensor, Tensor]]]:
    """Scores as a stored run's histograms have them: (step, (positive, negative)), about `count` scores of each kind.

    row: "scores_positive" and "scores_negative", the shares of `bins` bins from -1 to 1, all steps in one list.
    """
    half = 1 / bins
    middles = torch.linspace(half - 1, 1 - half, bins)

    def drawn(kind: str, i: int) -> Tensor:
        shares = torch.tensor(row[f"scores_{kind}"][bins * i:bins * (i + 1)])
        return middles.repeat_interleave((count * shares).round().long())

    return [(step, (drawn("positive", i), drawn("negative", i))) for i, step in enumerate(steps)]


def directions(rows: Sequence[Mapping[str, Sequence[float]]]) -> float:
    """1 / (mean square of the scores of strangers): in so many directions unit vectors spread evenly have such scores.

    rows: of stored runs, with "scores_negative_mean" and "scores_negative_variance" over the steps; the last ones
    count, and the mean of all rows is given.
    """
    ends = [(row["scores_negative_mean"][-1], row["scores_negative_variance"][-1]) for row in rows]
    return fmean(1 / (mean**2 + variance) for mean, variance in ends)


def readings_table(ends: Mapping[str, Mapping[str, float]], steps: int) -> str:
    """A line for each run: the mean scores of pairs and of strangers (see `imco.score_moments`) and their spread."""
    return "\n".join(
        f"{name:16s} after {steps} steps: pairs {it['positive']:.2f}, strangers {it['negative']:.2f}, standard "
        f"deviations {it['positive_variance'] ** 0.5:.2f} and {it['negative_variance'] ** 0.5:.2f}"
        for name, it in ends.items())
