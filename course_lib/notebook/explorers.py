"""Explorers: pure views over knobs for looking into a trained network, on images of the course or of your own.

    explore_attention("my_run/last.pt", "holiday.jpg")                # a checkpoint of `course train`, your photograph
    explore_attention("my_run/last.pt", ["a.jpg", "b.png"], size=64)  # more of them, in more patches
    explore_reconstruction(method, splits.test.images[:8])            # a method and images in memory

Each `explore_*` draws a knob around the view of the same name, which can be called without any notebook:
`attention_view(...)(state) -> (data, figure)`. Images are (N, 3, S, S), uint8 or float in [0, 1], or the paths of
photograph files, which are cut to the size that the method was trained on, or to `size`. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle
from torch import Tensor, nn

from course_lib.augment.masks import patch_mask
from course_lib.augment.pixels import standardize, to_float
from course_lib.data.photo import decode_photo
from course_lib.evaluate.attention import mutual_matches, rollout, similarity, to_grid
from course_lib.evaluate.features import evaluating
from course_lib.evaluate.reconstruction import fill_mean, fill_nearest, hidden_error
from course_lib.methods.base import Method, ReconstructionMethod
from course_lib.models.vit import ViT
from course_lib.notebook.controls import Choice, Patch, Slider
from course_lib.notebook.knobs import Knob, knob
from course_lib.plots.drawing import BLUE, ORANGE, as_pixels
from course_lib.train.checkpoint import load_method

View = Callable[[dict], tuple]
Model = nn.Module | str | Path
Images = Tensor | str | Path | Sequence[str | Path]
CMAP = plt.get_cmap("inferno")
WIDE = 8.8


# ------------------------------------------------------------------------------------------------ what to look into
def open_image(path: str | Path, size: int = 32) -> Tensor:
    """A photograph file (JPEG, PNG, WebP) as uint8 (1, 3, size, size): its centre square, turned as EXIF says."""
    return torch.from_numpy(decode_photo(path, size).copy()).permute(2, 0, 1).unsqueeze(0)


def _loaded(model: Model) -> nn.Module:
    """A module as it is; a path is a checkpoint of `fit`, or the folder of a run with its last.pt."""
    if not isinstance(model, (str, Path)):
        return model
    path = Path(model).expanduser()
    return load_method(path / "last.pt" if path.is_dir() else path)


def transformer(model: Model) -> ViT:
    """The ViT to look into: itself, that of a method (the one that is evaluated), or that of a checkpoint of `fit`.

    A path may be that of a run's folder. ValueError for a network without attention.
    """
    model = _loaded(model)
    network = model.evaluated if isinstance(model, Method) else getattr(model, "backbone", model)
    if not isinstance(network, ViT):
        raise ValueError(f"{type(network).__name__} has no attention: look into a method that was trained over a ViT, "
                         "for example with --backbone vit-tiny")
    return network


def _as_images(images: Images, patch: int, size: int) -> Tensor:
    """Float images (N, 3, S, S) in [0, 1] on the CPU, checked; photograph files become squares of `size` pixels."""
    if isinstance(images, (str, Path)):
        images = [images]
    if not isinstance(images, Tensor):
        if not isinstance(images, Sequence) or not images or not all(isinstance(i, (str, Path)) for i in images):
            raise TypeError(f"images are a tensor (N, 3, S, S), or paths of photograph files; got {images!r:.80}")
        images = torch.cat([open_image(path, size) for path in images])
    images = to_float(images.detach().cpu())
    images = images.unsqueeze(0) if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.shape[2] % patch:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, 3, S, S), S a multiple of the patch, "
                         f"{patch}; give the path of a photograph, and size=, to have such a square made of it")
    return images


def _opened(model: Model, images: Images, size: int | None) -> tuple[ViT, Tensor]:
    """The network, and the images as it wants them."""
    network = transformer(model)
    return network, _as_images(images, network.patch, size or network.grid * network.patch)


def _asked(module: nn.Module, function: Callable, *tensors: Tensor) -> Tensor:
    """function(*tensors) on the module's device, in evaluation mode."""
    with evaluating(module) as where:
        return function(*(tensor.to(where) for tensor in tensors)).float().cpu()


