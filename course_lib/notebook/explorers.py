"""What all explorers share: opening a network and images, and drawing quickly.

    explore_attention("my_run/last.pt", "holiday.jpg")                # a checkpoint of `course train`, your photograph
    explore_attention("my_run/last.pt", ["a.jpg", "b.png"], size=64)  # more of them, in more patches
    explore_patches(learned("simclr"), sample_photographs(128))       # a learned network and images in memory
    explore_reconstruction(method, splits.test.select(range(8)))      # a method and an image set

Explorers are knobs for looking into a trained network: attention.py, patches.py, completions.py. Each `explore_*` draws
a knob around the view of the same name, which can be called without any notebook: `attention_view(...)(state) -> (data,
figure)`. Images are (N, 3, S, S), uint8 or float in [0, 1], an ImageSet, or the paths of photograph files, which are
cut to the size that the method was trained on, or to `size`. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from course_lib.augment.pixels import to_float
from course_lib.data.images import ImageSet
from course_lib.data.photo import decode_photo
from course_lib.evaluate.features import evaluating
from course_lib.methods.base import Method
from course_lib.models.vit import ViT
from course_lib.notebook.controls import Choice, Patch, Slider, Toggle
from course_lib.notebook.knobs import Knob, Tasks, knob
from course_lib.plots.drawing import SKY, Exact
from course_lib.runs.networks import Learned
from course_lib.train.checkpoint import load_method

View = Callable[[dict], tuple]
Model = nn.Module | Learned | str | Path
Images = Tensor | ImageSet | str | Path | Sequence[str | Path]
WIDE = 8.8
PICKED = SKY  # what has been clicked


# ------------------------------------------------------------------------------------------------ what to look into
def open_image(path: str | Path, size: int = 32) -> Tensor:
    """A photograph file (JPEG, PNG, WebP) as uint8 (1, 3, size, size): its centre square, turned as EXIF says."""
    return torch.from_numpy(decode_photo(path, size).copy()).permute(2, 0, 1).unsqueeze(0)


def loaded(model: Model) -> nn.Module:
    """A module as it is, the method of a learned network, or that of a checkpoint of `fit` (or of a run's folder)."""
    if isinstance(model, Learned):
        return model.method
    if not isinstance(model, (str, Path)):
        return model
    path = Path(model).expanduser()
    return load_method(path / "last.pt" if path.is_dir() else path)


def network_of(model: Model) -> nn.Module:
    """The backbone to look into: itself, or that of a method, the one that is evaluated."""
    model = loaded(model)
    return model.evaluated if isinstance(model, Method) else getattr(model, "backbone", model)


def transformer(model: Model) -> ViT:
    """`network_of` if it is a ViT; ValueError for a network without attention."""
    network = network_of(model)
    if not isinstance(network, ViT):
        raise ValueError(f"{type(network).__name__} has no attention: look into a method that was trained over a ViT, "
                         "for example with --backbone vit-tiny")
    return network


def strides_of(network: Any) -> tuple[int, ...]:
    """Pixels along a side of each position: of a ViT's patches, or of all stages of a conv net; ValueError if neither.
    """
    if isinstance(network, ViT):
        return (network.patch,)
    if not hasattr(network, "stages"):
        raise ValueError(f"{type(network).__name__} has no patches to look into: use a ViT, or a conv net with "
                         "stages(images) and strides")
    return tuple(network.strides)


def as_images(images: Images, patch: int, size: int) -> Tensor:
    """Float images (N, 3, S, S) in [0, 1] on the CPU, checked; photograph files become squares of `size` pixels."""
    if isinstance(images, (str, Path)):
        images = [images]
    if isinstance(images, ImageSet):
        images = images.images
    if not isinstance(images, Tensor):
        if not isinstance(images, Sequence) or not images or not all(isinstance(i, (str, Path)) for i in images):
            raise TypeError("images are a tensor (N, 3, S, S), an ImageSet, or paths of photograph files; "
                            f"got {images!r:.80}")
        images = torch.cat([open_image(path, size) for path in images])
    images = to_float(images.detach().cpu())
    images = images.unsqueeze(0) if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.shape[2] % patch:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, 3, S, S), S a multiple of the patch, "
                         f"{patch}; give the path of a photograph, and size=, to have such a square made of it")
    return images


