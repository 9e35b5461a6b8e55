"""A run that stops and goes on is the run that never stopped; checkpoints are whole, or refused by name."""

from __future__ import annotations

import csv
import os
import random
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from course_lib import train
from course_lib.files import WriteError
from course_lib.methods import build_method
from course_lib.methods.contrastive.vicreg import VICReg
from course_lib.models.backbones import ConvNet, build_backbone
from course_lib.train import checkpoint, loop
from course_lib.train.checkpoint import CheckpointError
from course_lib.train.loop import fit
from helpers.tiny import SMALL, Stop, Toy, images, same, spark, state, vicreg

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- resume
@pytest.mark.parametrize("build, optimizer, precision", [
    (vicreg, "adamw", "float32"), (vicreg, "adamw", "bfloat16"), (vicreg, "sgd", "float32"),
    (vicreg, "muon", "float32"), (vicreg, "lars", "float32"), (vicreg, "lars-simclr", "float32"),
    (spark, "adamw", "float32"), (spark, "lars", "bfloat16")])
@pytest.mark.parametrize("cut", [1, 6])  # the first step; the middle of the second epoch (4 steps each)
def test_resume_is_bit_exact(tmp_path, build, optimizer, precision, cut):
    settings = {**SMALL, "precision": precision, "steps": 11, "optimizer": optimizer, "clip": 1.0, "log_every": 1}
    whole = build()
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    part = fit(build(), images(), out=tmp_path / "cut", watch=Stop(cut), **settings)
    assert part.interrupted and part.steps == cut and part.total_steps == 11
    torch.manual_seed(99)  # what lies between must not matter
    np.random.seed(99)
    again = build(seed=7)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
    assert resumed.curves == history.curves and resumed.curve_steps == list(range(1, 12))
    assert resumed.rank == history.rank and not resumed.interrupted and resumed.steps == 11
    a, b = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    assert str(a["optimizer"]["param_groups"]) == str(b["optimizer"]["param_groups"])
    for key, slots in a["optimizer"]["state"].items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(b["optimizer"]["state"][key][k]))
                   for k, v in slots.items())


def test_resume_restores_every_random_number_generator(tmp_path):
    class Careless(Toy):  # draws from the global generators, as dropout does
        def loss(self, views, progress):
            self.calls.append(("draws", random.random(), float(np.random.normal()), float(torch.rand(()))))
            return super().loss(views, progress)

    def draws(stop=None, resume=False, out="whole"):
        torch.manual_seed(3)
        method = Careless()
        if not resume:
            random.seed(3), np.random.seed(3)
        fit(method, images(), steps=7, out=tmp_path / out, resume=resume, watch=stop, log_every=1, **SMALL)
        return method.named("draws")

    whole = draws()
    random.seed(5), np.random.seed(5)
    first = draws(Stop(3), out="cut")
    random.seed(11), np.random.seed(11)
    assert first + draws(resume=True, out="cut") == whole


def test_the_position_in_the_epoch_and_the_views_are_functions_of_seed_and_step(tmp_path):
    whole, cut, rest = Toy(), Toy(), Toy()
    fit(whole, images(), steps=10, **SMALL)
    fit(cut, images(), steps=10, out=tmp_path, watch=Stop(6), log_every=1, **SMALL)
    fit(rest, images(), steps=10, out=tmp_path, resume=True, log_every=1, **SMALL)
    assert cut.named("views") + rest.named("views") == whole.named("views")
    seen = [indices for indices, _ in whole.named("views")]
    for epoch in range(2):  # 36 images, batches of 8: four steps an epoch, nobody twice, another order each time
        drawn = sum(seen[4 * epoch : 4 * epoch + 4], [])
        assert len(set(drawn)) == 32
    assert seen[:4] != seen[4:8]
    noise = [draw for _, draw in whole.named("views")]
    assert len({tuple(draw) for draw in noise}) == 10
    other = Toy()
    fit(other, images(), steps=10, seed=1, **SMALL)
    assert not set(map(str, seen)) & {str(indices) for indices, _ in other.named("views")}
    assert not {tuple(d) for d in noise} & {tuple(d) for _, d in other.named("views")}


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    method = vicreg()
    history = fit(method, images(), steps=4, out=tmp_path, **SMALL)
    before, text = state(method), (tmp_path / "metrics.csv").read_text()
    again = fit(vicreg(5), images(), steps=4, out=tmp_path, resume=True, **SMALL)
    assert again.curves == history.curves and again.seconds == pytest.approx(history.seconds)
    assert same(before, checkpoint.load(tmp_path / "last.pt")["method"])
    assert (tmp_path / "metrics.csv").read_text() == text


