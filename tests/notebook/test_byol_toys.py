"""Lesson 06's instruments: what is read of a run, a target's memory by a loop, and what rounding does."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment import SHAPES_VIEWS
from course_lib.data import load
from course_lib.models.backbones import ConvNet
from course_lib.notebook import byol_toys as T
from course_lib.runs.stored import StoredRun
from course_lib.train import fit


def test_every_update_is_read_off_the_weights():
    read = []

    class Read(T.Watched):
        @staticmethod
        def read(online, before, after):
            read.append((online, before, after))
            return {"pull": 0.1, "stray": 0.0}

    torch.manual_seed(0)
    images = load("shapes", n=64).train.head(32)
    method = Read(ConvNet(1, (4,)), hidden=8, out=4, momentum=0.9, constant=True, augment=SHAPES_VIEWS)
    history = fit(method, images, steps=3, batch_size=16, progress=False, device="cpu")
    assert len(method.log) == len(read) == 2
    for online, before, after in read:  # views of step k see the weights after step k - 1
        torch.testing.assert_close(after, 0.9 * before + 0.1 * online, atol=1e-6, rtol=1e-4)
    found = T.readings(method.log, history.curve_steps, history.loss)
    assert list(found) == ["loss", *T.READINGS.values()]
    assert list(found["pull (honest: 1 - m)"][0]) == [1, 2] and found["pull (honest: 1 - m)"][1] == [0.1, 0.1]
    short = T.in_short(method.log, history.loss)
    assert short["levels"] == 1 and short["loss"] == history.loss[-1] and short["distance"] > 0


def test_the_memory_of_a_target_is_a_weighted_mean_of_what_was():
    momenta, online = [0.5, 0.9, 0.7, 0.2], torch.tensor([3.0, -1.0, 4.0, 10.0], dtype=torch.float64)
    target = online[0]
    for k in range(1, 4):
        target = momenta[k] * target + (1 - momenta[k]) * online[k]
    weights = T.target_memory(momenta, 3)
    assert float(weights.sum()) == pytest.approx(1) and float(weights @ online) == pytest.approx(float(target))
    assert T.target_memory(momenta, 0).tolist() == [1.0]


def test_the_curves_of_a_stored_run():
    row = {"rank_steps": [1, 2], "rank_curve": [9.0, 3.0], "std_curve": [1.0, 0.5]}
    run = StoredRun("byol", "shapes", curve_steps=[1], curves={"loss": [2.0]}, scores=[row])
    assert T.run_curves(run) == {"loss": ([1], [2.0]), "standard deviation": ([1, 2], [1.0, 0.5]),
                                 "effective rank": ([1, 2], [9.0, 3.0])}


def test_rounding_is_that_of_eight_bits():
    assert 0.0005 < T.rounding_std(128) < 2**-8


def test_networks_without_batch_norm_draw_no_number_of_others():
    splits, before = load("shapes", n=300), torch.get_rng_state()
    found = T.knn_without_batch_norm(splits, seeds=2)
    assert len(found) == 2 and all(0 < value < 0.6 for value in found)
    assert torch.equal(before, torch.get_rng_state())