def opened(model: Model, images: Images, size: int | None) -> tuple[nn.Module, Tensor]:
    """The network, a ViT or a conv net, and the images as it wants them."""
    network = network_of(model)
    built = network.grid * network.patch if isinstance(network, ViT) else 64
    return network, as_images(images, strides_of(network)[-1], size or built)


def asked(module: nn.Module, function: Callable, *tensors: Tensor, **options: Any) -> Tensor:
    """function(*tensors, **options) on the module's device, in evaluation mode."""
    with evaluating(module) as where:
        options = {name: value.to(where) if isinstance(value, Tensor) else value for name, value in options.items()}
        return function(*(tensor.to(where) for tensor in tensors), **options).float().cpu()


def explorer(view: View, title: str, tasks: Tasks | None = None,
             **controls: tuple[int, int, int] | Slider | Choice | Toggle | Patch) -> Knob:
    """A knob over a view; whole numbers may be (low, high, start), and a slider that could not move is left out."""
    fixed = {name: made[0] for name, made in controls.items() if isinstance(made, tuple) and made[0] == made[1]}
    moved = {name: Slider(*made, 1) if isinstance(made, tuple) else made for name, made in controls.items()
             if name not in fixed}
    return knob(lambda state: view({**fixed, **state}), title, tasks, **moved)


# ------------------------------------------------------------------------------------------------ drawing, quick
def square(figure: Figure, left: float, bottom: float, width: float, height: float, title: str = "") -> Axes:
    """A panel without axes, its place given in inches."""
    whole_width, whole_height = figure.get_size_inches()
    axes = figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))
    axes.set(xticks=[], yticks=[])
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, pad=3)
    return axes


def panels(titles: Sequence[str], columns: int = 6, note: str = "") -> tuple[Figure, list[Axes]]:
    """A figure of a square panel per title, and a line below them: quick, as a knob redraws it often."""
    columns = min(columns, len(titles))
    lines = -(-len(titles) // columns)
    cell = min(WIDE / columns, 2.2)
    below = 0.25 if note else 0.03
    figure = plt.figure(figsize=(cell * columns, (cell + 0.25) * lines + below), FigureClass=Exact)
    if note:
        figure.text(0.03 / (cell * columns), 0.12 / figure.get_figheight(), note, fontsize=9, va="center")
    return figure, [square(figure, (number % columns) * cell + 0.03,
                           (lines - 1 - number // columns) * (cell + 0.25) + below, cell - 0.06, cell - 0.06, title)
                    for number, title in enumerate(titles)]


def mosaic(cells: np.ndarray) -> np.ndarray:
    """Small pictures (rows, columns, h, w, 3) as one, with white lines between them."""
    rows, columns, height, width, _ = cells.shape
    whole = np.ones((rows, columns, height + 1, width + 1, 3))
    whole[:, :, :height, :width] = cells
    return whole.transpose(0, 2, 1, 3, 4).reshape(rows * (height + 1), columns * (width + 1), 3)[:-1, :-1]


def blanked(images: Tensor, visible: Tensor) -> Tensor:
    """Images (N, 3, S, S) with hidden patches in light grey; visible (N, g, g) bool."""
    seen = torch.nn.functional.interpolate(visible[:, None].float(), size=images.shape[-2:], mode="nearest")
    return images * seen + 0.75 * (1 - seen)


def outline(axes: Axes, place: tuple[int, int], patch: float, gap: int = 0) -> None:
    """A frame around the patch that was picked, (row, column); gap: pixels between patches."""
    row, column = (number * (patch + gap) - 0.5 for number in place)
    axes.add_patch(Rectangle((column, row), patch, patch, fill=False, ec=PICKED, lw=2, clip_on=False))
