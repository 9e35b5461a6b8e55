"""Figures of lesson 21: where crops come from, filters as pictures, and what each layer knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from torch import Tensor

from course_lib.plots.drawing import BLACK, GREEN, GREY, MEANING, ORANGE, PINK, RED, SKY, THIS, drawn
from course_lib.plots.sketch import arrow, box, mosaic, picture

# where the training images come from; one colour each in the whole lesson
SOURCES = {"one photograph": THIS, "a flower": SKY, "its spectrum": PINK, "white noise": RED, "photographs": GREEN,
           "shapes": ORANGE, "random filters": GREY, "raw pixels": MEANING["raw pixels"]}


def outlines(centre: Tensor, side: Tensor, angle: Tensor, slant: Tensor) -> Tensor:
    """The four corners (N, 4, 2) of squares as `course_lib.data.one_photo.squares` takes them."""
    u = torch.tensor([-0.5, 0.5, 0.5, -0.5])
    v = torch.tensor([-0.5, -0.5, 0.5, 0.5])
    turn, lean = torch.deg2rad(angle)[:, None], torch.deg2rad(slant).tan()[:, None]
    across = u + lean * v
    x = side[:, None] * (turn.cos() * across - turn.sin() * v) + centre[:, :1]
    y = side[:, None] * (turn.sin() * across + turn.cos() * v) + centre[:, 1:]
    return torch.stack([x, y], 2)


@drawn
def crops_on(whole: Tensor, corners: Tensor, crops: Tensor, title: str = "") -> Figure:
    """A photograph (3, H, W) with the outlines (N, 4, 2) of crops, and the crops (N, 3, h, w) beside it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 2.9), width_ratios=(1.5, 1))
    picture(left, whole, title)
    colours = (THIS, ORANGE, GREEN, PINK, SKY, RED) * len(corners)
    for number, (shape, colour) in enumerate(zip(corners.tolist(), colours)):
        left.add_patch(Polygon(shape, fill=False, ec="white", lw=2.6))
        left.add_patch(Polygon(shape, fill=False, ec=colour, lw=1.4))
        left.text(*shape[0], str(number + 1), color="white", fontsize=8, ha="center", va="center",
                  bbox={"boxstyle": "circle,pad=0.15", "fc": colour, "ec": "none"}, clip_on=True)
    left.set(xlim=(0, whole.shape[2]), ylim=(whole.shape[1], 0))
    picture(right, mosaic(crops, max(1, round(len(crops) ** 0.5))), "as the network gets them, in order")
    return figure


def filter_pictures(weight: Tensor) -> Tensor:
    """Filters (C, 3, k, k) -> pictures in [0, 1], 0 as mid-grey, each scaled by its own largest number."""
    largest = weight.flatten(1).abs().amax(1).clamp(min=1e-12)
    return 0.5 + 0.5 * weight / largest[:, None, None, None]


@drawn
def filter_rows(filters: Mapping[str, Tensor], columns: int = 8, title: str = "") -> Figure:
    """First-layer filters by name, (C, 3, k, k) each, as pictures; a panel for each name."""
    across = min(3, len(filters))
    down = -(-len(filters) // across)
    rows = -(-len(next(iter(filters.values()))) // columns)
    figure, axes = plt.subplots(down, across, squeeze=False, figsize=(8.8, down * (0.35 + rows * 2.85 / columns)))
    for place, (name, weight) in zip(axes.flat, filters.items()):
        picture(place, mosaic(filter_pictures(weight), columns), name)
    for place in axes.flat[len(filters):]:
        place.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=9.5)
    return figure


@drawn
def by_layer(panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], ylabel: str = "linear probe (%)",
             chosen: int | None = None, levels: Mapping[str, Mapping[str, float]] | None = None) -> Figure:
    """What each layer knows: title -> source -> an accuracy for each layer, for each seed; dots, and lines of means.

    chosen: a layer to mark, from 1. levels: title -> name -> accuracy of a dashed line.
    """
    width = 8.8 if len(panels) > 1 else 6.2
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 3.1), squeeze=False, sharey=True)
    for place, (title, lines) in zip(axes[0], panels.items()):
        for name, seeds in lines.items():
            layers, colour = range(1, len(seeds[0]) + 1), SOURCES.get(name, BLACK)
            for seed in seeds:
                place.plot(layers, [100 * value for value in seed], "o", ms=3, color=colour, alpha=0.6)
            place.plot(layers, [100 * fmean(values) for values in zip(*seeds)], "-", color=colour, lw=1.8, label=name)
        for name, value in (levels or {}).get(title, {}).items():
            place.axhline(100 * value, color=SOURCES.get(name, GREY), ls="--", lw=1.2, label=name)
        if chosen:
            place.axvline(chosen, color="#dddddd", lw=8, zorder=0)
        place.set(xlabel="layer", title=title, xticks=list(layers))
    axes[0][0].set_ylabel(ylabel)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(5, len(names)), fontsize=8)
    return figure


