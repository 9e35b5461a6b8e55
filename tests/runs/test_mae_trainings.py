"""The stored trainings of lesson 12: gains against what stands beside them, by seed."""

from __future__ import annotations

import pytest

from course_lib.runs.mae_trainings import MAE, RATIOS, MaeTrainings
from course_lib.runs.stored import StoredRun, write_run


def run(name: str, seed: int, tuned: float, linear: float, scratch: float = 0.5, fresh: float = 0.4) -> StoredRun:
    scores = [{"name": "mae", "kind": "method", "knn": 0.3, "fine_tuned": tuned, "linear": linear},
              {"name": "random encoder", "kind": "control", "knn": 0.2, "fine_tuned": scratch, "linear": fresh},
              {"name": "raw pixels", "kind": "control", "knn": 0.6}]
    return StoredRun("mae", "shapes", id=f"{name}-s{seed}", seed=seed, scores=scores, curve_steps=list(range(30)),
                     curves={"loss": [9.0] * 10 + [0.5 + seed] * 20})


@pytest.fixture
def trained(tmp_path) -> MaeTrainings:
    for seed in (1, 0):
        for ratio in RATIOS:
            write_run(run(f"hidden-{ratio}", seed, 0.5 + ratio / 10, 0.4 + ratio / 10), tmp_path / "12_mae")
        write_run(run("not-put-back", seed, 0.45, 0.4, scratch=0.9, fresh=0.9), tmp_path / "12_mae")
    return MaeTrainings(tmp_path)


def test_gains_in_points(trained):
    assert [one.seed for one in trained.runs[MAE]] == [0, 1]
    assert trained.tuned[MAE] == pytest.approx([7.5, 7.5]) and trained.linear["hidden-0.5"] == pytest.approx([5, 5])
    assert trained.tuned["not-put-back"] == pytest.approx([-5, -5])  # against the scratch of another's machine
    assert trained.ahead(trained.tuned, "hidden-0.25") == pytest.approx([5, 5])
    assert trained.means(trained.tuned) == "+2.5, +5.0, +7.5, +9.0" and trained.drift() == 0


def test_the_loss_at_the_end_and_neighbours(trained):
    assert trained.level[MAE] == pytest.approx([0.5, 1.5])
    assert trained.neighbours() == ([0.3, 0.3], [0.2, 0.2], [0.6, 0.6])


def test_the_lessons_own_trainings_are_there():
    names = set(MaeTrainings().runs)
    assert {f"hidden-{ratio}" for ratio in RATIOS} | {"not-put-back", "no-positions"} <= names
