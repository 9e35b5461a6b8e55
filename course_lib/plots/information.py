"""Figures of the lesson on mutual information: what estimators read, a bound beside a probe, latent trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plots.drawing import GREEN, GREY, MEANING, ORANGE, PINK, RED, SIGNED, SKY, THIS, WIDTH, drawn
from course_lib.plots.sketch import arrow, box

# one colour for each estimator
READERS = {"InfoNCE": THIS, "MINE": ORANGE, "NWJ": RED, "JSD, read as NWJ": PINK, "SMILE": GREEN}


@drawn
def spread(values: Mapping[str, Tensor], truth: float, ceiling: float | None = None, title: str = "") -> Figure:
    """Readings of each estimator, (batches,) in nats, as dots beside their mean; the truth as a line."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
    low, high = min(-0.5, truth - 2), max(truth + 4.0, 6.0)
    for place, (name, read) in enumerate(values.items()):
        colour = READERS.get(name, THIS)
        inside = read.clamp(low + 0.05, high - 0.05)
        lift = torch.linspace(-0.26, 0.26, len(read))
        axes.scatter(inside, place + lift, s=7, alpha=0.45, color=colour, lw=0)
        mean = float(read.mean())
        axes.plot([min(max(mean, low), high)] * 2, [place - 0.36, place + 0.36], color=colour, lw=2.6)
        text = f"{mean:.2f} ± {float(read.std()):.2f}" if abs(mean) < 1000 else f"{mean:.0e}"
        axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.axvline(truth, color="#000000", lw=1.2)
    axes.text(truth, -0.62, " truth", fontsize=8.5, va="center")
    if ceiling is not None and ceiling < high:
        axes.axvline(ceiling, color=READERS["InfoNCE"], lw=1.2, ls=":")
        axes.text(ceiling, len(values) - 0.45, " log N", fontsize=8.5, color=READERS["InfoNCE"], va="center")
    axes.set(yticks=range(len(values)), yticklabels=list(values), xlim=(low, high), ylim=(len(values) - 0.2, -0.9),
             xlabel="reading of one batch (nats)")
    axes.set_title(title, fontsize=9.5)
    return figure


