"""The scale of pixels: uint8, floats in [0, 1], and what networks are fed."""

from __future__ import annotations

import torch
from torch import Tensor

MEAN, STD = 0.45, 0.25  # one grey level for all sets: methods see roughly centred images whatever the data
FAR_ABOVE_ONE = 16.0  # noisy images leave [0, 1], but not so far


def to_float(images: Tensor) -> Tensor:
    """uint8 (0..255) -> float32 in [0, 1]; float images are passed through.

    ValueError for floats that look like bytes (on a CPU; elsewhere the device would have to be waited for).
    """
    if images.dtype == torch.uint8:
        return images.float().div_(255)
    if images.device.type == "cpu" and images.numel() and not torch.compiler.is_compiling():
        if (highest := float(images.detach().amax())) > FAR_ABOVE_ONE:
            raise ValueError(f"float images reach {highest:.4g}; expected values from 0 to 1. Divide by 255, or give "
                             "uint8.")
    return images


def check_images(images: Tensor) -> Tensor:
    """The images, if they have the four dimensions of a batch (B, 3, H, W); else a ValueError that says so."""
    if images.ndim != 4:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected a batch (B, 3, H, W). For a single one "
                         "give image[None].")
    return images


def standardize(images: Tensor) -> Tensor:
    """Images in [0, 1] or uint8 -> what backbones are fed: (x - 0.45) / 0.25, so that grey is about 0."""
    return to_float(images).sub(MEAN).div_(STD)
