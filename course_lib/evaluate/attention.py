"""What to read from attention maps: where tokens look, how far, through all layers, and which patches correspond.

Maps are (layers, B, heads, T, T) as `vit.ViT.attention` gives them, T = 1 + patches, the class token first; row =
query, rows sum to 1. They show where information *may* come from, not what a network's answer depends on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.data.shapes import object_masks
from course_lib.models.layers import normalize
from course_lib.precision import at_least_float32


def to_grid(weights: Tensor) -> Tensor:
    """Weights on tokens (..., T) -> on patches (..., g, g); the class token's is dropped, nothing is rescaled."""
    side = math.isqrt(weights.shape[-1] - 1)
    if side * side != weights.shape[-1] - 1:
        raise ValueError(f"{weights.shape[-1]} tokens are not a class token and a square of patches")
    return weights[..., 1:].unflatten(-1, (side, side))


def rollout(maps: Tensor, residual: float = 0.5) -> Tensor:
    """Attention rollout (Abnar and Zuidema, ACL 2020, arXiv 2005.00928): (layers, B, heads, T, T) -> (B, T, T).

    Heads are averaged, the residual connection counts as attention to oneself with weight `residual`, and the layers
    are multiplied, the first rightmost: row i says how much of each input token may have arrived in token i. Rows sum
    to 1.
    """
    mean = maps.mean(2)
    eye = torch.eye(maps.shape[-1], dtype=mean.dtype, device=mean.device)
    mixed = (1 - residual) * mean + residual * eye
    total = mixed[0]
    for layer in mixed[1:]:
        total = layer @ total
    return total


