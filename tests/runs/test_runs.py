"""Stored runs: written whole, read without pickles, free of this machine's paths, compared."""
from __future__ import annotations

import dataclasses
import getpass
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.data.images import ImageSet, Splits
from course_lib.files import WriteError
from course_lib.methods.base import Method
from course_lib.runs import origin, stored
from course_lib.runs.origin import provenance
from course_lib.runs.stored import (
    Panel,
    StoredRun,
    check_record,
    compare_runs,
    read_runs,
    record_run,
    runs_folder,
    write_run,
)
from course_lib.train.history import History
from helpers.environment import ROOT

ROW = {"name": "vicreg", "kind": "method", "knn": 0.8123456789, "rankme": 41.5, "factors": {"hue": 0.25}}
RAW = {"name": "raw pixels", "kind": "control", "knn": 0.39, "linear": None}


def panel(n: int = 12, dim: int = 8) -> Panel:
    generator = np.random.default_rng(0)
    images = [("test", f"cl:{i % 3}", i) for i in range(n)]
    return Panel(generator.normal(size=(n, dim)), np.arange(n) % 3, images)


def run(**changes) -> StoredRun:
    fields = {"method": "vicreg", "data": "cifar10", "backbone": "convnet",
              "augmentation": "Augment(scale=(0.2, 1.0))", "seed": 3, "steps": 1000,
              "settings": {"batch_size": 256, "lr": 1e-3, "milestones": [1, 2]}, "images_seen": 256000,
              "wall_seconds": 61.234567, "curve_steps": [0, 500, 1000],
              "curves": {"loss": [3.0, 2.0, 1.5]}, "scores": [ROW, RAW], "provenance": {"device": "cpu"}}
    return StoredRun(**(fields | changes))


def test_round_trip(tmp_path):
    original = run(panel=panel(), note="with [ brackets ] and \"quotes\"")
    path = write_run(original, tmp_path)
    assert path.name == "vicreg-cifar10-convnet-seed3.json"
    assert {p.name for p in tmp_path.iterdir()} == {path.name, path.with_suffix(".npz").name}  # no leftovers
    (back,) = read_runs(tmp_path)
    for field in dataclasses.fields(StoredRun):
        if field.name not in ("panel", "wall_seconds", "scores"):
            assert getattr(back, field.name) == getattr(original, field.name), field.name
    assert back.wall_seconds == 61.235 and back.scores[1]["linear"] is None
    assert back.panel.features.dtype == np.float16 and back.panel.images == original.panel.images
    for key in ("features", "labels"):
        assert np.array_equal(getattr(back.panel, key), getattr(original.panel, key))
    assert compare_runs(original, back, 1e-4) == []
    assert back.value("knn") == 0.81235 and back.value("knn", "raw pixels") == 0.39
    assert back.value("nmi") is None and back.value("knn", "nobody") is None


def test_curves_are_thinned_and_the_record_is_small(tmp_path):
    values = [math.exp(-i / 700) for i in range(5000)]
    curves = {name: values for name in ("loss", "a", "b", "c")}
    path = write_run(run(curve_steps=list(range(5000)), curves=curves), tmp_path)
    (back,) = read_runs(tmp_path)
    assert len(back.curve_steps) == len(back.curves["loss"]) == 200 and path.stat().st_size < 10_000
    assert back.curve_steps[0] == 0 and back.curve_steps[-1] == 4999
    wanted = [values[step] for step in back.curve_steps]
    assert back.curves["a"] == pytest.approx(wanted, rel=1e-4)


