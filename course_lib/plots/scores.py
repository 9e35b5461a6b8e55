"""Figures of scores, of queries with their own keys and with the negatives: at one moment, while they move, mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.models.layers import normalize
from course_lib.plots.charts import traces
from course_lib.plots.drawing import CYCLE, GREY, ORANGE, THIS, WIDTH, drawn
from course_lib.plots.pictures import image_rows
from course_lib.plots.sketch import arrow, mosaic, picture, unit_circle
from course_lib.plots.words import seeds_by_line
from course_lib.seeds import generator

Scores = tuple[Tensor, Tensor]  # positive (P,) and negative (M,)
BINS = 40  # as stored runs have them (lessons/grids/week11.py)


def histograms(axes: Axes, scores: Scores, title: str = "", low: float = -1.0, high: float = 1.0,
               legend: bool = True) -> None:
    """Positive scores in the method's colour, negative ones grey, each with a line at its mean; equal areas."""
    edges = torch.linspace(low, high, BINS + 1)
    for values, colour, name in zip(scores, (THIS, GREY), ("with its own key", "with the queue")):
        counts = torch.histc(values.float().clamp(low, high), BINS, low, high) / values.numel()
        axes.stairs(counts.numpy(), edges.numpy(), fill=True, color=colour, alpha=0.55, label=name)
        axes.axvline(float(values.mean()), color=colour, lw=1.6)
    axes.set(xlim=(low - 0.02, high + 0.02), yticks=[], xlabel="score", title=title)
    axes.set_ylim(0, min(axes.dataLim.ymax, 0.4) * 1.25)  # spikes are cut off, or nothing else would be seen
    if legend:
        axes.legend(fontsize=8, loc="upper left")


