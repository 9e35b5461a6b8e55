"""The stored trainings on mutual information, by line and seed."""

from __future__ import annotations

import pytest

from course_lib.runs.information import LEVELS, InformationTrainings
from course_lib.runs.stored import StoredRun, write_run


@pytest.fixture
def stored(tmp_path):
    for seed in (1, 0):
        write_run(StoredRun("dim", "shapes", id=f"dim-local-s{seed}", seed=seed, settings={"line": "dim-local"},
                            curve_steps=[0, 1, 2], curves={"bound": [-1.0, 2.0, 3.0 + seed]},
                            scores=[{"knn": 0.25 + seed / 2, "factors": {"hue": 0.5 + seed / 4}}]), tmp_path)
        reading = {"estimator": "NWJ", "truth": 2.0, "reading": 1.5 + seed, "spread": 0.5}
        write_run(StoredRun("gaussians", "gaussians", id=f"gaussians-s{seed}", seed=seed, scores=[reading],
                            settings={"line": "gaussians"}), tmp_path)
        for nodes in (2, 10):
            rows = [{"correlations": [nodes / 100 + place / 10 + level for level in range(4)]} for place in range(3)]
            write_run(StoredRun("tree", "trees", id=f"tree-{nodes}-s{seed}", seed=seed,
                                settings={"line": f"tree-{nodes}"}, scores=rows), tmp_path)
    return InformationTrainings(tmp_path)


def test_a_value_for_each_seed_in_their_order(stored):
    assert [run.seed for run in stored.lines("dim-local")] == [0, 1]
    assert stored.knn("dim-local") == [25.0, 75.0] and stored.causes("dim-local") == {"hue": 0.625}
    assert stored.curves("dim-local", "bound", 2, least=0) == [[0, 4.0, 6.0], [0, 4.0, 8.0]]
    assert stored.moves("dim-local", "bound") == [400.0, 500.0]
    assert stored.readings() == {"NWJ": [(2.0, 1.5, 0.5), (2.0, 2.5, 0.5)]}


def test_correlations_of_trees_by_level(stored):
    found = stored.correlations()
    assert list(found) == list(LEVELS)
    assert found["root"]["10 nodes, untrained"] == [0.2, 0.2] and found["level 2"]["2 nodes, trained"] == [2.02, 2.02]
    assert found["level 1"]["best raw pixel"] == [1.22, 1.22]


def test_the_lesson_s_own_runs_are_three_of_a_line():
    stored = InformationTrainings()
    assert {len(stored.lines(line)) for line in ("dim-local", "dim-global", "tree-2", "halves-0.7")} == {3}
    assert {len(triples) % 3 for triples in stored.readings().values()} == {0}
