"""Mixtures of images and their cosines with both parents."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_lib.augment.pixels import standardize
from course_lib.evaluate.mixtures import Mixtures


class Means(nn.Module):
    """The means of the channels."""

    def forward(self, x):
        return x.mean((2, 3))


def test_cosines_of_mixtures_are_those_of_their_formula():
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    blends = Mixtures(Means(), images)
    features = standardize(images).mean((2, 3))
    centre = features.mean(0)
    for how in ("blended", "rectangle"):
        found = blends.mixed(0.75, how)
        for i in range(6):
            mixture = 0.75 * images[i] + 0.25 * images[5 - i]
            if how == "rectangle":  # a quarter of the area, in the middle
                mixture = images[i].clone()
                mixture[:, 2:6, 2:6] = images[5 - i][:, 2:6, 2:6]
            torch.testing.assert_close(found.images[i], mixture)
            here = standardize(mixture[None]).mean((2, 3))[0] - centre
            for parent, cosine in ((i, found.first), (5 - i, found.second)):
                expected = torch.cosine_similarity(here, features[parent] - centre, dim=0)
                assert float(cosine[i]) == pytest.approx(float(expected), abs=1e-4)
    assert blends.mixed(0.75, "blended") is blends.mixed(0.75, "blended")


def test_curves_run_from_one_parent_to_the_other():
    blends = Mixtures(Means(), torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    curves = blends.curves([0.0, 0.5, 1.0], "blended")
    assert curves["with the image"][2] == pytest.approx(1, abs=1e-5) == curves["with the partner"][0]
    assert curves["with the image"][0] == pytest.approx(curves["with the partner"][2], abs=1e-5)
    # the network is linear: the middle of two images lies halfway in direction, but for their lengths
    assert 0 < blends.halfway() < 1
