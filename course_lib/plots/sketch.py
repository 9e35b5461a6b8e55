"""Pieces of drawings for figures that lessons compose: each draws on the given axes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from course_lib.augment.masks import enlarge
from course_lib.plots.drawing import SIGNED, as_pixels

CMAP = plt.get_cmap("inferno")  # of weights, as of attention


def unit_circle(axes, edge: float = 1.3) -> None:
    """A pale circle of radius 1 on axes of equal scale up to `edge`, without ticks or frame."""
    turn = torch.linspace(0, 2 * torch.pi, 200)
    axes.plot(turn.cos(), turn.sin(), color="#cccccc", lw=1, zorder=0)
    axes.set(aspect="equal", xlim=(-edge, edge), ylim=(-edge, edge))
    axes.set_axis_off()


def box(axes, x: float, y: float, text: str, color: str = "#999999") -> None:
    """A word in a rounded box, centred at (x, y)."""
    axes.text(x, y, text, ha="center", va="center", fontsize=9,
              bbox={"boxstyle": "round,pad=0.4", "fc": "white", "ec": color, "lw": 1.8})


def arrow(axes, start: tuple[float, float], end: tuple[float, float], color: str = "#444444", **look) -> None:
    """An arrow from start to end; `look` is matplotlib's, for example ls="--"."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color, "lw": 1.4, **look})


def picture(axes, image: Tensor | np.ndarray, title: str = "") -> None:
    """One picture without ticks and frame: a tensor (3, H, W), or an array (H, W, 3), as from `mosaic`."""
    axes.imshow(as_pixels(image[None])[0] if isinstance(image, Tensor) else image)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=9.5)


def mosaic(images: Tensor, columns: int) -> np.ndarray:
    """(N, 3, h, w), uint8 or float in [0, 1] -> one picture (H, W, 3), `columns` in a row, white lines between."""
    pixels = torch.from_numpy(as_pixels(images)).permute(0, 3, 1, 2)
    cells = F.pad(pixels, (0, 1, 0, 1), value=1.0)
    cells = torch.cat([cells, torch.ones(-len(cells) % columns, *cells.shape[1:])])
    return rearrange(cells, "(r c) k h w -> (r h) (c w) k", c=columns).numpy()


def striped(images: Tensor, visible: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1], with diagonal stripes where `visible` (B, f, f) is False."""
    place = torch.arange(images.shape[-1])
    stripes = 0.72 + 0.23 * (((place[:, None] + place) // 2) % 2)
    return torch.where(enlarge(visible.unsqueeze(1), images.shape[-1]), images, stripes)


def heat_pictures(maps: Sequence[Tensor], size: int = 32) -> Tensor:
    """Maps (h, w) in [0, 1], NaN where empty -> pictures (N, 3, size, size): dark blue to yellow, white where empty."""
    import matplotlib

    colors = matplotlib.colormaps["viridis"].with_extremes(bad="white")
    painted = [torch.from_numpy(colors(np.ma.masked_invalid(m.numpy()))[..., :3]).float() for m in maps]
    return torch.cat([F.interpolate(p.permute(2, 0, 1)[None], size=(size, size), mode="nearest") for p in painted])


def numbers(axes, values: Tensor, rows: Sequence[str], columns: Sequence[str], highest: float = 1.0,
            signed: bool = False, frame: int | None = None) -> None:
    """A heat map with numbers: values (rows, columns) from 0, or -highest if signed; `frame`: the row to frame.

    A nan, where there is no such value, is a white cell with a dash.
    """
    low, colours = (-highest, "RdBu") if signed else (0.0, "cividis")
    axes.imshow(values.numpy(), aspect="auto", cmap=colours, vmin=low, vmax=highest)
    for (i, j), value in np.ndenumerate(values.numpy()):
        dark = abs(value) > 0.6 * highest if signed else value < 0.55 * highest
        words = "–" if np.isnan(value) else f"{value:+.2f}" if signed else f"{value:z.2f}"
        text = axes.text(j, i, words, ha="center", va="center", fontsize=8.5, color="white" if dark else "black")
        text.set_in_layout(False)  # faster, for knobs
    if frame is not None:
        axes.plot([-0.48, len(columns) - 0.52, len(columns) - 0.52, -0.48, -0.48],
                  [frame - 0.48, frame - 0.48, frame + 0.48, frame + 0.48, frame - 0.48],
                  color="#D55E00", lw=2.5, clip_on=False)
    axes.set_xticks(range(len(columns)), [name.replace("_", "\n") for name in columns], fontsize=8)
    axes.set_yticks(range(len(rows)), rows)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)


def correlations(axes, matrix: Tensor, title: str = "", numbers: bool = False):
    """A matrix of correlations of dimensions, from -1 to 1; the picture, for a colour bar. numbers: written in."""
    shown = axes.imshow(matrix.float().numpy(), cmap=SIGNED, vmin=-1, vmax=1)
    axes.set(title=title, xlabel="dimension, view 2", ylabel="dimension, view 1")
    if numbers:
        for (i, j), value in np.ndenumerate(matrix.numpy()):
            text = axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9,
                             color="white" if abs(value) > 0.7 else "black")
            text.set_in_layout(False)  # faster, for knobs
        axes.set(xticks=range(len(matrix)), yticks=range(len(matrix)))
    return shown


def heat(pixels: np.ndarray, weights: Tensor, strength: float = 0.65) -> np.ndarray:
    """An image (H, W, 3) in grey with weights (g, g) laid over it, bright where they are large: (H, W, 3)."""
    weights = weights / weights.max().clamp_min(1e-12)
    size = pixels.shape[0]
    large = F.interpolate(weights[None, None], size=(size, size), mode="nearest")[0, 0].numpy()
    grey = pixels.mean(2, keepdims=True)
    return (1 - strength) * grey + strength * CMAP(large)[..., :3]


def laid_over(images: Tensor, weights: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1], each with its weights (N, g, g) laid over it as `heat` does: (N, 3, H, W)."""
    painted = [heat(image.permute(1, 2, 0).numpy(), own) for image, own in zip(images, weights.float())]
    return torch.from_numpy(np.stack(painted)).float().permute(0, 3, 1, 2)
