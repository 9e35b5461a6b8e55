"""Figures of self-distillation: what stands in them."""

from __future__ import annotations

import matplotlib
import pytest
import torch

matplotlib.use("Agg")

from course_lib.plots import distillation, sketch
from course_lib.plots.drawing import GREEN, RED

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_teacher_has_no_gradient():
    figure = distillation.teacher_and_student()
    figure.draw_without_rendering()
    assert {"no gradient", "teacher ViT", "student ViT"} <= {text.get_text() for text in figure.axes[0].texts}


def test_what_is_said():
    figure = distillation.said(torch.eye(3), 0.1, 0.9)
    assert [bar.get_width() for bar in figure.axes[1].patches] == [0.1, 0.9]
    assert figure.axes[1].get_title(loc="left") == "information 0.80"


def test_the_plane_of_the_entropies():
    toys = [torch.tensor([[0.5, 0.6], [0.2, 0.8]]), torch.tensor([[0.9, 0.9], [1.0, 1.0]])]
    figure = distillation.entropy_plane(toys, toys[0], {"iBOT": [(0.2, 0.3), (0.3, 0.7)]}, {"small": [(0.1, 0.1)]})
    figure.draw_without_rendering()
    plane = figure.axes[1]
    names = [text.get_text() for text in plane.get_legend().get_texts()]
    assert names == ["the chosen toy (grey: the others)", "iBOT", "small"]
    ends = [line.get_xydata()[-1].tolist() for line in plane.lines]
    assert [0.3, 0.7] in ends and any(end == pytest.approx([0.2, 0.8]) for end in ends)


def test_what_is_left_when_patches_are_taken():
    maps = {"head": {"share": 0.4, "own": 0.3, "place": 0.45}, "middle": {"share": 0.1, "own": 0.5, "place": None}}
    figure = distillation.taken_away(maps, [0.5, 0.55], "head", ["middle"], 0.6, {"map": IMAGES, "left": IMAGES})
    left, right = figure.axes
    points = {(line.get_xdata()[0], line.get_ydata()[0]): line.get_markerfacecolor() for line in left.lines
              if line.get_marker() == "o"}
    assert {(30.0, 0), (45.0, 0), (50.0, 1), (50.0, 2)} == set(points)
    assert points[45.0, 0] == "white"
    assert [label.get_text() for label in left.get_yticklabels()] == ["head (40%)", "middle (10%)", "random"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["map", "left"]


def test_right_lines_are_green_and_wrong_ones_red():
    found = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0]])
    figure = distillation.matched(IMAGES[:1], IMAGES[1:], {"net": [found]}, grid=2)
    figure.draw_without_rendering()
    assert [line.get_edgecolor() for line in figure.artists] == [matplotlib.colors.to_rgba(c) for c in (GREEN, RED)]
    assert [axes.lines[0].get_xydata()[0].tolist() for axes in figure.axes] == [[5.5, 1.5], [5.5, 1.5]]


def test_words_of_two_dictionaries_side_by_side():
    words = torch.tensor([[[0, 1], [1, 1]], [[1, 0], [2, 0]]])
    figure = distillation.word_album(IMAGES, {"a": words, "b": 2 - words}, (1, 2), examples=3)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["no. 1:  50.0%, 50.0%",
                                                                              "no. 2:  37.5%, 37.5%"]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["", "a", "", "", "", "b", ""]


def test_weights_laid_over_are_the_explorers_picture():
    images, weights = torch.rand(2, 3, 8, 8), torch.rand(2, 4, 4)
    painted = sketch.laid_over(images, weights)
    assert painted.shape == images.shape
    for picture, image, own in zip(painted, images, weights):
        assert torch.allclose(picture.permute(1, 2, 0).double(),
                              torch.from_numpy(sketch.heat(image.permute(1, 2, 0).numpy(), own)), atol=1e-6)
