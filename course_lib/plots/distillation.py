"""Figures of self-distillation: two networks, what a teacher says, the plane of its two entropies, what a map is worth.

Entropies are shares of log K, own first: (own, of the mean).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from torch import Tensor

from course_lib.plots import sketch
from course_lib.plots.charts import MARKERS
from course_lib.plots.drawing import BLUE, CYCLE, GREEN, GREY, PINK, RED, THIS, drawn
from course_lib.plots.pictures import image_rows
from course_lib.plots.words import patches_around, word_examples

OWN, MEAN = RED, BLUE  # the two entropies


@drawn
def teacher_and_student() -> Figure:
    """Who sees what, and where the gradient goes."""
    figure, axes = plt.subplots(figsize=(8.4, 2.9))
    axes.set(xlim=(0, 10.4), ylim=(0, 3.4)), axes.axis("off")
    box, arrow = partial(sketch.box, axes), partial(sketch.arrow, axes)
    # x, what is in the box, its colour, half of its width
    student = ((0.9, "two crops,\npatches hidden", GREY, 0.72), (3.0, "student ViT", THIS, 0.56),
               (4.8, "head", THIS, 0.3), (6.9, r"softmax( $z\,/\,0.1$ )", THIS, 0.76))
    teacher = ((0.9, "the same crops,\ncomplete", GREY, 0.76), (3.0, "teacher ViT", RED, 0.56),
               (4.8, "head", RED, 0.3), (6.9, r"softmax( $(z - c)\,/\,0.04$ )", RED, 1.02))
    for y, line in ((2.7, student), (0.7, teacher)):
        for (x, text, colour, half), following in zip(line, [*line[1:], None]):
            box(x, y, text, colour)
            if following:
                arrow((x + half, y), (following[0] - following[3], y))
    arrow((7.7, 2.6), (9.0, 1.95)), arrow((7.95, 0.8), (9.0, 1.45))
    box(9.5, 1.7, "cross-\nentropy", GREEN)
    arrow((3.0, 2.3), (3.0, 1.1), PINK, ls="--")
    axes.text(3.15, 1.65, "moving average, once a step", fontsize=9, color="#8A3A6B")
    axes.text(8.75, 0.75, "no gradient", fontsize=9, color=RED)
    return figure


@drawn
def said(p: Tensor, own: float, mean: float) -> Figure:
    """The teacher's probabilities (images, scores), a row for each image, and their two entropies."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.7), width_ratios=(1.3, 1))
    left.imshow(p.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    left.set(xlabel="score", ylabel="image", xticks=range(p.shape[1]), yticks=range(p.shape[0]),
             title="the teacher's probabilities")
    right.barh([1, 0], [own, mean], color=[OWN, MEAN])
    right.set(xlim=(0, 1.05), yticks=[1, 0], yticklabels=["own", "of the mean"], xlabel="entropy over log K",
              title=f"information {mean - own:.2f}")
    return figure


@drawn
def entropy_plane(toys: Sequence[Tensor], chosen: Tensor, trained: Mapping[str, Sequence[tuple[float, float]]],
                  runs: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """The chosen toy's entropies by step, and the plane: where toys end, where larger runs end, a learned run's path.

    toys, chosen: (steps, 2). trained: name -> its path. runs: name -> ends, one for each seed.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.6), width_ratios=(1, 1.35))
    left.plot(chosen[:, 1], color=MEAN, label="of the mean")
    left.plot(chosen[:, 0], "--", color=OWN, label="own")
    left.set(xlabel="step", ylabel="entropy over log K", ylim=(-0.03, 1.05), title="the chosen toy")
    left.legend(loc="center right", fontsize=8)
    right.plot([0, 1], [0, 1], color="#666666", ls=":", lw=1.2)
    for path in toys:
        right.plot(*path[-1], "o", color="#cccccc", ms=5)
    right.plot(chosen[:, 0], chosen[:, 1], color=GREEN, lw=1, alpha=0.7)
    right.plot(*chosen[-1], "o", color=GREEN, ms=9, label="the chosen toy (grey: the others)")
    for (name, path), colour in zip(trained.items(), CYCLE[:1] + CYCLE[3:]):
        x, y = zip(*path)
        right.plot(x, y, color=colour, lw=1.2, alpha=0.8)
        right.plot(x[-1], y[-1], "*", color=colour, ms=13, mec="white", label=name)
    for (name, ends), marker in zip(runs.items(), MARKERS):
        right.plot(*zip(*ends), marker, color="#222222", mfc="none", ms=7, ls="", label=name)
    for x, y, text in ((0.14, 1.0, "sure, and different"), (0.16, 0.06, "one score for all"), (0.99, 0.8, "uniform")):
        right.text(x, y, text, fontsize=8, color="#555555", ha="right" if x > 0.5 else "left")
    right.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.06), xlabel="own entropy over log K", ylabel="entropy of the mean")
    right.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@drawn
def taken_away(maps: Mapping[str, Mapping[str, Any]], draws: Sequence[float], chosen: str,
               controls: Sequence[str], whole: float, shown: Mapping[str, Tensor]) -> Figure:
    """What maps are worth: the accuracy without the patches that each points at, and without those of place only.

    maps: name -> "share" (of those patches that is object), "own" and "place" (accuracies, place None if there is
    none), in [0, 1]; the names in `controls` are of no network. draws: accuracies without random patches. whole: with
    all patches. shown: name -> pictures (N, 3, H, W), in rows, of the chosen map.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.8), width_ratios=(1.2, 1))
    left.axvspan(100 * min(draws), 100 * max(draws), color=GREY, alpha=0.25, lw=0)
    for y, (name, one) in enumerate(maps.items()):
        colour = RED if name in controls else THIS
        if one["place"] is not None:
            left.plot([100 * one["own"], 100 * one["place"]], [y, y], color=colour, lw=1, alpha=0.6)
            left.plot(100 * one["place"], y, "o", ms=5, mfc="white", mec=colour)
        left.plot(100 * one["own"], y, "o", ms=5.5, color=colour)
    left.plot([100 * d for d in draws], [len(maps)] * len(draws), "o", ms=4, color="#666666")
    for share, name in ((whole, "all there"), (1 / 8, "chance")):
        left.axvline(100 * share, color="#222222", ls="--" if share == whole else ":", lw=1.2)
        left.annotate(name, (100 * share, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                      textcoords="offset points", ha="center", fontsize=7.5)
    labels = [f"{name} ({one['share']:.0%})" for name, one in maps.items()] + ["random"]
    left.set_yticks(range(len(labels)), labels, fontsize=7.5)
    left.get_yticklabels()[list(maps).index(chosen)].set_fontweight("bold")
    left.set(xlabel="class found without these patches (%)", ylim=(len(maps) + 0.6, -0.6),
             xlim=(0, 100 * whole + 6))
    rows = torch.stack(list(shown.values()))
    sketch.picture(right, sketch.mosaic(rows.flatten(0, 1), rows.shape[1]), chosen)
    height = rows.shape[-2] + 1
    right.set_yticks([height * (i + 0.5) for i in range(len(rows))], list(shown), fontsize=8)
    right.tick_params(length=0)
    return figure


@drawn
def word_album(images: Tensor, dictionaries: Mapping[str, Tensor], ranks: Sequence[int], examples: int = 7) -> Figure:
    """Two dictionaries side by side: the words of some ranks, each with patches that have it; `images` (N, 3, H, W).

    dictionaries: name -> words (N, g, g). Beside a row: how often its words occur.
    """
    rows = {}
    for rank in ranks:
        row, shares = [], []
        for words in dictionaries.values():
            counts = torch.bincount(words.flatten())
            word = int(counts.argsort(descending=True, stable=True)[rank - 1])
            found = word_examples(patches_around(images, words.shape[-1], 4), words, word, examples)
            row += [found, torch.ones(examples + 1 - len(found), *found.shape[1:])]
            shares.append(f"{float(counts[word]) / words.numel():.1%}")
        rows[f"no. {rank}:  {', '.join(shares)}"] = torch.cat(row)[:-1]
    middle, empty = examples // 2, [""] * examples
    titles = ["" if n != middle else name for name in dictionaries for n, _ in enumerate([*empty, ""])][:-1]
    return image_rows(rows, titles=titles, cell=0.5)


@drawn
def matched(first: Tensor, second: Tensor, matches: Mapping[str, Sequence[Tensor]], grid: int = 8) -> Figure:
    """Pairs of images, and lines from patches of the first to those that were found in the second.

    first, second (N, 3, S, S); matches: whose (a row of the figure) -> for each pair (n, 5) int: row, column, row and
    column there, and whether it is right (green) or not (red).
    """
    pixels = first.shape[-1] // grid
    figure, panels = plt.subplots(len(matches), 2 * len(first), figsize=(8.6, 1.2 * len(matches) * 4 / len(first)),
                                  squeeze=False)
    for row, (name, pairs) in zip(panels, matches.items()):
        row[0].set_ylabel(name, fontsize=9)
        for number, found in enumerate(pairs):
            axes = row[2 * number : 2 * number + 2]
            for panel, image in zip(axes, (first[number], second[number])):
                sketch.picture(panel, image)
            for r1, c1, r2, c2, right in found.tolist():
                colour = GREEN if right else RED
                (x1, y1), (x2, y2) = ((c * pixels + pixels / 2 - 0.5, r * pixels + pixels / 2 - 0.5)
                                      for r, c in ((r1, c1), (r2, c2)))
                figure.add_artist(ConnectionPatch((x1, y1), (x2, y2), "data", "data", axesA=axes[0], axesB=axes[1],
                                                  color=colour, lw=1.3, ls="-" if right else "--"))
                for panel, x, y in zip(axes, (x1, x2), (y1, y2)):
                    panel.plot(x, y, "o", ms=4, color=colour, mec="white", mew=0.6)
    return figure
