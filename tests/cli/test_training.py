"""`course train`: a run that goes on, settings that are held to it, sizes, and sentences for what cannot be."""
from __future__ import annotations

import argparse
import json

import pytest
import torch
from PIL import Image

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.cli import common, resuming, training
from course_lib.data.loading import load, suitable_size
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.features import embed, raw_pixels
from course_lib.evaluate.scoring import score
from course_lib.methods import METHODS, build_method, method_class
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.commands import course

SMALL = ("--data", "shapes", "--limit", "64", "--batch-size", "16", "--device", "cpu", "--set", "width=8",
         "--backbone-set", "depth=2", "--backbone-set", "widths=4,8", "--no-evaluate")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "vicreg"
    assert course("train", "vicreg", *SMALL, "--steps", 4, "--out", out) == 0
    return out


@pytest.fixture
def half(run, tmp_path):
    """The same run, stopped after two of its four steps."""
    settings = checkpoint.load(run)["settings"]
    torch.manual_seed(0)
    method = build_method("vicreg", settings["backbone"], 32, backbone_options=settings["backbone_options"],
                          **settings["options"])
    method.settings = settings
    fit(method, load("shapes", limit=64).train, steps=2, schedule_steps=4, batch_size=16, device="cpu", out=tmp_path,
        progress=False)
    return tmp_path


# ------------------------------------------------------------------------------------------------ going on
def test_resume_needs_its_out_folder_only(run, half):
    assert course("train", "--resume", "--out", half, "--no-evaluate") == 0
    one, other = (checkpoint.load(folder) for folder in (run, half))
    assert other["step"] == other["total_steps"] == 4
    assert all(torch.equal(one["method"][key], other["method"][key]) for key in one["method"])


def test_a_finished_run_says_so_and_more_epochs_is_a_new_schedule(run, tmp_path, capsys):
    before = checkpoint.load(run)
    (tmp_path / "last.pt").write_bytes((run / "last.pt").read_bytes())
    assert course("train", "--resume", "--out", tmp_path, "--no-evaluate") == 0
    assert "finished run, 4 steps. --more-epochs N trains it further" in capsys.readouterr().out
    assert course("train", "--resume", "--more-epochs", 0.5, "--out", tmp_path, "--no-evaluate") == 0
    assert "0.5 more epochs with a new schedule" in capsys.readouterr().out
    after = checkpoint.load(tmp_path)
    assert after["total_steps"] == 2 and after["settings"]["run"]["epochs"] == 0.5
    weights = [(before["method"][key], after["method"][key]) for key in before["method"] if key.endswith("weight")]
    assert all(0 < (a - b).norm() < 0.2 * a.norm() for a, b in weights if a.ndim > 1)  # went on, not anew


@pytest.mark.parametrize("change, says", [
    (("--set", 'augment={"flip": 0}'), "augment.flip 0.5, this one has 0"), (("--set", "width=16"), "width 8"),
    (("--set", 'other={"flip": 0}'), "other"), (("--image-size", 48), "image_size 32, this one has 48"),
    (("--limit", 80), "images 64, this one has 80"),
])
def test_more_epochs_are_of_the_same_method_views_and_size(change, says, run, capsys):
    before = (run / "last.pt").read_bytes()
    assert course("train", "--resume", "--more-epochs", 1, "--out", run, "--no-evaluate", *change) == 2
    assert says in capsys.readouterr().err and (run / "last.pt").read_bytes() == before


def test_a_folder_is_trained_for_an_epoch_two_more_and_then_there_is_nothing_left(tmp_path, capsys):
    pictures, out, count = make_shapes(40, size=16).images, tmp_path / "run", 0
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for _ in range(20):
            Image.fromarray(pictures[count].permute(1, 2, 0).numpy()).save(
                tmp_path / "photos" / name / f"{count}.png")
            count += 1
    assert course("train", "vicreg", *SMALL, "--data", tmp_path / "photos", "--image-size", 16, "--batch-size", 8,
                  "--epochs", 1, "--out", out) == 0
    steps = checkpoint.load(out)["step"]
    assert steps > 1 and f"done: {steps} of {steps} steps" in capsys.readouterr().out
    for epochs, said in ((2, "2 more epochs"), (1, "1 more epoch")):
        held = checkpoint.load(out)["step"]
        assert course("train", "--resume", "--more-epochs", epochs, "--out", out, "--no-evaluate") == 0
        printed = capsys.readouterr().out
        assert f"{out} holds a finished run, {held} steps. It is trained for {said} with a new schedule" in printed
        assert f"done: {epochs * steps} of {epochs * steps} steps" in printed
        state = checkpoint.load(out)
        assert state["step"] == state["total_steps"] == epochs * steps
        assert state["settings"]["run"]["data"] == str(tmp_path / "photos")
    assert course("train", "--resume", "--out", out, "--no-evaluate") == 0
    assert f"{out} holds a finished run, {steps} steps. --more-epochs N trains it further." in capsys.readouterr().out
    again = checkpoint.load(out)
    assert again["step"] == steps
    assert all(torch.equal(state["method"][key], again["method"][key]) for key in state["method"])


