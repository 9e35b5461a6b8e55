"""Pictures of lesson 08 hold what they are given."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.plots import swav

CIRCLE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])


def test_each_code_is_the_target_of_the_other_view():
    axes, = swav.swapped_prediction().axes
    words = [text.get_text() for text in axes.texts]
    for start in ("code", "prediction"):
        assert sum(word.startswith(start) for word in words) == 2


def test_codes_have_the_sums_of_their_columns_below():
    alone, even = torch.tensor([[1.0, 0, 0]]).repeat(4, 1), torch.full((4, 3), 1 / 3)
    figure = swav.four_codes(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.ones(4, 2), CIRCLE, alone, even)
    labels = {axes.get_title(loc="left"): [tick.get_text() for tick in axes.get_xticklabels()] for axes in figure.axes}
    assert labels["codes, alone"] == ["A\n4.00", "B\n0.00", "C\n0.00"] and labels["codes, balanced"][0] == "A\n1.33"


def test_a_batch_of_codes_beside_the_fair_share():
    codes = torch.eye(6)[:, :3]
    left, right, _ = swav.batch_of_codes(codes, 1.5, 2.25).axes
    assert left.images[0].get_array().shape == (3, 6) and "1.5 prototypes" in left.get_title(loc="left")
    assert [bar.get_width() for bar in right.patches] == [1, 1, 1] and right.lines[0].get_xdata()[0] == 2
    assert right.get_title(loc="left") == "2.2 prototypes get images"


def test_images_among_prototypes_at_a_step():
    left, middle, right = swav.among_prototypes(torch.ones(5, 2), CIRCLE, [3, 2, 1], [1.0, 0.5, 0.25], 1).axes
    assert left.get_title(loc="left") == "after 1 steps" and len(left.collections[1].get_offsets()) == 5
    assert list(middle.lines[0].get_ydata()) == [3, 2, 1] and middle.lines[1].get_xdata()[0] == 1
    assert right.lines[-1].get_ydata()[0] == pytest.approx(math.log(3)) and "log 3" in right.get_title(loc="left")


def test_sizes_of_names_are_in_percent_of_all_images():
    look = ([1, 2], [7.0, 3.0], [30, 10, 0])
    left, right = swav.one_change([look], [look, look], 6.9, "a title").axes
    assert len(left.lines) == 4 and left.lines[3].get_ydata()[0] == 6.9
    assert list(right.lines[0].get_ydata()) == [75, 25, 0] and right.get_title(loc="left") == "a title"


def test_the_own_batch_is_marked_on_the_line_of_its_queue():
    axes, = swav.by_batch((4, 8), {0: [0.25, 0.5], 64: [0.75, 1.0]}, 8, 64).axes
    assert [line.get_label() for line in axes.lines[:2]] == ["no queue", "queue of 64"]
    assert list(axes.lines[1].get_ydata()) == [75, 100] and list(axes.lines[2].get_ydata()) == [100]
