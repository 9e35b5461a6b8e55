"""Pictures of lesson 08: prototypes, balanced codes, and what one changed setting does to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots import sketch
from course_lib.plots.drawing import ORANGE, THIS, drawn

TARGET, CODES = "#8A3A6B", "#B06F00"  # of arrows and words
Look = tuple[Sequence[int], Sequence[float], Sequence[int]]  # of a run: steps, losses, images of each name


@drawn
def swapped_prediction() -> Figure:
    """Two views, their scores, the code of each, and whose prediction it is the target of."""
    figure, axes = plt.subplots(figsize=(8.6, 2.7))
    axes.set(xlim=(0, 10.4), ylim=(0.1, 3.1))
    axes.axis("off")
    for y, i in ((2.6, 1), (0.6, 2)):
        for x, name, edge in ((0.6, f"view {i}", "#999999"), (2.4, "encoder", THIS),
                              (4.5, f"scores $s_{i} = z_{i} C^T$", THIS), (8.8, f"prediction $p_{i}$", THIS)):
            sketch.box(axes, x, y, name, edge)
        for a, b in ((1.05, 1.85), (2.95, 3.55), (5.5, 7.9)):
            sketch.arrow(axes, (a, y), (b, y))
        axes.text(6.7, y + 0.13, r"softmax of $s / \tau$", fontsize=9, ha="center")
    for y, i in ((1.95, 1), (1.25, 2)):
        sketch.box(axes, 6.75, y, f"code $q_{i}$", ORANGE)
    sketch.arrow(axes, (4.9, 2.32), (6.2, 2.0), ORANGE)
    sketch.arrow(axes, (4.9, 0.88), (6.2, 1.2), ORANGE)
    axes.text(4.55, 1.6, "balance (Sinkhorn),\nno gradient", fontsize=9, color=CODES, ha="center", va="center")
    sketch.arrow(axes, (7.3, 1.9), (8.5, 0.95), TARGET, ls="--")
    sketch.arrow(axes, (7.3, 1.3), (8.5, 2.25), TARGET, ls="--")
    axes.text(8.75, 1.6, "is the target of", fontsize=9, color=TARGET, ha="left", va="center")
    return figure


@drawn
def four_codes(images: Tensor, spots: Tensor, prototypes: Tensor, alone: Tensor, balanced: Tensor) -> Figure:
    """Four images (4, 3, H, W), where they are on the circle, (4, 2), three prototypes, (3, 2), and both codes (4, 3).

    Below the codes: the sum of each column, the images that a prototype gets.
    """
    figure, places = plt.subplot_mosaic([["circle", "alone", "balanced", "a", "b"],
                                         ["circle", "alone", "balanced", "c", "d"]], figsize=(8.6, 2.5),
                                        width_ratios=(2.2, 1.6, 1.6, 1, 1))
    axes = places["circle"]
    sketch.unit_circle(axes, 1.4)
    axes.scatter(*prototypes.T, marker="*", s=170, color=ORANGE, zorder=2)
    axes.scatter(*spots.T, s=30, color=THIS, zorder=3)
    for number, (x, y) in enumerate((1.2 * spots).tolist(), 1):
        axes.annotate(str(number), (x, y), ha="center", va="center", color="black")
    for name, (x, y) in zip("ABC", (0.7 * prototypes).tolist()):
        axes.annotate(name, (x, y), ha="center", va="center", color=CODES)
    for key, codes in (("alone", alone), ("balanced", balanced)):
        sketch.numbers(places[key], codes, "1234", "ABC")
        places[key].xaxis.tick_bottom()
        places[key].set(xticks=range(3), xticklabels=[f"{c}\n{v:.2f}" for c, v in zip("ABC", codes.sum(0))],
                        title=f"codes, {key}")
    for i, key in enumerate("abcd"):
        sketch.picture(places[key], images[i], str(i + 1))
    return figure


@drawn
def batch_of_codes(codes: Tensor, choices: float, used: float, most: float = 26) -> Figure:
    """Codes (images, prototypes) as a heat map, and the images that each prototype gets, beside a fair share.

    choices: over how many prototypes an image spreads; used: how many get images.
    """
    images, prototypes = codes.shape
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.9), width_ratios=(1.9, 1), layout="constrained")
    shown = left.imshow(codes.T.numpy(), aspect="auto", cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(shown, ax=left, label="code")
    left.set(xlabel=f"{images} images, in their order on the circle", ylabel="prototype",
             yticks=range(0, prototypes, 2), title=f"an image spreads over {choices:.1f} prototypes")
    right.barh(range(prototypes), codes.sum(0).numpy(), color=THIS)
    right.axvline(images / prototypes, color="#333333", ls=":", lw=1.2)
    right.set(xlabel="images it gets", xlim=(0, most), ylim=(prototypes - 0.4, -0.6), yticks=[],
              title=f"{used:.1f} prototypes get images")
    return figure


@drawn
def among_prototypes(spots: Tensor, prototypes: Tensor, counts: Sequence[float], losses: Sequence[float], step: int
                     ) -> Figure:
    """Images (N, 2) among prototypes (K, 2) at a step; names in use and the loss over all steps, dashed: log K."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.6, 2.7), width_ratios=(1, 1.2, 1.2),
                                                 layout="constrained")
    sketch.unit_circle(left)
    left.scatter(*prototypes.T, marker="*", s=160, color=ORANGE, zorder=2)
    apart = 1 + 0.06 * torch.linspace(-1, 1, len(spots))[:, None]  # points on one place stay visible
    left.scatter(*(spots * apart).T, s=22, color=THIS, alpha=0.8, zorder=3)
    left.set_title(f"after {step} steps")
    many = len(prototypes)
    for axes, values, high, title in ((middle, counts, many + 0.3, "names in use"),
                                      (right, losses, None, f"loss (dashed: log {many})")):
        axes.plot(values, color=THIS)
        axes.axvline(step, color="#999999", lw=1)
        axes.set(xlabel="step", ylim=(0, high), title=title)
    right.axhline(math.log(many), color="#666666", ls="--", lw=1)
    return figure