@drawn
def against_truth(readings: Mapping[str, Sequence[tuple[float, float, float]]], ceiling: float) -> Figure:
    """Trained critics: for each estimator triples (truth, reading, spread of a batch) of all seeds, in nats."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH + 0.8, 3.1), width_ratios=(1.25, 1))
    most = max(truth for triples in readings.values() for truth, _, _ in triples)
    left.plot([0, most], [0, most], color="#000000", lw=1)
    left.axhline(ceiling, color=READERS["InfoNCE"], ls=":", lw=1.2)
    left.text(0.1, ceiling + 0.15, "log N", fontsize=8.5, color=READERS["InfoNCE"])
    for number, (name, triples) in enumerate(readings.items()):
        truths = sorted({truth for truth, _, _ in triples})
        shift = 0.08 * (number - 2)
        for axes, part in ((left, 1), (right, 2)):
            at_least = -0.5 if part == 1 else 0.0  # a mean that one batch has ruined is drawn at the edge
            drawn_at = [(triple[0], max(at_least, triple[part])) for triple in triples]
            axes.plot([t + shift for t, _ in drawn_at], [v for _, v in drawn_at], "o", ms=4, color=READERS[name],
                      alpha=0.7, clip_on=False)
            middle = [sorted(v for at, v in drawn_at if at == t) for t in truths]
            axes.plot([t + shift for t in truths], [values[len(values) // 2] for values in middle],
                      color=READERS[name], lw=1.2, label=name)
    left.set(xlabel="true mutual information (nats)", ylabel="reading (nats)", title="mean of 200 fresh batches",
             ylim=(-0.5, most + 0.6))
    right.set(xlabel="true mutual information (nats)", ylabel="standard deviation (nats)", yscale="log",
              title="from batch to batch")
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@drawn
def moved(curves: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], steps: Sequence[int],
          colours: Mapping[str, str], levels: Mapping[str, float] | None = None) -> Figure:
    """Panels of curves: title -> line -> a sequence of values for each seed. levels: title -> a dashed line."""
    figure, panels = plt.subplots(1, len(curves), figsize=(WIDTH + 0.8, 2.9))
    for axes, (title, lines) in zip(panels, curves.items()):
        for name, runs in lines.items():
            for number, values in enumerate(runs):
                axes.plot(steps, values, "o-", ms=3, lw=1.2, color=colours[name], label=None if number else name)
        if levels and title in levels:
            axes.axhline(levels[title], color=MEANING["raw pixels"], ls="--", lw=1.2, label="raw pixels")
        axes.set(xlabel="step")
        axes.set_title(title, fontsize=9.5)
    panels[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@drawn
def dots(panels: Mapping[str, Mapping[str, Sequence[float]]], levels: Mapping[str, float] | None = None,
         colours: Mapping[str, str] | None = None) -> Figure:
    """Panels of dots, one for each seed, with a bar at the mean: title -> line -> values. levels: a dashed line."""
    height = 0.9 + 0.42 * len(next(iter(panels.values())))
    figure, all_axes = plt.subplots(1, len(panels), figsize=(WIDTH + 0.6, height), sharey=True, squeeze=False)
    for axes, (title, lines) in zip(all_axes[0], panels.items()):
        for place, (name, values) in enumerate(lines.items()):
            colour = (colours or {}).get(name, THIS)
            axes.plot(values, [place] * len(values), "o", ms=5, color=colour, alpha=0.75)
            axes.plot([sum(values) / len(values)] * 2, [place - 0.3, place + 0.3], color=colour, lw=2)
        if levels and title in levels:
            axes.axvline(levels[title], color=GREY, ls="--", lw=1.2)
        axes.set(yticks=range(len(lines)), yticklabels=list(lines), ylim=(len(lines) - 0.4, -0.6))
        axes.set_title(title, fontsize=9.5)
        axes.margins(x=0.15)
    return figure


@drawn
def local_and_global() -> Figure:
    """The method as a drawing: a map and a code of one image, scored place by place, or as wholes."""
    figure, axes = plt.subplots(figsize=(8.6, 2.6))
    axes.set(xlim=(0, 10.4), ylim=(0.1, 3.2))
    axes.axis("off")
    for x, y, text, colour in ((0.7, 1.6, "image $x_n$", GREY), (2.3, 1.6, "conv net", THIS),
                               (4.2, 2.5, "map: 8 x 8 places", SKY), (4.2, 0.7, "code (64 numbers)", THIS),
                               (7.0, 2.5, "place net", SKY), (7.0, 0.7, "code net", THIS),
                               (9.3, 1.6, "scores\n(N, N, L)", ORANGE)):
        box(axes, x, y, text, colour)
    for start, end in (((1.25, 1.6), (1.7, 1.6)), ((2.9, 1.75), (3.2, 2.3)), ((2.9, 1.45), (3.2, 0.9)),
                       ((5.2, 2.5), (6.4, 2.5)), ((5.2, 0.7), (6.4, 0.7)), ((7.6, 2.4), (8.7, 1.85)),
                       ((7.6, 0.8), (8.7, 1.35))):
        arrow(axes, start, end)
    return figure


@drawn
def pulled(values: Mapping[str, Tensor], title: str) -> Figure:
    """Derivatives of each objective by the critic's scale, (batches,): dots, and a bar at the mean."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
    for place, (name, pulls) in enumerate(values.items()):
        colour, lift = READERS[name], torch.linspace(-0.26, 0.26, len(pulls))
        axes.scatter(pulls.clamp(-4, 6), place + lift, s=7, alpha=0.45, color=colour, lw=0)
        axes.plot([min(6.0, max(-4.0, float(pulls.mean())))] * 2, [place - 0.36, place + 0.36], color=colour, lw=2.6)
        axes.text(1.01, place, f"{float(pulls.mean()):.2f} ± {float(pulls.std()):.2f}", fontsize=9, va="center",
                  transform=axes.get_yaxis_transform())
    axes.axvline(0, color="#000000", lw=1)
    axes.set(yticks=range(len(values)), yticklabels=["JSD" if name.startswith("JSD") else name for name in values],
             xlim=(-4.2, 6.2), ylim=(len(values) - 0.4, -0.6), xlabel="softer   <   0   >   louder")
    axes.set_title(title, fontsize=9.5)
    return figure


@drawn
def latent_tree(pictures: Mapping[str, Sequence[Tensor]], operators: Mapping[str, Tensor]) -> Figure:
    """Pictures as their latents, (1,), (2,), (4,), ... from the root, white +1; matrices (leaves, leaves)."""
    figure, panels = plt.subplots(1, len(pictures) + len(operators), figsize=(WIDTH + 1.2, 2.1), layout="constrained")
    for axes, (title, levels) in zip(panels, pictures.items()):
        leaves = len(levels[-1])
        rows = torch.stack([level.repeat_interleave(leaves // len(level)) for level in levels])
        axes.imshow(rows.numpy(), cmap="gray", vmin=-1.4, vmax=1, aspect="auto")
        for depth, level in enumerate(levels):
            axes.vlines([leaves // len(level) * n - 0.5 for n in range(1, len(level))], depth - 0.5, depth + 0.5,
                        color=GREY, lw=0.8)
        axes.hlines([depth + 0.5 for depth in range(len(levels) - 1)], -0.5, leaves - 0.5, color=GREY, lw=0.8)
        axes.set(xticks=[], yticks=range(len(levels)))
        axes.set_yticklabels(["root", *map(str, range(1, len(levels) - 1)), "pixels"], fontsize=8)
        axes.set_title(title, fontsize=9.5)
        axes.grid(visible=False)
    for axes, (title, matrix) in zip(panels[len(pictures):], operators.items()):
        heat = axes.imshow(matrix.numpy(), cmap=SIGNED, vmin=-1, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=9.5)
        axes.grid(visible=False)
    figure.colorbar(heat, ax=panels[-1], shrink=0.8)
    return figure
