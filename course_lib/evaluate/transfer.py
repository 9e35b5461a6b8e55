r"""How well does it transfer? Measures of "How Well Do Self-Supervised Models Transfer?", Ericsson, Gouk and
Hospedales, CVPR 2021, arXiv 2011.13377; official: linusericsson/ssl-transfer. Are networks that are good at one task
good at others?

A rank correlation asks only for the order of the networks: Kendall's tau is the share of pairs in the same order minus
the share in the other. With six networks there are 15 pairs: one network that moves two places changes tau by 0.27, so
an interval or the number of networks belongs beside each.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from course_lib.evaluate.measures import check_labels

PENALTIES = torch.logspace(-6, 5, 45, dtype=torch.float64)  # weight decays that were tried; C = 1 / decay


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float:
    """tau-b of two lists of scores of the same networks: 1 the same order, -1 the reverse; ties are allowed for.

    NaN where all scores of a list are equal. ValueError for lists of different length, or of fewer than three.
    """
    from scipy.stats import kendalltau  # comes with scikit-learn

    if len(a) != len(b) or len(a) < 3:
        raise ValueError(f"{len(a)} and {len(b)} scores; expected the same number, three networks or more")
    return float(kendalltau(list(a), list(b)).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def rank_correlations(scores: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], float]:
    """Kendall's tau of each pair of tasks: task -> scores of the networks, in one order of the networks."""
    return {(a, b): kendall_tau(scores[a], scores[b]) for a, b in itertools.combinations(scores, 2)}


def mean_class_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """The mean of the accuracies of each class: int64 (N,), (N,). Rare classes count as much as frequent ones."""
    labels = check_labels(labels, len(predicted))
    right = (predicted == labels).double()
    return float(torch.stack([right[labels == label].mean() for label in labels.unique()]).mean())


def eleven_point_precision(scores: Tensor, positive: Tensor, tolerance: float = 1e-9) -> float:
    """Average precision of VOC 2007: the mean over recalls 0, 0.1, ..., 1 of the best precision at that recall or more.

    scores (N,), the higher the surer; positive bool (N,). It is not the area under the curve. tolerance: 0 as in the
    official code, where 6 of 20 found is less than a recall of 0.3, by rounding. ValueError without a positive.
    """
    if not positive.any():
        raise ValueError("no image is positive, so there is no recall; expected one or more")
    order = scores.argsort(descending=True, stable=True)
    hits = positive[order].double().cumsum(0)
    precision, recall = hits / torch.arange(1, len(hits) + 1), hits / hits[-1]
    best = [precision[recall >= 0.1 * tenth - tolerance].max() for tenth in range(11)]
    return float(torch.stack(best).mean())


def class_share(features: Tensor, labels: Tensor) -> float:
    """The share of the variance of features (N, D) that lies *between* the class means, not within classes: 0 to 1."""
    labels = check_labels(labels, len(features))
    away = features.double() - features.double().mean(0)
    means = torch.stack([away[labels == label].mean(0) for label in range(int(labels.max()) + 1)
                         if (labels == label).any()])
    sizes = labels.bincount()
    return float((sizes[sizes > 0] * means.square().sum(1)).sum() / away.square().sum())


def rank_interval(a: Sequence[float], b: Sequence[float], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of Spearman's rank correlation over bootstrap draws of the networks, with replacement.

    a, b: scores of the same networks. Draws in which all scores of a list are equal do not count; NaN where all do not.
    ValueError for lists of different length, or of fewer than three.
    """
    from scipy.stats import rankdata

    if len(a) != len(b) or len(a) < 3:
        raise ValueError(f"{len(a)} and {len(b)} scores; expected the same number, three networks or more")
    rows = torch.randint(len(a), (draws, len(a)), generator=torch.Generator().manual_seed(seed))
    x, y = (torch.from_numpy(rankdata(torch.as_tensor(list(v), dtype=torch.float64)[rows].numpy(), axis=1))
            for v in (a, b))
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    found = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    found = found[found.isfinite()]
    if not len(found):
        return float("nan"), float("nan")
    low, high = found.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
