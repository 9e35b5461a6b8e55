"""Second spellings of the misconceptions of appendix A1, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import numpy as np
import torch

from course_lib.notebook.claims import interval, median_interval


# ---------------------------------------------------------------- A1.time_fairly
def _reads(work, wait, clock, rounds, warmup, before=True, after=True, drained=True):
    """Seconds of each round; the keywords leave out a step."""
    for _ in range(warmup):
        work()
    if drained:
        wait()
    stops = []
    for _ in range(rounds):
        if not before:
            work()
        start = clock()
        if before:
            work()
        if after:
            wait()
        stops.append(clock() - start)
    return stops


def _all_of_them(work, wait, clock, rounds, warmup):
    return np.median(_reads(work, wait, clock, rounds + warmup, 0)).item()


def _cold(work, wait, clock, rounds, warmup):
    return np.median(_reads(work, wait, clock, rounds, 0)).item()


def _one_clock(work, wait, clock, rounds, warmup):
    _reads(work, wait, clock, 0, warmup)
    began = clock()
    for _ in range(rounds):
        work()
        wait()
    return (clock() - began) / rounds


def _waited_at_the_end(work, wait, clock, rounds, warmup):
    found = _reads(work, wait, clock, rounds, warmup, after=False)
    wait()
    return float(np.median(found))


def _one_start(work, wait, clock, rounds, warmup):
    _reads(work, wait, clock, 0, warmup)
    return float(np.median(np.cumsum(_reads(work, wait, clock, rounds, 0))))


FAIR = {
    "the warm-up is counted": _all_of_them,
    "no warm-up": _cold,
    "the mean": _one_clock,
    "the least": lambda *a: sorted(_reads(*a))[0],
    "the largest": lambda *a: sorted(_reads(*a))[-1],
    "not waited for": _waited_at_the_end,
    "the warm-up is not waited for": lambda *a: float(np.median(_reads(*a, drained=False))),
    "only the waiting": lambda *a: float(np.median(_reads(*a, before=False))),
    "always from the first start": _one_start,
    "the sum": lambda *a: float(np.sum(_reads(*a))),
    "the lower of two medians": lambda *a: torch.tensor(_reads(*a), dtype=torch.float64).median(),
    "the last round": lambda *a: _reads(*a).pop(),
}


# ---------------------------------------------------------------- A1.conv_cost
def _counted(shape, channels, kernel, stride=1, groups=1, change=lambda sizes: None, numbers=4, operations=2):
    """By shapes of tensors; `change` spoils one of the sizes."""
    pad = kernel // 2
    sizes = dict(n=shape[0], c=shape[1], h=shape[2], w=shape[3], k=kernel * kernel, pad=pad, seen=shape[1] // groups,
                 held=shape[1] // groups, images=shape[0])
    change(sizes)
    rows = [1 + (side + 2 * sizes["pad"] - kernel) // stride for side in shape[2:]]
    rows = sizes.get("rows", rows)
    out = rows[0] * rows[1] * channels
    moved = [shape[0] * shape[1] * shape[2] * shape[3], channels * sizes["held"] * sizes["k"], shape[0] * out]
    return {"bytes": numbers * sum(m for i, m in enumerate(moved) if i != sizes.get("left out")),
            "flops": operations * sizes["images"] * out * sizes["seen"] * sizes["k"]}


def _spoilt(**more):
    settings = {name: more.pop(name) for name in ("numbers", "operations") if name in more}

    def planted(shape, channels, kernel, stride=1, groups=1):
        values = {name: value(shape, kernel) if callable(value) else value for name, value in more.items()}
        return _counted(shape, channels, kernel, stride, groups, lambda sizes: sizes.update(values), **settings)

    return planted


def _divided(shape, channels, kernel, stride=1, groups=1):
    rows = [math.floor(side / stride) for side in shape[2:]]
    return _counted(shape, channels, kernel, stride, groups, lambda sizes: sizes.update(rows=rows))


def _squared(shape, channels, kernel, stride=1, groups=1):
    rows = [1 + (shape[2] + 2 * (kernel // 2) - kernel) // stride] * 2
    return _counted(shape, channels, kernel, stride, groups, lambda sizes: sizes.update(rows=rows))


COST = {
    "a multiplication and its addition counted once": _spoilt(operations=1),
    "the input's size": _spoilt(rows=lambda shape, kernel: list(shape[2:])),
    "the size divided by the stride": _divided,
    "a square image": _squared,
    "no padding": _spoilt(pad=0),
    "groups forgotten": _spoilt(seen=lambda shape, kernel: shape[1], held=lambda shape, kernel: shape[1]),
    "groups forgotten in the weights": _spoilt(held=lambda shape, kernel: shape[1]),
    "groups forgotten in the operations": _spoilt(seen=lambda shape, kernel: shape[1]),
    "a kernel of one row": _spoilt(k=lambda shape, kernel: kernel),
    "elements, not bytes": _spoilt(numbers=1),
    "bytes of half precision": _spoilt(numbers=2),
    "the input is not read": _spoilt(**{"left out": 0}),
    "the weights are not read": _spoilt(**{"left out": 1}),
    "the output is not written": _spoilt(**{"left out": 2}),
    "one image": _spoilt(images=1),
}


# ---------------------------------------------------------------- A1.floor
def _rows(change):
    def planted(flops, moved, peak, bandwidth):
        both = torch.stack([flops / peak, moved / bandwidth])                    # (2, P)
        slower, first = both.max(0).values, both[0] > both[1]
        right = {"seconds": slower.sum(), "arithmetic": (slower * first).sum() / slower.sum()}
        return {**right, **change(both, slower, first)}
    return planted


FLOOR = {
    "the larger of two sums": _rows(lambda both, slower, first: {"seconds": both.sum(1).max()}),
    "computing after moving": _rows(lambda both, slower, first: {"seconds": both.sum()}),
    "times the roofs": lambda flops, moved, peak, bandwidth: _rows(lambda *_: {})(
        flops, moved, 1 / peak, 1 / bandwidth),
    "the smaller of the two": _rows(lambda both, slower, first: {"seconds": both.amin(0).sum()}),
    "arithmetic only": _rows(lambda both, slower, first: {"seconds": both[0].sum()}),
    "memory only": _rows(lambda both, slower, first: {"seconds": both[1].sum()}),
    "the mean of the parts": _rows(lambda both, slower, first: {"seconds": slower.sum() / len(slower)}),
    "the slowest part": _rows(lambda both, slower, first: {"seconds": both.max()}),
    "a share of the parts": _rows(lambda both, slower, first: {"arithmetic": first.sum().to(both.dtype) / len(first)}),
    "the share of memory": _rows(lambda both, slower, first: {"arithmetic": slower[~first].sum() / slower.sum()}),
    "the arithmetic of all parts": _rows(lambda both, slower, first: {"arithmetic": both[0].sum() / slower.sum()}),
    "seconds of arithmetic, not a share": _rows(lambda both, slower, first: {"arithmetic": (slower * first).sum()}),
}


# ---------------------------------------------------------------- A1.compare
def _spent(work, clock):
    began = clock()
    work()
    return clock() - began


def _rounds(old, new, rounds, clock, fixed=False):
    """(rounds + 1, 2) seconds of old and new."""
    found = np.zeros((rounds + 1, 2))
    for turn in range(rounds + 1):
        for which in ((1, 0) if turn % 2 and not fixed else (0, 1)):
            found[turn, which] = _spent(new if which else old, clock)
    return found


def _said(ratios, **other):
    low, high = median_interval(list(ratios))
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high), **other}


def _kept(*a, **k):
    found = _rounds(*a, **k)[1:]
    return found[:, 0] / found[:, 1]


def _in_blocks(old, new, rounds, clock):
    olds = [_spent(old, clock) for _ in range(rounds + 1)]
    news = [_spent(new, clock) for _ in range(rounds + 1)]
    return _said(np.array(olds[1:]) / np.array(news[1:]))


def _two_medians(*a):
    found = _rounds(*a)[1:]
    olds, news = np.median(found, 0)
    return _said(found[:, 0] / found[:, 1], ratio=float(olds / news))


def _span(*a):
    found = _kept(*a)
    return _said(found, low=float(found.min()), high=float(found.max()))


def _around_the_mean(*a):
    found = _kept(*a)
    low, high = interval(found.tolist())[:2]
    return _said(found, low=float(low), high=float(high))


def _averaged(*a):
    found = _kept(*a)
    return _said(found, ratio=float(found.mean()))


def _subtracted(*a):
    found = _rounds(*a)[1:]
    return _said(found[:, 0] - found[:, 1])


def _cold_too(*a):
    found = _rounds(*a)
    return _said(found[:, 0] / found[:, 1])


def _one_less(old, new, rounds, clock):
    found = _rounds(old, new, rounds - 1, clock)
    return _said((found[:, 0] / found[:, 1])[1:])


RACE = {
    "new over old": lambda *a: _said(_kept(*a) ** -1.0),
    "one after the other": _in_blocks,
    "always the same first": lambda *a: _said(_kept(*a, fixed=True)),
    "the first round counts": _cold_too,
    "a round too few": _one_less,
    "the ratio of medians": _two_medians,
    "the mean ratio": _averaged,
    "least and greatest": _span,
    "an interval of the mean": _around_the_mean,
    "differences": _subtracted,
}

SECOND = {"A1.time_fairly": FAIR, "A1.conv_cost": COST, "A1.floor": FLOOR, "A1.compare": RACE}
_WRITTEN = "both entries are written before they are read"
EQUIVALENT = {"A1.compare": {f"line 8: [0.0, 0.0] -> {other}": _WRITTEN for other in ("[1.0, 0.0]", "[0.0, 1.0]")}}
