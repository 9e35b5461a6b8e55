"""Figures made of pictures, and the house style of all figures; lessons import both from `plots`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .measures import unit

WIDTH = 8.0
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = COLORS = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
GREY = "#999999"
# Lines, points and classes take these in turn. Yellow is last: it is faint on white.
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK, YELLOW)


@contextmanager
def style() -> Iterator[None]:
    """The house style, for figures that a lesson draws itself: `with plots.style(): ...`."""
    with plt.rc_context({
        "figure.dpi": 100, "savefig.dpi": 100, "figure.constrained_layout.use": True,
        "font.size": 10, "axes.titlesize": 10, "axes.titlelocation": "left",
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "grid.color": "#dddddd",
        "axes.prop_cycle": plt.cycler(color=CYCLE), "lines.linewidth": 1.8, "legend.frameon": False,
        "image.cmap": "cividis", "image.interpolation": "nearest",
    }):
        yield


def drawn(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @functools.wraps(draw)
    def wrapper(*args, **kwargs) -> Figure:
        with style():
            figure = draw(*args, **kwargs)
        plt.close(figure)  # or the notebook would show it a second time
        return figure
    return wrapper


def as_array(x) -> np.ndarray:
    return x.detach().float().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def as_pixels(images: Tensor) -> np.ndarray:
    """(N, C, H, W) uint8 or float in [0, 1] -> (N, H, W, 3) floats for imshow; one channel becomes grey."""
    images = torch.as_tensor(images).detach().cpu()
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, 3, H, W) or (N, 1, H, W).")
    images = images.float() / 255 if images.dtype == torch.uint8 else images.float().clamp(0, 1)
    return images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def _picture(axes, image: np.ndarray, frame: str | None = None, **options) -> None:
    axes.imshow(image, **options)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(visible=frame is not None, color=frame or "none", linewidth=3)


def _rows(rows: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Pictures in named rows: name -> (columns, H, W, 3)."""
    columns = max(len(images) for images in rows.values())
    cell = min(1.3, (WIDTH - 1) / columns)
    size = max(3.0, cell * columns + 1), cell * len(rows) + (0.4 if title else 0.1)
    figure, axes = plt.subplots(len(rows), columns, squeeze=False, figsize=size)
    for line, (name, images) in zip(axes, rows.items()):
        for column, place in enumerate(line):
            if column < len(images):
                _picture(place, images[column])
            else:
                place.set_axis_off()
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


# ------------------------------------------------------------------------------------------------ pictures
@drawn
def image_grid(images: Tensor, titles: Sequence[str] | None = None, columns: int = 8,
               title: str = "") -> Figure:
    """Images (N, 3, H, W), uint8 or float in [0, 1], in rows of `columns`, each under its title."""
    pixels = as_pixels(images)
    columns = min(columns, len(pixels))
    lines = -(-len(pixels) // columns)
    cell = min(1.4, WIDTH / columns)
    size = cell * columns, lines * (cell + (0.25 if titles else 0)) + (0.3 if title else 0)
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=size)
    for number, place in enumerate(axes.flat):
        if number >= len(pixels):
            place.set_axis_off()
            continue
        _picture(place, pixels[number])
        if titles is not None:
            place.set_title(titles[number], loc="center", fontsize=9)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


@drawn
def image_rows(rows: Mapping[str, Tensor], titles: Sequence[str] = (), frames: Mapping[str, Tensor] | None = None,
               cell: float = 0.9) -> Figure:
    """Pictures in named rows, each row name -> (N, 3, H, W), uint8 or float in [0, 1]; `titles` name the columns.

    frames: name -> (N, 3) colours in [0, 1] around the pictures of that row. `cell` is a picture's side in inches.
    One drawing for all: fast enough for a knob.
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
def view_pairs(first: Tensor, second: Tensor, originals: Tensor | None = None, title: str = "") -> Figure:
    """Two views of each image (N, 3, H, W) below each other, the images themselves on top if given."""
    rows = {} if originals is None else {"image": as_pixels(originals)}
    return _rows(rows | {"view 1": as_pixels(first), "view 2": as_pixels(second)}, title=title)


@drawn
def reconstructions(images: Tensor, mask: Tensor, recon: Tensor, title: str = "") -> Figure:
    """What was seen and what was filled in: image, masked image, reconstruction on the hidden patches.

    images, recon (N, 3, H, W) in the same scale, uint8 or [0, 1]; mask bool (N, grid, grid), True = visible.
    """
    pixels, filled = as_pixels(images), as_pixels(recon)
    visible = torch.as_tensor(mask).float().cpu()
    if visible.ndim == 2:
        side = round(visible.shape[1] ** 0.5)
        visible = visible.view(-1, side, side)
    visible = torch.nn.functional.interpolate(visible[:, None], size=pixels.shape[1:3], mode="nearest")
    visible = visible.permute(0, 2, 3, 1).numpy()
    return _rows({"image": pixels, "visible": pixels * visible + 0.75 * (1 - visible),
                  "filled in": pixels * visible + filled * (1 - visible)}, title=title)


@drawn
def attention_maps(image: Tensor, maps: Tensor, titles: Sequence[str] | None = None,
                   title: str = "") -> Figure:
    """One image (3, H, W) and over it each attention map of (heads, h, w): bright where a head looks."""
    pixels, maps = as_pixels(image[None])[0], as_array(maps)
    columns = min(len(maps) + 1, 7)
    lines = -(-(len(maps) + 1) // columns)
    size = WIDTH, (WIDTH / columns + 0.3) * lines
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=size)
    names = ["image", *(titles or [f"head {i + 1}" for i in range(len(maps))])]
    extent = (-0.5, pixels.shape[1] - 0.5, pixels.shape[0] - 0.5, -0.5)
    for number, place in enumerate(axes.flat):
        if number > len(maps):
            place.set_axis_off()
            continue
        _picture(place, pixels if number == 0 else pixels.mean(axis=2), cmap="gray", vmin=0, vmax=1)
        if number:
            place.imshow(maps[number - 1], extent=extent, cmap="inferno", alpha=0.55, vmin=0,
                         interpolation="bilinear")
        place.set_title(names[number], loc="center", fontsize=9)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


@drawn
def neighbours(features: Tensor, images: Tensor, labels: Tensor | None = None,
               queries: Sequence[int] = range(5), k: int = 8, classes: Sequence[str] = (),
               title: str = "") -> Figure:
    """Each query image and its k nearest in `features` (N, D), by cosine of centred features, as kNN has it.

    With labels, a neighbour of the query's class has a blue frame, one of another an orange one and a cross.
    """
    queries, features = list(queries), torch.as_tensor(features).float()
    z = unit(features, features.mean(dim=0))
    similarity = z[queries] @ z.T
    similarity[torch.arange(len(queries)), queries] = -torch.inf  # not itself
    near = similarity.topk(min(k, len(z) - 1), dim=1).indices
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
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure
