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
    """The row of what could not be measured, with the reason."""
    return row(figure, "not measured", why, **data)


def at_least(figure: str, value: float, wanted: float | None, beside: str, unit: str = "x", **data) -> dict:
    """A row whose figure is to reach `wanted` (None: no target); both are in its data, too."""
    data = dict(number=value, wanted=wanted, **data)
    if wanted is None:
        return row(figure, f"{value:.2f}{unit}", beside, **data)
    return row(figure, f"{value:.2f}{unit}", beside, f">= {wanted}{unit}", value >= wanted, **data)


def at_most(figure: str, value: float, wanted: float | None, beside: str, unit: str = "x", **data) -> dict:
    """A row whose figure is to stay below `wanted` (None: no target); both are in its data, too."""
    data = dict(number=value, wanted=wanted, **data)
    if wanted is None:
        return row(figure, f"{value:.2f}{unit}", beside, **data)
    return row(figure, f"{value:.2f}{unit}", beside, f"<= {wanted}{unit}", value <= wanted, **data)


def take_turns(contenders: dict[str, Callable[[], float]], rounds: int) -> list[dict[str, float]]:
    """What each returned in each round, by turns; one round before the first warms up and is dropped."""
    found = [{name: measure() for name, measure in contenders.items()} for _ in range(rounds + 1)]
    return found[1:]


def median_ratio(rounds: list[dict[str, float]], first: str, second: str) -> float:
    """Median over the rounds of first / second, both of the same round."""
    return statistics.median(each[first] / each[second] for each in rounds)


def median(rounds: list[dict[str, float]], name: str) -> float:
    return statistics.median(each[name] for each in rounds)


def slope(sizes: list[float], costs: list[float]) -> float:
    """Exponent e of cost ~ size^e by least squares on logarithms, over the larger half of the sizes.

    Small sizes are left out, as a fixed cost of each call hides the growth there.
    """
    if len(sizes) != len(costs) or len(sizes) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError(f"a slope needs at least two sizes with costs above 0, got {sizes} and {costs}")
    keep = max(2, math.ceil(len(sizes) / 2))
    pairs = sorted(zip(sizes, costs))[-keep:]
    return statistics.linear_regression(*([math.log(each) for each in side] for side in zip(*pairs))).slope


def devices() -> list[str]:
    """The CPU, and the GPU when there is one."""
    return ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def wait(device: str) -> None:
    """Until the GPU is done, so that a clock that is read next is right."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], device: str = "cpu", least: float = 0.2, limit: int = 1000) -> float:
    """Seconds that one call of `work` takes: the median of calls that together last `least` seconds.

    At most `limit` calls; one before them warms up.
    """
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
    """Seconds by stage; inside a stage another one may begin, whose time is then its own only.

    With a GPU it waits for the device at every change of stage: for shares, not for rates.
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
        """Whatever these modules compute when they are called counts as "forward", wherever it is called from."""
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
    """In the place of a Clock where nothing is to be measured."""
    yield
