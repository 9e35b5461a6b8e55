"""Which pixels a place of a network's map depends on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.seeds import generator


def receptive_field(network: nn.Module, stage: int, row: int, column: int, size: int = 32) -> Tensor:
    """The pixels on which a place of a stage's map depends, bool (size, size): where its gradient is not 0.

    For a random image, so a pixel that a ReLU happens to hide may be missing.
    """
    image = torch.rand(1, 3, size, size, generator=generator(0)).requires_grad_()
    network.stages(image)[stage][0, :, row, column].square().sum().backward()  # type: ignore[operator]
    assert image.grad is not None
    return image.grad[0].abs().sum(0) > 0


def fields_of_maps(network: nn.Module, size: int = 32) -> dict[str, tuple[int, Tensor, Tensor]]:
    """Of each stage's map, the smallest first: "7x7" -> its side, what its middle place sees, all places' centres.

    bool (size, size); float (side * side, 2), in pixels, evenly between those of the first and the last place.
    """
    sides = [int(each.shape[-1]) for each in network.stages(torch.rand(1, 3, size, size))]  # type: ignore[operator]
    found = {}
    for stage, side in sorted(enumerate(sides), key=lambda one: one[1]):
        first, last = (torch.stack([axis.float().mean() for axis in
                                    receptive_field(network, stage, k, k, size).nonzero(as_tuple=True)])
                       for k in (0, side - 1))
        line = torch.linspace(float(first[0]), float(last[0]), side)
        middle = receptive_field(network, stage, side // 2, side // 2, size)
        found[f"{side}x{side}"] = (side, middle, torch.cartesian_prod(line, line))
    return found
