"""Planted wrong labels, precision and recall of trusted ones, calibration: against counting."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.trust import calibration, mislabel, patches_of, trust_scores
from course_lib.methods.clustering.shared import directions
from helpers.draws import randn


def test_planted_labels_are_wrong_and_as_sure_as_before():
    logits, generator = randn(40, 5), torch.Generator().manual_seed(0)
    which = torch.tensor([1, 7, 8, 30])
    found = mislabel(logits, which, generator)
    others = torch.ones(40, dtype=torch.bool)
    others[which] = False
    assert torch.equal(found[others], logits[others])
    assert (found.argmax(1)[which] != logits.argmax(1)[which]).all()
    assert torch.equal(found.sort(1).values, logits.sort(1).values)


def test_a_group_gets_one_label():
    z, generator = directions(randn(300, 6)), torch.Generator().manual_seed(1)
    which, group = patches_of(z, 0.2, generator, size=25)
    assert 0.2 <= len(which) / 300 < 0.2 + 25 / 300 and len(which.unique()) == len(which)
    found = mislabel(randn(300, 4), which, generator, group).argmax(1)[which]
    assert all(len(found[group == number].unique()) == 1 for number in group.unique())
    near = (z[which[group == 0]] @ z[which[group == 0]].T).mean()
    assert near > (z @ z.T).mean() + 0.2, "neighbours are together"


def test_trust_is_counted():
    trusted, right = torch.tensor([1, 1, 1, 0, 0, 0, 0]).bool(), torch.tensor([1, 1, 0, 1, 1, 0, 0]).bool()
    found = trust_scores(trusted, right)
    assert found == pytest.approx({"precision": 2 / 3, "recall": 2 / 4, "share": 3 / 7, "found": 2 / 3})
    nobody = trust_scores(torch.zeros(3).bool(), torch.ones(3).bool())
    assert nobody == {"precision": 1.0, "recall": 0.0, "share": 0.0, "found": 1.0}


def test_calibration_is_counted():
    confidence, right = torch.tensor([0.95, 0.91, 0.99, 0.25, 1.0]), torch.tensor([1, 0, 1, 0, 1]).bool()
    found = calibration(confidence, right)
    assert found["confidence"] == pytest.approx([0.25, 0.9625]) and found["accuracy"] == pytest.approx([0.0, 0.75])
    assert found["share"] == pytest.approx([0.2, 0.8])
    assert found["error"] == pytest.approx(0.2 * 0.25 + 0.8 * 0.2125)
    assert found["over"] == pytest.approx(confidence.mean().item() - 0.6)
    honest = calibration(torch.full((10,), 0.7), torch.arange(10) < 7)
    assert honest["error"] == pytest.approx(0, abs=1e-6)
