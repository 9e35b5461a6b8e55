"""The stored votes of lesson 16: certificates by kind and seed, what only one of two certifies, gains."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate.smoothing import ABSTAIN, certified_radius
from course_lib.runs.stored import StoredRun, write_run
from course_lib.runs.votes import StoredVotes

LABELS = [0, 1, 2, 0]


@pytest.fixture
def votes(tmp_path) -> StoredVotes:
    counts = {"plain": [1000, 1000, 1000, 1000], "noise": [990, 500, 700, 990], "mae": [990, 990, 500, 990],
              "dmae": [990, 990, 990, 400]}
    for kind, many in counts.items():
        for seed in (1, 0):
            found = [0, 0, 0, 0] if kind == "plain" else LABELS
            row = {"name": kind, "found": found, "labels": LABELS, "votes_1000": many, "votes_100": many,
                   "clean": 0.75, "certify_seconds": 2.0}
            write_run(StoredRun("dmae", "shapes", id=f"{kind}-s{seed}", settings={"smooth_sigma": 0.25}, seed=seed,
                                scores=[row]), tmp_path / "16_dmae")
    return StoredVotes(tmp_path)


def test_certificates_are_radii_of_the_stored_votes(votes):
    assert votes.seeds == {kind: [0, 1] for kind in votes.kinds}
    found, radii, labels = votes.certificates("dmae", seed=1)
    assert found.tolist() == [0, 1, 2, ABSTAIN] and labels.tolist() == LABELS
    assert float(radii[0]) == pytest.approx(float(certified_radius(990, 1000, 0.25, 0.001))) and radii[3] == 0
    assert votes.seconds() == 0.5 and votes.one_class("plain") == [1.0, 1.0] and votes.one_class("mae") == [0.5, 0.5]


def test_what_only_one_certifies(votes):
    assert votes.only_one("dmae", "mae") == [(1, 1), (1, 1)]  # the third image, the fourth
    assert votes.only_one("dmae", "noise", at=0.0) == [(1, 1), (1, 1)]  # the second; 700 votes reach above 0
    assert votes.only_one("mae", "mae") == [(0, 0), (0, 0)]


def test_gains_in_points_by_seed(votes):
    accuracy = {(kind, seed): {0.25: base + 0.1 * seed, 0.5: base} for kind, base in
                (("noise", 0.2), ("mae", 0.3), ("dmae", 0.5)) for seed in (0, 1)}
    gains = votes.gains(accuracy)
    assert gains["dmae", "mae", 0.25] == pytest.approx([20, 20]) and len(gains) == 6
    assert gains["mae", "noise", 0.5] == pytest.approx([10, 10])
    assert isinstance(votes.certificates("mae")[0], torch.Tensor)
