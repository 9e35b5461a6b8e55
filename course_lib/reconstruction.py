"""Judging a reconstruction: the error on hidden pixels, beside two ways of filling them without any learning."""

from __future__ import annotations

import torch
from torch import Tensor


def _pixels(visible: Tensor, size: int) -> Tensor:
    """(B, f, f) bool -> (B, 1, size, size) bool."""
    times = size // visible.shape[-1]
    return visible.unsqueeze(1).repeat_interleave(times, 2).repeat_interleave(times, 3)


def hidden_error(prediction: Tensor, images: Tensor, visible: Tensor) -> float:
    """Squared error on hidden pixels over the variance of those pixels (about their mean per channel, over all images).

    prediction, images (B, 3, H, W) in one scale; visible (B, f, f) bool. 0 is perfect, 1 is "the data set's mean".
    """
    hidden = ~_pixels(visible, images.shape[-1]).expand_as(images)
    count = hidden.sum((0, 2, 3), keepdim=True)
    mean = (images * hidden).sum((0, 2, 3), keepdim=True) / count
    variance = ((images - mean).square() * hidden).sum()
    return float(((prediction - images).square() * hidden).sum() / variance)


def fill_mean(images: Tensor, visible: Tensor) -> Tensor:
    """Hidden pixels replaced by the mean of the same image's visible pixels, per channel."""
    seen = _pixels(visible, images.shape[-1])
    mean = images.where(seen, 0).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True)
    return torch.where(seen, images, mean)


def fill_nearest(images: Tensor, visible: Tensor) -> Tensor:
    """Each hidden pixel replaced by the nearest visible pixel of its image (Euclidean; the first in reading order)."""
    size = images.shape[-1]
    seen = _pixels(visible, size).flatten(1)  # (B, H*W)
    axis = torch.arange(size, dtype=torch.float32, device=images.device)
    place = torch.cartesian_prod(axis, axis)
    distance = torch.cdist(place, place)  # (H*W, H*W)
    out = images.clone().flatten(2)
    for picture, flags in zip(out, seen):  # one image at a time: H*W x H*W distances each
        known = flags.nonzero()[:, 0]
        picture.copy_(picture[:, known[distance[:, known].argmin(1)]])
    return out.view_as(images)
