"""Figures of a Siamese method: a toy run on the circle, the pull of a loss, and one run's curves before the others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.drawing import ORANGE, RED, THIS, drawn
from course_lib.plots.sketch import arrow, picture, unit_circle

Line = tuple[str, Sequence[float], Sequence[float]]  # whose, x, y


@drawn
def descent_figure(path: Mapping[str, Tensor], spread: Sequence[float], step: int, renewed: int = 0) -> Figure:
    """A run of `simsiam_descent` at a step: images (discs) and predictions (triangles), its loss, and its std.

    spread: the std of the points at every tenth step. renewed: the targets are renewed every so many steps (grey).
    """
    points, guesses = path["points"][step], path["predictions"][step]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.6, 2.7), width_ratios=(1, 1.3, 1.3))
    unit_circle(left, 1.4)
    for where, size, shape in ((points, 36, "o"), (1.2 * guesses, 22, "^")):
        left.scatter(*where.T, c=range(len(points)), cmap="cividis", s=size, marker=shape, zorder=3)
    left.set_title(f"after {step} steps")
    middle.plot(path["loss"], color=THIS)
    middle.set(xlabel="step", ylim=(-1.08, 1.0), title="loss (grey: targets renewed)" if renewed else "loss")
    right.plot(range(0, 10 * len(spread), 10), spread, color=RED)
    right.set(xlabel="step", ylim=(0, 1.08), title="std")
    for at in range(renewed, len(path["loss"]), renewed) if renewed else ():
        middle.axvline(at, color="#dddddd", lw=1, zorder=0)
    for axes in (middle, right):
        axes.axvline(step, color="#999999", lw=1)
    return figure


@drawn
def pull_figure(p: Tensor, z: Tensor, moves: Sequence[Tensor]) -> Figure:
    """A prediction p and a target z in the plane, and where a step of descent moves each."""
    figure, axes = plt.subplots(figsize=(5.2, 3.2))
    unit_circle(axes)
    for point, move, colour, name in ((p, moves[0], THIS, "p"), (z, moves[1], ORANGE, "z")):
        x, y = point.tolist()
        axes.plot([0, x], [0, y], color=colour, lw=1, alpha=0.5)
        axes.plot(x, y, "o", color=colour, ms=9)
        axes.annotate(name, (x, y), xytext=(8, 6), textcoords="offset points", color=colour)
        arrow(axes, (x, y), (x + float(move[0]), y + float(move[1])), colour, arrowstyle="-|>", lw=2.2)
    axes.set(xlim=(-2.5, 2.5), ylim=(-1.2, 2.4))
    axes.set_title(f"pull on p {float(moves[0].norm()):.2f}, pull on z {float(moves[1].norm()):.2f}", loc="center")
    return figure


@drawn
def mean_and_prediction(means: Sequence[float], prediction: float, views: int) -> Figure:
    """How near the mean over 1, 2, ... views comes to a new one, `views` marked, and how near a prediction does."""
    figure, axes = plt.subplots(figsize=(8, 2.6))
    axes.plot(range(1, len(means) + 1), means, "D-", ms=9, markevery=[views - 1], color=THIS, label="mean over A views")
    axes.axhline(prediction, color=ORANGE, ls="--", label="predictor, from one view")
    axes.set(xlabel="A: views averaged", ylabel="cosine with a new view", ylim=(min(0, prediction) - 0.05, 1.05),
             title=f"mean over {views} views {means[views - 1]:.2f}, predictor {prediction:.2f}")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


@drawn
def two_logs_figure(losses: Sequence[Line], ranks: Sequence[Line], album: np.ndarray, rows: Sequence[str]) -> Figure:
    """Losses and ranks of two kinds of run, the first kind in the method's colour; beside them pictures in rows."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.9), width_ratios=(1, 1, 1.25))
    for panel, lines in zip(axes, (losses, ranks)):
        first, told = lines[0][0], set[str]()
        for whose, x, y in lines:
            colour, dash = (THIS, "-") if whose == first else (ORANGE, "--")
            panel.plot(x, y, dash, color=colour, lw=1.3, label=None if whose in told else whose)
            told.add(whose)
    axes[0].set(xlabel="step", ylabel="loss", ylim=(-1.05, 0.05), title="the lower loss ...")
    axes[0].legend(fontsize=8, loc="upper right")
    axes[1].set(xlabel="step", ylabel="rank of the projection", ylim=(0, None), title="... the worse network")
    picture(axes[2], album, "one image, and its nearest four")
    height = album.shape[0] / len(rows)
    axes[2].set_yticks([height * (i + 0.5) for i in range(len(rows))], rows, fontsize=8)
    return figure
