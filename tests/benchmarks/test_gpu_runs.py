"""benchmarks/gpu_runs.py at small scale on the CPU: it trains, scores, stores; without a GPU it asks first."""

from __future__ import annotations

import gpu_runs
import pytest
import torch
from PIL import Image

from course_lib.data.shapes import make_shapes
from course_lib.runs.stored import read_runs


@pytest.fixture
def photographs(tmp_path, monkeypatch) -> str:
    """A folder of small pictures, train/CLASS and test/CLASS; runs and data go beside it."""
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    pictures = make_shapes(n=96, size=32).images.permute(0, 2, 3, 1).numpy()
    for number, pixels in enumerate(pictures):
        folder = tmp_path / "pictures" / ("test" if number % 3 == 0 else "train") / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(tmp_path / "pictures")


def test_quick_trains_every_kind_and_stores_nothing(photographs, tmp_path, capsys, one_thread):
    assert gpu_runs.main(["--quick", "--data", photographs, "--methods", "vicreg,spark,ibot"]) == 0
    said = capsys.readouterr().out
    assert all(f"gpu-{name}" in said for name in ("vicreg-resnet18-s0: 4 steps", "spark", "ibot-vit-tiny"))
    assert not (tmp_path / "runs").exists()


def test_a_run_is_stored_whole_and_not_made_again(photographs, tmp_path, capsys, monkeypatch, one_thread):
    small, peak = gpu_runs.build, gpu_runs.ceiling
    monkeypatch.setattr(gpu_runs, "build", lambda name, seed, quick: small(name, seed, True))
    monkeypatch.setattr(gpu_runs, "ceiling", lambda device, quick: peak(device, True))
    arguments = ["--any-device", "--batch-size", "16", "--data", photographs, "--methods", "mae", "--epochs", "1",
                 "--id-suffix", "long"]
    assert gpu_runs.main(arguments) == 0
    (run,) = read_runs(tmp_path / "runs")
    assert run.id == "gpu-mae-vit-tiny-s0-long" and run.method == "mae" and run.steps > 0
    row = run.scores[0]
    assert 0 <= row["knn"] <= 1 and row["views_per_second"] > 0 and 0 < row["flop_utilisation"]
    assert set(row["hidden_error"]) >= {"visible mean", "nearest visible pixel"}
    assert {"raw pixels", "random encoder"} <= {each["name"] for each in run.scores}
    assert run.panel is not None and len(run.panel.features) == 32
    assert gpu_runs.main(arguments) == 0 and "stored already" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_asks_first(photographs, capsys):
    with pytest.raises(SystemExit):
        gpu_runs.main(["--data", photographs])
    assert "--any-device" in capsys.readouterr().err


def test_an_unknown_method_is_named(capsys):
    with pytest.raises(SystemExit):
        gpu_runs.main(["--methods", "simclr,simsim"])
    assert "unknown method 'simsim'" in capsys.readouterr().err
