"""Few labels: which pictures have one, and reading a representation with so few."""

from __future__ import annotations

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
