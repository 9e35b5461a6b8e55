"""Figures of lesson 22: rankings of pretexts by encoder, what each layer is worth, and two patches side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from course_lib.plots.drawing import BLACK, GREY, MEANING, ORANGE, PINK, SKY, THIS, as_pixels, drawn

PRETEXTS = {"exemplar": THIS, "rotation": ORANGE, "jigsaw": PINK, "relative-patch": SKY, **MEANING}
Scores = Mapping[str, Mapping[str, Sequence[float]]]


def placed(scores: Mapping[str, Sequence[float]]) -> list[str]:
    """The names, that with the highest mean first."""
    return sorted(scores, key=lambda name: -fmean(scores[name]))


@drawn
def ranking(scores: Scores, chosen: str, floor: float | None = None, label: str = "read linearly") -> Figure:
    """Pretexts in the order of one encoder, a dot a training, and beside it their places in all encoders.

    scores: encoder -> pretext -> the seeds' values; floor: of the chosen encoder untrained, dotted.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.9), width_ratios=(1.25, 1))
    order = placed(scores[chosen])
    for place, name in enumerate(order):
        values = list(scores[chosen][name])
        left.plot(values, [place] * len(values), "o", ms=6, color=PRETEXTS[name], alpha=0.75)
        left.plot([fmean(values)] * 2, [place - 0.25, place + 0.25], color=PRETEXTS[name])
    if floor is not None:
        left.axvline(floor, color=GREY, ls=":", lw=1.4)
        left.annotate("untrained", (floor, -0.62), fontsize=8, color="#666666", ha="center")
    left.set(xlabel=label, ylim=(len(order) - 0.5, -0.75))
    left.set_yticks(range(len(order)), order)
    encoders = list(scores)
    for name in order:
        places = [placed(scores[encoder]).index(name) + 1 for encoder in encoders]
        right.plot(range(len(encoders)), places, "o-", ms=9, lw=2.4, color=PRETEXTS[name], clip_on=False)
        right.annotate(name, (len(encoders) - 1, places[-1]), xytext=(9, 0), textcoords="offset points", va="center",
                       fontsize=9)
    right.axvspan(encoders.index(chosen) - 0.16, encoders.index(chosen) + 0.16, color="#eeeeee", zorder=0)
    right.set(xlim=(-0.3, len(encoders) - 0.2), ylim=(len(order) + 0.3, 0.6), ylabel="place",
              title="places by the mean")
    right.set_xticks(range(len(encoders)), encoders)
    right.set_yticks(range(1, len(order) + 1))
    return figure


@drawn
def layers(panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], here: int | None = None) -> Figure:
    """What is read after each layer, a panel for each encoder: name -> a list of accuracies for each training."""
    figure, axes = plt.subplots(1, len(panels), figsize=(8.8, 3.1), sharey=True, squeeze=False)
    axes = axes[0]
    for panel, (encoder, lines) in zip(axes, panels.items()):
        for name, runs in lines.items():
            for run in runs:
                panel.plot(range(1, len(run) + 1), list(run), color=PRETEXTS[name], alpha=0.3, lw=1)
            means = [fmean(values) for values in zip(*runs)]
            panel.plot(range(1, len(means) + 1), means, "o-", ms=4, color=PRETEXTS[name], label=name)
        if here is not None:
            panel.axvline(here, color=GREY, lw=6, alpha=0.35, zorder=0)
        panel.set(title=encoder, xlabel="layer", xticks=range(1, len(means) + 1), ylim=(0, 1.02))
    axes[0].set_ylabel("class, read by ridge regression")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    return figure


@drawn
def against(points: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> Figure:
    """Accuracy on the pretext against what is read of the class: a panel for each pretext, a mark for each encoder."""
    figure, axes = plt.subplots(1, len(points), figsize=(8.8, 2.7), sharey=True)
    marks = dict(zip(next(iter(points.values())), "osD^"))
    for panel, (name, encoders) in zip(axes, points.items()):
        for encoder, pairs in encoders.items():
            panel.plot([x for x, _ in pairs], [y for _, y in pairs], marks[encoder], ms=6, color=PRETEXTS[name],
                       mec=BLACK, mew=0.6, label=encoder, ls="")
        panel.set(title=name, xlabel="pretext, new pictures")
        panel.margins(0.15)
    axes[0].set_ylabel("class, read linearly")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


@drawn
def patch_pair(picture: Tensor, corners: Tensor, side: int, neighbour: int, scores: Mapping[str, float],
               guess: str) -> Figure:
    """A picture with its nine patches, the middle one and a neighbour alone, and the edge rule's differences.

    picture (3, S, S); corners int (9, 2), rows and columns; scores: direction -> difference of the facing edges, the
    smallest in blue, which the rule answers.
    """
    figure, (whole, first, second, bars) = plt.subplots(1, 4, figsize=(8.8, 2.5), width_ratios=(1.5, 0.8, 0.8, 1.5))
    whole.imshow(as_pixels(picture[None])[0])
    for number, (row, column) in enumerate(corners.tolist()):
        colour = THIS if number == 4 else ORANGE if number == neighbour else "white"
        whole.add_patch(Rectangle((column - 0.5, row - 0.5), side, side, fill=False, ec=colour, lw=2.2))
    for panel, number, title in ((first, 4, "middle"), (second, neighbour, "where was it?")):
        row, column = corners[number].tolist()
        panel.imshow(as_pixels(picture[None, :, row:row + side, column:column + side])[0])
        panel.set_title(title)
    for panel in (whole, first, second):
        panel.set(xticks=[], yticks=[])
    answer = min(scores, key=lambda name: scores[name])
    bars.barh(list(scores), list(scores.values()), color=[THIS if name == answer else "#bbbbbb" for name in scores])
    bars.set(xlabel="difference of facing edges", title=f"the rule says: {guess}")
    bars.invert_yaxis()
    return figure


@drawn
def tasks(picture: Tensor, rows: Mapping[str, tuple[Tensor, str]]) -> Figure:
    """A drawing: one picture, and what each pretext makes of it, with its question. rows: name -> images, question."""
    figure, axes = plt.subplots(len(rows), 2, figsize=(7.6, 0.95 * len(rows)), width_ratios=(1, 1))
    for (left, right), (name, (images, question)) in zip(axes, rows.items()):
        tiles = as_pixels(images)
        for number, tile in enumerate(tiles):
            left.imshow(tile, extent=(number * 1.12, number * 1.12 + 1, 0, 1))
        left.set(xlim=(-0.02, 4 * 1.12), ylim=(-0.02, 1.02))
        left.set_ylabel(name, rotation=0, ha="right", va="center", color=PRETEXTS[name])
        right.text(0, 0.5, question, va="center", fontsize=9.5, transform=right.transAxes)
        right.axis("off")
        left.set(xticks=[], yticks=[])
        left.spines[:].set_visible(False)
    return figure
