"""Where a network puts a mixture of two images: cosines with both parents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.augment.mixing import mix_reversed, region
from course_lib.augment.pixels import standardize
from course_lib.models.layers import normalize


class Mixed(NamedTuple):
    """Mixtures (N, 3, H, W) of each image and its partner, and their cosines with the image and the partner, (N,)."""

    images: Tensor
    first: Tensor
    second: Tensor


class Mixtures:
    """Images float (N, 3, H, W) in [0, 1] mixed with their partners, the batch in reverse, as a network sees them.

    Features are centred on the images' mean and have length 1.
    """

    @torch.no_grad()
    def __init__(self, network: nn.Module, images: Tensor):
        self.network, self.images = network, images
        self.centre = network(standardize(images)).mean(0)
        self.parents = self.features(images)
        self._mixed: dict[tuple[float, str], Mixed] = {}

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        return normalize(self.network(standardize(images)) - self.centre)

    def mixed(self, share: float, how: str) -> Mixed:
        """A share of each image and the rest of its partner, "blended" or by a "rectangle" of the partner's pixels."""
        if (share, how) not in self._mixed:
            height, width = self.images.shape[2:]
            box = {"blended": None, "rectangle": region(height, width, share, height // 2, width // 2)}[how]
            mixtures, _ = mix_reversed(self.images, share, box)
            here = self.features(mixtures)
            self._mixed[share, how] = Mixed(mixtures, (here * self.parents).sum(1),
                                            (here * self.parents.flip(0)).sum(1))
        return self._mixed[share, how]

    def curves(self, shares: Sequence[float], how: str) -> dict[str, list[float]]:
        """Mean cosines for each share: "with the image", "with the partner"."""
        found = [self.mixed(share, how) for share in shares]
        return {"with the image": [float(it.first.mean()) for it in found],
                "with the partner": [float(it.second.mean()) for it in found]}

    def halfway(self) -> float:
        """The mean cosine with a parent of the vector halfway between both."""
        return float((normalize(self.parents + self.parents.flip(0)) * self.parents).sum(1).mean())
