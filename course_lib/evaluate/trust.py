"""Which labels deserve trust: wrong ones planted, how well a choice of clean ones is, how honest a confidence is."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.methods.clustering.shared import nearest_rows


def mislabel(logits: Tensor, which: Tensor, generator: torch.Generator, together: Tensor | None = None) -> Tensor:
    """Logits (N, K) that name another cluster for the images `which`, int64 (M,), and are as sure of it as before.

    The largest logit changes places with another cluster's, drawn for each image, or for each number in `together`,
    int64 (M,): images with the same number then all get the same cluster (but for those that were in it already, which
    are left).
    """
    clusters, top = logits.shape[1], logits[which].argmax(1)  # (M,)
    if together is None:
        steps = torch.randint(1, clusters, (len(which),), generator=generator)
        other = (top.cpu() + steps) % clusters
    else:
        other = torch.randint(clusters, (int(together.max()) + 1,), generator=generator)[together.cpu()]
    other, changed, row = other.to(logits.device), logits.clone(), which.to(logits.device)
    changed[row, other], changed[row, top] = logits[row, top], logits[row, other]
    return changed


def patches_of(z: Tensor, share: float, generator: torch.Generator, size: int = 200) -> tuple[Tensor, Tensor]:
    """About `share` of N images, in groups of `size` nearest neighbours by rows z (N, D): their numbers (M,), groups
    (M,), int64 both.

    A group is the neighbourhood of an image that is in none yet, so it may keep fewer than `size`.
    """
    group = torch.full((len(z),), -1)
    number = 0
    while (group >= 0).float().mean() < share and number < len(z):
        free = (group < 0).nonzero()[:, 0]
        centre = free[torch.randint(len(free), (1,), generator=generator)]
        near = nearest_rows(z, min(size, len(z)), rows=centre.to(z.device))[0].cpu()
        group[near[group[near] < 0]] = number
        number += 1
    which = (group >= 0).nonzero()[:, 0]
    return which, group[which]


def trust_scores(trusted: Tensor, right: Tensor) -> dict[str, float]:
    """Of a choice of labels, bool (N,), and which are right, bool (N,): precision, recall, share and found.

    precision: right ones among the trusted (1 if there are none). recall: trusted ones among the right. share: trusted
    ones among all. found: wrong ones that are not trusted, among the wrong (1 if there are none).
    """
    trusted, right = trusted.cpu(), right.cpu()

    def among(what: Tensor, of: Tensor) -> float:
        return float(what[of].float().mean()) if of.any() else 1.0

    return {"precision": among(right, trusted), "recall": among(trusted, right),
            "share": float(trusted.float().mean()), "found": among(~trusted, ~right)}


def calibration(confidence: Tensor, right: Tensor, bins: int = 10) -> dict[str, list[float] | float]:
    """How often predictions of a confidence (N,) in [0, 1] are right, bool (N,): in bins of equal width.

    confidence, accuracy: means of each bin that has predictions; share: how many of them. error: the expected
    calibration error, the mean of |accuracy - confidence| over bins, weighted by their share (Guo et al., ICML 2017,
    arXiv 1706.04599). over: mean confidence minus accuracy of all.
    """
    confidence, right = confidence.cpu().double(), right.cpu().double()
    place = (confidence * bins).long().clamp(0, bins - 1)
    counts = place.bincount(minlength=bins)
    used = counts > 0
    said, met = (torch.zeros(bins, dtype=torch.float64).index_add_(0, place, values)[used] / counts[used]
                 for values in (confidence, right))
    share = counts[used].double() / len(right)
    return {"confidence": said.tolist(), "accuracy": met.tolist(), "share": share.tolist(),
            "error": float((share * (met - said).abs()).sum()), "over": float(confidence.mean() - right.mean())}
