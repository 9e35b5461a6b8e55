"""What the mask tokens of SimMIM look at, and what it draws when they hold something else."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.evaluate.attention import from_mask_tokens
from course_lib.methods.masked.simmim import SimMIM
from course_lib.models.layers import normalize
from course_lib.models.patches import paint
from course_lib.models.vit import ViT

# what `token_swaps` puts in the hidden places in the place of what was learned
CHANGES = ["zeros for its vector", "a random vector", "no position", "its neighbour's position"]


@torch.no_grad()
def token_looks(vit: ViT, images: Tensor, visible: Tensor, mask_token: Tensor) -> dict[str, Tensor]:
    """`from_mask_tokens` of a ViT, (layers, heads) each: how far mask tokens look (pixels), their share on mask tokens.

    images float (B, 3, H, W) in [0, 1], visible (B, g, g) bool. -> "distance" and "share".
    """
    maps = vit.eval().attention(standardize(images.clone()), visible=visible, mask_token=mask_token)[..., 1:, 1:]
    distance, share = from_mask_tokens(maps, visible, images.shape[-1] // visible.shape[-1])
    return {"distance": distance, "share": share}


def even_distance(visible: Tensor, size: int) -> float:
    """How far mask tokens look, in pixels, if each attends evenly to the visible patches of an image `size` wide."""
    seen = visible.flatten(1).float()
    maps = seen[None, :, None, None].expand(1, -1, 1, seen.shape[1], -1)
    return float(from_mask_tokens(maps, visible, size // visible.shape[-1])[0])


def _places(method: SimMIM) -> Tensor:
    """The positions that are added to the patches, (1, L, D)."""
    if (table := method.backbone.positions) is None:
        raise ValueError("this ViT has no table of positions (the paper's has offsets instead): there is none to swap")
    return table[None, 1:]


@torch.no_grad()
def patch_length(method: SimMIM, images: Tensor) -> float:
    """The mean length of a patch's embedding before positions are added; images as in `token_looks`."""
    vectors = method.backbone._embed(standardize(images.clone()))[:, 1:] - _places(method)
    return float(vectors.norm(dim=-1).mean())


@torch.no_grad()
def token_swaps(method: SimMIM, length: float, generator: torch.Generator) -> dict[str, Tensor]:
    """What may stand in the hidden places, position included, (1, L, D): "as trained", and each of `CHANGES`.

    The random vector has `length`. The neighbour is the patch to the left; in the first column, the one to the right.
    ValueError where the ViT has no table of positions.
    """
    token, place = method.mask_token.detach(), _places(method)
    side = math.isqrt(place.shape[1])
    beside = place.unflatten(1, (side, side))[:, :, [1, *range(side - 1)]].flatten(1, 2)
    noise = length * normalize(torch.randn(token.shape, generator=generator))
    insides = (place, noise + place, token.expand_as(place), token + beside)
    return {"as trained": token + place, **dict(zip(CHANGES, insides))}


@torch.no_grad()
def drawn_with(method: SimMIM, images: Tensor, visible: Tensor, inside: Tensor) -> Tensor:
    """The pictures that the network draws when `inside`, (1, L, D), stands in the hidden places; in [0, 1]."""
    vit, hidden = method.backbone, ~visible.flatten(1)
    x = vit._embed(standardize(images.clone()), visible, mask_token=method.mask_token.detach()).clone()
    x[:, 1:][hidden] = inside.expand(len(images), -1, -1)[hidden]
    for block in vit.blocks:
        x = block(x)
    maps = vit.norm(x)[:, 1:].mT.unflatten(2, visible.shape[-2:])
    patch = images.shape[-1] // visible.shape[-1]
    return paint(images, F.pixel_shuffle(method.head(maps), patch), visible, normalized=False)
