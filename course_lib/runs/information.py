"""The stored trainings of the lesson on mutual information: critics, DIM, invertible halves, trees of causes."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean

from course_lib.runs.stored import StoredRun, read_runs, runs_folder

LEVELS = ("root", "level 1", "level 2", "level 3")


class InformationTrainings:
    """The runs of a folder (default: the lesson's) by line; each method gives a value for each seed."""

    def __init__(self, folder: str | Path | None = None):
        found = runs_folder() / "25_mutual_information" if folder is None else Path(folder)
        self.runs = sorted(read_runs(found), key=lambda run: run.seed)

    def lines(self, name: str) -> list[StoredRun]:
        """The runs of one line of the grid, by seed."""
        return [run for run in self.runs if run.settings["line"] == name]

    def readings(self) -> dict[str, list[tuple[float, float, float]]]:
        """What trained critics read: estimator -> (truth, reading, spread of a batch) in nats, of all seeds."""
        found: dict[str, list[tuple[float, float, float]]] = {}
        for run in self.runs:
            for row in run.scores if run.method == "gaussians" else ():
                found.setdefault(row["estimator"], []).append((row["truth"], row["reading"], row["spread"]))
        return found

    def knn(self, name: str) -> list[float]:
        """kNN of the class in per cent."""
        return [100 * run.scores[0]["knn"] for run in self.lines(name)]

    def causes(self, name: str) -> dict[str, float]:
        """How well each cause is read, the mean over the seeds."""
        rows = [run.scores[0]["factors"] for run in self.lines(name)]
        return {cause: fmean(row[cause] for row in rows) for cause in rows[0]}

    def curves(self, name: str, key: str, factor: float = 1.0, least: float = -math.inf) -> list[list[float]]:
        """A curve of each run, times a factor, cut at the least value that is to be drawn."""
        return [[max(least, factor * value) for value in run.curves[key]] for run in self.lines(name)]

    def moves(self, name: str, key: str) -> list[float]:
        """By how much a curve's end is above its beginning: 100 times, so points of an accuracy."""
        return [100 * (run.curves[key][-1] - run.curves[key][0]) for run in self.lines(name)]

    def correlations(self) -> dict[str, dict[str, list[float]]]:
        """Trees: level -> line -> |r| of the best node with it: 2 and 10 nodes, trained and untrained, and pixels."""
        rows = {f"{n} nodes, {state}": [run.scores[place]["correlations"] for run in self.lines(f"tree-{n}")]
                for n in (2, 10) for place, state in enumerate(("trained", "untrained"))}
        rows["best raw pixel"] = [run.scores[2]["correlations"] for run in self.lines("tree-2")]
        return {level: {line: [each[number] for each in found] for line, found in rows.items()}
                for number, level in enumerate(LEVELS)}
