"""Large pictures on a CPU go through in pieces and row by row, and come out as torchvision's do.

The tolerances are those of test_augment.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from course_lib import augment
from course_lib.augment import large
from course_lib.augment.geometry import resized_crop
from helpers.draws import generator

FACTORS = [0.0, 0.3, 1.0, 1.7, 0.9]
SIDES = [(65, 65), (96, 80), (224, 224)]


@pytest.fixture(autouse=True)
def pieces_of_two(monkeypatch):
    """Of 224 pixels; of the smaller pictures a piece holds all."""
    monkeypatch.setattr(large, "PIECE", 2 * 3 * 224 * 224)


def pictures(height, width, n=5):
    return torch.rand(n, 3, height, width, generator=generator())


def near(got, wanted, tolerance):
    assert got.shape == wanted.shape
    error = float((got - wanted).abs().max())
    assert error <= tolerance, f"off by {error:.1e}"


@pytest.mark.parametrize("height, width", SIDES)
@pytest.mark.parametrize("size", [20, 96, 230])
@pytest.mark.parametrize("interpolation, tolerance", [("bilinear", 2e-6), ("bicubic", 5e-6)])
def test_crops_are_torchvisions(height, width, size, interpolation, tolerance):
    images = pictures(height, width)
    boxes = [(0, 0, height, width), (3, 5, 4, 60), (height - 1, width - 1, 1, 1), (0, 7, height, 31), (2, 0, 33, width)]
    flip = torch.tensor([False, True, False, True, False])
    got = resized_crop(images, torch.tensor(boxes), size, flip=flip, interpolation=interpolation)
    mode = InterpolationMode(interpolation)
    for image, box, turned, mine in zip(images, boxes, flip, got):
        wanted = tv.resized_crop(image, *box, [size, size], mode, antialias=True).clamp(0, 1)
        near(mine, wanted.flip(2) if turned else wanted, tolerance)


@pytest.mark.parametrize("height, width", SIDES)
def test_operations_are_torchvisions(height, width):
    images = pictures(height, width)
    kept = images.clone()
    for name, factors, tolerance in (("brightness", FACTORS, 1e-6), ("contrast", FACTORS, 1e-6),
                                     ("saturation", FACTORS, 1e-6), ("hue", [-0.5, -0.21, 0.0, 0.1, 0.5], 2e-6)):
        got = getattr(augment, f"adjust_{name}")(images, torch.tensor(factors))
        for image, factor, mine in zip(images, factors, got):
            clear = image.amax(0) - image.amin(0) > 1e-5  # the hue of almost grey has no digits
            near(mine[:, clear], getattr(tv, f"adjust_{name}")(image, factor)[:, clear], tolerance)
    for image, mine in zip(images, augment.adjust_saturation(images, 0.0)):
        near(mine, tv.rgb_to_grayscale(image, 3), 1e-6)
    sigmas = [0.1, 0.5, 1.3, 2.0, 0.7]
    for image, sigma, mine in zip(images, sigmas, augment.gaussian_blur(images, torch.tensor(sigmas), 9)):
        near(mine, tv.gaussian_blur(image, [9, 9], [sigma, sigma]), 1e-6)
    assert torch.equal(augment.gaussian_blur(images, 0.0, 9), images)
    assert torch.equal(augment.solarize(images, 0.5), tv.solarize(images, 0.5))
    assert torch.equal(images, kept), "the input must not change"


def test_an_operation_sees_every_image_once_with_its_own_parameters():
    seen = []

    @large.in_pieces
    def operation(images, pair, number, by=None):
        seen.append(len(images))
        return images[:, :1] * pair[0][:, None, None, None] + pair[1] * number + by[:, None, None, None]

    images, each = pictures(224, 224), torch.arange(5.0)
    wanted = images[:, :1] * each[:, None, None, None] + 3 * 2 + each[:, None, None, None]
    assert torch.equal(operation(images, (each, 3), 2, by=each), wanted) and seen == [2, 2, 1]
    seen.clear()
    operation(images[..., :64, :64], (each, 3), 2, by=each)
    assert seen == [5]


VIEW = augment.Augment(224, turn=20.0, blur_p=0.5, solarize_p=0.3, jitter_p=0.7, jitter=(0.4, 0.4, 0.2, 0.0))


@pytest.mark.parametrize("view, side", [(VIEW, 224), (replace(VIEW, size=40), 224), (VIEW, 60),
                                        (replace(VIEW, gray_first=True, interpolation="bicubic"), 224)])
def test_views_are_those_of_the_whole_batch(monkeypatch, view, side):
    """And bytes give what floats give."""
    raw = (255 * pictures(side, side, 7)).to(torch.uint8)
    got, corners = view.placed(raw, generator(1))
    first, _ = augment.two_views(raw.float() / 255, view, generator(1))
    assert torch.equal(first, got)
    monkeypatch.setattr(large, "SMALL", 1000)
    whole, places = view.placed(raw, generator(1))
    assert torch.equal(places, corners)
    apart = (got - whole).abs() > 1e-4  # where a rounding error crosses the threshold of solarize
    assert got.shape == whole.shape and apart.float().mean() < 1e-4


def test_bytes_as_floats_are_refused_in_any_piece():
    images = pictures(224, 224)
    images[4] *= 255
    with pytest.raises(ValueError, match="expected values from 0 to 1"):
        augment.two_views(images, VIEW, generator())
