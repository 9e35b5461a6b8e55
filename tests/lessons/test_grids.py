"""lessons/grids: each table is that of the records in lessons/runs, and a dry run of a line works."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from course_lib.augment.views import Augment
from course_lib.runs.stored import StoredRun, _plain, read_runs
from helpers.environment import ROOT

GRIDS = ROOT / "lessons" / "grids"
RUNS = ROOT / "lessons" / "runs"
WEEKS = sorted(path.stem for path in GRIDS.glob("week*.py"))
NOT_MADE = {"16_dmae": ("-s1", "-s2")}  # other seeds of an hour each
MEASURED = {"batch_size", "precision", "views_per_second"}  # what `fit` found out


@pytest.fixture
def load(monkeypatch):
    """Import a grid as its own folder does."""
    monkeypatch.syspath_prepend(str(GRIDS))
    names = {"grid", *WEEKS}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


def views_of(line):
    """How the line's method augments; week 16 trains its classifier by itself."""
    if line.id in {run.id for run in importlib.import_module("week16").runs()}:
        return importlib.import_module("week16").CROP
    return line.options.get("augment") or line.build(line).augment


def made(table) -> list:
    """The lines of a table that have been trained."""
    return [line for line in table.runs() if not line.id.endswith(NOT_MADE.get(table.folder, ("never",)))]


@pytest.mark.parametrize("week", WEEKS)
def test_the_table_says_what_the_records_say(load, week):
    table = load(week).GRID
    assert len({line.id for line in table.runs()}) == len(table.runs())
    records: dict[str, StoredRun] = {run.id: run for run in read_runs(RUNS / table.folder)}
    for line in made(table):
        record = records[line.id]
        settings = {key: value for key, value in record.settings.items() if key not in MEASURED}
        asked = {key: value for key, value in _plain(line.settings(), line.id).items() if key not in MEASURED}
        assert asked == settings, line.id
        assert (record.method, record.backbone, record.seed, record.note) == (
            line.method, line.backbone, line.seed, table.note), line.id
        assert ("views_per_second" in record.settings) == table.rate
        assert record.steps == line.fit.get("steps", record.steps)
        assert record.settings["batch_size"] == line.fit.get("batch_size", record.settings["batch_size"])
        assert eval(record.augmentation, {"Augment": Augment}) == views_of(line), line.id


@pytest.mark.parametrize("folder", sorted(path.name for path in RUNS.glob("[0-9]*")))
def test_the_records_are_the_lines_of_the_tables(load, folder):
    tables = [load(week).GRID for week in WEEKS]
    lines = [line.id for table in tables if table.folder == folder for line in made(table)]
    assert sorted(lines) == sorted(path.stem for path in (RUNS / folder).glob("*.json"))


def test_one_way_to_write_a_record():
    """What all grids share is in grid.py: no week stores by itself, or reads its own command line."""
    for week in WEEKS:
        text = (GRIDS / f"{week}.py").read_text(encoding="utf-8")
        assert not any(word in text for word in ("from_history", "write_run", "argparse", "--dry")), week


@pytest.mark.slow
def test_a_dry_run_trains_measures_and_stores_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, GRIDS / "week09.py", "--dry"], cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env={**os.environ, "COURSE_RUNS": str(tmp_path / "runs"), "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("works: d32-0-s0") and "knn 0." in done.stdout
    assert not (tmp_path / "runs").exists()


def test_an_unknown_run_is_named(load):
    with pytest.raises(SystemExit, match="no run 'best'; there are: d32-0-s0"):
        load("week09").GRID.main("About.", ["--dry", "best"])