def test_too_large_a_record_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at most 32000"):
        write_run(run(settings={f"s{i}": i for i in range(4000)}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_not_finite_numbers_become_null_and_tensors_numbers(tmp_path):
    row = ROW | {"linear": float("nan"), "std": torch.tensor(0.5), "dim": np.int64(4)}
    write_run(run(scores=[row]), tmp_path)
    (back,) = read_runs(tmp_path)
    assert back.scores[0]["linear"] is None and back.scores[0]["std"] == 0.5 and back.scores[0]["dim"] == 4


@pytest.mark.parametrize("text", ["/home/someone/photos", "see /data/x/y", "~/photos", r"C:\Users\someone",
                                  r"\\server\share"])
def test_paths_are_refused(tmp_path, text):
    with pytest.raises(ValueError, match="names no folder and no user"):
        write_run(run(settings={"data": text}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_user_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "marguerite")
    with pytest.raises(ValueError, match=r"\.note is 'by marguerite'"):
        write_run(run(note="by marguerite"), tmp_path)
    write_run(run(note="kNN 4/5, loss/step, w/o blur"), tmp_path)  # a slash alone is no path


def test_other_types_are_refused(tmp_path):
    with pytest.raises(ValueError, match="settings.model is a Linear; expected numbers"):
        write_run(run(settings={"model": torch.nn.Linear(1, 1)}), tmp_path)


@pytest.mark.parametrize("changes, message", [
    ({"id": "../up"}, "a run's id is"),
    ({"curves": {"loss": [1.0]}}, "has 1 values at 3 steps"),
])
def test_bad_runs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        run(**changes)


def test_bad_panels_are_refused():
    with pytest.raises(ValueError, match="2 features, 3 labels and 1 images"):
        Panel(np.zeros((2, 4)), [0, 1, 2], [("test", "a", 0)])
    with pytest.raises(ValueError, match="finite in float16"), np.errstate(over="ignore"):
        Panel(np.full((1, 4), 1e6), [0], [("test", "a", 0)])


@pytest.mark.parametrize("new", [None, panel(20)], ids=["record", "panel"])
def test_writing_is_atomic(tmp_path, monkeypatch, new):
    path = write_run(run(panel=panel()), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WriteError):
        write_run(run(panel=new, note="second"), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before and path.exists()


def test_a_run_without_panel_removes_the_older_panel(tmp_path):
    write_run(run(panel=panel()), tmp_path)
    write_run(run(), tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".json"] and read_runs(tmp_path)[0].panel is None


def test_panel_needs_no_pickle(tmp_path):
    path = write_run(run(panel=panel()), tmp_path).with_suffix(".npz")
    with np.load(path, allow_pickle=False) as file:
        assert all(file[key].dtype != object for key in file.files)
        assert file["number"].dtype == np.int32


# ------------------------------------------------------------------------------------------------ read
def test_filters(tmp_path):
    for method, seed, batch in (("vicreg", 0, 256), ("vicreg", 1, 512), ("spark", 0, 256)):
        write_run(run(method=method, seed=seed, settings={"batch_size": batch}), tmp_path)

    def found(**filters):
        return [(r.method, r.seed) for r in read_runs(tmp_path, **filters)]

    assert found() == [("spark", 0), ("vicreg", 0), ("vicreg", 1)]
    assert found(method="vicreg") == [("vicreg", 0), ("vicreg", 1)]
    assert found(method="vicreg", batch_size=512) == [("vicreg", 1)]
    assert found(seed=[0, 5]) == [("spark", 0), ("vicreg", 0)] and found(method="mae") == []
    with pytest.raises(ValueError, match="no stored run has metod; filter by .*batch_size.*method"):
        found(metod="vicreg")


def test_damaged_and_missing(tmp_path):
    path = write_run(run(panel=panel()), tmp_path)
    path.with_suffix(".npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=f"{path.name} cannot be read"):
        read_runs(tmp_path)
    path.with_suffix(".npz").unlink()
    with pytest.raises(ValueError, match="Restore it from the repository"):
        read_runs(tmp_path)
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="unknown format"):
        read_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match="COURSE_RUNS"):
        read_runs(tmp_path / "none")


def test_runs_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_RUNS", raising=False)
    assert runs_folder() == ROOT / "lessons" / "runs"
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path))
    assert runs_folder() == tmp_path
    assert write_run(run()).parent == tmp_path and len(read_runs()) == 1


def test_reading_needs_no_torch():
    code = "import sys, course_lib.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ------------------------------------------------------------------------------------------------ compare
def test_compare():
    close = run(scores=[ROW | {"knn": ROW["knn"] + 0.019, "rankme": 42.2}, RAW], wall_seconds=9,
                provenance={"device": "gpu"})
    assert compare_runs(run(), close) == []
    assert compare_runs(run(), close, tolerance=0.001) == [
        "knn of vicreg: 0.8123 and 0.8313", "rankme of vicreg: 41.5 and 42.2"]
    found = compare_runs(run(), run(seed=4, settings={"batch_size": 512, "lr": 1e-3, "milestones": [1, 2]},
                                    scores=[ROW], curves={"loss": [3.0, 2.0, 1.9]}))
    assert found == ["seed: 3 and 4", "setting batch_size: 256 and 512",
                     "knn of raw pixels: only in the first run", "last loss: 1.5 and 1.9"]
    other = run(scores=[ROW | {"factors": {"hue": 0.5}}, RAW])
    assert compare_runs(run(), other) == ["factor hue of vicreg: 0.25 and 0.5"]


def test_compare_sees_nan():
    other = run(scores=[ROW | {"knn": float("nan")}, RAW])
    assert compare_runs(run(), other) == ["knn of vicreg: 0.8123 and nan"]


# ------------------------------------------------------------------------------------------------ provenance
def test_provenance_names_versions_and_no_person():
    facts = provenance("cpu")
    assert facts["device"] == "cpu" and facts["versions"]["torch"] and facts["cores"] >= 1 and facts["cpu"]
    assert set(facts) == {"device", "cpu", "threads", "cores", "system", "versions", "commit"}
    assert facts["commit"] is None or re.fullmatch(r"[0-9a-f]{12}(\+changes)?", facts["commit"])
    text = json.dumps(facts)
    assert str(Path.home()) not in text and os.sep + "home" not in text
    write = stored._plain(facts, "provenance")  # passes the check for paths and users
    assert write["versions"] == facts["versions"]


def test_provenance_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance("cpu")["commit"] is None


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to make a repository")
def test_commit_of_this_checkout_only(monkeypatch, tmp_path):
    def git(*command: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *command], cwd=tmp_path, check=True, capture_output=True,
                              text=True).stdout.strip()

    library = tmp_path / "course_lib"
    library.mkdir()
    (library / "a.py").write_text("one")
    monkeypatch.setattr(origin, "CHECKOUT", tmp_path.resolve())
    git("init", "-q")
    assert origin._commit() is None  # no commit yet
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    assert origin._commit() == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "elsewhere.txt").write_text("no library file")
    assert "+" not in origin._commit()
    (library / "a.py").write_text("two")
    assert origin._commit().endswith("+changes")
    monkeypatch.setattr(origin, "CHECKOUT", library.resolve())  # installed inside somebody's repository
    assert origin._commit() is None


