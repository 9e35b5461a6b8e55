"""Figures of lesson 13: what they draw is what they were given."""

from __future__ import annotations

import pytest
import torch

from course_lib.plots import distances
from course_lib.plots.drawing import THIS

PICTURES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VISIBLE = torch.tensor([[True, False], [False, True]]).expand(4, 2, 2)
EDGES = (0, 1, 3)


def test_fills_stand_in_rows_and_errors_at_the_middle_of_their_interval():
    curves = {"copy": [0.2, 0.8], "SimMIM": [0.2, 0.3]}
    figure = distances.fills_and_errors({"shown": PICTURES, "copy": PICTURES}, curves, EDGES, columns=3)
    left, right = figure.axes
    assert left.images[0].get_array().shape == (2 * 9, 3 * 9, 3)
    assert [label.get_text() for label in left.get_yticklabels()] == ["shown", "copy"]
    assert [list(line.get_xdata()) for line in right.lines[:2]] == [[0.5, 2.0]] * 2
    assert [list(line.get_ydata()) for line in right.lines[:2]] == list(curves.values())
    assert right.lines[1].get_color() == THIS != right.lines[0].get_color(), "the method has its own colour"


def test_one_chart_for_each_half():
    curves = {"object": {"copy": [0.2, 0.8], "SimMIM": [0.2, 0.3]}, "background": {"copy": [0.1, 0.1]}}
    album, above, below = distances.fills_and_halves({"shown": PICTURES, "copy": PICTURES}, curves, EDGES, 3).axes
    assert album.images[0].get_array().shape == (2 * 9, 3 * 9, 3)
    assert [list(line.get_ydata()) for line in (*above.lines, *below.lines)] == [[0.2, 0.8], [0.2, 0.3], [0.1, 0.1]]
    assert [axes.get_title("left") or axes.get_title() for axes in (above, below)] == list(curves)


def test_a_bar_for_every_mask_and_kind_of_picture():
    errors = {"photographs": {"small": 0.5, "large": 0.6}, "shapes": {"small": 1.0, "large": 0.7}}
    left, right = distances.masks_and_errors(PICTURES, {"small": VISIBLE, "large": VISIBLE}, errors).axes
    assert left.images[0].get_array().shape == (2 * 9, 4 * 9, 3)
    assert [round(bar.get_width(), 2) for bar in right.patches] == [0.5, 0.6, 1.0, 0.7]


def test_the_drawing_has_a_token_for_each_hidden_patch_and_scores_only_those():
    axes = distances.one_pass([False, True, True]).axes[0]
    words = [text.get_text() for text in axes.texts]
    assert words.count("m") == 2 and {"m+1", "m+2"} <= set(words)
    dotted = [box for box in axes.patches if box.get_linestyle() == ":"]
    assert len(dotted) == 1


def test_the_ruler_circles_the_chosen_mask():
    cloud = {"photographs": {(8, 0.5): (3.7, 0.4), (4, 0.5): (2.0, 0.3)}, "shapes": {(8, 0.5): (3.7, 0.6)}}
    left, right = distances.ruler(cloud, (3.7, 0.4), "photographs", PICTURES, PICTURES, "half").axes
    assert left.get_title("left") == "half" and len(left.images) == 1
    assert [line.get_alpha() for line in right.lines[:2]] == [1.0, 0.25]
    assert (right.lines[2].get_xdata()[0], right.lines[2].get_ydata()[0]) == (3.7, 0.4)


def test_a_dot_for_every_head():
    values = torch.rand(3, 2, generator=torch.Generator().manual_seed(1))
    figure = distances.heads({"far": {"a": values, "b": values}, "share": {"a": values, "b": values}},
                             {"far": 1.0, "share": 0.5})
    for axes in figure.axes:
        dots = [line for line in axes.lines if line.get_marker() in "os"]
        assert len(dots) == 4 and dots[0].get_ydata() == pytest.approx(values[:, 0].tolist())


def test_a_dot_for_every_training():
    axes = distances.rulers({"8 px": [(3.7, 41.0), (3.7, 42.0)], "16 px": [(7.6, 33.0)]}, "AvgDist", "fine-tuned",
                            {"from scratch": 36.0}).axes[0]
    assert [len(line.get_xdata()) for line in axes.lines[:2]] == [2, 1]
    assert list(axes.lines[2].get_ydata()) == [36.0, 36.0]
