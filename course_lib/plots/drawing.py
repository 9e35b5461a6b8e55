"""The house style of all figures: colours, width, and drawing a figure once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.rcsetup import cycler
from torch import Tensor

WIDTH = 8.0  # inches, a notebook's
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = COLORS = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
GREY = "#999999"
# for lines, points and classes in turn; yellow is last, as it is faint on white
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK, YELLOW)
# One colour per meaning in the whole course. What is neither here is the method of the lesson: THIS.
THIS = BLUE
MEANING = {"raw pixels": "#777777", "random encoder": "#BBBBBB", "supervised": GREEN, "chance": BLACK,
           "the course's SimCLR": ORANGE}
SIGNED = "RdBu"  # colours of signed maps: positive blue, negative red


class Ground(Rectangle):
    """A figure's white ground with a thin frame and rounded corners: it looks meant on a dark page, and on white."""

    RADIUS = 7.0  # points

    def get_path(self) -> Path:
        figure = self.get_figure()
        assert figure is not None
        sides = (self.get_width() * figure.bbox.width, self.get_height() * figure.bbox.height)
        x, y = (min(0.5, self.RADIUS * figure.dpi / 72 / max(1.0, side)) for side in sides)
        places = [(x, 0), (1 - x, 0), (1, 0), (1, y), (1, 1 - y), (1, 1), (1 - x, 1), (x, 1), (0, 1), (0, 1 - y),
                  (0, y), (0, 0), (x, 0), (x, 0)]
        curve = [Path.CURVE3, Path.CURVE3]
        return Path(places, [Path.MOVETO, Path.LINETO, *curve, Path.LINETO, *curve, Path.LINETO, *curve, Path.LINETO,
                             *curve, Path.CLOSEPOLY])


def framed(figure: Figure) -> None:
    """Lay a `Ground` below a figure. Matplotlib calls it for every figure that is made in the house style."""
    if not isinstance(figure.patch, Ground):
        figure.patch = Ground((0, 0), 1, 1, facecolor=figure.get_facecolor(), edgecolor="#C8C8C8", linewidth=1)
        figure.patch.set_figure(figure)
        figure.patch.set_transform(figure.transSubfigure)
        figure.patch.set_antialiased(True)


@contextmanager
def style() -> Iterator[None]:
    """The house style for a lesson's own figures: `with plots.style(): ...`."""
    with plt.rc_context({
        "figure.dpi": 100, "savefig.dpi": 100, "figure.constrained_layout.use": True,
        "font.size": 10, "axes.titlesize": 10, "axes.titlelocation": "left",
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "grid.color": "#dddddd",
        "axes.prop_cycle": cycler(color=CYCLE), "lines.linewidth": 1.8, "legend.frameon": False,
        "image.cmap": "cividis", "image.interpolation": "nearest",
        "figure.hooks": ["course_lib.plots.drawing:framed"],
    }):
        yield


def drawn(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: draw the figure in the house style and close it in pyplot."""
    @functools.wraps(draw)
    def wrapper(*args, **kwargs) -> Figure:
        with style():
            figure = draw(*args, **kwargs)
        plt.close(figure)  # or a notebook would show it twice
        return figure
    return wrapper


class Exact(Figure):
    """A figure whose panels are placed by hand: a knob draws it as it is, without looking for its edges.

    So the picture keeps its size while a slider is dragged, and takes two thirds of the time.
    """


def as_array(x) -> np.ndarray:
    return x.detach().float().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def as_pixels(images: Tensor) -> np.ndarray:
    """(N, C, H, W) uint8 or float in [0, 1] -> (N, H, W, 3) floats for imshow; one channel becomes grey."""
    images = torch.as_tensor(images).detach().cpu()
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, 3, H, W) or (N, 1, H, W).")
    images = images.float() / 255 if images.dtype == torch.uint8 else images.float().clamp(0, 1)
    return images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
