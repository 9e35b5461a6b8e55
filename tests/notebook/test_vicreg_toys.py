"""Lesson 03's small experiments: gradients by hand, a floor by a loop, and the table of runs."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.methods.contrastive.vicreg import variance_loss
from course_lib.notebook import vicreg_toys as T
from course_lib.runs.several import causes_of, mean_causes, scores_of
from course_lib.runs.stored import StoredRun


def test_the_pull_of_a_plain_mean_is_one_over_the_root_of_its_count():
    assert T.pull(lambda z: z.mean(), 0.5, images=4, dimensions=3) == pytest.approx(1.0)


def test_only_the_hinge_on_the_variance_fades_and_eps_outside_is_undefined_at_the_point():
    terms = T.variance_terms(variance_loss, 1e-4)
    inside, outside, squared = (T.pull(term, 0.01) for term in terms.values())
    assert squared < 0.1 * min(inside, outside)
    at_zero = [T.pull(term, 0.0) for term in terms.values()]
    assert at_zero[0] == at_zero[2] == 0.0 and math.isnan(at_zero[1])


def test_no_batch_of_equal_deviations_is_below_the_floor():
    z = torch.randn(8, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = (z - z.mean(0)) / z.std(0)
    cov = torch.cov(z.T)
    c = float((cov.square().sum() - cov.diagonal().square().sum()) / 20)
    assert c >= T.least_covariance(8, 20) == pytest.approx(20 / 7 - 1)
    floor = T.least_loss(8, 20, variance=25, covariance=4)
    for s in (0.2, 0.5, 0.8, 1.0):
        assert 25 * (1 - s) + 2 * 4 * c * s**4 >= floor


def run(seed: int, knn: float) -> StoredRun:
    row = {"embedding_std": knn, "embedding_rank": 10 * knn, "knn": knn, "factors": {"hue": knn, "pos_x": 1.0}}
    return StoredRun("vicreg", "shapes", seed=seed, curve_steps=[1], curves={"loss": [seed]}, scores=[row])


def test_scores_of_several_runs_and_their_table():
    runs = [run(1, 0.25), run(2, 0.75)]
    assert scores_of(runs, "knn") == [0.25, 0.75] == causes_of(runs, "hue")
    assert mean_causes(runs) == {"hue": 0.5, "pos_x": 1.0}
    heading, line = T.ablation_table({"full": runs}).splitlines()
    assert line.split() == ["full", "1.50", "0.500", "5.0", "25%", "75%"] and "eff. rank" in heading


def test_a_row_is_named():
    rows = [{"name": "simclr", "factors": {"hue": 0.1}}, {"name": "behind the head", "factors": {"hue": 0.3}}]
    runs = [StoredRun("simclr", "shapes", curve_steps=[1], curves={"loss": [1.0]}, scores=rows)]
    assert causes_of(runs, "hue") == [0.1] and causes_of(runs, "hue", row="behind the head") == [0.3]
    assert mean_causes(runs, row="behind the head") == {"hue": 0.3}
