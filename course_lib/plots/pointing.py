"""Figures of a network that points: light where it looks, where it points against where the object is, its clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.augment.pixels import to_float
from course_lib.plots.drawing import GREEN, GREY, MEANING, ORANGE, PINK, RED, THIS, WIDTH, drawn
from course_lib.plots.sketch import arrow, box, mosaic, numbers, picture

TASKS = {"invariance": THIS, "separability": ORANGE, "entropy": GREEN, "attention": PINK}  # one colour for each task


def lit(images: Tensor, maps: Tensor, dark: float = 0.2) -> Tensor:
    """Images (N, 3, H, W), as bright as their maps (N, H, W) in [0, 1] say; at a map's 0 `dark` of it is left."""
    return to_float(images) * (dark + (1 - dark) * maps[:, None])


@drawn
def two_heads() -> Figure:
    """The method as a drawing: a map, two ways to pool it, two answers, and who makes whose target."""
    figure, axes = plt.subplots(figsize=(8.6, 2.9))
    axes.set(xlim=(0, 10.4), ylim=(0, 3.2))
    axes.axis("off")
    for x, y, text, colour in ((0.7, 1.6, "image", GREY), (2.2, 1.6, "conv net", THIS),
                               (3.9, 1.6, "map\n4 x 4 places", THIS), (6.1, 2.6, "mean over\nthe places", GREY),
                               (5.6, 0.55, "row, column,\nsize", PINK),
                               (7.4, 0.55, "Gaussian:\nweighted sum", PINK), (9.5, 2.6, "answer p", THIS),
                               (9.5, 0.55, "answer $p^a$", PINK)):
        box(axes, x, y, text, colour)
    for start, end in (((1.1, 1.6), (1.6, 1.6)), ((2.8, 1.6), (3.2, 1.6)), ((4.4, 1.95), (5.4, 2.5)),
                       ((6.8, 2.6), (8.9, 2.6)),
                       ((4.4, 1.25), (5.2, 0.9)), ((6.25, 0.55), (6.65, 0.55)), ((8.15, 0.55), (8.9, 0.55)),
                       ((4.65, 1.55), (7.0, 1.0))):
        arrow(axes, start, end)
    arrow(axes, (9.5, 2.25), (9.5, 0.95), "#8A3A6B", ls="--")
    axes.text(9.4, 1.6, "q: what $p^a$\nis to say", fontsize=9, color="#8A3A6B", ha="right", va="center")
    return figure


@drawn
def pointed(places: Mapping[str, tuple[Tensor, Tensor]], shares: Mapping[str, float]) -> Figure:
    """Where networks point against where the object is (pairs of (N,), in [0, 1]), the first grey; shares on it."""
    figure, panels = plt.subplots(1, len(places) + 1, figsize=(WIDTH + 0.8, 2.8),
                                  width_ratios=(*[1] * len(places), 1.15))
    for number, (axes, (name, (truth, found))) in enumerate(zip(panels, places.items())):
        colour = THIS if number else MEANING["random encoder"]
        axes.plot([0, 1], [0, 1], color="#cccccc", lw=1, zorder=0)
        axes.scatter(truth, found, s=5, alpha=0.5, color=colour)
        axes.set(xlim=(0.15, 0.85), ylim=(0, 1), xlabel="column of the object", title=name)
    panels[0].set_ylabel("column it points at")
    bars = panels[-1]
    bars.barh(range(len(shares)), [100 * v for v in shares.values()],
              color=[THIS if name == "its own" else GREEN if name.startswith("true") else GREY for name in shares])
    for place, value in enumerate(shares.values()):
        bars.text(100 * value + 1, place, f"{value:.0%}", va="center", fontsize=9)
    bars.set(yticks=range(len(shares)), yticklabels=list(shares), xlim=(0, 60), xlabel="on the object (%)")
    bars.invert_yaxis()
    return figure


