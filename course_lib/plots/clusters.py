"""Figures of clusters: how they are made and mended, whom a matching flatters, whom to trust, how honest it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.drawing import BLACK, CYCLE, GREY, ORANGE, RED, THIS, WIDTH, drawn
from course_lib.plots.pictures import image_rows
from course_lib.plots.sketch import arrow, box
from course_lib.plots.words import seeds_by_line

# lines of stored runs -> their names in `stored_lines`
LINES = {"views": "k-means,\nSCAN's\nviews", "scan": "SCAN", "scan-on": "SCAN,\nself-\nlabelled", "ruc": "RUC",
         "no-cleaning": "all\ntrusted", "ruc-scattered": "RUC,\n30 %\nplanted",
         "no-cleaning-scattered": "all trusted,\n30 %\nplanted"}
# criteria of trust -> their look
CRITERIA = {"confidence": (ORANGE, "s--"), "neighbours": ("#CC79A7", "^-."), "both": (THIS, "o-")}


@drawn
def three_stages() -> Figure:
    """A pretext's network, SCAN's clusters, RUC's two networks: what is handed on."""
    figure, axes = plt.subplots(figsize=(WIDTH + 0.6, 2.5))
    axes.set(xlim=(0, 11), ylim=(0, 3.1))
    axes.axis("off")
    for x, title in ((1.1, "pretext"), (4.4, "SCAN"), (8.6, "RUC")):
        axes.text(x, 2.9, title, fontsize=11, ha="center", weight="bold")
    for x, y, text, colour in ((1.1, 2.0, "encoder", GREY), (1.1, 0.7, "nearest\nneighbours", GREY),
                               (4.4, 2.0, "encoder + head", THIS), (4.4, 0.7, "a cluster\nfor each image", THIS),
                               (7.6, 2.0, "network 1", ORANGE), (9.7, 2.0, "network 2", ORANGE),
                               (8.65, 0.7, "clean: the label, corrected by the peer\nunclean: what both guess",
                                ORANGE)):
        box(axes, x, y, text, colour)
    for start, end, text, at in (((1.75, 2.0), (3.35, 2.0), "weights", (2.55, 2.12)),
                                 ((1.9, 0.85), (3.6, 1.75), "must agree", (2.35, 1.45)),
                                 ((4.4, 1.75), (4.4, 1.1), "", (0, 0)), ((1.1, 1.75), (1.1, 1.1), "", (0, 0)),
                                 ((5.2, 0.7), (6.45, 0.7), "labels", (5.8, 0.8)),
                                 ((5.45, 2.0), (6.95, 2.0), "weights", (6.2, 2.12)),
                                 ((8.3, 1.1), (7.7, 1.72), "", (0, 0)), ((9.0, 1.1), (9.6, 1.72), "", (0, 0)),
                                 ((8.27, 2.0), (9.03, 2.0), "", (0, 0)), ((9.03, 2.0), (8.27, 2.0), "", (0, 0))):
        arrow(axes, start, end)
        if text:
            axes.text(*at, text, fontsize=9, ha="center")
    return figure


def surest_and_least(images: Tensor, shown: Mapping[int, tuple[Tensor, Tensor]], right: Tensor) -> Figure:
    """A row of images uint8 (N, 3, H, W) for each cluster of `evaluate.trust.surest_and_least`: the surest, then the
    least sure ones. right: bool (N,); the others have an orange frame.
    """
    light, orange = torch.tensor([0.88, 0.88, 0.88]), torch.tensor([0.84, 0.37, 0.0])
    rows = {f"cluster {c}": torch.cat(pair) for c, pair in shown.items()}
    return image_rows({name: images[which] for name, which in rows.items()}, cell=0.65,
                      frames={name: torch.where(right[which][:, None], light, orange) for name, which in rows.items()})


