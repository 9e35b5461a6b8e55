"""Figures of pretext tasks and encoders."""

from __future__ import annotations

import torch

from course_lib.plots import rankings


def test_the_direction_with_the_smallest_difference_is_marked():
    scores = {"above": 0.3, "left": 0.1, "right": 0.2}
    corners = torch.tensor([(4 * (n // 3), 4 * (n % 3)) for n in range(9)])
    bars = rankings.patch_pair(torch.rand(3, 12, 12), corners, 4, 5, scores, "left\ncorrect in 80%").axes[-1]
    colours = [bar.get_facecolor() for bar in bars.patches]
    assert colours[0] == colours[2] != colours[1]
