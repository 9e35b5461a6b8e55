"""Figures of lesson 03: three terms on a toy, spectra of runs, and how hard a term pulls at the brink of collapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.drawing import MEANING, THIS, drawn
from course_lib.plots.sketch import numbers


@drawn
def toy_figure(first: Tensor, second: Tensor, causes: Tensor, weights: Tensor, deviations: Tensor, step: int) -> Figure:
    """Both views (N, 2) of "images", joined and coloured by causes (N,); the matrix (3, 2); the std of both (T, 2).

    The chosen step is marked, and a std of 1 dotted.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8.6, 2.7), width_ratios=(1.3, 1, 1.2))
    left.plot([first[:, 0], second[:, 0]], [first[:, 1], second[:, 1]], color="#bbbbbb", lw=0.8, zorder=1)
    left.scatter(*torch.cat([first, second]).T, c=causes.repeat(2), cmap="cividis", s=16, zorder=2)
    left.set(xlim=(-3.4, 3.4), ylim=(-3.4, 3.4), aspect="equal", xlabel="dimension 1", ylabel="dimension 2",
             title=f"both views, step {step}")
    numbers(middle, weights, ["kept", "disturbed", "drowned"], ["dim 1", "dim 2"], highest=1.2, signed=True)
    middle.set_title("W: which cause is read")
    for d, dash in enumerate(("-", "--")):
        right.plot(deviations[:, d], dash, label=f"dimension {d + 1}")
    right.axvline(step, color="#999999", lw=1)
    right.axhline(1, color="#999999", ls=":", lw=1)
    right.set(xlabel="step", ylabel="standard deviation", ylim=(0, 2.4))
    right.legend(loc="upper right", fontsize=8)
    return figure


@drawn
def spectra(spectrum: Mapping[str, Sequence[float]], ranks: Mapping[str, Sequence[float]],
            knn: Mapping[str, Sequence[float]], levels: Mapping[str, float], chosen: str) -> Figure:
    """Variances along principal directions, the chosen run in colour; every run's kNN by its rank, a dot a seed.

    knn and levels (of "raw pixels" and "random encoder"): fractions.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.9))
    for name, values in spectrum.items():
        colour, order = (THIS, 3) if name == chosen else ("#cccccc", 1)
        shown = [max(value, 1e-12) for value in values]
        left.plot(range(1, len(shown) + 1), shown, color=colour, zorder=order)
        left.text(len(shown) + 2, shown[-1], name, va="center", fontsize=8, color=colour if order == 3 else "#666666")
        right.plot(ranks[name], [100 * value for value in knn[name]], "o", color=colour, zorder=order)
    left.set(xlabel="principal direction", ylabel="variance", yscale="log", ylim=(1e-11, 1e3), title="spectrum")
    for (name, value), (dash, width) in zip(levels.items(), (("--", 1.2), (":", 1.6))):
        right.axhline(100 * value, color=MEANING[name], ls=dash, lw=width, label=name)
    right.set(xlabel="effective rank of the embedding", ylabel="kNN (%)", xscale="log", title=chosen)
    right.legend(fontsize=8, loc="upper left")
    if (layout := figure.get_layout_engine()) is not None:
        layout.set(w_pad=0.12)  # pyright: ignore[reportCallIssue]
    return figure


@drawn
def pulls(spreads: Sequence[float], found: Mapping[str, Sequence[float]], at_zero: Mapping[str, float]) -> Figure:
    """The norm of a term's gradient by the std of the batch, name -> (spreads,); in the key, that of equal images."""
    figure, axes = plt.subplots(figsize=(8, 2.8))
    for (name, values), dash in zip(found.items(), ("-", "--", ":")):
        axes.plot(spreads, values, dash, label=f"{name}\n(no deviation at all: {at_zero[name]:.0f})")
    axes.set(xscale="log", yscale="log", ylim=(1e-5, 30), xlabel="standard deviation of the batch",
             ylabel="gradient norm")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure
