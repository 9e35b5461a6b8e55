"""Figures of lesson 23: networks in two measures, rank correlations, an episode, outlier scores, an attack."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.drawing import (
    BLACK,
    GREEN,
    GREY,
    MEANING,
    ORANGE,
    PINK,
    RED,
    SKY,
    THIS,
    WIDTH,
    drawn,
)
from course_lib.plots.sketch import picture

FAMILY = {"negatives": THIS, "no negatives": SKY, "clusters": ORANGE, "dense": PINK, "masks": RED,
          "masks and a teacher": "#8B5A2B", "labels": GREEN, "control": MEANING["raw pixels"]}
Points = Mapping[str, tuple[float, float]]  # network -> (x, y)


@drawn
def scatter(panels: Mapping[str, Points], family: Mapping[str, str], labels: tuple[str, Sequence[str]],
            named: Collection[str] = (), diagonal: bool = False) -> Figure:
    """A dot for each network, coloured by its family; a panel for each measure, its title above.

    labels: of the x axis and of each y axis; named: whose names are written; diagonal: y = x, dotted.
    """
    figure, places = plt.subplots(1, len(panels), figsize=(WIDTH if len(panels) > 1 else 6.4, 3.5), squeeze=False)
    for axes, (title, points), below in zip(places[0], panels.items(), labels[1]):
        for kind, colour in FAMILY.items():
            here = [points[name] for name in points if family[name] == kind]
            if here:
                axes.scatter(*zip(*here), s=46, color=colour, marker="X" if kind == "control" else "o", alpha=0.85,
                             label=kind, edgecolors="white", linewidths=0.6)
        middle = sum(axes.get_xlim()) / 2
        for name in named:
            if name in points:
                right = points[name][0] > middle
                axes.annotate(name, points[name], xytext=(-7 if right else 7, 4), textcoords="offset points",
                              ha="right" if right else "left", fontsize=8.5)
        if diagonal:
            axes.axline((0.5, 0.5), slope=1, color=BLACK, ls=":", lw=1)
        axes.set(xlabel=labels[0], ylabel=below, title=title)
    figure.legend(*places[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


@drawn
def forest(found: Mapping[str, tuple[float, float, float]], few: Mapping[str, tuple[float, float, float]],
           names: tuple[str, str]) -> Figure:
    """Rank correlations with their intervals: measure -> (value, low, high), of all networks and of some of them."""
    figure, axes = plt.subplots(figsize=(WIDTH, 0.36 * len(found) + 1.2))
    for rows, colour, shift, name in ((found, THIS, -0.14, names[0]), (few, ORANGE, 0.14, names[1])):
        for y, key in enumerate(found):
            if key in rows:
                value, low, high = rows[key]
                axes.plot([low, high], [y + shift] * 2, color=colour, lw=2)
                axes.plot(value, y + shift, "o", color=colour, ms=6, label=name if y == 0 else None)
    axes.axvline(0, color=BLACK, ls=":", lw=1.2)
    axes.set_yticks(range(len(found)), list(found))
    axes.set(xlim=(-1.03, 1.03), xlabel="rank correlation with in-domain kNN (bars: 95 % over networks)")
    axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return figure


@drawn
def table(rows: Mapping[str, Mapping[str, float]], family: Mapping[str, str]) -> Figure:
    """The table: network -> measure -> value, in percent, each column coloured from its lowest to its highest."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    values = torch.tensor([[row.get(key, float("nan")) for key in columns] for row in rows.values()])
    figure, axes = plt.subplots(figsize=(WIDTH + 0.6, 0.235 * len(rows) + 0.9))
    low = torch.tensor([column[column.isfinite()].min() for column in values.T])
    high = torch.tensor([column[column.isfinite()].max() for column in values.T])
    scaled = ((values - low) / (high - low).clamp_min(1e-9)).numpy()
    axes.imshow(np.ma.masked_invalid(scaled), aspect="auto", cmap="cividis", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(values.numpy()):
        axes.text(j, i, "–" if np.isnan(value) else f"{100 * value:.0f}", ha="center", va="center", fontsize=8.5,
                  color="white" if np.isfinite(value) and scaled[i, j] < 0.55 else "black")
    axes.set_xticks(range(len(columns)), [name.replace(", ", "\n") for name in columns], fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8.5)
    for label, name in zip(axes.get_yticklabels(), rows):
        label.set_color(FAMILY[family[name]])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


@drawn
def shrinking(sizes: Sequence[int], lines: Mapping[str, Sequence[float]], family: Mapping[str, str],
              chance: float) -> Figure:
    """kNN accuracy by the number of labelled images of each class, a line for each network."""
    figure, axes = plt.subplots(figsize=(6.8, 3.1))
    for name, values in lines.items():
        axes.plot(sizes, values, "o-", ms=4, color=FAMILY[family[name]])
        axes.annotate(name, (sizes[0], values[0]), xytext=(-5, 0), textcoords="offset points", fontsize=8.5,
                      va="center", ha="right", color=FAMILY[family[name]], bbox={"fc": "white", "ec": "none", "pad": 1})
    axes.axhline(chance, color=BLACK, ls=":", lw=1.2, zorder=0)
    axes.annotate("chance", (sizes[-1], chance), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8.5)
    axes.set(xscale="log", xlabel="labelled images of each class", ylabel="accuracy of neighbours", ylim=(0, 1.03))
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 5, sizes[-1] * 1.1)
    return figure


