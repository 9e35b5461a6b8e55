"""Figures of memory banks: what they show is what they were given."""

from __future__ import annotations

import torch

from course_lib.plots import banks


def test_ages_and_their_agreement():
    agreement = {"each": torch.tensor([0.5, 0.9]), "mean": 0.7, "another": 0.1}
    left, right = banks.bank_ages(torch.zeros(2, 2), torch.tensor([3, 0]), agreement, 120).axes[:2]
    assert left.get_title(loc="left") == "the bank after 120 steps"
    assert right.get_title(loc="left") == "mean cosine 0.70; with another image 0.10"
    assert right.collections[0].get_offsets().tolist() == [[3.0, 0.5], [0.0, 0.8999999761581421]]


def test_the_answer_is_one_half_at_the_threshold():
    top = banks.answers_by_cosine(0.25, 0.1, torch.zeros(4, 4), torch.ones(3)).axes[0]
    grid, h = top.lines[0].get_data()
    below = max(x for x, y in zip(grid, h) if y < 0.5)
    assert abs(float(below) - 0.25) < 0.02 and top.get_title(loc="left") == "h is one half at cosine 0.25"


def test_a_picture_stands_beside_its_pieces():
    figure = banks.picture_and_pieces(torch.rand(3, 8, 8), torch.rand(4, 3, 3, 3),
                                      {"own": torch.ones(5), "another": torch.zeros(5)}, 0.5)
    right = figure.axes[2]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["its own picture", "another picture"]
    assert right.lines[0].get_xdata()[0] == 0.5 and right.get_title(loc="left") == "this one: 0.50"
