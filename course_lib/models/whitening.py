"""A first layer that is computed from the images and not learned: the principal components of their patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize, to_float

ENOUGH = 500  # images, of half a million patches or so


@torch.no_grad()
def whiten_first_layer(network: nn.Module, images: Tensor) -> None:
    """Set and freeze the filters of the network's first convolution; images uint8 (N, 3, H, W).

    Its filters become the principal components of the images' patches, largest variance first, each followed by its
    negative, since a ReLU keeps one side of either; filters beyond two for each component stay as they are drawn. What
    they give is uncorrelated, and the batch norm after them divides by its deviation: whitened patches. Source: Page,
    How to train your ResNet (2019), and Jordan, arXiv 2404.00498, which divide the filters themselves. ValueError for a
    network without a convolution of three channels at its start.
    """
    layer = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    if layer is None or layer.in_channels != 3 or layer.groups != 1:
        raise ValueError(f"the first layer of {type(network).__name__} is no convolution of three channels")
    pixels = standardize(to_float(images[:ENOUGH]))
    patches = F.unfold(pixels, layer.kernel_size).transpose(1, 2).flatten(0, 1).double()
    components = torch.linalg.eigh(patches.T.cov()).eigenvectors.T.flip(0)  # rows, largest first
    both = torch.stack([components, -components], 1).flatten(0, 1)[:layer.out_channels]
    layer.weight[:len(both)] = both.view(-1, *layer.weight.shape[1:]).to(layer.weight)
    layer.weight.requires_grad_(False)
