"""Explorer: where a ViT's tokens look, in all heads of all layers."""

from __future__ import annotations

from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from torch import Tensor

from course_lib.augment.masks import patch_mask
from course_lib.augment.pixels import standardize
from course_lib.data.images import ImageSet
from course_lib.data.shapes import object_masks
from course_lib.evaluate.attention import object_share, rollout, to_grid
from course_lib.models.blocks import Block
from course_lib.models.vit import ViT
from course_lib.notebook.controls import Choice, Patch, Slider
from course_lib.notebook.explorers import (
    PICKED,
    WIDE,
    Images,
    Model,
    View,
    asked,
    blanked,
    explorer,
    loaded,
    mosaic,
    opened,
    outline,
    square,
    transformer,
)
from course_lib.notebook.knobs import Knob, Tasks
from course_lib.plots.drawing import BLACK, GREEN, GREY, PINK, Exact, as_pixels
from course_lib.plots.sketch import CMAP, heat

OBJECT = GREEN  # the outline of the true object, and what belongs to it


def _heads(network: ViT) -> int:
    block = network.blocks[0]
    assert isinstance(block, Block)
    return block.attn.heads


def _mask_token(model: object) -> Tensor | None:
    """The token that a method puts in hidden places of its ViT, if it has learned one."""
    token = getattr(model, "mask_token", None)
    return token.detach() if isinstance(token, Tensor) else None


def _objects(images: Images, objects: Tensor | None, pictures: Tensor) -> Tensor | None:
    """Bool (N, S, S): where the objects are, given or known from the causes of generated images."""
    if objects is None and isinstance(images, ImageSet) and "rotation_sin" in images.factors:
        objects = object_masks(images.factors, images.size)
    if objects is not None and objects.shape != (len(pictures), *pictures.shape[-2:]):
        raise ValueError(f"objects have shape {tuple(objects.shape)}; expected a mask for each image, "
                         f"{(len(pictures), *pictures.shape[-2:])}")
    return objects


def attention_view(model: Model, images: Images, size: int | None = None, objects: Tensor | None = None,
                   highest: int = 100) -> View:
    """view(state): where a token looks. state: image, layer (from 1), head (from 1, "mean" or "rollout"), query, patch
    (row, column), hidden.

    query: "class token", "patch" or "mask token": the clicked patch, hidden or not. hidden: the share of the other
    patches that the method's mask token replaces (iBOT's has been learned by the student; it is shown in the teacher).
    objects: bool (N, S, S), where the objects are; known for an ImageSet of generated images. highest: per cent, where
    the axis of the shares on the object ends.

    data: "overview" (layers, heads + 2, g, g), its last columns the mean of the heads and the rollout through the
    layers up to this one; of the chosen layer "heads" (heads, g, g), "rollout" (g, g) and "to class" (heads,), the
    weight that each head gives the class token; of the chosen map "map" (g, g) and "to hidden", the weight on mask
    tokens. With objects "on object" (layers, heads + 2), see `object_share`, and "object area", its share of the image.
    """
    model = loaded(model)
    network, token = transformer(model), _mask_token(model)
    pictures = opened(network, images, size)[1]
    masks = _objects(images, objects, pictures)
    side, heads = pictures.shape[-1] // network.patch, _heads(network)
    names = [*range(1, heads + 1), "mean", "rollout"]

    def visible_patches(state: dict) -> Tensor:
        """(1, g, g) bool. The clicked patch is hidden if it is asked as a mask token, and visible if as a patch."""
        visible = patch_mask(1, side, state.get("hidden", 0.0), torch.Generator().manual_seed(state["image"]))
        if state["query"] != "class token":
            visible[(0, *state["patch"])] = state["query"] == "patch"
        return visible

    @lru_cache(maxsize=16)
    def maps(index: int, seen: tuple[bool, ...]) -> Tensor:
        """(layers, heads + 2, T, T): the heads, their mean and the rollout up to each layer."""
        masked = {} if all(seen) else {"visible": torch.tensor(seen).view(1, side, side), "mask_token": token}
        found = asked(network, network.attention, standardize(pictures[index : index + 1]), **masked)
        flows = torch.stack([rollout(found[: layer + 1]) for layer in range(len(found))])
        return torch.cat([found[:, 0], found.mean(2), flows], 1)

    def view(state: dict) -> tuple[dict, Figure]:
        index, layer, column = state["image"], state["layer"], names.index(state["head"])
        visible = visible_patches(state)
        row = 0 if state["query"] == "class token" else 1 + state["patch"][0] * side + state["patch"][1]
        weights = maps(index, tuple(visible.flatten().tolist()))[:, :, row]  # (layers, heads + 2, T)
        grids = to_grid(weights)
        chosen = grids[layer - 1, column]
        data = {"overview": grids, "heads": grids[layer - 1, :heads], "rollout": grids[layer - 1, -1], "map": chosen,
                "to class": weights[layer - 1, :heads, 0], "to hidden": float(chosen[~visible[0]].sum())}
        if masks is not None:
            data["on object"] = object_share(grids, masks[index])
            data["object area"] = float(masks[index].float().mean())
        shown = as_pixels(blanked(pictures[index : index + 1], visible))[0]
        return data, _draw(state, data, shown, float(weights[layer - 1, column, 0]), network.patch, names,
                           None if masks is None else masks[index], bool((~visible).any()), highest)

    return view


