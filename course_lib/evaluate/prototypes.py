"""Names that nobody chose: how pure what lies near a prototype is, and over how many prototypes codes spread."""

from __future__ import annotations

import torch
from torch import Tensor


def commonest_share(labels: Tensor) -> Tensor:
    """The share of the commonest label in each row of labels, int64 (N, k): float (N,)."""
    return (labels == labels.mode(1).values[:, None]).float().mean(1)


def effective(shares: Tensor) -> Tensor:
    """Over how many entries the shares (..., K), which sum to 1, spread: exp of their entropy, 1 to K, (...)."""
    return torch.special.entr(shares).sum(-1).exp()


def spread_of_codes(codes: Tensor) -> tuple[float, float]:
    """Codes (N, K) whose rows sum to 1: over how many prototypes an image spreads (mean), and how many get images."""
    return float(effective(codes).mean()), float(effective(codes.sum(0) / len(codes)))
