"""SparK's sparse operations one at a time, as pure functions: lesson 02 builds them by hand.

Inside a network the same is done by `methods.masked.spark.sparse` (convolutions and pools) and `layers.BatchNorm2d`
(batch norm over visible positions); the tests of the exercises hold both to one result, values and gradients.
Tian et al., ICLR 2023, arXiv 2301.03580; official code keyu-tian/SparK, pretrain/encoder.py.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .methods.masked.spark import enlarge


def sparse_conv(x: Tensor, weight: Tensor, bias: Tensor | None, visible: Tensor, stride: int = 1) -> Tensor:
    """A convolution that keeps hidden positions empty: the dense one, then "times the mask".

    x (B, C, H, H), 0 where hidden; weight (D, C, k, k), k odd; bias (D,) or None; visible (B, 1, f, f) bool on the
    grid of patches -> (B, D, H/stride, H/stride), 0 where hidden.
    """
    y = F.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)
    return y * enlarge(visible, y.shape[-1])


def masked_batch_norm(x: Tensor, visible: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Batch norm in training whose statistics count visible positions only; hidden positions come out as 0.

    x (B, C, H, W); visible (B, 1, H, W) bool; weight and bias (C,) -> (B, C, H, W). The variance is the biased one.
    """
    mask = visible.to(x.dtype)
    count = mask.sum()
    mean = (x * mask).sum((0, 2, 3), keepdim=True) / count
    centred = (x - mean) * mask
    variance = centred.square().sum((0, 2, 3), keepdim=True) / count
    scaled = centred / torch.sqrt(variance + eps)
    return (scaled * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)) * mask


def visible_share(x: Tensor) -> float:
    """Share of positions of x (B, C, H, W) where any channel is not 0."""
    return float((x != 0).any(1).float().mean())
