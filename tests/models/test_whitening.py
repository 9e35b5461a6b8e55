"""A first layer of principal components."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize, to_float
from course_lib.models.backbones import ConvNet
from course_lib.models.whitening import whiten_first_layer
from helpers.tiny import images


@pytest.mark.parametrize("width", [8, 54, 60])
def test_its_outputs_are_uncorrelated_in_pairs_of_a_value_and_its_negative(width):
    net, photos = ConvNet(1, (width,)), images().images
    drawn = net.blocks[0][0].weight.detach().clone()
    whiten_first_layer(net, photos)
    filters = net.blocks[0][0].weight
    kept = min(width, 54)
    assert torch.equal(filters[0:kept:2], -filters[1:kept:2]) and torch.equal(filters[kept:], drawn[kept:])
    assert not filters.requires_grad
    torch.testing.assert_close(filters[:kept].flatten(1).norm(dim=1), torch.ones(kept))
    out = F.conv2d(standardize(to_float(photos)), filters[:kept:2]).transpose(0, 1).flatten(1).double()  # all patches
    covariance = out.cov()
    off = covariance - covariance.diag().diag()
    assert off.abs().max() < 1e-4 * covariance.max()
    assert (covariance.diag().diff() < 1e-6).all(), "largest variance first"


def test_a_network_that_begins_otherwise_is_refused():
    for other in (nn.Linear(3, 3), nn.Sequential(nn.Conv2d(1, 4, 3)), nn.Sequential(nn.Conv2d(3, 6, 3, groups=3))):
        with pytest.raises(ValueError, match="no convolution of three channels"):
            whiten_first_layer(other, images().images)