def _draw(state: dict, data: dict, pixels: np.ndarray, to_class: float, patch: int, names: list, mask: Tensor | None,
          masked: bool, highest: int = 100) -> Figure:
    """The image, the chosen map, all maps small, and, where the object is known, how much of each is on it."""
    below = 0.0 if mask is None else 1.6
    figure = plt.figure(figsize=(WIDE, 3.05 + below), FigureClass=Exact)
    head = f"head {state['head']}" if isinstance(state["head"], int) else state["head"]
    place = "" if state["query"] == "class token" else " (framed)"
    left = square(figure, 0.05, below + 0.3, 2.5, 2.5, f"from the {state['query']}{place}")
    large = square(figure, 2.65, below + 0.3, 2.5, 2.5, f"to: layer {state['layer']}, {head}")
    left.imshow(pixels, interpolation="nearest")
    cells = _scaled(data["overview"], state)
    large.imshow(heat(pixels, cells[state["layer"] - 1, names.index(state["head"])]), interpolation="nearest")
    if state["query"] != "class token":
        outline(left, state["patch"], patch)
        outline(large, state["patch"], patch)
    if mask is not None:
        edge = left.contour(mask.numpy(), [0.5], linewidths=0).get_paths()[0]
        for axes in (left, large):
            for colour, width in (("white", 2.6), (OBJECT, 1.2)):  # green objects need the white
                axes.add_patch(PathPatch(edge, fill=False, ec=colour, lw=width))
    notes = [f"class token {to_class:.0%}"]
    if state["query"] != "class token":
        notes.append(f"itself {float(data['map'][state['patch']]):.0%}")
    if masked:
        notes.append(f"mask tokens {data['to hidden']:.0%}")
    figure.text(3.9 / WIDE, (below + 0.1) / (3.05 + below), ", ".join(notes), fontsize=9, ha="center")

    layers, columns, side, _ = cells.shape
    room = min(3.3 / columns, 2.5 / layers)
    small = square(figure, 5.45, below + 0.3, room * columns, room * layers, "all layers (rows) and heads")
    small.imshow(mosaic(CMAP(cells.numpy())[..., :3]), interpolation="nearest", aspect="auto")
    for number, name in enumerate(names):
        name = f"\n{name}" if name == "rollout" and room < 0.45 else name
        small.text(number * (side + 1) + side / 2, layers * (side + 1), str(name), fontsize=8, ha="center", va="top")
    for number in range(0, layers, _every(layers)):
        small.text(-1.5, number * (side + 1) + side / 2, str(number + 1), fontsize=8, ha="right", va="center")
    outline(small, (state["layer"] - 1, names.index(state["head"])), side, gap=1)
    if mask is not None:
        axes = figure.add_axes((0.55 / WIDE, 0.4 / (3.05 + below), 6.6 / WIDE, 0.95 / (3.05 + below)))
        _object_shares(axes, state, data, names, highest)
    return figure


