"""Other renderings of the shapes: numbers of objects are those that can be counted, and the same everywhere."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from course_lib.data.renderings import MOST, USUAL, make_crowds, one_cause_moves
from course_lib.data.shapes import CLASSES, draw_causes, render
from course_lib.seeds import generator


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


def test_one_cause_moves_and_the_others_stay():
    images = one_cause_moves("hue", 0.25, 0.75, "star", steps=3)
    assert images.shape == (3 + len(CLASSES), 3, 32, 32) and {*USUAL, "class"} == {*draw_causes(1, generator(0))}
    for number, (shape, hue) in enumerate([("star", 0.25), ("star", 0.5), ("star", 0.75),
                                           *((name, 0.25) for name in CLASSES)]):
        causes = USUAL | {"class": float(CLASSES.index(shape)), "hue": hue}
        alone = render({name: torch.tensor([value]) for name, value in causes.items()})
        assert torch.equal(images[number], alone[0]), (shape, hue)
    for cause, shape in (("colour", "star"), ("hue", "cat")):
        with pytest.raises(ValueError, match="expected a cause of hue, size"):
            one_cause_moves(cause, 0, 1, shape)
