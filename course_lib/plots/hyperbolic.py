"""Figures of lesson 28: points and ways in the Poincare disc, trees, levels, and what a positive is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor

from course_lib.evaluate.ranking import LEVELS
from course_lib.evaluate.trees import TreeDrawings
from course_lib.models.poincare import geodesic
from course_lib.plots.drawing import (
    BLACK,
    CYCLE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    SKY,
    THIS,
    WIDTH,
    Exact,
    as_pixels,
    drawn,
)
from course_lib.plots.pointing import by_task
from course_lib.plots.sketch import unit_circle

SPACES = (THIS, SKY, ORANGE, GREEN, "#777777", "#BBBBBB")  # of `recalls_by_level`, in their order
# names of stored runs -> their colours
LINES = {"SupCon, outside": THIS, "SupCon, inside": SKY, "cross-entropy": GREEN, "longer cross-entropy": GREEN,
         "the ball": THIS, "nearly a plane": PINK, "one radius": RED}
WHOLE = {"SupCon": THIS, "cross-entropy": GREEN, "SupCon, longer": THIS, "cross-entropy, longer": GREEN,
         "SimCLR, then the tree": PINK, "SimCLR, then SimCLR": ORANGE}
DEPTH = (BLACK, THIS, ORANGE, PINK)  # of nodes, from the root on


def disc(axes: Axes, title: str = "") -> None:
    unit_circle(axes, 1.06)
    axes.set_title(title, fontsize=9.5)


def _spread(points: Tensor, apart: float) -> list[int]:
    """Points in their order, without those that are nearer than `apart` to one already taken."""
    taken: list[int] = []
    for i in range(len(points)):
        if not taken or float((points[taken] - points[i]).norm(dim=1).min()) > apart:
            taken.append(i)
    return taken


@drawn
def picture_disc(points: Tensor, images: Tensor, labels: Tensor, classes: Sequence[str]) -> Figure:
    """Points (N, 2) of the disc: as pictures where there is room, and as dots coloured by class (N,)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.9))
    disc(left, "test images where the network puts them")
    for i in _spread(points, 0.115):
        left.add_artist(AnnotationBbox(OffsetImage(as_pixels(images[i:i + 1])[0], zoom=0.42), tuple(points[i].tolist()),
                                       frameon=False))
    disc(right, "the same, coloured by shape")
    for k, name in enumerate(classes):
        right.scatter(*points[labels == k].T, s=6, color=CYCLE[k % len(CYCLE)], alpha=0.7, label=name, linewidths=0)
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center", fontsize=8, markerscale=2)
    return figure


def pair_at(radius: float, angle: float) -> tuple[Tensor, Tensor]:
    """Two points (2,) at one distance from the centre, an angle in degrees apart, left and right of the vertical."""
    half = math.radians(angle) / 2
    first, second = (torch.tensor([math.cos(a), math.sin(a)]) for a in (math.pi / 2 + half, math.pi / 2 - half))
    return radius * first, radius * second


