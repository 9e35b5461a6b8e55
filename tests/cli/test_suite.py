"""`course evaluate --suite transfer`, for a run and for a learned network, and what cannot be."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from course_lib.cli import suite
from course_lib.cli.main import main
from course_lib.data.images import Splits
from course_lib.data.shapes import make_shapes
from course_lib.methods import build_method

SHAPES = ["--data", "shapes", "--limit", "150", "--device", "cpu"]


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(suite, "EPOCHS", 1)
    monkeypatch.setattr(suite, "OUTLIERS", 60)


def test_the_table_of_a_run(tmp_path, capsys, short):
    run = tmp_path / "run"
    words = ["train", "rotation", *SHAPES, "--steps", "2", "--batch-size", "16", "--no-evaluate", "--out", str(run)]
    assert main(words) == 0
    out = tmp_path / "rows.json"
    assert main(["evaluate", str(run), "--device", "cpu", "--suite", "transfer", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for word in ("rotation", "random encoder", "raw pixels", "PGD: 150 test images, 10 steps of 0.25/255 within 1/255, "
                 "1 restart", "60 halves of two shapes (independent, calm)", "fine-tuned: 150 labels, 1 epochs"):
        assert word in said
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [row["kind"] for row in rows] == ["method", "control", "control"] and "fine_tuned" in rows[0]


def test_the_header_counts_what_was_there(capsys, short, monkeypatch):
    few = Splits(*(make_shapes(n, seed=seed) for n, seed in ((70, 1), (40, 2), (50, 3))))
    monkeypatch.setattr(suite, "opened", lambda args: (model, "own", few))
    torch.manual_seed(0)
    model = build_method("rotation", "convnet", 32, backbone_options={"depth": 2, "widths": (4, 8)})
    assert main(["evaluate", "own", "--suite", "transfer", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    for word in (": 70 training images, 50 test images", "fine-tuned: 70 labels", "PGD: 50 test images"):
        assert word in said
    assert "few shots" not in said and "800 labels" not in said


def test_what_cannot_be_is_a_sentence(tmp_path, capsys):
    (tmp_path / "one").mkdir()
    Image.effect_noise((32, 32), 90).save(tmp_path / "one" / "0.png")  # falls to train
    assert main(["evaluate", "byol", "--suite", "transfer", "--outliers", str(tmp_path / "one"), *SHAPES,
                 "--data-root", str(tmp_path)]) == 2
    assert "--outliers takes the test images of" in capsys.readouterr().err
    assert main(["evaluate", "no-such", "--suite", "transfer", *SHAPES]) == 2
    assert "no learned network of that name" in capsys.readouterr().err
    assert main(["evaluate", "byol", "--suite", "transfer", "--clusters", *SHAPES]) == 2
    assert "--clusters and --factors are not in the suite" in capsys.readouterr().err
    assert main(["evaluate", "byol", "--outliers", "shapes", *SHAPES]) == 2
    assert "--outliers belongs to --suite transfer" in capsys.readouterr().err
