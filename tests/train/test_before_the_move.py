"""What a user had before the library was moved into packages: checkpoints resume, weights load, a workspace opens.

The files in tests/fixtures/before_the_move were written by the code as it was then: three steps of six, and what the
last three gave; a workspace whose learner had solved an exercise of lesson 03 and added a cell.
"""

from __future__ import annotations

import ast
import json
import shutil
from collections import OrderedDict

import pytest
import torch

from course_lib.cli.workspace import sync_lessons
from course_lib.data.loading import load
from course_lib.exercises import answer, store
from course_lib.methods import build_method
from course_lib.models.backbones import build_backbone
from course_lib.train import checkpoint
from course_lib.train.checkpoint import current_names, load_backbone, load_method
from course_lib.train.checkpoint import load as read
from course_lib.train.loop import fit
from helpers.environment import TESTS

BEFORE = TESTS / "fixtures" / "before_the_move"
CASES = {"vicreg": "lars", "mae": "adamw", "beit": "adamw"}


def build(case: str):
    """The method as its checkpoint describes it."""
    settings = load_method(BEFORE / case / "last.pt").settings
    torch.manual_seed(0)
    return build_method(settings["method"], settings["backbone"], settings["image_size"],
                        backbone_options=settings["backbone_options"], **settings["options"])


@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on_as_it_would_have(case, tmp_path, one_thread):
    shutil.copytree(BEFORE / case, tmp_path / case)
    recipe = read(BEFORE / case / "last.pt")["recipe"]
    history = fit(build(case), load("shapes", n=64, size=16).train, steps=6, batch_size=16, log_every=1, progress=False,
                  device="cpu", precision="float32", out=tmp_path / case, resume=True, optimizer=CASES[case],
                  lr=recipe["lr"], weight_decay=recipe["weight_decay"], clip=recipe["clip"] or float("inf"))
    then = json.loads((BEFORE / case / "resumed.json").read_text())
    assert history.steps == 6 and history.loss == pytest.approx(then["loss"], rel=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_an_exported_backbone_loads(case):
    method = load_method(BEFORE / case / "last.pt")
    settings = method.settings
    backbone = build_backbone(settings["backbone"], 16, **settings["backbone_options"])
    assert load_backbone(BEFORE / case / "backbone.pt", backbone) is backbone
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(backbone.eval()(images), method.backbone(images))


# ---------------------------------------------------------------- names that change later


def test_renamed_parameters_and_options_load_and_the_run_goes_on(tmp_path, monkeypatch, one_thread):
    """As if `expander` had been `head`, `blocks` of a backbone `layers`, `width` `wide`, and `depth` `deep`."""
    state = torch.load(BEFORE / "vicreg" / "last.pt", weights_only=True)
    was = {"expander.": "head.", "backbone.blocks.": "backbone.layers."}
    for new, old in was.items():
        state["method"] = OrderedDict((old + k.removeprefix(new) if k.startswith(new) else k, t)
                                      for k, t in state["method"].items())
    state["settings"]["options"] = {"wide": state["settings"]["options"]["width"]}
    state["settings"]["backbone_options"]["deep"] = state["settings"]["backbone_options"].pop("depth")
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(checkpoint.CheckpointError, match="another version"):
        load_method(tmp_path / "last.pt")
    monkeypatch.setattr(checkpoint, "KEYS", [*checkpoint.KEYS, (r"^head\.", "expander."),
                                             (r"^(backbone\.)?layers\.", r"\1blocks.")])
    monkeypatch.setitem(checkpoint.OPTIONS, "vicreg", {"wide": "width"})
    monkeypatch.setitem(checkpoint.OPTIONS, "simclr", {"width": "nothing"})     # another method's
    monkeypatch.setitem(checkpoint.BACKBONE_OPTIONS, "deep", "depth")
    expected = load_method(BEFORE / "vicreg" / "last.pt")
    method = load_method(tmp_path / "last.pt")
    assert method.settings == expected.settings
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, method.state_dict()[name])
    history = fit(build("vicreg"), load("shapes", n=64, size=16).train, steps=6, batch_size=16, log_every=1,
                  progress=False, device="cpu", precision="float32", out=tmp_path, resume=True, optimizer="lars",
                  lr=state["recipe"]["lr"], weight_decay=state["recipe"]["weight_decay"])
    assert history.loss == pytest.approx(json.loads((BEFORE / "vicreg/resumed.json").read_text())["loss"], rel=1e-4)

    weights = torch.load(BEFORE / "vicreg" / "backbone.pt", weights_only=True)
    torch.save({k.replace("blocks.", "layers."): t for k, t in weights.items()}, tmp_path / "backbone.pt")
    backbone = load_backbone(tmp_path / "backbone.pt", build_backbone("convnet", 16, depth=2, widths=[8, 12]))
    assert all(torch.equal(t, weights[k]) for k, t in backbone.state_dict().items())


