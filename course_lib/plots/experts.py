"""Figures of a mixture of experts: who answers for which point, by gate and expert, and in the course of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.charts import DASHES
from course_lib.plots.drawing import BLACK, CYCLE, GREY, ORANGE, RED, THIS, drawn
from course_lib.plots.sketch import picture, unit_circle


def expert_colours(count: int) -> Tensor:
    """(count, 3): the colour of each expert, at most as many as there are in `CYCLE`."""
    return torch.tensor([matplotlib.colors.to_rgb(colour) for colour in CYCLE[:count]])


def stacked(axes, q: Tensor) -> None:
    """Responsibilities (N, K) as a column for each image, one colour for each expert."""
    below, places = np.zeros(len(q)), np.arange(len(q))
    for k, colour in enumerate(CYCLE[: q.shape[1]]):
        axes.bar(places, q[:, k].numpy(), 0.94, bottom=below, color=colour, lw=0)
        below = below + q[:, k].numpy()
    axes.set(xlim=(-0.6, len(q) - 0.4), ylim=(0, 1))
    axes.tick_params(axis="x", length=0)


@drawn
def mixture(points: Tensor, q: Tensor, centres: Tensor, evidence: Sequence[float], step: int,
            sharpness: float) -> Figure:
    """Points (N, 2) on a circle in the mixed colours of who answers, centres (K, 2) as stars; q (N, K); the evidence.

    evidence: the mean log evidence before each step; the one of `step` is marked. sharpness: c, for the title.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.6, 2.7), width_ratios=(1, 1.5, 1))
    colours = expert_colours(q.shape[1])
    unit_circle(left, 1.35)
    left.scatter(*centres.T, marker="*", s=230, color=colours.numpy(), edgecolor=BLACK, lw=0.6, zorder=2)
    left.scatter(*points.T, s=42, color=(q.float() @ colours).clamp(0, 1).numpy(), edgecolor="white", lw=0.6, zorder=3)
    for number, point in enumerate(points, 1):
        left.annotate(str(number), (1.2 * point).tolist(), ha="center", va="center", fontsize=7.5)
    left.set_title(f"sharpness c = {sharpness:g}")
    stacked(middle, q)
    middle.set(xticks=range(len(q)), xticklabels=range(1, len(q) + 1), xlabel="image", title="who answers (q)")
    right.plot(evidence, color=THIS)
    right.plot([step], [evidence[step]], "o", color=THIS, ms=7)
    right.set(xlabel="round of EM", title="mean log evidence")
    return figure


@drawn
def answering(image: Tensor, parts: Mapping[str, Tensor], title: str) -> Figure:
    """One image, and for each of `parts` (gate, experts, posterior), (K,) that sum to 1, a bar for each expert."""
    figure, panels = plt.subplots(1, 1 + len(parts), figsize=(8.6, 2.2), width_ratios=(0.8, *(1,) * len(parts)))
    picture(panels[0], image, title)
    for axes, (name, values) in zip(panels[1:], parts.items()):
        axes.bar(range(len(values)), values.numpy(), color=CYCLE[: len(values)])
        axes.axhline(1 / len(values), color=GREY, ls=":", lw=1)
        axes.set(ylim=(0, 1), xlabel="expert", xticks=range(len(values)), title=name)
    return figure


@drawn
def answers_by_class(q: Tensor, labels: Tensor, classes: Sequence[str], title: str) -> Figure:
    """Responsibilities (N, K) as columns, ordered by class, with a line between classes; the title tells their mean."""
    figure, axes = plt.subplots(figsize=(8.6, 2.4))
    order = labels.argsort(stable=True)
    stacked(axes, q[order])
    ends = labels.bincount(minlength=len(classes)).cumsum(0).tolist()
    for end in ends[:-1]:
        axes.axvline(end - 0.5, color="white", lw=4)
        axes.axvline(end - 0.5, color=BLACK, lw=1.4)
    middles = [(low + high - 1) / 2 for low, high in zip([0, *ends[:-1]], ends)]
    axes.set(ylabel="q, a colour for each expert", title=f"{title}: mean largest q {q.amax(1).mean():.2f}")
    axes.set_xticks(middles, list(classes))
    return figure


@drawn
def bound_parts(steps: Sequence[float], parts: Mapping[str, Sequence[float]]) -> Figure:
    """The parts of EM's bound over the steps of a training, each in a panel of its own."""
    figure, panels = plt.subplots(1, len(parts), figsize=(8.6, 2.4))
    for axes, (name, values) in zip(panels, parts.items()):
        axes.plot(steps, values, ".", ms=3, color=THIS, alpha=0.6)
        axes.set(xlabel="step", title=name)
    return figure


@drawn
def gate_certainty(kappas: Sequence[float], lines: Mapping[str, Sequence[float]], here: tuple[str, float, float]
                   ) -> Figure:
    """How sure a gate can be at the most, by its temperature, a line for each number of experts; `here` is marked."""
    figure, axes = plt.subplots(figsize=(5.6, 2.7))
    for (name, values), dash in zip(lines.items(), DASHES):
        axes.plot(kappas, values, dash, color=THIS if name == here[0] else GREY, label=name)
    axes.plot([here[1]], [here[2]], "o", color=THIS, ms=8)
    axes.set(xlabel=r"temperature $\kappa$ of the gate", ylabel="largest possible pi", xscale="log", ylim=(0, 1.02))
    axes.set_xticks((0.1, 0.2, 0.5, 1, 2), ("0.1", "0.2", "0.5", "1", "2"))
    axes.minorticks_off()
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@drawn
def sizes_by_epoch(lines: Mapping[str, Sequence[Sequence[Sequence[int]]]]) -> Figure:
    """Cluster sizes over the epochs, largest cluster first at each, as shares: a row a line, a panel a training.

    lines: name -> for each training, for each epoch, the images of each cluster.
    """
    most = max(len(runs) for runs in lines.values())
    figure, grid = plt.subplots(len(lines), most, figsize=(8.6, 1.25 * len(lines) + 0.5), sharex=True, sharey=True,
                                squeeze=False)
    for panels, (name, runs) in zip(grid, lines.items()):
        for axes, run in zip(panels, runs):
            shares = torch.tensor(run).float()
            axes.stackplot(range(len(run)), *(100 * shares / shares.sum(1, keepdim=True)).T.numpy(),
                           colors=CYCLE[: shares.shape[1]], lw=0)
            axes.set(ylim=(0, 100), xlim=(0, len(run) - 1))
        panels[0].set_ylabel(f"{name}\nimages (%)")
    for number, axes in enumerate(grid[0]):
        axes.set_title(f"seed {number}")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    return figure


@drawn
def neighbours_and_clusters(rows: Mapping[str, tuple[float, float]]) -> Figure:
    """Two bars for each representation: how many images kNN gets right, and how many k-means does (%)."""
    figure, axes = plt.subplots(figsize=(6.8, 2.6))
    places = np.arange(len(rows))
    for shift, colour, number, label in ((-0.2, ORANGE, 0, "neighbours (kNN)"), (0.2, RED, 1, "k-means, K = 8")):
        values = [100 * pair[number] for pair in rows.values()]
        axes.bar(places + shift, values, 0.38, color=colour, label=label)
        for place, value in zip(places, values):
            axes.annotate(f"{value:.0f}", (place + shift, value + 1.5), ha="center", fontsize=8)
    axes.set(xticks=places, xticklabels=list(rows), ylim=(0, 105), ylabel="test images right (%)")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
