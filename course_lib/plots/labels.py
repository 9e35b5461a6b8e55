"""Figures of learning from few labels: accuracy against their number, and what one network gains over another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from course_lib.plots.drawing import BLACK, CYCLE, GREY, MEANING, WIDTH, drawn

Curve = Mapping[int, Sequence[float]]  # labels per class -> an accuracy for each draw


def _coloured(names: Sequence[str]) -> dict[str, str]:
    rest = iter(CYCLE)
    return {name: MEANING[name] if name in MEANING else next(rest) for name in names}


def _budgets(axes, ks: Sequence[int]) -> None:
    axes.set(xscale="log", xlabel="labelled images per class")
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.xaxis.set_minor_locator(NullLocator())


@drawn
def label_curves(curves: Mapping[str, Curve], chance: float | None = None) -> Figure:
    """Accuracy (percent) against labels per class: dots are draws of the labels, lines their means."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    colours = _coloured(tuple(curves))
    for number, (name, curve) in enumerate(curves.items()):
        ks = sorted(curve)
        axes.plot(ks, [100 * fmean(curve[k]) for k in ks], "-" if len(ks) > 1 else "", color=colours[name], label=name,
                  marker="D" if len(ks) == 1 else "o", ms=5, zorder=3)
        for k in ks:
            aside = k * 1.04 ** (number - (len(curves) - 1) / 2)  # so that the dots of two networks are told apart
            axes.scatter([aside] * len(curve[k]), [100 * v for v in curve[k]], s=9, alpha=0.45, color=colours[name],
                         linewidths=0)
    if chance is not None:
        axes.axhline(100 * chance, color=BLACK, ls=":", lw=1, zorder=1, label="chance")
    _budgets(axes, sorted({k for curve in curves.values() for k in curve}))
    axes.set(ylabel="test accuracy (%)", ylim=(0, 100))
    figure.legend(loc="outside right center")
    return figure


@drawn
def label_gains(gains: Curve, intervals: Mapping[int, Sequence[float]], names: tuple[str, str],
                chosen: int | None = None) -> Figure:
    """What one network gains over another (fractions, drawn as points of accuracy): a dot for each draw of the labels.

    intervals: labels per class -> (low, mean, high). chosen: the number of labels that is drawn in black.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
    for k, values in gains.items():
        low, mean, high = (100 * value for value in intervals[k])
        colour = BLACK if chosen in (None, k) else GREY
        axes.scatter([k] * len(values), [100 * value for value in values], s=12, alpha=0.5, color=colour, linewidths=0)
        axes.plot([k * 1.07] * 2, [low, high], color=colour, lw=3, solid_capstyle="butt")
        axes.plot(k * 1.07, mean, "_", color=colour, ms=12, mew=2)
    axes.axhline(0, color=GREY, ls=":", lw=1)
    _budgets(axes, sorted(gains))
    axes.set(ylabel=f"{names[0]}\nminus {names[1]} (points)")
    return figure
