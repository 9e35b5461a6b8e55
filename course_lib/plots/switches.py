"""Figures of the contrastive framework: methods as rows of choices, what is compared with what, maps over pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from course_lib.plots.drawing import GREY, MEANING, ORANGE, RED, SKY, THIS, drawn
from course_lib.plots.sketch import heat, mosaic, picture
from course_lib.text import counted

PALE = ("#DCE9F5", "#FBE8C8", "#D9EFE4", "#F4DCE8", "#E6E6E6", "#F6E3D3")


@drawn
def choices_and_scores(choices: Mapping[str, Sequence[str]], aspects: Sequence[str], scores: Mapping[str, float],
                       own: Sequence[str], levels: Mapping[str, float]) -> Figure:
    """A row for each method: its choices, equal ones in a column in the same colour; beside them a bar, in percent.

    own: the methods in the lesson's colour, the others in grey. levels: name -> height of a dotted line.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 0.34 * len(choices) + 0.7), width_ratios=(2.5, 1))
    left.set(xlim=(0, len(aspects)), ylim=(len(choices), 0))
    for column in range(len(aspects)):
        kinds = list(dict.fromkeys(row[column] for row in choices.values()))
        for place, row in enumerate(choices.values()):
            colour = PALE[kinds.index(row[column]) % len(PALE)]
            left.add_patch(Rectangle((column + 0.02, place + 0.06), 0.96, 0.88, color=colour))
            left.text(column + 0.5, place + 0.5, row[column], ha="center", va="center", fontsize=8.5)
    left.set_xticks([column + 0.5 for column in range(len(aspects))], list(aspects), fontsize=8.5)
    left.set_yticks([place + 0.5 for place in range(len(choices))], list(choices))
    left.xaxis.tick_top()
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    for place, name in enumerate(choices):
        if name in scores:
            right.barh(place + 0.5, 100 * scores[name], 0.7, color=THIS if name in own else GREY)
            right.text(100 * scores[name] + 1, place + 0.5, f"{100 * scores[name]:.0f}", va="center", fontsize=8.5)
        else:
            right.text(1, place + 0.5, "–", va="center", fontsize=8.5)
    for name, height in levels.items():
        right.axvline(100 * height, color=MEANING.get(name, GREY), ls=":", lw=1.4)
        right.annotate(name, (100 * height, 1), xycoords=("data", "axes fraction"), rotation=0, fontsize=7,
                       ha="center", va="bottom")
    right.set(ylim=(len(choices), 0), xlim=(0, 112), yticks=[], xlabel="kNN (%)")
    return figure


@drawn
def compared(views: Tensor, positive: Tensor, negative: Tensor, scores: Tensor, title: str) -> Figure:
    """What a combination compares: its views, who is what for whom, and the scores before any training.

    views: (V, N, 3, H, W), a row for each; positive, negative: (A, C) bool; scores: (A, C).
    """
    figure, axes = plt.subplots(1, 3, figsize=(8.8, 2.6), width_ratios=(1.25, 1.1, 1))
    picture(axes[0], mosaic(views.flatten(0, 1), views.shape[1]), "views")
    roles = torch.where(positive, 0, torch.where(negative, 1, 2))
    colours = torch.tensor([[0.0, 0.447, 0.698], [0.88, 0.72, 0.45], [0.95, 0.95, 0.95]])
    axes[1].imshow(colours[roles].numpy(), aspect="auto", interpolation="nearest")
    axes[1].set(xticks=[], yticks=[], xlabel=f"{roles.shape[1]} candidates", ylabel=f"{roles.shape[0]} anchors",
                title="blue: positive, tan: negative")
    low, high = float(scores.min()), float(scores.max()) + 1e-6
    for mask, colour, name in ((negative, ORANGE, "negatives"), (positive, THIS, "positives")):
        if mask.any():
            axes[2].hist(scores[mask].numpy(), bins=24, range=(low, high), density=True, color=colour, alpha=0.6,
                         label=name)
    axes[2].set(yticks=[], xlabel="score", title="untrained scores")
    axes[2].legend(fontsize=7.5, loc="upper left")
    figure.suptitle(title, fontsize=10.5)
    return figure


@drawn
def sentence(text: str) -> Figure:
    """A sentence where there is nothing to draw."""
    figure, axes = plt.subplots(figsize=(8.8, 2.6))
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=10, wrap=True)
    axes.set_axis_off()
    return figure


