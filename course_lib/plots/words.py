"""Visual words as pictures: a dictionary by its examples, images in words, and what a network thinks of one patch.

Words are integers (N, g, g), one for each patch of images (N, 3, H, W), from any tokenizer: k-means, a VQ-VAE, or the
largest output of a network's head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.pixels import to_float
from course_lib.plots.drawing import GREEN, GREY, MEANING, ORANGE, PINK, RED, SIGNED, THIS, WIDTH, drawn
from course_lib.plots.sketch import mosaic, picture, striped


def patches_around(images: Tensor, grid: int, margin: int = 0) -> Tensor:
    """Images (N, 3, H, W) -> their patches (N, g, g, 3, p + 2 margin, p + 2 margin), with so many pixels around each.

    The surroundings are pale; outside the image they repeat its edge.
    """
    pixels = to_float(images)
    patch = pixels.shape[-1] // grid
    around = F.pad(pixels, (margin,) * 4, mode="replicate") if margin else pixels
    size = patch + 2 * margin
    cut = around.unfold(2, size, patch).unfold(3, size, patch)  # (N, 3, g, g, size, size)
    cut = rearrange(cut, "n c y x h w -> n y x c h w").clone()
    if margin:
        inner = torch.zeros(size, size, dtype=torch.bool)
        inner[margin:-margin, margin:-margin] = True
        cut = torch.where(inner, cut, 0.45 * cut + 0.55)
    return cut


def word_examples(patches: Tensor, words: Tensor, word: int, count: int) -> Tensor:
    """Up to `count` patches that have this word, (n, 3, h, w): one of each image first. `patches`: `patches_around`."""
    image, row, column = (words == word).nonzero(as_tuple=True)
    first = torch.ones(len(image), dtype=torch.bool)
    first[1:] = image[1:] != image[:-1]
    order = torch.cat([first.nonzero()[:, 0], (~first).nonzero()[:, 0]])[:count]
    return patches[image[order], row[order], column[order]]


def spread_ranks(counts: Tensor, rows: int, least: float = 0.0) -> list[int]:
    """`rows` words from the most to the least frequent of those that occur, evenly spaced by rank.

    least: the share of all patches that a word must exceed.
    """
    order = counts.argsort(descending=True, stable=True)[: int((counts > least * counts.sum()).sum())]
    places = torch.linspace(0, len(order) - 1, min(rows, len(order))).round().long()
    return order[places].tolist()


@drawn
def word_gallery(dictionaries: Mapping[str, tuple[Tensor, Tensor]], rows: int = 8, examples: int = 8,
                 margin: int = 0, codes: Sequence[int] = (), least: float = 0.0) -> Figure:
    """Some words of each dictionary, one in a row, the most frequent on top: how often it occurs, and patches with it.

    dictionaries: name -> (images (N, 3, H, W), words (N, g, g)). rows: words, evenly spaced by rank. margin: pixels
    around a patch that are shown, pale. codes: words in each dictionary, in the same order, for the titles. least: the
    share of all patches that a word must exceed.
    """
    figure, panels = plt.subplots(1, len(dictionaries), squeeze=False,
                                  figsize=(WIDTH + 0.6, (WIDTH / len(dictionaries) - 0.6) / examples * rows + 0.5))
    for number, (axes, (name, (images, words))) in enumerate(zip(panels[0], dictionaries.items())):
        counts = torch.bincount(words.flatten())
        chosen, patches = spread_ranks(counts, rows, least), patches_around(images, words.shape[-1], margin)
        lines = []
        for word in chosen:
            found = word_examples(patches, words, word, examples)
            lines.append(torch.cat([found, torch.ones(examples - len(found), *found.shape[1:])]))
        picture(axes, mosaic(torch.cat(lines), examples))
        used, size = int((counts > 0).sum()), patches.shape[-1] + 1
        axes.set_yticks([size * (i + 0.5) for i in range(len(chosen))],
                        [f"{float(counts[word] / counts.sum()):.1%}" for word in chosen], fontsize=8)
        axes.tick_params(length=0)
        axes.set_title(f"{name}: {used}" + (f" of {codes[number]}" if codes else "") + " words used", fontsize=9.5)
    return figure


@drawn
def spelled(pictures: Tensor, counts: Tensor, images: Tensor, redrawn: Tensor, columns: int = 16, across: int = 6,
            title: str = "the words") -> Figure:
    """A whole dictionary, the most frequent word first, beside images and, below each row, the same in words.

    pictures (K, 3, p, p) with counts (K,); images and redrawn (N, 3, H, W), shown in rows of `across`.
    """
    order = counts.argsort(descending=True, stable=True)
    left, pairs = mosaic(pictures[order], columns), torch.stack([to_float(images), redrawn])  # (2, N, 3, H, W)
    rows = rearrange(pairs[:, : len(images) // across * across], "two (r c) k h w -> (r two c) k h w", c=across)
    right = mosaic(rows, across)
    shapes = [each.shape[1] / each.shape[0] for each in (left, right)]
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH + 0.6, (WIDTH + 0.2) / sum(shapes) + 0.4), width_ratios=shapes)
    picture(panels[0], left, title)
    picture(panels[1], right, "images, below them the same in words")
    return figure


@drawn
def one_blank(shown: Tensor, filled: Tensor, place: tuple[int, int], pictures: Tensor, chances: Tensor, true: int,
              most: int = 7) -> Figure:
    """What a network thinks of one hidden patch: its likeliest words with their probabilities, and their average.

    shown, filled (3, H, W): what it sees, and its likeliest words painted in. place: (row, column) of the patch.
    pictures (K, 3, p, p), chances (K,); `true`: the word that is there.
    """
    figure, panels = plt.subplots(1, 2 + most + 2, figsize=(WIDTH + 0.8, 1.9),
                                  width_ratios=(2.6, 2.6, *(1,) * (most + 2)))
    patch = pictures.shape[-1]
    for axes, image, title in zip(panels, (shown, filled), ("what it sees", "likeliest words")):
        picture(axes, image, title)
        corner = place[1] * patch - 0.5, place[0] * patch - 0.5
        axes.add_patch(Rectangle(corner, patch, patch, fill=False, ec=RED, lw=2))
    values, order = chances.topk(most)
    average = (chances[:, None, None, None] * pictures).sum(0)
    tiles = [(pictures[word], f"{value:.0%}", word == true) for value, word in zip(values.tolist(), order.tolist())]
    tiles += [(average, "average", False), (pictures[true], "truth", True)]
    for axes, (tile, title, right) in zip(panels[2:], tiles):
        picture(axes, tile, title)
        axes.spines[:].set(visible=True, color=GREEN if right else "#cccccc", linewidth=3 if right else 1)
    return figure


@drawn
def hidden_places(images: Tensor, visible: Tensor, title: str = "") -> Figure:
    """Masked images (B, 3, H, W) in two rows, and how often each place is hidden in all `visible` (N, g, g), N >= B."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.6, 2.8), width_ratios=(3, 1))
    picture(left, mosaic(striped(images, visible[: len(images)]), len(images) // 2), title)
    heat = right.imshow((~visible).float().mean(0).numpy(), vmin=0, vmax=1, cmap="cividis")
    figure.colorbar(heat, ax=right, shrink=0.8)
    right.set(xticks=[], yticks=[], title="how often a place is hidden")
    return figure


@drawn
def offset_bias(table: Tensor, grid: int) -> Figure:
    """A learned bias of positions, one picture a head: table ((2 grid - 1)^2 + more, heads), by query minus key."""
    side = 2 * grid - 1
    maps = table[: side**2].detach().float().T.reshape(-1, side, side)
    figure, panels = plt.subplots(1, len(maps), figsize=(WIDTH + 0.4, 3.1), sharey=True, squeeze=False)
    limit, edge = float(maps.abs().max()) or 1.0, grid - 0.5
    for head, (axes, bias) in enumerate(zip(panels[0], maps), 1):
        axes.imshow(bias.numpy(), cmap=SIGNED, vmin=-limit, vmax=limit, extent=(-edge, edge, edge, -edge))
        axes.set(title=f"head {head}", xlabel="query right of key (patches)")
    panels[0, 0].set_ylabel("query below key")
    figure.colorbar(panels[0, 0].images[0], ax=panels[0], shrink=0.8, label="added to the product")
    return figure


@drawn
def seeds_by_line(lines: Mapping[str, Sequence[float]], ylabel: str, controls: int = 1,
                  colours: Sequence[str] | None = None, levels: Mapping[str, float] | None = None) -> Figure:
    """A dot for each training, in one column for each line, and a bar at its mean.

    The first `controls` lines are grey, the next one has the colour of the lesson's method, further ones have others,
    unless `colours` gives one for each. levels: name -> height, dashed lines across all columns.
    """
    figure, axes = plt.subplots(figsize=(6.6, 2.8))
    for place, values in enumerate(lines.values()):
        own = GREY if place < controls else (THIS, RED, ORANGE, PINK)[(place - controls) % 4]
        colour = colours[place] if colours else own
        axes.plot([place] * len(values), list(values), "o", color=colour, alpha=0.7, clip_on=False)
        mean = sum(values) / len(values)
        axes.plot([place - 0.22, place + 0.22], [mean, mean], color=colour)
    for name, height in (levels or {}).items():
        axes.axhline(height, color=MEANING.get(name, GREY), ls="--", lw=1, zorder=0)
        axes.annotate(name, (0.005, height), xycoords=("axes fraction", "data"), xytext=(0, 2), fontsize=8,
                      textcoords="offset points", color="#444444")
    axes.set(xticks=range(len(lines)), xticklabels=list(lines), xlim=(-0.5, len(lines) - 0.5), ylabel=ylabel)
    axes.grid(axis="y")
    return figure
