"""Figures of lesson 03: what they draw is what they were given."""

from __future__ import annotations

import torch

from course_lib.plots import vicreg
from course_lib.plots.drawing import THIS


def test_the_toy_joins_both_views_and_marks_the_step():
    first, second = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    stds = torch.tensor([[0.5, 0.6], [1.0, 0.9]])
    figure = vicreg.toy_figure(first, second, torch.tensor([0.0, 1.0]), torch.ones(3, 2), stds, 1)
    left, middle, right = figure.axes
    assert [list(line.get_ydata()) for line in left.lines] == [[1.0, 2.0], [0.0, 0.0]]
    assert left.get_title("left") == "both views, step 1" and len(middle.texts) >= 6
    assert [float(line.get_ydata()[1]) for line in right.lines[:2]] == [1.0, stds[1, 1]]
    assert right.lines[2].get_xdata()[0] == 1


def test_the_chosen_run_is_in_colour():
    knn, levels = {"full": [0.4, 0.5], "line": [0.1, 0.2]}, {"raw pixels": 0.3, "random encoder": 0.2}
    figure = vicreg.spectra({"full": [2.0, 0.0], "line": [3.0, 1.0]}, {"full": [5.0, 6.0], "line": [1.0, 1.0]}, knn,
                            levels, "line")
    left, right = figure.axes
    assert [list(line.get_ydata()) for line in left.lines] == [[2.0, 1e-12], [3.0, 1.0]]
    assert [line.get_color() == THIS for line in left.lines] == [False, True]
    assert [list(line.get_ydata()) for line in right.lines[:2]] == [[40.0, 50.0], [10.0, 20.0]]
    assert [line.get_ydata()[0] for line in right.lines[2:]] == [30.0, 20.0]


def test_a_pull_of_nan_stands_in_the_key():
    found, at_zero = {"inside": [0.5, 0.0], "outside": [0.5, 0.1]}, {"inside": 0.0, "outside": float("nan")}
    axes = vicreg.pulls([0.1, 1.0], found, at_zero).axes[0]
    assert [line.get_label().split("\n")[1] for line in axes.lines] == ["(no deviation at all: 0)",
                                                                        "(no deviation at all: nan)"]
