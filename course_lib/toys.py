"""Small things to look at, for lessons: one training step on its own, and points on a circle that a loss moves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .data import Batch
from .layers import normalize


def training_step(method: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer,
                  generator: torch.Generator) -> float:
    """One update of a method's weights, the heart of `train.fit` without anything around it; -> the loss."""
    views = method.views(batch, generator)
    loss = method.loss(views)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def circle_descent(attract: Callable[[Tensor, Tensor], Tensor], repel: Callable[[Tensor], Tensor], attraction: float = 1.0,
                   repulsion: float = 0.0, steps: int = 100, images: int = 24, seed: int = 2) -> Tensor:
    """Where a small encoder puts its images on the unit circle, before each of `steps` updates: (steps + 1, images, 2).

    An image is 8 random numbers, a view of it the same numbers with noise; the encoder is a network of 16 hidden units
    whose two outputs are scaled to length 1. The loss of two views x, y is
    attraction * attract(x, y) + repulsion * (repel(x) + repel(y)) / 2. The same every time: all draws come from `seed`.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    inputs = draw(images, 8)
    weights = [draw(8, 16) / 8**0.5, torch.zeros(16), draw(16, 2) / 4, torch.zeros(2)]
    w1, b1, w2, b2 = (weight.requires_grad_() for weight in weights)
    optimizer = torch.optim.Adam(weights, lr=0.1)
    path = []
    for _ in range(steps + 1):
        x, y = (torch.tanh((inputs + 0.7 * draw(images, 8)) @ w1 + b1) @ w2 + b2 for _ in range(2))
        with torch.no_grad():
            path.append(normalize(torch.tanh(inputs @ w1 + b1) @ w2 + b2))
        loss = attraction * attract(x, y) + repulsion * (repel(x) + repel(y)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.stack(path)
