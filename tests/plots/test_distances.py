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


def test_fillings_show_the_images_or_what_is_left_and_one_chart_or_two():
    fills = {"copy": PICTURES, "SimMIM": PICTURES}
    left, right = distances.fillings(PICTURES, VISIBLE, fills, {"copy": 0.5, "SimMIM": 0.25}).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["shown", "copy\n0.50", "SimMIM\n0.25"]
    assert len(right.lines) == 3 and right.get_ylim()[1] == 2.6
    objects = torch.zeros(4, 8, 8, dtype=torch.bool)
    objects[:, 2:6, 2:6] = True
    album, *charts = distances.fillings(PICTURES, VISIBLE, fills, objects=objects).axes
    assert [label.get_text() for label in album.get_yticklabels()] == ["shown", "copy", "SimMIM", "image"]
    assert [axes.get_title("left") for axes in charts] == ["on the object", "on the background"]


def test_the_ruler_circles_the_chosen_mask():
    points = {"photographs": [(3.7, 0.4), (2.0, 0.3)], "shapes": [(3.7, 0.6)]}
    mask = {"visible": VISIBLE, "filled": PICTURES, "hidden": 0.5, "distance": 3.7, "error": 0.4}
    left, right = distances.ruler(points, "photographs", PICTURES, mask).axes
    assert left.get_title("left") == "50% hidden, AvgDist 3.7, a copy leaves 0.40" and len(left.images) == 1
    assert [line.get_alpha() for line in right.lines[:2]] == [1.0, 0.25]
    assert (right.lines[2].get_xdata()[0], right.lines[2].get_ydata()[0]) == (3.7, 0.4)


def test_a_dot_for_every_head():
    values = torch.rand(3, 2, generator=torch.Generator().manual_seed(1))
    looks = {"a": {"distance": values, "share": values}, "b": {"distance": 2 * values, "share": values}}
    for axes, scale in zip(distances.heads(looks, even="b").axes, (2, 1)):
        dots = [line for line in axes.lines if line.get_marker() in "os"]
        assert len(dots) == 4 and dots[0].get_ydata() == pytest.approx(values[:, 0].tolist())
        dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert dashed[0].get_ydata()[0] == pytest.approx(scale * float(values.mean()))


def test_a_dot_for_every_training():
    axes = distances.rulers({"8 px": [(3.7, 41.0), (3.7, 42.0)], "16 px": [(7.6, 33.0)]}, "AvgDist", "fine-tuned",
                            {"from scratch": 36.0}).axes[0]
    assert [len(line.get_xdata()) for line in axes.lines[:2]] == [2, 1]
    assert list(axes.lines[2].get_ydata()) == [36.0, 36.0]
