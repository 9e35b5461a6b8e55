"""Figures of scores: they are drawn, and show the numbers that they are given."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.scores import mixing_effect
from course_lib.plots import scores as figures


def test_a_pair_on_the_circle_has_its_score():
    q, k = figures.pair_on_circle(0.6)
    assert float(q @ k) == pytest.approx(0.6, abs=1e-6) and float(q.norm()) == pytest.approx(1) and q[0] == -k[0]
    drawn = figures.moved_pair(q, k, (q, k), torch.rand(20), torch.rand(20), ([0.5, 1.0], [2.0, 1.0], 1.0))
    assert len(drawn.axes) == 3


def test_mixed_rows_say_what_changed():
    before, after = torch.rand(5, 9) - 0.5, 0.5 * (torch.rand(5, 9) - 0.5)
    drawn = figures.mixed_rows(0.5, True, before, after, mixing_effect(before, after))
    left, right = drawn.axes
    assert right.get_title(loc="left").startswith("variance 0.") and "; hardest 0." in right.get_title(loc="left")
    mixtures = left.lines[-1].get_xydata()
    assert len(mixtures) == 10 and (mixtures**2).sum(1) == pytest.approx(1, abs=1e-5)
    unmixed = figures.mixed_rows(1.0, False, before, after, mixing_effect(before, after)).axes[0]
    points = figures.ten_on_circle()[0].numpy()
    assert unmixed.lines[-1].get_xydata() == pytest.approx(points, abs=1e-6)


def test_close_kin_has_a_row_for_each_image_and_network():
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 0, 1, 1])
    near = {"MoCo": torch.tensor([[1], [0], [3], [2]]), "ImCo": torch.tensor([[2], [2], [0], [0]])}
    axes = figures.close_kin(images, labels, near, [0, 2]).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["MoCo, 1", "ImCo, 1", "MoCo, 2", "ImCo, 2"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["image", "1"]
    pixels = torch.as_tensor(axes.images[0].get_array()).float()
    pixels = pixels / pixels.max().clamp(min=1)
    green = (pixels - torch.tensor([0.0, 0.62, 0.45])).abs().amax(-1) < 0.01
    assert green[:40].any() and not green[40:80].any() and green[80:120].any() and not green[120:].any()


def test_stored_lines_by_seed():
    rows = {"a": [{"scores_positive_mean": [0.9, 0.8], "scores_negative_mean": [0.5, 0.1]}] * 2, "b": []}
    drawn = figures.stored_means(rows, {"a": "line\na", "b": "b"}, ["a"], [0, 10])
    assert [list(line.get_ydata()) for line in drawn.axes[1].lines[:2]] == [[0.5, 0.1]] * 2
    dots = figures.stored_lines({"a": [0.5, 0.6], "b": [0.2]}, {"a": "A", "b": "B"}, ["b"], 0.3).axes[0]
    assert list(dots.lines[0].get_ydata()) == [50, 60]
    assert [text.get_text() for text in dots.get_xticklabels()] == ["A", "B"]
