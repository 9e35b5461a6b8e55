"""Figures of the atlas (A2): how alike noise is, similarities as a table, networks on a flat map, shuffled groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from course_lib.plots.drawing import BLACK, BLUE, GREY, RED, drawn


@drawn
def over_images(counts: Sequence[int], lines: Mapping[str, Sequence[float]], here: int | None = None,
                dims: int = 0) -> Figure:
    """Similarity by the number of images, a line for each estimate; `here` and `dims` are marked."""
    figure, axes = plt.subplots(figsize=(7.4, 3.0))
    for (name, values), colour in zip(lines.items(), (RED, BLUE, BLACK, GREY)):
        axes.plot(counts, values, "o-", ms=4, color=colour, label=name)
    axes.axhline(0, color=BLACK, lw=1, ls=":")
    if here is not None:
        axes.axvline(here, color=GREY, lw=1)
    if dims:
        axes.axvline(dims, color=GREY, ls="--", lw=1)
        axes.text(dims, 1.04, " as many images as features", fontsize=8, color="#555555", va="bottom", ha="center")
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(counts), [str(n) for n in counts])
    axes.set(xlabel="images", ylabel="similarity", ylim=(-0.3, 1.04))
    figure.legend(loc="outside lower center", ncols=len(lines), fontsize=9)
    return figure


@drawn
def similarity_table(values: Tensor, names: Sequence[str], groups: Sequence[str]) -> Figure:
    """Similarities (n, n) as a table of colours; a line where the group changes, its name on the right."""
    figure, axes = plt.subplots(figsize=(7.8, 5.9))
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), list(names), rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), list(names), fontsize=7)
    axes.tick_params(length=0)
    edges = [i for i in range(1, len(groups)) if groups[i] != groups[i - 1]]
    for edge in edges:
        axes.axhline(edge - 0.5, color="white", lw=1.4)
        axes.axvline(edge - 0.5, color="white", lw=1.4)
    for low, high in zip([0, *edges], [*edges, len(groups)]):
        axes.text(len(names) - 0.2, (low + high - 1) / 2, groups[low], va="center", fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.6, pad=0.16, label="debiased CKA")
    return figure


@drawn
def network_map(points: Tensor, names: Sequence[str], colours: Sequence[str], hollow: Sequence[bool],
                legend: Mapping[str, str]) -> Figure:
    """Networks as dots at points (n, 2), hollow ones without training; a name where there is room for one."""
    figure, axes = plt.subplots(figsize=(7.8, 5.2))
    x, y = np.asarray(points).T
    axes.scatter(x, y, s=46, c=[("none" if empty else c) for c, empty in zip(colours, hollow)], edgecolors=colours,
                 linewidths=1.5)
    wide, high = np.ptp(x) or 1, np.ptp(y) or 1
    _name(axes, x, y, names, (0.0148 * wide, 0.04 * high), (0.012 * wide, 0.018 * high))
    axes.set(xticks=[], yticks=[], xlabel="first axis of classical MDS", ylabel="second axis", aspect="equal")
    axes.margins(0.12, 0.06)
    handles = [Line2D([], [], ls="", marker="o", color=colour) for colour in legend.values()]
    figure.legend(handles, list(legend), loc="outside lower center", ncols=min(5, len(legend)), fontsize=9)
    return figure


@drawn
def shuffled(within: Tensor, across: Tensor, dealt: Tensor, gap: float, p: float, title: str) -> Figure:
    """Left, the similarities of pairs of one group and of two; right, the gap of their means and that of shuffles."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.9))
    rng = np.random.default_rng(0)
    for row, (values, colour) in enumerate(((across, GREY), (within, BLUE))):
        left.plot(values, row + rng.uniform(-0.25, 0.25, len(values)), ".", ms=4, color=colour, alpha=0.6)
        left.plot([float(values.mean())] * 2, [row - 0.35, row + 0.35], color=BLACK, lw=2)
    left.set_yticks([0, 1], ["two groups", "same group"])
    left.set(xlabel="similarity of a pair; line: mean", ylim=(-0.6, 1.6))
    right.hist(np.asarray(dealt), bins=40, color=GREY)
    right.axvline(gap, color=RED, lw=2)
    right.set(xlabel="gap of the two means", ylabel="shuffles", yticks=[])
    right.set_title(f"gap {gap:.2f} (red), p = {p:.4f}", fontsize=9, loc="left")
    left.set_title(title, fontsize=9, loc="left")
    return figure


@drawn
def two_values(x: Tensor, y: Tensor, names: Sequence[str], colours: Sequence[str], causes: Sequence[str]) -> Figure:
    """A dot for each network by how well it reads two causes, in [0, 1], with its name where there is room."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    axes.scatter(x, y, s=30, c=colours)
    _name(axes, x.tolist(), y.tolist(), names, (0.0145, 0.035), (0.01, 0.013))
    across, up = (f"{cause.replace('_', ' ')}, as far as it is read" for cause in causes)
    axes.set(xlabel=across, ylabel=up, xlim=(-0.05, 1.18), ylim=(-0.05, 1.05))
    return figure


def _name(axes: Axes, x: Sequence[float], y: Sequence[float], names: Sequence[str], letter: tuple[float, float],
          dot: tuple[float, float]) -> None:
    """Write each name beside, above or below its dot, where it covers no dot and no other name; else leave it out.

    letter: width and height of one, and dot: half of its width and height, in units of the data.
    """
    taken = [(a - dot[0], b - dot[1], a + dot[0], b + dot[1]) for a, b in zip(x, y)]
    for a, b, name in zip(x, y, names):
        wide, (high, gap) = letter[0] * len(name), (letter[1] / 2, 1.4 * dot[0])
        for ha, left, up in (("left", gap, 0.0), ("right", -gap - wide, 0.0), ("center", -wide / 2, dot[1] + high),
                             ("center", -wide / 2, -dot[1] - high)):
            box = (a + left, b + up - high, a + left + wide, b + up + high)
            if name and all(box[0] >= other[2] or box[2] <= other[0] or box[1] >= other[3] or box[3] <= other[1]
                            for other in taken):
                anchor = {"left": box[0], "right": box[2], "center": a}[ha]
                axes.text(anchor, b + up, name, fontsize=7.5, va="center", ha=ha)
                taken.append(box)
                break
