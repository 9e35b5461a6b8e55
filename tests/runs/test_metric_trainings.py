"""The stored trainings of lesson 28: their means as tables."""

from __future__ import annotations

import pytest

from course_lib.runs.metric_trainings import (
    FROZEN,
    TREES,
    WHOLE,
    Trainings,
    frozen_table,
    whole_table,
)
from course_lib.runs.stored import StoredRun, write_run

KEYS = ("knn", "family map@r", "shape map@r", "variant map@r", "shape recall@1", "nmi", "ball shape recall@1",
        "ball shape map@r")


@pytest.fixture
def folder(tmp_path):
    for name, lines in (("frozen", [*FROZEN, *TREES]), ("whole", WHOLE)):
        for line in lines:
            for seed in (0, 1):
                rows = [{"name": line, **dict.fromkeys(KEYS, 0.5 + 0.1 * seed)},
                        {"name": "raw pixels", **dict.fromkeys(KEYS, 0.25)}]
                write_run(StoredRun("supcon", "shapes", id=f"{line}-s{seed}", settings={"line": line}, seed=seed,
                                    scores=rows, wall_seconds=2.0 + seed), tmp_path / name)
    return tmp_path


def test_scores_by_line_and_name(folder):
    runs = Trainings("frozen", folder)
    assert runs.scores("knn")["ball-2"] == [0.5, 0.6] and runs.mean("ball-2", "nmi") == pytest.approx(0.55)
    assert list(runs.named("knn", TREES)) == list(TREES.values()) and runs.seconds("supcon") == 2.5


def test_tables_have_a_line_for_each_training(folder):
    lines = frozen_table(Trainings("frozen", folder)).splitlines()
    assert len(lines) == 1 + 4 + 1 + 1 + 3
    assert lines[1] == "SupCon, outside          2.5  55.0%     55.0%  55.0%  0.55"
    assert lines[5] == "raw pixels                    25.0%     25.0%  25.0%  0.25"
    assert lines[7] == "the ball                55.0%   55.0%   55.0%   55.0%"
    lines = whole_table(Trainings("whole", folder)).splitlines()
    assert len(lines) == 1 + 6 + 1 and lines[-1] == "the tree, in its ball                     55.0%  55.0%"