@drawn
def moments(runs: Mapping[str, Sequence[tuple[int, Scores]]], chosen: str, at: int) -> Figure:
    """The scores of one run at one of its looks; beside it the mean scores of all runs over their steps.

    runs: name -> (step, scores) of each look. Solid: positive; dashed: negative.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.6, 2.7), width_ratios=(1.25, 1))
    step, scores = runs[chosen][at]
    histograms(left, scores, f"{chosen}, step {step}")
    for name, looks in sorted(runs.items(), key=lambda item: item[0] == chosen):
        steps, here = [step for step, _ in looks], name == chosen
        for part, dash in enumerate(("-", "--")):
            means = [float(scores[part].mean()) for _, scores in looks]
            right.plot(steps, means, dash, color=(THIS, "#777777")[part] if here else "#D0D0D0", lw=2 if here else 1.4)
    right.axvline(step, color=GREY, ls=":", lw=1)
    right.set(xlabel="step", ylabel="mean score", ylim=(-0.1, 1.05), title="solid: own key; dashed: queue")
    return figure


@drawn
def moments_over_steps(runs: Mapping[str, Sequence[tuple[int, Mapping[str, Tensor]]]], chosen: str) -> Figure:
    """Mean scores of a run over its steps, with a standard deviation to either side; others pale.

    runs: name -> (step, `imco.score_moments`) of each look. Left: positive scores; right: negative ones.
    """
    figure, places = plt.subplots(1, 2, figsize=(WIDTH, 2.6), sharey=True)
    for axes, kind, colour in zip(places, ("positive", "negative"), (THIS, "#777777")):
        for name, looks in sorted(runs.items(), key=lambda item: item[0] == chosen):
            steps, here = [step for step, _ in looks], name == chosen
            means = torch.tensor([float(reading[kind]) for _, reading in looks])
            axes.plot(steps, means, color=colour if here else "#D0D0D0", lw=2 if here else 1.3)
            if here:
                std = torch.tensor([float(reading[f"{kind}_variance"]) for _, reading in looks]).sqrt()
                axes.fill_between(steps, means - std, means + std, color=colour, alpha=0.25, lw=0)
        axes.set(xlabel="step", ylim=(-0.35, 1.08), title=f"{chosen}: {kind} scores")
    places[0].set_ylabel("score")
    return figure


def _pair(axes: Axes, q: Tensor, k: Tensor, moved: tuple[Tensor, Tensor]) -> None:
    unit_circle(axes)
    axes.plot(*torch.stack([moved[0], moved[1]]).T, color=GREY, ls=":", lw=1.2, zorder=1)
    for old, new, colour, mark, name in zip((q, k), moved, (THIS, ORANGE), "os", "qk"):
        arrow(axes, tuple(old.tolist()), tuple(new.tolist()), colour)
        axes.plot(*old, mark, ms=6, mfc="white", mec=colour)
        axes.plot(*new, mark, ms=7, color=colour)
        axes.annotate(f"{name}'", tuple(new.tolist()), xytext=(0, 6), textcoords="offset points", ha="center",
                      fontsize=9)
    axes.set(xlim=(-1.6, 1.6), ylim=(-0.35, 1.75))


def pair_on_circle(score: float) -> tuple[Tensor, Tensor]:
    """Two points (2,) on the unit circle, left and right of its top, with such a cosine."""
    angle = math.acos(score) / 2
    return (torch.tensor([-math.sin(angle), math.cos(angle)]), torch.tensor([math.sin(angle), math.cos(angle)]))


@drawn
def moved_pair(q: Tensor, k: Tensor, moved: tuple[Tensor, Tensor], before: Tensor, after: Tensor,
               balance: tuple[Sequence[float], Sequence[float], float]) -> Figure:
    """A pair (2,), (2,) on the circle and moved; scores of many pairs before and after; pull for each push by lambda.

    balance: lambdas, their pull over push, and the lambda of now.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH + 0.8, 2.7), width_ratios=(1.05, 1.25, 0.9))
    _pair(left, q, k, moved)
    low = min(-0.5, math.floor(2 * float(after.min())) / 2)
    edges = torch.linspace(max(low, -2.0), 1, 71)
    for values, colour, name in ((before, GREY, "before"), (after, THIS, "in the loss")):
        counts = torch.histc(values.clamp(float(edges[0]), 1), 70, float(edges[0]), 1) / len(values)
        middle.stairs(counts.numpy(), edges.numpy(), fill=True, color=colour, alpha=0.55, label=name)
    middle.set(yticks=[], xlabel="score of a query with its key", xlim=(float(edges[0]), 1.02),
               title=f"mean {after.mean():.2f}, standard deviation {after.std(correction=0):.2f}")
    middle.legend(fontsize=8, loc="upper left")
    lambdas, ratios, now = balance
    right.plot(lambdas, ratios, color=GREY)
    right.plot([now], [(now**2 + (1 - now) ** 2) / max(now, 1e-9)], "o", color=THIS, ms=7)
    right.axhline(1, color=GREY, ls=":", lw=1)
    right.set(xlabel="lambda", ylabel="pull for each push", ylim=(0, 3.6), title="dotted: MoCo")
    return figure


def ten_on_circle() -> tuple[Tensor, Tensor]:
    """Ten points on the unit circle (10, 2), not quite regular, and an order (10,) that gives each a partner."""
    turn = torch.linspace(0, 2 * math.pi, 11)[:10] + 0.35 * torch.randn(10, generator=generator(2))
    return torch.stack([turn.cos(), turn.sin()], 1), torch.randperm(10, generator=generator(1))


