"""Figures of correlations between the dimensions of two views, as Barlow Twins charges them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots import sketch
from course_lib.plots.drawing import GREEN, MEANING, ORANGE, RED, THIS, drawn


@drawn
def matrix_and_spread(matrix: Tensor, shares: Tensor, shown: int = 40, directions: int = 20) -> Figure:
    """The first `shown` rows and columns of a cross-correlation, and each principal direction's share of variance."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3), width_ratios=(1, 1.3))
    picture = sketch.correlations(left, matrix[:shown, :shown], f"first {shown} dimensions")
    figure.colorbar(picture, ax=left, label="correlation", shrink=0.8)
    right.bar(range(1, directions + 1), 100 * shares[:directions], color=THIS)
    right.set(xlabel="principal direction", ylabel="share of the variance (%)", ylim=(0, 100),
              title="where the spread is")
    return figure


@drawn
def across_and_within(across: Tensor, within: Tensor, shown: int = 40) -> Figure:
    """Correlations of the first `shown` dimensions across two views, and within the first of them."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.1))
    sketch.correlations(left, across[:shown, :shown], "across the views: what is charged")
    picture = sketch.correlations(right, within[:shown, :shown], "within view 1: what is there")
    right.set(xlabel="dimension, view 1")
    figure.colorbar(picture, ax=right, label="correlation", shrink=0.8)
    return figure


def open_album(pages: Sequence) -> tuple[list[int], list[Tensor], list[Tensor], dict[str, list[float]]]:
    """Pages (step, entries across, entries within; in percent) -> steps, both matrices at each, and three meters."""
    steps = [page[0] for page in pages]
    side = math.isqrt(len(pages[0][1]))
    across, within = ([torch.tensor(page[part]).view(side, side) / 100 for page in pages] for part in (1, 2))
    off = ~torch.eye(side, dtype=torch.bool)
    return steps, across, within, {"agreement": [float(m.diagonal().mean()) for m in across],
                                   "across": [float(m[off].square().mean().sqrt()) for m in across],
                                   "within": [float(m[off].square().mean().sqrt()) for m in within]}


@drawn
def correlation_album(across: Tensor, within: Tensor, step: int, steps: Sequence[int],
                      meters: Mapping[str, Sequence[float]]) -> Figure:
    """Two matrices at a step of a training, across views and within the first, and meters over all `steps`."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.8), width_ratios=(1, 1, 1.3))
    sketch.correlations(left, across, f"across, step {step}")
    sketch.correlations(middle, within, "within view 1")
    middle.set(xlabel="dimension, view 1")
    meter_lines(right, steps, meters, step)
    return figure


def meter_lines(axes, steps: Sequence[int], meters: Mapping[str, Sequence[float]], step: int) -> None:
    """Meters from -1 to 1 during a training, the step `step` marked."""
    for (name, values), dash in zip(meters.items(), ("-", "--", ":")):
        axes.plot(steps, values, dash, label=name, lw=1.8)
    axes.axvline(step, color="#999999", lw=1)
    axes.set(xlabel="step", ylabel="correlation", ylim=(-0.15, 1.05))
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


@drawn
def views_and_matrix(first: Tensor, second: Tensor, matrix: Tensor) -> Figure:
    """Two small standardised views (N, D), with their numbers, and their cross-correlation (D, D)."""
    figure, places = plt.subplots(1, 3, figsize=(8.4, 2.6), width_ratios=(1, 1, 1.15))
    for axes, z, title in zip(places, (first, second), ("view 1, standardised", "view 2, standardised")):
        axes.imshow(z.numpy(), cmap="PuOr", vmin=-2, vmax=2, aspect="auto")
        for i, row in enumerate(z.tolist()):
            for j, value in enumerate(row):
                axes.text(j, i, f"{value:.1f}", ha="center", va="center",
                          color="white" if abs(value) > 1.3 else "black")
        axes.set(title=title, xlabel="dimension", ylabel="image", xticks=range(z.shape[1]), yticks=range(len(z)),
                 yticklabels=range(1, len(z) + 1))
    sketch.correlations(places[2], matrix, "cross-correlation C", numbers=True)
    return figure


@drawn
def causes_read(shares: Tensor, causes: Sequence[str], rank: float, step: int, steps: Sequence[int],
                meters: Mapping[str, Sequence[float]]) -> Figure:
    """The share of each cause (row) in each dimension of a linear toy, and its meters during the training."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 2.9), width_ratios=(1.5, 1))
    sketch.numbers(left, shares, causes, [str(j) for j in range(shares.shape[1])])
    left.set(title=f"what each dimension reads (rank {rank:.1f})", xlabel="dimension")
    meter_lines(right, steps, meters, step)
    return figure


@drawn
def prices(points: Mapping[str, Sequence[tuple[float, Sequence[Sequence[float]]]]], labels: Sequence[str],
           chosen: tuple[float, Sequence[float]], raw: float) -> Figure:
    """Measures of runs by what copies everywhere cost: a panel for each label, a colour for each group of `points`.

    points: group -> (price, for each panel a value per seed); chosen: what is circled, a value per panel; raw: the
    first panel's value for raw pixels.
    """
    figure, panels = plt.subplots(1, len(labels), figsize=(9, 2.8))
    for number, (axes, label) in enumerate(zip(panels, labels)):
        for (group, found), colour, marker in zip(points.items(), (THIS, ORANGE, GREEN), "os^"):
            for price, values in found:
                axes.scatter([max(price, 0.1)] * len(values[number]), values[number], s=28, color=colour, marker=marker)
            axes.scatter([], [], color=colour, marker=marker, label=group)
        axes.scatter([max(chosen[0], 0.1)], [chosen[1][number]], s=190, facecolors="none", edgecolors=RED, linewidths=2)
        axes.set(xscale="log", xlabel="price of all copies, λ (D - 1)", ylabel=label, xticks=(0.1, 1, 10, 100),
                 xticklabels=("0", "1", "10", "100"))
    panels[0].axhline(raw, color=MEANING["raw pixels"], ls="--", lw=1)
    panels[0].annotate("raw pixels", (0.98, raw), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                       fontsize=8)
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper center", ncols=len(points), fontsize=8)
    return figure