def ways(points: Tensor, straight: Tensor, names: Sequence[str], lengths: Mapping[str, tuple[float, float]],
         c: float) -> Figure:
    """The shortest way and the straight line, (T, 2) each, and the disc's edge where it is in the picture.

    lengths, on the right: name -> (in the disc, by a ruler).
    """
    figure = Exact(figsize=(6.6, 2.9), facecolor="white")
    axes = figure.add_axes((0.0, 0.03, 0.44, 0.88))
    turn = torch.linspace(0, 2 * torch.pi, 200)
    axes.plot(turn.cos() / c ** 0.5, turn.sin() / c ** 0.5, color="#BBBBBB", lw=1.2)
    axes.plot(0, 0, "+", color=GREY)
    axes.set(aspect="equal", xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.plot(*straight.T, "--", color=GREY, lw=1.5)
    axes.plot(*points.T, "-", color=THIS, lw=2)
    axes.plot(*points[1:-1].T, "o", color=THIS, ms=4)
    for point, name in ((points[0], names[0]), (points[-1], names[1])):
        axes.plot(*point, "o", color=BLACK, ms=6)
        axes.annotate(name, tuple(point.tolist()), textcoords="offset points", xytext=(6, 4), fontsize=10)
    bars = figure.add_axes((0.63, 0.24, 0.33, 0.6))
    for row, pair in enumerate(lengths.values()):
        for shift, value, colour in zip((-0.18, 0.18), pair, (THIS, GREY)):
            bars.barh(row + shift, value, 0.34, color=colour)
            bars.text(value + 0.1, row + shift, f"{value:.2f}", va="center", fontsize=8)
    bars.set(yticks=range(len(lengths)), yticklabels=list(lengths), xlim=(0, 13), ylim=(len(lengths) - 0.5, -0.5))
    bars.set_xlabel("length (blue: in the disc; grey: by a ruler)", fontsize=8)
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def tree(axes: Axes, points: Tensor, parents: Sequence[int], depth: Sequence[int], c: float | None, title: str) -> None:
    """A tree's nodes (N, 2) and edges, in the disc of curvature -c scaled to radius 1, or (None) in the plane."""
    t = torch.linspace(0, 1, 12)
    scale = c ** 0.5 if c else 1.0
    if c:
        disc(axes, title)
    else:
        edge = 1.1 * float(points.abs().max())
        axes.set(aspect="equal", xlim=(-edge, edge), ylim=(-edge, edge), xticks=[], yticks=[])
        axes.set_axis_off()
        axes.set_title(title, fontsize=9.5)
    for node, parent in enumerate(parents):
        if parent >= 0:
            line = geodesic(points[node], points[parent], t, c) if c else torch.stack([points[node], points[parent]])
            axes.plot(*(scale * line).T, color="#AAAAAA", lw=1, zorder=1)
    for level in range(max(depth) + 1):
        mine = [node for node, d in enumerate(depth) if d == level]
        axes.scatter(*(scale * points[mine]).T, s=34 - 6 * level, color=DEPTH[level], zorder=2 + level)


@drawn
def trees(panels: Sequence[tuple[str, Tensor, float | None]], parents: Sequence[int], depth: Sequence[int],
          true: Tensor, lengths: Mapping[str, Tensor]) -> Figure:
    """(title, points, curvature) of a panel each; on the right distances in the tree against each embedding's.

    true, and name -> lengths: (N, N).
    """
    figure, axes = plt.subplots(1, len(panels) + 1, figsize=(WIDTH + 0.8, 2.9))
    for place, (title, points, c) in zip(axes, panels):
        tree(place, points, parents, depth, c, title)
    apart = true > 0
    true = true[apart]
    for number, ((name, matrix), colour) in enumerate(zip(lengths.items(), (GREY, THIS))):
        found = matrix[apart]
        ratio = found / true
        scaled = found * ratio.mean() / ratio.square().mean()
        axes[-1].scatter(true + 0.24 * (number - 0.5), scaled, s=5, color=colour, alpha=0.4, label=name, linewidths=0)
    most = int(true.max())
    axes[-1].plot([0, most], [0, most], color=BLACK, lw=1, ls=":")
    axes[-1].set(xlabel="distance in the tree (edges)", ylabel="in the embedding (scaled)", xticks=range(1, most + 1))
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=8, markerscale=2)
    return figure


def tree_beside_plane(drawings: TreeDrawings, name: str, parents: Sequence[int], depth: Sequence[int]) -> Figure:
    """One of the drawings, and its distances beside the plane's."""
    panel = (f"{name}: distortion {drawings.distortion[name]:.3f}", drawings.points[name],
             drawings.curves[name] or None)
    lengths = {"the plane": drawings.lengths["plane"], name: drawings.lengths[name]}
    return trees([panel], parents, depth, drawings.true, lengths)


