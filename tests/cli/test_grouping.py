"""`course cluster`: the groups of a person's own pictures, the sheet, and what it says when it cannot."""

from __future__ import annotations

import csv

import pytest
import torch
from PIL import Image

from course_lib.data.images import ImageSet
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.clusters import assigned, grouped
from course_lib.methods import build_method
from course_lib.train.checkpoint import save_small
from helpers.commands import course


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Nine dark pictures, four bright ones, in folders of those names; any network tells them apart."""
    folder, noise = tmp_path_factory.mktemp("mine"), make_shapes(13, seed=3).images
    for i, image in enumerate(noise):
        where = folder / ("dark" if i < 9 else "light")
        where.mkdir(exist_ok=True)
        pixels = image // 8 + (0 if i < 9 else 200)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(where / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    return save_small(tmp_path_factory.mktemp("run") / "last.pt", build_method("vicreg", "convnet", 32))


def test_the_groups_are_written_the_largest_first_with_the_best_fitting_pictures_first(pictures, network, tmp_path,
                                                                                       capsys):
    out = tmp_path / "new" / "groups.csv"
    assert course("cluster", pictures, "--with", network, "-k", 2, "--out", out, "--device", "cpu") == 0
    rows = list(csv.DictReader(out.open()))
    assert [row["group"] for row in rows] == ["1"] * 9 + ["2"] * 4
    assert {row["picture"].split("/")[0] for row in rows[:9]} == {"dark"} and rows[-1]["picture"].startswith("light/")
    fits = [float(row["fit"]) for row in rows]
    assert fits[:9] == sorted(fits[:9], reverse=True) and fits[9:] == sorted(fits[9:], reverse=True)
    with Image.open(out.with_suffix(".png")) as sheet:
        assert sheet.width > sheet.height > 100
    said = capsys.readouterr().out
    assert "information 1.00" in said and "13 pictures in 2 groups" in said and "groups.png" in said


def test_a_clustering_method_says_its_own_groups(pictures):
    torch.manual_seed(0)
    method = build_method("mice", "convnet", 32, clusters=3)
    images = ImageSet(make_shapes(20, seed=1).images)
    groups, fit = grouped(method, images, device="cpu")
    own, probability = assigned(method, images, "cpu")
    assert torch.equal(fit, probability)
    sizes = groups.bincount()
    assert (sizes[:-1] >= sizes[1:]).all()
    for group in groups.unique():
        assert len(own[groups == group].unique()) == 1
    with pytest.raises(ValueError, match="trained with 3"):
        grouped(method, images, 5, device="cpu")


def test_groups_that_stay_empty_are_said_and_one_picture_is_no_group(network, tmp_path, capsys):
    """Bug: a warning of scikit-learn's; "expected 2 to 1"."""
    for number in range(6):
        Image.new("RGB", (32, 32), (200 * (number % 2), 0, 0)).save(tmp_path / f"{number}.png")
    words = ("cluster", "--with", network, "-k", 5, "--out", tmp_path / "groups.csv")
    assert course(*words, tmp_path) == 0
    said = capsys.readouterr()
    assert "Of 5 groups 2 have pictures" in said.out and "Warning" not in said.err
    assert course(*words, tmp_path / "0.png") == 2 and "a single picture is no group" in capsys.readouterr().err


@pytest.mark.parametrize("more, says", [
    ((), "number of clusters is None; expected 2 to 13"),
    (("-k", 14), "number of clusters is 14; expected 2 to 13"),
    (("-k", 1), "expected 2 to 13"),
    (("-k", 2, "--out", "groups.txt"), "expected a name that ends in .csv"),
    (("-k", 2, "--image-size", 0), "expected 1 to 512"),
])
def test_what_cannot_be_is_a_sentence_and_writes_nothing(pictures, network, tmp_path, monkeypatch, capsys, more, says):
    monkeypatch.chdir(tmp_path)
    assert course("cluster", pictures, "--with", network, *more) != 0
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_sheet_replaces_no_picture(network, tmp_path, capsys):
    """Bug: `course cluster *.png --out cat.csv` wrote its sheet over cat.png."""
    for name in ("cat", "dog"):
        Image.new("RGB", (32, 32), (200 if name == "cat" else 0, 0, 0)).save(tmp_path / f"{name}.png")
    before = (tmp_path / "cat.png").read_bytes()
    for given in ([tmp_path], [tmp_path / "cat.png", tmp_path / "dog.png"]):
        assert course("cluster", *given, "--with", network, "-k", 2, "--out", tmp_path / "cat.csv") == 2
        assert "cat.png is one of the pictures" in capsys.readouterr().err
    assert (tmp_path / "cat.png").read_bytes() == before and len(list(tmp_path.iterdir())) == 2
