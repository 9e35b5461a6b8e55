"""Figures of lesson 20."""

from __future__ import annotations

import math

import torch

from course_lib.methods.contrastive.looc import sign_table
from course_lib.plots import good_views as figures


def test_scores_stand_over_strength_and_over_what_is_shared():
    read = {"class": [[0.1, 0.3], [0.5, 0.7], [0.2, 0.2]], "hue": [[0.9, 0.9], [0.4, 0.6], [0.0, 0.0]]}
    figure = figures.over_strength(read, [[6.0, 6.0], [5.0, 4.0], [3.0, 3.0]], (0.0, 0.5, 1.0), 0.5)
    left, right = figure.axes
    assert [round(float(y), 6) for y in left.lines[0].get_ydata()] == [0.2, 0.6, 0.2]
    assert list(right.lines[0].get_xdata()) == [6.0, 4.5, 3.0] and right.xaxis_inverted()
    assert [t.get_text() for t in left.get_xticklabels()] == ["0", "0.5", "1"]
    assert list(left.lines[-1].get_xdata()) == [1, 1]


def test_the_ceiling_is_log_n():
    figure = figures.ceiling((4, 16), {"a": [1.0, 2.0], "b": [0.5, 0.6]}, "a", 4)
    axes = figure.axes[0]
    dashed = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert list(dashed.get_ydata()) == [math.log(4), math.log(16)]


def test_a_sign_for_each_head_and_key_view():
    figure = figures.signs(sign_table(2), torch.zeros(3, 8, 8), [torch.ones(3, 8, 8)] * 3, ("colour", "place"))
    texts = [axes.texts[0].get_text() for axes in figure.axes[4:]]
    assert texts[1:4] == ["+", "", ""] and texts[5:8] == ["−", "+", "−"] and "place" in texts[8]


def test_drawings():
    figures.regimes().draw_without_rendering()
    figure = figures.two_ranks({"a": ([0.2, 0.4], [1, 2]), "b": ([0.3, 0.3], [1, 2])}, {"a": "x", "b": "y"}, 0.25)
    assert [axes.get_title("left") for axes in figure.axes] == ["x", "y"]


def test_a_colour_for_each_group_of_trainings():
    scores = {"a": ([0.2, 0.4, 0.5], [1, 2, 3]), "b": ([0.3, 0.3, 0.6], [1, 2, 3])}
    figure = figures.two_ranks(scores, {"a": "x", "b": "y"}, 0.25, {"a": 0.3, "b": 0.7}, ["weak", "weak", "strong"])
    first, second = figure.axes
    assert [(line.get_label(), len(line.get_xdata())) for line in first.lines[:2]] == [("weak", 2), ("strong", 1)]
    assert first.lines[0].get_color() != first.lines[1].get_color()
    assert [line.get_xdata()[0] for line in second.lines[2:]] == [0.25, 0.7]