@drawn
def clusters_on_map(points: Tensor, clusters: Tensor, sizes: Sequence[float], fair: float, titles: Sequence[str]
                    ) -> Figure:
    """Left: points (N, 2) in the colour of their cluster (N,); right: how many images each cluster has, fair dotted."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.4, 2.9), width_ratios=(1.3, 1))
    colours = [CYCLE[c % len(CYCLE)] for c in clusters.tolist()]
    left.scatter(*points.T, s=7, c=colours, linewidths=0)
    left.set(xticks=[], yticks=[], title=titles[0])
    right.bar(range(len(sizes)), sizes, color=[CYCLE[c % len(CYCLE)] for c in range(len(sizes))])
    right.axhline(fair, color=BLACK, ls=":", lw=1.2)
    right.set(xlabel="cluster", ylabel="images", xticks=range(len(sizes)), title=titles[1])
    return figure


@drawn
def matching_trap(found: Mapping[int, tuple[float, float]], clusters: int, here: int) -> Figure:
    """Number of test images -> accuracy, matched on them and matched elsewhere, in percent; here: the chosen number."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
    names = (("matched on the\ntest images", RED, "s-"), ("matched on\ntraining images", THIS, "o-"))
    for values, (name, colour, style) in zip(zip(*found.values()), names):
        axes.plot(list(found), [100 * v for v in values], style, color=colour, label=name, ms=5)
    axes.axhline(100 / clusters, color=BLACK, ls=":", lw=1.2)
    axes.axvline(here, color=GREY, lw=1)
    own, elsewhere = found[here]
    axes.set(xscale="log", xlabel="test images", ylabel="accuracy (%)", ylim=(0, 102), xticks=list(found),
             xticklabels=list(found),
             title=f"{here} test images, {clusters} clusters: peeking adds {100 * (own - elsewhere):.0f} points")
    axes.minorticks_off()
    axes.legend(fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@drawn
def trust_curves(curves: Mapping[str, Sequence[dict]], here: Mapping[str, dict], base: float) -> Figure:
    """Left: precision over recall of "clean" as a criterion grows strict; right: of the wrong labels, who finds them.

    curves: criterion -> dicts of `trust_scores`; here: the chosen settings'. base: the share of right labels.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.6, 3.0), width_ratios=(1.5, 1))
    for name, scores in curves.items():
        colour, style = CRITERIA[name]
        left.plot([100 * s["recall"] for s in scores], [100 * s["precision"] for s in scores], style[1:],
                  color=colour, lw=1.6, label=name)
    for place, (name, score) in enumerate(here.items()):
        colour, style = CRITERIA[name]
        left.plot(100 * score["recall"], 100 * score["precision"], style[0], color=colour, ms=9, mec="black", zorder=3)
        right.bar(place, 100 * score["found"], color=colour)
        right.text(place, 100 * score["found"] + 2, f"{score['found']:.0%}", ha="center", fontsize=9)
    left.axhline(100 * base, color=BLACK, ls=":", lw=1.2)
    left.set(xlabel="recall: right labels that are kept (%)", ylabel="precision: kept ones\nthat are right (%)",
             xlim=(-3, 103), title=f"{1 - base:.0%} of the labels are wrong (dotted: {base:.0%} right)")
    left.set_ylim(min(left.get_ylim()[0], 100 * base - 3), 101)
    right.set(xticks=range(len(here)), xticklabels=list(here), ylim=(0, 112), ylabel="wrong labels found (%)")
    left.legend(fontsize=8.5, loc="center left")
    return figure


@drawn
def reliability(panels: Mapping[str, dict]) -> Figure:
    """Title -> a dict of `calibration`: how often predictions of a confidence are right; on the diagonal it is honest.
    """
    figure, places = plt.subplots(1, len(panels), figsize=(WIDTH + 0.4, 2.9), sharey=True, squeeze=False)
    for axes, (title, found) in zip(places[0], panels.items()):
        axes.plot([0, 1], [0, 1], color=BLACK, ls=":", lw=1.2)
        axes.scatter(found["confidence"], found["accuracy"], s=[20 + 300 * s for s in found["share"]], color=THIS,
                     alpha=0.7, zorder=3)
        axes.plot(found["confidence"], found["accuracy"], color=THIS, lw=1)
        axes.set(xlabel="confidence", xlim=(0, 1.05), ylim=(0, 1.05), title=title)
    places[0, 0].set_ylabel("share that is right")
    return figure


@drawn
def confusion(tables: Mapping[str, Tensor], rows: Sequence[str]) -> Figure:
    """Title -> `class_shares` (C, C): of each class (row), the share in clusters that stand for a class, in percent."""
    figure, places = plt.subplots(1, len(tables), figsize=(WIDTH + 0.6, 3.3), sharey=True, squeeze=False)
    for axes, (title, shares) in zip(places[0], tables.items()):
        table = 100 * shares
        axes.imshow(table.numpy(), cmap="cividis", vmin=0, vmax=100)
        for (i, j) in torch.cartesian_prod(torch.arange(len(table)), torch.arange(table.shape[1])).tolist():
            if table[i, j] >= 1:
                axes.text(j, i, f"{table[i, j]:.0f}", ha="center", va="center", fontsize=8,
                          color="white" if table[i, j] < 60 else "black")
        axes.set(title=title, xlabel="cluster that stands for", xticks=range(table.shape[1]), yticks=range(len(rows)))
        axes.set_xticklabels(list(rows)[:table.shape[1]], rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    places[0, 0].set_yticklabels(list(rows))
    return figure


@drawn
def mending(points: Tensor, labels: Tensor, found: Tensor, wrong: Tensor, trusted: Tensor, titles: Sequence[str]
            ) -> Figure:
    """A toy: points (N, 2) in the colour of the given label, of what is trusted (others grey), and of the prediction.

    wrong: whose given label is wrong, drawn with a black rim.
    """
    figure, places = plt.subplots(1, 3, figsize=(WIDTH + 0.6, 2.8))
    everybody = torch.ones_like(trusted)
    for axes, values, kept, title in zip(places, (labels, labels, found), (everybody, trusted, everybody), titles):
        colours = [CYCLE[v] if k else "#DDDDDD" for v, k in zip(values.tolist(), kept.tolist())]
        rims = [0.9 if w else 0 for w in wrong.tolist()]
        axes.scatter(*points.T, s=16, c=colours, linewidths=rims, edgecolors="black")
        axes.set(xticks=[], yticks=[], title=title)
        axes.set_aspect("equal")
    return figure


@drawn
def over_clusters(found: Mapping[int, Mapping[str, float]], here: int) -> Figure:
    """Number of clusters -> scores in [0, 1] of `evaluate.clusters.over_clustering`; here: the chosen number."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
    numbers = list(found)
    for key, name, colour, style in (("one", "ACC, one cluster\na class", RED, "s-"),
                                     ("majority", "ACC, majority", THIS, "o-"),
                                     ("nmi", "NMI", ORANGE, "^--"), ("ami", "AMI", "#009E73", "D-.")):
        axes.plot(numbers, [scores[key] for scores in found.values()], style, color=colour, label=name, ms=5)
    axes.axvline(here, color=GREY, lw=1)
    axes.set(xscale="log", xlabel="clusters k", ylabel="score", ylim=(0, 1.02), xticks=numbers, xticklabels=numbers)
    axes.minorticks_off()
    axes.legend(fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def stored_lines(accuracy: Mapping[str, Sequence[float]]) -> Figure:
    """Test accuracy of stored runs in percent, a dot for each training: line (see LINES) -> shares."""
    return seeds_by_line({name: [100 * value for value in accuracy[line]] for line, name in LINES.items()},
                         "test accuracy (%)", controls=3)
