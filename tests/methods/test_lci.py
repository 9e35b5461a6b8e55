"""LCI: five classes of one view each, what is resampled and what is bent, and what a training sees of them."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.geometry import affine
from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods.pretext.lci import LCI, bent, shifted
from course_lib.models.backbones import ConvNet
from course_lib.train.loop import fit
from helpers.tiny import images

pytestmark = pytest.mark.usefixtures("one_thread")
WHOLE = Augment(16, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray_p=0.0)


def build(**options):
    torch.manual_seed(0)
    return LCI(ConvNet(depth=2, widths=(4, 8)), 16, WHOLE, **options)


def views_of(**options):
    batch = Batch(images(6).images, torch.arange(6))
    return batch, *build(**options).views(batch, torch.Generator().manual_seed(0))


def ramp():
    """x (left to right) and y (top to bottom) of each pixel's centre, as an image: what lies where is read off it."""
    places = torch.arange(32) + 0.5
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([x, y])[None].expand(50, -1, -1, -1)


def test_the_classes_are_four_turns_and_a_warp():
    _, views, classes = views_of(resampled=False)
    assert views.shape == (30, 3, 16, 16) and classes.tolist() == [k for k in range(5) for _ in range(6)]
    for k in range(4):
        assert torch.equal(views[6 * k:6 * k + 6].rot90(-k, (2, 3)), views[:6])
    assert not any(torch.equal(views[24:], views[6 * k:6 * k + 6]) for k in range(4))


def test_resampled_means_all_and_the_control_means_the_warped_alone():
    """Bug: upright pictures go as they are, so that blur is the answer; or each turn is shifted by its own draw."""
    batch, plain, _ = views_of(resampled=False)
    _, views, _ = views_of(resampled=True)
    upright = WHOLE(batch.images, torch.Generator().manual_seed(0))
    assert torch.equal(plain[:6], upright) and not torch.equal(views[:6], upright)
    for k in range(1, 4):
        assert torch.equal(views[6 * k:6 * k + 6].rot90(-k, (2, 3)), views[:6])


def test_a_shift_moves_all_pixels_alike_by_half_a_pixel_at_most():
    moved = (shifted(ramp(), torch.Generator().manual_seed(0)) - ramp())[:, :, 2:-2, 2:-2].flatten(2)
    assert moved.std(2).max() < 1e-3 and 0.3 < moved.abs().max() <= 0.5 + 1e-3
    still = affine(ramp(), torch.zeros(50), torch.zeros(50, 2), torch.ones(50))
    torch.testing.assert_close(still, ramp())


def test_a_warp_moves_pixels_unalike_by_a_sixteenth_of_the_side_at_most():
    moved = (bent(ramp(), torch.Generator().manual_seed(0)) - ramp())[:, :, 3:-3, 3:-3].flatten(2)
    assert moved.std(2).min() > 0.1 and 1.0 < moved.abs().max() <= 32 / 16 + 1e-3


def test_the_loss_is_the_mean_over_images_and_classes():
    """Beside a naive sum of -log p over views and classes."""
    method, (_, views, classes) = build().eval(), views_of()
    with torch.no_grad():
        parts = method.loss((views, classes))
        chances = method.head(method.backbone(standardize(views))).softmax(1).tolist()
    wanted = sum(-math.log(row[k]) for row, k in zip(chances, classes.tolist())) / 30
    assert float(parts["loss"]) == pytest.approx(wanted, rel=1e-5)
    assert parts["views_per_image"] == 5 and parts["embedding"].shape == (6, 8)


def test_a_training_runs():
    history = fit(build(), images(40), steps=3, batch_size=8, device="cpu", progress=False)
    assert history.steps == 3 and "accuracy" in history.curves


def test_draws_go_to_the_images():
    """Bug: draws stay on the generator's device, and images on a GPU are refused."""
    pictures = torch.rand(3, 3, 16, 16, device="meta")
    for change in (shifted, bent):
        assert change(pictures, torch.Generator()).device.type == "meta"
