"""The lesson on benchmarks: what it simulates is told apart by the rules it teaches."""

from __future__ import annotations

import pytest
import torch

from course_lib.notebook import speed_toys as toys


def test_calls_give_what_they_are_named_after():
    assert toys.convolution_call(2, 8, 5, 6, kernel=1)().shape == (2, 8, 5, 6)
    assert toys.convolution_call(2, 8, 5, 6, groups=8)().shape == (2, 8, 5, 6)
    rows = toys.attention_call(7)()
    assert rows.shape == (7, 32) and torch.equal(rows, toys.attention_call(7)()), "the same each time"
    assert 0 < toys.once(lambda: sum(range(1000))) < 60


def test_simulated_machines_are_cold_busy_and_drift():
    times = toys.simulated_machines(200, 64)
    assert times.shape == (200, 64) and torch.equal(times, toys.simulated_machines(200, 64))
    assert times[:, 0].median() > 3 * times[:, 1].median(), "the first call is cold"
    busy = (times[:, 1:] > 1.5).float().mean()
    assert 0.15 < busy < 0.4, "a neighbour is there a quarter of the time: 4 % come, 12 % go"
    spread = times.log().std(0)
    assert spread[60:].mean() > spread[1:4].mean() + 0.02, "machines move apart"


def test_ratios_are_those_of_a_loop():
    times = toys.simulated_machines(30, 20)
    for order, summary in (("by turns", "median"), ("by turns", "mean"), ("by turns", "least"),
                           ("one after the other", "mean")):
        found = toys.reported_ratios(times, 4, 1.2, order, False, summary)
        for machine, value in zip(times[:, 1:9].tolist(), found.tolist()):
            a, b = (machine[::2], machine[1::2]) if order == "by turns" else (machine[:4], machine[4:])
            each = sorted(x / y for x, y in zip(a, b))
            if order != "by turns":
                wanted = sum(a) / sum(b)
            else:
                wanted = {"median": (each[1] + each[2]) / 2, "mean": sum(each) / 4, "least": min(a) / min(b)}[summary]
            assert value == pytest.approx(1.2 * wanted, rel=1e-5), (order, summary)
    cold = toys.reported_ratios(times, 4, 1.0, "one after the other", True, "mean")
    assert float(cold.min()) > 1, "the program that goes first pays"


def test_off_and_growth():
    assert toys.share_off(torch.tensor([1.0, 1.09, 1.11, 0.9])) == 0.5  # 1 / 0.9 is more than 1.1
    assert toys.share_off(torch.tensor([2.0, 2.5]), truth=2.0) == 0.5
    assert toys.growth([1, 10, 100], [3, 300, 30000]) == pytest.approx(2)
