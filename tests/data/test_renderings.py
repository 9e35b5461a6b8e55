"""Other renderings of the shapes: numbers of objects are those that can be counted, and the same everywhere."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from course_lib.data.renderings import MOST, make_crowds


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
    a, b, other = make_crowds(20, 1), make_crowds(20, 1), make_crowds(20, 2)
    assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
    assert not torch.equal(a.images, other.images)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="n is 0"):
        make_crowds(0)
