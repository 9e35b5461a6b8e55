r"""What makes networks of BiT transfer: "Big Transfer (BiT): General Visual Representation Learning", Kolesnikov,
Beyer, Zhai, Puigcerver, Yung, Gelly and Houlsby, ECCV 2020, arXiv 1912.11370; official: google-research/big_transfer.

Batch norm needs large batches and carries statistics of other images along. Here instead group norm, over the channels
of a group and all places of one map, and *weight standardisation*: each filter w of a convolution is used as

    (w - mean of w) / sqrt(variance of w + 1e-10)

over its inputs and places, so its scale and its mean do not matter and the gradient is orthogonal to both.

The HyperRule is a recipe of fine-tuning in which the size of the data set and of its pictures says all: how long, with
mixup or not, at which resolution. The learning rate rises over the first `supports` steps and falls to a tenth at each
further one.

What other implementations get wrong: the tenth comes *after* the step that is named (at step 200 of 500 the old rate
still holds); mixup for small sets; a new head that does not start at zero; the variance divided by n - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 32


def standardised_weight(weight: Tensor, eps: float = 1e-10) -> Tensor:
    """A convolution's filters (out, in, k, k), each with mean 0 and variance 1."""
    variance, mean = torch.var_mean(weight, (1, 2, 3), keepdim=True, correction=0)
    return (weight - mean) * (variance + eps).rsqrt()


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters are standardised whenever it is used; it has the parameters of `nn.Conv2d`."""

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d gives it
        weight = standardised_weight(self.weight)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def group_norm(width: int) -> nn.GroupNorm:
    """32 groups of channels, and fewer where these would have less than 4."""
    most = min(GROUPS, max(1, width // 4))
    return nn.GroupNorm(next(n for n in range(most, 0, -1) if width % n == 0), width)


@dataclass(frozen=True)
class HyperRule:
    """How to fine-tune: steps, mixup's alpha, pixels to resize to and to crop, and where the rate changes."""

    steps: int
    mixup: float
    resize: int
    crop: int
    supports: tuple[int, ...]  # the end of the warm-up, the drops, and the end


def hyperrule(images: int, height: int, width: int) -> HyperRule:
    """The rule for a set of so many images of height x width pixels. ValueError for numbers below 1."""
    if min(images, height, width) < 1:
        raise ValueError(f"{images} images of {height} x {width}; expected numbers from 1 up")
    if images < 20_000:
        supports = (100, 200, 300, 400, 500)
    elif images < 500_000:
        supports = (500, 3000, 6000, 9000, 10_000)
    else:
        supports = (500, 6000, 12_000, 18_000, 20_000)
    resize, crop = (160, 128) if height * width < 96 * 96 else (512, 480)
    return HyperRule(supports[-1], 0.0 if images < 20_000 else 0.1, resize, crop, supports)


def hyperrule_rate(step: int, supports: tuple[int, ...], base: float = 0.003) -> float | None:
    """The learning rate of step 0, 1, ...; None when the training is over."""
    if step < supports[0]:
        return base * step / supports[0]
    if step >= supports[-1]:
        return None
    return base * 10.0 ** -sum(support < step for support in supports[1:])
