"""Crops of one photograph: where the pixels come from, that a seed makes them, the control, and what cannot be."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.views import Augment
from course_lib.data.one_photo import crop_places, noise_picture, photo_crops, same_spectrum, sample_photograph, squares

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = Augment(32, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray_p=0.0)


def one(*values):
    return torch.tensor([values], dtype=torch.float32) if len(values) > 1 else torch.tensor(values)


def test_a_square_of_the_images_size_is_the_photographs_pixels():
    picture = torch.rand(3, 40, 60)
    found = squares(picture, one(26.0, 18.0), one(16.0), one(0.0), one(0.0), 16)
    torch.testing.assert_close(found[0], picture[:, 10:26, 18:34], atol=1e-4, rtol=0)


def test_a_quarter_of_a_turn_and_twice_the_size():
    picture = torch.rand(3, 40, 60)
    found = squares(picture, one(26.0, 18.0), one(16.0), one(90.0), one(0.0), 16)
    torch.testing.assert_close(found[0], picture[:, 10:26, 18:34].rot90(1, (1, 2)), atol=1e-3, rtol=0)
    half = squares(picture, one(26.0, 18.0), one(32.0), one(0.0), one(0.0), 16)
    wanted = torch.nn.functional.avg_pool2d(picture[None, :, 2:34, 10:42], 2)
    torch.testing.assert_close(half, wanted, atol=1e-4, rtol=0)


def test_a_slant_moves_rows_in_proportion_to_their_height():
    ramp = torch.arange(64.0).expand(3, 64, 64) / 64  # grows to the right
    found = squares(ramp, one(32.0, 32.0), one(16.0), one(0.0), one(45.0), 16)[0, 0]
    steps = (found[1:, 8] - found[:-1, 8]) * 64
    torch.testing.assert_close(steps, torch.ones(15), atol=1e-3, rtol=0)


@pytest.mark.parametrize("height, width", [(40, 60), (50, 30)])
def test_where_crops_lie_equals_its_definition(height, width):
    draws, low, high = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)), 0.01, 0.9
    centres, sides = crop_places(draws, height, width, (low, high))
    for n, (share, across, down) in enumerate(draws.T.tolist()):
        side = min((height * width * (low + (high - low) * share)) ** 0.5, height, width)
        wanted = (side / 2 + across * (width - side), side / 2 + down * (height - side))
        assert [*centres[n].tolist(), float(sides[n])] == pytest.approx([*wanted, side], abs=1e-4)
    assert float(sides.max()) == min(height, width), "a share that does not fit is cut off"


def test_a_seed_makes_them_and_they_differ():
    first, again, other = photo_crops(30), photo_crops(30), photo_crops(30, seed=1)
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    assert first.labels is None and first.images.shape == (30, 3, 32, 32) and first.name == "crops of china"
    assert len({tuple(image.flatten().tolist()) for image in first.images}) == 30
    flower = photo_crops(200, "flower").images.float().mean((0, 2, 3))
    assert float((flower - photo_crops(200).images.float().mean((0, 2, 3))).abs().max()) > 20, "another photograph"


def test_photographs_are_whole_and_noise_is_a_control_of_their_size():
    assert sample_photograph("china").shape == (3, 427, 640) == noise_picture().shape
    crops = photo_crops(40, noise_picture(), scale=(0.004, 0.005), turn=0, slant=0, augment=PLAIN)
    assert crops.name == "crops of a picture" and 45 < float(crops.images.float().std()) < 80
    large = photo_crops(40, noise_picture(), scale=(0.2, 0.25), augment=PLAIN).images.float()
    assert float(large.std()) < 35, "averaged, large crops of noise are nearly grey"


def test_what_cannot_be_is_a_sentence():
    with pytest.raises(ValueError, match="there is no photograph 'cat'; expected china or flower"):
        photo_crops(2, "cat")
    with pytest.raises(ValueError, match=r"the picture is torch.float32 of shape \(3, 9, 9\); expected uint8"):
        photo_crops(2, torch.rand(3, 9, 9))
    for wrong in ({"count": 0}, {"scale": (0.5, 0.2)}, {"scale": (0.0, 1.0)}, {"turn": 200}, {"slant": 90}):
        with pytest.raises(ValueError, match="expected numbers from 1 up, rising shares"):
            photo_crops(**{"count": 2, **wrong})


@pytest.mark.parametrize("height, width", [(24, 36), (25, 37)])
def test_noise_of_the_same_spectrum_keeps_waves_and_colours_and_loses_edges(height, width):
    picture = 100 + 40 * (torch.arange(width) > width // 2).float().expand(3, height, width)
    picture = picture * torch.tensor([0.5, 1.0, 1.2])[:, None, None]
    noise = same_spectrum(picture.to(torch.uint8))
    assert noise.dtype == torch.uint8 and noise.shape == picture.shape
    before, after = torch.fft.rfft2(picture.to(torch.uint8).float()).abs(), torch.fft.rfft2(noise.float()).abs()
    torch.testing.assert_close(after[:, 0, :6], before[:, 0, :6], rtol=0.02, atol=0.02 * float(before.max()) / 10)
    assert not torch.equal(noise, same_spectrum(picture.to(torch.uint8), seed=1))
