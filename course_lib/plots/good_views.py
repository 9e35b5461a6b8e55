"""Figures of lesson 20: what two views share, what is then read of each cause, and LooC's table of signs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.drawing import BLACK, GREEN, GREY, ORANGE, PINK, RED, SKY, THIS, drawn
from course_lib.plots.sketch import picture

CAUSES = {"class": THIS, "hue": ORANGE, "background": GREEN, "pos_x": PINK, "pos_y": SKY}
SIGN = {1: ("+", THIS), -1: ("−", RED), 0: ("", GREY)}


@drawn
def regimes() -> Figure:
    """Three pairs of views as bars of what both hold: too little, just the task's, and the task's and a lot more."""
    figure, axes = plt.subplots(figsize=(7.4, 2.0))
    bars = {"too little": (0.45, 0.0), "the sweet spot": (1.0, 0.0), "too much": (1.0, 1.6)}
    for y, (task, more) in enumerate(bars.values()):
        axes.barh(y, task, color=THIS, height=0.6)
        axes.barh(y, more, left=task, color="#cccccc", height=0.6)
        axes.text(max(1.0, task + more) + 0.04, y, ("the task cannot be learned from the pair", "nothing else to go by",
                                          "something else may be easier to match")[y], va="center", fontsize=9)
    axes.axvline(1.0, color=BLACK, ls=":", lw=1.4)
    axes.text(1.03, -0.62, "what the task needs", ha="left", fontsize=9)
    axes.set(yticks=range(3), yticklabels=list(bars), xlim=(0, 4.9), xticks=[], ylim=(2.5, -0.85),
             xlabel="information that both views hold")
    axes.spines["bottom"].set_visible(False)
    return figure


@drawn
def over_strength(read: Mapping[str, Sequence[Sequence[float]]], information: Sequence[Sequence[float]],
                  strengths: Sequence[float], here: float | None = None) -> Figure:
    """What is read of causes by the strength of the change of colour, and by what the views share; a dot a training.

    read: cause -> for each strength the seeds' scores; information: for each strength the seeds' nats.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.0), sharey=True)
    shared = [fmean(values) for values in information]
    for name, lines in read.items():
        for axes, places in ((left, list(range(len(strengths)))), (right, shared)):
            axes.plot(places, [fmean(values) for values in lines], color=CAUSES.get(name, GREY), label=name)
            for place, values in zip(places, lines):
                axes.plot([place] * len(values), list(values), "o", ms=4, color=CAUSES.get(name, GREY), alpha=0.7)
    if here is not None:
        at = list(strengths).index(here)
        left.axvline(at, color=GREY, lw=1, zorder=0)
        right.axvline(shared[at], color=GREY, lw=1, zorder=0)
    left.set_xticks(range(len(strengths)), [f"{s:g}" for s in strengths])
    left.set(xlabel="strength of the changes of colour", ylabel="read: 0 not at all, 1 exactly", ylim=(-0.03, 1.05))
    right.set(xlabel="bound on what two views share (nats)")
    right.invert_xaxis()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(read), fontsize=9)
    return figure


@drawn
def ceiling(numbers: Sequence[int], lines: Mapping[str, Sequence[float]], chosen: str, here: int) -> Figure:
    """InfoNCE's bound by the number of candidates, a line for each pair of views, below its ceiling log N."""
    figure, axes = plt.subplots(figsize=(6.6, 3.0))
    for name, values in lines.items():
        axes.plot(numbers, values, "o-", ms=4, color=THIS if name == chosen else "#bbbbbb",
                  zorder=3 if name == chosen else 1)
        if name in (chosen, list(lines)[0], list(lines)[-1]):  # the others lie too close for names
            axes.annotate(name, (numbers[-1], values[-1]), xytext=(6, -3), textcoords="offset points", fontsize=8,
                          color=THIS if name == chosen else GREY)
    axes.plot(numbers, [math.log(n) for n in numbers], color=BLACK, ls="--", lw=1.2)
    axes.annotate("log N", (numbers[-2], math.log(numbers[-2])), xytext=(-34, 4), textcoords="offset points",
                  fontsize=9)
    axes.axvline(here, color=GREY, lw=1, zorder=0)
    axes.set(xscale="log", xlabel="candidates N", ylabel="bound (nats)")
    axes.set_xticks(numbers, [str(n) for n in numbers])
    axes.minorticks_off()
    axes.set_xlim(numbers[0] * 0.9, numbers[-1] * 1.7)
    return figure


@drawn
def signs(table: Tensor, query: Tensor, keys: Sequence[Tensor], names: Sequence[str]) -> Figure:
    """LooC's sign table under the key views of one image: + positive, - negative, empty: not compared.

    table (n + 1, n + 1); query and each of keys (3, H, W); names: of the augmentations that are left out.
    """
    n = len(table)
    figure, panels = plt.subplots(n + 1, n + 1, figsize=(1.55 * (n + 1), 1.1 * (n + 1)),
                                  height_ratios=[1.6] + [1] * n)
    picture(panels[0, 0], query, "query")
    for j, key in enumerate(keys):
        picture(panels[0, j + 1], key, f"$k_{j}$: " + ("nothing" if j == 0 else names[j - 1]) + " shared")
    for i in range(n):
        head = "head 0\nkeeps neither" if i == 0 else f"head {i}\nkeeps {names[i - 1]}"
        panels[i + 1, 0].text(0.95, 0.5, head, ha="right", va="center", fontsize=9)
        for j in range(n):
            text, colour = SIGN[int(table[i, j])]
            panels[i + 1, j + 1].set_facecolor("#f4f4f4")
            panels[i + 1, j + 1].text(0.5, 0.5, text, ha="center", va="center", fontsize=22, color=colour)
        for axes in panels[i + 1]:
            axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
            axes.spines[:].set_visible(False)
    return figure


@drawn
def two_ranks(scores: Mapping[str, tuple[Sequence[float], Sequence[float]]], titles: Mapping[str, str],
              chance: float, floors: Mapping[str, float] | None = None, groups: Sequence[str] = ()) -> Figure:
    """Class against a score without labels, a panel for each kind of score; points are trainings.

    scores: name -> (the score, class), titles: name -> what stands above; chance of the first, dotted; floors: name ->
    the score without training, dashed. groups: a name for each training, a colour for each name, from dark to light.
    """
    figure, panels = plt.subplots(1, len(scores), figsize=(8.6, 3.2 if groups else 2.9), sharey=True)
    names = list(dict.fromkeys(groups))
    for axes, (name, (x, y)) in zip(panels, scores.items()):
        if names:
            for i, group in enumerate(names):
                mine = [j for j, other in enumerate(groups) if other == group]
                axes.plot([x[j] for j in mine], [y[j] for j in mine], "o", ms=7, mec=BLACK, mew=0.5, label=group,
                          color=plt.get_cmap("cividis")(i / max(1, len(names) - 1)))
        else:
            axes.plot(list(x), list(y), "o", color=THIS, alpha=0.7)
        axes.axvline(chance, color=BLACK, ls=":", lw=1.2)
        if floors:
            axes.axvline(floors[name], color=GREY, ls="--", lw=1.2, zorder=0)
        axes.set(title=titles[name], xlabel=name)
    panels[0].set_ylabel("kNN accuracy of the class")
    if names:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names), fontsize=9)
    return figure
