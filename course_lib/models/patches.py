"""Images as patches: cut, reassembled, normalised one by one."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor

from course_lib.augment.masks import enlarge
from course_lib.augment.pixels import MEAN, STD, standardize
from course_lib.collectives import all_reduce_sum


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> (B, patches, patch*patch*C), each patch as (row, column, channel)."""
    return rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=patch, q=patch)


def unpatchify(patches: Tensor, patch: int) -> Tensor:
    """The inverse of `patchify`, for square images: (B, patches, patch*patch*C) -> (B, C, H, H)."""
    grid = math.isqrt(patches.shape[1])
    return rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", h=grid, p=patch, q=patch)


def normalize_patches(patches: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L, n) -> patches of mean 0 and standard deviation 1, with both as (B, L, 1); unbiased variance."""
    mean = patches.mean(-1, keepdim=True)
    std = (patches.var(-1, keepdim=True) + eps).sqrt()
    return (patches - mean) / std, mean, std


def hidden_total(hidden: Tensor) -> Tensor:
    """How many places are hidden in the whole (global) batch: hidden, true or 1 where they are, of any shape -> scalar.

    ValueError where none is: a masked loss has nothing to predict then.
    """
    count = all_reduce_sum(hidden.sum())
    if not count:
        raise ValueError("no patch is hidden in the whole batch: there is nothing to predict")
    return count


@torch.no_grad()
def paint(images: Tensor, prediction: Tensor, visible: Tensor, normalized: bool,
          true_statistics: bool = True) -> Tensor:
    """Images in [0, 1] with their hidden patches replaced by predicted ones: (B, 3, H, H).

    prediction: images (B, 3, H, H) or their patches (B, L, n), in the scale of normalised images; visible (B, f, f)
    bool. With normalised targets a prediction lacks each hidden patch's mean and standard deviation: the *true* ones
    are filled in, as in the papers' figures, which shows texture but leaks. true_statistics=False leaks nothing: every
    hidden patch gets the mean of the image's visible patches and their root mean square deviation.
    """
    inputs, patch = standardize(images), images.shape[-1] // visible.shape[-1]
    patches = prediction if prediction.dim() == 3 else patchify(prediction, patch)  # (B, L, n)
    patches = patches.float().to(images.device)
    if normalized:
        _, mean, std = normalize_patches(patchify(inputs, patch))
        if not true_statistics:
            shown = visible.flatten(1)[..., None].to(mean)  # (B, L, 1)
            count = shown.sum(1, keepdim=True)
            mean = (mean * shown).sum(1, keepdim=True) / count
            std = ((std.square() * shown).sum(1, keepdim=True) / count).sqrt()
        patches = patches * std + mean
    seen = enlarge(visible.unsqueeze(1), images.shape[-1])
    return torch.where(seen, inputs, unpatchify(patches, patch)).mul(STD).add(MEAN).clamp(0, 1)
