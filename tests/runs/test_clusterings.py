"""The table of clusterings reads the learned networks' records."""

from __future__ import annotations

import pytest

from course_lib.runs.clusterings import ROWS, Clusterings
from course_lib.runs.stored import StoredRun, write_run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    def store(network, seed, rows):
        write_run(StoredRun(id=f"photographs-{network}-s{seed}", method=network, data="photographs", seed=seed,
                            scores=[{"knn": 0.5, **row} for row in rows]), tmp_path)

    for seed, acc in enumerate((0.5, 0.6)):
        store("scan", seed, [{"name": "scan", "kind": "method", "acc": acc, "nmi": 0.25 + seed, "ari": 0.1, "ami": 0.2},
                             {"name": "k-means, raw pixels", "kind": "control", "acc": 0.2, "nmi": 0.0, "ari": 0.0,
                              "ami": 0.0}])
    store("simclr", 0, [{"name": "simclr", "kind": "method"}])
    return tmp_path


def test_a_row_has_a_value_for_each_seed(folder):
    table = Clusterings("photographs", folder=folder)
    assert table.scores("SCAN") == [0.5, 0.6] and table.scores("k-means, raw pixels", "nmi") == [0.0, 0.0]
    assert table.scores("k-means, SimCLR") == [], "stored without clusters"
    lines = str(table).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["photographs", "k-means, raw pixels", "SCAN"]
    assert lines[2].split("  ")[0] == "SCAN" and "50.0  60.0" in lines[2] and "0.75" in lines[2]
    assert lines[2].endswith("88.3, on test images")
    assert str(Clusterings("shapes", folder=folder)).splitlines()[1:] == []


def test_every_row_of_the_table_is_stored_on_both_sets():
    for on in ("shapes", "photographs"):
        table = Clusterings(on)
        for name in ROWS:
            assert table.scores(name), (on, name)
            assert all(0 <= v <= 1 for v in table.scores(name))