@drawn
def plan(whole: Tensor, crops: Tensor) -> Figure:
    """The lesson in one drawing: a photograph (3, H, W), its crops (N, 3, h, w), a network, a probe of each layer."""
    figure, axes = plt.subplots(figsize=(8.8, 2.3))
    axes.set(xlim=(0, 12), ylim=(0, 3))
    axes.set_axis_off()
    axes.imshow(mosaic(whole[None], 1), extent=(0.1, 2.6, 0.8, 2.5), aspect="auto")
    axes.imshow(mosaic(crops, 4), extent=(3.6, 5.3, 0.8, 2.5), aspect="auto")
    arrow(axes, (2.65, 1.65), (3.5, 1.65))
    arrow(axes, (5.4, 1.65), (6.1, 1.65))
    for layer in range(6):
        x = 6.4 + 0.62 * layer
        tall = 1.5 - 0.35 * (layer // 2)
        axes.add_patch(Rectangle((x, 1.65 - tall / 2), 0.36, tall, fc=THIS, alpha=0.35 + 0.1 * (layer // 2)))
        axes.plot([x + 0.18, x + 0.18], [0.55, 1.6 - tall / 2], color=GREY, lw=1)
        axes.text(x + 0.18, 0.38, "probe", ha="center", fontsize=7.5)
    arrow(axes, (10.1, 1.65), (10.5, 1.65))
    box(axes, 11.2, 1.65, "pretext")
    for x, text in ((1.35, "one photograph"), (4.45, "10,000 crops"), (8.1, "six layers, then frozen")):
        axes.text(x, 2.75, text, ha="center", fontsize=9)
    axes.text(8.1, 0.05, "labels of other images only here", ha="center", fontsize=8.5, color=GREY)
    return figure


@drawn
def clusters_of_points(z: Tensor, centres: Tensor, labels: Tensor, title: str = "") -> Figure:
    """Points (N, 2) by label, int64 (N,), and the centres (K, 2); a ring around those that nobody belongs to."""
    figure, axes = plt.subplots(figsize=(4.6, 3.2))
    colours = (THIS, ORANGE, GREEN, PINK, SKY, RED, BLACK, GREY)
    axes.scatter(*z.T.numpy(), c=[colours[k % 8] for k in labels.tolist()], s=9, linewidths=0)
    for k, centre in enumerate(centres.tolist()):
        used = bool((labels == k).any())
        axes.plot(*centre, "X", ms=10, color=colours[k % 8], mec="white" if used else BLACK, mew=1.2)
    axes.set(xticks=[], yticks=[], title=title, xlim=(-4.5, 4.5), ylim=(-3.6, 3.6))
    return figure


@drawn
def turns_table(rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """RotNet's accuracy, trained on (row) and asked about (column); chance is a quarter."""
    columns = list(next(iter(rows.values())))
    values = torch.tensor([[row[column] for column in columns] for row in rows.values()])
    figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(rows) + 1.0))
    axes.imshow(values.numpy(), cmap="cividis", vmin=0.25, vmax=1, aspect="auto")
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            axes.text(j, i, f"{value:.0%}", ha="center", va="center", fontsize=9,
                      color="white" if value < 0.65 else "black")
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xticks(range(len(columns)), columns)
    axes.set(xlabel="asked about fresh images of", ylabel="trained on")
    axes.spines[:].set_visible(False)
    return figure


@drawn
def saw(losses: Sequence[float], per: int, guess: float, agreed: Sequence[float]) -> Figure:
    """DeepCluster's loss by step; every `per` steps new labels, which share `agreed` with those before."""
    figure, axes = plt.subplots(figsize=(7.0, 2.6))
    axes.plot(range(1, len(losses) + 1), losses, color=THIS)
    axes.axhline(guess, color=BLACK, ls="--", lw=1.2)
    for number, share in enumerate(agreed, 1):
        axes.axvline(number * per + 0.5, color=GREY, ls=":", lw=1.4)
        axes.text(number * per + 1.5, 0.03, f"new labels,\nshare {share:.2f}", fontsize=8, color="#555555",
                  transform=axes.get_xaxis_transform())
    axes.set(xlabel="step", ylabel="loss", xlim=(0, len(losses) + 1), ylim=(0.9 * min(losses), None))
    return figure
