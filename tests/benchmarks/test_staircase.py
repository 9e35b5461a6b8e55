"""benchmarks/staircase.py: makes what is missing and no more, and says what each switch gains."""

from __future__ import annotations

import json

import pytest
import staircase

from course_lib.cli.record import SWITCHES, climbed


def stored(steps: int, seed: int, knn: float, minutes: float = 5.0) -> dict:
    return {"minutes": minutes, "seed": seed, "device": "cpu", "settings": json.loads(json.dumps(climbed(steps))),
            "rows": [{"knn": knn, "linear": 0.5}], "views_per_second": 1000.0}


def test_the_table_has_means_over_seeds_and_gains_over_the_row_above():
    found = [stored(0, 0, 0.50), stored(0, 1, 0.52), stored(1, 1, 0.56), stored(1, 0, 0.54), stored(0, 0, 0.9, 10.0)]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in staircase.table(5.0, found).split("\n")]
    assert rows[2:] == [["SimCLR as in lesson 04", "50.0 52.0", "51.0", "", "50.0", "1,000"],
                        [f"+ {next(iter(SWITCHES))}", "54.0 56.0", "55.0", "+4.0", "50.0", "1,000"]]


LAST = len(SWITCHES)
MISSING = [(seed, steps) for seed in (0, 1, 2) for steps in range(LAST + 1) if (seed, steps) not in ((0, 0), (2, LAST))]


@pytest.mark.parametrize("more, wanted", [([], MISSING), (["--last"], [(0, LAST), (1, LAST)])])
def test_only_what_is_missing_is_made(monkeypatch, more, wanted, capsys):
    old = {**stored(1, 0, 0.4), "settings": {}}  # of another recipe
    monkeypatch.setattr(staircase, "stored", lambda: [stored(0, 0, 0.5), stored(LAST, 2, 0.6), old])
    made = []

    def run(words, **options):
        value = dict(zip(words[4::2], words[5::2]))
        assert words[1:4] == ["-m", "course_lib", "record"] and float(value["--minutes"]) == 5
        assert value["--photographs"] == "here" and ("--no-controls" in words) == (value["--seed"] != "0")
        made.append((int(value["--seed"]), int(value["--switches"])))
        return 0

    monkeypatch.setattr(staircase.subprocess, "call", run)
    assert staircase.main(["--photographs", "here", *more]) == 0
    assert made == wanted
    assert "| 50.0" in capsys.readouterr().out
