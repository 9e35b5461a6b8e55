"""Figures of lesson 04: who wins the game, whom an anchor pushes, parts of the views, the evidence on four runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from course_lib.plots.drawing import BLUE, GREEN, GREY, MEANING, ORANGE, PINK, RED, SIGNED, THIS, drawn
from course_lib.plots.sketch import mosaic, numbers, picture, unit_circle

CAUSES = ("class", "hue", "size", "pos_x", "pos_y", "background", "texture", "lighting")  # columns of `parts`
Values = Mapping[float, Sequence[float]]  # temperature -> a value for each seed


def hit_frames(hits: Tensor) -> Tensor:
    """Bool (N,) -> the colours of N frames, (N, 3): blue where it is True, else red."""
    right, wrong = (torch.tensor(to_rgb(colour)) for colour in (BLUE, RED))
    return torch.where(hits[:, None], right, wrong)


@drawn
def shortcuts(pair: Sequence[Tensor], found: Mapping[str, float]) -> Figure:
    """Ten of the pairs of views (N, 3, H, W) each, and the share of partners that each cheap player finds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 1.9), width_ratios=(2.6, 1))
    picture(left, mosaic(torch.cat([view[:10] for view in pair]), 10), f"ten of {len(pair[0])} pairs")
    left.set_yticks([16, 49], ["view 1", "view 2"])
    right.barh(list(found), [100 * share for share in found.values()], color=[ORANGE, GREY])
    right.axvline(100 / (2 * len(pair[0]) - 1), color=MEANING["chance"], ls=":", lw=1.2)
    right.set(xlim=(0, 100), xlabel="partners found (%)")
    return figure