@pytest.mark.parametrize("key, now", {
    "backbone.embed.weight": "backbone.patch_embed.weight", "embed.bias": "patch_embed.bias",
    "teacher.module.0.embed.weight": "teacher.module.0.patch_embed.weight",
    "decoder.embed.weight": "decoder.embed.weight", "backbone.patch_embed.bias": "backbone.patch_embed.bias",
}.items())
def test_a_pattern_for_a_transformers_patches_spares_the_decoders(key, now, monkeypatch):
    monkeypatch.setattr(checkpoint, "KEYS", [(r"^((?:backbone|teacher\.module\.0)\.)?embed\.(weight|bias)$",
                                              r"\1patch_embed.\2")])
    assert list(current_names({key: torch.zeros(1)})) == [now]


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_today_reads_the_same_twice(case, tmp_path):
    """No pattern fits a name of today, and so nothing is renamed that was not."""
    method = load_method(BEFORE / case / "last.pt")
    assert list(current_names(method.state_dict())) == list(method.state_dict())
    again = read(checkpoint.save(tmp_path / "last.pt", dict(method=method.state_dict(), settings=method.settings)))
    assert again["settings"] == method.settings and list(again["method"]) == list(method.state_dict())


def test_weights_of_another_backbone_say_so(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="does not hold the weights of this ViT"):
        load_backbone(BEFORE / "vicreg" / "backbone.pt", build_backbone("vit-tiny", 16))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(checkpoint.CheckpointError, match="does not hold the weights of this ConvNet"):
        load_backbone(tmp_path / "list.pt", build_backbone("convnet", 16))
    with pytest.raises(FileNotFoundError):
        load_backbone(tmp_path / "nothing.pt", build_backbone("convnet", 16))
    resnet = build_backbone("resnet18", 16)
    torch.save(resnet.export(), tmp_path / "resnet.pt")
    assert load_backbone(tmp_path / "resnet.pt", build_backbone("resnet18", 16))


# ---------------------------------------------------------------- the workspace


def imports(notebook: dict) -> list[str]:
    """The statements of a notebook that import from the library."""
    code = (ast.parse("".join(cell["source"])) for cell in notebook["cells"] if cell["cell_type"] == "code")
    return [ast.unparse(node) for tree in code for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom)) and "course_lib" in ast.unparse(node)]


def test_a_workspace_opens_with_what_the_learner_wrote(tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    shutil.copytree(BEFORE / "workspace", mine)
    theirs = (mine / "03_vicreg.ipynb").read_bytes()
    report = sync_lessons(workspace=mine)
    assert ("03_vicreg.ipynb", "03_vicreg.new.ipynb") in report.beside
    assert report.moved == [("03_vicreg.ipynb", "03_vicreg.moved.ipynb")]
    assert (mine / "03_vicreg.ipynb").read_bytes() == theirs
    assert sync_lessons(workspace=mine).lines() == []

    before, after = json.loads(theirs), json.loads((mine / "03_vicreg.moved.ipynb").read_text(encoding="utf-8"))
    assert {**after, "cells": 0} == {**before, "cells": 0} and len(after["cells"]) == len(before["cells"])
    changed = []
    for old, new in zip(before["cells"], after["cells"], strict=True):
        assert {**old, "source": 0} == {**new, "source": 0}
        if old["source"] != new["source"]:
            changed.append(new["id"])
    assert changed == ["imports", "my-own-cell"]
    own = "".join(after["cells"][-1]["source"])
    assert own == """import course_lib.evaluate.measures as measures
from course_lib.seeds import generator

my_rank = measures.effective_rank
# my own note: the rank rose to 40"""
    for statement in imports(after):
        exec(statement, {})
    with pytest.raises(ImportError, match="has moved"):
        for statement in imports(before):
            exec(statement, {})

    monkeypatch.setenv("COURSE_WORKSPACE", str(mine))
    assert store.read()["03.variance"]["solved"]
    assert "def variance_loss" in answer("03.variance")