def test_seconds_become_a_fixed_number_of_steps_that_is_stored(tmp_path):
    method = vicreg()
    before = state(method)
    history = fit(method, images(), seconds=1.0, out=tmp_path, watch=Stop(5), log_every=5, **SMALL)
    assert history.total_steps > 5 and history.steps == 5
    stored = checkpoint.load(tmp_path / "last.pt")
    assert stored["total_steps"] == history.total_steps and stored["step"] == 5
    resumed = vicreg(1)
    done = fit(resumed, images(), seconds=50.0, out=tmp_path, resume=True, log_every=5, **SMALL)  # stored number wins
    assert done.steps == history.total_steps
    whole = vicreg()
    assert same(before, state(whole))
    fit(whole, images(), steps=history.total_steps, log_every=5, **SMALL)
    assert same(state(whole), state(resumed)), "measuring the speed must leave no trace"


def test_seconds_allow_for_steps_that_become_slower(monkeypatch):
    """Of 60 % of the steps each takes 1 s, of the others 4 s: 2.2 s on average, after 15 steps for measuring."""
    now = [0.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])

    class Slows(Toy):
        def loss(self, views, progress):
            now[0] += 1.0 if progress < 0.6 else 4.0
            return super().loss(views, progress)

    history = fit(Slows(), images(), seconds=1000.0, threads=1, **SMALL)
    assert history.steps == int((1000 - 15 * 2.2) / 2.2)
    assert history.seconds == pytest.approx(1000 - 15 * 2.2, abs=8)


