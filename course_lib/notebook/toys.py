"""Toy problems for lessons: points on a circle that a loss moves, answers that share clusters, tables of noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.models.layers import normalize
from course_lib.plots.drawing import ORANGE, THIS, style
from course_lib.plots.sketch import unit_circle
from course_lib.seeds import generator


def _encoder(weights: list[Tensor], x: Tensor) -> Tensor:
    """A network of one hidden layer: (N, inputs) -> (N, outputs)."""
    return torch.tanh(x @ weights[0] + weights[1]) @ weights[2] + weights[3]


def circle_descent(attract: Callable[[Tensor, Tensor], Tensor], repel: Callable[[Tensor], Tensor],
                   attraction: float = 1.0, repulsion: float = 0.0, steps: int = 100, images: int = 24,
                   seed: int = 2) -> Tensor:
    """Where a small encoder puts images on the unit circle, before each of `steps` updates: (steps + 1, images, 2).

    An image is 8 random numbers, a view of it the same numbers with noise; the encoder is a network of 16 hidden units
    whose two outputs are scaled to length 1. The loss of two views x, y is
    attraction * attract(x, y) + repulsion * (repel(x) + repel(y)) / 2. All draws come from `seed`.
    """
    source = generator(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source)

    inputs = draw(images, 8)
    weights = [draw(8, 16) / 8**0.5, torch.zeros(16), draw(16, 2) / 4, torch.zeros(2)]
    optimizer = torch.optim.Adam([weight.requires_grad_() for weight in weights], lr=0.1)
    path = []
    for _ in range(steps + 1):
        x, y = (_encoder(weights, inputs + 0.7 * draw(images, 8)) for _ in range(2))
        with torch.no_grad():
            path.append(normalize(_encoder(weights, inputs)))
        loss = attraction * attract(x, y) + repulsion * (repel(x) + repel(y)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.stack(path)


def simsiam_descent(loss: Callable[..., Tensor], stop: bool = True, predictor: bool = True, rate: float = 1.0,
                    every: int = 1, batch_norm: bool = False, outputs: int = 2, steps: int = 200, images: int = 24,
                    seed: int = 0) -> dict[str, Tensor]:
    """SimSiam on the images and with the encoder of `circle_descent`, before each of `steps` updates.

    loss(p1, p2, z1, z2, stop) -> scalar, with the predictions p of a network of 8 hidden units (predictor=False: p is
    z), whose learning rate is `rate` times the encoder's. every: the targets z come from a copy of the encoder that is
    renewed every so many steps (1: the encoder itself). batch_norm: the encoder's outputs are standardised over the
    images. Returns "points" and "predictions", (steps + 1, images, outputs) of length 1 without noise, and "loss".
    """
    source = generator(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source)

    def encode(x: Tensor, weights: list[Tensor]) -> Tensor:
        z = _encoder(weights, x)
        return (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() if batch_norm else z

    inputs = draw(images, 8)
    encoder = [draw(8, 16) / 8**0.5, torch.zeros(16), draw(16, outputs) / 4, torch.zeros(outputs)]
    head = [draw(outputs, 8) / outputs**0.5, torch.zeros(8), draw(8, outputs) / 8**0.5, torch.zeros(outputs)]
    for weight in encoder + head:
        weight.requires_grad_()
    predict = (lambda z: _encoder(head, z)) if predictor else (lambda z: z)
    optimizer = torch.optim.SGD([{"params": encoder}, {"params": head, "lr": 0.05 * rate}], lr=0.05, momentum=0.9)
    path: dict[str, list[Tensor]] = {"points": [], "predictions": [], "loss": []}
    for step in range(steps + 1):
        if step % every == 0:
            frozen = [weight.detach().clone() for weight in encoder]
        views = [inputs + 0.7 * draw(images, 8) for _ in range(2)]
        z = [encode(view, encoder) for view in views]
        targets = z if every == 1 else [encode(view, frozen) for view in views]
        value = loss(predict(z[0]), predict(z[1]), *targets, stop)
        with torch.no_grad():
            clean = encode(inputs, encoder)
            found = {"points": normalize(clean), "predictions": normalize(predict(clean)), "loss": value}
            for name in path:
                path[name].append(found[name].detach())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return {name: torch.stack(values) for name, values in path.items()}


def circle_measures(path: Tensor) -> tuple[Tensor, Tensor]:
    """Signal share and standard deviation (1: spread over the circle) of paths (steps, networks, views, images, 2).

    The signal share is the part of the variance that lies between images, not between views of one; both come as
    (steps, networks).
    """
    means, within = path.mean(2).var(2, correction=0).sum(-1), path.var(2, correction=1).sum(-1).mean(2)
    between = (means - within / path.shape[2]).clamp_min(0)  # a mean of few views holds some of their noise
    deviation = (means + path.var(2, correction=0).sum(-1).mean(2)).sqrt()
    return between / (between + within).clamp_min(1e-9), deviation


def circle_figure(path: Tensor, step: int, names: tuple[str, ...] = ("online", "target")) -> Figure:
    """Two networks' views on the unit circle at a step, and `circle_measures` of all steps; path as there.

    An image's colour is the direction in which the second network's first step put it.
    """
    angle = torch.atan2(*path[0, 1].mean(0).T.flip(0)).div(2 * math.pi).remainder(1).numpy()
    hue = 0.85 * plt.get_cmap("hsv")(angle)[:, :3]
    with style():
        figure, panels = plt.subplots(1, 4, figsize=(8.8, 2.6), width_ratios=(1, 1, 1.15, 1.15))
        for axes, points, name in zip(panels, path[step], names):
            unit_circle(axes, edge=1.35)
            for colour, views in zip(hue, points.transpose(0, 1)):
                axes.plot(*views.T, "o", ms=2.5, color=colour, alpha=0.4, mew=0)
            axes.scatter(*(1.16 * normalize(points.mean(0)).T), color=hue, s=26, edgecolors="#444444", linewidths=0.5)
            axes.set_title(f"{name}, step {step}")
        for axes, values, label in zip(panels[2:], circle_measures(path), ("signal share", "standard deviation")):
            for network, (name, colour, dashes) in enumerate(zip(names, (THIS, ORANGE), ("-", "--"))):
                axes.plot(values[:, network], dashes, color=colour, label=name)
            axes.axvline(step, color="#999999", lw=1)
            axes.set(xlabel="step", ylim=(0, 1.05), title=label)
        figure.legend(*panels[3].get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=8)
    return figure


def twins_descent(step: Callable, lambd: float, steps: int = 150, dimensions: int = 12, images: int = 60,
                  every: int = 10) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """A linear network trained by step(network, optimizer, view1, view2, lambd), looked at every so many steps.

    An image is four causes, which views disturb more and more (standard deviations 0.3, 0.5, 0.8, 1.5); a fifth number
    is drawn anew in each view. The outputs start independent. -> shares (T, 5, dimensions) of each number in each
    output, and the outputs of both views of a batch at each look.
    """
    g, noise = generator(0), torch.tensor([0.3, 0.5, 0.8, 1.5, 1.0])
    causes = torch.randn(images, 5, generator=g) * torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
    network = torch.nn.Linear(5, dimensions, bias=False)
    network.weight.data = torch.randn(dimensions, 5, generator=generator(3)) / 5**0.5
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    shares, outputs = [], []
    for now in range(steps + 1):
        first, second = (causes + noise * torch.randn(images, 5, generator=g) for _ in range(2))
        if now % every == 0:
            with torch.no_grad():
                weights = network.weight.T.clone()
                shares.append(weights.square() / weights.square().sum(0))
                outputs.append((network(first), network(second)))
        step(network, optimizer, first, second, lambd)
    return torch.stack(shares), outputs


def toy_answers(sure: float, moved: int) -> tuple[Tensor, Tensor]:
    """Answers (16, 4) of 16 images in 4 clusters, float64, and the cluster of each (16,).

    All begin in the first cluster; twelve belong elsewhere, and `moved` of them (0 to 12) are where they belong, taken
    from the three clusters in turn. sure: from 0, every cluster alike, to 1, one-hot.
    """
    order = torch.tensor([4 * cluster + i for i in range(4) for cluster in (1, 2, 3)])[:moved]
    home = torch.zeros(16, dtype=torch.long)
    home[order] = order // 4
    return (1 - sure) / 4 + sure * torch.nn.functional.one_hot(home, 4).double(), home


def sharing_tables(images: int, features: int, shared: float, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two tables of noise (images, features): the second is `shared` times the first, the rest of its own."""
    first = torch.randn(images, features, generator=source)
    return first, shared * first + (1 - shared) * torch.randn(images, features, generator=source)
