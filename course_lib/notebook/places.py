"""Attention and patches of a few pictures, all of it computed beforehand, for a page without a kernel: places.js.

The knobs of attention.py and patches.py ask the network at every click; here everything that a click may ask for is in
`data`, as bytes: one for each pair of places.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.evaluate.attention import rollout, similarity
from course_lib.evaluate.patches import component_colours, patch_vectors
from course_lib.models.blocks import Block
from course_lib.models.vit import ViT
from course_lib.notebook.explorers import asked, network_of, strides_of
from course_lib.plots.sketch import CMAP

BUDGET = 24_000_000  # bytes of all maps; in the page they take a third more
FINE = 16            # a conv net's maps of more places along a side are left out, but for its last


def places(model: nn.Module, pictures: Tensor, names: tuple[str, ...] | list[str]) -> tuple[dict, list[str]]:
    """What places.js draws of uint8 pictures (N, 3, S, S), and sentences about what the page has no room for.

    data: size, names, pixels uint8 (N, S, S, 3), scale uint8 (256, 3) (the colours of weights); stages, each with name,
    side (g), colours uint8 (N, g, g, 3), variance (of three components), alike uint8 (N, g², g²): cosines about the
    mean of all pictures, 0 or less is 0; attention (None without a ViT): layers (from 1), heads (names), and weights
    uint8 (N, layers, heads, T, T), T = 1 + g²: of each query the share of the class token in percent, then the
    patches', over the largest of them. Arrays are bytes. ValueError for a network without places.
    """
    network, size = network_of(model), pictures.shape[-1]
    strides = strides_of(network)
    if size % strides[-1]:
        raise ValueError(f"pictures of {size} pixels cannot be cut into patches of {strides[-1]}: ask for a multiple")
    sides = [size // stride for stride in strides]
    stages = [i for i, side in enumerate(sides) if side <= FINE or i == len(sides) - 1]
    depth = len(network.blocks) if isinstance(network, ViT) else 0
    fixed = sum(sides[i] ** 4 for i in stages)
    layer = (_heads(network) + 2) * (1 + sides[-1] ** 2) ** 2 if isinstance(network, ViT) else 0
    count = min(depth, max(1, (BUDGET // len(pictures) - fixed) // layer)) if isinstance(network, ViT) else 0
    cost = fixed + layer * count
    if cost > BUDGET:
        raise ValueError(f"{sides[-1]} places along a side are too many for a page: ask for smaller pictures "
                         "(--image-size)")
    few, layers = pictures[: BUDGET // cost], list(range(depth - count, depth))
    notes = [f"The maps of {len(few)} pictures fit into the page."] if len(few) < len(pictures) else []
    if count < depth:
        notes.append(f"Attention is shown of the last {count} of {depth} layers, as many as fit.")
    data = {
        "size": size, "names": list(names[: len(few)]),
        "pixels": few.permute(0, 2, 3, 1).contiguous().numpy().tobytes(),
        "scale": _bytes(torch.from_numpy(CMAP(np.linspace(0, 1, 256))[:, :3])),
        "stages": [_stage(network, few, i, "" if len(stages) == 1 else f"stage {i + 1}") for i in stages],
        "attention": _attention(network, few, layers) if isinstance(network, ViT) else None}
    return data, notes


def _heads(network: ViT) -> int:
    block = network.blocks[0]
    assert isinstance(block, Block)
    return block.attn.heads


def _bytes(shares: Tensor) -> bytes:
    """Numbers from 0 to 1 as uint8."""
    return (shares.clamp(0, 1) * 255).round().to(torch.uint8).numpy().tobytes()


def _stage(network: nn.Module, pictures: Tensor, stage: int, name: str) -> dict:
    found = torch.cat([asked(network, lambda x: patch_vectors(network, x, stage), standardize(one[None]))
                       for one in pictures])  # (N, L, D)
    colours, variance = component_colours(found)
    about = found - found.mean((0, 1))
    alike = torch.stack([similarity(one, one, center=False) for one in about])
    return {"name": name, "side": math.isqrt(found.shape[1]), "colours": _bytes(colours),
            "variance": [round(share, 3) for share in variance.tolist()], "alike": _bytes(alike)}


def _attention(network: ViT, pictures: Tensor, layers: list[int]) -> dict:
    parts = []
    for one in pictures:
        maps = asked(network, network.attention, standardize(one[None]))  # (layers, 1, heads, T, T)
        flows = torch.stack([rollout(maps[: layer + 1]) for layer in layers])
        maps = maps[layers]
        parts.append(_bytes(_scaled(torch.cat([maps[:, 0], maps.mean(2), flows], 1))))
    heads = [*(f"head {i + 1}" for i in range(_heads(network))), "mean of the heads", "rollout"]
    return {"layers": [layer + 1 for layer in layers], "heads": heads, "weights": b"".join(parts)}


def _scaled(maps: Tensor) -> Tensor:
    """(layers, heads, T, T): the class token's share of each query, / 2.55; those of the patches over their largest.

    A patch's rollout is mostly its own, by the residual connections: there the largest of the others counts.
    """
    largest = maps[..., 1:].clone()
    own = torch.arange(maps.shape[-1] - 1)
    largest[:, -1, own + 1, own] = 0
    scaled = maps[..., 1:] / largest.amax(-1, keepdim=True).clamp_min(1e-12)
    return torch.cat([maps[..., :1] / 2.55, scaled], -1)
