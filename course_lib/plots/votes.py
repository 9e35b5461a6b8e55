"""Figures of votes over noisy copies: the straight border, an election, certified accuracy, what n votes certify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.evaluate.patterns import PATCH, ThroughNoise
from course_lib.models.patches import normalize_patches, patchify, unpatchify
from course_lib.plots.drawing import BLACK, BLUE, GREEN, GREY, MEANING, ORANGE, RED, THIS, WIDTH, drawn
from course_lib.plots.pictures import image_rows
from course_lib.plots.sketch import mosaic, picture, striped

# how a classifier started and what it was trained with -> its look
LOOKS = {"plain": (BLACK, ":", "v"), "noise": (GREEN, "-.", "s"), "mae": (ORANGE, "--", "^"), "dmae": (THIS, "-", "o")}


@drawn
def straight_border(border: float = 1.1, shares: Sequence[float] = (0.6, 0.75, 0.9, 0.97)) -> Figure:
    """Left: noise around an image and a straight border at `border` sigma; right: how fast each share of A can fall."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.6, 2.9))
    x = torch.linspace(-3, 3, 400)
    density = torch.exp(-x.square() / 2)
    for side, colour, word, at in ((x < border, BLUE, "A", -0.6), (x >= border, RED, "B", border + 0.35)):
        left.fill_between(x[side], density[side], color=colour, alpha=0.5, lw=0)
        left.text(at, 0.12, word, fontsize=12, ha="center")
    left.annotate("", (border, 0.5), (0, 0.5), arrowprops={"arrowstyle": "<->", "color": BLACK})
    left.text(border / 2, 0.54, "$R$", fontsize=11, ha="center")
    share = float(torch.special.ndtr(torch.tensor(border)))
    left.set(xticks=[0, border], xticklabels=["image $x$", "border"], yticks=[], ylim=(0, 1.1),
             title=f"A holds {share:.0%} of the noise around $x$")
    change = torch.linspace(0, 2.5, 100)
    for start, style in zip(shares, (":", "-.", "--", "-")):
        reach = float(torch.special.ndtri(torch.tensor(start)))
        right.plot(change, torch.special.ndtr(reach - change), style, color=BLUE, label=f"{start:.0%}")
        right.plot(reach, 0.5, "o", color=BLACK, ms=5, zorder=3)
    right.axhline(0.5, color=GREY, ls="--", lw=1)
    right.set(xlabel="length of the change, in units of $\\sigma$", ylabel="share of A, at worst", ylim=(0, 1.02),
              title="one half is reached at $\\Phi^{-1}(p)$")
    right.legend(title="share $p$ at $x$", fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def turned(before: Tensor, after: Tensor, names: Sequence[tuple[str, str]]) -> Figure:
    """Images (N, 3, H, W), changed ones, and the change ten times as large; names: each one's class, what it is now."""
    change = 0.5 + 10 * (after - before)
    return image_rows({"image": before, "changed": after, "the change,\nten times": change}, cell=1.0,
                      titles=[f"{first},\nnow {now}" for first, now in names])


def drawn_through_noise(images: Tensor, it: ThroughNoise) -> Figure:
    """Images (N, 3, 32, 32), what was seen of them, and each way's patches with the true means and deviations.

    A row's name has its errors at visible and at hidden patches.
    """
    _, mean, std = normalize_patches(patchify(images, PATCH))
    rows = {"image": images, "seen": striped(it.seen.clamp(0, 1), it.visible)}
    for name, patches in it.patches.items():
        near, far = it.errors[name]
        rows[f"{name}\n{near:.2f}, {far:.2f}"] = unpatchify(patches * std + mean, PATCH).clamp(0, 1)
    return image_rows(rows, cell=0.75)


@drawn
def election(image: Tensor, copies: Tensor, counts: Tensor, classes: Sequence[str], true: int, radius: float) -> Figure:
    """An image (3, H, W) and noisy copies of it; the votes for each class, the true one's in the method's colour.

    radius: certified; 0 where there is no certificate.
    """
    winner = classes[int(counts.argmax())]
    figure, (left, bars) = plt.subplots(1, 2, figsize=(WIDTH + 0.6, 2.7), width_ratios=(1.3, 1))
    picture(left, mosaic(torch.cat([image[None], copies]).clamp(0, 1), 5), f"the image, and {len(copies)} noisy copies")
    bars.barh(range(len(counts)), counts.tolist(), color=[THIS if i == true else GREY for i in range(len(counts))])
    bars.set_yticks(range(len(classes)), [f"{name} (true)" if i == true else name for i, name in enumerate(classes)])
    bars.invert_yaxis()
    bars.set(xlim=(0, int(counts.sum())), xlabel="votes",
             title=f"{winner}: radius {radius:.2f}" if radius else f"{winner} leads: no certificate")
    return figure


@drawn
def certified_curves(curves: Mapping[str, Tensor], radii: Tensor, most: float, sigma: float, n: int) -> Figure:
    """Certified accuracy over the radius, a line for each name of `LOOKS`; most: the radius that n votes end at."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.1))
    for name, values in curves.items():
        colour, style, _ = LOOKS[name]
        axes.plot(radii, 100 * values, style, color=colour, label=name)
    axes.axvline(most, color=GREY, lw=1)
    axes.set(xlabel="radius (2-norm of the change)", ylabel="certified accuracy (%)", ylim=(0, 101),
             xlim=(0, float(radii[-1])), title=f"noise {sigma}, {n} votes: at most a radius of {most:.2f} (grey)")
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@drawn
def by_seed(panels: Mapping[str, Mapping[str, Sequence[float]]], ylabel: str) -> Figure:
    """Panels: title -> name of `LOOKS` -> a value for each seed; thin lines join what has the same seed."""
    figure, places = plt.subplots(1, len(panels), figsize=(WIDTH + 0.6, 2.8), sharey=True, squeeze=False)
    for axes, (title, lines) in zip(places[0], panels.items()):
        names = list(lines)
        for seed in range(max(map(len, lines.values()))):
            there = [(place, lines[name][seed]) for place, name in enumerate(names) if seed < len(lines[name])]
            axes.plot(*zip(*there), color="#cccccc", lw=1, zorder=1)
        for place, name in enumerate(names):
            colour, _, marker = LOOKS[name]
            axes.plot([place] * len(lines[name]), lines[name], marker, color=colour, ms=7, ls="none")
        axes.set(title=title, xticks=range(len(names)), xticklabels=names, xlim=(-0.5, len(names) - 0.5))
    places[0, 0].set(ylabel=ylabel, ylim=(0, 102))
    return figure


@drawn
def over_noise(levels: Sequence[float], curves: Mapping[str, Sequence[float]], ylabel: str, chance: float) -> Figure:
    """A share over the noise for each network: "DMAE", "MAE", "untrained", "raw pixels"; chance is dotted."""
    looks = {"DMAE": (THIS, "o-"), "MAE": (ORANGE, "^--"), "untrained": (MEANING["random encoder"], "s-."),
             "raw pixels": (MEANING["raw pixels"], "v:")}
    figure, axes = plt.subplots(figsize=(WIDTH, 2.8))
    for name, values in curves.items():
        colour, style = looks[name]
        axes.plot(levels, values, style, color=colour, label=name, ms=5)
    axes.axhline(chance, color=BLACK, ls=":", lw=1)
    axes.set(xlabel="standard deviation of the noise", ylabel=ylabel, ylim=(-0.03, 1.05))
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@drawn
def what_votes_certify(radii: Mapping[int, Tensor], shares: Tensor, known: Tensor, chosen: int, wanted: float,
                       needed: int) -> Figure:
    """Certified radius over the share of the votes, for several numbers of votes, one of them chosen; known: if the
    true share were known. needed: the unanimous votes that the radius `wanted` takes."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
    for (n, values), style in zip(radii.items(), (":", "-.", "--", "-")):
        own = n == chosen
        axes.plot(shares, values, style, color=RED if own else "#bbbbbb", lw=2.4 if own else 1.2, label=f"{n:,} votes")
    axes.plot(shares, known, color=BLUE, lw=1, label="share known exactly")
    top = float(radii[max(radii)].max())
    axes.axhline(float(radii[chosen].max()), color=RED, ls="--", lw=1)
    axes.set(xlabel="share of the votes", ylabel="certified radius", xlim=(0.5, 1.005), ylim=(0, 1.1 * top))
    axes.set_title(f"{chosen:,} votes: at most {float(radii[chosen].max()):.3f}. A radius of {wanted:.2f} takes "
                   f"{needed:,} unanimous votes")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
