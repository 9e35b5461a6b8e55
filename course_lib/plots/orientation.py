"""Pictures of lesson 01: points on a circle, a cause that moves, accuracy by the number of voters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots import sketch
from course_lib.plots.drawing import BLACK, MEANING, RED, THIS, drawn

TAIL = 8  # steps of a path that are drawn behind its points
DASHES = ("--", ":", "-")  # two controls, and what has learned


@drawn
def on_circle(path: Tensor, stds: Sequence[float], step: int) -> Figure:
    """A path (steps, points, 2) on the unit circle at one step, with its last steps in grey, beside its spread.

    stds: the standard deviation at each step, 1 for points all around the circle.
    """
    figure, (left, axes) = plt.subplots(1, 2, figsize=(7, 2.7), width_ratios=(1, 1.5))
    sketch.unit_circle(left, edge=1.15)
    left.plot(*path[max(0, step - TAIL):step + 1].permute(2, 0, 1), color="#bbbbbb", lw=0.8)
    left.scatter(*path[step].T, c=range(path.shape[1]), cmap="cividis", edgecolors="black", linewidths=0.5, zorder=3)
    axes.plot(stds, color=RED)
    axes.plot(step, stds[step], "o", color="black")
    axes.set(xlabel="step", ylabel="standard deviation", ylim=(0, 1.08))
    return figure


@drawn
def travels(images: Tensor, distances: Mapping[str, Tensor], xlabel: str) -> Figure:
    """Images uint8 (N, 3, H, W) of a cause that moves, and how far each encoder's vector has moved by then, (N,)."""
    figure, (top, axes) = plt.subplots(2, 1, figsize=(8, 3.6), height_ratios=(1, 2.2))
    for (name, distance), dash in zip(distances.items(), DASHES):
        axes.plot(distance, dash, marker="o", ms=4, color=MEANING.get(name, THIS), label=name)
    sketch.picture(top, torch.cat(list(images), 2))
    axes.axhline(1, color="black", ls=":", lw=1)
    axes.set(xlabel=xlabel, xticks=[], ylabel="distance (1: another shape)", ylim=(0, 3))
    axes.legend(loc="upper left", ncols=3, fontsize=8)
    return figure


@drawn
def by_voters(shares: Mapping[str, Tensor], k: int) -> Figure:
    """The share of right answers with 1, 2, ... voting neighbours, float (most,), for each encoder; one k marked."""
    figure, axes = plt.subplots(figsize=(8, 2.8))
    for (name, share), dash in zip(shares.items(), DASHES):
        axes.plot(range(1, len(share) + 1), 100 * share, dash, color=MEANING.get(name, THIS),
                  label=f"{name}: {100 * share[k - 1]:.1f} %")
    axes.axvline(k, color=BLACK, lw=1)
    axes.set(xlabel="k", ylabel="right (%)", ylim=(0, 102))
    axes.legend(loc="center right", fontsize=8)
    return figure
