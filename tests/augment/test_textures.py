"""Images without their content: patchworks and textures, against loops over pixels."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.textures import (
    cut,
    patch_negatives,
    patch_sides,
    quilt,
    texture_negatives,
    texture_sources,
    tile,
)
from helpers.draws import generator, randn


def numbered(n=3, side=8):
    """Images whose every pixel is another number, and the channels apart."""
    return torch.arange(n * 2 * side * side, dtype=torch.float64).view(n, 2, side, side)


def test_tile_equals_a_loop_over_pixels():
    images, sizes = numbered(), torch.tensor([3, 4, 8])
    places = torch.zeros(3, 3, 3, 2, dtype=torch.long)
    for b, size in enumerate(sizes.tolist()):
        places[b] = torch.randint(0, 8 - size + 1, (3, 3, 2), generator=generator(b))
    got = tile(images, sizes, places)
    for b, size in enumerate(sizes.tolist()):
        for y in range(8):
            for x in range(8):
                top, left = places[b, y // size, x // size].tolist()
                assert torch.equal(got[b, :, y, x], images[b, :, top + y % size, left + x % size])


def test_a_patchwork_is_made_of_squares_of_the_image_itself():
    images = numbered(40, 32)
    got, (low, high) = patch_negatives(images, generator()), patch_sides(32, (16, 72))
    assert got.shape == images.shape and got.dtype == images.dtype and (low, high) == (2, 10)
    sides = set()
    for image, patchwork in zip(images, got):
        assert torch.isin(patchwork, image).all() and not torch.equal(patchwork, image)
        y, x = (patchwork[0] - image[0, 0, 0]).long() // 32, (patchwork[0] - image[0, 0, 0]).long() % 32
        breaks = [p for p in range(1, 32) if (x[:, p] != x[:, p - 1] + 1).any() or (y[:, p] != y[:, p - 1]).any()]
        side = breaks[0]
        assert breaks == list(range(side, 32, side)) and low <= side <= high, "one side for all squares"
        sides.add(side)
        assert torch.equal(patchwork[1] - image[1, 0, 0], patchwork[0] - image[0, 0, 0]), "channels stay together"
    assert len(sides) > 4, "each image draws a side of its own"


def test_patches_reach_every_pixel_and_every_side():
    images = numbered(400, 4)
    found = patch_negatives(images, generator(), (56, 168))  # sides 1 to 3 of 4
    seen = torch.stack([torch.isin(image[0], patchwork[0]) for image, patchwork in zip(images, found)])
    assert seen.any(0).all(), "the last row and column too"
    whole = patch_negatives(images, generator(), (224, 224))
    assert torch.equal(whole, images), "one square as large as the image is the image"


def test_draws_come_from_the_generator():
    images = torch.rand(4, 3, 32, 32, generator=generator(9))
    for make in (patch_negatives, texture_negatives):
        one, two, other = make(images, generator(1)), make(images, generator(1)), make(images, generator(2))
        assert torch.equal(one, two) and not torch.equal(one, other) and one.shape == images.shape


@pytest.mark.parametrize("patch", [(0, 10), (20, 10), (16, 400), (16,)])
def test_sides_that_cannot_be_are_a_sentence(patch):
    with pytest.raises(ValueError, match="patch is .*expected the smallest and the largest side.*such as"):
        patch_sides(32, patch)


# ---------------------------------------------------------------- textures
def test_cut():
    images, corners = numbered(2), torch.tensor([[[0, 0], [3, 5]], [[5, 1], [2, 2]]])
    got = cut(images, corners, 3)
    for b in range(2):
        for n, (top, left) in enumerate(corners[b].tolist()):
            assert torch.equal(got[b, n], images[b, :, top : top + 3, left : left + 3])


def test_a_texture_comes_from_the_centre_and_one_other_place():
    images = numbered(20, 28)
    sources = texture_sources(images, generator())
    assert sources.shape == (20, 2, 2, 12, 12), "96 of 224 pixels"
    assert torch.equal(sources[:, 0], images[:, :, 8:20, 8:20])
    corners = {int(pair[1, 0, 0, 0] - image[0, 0, 0]) for pair, image in zip(sources, images)}
    assert len(corners) > 10 and all(place // 28 <= 16 and place % 28 <= 16 for place in corners)


@pytest.mark.parametrize("size", [8, 30, 32, 64])
def test_a_texture_has_the_colours_of_its_sources(size):
    sources = torch.rand(3, 2, 3, max(4, size * 3 // 7), max(4, size * 3 // 7), generator=generator())
    got = quilt(sources, size, generator())
    assert got.shape == (3, 3, size, size)
    low, high = sources.amin((1, 3, 4)), sources.amax((1, 3, 4))
    assert (got >= low[..., None, None] - 1e-6).all() and (got <= high[..., None, None] + 1e-6).all()
    flat = torch.full_like(sources, 0.25)
    torch.testing.assert_close(quilt(flat, size, generator()), torch.full((3, 3, size, size), 0.25))


def test_a_block_is_chosen_for_its_fit():
    """Stripes stay stripes: with many candidates rows agree with their neighbours better than with few."""
    wave = (randn(1, 1, 1, 14, 1) * 3).sin().expand(1, 2, 3, 14, 14).contiguous()

    def seams(candidates: int) -> float:
        made = torch.cat([quilt(wave, 32, generator(seed), candidates) for seed in range(8)])
        return float((made[..., 1:] - made[..., :-1]).abs().mean())

    assert seams(64) < 0.7 * seams(1)
