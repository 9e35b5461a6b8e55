"""benchmarks/beside_lightly.py: by turns, what is missing and no more; lightly itself where it is installed."""

from __future__ import annotations

import importlib.util
import json
import types

import beside_lightly
import pytest

from course_lib.cli.record import climbed


def ours(seed: int, knn: float) -> dict:
    return {"minutes": 1.0, "seed": seed, "device": "cpu", "settings": json.loads(json.dumps(climbed())),
            "seconds": 55.4, "views": 450_000, "rows": [{"knn": knn}]}


def test_by_turns_only_what_is_missing_and_a_row_for_each_seed(monkeypatch, tmp_path, capsys):
    theirs = [{"seed": 0, "minutes": 10.0, "seconds": 600.2, "views": 900_000, "knn": 0.5}]
    where, made, records = tmp_path / "there.json", [], [ours(0, 0.6)]
    where.write_text(json.dumps(theirs))
    monkeypatch.setattr(beside_lightly, "stored_at", lambda name: where)
    monkeypatch.setattr(beside_lightly, "stored", lambda name="": json.loads(where.read_text()) if name else records)

    def run(words, **options):
        value = dict(zip(words[2:], words[3:]))
        seed = int(value["--seed"])
        assert value["--photographs"] == "here"
        made.append(("lightly", seed, float(value["--minutes"])))
        found = {**theirs[0], "seed": seed, "knn": 0.5 + seed / 100}
        return types.SimpleNamespace(stdout=f"a line of somebody's\n{json.dumps(found)}\n", returncode=0)

    def call(words, **options):
        assert words[1:4] == ["-m", "course_lib", "record"] and words[-2:] == ["--photographs", "here"]
        seed = int(words[words.index("--seed") + 1])
        made.append(("ours", seed, float(words[words.index("--minutes") + 1])))
        records.append(ours(seed, 0.6 + seed / 100))
        return 0

    monkeypatch.setattr(beside_lightly.subprocess, "run", run)
    monkeypatch.setattr(beside_lightly.subprocess, "call", call)
    assert beside_lightly.main(["--photographs", "here"]) == 0
    assert made == [(who, seed, minutes) for seed in (1, 2) for who, minutes in (("lightly", 10.0), ("ours", 1.0))]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert rows[2:] == [[str(seed), "600", "900,000", f"{50 + seed}.0", "55", "450,000", f"{60 + seed}.0"]
                        for seed in (0, 1, 2)]
    assert [run["seed"] for run in json.loads(where.read_text())] == [0, 1, 2]
    made.clear()
    assert beside_lightly.main(["--photographs", "here"]) == 0 and made == []


@pytest.mark.skipif(importlib.util.find_spec("lightly") is None, reason="lightly is not installed")
def test_lightly_trains_for_a_step(one_thread):
    found = beside_lightly.trained_by_lightly("shapes", 0, 10.0, dry=True)
    assert found["views"] == 2 * 16 * (48 // 16)  # an epoch of 48 to 63 images
    assert 0 <= found["knn"] <= 1 and found["lightly"]
