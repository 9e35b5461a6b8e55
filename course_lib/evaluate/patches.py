"""What a network says about the places of an image: the vectors of its positions or patches, and their colours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.models.vit import ViT


def patch_vectors(network: nn.Module, images: Tensor, stage: int = -1) -> Tensor:
    """Normalised images (N, 3, S, S) -> (N, g * g, D) in reading order.

    A ViT's tokens behind its last norm, without the class token, or the map of one of a conv net's `stages`.
    ValueError for a network with neither.
    """
    if isinstance(network, ViT):
        return network.tokens(images)[:, 1:]
    stages = getattr(network, "stages", None)
    if stages is None:
        raise ValueError(f"{type(network).__name__} has no patches to look into; expected a ViT, or a conv net with "
                         "stages(images)")
    return stages(images)[stage].flatten(2).transpose(1, 2)


def component_colours(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(N, L, D) -> colours (N, L, 3) in [0, 1], and each one's share of the variance, (3,).

    The first three principal components of all N * L vectors are red, green and blue, each stretched so that 0 and 1
    are two deviations from the mean. The sign of a component is such that its largest weight is positive, so a picture
    is the same at every call. A component that hardly varies (a collapsed network) is stretched no further than to a
    thousandth of the vectors' length: grey. ValueError for D < 3.
    """
    if vectors.ndim != 3 or vectors.shape[-1] < 3:
        raise ValueError(f"vectors have shape {tuple(vectors.shape)}; expected (N, L, D) with D of 3 or more")
    rows = vectors.flatten(0, 1).double()
    centred = rows - rows.mean(0)
    variances, basis = torch.linalg.eigh(centred.T @ centred / len(rows))  # ascending
    basis = basis[:, -3:].flip(1)  # (D, 3)
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    scores = centred @ basis  # (N * L, 3)
    least = 1e-3 * rows.square().sum(1).mean().sqrt()
    colours = 0.5 + scores / (4 * torch.maximum(scores.square().mean(0).sqrt(), least).clamp_min(1e-12))
    shares = variances[-3:].flip(0).clamp_min(0) / variances.clamp_min(0).sum().clamp_min(1e-12)
    return colours.clamp(0, 1).view(*vectors.shape[:2], 3).float(), shares.float()
