"""What a dictionary of visual words keeps, and what a copy can say of a hidden word."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.words import (
    copy_nearest,
    painted_like,
    rival_readings,
    structure_known,
    to_visible,
    trusted,
    words_keep,
)

DRAW = torch.Generator().manual_seed(0)


def test_words_for_colours_keep_colour_and_no_pattern():
    words = torch.randint(3, (40, 2, 2), generator=DRAW)
    shades = torch.rand(3, 3, generator=DRAW)[words].permute(0, 3, 1, 2)  # a colour for each word
    noise = torch.rand(40, 3, 2, 2, 2, 2, generator=DRAW).sub(0.5).mul(0.2)
    noise -= noise.mean((-1, -2), keepdim=True)
    images = (shades[..., None, None] + noise).permute(0, 1, 2, 4, 3, 5).reshape(40, 3, 4, 4)
    kept = words_keep(images, words)
    assert kept["colour"] > 0.999 and kept["pattern"] < 0.1


def test_words_for_patterns_keep_the_pattern():
    words = torch.randint(2, (60, 2, 2), generator=DRAW)
    edge = torch.tensor([[0.1, -0.1], [0.1, -0.1]])
    shades = torch.rand(60, 1, 2, 2, generator=DRAW)
    cut = shades[..., None, None] + (2 * words - 1)[:, None, ..., None, None] * edge
    images = cut.permute(0, 1, 2, 4, 3, 5).reshape(60, 1, 4, 4).expand(-1, 3, -1, -1)
    kept = words_keep(images, words)
    assert kept["pattern"] > 0.999 and kept["colour"] < 0.1


def test_a_copy_takes_the_nearest_visible_word():
    visible = torch.ones(1, 3, 3, dtype=torch.bool)
    visible[0, 0, :2] = False
    words = torch.arange(9).view(1, 3, 3)
    assert copy_nearest(words, visible)[0].flatten().tolist() == [3, 2, 2, 3, 4, 5, 6, 7, 8]
    away, which = to_visible(visible)
    assert away[0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0] and which[0, 0] == 3


def test_error_and_contrast_are_of_hidden_patches_only():
    images = torch.rand(2, 3, 4, 4, generator=DRAW)
    visible = torch.tensor([[[True, False], [True, True]], [[True, True], [True, False]]])
    truth = images.view(2, 3, 2, 2, 2, 2).permute(0, 2, 4, 1, 3, 5)
    assert painted_like(truth, images, visible)["error"] == 0
    flat = truth.mean((-1, -2), keepdim=True).expand_as(truth)
    found = painted_like(torch.where(visible[..., None, None, None], truth + 9, flat), images, visible)
    hidden = torch.stack([truth[0, 0, 1], truth[1, 1, 1]])
    expected = (hidden - hidden.mean((-1, -2), keepdim=True)).square().mean().sqrt()
    assert abs(found["error"] - float(expected)) < 1e-6 and found["contrast"] < 1e-3


def test_rival_readings():
    images = torch.rand(2, 3, 4, 4, generator=DRAW)
    visible = torch.tensor([[[True, False], [True, True]]]).expand(2, 2, 2)
    pictures = torch.stack([torch.full((3, 2, 2), value) for value in (0.0, 0.5, 1.0)])
    found = rival_readings(images, visible, pictures)
    torch.testing.assert_close(found["copy"][:, 0, 1], images[:, :, :2, :2])  # the first of the two nearest
    mean = images[:, :, :2, :2].mean((2, 3), keepdim=True)
    torch.testing.assert_close(found["flat copy"][:, 0, 1], mean.expand(-1, -1, 2, 2))
    errors = [(images[0, :, :2, 2:] - picture).square().sum().item() for picture in pictures]
    torch.testing.assert_close(found["closest"][0, 0, 1], pictures[errors.index(min(errors))])


def test_what_is_known_of_hidden_words():
    words = torch.tensor([[[0, 1], [2, 2]]])
    visible = torch.tensor([[[True, False], [False, True]]])
    plain = torch.tensor([True, False, False])
    chances = torch.tensor([[[[1.0, 0, 0], [0.5, 0.3, 0.2]], [[0.1, 0.6, 0.3], [0, 0, 1.0]]]])
    # hidden: word 1 (likeliest 0, copied 0) and word 2 (likeliest 1, copied 0)
    assert trusted(chances, words, visible) == (pytest.approx(0.55), 0.0, pytest.approx(0.0))
    found = structure_known(chances, words, visible, plain)
    assert found["mass"] == pytest.approx((0.5 + 0.9) / 2) and found["copy"] == 0.0
    assert (found["right"], found["frequent"], found["five"]) == (0.5, 0.5, 1.0)