@pytest.mark.parametrize("change, says", [
    (("--set", "width=16"), "width 8, this one has 16"), (("--set", "covariance=4"), "covariance"),
    (("--set", 'augment={"flip": 0}'), "augment.flip 0.5, this one has 0"),
    (("--image-size", 48), "image_size 32, this one has 48"), (("--backbone-set", "depth=1"), "depth 2, this one"),
    (("--seed", 1), "seed"), (("--steps", 9), "total_steps 4, this one has 9"), (("--limit", 80), "images 64"),
    (("--set", 'other={"flip": 0}'), "other"), (("--depth", 12), "depth None, this one has 12"),
    (("--weights", "other.pt"), "weights None, this one has 'other.pt'"),
])
def test_what_shaped_a_run_is_held_to_it(half, change, says, capsys):
    assert course("train", "--resume", "--out", half, "--no-evaluate", *change) == 2
    assert says in capsys.readouterr().err
    assert checkpoint.load(half)["step"] == 2


def test_resume_of_nothing_and_more_epochs_too_early_are_sentences(run, half, tmp_path_factory, capsys):
    empty = tmp_path_factory.mktemp("empty")
    for words, says in ((("--resume",), "--resume needs the --out folder"),
                        (("--resume", "--out", empty), "to resume"),
                        (("--more-epochs", 1, "--out", run), "add --resume"),
                        (("--resume", "--more-epochs", 1, "--out", half), "2 of its 4 steps"), ((), "name a METHOD")):
        assert course("train", *words, "--no-evaluate") == 2
        assert says in capsys.readouterr().err
    assert not list(empty.iterdir())


def test_a_run_that_python_made_needs_its_settings_again(tmp_path, capsys):
    method = build_method("vicreg", "convnet", width=8)
    fit(method, load("shapes", limit=64).train, steps=1, batch_size=16, device="cpu", out=tmp_path, progress=False)
    assert course("train", "--resume", "--out", tmp_path) == 2
    assert "does not say how it was started" in capsys.readouterr().err


def test_an_interrupt_names_the_command_that_goes_on(tmp_path, capsys, monkeypatch):
    from course_lib.train import loop

    whole = loop.fit

    def stopped(*args, **settings):
        history = whole(*args, **settings)
        history.interrupted = True
        return history

    monkeypatch.setattr(loop, "fit", stopped)
    assert course("train", "vicreg", *SMALL, "--steps", 1, "--out", tmp_path / "run") == 0
    assert f"train --resume --out {tmp_path / 'run'}" in capsys.readouterr().out


def test_a_default_that_is_asked_for_is_held_to_the_run_too(tmp_path, capsys):
    """Bug: a value that is the default passed for one that was not given, and the run's was taken without a word."""
    words = ("train", "vicreg", "--data", "shapes", "--limit", 64, "--batch-size", 16, "--device", "cpu", "--set",
             "width=8", "--no-evaluate", "--steps", 1, "--out", tmp_path)
    assert course(*words, "--seed", 3, "--backbone", "vit-tiny", "--precision", "bfloat16") == 0
    for change, says in ((("--seed", 0), "seed 3, this one has 0"),
                         (("--backbone", "convnet"), "backbone 'vit-tiny', this one has 'convnet'"),
                         (("--precision", "float32"), "precision 'bfloat16', this one has 'float32'")):
        assert course("train", "--resume", "--out", tmp_path, "--no-evaluate", *change) == 2
        assert says in capsys.readouterr().err
    assert course("train", "--resume", "--out", tmp_path, "--no-evaluate") == 0


