"""Pictures of lesson 01 hold what they are given."""

from __future__ import annotations

import pytest
import torch

from course_lib.plots import orientation


def test_points_on_a_circle_with_their_last_steps():
    angles = torch.linspace(0, 3, 12)[:, None] + torch.arange(5.0)
    path = torch.stack([angles.cos(), angles.sin()], -1)  # (12 steps, 5 points, 2)
    left, right = orientation.on_circle(path, [1 - 0.05 * i for i in range(12)], 10).axes
    points = torch.as_tensor(left.collections[-1].get_offsets().data)
    assert torch.allclose(points.float(), path[10])
    tails = [line for line in left.lines if len(line.get_xdata()) == orientation.TAIL + 1]
    assert len(tails) == 5 and tails[0].get_xdata()[0] == pytest.approx(float(path[2, 0, 0]))
    assert right.lines[1].get_data() == ([10], [pytest.approx(0.5)])


def test_a_moving_cause_has_a_line_for_each_encoder():
    far = {"raw pixels": torch.tensor([0.0, 0.5, 1.0]), "VICReg": torch.tensor([0.0, 2.0, 0.25])}
    top, axes = orientation.travels(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), far, "hue, from 0 to 1").axes
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [values.tolist() for values in far.values()]
    assert axes.get_xlabel() == "hue, from 0 to 1" and top.images[0].get_array().shape[:2] == (8, 24)


def test_accuracy_by_voters_in_percent_and_one_number_in_the_legend():
    axes, = orientation.by_voters({"raw pixels": torch.tensor([0.5, 0.25])}, 2).axes
    assert list(axes.lines[0].get_ydata()) == [50, 25] and list(axes.lines[0].get_xdata()) == [1, 2]
    assert axes.lines[0].get_label() == "raw pixels: 25.0 %" and axes.lines[1].get_xdata()[0] == 2
