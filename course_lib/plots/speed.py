"""Figures about speed, from the rows of `speed.Figures.pick`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from course_lib.methods import method_class
from course_lib.plots.drawing import BLACK, BLUE, CYCLE, GREEN, GREY, ORANGE, PINK, RED, SKY, WIDTH, drawn
from course_lib.runs.speed import NOT_MEASURED

LIBRARIES = {"course": (BLUE, "o"), "lightly": (ORANGE, "s"), "torchvision": (GREEN, "^"), "kornia": (PINK, "D")}
STAGES = {"data": GREY, "augmentation": ORANGE, "forward": BLUE, "own work": PINK, "backward": SKY, "optimizer": GREEN}
HOW = {"defaults": "each at its defaults", "equal": "equal precision and layout"}


def work_name(row: dict) -> str:
    """A row's method and backbone: "SimCLR, resnet18"."""
    return f"{method_class(row['method']).title}, {row['backbone']}"


def _lines(axes: Axes, names: Sequence[str]) -> None:
    """One line per name, from the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    for line in range(1, len(names)):
        axes.axhline(line - 0.5, color="#e5e5e5", lw=0.8, zorder=0)


def _plain(axis, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Ticks of a log axis as plain numbers."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _rounds(axes: Axes, values: Sequence[float], y: float, colour: str, marker: str, label: str | None = None) -> None:
    """All rounds as small dots on a line, and their median as a large one."""
    axes.plot([min(values), max(values)], [y, y], color=colour, lw=1.2, alpha=0.6)
    axes.plot(values, [y] * len(values), ".", color=colour, ms=4, alpha=0.6)
    axes.plot(statistics.median(values), y, marker, color=colour, ms=7, label=label)


def _absent(axes: Axes, name: str, y: float) -> None:
    axes.annotate(f"{name}: not measured", (0.03, y), xycoords=("axes fraction", "data"), va="center", fontsize=8,
                  color="#666666", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})


def _key(figure: Figure, *panels: Axes, columns: int = 5, title: str = "") -> None:
    """One legend for all panels, each label once, and a title."""
    unique = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns)
    if title:
        figure.suptitle(title, x=0.01, ha="left")


@drawn
def ratios(rows: Sequence[dict], title: str = "") -> Figure:
    """Rows of kind "rate": the course's views/s over a library's in every round, and the targets."""
    names = list(dict.fromkeys(work_name(row) for row in rows))
    figure, panels = plt.subplots(1, 2, sharey=True, sharex=True, figsize=(WIDTH, 0.42 * len(names) + 1.5))
    libraries = list(dict.fromkeys(row["library"] for row in rows))
    for axes, how in zip(panels, HOW):
        for row in rows:
            shift = 0.36 * (libraries.index(row["library"]) - (len(libraries) - 1) / 2)
            y = names.index(work_name(row)) + shift
            colour, marker = LIBRARIES.get(row["library"], (GREY, "o"))
            if row["value"] == NOT_MEASURED:
                _absent(axes, row["library"], y)
            elif row["how"] == how:
                _rounds(axes, row["ratios"], y, colour, marker, f"over {row['library']}")
                if row.get("wanted"):
                    axes.plot([row["wanted"]] * 2, [y - 0.17, y + 0.17], color=RED, lw=2.5, label="target")
        axes.axvline(1, color=BLACK, ls=":", lw=1.2)
        axes.set(xscale="log", xlabel="views/s of the course over the library's", title=HOW[how])
        axes.margins(x=0.12)
        _lines(axes, names)
    _plain(panels[0].xaxis)
    _key(figure, panels[0], title=title)
    return figure


@drawn
def stage_bars(bars: dict[str, dict[str, float]], title: str = "") -> Figure:
    """Name -> {stage: seconds}: where a step's milliseconds go, and their sum."""
    figure, axes = plt.subplots(figsize=(WIDTH, 0.42 * len(bars) + 1.5))
    for line, stages in enumerate(bars.values()):
        left = 0.0
        for stage, colour in STAGES.items():
            axes.barh(line, 1000 * stages[stage], 0.7, left=left, color=colour, edgecolor="white", lw=0.5,
                      label=stage)
            left += 1000 * stages[stage]
        axes.annotate(f"{left:.3g} ms", (left, line), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set(xlabel="milliseconds a step, one process", title=title)
    axes.margins(x=0.1)
    _lines(axes, list(bars))
    _key(figure, axes, columns=6)
    return figure


@drawn
def memory_lines(rows: Sequence[dict], title: str = "") -> Figure:
    """Rows of kind "peak": a process's memory before the first step (hollow) and at its peak (filled)."""
    names = list(dict.fromkeys(work_name(row) for row in rows))
    figure, axes = plt.subplots(figsize=(WIDTH, 0.5 * len(names) + 1.4))
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    for row in rows:
        y = names.index(work_name(row)) + 0.27 * (contenders.index(row["contender"]) - (len(contenders) - 1) / 2)
        colour, marker = LIBRARIES.get(row["contender"], (GREY, "o"))
        if row["value"] == NOT_MEASURED:
            _absent(axes, row["contender"], y)
            continue
        whole = row["gpu"] if row["device"] == "cuda" else row["peak"]
        if row["device"] != "cuda":
            axes.plot([row["before"], whole], [y, y], color=colour, lw=1.5)
            axes.plot(row["before"], y, marker, color=colour, mfc="white", ms=5)
        axes.plot(whole, y, marker, color=colour, ms=6, label=row["contender"])
        if row["workers"]:
            axes.plot(row["workers"], y, "x", color=GREY, ms=5, label="one of its workers, besides")
    axes.set(xlabel="MB", xlim=(0, None), title=title)
    _lines(axes, names)
    _key(figure, axes)
    return figure


@drawn
def shares(bare: Sequence[dict], ceilings: Sequence[dict], title: str = "") -> Figure:
    """Left, kind "bare": the step over the bare network's. Right, "flops" and "bandwidth": % of the ceilings."""
    names = list(dict.fromkeys(work_name(row) for row in bare))
    figure, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(WIDTH, 0.42 * len(names) + 1.5))
    for row in bare:
        y = names.index(work_name(row))
        _rounds(left, [turn["bare"] / turn["fit"] for turn in row["rounds"]], y, BLUE, "o", "step over bare step")
        if row.get("wanted"):
            left.plot([row["wanted"]] * 2, [y - 0.3, y + 0.3], color=RED, lw=2.5, label="target, at most")
    left.axvline(1, color=BLACK, ls=":", lw=1.2)
    left.set(xlabel="times the bare network's step", title="what the course adds")
    kinds = {"flops": ("the network's operations", BLUE, "o"), "making the views": ("making the views", ORANGE, "s"),
             "the optimizer": ("the optimizer", GREEN, "^")}
    for row in ceilings:
        label, colour, marker = kinds[row.get("part", row["kind"])]
        right.plot(100 * row["reached"] / row["ceiling"], names.index(work_name(row)), marker, color=colour, ms=6,
                   label=f"{label} (of {'FLOP/s' if row['kind'] == 'flops' else 'bytes/s'})")
    right.axvline(100, color=BLACK, ls=":", lw=1.2)
    right.set(xscale="log", xlabel="% of what the device was seen to reach", title="how far below the roof")
    _plain(right.xaxis)
    for axes in (left, right):
        _lines(axes, names)
    _key(figure, left, right, columns=3, title=title)
    return figure


