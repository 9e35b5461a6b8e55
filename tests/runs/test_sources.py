"""A trained network that a method begins with: from Python and by `course train ... --set pretext=RUN`."""

from __future__ import annotations

import pytest
import torch

from course_lib.data.loading import load
from course_lib.methods import build_method
from course_lib.methods.clustering.shared import directions
from course_lib.runs import networks
from course_lib.runs.sources import begun, build_on, trained_network
from course_lib.runs.stored import StoredRun, write_run
from course_lib.train.checkpoint import CheckpointError, load_method, save, save_small
from course_lib.train.checkpoint import load as load_checkpoint
from course_lib.train.loop import fit
from helpers.commands import course
from helpers.tiny import same

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ("--device", "cpu", "--batch-size", "16", "--no-evaluate")


def spread_out(run) -> None:
    """Give the run of SCAN, which has hardly begun, a head that puts images into several clusters."""
    state, method = load_checkpoint(run), load_method(run)
    save(run / "as_trained.pt", state)
    features = method.embed(load("shapes", limit=64).train.images).detach()
    rows = directions(features)[:8]
    state["method"] |= {"head.weight": 9 * rows, "head.bias": -9 * rows @ features.mean(0)}
    save(run / "last.pt", state)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A pretext, SCAN on it, RUC on that; only the first says which images, and what its backbone is."""
    folder = tmp_path_factory.mktemp("chain")
    backbone = ("--backbone-set", "depth=2", "--backbone-set", "widths=4,8")
    assert course("train", "vicreg", "--data", "shapes", "--limit", 64, *backbone, "--set", "width=8", *SMALL,
                  "--steps", 2, "--out", folder / "pretext") == 0
    assert course("train", "scan", "--set", f"pretext={folder / 'pretext'}", *SMALL, "--steps", 4,
                  "--out", folder / "scan") == 0
    spread_out(folder / "scan")
    assert course("train", "ruc", "--set", f"labels_from={folder / 'scan'}", "--set", f"pretext={folder / 'pretext'}",
                  "--set", "selection=neighbours", *SMALL, "--steps", 2, "--out", folder / "ruc") == 0
    return folder


def test_images_backbone_and_clusters_come_from_the_source(chain):
    for name in ("scan", "ruc"):
        settings = load_checkpoint(chain / name)["settings"]
        assert settings["backbone_options"] == {"depth": 2, "widths": [4, 8]}
        assert settings["run"]["limit"] == 64 and settings["options"]["clusters"] == 8
    assert load_method(chain / "scan").memory.neighbours.shape == (64, 21)
    assert load_method(chain / "ruc").memory.labels.shape == (64,)


def test_the_weights_are_those_of_the_source(chain):
    pretext = trained_network(chain / "pretext")
    scan = build_on("scan", pretext=chain / "pretext", clusters=5)
    assert same(scan.backbone.state_dict(), pretext.backbone.state_dict()) and scan.clusters == 5
    ruc = build_on("ruc", labels_from=str(chain / "scan"))
    for backbone in (ruc.backbone, ruc.peer[0]):
        assert same(backbone.state_dict(), trained_network(chain / "scan").backbone.state_dict())
    images = load("shapes", limit=64).train.images
    ruc.selection, ruc.neighbours = "neighbours", 3
    ruc.prepare(images)
    assert torch.equal(ruc.memory.labels, trained_network(chain / "scan").logits(images).argmax(1))
    assert not ruc.given, "the source is let go"


def test_a_run_goes_on_without_its_source(chain, tmp_path):
    whole = load_checkpoint(chain / "scan" / "as_trained.pt")
    torch.manual_seed(0)
    begun = build_on("scan", pretext=str(chain / "pretext"), **{
        key: value for key, value in whole["settings"]["options"].items() if key != "pretext"})
    begun.settings = whole["settings"]
    fit(begun, load("shapes", limit=64).train, steps=2, schedule_steps=4, batch_size=16, device="cpu", out=tmp_path,
        progress=False)
    moved = chain / "pretext"
    hidden = moved.rename(chain / "elsewhere")
    try:
        assert course("train", "--resume", "--out", tmp_path, "--no-evaluate") == 0
    finally:
        hidden.rename(moved)
    assert same(load_checkpoint(tmp_path)["method"], whole["method"])


def test_evaluate_prints_cluster_scores_beside_kmeans(chain, capsys):
    assert course("evaluate", chain / "scan", "--device", "cpu", "--out", chain / "rows.json") == 0
    said = capsys.readouterr().out
    assert "matched with the classes on training images, scored on test images" in said
    assert all(row in said for row in ("ACC", "AMI", "k-means on its features", "k-means, random encoder", "of 8"))
    assert '"clustering"' in (chain / "rows.json").read_text(encoding="utf-8")


def test_a_learned_network_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_NETWORKS", str(tmp_path))
    method = build_method("simclr", "convnet", backbone_options={"depth": 2, "widths": (4, 8)})
    networks.keep(method, "simclr", "shapes")
    write_run(StoredRun("simclr", "shapes", id="shapes-simclr-s0", seed=0, scores=[]), tmp_path)
    scan = build_on("scan", pretext="simclr", clusters=3)
    assert torch.allclose(scan.backbone.blocks[0][0].weight, method.backbone.blocks[0][0].weight, atol=1e-3)
    with pytest.raises(ValueError, match="no learned network of 'byol'"):
        build_on("scan", pretext="byol")


def test_what_cannot_be_is_a_sentence(chain, tmp_path, capsys):
    pretext = f"pretext={chain / 'pretext'}"
    for words, says in (
            (("--set", "pretext=nowhere"), "there is no run nowhere, and no method of that name"),
            (("--set", "pretext=3"), "pretext is 3; expected the folder of a run"),
            (("--set", pretext, "--backbone", "resnet18"), "the backbone is that of pretext="),
            (("--set", pretext, "--set", "clusters=1"), "clusters is 1; expected a whole number from 2 up"),
            (("--set", pretext, "--set", "clusters=65"), "clusters is 65, but there are only 64 images"),
            (("--set", "clusters=3", "--set", f"labels_from={chain / 'scan'}"), "has no option 'labels_from'")):
        assert course("train", "scan", *words, *SMALL, "--limit", 64, "--steps", 1, "--out", tmp_path / "run") == 2
        said = capsys.readouterr().err
        assert says in said and "Traceback" not in said, said
    assert course("train", "ruc", "--set", f"labels_from={chain / 'scan'}", "--set", "clusters=5", *SMALL,
                  "--steps", 1, "--out", tmp_path / "run") == 2
    assert "has 8 clusters and this method 5: give it clusters=8" in capsys.readouterr().err


def test_from_python_too(chain):
    with pytest.raises(ValueError, match="scan begins with no trained network here: it may be given pretext"):
        build_on("scan", clusters=3)
    torch.manual_seed(0)
    folder = chain / "vit"
    vit = build_method("dino", "vit-tiny", 16, backbone_options={"patch": 4, "dim": 24, "depth": 1, "heads": 2},
                       crops=0)
    folder.mkdir()
    save_small(folder / "last.pt", vit)
    assert same(build_on("scan", pretext=folder).backbone.state_dict(), load_method(folder).evaluated.state_dict())
    with pytest.raises(CheckpointError, match="take its image size, 16"):
        build_on("scan", 32, pretext=folder)


def test_two_towers_are_no_backbone_to_begin_with():
    with pytest.raises(ValueError, match=r"trained by CMC, .* \(Halves\), and scan begins with one convnet"):
        begun("scan", {"pretext": build_method("cmc", "convnet", 32)}, options={"clusters": 4})
