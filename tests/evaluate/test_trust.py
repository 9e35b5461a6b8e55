"""Planted wrong labels, precision and recall of trusted ones, calibration: against counting."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.trust import (
    OWN,
    TrustTest,
    calibration,
    found_at,
    mislabel,
    patches_of,
    planted,
    surest_and_least,
    trust_scores,
)
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


def test_kinds_of_wrong_labels_are_planted_in_a_share_of_the_images():
    logits, z = randn(200, 5), directions(randn(200, 6))
    found = planted(logits, z, 0.3)
    assert list(found) == [OWN, "scattered", "together"] and found[OWN].equal(logits)
    changed = {kind: (values.argmax(1) != logits.argmax(1)) for kind, values in found.items()}
    assert int(changed["scattered"].sum()) == 60 and 0 < int(changed["together"].sum())
    assert all(planted(logits, z, 0.3)[kind].equal(values) for kind, values in found.items()), "the same each time"


def naive_clean(p, z, k, threshold):
    """Sure enough, and most of the k nearest rows (the image among them) have the same likeliest cluster."""
    labels, answers = p.argmax(1).tolist(), []
    for i in range(len(p)):
        near = sorted(range(len(z)), key=lambda j: -float(z[i] @ z[j]))[:k]
        votes = [labels[j] for j in near]
        most = max(sorted(set(votes)), key=votes.count)
        answers.append(float(p[i].max()) >= threshold and most == labels[i])
    return torch.tensor(answers)


def test_criteria_of_trust_equal_counting():
    logits, right = 2 * randn(60, 3), torch.arange(60) % 4 > 0
    spaces = {"SimCLR": directions(randn(60, 4)), "SCAN": directions(randn(60, 4) + 1)}
    wrong = {OWN: logits, "scattered": mislabel(logits, torch.arange(0, 60, 5), torch.Generator().manual_seed(0))}
    truth = {OWN: right, "scattered": right & (torch.arange(60) % 5 > 0)}
    judge = TrustTest(naive_clean, wrong, truth, spaces)
    assert judge.share_right(OWN) == 0.75 and judge.share_right("scattered") == pytest.approx(36 / 45)
    p = logits.softmax(1)
    for criterion, trusted in (("confidence", p.amax(1) >= 0.6), ("both", naive_clean(p, spaces["SCAN"], 5, 0.6)),
                               ("neighbours", naive_clean(p, spaces["SCAN"], 5, 0.0))):
        found = judge.scores(OWN, criterion, "SCAN", 5, 0.6)
        assert found["recall"] == pytest.approx(float(trusted[right].float().mean())), criterion
        assert found["found"] == pytest.approx(float((~trusted)[~right].float().mean())), criterion
        assert found["lost"] == pytest.approx(1 - found["recall"])
    each = judge.each("scattered", "SCAN", 5, 0.6)
    assert list(each) == ["confidence", "neighbours", "both"]
    curves = judge.curves("scattered", "SCAN", 5, [0.5, 0.6], [3, 5])
    assert list(curves) == list(each) and all(curves[name][1] == each[name] for name in each)
    assert judge.elsewhere(OWN, "SCAN", 5) == judge.scores(OWN, "neighbours", "SimCLR", 5)


def test_found_at_a_price():
    sure, right = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.65, 0.95, 0.4]), torch.arange(8) < 5
    # to keep all right ones, whatever is below 0.5 goes; to keep half of them, whatever is below 0.7
    assert found_at(sure, right, 1.0) == pytest.approx(1 / 3) and found_at(sure, right, 0.5) == pytest.approx(2 / 3)


def test_the_worst_clusters_with_their_surest_and_least_sure_images():
    clusters, right = torch.tensor([0, 0, 0, 2, 2, 2, 3]), torch.tensor([1, 1, 0, 0, 0, 1, 1]).bool()
    sure = torch.tensor([0.9, 0.5, 0.7, 0.2, 0.8, 0.6, 0.3])
    found = surest_and_least(clusters, sure, right, count=2, each=2)
    assert {c: [half.tolist() for half in pair] for c, pair in found.items()} == {
        2: [[4, 5], [3, 5]], 0: [[0, 2], [1, 2]]}