def object_share(weights: Tensor, masks: Tensor) -> Tensor:
    """Weights on patches (..., g, g), object masks (..., S, S) bool -> (...): the share of them that is on the object.

    The weights are rescaled to sum to 1, and a patch that the object covers in part counts in part. Weights that are
    the same everywhere have the object's share of the picture. ValueError unless S is a multiple of g.
    """
    side, size = weights.shape[-1], masks.shape[-1]
    if size % side:
        raise ValueError(f"masks of {size} pixels cannot be cut into {side} patches along a side; expected a multiple")
    covered = masks.to(weights).unflatten(-1, (side, size // side)).unflatten(-3, (side, size // side)).mean((-3, -1))
    return (weights * covered).sum((-2, -1)) / weights.sum((-2, -1)).clamp_min(1e-12)


def pointing(maps: Tensor, factors: dict[str, Tensor]) -> dict[str, float]:
    """Whether attention maps (N, h, w) of generated images point at the object, from the images' `factors`.

    share, share_others, share_mean: `object_share` of an image's own map, of another image's, of the mean map.
    follows_column: the correlation of the attention's mean column with the object's, 0 where all are the same.
    """
    masks, axis = object_masks(factors), torch.linspace(0, 1, maps.shape[-1])
    column = (maps.sum(1) * axis).sum(1) / maps.sum((1, 2))
    whose = {"share": maps, "share_others": maps.roll(1, 0), "share_mean": maps.mean(0).expand_as(maps)}
    follows = torch.corrcoef(torch.stack([column, factors["pos_x"]]))[0, 1].nan_to_num(0.0)
    return {name: float(object_share(m, masks).mean()) for name, m in whose.items()} | {
        "follows_column": float(follows)}


def attention_distance(maps: Tensor) -> Tensor:
    """(layers, B, heads, T, T) -> (layers, heads): mean attention distance of the patches, in patches.

    The mean is over images and queries; the class token is left out on both sides, and each row rescaled to sum to 1.
    """
    maps = at_least_float32(maps)
    side = math.isqrt(maps.shape[-1] - 1)
    axis = torch.arange(side, dtype=maps.dtype, device=maps.device)
    place = torch.cartesian_prod(axis, axis)
    among = maps[..., 1:, 1:]
    among = among / among.sum(-1, keepdim=True).clamp_min(1e-12)
    return (among * torch.cdist(place, place)).sum(-1).mean((1, 3))


def similarity(first: Tensor, second: Tensor, center: bool = True) -> Tensor:
    """Cosines of patch features (L, D) and (M, D) -> (L, M), about their common mean, which tells nothing apart."""
    if center:
        mean = torch.cat([first, second]).mean(0)
        first, second = first - mean, second - mean
    return normalize(first) @ normalize(second).T


def mutual_matches(cosines: Tensor) -> Tensor:
    """(L, M) -> (pairs, 2) int64: i and j that are each other's nearest, the best pair first."""
    forth, back = cosines.argmax(1), cosines.argmax(0)
    own = torch.arange(len(cosines), device=cosines.device)
    mutual = own[back[forth] == own]
    pairs = torch.stack([mutual, forth[mutual]], 1)
    return pairs[cosines[pairs[:, 0], pairs[:, 1]].argsort(descending=True)]


def from_mask_tokens(maps: Tensor, visible: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Mask tokens' attention to other patches, by layer and head: how far it goes (pixels), the share on mask tokens.

    maps: attention among patches (layers, B, heads, L, L), without the class token; visible (B, g, g) bool, True where
    no mask token stands. The weight on a patch itself is left out, the rest rescaled. -> two of (layers, heads).
    """
    maps = at_least_float32(maps)
    side, hidden = visible.shape[-1], (~visible).flatten(1).to(maps)
    maps = maps.masked_fill(torch.eye(side**2, dtype=torch.bool, device=maps.device), 0)
    maps = maps / maps.sum(-1, keepdim=True)
    axis = patch * torch.arange(side, dtype=maps.dtype, device=maps.device)
    place = torch.cartesian_prod(axis, axis)
    measures = (maps * torch.cdist(place, place)).sum(-1), torch.einsum("lbhqk,bk->lbhq", maps, hidden)
    far, share = (torch.einsum("lbhq,bq->lh", each, hidden) / hidden.sum() for each in measures)
    return far, share


def patch_cover(masks: Tensor, side: int) -> Tensor:
    """Object masks (N, S, S) bool -> (N, side * side): the share of each patch that the object covers."""
    size = masks.shape[-1] // side
    return masks.float().unflatten(2, (side, size)).unflatten(1, (side, size)).mean((2, 4)).flatten(1)


def class_token_on_object(maps: Tensor, cover: Tensor) -> Tensor:
    """The class token's share on the object, of its attention to patches: mean of images and heads, (layers,).

    maps: (layers, B, heads, T, T); cover: (B, L), see `patch_cover`.
    """
    weights = maps[..., 0, 1:] / maps[..., 0, 1:].sum(-1, keepdim=True)
    return torch.einsum("lbhk,bk->lbh", weights, cover).mean((1, 2))


def spent_on_object(maps: Tensor, cover: Tensor, enough: int = 3) -> dict[str, float]:
    """Of the attention that patches on an object pay to other patches: the share on the object, beside two controls.

    maps: (layers, B, heads, T, T); cover: (B, L). "own": the image's own maps. "object": in their place the mean map of
    the same patch in other images where it is on their object too; "background": where it is on no object. All count
    on this image's object, of patches that are on the object (nine tenths) in `enough` other images at least.
    """
    inside = cover > 0.9
    weight = {"object": inside.to(maps), "background": (cover < 0.01).to(maps)}  # whose maps count
    others = {kind: (w.sum(0) - w).clamp(min=1) for kind, w in weight.items()}  # (B, L)
    maps = maps[..., 1:, 1:].masked_fill(torch.eye(cover.shape[1], dtype=torch.bool, device=maps.device), 0)
    maps = maps / maps.sum(-1, keepdim=True)  # (layers, B, heads, L, L)
    asked = inside & (others["object"] >= enough)

    def share(these: Tensor) -> float:
        return float(torch.einsum("lbhqk,bk->lhbq", these, cover)[:, :, asked].mean())

    found = {"own": share(maps)}
    for kind, w in weight.items():
        total = torch.einsum("lbhqk,bq->lhqk", maps, w)[:, None]
        found[kind] = share((total - maps * w[None, :, None, :, None]) / others[kind][None, :, None, :, None])
    return found
