"""benchmarks/: tables can be built, what is missing is a row, all contenders do the same work. No time is asserted."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time

import augmenting
import contenders
import figures
import growth
import limit
import loading
import peers
import pytest
import tables
import threads
import torch
from contenders import DECAY, LR, OPTIONS, Course, TorchVision, Work, crops, torchvision_view
from torch import nn

from course_lib.augment.pixels import MEAN, STD
from course_lib.augment.views import Augment
from course_lib.methods.contrastive.byol import regression_loss
from course_lib.methods.contrastive.simclr import nt_xent
from course_lib.methods.contrastive.swav import swav_loss
from course_lib.methods.contrastive.vicreg import vicreg_loss
from course_lib.methods.masked.mae import mae_loss
from course_lib.models.layers import sinkhorn

TINY = peers.Effort(rounds=1, steps=1, run=2, large=2)
FULL = Augment(16, scale=(0.3, 1.0), jitter=(0.4, 0.3, 0.2, 0.1), jitter_p=0.7, gray_p=0.25, flip=0.4, blur_p=0.6,
               blur_sigma=(0.2, 1.5), solarize_p=0.15)


def tiny(method: str, **options) -> Work:
    vit = method == "mae"
    more = {"backbone_options": {"patch": 8, "dim": 24, "depth": 2, "heads": 3}} if vit else {
        "backbone_options": {"depth": 2, "widths": (4, 8)}}
    backbone = "vit-tiny" if vit else "convnet"
    return Work(method, backbone, size=32, batch=4, images=8, workers=0, options={**more, **options})


def picked(rows: list[dict], **wanted) -> list[dict]:
    """The data behind stored rows that match `wanted`."""
    stored = [row["data"] for row in json.loads(json.dumps(rows)) if row.get("data")]
    return [data for data in stored if all(data.get(key) == value for key, value in wanted.items())]


def check_rows(rows: list[dict]) -> None:
    assert rows and all({"figure", "value", "target", "holds", "beside"} <= set(row) for row in rows)
    assert all(isinstance(row["value"], str) and "nan" not in row["value"] for row in rows)
    json.dumps(rows)  # what figures.json stores


# ------------------------------------------------------------------------------------------------ tables
def test_the_slope_is_the_exponent_of_the_larger_sizes():
    assert tables.slope([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2)
    assert tables.slope([1, 2, 40, 80], [7.0, 7.0, 40.0, 80.0]) == pytest.approx(1)  # a fixed cost hides small ones
    with pytest.raises(ValueError, match="at least two sizes"):
        tables.slope([1], [1.0])
    with pytest.raises(ValueError, match="above 0"):
        tables.slope([1, 2], [0.0, 1.0])


def test_contenders_take_turns_and_the_first_round_is_dropped():
    calls = []
    rounds = tables.take_turns({name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}, 2)
    assert calls == ["a", "b"] * 3 and rounds == [{"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert tables.median_ratio([{"a": 1, "b": 2}, {"a": 6, "b": 2}, {"a": 4, "b": 2}], "a", "b") == 2


def test_targets_are_judged():
    assert tables.at_least("f", 4.0, 4.0, "")["holds"] is True and tables.at_least("f", 3.9, 4.0, "")["holds"] is False
    assert tables.at_most("f", 1.3, 1.2, "")["holds"] is False and tables.at_most("f", 1.3, None, "")["holds"] is None


def test_the_clock_gives_an_inner_stage_its_own_time(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(tables.time, "perf_counter", lambda: float(next(now)))
    clock, net = tables.Clock(), nn.Sequential(nn.ReLU(), nn.ReLU())
    with clock.networks([net]), clock("own work"):  # a tick at each change: 1 enters
        net(torch.zeros(1))  # 3 modules: 6 changes, of which the first still belongs to the outer stage
    assert clock.seconds["own work"] == 2 and clock.seconds["forward"] == 5 and clock.stack == []
    net(torch.zeros(1))  # the hooks are gone
    assert clock.seconds["forward"] == 5


def test_quick_asks_for_small_sizes_and_stores_nothing(monkeypatch, capsys, tmp_path, one_thread):
    asked = []

    def group(quick: bool) -> list[dict]:
        asked.append(quick)
        return [tables.row("a figure", "3 ms", "beside it", size=3)]

    monkeypatch.setattr(figures, "QUICK", {"growth": group})
    monkeypatch.setattr(figures, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["figures.py", "--quick", "--threads", "1"])
    assert figures.main() == 0 and asked == [True] and not list(tmp_path.iterdir())
    assert "| a figure | 3 ms | - | - | beside it |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["figures.py", "--only", "growth", "--threads", "1"])
    assert figures.main() == 0 and asked == [True, False]
    stored = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["groups"]["growth"]
    assert stored["rows"][0]["data"] == {"size": 3} and {"cpu", "versions", "commit"} <= set(stored["measured_on"])
    monkeypatch.setattr(sys, "argv", ["figures.py", "--only", "grwoth"])
    with pytest.raises(SystemExit):
        figures.main()
    assert "unknown group 'grwoth': choose of growth" in capsys.readouterr().err


def test_a_part_is_measured_again_and_the_rest_is_kept(monkeypatch, capsys, tmp_path, one_thread):
    monkeypatch.setattr(figures, "HERE", tmp_path)
    monkeypatch.setattr(peers, "devices", lambda: ["cpu"])
    monkeypatch.setattr(peers, "compare", lambda work, effort, memory: [tables.row(f"{work.name}: a figure", "new")])
    before = [tables.row(f"{method}, convnet, batch 256, cpu: a figure", "old") for method in ("byol", "vicreg")]
    group = {"measured_on": {"cpu": "some", "commit": "abc"}, "rows": before}
    (tmp_path / "figures.json").write_text(json.dumps({"groups": {"peers": group}}), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["figures.py", "--only", "peers", "--works", "byol", "--threads", "1"])
    assert figures.main() == 0
    stored = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["groups"]["peers"]
    values = {row["figure"].split(",")[0]: row["value"] for row in stored["rows"][1:]}
    assert values == {"byol": "new", "vicreg": "old"}
    assert stored["measured_on"]["commit"] == "abc" and list(stored["measured_on"]["again"]) == ["byol"]
    monkeypatch.setattr(sys, "argv", ["figures.py", "--only", "peers", "--works", "bjol"])
    with pytest.raises(SystemExit):
        figures.main()
    assert "unknown work 'bjol': choose of byol" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ what is missing
def test_libraries_that_are_not_installed_are_rows(monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda library: False)
    rows = peers.compare(tiny("vicreg"), TINY, memory=False)
    check_rows(rows)
    absent = [row for row in rows if row["value"] == "not measured"]
    said = [f"{name} is not installed: see requirements.txt" for name in peers.LIBRARIES]
    assert [row["beside"] for row in absent] == said
    assert any("where a step of course goes" in row["figure"] for row in rows)


def test_solo_learn_is_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(peers, "works", lambda quick, device: [])
    rows = peers.peers(quick=True)
    assert "solo-learn" in rows[0]["figure"] and rows[0]["value"] == "not measured"
    assert "torch 1.9.1" in rows[0]["beside"]


def test_augmentations_without_kornia(monkeypatch):
    monkeypatch.setattr(augmenting.importlib.util, "find_spec", lambda name: None)
    rows = augmenting.augment(quick=True, sizes=((16, 128),))
    check_rows(rows)
    assert rows[0]["value"] == "not measured" and "kornia is not installed" in rows[0]["beside"]
    names = {row["figure"].split(",")[0] for row in rows[1:]}
    assert names == {*augmenting.course_operations(16, torch.Generator()), "two views"}
    operations = picked(rows, kind="operation", size=16)
    assert {row["operation"] for row in operations} == names
    assert all(set(turn) == {"course", "torchvision"} for row in operations for turn in row["rounds"])


def test_a_process_that_fails_is_a_row(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nMemoryError: no memory left")
    monkeypatch.setattr(peers.subprocess, "run", lambda *args, **kwargs: failed)
    row = peers.peak("course", tiny("vicreg"))
    assert row["value"] == "not measured" and row["beside"] == "MemoryError: no memory left"


# ------------------------------------------------------------------------------------------------ tables of tiny runs
def test_torchvision_and_the_course_in_one_table(monkeypatch):
    monkeypatch.setattr(peers, "LIBRARIES", {"torchvision": "torchvision"})  # each contender is a process of its own
    rows = peers.compare(tiny("simclr"), TINY, memory=False)
    check_rows(rows)
    assert "against torchvision, each at its defaults" in rows[0]["figure"] and rows[0]["target"] == ">= 4.0x"
    assert "equal precision and layout" in rows[1]["figure"] and "gain from half precision" in rows[2]["figure"]
    stages = next(row["data"]["stages"] for row in rows if "where a step of torchvision goes" in row["figure"])
    assert set(stages) == set(tables.STAGES) and all(value > 0 for value in stages.values())
    rates = picked(rows, kind="rate", library="torchvision")
    assert [rate["wanted"] for rate in rates] == [4.0, 2.4] and all(len(rate["ratios"]) == 1 for rate in rates)


def test_the_limit_of_a_tiny_step():
    work = tiny("mae")
    rows = limit.limits(work, TINY, {"flops": 1e12, "bytes": 1e10})
    check_rows(rows)
    assert [row["figure"].split(": ")[1].split(",")[0] for row in rows] == [
        "step over the bare network's step", "model FLOP utilisation", "making the views", "the optimizer"]
    ceilings = picked(rows, kind="flops") + picked(rows, kind="bandwidth")
    assert len(ceilings) == 3 and all(0 < row["reached"] for row in ceilings)
    course = Course(work)
    tokens, dim = work.batch * 4, 24  # 16 patches, a quarter visible
    assert limit.flops_of_step(course) > 2 * 3 * tokens * dim * 12 * dim * 2  # two blocks' linear layers, three passes
    assert set(limit.ceilings("cpu", quick=True)) == {"flops", "bytes"}


def test_automatic_threads_are_compared_with_the_best_number(monkeypatch):
    rates = {("quiet", "auto"): 99, ("quiet", "1"): 60, ("quiet", "2"): 100, ("busy", "auto"): 50, ("busy", "1"): 55}
    monkeypatch.setattr(threads.torch, "get_num_threads", lambda: 2)
    asked = []

    def measure(number, beside, seconds, quick):
        asked.append((number, beside))
        return {"rate": rates.get((beside, number), 5), "stretches": [[1, 2]]}

    rows = threads.threads(2, 1.0, measure=measure)
    check_rows(rows)
    assert [row["value"] for row in rows] == ["0.99x", "0.91x", "1.00x"]
    assert [row["holds"] for row in rows] == [True] * 3
    assert "best number, 2" in rows[0]["figure"] and "best number, 1" in rows[1]["figure"]
    assert len(asked) == 2 * 3 * 3


@pytest.mark.parametrize("beside", threads.BESIDE)
def test_a_run_beside_a_program_that_burns_a_core(beside, one_thread):
    found = threads.one("1", beside, 0.01, quick=True)
    assert found["rate"] > 0 and found["stretches"] == [[1, 1]]


def test_memory_is_that_of_a_process_with_its_images():
    found = peers.measure_peak("course", tiny("vicreg"), 2)
    assert 0 < found["before"] <= found["peak"] and found["gpu"] == 0


def test_kept_bytes_counts_each_storage_once_and_no_weights():
    x, y = torch.ones(10, requires_grad=True), torch.ones(10)
    assert growth.kept_bytes(lambda: (x * y).sum()) == 40  # only y is needed for x's gradient
    assert growth.kept_bytes(lambda: (x * y).sum() + (x * y[:5].repeat(2)).sum()) == 80
    layer = nn.Linear(10, 3)
    assert growth.kept_bytes(lambda: layer(x[None]).sum()) == 40  # the input, not the weight


def test_nt_xent_grows_with_the_square_of_the_batch_and_is_named():
    kept = [growth.kept_bytes(growth.contrast(n, "cpu")) for n in (256, 512)]
    assert tables.slope([256, 512], kept) == pytest.approx(2, abs=0.3)
    row = growth._fitted("memory", "cpu", (256, 512), kept, ["", ""], growth.SERIES[0])
    assert row["beside"].startswith("quadratic")


GROWING = ["NT-Xent", "VICReg's loss", "Sinkhorn", "SwAV's step", "kNN", "an epoch"]


@pytest.mark.parametrize("name", GROWING)
def test_growth_of(name):
    series = next(each for each in growth.SERIES if each.name.startswith(name))
    rows = growth.measure(series, "cpu", quick=True)
    check_rows(rows)
    assert all(row["value"].startswith("size^") for row in rows)
    assert len(rows) == (1 if name in ("Sinkhorn", "kNN", "an epoch") else 2)  # memory only where there is a backward


def test_folders_and_evaluation(tmp_path):
    loading.write_jpegs(tmp_path, 6, pixels=(40, 30))
    theirs = loading.with_image_folder(tmp_path, 16, workers=0)
    assert theirs.shape == (6, 3, 16, 16) and theirs.dtype == torch.uint8
    assert loading.forget(tmp_path) is hasattr(os, "posix_fadvise")
    work = Work("simclr", images=20, size=16, batch=4)
    rows = (loading.decoding(20, 16, rounds=1, workers=0) + loading.streaming(work, rounds=1)
            + loading.evaluation((60, 120), 40, 8))
    check_rows(rows)
    assert "against torchvision's ImageFolder" in rows[0]["figure"] and "from the cache" in rows[1]["figure"]
    assert [row["figure"].split(" of ")[0].split(",")[0] for row in rows[-2:]] == ["kNN", "linear probe"]
    assert [row["kind"] for row in picked(rows)] == ["decode", "cache", "stream", "knn", "probe"]
    assert all(len(row["sizes"]) == len(row["times"]) for row in picked(rows)[3:])


def test_the_time_spent_waiting_is_the_loaders(monkeypatch, one_thread):
    index = loading.Batches.index
    monkeypatch.setattr(loading.Batches, "index", lambda *what: (time.sleep(0.1), index(*what))[1])
    rows = loading.waiting(Work("simclr", images=20, size=16, batch=4), steps=3)
    check_rows(rows)
    assert [row["where"] for row in picked(rows)] == ["in memory", "on disk"]
    assert all(0.3 <= row["waited"] <= row["seconds"] for row in picked(rows))


# ------------------------------------------------------------------------------------------------ the same work
def parts_of(transform) -> dict[str, nn.Module]:
    """Every torchvision transform in a nested pipeline, by the name of its class."""
    found, queue = {}, [transform]
    while queue:
        part = queue.pop()
        found.setdefault(type(part).__name__, part)
        for inner in (getattr(part, "transforms", None), getattr(part, "transform", None)):
            if inner is not None:
                queue += list(inner) if isinstance(inner, (list, tuple, nn.ModuleList)) else [inner]
    return found


def check_view(parts: dict, view: Augment) -> None:
    crop, jitter = parts["RandomResizedCrop"], parts["ColorJitter"]
    assert tuple(crop.scale) == view.scale and tuple(crop.ratio) == view.ratio and set(crop.size) == {view.size}
    assert parts["RandomHorizontalFlip"].p == view.flip and parts["RandomGrayscale"].p == view.gray_p
    for name, strength in zip(("brightness", "contrast", "saturation"), view.jitter):
        assert tuple(getattr(jitter, name)) == pytest.approx((1 - strength, 1 + strength))
    assert tuple(jitter.hue) == pytest.approx((-view.jitter[3], view.jitter[3]))


def test_torchvision_draws_the_same_views():
    pipeline = torchvision_view(FULL)
    check_view(parts_of(pipeline), FULL)
    by_kind = {type(part.transforms[0]).__name__: part for part in pipeline.transforms if hasattr(part, "transforms")}
    assert by_kind["ColorJitter"].p == FULL.jitter_p and by_kind["GaussianBlur"].p == FULL.blur_p
    assert parts_of(pipeline)["RandomSolarize"].p == FULL.solarize_p
    made = pipeline(torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8))
    assert made.shape == (3, 16, 16) and made.dtype == torch.float32 and 0 <= made.min() and made.max() <= 1


@pytest.mark.parametrize("name", ["simclr", "byol", "vicreg", "swav"])
def test_lightly_draws_the_same_views(name):
    pytest.importorskip("lightly")
    from lightly_peer import transform

    small = Augment(**{**vars(FULL), "size": 8, "scale": (0.1, 0.3)})
    views = [FULL, FULL, small, small] if name == "swav" else [FULL, FULL]
    pipeline = transform(name, views)
    assert len(pipeline.transforms) == len(views)
    for each, view in zip(pipeline.transforms, views):
        parts = parts_of(each)
        check_view(parts, view)
        assert parts["RandomApply"].p == view.jitter_p
        assert parts["GaussianBlur"].prob == view.blur_p and tuple(parts["GaussianBlur"].sigmas) == view.blur_sigma
        assert list(parts["Normalize"].mean) == [MEAN] * 3 and list(parts["Normalize"].std) == [STD] * 3
        if name in ("byol", "vicreg"):
            assert parts["RandomSolarization"].prob == view.solarize_p


@pytest.mark.parametrize("name", list(OPTIONS))
def test_all_contenders_do_the_same_work(name):
    pytest.importorskip("lightly")
    from lightly_peer import Lightly

    work = tiny(name)
    course, plain, theirs = Course(work), TorchVision(work), Lightly(work)
    ours = course.method.backbone
    other = theirs.backbone.backbone if name == "mae" else theirs.backbone

    def trained(net: nn.Module) -> int:
        return sum(p.numel() for key, p in net.named_parameters() if p.requires_grad and key != "mask_token")

    assert trained(ours) == trained(plain.method.backbone) == trained(other)
    for one in (plain, theirs):
        assert isinstance(one.optimizer, torch.optim.AdamW) and isinstance(course.optimizer, torch.optim.AdamW)
        for key in ("lr", "betas", "eps"):
            assert one.optimizer.param_groups[0][key] == course.optimizer.param_groups[0][key]
        assert one.optimizer.param_groups[0]["lr"] == LR and one.optimizer.param_groups[0]["weight_decay"] == DECAY
    sizes = [tuple(each.shape) for each in theirs.views(theirs.batch())]
    assert sizes == [tuple(each.shape) for each in plain.views(plain.batch())]
    assert sizes == [(4, 3, view.size, view.size) for view in crops(course.method)] and len(sizes) == work.views
    before = [p.detach().clone() for p in theirs.trained[0].parameters()]
    check = theirs.stages(1)
    assert set(check) == set(tables.STAGES)
    assert any(not torch.equal(a, b) for a, b in zip(before, theirs.trained[0].parameters()))


def test_ready_batches_are_used_up_before_the_clock_starts(monkeypatch):
    program = TorchVision(dataclasses.replace(tiny("simclr"), workers=1))
    updates, reads = [], []
    monkeypatch.setattr(program, "update", lambda views: updates.append(len(views[0])))
    monkeypatch.setattr(contenders.time, "perf_counter", lambda: reads.append(len(updates)) or float(len(reads)))
    assert program.rate(3) == 3 * 4 * 2  # one tick for three steps of 4 images, two views each
    assert updates == [4] * 5 and reads == [2, 5]  # two batches lie ready


def test_the_losses_are_lightlys_on_equal_tensors():
    L = pytest.importorskip("lightly.loss")
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(12, 7, generator=generator) for _ in range(2))
    near = dict(rel=1e-5, abs=1e-5)
    assert float(nt_xent(a, b, 0.5)["loss"]) == pytest.approx(float(L.NTXentLoss(0.5)(a, b)), **near)
    assert float(vicreg_loss(a, b)["loss"]) == pytest.approx(float(L.VICRegLoss()(a, b)), **near)
    cosine = float(L.NegativeCosineSimilarity()(a, b))
    assert float(regression_loss(a, b)) == pytest.approx(2 + 2 * cosine, **near)  # the same gradient, twice
    scores = [torch.rand(12, 5, generator=generator) * 2 - 1 for _ in range(4)]
    codes = [sinkhorn(score, 0.05, 3) for score in scores[:2]]
    assert float(swav_loss(scores, codes, 0.1)) == pytest.approx(float(L.SwaVLoss()(scores[:2], scores[2:])), **near)


def test_maes_target_is_lightlys():
    utils = pytest.importorskip("lightly.models.utils")
    generator = torch.Generator().manual_seed(0)
    images, predicted = torch.rand(2, 3, 16, 16, generator=generator), torch.rand(2, 4, 192, generator=generator)
    hidden = torch.tensor([[0, 2], [1, 3]])
    target = utils.normalize_mean_var(utils.get_at_index(utils.patchify(images, 8), hidden))
    theirs = nn.functional.mse_loss(utils.get_at_index(predicted, hidden), target)
    visible = torch.ones(2, 4, dtype=torch.bool).scatter(1, hidden, False)
    assert float(mae_loss(predicted, images, visible)) == pytest.approx(float(theirs), rel=1e-5)
