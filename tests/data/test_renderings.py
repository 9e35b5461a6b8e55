"""Other renderings of the shapes: numbers of objects are those that can be counted, and the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from course_lib.data.renderings import MOST, make_crowds, make_small


def test_objects_can_be_counted_where_the_ground_is_smooth():
    crowds = make_crowds(60, seed=3, size=64)
    assert crowds.labels.unique().tolist() == list(range(MOST))
    right = 0
    for image, label in zip(crowds.images, crowds.labels.tolist()):
        pixels = image.float()
        away = (pixels - pixels.flatten(1).median(1).values[:, None, None]).abs().amax(0).numpy() > 60
        right += ndimage.label(ndimage.binary_dilation(away, iterations=1))[1] == label + 1
    assert right >= 45, right


def test_the_same_seed_gives_the_same_images():
    for make in (make_crowds, make_small):
        a, b, other = make(20, 1), make(20, 1), make(20, 2)
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        assert not torch.equal(a.images, other.images)


def test_small_objects_cover_less():
    from course_lib.data.shapes import make_shapes

    def covered(images):
        pixels = images.images.float()
        ground = pixels.flatten(2).median(2).values[:, :, None, None]
        return np.mean(((pixels - ground).abs().amax(1) > 40).float().mean((1, 2)).numpy())

    assert covered(make_small(80, 1)) < 0.6 * covered(make_shapes(80, 1))


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="n is 0"):
        make_crowds(0)
