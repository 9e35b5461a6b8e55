"""Figures from data: each function takes tensors, draws one idea, and returns a matplotlib Figure.

The colours, by Okabe and Ito, suit the common kinds of colour blindness. Figures are closed in pyplot, so a notebook
shows them once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from course_lib.evaluate.measures import few_threads
from course_lib.evaluate.scoring import COLUMNS, PERCENT
from course_lib.models.layers import normalize
from course_lib.plots.drawing import BLACK, BLUE, CYCLE, GREY, MEANING, RED, THIS, WIDTH, as_array, as_pixels, drawn
from course_lib.plots.sketch import numbers

MARKERS = "osD^vP*X"
# a class that is a shape looks like it
SHAPES = {"disc": "o", "square": "s", "triangle": "^", "star": "*", "cross": "X", "ring": "$\u25cb$", "bar": "$\u25ac$",
          "crescent": "$\u263e$"}
DASHES = ("-", "--", "-.", ":")


# ------------------------------------------------------------------------------------- curves and points
@drawn
def curves(series: Mapping[str, Any], floors: Mapping[str, float] | None = None, xlabel: str = "step",
           ylabel: str = "loss", log: bool = False) -> Figure:
    """Lines from name -> values or name -> (x, values); `floors` are dotted lines with labels."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    for number, (name, values) in enumerate(series.items()):
        x, y = values if isinstance(values, tuple) else (range(len(values)), values)
        marker = "o" if len(y) <= 12 else None
        axes.plot(as_array(x), as_array(y), DASHES[number // len(CYCLE) % 4], marker=marker, ms=4, label=name)
    for name, value in (floors or {}).items():
        axes.axhline(value, color=GREY, ls=":", lw=1.4, zorder=1)
        axes.annotate(name, (1, value), xycoords=("axes fraction", "data"), xytext=(4, 0), va="center",
                      textcoords="offset points", color="#555555", annotation_clip=False)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    axes.grid(axis="y")
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=min(4, len(series)))
    return figure


@drawn
def traces(panels: Mapping[str, Mapping[str, Any]], chosen: str | None = None, xlabels: Sequence[str] = (),
           tops: Sequence[float | None] = (), levels: Mapping[str, float] | None = None) -> Figure:
    """The same runs in a row of panels: title -> name -> (x, y), or a list of these, one for each seed.

    chosen: the run in colour, over all others in grey; without, each has a colour and dashes of its own, and a key.
    xlabels, tops: of the panels in turn, "step" and as needed where there are none. levels: title -> a dotted line.
    Points at one x (a score for each seed) are not joined.
    """
    figure, places = plt.subplots(1, len(panels), figsize=(WIDTH, 2.5), squeeze=False)
    for number, (axes, (title, runs)) in enumerate(zip(places[0], panels.items())):
        for run, (name, lines) in enumerate(runs.items()):
            colour, dash = (CYCLE[run % len(CYCLE)], DASHES[run % 4]) if chosen is None else (
                (THIS, "-") if name == chosen else ("#BBBBBB", "-"))
            for seed, (x, y) in enumerate([lines] if isinstance(lines, tuple) else lines):
                x, y = as_array(x), as_array(y)
                axes.plot(x, y, ls=dash if len({*x.tolist()}) > 1 else "none", color=colour, lw=1.4, ms=4,
                          marker="o" if len(x) <= 12 else None, zorder=2 + (name == chosen),
                          label=None if seed else name)
        if title in (levels or {}):
            axes.axhline((levels or {})[title], color=BLACK, ls=":", lw=1, zorder=1)
        axes.set(title=title, xlabel=xlabels[number] if number < len(xlabels) else "step",
                 ylim=(min(0.0, axes.get_ylim()[0]), tops[number] if number < len(tops) else None))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if number < len(xlabels) and not xlabels[number]:
            axes.set(xticks=[], xlim=(-0.6, len(runs) - 0.4))
    if chosen is None:
        figure.legend(*places[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure


def project(features: Tensor, method: str = "pca", seed: int = 0, start: Tensor | None = None) -> Tensor:
    """Features (N, D) -> points (N, 2), float32, by "pca" (fast, distances keep their meaning) or "tsne".

    t-SNE keeps neighbourhoods only: the sizes and distances of its groups mean nothing. 1000 images take seconds.
    start: points (N, 2) from which t-SNE sets out, such as its own at another checkpoint (default: PCA's, made small).
    """
    features = torch.as_tensor(features).detach().float().cpu()
    centred = features - features.mean(dim=0)
    if method == "pca":
        axes = torch.linalg.svd(centred.double(), full_matrices=False)[2][:2]
        # the sign of an axis is arbitrary; a positive largest entry makes figures reproducible
        axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
        points = (centred.double() @ axes.T).float()
        return torch.nn.functional.pad(points, (0, 2 - points.shape[1]))
    if method != "tsne":
        raise ValueError(f"method is {method!r}; expected 'pca' or 'tsne'.")
    from sklearn.manifold import TSNE

    # at full size: the map stays as it lies, and yet random features lose the groups of such a start (measured)
    init = "pca" if start is None else start.numpy()
    # the stub takes init for a text only
    tsne = TSNE(2, perplexity=min(30, (len(centred) - 1) / 3), init=init,  # pyright: ignore[reportArgumentType]
                random_state=seed)
    with few_threads(centred.numel()):
        return torch.from_numpy(tsne.fit_transform(normalize(centred).numpy())).float()


@drawn
def embedding(points: Tensor | np.ndarray | Mapping[str, Tensor | np.ndarray], labels: Tensor | None = None,
              classes: Sequence[str] = (), thumbnails: Tensor | None = None, title: str = "",
              most: int = 150, legend: str = "class", scale: Sequence[str] = (),
              ends: tuple[float, float] = (0.0, 1.0)) -> Figure:
    """Points (N, 2), coloured by class if there are `labels`, which `classes` names; `legend`: what they are.

    scale: colours of a number that goes from ends[0] to ends[1]; then `labels` say which of them.

    thumbnails (N, 3, H, W): draw up to `most` of these images at their points, without overlap. points may be name ->
    (N, 2): maps of the same images side by side.
    """
    maps = {name: as_array(p) for name, p in (points if isinstance(points, Mapping) else {title: points}).items()}
    figure, panels = plt.subplots(1, len(maps), figsize=(WIDTH, 5.6 / len(maps) ** 0.5), squeeze=False)
    for axes, (name, places) in zip(panels.flat, maps.items()):
        _scatter(axes, places, labels, scale or classes, bool(scale))
        if thumbnails is not None:
            _pictures(axes, places, labels, thumbnails, most // len(maps), scale or CYCLE)
        axes.set(xticks=[], yticks=[], xlabel="first coordinate", ylabel="second coordinate", title=name)
        axes.margins(0.06)
    if title and isinstance(points, Mapping):
        figure.suptitle(title, x=0.01, ha="left")
    if scale:
        colours = ScalarMappable(Normalize(*ends), ListedColormap(list(scale)))
        figure.colorbar(colours, ax=list(panels.flat), label=legend, shrink=0.6, aspect=30)
    elif labels is not None:
        handles, names = panels[0, 0].get_legend_handles_labels()
        larger = max(1, 6 / _size(len(labels)) ** 0.5)
        figure.legend(handles, names, loc="outside right center", title=legend, markerscale=larger)
    return figure


def _size(count: int) -> float:
    return float(np.clip(9000 / max(1, count), 10, 40))


def _scatter(axes, points: np.ndarray, labels: Tensor | None, classes: Sequence[str], colours: bool) -> None:
    style = {"s": _size(len(points)), "edgecolors": "#444444", "linewidths": 0.25}
    if labels is not None and colours:
        axes.scatter(*points.T, color=[classes[int(code)] if code >= 0 else GREY for code in labels], **style)
    elif labels is not None:
        for number in map(int, np.unique(as_array(labels))):
            name = classes[number] if len(classes) else str(number)
            colour = CYCLE[number % 8]
            mark = SHAPES.get(name, MARKERS[(number + number // 8) % 8])
            line = {"s": 1.8 * style["s"], "edgecolors": colour, "linewidths": 0.8} if mark[0] == "$" else {}
            axes.scatter(*points[as_array(labels) == number].T, color=colour, marker=mark, label=name, **style | line)
    else:
        axes.scatter(*points.T, color=BLUE, **style)


def _pictures(axes, points: np.ndarray, labels: Tensor | None, images: Tensor, most: int,
              colours: Sequence[str]) -> None:
    pixels, taken, columns = as_pixels(images), [], len(axes.figure.axes)
    one = np.array((0.062 * columns, 0.088 * columns ** 0.5))  # a thumbnail's share of the map
    cells = points / (np.ptp(points, axis=0) + 1e-12) / one
    for index, place in enumerate(cells):
        if len(taken) < most and all(np.abs(place - other).max() > 1 for other in taken):
            taken.append(place)
            box = OffsetImage(pixels[index], zoom=22 / pixels.shape[1])
            colour = colours[int(labels[index]) % len(colours)] if labels is not None else "none"
            axes.add_artist(AnnotationBbox(box, points[index], pad=0.08, bboxprops={"edgecolor": colour, "lw": 1.5}))


# ------------------------------------------------------------------------------------------------ numbers
def _bars(axes, values: Sequence[float | None], colours: str | Sequence[str], text: Callable[[float], str],
          offset: float = 0.0, height: float = 0.7, **options) -> None:
    here = np.arange(len(values)) + offset
    known = [math.nan if value is None else value for value in values]
    axes.barh(here, [0.0 if math.isnan(value) else value for value in known], height, color=colours, **options)
    for y, value in zip(here, known):
        missing = math.isnan(value)
        axes.annotate("–" if missing else text(value), (0 if missing else max(value, 0), y), xytext=(3, 0),
                      textcoords="offset points", va="center", fontsize=8 if height < 0.3 else 9)


@drawn
def score_bars(rows: Sequence[dict], metric: str = "knn", chance: float | None = None) -> Figure:
    """One measure from the rows of `evaluate.score`, each in the colour of its meaning, chance dotted."""
    scale = 100 if metric in PERCENT else 1
    figure, axes = plt.subplots(figsize=(WIDTH, 0.42 * len(rows) + 1.0))
    colours = [MEANING.get(row["name"], GREY if row.get("kind") == "control" else THIS) for row in rows]
    values = [None if row.get(metric) is None else scale * row[metric] for row in rows]
    _bars(axes, values, colours, lambda v: f"{v:.1f}" if scale == 100 or v >= 10 else f"{v:.2f}")
    if chance is not None:
        axes.axvline(scale * chance, color=BLACK, ls=":", lw=1.4)
        axes.annotate("chance", (scale * chance, 1), xycoords=("data", "axes fraction"), ha="center",
                      va="bottom")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_xlabel(COLUMNS.get(metric, metric) + (" accuracy (%)" if scale == 100 else ""))
    axes.invert_yaxis()
    if scale == 100:
        axes.set_xlim(0, 105)
    return figure


@drawn
def factor_bars(scores: Mapping[str, Mapping[str, float]]) -> Figure:
    """What can be read from each representation: name -> scores of `factor_probe`, in [0, 1]."""
    factors = list(dict.fromkeys(factor for row in scores.values() for factor in row))
    height = 0.8 / len(scores)
    figure, axes = plt.subplots(figsize=(WIDTH, len(factors) * max(0.35, 0.17 * len(scores)) + 1.1))
    for number, (name, row) in enumerate(scores.items()):
        _bars(axes, [row.get(factor) for factor in factors], MEANING.get(name, CYCLE[number % 8]),
              lambda v: f"{v:.2f}", (number - (len(scores) - 1) / 2) * height, 0.9 * height, label=name,
              hatch="//" if name == "raw pixels" else None, edgecolor="white")
    axes.set_yticks(range(len(factors)), [factor.replace("_", " ") for factor in factors])
    axes.set(xlim=(0, 1.08), xlabel="read linearly: 0 not at all, 1 exactly")
    axes.invert_yaxis()
    if len(scores) > 1:
        figure.legend(loc="outside lower center", ncols=min(4, len(scores)))
    return figure


@drawn
def factor_map(scores: Mapping[str, Mapping[str, float]], highest: float = 1.0, signed: bool = False,
               frame: str | None = None, label: str = "read linearly: 0 not at all, 1 exactly") -> Figure:
    """`factor_bars` for many rows, as a heat map with numbers; `frame` names a row to frame.

    signed=True: colours from -highest (red) to highest (blue), for differences.
    """
    columns = list(next(iter(scores.values())))
    values = torch.tensor([[row.get(name, torch.nan) for name in columns] for row in scores.values()])
    figure, axes = plt.subplots(figsize=(WIDTH, 0.34 * len(scores) + 0.9))
    numbers(axes, values, list(scores), columns, highest, signed, list(scores).index(frame) if frame else None)
    axes.set_xlabel(label)
    return figure


@drawn
def paper_map(papers: Sequence, highlight: Sequence[str] = (), title: str = "") -> Figure:
    """The reading list as dots, family by year: filled in the study group's schedule, ringed if in `highlight`."""
    families = sorted({paper.family for paper in papers},
                      key=lambda family: (family == "other", -sum(p.family == family for p in papers), family))
    years = sorted({paper.year for paper in papers})
    figure, axes = plt.subplots(figsize=(WIDTH, 0.55 * len(families) + 1.2))
    wide, dots, rings = 7, [], []
    for (column, year), (line, family) in itertools.product(enumerate(years), enumerate(families)):
        here = [paper for paper in papers if (paper.year, paper.family) == (year, family)]
        here.sort(key=lambda paper: not paper.in_schedule)
        deep = -(-len(here) // wide)
        for number, paper in enumerate(here):
            x = column + (number % wide - (min(len(here), wide) - 1) / 2) * 0.125
            y = line + (number // wide - (deep - 1) / 2) * min(0.26, 0.8 / max(1, deep - 1))
            dots.append((x, y, *((BLUE, BLUE) if paper.in_schedule else ("white", GREY))))
            if paper.key in highlight:
                rings.append((x, y))
    if dots:  # a single call, as one per dot takes 0.3 s, too slow for a knob
        x, y, face, edge = zip(*dots)
        axes.scatter(x, y, s=30, c=face, edgecolors=edge, linewidths=1)
    if rings:
        axes.scatter(*zip(*rings), s=110, facecolors="none", edgecolors=RED, linewidths=2)
    axes.set_xticks(range(len(years)), years)
    axes.set_yticks(range(len(families)), families)
    gaps = years and len(years) < years[-1] - years[0] + 1
    axes.set(xlim=(-0.55, max(len(years), 1) - 0.45), ylim=(max(len(families), 1) - 0.5, -0.5), title=title,
             xlabel="year (years without a paper left out)" if gaps else "year")
    for line in range(1, len(families)):
        axes.axhline(line - 0.5, color="#e5e5e5", lw=0.8, zorder=0)
    key = {"in the study group's schedule": (BLUE, BLUE, 6), "on its reading lists": ("white", GREY, 6)}
    if highlight:
        key["this lesson"] = ("none", RED, 10)
    handles = [Line2D([], [], ls="", marker="o", ms=size, mfc=face, mec=edge) for face, edge, size in key.values()]
    figure.legend(handles, key, loc="outside lower center", ncols=3)
    return figure
