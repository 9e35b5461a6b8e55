"""Pairs of views that raw pixels match, against a loop."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.pairs import matched_by_pixels
from helpers.draws import randn


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