def test_record_run(tmp_path):
    class Brightness(Method):
        def __init__(self):
            super().__init__()
            self.backbone = torch.nn.Identity()
            self.augment = "Augment(size=8)"

        def embed(self, images):
            return images.float().mean((2, 3)) / 255

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (9, 3, 8, 8), generator=generator).to(torch.uint8)
    splits = Splits(*(ImageSet(images, torch.arange(9) % 2, ("a", "b"), name="my photos", split=split)
                      for split in ("train", "validation", "test")))
    history = History(steps=20, batch_size=3, seconds=1.5, device="cpu", precision="float32",
                      curve_steps=[0, 10], curves={"loss": [2.0, 1.0]})
    arguments = {"method": "vicreg", "backbone": "convnet", "seed": 2, "data": "/secret/photos",
                 "out": "/secret/out", "lr": 0.1, "clip": None, "options": ["covariance=4"]}
    path = record_run("mine", Brightness(), splits, history, [ROW], arguments, tmp_path, panel=5)
    assert path == tmp_path / "mine.json" and "secret" not in path.read_text()
    (back,) = read_runs(tmp_path)
    assert (back.method, back.data, back.backbone, back.seed) == ("vicreg", "my photos", "convnet", 2)
    assert back.images_seen == 60 and back.steps == 20 and back.curves == {"loss": [2.0, 1.0]}
    assert back.settings == {"batch_size": 3, "precision": "float32", "lr": 0.1, "options": ["covariance=4"]}
    assert back.panel.features.shape == (5, 3)
    assert [number for _, _, number in back.panel.images] == [0, 2, 4, 6, 8]  # spread over the set, not its head
    assert back.panel.images[1] == ("test", "a", 2)
    assert back.provenance["versions"]["torch"]


@pytest.mark.parametrize("id, data, arguments, says", [
    ("a run", "mine", {}, "a run's id"), ("run", "/home/me/photos", {}, "names no folder"),
    ("run", "mine", {"options": ["pretext=/home/me/run"]}, "names no folder")])
def test_what_a_record_refuses_is_known_before_the_training(id, data, arguments, says):
    check_record("run", "mine", {"options": ["covariance=4"], "lr": 0.1, "data": "/home/me/photos"})
    with pytest.raises(ValueError, match=says):
        check_record(id, data, arguments)
