"""Figures of lesson 04: what they draw is what they were given."""

from __future__ import annotations

import pytest
import torch

from course_lib.plots import simclr
from course_lib.plots.drawing import BLUE, GREY, THIS

PICTURES = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def circle(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_hits_have_blue_frames():
    frames = simclr.hit_frames(torch.tensor([True, False]))
    assert frames.shape == (2, 3) and frames[0, 2] > frames[0, 0] and frames[1, 0] > frames[1, 2]


def test_a_bar_for_each_cheap_player_and_chance():
    left, right = simclr.shortcuts((PICTURES, PICTURES), {"mean colour": 0.5, "grey thumbnail": 0.25}).axes
    assert left.images[0].get_array().shape == (2 * 9, 10 * 9, 3)
    assert [bar.get_width() for bar in right.patches] == [50.0, 25.0]
    assert right.lines[0].get_xdata()[0] == pytest.approx(100 / 23)


def test_four_pairs_are_joined_and_their_cosines_framed():
    figure = simclr.four_pairs(circle(10, 60, 160, 250, 40, 20, 190, 300), [v + n for n in "12" for v in "ABCD"])
    left, right, *_ = figure.axes
    assert {"A1", "D2"} <= {text.get_text() for text in left.texts}
    assert [box.get_x() for box in right.patches] == [3.5, 4.5, 5.5, 6.5, -0.5, 0.5, 1.5, 2.5]


def test_the_push_is_shared_among_negatives():
    shares = torch.tensor([0.0, 0.75, 0.0, 0.25])
    figure = simclr.pushes(torch.eye(4), torch.full((4, 4), -0.5), shares, 0, "as if")
    first, _, last = figure.axes
    assert first.patches[0].get_y() == -0.5
    assert [segment[1, 1] for segment in last.collections[0].get_segments()] == [75.0, 25.0]
    assert last.lines[0].get_label() == "partner, pulled 0.50" and last.get_title("left") == "as if"


def test_the_chosen_views_are_in_colour_and_their_causes_framed():
    rows = {name: dict.fromkeys(simclr.CAUSES, 0.5) for name in ("random encoder", "all", "no flip")}
    left, right = simclr.parts({"all": ([0.5], [0.4]), "no flip": ([0.9], [0.2])}, "no flip", rows, 0.3).axes
    assert [tuple(dots.get_offsets()[0]) for dots in left.collections] == [(50.0, 40.0), (90.0, 20.0)]
    assert left.lines[0].get_ydata()[0] == 30.0 and right.images[0].get_array().shape == (3, 8)


def test_the_evidence_on_one_of_the_runs():
    z = circle(0, 90, 0, 90)
    figure = simclr.evidence({"right": [4.0, 2.0], "itself": [5.0, 3.0]}, "itself", z @ z.T, 1, {"log": 4.8},
                             {"partners": 1.0, "others": 0.0})
    losses, cosines, histogram = figure.axes
    assert [list(line.get_ydata()) for line in losses.lines[:2]] == [[4.0, 2.0], [5.0, 3.0]]
    assert [line.get_color() == THIS for line in losses.lines[:2]] == [False, True]
    assert cosines.images[0].get_array().shape == (2, 2) and histogram.get_title("left") == "means 1.00 and 0.00"


def test_seeds_by_temperature_and_by_labels():
    axes = simclr.temperatures({"loss": {0.1: [1.0, 2.0], 1.0: [4.0, 5.0]}, "kNN": {0.1: [3.0], 1.0: [2.0]}},
                               {"kNN": (2.5, GREY)}).axes
    assert list(axes[0].lines[2].get_ydata()) == [1.5, 4.5] and axes[1].lines[3].get_ydata()[0] == 2.5
    left, right = simclr.few_labels({5: {"from scratch": [0.2], "kept": [0.3, 0.4]}, 20: {"from scratch": [0.4],
                                                                                          "kept": [0.5]}}, 0.125).axes
    assert [list(line.get_xdata()) for line in left.lines[:2]] == [[20.0], [30.0, 40.0]]
    assert [line.get_color() for line in right.lines[:2]] == [GREY, THIS] and BLUE == THIS
    assert right.get_title("left") == "20 labelled images a class"
