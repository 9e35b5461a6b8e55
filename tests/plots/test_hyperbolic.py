"""Figures of lesson 28: what they draw is what they were given."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.ranking import LEVELS
from course_lib.evaluate.trees import TreeDrawings, tree_distances
from course_lib.plots import hyperbolic as figures


def test_a_tree_has_an_edge_for_each_node_but_the_root_and_the_way_its_ends():
    points = torch.tensor([[0.0, 0.0], [0.5, 0.0], [-0.5, 0.1]])
    true = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 2.0], [1.0, 2.0, 0.0]])
    figure = figures.trees([("disc", points, 1.0), ("plane", points, None)], [-1, 0, 0], [0, 1, 1], true,
                           {"one": true, "two": 2 * true})
    assert [len(axes.lines) for axes in figure.axes] == [3, 2, 1]  # the disc's edge is a line, too
    assert [len(dots.get_offsets()) for dots in figure.axes[-1].collections] == [6, 6]
    way = figures.ways(points[[1, 0, 2]], points[1:], ("x", "y"), {"shortest": (1.0, 0.5)}, 1.0)
    assert [bar.get_width() for bar in way.axes[1].patches] == [1.0, 0.5]


def test_bars_dots_and_goals_are_the_numbers():
    shares = figures.shares([0.9, 0.2], {"outside": [0.1, 0.5], "inside": [0.4, 0.0]}, {"outside": 2.0, "inside": 1.0})
    assert [round(bar.get_height(), 2) for bar in shares.axes[0].patches] == [0.1, 0.5, 0.4, 0.0]
    recalls = figures.recalls({"shape": {"a": [[50.0], [60.0]]}}, (1, 2), {"a": "black"})
    assert list(recalls.axes[0].lines[0].get_ydata()) == [50.0, 60.0]
    goals = figures.levels_table({"own": torch.eye(3).long(), "other": 2 * torch.eye(3).long()})
    assert goals.axes[1].images[0].get_array().max() == 2
    curve = figures.losses([3.0, 2.0, 1.0], 2, {"floor": 0.5})
    assert list(curve.axes[0].lines[0].get_ydata()) == [3.0, 2.0, 1.0]
    images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    points, labels = torch.linspace(-0.5, 0.5, 10).view(5, 2), torch.tensor([0, 1, 0, 1, 1])
    disc = figures.picture_disc(points, images, labels, ("a", "b"))
    assert [len(dots.get_offsets()) for dots in disc.axes[1].collections] == [2, 3]


def test_a_pair_of_points_has_its_radius_and_angle():
    x, y = figures.pair_at(0.9, 90)
    assert float(x.norm()) == pytest.approx(0.9) == float(y.norm()) and float(x @ y) == pytest.approx(0, abs=1e-6)
    assert x[0] < 0 < y[0] and x[1] == y[1] > 0


def test_a_drawing_is_shown_beside_the_plane():
    true = tree_distances([-1, 0, 0])
    drawings = TreeDrawings(true, torch.randn(3, 2, generator=torch.Generator().manual_seed(0)),
                            {"plane": 0.0, "c = 1": 1.0}, steps=5)
    drawn = figures.tree_beside_plane(drawings, "c = 1", [-1, 0, 0], [0, 1, 1])
    assert drawn.axes[0].get_title(loc="left") == f"c = 1: distortion {drawings.distortion['c = 1']:.3f}"
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["the plane", "c = 1"]


def test_recalls_of_levels_and_lines_of_runs_in_percent():
    row = {f"{level} recall@{k}": 0.1 * k for level in LEVELS for k in (1, 2)}
    drawn = figures.recalls_by_level({"a": row, "b": row}, (1, 2))
    assert [axes.get_title(loc="left") for axes in drawn.axes] == list(LEVELS)
    assert list(drawn.axes[0].lines[0].get_ydata()) == pytest.approx([10, 20])
    dots = figures.by_line({"kNN (%)": {"SupCon": [0.5, 0.7], "cross-entropy": [0.6]}}, figures.WHOLE).axes[0]
    assert list(dots.lines[0].get_xdata()) == pytest.approx([50, 70])
    assert [text.get_text() for text in dots.get_yticklabels()] == ["SupCon", "cross-entropy"]
