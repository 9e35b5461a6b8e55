"""lessons/grids: each table is that of the records in lessons/runs, and a dry run of a line works."""

from __future__ import annotations

import importlib
import os
import struct
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.data.images import Batch, Splits
from course_lib.data.loading import load as load_images
from course_lib.evaluate.clusters import matched_scores
from course_lib.evaluate.measures import kmeans_clusters
from course_lib.models.backbones import ConvNet
from course_lib.runs.networks import learned
from course_lib.runs.stored import StoredRun, _plain, read_runs, write_run
from helpers.environment import ROOT

GRIDS = ROOT / "lessons" / "grids"
RUNS = ROOT / "lessons" / "runs"
WEEKS = sorted(path.stem for path in GRIDS.glob("week*.py"))
MEASURED = {"batch_size", "precision", "views_per_second", "cpu_seconds"}  # what `fit` found out


@pytest.fixture
def load(monkeypatch):
    """Import a grid as its own folder does."""
    monkeypatch.syspath_prepend(str(GRIDS))
    names = {"grid", "measured", *WEEKS}
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


@pytest.mark.parametrize("week", WEEKS)
def test_the_table_says_what_the_records_say(load, week):
    table = load(week).GRID
    assert len({line.id for line in table.runs()}) == len(table.runs())
    stored = read_runs(RUNS / table.folder) if table.runs() else []
    records: dict[str, StoredRun] = {run.id: run for run in stored}
    for line in table.runs():
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
    lines = [line.id for table in tables if table.folder == folder for line in table.runs()]
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
    assert done.stdout.startswith("works: lambda-1-s0") and "knn 0." in done.stdout
    assert not (tmp_path / "runs").exists()


def test_an_unknown_run_is_named(load):
    with pytest.raises(SystemExit, match="no run 'best'; there are: lambda-1-s0"):
        load("week09").GRID.main("About.", ["--dry", "best"])


def test_an_encoder_of_lesson_22_is_widened_and_nothing_else(load):
    week = load("week22")
    for line in week.runs()[:15]:  # each encoder with each pretext
        narrow, wide = (week.build(replace(line, says={**line.says, "width": width})) for width in (1.0, 2.0))
        assert narrow.backbone.widths == (32, 64, 128) and wide.backbone.widths == (64, 128, 256), line.id
        assert [type(m) for m in narrow.modules()] == [type(m) for m in wide.modules()], line.id


