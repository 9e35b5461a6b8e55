"""Figures of correlations between the dimensions of two views."""

from __future__ import annotations

import torch

from course_lib.plots import correlations

LINES = {"agreement": [0.1, 0.9], "across": [0.8, 0.2]}


def test_a_matrix_and_the_spread_show_as_many_as_asked():
    left, right, *_ = correlations.matrix_and_spread(torch.eye(9), torch.full((9,), 1 / 9), shown=4, directions=5).axes
    assert left.images[0].get_array().shape == (4, 4)
    assert [round(bar.get_height(), 1) for bar in right.patches] == [11.1] * 5


def test_across_and_within_name_what_they_show():
    figure = correlations.across_and_within(torch.eye(5), torch.ones(5, 5), shown=3)
    assert [axes.get_title("left") for axes in figure.axes[:2]] == ["across the views: what is charged",
                                                              "within view 1: what is there"]


def test_an_album_is_opened_in_percent():
    steps, (across,), (within,), meters = correlations.open_album([[5, [50, 30, -40, 10], [100, -20, -20, 100]]])
    assert steps == [5] and across.tolist() == torch.tensor([[0.5, 0.3], [-0.4, 0.1]]).tolist()
    assert within[0, 1] == -0.2 * torch.ones(()) and abs(meters["agreement"][0] - 0.3) < 1e-6
    assert abs(meters["across"][0] - 0.125**0.5) < 1e-6 and abs(meters["within"][0] - 0.2) < 1e-6


def test_an_album_marks_the_step():
    *_, right = correlations.correlation_album(torch.eye(3), torch.eye(3), 20, (10, 20), LINES).axes
    assert [list(line.get_ydata()) for line in right.lines[:2]] == list(LINES.values())
    assert set(right.lines[2].get_xdata()) == {20}


def test_small_views_are_written_out():
    first, second, matrix = correlations.views_and_matrix(torch.ones(4, 3), -torch.ones(4, 3), torch.eye(3)).axes
    assert {t.get_text() for t in first.texts} == {"1.0"} and len(matrix.texts) == 9


def test_causes_read_by_each_dimension():
    left, right = correlations.causes_read(torch.full((2, 3), 0.5), ["a", "b"], 1.5, 10, (10, 20), LINES).axes
    assert "rank 1.5" in left.get_title("left") and len(left.texts) == 6 and len(right.lines) == 3


def test_prices_show_a_dot_a_seed_and_circle_one():
    points = {"lambda": [(0.0, [[20.0, 21.0], [1.0, 1.1]])], "width": [(25.0, [[40.0], [9.0]])]}
    figure = correlations.prices(points, ["kNN (%)", "rank"], (25.0, [40.0, 9.0]), 33.0)
    dots = [len(c.get_offsets()) for c in figure.axes[0].collections]
    assert sorted(dots) == [0, 0, 1, 1, 2]
