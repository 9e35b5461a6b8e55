"""Two ways to take the mean over positives, on a handful of cosines: the small experiment of lesson 28."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

OTHERS = torch.linspace(-0.3, 0.4, 8)  # cosines of the negatives


class Pulls(NamedTuple):
    """Of SupCon's two losses, "outside" and "inside": the pull on each positive, times the temperature, and the loss.
    """

    cosines: list[float]
    pulls: dict[str, list[float]]
    losses: dict[str, float]


def two_pulls(two_means: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]], far: float, tau: float) -> Pulls:
    """What is pulled of three positives with the cosines 0.9, 0.6 and `far`, beside eight negatives.

    two_means(positives, negatives, tau) -> the losses with the mean outside and inside of the logarithm. The pull is
    minus the gradient.
    """
    cosines = torch.tensor([0.9, 0.6, far], requires_grad=True)
    both = dict(zip(("outside", "inside"), two_means(cosines, OTHERS, tau)))
    pulls = {name: (-tau * torch.autograd.grad(loss, cosines, retain_graph=True)[0]).tolist()
             for name, loss in both.items()}
    return Pulls(cosines.tolist(), pulls, {name: loss.item() for name, loss in both.items()})