@drawn
def mixed_rows(b: float, scaled: bool, before: Tensor, after: Tensor, effect: Mapping[str, float]) -> Figure:
    """Ten points on the circle and their mixtures for a share b; scores (N, K) of queries with all negatives before and
    after.

    scaled: the mixtures have length 1. effect: see `evaluate.scores.mixing_effect`.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.7), width_ratios=(1, 1.6))
    unit_circle(left, edge=1.15)
    rows, order = ten_on_circle()
    mixtures = b * rows + (1 - b) * rows[order]
    mixtures = normalize(mixtures) if scaled else mixtures
    left.plot(*rows.T, "o", mfc="white", mec="#666666", ms=6)
    for old, new in zip(rows, mixtures):
        left.plot(*torch.stack([old, new]).T, color=GREY, lw=0.8, zorder=0)
    left.plot(*mixtures.T, "o", color=THIS, ms=5)
    edges = torch.linspace(-1.02, 1.02, 69)
    for values, colour, name in ((before, GREY, "the queue's rows"), (after, THIS, "their mixtures")):
        counts = torch.histc(values.clamp(-1.02, 1.02), 68, -1.02, 1.02) / values.numel()
        right.stairs(counts.numpy(), edges.numpy(), fill=True, color=colour, alpha=0.55, label=name)
    right.set(yticks=[], xlabel="score of a query with a negative",
              title=f"variance {effect['variance']:.2f} of what it was; hardest {effect['was']:.2f} to "
                    f"{effect['hardest']:.2f}")
    right.legend(fontsize=8, loc="upper left")
    return figure


@drawn
def parents(pictures: Tensor, own: Sequence[float], shares: Sequence[float], curves: Mapping[str, Sequence[float]],
            now: float) -> Figure:
    """Two images and their mixture (3, 3, H, W); cosines of mixtures with both parents by the share of the first.

    own: the cosines of this mixture with its parents; curves: name -> a mean cosine for each of `shares`.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.5), width_ratios=(1.2, 1))
    picture(left, mosaic(pictures, 3), f"image, mixture, partner; cosines {own[0]:.2f} and {own[1]:.2f}")
    for (name, values), colour in zip(curves.items(), (THIS, ORANGE)):
        right.plot(shares, values, "o-", ms=3, color=colour, label=name)
    right.axvline(now, color=GREY, ls=":", lw=1)
    right.set(xlabel="share of the image", ylabel="cosine (centred)", ylim=(-0.25, 1.05), title="means of 500 pairs")
    right.legend(fontsize=8, loc="lower center")
    return figure


def close_kin(images: Tensor, labels: Tensor, found: Mapping[str, Tensor], asked: Sequence[int]) -> Figure:
    """A row for each asked image and network: images (N, 3, H, W) and its neighbours, green where the class is its own.

    labels: int64 (N,). found: network -> numbers of the nearest images (N, k).
    """
    white, green, pale = torch.ones(3), torch.tensor([0.0, 0.62, 0.45]), torch.tensor([0.88, 0.88, 0.88])
    rows, frames = {}, {}
    for number, image in enumerate(asked, 1):
        for name, near in found.items():
            own = labels[near[image]] == labels[image]
            rows[f"{name}, {number}"] = images[torch.cat([torch.tensor([image]), near[image]])]
            frames[f"{name}, {number}"] = torch.stack([white, *(green if same else pale for same in own)])
    most = max(near.shape[1] for near in found.values())
    return image_rows(rows, cell=0.8, titles=["image", *map(str, range(1, most + 1))], frames=frames)


def stored_means(rows: Mapping[str, Sequence[Mapping[str, Sequence[float]]]], names: Mapping[str, str],
                 chosen: Sequence[str], steps: Sequence[int]) -> Figure:
    """Mean scores over the steps, a curve for each seed of the chosen lines.

    rows: line -> rows of stored runs, with "scores_positive_mean" and "scores_negative_mean". names: of the lines.
    """
    return traces({f"mean score, {what}": {names[line].replace("\n", " "): [
        (steps, row[f"scores_{kind}_mean"]) for row in rows[line]] for line in chosen}
        for what, kind in (("own key", "positive"), ("queue", "negative"))}, tops=(1.05, 1.05))


def stored_lines(accuracy: Mapping[str, Sequence[float]], names: Mapping[str, str], chosen: Sequence[str],
                 floor: float) -> Figure:
    """kNN of stored runs in percent, a dot for each training: line -> shares; floor: that of raw pixels.

    The chosen lines have the colours of `stored_means`, the others are grey. names: of the lines.
    """
    colours = dict(zip(chosen, CYCLE))
    return seeds_by_line({names[line]: [100 * value for value in values] for line, values in accuracy.items()},
                         "kNN (%)", colours=[colours.get(line, GREY) for line in accuracy],
                         levels={"raw pixels": 100 * floor})