@drawn
def maps_over(image: Tensor, fields: Mapping[str, tuple[int, Tensor, Tensor]]) -> Figure:
    """An image (3, S, S) for each map: name -> (places along a side, what one place sees (S, S) bool, all of them).

    Framed, the square that the place sees; dots, the middle of what each place of the map sees, (n, 2) as x, y.
    """
    figure, axes = plt.subplots(1, len(fields), figsize=(2.5 * len(fields), 2.7))
    for panel, (name, (side, seen, middles)) in zip(np.atleast_1d(axes), fields.items()):
        picture(panel, image, f"{name}: {counted(side * side, 'place')}")
        ys, xs = seen.nonzero(as_tuple=True)
        x, y, wide, high = int(xs.min()), int(ys.min()), int(xs.max() - xs.min()), int(ys.max() - ys.min())
        panel.add_patch(Rectangle((x - 0.5, y - 0.5), wide + 1, high + 1, fill=False, ec=RED, lw=2))
        panel.plot(*middles.T.numpy(), "o", color="white", mec=THIS, ms=4)
    return figure


@drawn
def found(first: Tensor, cell: tuple[int, int], side: int, others: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """A view with one place framed, and other views with that place's scores laid over: name -> (image, (h, w)).

    cell: row and column among side x side places; bright is a high score, on one scale for all.
    """
    figure, axes = plt.subplots(1, 1 + len(others), figsize=(2.1 * (1 + len(others)), 2.5))
    picture(axes[0], first, "view 1: the source")
    unit = first.shape[-1] / side
    axes[0].add_patch(Rectangle((cell[1] * unit - 0.5, cell[0] * unit - 0.5), unit, unit, fill=False, ec=RED, lw=2.5))
    low = min(float(scores.min()) for _, scores in others.values())
    high = max(float(scores.max()) for _, scores in others.values())
    for panel, (name, (image, scores)) in zip(axes[1:], others.items()):
        level = (scores - low) / max(high - low, 1e-6)
        pixels = heat(image.permute(1, 2, 0).numpy(), torch.ones_like(level), 0.0)
        large = level.repeat_interleave(32 // level.shape[0], 0).repeat_interleave(32 // level.shape[1], 1).numpy()
        picture(panel, 0.4 * pixels + 0.6 * plt.get_cmap("inferno")(large)[..., :3],
                f"{name}\nmean {float(scores.mean()):.1f}, best {float(scores.max()):.1f}")
    return figure


@drawn
def patch_roles(image: Tensor, grid: tuple[int, int], at: tuple[int, int], rows: int, formula: str) -> Figure:
    """A picture's patches by role: the context of `at`, the patch that predicts, the one that is right, the others.

    Numbers in reading order; image (3, S, S), drawn behind.
    """
    height, width = grid
    figure, axes = plt.subplots(figsize=(4.6, 3.4))
    axes.imshow(image.permute(1, 2, 0).numpy(), extent=(0, width, height, 0), alpha=0.55)
    for r in range(height):
        for c in range(width):
            target = (r, c) == (at[0] + rows, at[1])
            colour = RED if target else THIS if (r, c) == at else SKY if r <= at[0] else "none"
            axes.add_patch(Rectangle((c + 0.04, r + 0.04), 0.92, 0.92, fc=colour, ec="white", alpha=0.55))
            axes.text(c + 0.5, r + 0.5, str(r * width + c), ha="center", va="center", fontsize=8,
                      weight="bold" if target else "normal")
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal", title=formula)
    axes.set_xlabel("pale blue: what the context sees; blue: who predicts; red: the right one;\nall others, of all "
                    "images: negatives", fontsize=8)
    return figure


@drawn
def by_encoder(lines: Mapping[str, Mapping[str, Sequence[float]]], ylabel: str, levels: Mapping[str, float]) -> Figure:
    """Methods side by side on each encoder: method -> encoder -> a value for each seed; a bar at each mean."""
    figure, axes = plt.subplots(figsize=(6.8, 2.8))
    for shift, colour, (method, encoders) in zip((-0.13, 0.13), (THIS, ORANGE), lines.items()):
        for place, values in enumerate(encoders.values()):
            axes.plot([place + shift] * len(values), values, "o", color=colour, alpha=0.7,
                      label=None if place else method)
            mean = sum(values) / len(values)
            axes.plot([place + shift - 0.1, place + shift + 0.1], [mean, mean], color=colour)
    names = list(next(iter(lines.values())))
    for name, height in levels.items():
        axes.axhline(height, color=MEANING.get(name, GREY), ls="--", lw=1, zorder=0)
        axes.annotate(name, (0.005, height), xycoords=("axes fraction", "data"), xytext=(0, 2), fontsize=8,
                      textcoords="offset points")
    axes.set(xticks=range(len(names)), xticklabels=names, ylabel=ylabel, xlim=(-0.5, len(names) - 0.5))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(axis="y")
    return figure
