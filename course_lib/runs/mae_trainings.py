"""The stored trainings of lesson 12: MAE at four mask ratios, and broken in two ways."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from course_lib.runs.stored import StoredRun, read_runs, runs_folder

MAE = "hidden-0.75"
RATIOS = (0.25, 0.5, 0.75, 0.9)


class MaeTrainings:
    """Names such as MAE, "hidden-0.5" (the share hidden), "not-put-back" and "no-positions" -> their runs, by seed.

    tuned: name -> accuracy fine-tuned with 800 labels minus that from scratch, linear: a linear probe's minus that of
    the same network untrained; both in points, a value for each seed. level: name -> the loss at the end, the mean of
    its last 20 values. folder: of the lessons' runs.
    """

    def __init__(self, folder: str | Path | None = None):
        root = runs_folder() if folder is None else Path(folder)
        self.runs: dict[str, list[StoredRun]] = {}
        for run in sorted(read_runs(root / "12_mae"), key=lambda run: run.seed):
            self.runs.setdefault(run.id.rpartition("-s")[0], []).append(run)
        self.tuned = {name: self._gain(name, "fine_tuned") for name in self.runs}
        self.linear = {name: self._gain(name, "linear") for name in self.runs}
        self.level = {name: [fmean(run.curves["loss"][-20:]) for run in runs] for name, runs in self.runs.items()}

    def _gain(self, name: str, key: str) -> list[float]:
        """Broken runs have no row before training; that of the same seed, made on the same machine, is another's."""
        before = self.runs[name if name.startswith("hidden") else "hidden-0.5"]
        return [100 * run.scores[0][key] - 100 * other.scores[1][key] for run, other in zip(self.runs[name], before)]

    @staticmethod
    def ahead(gains: dict[str, list[float]], name: str) -> list[float]:
        """`tuned` or `linear` of MAE minus that of another, in points, a value for each seed."""
        return [a - b for a, b in zip(gains[MAE], gains[name])]

    def neighbours(self) -> tuple[list[float], list[float], list[float]]:
        """kNN of MAE, of itself untrained and of raw pixels, a value for each seed."""
        ours, fresh, raw = ([run.scores[row]["knn"] for run in self.runs[MAE]] for row in range(3))
        return ours, fresh, raw

    def drift(self) -> float:
        """How far the same network and seed, from scratch, end apart on the two machines, at most, in points."""
        return max(abs(100 * a.scores[1]["fine_tuned"] - 100 * b.scores[1]["fine_tuned"])
                   for a, b in zip(self.runs[MAE], self.runs["hidden-0.5"]))

    @staticmethod
    def means(gains: dict[str, list[float]]) -> str:
        """The mean gains at the four mask ratios, as text."""
        return ", ".join(f"{fmean(gains[f'hidden-{ratio}']):+.1f}" for ratio in RATIOS)
