"""Figures of memory banks: how old a row is, what Z decides, what a picture shares with its pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from course_lib.plots.drawing import GREY, ORANGE, RED, SKY, THIS, drawn
from course_lib.plots.sketch import arrow, box, mosaic, picture

AGES = "viridis_r"  # dark: old


@drawn
def bank_drawing(images: Tensor, ages: Sequence[int]) -> Figure:
    """How one image meets a bank: images (N, 3, H, W) with a row each, coloured by its age; the first image's turn."""
    figure, axes = plt.subplots(figsize=(8.6, 2.6))
    axes.set(xlim=(0, 10), ylim=(0, len(images) + 0.4), xticks=[], yticks=[])
    axes.axis("off")
    colours, oldest = plt.get_cmap(AGES), max(*ages, 1)
    for i, (image, age) in enumerate(zip(images, ages)):
        y = len(images) - i - 0.5
        axes.imshow(mosaic(image[None], 1), extent=(6.1, 6.9, y - 0.4, y + 0.4), aspect="auto", zorder=2)
        axes.add_patch(Rectangle((7.0, y - 0.35), 1.9, 0.7, fc=colours(age / oldest), ec="white"))
        axes.text(9.0, y, f"age {age}", va="center", fontsize=8)
        arrow(axes, (4.7, len(images) - 0.5), (6.05, y), color=SKY if i == 0 else ORANGE)
    axes.imshow(mosaic(images[:1], 1), extent=(0.2, 1.0, len(images) - 0.9, len(images) - 0.1), aspect="auto")
    box(axes, 2.3, len(images) - 0.5, "network")
    box(axes, 4.2, len(images) - 0.5, "v", THIS)
    arrow(axes, (1.05, len(images) - 0.5), (1.6, len(images) - 0.5))
    arrow(axes, (3.0, len(images) - 0.5), (3.9, len(images) - 0.5))
    axes.text(0.2, 0.9, "blue: is it this row?  orange: or one of these?\nafterwards row 1 moves half way to v: age 0",
              fontsize=9, va="center")
    return figure


@drawn
def bank_ages(points: Tensor, ages: Tensor, agreement: Mapping[str, Any], step: int) -> Figure:
    """A bank's rows on a plane (N, 2), coloured by age (N,); over it, each row's cosine with its image now.

    agreement: "each" (N,), "mean", and "another", as `evaluate.banks.bank_agreement` gives them.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 2.9), width_ratios=(1.1, 1))
    shown = left.scatter(*points.T.numpy(), c=ages.numpy(), cmap=AGES, s=9, linewidths=0)
    left.set(xticks=[], yticks=[], title=f"the bank after {step} steps", aspect="equal")
    figure.colorbar(shown, ax=left, label="age (updates)")
    right.scatter(ages.numpy(), agreement["each"].numpy(), c=ages.numpy(), cmap=AGES, s=9, linewidths=0)
    right.set(xlabel="age (updates)", ylabel="cosine with its image now", ylim=(-0.3, 1.05),
              title=f"mean cosine {agreement['mean']:.2f}; with another image {agreement['another']:.2f}")
    right.axhline(0, color=GREY, lw=1, ls=":")
    return figure


@drawn
def answers_by_cosine(where: float, temperature: float, others: Tensor, own: Tensor) -> Figure:
    """NCE's answer h over the cosine, one half at `where`, above where the own and the other rows' cosines lie."""
    grid = torch.linspace(-1, 1, 200)
    h = torch.sigmoid((grid - where) / temperature)
    figure, (top, below) = plt.subplots(2, 1, figsize=(6.6, 3.4), sharex=True, height_ratios=(1.6, 1))
    top.plot(grid, h, color=THIS)
    top.axhline(0.5, color=GREY, ls=":", lw=1)
    top.set(ylabel="h: its own row?", ylim=(-0.04, 1.04), title=f"h is one half at cosine {where:.2f}")
    for values, colour, name in ((others, ORANGE, "other rows"), (own, SKY, "own row")):
        below.hist(values.flatten().numpy(), bins=50, range=(-1, 1), density=True, color=colour, alpha=0.6, label=name)
    below.set(xlabel="cosine with a row", yticks=[], xlim=(-1, 1))
    below.legend(fontsize=8, loc="upper left")
    return figure


@drawn
def picture_and_pieces(image: Tensor, pieces: Tensor, cosines: Mapping[str, Tensor], here: float) -> Figure:
    """A picture (3, H, W), its pieces (c, 3, p, p) in their order; the cosines of many pictures with their pieces.

    cosines: "own", with their own, "another", with another's (N,). here: that of this picture.
    """
    figure, (first, second, right) = plt.subplots(1, 3, figsize=(8.8, 2.5), width_ratios=(0.7, 0.7, 1.6))
    picture(first, image, "the picture")
    picture(second, mosaic(pieces, round(len(pieces) ** 0.5)), "in pieces")
    for name, label, colour in (("own", "its own picture", THIS), ("another", "another picture", GREY)):
        right.hist(cosines[name].numpy(), bins=50, range=(-1, 1), density=True, color=colour, alpha=0.6, label=label)
    right.axvline(here, color=RED, lw=2)
    right.set(xlabel="cosine of pieces and picture (red: these)", yticks=[], xlim=(-1, 1),
              title=f"this one: {here:.2f}")
    right.legend(fontsize=8, loc="upper left")
    return figure


@drawn
def springs_and_labels(distances: Tensor, forces: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> Figure:
    """DrLIM's forces over a pair's distance, name -> (M,); SeLa's images for each label, name -> (K,), sorted."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.5))
    for (name, values), colour in zip(forces.items(), (SKY, ORANGE)):
        left.plot(distances, values, color=colour, label=name)
    left.axhline(0, color=GREY, lw=1, ls=":")
    left.set(xlabel="distance of the pair", ylabel="force", title="DrLIM: two springs")
    left.legend(fontsize=8)
    for (name, values), colour in zip(counts.items(), (GREY, THIS)):
        right.plot(range(1, len(values) + 1), values.sort(descending=True).values, "o-", ms=3, color=colour, label=name)
    right.set(xlabel="label, from the most frequent", ylabel="images", title="SeLa: each label its share")
    right.legend(fontsize=8)
    return figure
