"""Judging reconstructions: against loops, and neither way of filling may see a hidden pixel or its statistics."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.masks import patch_mask
from course_lib.evaluate.reconstruction import (
    FILLS,
    average_distance,
    colour_error_by_distance,
    distance_map,
    error_by_distance,
    errors_by_half,
    fill_blurred,
    fill_mean,
    fill_median,
    fill_nearest,
    fill_plane,
    filled,
    hidden_error,
    object_share_at,
)


def example(b=3, size=12, grid=4, mask_ratio=0.6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(b, 3, size, size, generator=generator), patch_mask(b, grid, mask_ratio, generator)


def pixels(visible, size):
    """(B, size, size) nested lists: is this pixel visible?"""
    patch = size // visible.shape[-1]
    return [[[bool(v[y // patch, x // patch]) for x in range(size)] for y in range(size)] for v in visible]


def where(visible, size):
    return torch.tensor(pixels(visible, size)).unsqueeze(1)


def naive_mean(images, visible):
    out, seen = images.clone(), pixels(visible, images.shape[-1])
    for b, picture in enumerate(images):
        for c in range(3):
            known = [float(v) for v, s in zip(picture[c].flatten(), torch.tensor(seen[b]).flatten()) if s]
            for y in range(images.shape[-1]):
                for x in range(images.shape[-1]):
                    if not seen[b][y][x]:
                        out[b, c, y, x] = sum(known) / len(known)
    return out


def naive_nearest(images, visible):
    out, seen, size = images.clone(), pixels(visible, images.shape[-1]), images.shape[-1]
    for b in range(len(images)):
        places = [(y, x) for y in range(size) for x in range(size) if seen[b][y][x]]  # reading order
        for y in range(size):
            for x in range(size):
                row, column = min(places, key=lambda p: (p[0] - y) ** 2 + (p[1] - x) ** 2)  # the first of equals
                out[b, :, y, x] = images[b, :, row, column]
    return out


def naive_error(prediction, images, visible):
    seen, size = pixels(visible, images.shape[-1]), images.shape[-1]
    error, variance = 0.0, 0.0
    places = [(b, y, x) for b in range(len(images)) for y in range(size) for x in range(size) if not seen[b][y][x]]
    for c in range(3):
        mean = sum(float(images[b, c, y, x]) for b, y, x in places) / len(places)
        variance += sum((float(images[b, c, y, x]) - mean) ** 2 for b, y, x in places)
        error += sum((float(prediction[b, c, y, x]) - float(images[b, c, y, x])) ** 2 for b, y, x in places)
    return error / variance


@pytest.mark.parametrize("grid, mask_ratio", [(4, 0.6), (2, 0.5), (6, 0.9), (3, 0.0)])
def test_fills_equal_loops(grid, mask_ratio):
    images, visible = example(grid=grid, mask_ratio=mask_ratio)
    torch.testing.assert_close(fill_mean(images, visible), naive_mean(images, visible))
    assert torch.equal(fill_nearest(images, visible), naive_nearest(images, visible))


def test_error_equals_loops():
    images, visible = example()
    prediction = torch.rand(images.shape, generator=torch.Generator().manual_seed(9))
    expected = naive_error(prediction, images, visible)
    assert hidden_error(prediction, images, visible) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("fill", [fill_mean, fill_median, fill_nearest, fill_plane, fill_blurred])
def test_a_fill_keeps_what_is_visible_and_cannot_see_what_is_hidden(fill):
    images, visible = example(b=6, size=16)
    seen = where(visible, 16).expand_as(images)
    out = fill(images, visible)
    assert torch.equal(out[seen], images[seen])
    for other in (torch.rand_like(images) * 100, torch.full_like(images, float("nan")), torch.full_like(images, 1e30)):
        assert torch.equal(out, fill(torch.where(seen, images, other), visible)), "a hidden pixel was seen"


@pytest.mark.parametrize("fill", [fill_mean, fill_median, fill_nearest, fill_plane])
def test_a_fill_sees_its_own_image_only(fill):
    images, visible = example(b=4)
    alone = torch.cat([fill(i[None], v[None]) for i, v in zip(images, visible)])
    torch.testing.assert_close(fill(images, visible), alone)


def test_the_scale_of_the_error():
    images, visible = example(b=4)
    hidden = ~where(visible, 12).expand_as(images)
    assert hidden_error(images, images, visible) == 0
    mean = torch.stack([images[:, c][hidden[:, c]].mean() for c in range(3)]).view(1, 3, 1, 1).expand_as(images)
    assert hidden_error(mean, images, visible) == pytest.approx(1, rel=1e-5)
    assert hidden_error(mean * 3 + 1, images * 3 + 1, visible) == pytest.approx(1, rel=1e-5)  # free of the scale
    wrong_where_visible = torch.where(hidden, images, images + 7)
    assert hidden_error(wrong_where_visible, images, visible) == 0, "visible pixels do not count"


def test_on_smooth_pictures_the_nearest_pixel_is_better_than_the_mean():
    ramp = torch.linspace(0, 1, 16).expand(5, 3, 16, 16)
    visible = patch_mask(5, 4, 0.6, torch.Generator().manual_seed(0))
    near, mean = (hidden_error(fill(ramp, visible), ramp, visible) for fill in (fill_nearest, fill_mean))
    assert near < 0.5 < mean


@pytest.mark.parametrize("grid", [2, 3, 6])
def test_the_average_distance_equals_loops(grid):
    _, visible = example(grid=grid)
    seen, distances = pixels(visible, 12), []
    for flags in seen:
        places = [(y, x) for y in range(12) for x in range(12) if flags[y][x]]
        distances += [min(((y - v) ** 2 + (x - w) ** 2) ** 0.5 for v, w in places)
                      for y in range(12) for x in range(12) if not flags[y][x]]
    assert average_distance(visible, 12) == pytest.approx(sum(distances) / len(distances), rel=1e-5)


def test_larger_patches_are_further_from_what_is_visible():
    """SimMIM's one axis: at the same ratio the distance grows with the patch."""
    masks = [patch_mask(8, grid, 0.5, torch.Generator().manual_seed(0)) for grid in (16, 8, 4, 2)]
    found = [average_distance(mask, 32) for mask in masks]
    assert found == sorted(found) and found[-1] > 4 * found[0]
    assert average_distance(torch.ones(1, 4, 4, dtype=torch.bool), 8) != average_distance(masks[0], 32)  # nan


