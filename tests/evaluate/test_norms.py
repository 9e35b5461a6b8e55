"""What batch norm has stored against what it meets on whole images."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.evaluate.norms import renew_statistics, statistics_shift
from course_lib.models.backbones import ConvNet

IMAGES = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_renewed_statistics_are_those_of_the_images_and_the_network_stays():
    torch.manual_seed(0)
    net = ConvNet(2).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    renewed = renew_statistics(net, IMAGES)
    first = net.blocks[0][0](standardize(IMAGES.clone()))
    torch.testing.assert_close(renewed.blocks[0][1].running_mean, first.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    shift, scale = statistics_shift(renewed, IMAGES)
    assert len(shift) == 4 and max(shift) < 1e-2 and scale == pytest.approx([1] * 4, abs=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not renewed.training and not net.training


def test_a_forward_that_halves_its_input_stores_half_the_deviation():
    torch.manual_seed(0)
    net = ConvNet(1)
    halved = renew_statistics(net, IMAGES, lambda encoder, x: encoder(0.5 * x))
    assert statistics_shift(halved, IMAGES)[1][0] == pytest.approx(0.5, abs=1e-2)
