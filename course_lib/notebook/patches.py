"""Explorers of places: what a network, convolutional or a ViT, finds alike in one image, in many, and between two."""

from __future__ import annotations

import math
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.evaluate.attention import mutual_matches, similarity
from course_lib.evaluate.patches import component_colours, patch_vectors
from course_lib.notebook.controls import Patch, Toggle
from course_lib.notebook.explorers import (
    Images,
    Model,
    View,
    asked,
    explorer,
    mosaic,
    opened,
    outline,
    panels,
    strides_of,
)
from course_lib.notebook.knobs import Knob, Tasks
from course_lib.plots.drawing import as_pixels
from course_lib.plots.sketch import heat

LARGEST = 8  # places along a side to click, where the last map has fewer

NOTE = "colours: the three largest components over all images, % of the variance; cosine: dark is 0 or less"
OWN = "; minus each place's mean"


def _clicks(strides: tuple[int, ...], size: int) -> int:
    """Places along a side that can be clicked: the last map's, or up to eight where an earlier map has more."""
    return min(size // strides[0], max(LARGEST, size // strides[-1]))


# ------------------------------------------------------------------------------------------------ one image, and many
def patches_view(model: Model, images: Images, size: int | None = None) -> View:
    """view(state): what is alike for the network in an image. state: image, patch (row, column), for a conv net the
    stage, from 1, and without_place: subtract what all images have in common at a place, such as a ViT's positions.

    data: "colours" (g, g, 3), the first three principal components of the vectors of all positions in all images
    (`component_colours`), and "variance" (3,), their shares; "cosines" (g, g) of all positions with the clicked one,
    about the mean of all vectors; "place", the clicked one in this map. A few dozen images at most.
    """
    network, pictures = opened(model, images, size)
    strides, shown = strides_of(network), pictures[:8]
    clicks = _clicks(strides, pictures.shape[-1])

    @cache
    def found(stage: int, without_place: bool) -> tuple[Tensor, Tensor, Tensor]:
        vectors = asked(network, lambda x: patch_vectors(network, x, stage - 1), standardize(pictures))  # (N, L, D)
        vectors = vectors - vectors.mean(0) if without_place else vectors
        return vectors - vectors.mean((0, 1)), *component_colours(vectors)

    def view(state: dict) -> tuple[dict, Figure]:
        index, stage = state["image"], state.get("stage", len(strides))
        vectors, colours, variance = found(stage, state.get("without_place", False))
        side = math.isqrt(vectors.shape[1])
        row, column = (int((place + 0.5) * side / clicks) for place in state["patch"])
        cosines = similarity(vectors[index, row * side + column, None], vectors[index], center=False).view(side, side)
        squares = colours.view(-1, side, side, 3)
        data = {"colours": squares[index], "variance": variance, "cosines": cosines, "place": (row, column)}
        percent = ", ".join(f"{100 * share:.0f}" for share in variance.tolist())
        titles = ["image", f"components: {percent} %", "cosine with the framed place", "the same colours in all images"]
        note = NOTE + (OWN if state.get("without_place") else "")
        figure, (image, colour, alike, album) = panels(titles, 4, note)
        pixels = as_pixels(pictures[index : index + 1])[0]
        image.imshow(pixels, interpolation="nearest")
        colour.imshow(squares[index].numpy(), interpolation="nearest", extent=image.get_images()[0].get_extent())
        alike.imshow(heat(pixels, cosines.clamp_min(0)), interpolation="nearest")
        for axes in (image, colour, alike):
            outline(axes, (row, column), pixels.shape[0] / side)
        album.imshow(_album(as_pixels(shown), squares[: len(shown)]), interpolation="nearest")
        return data, figure

    return view


def _album(pixels: np.ndarray, colours: Tensor) -> np.ndarray:
    """Up to eight images (N, S, S, 3), and below each row of them their colours (N, g, g, 3)."""
    columns = math.ceil(math.sqrt(2 * len(pixels))) if len(pixels) > 2 else len(pixels)
    size = pixels.shape[1]
    large = torch.nn.functional.interpolate(colours.permute(0, 3, 1, 2), size=(size, size)).permute(0, 2, 3, 1).numpy()
    lines = []
    for start in range(0, len(pixels), columns):
        for kind in (pixels, large):
            line = np.ones((columns, size, size, 3))
            line[: len(kind[start : start + columns])] = kind[start : start + columns]
            lines.append(line)
    return mosaic(np.stack(lines))


def explore_patches(model: Model, images: Images, title: str = "What looks alike to it?", size: int | None = None,
                    tasks: Tasks | None = None, *, image: int = 0, at: tuple[int, int] | None = None,
                    without_place: bool = False) -> Knob:
    """A knob over `patches_view`: choose an image, click a place in it, and choose the stage of a conv net.

    image, at (row, column), without_place: the state to begin with.

    model: a ViT or a conv net, a method over one, a learned network, or the path of a checkpoint. images, size, errors:
    as `explore_attention` takes them (for a conv net files become squares of 64 pixels).
    """
    network, pictures = opened(model, images, size)
    strides = strides_of(network)
    clicks = _clicks(strides, pictures.shape[-1])
    # the mean of a few images at a place is mostly those images themselves
    switch = {"without_place": Toggle(without_place)} if len(pictures) >= 8 else {}
    return explorer(patches_view(network, pictures), title, tasks, image=(0, len(pictures) - 1, image),
                    stage=(1, len(strides), len(strides)),
                    patch=Patch(clicks, clicks, at or (clicks // 2, clicks // 2)), **switch)


# ------------------------------------------------------------------------------------------------ two images
def correspondence_view(model: Model, first: Images, second: Images, size: int | None = None) -> View:
    """view(state): which patches of two images are alike for the network. state: pair, patch (row, column), lines.

    A conv net's patches are the positions of its last map, a ViT's are its tokens.
    first[i] and second[i] (N, 3, S, S) are a pair. data: "map" (g, g), cosine of the chosen patch of the first image
    with the second's; "best", its place there; "matches" (at most `lines`, 4), rows and columns of mutual nearest ones.
    """
    network, left = opened(model, first, size)
    right = opened(network, second, size)[1]
    patch = strides_of(network)[-1]
    sides = [images.shape[-1] // patch for images in (left, right)]

    @cache
    def similar(pair: int) -> Tensor:
        one, other = (asked(network, lambda x: patch_vectors(network, x), standardize(images[pair : pair + 1]))[0]
                      for images in (left, right))
        return similarity(one, other)

    def view(state: dict) -> tuple[dict, Figure]:
        pair = state["pair"]
        cosines = similar(pair)
        row, column = state["patch"]
        chosen = cosines[row * sides[0] + column].view(sides[1], sides[1])
        best = divmod(int(chosen.argmax()), sides[1])
        pairs = mutual_matches(cosines)[: state["lines"]]
        a, b = (as_pixels(images[pair : pair + 1])[0] for images in (left, right))
        figure, (clicked, answer, *both) = panels(["first image", "second: cosine with the patch",
                                                   f"mutual nearest patches: {len(pairs)}", ""], 4)
        clicked.imshow(a, interpolation="nearest")
        outline(clicked, state["patch"], patch)
        answer.imshow(heat(b, chosen.clamp_min(0)), interpolation="nearest")
        outline(answer, best, patch)
        for axes, pixels in zip(both, (a, b)):
            axes.imshow(pixels, interpolation="nearest")
        places = torch.stack([part for i in (0, 1) for part in (pairs[:, i] // sides[i], pairs[:, i] % sides[i])], 1)
        colours = plt.get_cmap("viridis")(np.linspace(0, 0.95, max(1, len(places))))
        for colour, (r1, c1, r2, c2) in zip(colours, places.tolist()):
            _connect(figure, both[0], both[1], (r1, c1), (r2, c2), patch, colour)
        return {"map": chosen, "best": best, "matches": places}, figure

    return view


def _connect(figure, left, right, start, end, patch, colour) -> None:
    (y1, x1), (y2, x2) = ([(number + 0.5) * patch - 0.5 for number in place] for place in (start, end))
    figure.add_artist(ConnectionPatch((x1, y1), (x2, y2), "data", "data", axesA=left, axesB=right, color=colour,
                                      lw=1.2))
    for axes, x, y in ((left, x1, y1), (right, x2, y2)):
        axes.plot(x, y, "o", ms=4, color=colour, mec="white", mew=0.6)


def explore_correspondence(model: Model, first: Images, second: Images, title: str = "Which patches correspond?",
                           size: int | None = None, tasks: Tasks | None = None) -> Knob:
    """A knob over `correspondence_view`: choose a pair, click a patch of its first image, ask for more or fewer lines.

    model, first, second, size: as `explore_patches` takes them; as many second images as first ones, else ValueError.
    """
    network, left = opened(model, first, size)
    right = opened(network, second, size)[1]
    if len(left) != len(right):
        raise ValueError(f"{len(left)} first images and {len(right)} second ones are not pairs")
    side = left.shape[-1] // strides_of(network)[-1]
    return explorer(correspondence_view(network, left, right), title, tasks, pair=(0, len(left) - 1, 0),
                     patch=Patch(side, side, (side // 2, side // 2)), lines=(1, 20, 8))
