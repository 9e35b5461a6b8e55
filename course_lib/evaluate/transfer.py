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
