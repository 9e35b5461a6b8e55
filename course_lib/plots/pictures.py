"""Figures made of pictures."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor

from course_lib.evaluate.neighbours import nearest
from course_lib.plots.drawing import BLUE, MEANING, ORANGE, THIS, WIDTH, as_array, as_pixels, drawn
from course_lib.plots.sketch import mosaic, picture, unit_circle


def _picture(axes, image: np.ndarray, frame: str | None = None, **options) -> None:
    axes.imshow(image, **options)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(visible=frame is not None, color=frame or "none", linewidth=3)


# ------------------------------------------------------------------------------------------------ pictures
@drawn
def image_grid(images: Tensor, titles: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """Images (N, 3, H, W), uint8 or float in [0, 1], in rows of `columns`, each under its title."""
    pixels = as_pixels(images)
    columns = min(columns, len(pixels))
    lines = -(-len(pixels) // columns)
    cell = min(1.4, WIDTH / columns)
    size = cell * columns, lines * (cell + (0.25 if titles else 0))
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=size)
    for number, place in enumerate(axes.flat):
        if number >= len(pixels):
            place.set_axis_off()
            continue
        _picture(place, pixels[number])
        if titles is not None:
            place.set_title(titles[number], loc="center", fontsize=9)
    return figure


@drawn
def image_rows(rows: Mapping[str, Tensor], titles: Sequence[str] = (), frames: Mapping[str, Tensor] | None = None,
               cell: float = 0.9) -> Figure:
    """Pictures in named rows, each row name -> (N, 3, H, W), uint8 or float in [0, 1]; `titles` name the columns.

    frames: name -> (N, 3) colours in [0, 1] around that row's pictures. cell: a picture's side in inches. Everything is
    one image, fast enough for a knob.
    """
    lines = []
    for name, images in rows.items():
        pixels = as_pixels(images)
        edge = max(1, pixels.shape[1] // 8) if frames else 1
        canvas = np.ones((len(pixels), pixels.shape[1] + 2 * edge, pixels.shape[2] + 2 * edge, 3), np.float32)
        if frames and name in frames:
            canvas[:, 1:-1, 1:-1] = as_array(frames[name])[:, None, None]
        canvas[:, edge:-edge, edge:-edge] = pixels
        lines.append(np.concatenate(list(canvas), axis=1))
    size, longest = lines[0].shape[0], max(line.shape[1] for line in lines)
    lines = [np.pad(line, ((0, 0), (0, longest - line.shape[1]), (0, 0)), constant_values=1.0) for line in lines]
    labels = max((len(part) for name in rows for part in name.split("\n")), default=0)
    height = cell * len(lines) + (0.35 if titles else 0.05)
    figure, axes = plt.subplots(figsize=(cell * longest / size + 0.3 + 0.075 * labels, height))
    axes.imshow(np.concatenate(lines))
    axes.set_yticks([size * (i + 0.5) for i in range(len(lines))], list(rows))
    axes.set_xticks([size * (i + 0.5) for i in range(len(titles))], list(titles))
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


@drawn
def neighbours(features: Tensor, images: Tensor, labels: Tensor | None = None,
               queries: Sequence[int] = range(5), k: int = 8, classes: Sequence[str] = ()) -> Figure:
    """Each query image and its k nearest in `features` (N, D), by cosine of centred features, as in kNN.

    With labels, neighbours of the query's class are framed blue, others orange with a cross.
    """
    queries, features = list(queries), torch.as_tensor(features).float()
    near = nearest(features, min(k, len(features) - 1), queries)
    pixels = as_pixels(images)
    columns = near.shape[1]
    size = WIDTH, WIDTH / (columns + 1.8) * len(queries) + 0.5
    figure, axes = plt.subplots(len(queries), columns + 1, squeeze=False, figsize=size)
    for line, query, found in zip(axes, queries, near.tolist()):
        for place, index in zip(line, [query, *found]):
            if labels is None or index == query:
                _picture(place, pixels[index])
                continue
            right = bool(labels[index] == labels[query])
            _picture(place, pixels[index], BLUE if right else ORANGE)
            if not right:
                place.plot([0.05, 0.25], [0.75, 0.95], [0.05, 0.25], [0.95, 0.75], color=ORANGE,
                           transform=place.transAxes)
        if labels is not None and len(classes):
            line[0].set_ylabel(classes[int(labels[query])], rotation=0, ha="right", va="center")
    axes[0, 0].set_title("query", loc="center")
    key = "" if labels is None else ": same class framed blue, another orange and crossed"
    text = axes[0, 1].annotate("nearest first" + key, (0, 1), xycoords="axes fraction", xytext=(0, 6),
                               textcoords="offset points", annotation_clip=False)
    text.set_in_layout(False)  # it is wider than its column
    return figure


@drawn
def two_forces(first: Tensor, second: Tensor, x: Tensor, y: Tensor) -> Figure:
    """Two views (N, 3, H, W) of N images on the unit circle, at x and y (N, 2) of length 1: what pulls and what pushes.

    Blue: from view to view of an image. Orange: between the first views of two images, as wide as they push each other
    by uniformity, exp(-2 d^2).
    """
    figure, axes = plt.subplots(figsize=(5.4, 4.4))
    unit_circle(axes, edge=1.82)
    for i in range(len(x)):
        axes.plot(*zip(x[i].tolist(), y[i].tolist()), color=BLUE, lw=2.5, zorder=2)
        for j in range(i):
            push = float((-2 * (x[i] - x[j]).square().sum()).exp())
            axes.plot(*zip(x[i].tolist(), x[j].tolist()), color=ORANGE, lw=0.4 + 6 * push, alpha=0.8, zorder=1)
    for pixels, points, far in ((as_pixels(first), x, 1.26), (as_pixels(second), y, 1.62)):
        axes.plot(*points.T, "o", color=BLUE, ms=4, zorder=3)
        for number, (image, point) in enumerate(zip(pixels, points), 1):
            place = far * float(point[0]), far * float(point[1])
            axes.plot(*zip(point.tolist(), place), color="#bbbbbb", lw=0.8, zorder=0)
            axes.add_artist(AnnotationBbox(OffsetImage(image, zoom=0.8), place, pad=0.1))
            axes.annotate(str(number), place, xytext=(-12, 5), textcoords="offset points", fontsize=8,
                          color="white", zorder=6)
    return figure


@drawn
def two_tests(rows: Mapping[str, Tensor], ends: Sequence[str], runs: Mapping[Hashable, Sequence[Sequence[float]]],
              chosen: Hashable, controls: Mapping[str, Sequence[float]], chance: float) -> Figure:
    """Images in named rows; and accuracies (two numbers in [0, 1], one for each of `ends`) on two kinds of test images.

    runs: name -> a pair of accuracies for each seed, those of `chosen` in colour, the others pale; controls: dashed.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9), width_ratios=(1.35, 1))
    columns = len(next(iter(rows.values())))
    picture(left, mosaic(torch.cat(list(rows.values())), columns))
    step = next(iter(rows.values())).shape[-2] + 1
    left.set_yticks([step * (i + 0.5) for i in range(len(rows))], list(rows))
    for name, values in controls.items():
        right.plot(ends, [100 * v for v in values], "s--", ms=4, lw=1.4, color=MEANING[name], label=name)
    for name, seeds in sorted(runs.items(), key=lambda item: item[0] == chosen):
        for seed, values in enumerate(seeds):
            right.plot(ends, [100 * v for v in values], "o-", ms=4, lw=1.8 if name == chosen else 1,
                       color=THIS if name == chosen else "#D8D8D8",
                       label="these views" if name == chosen and not seed else None)
    right.axhline(100 * chance, color=MEANING["chance"], ls=":", lw=1)
    right.set(ylim=(0, 105), xlim=(-0.25, 1.25), ylabel="kNN (%)", xlabel="test images (dotted: chance)")
    figure.legend(loc="outside lower right", ncols=3, fontsize=8)
    return figure