@drawn
def operations(rows: Sequence[dict], title: str = "") -> Figure:
    """Rows of kind "operation": microseconds per image in every round, by library; a panel per image size."""
    names = list(dict.fromkeys(row["operation"] for row in rows))
    sizes = sorted({row["size"] for row in rows})
    figure, panels = plt.subplots(1, len(sizes), sharey=True, squeeze=False, figsize=(WIDTH, 0.42 * len(names) + 1.5))
    for axes, size in zip(panels[0], sizes):
        for row in (row for row in rows if row["size"] == size):
            for number, library in enumerate(row["rounds"][0]):
                spent = [1e6 * turn[library] / row["batch"] for turn in row["rounds"]]
                y = names.index(row["operation"]) + 0.25 * (number - (len(row["rounds"][0]) - 1) / 2)
                _rounds(axes, spent, y, *LIBRARIES[library], library)
        axes.set(xscale="log", title=f"{size} px")
        _plain(axes.xaxis, (1,))
        _lines(axes, names)
    panels[0][len(sizes) // 2].set_xlabel("microseconds an image")
    _key(figure, *panels[0], title=title)
    return figure


@drawn
def growth_lines(rows: Sequence[dict], title: str = "") -> Figure:
    """Rows of kind "growth" for one cost: cost over size, as multiples of the smallest, with exponents."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.8))
    for number, row in enumerate(sorted(rows, key=lambda row: -row["exponent"])):
        x, y = ([value / values[0] for value in values] for values in (row["sizes"], row["costs"]))
        axes.plot(x, y, "-" if number < len(CYCLE) else "--", marker="o", ms=4, color=CYCLE[number % len(CYCLE)],
                  label=f"{row['exponent']:.2f}  {row['series']}")
    widest = max(row["sizes"][-1] / row["sizes"][0] for row in rows)
    highest = 2 * max(row["costs"][-1] / row["costs"][0] for row in rows)
    for power, name in ((1, "linear"), (2, "quadratic")):
        end = min(widest, highest ** (1 / power))
        axes.plot([1, end], [1, end**power], color=GREY, ls=":", lw=1.2, zorder=0)
        axes.annotate(name, (end, end**power), xytext=(4, 0), textcoords="offset points", color="#555555", va="center")
    axes.set(xscale="log", yscale="log", xlabel="size over the smallest", ylabel="cost over that of the smallest",
             title=title)
    _plain(axes.xaxis)
    _plain(axes.yaxis, (1,))
    figure.legend(loc="outside lower center", ncols=2, title="exponent, and what grows", fontsize=9)
    return figure
