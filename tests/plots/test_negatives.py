"""Figures of negatives."""

from __future__ import annotations

import torch

from course_lib.plots import negatives
from course_lib.plots.drawing import GREY, THIS

COSINES = {"one": torch.linspace(-0.9, 0.9, 30), "other": torch.zeros(3, 4), "third": torch.ones(5)}


def test_pushes_add_up_and_the_chosen_line_has_the_method_s_colour():
    shares = {"all alike": torch.full((4,), 0.25), "hard": torch.tensor([0.7, 0.2, 0.1, 0.0])}
    left, right = negatives.pushes(shares, torch.tensor([1.0, 0.5, 0.0, 0.1]), "hard", ("a", "b")).axes
    lines = {line.get_label(): line for line in left.lines}
    assert [round(float(y)) for y in lines["hard"].get_ydata()] == [70, 90, 100, 100]
    assert (lines["hard"].get_color(), lines["all alike"].get_color()) == (THIS, GREY)
    assert [round(float(y)) for y in right.lines[0].get_ydata()] == [100, 75, 50, 40]
    assert [axes.get_title("left") for axes in (left, right)] == ["a", "b"]


def test_images_stand_above_their_patchworks():
    left, right = negatives.torn(torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8), COSINES, "net").axes
    height, width = left.images[0].get_array().shape[:2]
    assert height < width and left.images[0].get_array()[0, 0, 0] == 0 and left.images[0].get_array()[-1, 0, 0] == 1
    assert right.get_title("left") == "net" and len(right.get_legend().get_texts()) == 2


def test_the_own_push_marks_the_chosen_alpha():
    shares = {"early": [0.0, 0.5, 0.9], "late": [0.0, 0.1, 0.2]}
    left, right = negatives.own_push(shares, [0.0, 1.0, 2.0], ("late", 2.0), COSINES).axes
    assert [list(line.get_xdata()) for line in left.lines][2] == [2.0]
    assert abs(left.lines[2].get_ydata()[0] - 20) < 1e-6 and len(right.get_legend().get_texts()) == 3


def test_the_pull_by_number_marks_the_chosen_number():
    lines = {"plain": [0.1, 0.4], "EqCo": [0.4, 0.4]}
    left, right = negatives.pull_by_number(lines, [2, 64], ("plain", 64), COSINES).axes
    marked = [line for line in left.lines if len(line.get_xdata()) == 1]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marked] == [(64, 0.4)]
    assert left.get_title("left") == "plain" and right.get_xlabel()
