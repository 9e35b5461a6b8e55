"""What the tests over several ranks share."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.augment.pixels import to_float
from course_lib.data.images import ImageSet
from course_lib.methods.contrastive.vicreg import VICReg


class Plain(VICReg):
    """VICReg whose views are functions of the image alone, so that they do not depend on who draws them."""

    def views(self, batch, generator):
        images = to_float(batch.images).double()
        return images, images.flip(3) * 0.8 + 0.1


def toy_images() -> ImageSet:
    generator = torch.Generator().manual_seed(5)
    return ImageSet(torch.randint(0, 256, (30, 3, 16, 16), generator=generator, dtype=torch.uint8))


def close(got: Tensor, wanted: Tensor, what: str, tolerance: float = 1e-6) -> None:
    scale = wanted.abs().max().clamp(min=1e-3)  # relative to the largest entry
    error = (got - wanted).abs().max() / scale
    assert got.shape == wanted.shape and error <= tolerance, f"{what}: relative error {float(error):.1e}"
