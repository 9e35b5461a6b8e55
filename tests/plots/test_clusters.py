"""Figures of clusters: they are drawn, and show the numbers that they are given."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.trust import calibration, trust_scores
from course_lib.plots import clusters as figures


def test_stages_and_maps():
    assert "must agree" in {text.get_text() for text in figures.three_stages().axes[0].texts}
    drawn = figures.clusters_on_map(torch.randn(9, 2), torch.arange(9) % 3, [3, 3, 3], 3.0, ("map", "sizes"))
    assert [bar.get_height() for bar in drawn.axes[1].patches] == [3, 3, 3]
    found = torch.arange(6) % 3
    toy = figures.mending(torch.randn(6, 2), found, found, found == 1, found != 1, ("a", "b", "c"))
    assert [axes.get_title(loc="left") for axes in toy.axes] == ["a", "b", "c"]


def test_trap_and_over_clustering():
    trap = figures.matching_trap({16: (0.5, 0.1), 64: (0.3, 0.12)}, 8, 64)
    assert [list(line.get_ydata()) for line in trap.axes[0].lines[:2]] == [[50, 30], [10, 12]]
    assert trap.axes[0].get_title(loc="left") == "64 test images, 8 clusters: peeking adds 18 points"
    scores = {"one": 0.2, "majority": 0.4, "nmi": 0.3, "ami": 0.1}
    many = figures.over_clusters({4: scores, 8: scores}, 8)
    assert [list(line.get_ydata()) for line in many.axes[0].lines[:4]] == [[v, v] for v in scores.values()]


def test_trust_and_reliability():
    score = trust_scores(torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 1, 0]).bool())
    names = ("confidence", "neighbours", "both")
    drawn = figures.trust_curves({n: [score, score] for n in names}, dict.fromkeys(names, score), 0.5)
    assert [bar.get_height() for bar in drawn.axes[1].patches] == pytest.approx([50, 50, 50])
    assert drawn.axes[0].get_title(loc="left") == "50% of the labels are wrong (dotted: 50% right)"
    panels = figures.reliability({"one": calibration(torch.rand(50), torch.rand(50) > 0.5)})
    assert panels.axes[0].get_title(loc="left") == "one"


def test_confusions_in_percent():
    drawn = figures.confusion({"SCAN": torch.tensor([[0.9, 0.1], [0.0, 1.0]])}, ("disc", "bar"))
    assert [text.get_text() for text in drawn.axes[0].texts] == ["90", "10", "100"]


def test_the_worst_clusters_have_a_row_each_and_wrong_ones_an_orange_frame():
    images = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    shown = {2: (torch.tensor([0, 1]), torch.tensor([2])), 5: (torch.tensor([3, 4]), torch.tensor([5]))}
    axes = figures.surest_and_least(images, shown, torch.tensor([1, 0, 1, 1, 1, 1]).bool()).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cluster 2", "cluster 5"]
    pixels = axes.images[0].get_array().astype(float)
    pixels /= max(1.0, pixels.max())
    orange = (pixels[..., 0] > 0.7) & (pixels[..., 2] < 0.1)
    light = abs(pixels - 0.88).max(-1) < 0.01
    assert light.sum() == 5 * orange.sum() > 0


def test_stored_lines_in_percent():
    drawn = figures.stored_lines({line: [0.5, 0.6] for line in figures.LINES})
    assert len(drawn.axes[0].get_xticklabels()) == 7 and list(drawn.axes[0].lines[0].get_ydata()) == [50, 60]