@drawn
def levels_table(matrices: Mapping[str, Tensor]) -> Figure:
    """Goals (N, N) of pairs of images, sorted by cluster: what each version of the loss asks of each pair."""
    figure, axes = plt.subplots(1, len(matrices), figsize=(WIDTH, 2.9))
    most = max(int(m.max()) for m in matrices.values())
    for place, (name, matrix) in zip(axes, matrices.items()):
        shown = place.imshow(matrix, cmap="cividis", vmin=0, vmax=most)
        place.set(title=name, xlabel="negative l", xticks=[], yticks=[])
    axes[0].set_ylabel("anchor j")
    figure.colorbar(shown, ax=list(axes), ticks=range(most + 1), label="goal (units of log 1/Ω)", shrink=0.8)
    return figure


def shares(cosines: Sequence[float], pulls: Mapping[str, Sequence[float]], losses: Mapping[str, float]) -> Figure:
    """How hard each positive (a cosine) is pulled by the two losses; the losses in the title."""
    figure = Exact(figsize=(6.6, 2.7), facecolor="white")
    axes = figure.add_axes((0.13, 0.2, 0.83, 0.62))
    for shift, (name, values), colour in zip((-0.2, 0.2), pulls.items(), (THIS, ORANGE)):
        axes.bar([i + shift for i in range(len(values))], values, 0.38, color=colour,
                 label=f"{name}: loss {losses[name]:.2f}")
    axes.axhline(0, color=BLACK, lw=0.8)
    axes.set(xticks=range(len(cosines)), xticklabels=[f"{v:.1f}" for v in cosines], ylim=(-0.75, 0.75),
             xlabel="cosine of each positive with the anchor", ylabel="pull × τ")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=9, frameon=False)
    return figure


@drawn
def recalls(panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], ks: Sequence[int],
            colours: Mapping[str, str]) -> Figure:
    """Panels: title -> line -> for each k the values of the seeds, in percent; a dot for each seed."""
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 2.7), sharey=True, squeeze=False)
    for place, (title, lines) in zip(axes[0], panels.items()):
        for number, (name, values) in enumerate(lines.items()):
            where = [i + 0.08 * (number - (len(lines) - 1) / 2) for i in range(len(ks))]
            place.plot(where, [sum(v) / len(v) for v in values], color=colours[name], lw=1.2)
            for x, v in zip(where, values):
                place.plot([x] * len(v), v, "o", ms=4, color=colours[name], label=name if x == where[0] else None)
        place.set(title=title, xticks=range(len(ks)), xticklabels=ks, xlabel="k")
    axes[0][0].set_ylabel("Recall@k (%)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def recalls_by_level(scores: Mapping[str, Mapping[str, float]], ks: Sequence[int] = (1, 2, 4, 8)) -> Figure:
    """Recall@k at each level of the tree, name -> `evaluate.ranking.by_level`; as many as SPACES has colours."""
    panels = {level: {name: [[100 * row[f"{level} recall@{k}"]] for k in ks] for name, row in scores.items()}
              for level in LEVELS}
    return recalls(panels, ks, dict(zip(scores, SPACES)))


def by_line(panels: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, str]) -> Figure:
    """Measures of stored runs in percent, a dot for each training: axis label -> line -> shares; colours of the lines.
    """
    first = next(iter(panels.values()))
    return by_task({label: {name: [100 * value for value in values] for name, values in lines.items()}
                    for label, lines in panels.items()}, {name: colours[name] for name in first}, {})


@drawn
def losses(values: Sequence[float], epoch: int, floors: Mapping[str, float]) -> Figure:
    """The loss of each step; a dotted line after each `epoch` steps, dashed ones at `floors`."""
    figure, axes = plt.subplots(figsize=(WIDTH - 2, 2.3))
    axes.plot(range(1, len(values) + 1), values, color=THIS, lw=1)
    for step in range(epoch, len(values), epoch):
        axes.axvline(step + 0.5, color=GREY, ls=":", lw=0.8)
    for name, value in floors.items():
        axes.axhline(value, color=BLACK, ls="--", lw=1, label=name)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", fontsize=8)
    return figure
