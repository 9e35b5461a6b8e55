"""A live picture of a run in a notebook: `fit(..., watch=LiveCurves())`."""

from __future__ import annotations

import time

from course_lib.plots.drawing import GREEN, RED, THIS, drawn
from course_lib.runs.stored import StoredRun
from course_lib.train.history import History


class LiveCurves:
    """Loss, standard deviation and effective rank while `fit` runs: one display, updated at most every `every` seconds.

    floors: horizontal lines to compare the loss with, label -> value. behind: the record of a learned network, whose
    whole curve is drawn behind, as the points that were stored, over a scale of steps that shows its beginning;
    behind_name: what the legend calls it.
    highest: where the axis of the loss ends (single batches may be far above); the floors' names are then in a legend.
    meter: a curve of the method and its name, shown in place of the rank. A static picture remains after the run.
    """

    def __init__(self, floors: dict[str, float] | None = None, every: float = 2.0, behind: StoredRun | None = None,
                 behind_name: str = "the learned network", highest: float | None = None,
                 meter: tuple[str, str] | None = None):
        self.floors, self.every, self.behind, self.highest = floors or {}, every, behind, highest
        self.behind_name = behind_name
        self.meter = meter
        self.handle, self.drawn = None, 0.0

    def __call__(self, history: History) -> None:
        done = history.interrupted or history.steps >= (history.stop_at or history.total_steps)
        if not done and time.monotonic() - self.drawn < self.every:
            return
        from IPython.display import display

        figure = self.draw(history)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        self.drawn = time.monotonic()

    @drawn
    def draw(self, history: History):
        """The figure for a History, also without a notebook: losses, and the two collapse measures where they exist."""
        import matplotlib.pyplot as plt

        columns, width = (3, 9) if len(history.rank_steps) > 2 else (1, 5)
        figure, axes = plt.subplots(1, columns, figsize=(width, 2.4), squeeze=False)
        axes = axes[0]
        if self.behind is not None:
            axes[0].plot(self.behind.curve_steps, self.behind.curves["loss"], "o", ms=3, color="#999999",
                         label=self.behind_name)
            axes[0].set_xscale("log")
        axes[0].plot(history.curve_steps, history.loss, color=THIS, label="live")
        if self.behind is not None:
            axes[0].legend(fontsize=8, loc="best")
        for label, value in self.floors.items():
            axes[0].axhline(value, color="#666666", linestyle="--", linewidth=1, label=label)
            if self.highest:
                continue
            above = value < sum(axes[0].get_ylim()) / 2  # the words stay inside the axes
            axes[0].annotate(label, (0.98, value), xycoords=("axes fraction", "data"), xytext=(0, 2 if above else -2),
                             textcoords="offset points", ha="right", va="bottom" if above else "top", fontsize=8,
                             bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1})
        if self.highest:
            axes[0].set_ylim(0, self.highest)
            axes[0].legend(*(found[1:] for found in axes[0].get_legend_handles_labels()), fontsize=8, loc="upper right",
                           frameon=True, framealpha=1, edgecolor="none")
        axes[0].set(xlabel="step", ylabel="loss", title=_title(history))
        axes[0].title.set_fontsize(9)
        if columns > 1:
            axes[1].plot(history.rank_steps, history.std, color=RED)
            axes[1].set(xlabel="step", ylabel="std per dimension", ylim=(0, 1.1 * max(history.std) or None))
            curve, name = self.meter or ("", "effective rank")
            x, y = (history.curve_steps, history.curves[curve]) if curve else (history.rank_steps, history.rank)
            axes[2].plot(x, y, color=GREEN)
            axes[2].set(xlabel="step", ylabel=name, ylim=(0, None))
        return figure


def _title(history: History) -> str:
    """How far the run is, and how long it still takes at the speed so far."""
    if history.interrupted:
        return f"interrupted at step {history.steps} of {history.total_steps}"
    left = (history.stop_at or history.total_steps) - history.steps
    done = f"{history.steps}/{history.total_steps} steps"
    if left <= 0 or not history.steps:
        return done
    seconds = history.seconds / history.steps * left
    return f"{done}, about {seconds:.0f} s left" if seconds < 100 else f"{done}, about {seconds / 60:.0f} min left"