# ---------------------------------------------------------------- checkpoints
def test_a_checkpoint_holds_plain_values_and_tensors_only(tmp_path):
    fit(vicreg(), images(), steps=2, out=tmp_path, **SMALL)
    state = torch.load(tmp_path / "last.pt", weights_only=True)  # would refuse anything that runs code
    assert {"method", "optimizer", "scaler", "rng", "step", "total_steps", "history"} <= state.keys()
    backbone = torch.load(tmp_path / "backbone.pt", weights_only=True)
    fresh = build_backbone("convnet", depth=2, widths=(4, 8))
    fresh.load_state_dict(backbone)
    assert all(torch.equal(value, state["method"][f"backbone.{name}"]) for name, value in backbone.items())
    rows = list(csv.DictReader(open(tmp_path / "metrics.csv", encoding="utf-8")))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert {"loss", "invariance", "variance", "covariance"} < rows[0].keys()
    assert float(rows[1]["loss"]) == pytest.approx(state["history"]["curves"]["loss"][1], rel=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backbone.pt", "last.pt", "metrics.csv"]


def test_an_exported_resnet_is_torchvisions():
    import torchvision

    method = build_method("vicreg", "resnet18", 96, width=8)
    answer = torchvision.models.resnet18(weights=None).load_state_dict(train.export(method), strict=False)
    assert sorted(answer.missing_keys) == ["fc.bias", "fc.weight"] and not answer.unexpected_keys


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})
    real = torch.save

    def half(value, file):
        real(value, file)
        file.truncate(file.tell() // 2)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(WriteError, match="No space left on device.*untouched.*--out"):
        checkpoint.save(path, {"step": 2})
    monkeypatch.setattr(torch, "save", real)
    assert checkpoint.load(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    killed = tmp_path / ".last.pt.12345.part"
    killed.write_bytes(b"of a process that was killed")
    os.utime(killed, (1, 1))
    checkpoint.save(path, {"step": 3})
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"] and checkpoint.load(path)["step"] == 3


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are Unix's")
def test_a_full_disk_is_a_sentence_and_leaves_the_old_checkpoint(tmp_path):
    script = """if True:
        import resource, signal, sys, torch
        from course_lib.train import checkpoint
        path = sys.argv[1]
        checkpoint.save(path, {"step": 1})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            checkpoint.save(path, {"step": 2, "big": torch.zeros(100_000)})
        except OSError as error:
            print("sentence:", error)
        print(checkpoint.load(path)["step"])"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "last.pt")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "sentence: could not write" in done.stdout and done.stdout.rstrip().endswith("1")
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def spoil_truncated(path):
    path.write_bytes(path.read_bytes()[:-2000])


def spoil_empty(path):
    path.write_bytes(b"")


def spoil_text(path):
    path.write_text("not a checkpoint")


def spoil_pickle(path):
    torch.save({"format": 1, "object": types.SimpleNamespace(a=1)}, path)


def spoil_foreign(path):
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, path)


def spoil_foreign_format(path):
    torch.save({"format": "lightning"}, path)


def spoil_newer(path):
    torch.save({**torch.load(path, weights_only=True), "format": checkpoint.FORMAT + 1}, path)


def spoil_backbone(path):
    shutil.copy(path.parent / "backbone.pt", path)


@pytest.mark.parametrize("spoil, says", [
    (spoil_truncated, "cut short"), (spoil_empty, "cut short"), (spoil_text, "not a readable checkpoint"),
    (spoil_pickle, "not a readable checkpoint"), (spoil_foreign, "not a checkpoint of this course"),
    (spoil_foreign_format, "another program"), (spoil_newer, "update"),
    (spoil_backbone, "not a checkpoint of this course")])
def test_broken_checkpoints_are_named(tmp_path, spoil, says):
    fit(vicreg(), images(), steps=2, out=tmp_path, **SMALL)
    spoil(tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(CheckpointError, match=says) as caught:
        fit(vicreg(), images(), steps=2, out=tmp_path, resume=True, **SMALL)
    assert str(tmp_path / "last.pt") in str(caught.value)
    assert (tmp_path / "last.pt").read_bytes() == before


@pytest.mark.parametrize("change, says", [
    (dict(method=spark), "name 'VICReg', this one has 'SparK'"), (dict(batch_size=4), "batch_size 8"),
    (dict(seed=1), "seed 0"), (dict(steps=20), "total_steps 2, this one has 20"), (dict(lr=0.5), "lr"),
    (dict(optimizer="sgd"), "optimizer 'adamw'"), (dict(images=images(40)), "images 36"),
    (dict(method=lambda: vicreg(width=16)), "width 8, this one has 16"),
    (dict(method=lambda: VICReg(ConvNet(2, (4, 8)), image_size=16, width=16)), "another shape")])
def test_resuming_another_run_is_refused(tmp_path, change, says):
    fit(vicreg(), images(), steps=2, out=tmp_path, **SMALL)
    method, pictures = change.pop("method", vicreg), change.pop("images", images())
    with pytest.raises(CheckpointError, match=says):
        fit(method(), pictures, out=tmp_path, resume=True, **{**SMALL, "steps": 2, **change})


def put(state, path, value):
    """A copy of nested dicts and lists with another value at the path."""
    if not path:
        return value
    inner = state[path[0]]
    if isinstance(state, dict):
        return {**state, path[0]: put(inner, path[1:], value)}
    return type(state)([*state[:path[0]], put(inner, path[1:], value), *state[path[0] + 1:]])


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd", "lars"])
def test_an_optimizer_s_memory_of_another_shape_is_refused(tmp_path, optimizer):
    """Bug: the fused step wrote beyond a small tensor, and Python died of it."""
    settings = dict(steps=3, log_every=1, out=tmp_path, optimizer=optimizer, **SMALL)
    fit(vicreg(), images(), watch=Stop(1), **settings)
    good = torch.load(tmp_path / "last.pt", weights_only=True)
    for name in good["optimizer"]["state"][0]:
        for odd in (torch.zeros(2), None):
            torch.save(put(good, ("optimizer", "state", 0, name), odd), tmp_path / "last.pt")
            with pytest.raises(CheckpointError, match="not whole"):
                fit(vicreg(), images(), resume=True, **settings)
    torch.save(put(good, ("optimizer", "state", 0), {"x": 1.0}), tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="not whole"):
        fit(vicreg(), images(), resume=True, **settings)
    torch.save(good, tmp_path / "last.pt")
    assert fit(vicreg(), images(), resume=True, **settings).steps == 3


@pytest.mark.parametrize("path, value", [
    (("history", "curves"), [1]), (("history", "curves", "loss"), ["x"]), (("history", "curves", "loss"), []),
    (("history", "seconds"), "x"), (("history", "steps"), None), (("history", "std"), 3), (("history", "new"), 1),
    (("optimizer", "param_groups", 0, "betas"), "xy"), (("optimizer", "param_groups", 0, "eps"), []),
    (("rng", "numpy", 2), 10**6), (("rng", "python", 1), [10**30] * 625), (("step",), -1), (("step",), 9),
    (("ranks",), "x"), (("ranks",), None), (("recipe", "lr"), torch.zeros(2)), (("recipe", "accumulate"), [])])
def test_odd_contents_are_refused_before_the_first_step(tmp_path, path, value):
    """Bug: an AttributeError or a TypeError in the middle of the loop."""
    settings = dict(steps=3, log_every=1, out=tmp_path, **SMALL)
    fit(vicreg(), images(), watch=Stop(1), **settings)
    good = torch.load(tmp_path / "last.pt", weights_only=True)
    if path == ("history", "new"):
        good["history"]["new"] = 0
    torch.save(put(good, path, value), tmp_path / "last.pt")
    if path == ("ranks",):  # of no weight where the parts of a batch are the same
        assert fit(vicreg(), images(), resume=True, **settings).steps == 3
        return
    with pytest.raises(CheckpointError):
        fit(vicreg(), images(), resume=True, **settings)


def test_a_missing_checkpoint_is_said_or_a_start(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        checkpoint.load(tmp_path / "last.pt")
    assert fit(vicreg(), images(), steps=2, out=tmp_path, resume=True, **SMALL).steps == 2


def test_load_method_builds_what_was_trained(tmp_path):
    method = vicreg()
    fit(method, images(), steps=3, out=tmp_path, **SMALL)
    again = checkpoint.load_method(tmp_path / "last.pt")
    assert not again.training and same(state(method), state(again))
    torch.testing.assert_close(method.embed(images().images), again.embed(images().images))
    fit(VICReg(ConvNet(1, (4,)), 16, width=4), images(), steps=1, out=tmp_path / "b", **SMALL)
    with pytest.raises(CheckpointError, match="does not say how its method was built"):
        checkpoint.load_method(tmp_path / "b" / "last.pt")


def test_the_first_steps_of_a_long_run_are_those_of_the_long_run(tmp_path):
    whole, parts = vicreg(), vicreg()
    fit(whole, images(), steps=9, **SMALL)
    first = fit(parts, images(), steps=4, schedule_steps=9, out=tmp_path, **SMALL)
    assert (first.steps, first.total_steps) == (4, 9)
    fit(parts, images(), steps=9, schedule_steps=9, out=tmp_path, resume=True, **SMALL)
    assert same(state(whole), state(parts))
    for wrong in ({"steps": 5, "schedule_steps": 4}, {"epochs": 1, "schedule_steps": 9},
                  {"steps": 1, "schedule_steps": 0}):
        with pytest.raises(ValueError, match="schedule_steps"):
            fit(vicreg(), images(), **wrong, **SMALL)


@pytest.mark.parametrize("what", [3, torch.zeros(2)])
def test_a_file_that_holds_no_weights_is_no_backbone(tmp_path, what):
    torch.save(what, tmp_path / "backbone.pt")
    with pytest.raises(CheckpointError, match="does not hold the weights of this ConvNet"):
        checkpoint.load_backbone(tmp_path, ConvNet(1, (4,)))
