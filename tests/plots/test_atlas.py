"""Figures of the atlas: what they draw is what they were given."""

from __future__ import annotations

import torch

from course_lib.plots import atlas


def test_two_causes_are_named_on_the_axes_and_have_a_dot_for_each_network():
    x, y = torch.tensor([0.1, 0.9]), torch.tensor([0.2, 0.8])
    axes = atlas.two_values(x, y, ["MAE", "SimCLR"], ["red", "blue"], ["class", "pos_x"]).axes[0]
    assert axes.get_xlabel() == "class, as far as it is read" and axes.get_ylabel() == "pos x, as far as it is read"
    assert torch.allclose(torch.tensor(axes.collections[0].get_offsets()).float(), torch.stack([x, y], 1))
    assert {text.get_text() for text in axes.texts} == {"MAE", "SimCLR"}


def test_shuffled_marks_the_gap_among_the_shuffles():
    left, right = atlas.shuffled(torch.tensor([0.8, 0.6]), torch.tensor([0.1, 0.2, 0.3]), torch.zeros(10), 0.5, 0.01,
                                 "encoder").axes
    dots = [line for line in left.lines if line.get_marker() == "."]
    assert [list(line.get_xdata().round(1)) for line in dots] == [[0.1, 0.2, 0.3], [0.8, 0.6]]
    assert right.lines[0].get_xdata()[0] == 0.5 and sum(bar.get_height() for bar in right.patches) == 10