def _explorer(view: View, title: str, **controls: tuple[int, int, int] | Slider | Choice | Patch) -> Knob:
    """A knob over a view; whole numbers may be (low, high, start), and a slider that could not move is left out."""
    fixed = {name: made[0] for name, made in controls.items() if isinstance(made, tuple) and made[0] == made[1]}
    moved = {name: Slider(*made, 1) if isinstance(made, tuple) else made for name, made in controls.items()
             if name not in fixed}
    return knob(lambda state: view({**fixed, **state}), title, **moved)


# ------------------------------------------------------------------------------------------------ drawing, quick
def _panels(count: int, titles: Sequence[str], columns: int = 6) -> tuple:
    """A figure of square panels without layout passes: a knob redraws it often."""
    columns = min(columns, count)
    lines = -(-count // columns)
    cell = min(WIDE / columns, 2.2)
    figure = plt.figure(figsize=(cell * columns, (cell + 0.25) * lines))
    panels = []
    for number in range(count):
        line, column = divmod(number, columns)
        height = cell / ((cell + 0.25) * lines)
        axes = figure.add_axes((column / columns + 0.01, 1 - (line + 1) / lines, 0.98 / columns, 0.98 * height))
        axes.set_axis_off()
        axes.set_title(titles[number], fontsize=9, pad=3)
        panels.append(axes)
    return figure, panels


def heat(pixels: np.ndarray, weights: Tensor, strength: float = 0.65) -> np.ndarray:
    """An image (H, W, 3) in grey with weights (g, g) laid over it, bright where they are large: (H, W, 3)."""
    weights = weights / weights.max().clamp_min(1e-12)
    size = pixels.shape[0]
    large = torch.nn.functional.interpolate(weights[None, None], size=(size, size), mode="nearest")[0, 0].numpy()
    grey = pixels.mean(2, keepdims=True)
    return (1 - strength) * grey + strength * CMAP(large)[..., :3]


def _mark(axes, place: tuple[int, int], patch: int, colour: str = "#56B4E9") -> None:
    row, column = place
    axes.add_patch(Rectangle((column * patch - 0.5, row * patch - 0.5), patch, patch, fill=False, ec=colour, lw=2))


# ------------------------------------------------------------------------------------------------ attention
def attention_view(model: Model, images: Images, size: int | None = None) -> View:
    """view(state): where a token looks. state: image, layer (from 1), query ("class token" or "patch"), patch (row,
    column).

    data: "heads" (heads, g, g), "rollout" (g, g) through the layers up to this one, and "to class" (heads,), the weight
    that each head gives the class token.
    """
    network, pictures = _opened(model, images, size)
    kept: dict[int, Tensor] = {}

    def view(state: dict) -> tuple[dict, Figure]:
        index, layer = state["image"], state["layer"]
        if index not in kept:
            kept[index] = _asked(network, network.attention, standardize(pictures[index : index + 1]))
        maps = kept[index]
        side = round((maps.shape[-1] - 1) ** 0.5)
        row = 0 if state["query"] == "class token" else 1 + state["patch"][0] * side + state["patch"][1]
        heads = to_grid(maps[layer - 1, 0, :, row])
        flow = to_grid(rollout(maps[:layer])[0, row])
        pixels = as_pixels(pictures[index : index + 1])[0]
        names = [f"head {i + 1}" for i in range(len(heads))]
        figure, panels = _panels(len(heads) + 3, ["image", *names, "mean of heads", f"rollout, layers 1-{layer}"])
        panels[0].imshow(pixels, interpolation="nearest")
        for axes, weights in zip(panels[1:], [*heads, heads.mean(0), flow]):
            axes.imshow(heat(pixels, weights), interpolation="nearest")
        if row:
            for axes in panels:
                _mark(axes, state["patch"], network.patch)
        return {"heads": heads, "rollout": flow, "to class": maps[layer - 1, 0, :, row, 0]}, figure

    return view


def explore_attention(model: Model, images: Images, title: str = "Where does it look?",
                      size: int | None = None) -> Knob:
    """A knob over `attention_view`: choose an image, a layer, and the class token or a patch to click.

    model: a ViT, a method over one, or the path of its checkpoint. images: a tensor, or paths of photographs, which
    become squares of `size` pixels (default: what the ViT was built for). ValueError: no attention, or a size that does
    not fit; FileNotFoundError: no such file.
    """
    network, pictures = _opened(model, images, size)
    side = pictures.shape[-1] // network.patch
    depth = len(network.blocks)
    return _explorer(attention_view(network, pictures), title, image=(0, len(pictures) - 1, 0), layer=(1, depth, depth),
                     query=Choice(["class token", "patch"]), patch=Patch(side, side, (side // 2, side // 2)))


# ------------------------------------------------------------------------------------------------ correspondence
def correspondence_view(model: Model, first: Images, second: Images, size: int | None = None) -> View:
    """view(state): which patches of two images are alike for the network. state: pair, patch (row, column), lines.

    first[i] and second[i] (N, 3, S, S) are a pair. data: "map" (g, g), cosine of the chosen patch of the first image
    with the second's; "best", its place there; "matches" (at most `lines`, 4), rows and columns of mutual nearest ones.
    """
    network, left = _opened(model, first, size)
    right = _opened(network, second, size)[1]
    sides = [images.shape[-1] // network.patch for images in (left, right)]
    kept: dict[int, Tensor] = {}

    def view(state: dict) -> tuple[dict, Figure]:
        pair = state["pair"]
        if pair not in kept:
            tokens = [_asked(network, network.tokens, standardize(images[pair : pair + 1])) for images in (left, right)]
            kept[pair] = similarity(tokens[0][0, 1:], tokens[1][0, 1:])
        cosines = kept[pair]
        row, column = state["patch"]
        chosen = cosines[row * sides[0] + column].view(sides[1], sides[1])
        best = divmod(int(chosen.argmax()), sides[1])
        pairs = mutual_matches(cosines)[: state["lines"]]
        a, b = (as_pixels(images[pair : pair + 1])[0] for images in (left, right))
        figure, panels = _panels(4, ["first image", "second: cosine with the patch",
                                    f"mutual nearest patches: {len(pairs)}", ""], 4)
        panels[0].imshow(a, interpolation="nearest")
        _mark(panels[0], state["patch"], network.patch)
        panels[1].imshow(heat(b, chosen.clamp_min(0)), interpolation="nearest")
        _mark(panels[1], best, network.patch)
        for axes, pixels in zip(panels[2:], (a, b)):
            axes.imshow(pixels, interpolation="nearest")
        places = torch.stack([part for i in (0, 1) for part in (pairs[:, i] // sides[i], pairs[:, i] % sides[i])], 1)
        colours = plt.get_cmap("viridis")(np.linspace(0, 0.95, max(1, len(places))))
        for colour, (r1, c1, r2, c2) in zip(colours, places.tolist()):
            _connect(figure, panels[2], panels[3], (r1, c1), (r2, c2), network.patch, colour)
        return {"map": chosen, "best": best, "matches": places}, figure

    return view


def _connect(figure, left, right, start, end, patch, colour) -> None:
    (y1, x1), (y2, x2) = ([(number + 0.5) * patch - 0.5 for number in place] for place in (start, end))
    figure.add_artist(ConnectionPatch((x1, y1), (x2, y2), "data", "data", axesA=left, axesB=right, color=colour,
                                      lw=1.2))
    for axes, x, y in ((left, x1, y1), (right, x2, y2)):
        axes.plot(x, y, "o", ms=4, color=colour, mec="white", mew=0.6)


def explore_correspondence(model: Model, first: Images, second: Images, title: str = "Which patches correspond?",
                           size: int | None = None) -> Knob:
    """A knob over `correspondence_view`: choose a pair, click a patch of its first image, ask for more or fewer lines.

    model, first, second, size: as `explore_attention` takes them; as many second images as first ones, else ValueError.
    """
    network, left = _opened(model, first, size)
    right = _opened(network, second, size)[1]
    if len(left) != len(right):
        raise ValueError(f"{len(left)} first images and {len(right)} second ones are not pairs")
    side = left.shape[-1] // network.patch
    return _explorer(correspondence_view(network, left, right), title, pair=(0, len(left) - 1, 0),
                     patch=Patch(side, side, (side // 2, side // 2)), lines=(1, 20, 8))


# ------------------------------------------------------------------------------------------------ reconstruction
def reconstruction_view(method: ReconstructionMethod, images: Tensor, grid: int) -> View:
    """view(state): an image with hidden patches filled in by a method and without learning.

    state: image, mask_ratio, draw. images (N, 3, S, S), S a multiple of grid. data: "mask_ratio"; errors on hidden
    pixels over their variance of "method", "nearest visible pixel" and "visible mean" (1 is the mean of the hidden
    pixels themselves). Where a method's targets are normalised per patch, its picture is drawn with the true
    statistics: a star says so.
    """
    images = _as_images(images, grid, images.shape[-1])
    star = "*" if method.normalized else ""

    def view(state: dict) -> tuple[dict, Figure]:
        image = images[state["image"] : state["image"] + 1]
        visible = patch_mask(1, grid, state["mask_ratio"], torch.Generator().manual_seed(state["draw"]))
        filled = {"method": _asked(method, method.reconstruct, image, visible),
                  "nearest visible pixel": fill_nearest(image, visible), "visible mean": fill_mean(image, visible)}
        errors = {name: hidden_error(picture, image, visible) for name, picture in filled.items()}
        seen = torch.nn.functional.interpolate(visible[:, None].float(), size=image.shape[-2:], mode="nearest")
        shown = torch.cat([image, image * seen + 0.75 * (1 - seen), *filled.values()])
        titles = ["image", "visible", *(f"{name}: {error:.2f}" for name, error in errors.items())]
        titles[2] += star
        figure, panels = _panels(5, titles, 5)
        for axes, pixels in zip(panels, as_pixels(shown)):
            axes.imshow(pixels, interpolation="nearest")
        for axes, colour in ((panels[2], BLUE), (panels[3], ORANGE), (panels[4], ORANGE)):
            axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, ec=colour, lw=2))
        if star:
            note = "* drawn with the true mean and contrast of each hidden patch: its error is not comparable"
            figure.text(0.01, -0.03, note, fontsize=9, va="top")
        return {"mask_ratio": 1 - float(visible.float().mean()), **errors}, figure

    return view


def explore_reconstruction(method: Model, images: Images, title: str = "What can be filled in?",
                           size: int | None = None) -> Knob:
    """A knob over `reconstruction_view`: choose an image, the share of hidden patches and another draw of them.

    method: a `ReconstructionMethod` (SparK, MAE, SimMIM, BEiT), or the path of its checkpoint. images,
    size, errors: as for `explore_attention`; a relative position bias (SimMIM, BEiT) has the size of training only.
    """
    model = _loaded(method)
    if not isinstance(model, ReconstructionMethod):
        raise ValueError(f"{type(model).__name__} does not draw pictures: use SparK, MAE, SimMIM or BEiT")
    pictures = _as_images(images, model.patch, size or model.grid * model.patch)
    grid = pictures.shape[-1] // model.patch
    return _explorer(reconstruction_view(model, pictures, grid), title, image=(0, len(pictures) - 1, 0),
                     mask_ratio=Slider(0.1, 0.9, 0.6, 0.1), draw=(0, 9, 0))
