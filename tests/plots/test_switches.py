"""Figures of the contrastive framework."""

from __future__ import annotations

import torch

from course_lib.plots import switches


def test_choices_stand_beside_their_scores():
    left, right = switches.choices_and_scores({"a": ("x", "y"), "b": ("x", "z")}, ("one", "two"), {"a": 0.5}, ("a",),
                                              {"raw pixels": 0.3}).axes
    assert [text.get_text() for text in left.texts] == ["x", "x", "y", "z"]
    assert [bar.get_width() for bar in right.patches] == [50.0]
    assert [text.get_text() for text in right.texts] == ["50", "–", "raw pixels"]


def test_what_is_compared_is_a_table_of_roles():
    positive = torch.eye(3, 4, dtype=torch.bool)
    negative = ~positive
    negative[:, 3] = False
    figure = switches.compared(torch.rand(2, 3, 3, 8, 8), positive, negative, torch.randn(3, 4), "SimCLR")
    table = figure.axes[1].images[0].get_array()
    assert table.shape == (3, 4, 3) and (table[0, 0] != table[0, 1]).any() and (table[0, 3] == table[1, 3]).all()
    assert figure.axes[1].get_xlabel() == "4 candidates"


def test_a_map_s_places_lie_over_the_picture():
    seen = torch.zeros(8, 8, dtype=torch.bool)
    seen[2:5, 3:6] = True
    axes = switches.maps_over(torch.rand(3, 8, 8), {"2x2": (2, seen, torch.zeros(4, 2))}).axes[0]
    frame = axes.patches[0]
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (2.5, 1.5, 3, 3)


def test_scores_lie_over_the_other_views_on_one_scale():
    other = {"own": (torch.rand(3, 32, 32), torch.ones(2, 2)), "stranger": (torch.rand(3, 32, 32), torch.zeros(2, 2))}
    figure = switches.found(torch.rand(3, 32, 32), (0, 1), 2, other)
    titles = [axes.get_title(loc="left") for axes in figure.axes[1:]]
    assert titles == ["own\nmean 1.0, best 1.0", "stranger\nmean 0.0, best 0.0"]


def test_patches_have_numbers_and_roles():
    figure = switches.patch_roles(torch.rand(3, 8, 8), (3, 2), (0, 1), 2, "told")
    assert [text.get_text() for text in figure.axes[0].texts] == list("012345")
    assert [text.get_weight() == "bold" for text in figure.axes[0].texts].index(True) == 5


def test_seeds_by_encoder():
    figure = switches.by_encoder({"YADIM": {"a": [1.0, 2.0], "b": [3.0]}, "AMDIM": {"a": [2.0], "b": [1.0]}}, "kNN",
                                 {"raw pixels": 1.5})
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["YADIM", "AMDIM"]
    assert switches.sentence("nothing").axes[0].texts[0].get_text() == "nothing"