@pytest.mark.parametrize("number", [0, 3])
def test_the_attacked_pretext_of_lesson_23_equals_its_definition(load, one_thread, number):
    """Bug: the attack moves normalised images or those before the turn, or leaves its ball or [0, 1]."""
    week = load("week23c")
    torch.manual_seed(0)
    method, seen = week.Attacked(number), []
    images, quarters = method.views(Batch(torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8), torch.arange(3)),
                                    torch.Generator().manual_seed(0))
    method.backbone.register_forward_hook(lambda _, given, __: seen.append(given[0].detach()))
    torch.manual_seed(1)
    method.loss((images, quarters))
    torch.manual_seed(1)
    x = images.clone()
    if number:
        x = (x + week.EPSILON * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
    for _ in range(number):
        x.requires_grad_()
        loss = torch.nn.functional.cross_entropy(method.head(method.backbone(standardize(x))), quarters)
        step = week.STEP * torch.autograd.grad(loss, x)[0].sign()
        away = (x.detach() + step - images).clamp(-week.EPSILON, week.EPSILON)
        x = (images + away).clamp(0, 1)
    shown = seen[number]  # after as many passes of the attack
    torch.testing.assert_close(shown, standardize(x.detach()), atol=1e-5, rtol=0)
    assert float((x - images).abs().max()) <= week.EPSILON + 1e-6
    assert len(quarters) == 12 and torch.equal(quarters, torch.arange(4).repeat_interleave(3))


def test_lesson_21_compares_a_network_with_itself_before_the_training(load):
    """Bug: the control has other weights than the network began with."""
    for line in load("week21").runs():
        torch.manual_seed(line.seed)
        begun = line.build(line).backbone.state_dict()
        torch.manual_seed(line.seed)
        control = ConvNet(first=7).state_dict()
        assert begun.keys() == control.keys() and all(torch.equal(begun[key], control[key]) for key in begun), line.id


def test_what_is_shown_of_a_filled_hole_differs_in_the_patch_alone(load, monkeypatch):
    week = load("week21c")
    monkeypatch.setattr(sys.modules["grid"], "_dry", True)
    torch.manual_seed(0)
    method = week.build(week.runs()[0]).eval()
    shown = week.shown(method, "china")
    for name in ("decoded", "filled"):
        changed = (shown[name] != shown["untouched"]).any(1)
        assert bool(changed.any((1, 2)).all()) and int(changed.sum((1, 2)).max()) <= method.side ** 2
    assert not torch.equal(shown["decoded"], shown["filled"])
    answers = [week.called(method, "china", k)["untouched"] for k in range(6)]
    assert sum(answers) == pytest.approx(1)


def test_lesson_23_reads_clothes_from_the_files_that_torchvision_has(load, monkeypatch, tmp_path, one_thread):
    draws, folder = torch.Generator().manual_seed(0), tmp_path / "fashion-mnist" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    pixels = {"train": torch.randint(256, (400, 28, 28), generator=draws, dtype=torch.uint8),
              "t10k": torch.randint(256, (250, 28, 28), generator=draws, dtype=torch.uint8)}
    for part, x in pixels.items():  # idx: a magic number, the sizes, the bytes
        labels = (torch.arange(len(x)) % 10).to(torch.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *x.shape) + x.numpy().tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(x)) + labels.numpy().tobytes())
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    week = load("week23d")
    monkeypatch.setattr(sys.modules["grid"], "_dry", True)
    splits = week.clothes()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [300, 40, 250]
    assert torch.equal(splits.test.images[:, 1, 2:-2, 2:-2], pixels["t10k"]) and len(splits.test.classes) == 10
    first, *others = week.rows(week.GRID.train(next(run for run in week.runs() if run.id == "pixels"), None))
    assert len(others) == 2 and {"fashion linear", "fashion few_1", "fashion few_5"} <= set(others[0])
    assert set(first) - set(others[0]) == {f"fashion {key}" for key in (
        "knn", "share", "auroc", "fpr95", "auroc_euclidean")}


# ---------------------------------------------------------------- the learned networks
@pytest.fixture
def networks(monkeypatch):
    monkeypatch.syspath_prepend(str(GRIDS))
    monkeypatch.delitem(sys.modules, "networks", raising=False)
    yield importlib.import_module("networks")
    sys.modules.pop("networks", None)


def test_every_plan_builds_a_network_that_can_be_kept(networks, tmp_path):
    for on, plans in networks.PLANS.items():
        for name in plans:
            assert networks.keep(networks.build(name, on, 0), name, on, tmp_path).stat().st_size <= 2_500_000


def test_a_network_is_made_kept_and_read(networks, tmp_path, one_thread):
    whole = load_images("shapes", n=300)
    splits = Splits(whole.train, whole.validation, whole.test.select(torch.arange(400)))
    run = networks.make("simclr", "shapes", 0, splits, tmp_path / "out", 4, tmp_path)
    found = learned("simclr", folder=tmp_path)
    assert found.record.scores == _plain(run.scores, run.id) and found.record.steps == 4
    assert found.path.steps.tolist() == [0, 1, 2, 3, 4] and found.path.points.shape == (5, 400, 16)
    assert "factors" in found.controls["random encoder"]
    assert "simclr" in networks.table(tmp_path).lower()
    method, history = found.begin(splits.train, 2, device="cpu", log_every=1)
    assert (history.steps, history.total_steps) == (2, 4)
    at = found.record.curve_steps.index(1)
    assert history.loss[0] == pytest.approx(found.record.curves["loss"][at], rel=1e-5), "the long run's own first step"
    with pytest.raises(ValueError, match="was trained on 300 images, these are 299"):
        found.begin(splits.train.select(torch.arange(299)), 2)