@drawn
def one_change(base: Sequence[Look], changed: Sequence[Look], log_k: float, title: str) -> Figure:
    """Runs beside the base, in grey: the loss (dotted: log K), and the sizes of the 60 largest names."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.8), layout="constrained")
    for runs, colour in ((base, "#BBBBBB"), (changed, THIS)):
        for steps, loss, sizes in runs:
            left.plot(steps, loss, color=colour, lw=1.3)
            right.plot([100 * size / sum(sizes) for size in sizes[:60]], color=colour, lw=1.6)
    left.axhline(log_k, color="#333333", ls=":", lw=1.2)
    left.set(xlabel="step", ylabel="loss", ylim=(-0.2, 8.2), title="dotted: log K")
    right.set(xlabel="names, the largest first", ylabel="test images (%)", yscale="log", ylim=(0.04, 130), title=title)
    return figure


@drawn
def by_batch(batches: Sequence[int], found: Mapping[int, Sequence[float]], batch: int, queue: int) -> Figure:
    """The share of images with the prototype that they get among all, by the batch: a line for each queue's length."""
    figure, axes = plt.subplots(figsize=(7.6, 2.6))
    for length, values in sorted(found.items()):
        colour, label = (THIS, f"queue of {length}") if length else ("#999999", "no queue")
        axes.plot(batches, [100 * v for v in values], "o-", color=colour, label=label)
    here = found[queue][list(batches).index(batch)]
    axes.plot(batch, 100 * here, "D", ms=10, color=ORANGE)
    axes.set(xscale="log", xlabel="batch", ylabel="same prototype (%)", ylim=(0, 100), xticks=batches,
             xticklabels=batches, title=f"batches of {batch}, queue of {queue}: {here:.0%} get the prototype that "
                                        "they get among all")
    axes.minorticks_off()
    axes.legend(fontsize=8, loc="upper left")
    return figure
