"""Figures of lesson 06: what they draw is what they were given."""

from __future__ import annotations

import torch

from course_lib.plots import bootstrap
from course_lib.plots.drawing import THIS

PICTURES = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_loss_a_share_and_an_image_with_its_nearest():
    figure = bootstrap.loss_and_neighbours(([0, 10], [4.0, 1.0]), ([0, 10], [12.0, 60.0]), 12.5,
                                           {"step 0": PICTURES, "step 10": PICTURES})
    left, middle, right = figure.axes
    assert list(left.lines[0].get_ydata()) == [4.0, 1.0] and list(middle.lines[0].get_ydata()) == [12.0, 60.0]
    assert middle.lines[1].get_ydata()[0] == 12.5 and right.images[0].get_array().shape == (2 * 9, 5 * 9, 3)
    assert [label.get_text() for label in right.get_yticklabels()] == ["step 0", "step 10"]


def test_only_the_online_network_has_a_predictor():
    words = [text.get_text() for text in bootstrap.two_networks().axes[0].texts]
    assert sum("predictor" in word for word in words) == 1 and sum("projector" in word for word in words) == 2
    assert "no gradient" in words


def test_runs_beside_the_full_method():
    run, full = {"loss": ([0, 1], [2.0, 1.0])}, {"loss": ([0, 1], [2.0, 0.5])}
    axes = bootstrap.beside_full([run, {"loss": ([0, 1], [2.0, 2.0])}], [full]).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[2.0, 0.5], [2.0, 1.0], [2.0, 2.0]]
    assert [line.get_color() == THIS for line in axes.lines] == [False, True, True]
    assert axes.get_title("left") == "loss; at the end 1.50"


def test_the_others_of_a_run_can_be_left_out():
    runs = {name: {"loss": ([0, 1], [value, 1.0]), "pull": ([1], [value])} for name, value in (("A", 3.0), ("B", 2.0))}
    for others, count in ((True, 2), (False, 1)):
        axes = bootstrap.readings_of_runs(runs, "B", others).axes
        assert len(axes) == 2 and [len(panel.lines) - 1 for panel in axes] == [count, count]
        chosen = [line for line in axes[0].lines if line.get_color() == THIS]
        assert [list(line.get_ydata()) for line in chosen] == [[2.0, 1.0]]


def test_a_memory_names_its_age_and_what_is_left_of_the_start():
    figure = bootstrap.memory(torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64), [0.5] * 4)
    left, right = figure.axes
    assert left.get_title("left") == "mean age 1 steps; weight of the random start 25%"
    assert list(right.lines[0].get_ydata()) == [0.5] * 4 and right.lines[1].get_xdata()[0] == 2