@drawn
def episode(support: Tensor, query: Tensor, distances: Tensor, truth: int, names: Sequence[str]) -> Figure:
    """An episode: support images (K, S, 3, H, W) in rows of their class, the query, its distance to each class mean."""
    ways, shots = support.shape[:2]
    figure = plt.figure(figsize=(WIDTH, 3.1))
    parts = figure.subfigures(1, 3, squeeze=False, width_ratios=(0.9, 0.35 * shots + 0.55, 2.0))[0]
    guess = int(distances.argmin())
    axes = parts[0].subplots()
    picture(axes, query, f"query: {names[truth]}")
    axes.set_xlabel(("right: " if guess == truth else "wrong: ") + names[guess], fontsize=10,
                    color=THIS if guess == truth else RED)
    grid = parts[1].subplots(ways, shots, squeeze=False)
    for row in range(ways):
        for shot in range(shots):
            picture(grid[row, shot], support[row, shot])
        grid[row, 0].set_ylabel(names[row], rotation=0, ha="right", va="center", fontsize=9)
    axes = parts[2].subplots()
    axes.barh(range(ways), distances.tolist(), color=[
        THIS if row == guess == truth else RED if row == guess else "#cccccc" for row in range(ways)])
    axes.set_yticks(range(ways), names)
    axes.set(xlabel="distance of the query to the class mean", xlim=(0, 1.15 * float(distances.max())))
    axes.invert_yaxis()
    return figure


@drawn
def outlier_histogram(known: Tensor, other: Tensor, threshold: float, names: tuple[str, str], title: str) -> Figure:
    """Scores of images of the known kind and of outliers, on a scale of logarithms, and a threshold between."""
    figure, axes = plt.subplots(figsize=(6.8, 2.9))
    low, high = (float(f(torch.cat([known, other]))) for f in (torch.min, torch.max))
    edges = np.geomspace(max(low, 1e-9), max(high, 2e-9), 50)
    for scores, colour, name in ((known, THIS, names[0]), (other, RED, names[1])):
        counts, _ = np.histogram(scores.numpy(), edges)
        axes.stairs(counts / len(scores), edges, fill=True, color=colour, alpha=0.5, label=name)
    axes.axvline(threshold, color=BLACK, lw=1.6)
    axes.annotate("outlier →", (threshold, 1), xycoords=("data", "axes fraction"), xytext=(4, -10),
                  textcoords="offset points", fontsize=9)
    axes.set(xscale="log", xlabel="score (squared distance)", ylabel="share of images", title=title)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return figure


@drawn
def attack(image: Tensor, attacked: Tensor, probabilities: tuple[Tensor, Tensor], truth: int, names: Sequence[str],
           curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], here: float, scale: float,
           family: Mapping[str, str]) -> Figure:
    """An image, what was added to it (times `scale`), the result; the class probabilities; accuracy by epsilon."""
    figure = plt.figure(figsize=(WIDTH + 0.8, 3.4))
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.25, 1.5))[:, 0]
    pictures = top.subplots(1, 3)
    picture(pictures[0], image, f"image: {names[truth]}")
    picture(pictures[1], (0.5 + scale * (attacked - image)).clamp(0, 1), f"added, times {scale:g}")
    guess = int(probabilities[1].argmax())
    picture(pictures[2], attacked, f"attacked: {names[guess]}")
    left, right = bottom.subplots(1, 2)
    places = np.arange(len(names))
    left.bar(places - 0.2, probabilities[0].numpy(), 0.4, color=GREY, label="image")
    left.bar(places + 0.2, probabilities[1].numpy(), 0.4, color=RED, label="attacked")
    left.set_xticks(places, names, rotation=45, ha="right", fontsize=8)
    left.set(ylabel="probability", ylim=(0, 1.4), yticks=(0, 0.5, 1))  # room for the legend
    left.legend(fontsize=8, loc="upper left", ncols=2)
    for (name, (x, y)), dash in zip(curves.items(), ("-", "--", ":", "-.")):
        right.plot(x, y, "o" + dash, ms=4, color=FAMILY[family[name]], label=name)
    right.axvline(here, color=GREY, lw=1)
    right.set(xlabel="epsilon (of 255)", ylabel="right at all steps", ylim=(0, 1.03))
    right.legend(fontsize=8, loc="upper right")
    return figure


@drawn
def learning(curves: Mapping[str, Sequence[tuple[int, float]]], chance: float, colours: Mapping[str, str]) -> Figure:
    """Test accuracy by the number of steps of a fine-tuning: name -> (step, accuracy) of each look."""
    figure, axes = plt.subplots(figsize=(6.8, 2.9))
    for name, looks in curves.items():
        axes.plot(*zip(*looks), "o-", ms=3.5, color=colours[name], label=name)
    axes.axhline(chance, color=BLACK, ls=":", lw=1.2)
    axes.set(xlabel="step", ylabel="accuracy on test images", ylim=(0, 1.02))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(curves), fontsize=9)
    return figure


@drawn
def ranks(scores: Mapping[str, tuple[float, float]], labels: tuple[str, str]) -> Figure:
    """The drawing: networks in the order of one task and of another, a line for each; crossings cost correlation."""
    figure, axes = plt.subplots(figsize=(5.4, 2.6))
    orders = [sorted(scores, key=lambda name, side=side: -scores[name][side]) for side in (0, 1)]
    for name in scores:
        places = [order.index(name) + 1 for order in orders]
        moved = abs(places[0] - places[1])
        axes.plot([0, 1], places, "o-", color=THIS if moved == 0 else ORANGE if moved == 1 else RED)
        for side, place in enumerate(places):
            axes.annotate(f"{name} ({scores[name][side]:.2f})", (side, place), xytext=(-9 if side == 0 else 9, 0),
                          textcoords="offset points", ha="right" if side == 0 else "left", va="center", fontsize=9)
    axes.set(xlim=(-0.9, 1.9), ylim=(len(scores) + 0.5, 0.5), yticks=range(1, len(scores) + 1), ylabel="rank")
    axes.set_xticks([0, 1], labels)
    return figure