@drawn
def four_pairs(z: Tensor, names: Sequence[str]) -> Figure:
    """Views of four images on the circle, (8, 2), the first views first; their cosines, each row's partner framed."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4), width_ratios=(1, 1.25))
    unit_circle(left, edge=1.35)
    for i, colour in enumerate((BLUE, RED, GREEN, PINK)):
        left.plot(*z[[i, i + 4]].T, color=colour, lw=2)
        for k, marker in ((i, "o"), (i + 4, "s")):
            left.scatter(*z[[k]].T, color=colour, s=40, marker=marker)
            left.annotate(names[k], (1.17 * z[k]).tolist(), ha="center", va="center", color=colour)
    cosines = (z @ z.T).masked_fill(torch.eye(8, dtype=torch.bool), torch.nan)
    image = right.imshow(cosines.numpy(), cmap=SIGNED, vmin=-1, vmax=1)
    for i in range(8):
        right.add_patch(Rectangle(((i + 4) % 8 - 0.5, i - 0.5), 1, 1, fill=False, ec="black", lw=2))
        right.text(i, i, "×", ha="center", va="center", color=GREY)
    right.set_xticks(range(8), names)
    right.set_yticks(range(8), names)
    right.set(xlabel="candidate j", ylabel="anchor i")
    figure.colorbar(image, ax=right, label="cosine", shrink=0.85)
    return figure


@drawn
def pushes(cosines: Tensor, pull: Tensor, shares: Tensor, anchor: int, title: str) -> Figure:
    """Cosines and gradients times temperature, (2N, 2N), the anchor's row framed; its shares of the push, (2N,)."""
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 2.7), width_ratios=(1, 1, 1.25))
    count = len(cosines)
    other = (anchor + count // 2) % count
    for place, matrix, name in zip(axes, (cosines, pull), ("cosine", "gradient × temperature")):
        place.imshow(matrix.numpy(), cmap=SIGNED, vmin=-1, vmax=1)
        place.add_patch(Rectangle((-0.5, anchor - 0.5), count, 1, fill=False, ec="black", lw=1.5))
        place.set(title=name, xlabel="candidate", xticks=[], yticks=[0, count // 2], yticklabels=["view 1", "view 2"])
    pushed = shares > 0
    axes[2].vlines(cosines[anchor, pushed], 0, 100 * shares[pushed], color=BLUE, lw=3)
    axes[2].axvline(float(cosines[anchor, other]), color=RED, ls="--",
                    label=f"partner, pulled {-pull[anchor, other]:.2f}")
    axes[2].set(xlim=(-1.05, 1.05), ylim=(0, 100), xlabel="cosine with the anchor", ylabel="share of the push (%)",
                title=title)
    axes[2].legend(loc="upper left", fontsize=8)
    return figure


@drawn
def parts(plays: Mapping[str, tuple[Sequence[float], Sequence[float]]], chosen: str,
          rows: Mapping[str, Mapping[str, float]], pixels: float) -> Figure:
    """Runs by the share of partners found and kNN, a marker for each seed; what is read of each of `CAUSES` in rows.

    plays: views -> (found, kNN), fractions. The third of the rows is framed. pixels: kNN of raw pixels.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 2.7), width_ratios=(1, 2.1))
    for (name, (x, y)), marker in zip(plays.items(), "osD^v"):
        colour, order = (THIS, 3) if name == chosen else ("#BBBBBB", 2)
        left.scatter([100 * v for v in x], [100 * v for v in y], marker=marker, s=42, label=name, color=colour,
                     zorder=order)
    left.axhline(100 * pixels, color=MEANING["raw pixels"], ls="--", lw=1)
    left.set(xlabel="partners found (%)", ylabel="kNN (%)", xlim=(0, 105), ylim=(0, 140), yticks=range(0, 101, 20))
    left.legend(fontsize=7, loc="upper left", ncols=2, handletextpad=0.1, columnspacing=0.6)
    values = torch.tensor([[row[cause] for cause in CAUSES] for row in rows.values()])
    numbers(right, values, list(rows), CAUSES, frame=2)
    return figure


@drawn
def evidence(losses: Mapping[str, Sequence[float]], chosen: str, cosines: Tensor, images: int,
             levels: Mapping[str, float], means: Mapping[str, float]) -> Figure:
    """Four losses, the chosen one in colour; its cosines (2N, 2N) of proper views, those of some images as a picture.

    levels: dashed lines of the losses. means: "partners" and "others", for the title of the histogram.
    """
    half, steps = len(cosines) // 2, len(losses[chosen])
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 2.6), width_ratios=(1.2, 1, 1.2))
    for name, loss in losses.items():
        colour, width, order = (THIS, 2.2, 3) if name == chosen else ("#bbbbbb", 1, 2)
        axes[0].plot(range(1, steps + 1), loss, color=colour, lw=width, zorder=order)
    for word, level in levels.items():
        axes[0].axhline(level, color="#666666", ls="--", lw=1)
        axes[0].annotate(word, (steps, level), ha="right", va="bottom" if level > 2 else "top", fontsize=8)
    axes[0].set(xlabel="step", ylabel="loss", ylim=(0, 7), title=chosen)
    few = [*range(images), *range(half, half + images)]
    axes[1].imshow(cosines[few][:, few].numpy(), cmap=SIGNED, vmin=-1, vmax=1)
    axes[1].set(xticks=[], yticks=[], title="cosines of proper views", xlabel="view 1          view 2")
    between = cosines[:half, half:]
    others = between[~torch.eye(half, dtype=torch.bool)]
    axes[2].hist(others.numpy(), bins=30, range=(-1, 1), density=True, color="#bbbbbb", label="other images")
    axes[2].hist(between.diagonal().numpy(), bins=30, range=(-1, 1), density=True, histtype="step", color=BLUE, lw=2,
                 label="partners")
    axes[2].set(xlabel="cosine", yticks=[], ylabel="density",
                title=f"means {means['partners']:.2f} and {means['others']:.2f}")
    axes[2].legend(fontsize=8, loc="upper left")
    return figure


@drawn
def temperatures(measures: Mapping[str, Values], levels: Mapping[str, tuple[float, str]]) -> Figure:
    """Measures by temperature, a panel each: a dot for each seed, a line through the means.

    levels: title of a panel -> a dashed line and its colour. The first panel, the loss, ends at 6.2.
    """
    figure, panels = plt.subplots(1, len(measures), figsize=(8.8, 2.4))
    for axes, (name, values) in zip(panels, measures.items()):
        for temperature, some in values.items():
            axes.plot([temperature] * len(some), some, "o", color=THIS, ms=5, alpha=0.7)
        axes.plot(list(values), [fmean(some) for some in values.values()], color=THIS, lw=1)
        axes.set(xscale="log", xlabel="temperature", title=name, ylim=(0, None))
        axes.set_xticks(list(values), list(map(str, values)))
        axes.minorticks_off()
        if name in levels:
            axes.axhline(levels[name][0], color=levels[name][1], ls="--", lw=1)
    panels[0].set_ylim(0, 6.2)
    return figure


@drawn
def few_labels(panels: Mapping[int, Mapping[str, Sequence[float]]], chance: float) -> Figure:
    """Labelled images a class -> start -> the accuracy of each seed (fractions), a panel each; the first start grey."""
    figure, places = plt.subplots(1, len(panels), figsize=(8.4, 2.4), sharey=True)
    for axes, (labels, starts) in zip(places, panels.items()):
        for row, values in enumerate(starts.values()):
            axes.plot([100 * v for v in values], [row] * len(values), "o", ms=6, alpha=0.7, color=THIS if row else GREY)
        axes.axvline(100 * chance, color=MEANING["chance"], ls=":", lw=1)
        axes.set(xlim=(0, 100), xlabel="test accuracy (%)", title=f"{labels} labelled images a class")
        axes.set_yticks(range(len(starts)), list(starts))
    places[0].invert_yaxis()
    return figure
