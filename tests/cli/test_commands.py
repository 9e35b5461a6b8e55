"""train, evaluate, embed and export, from the command line, on a folder of pictures that the test draws."""
from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.data.shapes import make_shapes
from course_lib.models.backbones import build_backbone
from helpers.commands import course


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    drawn = make_shapes(240, seed=3)
    for index, (image, label) in enumerate(zip(drawn.images, drawn.labels)):
        where = folder / drawn.classes[label]
        where.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(where / f"{index}.png")
    return folder


def train(method, pictures, out, *more) -> int:
    return course("train", method, "--data", pictures, "--data-root", out.parent / "data", "--batch-size", 32,
                  "--device", "cpu", "--out", out, *more)


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "vicreg"
    assert train("vicreg", pictures, out, "--steps", 3, "--set", "width=32") == 0
    return out


def test_train_writes_what_it_says(run):
    assert {path.name for path in run.iterdir()} == {"last.pt", "backbone.pt", "metrics.csv", "results.json"}
    head, *lines = (run / "metrics.csv").read_text().splitlines()
    assert head == "step,loss,invariance,variance,covariance" and len(lines) == 3
    rows = json.loads((run / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["vicreg", "random encoder", "raw pixels"]
    build_backbone("convnet").load_state_dict(torch.load(run / "backbone.pt", weights_only=True))


def test_evaluate_embed_export(run, pictures, tmp_path, capsys):
    data = ("--data", pictures, "--data-root", run.parent / "data", "--device", "cpu")
    assert course("evaluate", run / "last.pt", *data, "--out", tmp_path / "rows.json") == 0
    assert "raw pixels" in capsys.readouterr().out
    assert course("embed", run / "last.pt", *data, "--out", tmp_path / "features.npz") == 0
    stored = np.load(tmp_path / "features.npz")
    assert stored["features"].shape == (240, 128) and len(stored["names"]) == 240
    assert set(stored["split"]) == {"train", "validation", "test"}
    assert course("export", run / "last.pt", "--out", tmp_path / "weights.pt") == 0
    ours = torch.load(tmp_path / "weights.pt", weights_only=True)
    kept = torch.load(run / "backbone.pt", weights_only=True)
    assert all(torch.equal(ours[name], kept[name]) for name in kept) and ours.keys() == kept.keys()


def test_classes_are_embedded_where_only_test_has_them(run, pictures, tmp_path):
    """Bug: labels from 0 on, and no names for them."""
    drawn = make_shapes(24, seed=9)
    for index, image in enumerate(drawn.images):
        where = tmp_path / "data" / ("train" if index < 18 else f"test/{'ab'[index % 2]}")
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(where / f"{index}.png")
    assert course("embed", run, "--data", tmp_path / "data", "--data-root", tmp_path / "cache", "--device", "cpu",
                  "--out", tmp_path / "features.npz") == 0
    stored = np.load(tmp_path / "features.npz")
    assert stored["classes"].tolist() == ["a", "b"] and set(stored["labels"][stored["split"] == "test"]) == {0, 1}


def test_a_resnet_loads_into_torchvision(pictures, tmp_path):
    import torchvision

    out = tmp_path / "spark"
    assert train("spark", pictures, out, "--steps", 1, "--backbone", "resnet18", "--image-size", 96, "--set",
                 "normalized=false", "--no-evaluate") == 0
    assert course("export", out / "last.pt", "--out", tmp_path / "resnet18.pt") == 0
    net = torchvision.models.resnet18(weights=None)
    missing = net.load_state_dict(torch.load(tmp_path / "resnet18.pt", weights_only=True), strict=False)
    assert sorted(missing.missing_keys) == ["fc.bias", "fc.weight"] and not missing.unexpected_keys


@pytest.mark.parametrize("method, backbone, options", [
    ("vicreg", "convnet", ("depth=2", "widths=8,16")), ("vicreg", "resnet18", ()),
    ("beit", "vit-tiny", ("dim=24", "depth=1", "patch=8")),
    ("dino", "vit-tiny", ("stem=8,16", "dim=24", "depth=2", "patch=8")),
])
def test_what_is_exported_loads_as_it_says(method, backbone, options, pictures, tmp_path, capsys):
    """Bugs: options and image size left out of the sentence; torchvision named for a stem that it has not."""
    import course_lib.models.backbones

    sets = [word for option in options for word in ("--backbone-set", option)]
    assert train(method, pictures, tmp_path / "run", "--steps", 1, "--backbone", backbone, *sets, "--no-evaluate") == 0
    assert course("export", tmp_path / "run" / "last.pt", "--out", tmp_path / "b.pt") == 0
    how = capsys.readouterr().out.strip().rpartition("load them with ")[2]
    keys = eval(how, {"course_lib": course_lib, "torch": torch})
    assert not keys.missing_keys and not keys.unexpected_keys
    if "stem=8,16" in options:
        stored = torch.load(tmp_path / "b.pt", weights_only=True)
        assert "stem=[8, 16]" in how and stored["stem.blocks.1.0.weight"].shape[0] == 16


@pytest.mark.parametrize("method, backbone, size, options", [
    ("vicreg", "convnet", 32, ()), ("vicreg", "resnet18", 32, ()), ("vicreg", "resnet18", 72, ()),
    ("dino", "vit-tiny", 32, ("dim=24", "depth=2", "patch=8")),
])
def test_the_printed_recipe_gives_the_features(method, backbone, size, options, tmp_path, capsys, monkeypatch):
    """Bug: nobody said how pixels are scaled; with ImageNet's scaling features were off by 12 %."""
    import torchvision

    import course_lib.models.backbones
    from course_lib.methods import build_method
    from course_lib.train.checkpoint import load_method, save_small

    monkeypatch.chdir(tmp_path)
    chosen = dict(pair.split("=") for pair in options)
    made = build_method(method, backbone, size, backbone_options={name: int(value) for name, value in chosen.items()})
    save_small("small.pt", made)
    assert course("export", "small.pt", "--out", "b.pt") == 0
    out = capsys.readouterr().out
    about = json.loads((tmp_path / "b.json").read_text())
    recipe = [line.strip() for line in out.splitlines() if line.startswith("    ")]
    assert recipe == about["recipe"] and len(recipe) == 3
    assert about["size"] == size and about["scaling"]["mean"] == [0.45] * 3 and about["scaling"]["std"] == [0.25] * 3
    assert "not ImageNet's" in out and "Pooling: " in out and "fc = Identity" in out
    assert ("torchvision.models" in recipe[0]) is backbone.startswith("resnet")
    images = torch.randint(256, (3, 3, size, size), dtype=torch.uint8)
    found = {"torch": torch, "torchvision": torchvision, "course_lib": course_lib, "images": images}
    exec("\n".join(recipe), found)
    with torch.no_grad():
        expected = load_method("small.pt").embed(images)
    assert found["features"].shape == (3, about["dim"])
    assert torch.allclose(found["features"].detach(), expected, atol=1e-5)


@pytest.mark.parametrize("extra, package", [("safetensors", "safetensors"), ("onnx", "onnx and onnxscript")])
def test_a_missing_extra_is_a_sentence_and_nothing_is_written(run, extra, package, tmp_path, monkeypatch, capsys):
    from course_lib.train import exported

    monkeypatch.setattr(exported.importlib.util, "find_spec", lambda name: None)
    assert course("export", run / "last.pt", "--out", tmp_path / "b.pt", f"--{extra}") == 2
    said = capsys.readouterr().err
    assert f"--{extra} needs the package {package}" in said and "pip install" in said
    assert not list(tmp_path.iterdir())


def test_safetensors_and_onnx_give_the_same(run, tmp_path):
    pytest.importorskip("safetensors", reason="the extra safetensors is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    from safetensors.torch import load_file

    from course_lib.augment.pixels import standardize
    from course_lib.train.checkpoint import load_method

    assert course("export", run / "last.pt", "--out", tmp_path / "b.pt", "--safetensors", "--onnx") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"b.pt", "b.json", "b.safetensors", "b.onnx"}
    ours = torch.load(tmp_path / "b.pt", weights_only=True)
    assert all(torch.equal(ours[name], tensor) for name, tensor in load_file(tmp_path / "b.safetensors").items())
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    got, = runtime.InferenceSession(tmp_path / "b.onnx").run(None, {"images": standardize(images).numpy()})
    with torch.no_grad():
        assert np.allclose(got, load_method(run / "last.pt").embed(images).numpy(), atol=1e-4)


def test_spark_reports_its_error_beside_both_fillings(pictures, tmp_path, capsys):
    assert train("spark", pictures, tmp_path / "s", "--steps", 1, "--set", "normalized=false") == 0
    said = capsys.readouterr().out
    assert "visible mean" in said and "nearest visible pixel" in said


@pytest.mark.parametrize("layout, said", [
    ({"train/a": 12, "train/b": 12, "val/a": 2, "val/b": 2, "test": 4}, "test has no labels"),
    ({"train/a": 24, "val/a": 4, "test/a": 4}, "train has one class only"),
    ({"train": 24, "val": 4, "test/a": 4}, "train has no labels"),
    ({"train/a": 12, "train/b": 12, "val/a": 2, "test/c": 4, "test/d": 4}, "test and train have no class in common"),
    ({"a": 2, "b": 2}, "test has no images"),
])
def test_what_a_folder_cannot_measure_is_said_before_step_1(layout, said, tmp_path, capsys):
    """Bug: training ran to its end and failed there."""
    drawn = iter(make_shapes(60, seed=5, size=8).images)
    for where, count in layout.items():
        (tmp_path / "data" / where).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(next(drawn).permute(1, 2, 0).numpy()).save(tmp_path / "data" / where / f"{i}.png")
    assert train("vicreg", tmp_path / "data", tmp_path / "run", "--steps", 2, "--set", "width=16", "--batch-size",
                 2) == 0
    out = capsys.readouterr().out
    before, after = out.split("Written: ")
    assert said in before and said in after
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert len(rows) == 3 and rows[0]["knn"] is None


@pytest.mark.parametrize("words, said", [
    (("train", "vicreg", "--data", "no/such/folder", "--steps", 1), "no/such/folder"),
    (("evaluate", "no/last.pt"), "no/last.pt"),
    (("train", "vicreg", "--data", "shapes", "--limit", 300, "--steps", 1, "--set", "wiidth=3"), "wiidth"),
    (("train", "vicreg", "--data", "shapes", "--limit", 300, "--steps", 1, "--set", "width"), "NAME=VALUE"),
    (("train", "vicreg", "--data", "shapes", "--limit", 300, "--steps", 1, "--backbone-set", "stem=32,64"), "stem"),
    (("train", "dino", "--data", "shapes", "--limit", 300, "--steps", 1, "--backbone", "vit-tiny", "--backbone-set",
      "stem=8,8,8"), "patch"),
    (("train", "vicreg", "--data", "shapes", "--limit", 100, "--steps", 1), "batch_size"),
    (("train", "spark", "--data", "shapes", "--limit", 300, "--steps", 1, "--backbone", "vit-tiny"), "feature maps"),
])
def test_mistakes_are_sentences(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert course(*words) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not list(tmp_path.rglob("*.pt")), "nothing half-written"


def test_a_run_is_not_written_over(run, pictures, capsys):
    assert train("vicreg", pictures, run, "--steps", 3) == 2
    assert "--resume" in capsys.readouterr().err


def test_resume_goes_on(pictures, tmp_path, capsys):
    """Stopped after 2 of 4 steps, then resumed: the weights of the run that was not stopped."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train("vicreg", pictures, whole, "--steps", 4, "--set", "width=32", "--no-evaluate") == 0
    code = f"""
import course_lib.methods.contrastive.vicreg as v, os
seen = [0]
old = v.VICReg.views
def views(self, *a):
    seen[0] += 1
    if seen[0] == 3:
        raise KeyboardInterrupt
    return old(self, *a)
v.VICReg.views = views
from course_lib.cli.main import main
main({["train", "vicreg", "--data", str(pictures), "--data-root", str(tmp_path / "data"), "--batch-size", "32",
       "--device", "cpu", "--out", str(parts), "--steps", "4", "--set", "width=32", "--no-evaluate"]!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert torch.load(parts / "last.pt", weights_only=True)["step"] == 2
    assert train("vicreg", pictures, parts, "--steps", 4, "--set", "width=32", "--no-evaluate", "--resume") == 0
    a, b = (torch.load(path / "last.pt", weights_only=True)["method"] for path in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_two_processes_train_one_run(pictures, tmp_path):
    """Two CPU processes (gloo) write one checkpoint, in silence."""
    out = tmp_path / "two"
    words = ["train", "vicreg", "--data", str(pictures), "--data-root", str(tmp_path / "data"), "--batch-size", "32",
             "--device", "cpu", "--out", str(out), "--set", "width=32", "--no-evaluate", "--precision", "float32"]
    done = subprocess.run([sys.executable, "-m", "course_lib", *words, "--steps", "2", "--processes", "2"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert torch.load(out / "last.pt", weights_only=True)["step"] == 2
    again = subprocess.run([sys.executable, "-m", "course_lib", *words, "--steps", "2", "--processes", "2"],
                           capture_output=True, text=True)
    assert again.returncode == 2 and again.stderr.count("already holds a run") == 1, again.stderr
    assert "Traceback" not in again.stderr, "said before any process is started"
    wrong = subprocess.run([sys.executable, "-m", "course_lib", *words, "--steps", "2", "--processes", "2", "--set",
                            "nothing=1", "--out", str(tmp_path / "wrong")], capture_output=True, text=True)
    assert wrong.returncode == 2 and "vicreg has no option 'nothing'" in wrong.stderr, wrong.stderr
    assert "Traceback" not in wrong.stderr and "torch" not in wrong.stderr, "the processes have said it"
