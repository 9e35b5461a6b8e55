"""Figures about speed: ratios of rounds, the roofline, rates by size, where a step's time goes, what is reported."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from course_lib.plots.drawing import BLACK, BLUE, CYCLE, GREY, ORANGE, RED, WIDTH, drawn

FAINT = "#e5e5e5"


def _lines(axes: Axes, names: Sequence[str]) -> None:
    """One line per name, from the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    for line in range(1, len(names)):
        axes.axhline(line - 0.5, color=FAINT, lw=0.8, zorder=0)


def _plain(axis, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Ticks of a log axis as plain numbers."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


@drawn
def ratio_lines(rounds: Mapping[str, Sequence[float]], intervals: Mapping[str, tuple[float, float]] | None = None,
                xlabel: str = "ratio") -> Figure:
    """Name -> the ratio of each round (small dots), their median (large), and an interval of the median where given."""
    figure, axes = plt.subplots(figsize=(WIDTH, 0.5 * len(rounds) + 0.9))
    medians = [statistics.median(ratios) for ratios in rounds.values()]
    ends = min(medians) / 4, max(medians) * 4  # what is farther out is drawn there
    for line, (name, ratios) in enumerate(rounds.items()):
        middle = medians[line]
        axes.plot(np.clip(ratios, *ends), [line] * len(ratios), ".", color=GREY, ms=6, alpha=0.7)
        if intervals:
            axes.plot(np.clip(intervals[name], *ends), [line, line], color=BLUE, lw=4, alpha=0.5,
                      solid_capstyle="butt")
        axes.plot(middle, line, "o", color=BLUE, ms=7)
        axes.annotate(f"{middle:.2f}", (middle, line), xytext=(0, 7), textcoords="offset points", ha="center",
                      fontsize=9)
    axes.axvline(1, color=BLACK, ls=":", lw=1.2)
    axes.set(xscale="log", xlabel=xlabel)
    _plain(axes.xaxis)
    _lines(axes, list(rounds))
    axes.set_ylim(len(rounds) - 0.5, -0.7)
    return figure


@drawn
def roofline(peak: float, bandwidths: Mapping[str, float], points: Mapping[str, tuple[float, float]]) -> Figure:
    """Operations a second over operations per byte: the roofs (slopes by bandwidth, level by `peak`), and `points`."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    places = [x for x, _ in points.values()]
    low, high = min(0.05, *places) / 2, max(100.0, *places) * 2
    for (name, bandwidth), dashes in zip(bandwidths.items(), ("-", "--")):
        corner = peak / bandwidth
        axes.plot([low, corner, high], [low * bandwidth / 1e9, peak / 1e9, peak / 1e9], dashes, color=BLACK, lw=1.4,
                  label=f"{name}: {bandwidth / 1e9:.3g} GB/s")
    for number, (name, (x, rate)) in enumerate(points.items()):
        axes.plot(x, rate / 1e9, "os^Dv"[number % 5], color=CYCLE[number % len(CYCLE)], ms=9, label=name)
    axes.annotate(f"{peak / 1e9:.3g} GFLOP/s", (low, peak / 1e9), xytext=(4, 4), textcoords="offset points",
                  fontsize=9)
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="operations per byte moved", ylabel="GFLOP/s")
    axes.margins(y=0.15)
    _plain(axes.xaxis, (1,))
    _plain(axes.yaxis, (1,))
    figure.legend(loc="outside right upper", fontsize=9)
    return figure


@drawn
def rates_by_size(sizes: Sequence[int], rates: Sequence[float], marks: Mapping[str, int]) -> Figure:
    """Bytes a second over the bytes of a tensor, both logarithmic; `marks`: names at sizes."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
    axes.plot([size / 1e6 for size in sizes], [rate / 1e9 for rate in rates], "o-", color=BLUE)
    for name, size in marks.items():
        axes.axvline(size / 1e6, color=RED, ls=":", lw=1.2)
        axes.annotate(name, (size / 1e6, 0.03), xycoords=("data", "axes fraction"), xytext=(4, 0),
                      textcoords="offset points", fontsize=9, color=RED)
    axes.set(xscale="log", yscale="log", xlabel="MB of the tensor that is copied", ylabel="GB moved a second")
    axes.margins(y=0.2)
    _plain(axes.xaxis, (1,))
    _plain(axes.yaxis)
    return figure


@drawn
def stage_bars(bars: Mapping[str, Mapping[str, float]]) -> Figure:
    """Name -> {stage: seconds}: milliseconds by stage, a bar for each name, and their sum; a stage keeps its colour."""
    figure, axes = plt.subplots(figsize=(WIDTH, 0.45 * len(bars) + 1.2))
    stages = list(dict.fromkeys(stage for bar in bars.values() for stage in bar))
    for line, bar in enumerate(bars.values()):
        left = 0.0
        for stage, seconds in bar.items():
            axes.barh(line, 1000 * seconds, 0.7, left=left, color=CYCLE[stages.index(stage)], edgecolor="white", lw=0.5,
                      label=stage)
            left += 1000 * seconds
        axes.annotate(f"{left:.3g} ms", (left, line), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set(xlabel="milliseconds of a step")
    axes.margins(x=0.12)
    _lines(axes, list(bars))
    unique = {label: handle for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=6)
    return figure


@drawn
def reported(ratios: Sequence[float], truth: float, within: float, load: Sequence[float]) -> Figure:
    """Left: what one simulated machine takes for each call. Right: the ratio that many benchmarks report."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.8), width_ratios=(1, 1.3))
    left.plot(range(1, len(load) + 1), load, "o-", ms=3, lw=1, color=GREY)
    left.set(xlabel="call", ylabel="time, quiet and warm = 1", ylim=(0, None), title="one of the machines")
    edges = np.geomspace(0.4, 2.5, 43)
    right.axvspan(truth / within, truth * within, color=FAINT, zorder=0)
    right.hist(np.clip(ratios, edges[0], edges[-1]), edges, color=ORANGE)
    right.axvline(truth, color=BLACK, ls=":", lw=1.5)
    off = np.mean(np.abs(np.log(np.asarray(ratios) / truth)) > np.log(within))
    right.set(xscale="log", xlabel="reported: A's time over B's", ylabel="benchmarks",
              title=f"{off:.0%} are off by more than {within - 1:.0%}")
    _plain(right.xaxis, (0.5, 0.7, 1, 1.5, 2))
    return figure


@drawn
def exponent_fit(sizes: Sequence[float], costs: Sequence[float], used: Sequence[bool], slope: float, xlabel: str,
                 ylabel: str) -> Figure:
    """A cost over a size, both logarithmic, and the line of that slope through the (circled) points that were used."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
    x, y, chosen = np.asarray(sizes, float), np.asarray(costs, float), np.asarray(used)
    middle = np.log(y[chosen]).mean() - slope * np.log(x[chosen]).mean()
    axes.plot(x, np.exp(middle + slope * np.log(x)), ":", color=BLACK, lw=1.2)
    axes.plot(x, y, "o", color=BLUE)
    axes.plot(x[chosen], y[chosen], "o", ms=12, mfc="none", color=BLACK, mew=1)
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel, title=f"exponent {slope:.2f}")
    axes.set_xticks(x, [f"{size:g}" for size in x])
    axes.xaxis.set_minor_locator(NullLocator())
    return figure
