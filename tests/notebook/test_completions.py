"""The explorer of reconstructions: the method's own picture, with and without the leak, beside what learns nothing."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.masks import patch_mask
from course_lib.evaluate.reconstruction import fill_nearest, hidden_error
from course_lib.methods import build_method
from course_lib.notebook.completions import explore_reconstruction, reconstruction_view
from helpers.driving import drive
from helpers.tiny import images, spark


def test_reconstruction_view_and_knob():
    method, pictures = spark(), images(3).images
    method.normalized = False
    data, figure = reconstruction_view(method, pictures)({"image": 2, "mask_ratio": 0.5, "draw": 3})
    visible = patch_mask(1, 4, 0.5, torch.Generator().manual_seed(3))
    picture = pictures[2:3].float() / 255
    with torch.no_grad():
        drawn = method.eval().reconstruct(picture, visible)
    assert data["method"] == pytest.approx(hidden_error(drawn, picture, visible), rel=1e-4)
    assert data["mask_ratio"] == 0.5 and len(figure.axes) == 5
    drive(explore_reconstruction(method, pictures))
    drive(explore_reconstruction(method, pictures[:1]))


def test_a_picture_drawn_with_the_true_statistics_has_a_star():
    for normalized in (True, False):
        method = spark()
        method.normalized = normalized
        state = {"image": 0, "mask_ratio": 0.5, "draw": 0, "true_statistics": True}
        _, figure = reconstruction_view(method, images(1).images)(state)
        assert figure.axes[3].get_title().endswith("*") is normalized
        assert [("not comparable" in text.get_text()) for text in figure.texts] == [True] * normalized


def test_the_leak_can_be_switched_off():
    method, pictures = spark().eval(), images(1).images
    visible, picture = patch_mask(1, 4, 0.5, torch.Generator().manual_seed(0)), pictures.float() / 255
    for leak in (False, True):
        state = {"image": 0, "mask_ratio": 0.5, "draw": 0, "true_statistics": leak}
        data, figure = reconstruction_view(method, pictures)(state)
        drawn = method.reconstruct(picture, visible, true_statistics=leak)
        assert data["method"] == pytest.approx(hidden_error(drawn, picture, visible), rel=1e-4)
        nearest = hidden_error(fill_nearest(picture, visible), picture, visible)
        assert data["nearest visible pixel"] == pytest.approx(nearest, rel=1e-4)
        assert "hidden patch" in figure.texts[0].get_text()
    made = explore_reconstruction(method, pictures)
    assert made.state["true_statistics"] is False and drive(made)
    method.normalized = False
    assert "true_statistics" not in explore_reconstruction(method, pictures).controls


@pytest.mark.parametrize("name, options", [("mae", {}), ("dmae", {}), ("simmim", dict(normalized=True))])
def test_masked_transformers_paint(name, options):
    torch.manual_seed(0)
    method = build_method(name, "vit-tiny", 16, backbone_options=dict(patch=4, dim=12, depth=1, heads=3), **options)
    made = explore_reconstruction(method, images(2).images)
    assert "true_statistics" in made.controls and method.title in made.view(made.state)[1].axes[3].get_title()
    assert made.set(true_statistics=True)["method"] != made.set(true_statistics=False)["method"] and not made.error


def test_masks_are_of_the_methods_own_kind():
    """SimMIM hides squares of two patches along a side: 0.25 of four squares is one, 4 of 16 patches."""
    method = build_method("simmim", "vit-tiny", 16, backbone_options=dict(patch=4, dim=12, depth=1, heads=3))
    assert (method.grid, method.mask_grid) == (4, 2)
    data, figure = reconstruction_view(method, torch.zeros(1, 3, 16, 16))({"image": 0, "mask_ratio": 0.25, "draw": 0})
    hidden = torch.as_tensor(figure.axes[1].get_images()[0].get_array()[..., 0]) > 0.5
    assert data["mask_ratio"] == 0.25 and hidden.sum() == 64
    rows, columns = (hidden.any(axis).sum() for axis in (0, 1))
    assert rows == columns == 8
