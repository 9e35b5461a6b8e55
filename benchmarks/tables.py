"""What the groups of figures.py share: rows, turns, a clock of stages, the slope of a growth."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

STAGES = ("data", "augmentation", "forward", "own work", "backward", "optimizer")


def row(figure: str, value: str, beside: str = "", target: str = "-", holds: bool | None = None, **data) -> dict:
    """A row of the table; data: the numbers behind it, for the JSON file only."""
    found = dict(figure=figure, value=value, target=target, holds=holds, beside=beside)
    return {**found, "data": data} if data else found


def missing(figure: str, why: str, **data) -> dict:
    """A row that could not be measured, with the reason."""
    return row(figure, "not measured", why, **data)


def at_least(figure: str, value: float, wanted: float | None, beside: str, unit: str = "x", **data) -> dict:
    """A row whose figure should reach `wanted` (None: no target); its data hold both."""
    data = dict(number=value, wanted=wanted, **data)
    if wanted is None:
        return row(figure, f"{value:.2f}{unit}", beside, **data)
    return row(figure, f"{value:.2f}{unit}", beside, f">= {wanted}{unit}", value >= wanted, **data)


def at_most(figure: str, value: float, wanted: float | None, beside: str, unit: str = "x", **data) -> dict:
    """A row whose figure should not exceed `wanted` (None: no target); its data hold both."""
    data = dict(number=value, wanted=wanted, **data)
    if wanted is None:
        return row(figure, f"{value:.2f}{unit}", beside, **data)
    return row(figure, f"{value:.2f}{unit}", beside, f"<= {wanted}{unit}", value <= wanted, **data)


def take_turns(contenders: dict[str, Callable[[], float]], rounds: int) -> list[dict[str, float]]:
    """What each contender returns in each round, in turn, after a warm-up round."""
    found = [{name: measure() for name, measure in contenders.items()} for _ in range(rounds + 1)]
    return found[1:]


def median_ratio(rounds: list[dict[str, float]], first: str, second: str) -> float:
    """The median over rounds of first / second."""
    return statistics.median(each[first] / each[second] for each in rounds)


def median(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(each[name] for each in rounds)


def slope(sizes: list[float], costs: list[float]) -> float:
    """The exponent e of cost ~ size^e by least squares on logarithms, over the larger half of the sizes.

    At small sizes the fixed cost of a call hides the growth. Raises ValueError for fewer than two sizes.
    """
    if len(sizes) != len(costs) or len(sizes) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError(f"a slope needs at least two sizes with costs above 0, got {sizes} and {costs}")
    keep = max(2, math.ceil(len(sizes) / 2))
    pairs = sorted(zip(sizes, costs))[-keep:]
    return statistics.linear_regression(*([math.log(each) for each in side] for side in zip(*pairs))).slope


def devices() -> list[str]:
    """The CPU, and the GPU if there is one."""
    return ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def wait(device: str) -> None:
    """Wait for the GPU, so that the next clock reading is right."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: str = "cpu", least: float = 0.2, limit: int = 1000) -> float:
    """Seconds per call of `work`, after a warm-up: the median of at most `limit` calls over `least` seconds in all."""
    work()
    times: list[float] = []
    while not times or (sum(times) < least and len(times) < limit):
        wait(device)
        began = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


class Clock:
    """Seconds by stage; a nested stage's time counts for that stage only.

    It waits for a GPU at every change of stage, so it is good for shares, not for rates.
    """

    def __init__(self, device: str = "cpu"):
        self.device, self.stack, self.last = device, [], 0.0
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def _change(self) -> None:
        wait(self.device)
        now = time.perf_counter()
        if self.stack:
            self.seconds[self.stack[-1]] += now - self.last
        self.last = now

    def enter(self, stage: str) -> None:
        self._change()
        self.stack.append(stage)

    def leave(self) -> None:
        self._change()
        self.stack.pop()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.enter(stage)
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def networks(self, modules: list[nn.Module]) -> Iterator[None]:
        """Count these modules' calls as "forward", wherever they come from."""
        hooks = []
        for module in {child for top in modules for child in top.modules()}:
            hooks.append(module.register_forward_pre_hook(lambda *_: self.enter("forward")))
            hooks.append(module.register_forward_hook(lambda *_: self.leave()))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@contextmanager
def no_clock(stage: str) -> Iterator[None]:
    """A Clock that measures nothing."""
    yield
