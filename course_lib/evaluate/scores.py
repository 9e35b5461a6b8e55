"""The scores of a contrastive method, positive and negative, in the course of training: the instrument with which
"Improving contrastive learning by visualizing feature transformation" (ICCV 2021, arXiv 2108.02982) looks at MoCo.

    looks = []
    fit(method, images, ..., watch=lambda history: looks.append(queue_scores(method, panel)))
    statistics = score_statistics(*map(torch.stack, zip(*looks)))
"""

from __future__ import annotations

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
