"""Figures of negatives: who does the pushing, what an image shares with its patchwork, how many there are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.charts import DASHES
from course_lib.plots.drawing import GREY, ORANGE, RED, SKY, THIS, drawn
from course_lib.plots.sketch import mosaic, picture


@drawn
def pushes(shares: Mapping[str, Tensor], wrong: Tensor, chosen: str, titles: Sequence[str]) -> Figure:
    """Over the rank of a negative, from the hardest: the push of all up to it, and how many of them are false.

    shares: name -> (M,), the share of the push at each rank; `chosen` in the method's colour, others grey. wrong: (M,),
    the share of anchors whose negative of that rank is false. titles: of both panels.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.8))
    count = len(wrong)
    rank = 100 * torch.arange(1, count + 1) / count
    for name, share in shares.items():
        left.plot(rank, 100 * share.cumsum(0), color=THIS if name == chosen else GREY, label=name)
    left.axvline(5, color=GREY, ls=":", lw=1)
    left.legend(fontsize=8, loc="lower right")
    right.plot(rank, 100 * wrong.cumsum(0) / torch.arange(1, count + 1), color=ORANGE)
    right.axhline(100 * float(wrong.mean()), color=GREY, ls=":", lw=1)
    for axes, title, label in zip((left, right), titles, ("share of the push (%)", "of these, false (%)")):
        axes.set(xlabel="the hardest ... % of the negatives", xscale="log", xlim=(float(rank[0]), 100), ylabel=label,
                 title=title, ylim=(0, max(102.0, 1.02 * axes.dataLim.ymax)))
        axes.set_xticks((0.2, 1, 5, 20, 100), ("0.2", "1", "5", "20", "100"))
        axes.minorticks_off()
    return figure


@drawn
def torn(images: Tensor, worn: Tensor, cosines: Mapping[str, Tensor], title: str) -> Figure:
    """Images above their patchworks; histograms of cosines, the first in the method's colour, the second grey."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.5), width_ratios=(1, 1.15))
    picture(left, mosaic(torch.cat([images, worn]), len(images)), "images, and the same in patches")
    _histograms(right, cosines, (THIS, GREY))
    right.set(xlabel="cosine (centred)", title=title)
    return figure


def _histograms(axes, cosines: Mapping[str, Tensor], colours: Sequence[str], legend: str = "upper left") -> None:
    low = math.floor(4 * min(float(values.min()) for values in cosines.values())) / 4
    for (name, values), colour in zip(cosines.items(), colours):
        axes.hist(values.flatten().numpy(), bins=40, range=(low, 1), density=True, color=colour, alpha=0.6, label=name)
    axes.set(yticks=[], xlim=(low, 1))
    axes.legend(fontsize=8, loc=legend)


@drawn
def own_push(shares: Mapping[str, Sequence[float]], alphas: Sequence[float], here: tuple[str, float],
             cosines: Mapping[str, Tensor]) -> Figure:
    """The own negative's share of the push by alpha, a line a network, `here` (network, alpha) marked; cosines.

    cosines: of queries with their keys, with the queue and with their own negatives.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.6))
    for (name, values), dash in zip(shares.items(), DASHES):
        this = name == here[0]
        left.plot(alphas, [100 * v for v in values], dash, color=THIS if this else GREY, label=name)
        if this:
            left.plot([here[1]], [100 * values[list(alphas).index(here[1])]], "o", color=THIS, ms=8)
    left.set(xlabel="alpha", ylabel="own negative's push (%)", title="its share of all the push",
             ylim=(0, max(10.0, 1.1 * left.dataLim.ymax)))
    left.legend(fontsize=8, loc="center left", bbox_to_anchor=(0, 0.7))
    _histograms(right, cosines, (THIS, GREY, ORANGE))
    right.set(xlabel="cosine with the query", title=here[0])
    return figure


@drawn
def pull_by_number(pulls: Mapping[str, Sequence[float]], numbers: Sequence[int], here: tuple[str, int],
                   other: Mapping[str, Tensor]) -> Figure:
    """The pull on the positive by how many negatives there are, a line a rule; beside it, cosines of hard negatives."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.6))
    for (name, values), colour, dash in zip(pulls.items(), (RED, THIS), DASHES):
        left.plot(numbers, values, dash, color=colour, label=name)
        if name == here[0]:
            left.plot([here[1]], [values[list(numbers).index(here[1])]], "o", color=colour, ms=8)
    left.set(xlabel="K negatives", xscale="log", ylim=(0, 1.02), ylabel="pull on the positive", title=here[0])
    left.set_xticks(numbers[::2], [str(number) for number in numbers[::2]])
    left.minorticks_off()
    left.legend(fontsize=8, loc="lower right")
    _histograms(right, other, (GREY, SKY, ORANGE), "upper right")
    right.set(xlabel="cosine with the query", title="the hardest, and mixtures of them")
    return figure
