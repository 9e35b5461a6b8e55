"""Few labels: which pictures have one, reading a representation with so few, and pre-training's worth in labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def few_labels(labels: Tensor, order: Tensor, k: int) -> Tensor:
    """The pictures whose labels are known: the first k of every class in `order`.

    labels: int64 (N,). order: int64 (N,), positions, shuffled: a draw. -> positions, int64; a class with fewer than k
    pictures gives what it has. More labels of the same draw add pictures and keep the others.
    """
    chosen, seen = [], {}
    for i in order.tolist():
        c = int(labels[i])
        seen[c] = seen.get(c, 0) + 1
        if seen[c] <= k:
            chosen.append(i)
    return torch.tensor(chosen)


def ridge_scores(features: Tensor, labels: Tensor, queries: Tensor, penalty: float = 0.1) -> Tensor:
    """Read a representation with ridge regression on the classes: no setting has to be picked on more labels.

    features: float (N, D), labelled, with labels int64 (N,). queries: float (M, D). -> float (M, C), a score for each
    class of `labels.unique()`. Features are standardised by the labelled ones; the regression is solved in its dual
    form, N x N (Saunders et al., "Ridge Regression Learning Algorithm in Dual Variables", 1998), since N is small.
    """
    mean, std = features.mean(0), features.std(0, correction=0) + 1e-6
    x, q = (features - mean) / std, (queries - mean) / std
    y = (labels[:, None] == labels.unique()).to(x.dtype)
    kernel = x @ x.T / x.shape[1]
    weights = torch.linalg.solve(kernel + penalty * torch.eye(len(x), dtype=x.dtype, device=x.device), y)
    return q @ x.T / x.shape[1] @ weights + y.mean(0)


def utility(labels: Sequence[int], scratch: Sequence[float], n: int, accuracy: float) -> float | None:
    """The labels that pre-training saves, as a share of n: how many more a network from scratch needs to do as well.

    labels: rising numbers of labels, each above 0; scratch: the accuracies reached from scratch with so many. accuracy:
    of the pre-trained network with n labels. -> N / n - 1, where scratch's curve, straight between its points over
    log labels, first reaches `accuracy` at N; 0: nothing is saved; None where the curve never does, as at its ends.
    ValueError for fewer than two points or numbers that do not rise.
    Newell and Deng, CVPR 2020 (arXiv 2003.14323), as summaries of the paper give it: U(n) = N / n - 1.
    """
    if len(labels) != len(scratch) or len(labels) < 2 or any(a >= b for a, b in itertools.pairwise((0, *labels))):
        raise ValueError(f"labels must be two or more rising numbers, each with an accuracy, got {list(labels)} with "
                         f"{len(scratch)} accuracies")
    for (few, low), (many, high) in itertools.pairwise(zip(labels, scratch)):
        if low <= accuracy <= high:
            share = (accuracy - low) / (high - low) if high > low else 0.0
            return math.exp(math.log(few) + share * math.log(many / few)) / n - 1
    return None
