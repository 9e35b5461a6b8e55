"""Figures of places: two crops of a picture, which cells are pairs, where points were found, what is alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle
from torch import Tensor

from course_lib.augment.pixels import to_float
from course_lib.plots.drawing import BLUE, GREEN, GREY, MEANING, ORANGE, PINK, RED, SKY, THIS, WIDTH, as_pixels, drawn
from course_lib.plots.sketch import CMAP, arrow, box, picture

NETWORKS = {"VADeR": THIS, "PixPro": PINK, "SimCLR": GREEN, "iBOT": ORANGE, "DINO": RED, "position alone": "#333333",
            "random encoder": MEANING["random encoder"], "raw pixels": MEANING["raw pixels"]}
FIRST, SECOND = BLUE, ORANGE  # the two views


def _dots(axes, places: Tensor, size: int, colour, **look) -> None:
    """Places (n, 2) in [0, 1] of a picture of `size` pixels."""
    axes.plot(size * places[:, 0] - 0.5, size * places[:, 1] - 0.5, "o", color=colour, mec="white", mew=0.6, **look)


def _joined(figure, left, right, start: Tensor, end: Tensor, size: int, right_one: bool) -> None:
    colour = BLUE if right_one else ORANGE
    a, b = ((float(size * place[0] - 0.5), float(size * place[1] - 0.5)) for place in (start, end))
    figure.add_artist(ConnectionPatch(a, b, "data", "data", axesA=left, axesB=right, color=colour, lw=1.3,
                                      ls="-" if right_one else (0, (3, 1.5))))
    _dots(left, start[None], size, colour, ms=4)
    _dots(right, end[None], size, colour, ms=4)


def _frame(axes, place: tuple[int, int], patch: float) -> None:
    """Around the cell (row, column) of cells of `patch` pixels."""
    axes.add_patch(Rectangle((place[1] * patch - 0.5, place[0] * patch - 0.5), patch, patch, fill=False, ec=SKY,
                             lw=2.5))


@drawn
def found_lines(first: Tensor, second: Tensor, here: Tensor, answers: Mapping[str, Tensor],
                right: Mapping[str, Tensor]) -> Figure:
    """A row for each network, two views (B, 3, S, S) of B images side by side, and lines from points here (B, n, 2) to
    where they were found, (B, n, 2): blue where right (B, n), else orange and dashed."""
    count, size = len(first), first.shape[-1]
    figure, grid = plt.subplots(len(answers), 2 * count, squeeze=False,
                                figsize=(WIDTH + 0.8, 1.25 * len(answers) + 0.1))
    for line, (name, places) in zip(grid, answers.items()):
        for number in range(count):
            left, other = line[2 * number : 2 * number + 2]
            picture(left, first[number])
            picture(other, second[number])
            for start, end, good in zip(here[number], places[number], right[name][number].tolist()):
                _joined(figure, left, other, start, end, size, good)
        line[0].set_ylabel(name)
    return figure


@drawn
def shares(rows: Mapping[str, Mapping[str, float]], title: str = "points found within one cell (%)") -> Figure:
    """A bar for each network and kind of point: name -> kind -> share in [0, 1]."""
    kinds = list(next(iter(rows.values())))
    figure, panels = plt.subplots(1, len(kinds), figsize=(WIDTH, 0.3 * len(rows) + 0.7), sharey=True, squeeze=False)
    for axes, kind in zip(panels[0], kinds):
        values = [100 * row[kind] for row in rows.values()]
        axes.barh(range(len(rows)), values, color=[NETWORKS.get(name, GREY) for name in rows])
        for place, value in enumerate(values):
            axes.text(value + 1, place, f"{value:.0f}", va="center", fontsize=9)
        axes.set(yticks=range(len(rows)), yticklabels=list(rows), xlim=(0, 100), title=kind)
    panels[0, len(kinds) // 2].set_xlabel(title)
    panels[0, 0].invert_yaxis()
    return figure


@drawn
def two_crops(image: Tensor, first: Tensor, second: Tensor, views: tuple[Tensor, Tensor], points: Tensor) -> Figure:
    """An image with two crops (corners (4,)), and both views; the same points (n, 2) of the image in all three."""
    size, count = image.shape[-1], len(points)
    figure, panels = plt.subplots(1, 3, figsize=(WIDTH, 2.6))
    colours = plt.get_cmap("viridis")(np.linspace(0.15, 1, count))
    picture(panels[0], image, "the image, two crops")
    _crop(panels[0], first, size, FIRST)
    _crop(panels[0], second, size, SECOND)
    for point, colour in zip(points, colours):
        _dots(panels[0], point[None], size, colour, ms=7)
    for axes, view, corners, name, edge in zip(panels[1:], views, (first, second), ("view 1", "view 2"),
                                               (FIRST, SECOND)):
        picture(axes, view, name + (", mirrored" if corners[0] > corners[2] else ""))
        axes.spines[:].set(visible=True, color=edge, linewidth=2.5)
        places = (points - corners[:2]) / (corners[2:] - corners[:2])
        for place, colour in zip(places, colours):
            _dots(axes, place[None], view.shape[-1], colour, ms=7)
    return figure


def _crop(axes, corners: Tensor, size: int, colour: str) -> None:
    low, high = torch.minimum(corners[:2], corners[2:]), torch.maximum(corners[:2], corners[2:])
    axes.add_patch(Rectangle((size * float(low[0]) - 0.5, size * float(low[1]) - 0.5), size * float(high[0] - low[0]),
                             size * float(high[1] - low[1]), fill=False, ec=colour, lw=2.5))


@drawn
def pairs_of_cells(image: Tensor, first: Tensor, second: Tensor, centres: tuple[Tensor, Tensor], positive: Tensor,
                   threshold: float) -> Figure:
    """An image, the cells of two crops as dots (L, 2), pairs joined; the matrix of pairs (L, L)."""
    size = image.shape[-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH - 0.8, 3.3), width_ratios=(1, 1))
    picture(left, (0.35 * to_float(image) + 0.65).clamp(0, 1))
    for corners, places, colour in zip((first, second), centres, (FIRST, SECOND)):
        _crop(left, corners, size, colour)
        _dots(left, places, size, colour, ms=4.5)
    for i, j in positive.nonzero().tolist():
        a, b = centres[0][i] * size - 0.5, centres[1][j] * size - 0.5
        left.plot([a[0], b[0]], [a[1], b[1]], color="#333333", lw=1)
    left.set_title(f"{int(positive.sum())} pairs of cells, T = {threshold:.1f}")
    right.imshow(positive.numpy(), cmap="Blues", vmin=0, vmax=1)
    right.set(xlabel="cell of view 2", ylabel="cell of view 1", title=f"A: {positive.float().mean():.1%} of all pairs")
    return figure


@drawn
def propagated(x: Tensor, panels: Mapping[str, Tensor], place: tuple[int, int], weights: Tensor) -> Figure:
    """A picture (3, S, S), the weights (g, g) with which a place gathers, and maps (g, g, 3) in colours."""
    figure, axes = plt.subplots(1, 2 + len(panels), figsize=(WIDTH, 2.3))
    picture(axes[0], x, "picture")
    side, size = weights.shape[-1], x.shape[-1]
    patch = size / side
    _frame(axes[0], place, patch)
    axes[1].imshow(weights.numpy(), vmin=0, vmax=1, cmap=CMAP)
    axes[1].plot(place[1], place[0], "s", ms=9, mfc="none", mec=SKY, mew=2)
    axes[1].set(xticks=[], yticks=[], title="weights of the others")
    for panel, (name, map_) in zip(axes[2:], panels.items()):
        panel.imshow(map_.numpy())
        panel.set(xticks=[], yticks=[], title=name)
    return figure


@drawn
def dense_drawing() -> Figure:
    """VADeR and PixPro as a drawing: two views, two maps, and which places are compared."""
    figure, axes = plt.subplots(figsize=(8.6, 2.7))
    axes.set(xlim=(0, 10.4), ylim=(-0.35, 3.0))
    axes.axis("off")
    for x, y, text, colour in ((0.8, 2.4, "view 1", FIRST), (0.8, 0.7, "view 2", SECOND),
                               (2.8, 2.4, "network", THIS), (2.8, 0.7, "moving average\nof the network", GREY),
                               (5.0, 2.4, "map: a vector\nfor each cell", THIS), (5.0, 0.7, "map of keys", GREY),
                               (7.2, 2.4, "PixPro: propagate", PINK), (8.9, 1.55, "agree where the\nimage is the same",
                                                                      GREEN),
                               (7.2, 0.15, "VADeR: and not with\nthe queue", RED)):
        box(axes, x, y, text, colour)
    for start, end in (((1.2, 2.4), (2.2, 2.4)), ((1.2, 0.7), (1.9, 0.7)), ((3.4, 2.4), (4.2, 2.4)),
                       ((3.7, 0.7), (4.3, 0.7)), ((5.8, 2.4), (6.2, 2.4)), ((8.1, 2.2), (8.5, 1.95)),
                       ((5.7, 0.75), (7.9, 1.4)), ((8.1, 0.5), (8.6, 1.1))):
        arrow(axes, start, end)
    return figure


@drawn
def by_line(panels: Mapping[str, Mapping[str, Sequence[float]]], marks: Mapping[str, Mapping[str, float]]) -> Figure:
    """Shares side by side, a row for each line, a dot for each training, a bar at the mean; marks: dotted, by panel."""
    figure, grid = plt.subplots(1, len(panels), figsize=(WIDTH + 0.4, 0.33 * len(next(iter(panels.values()))) + 1.1),
                                sharey=True, squeeze=False)
    for axes, (label, lines) in zip(grid[0], panels.items()):
        for row, (name, values) in enumerate(lines.items()):
            colour = NETWORKS.get(name.split(",")[0], GREY)
            axes.plot([100 * v for v in values], [row] * len(values), "o", color=colour, alpha=0.7, ms=5, clip_on=False)
            axes.plot([100 * sum(values) / len(values)] * 2, [row - 0.3, row + 0.3], color=colour)
        for name, value in marks.get(label, {}).items():
            axes.axvline(100 * value, color=NETWORKS[name.split(",")[0]], ls=":", lw=1.8, label=name)
        axes.set(xlabel=label, yticks=range(len(lines)), yticklabels=list(lines))
    grid[0, 0].invert_yaxis()
    if marks:
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8.5)
    return figure


@drawn
def looked_up(first: Tensor, second: Tensor, cosines: Tensor, place: tuple[int, int], truth: Tensor | None,
              title: str, right: float) -> Figure:
    """Two views (3, S, S), the cosines (L, L) of their cells: one place of the first, and all answers as lines.

    truth (2,): where the place lies in the second view, in [0, 1]; None if it is not there.
    """
    size = first.shape[-1]
    side = round(len(cosines) ** 0.5)
    patch = size / side
    figure, (left, middle, other) = plt.subplots(1, 3, figsize=(WIDTH - 0.6, 2.7))
    row = cosines[place[0] * side + place[1]].view(side, side)
    best = divmod(int(row.argmax()), side)
    picture(left, first, "view 1: the place asked for")
    picture(middle, second, "view 2: cross true, frame found")
    other.imshow(row.numpy(), vmin=0, vmax=1, cmap=CMAP, extent=(-0.5, size - 0.5, size - 0.5, -0.5))
    other.set(xticks=[], yticks=[], title=title)
    _frame(left, place, patch)
    for axes in (middle, other):
        _frame(axes, best, patch)
        if truth is not None:
            axes.plot(*(size * truth - 0.5).tolist(), "x", color="white", ms=11, mew=4)
            axes.plot(*(size * truth - 0.5).tolist(), "x", color=RED, ms=9, mew=2)
    figure.suptitle(f"found within one cell in this pair: {right:.0%}", fontsize=10, x=0.02, ha="left")
    return figure


@drawn
def segmentations(images: Tensor, truth: Tensor, guesses: Mapping[str, Tensor]) -> Figure:
    """Images (N, 3, S, S), true masks (N, S, S), and each network's, the object lit up; a row for each."""
    pale = 0.25 * to_float(images)
    rows = {"picture": to_float(images)} | {name: pale + 0.75 * mask[:, None].float()
                                            for name, mask in {"truth": truth, **guesses}.items()}
    figure, axes = plt.subplots(figsize=(WIDTH, 0.72 * len(rows)))
    size = images.shape[-1]
    axes.imshow(np.concatenate([np.concatenate(list(as_pixels(row)), 1) for row in rows.values()]))
    axes.set_yticks([size * (i + 0.5) for i in range(len(rows))], list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


@drawn
def kin(photo: Tensor, maps: Mapping[str, Tensor], place: tuple[int, int], clicks: int) -> Figure:
    """A photograph (3, S, S), the place picked (row, column of `clicks`), and networks' cosines (h, w) with it."""
    figure, panels = plt.subplots(1, 1 + len(maps), figsize=(WIDTH + 0.8, 1.9))
    size = photo.shape[-1]
    patch = size / clicks
    picture(panels[0], photo, "photograph")
    for axes, (name, cosines) in zip(panels[1:], maps.items()):
        axes.imshow(cosines.clamp(min=0).numpy(), vmin=0, vmax=1, cmap=CMAP,
                    extent=(-0.5, size - 0.5, size - 0.5, -0.5))
        axes.set(xticks=[], yticks=[], title=name)
    for axes in panels:
        _frame(axes, place, patch)
    return figure
