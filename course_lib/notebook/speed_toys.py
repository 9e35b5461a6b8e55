"""What the lesson on benchmarks times and simulates: calls that lie ready, machines with neighbours, how costs grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.seeds import generator

# what a benchmark says of its rounds: (machines, rounds) -> (machines,)
SUMMARIES: dict[str, Callable[[Tensor], Tensor]] = {
    "median": lambda times: times.quantile(0.5, dim=1), "mean": lambda times: times.mean(1),
    "least": lambda times: times.amin(1)}


def once(work: Callable[[], object]) -> float:
    """Seconds of one call, on the wall clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def convolution_call(images: int, channels: int, height: int, width: int, kernel: int = 3,
                     groups: int = 1) -> Callable[[], Tensor]:
    """A call of one convolution, `channels` to as many, on maps (images, channels, height, width) that lie ready."""
    g = generator(0)
    x = torch.randn(images, channels, height, width, generator=g)
    weight = torch.randn(channels, channels // groups, kernel, kernel, generator=g)
    return lambda: F.conv2d(x, weight, padding=kernel // 2, groups=groups)


def attention_call(tokens: int, width: int = 32) -> Callable[[], Tensor]:
    """A call of one head's attention among so many tokens."""
    q, k, v = torch.randn(3, tokens, width, generator=generator(0))
    return lambda: torch.softmax(q @ k.T / width**0.5, dim=1) @ v


def simulated_machines(count: int = 400, calls: int = 64) -> Tensor:
    """Times (count, calls) of the same call, one after the other, on simulated machines; 1: quiet and warm.

    The first call is cold and takes four times as long; a neighbour, who costs 0.8, comes with 4 % and goes with 12 %
    at each call; machines drift, some faster and some slower; a little noise lies on every call.
    """
    g = generator(3)
    chance = torch.rand(count, calls, generator=g)
    busy = [chance[:, 0] < 0.25]
    for call in range(1, calls):
        busy.append(torch.where(busy[-1], chance[:, call] > 0.12, chance[:, call] < 0.04))
    drift = 1 + 0.15 * torch.randn(count, 1, generator=g) * torch.linspace(0, 1, calls)
    noise = torch.exp(0.04 * torch.randn(count, calls, generator=g))
    times = (1 + 0.8 * torch.stack(busy, 1)) * drift * noise
    return torch.cat([4 * times[:, :1], times[:, 1:]], 1)


def reported_ratios(times: Tensor, rounds: int, truth: float, order: str, cold: bool, summary: str) -> Tensor:
    """What benchmarks on these machines report as A's time over B's: (machines,), if it is `truth`.

    order: "by turns", A and B in each round, or "one after the other". cold: the first call counts. summary: one of
    `SUMMARIES`; by turns, mean and median are of the rounds' ratios.
    """
    calls = times[:, 0 if cold else 1:][:, :2 * rounds]
    if order != "by turns":
        a, b = calls[:, :rounds], calls[:, rounds:]
    elif summary == "least":
        a, b = calls[:, ::2], calls[:, 1::2]
    else:
        return truth * SUMMARIES[summary](calls[:, ::2] / calls[:, 1::2])
    return truth * SUMMARIES[summary](a) / SUMMARIES[summary](b)


def share_off(ratios: Tensor, truth: float = 1.0, within: float = 1.1) -> float:
    """The share of reported ratios that are off the truth by more than this factor, up or down."""
    return float(((ratios / truth).log().abs() > torch.tensor(within).log()).float().mean())


def growth(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The exponent with which costs grow: the least-squares slope of log cost over log size."""
    x, y = (torch.tensor(values, dtype=torch.float64).log() for values in (sizes, costs))
    return float(((x - x.mean()) * y).sum() / (x - x.mean()).square().sum())
