"""Patterns drawn with given statistics: against their definition, patch by patch."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.patterns import (
    WIDTHS,
    best_blur,
    brush_errors,
    draw,
    error_lines,
    masked,
    through_noise,
)
from course_lib.evaluate.reconstruction import fill_blurred, fill_nearest, hidden_error
from course_lib.methods.masked.dmae import noisy
from course_lib.methods.masked.mae import MAE
from course_lib.models.patches import normalize_patches, patchify
from course_lib.models.vit import ViT

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network() -> MAE:
    torch.manual_seed(0)
    return MAE(ViT(32, patch=4, dim=12, depth=1, heads=2)).eval()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_fill_with_its_own_statistics_is_that_fill(network, pictures):
    visible = masked(3, 0.75)
    assert visible.shape == (3, 8, 8) and int(visible.sum()) == 3 * 16 and visible.equal(masked(3, 0.75))
    for kind, fill in (("copy", fill_nearest(pictures, visible)), ("blur", fill_blurred(pictures, visible, 5))):
        found, error = draw(network, pictures, kind, kind, 0.75, 5)
        torch.testing.assert_close(found, fill, atol=1e-4, rtol=0)
        assert error == pytest.approx(hidden_error(fill, pictures, visible), abs=1e-3)


def test_the_true_statistics_are_those_of_the_hidden_patches(network, pictures):
    visible = masked(3, 0.75)
    found = draw(network, pictures, "MAE", "true", 0.75, 5)[0]
    torch.testing.assert_close(found, network.reconstruct(pictures, visible), atol=1e-4, rtol=0)
    row, column = (~visible[0]).nonzero()[0].tolist()
    flat = draw(network, pictures, "flat", "copy", 0.75, 5)[0][0, :, 4 * row:4 * row + 4, 4 * column:4 * column + 4]
    assert flat.std(dim=(1, 2)).max() < 1e-5  # no pattern: one colour a patch
    free = draw(network, pictures, "MAE", "visible", 0.75, 5)[0]
    torch.testing.assert_close(free, network.reconstruct(pictures, visible, true_statistics=False), atol=1e-4, rtol=0)


def test_the_best_blur_is_the_best_of_its_widths(network, pictures):
    errors = {width: draw(network, pictures, "blur", "blur", 0.5, width)[1] for width in WIDTHS}
    width, error = best_blur(network, pictures, 0.5)
    assert error == min(errors.values()) == errors[width]


def test_errors_of_brushes_and_their_lines(network, pictures):
    brushes = {"copy": ("copy", "copy", network), "the same, true\nstatistics": ("MAE", "true", network)}
    found = brush_errors(brushes, pictures, 0.5, 5)
    assert list(found) == ["copy", "the same, true\nstatistics", "blur, true", "best blur"]
    assert found["copy"] == draw(network, pictures, "copy", "copy", 0.5, 5)[1]
    assert found["best blur"] == best_blur(network, pictures, 0.5)[1]
    lines = error_lines({("noise", 0.5): {"copy": 0.5, "blur, true": 0.1, "best blur": 0.25}})
    assert lines == "noise            50% hidden   copy 0.500   best blur 0.250"


def test_errors_through_noise_are_counted_at_visible_and_hidden_patches(network, pictures):
    it = through_noise({"MAE": network}, pictures, 0.25, 0.75)
    torch.testing.assert_close(it.seen, noisy(pictures, 0.25, torch.Generator().manual_seed(0)))
    assert list(it.patches) == ["MAE", "noisy pixels", "blurred"] and int(it.visible.sum()) == 3 * 16
    target, there = normalize_patches(patchify(pictures, 4))[0], it.visible.flatten(1)
    for name, (near, far) in it.errors.items():
        wrong = {True: [], False: []}
        for image in range(3):
            for patch in range(64):
                difference = it.patches[name][image, patch] - target[image, patch]
                wrong[bool(there[image, patch])].append(float(difference.square().mean()))
        assert near == pytest.approx(sum(wrong[True]) / 48, rel=1e-4), name
        assert far == pytest.approx(sum(wrong[False]) / 144, rel=1e-4), name
    # without noise a visible pixel is right, and its best factor 1
    assert through_noise({}, pictures, 0.0, 0.75).errors["noisy pixels"][0] == pytest.approx(0, abs=1e-6)


def test_the_scale_of_what_has_not_learned_is_the_best_one(network, pictures):
    it = through_noise({}, pictures, 0.5, 0.75)
    target, there = normalize_patches(patchify(pictures, 4))[0], it.visible.flatten(1)
    for which in (there, ~there):
        best = (it.patches["blurred"][which] - target[which]).square().mean()
        for factor in (0.9, 1.1):
            assert best < (factor * it.patches["blurred"][which] - target[which]).square().mean()
