"""What batch norm has stored, against what it meets on whole images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize


def _norms(encoder: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [layer for layer in encoder.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


@torch.no_grad()
def renew_statistics(encoder: nn.Module, images: Tensor,
                     forward: Callable[[Any, Tensor], object] | None = None) -> nn.Module:
    """A copy of the encoder whose batch norms have stored the mean and variance of these images.

    images (B, 3, H, W), floats in [0, 1] or uint8. forward(encoder, normalised images): how they go through it, once
    and in training mode; default: whole. Weights stay, the copy is in evaluation mode. A network that was trained on
    masked images is used on whole ones: this is the repair.
    """
    renewed = copy.deepcopy(encoder).train()
    for layer in _norms(renewed):
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean of all batches, of which there is one
    inputs = standardize(images.clone())
    if forward is None:
        renewed(inputs)
    else:
        forward(renewed, inputs)
    return renewed.eval()


@torch.no_grad()
def statistics_shift(encoder: nn.Module, images: Tensor) -> tuple[list[float], list[float]]:
    """Per batch norm, from the input on: how far its stored statistics are from those it meets on whole images.

    -> (shift, scale). shift: |stored mean - mean here| in standard deviations here; scale: stored standard deviation
    over the one here; both the median over channels, 0 and 1 if nothing has shifted. images as in `renew_statistics`.
    """
    means, scales = [], []

    def look(layer, inputs):
        values = inputs[0].transpose(0, 1).flatten(1).float()  # (C, B * H * W)
        deviation, mean = torch.std_mean(values, dim=1)
        means.append(float(((layer.running_mean - mean).abs() / deviation).median()))
        scales.append(float((layer.running_var.sqrt() / deviation).median()))

    network = copy.deepcopy(encoder).eval()
    for layer in _norms(network):
        layer.register_forward_pre_hook(look)  # of the copy, which ends here
    network(standardize(images.clone()))
    return means, scales
