"""Figures of lesson 13: errors by how far a hidden pixel is from a visible one, and what a mask asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from course_lib.evaluate.reconstruction import error_by_distance, errors_by_half
from course_lib.plots.charts import DASHES, MARKERS
from course_lib.plots.drawing import BLACK, GREEN, GREY, MEANING, ORANGE, PINK, RED, SKY, THIS, WIDTH, drawn
from course_lib.plots.sketch import arrow, mosaic, picture, striped

# what learns nothing; the method itself is in its own colour
FILLS = {"copy": (ORANGE, "s"), "blurred copy": (PINK, "^"), "plane": (GREEN, "v")}
KINDS = ((BLACK, "s"), (RED, "o"))  # kinds of pictures
MASKS = ("#D0D0D0", "#A0A0A0", "#707070", BLACK)  # from the nearest to the farthest
EDGES, COARSE = (0, 1, 2, 3, 4, 6, 8, 12, 16), (0, 2, 4, 6, 8, 12)  # of intervals of distances, in pixels
Curves = Mapping[str, Sequence[float] | Tensor]


def _look(name: str) -> dict:
    colour, marker = FILLS.get(name, (THIS, "o"))
    return {"color": colour, "marker": marker, "ms": 5}


def by_distance(axes: Axes, curves: Curves, edges: Sequence[float], highest: float | None = None,
                title: str = "") -> None:
    """name -> an error for each interval between `edges` (`evaluate.error_by_distance`), drawn at its middle.

    With a title the errors are of colours (`colour_error_by_distance`), and no line marks the mean colour.
    """
    middles = [(low + high) / 2 for low, high in zip(edges, edges[1:])]
    for name, errors in curves.items():
        axes.plot(middles, errors, label=name, **_look(name))
    if not title:
        axes.axhline(1, color=BLACK, ls=":", lw=1)
    axes.set(xlabel="distance to the nearest visible pixel (pixels)",
             ylabel="error of colours (0 to 1)" if title else "error (share of the variance)", xlim=(0, edges[-1]),
             ylim=(0, highest), title=title)
    axes.legend(fontsize=8)


@drawn
def fills_and_errors(rows: Mapping[str, Tensor], curves: Curves, edges: Sequence[float], columns: int = 6,
                     highest: float | None = None) -> Figure:
    """Named rows of pictures on the left, errors by distance on the right."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.6, 0.62 * len(rows) + 0.4), width_ratios=(1.35, 1))
    _album(left, rows, columns)
    by_distance(right, curves, edges, highest)
    return figure


@drawn
def fills_and_halves(rows: Mapping[str, Tensor], halves: Mapping[str, Curves], edges: Sequence[float],
                     columns: int = 6) -> Figure:
    """Named rows of pictures on the left; on the right errors by distance, a chart for each title of `halves`."""
    figure = plt.figure(figsize=(WIDTH + 0.6, 0.72 * len(rows) + 0.4))
    grid = figure.add_gridspec(len(halves), 2, width_ratios=(1.35, 1))
    _album(figure.add_subplot(grid[:, 0]), rows, columns)
    for number, (title, curves) in enumerate(halves.items()):
        axes = figure.add_subplot(grid[number, 1])
        by_distance(axes, curves, edges, title=title)
        if number < len(halves) - 1:
            axes.set_xlabel("")
        if number and (legend := axes.get_legend()) is not None:
            legend.remove()
        elif not number:
            axes.legend(fontsize=7.5, ncols=2)
            axes.set_ylim(0, 0.46)
    return figure


def fillings(images: Tensor, visible: Tensor, fills: Mapping[str, Tensor], left: Mapping[str, float] | None = None,
             objects: Tensor | None = None) -> Figure:
    """What is shown, and each filling; beside them the errors by distance.

    left: what each leaves of the variance, written beside it; None: the images themselves stand below instead.
    objects: bool (B, H, W): then a chart for the object and one for the background; None: one for all pixels.
    """
    names = {name: name if left is None else f"{name}\n{left[name]:.2f}" for name in fills}
    rows = {"shown": striped(images, visible), **{names[name]: fill for name, fill in fills.items()}}
    if left is None:
        rows["image"] = images
    if objects is not None:
        return fills_and_halves(rows, errors_by_half(fills, images, visible, objects, COARSE), COARSE)
    curves = {name: error_by_distance(fill, images, visible, EDGES) for name, fill in fills.items()}
    return fills_and_errors(rows, curves, EDGES, highest=2.6)


def _album(axes: Axes, rows: Mapping[str, Tensor], columns: int) -> None:
    album = mosaic(torch.cat([images[:columns] for images in rows.values()]), columns)
    picture(axes, album)
    cell = album.shape[0] / len(rows)
    axes.set_yticks([cell * (number + 0.5) for number in range(len(rows))], list(rows), fontsize=9)
    axes.tick_params(length=0)