def _every(layers: int) -> int:
    """Which layers are labelled, every one or every second...: texts take most of a redraw."""
    return 1 + (layers - 1) // 6


def _scaled(maps: Tensor, state: dict) -> Tensor:
    """Maps (layers, columns, g, g), each over its largest weight. A patch's rollout is mostly its own, by the residual
    connections: there the largest of the others counts, or nothing else could be seen.
    """
    largest = maps.amax((-2, -1))
    if state["query"] != "class token":
        others = maps[:, -1].clone()
        others[(slice(None), *state["patch"])] = 0
        largest[:, -1] = others.amax((-2, -1))
    return (maps / largest[..., None, None].clamp_min(1e-12)).clamp(max=1)


def _object_shares(axes, state: dict, data: dict, names: list, highest: int) -> None:
    shares, numbers = 100 * data["on object"], list(range(1, len(data["on object"]) + 1))
    axes.plot(numbers, shares[:, :-2], "o", ms=4, color=GREY)
    axes.plot(numbers, shares[:, -2], color=BLACK)
    axes.plot(numbers, shares[:, -1], color=PINK)
    axes.axhline(100 * data["object area"], color=OBJECT, ls="--")
    axes.plot(state["layer"], shares[state["layer"] - 1, names.index(state["head"])], "o", ms=9, mfc="none",
              mec=PICKED, mew=2)
    axes.set(xticks=numbers[:: _every(len(numbers))], ylim=(0, highest), yticks=[0, highest // 2, highest])
    axes.set_xlabel("layer", fontsize=9, labelpad=1)
    axes.tick_params(labelsize=8)
    axes.set_title("of the attention to patches, % on the object", fontsize=9, loc="left", pad=3)
    for line, (text, colour) in enumerate((("single heads", GREY), ("mean of the heads", BLACK), ("rollout", PINK),
                                           ("if it were spread evenly", OBJECT))):
        axes.text(1.02, 0.85 - 0.25 * line, text, color=colour, fontsize=8, transform=axes.transAxes)
    axes.spines[["top", "right"]].set_visible(False)


def explore_attention(model: Model, images: Images, title: str = "Where does it look?", size: int | None = None,
                      objects: Tensor | None = None, tasks: Tasks | None = None, *, query: str = "class token",
                      at: tuple[int, int] | None = None, highest: int = 100, hidden: float = 0.0,
                      layer: int | None = None) -> Knob:
    """A knob over `attention_view`: choose an image, a layer, a head, and the class token, a patch or a mask token.

    model: a ViT, a method over one, a learned network, or the path of a checkpoint. images: a tensor, an ImageSet, or
    paths of photographs, which become squares of `size` pixels (default: what the ViT was built for). objects: see
    `attention_view`. query, at, hidden, layer: what to begin with (the last layer, nothing hidden). ValueError: no
    attention, or a size that does not fit; FileNotFoundError: no such file.
    """
    model = loaded(model)
    network = transformer(model)
    pictures = opened(network, images, size)[1]
    side, depth = pictures.shape[-1] // network.patch, len(network.blocks)
    queries, shares = ["class token", "patch"], {}
    if _mask_token(model) is not None:
        queries, shares = [*queries, "mask token"], {"hidden": Slider(0.0, 0.9, hidden, 0.1)}
    return explorer(attention_view(model, pictures, None, _objects(images, objects, pictures), highest), title, tasks,
                    image=(0, len(pictures) - 1, 0), layer=(1, depth, layer or depth),
                    head=Choice([*range(1, _heads(network) + 1), "mean", "rollout"]), query=Choice(queries, query),
                    patch=Patch(side, side, at or (side // 2, side // 2)), **shares)
