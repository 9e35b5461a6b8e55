"""Figures of a Siamese method: a toy run on the circle, the pull of a loss, and one run's curves before the others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.drawing import BLACK, GREEN, MEANING, ORANGE, RED, THIS, drawn
from course_lib.plots.sketch import arrow, picture, unit_circle
from course_lib.text import counted

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
    left.set_title(f"after {counted(step, 'step')}")
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
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    unit_circle(axes)
    for point, move, colour, name in ((p, moves[0], THIS, "p"), (z, moves[1], BLACK, "z")):
        x, y = point.tolist()
        axes.plot([0, x], [0, y], color=colour, lw=1, alpha=0.5)
        axes.plot(x, y, "o", color=colour, ms=9)
        axes.annotate(name, (x, y), xytext=(-10, 8), textcoords="offset points", color=colour)
        dx, dy = move.tolist()
        arrow(axes, (x, y), (x + dx, y + dy), colour, arrowstyle="-|>", lw=2.2)
        if dx or dy:
            axes.annotate(f"{float(move.norm()):.2f}", (x + dx / 2, y + dy / 2), xytext=(7, 5 if name == "p" else -5),
                          textcoords="offset points", color=colour)
    axes.set(xlim=(-2.3, 2.9), ylim=(-1.15, 2.15))
    axes.set_title("a step of descent moves p" + (" and z" if float(moves[1].norm()) else ", not z"), loc="center")
    return figure


@drawn
def mean_and_prediction(means: Sequence[float], prediction: float, constant: float, views: int) -> Figure:
    """How near a new view come the mean over 1, 2, ... views, `views` marked, a prediction, and one fixed direction."""
    figure, axes = plt.subplots(figsize=(8, 2.8))
    axes.plot(range(1, len(means) + 1), means, "D-", ms=7, markevery=[views - 1], color=BLACK,
              label="mean over A views")
    axes.axhline(prediction, color=THIS, ls="--", label="predictor, from one view")
    axes.axhline(constant, color=GREEN, ls=":", label="constant, no image")
    axes.set(xlabel="A: views averaged", ylabel="cosine with a new view",
             ylim=(min(0, prediction, constant) - 0.03, 1.15 * max(*means, prediction, constant)),
             title=f"mean over {views} views {means[views - 1]:.2f}, predictor {prediction:.2f}, "
                   f"constant {constant:.2f}")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


@drawn
def two_logs_figure(losses: Sequence[Line], scores: Mapping[str, Sequence[float]], floors: Mapping[str, float],
                    album: np.ndarray, rows: Sequence[str]) -> Figure:
    """Losses and kNN of two kinds of run, the first kind in the method's colour; beside them pictures in rows.

    scores: kind -> the kNN accuracy of each of its runs. floors: dotted lines, such as raw pixels.
    """
    figure, axes = plt.subplots(1, 3, figsize=(9.4, 3.0), width_ratios=(1, 1, 1.25))
    look = dict(zip(scores, ((THIS, "-", "o"), (ORANGE, "--", "s"))))
    told = set[str]()
    for whose, x, y in losses:
        axes[0].plot(x, y, look[whose][1], color=look[whose][0], lw=1.1, label=None if whose in told else whose)
        told.add(whose)
    axes[0].set(xlabel="step", ylabel="loss", ylim=(-1.05, 0.05), title="the lower loss ...")
    axes[0].legend(fontsize=8, loc="upper right")
    for place, (whose, values) in enumerate(scores.items()):
        across = place + 0.1 * (np.arange(len(values)) - (len(values) - 1) / 2)
        axes[1].plot(across, [100 * v for v in values], look[whose][2], color=look[whose][0], ms=7)
    for name, value in floors.items():
        axes[1].axhline(100 * value, color=MEANING[name], ls=":", lw=1.4)
        axes[1].annotate(name, (-0.45, 100 * value), xytext=(0, 2), textcoords="offset points", fontsize=7.5,
                         color="#555555")
    axes[1].set(xlim=(-0.5, 1.5), ylim=(0, 100 * max(max(map(max, scores.values())), *floors.values()) + 8),
                ylabel="kNN, % of test images", title="... the worse network")
    axes[1].set_xticks(range(len(scores)), [name.replace(" stop", "\nstop") for name in scores], fontsize=8)
    picture(axes[2], album, "one image, and its nearest four")
    height = album.shape[0] / len(rows)
    axes[2].set_yticks([height * (i + 0.5) for i in range(len(rows))], rows, fontsize=8)
    return figure
