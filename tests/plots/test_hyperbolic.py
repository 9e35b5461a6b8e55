"""Figures of lesson 28: what they draw is what they were given."""

from __future__ import annotations

import torch

from course_lib.plots import hyperbolic as figures


def test_a_tree_has_an_edge_for_each_node_but_the_root_and_the_way_its_ends():
    points = torch.tensor([[0.0, 0.0], [0.5, 0.0], [-0.5, 0.1]])
    true = torch.tensor([1.0, 1.0, 2.0])
    figure = figures.trees([("disc", points, 1.0), ("plane", points, None)], [-1, 0, 0], [0, 1, 1],
                           {"one": (true, true), "two": (true, 2 * true)})
    assert [len(axes.lines) for axes in figure.axes] == [3, 2, 1]  # the disc's edge is a line, too
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