def test_a_network_alone_does_not_go_on(tmp_path, capsys):
    """Bug: KeyError: 'step'."""
    checkpoint.save_small(tmp_path / "last.pt", build_method("vicreg", "convnet"))
    for words in (("--resume",), ("vicreg", "--resume"), ("--resume", "--more-epochs", 1)):
        assert course("train", *words, "--out", tmp_path) == 2
        assert "holds a trained network alone" in capsys.readouterr().err


def test_other_pictures_under_the_same_number_are_named_in_words(tmp_path, capsys):
    for name, seed in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        for i, picture in enumerate(make_shapes(40, seed, size=16).images):
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{name}{i % 20}{i // 20}.png")
    words = ("--data-root", tmp_path, "--no-evaluate", "--out", tmp_path / "run")
    assert course("train", "vicreg", *SMALL, "--data", tmp_path / "one", "--limit", 20, "--steps", 1, *words) == 0
    for more in ((), ("--more-epochs", 1)):
        capsys.readouterr()
        assert course("train", "--resume", *more, *words, "--data", tmp_path / "two") == 2
        assert "names and labels of the images" in capsys.readouterr().err


def test_a_run_is_found_where_the_images_of_its_source_place_it(tmp_path, monkeypatch, capsys):
    """Bug: without --out the folder was named after the pretext's images, and looked for under another name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    (tmp_path / "photos").mkdir()
    for i, picture in enumerate(make_shapes(40, size=16).images):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "photos" / f"{i}.png")
    assert course("train", "vicreg", *SMALL, "--data", "photos", "--steps", 1, "--out", "pretext") == 0
    words = ("train", "scan", "--set", "pretext=pretext", "--set", "clusters=3", "--batch-size", 16, "--device", "cpu",
             "--no-evaluate", "--steps", 1)
    assert course(*words) == 0
    before = (tmp_path / "out" / "scan-photos" / "last.pt").read_bytes()
    capsys.readouterr()
    assert course(*words) == 2 and "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "out" / "scan-photos" / "last.pt").read_bytes() == before


def test_the_name_of_a_set_in_any_spelling_and_beside_a_folder_of_that_name(tmp_path, monkeypatch):
    """Bug: "Shapes" trained without the options that suit shapes; a folder's path was kept for a set's name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()
    for name in ("shapes", "Shapes"):
        assert course("train", "vicreg", *SMALL, "--data", name, "--steps", 1, "--out", tmp_path / name[0]) == 0
    one, other = (checkpoint.load(tmp_path / name)["settings"] for name in "sS")
    assert one["options"] == other["options"] and one["run"]["data"] == other["run"]["data"] == "shapes"


def test_the_home_and_here_are_places(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert course("train", "vicreg", *SMALL, "--steps", 1, "--out", "~/run") == 0
    assert course("export", "~/run", "--out", "~/net.pt") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run", "net.pt", "net.json"}
    assert str(tmp_path / "net.pt") in json.loads((tmp_path / "net.json").read_text())["recipe"][1]
    args = argparse.Namespace(out=None, method="vicreg", data=".")
    assert resuming.place(args).name == f"vicreg-{tmp_path.name}"


@pytest.mark.parametrize("words, says", [
    (("--record", "a run"), "a run's id is 'a run'"),
    (("--record", "mine", "--no-evaluate"), "leave out --no-evaluate"),
])
def test_what_cannot_be_recorded_is_said_before_step_1(words, says, tmp_path, capsys, monkeypatch):
    """Bug: trained and measured to the end, and refused there; with --no-evaluate nothing was stored, nor said."""
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    assert course("train", "vicreg", *SMALL[:-1], "--steps", 1, "--out", tmp_path / "run", *words) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_labels_are_trained_on_where_a_set_has_unlabelled_pictures_too(tmp_path):
    """Bug: SupCon got the unlabelled pictures, and stopped for want of labels."""
    for i, picture in enumerate(make_shapes(90, size=16).images):
        where = tmp_path / "photos" / ("unlabelled" if i % 3 else f"train/{'ab'[i % 2]}")
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(where / f"{i}.png")
    words = ("--data", tmp_path / "photos", "--data-root", tmp_path / "data", "--batch-size", 8, "--device", "cpu",
             "--steps", 1, "--no-evaluate", "--image-size", 16)
    for name, images in (("supcon", range(20, 31)), ("vicreg", [60])):
        assert course("train", name, *words, "--out", tmp_path / name) == 0
        assert checkpoint.load(tmp_path / name)["images"] in images


def test_no_picture_to_measure_on_is_said_before_step_1(tmp_path, capsys):
    """Bug: trained to the end on the unlabelled pictures, then failed."""
    for i, picture in enumerate(make_shapes(20, size=16).images):
        where = tmp_path / "photos" / ("unlabelled" if i else "train")
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(where / f"{i}.png")
    (tmp_path / "photos" / "train" / "0.png").write_bytes(b"")
    words = ("train", "vicreg", *SMALL[:-1], "--data", tmp_path / "photos", "--data-root", tmp_path / "data", "--steps",
             1, "--out", tmp_path / "run")
    assert course(*words) == 2 and "train has no images" in capsys.readouterr().err
    assert course(*words, "--no-evaluate") == 0


@pytest.mark.parametrize("change, says", [
    (("simclr",), "method 'vicreg', this one has 'simclr'"), (("--seconds", 9), "seconds None, this one has 9.0"),
    (("--backbone", "resnet18"), "backbone 'convnet', this one has 'resnet18'"),
    (("--more-epochs", 1, "--steps", 2), "leave out --epochs, --steps and --seconds"),
])
def test_what_a_run_cannot_change_is_said_by_its_name(change, says, run, capsys):
    """Bug: "simclr has no option 'width'"; --seconds, and --steps beside --more-epochs, were taken without effect."""
    assert course("train", "--resume", "--out", run, "--no-evaluate", *change) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("changed, says", [
    ({"step": -3}, "not a run that can go on"), ({"total_steps": 1}, "not a run that can go on"),
    ({"method": {}}, "does not hold a whole VICReg")])
def test_a_run_of_odd_contents_does_not_go_on(changed, says, run, tmp_path, capsys):
    torch.save({**torch.load(run / "last.pt", weights_only=True), **changed}, tmp_path / "last.pt")
    assert course("train", "--resume", "--more-epochs", 1, "--out", tmp_path, "--no-evaluate") == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("name, value", [
    ("options", "x"), ("options", [3]), ("data", 3), ("epochs", "x"), ("batch_size", 2.5), ("backbone", "vgg"),
    ("compile", 7), ("seed", "0"), ("method", {})])
def test_a_run_whose_settings_are_of_other_kinds_does_not_go_on(name, value, half, capsys):
    """Bug: a traceback, since values of a file were taken as if argparse had read them."""
    state = torch.load(half / "last.pt", weights_only=True)
    state["settings"]["run"][name] = value
    torch.save(state, half / "last.pt")
    assert course("train", "--resume", "--out", half, "--no-evaluate") == 2
    assert f"was started with {name} {value!r}, which cannot be" in capsys.readouterr().err


@pytest.mark.parametrize("number", [0, -1, "nan", "inf"])
def test_more_epochs_are_more_than_none(number, run, capsys):
    """Bug: "It is trained for -1 more epochs", and only then that there is nothing to do."""
    assert course("train", "--resume", "--more-epochs", number, "--out", run) == 2
    said = capsys.readouterr()
    assert "expected a number above 0" in said.err and "trained for" not in said.out


def test_images_that_have_moved_are_asked_for(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for i, picture in enumerate(make_shapes(40, size=16).images):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "photos" / f"{i}.png")
    words = ("--data-root", tmp_path, "--device", "cpu")
    assert course("train", "vicreg", *SMALL, "--data", tmp_path / "photos", *words, "--steps", 1, "--out",
                  tmp_path / "run") == 0
    (tmp_path / "photos").rename(tmp_path / "albums")
    for command in (("evaluate", tmp_path / "run"), ("train", "--resume", "--out", tmp_path / "run")):
        capsys.readouterr()
        assert course(*command, *words) == 2 and "say with --data where they are now" in capsys.readouterr().err
        assert course(*command, *words, "--data", tmp_path / "albums") == 0


def test_an_option_whose_variable_is_not_set_is_a_sentence(run, tmp_path, capsys):
    """Bug: --data "$PHOTOS" trained on generated shapes, and `look ""` showed the pictures of the current folder."""
    for words in (("train", "vicreg", *SMALL, "--steps", 1, "--data", ""), ("train", "vicreg", *SMALL, "--out", " "),
                  ("evaluate", run, "--data-root", ""), ("look", "", "--with", run), ("cluster", "", "--with", run)):
        with pytest.raises(SystemExit):
            course(*words)
        assert "it is empty; is a variable not set?" in capsys.readouterr().err


def test_where_a_run_cannot_be_written_is_said_before_its_images_are_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "load_images", lambda args: pytest.fail("read"))
    (tmp_path / "file").touch()
    assert course("train", "vicreg", *SMALL, "--steps", 1, "--out", tmp_path / "file" / "run") == 2
    assert "cannot be written (Not a directory): choose another place with --out" in capsys.readouterr().err


def test_causes_are_asked_of_generated_images_only(run, tmp_path, capsys):
    for i, picture in enumerate(make_shapes(40, size=32).images):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    assert course("evaluate", run, "--data", tmp_path, "--data-root", tmp_path / "data", "--factors") == 2
    assert "--factors is for generated images" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ evaluating
def test_evaluate_takes_a_folder_and_the_runs_own_images(run, tmp_path, capsys):
    assert course("evaluate", run, "--device", "cpu", "--out", tmp_path / "rows.json") == 0
    out = capsys.readouterr().out
    assert "shapes (independent, calm): 64 training images (the kNN bank), 64 test images" in out
    kept = json.loads((tmp_path / "rows.json").read_text())
    assert kept["data"] == "shapes (independent, calm)" and [row["bank"] for row in kept["rows"]] == [64] * 3


def test_rows_that_were_measured_are_kept_when_a_later_one_fails(run, tmp_path, capsys, monkeypatch):
    from course_lib.evaluate import scoring

    def full(*args, **options):
        raise MemoryError

    monkeypatch.setattr(scoring, "raw_pixels", full)
    assert course("evaluate", run, "--device", "cpu", "--out", tmp_path / "rows.json") == 2
    said = capsys.readouterr()
    assert "Out of memory" in said.err and "--batch-size" not in said.err and "random encoder" in said.out
    assert len(json.loads((tmp_path / "rows.json").read_text())["rows"]) == 2


def test_a_damaged_run_is_left_as_it_is(run, tmp_path, capsys):
    (tmp_path / "last.pt").write_bytes((run / "last.pt").read_bytes()[:-100])
    assert course("evaluate", tmp_path) == 2
    said = capsys.readouterr().err
    assert "not a readable checkpoint" in said and "elete" not in said


def test_raw_pixels_of_large_pictures_are_averaged_and_large_sets_thinned(monkeypatch):
    from course_lib.evaluate import scoring

    large = make_shapes(20, size=64)
    found = raw_pixels(large)
    assert found.shape == (20, 3 * 32 * 32)
    assert torch.allclose(found[3].view(3, 32, 32)[1, 5, 7], large.images[3, 1, 10:12, 14:16].float().mean() / 255)
    which = torch.tensor([4, 9])
    assert torch.equal(raw_pixels(large, which), found[which])
    method = build_method("vicreg", "convnet")
    assert torch.allclose(embed(method, large, which=which), embed(method, large)[which], atol=1e-5)
    monkeypatch.setattr(scoring, "LARGEST", {"train": 50, "validation": 40, "test": 30})
    rows = score(method, load("shapes", limit=90), linear=False)
    assert [(row["bank"], row["queries"]) for row in rows] == [(50, 30)] * 3


def test_a_bar_for_each_part(run, capsys):
    assert course("evaluate", run, "--device", "cpu") == 0
    bars = capsys.readouterr().err
    rows = ("vicreg", "random encoder", "raw pixels")
    assert all(f"{row}: {part}" in bars for row in rows for part in ("train", "kNN"))


# ------------------------------------------------------------------------------------------------ sizes and views
@pytest.mark.parametrize("name", METHODS)
def test_views_follow_the_image_size(name):
    backbone, options = ("vit-tiny", {"dim": 24, "depth": 1, "heads": 2}) if method_class(name).backbone_options or \
        name in ("mae", "dino", "ibot", "dmae") else ("convnet", {})
    given = {**method_class(name).shapes_options, "augment": SHAPES_VIEWS}
    if name in ("dino", "ibot"):
        given["crops"] = 2
    for augment in (SHAPES_VIEWS, {"flip": 0.0}):
        method = build_method(name, backbone, 64, backbone_options=options, **{**given, "augment": augment})
        plain = build_method(name, backbone, 64, backbone_options=options)
        assert method.augment.size == 64
        if isinstance(augment, dict):
            assert method.augment.flip == 0.0 and method.augment.jitter == plain.augment.jitter
        batch = make_shapes(4, size=64)
        from course_lib.data.images import Batch
        source = batch.images.repeat(64, 1, 1, 1)
        method.prepare(source)
        some = Batch(batch.images, torch.arange(4), batch.labels, source)
        views = method.views(some, torch.Generator().manual_seed(0))
        assert torch.isfinite(method.train().loss(views)["loss"])


@pytest.mark.parametrize("sides, size", [((640, 480), 96), ((70, 64), 64), ((64, 40), 32), ((32, 32), 32),
                                         ((20, 20), 32)])
def test_a_folder_gets_a_size_that_suits_its_pictures(sides, size, tmp_path, capsys):
    for number in range(12):
        Image.effect_noise(sides, 90).convert("RGB").save(tmp_path / f"{number}.jpg")
    assert suitable_size(tmp_path) == (size, sides)
    splits = load(tmp_path, root=tmp_path / "cache")
    assert splits.train.size == size
    said = capsys.readouterr().err
    assert (f"{sides[0]} x {sides[1]} pixels (median), are made {size} x {size}" in said) is (sides != (size, size))


# ------------------------------------------------------------------------------------------------ sentences
@pytest.mark.parametrize("words, says", [
    (("--set", "augment=none"), "augment has 'none'; expected fields of Augment"),
    (("--set", 'augment={"jitters": 0}'), "augment has 'jitters'"), (("--set", "foo=1"), "no option 'foo'"),
    (("--batch-size", 0), "batch_size is 0"), (("--batch-size", -4), "batch_size is -4"), (("--lr", -1), "lr is -1"),
    (("--processes", 0), "--processes is 0"),
    (("--set", "width=wide"), "width is 'wide'; vicreg expects a whole number"),
    (("--set", "covariance=NaN"), "covariance is nan; vicreg expects a number"),
    (("--set", 'augment={"scale": [1, 0.2]}'), "scale of the views is (1, 0.2); expected two shares"),
    (("--set", 'augment={"jitter": 0.4}'), "jitter of the views is 0.4; expected four numbers"),
    (("--set", 'augment={"flip": "no"}'), "flip of the views is 'no'; expected a share"),
    (("--set", 'augment={"flip": 2}'), "flip of the views is 2"),
    (("--backbone-set", "widths=a,b"), "expects a tuple[int, ...]; typed in a command: 64,8 or, one alone, [64]"),
    (("--set", "width=0"), "all of 1 or more"), (("--backbone-set", "depth=deep"), "depth is 'deep'; convnet expects"),
    (("--image-size", 0), "size is 0"), (("--epochs", "inf"), "epochs is inf"), (("--epochs", "nan"), "epochs is nan"),
    (("--seconds", "inf"), "seconds is inf"), (("--lr", "inf"), "lr is inf"), (("--device", "meta"), "unknown device"),
    (("--batch-size", 1), "batch norm compares images with each other and needs two or more, got 1"),
])
def test_what_cannot_be_is_a_sentence(words, says, tmp_path, capsys):
    length = () if words[0] in ("--epochs", "--seconds") else ("--steps", 1)
    assert course("train", "vicreg", *SMALL, *length, "--out", tmp_path / "run", *words) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("word, value", [("False", False), ("false", False), ("True", True), ("no", None)])
def test_a_switch_is_a_truth_value_as_the_help_shows_it(word, value, tmp_path, capsys):
    """Bug: False, as the help prints defaults, was taken for a text, and a text for True."""
    done = course("train", "byol", "--data", "shapes", "--limit", 64, "--batch-size", 16, "--device", "cpu", "--steps",
                  1, "--set", f"predictor={word}", "--no-evaluate", "--out", tmp_path / "run")
    if value is None:
        assert done == 2 and "predictor is 'no'; byol expects True or False" in capsys.readouterr().err
    else:
        assert done == 0
        assert checkpoint.load_method(tmp_path / "run").settings["options"]["predictor"] is value


@pytest.mark.parametrize("seed", ["-1", "1.5", str(2**32)])
def test_a_seed_is_one_that_all_libraries_take(seed, tmp_path, capsys):
    with pytest.raises(SystemExit):
        course("train", "vicreg", *SMALL, "--steps", 1, "--out", tmp_path / "run", "--seed", seed)
    assert "expected a whole number from 0 to 4294967295" in capsys.readouterr().err


def test_weights_are_those_of_a_run_s_folder_and_not_its_checkpoint(run, tmp_path, capsys):
    for where, code in ((run, 0), (run / "backbone.pt", 0), (run / "last.pt", 2)):
        assert course("train", "vicreg", *SMALL, "--steps", 1, "--weights", where, "--out",
                      tmp_path / where.name) == code
    assert "last.pt is a whole run and not a backbone" in capsys.readouterr().err


@pytest.mark.parametrize("command, more", [("evaluate", ()), ("embed", ()), ("export", ())])
def test_where_nothing_can_be_written_is_said_first_and_a_run_is_not_written_over(command, more, run, capsys,
                                                                                 monkeypatch, tmp_path):
    """Bug: `export RUN --out RUN/last.pt` replaced the run; a folder was refused after the measuring."""
    from course_lib.cli import commands

    def never(args):
        raise AssertionError("looked at images before --out")

    monkeypatch.setattr(commands, "trained", never)
    (tmp_path / "file").touch()
    before = (run / "last.pt").read_bytes()
    for out, says in ((run / "last.pt", "a run keeps itself under that name"), (tmp_path, "which is a folder"),
                      (tmp_path / "file" / "x.pt", "cannot be written")):
        assert course(command, run, "--out", out, *more) == 2
        assert says in capsys.readouterr().err
    assert (run / "last.pt").read_bytes() == before


@pytest.mark.parametrize("ending", [".json", ".onnx", ".safetensors"])
def test_an_export_has_not_the_name_of_what_is_written_beside_it(ending, run, tmp_path, capsys):
    assert course("export", run, "--out", tmp_path / f"net{ending}") == 2
    assert "the name of a file beside the weights" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_what_a_scheduler_left_in_the_environment_starts_no_processes(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LOCAL_RANK", "first")
    assert course("train", "vicreg", *SMALL, "--steps", 1, "--out", tmp_path / "run") == 0
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert course("train", "vicreg", *SMALL, "--steps", 1, "--out", tmp_path / "two") == 2
    assert "MASTER_ADDR" in capsys.readouterr().err


def test_half_of_torchruns_environment_is_a_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert course("train", "vicreg", *SMALL, "--steps", 1, "--out", tmp_path / "run") == 2
    assert "WORLD_SIZE is '2'" in capsys.readouterr().err


def test_processes_that_were_started_start_no_others(tmp_path, monkeypatch):
    """Bug: `--process 2`, which argparse takes too, was handed on to the two, and by them to two others each."""
    started = []
    monkeypatch.setattr(training, "start_processes", lambda number: started.append(number) or 0)
    words = ("train", "vicreg", *SMALL, "--steps", 1, "--out", tmp_path / "run", "--process", 2)
    assert course(*words) == 0 and started == [2] and not (tmp_path / "run").exists()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert course(*words) == 0 and started == [2] and (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize("name", METHODS)
def test_help_of_a_method_lists_its_options(name, monkeypatch):
    monkeypatch.setattr("sys.argv", ["course", "train", name, "--help"])
    parser = argparse.ArgumentParser()
    training.train.add_arguments(parser)
    text = parser.epilog
    assert method_class(name).__doc__.splitlines()[0] in text
    assert all(f"  {option}=" in text for option in training.options_of(method_class(name)))


def test_images_of_a_checkpoint_that_names_none(tmp_path):
    checkpoint.save_small(tmp_path / "small.pt", build_method("vicreg", "convnet"))
    args = argparse.Namespace(checkpoint=tmp_path / "small.pt", data=None)
    with pytest.raises(ValueError, match="does not say which images"):
        common.trained(args)


def test_the_one_command_names_all_commands():
    import subprocess
    import sys

    from course_lib.cli.main import COMMANDS
    from helpers.environment import ROOT

    done = subprocess.run([sys.executable, ROOT / "course.py", "--help"], capture_output=True, text=True, check=True)
    assert not [command.name for command in COMMANDS if command.name not in done.stdout]
