"""The scale of pixels: uint8, floats in [0, 1], and what networks are fed."""

from __future__ import annotations

import torch
from torch import Tensor

MEAN, STD = 0.45, 0.25  # one grey level for all sets: methods see roughly centred images whatever the data


def to_float(images: Tensor) -> Tensor:
    """uint8 (0..255) -> float32 in [0, 1]; float images are passed through."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def standardize(images: Tensor) -> Tensor:
    """Images in [0, 1] or uint8 -> what backbones are fed: (x - 0.45) / 0.25, so that grey is about 0."""
    return to_float(images).sub(MEAN).div_(STD)
