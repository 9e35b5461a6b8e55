"""A run killed with SIGKILL at any moment, then resumed, ends with the weights of the run that was never killed.

This file is also the killed process: it trains, and kills itself where its command line says, so that the moment is
exact (before, in the middle of and after writing a checkpoint, before the rename), or after a drawn time.
"""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from course_lib.data.images import ImageSet
from course_lib.methods import build_method
from course_lib.train import checkpoint
from course_lib.train.loop import fit

STEPS = 40


def train(out: Path, resume: bool = False):
    """The run: tiny VICReg, a checkpoint after every step, everything from fixed seeds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (50, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    method = build_method("vicreg", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, width=8)
    history = fit(method, ImageSet(pictures), steps=STEPS, batch_size=8, device="cpu", precision="float32", out=out,
                  resume=resume, progress=False, log_every=1, save_every=0.0)
    return method.state_dict(), history


# ---------------------------------------------------------------- the process that dies
def die() -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    time.sleep(60)  # a signal is delivered soon, not at once


def arm(moment: str, number: int) -> None:
    """Die around the write of checkpoint `number`: before, middle, written (not yet renamed) or renamed."""
    save, replace, count = torch.save, os.replace, {"save": 0, "replace": 0}

    def dying_save(value, file):
        count["save"] += 1
        if count["save"] != number:
            return save(value, file)
        if moment == "before":
            die()
        if moment == "middle":
            whole = io.BytesIO()
            save(value, whole)
            file.write(whole.getvalue()[: whole.tell() // 2])
            file.flush()
            die()
        return save(value, file)

    def dying_replace(source, target):
        count["replace"] += 1
        if count["replace"] == number and moment == "written":
            die()
        replace(source, target)
        if count["replace"] == number and moment == "renamed":
            die()

    torch.save, os.replace = dying_save, dying_replace


def main(out: str, moment: str, number: str) -> None:
    if moment == "after":  # seconds from the first step on
        timer = threading.Timer(float(number), die)
        timer.start()
    else:
        arm(moment, int(number))
    train(Path(out))
    if moment == "after":
        timer.join()
    print("survived")


# ---------------------------------------------------------------- the tests
@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody kills, its History and how long it took."""
    before = torch.get_num_threads()
    began = time.perf_counter()
    state, history = train(tmp_path_factory.mktemp("whole"))
    yield state, history, time.perf_counter() - began
    torch.set_num_threads(before)


def killed(out: Path, moment: str, number: float) -> None:
    done = subprocess.run([sys.executable, __file__, str(out), moment, str(number)], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode != 0 and "survived" not in done.stdout, done.stdout + done.stderr
    if sys.platform != "win32":
        assert done.returncode == -signal.SIGKILL, done.stderr


def resumed_equals(whole, out: Path) -> None:
    state, history = train(out, resume=True)
    assert all(torch.equal(state[name], tensor) for name, tensor in whole[0].items())
    assert history.curves == whole[1].curves and history.steps == STEPS
    assert sorted(path.name for path in out.iterdir()) == ["backbone.pt", "last.pt", "metrics.csv"]


@pytest.mark.parametrize("moment, number, stored", [
    ("before", 5, 4), ("middle", 5, 4), ("written", 5, 4), ("renamed", 5, 5),
    ("middle", 1, None), ("before", STEPS, STEPS - 1)])
def test_killed_around_a_checkpoint(tmp_path, whole, moment, number, stored):
    killed(tmp_path, moment, number)
    if stored is None:
        assert not (tmp_path / "last.pt").exists()
    else:  # the last whole checkpoint is there, and readable
        assert checkpoint.load(tmp_path / "last.pt")["step"] == stored
    resumed_equals(whole, tmp_path)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_at_a_drawn_moment(tmp_path, whole, seed):
    killed(tmp_path, "after", random.Random(seed).uniform(0, 1) * whole[2])
    if (tmp_path / "last.pt").exists():
        assert 0 < checkpoint.load(tmp_path / "last.pt")["step"] <= STEPS
    resumed_equals(whole, tmp_path)


def test_killed_twice(tmp_path, whole):
    killed(tmp_path, "middle", 9)
    killed_again = subprocess.run(
        [sys.executable, "-c", "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_kill\n"
         "test_kill.arm('written', 9); test_kill.train(pathlib.Path(sys.argv[2]), resume=True)",
         str(Path(__file__).parent), str(tmp_path)], env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert killed_again.returncode != 0 and checkpoint.load(tmp_path / "last.pt")["step"] == 16
    resumed_equals(whole, tmp_path)


if __name__ == "__main__":
    main(*sys.argv[1:])