@drawn
def by_hand(image: Tensor, fine: Tensor, coarse: Tensor, answers: Mapping[str, Tensor], share: float) -> Figure:
    """An image under a Gaussian (H, W), the same on the map's places (h, w), and answers (K,) side by side.

    share: of the Gaussian that is on the object, for the title.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH + 0.6, 2.5), width_ratios=(1, 1, 2.1))
    picture(left, lit(image[None], fine[None])[0], "under the Gaussian")
    middle.imshow(coarse.numpy(), vmin=0, vmax=1, cmap="inferno")
    middle.set(xticks=[], yticks=[], title="on the map's places")
    _answers(right, answers)
    right.set_title(f"{share:.0%} of the attention on the object", fontsize=9.5)
    return figure


def _answers(axes, answers: Mapping[str, Tensor]) -> None:
    wide = 0.8 / len(answers)
    for number, ((name, p), colour) in enumerate(zip(answers.items(), (PINK, "#BBBBBB"))):
        place = torch.arange(len(p)) + (number - 0.5 * (len(answers) - 1)) * wide
        axes.bar(place, p.numpy(), wide, color=colour, label=name)
    axes.set(ylim=(0, 1.25), yticks=(0, 0.5, 1), xlabel="cluster", ylabel="probability", xticks=range(len(p)))
    axes.legend(fontsize=8, loc="upper right", ncols=2)


@drawn
def wanted(loss: Tensor, sure: Tensor, even: Tensor, best: Sequence[tuple[int, int]], title: str,
           maps: Mapping[str, Tensor]) -> Figure:
    """A loss (len(even), len(sure)) of toy answers, its smallest places marked; the answers (N, K) of three corners."""
    figure, panels = plt.subplots(1, 1 + len(maps), figsize=(WIDTH + 0.6, 2.8), width_ratios=(1.9, *[0.75] * len(maps)))
    left = panels[0]
    edges = [float(axis[end]) + sign * float(axis[1] - axis[0]) / 2 for axis in (sure, even)
             for end, sign in ((0, -1), (-1, 1))]
    shown = left.imshow(loss.numpy(), origin="lower", aspect="auto", cmap="cividis_r", extent=edges)
    figure.colorbar(shown, ax=left, label="loss")
    for row, column in best:
        left.plot([float(sure[column])], [float(even[row])], "o", color=RED, ms=6, clip_on=False)
    left.set(xlabel="how sure each answer is", ylabel="how evenly clusters are used", title=title)
    for axes, (name, p) in zip(panels[1:], maps.items()):
        axes.imshow(p.numpy(), vmin=0, vmax=1, aspect="auto", cmap="cividis")
        axes.set(xticks=[], yticks=[], xlabel="cluster", title=name)
    panels[1].set_ylabel("image")
    return figure


@drawn
def sheets(images: Tensor, clusters: Tensor, sure: Tensor, table: Tensor, classes: Sequence[str],
           across: int = 9) -> Figure:
    """A row for each cluster, the surest images first; beside it how many of its images are of which class (K, C)."""
    count = len(table)
    rows = []
    for k in range(count):
        mine = (clusters == k).nonzero()[:, 0]
        mine = mine[sure[mine].argsort(descending=True)][:across]
        rows.append(torch.cat([to_float(images[mine]), torch.ones(across - len(mine), *images.shape[1:])]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.8, 0.42 * count + 0.6), width_ratios=(1.15, 1))
    picture(left, mosaic(torch.cat(rows), across))
    size = images.shape[-1] + 1
    left.set_yticks([size * (k + 0.5) for k in range(count)], [str(k) for k in range(count)])
    left.tick_params(length=0)
    left.set_ylabel("cluster")
    numbers(right, table / table.sum(1, keepdim=True).clamp_min(1), [f"{int(n)}" for n in table.sum(1)], classes)
    right.set_xticklabels(classes, fontsize=8, rotation=35, ha="left")
    right.set_ylabel("images")
    return figure


@drawn
def by_task(panels: Mapping[str, Mapping[str, Sequence[float]]], lines: Mapping[str, str],
            marks: Mapping[str, float]) -> Figure:
    """Measures side by side, a row for each line (name -> its colour), a dot for each training, a bar at the mean.

    panels: axis label -> line -> values; marks: axis label -> a dotted line.
    """
    figure, grid = plt.subplots(1, len(panels), figsize=(WIDTH + 1.0, 0.28 * len(lines) + 0.9), sharey=True,
                                squeeze=False)
    axes = grid[0]
    for place, (label, values) in zip(axes, panels.items()):
        for row, (name, colour) in enumerate(lines.items()):
            mine = list(values[name])
            place.plot(mine, [row] * len(mine), "o", color=colour, alpha=0.7, clip_on=False, ms=5)
            place.plot([sum(mine) / len(mine)] * 2, [row - 0.3, row + 0.3], color=colour)
        if label in marks:
            place.axvline(marks[label], color="#333333", ls=":", lw=1.2)
        place.set(xlabel=label, yticks=range(len(lines)), yticklabels=list(lines))
        place.grid(axis="x")
    axes[0].invert_yaxis()
    return figure


@drawn
def one_line(curves: Sequence[tuple[Sequence[float], Sequence[float]]], sizes: Sequence[Sequence[float]], clusters: int,
             colour: str, title: str, maps: Tensor) -> Figure:
    """A line of the table: clusters in use over the steps, a curve a seed; how large they end; the mean Gaussian."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH + 0.6, 2.5), width_ratios=(1.5, 1.5, 1))
    for steps, used in curves:
        left.plot(steps, used, color=colour, lw=1.2)
    left.set(xlabel="step", ylabel="clusters in use", ylim=(0.5, clusters + 0.5), title=title)
    for number, mine in enumerate(sizes):
        ordered = sorted(mine, reverse=True)
        middle.bar([k + 0.27 * (number - 1) for k in range(clusters)], [100 * v for v in ordered], 0.25, color=colour)
    middle.axhline(100 / clusters, color="#333333", ls=":", lw=1.2)
    middle.set(xlabel="clusters, the largest first", ylabel="test images (%)", ylim=(0, 105), xticks=[])
    picture(right, lit(torch.ones(1, 3, *maps.shape[-2:]), maps[None], dark=0.0)[0], "")
    return figure


@drawn
def whose(values: Mapping[str, Mapping[str, float]]) -> Figure:
    """Shares by whose Gaussian weighs the features: a panel of bars for each measure, the network's own first."""
    figure, panels = plt.subplots(1, len(values), figsize=(WIDTH + 0.8, 2.4), sharey=True)
    for axes, (label, bars) in zip(panels, values.items()):
        axes.barh(range(len(bars)), [100 * v for v in bars.values()], color=[PINK, *[GREY] * (len(bars) - 1)])
        for place, value in enumerate(bars.values()):
            axes.text(100 * value + 0.7, place, f"{value:.0%}", va="center", fontsize=9)
        axes.set(yticks=range(len(bars)), yticklabels=list(bars), xlabel=label, xlim=(0, 120 * max(bars.values())))
    panels[0].invert_yaxis()
    return figure
