"""`course record`: the recipe as a staircase, a dry run of each device's, and what is stored of a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from course_lib.cli import record
from course_lib.data import loading
from course_lib.data.images import Batch
from course_lib.train import loop
from helpers.commands import course
from helpers.tiny import images

STAIRS = {"wider": {"network": {"widths": (4, 12)}}, "more views, less decay": {"method": {"count": 3},
                                                                               "fit": {"weight_decay": 0.0}}}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A recipe of a tiny network, and a place for its records."""
    monkeypatch.setattr(record, "START", {**record.START, "network": {"depth": 2, "widths": (4, 8)},
                                          "fit": {"batch_size": 8, "weight_decay": 0.1}})
    monkeypatch.setattr(record, "SWITCHES", STAIRS)
    monkeypatch.setattr(record, "stored_at", lambda name="record": tmp_path / f"{name}.json")


def test_each_switch_changes_its_own_settings_only(small):
    start, wider, last = (record.climbed(number) for number in range(3))
    assert start == record.START and last == record.climbed()
    assert wider == {**start, "network": {"depth": 2, "widths": (4, 12)}}
    assert last == {**wider, "method": {"count": 3}, "fit": {"batch_size": 8, "weight_decay": 0.0}}
    with pytest.raises(ValueError, match="--switches is 3; there are 2: wider, more views"):
        record.climbed(3)


def test_the_recipe_as_it_is_can_be_built_at_every_step():
    for number in range(len(record.SWITCHES) + 1):
        method = record.built(record.climbed(number), seed=0, images=images().images)
        first, *others = method.views(Batch(images().images, torch.arange(36)), torch.Generator().manual_seed(0))
        assert len(others) >= 1 and {tuple(view.shape[2:]) for view in (first, *others)} == {
            (record.climbed(number)["views"].get("size", 32),) * 2}
    assert record.climbed(0)["method"] == record.climbed(0)["fit"] == {}, "the staircase begins with lesson 04's recipe"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_dry_run_trains_scores_and_stores_nothing(device):
    there = record.stored_at().exists() and record.stored_at().read_bytes()
    words = ["record", "--dry", "--device", device, "--photographs", "shapes"]
    done = subprocess.run([sys.executable, "-m", "course_lib", *words], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    for part in ("SimCLR", "random encoder", "raw pixels", "3 steps", "threads: 1", "commit", "torch ", "linear probe"):
        assert part in done.stdout
    assert (record.stored_at().exists() and record.stored_at().read_bytes()) == there


def test_records_are_added_with_all_that_they_need(small, monkeypatch, capsys, one_thread):
    words = ["record", "--minutes", "50", "--photographs", "shapes", "--switches"]
    asked = three_steps_with_few_images(monkeypatch)
    assert course(*words, 0) == 0 and course(*words, 2, "--seed", 1, "--no-controls") == 0
    assert len(asked) == 2 and all(0 < seconds < 0.98 * 50 * 60 for seconds in asked), "the start counts too"
    first, second = record.stored()
    assert first["switches"] == [] and second["switches"] == list(STAIRS)
    assert (first["seed"], second["seed"], second["minutes"], second["device"]) == (0, 1, 50, "cpu")
    assert second["settings"] == json.loads(json.dumps(record.climbed(2)))
    measured = ["SimCLR", "random encoder", "raw pixels"]
    for each, wanted in ((first, measured), (second, measured[:1])):
        assert each["seconds"] > 0 and each["steps"] == 3 and each["views_per_second"] > 0
        assert [row["name"] for row in each["rows"]] == wanted
        assert {"commit", "versions", "cpu"} <= each["measured_on"].keys()
    weights = sum(a * b * 9 for a, b in ((3, 4), (4, 4), (4, 8), (8, 8))) + 2 * (4 + 4 + 8 + 8)
    assert first["parameters"] == weights
    products = 9 * (16 * 16 * (3 * 4 + 4 * 4) + 8 * 8 * (4 * 8 + 8 * 8))
    assert first["flops"] == 2 * products
    assert "Added to" in capsys.readouterr().out
    assert course("record", "--minutes", "1e-6", "--photographs", "shapes", "--switches", "0") == 2
    assert "over before the photographs are read" in capsys.readouterr().err and len(record.stored()) == 2


def three_steps_with_few_images(monkeypatch) -> list[float]:
    """Makes every record short; -> the seconds that each would have trained for."""
    load, fit, asked = loading.load, loop.fit, []

    def short(*args, seconds, **options):
        asked.append(seconds)
        return fit(*args, steps=3, **options)

    monkeypatch.setattr(loading, "load", lambda name, **options: load(name, **{**options, "limit": 60}))
    monkeypatch.setattr(loop, "fit", short)
    return asked