@drawn
def masks_and_errors(images: Tensor, masks: Mapping[str, Tensor], errors: Mapping[str, Mapping[str, float]]) -> Figure:
    """Pictures under each mask on the left; on the right the error of a copy for each kind of pictures."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.4, 2.7), width_ratios=(1.5, 1))
    count = len(images)
    album = mosaic(torch.cat([striped(images, visible[:count]) for visible in masks.values()]), count)
    picture(left, album)
    cell = album.shape[0] / len(masks)
    left.set_yticks([cell * (number + 0.5) for number in range(len(masks))], list(masks), fontsize=9)
    left.tick_params(length=0)
    height = 0.8 / len(errors)
    for number, (name, row) in enumerate(errors.items()):
        here = [place + (number - (len(errors) - 1) / 2) * height for place in range(len(row))]
        bars = right.barh(here, list(row.values()), 0.9 * height, color=KINDS[number][0], label=name,
                          hatch="//" if number else None, edgecolor="white")
        right.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    right.set(yticks=range(len(masks)), yticklabels=[], xlabel="error of a copy", ylim=(len(masks) - 0.5, -0.5))
    right.set_xlim(0, 1.25 * max(value for row in errors.values() for value in row.values()))
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, 1.24), ncols=2)
    return figure


@drawn
def one_pass(hidden: Sequence[bool], names: Sequence[str] = ("patches,\nembedded", "token for\neach hidden one",
                                                             "+ positions", "linear layer,\npixels")) -> Figure:
    """SimMIM in a drawing: all patches go in, a mask token stands for each hidden one, and all come out."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.0))
    hues = [plt.get_cmap("Set3")(number) for number in range(len(hidden))]
    for x, (column, name) in zip((0.0, 2.2, 4.4, 9.4), enumerate(names)):
        for row, gone in enumerate(hidden):
            token = gone and column in (1, 2)
            face = "#dddddd" if token else "#f6e8c3" if gone and column == 3 else hues[row]
            word = "m" if token else str(row)
            word = f"m+{row}" if token and column == 2 else word
            scored = column < 3 or gone
            axes.add_patch(Rectangle((x, -row), 1.0, 0.8, fc=face if scored else "white", ec="#444444",
                                     ls="-" if scored else ":"))
            axes.text(x + 0.5, 0.4 - row, word, ha="center", va="center", fontsize=8)
        axes.text(x + 0.5, 1.15, name, ha="center", va="bottom", fontsize=9)
    axes.add_patch(Rectangle((6.5, 0.9 - len(hidden)), 2.0, len(hidden), fc="#cfe3f2", ec=THIS))
    axes.text(7.5, 0.5 - len(hidden) / 2, "encoder:\nall patches,\nin every layer", ha="center", va="center",
              fontsize=9)
    for start, end in ((1.1, 2.1), (3.3, 4.3), (5.5, 6.4), (8.6, 9.3)):
        arrow(axes, (start, 0.5 - len(hidden) / 2), (end, 0.5 - len(hidden) / 2))
    axes.set(xlim=(-0.3, 10.9), ylim=(0.7 - len(hidden), 2.3))
    axes.set_axis_off()
    return figure


@drawn
def ruler(points: Mapping[str, Sequence[tuple[float, float]]], chosen: str, images: Tensor, mask: Mapping) -> Figure:
    """A mask on seven pictures and what a copy makes of them; on the right its (distance, error) among those of all.

    points: kind of pictures -> (distance, error) of each mask. mask: one of `mask_survey`, on images of the kind
    `chosen`.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.6, 2.7), width_ratios=(1.5, 1))
    title = f"{mask['hidden']:.0%} hidden, AvgDist {mask['distance']:.1f}, a copy leaves {mask['error']:.2f}"
    shown = striped(images[:7], mask["visible"][:7])
    picture(left, mosaic(torch.cat([shown, mask["filled"][:7]]), len(shown)), title)
    for (name, cloud), (colour, marker) in zip(points.items(), KINDS):
        right.plot(*zip(*cloud), marker, color=colour, ms=5, ls="none", label=name, zorder=1,
                   alpha=1.0 if name == chosen else 0.25)
    right.plot(mask["distance"], mask["error"], "o", ms=13, mfc="none", mec=BLACK, mew=1.5)
    right.axhline(1, color=BLACK, ls=":", lw=1)
    right.set(xlabel="AvgDist (pixels)", ylabel="error of a copy", ylim=(0, None), xlim=(0, None))
    right.legend(fontsize=8, loc="upper left")
    return figure


@drawn
def heads(looks: Mapping[str, Mapping[str, Tensor]], even: str) -> Figure:
    """How far mask tokens look, and their share on mask tokens: a dot is a head.

    looks: network -> "distance" and "share", (layers, heads) each (`token_looks`). even: the network whose means are
    drawn as dashed lines, as it attends evenly.
    """
    figure, places = plt.subplots(1, 2, figsize=(WIDTH, 2.5))
    titles = {"distance": "how far it looks (pixels)", "share": "share on other mask tokens"}
    for axes, (measure, title) in zip(places, titles.items()):
        styles = zip((THIS, MEANING["random encoder"], SKY), "os^", (-0.1, 0.1, 0))
        level, layers = float(looks[even][measure].mean()), len(looks[even][measure])
        for (name, found), (colour, marker, shift) in zip(looks.items(), styles):
            for number, row in enumerate(found[measure].T.tolist()):
                axes.plot([layer + shift for layer in range(1, layers + 1)], row, marker, color=colour, ms=7,
                          label=None if number else name)
        axes.axhline(level, color=GREY, ls="--", lw=1.2)
        axes.set(title=title, xlabel="layer", xticks=range(1, layers + 1), ylim=(0, 1.35 * level),
                 xlim=(0.5, layers + 0.5))
    figure.legend(*places[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


@drawn
def rulers(points: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, levels: Mapping[str, float]) -> Figure:
    """A dot a training: name of a mask -> (x, y) of each seed; `levels` are dashed lines with their names."""
    figure, axes = plt.subplots(figsize=(WIDTH - 1.2, 2.8))
    for (name, pairs), colour, marker in zip(points.items(), MASKS, MARKERS):
        axes.plot(*zip(*pairs), marker, color=colour, mec=BLACK, ms=8, ls="none", label=name)
    for (name, value), dash in zip(levels.items(), DASHES[1:]):
        axes.axhline(value, color=GREY, ls=dash, lw=1.2, label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.margins(0.12)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure
