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
    trap = figures.matching_trap([16, 64], {"on test": [0.5, 0.3], "on training": [0.1, 0.12]}, 1 / 8, 64, "title")
    assert list(trap.axes[0].lines[0].get_ydata()) == [50, 30]
    many = figures.over_clusters([4, 8], {"ACC": [0.2, 0.4], "AMI": [0.1, 0.2]}, 8)
    assert len(many.axes[0].lines) == 3


def test_trust_and_reliability():
    score = trust_scores(torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 1, 0]).bool())
    names = ("confidence", "neighbours", "both")
    drawn = figures.trust_curves({n: [score, score] for n in names}, dict.fromkeys(names, score), 0.5, "title")
    assert [bar.get_height() for bar in drawn.axes[1].patches] == pytest.approx([50, 50, 50])
    panels = figures.reliability({"one": calibration(torch.rand(50), torch.rand(50) > 0.5)})
    assert panels.axes[0].get_title(loc="left") == "one"


def test_confusions_in_percent():
    drawn = figures.confusion({"SCAN": torch.tensor([[0.9, 0.1], [0.0, 1.0]])}, ("disc", "bar"))
    assert [text.get_text() for text in drawn.axes[0].texts] == ["90", "10", "100"]