def test_nearest_pixels_of_large_pictures_take_little_memory():
    """Bug: all distances between the pixels of a picture, 10 GB at 224."""
    visible = torch.rand(1, 14, 14, generator=torch.Generator().manual_seed(0)) < 0.3
    images = torch.rand(1, 3, 224, 224)
    filled = fill_nearest(images, visible)
    seen = visible[0].repeat_interleave(16, 0).repeat_interleave(16, 1)
    known = seen.nonzero()
    for place in ((0, 0), (100, 37), (223, 223)):
        squares = (known - torch.tensor(place)).square().sum(1)
        row, column = known[squares.argmin()].tolist()
        assert torch.equal(filled[0, :, place[0], place[1]], images[0, :, row, column])


# ---------------------------------------------------------------- by distance
def naive_map(visible, size):
    seen, out = pixels(visible, size), torch.zeros(len(visible), size, size)
    for b in range(len(visible)):
        places = [(y, x) for y in range(size) for x in range(size) if seen[b][y][x]]
        for y in range(size):
            for x in range(size):
                out[b, y, x] = min(((p - y) ** 2 + (q - x) ** 2) ** 0.5 for p, q in places)
    return out


def test_the_distance_of_every_pixel():
    _, visible = example()
    far = distance_map(visible, 12)
    torch.testing.assert_close(far, naive_map(visible, 12))
    assert (far[where(visible, 12)[:, 0]] == 0).all()
    assert float(far[far > 0].mean()) == pytest.approx(average_distance(visible, 12))
    assert distance_map(torch.zeros(1, 4, 4, dtype=torch.bool), 12).isinf().all()


