"""Judging a reconstruction: the error on hidden pixels, two ways of filling them without learning, and how far they
are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.augment.masks import enlarge, patch_mask
from course_lib.augment.pixels import to_float
from course_lib.data.images import ImageSet
from course_lib.methods.base import ReconstructionMethod


def hidden_error(prediction: Tensor, images: Tensor, visible: Tensor) -> float:
    """Squared error on hidden pixels over the variance of those pixels (about their mean per channel, over all images).

    prediction, images (B, 3, H, W) in one scale; visible (B, f, f) bool. 0 is perfect, 1 is "the data set's mean".
    """
    hidden = ~enlarge(visible.unsqueeze(1), images.shape[-1]).expand_as(images)
    count = hidden.sum((0, 2, 3), keepdim=True)
    mean = (images * hidden).sum((0, 2, 3), keepdim=True) / count
    variance = ((images - mean).square() * hidden).sum()
    return float(((prediction - images).square() * hidden).sum() / variance)


def fill_mean(images: Tensor, visible: Tensor) -> Tensor:
    """Hidden pixels replaced by the mean of the same image's visible pixels, per channel."""
    seen = enlarge(visible.unsqueeze(1), images.shape[-1])
    mean = images.where(seen, 0).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True)
    return torch.where(seen, images, mean)


def average_distance(visible: Tensor, size: int) -> float:
    """SimMIM's AvgDist: the mean Euclidean distance, in pixels, from a hidden pixel to the nearest visible one.

    visible (B, f, f) bool on images of `size` pixels; over all hidden pixels of the batch, nan if there are none.
    """
    seen = enlarge(visible.unsqueeze(1), size).flatten(1)  # (B, H*W)
    distance = _distances(size, visible.device)
    found = [distance[~flags][:, flags].amin(1) for flags in seen if not flags.all()]
    return float(torch.cat(found).mean()) if found else float("nan")


def _distances(size: int, device: torch.device) -> Tensor:
    """(H*W, H*W): between any two pixels of a square image."""
    axis = torch.arange(size, dtype=torch.float32, device=device)
    place = torch.cartesian_prod(axis, axis)
    return torch.cdist(place, place)


def fill_nearest(images: Tensor, visible: Tensor) -> Tensor:
    """Each hidden pixel replaced by the nearest visible pixel of its image (Euclidean; the first in reading order)."""
    size = images.shape[-1]
    seen = enlarge(visible.unsqueeze(1), size).flatten(1)  # (B, H*W)
    distance = _distances(size, images.device)
    out = images.clone().flatten(2)
    for picture, flags in zip(out, seen):  # one image at a time: H*W x H*W distances each
        known = flags.nonzero()[:, 0]
        picture.copy_(picture[:, known[distance[:, known].argmin(1)]])
    return out.view_as(images)


def hidden_errors(method: ReconstructionMethod, images: ImageSet, seed: int, name: str = "spark",
                  count: int = 512) -> dict[str, float]:
    """A method with pixel targets: its error on hidden pixels of test images, beside two fillings that learn nothing.

    The masks are the method's own kind: its ratio, on its grid (SimMIM's is coarser than the encoder's).
    """
    pictures = to_float(images.images[:count])
    grid = method.mask_grid or method.grid
    coarse = patch_mask(len(pictures), grid, method.mask_ratio, torch.Generator().manual_seed(seed))
    visible = enlarge(coarse.unsqueeze(1), method.grid).squeeze(1)
    drawn = torch.cat([method.reconstruct(p, v) for p, v in zip(pictures.split(128), visible.split(128))])
    return {name: hidden_error(drawn, pictures, visible),
            "visible mean": hidden_error(fill_mean(pictures, visible), pictures, visible),
            "nearest visible pixel": hidden_error(fill_nearest(pictures, visible), pictures, visible)}
