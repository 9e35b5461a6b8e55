"""Settings of a training: whose word counts, and that nonsense is refused before anything starts."""

from __future__ import annotations

import math

import pytest

from course_lib.methods import method_class
from course_lib.train.loop import fit
from course_lib.train.settings import Settings
from helpers.tiny import SMALL, Toy, images, state


def test_asked_for_then_the_recipe_then_the_defaults():
    simsiam = method_class("simsiam")
    assert Settings.resolve(simsiam).record() == dict(
        optimizer="sgd", lr=0.05, weight_decay=5e-4, batch_size=64, warmup=0.1, final_lr=0.0, clip=None, accumulate=1)
    assert Settings.resolve(simsiam, lr=0.1).lr == 0.1
    assert Settings.resolve(Toy) == Settings("adamw", 1e-3, 0.05, 256, 0.1, 0.0, math.inf, 1)


def test_a_recipe_of_another_optimizer_means_nothing():
    use = Settings.resolve(method_class("simsiam"), optimizer="adamw")
    assert (use.lr, use.weight_decay, use.batch_size) == (1e-3, 0.05, 64)


def test_rates_of_sgd_and_lars_are_per_256_images():
    for optimizer, factor in (("adamw", 1.0), ("muon", 1.0), ("sgd", 0.25), ("lars", 0.25), ("lars-simclr", 0.25)):
        assert Settings(optimizer=optimizer, lr=0.4, batch_size=64).peak_lr == pytest.approx(0.4 * factor)


def test_fit_takes_the_recipe_from_python_too():
    class Own(Toy):
        recipe = {"lr": 0.0625, "batch_size": 12}

    settings = {**SMALL, "batch_size": None}
    assert fit(Own(), images(), steps=1, **settings).batch_size == 12


@pytest.mark.parametrize("wrong, says", [
    ({"batch_size": 0}, "batch_size is 0; expected a whole number from 1 up"),
    ({"batch_size": -4}, "batch_size is -4"),
    ({"batch_size": 2.5}, "batch_size is 2.5"),
    ({"accumulate": 0}, "accumulate is 0"),
    ({"log_every": 0}, "log_every is 0"),
    ({"lr": 0.0}, "lr is 0.0; expected a number above 0"),
    ({"lr": -1e-3}, "lr is -0.001"),
    ({"lr": math.nan}, "lr is nan"),
    ({"lr": math.inf}, "lr is inf"),
    ({"weight_decay": math.inf}, "weight_decay is inf"),
    ({"weight_decay": -0.1}, "weight_decay is -0.1"),
    ({"warmup": 2}, "warmup is 2; expected a share of the steps"),
    ({"warmup": -0.1}, "warmup is -0.1"),
    ({"final_lr": 1.5}, "final_lr is 1.5"),
    ({"clip": -1.0}, "clip is -1.0"),
    ({"clip": 0.0}, "clip is 0.0"),
    ({"optimizer": "adam"}, "unknown optimizer 'adam': choose one of adamw"),
    ({"steps": 0}, "steps is 0"),
    ({"steps": -3}, "steps is -3"),
    ({"steps": None, "epochs": 0}, "nothing to do: 0 epochs"),
    ({"steps": None, "epochs": -1.0}, "nothing to do"),
    ({"steps": None, "seconds": 0}, "seconds is 0"),
    ({"steps": None}, "exactly one of epochs=, steps= or seconds="),
    ({"epochs": 1}, "exactly one of"),
    ({"batch_size": 64}, "larger than the 36 images"),
    ({"batch_size": 9, "accumulate": 2}, "multiple of ranks x accumulate"),
], ids=str)
def test_what_cannot_be_is_refused_in_a_sentence(wrong, says, tmp_path):
    method = Toy()
    before = state(method)
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        fit(method, images(), **{**SMALL, "steps": 2, "out": tmp_path / "run", **wrong})
    assert state(method).keys() == before.keys() and not method.calls and not (tmp_path / "run" / "last.pt").exists()


def test_betas_are_the_recipe_s_and_reach_every_group(monkeypatch):
    from course_lib.train import loop

    found = []
    real = loop.build_optimizer
    monkeypatch.setattr(loop, "build_optimizer", lambda *a, **k: found.append(real(*a, **k)) or found[-1])
    class Slow(Toy):
        recipe = {"betas": (0.9, 0.999)}

    for method, options in ((Toy(), {}), (Slow(), {}), (Slow(), {"betas": (0.8, 0.9)}), (Slow(), {"optimizer": "sgd"})):
        fit(method, images(), steps=1, **options, **SMALL)
    assert [group.get("betas") for opt in found for group in opt.param_groups[:1]] == [
        (0.9, 0.95), (0.9, 0.999), (0.8, 0.9), None]
    for betas in ((0.9, 1.0), (-0.1, 0.9), (0.9,)):
        with pytest.raises(ValueError, match="betas is"):
            Settings(betas=betas)
