"""Figures of lesson 06: a loss that says little, two networks with one gradient, runs beside others, and a memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.drawing import GREEN, MEANING, ORANGE, RED, THIS, drawn
from course_lib.plots.sketch import arrow, box, mosaic, picture

FOLLOWS = "#8A3A6B"  # the moving average
Line = tuple[Sequence[float] | Tensor | Any, Sequence[float] | Tensor | Any]  # x, y


@drawn
def loss_and_neighbours(loss: Line, alike: Line, chance: float, rows: Mapping[str, Tensor]) -> Figure:
    """A loss over steps, the share (%) of images whose nearest one is of their class, and an image with its nearest.

    rows: moment -> pictures (columns, 3, H, W), the image itself first.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.9), width_ratios=(1, 1, 1.25))
    left.plot(*loss, color=THIS)
    left.set(xlabel="step", ylabel="loss", ylim=(0, 4.2), title="the loss is done early ...")
    middle.plot(*alike, "o-", color=THIS)
    middle.axhline(chance, color=MEANING["chance"], ls=":", lw=1.2)
    middle.text(alike[0][-1], chance + 1.5, "chance", ha="right", fontsize=8)
    middle.set(xlabel="step", ylabel="nearest image of the same class (%)", ylim=(0, 70),
               title="... the learning is not")
    album = mosaic(torch.cat(list(rows.values())), len(next(iter(rows.values()))))
    picture(right, album, "one image, and its nearest four")
    height = album.shape[0] // len(rows)
    right.set_yticks([height * i + (height - 1) // 2 for i in range(len(rows))], list(rows), fontsize=8)
    return figure


@drawn
def two_networks() -> Figure:
    """BYOL in a drawing: the online network with its predictor, the target that follows it, and where no gradient
    flows.
    """
    figure, axes = plt.subplots(figsize=(8.6, 2.8))
    axes.set(xlim=(0, 10.2), ylim=(0.1, 3.2))
    axes.axis("off")
    online = ("view 1", "backbone $f_\\theta$", "projector $g_\\theta$", "predictor $q_\\theta$")
    target = ("view 2", "backbone $f_\\xi$", "projector $g_\\xi$")
    for y, colour, names in ((2.7, THIS, online), (0.6, ORANGE, target)):
        for x, name in zip((0.6, 2.6, 4.7, 6.8), names):
            box(axes, x, y, name, "#999999" if x < 1 else colour)
        for a, b in zip((1.03, 3.42, 5.5)[:len(names) - 1], (1.8, 3.9, 5.98)):
            arrow(axes, (a, y), (b, y))
    box(axes, 9.3, 1.65, "loss: 2 - 2 cos", GREEN)
    arrow(axes, (7.4, 2.6), (9.1, 1.95))
    arrow(axes, (5.35, 0.66), (9.1, 1.37))
    axes.text(8.45, 2.4, "$p_1$", fontsize=11)
    axes.text(8.3, 0.82, "$z'_2$", fontsize=11)
    axes.text(6.55, 0.86, "//", fontsize=13, weight="bold", color=RED, ha="center")
    axes.text(6.55, 1.3, "no gradient", fontsize=9, color=RED, ha="center")
    arrow(axes, (3.65, 2.25), (3.65, 1.05), FOLLOWS, ls="--")
    axes.text(3.8, 1.6, r"$\xi \leftarrow m\,\xi + (1-m)\,\theta$ once a step", fontsize=9, color=FOLLOWS)
    return figure


@drawn
def beside_full(chosen: Sequence[Mapping[str, Line]], full: Sequence[Mapping[str, Line]]) -> Figure:
    """The curves of runs with one change in colour, those of the full method in grey: a panel for each title.

    A run: title -> (steps, values). The title tells the mean of the chosen runs' last values.
    """
    figure, panels = plt.subplots(1, len(chosen[0]), figsize=(8.8, 2.6), squeeze=False)
    for axes, title in zip(panels[0], chosen[0]):
        for runs, colour in ((full, "#BBBBBB"), (chosen, THIS)):
            for run in runs:
                axes.plot(*run[title], color=colour, lw=1.3)
        end = sum(run[title][1][-1] for run in chosen) / len(chosen)
        axes.set(xlabel="step", ylim=(0, None), title=f"{title}; at the end {end:.2f}")
    return figure


@drawn
def readings_of_runs(runs: Mapping[str, Mapping[str, Line]], chosen: str, others: bool = True) -> Figure:
    """What is read of each run, a panel for each title: the chosen run in colour, the others in grey or left out.

    runs: name -> title -> (steps, values).
    """
    figure, panels = plt.subplots(1, len(runs[chosen]), figsize=(8.8, 2.4), squeeze=False)
    for axes, title in zip(panels[0], runs[chosen]):
        for name, run in runs.items():
            if name == chosen:
                axes.plot(*run[title], color=THIS, lw=2, zorder=3)
            elif others:
                axes.plot(*run[title], color="#cccccc", lw=1, zorder=2)
        axes.axhline(0, color="#999999", lw=0.8)
        axes.set(xlabel="step", title=title)
    return figure


@drawn
def memory(weights: Tensor, momenta: Sequence[float]) -> Figure:
    """A target's weights on the online networks after step 0, 1, ..., now (now + 1,), and the momentum at each step."""
    now, total = len(weights) - 1, len(momenta) - 1
    age = float((weights * torch.arange(now, -1, -1)).sum())
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.6), width_ratios=(2, 1))
    left.fill_between(range(1, now + 1), weights[1:], step="mid", color=ORANGE, alpha=0.55)
    left.axvline(now, color=THIS, lw=1.5)
    left.axvline(now - age, color="#666666", ls="--", lw=1.2)
    left.set(xlim=(0, total), ylim=(0, None), xlabel="online network after step", ylabel="weight in the target",
             title=f"mean age {age:.0f} steps; weight of the random start {weights[0]:.0%}")
    right.plot(range(total + 1), momenta, color=FOLLOWS)
    right.plot(now, momenta[now], "o", color=THIS)
    right.set(xlabel="step", ylabel="momentum", ylim=(min(0.45, momenta[0] - 0.05), 1.02))
    return figure
