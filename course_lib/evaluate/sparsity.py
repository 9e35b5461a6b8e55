"""What hidden patches do to a conv net: filled with zeros, their holes kept, or kept and yet counted by batch norms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.masks import enlarge
from course_lib.evaluate.norms import renew_statistics, statistics_shift
from course_lib.methods.masked.spark import sparse
from course_lib.models.layers import ConvBackbone


def zero_filled(encoder: ConvBackbone, x: Tensor, visible: Tensor) -> list[Tensor]:
    """The maps of an encoder's stages for normalised images (B, 3, H, W), hidden patches 0; visible (B, 1, f, f)."""
    return encoder.stages(x * enlarge(visible, x.shape[-1]))


def holes_kept(encoder: ConvBackbone, x: Tensor, visible: Tensor) -> list[Tensor]:
    """The same by sparse convolutions and masked statistics, as SparK trains."""
    with sparse(encoder, visible):
        return zero_filled(encoder, x, visible)


def holes_counted(encoder: ConvBackbone, x: Tensor, visible: Tensor) -> list[Tensor]:
    """Sparse convolutions, but statistics over all positions, the hidden ones as zeros."""
    def over_all(norm: nn.Module, inputs: object) -> None:
        setattr(norm, "visible", None)  # noqa: B010 (pyright knows no such attribute)

    def masked(norm: nn.Module, inputs: object, out: Tensor) -> Tensor:
        return out * enlarge(visible, out.shape[-1])

    hooks = []
    with sparse(encoder, visible):
        for norm in (layer for layer in encoder.modules() if isinstance(layer, nn.BatchNorm2d)):
            hooks += [norm.register_forward_pre_hook(over_all), norm.register_forward_hook(masked)]
        maps = zero_filled(encoder, x, visible)
    for hook in hooks:
        hook.remove()
    return maps


WAYS: dict[str, Callable[[ConvBackbone, Tensor, Tensor], list[Tensor]]] = {
    "zero-filled": zero_filled, "holes kept but counted": holes_counted, "holes kept": holes_kept}


def scales_by_way(encoder: ConvBackbone, images: Tensor, visible: Tensor) -> dict[str, list[float]]:
    """What each batch norm stores if the images pass masked, in each of `WAYS`: name -> one scale for each norm.

    images float (B, 3, H, W) in [0, 1], visible (B, 1, f, f) bool. A scale of 1: what whole images have.
    """
    found = {}
    for name, way in WAYS.items():
        renewed = renew_statistics(encoder, images, lambda network, x, way=way: way(network, x, visible))
        found[name] = statistics_shift(renewed, images)[1]
    return found


def norm_both_ways(mean: float, visible: Tensor, masked_norm: Callable[..., Tensor],
                   size: int = 16) -> dict[str, Tensor]:
    """Visible values of a random map behind a batch norm over all positions and one over the visible ones.

    visible (B, 1, f, f) bool; masked_norm(x, visible, weight, bias): the lesson's. The map's values have this mean and
    standard deviation 1, hidden positions are 0. "found": what the first norm takes for the map, all its positions.
    """
    x = mean + torch.randn(len(visible), 1, size, size, generator=torch.Generator().manual_seed(0))
    here = enlarge(visible, size)
    given, one, zero = x * here, torch.ones(1), torch.zeros(1)
    return {"over all positions": F.batch_norm(given, None, None, training=True)[here],
            "over visible ones": masked_norm(given, here, one, zero)[here], "found": given}