def test_the_error_by_distance_is_that_of_the_pixels_there():
    images, visible = example()
    filled, far = fill_nearest(images, visible), naive_map(visible, 12)
    whole = error_by_distance(filled, images, visible, (0, 99))
    assert whole == pytest.approx([hidden_error(filled, images, visible)])
    edges = (0, 1, 2.5, 90, 99)
    found = error_by_distance(filled, images, visible, edges)
    for low, high, error in zip(edges, edges[1:], found):
        there = [(b, y, x) for b in range(3) for y in range(12) for x in range(12) if low < far[b, y, x] <= high]
        if not there:
            assert error != error
            continue
        true = torch.stack([images[b, :, y, x] for b, y, x in there])
        drawn = torch.stack([filled[b, :, y, x] for b, y, x in there])
        expected = float(((drawn - true) ** 2).sum() / ((true - true.mean(0)) ** 2).sum())
        assert error == pytest.approx(expected, rel=1e-4)
    assert found[3] != found[3]


def test_a_plane_is_found_beside_an_object():
    row, column = torch.linspace(0, 1, 16)[:, None], torch.linspace(0, 1, 16)
    ground = torch.stack([0.2 + 0.3 * row + 0.1 * column, 0.6 - 0.2 * row + 0 * column, 0.4 + 0.3 * column + 0 * row])
    images, visible = ground.expand(5, 3, 16, 16).clone(), patch_mask(5, 4, 0.5, torch.Generator().manual_seed(2))
    images[:, :, 4:9, 5:10] = torch.rand(5, 3, 1, 1, generator=torch.Generator().manual_seed(3))
    out = fill_plane(images, visible)
    hidden = ~where(visible, 16).expand_as(images)
    torch.testing.assert_close(out[hidden], ground.expand_as(images)[hidden], atol=1e-3, rtol=0)


def test_the_error_of_colours_equals_loops():
    images, visible = example()
    prediction = torch.rand(images.shape, generator=torch.Generator().manual_seed(8))
    chosen, far = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(7)) < 0.6, distance_map(visible, 12)
    found = colour_error_by_distance(prediction, images, visible, (0, 1, 2, 9), chosen)
    for low, high, value in zip((0, 1, 2), (1, 2, 9), found):
        squares = [float((prediction - images)[b, :, y, x].square().mean()) for b in range(3) for y in range(12)
                   for x in range(12) if chosen[b, y, x] and low < far[b, y, x] <= high]
        assert value == pytest.approx((sum(squares) / len(squares)) ** 0.5, rel=1e-5)


def test_the_median_is_that_of_the_visible_pixels():
    images, visible = example(b=2)
    out, seen = fill_median(images, visible), where(visible, 12)
    for b in range(2):
        for c in range(3):
            known = sorted(images[b, c][seen[b, 0]].tolist())
            assert (out[b, c][~seen[b, 0]] == known[(len(known) - 1) // 2]).all()


def test_each_filling_and_what_it_leaves():
    images, visible = example()
    pictures, left = filled(FILLS, images, visible)
    assert list(pictures) == list(FILLS) and list(left) == [*FILLS, "one colour"]
    assert left["copy"] == hidden_error(fill_nearest(images, visible), images, visible)
    assert left["one colour"] == hidden_error(fill_median(images, visible), images, visible)


def test_halves_are_the_object_and_the_rest():
    images, visible = example()
    objects, far = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(7)) < 0.4, distance_map(visible, 12)
    pictures = {"copy": fill_nearest(images, visible)}
    halves = errors_by_half(pictures, images, visible, objects, (0, 1, 9))
    assert list(halves) == ["on the object", "on the background"]
    for part, rows in zip((objects, ~objects), halves.values()):
        wanted = colour_error_by_distance(pictures["copy"], images, visible, (0, 1, 9), part)
        assert rows["copy"].tolist() == pytest.approx(wanted)
    there = [bool(objects[b, y, x]) for b in range(3) for y in range(12) for x in range(12) if 1 < far[b, y, x] <= 9]
    assert object_share_at(objects, visible, 1, 9) == pytest.approx(sum(there) / len(there))
