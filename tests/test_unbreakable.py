"""What else may go wrong: odd images, clocks that jump, processes that must not fork, a rank of torchrun that dies."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time

import pytest
import torch

from course_lib.cli.main import main
from course_lib.data.folder import read_folder
from course_lib.data.images import ImageSet, Splits
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.features import embed
from course_lib.evaluate.scoring import score
from course_lib.methods import METHODS, build_method
from course_lib.models.backbones import build_backbone
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.tiny import SMALL, Stop, images, vicreg

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL_VIT = dict(dim=24, depth=1, heads=2, patch=4)


# ---------------------------------------------------------------- images
@pytest.mark.parametrize("value", [float("nan"), 0.5])
def test_images_that_are_no_bytes_are_refused_by_name(value):
    with pytest.raises(TypeError, match="ImageSet.images is torch.float32; expected a uint8 tensor"):
        ImageSet(torch.full((4, 3, 8, 8), value))


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"beit", "ruc"}))  # they need images that differ
@pytest.mark.parametrize("value", [0, 255])
def test_images_of_one_colour_make_no_nan(name, value):
    """Contrast, patch normalisation and batch norm all divide by a deviation that is 0 here."""
    torch.manual_seed(0)
    vit = METHODS[name].startswith("masked") and name != "spark"
    backbone = build_backbone("vit-tiny", 16, **SMALL_VIT) if vit else build_backbone("convnet", depth=2, widths=(4, 8))
    flat = ImageSet(torch.full((16, 3, 16, 16), value, dtype=torch.uint8),
                    torch.arange(16) % 3 if name == "supcon" else None)
    history = fit(build_method(name, backbone, 16), flat, steps=2, **SMALL)
    assert len(history.loss) == 2 and all(abs(loss) < 1e6 for loss in history.loss)


def test_words_need_patches_that_differ():
    flat = ImageSet(torch.zeros(16, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="all patches of the images are equal"):
        fit(build_method("beit", build_backbone("vit-tiny", 16, **SMALL_VIT), 16, codes=4), flat, steps=1, **SMALL)


def test_images_of_another_size_are_resized_to_train_and_refused_by_name_to_embed():
    torch.manual_seed(0)
    method = build_method("mae", build_backbone("vit-tiny", 16, **SMALL_VIT), 16)
    assert fit(method, images(size=24), steps=1, **SMALL).steps == 1
    for wrong in (torch.zeros(2, 3, 18, 18), torch.zeros(2, 3, 16, 20)):
        with pytest.raises(ValueError, match=r"multiple of the patch 4, got \(1, 3, "):
            embed(method, wrong)
    with pytest.raises(ValueError, match=r"must have shape \(N, 3, H, W\)"):
        embed(method, torch.zeros(2, 1, 16, 16))


def test_evaluating_at_a_wrong_size_is_a_sentence(tmp_path, capsys):
    torch.manual_seed(0)
    method = build_method("mae", "vit-tiny", 16, backbone_options=SMALL_VIT, width=16, depth=1, heads=2)
    checkpoint.save_small(tmp_path / "small.pt", method)
    words = ["evaluate", str(tmp_path / "small.pt"), "--data", "shapes", "--limit", "20", "--device", "cpu"]
    assert main([*words, "--image-size", "18"]) == 2
    said = capsys.readouterr().err
    assert "multiple of the patch 4" in said and "18" in said and "Traceback" not in said


# ---------------------------------------------------------------- clocks and processes
def test_clocks_that_jump_change_nothing(monkeypatch, tmp_path):
    hours = itertools.cycle([0.0, 4e9, -1e9])  # daylight saving, a wrong date put right
    monkeypatch.setattr(time, "time", lambda: next(hours))
    method = vicreg()
    history = fit(method, images(), seconds=0.5, out=tmp_path, save_every=0.0, log_every=5, **SMALL)
    assert 0 < history.seconds < 600 and history.steps == history.total_steps > 1 and history.views_per_second > 0
    stopped = fit(vicreg(), images(), steps=20, out=tmp_path / "b", watch=Stop(10), log_every=5, **SMALL)
    resumed = fit(vicreg(), images(), steps=20, out=tmp_path / "b", resume=True, log_every=5, **SMALL)
    assert stopped.seconds <= resumed.seconds < 600 and resumed.steps == 20


forked = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: forked.append(1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_nothing_forks_once_torch_is_loaded(tmp_path):
    """A forked child of a process that has used CUDA cannot use it, and may hang: decoding and reading use threads."""
    from PIL import Image

    drawn = make_shapes(60, seed=3)
    for index, (image, label) in enumerate(zip(drawn.images, drawn.labels)):
        where = tmp_path / "p" / drawn.classes[label]
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(where / f"{index}.png")
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert forked, "a fork would be seen"
    forked.clear()
    for stream in (False, True):
        splits, _ = read_folder(tmp_path / "p", 16, cache=tmp_path / "cache", progress=False, stream=stream)
        method = vicreg()
        fit(method, splits.train, steps=2, stream=stream, out=tmp_path / "out", **SMALL)
    both = Splits(splits.train, splits.train, splits.train)
    score(method, both, controls=False, linear=False, device="cpu")
    assert not forked


# ---------------------------------------------------------------- torchrun
def dying_command(rank_that_dies: int, step: int, words: list[str]) -> None:
    """`course train`, with a checkpoint after every step, in which a rank is killed in the middle of a step."""
    import signal

    from course_lib.methods.contrastive.vicreg import VICReg
    from course_lib.train import loop

    views, count = VICReg.views, itertools.count(1)

    def deadly(self, *args):
        if next(count) == step and os.environ["RANK"] == str(rank_that_dies):
            os.kill(os.getpid(), signal.SIGKILL)
        return views(self, *args)

    VICReg.views, patient = deadly, loop.fit
    loop.fit = lambda *args, **settings: patient(*args, **settings, save_every=0.0, log_every=1)
    sys.exit(main(words))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's")
def test_a_killed_rank_stops_torchrun_and_the_run_goes_on_on_one_process(tmp_path):
    words = ["train", "vicreg", "--data", "shapes", "--limit", "200", "--batch-size", "16", "--device", "cpu", "--set",
             "width=16", "--precision", "float32", "--out", str(tmp_path / "out"), "--steps", "6", "--no-evaluate"]
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                           __file__, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and "SIGKILL" in done.stderr, done.stderr[-3000:]
    kept = checkpoint.load(tmp_path / "out" / "last.pt")
    assert kept["step"] in (2, 3) and kept["ranks"] == 2  # rank 0 may be stopped while it writes the third
    assert main([*words, "--resume"]) == 0
    assert checkpoint.load(tmp_path / "out" / "last.pt")["step"] == 6


if __name__ == "__main__":
    dying_command(1, 4, sys.argv[1:])
