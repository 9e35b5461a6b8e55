"""Learned networks: what is kept of a method, what comes back, and sentences for files that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib.methods import METHODS, build_method, method_class
from course_lib.runs import networks
from course_lib.runs.networks import (
    NotStored,
    journey,
    keep,
    keep_path,
    kept_names,
    learned,
    score_rows,
    score_table,
)
from course_lib.runs.stored import StoredRun, write_run
from course_lib.train import checkpoint

VIT = {"patch": 8, "dim": 24, "depth": 1, "heads": 2}


def build(name: str):
    torch.manual_seed(0)
    if name in ("mae", "simmim", "beit", "dino", "ibot", "dmae"):
        return build_method(name, "vit-tiny", backbone_options=VIT).eval()
    return build_method(name, "convnet").eval()


def stored(method, name: str, folder):
    keep(method, name, "shapes", folder)
    for seed in (0, 1):
        rows = [{"name": name, "kind": "method", "knn": 0.7}, {"name": "raw pixels", "kind": "control", "knn": 0.4}]
        write_run(StoredRun(name, "shapes", id=f"shapes-{name}-s{seed}", seed=seed, scores=rows), folder)
    return folder / f"shapes-{name}.pt"


@pytest.mark.parametrize("name", METHODS)
def test_what_is_looked_into_comes_back_as_it_was(name, tmp_path):
    method, images = build(name), torch.rand(4, 3, 32, 32)
    stored(method, name, tmp_path)
    found = learned(name, folder=tmp_path)
    assert torch.allclose(found.method.embed(images), method.embed(images), atol=5e-3, rtol=2e-2)
    assert not found.method.training
    assert found.record.seed == 0 and [run.seed for run in found.seeds] == [0, 1]
    assert found.controls["raw pixels"]["knn"] == 0.4
    for part in method_class(name).explored:
        whole = {key for key in method.state_dict() if key == part or key.startswith(f"{part}.")}
        assert whole <= kept_names(method), part


@pytest.mark.parametrize("name", ["simclr", "byol", "barlow-twins"])
def test_the_projector_is_not_kept_and_says_so(name, tmp_path):
    method = build(name)
    path = stored(method, name, tmp_path)
    assert all(key.startswith("backbone.") for key in checkpoint.load(path)["method"])
    missing = [module for module in learned(name, folder=tmp_path).method.children() if isinstance(module, NotStored)]
    assert missing
    with pytest.raises(RuntimeError, match="cannot compute its loss"):
        missing[0](torch.rand(2, 3))


def test_mae_completes_as_before(tmp_path):
    method, images = build("mae"), torch.rand(2, 3, 32, 32)
    visible = torch.zeros(2, 4, 4, dtype=torch.bool)
    visible[:, :2, :2] = True
    stored(method, "mae", tmp_path)
    again = learned("mae", folder=tmp_path).method.reconstruct(images, visible)
    assert torch.allclose(again, method.reconstruct(images, visible), atol=5e-3)


def test_a_network_that_is_too_large_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="MB; expected at most 2.5"):
        keep(build_method("simclr", "resnet18"), "simclr", "shapes", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_path_keeps_distances_of_a_flat_cloud(tmp_path):
    generator = torch.Generator().manual_seed(0)
    looks = [torch.randn(30, 8, generator=generator) @ torch.randn(8, 40, generator=generator) for _ in range(3)]
    keep_path(journey([0, 5, 20], looks, torch.arange(30), torch.arange(30)), "simclr", "shapes", tmp_path)
    stored(build("simclr"), "simclr", tmp_path)
    path = learned("simclr", folder=tmp_path).path
    assert path is not None and path.points.shape == (3, 30, 16) and path.points.dtype == np.float16
    assert path.steps.tolist() == [0, 5, 20]
    stacked = torch.cat(looks)
    flat = stacked - stacked.mean(0)
    kept = (torch.linalg.svdvals(flat)[:16].square().sum() / flat.square().sum()) ** 0.5
    found = torch.from_numpy(path.points.astype(np.float32))
    assert torch.isclose(found.norm(), kept * flat.norm(), rtol=1e-3)


def test_unknown_wrong_and_truncated_files_are_sentences(tmp_path):
    with pytest.raises(ValueError, match="no learned network of 'byol' on 'shapes'; there are: none"):
        learned("byol", folder=tmp_path)
    path = stored(build("simclr"), "simclr", tmp_path)
    path.with_name("shapes-simclr.npz").write_bytes(b"PK not an archive")
    with pytest.raises(ValueError, match="shapes-simclr.npz cannot be read"):
        learned("simclr", folder=tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(checkpoint.CheckpointError, match="not a readable checkpoint"):
        learned("simclr", folder=tmp_path)
    path.write_bytes(whole)
    state = checkpoint.load(path)
    for change in ({"settings": {**state["settings"], "backbone_options": {"depth": 2}}}, {"settings": {}},
                   {"method": {key: t for key, t in list(state["method"].items())[1:]}}):
        checkpoint.save(path, {**state, **change})
        with pytest.raises(checkpoint.CheckpointError, match="not a learned network"):
            learned("simclr", folder=tmp_path)


def test_a_record_must_be_there(tmp_path):
    stored(build("simclr"), "simclr", tmp_path)
    for record in tmp_path.glob("*.json"):
        record.unlink()
    with pytest.raises(ValueError, match="record of shapes-simclr.pt is missing"):
        learned("simclr", folder=tmp_path)


def test_stored_networks_are_whole_and_small():
    files = sorted(networks.networks_folder().glob("*.pt"))
    for path in files:
        on, _, name = path.stem.partition("-")
        found = learned(name, on)
        assert path.stat().st_size <= 2_500_000 and found.path is not None
        assert path.with_suffix(".npz").stat().st_size <= 300_000
        assert {"raw pixels", "random encoder"} <= set(found.controls)
    assert sum(path.stat().st_size for path in files) <= 60e6


def test_scores_of_networks_beside_their_controls():
    simclr, mae = learned("simclr"), learned("mae")
    rows = score_rows({"MAE": mae, "SimCLR": simclr})
    assert list(rows) == ["MAE", "MAE, untrained", "SimCLR", "SimCLR, untrained", "raw pixels"]
    assert rows["SimCLR"] == simclr.record.scores[0] and rows["raw pixels"] == mae.controls["raw pixels"]
    assert rows["MAE, untrained"] == mae.controls["random encoder"]
    lines = score_table(rows, ("knn",)).splitlines()
    assert len(lines) == 6 and f"{100 * rows['MAE']['knn']:.1f} %" in lines[1] and "linear" not in lines[0]
