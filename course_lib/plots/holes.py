"""Figures of masked convolutional networks: holes that close, what batch norms store, and SparK's way to an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.masks import enlarge
from course_lib.plots.drawing import GREY, MEANING, ORANGE, RED, THIS, drawn
from course_lib.plots.sketch import heat_pictures

WAYS = (RED, ORANGE, THIS)  # both leaks open, one, none


def framed(pictures: Tensor) -> Tensor:
    """(N, 3, h, w) with a thin grey frame, so that white holes at the edge are seen."""
    return F.pad(pictures, (1, 1, 1, 1), value=0.7)


def strengths(maps: Sequence[Tensor]) -> Tensor:
    """Maps (1, D, h, w) -> pictures (N, 3, 32, 32): mean absolute activation over its maximum; white where all is 0."""
    means = [x[0].abs().mean(0) for x in maps]
    return heat_pictures([(m / m.max()).masked_fill(m == 0, torch.nan) for m in means])


@drawn
def closing(maps: Mapping[str, Sequence[Tensor]], shares: Mapping[str, Sequence[float]], depth: int) -> Figure:
    """For each way of two, its map (1, 1, h, w) at a depth, and the share of positions that are not empty by depth."""
    figure, places = plt.subplots(1, 3, figsize=(8, 2.5), width_ratios=(1, 1, 1.6))
    for axes, name in zip(places, maps):
        here = maps[name][depth][0, 0]
        axes.imshow(here.masked_fill(here == 0, torch.nan), cmap="viridis", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[], title=f"{name}: {shares[name][depth]:.0%}")
        axes.spines[:].set(visible=True, color=GREY)
    for (name, values), style, colour in zip(shares.items(), ("o-", "s--"), (RED, THIS)):
        places[2].plot(values, style, color=colour, label=name, ms=4)
    places[2].axvline(depth, color=GREY, lw=1)
    places[2].set(xlabel="3x3 convolutions", ylabel="share not empty", ylim=(0, 1.05))
    figure.legend(*places[2].get_legend_handles_labels(), fontsize=8, loc="outside upper right", ncols=2)
    return figure


@drawn
def after_norms(values: Mapping[str, Tensor]) -> Figure:
    """Histograms of the visible values behind an ordinary batch norm and one over visible positions."""
    figure, axes = plt.subplots(figsize=(7.5, 2.4))
    for name, colour, filled in (("over all positions", RED, False), ("over visible ones", THIS, True)):
        these = values[name]
        axes.hist(these.numpy(), bins=60, range=(-4, 5), density=True, color=colour, lw=2,
                  histtype="stepfilled" if filled else "step", alpha=0.5 if filled else 1,
                  label=f"{name}:\nmean {these.mean():.2f}, std {these.std():.2f}")
    axes.set(xlabel="visible values after batch norm", ylabel="density", ylim=(0, 0.95))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


@drawn
def stored_scales(scales: Mapping[str, Sequence[float]]) -> Figure:
    """By batch norm: the standard deviation stored, over the one on whole images."""
    figure, axes = plt.subplots(figsize=(7.5, 2.6))
    for (name, values), colour, mark in zip(scales.items(), WAYS, "os^"):
        axes.plot(range(1, len(values) + 1), values, mark + "-", color=colour, label=name)
    axes.axhline(1, color=GREY, lw=1)
    axes.set(xlabel="batch norm, from the input on", ylabel="stored / whole images", ylim=(0, 1.6))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


@drawn
def seeds(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Title -> line -> a value for each seed; the first line is the control, the second the method."""
    figure, places = plt.subplots(1, len(panels), figsize=(9.6, 2.9))
    for axes, (title, lines) in zip(places, panels.items()):
        for place, values in enumerate(lines.values()):
            colour = (MEANING["random encoder"], THIS)[place] if place < 2 else RED
            axes.plot([place] * len(values), list(values), "o", color=colour, alpha=0.8)
        axes.set(xticks=range(len(lines)), xlim=(-0.5, len(lines) - 0.5), title=title)
        axes.set_xticklabels(list(lines), fontsize=7)
    return figure


@drawn
def hierarchy(flags: Tensor) -> Figure:
    """SparK with the visible patches `flags` (4, 4) bool: an image, three sparse maps, three filled ones, an image."""
    figure, axes = plt.subplots(figsize=(8.6, 2.6))
    boxes = [(0.0, 32, "image, masked", "32 x 32", True)]
    boxes += [(1.5 * n, 2 ** (5 - n), f"$x_{n}$", f"{2 ** (5 - n)} x {2 ** (5 - n)}", True) for n in (1, 2, 3)]
    boxes += [(10.1 - 1.5 * n, 2 ** (5 - n), f"$d_{n}$", "filled", False) for n in (3, 2, 1)]
    for across, size, above, below, holes in boxes:
        wide = 0.5 + 0.15 * (size.bit_length() - 3)
        there = enlarge(flags[None, None], size)[0, 0, :, :, None]
        empty = torch.tensor([1.0, 1.0, 1.0] if holes else [0.9, 0.62, 0.0])
        axes.imshow(torch.where(there, torch.tensor([0.34, 0.6, 0.8]), empty).numpy(), interpolation="nearest",
                    extent=(across - wide / 2, across + wide / 2, -wide / 2, wide / 2), zorder=2)
        axes.add_patch(Rectangle((across - wide / 2, -wide / 2), wide, wide, fc="none", ec="#444444", zorder=3))
        axes.text(across, 0.62, above, ha="center", fontsize=9)
        axes.text(across, -0.72, below, ha="center", fontsize=8, color="#555555")
    for start, end in ((0.55, 1.05), (1.95, 2.6), (3.4, 4.15), (4.85, 5.25), (5.95, 6.7), (7.5, 8.15), (9.05, 9.75)):
        axes.annotate("", (end, 0), (start, 0), arrowprops={"arrowstyle": "->"})
    for start, end, word in ((0.6, 4.8, "encoder: convolutions and norms that keep the holes"),
                             (5.3, 10.6, "decoder: ordinary blocks, each twice as large, + the next map")):
        axes.plot([start, end], [-1.0, -1.0], color="#888888", lw=1)
        axes.text((start + end) / 2, -1.16, word, ha="center", va="top", fontsize=8)
    for start, end in ((1.5, 8.6), (3.0, 7.1)):  # the skips
        axes.annotate("", (end, 0.82), (start, 0.82), arrowprops={
            "arrowstyle": "->", "color": "#888888", "connectionstyle": f"arc3,rad={-0.01 * (end - start) - 0.03:.3f}"})
    axes.text(10.2, 0, "image\ndrawn", ha="center", va="center", fontsize=9)
    axes.set(xlim=(-0.6, 10.8), ylim=(-1.5, 1.5))
    axes.set_axis_off()
    return figure
