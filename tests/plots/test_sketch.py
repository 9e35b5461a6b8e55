"""Pieces of drawings: the pixels and numbers that they put on the axes they are given."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from course_lib.data.loading import sample_tiles
from course_lib.plots import sketch

IMAGES = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    figure.draw_without_rendering()
    plt.close(figure)


def test_a_mosaic_has_each_picture_at_its_place_and_white_elsewhere():
    made = sketch.mosaic(IMAGES, 3)
    assert made.shape == (2 * 5, 3 * 5, 3)
    expected = np.ones_like(made)
    for number, image in enumerate(IMAGES):
        top, left = 5 * (number // 3), 5 * (number % 3)
        expected[top:top + 4, left:left + 4] = image.permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(made, expected)
    np.testing.assert_allclose(sketch.mosaic((255 * IMAGES).to(torch.uint8), 3), made, atol=1 / 255)


def test_stripes_lie_on_hidden_patches_only():
    visible = torch.tensor([[[True, False], [False, True]]])
    shown = sketch.striped(IMAGES[:1], visible)[0]
    assert torch.equal(shown[:, :2, :2], IMAGES[0, :, :2, :2]) and torch.equal(shown[:, 2:, 2:], IMAGES[0, :, 2:, 2:])
    hidden = shown[:, :2, 2:].flatten()
    assert torch.isclose(hidden[:, None], torch.tensor([0.72, 0.95]), atol=1e-6).any(1).all()


def test_heat_pictures_are_white_where_empty_and_as_large_as_asked():
    maps = [torch.tensor([[0.0, torch.nan], [1.0, 0.5]]), torch.ones(4, 4)]
    made = sketch.heat_pictures(maps, 8)
    assert made.shape == (2, 3, 8, 8) and (made[0, :, :4, 4:] == 1).all()
    colours = matplotlib.colormaps["viridis"]
    np.testing.assert_allclose(made[0, :, 0, 0], colours(0.0)[:3], atol=1e-6)
    np.testing.assert_allclose(made[1, :, 3, 5], colours(1.0)[:3], atol=1e-6)


def test_numbers_are_written_in_their_cells(axes):
    values = torch.tensor([[0.1, 0.9], [0.5, 0.25]])
    sketch.numbers(axes, values, ["a", "b"], ["x", "y_z"], frame=1)
    written = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert written == {(0, 0): "0.10", (0, 1): "0.90", (1, 0): "0.50", (1, 1): "0.25"}
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["x", "y\nz"]
    assert {y > 0.4 for y in axes.lines[0].get_ydata()} == {True}  # around the second row


def test_signed_numbers_carry_their_sign(axes):
    sketch.numbers(axes, torch.tensor([[-0.25, 0.5]]), ["a"], ["x", "y"], signed=True)
    assert [t.get_text() for t in axes.texts] == ["-0.25", "+0.50"]
    assert axes.images[0].get_clim() == (-1, 1)


def test_a_diagram_of_boxes_and_arrows_on_a_circle(axes):
    sketch.unit_circle(axes, 1.4)
    sketch.box(axes, 0, 0, "encoder")
    sketch.arrow(axes, (0, 0), (1, 0), ls="--")
    circle = np.stack(axes.lines[0].get_data())
    np.testing.assert_allclose((circle**2).sum(0), 1, atol=1e-6)
    assert axes.get_xlim() == (-1.4, 1.4) and axes.get_aspect() == 1
    assert [t.get_text() for t in axes.texts] == ["encoder", ""]


def test_a_picture_is_drawn_from_a_tensor_or_an_array(axes):
    sketch.picture(axes, IMAGES[0], "one")
    sketch.picture(axes, IMAGES[0].permute(1, 2, 0).numpy())
    first, second = (np.asarray(image.get_array()) for image in axes.images)
    np.testing.assert_allclose(first, second)


def test_sample_tiles_are_cut_in_reading_order():
    from sklearn.datasets import load_sample_images

    photo = load_sample_images().images[0]
    tiles = sample_tiles(left=384)
    assert tiles.dtype == torch.uint8 and tiles.shape == (2 * 13 * 8, 3, 32, 32)
    np.testing.assert_array_equal(tiles[9].permute(1, 2, 0), photo[32:64, 384 + 32:384 + 64])
    np.testing.assert_array_equal(sample_tiles(8, 0, 384)[1].permute(1, 2, 0), photo[:32, 8:40])


def test_correlations_are_blue_for_1_and_red_for_minus_1(axes):
    matrix = torch.tensor([[1.0, -0.25], [0.0, -1.0]])
    shown = sketch.correlations(axes, matrix, "C", numbers=True)
    (red, _, blue, _), (red2, _, blue2, _) = shown.to_rgba(1.0), shown.to_rgba(-1.0)
    assert blue > red and red2 > blue2 and shown.get_clim() == (-1, 1)
    assert [t.get_text() for t in axes.texts] == ["1.00", "-0.25", "0.00", "-1.00"]