def test_a_clustering_begins_with_a_learned_network(networks, tmp_path, one_thread):
    whole = load_images("shapes", n=300)
    splits = Splits(whole.train, whole.validation, whole.test.select(torch.arange(60)))
    run = networks.make("scan", "shapes", 0, splits, tmp_path / "out", 4, tmp_path)
    rows = {row["name"]: row for row in run.scores}
    assert 1 / 8 <= rows["scan"]["acc"] <= 1 and rows["scan"]["clusters"] == 8 and rows["scan"]["knn"] > 0.3
    assert {"random encoder", "k-means on its features", "k-means, random encoder", "k-means, raw pixels"} <= set(rows)
    found = learned("scan", folder=tmp_path)
    _, history = found.begin(splits.train, 2, device="cpu", log_every=1)
    at = found.record.curve_steps.index(1)
    assert history.loss[0] == pytest.approx(found.record.curves["loss"][at], rel=1e-5), "the long run's own first step"


def test_simclr_and_swav_are_clustered_to_compare_clusterings_with(networks, one_thread):
    whole = load_images("shapes", n=300)
    splits = Splits(whole.train, whole.validation, whole.test.select(torch.arange(60)))
    method = networks.build("swav", "shapes", 0).eval()
    *kmeans, mine = networks.clustered(method, "swav", 0, splits)
    assert [row["name"] for row in kmeans] == ["k-means on its features", "k-means, random encoder",
                                               "k-means, raw pixels"]
    weight = method.prototypes.weight.detach()
    group = kmeans_clusters(weight, weight, 8, 0)[0]
    found = []
    for part in (splits.train, splits.test):
        z = method.projector(method.embed(part.images))
        found.append([int(group[max(range(1024), key=(weight @ z[i]).tolist().__getitem__)])
                      for i in range(len(z))])
    scores = matched_scores(torch.tensor(found[0]), splits.train.labels, torch.tensor(found[1]), splits.test.labels, 8)
    assert mine == {"name": "SwAV's prototypes", "kind": "control", "clusters": 8, **scores}
    assert [row["name"] for row in networks.clustered(networks.build("simclr", "shapes", 0), "simclr", 0, splits)] == [
        row["name"] for row in kmeans]


def test_a_network_that_was_stored_without_clusters_gets_their_rows(networks, tmp_path, monkeypatch, one_thread):
    whole = load_images("shapes", n=300)
    splits = Splits(whole.train, whole.validation, whole.test.select(torch.arange(60)))
    monkeypatch.setattr(networks, "images", lambda on, folder: splits)
    monkeypatch.setattr(networks, "networks_folder", lambda: tmp_path / "networks")
    run = networks.make("simclr", "shapes", 0, splits, tmp_path / "out", 4, tmp_path / "networks")
    write_run(replace(run, scores=[row for row in run.scores if "knn" in row]), tmp_path / "networks")
    old = read_runs(tmp_path / "networks")[0]
    for _ in range(2):  # the second time there is nothing to add
        assert networks.main(["--method", "simclr", "--set", "shapes", "--seed", "0"]) == 0
        found = read_runs(tmp_path / "networks")[0]
        assert found.scores[:3] == old.scores and found.curves == old.curves
        assert [row["name"] for row in found.scores[3:]] == ["k-means on its features", "k-means, random encoder",
                                                             "k-means, raw pixels"]
        for row, whole_weights in zip(found.scores[3:], run.scores[3:]):  # float16 moves a picture or two
            assert row["acc"] == pytest.approx(whole_weights["acc"], abs=0.05)
        assert found.note.count("Rows of clusters") == 1


def test_stored_networks_are_those_of_the_plans(networks):
    for run in read_runs(networks.networks_folder()) if networks.networks_folder().is_dir() else []:
        on, _, name = run.id.rpartition("-s")[0].partition("-")
        plan = networks.PLANS[on][name]
        assert run.steps == plan.steps and run.backbone == plan.backbone, run.id
        for key, value in {**plan.fit, **plan.options}.items():
            assert run.settings[key] == _plain(value, key), run.id
