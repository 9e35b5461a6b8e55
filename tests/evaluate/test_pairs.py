"""Pairs of views: what raw pixels match, and the share of variance between images, against loops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from course_lib.augment import SHAPES_VIEWS, Augment, standardize
from course_lib.evaluate.pairs import in_shapes, matched_by_pixels, signal_share
from course_lib.seeds import generator
from helpers.draws import randn

SHAPES_VIEWS_8 = replace(SHAPES_VIEWS, size=8)


def test_matched_by_pixels_counts_the_views_that_are_nearest_to_their_own():
    first, noise = randn(6, 3, 4, 4), randn(6, 3, 4, 4, seed=1)
    assert matched_by_pixels(first, 3 * first + 3 * first.mean()) == 1.0
    second = 0.3 * first + noise
    a, b = first.flatten(1) - first.mean(), second.flatten(1) - second.mean()
    right = 0
    for i in range(6):
        cosines = [float(torch.nn.functional.cosine_similarity(a[i], b[j], dim=0)) for j in range(6)]
        right += cosines.index(max(cosines)) == i
    assert matched_by_pixels(first, second) == pytest.approx(right / 6) and 0 < right < 6


def test_the_signal_share_is_of_the_variance_between_images():
    images = torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    still = Augment(8, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray_p=0.0, blur_p=0.0)
    flat = torch.nn.Flatten()
    assert signal_share(flat, images, still) == pytest.approx(1.0, abs=1e-4), "views that are all the same"
    assert signal_share(lambda x: torch.ones(len(x), 2), images, still) == pytest.approx(0.0, abs=1e-4)
    share = signal_share(flat, images, SHAPES_VIEWS_8, views=4, seed=3)
    source = generator(3)
    z = [torch.nn.functional.normalize(flat(standardize(SHAPES_VIEWS_8(images, source)))) for _ in range(4)]
    within = sum(float(torch.stack([v[i] for v in z]).var(0).sum()) for i in range(6)) / 6
    means = torch.stack([torch.stack([v[i] for v in z]).mean(0) for i in range(6)])
    between = float(means.var(0, correction=0).sum()) - within / 4
    assert share == pytest.approx(max(between, 0) / (max(between, 0) + within), rel=1e-4)


def test_distances_are_measured_in_other_shapes():
    """Bug: the mean taken over all shapes, the own one too, which is at no distance."""
    z = randn(5 + 4, 3)
    z[5] = 2 * z[0]  # the shape itself, at the low end of the cause
    found = in_shapes(z, 5)
    rows = [row / row.norm() for row in z]
    unit = sum(float((row - rows[0]).norm()) for row in rows[6:]) / 3
    assert found.tolist() == pytest.approx([float((row - rows[0]).norm()) / unit for row in rows[:5]], abs=1e-6)
