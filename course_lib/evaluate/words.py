"""What a dictionary of visual words keeps of images, and what can be said of a hidden word without learning."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from course_lib.augment.pixels import to_float


def words_keep(images: Tensor, words: Tensor) -> dict[str, float]:
    """Shares of variance that lie between words: of patches' mean "colour", and of their "pattern", the rest.

    images (N, 3, H, W), words (N, g, g) int64. 1: patches of one word are equal in this; 0: words say nothing of it.
    """
    patch = images.shape[-1] // words.shape[-1]
    patches = rearrange(to_float(images), "b c (h p) (w q) -> (b h w) c (p q)", p=patch, q=patch)
    colour, flat, found = patches.mean(2), words.flatten(), {}
    for name, values in (("colour", colour), ("pattern", (patches - colour[..., None]).flatten(1))):
        values = values - values.mean(0)
        counts = torch.bincount(flat).clamp(min=1)[:, None]
        means = torch.zeros(len(counts), values.shape[1]).index_add_(0, flat, values) / counts
        found[name] = float(means[flat].square().sum() / values.square().sum().clamp(min=1e-12))
    return found


def to_visible(visible: Tensor) -> tuple[Tensor, Tensor]:
    """visible (B, g, g) -> (B, L) how many patches away the nearest visible one of each patch is, (B, L) which one."""
    side = torch.arange(float(visible.shape[-1]))
    cells = torch.cartesian_prod(side, side)
    away = torch.cdist(cells, cells).masked_fill(~visible.flatten(1)[:, None], torch.inf)  # (B, L, L)
    nearest = away.min(2)
    return nearest.values, nearest.indices


def copy_nearest(words: Tensor, visible: Tensor) -> Tensor:
    """Words (B, g, g) in which each hidden patch has the word of the nearest visible one, the first of equals."""
    return words.flatten(1).gather(1, to_visible(visible)[1]).view_as(words)


def painted_like(reading: Tensor, images: Tensor, visible: Tensor) -> dict[str, float]:
    """Hidden patches as painted, (B, g, g, 3, p, p), against images: root mean squared "error", and mean "contrast".

    Contrast: the standard deviation of a patch's pixels, colour by colour.
    """
    patch = reading.shape[-1]
    truth = rearrange(to_float(images), "b c (h p) (w q) -> b h w c p q", p=patch, q=patch)
    error = (reading - truth).square().mean((-1, -2, -3))[~visible].mean().sqrt()
    spread = (reading - reading.mean((-1, -2), keepdim=True)).square().mean((-1, -2, -3)).sqrt()
    return {"error": float(error), "contrast": float(spread[~visible].mean())}
