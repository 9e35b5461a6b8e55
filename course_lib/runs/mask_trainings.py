"""The stored trainings of lesson 13: SimMIM under four masks, scoring all pixels, and MAE at equal compute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch

from course_lib.runs.stored import StoredRun, read_runs, runs_folder

MAE, SCRATCH = "hidden-0.75", "from scratch"  # MAE: of lesson 12
GAIN, ERROR = "fine-tuned minus scratch (points)", "error on hidden pixels"
RULERS = ("AvgDist (pixels)", "mask ratio", "side of a square (pixels)", "error of a copy")


class MaskTrainings:
    """Names such as "mask-8-0.5" (squares of 8 pixels, half hidden), "all-scored" and MAE -> their runs, by seed.

    gain: name -> fine-tuned accuracy minus that from scratch, in points, a value for each seed; scratch has the seed
    and machine of the run, and is there as "from scratch", all 0. masks: the four names, the nearest mask first.
    folder: of the lessons' runs.
    """

    def __init__(self, folder: str | Path | None = None):
        root = runs_folder() if folder is None else Path(folder)
        mae = [run for run in read_runs(root / "12_mae") if run.id.startswith(f"{MAE}-s")]
        self.runs: dict[str, list[StoredRun]] = {}
        for run in sorted([*read_runs(root / "13_simmim"), *mae], key=lambda run: run.seed):
            self.runs.setdefault(run.id.rpartition("-s")[0], []).append(run)
        self._scratch = {run.seed: run.scores[1]["fine_tuned"] for run in self.runs["mask-8-0.5"]}
        self.gain = {name: [100 * (run.scores[0]["fine_tuned"] - self._begun(run)) for run in runs]
                     for name, runs in self.runs.items()}
        self.gain[SCRATCH] = [0.0] * len(self._scratch)
        self.masks = sorted((name for name in self.runs if name.startswith("mask-")), key=self.distance)

    def _begun(self, run: StoredRun) -> float:
        return run.scores[1]["fine_tuned"] if run.method == "mae" else self._scratch[run.seed]

    def distance(self, name: str) -> float:
        """AvgDist of a mask, in pixels of images of 32."""
        return self.runs[name][0].scores[0]["distance"]

    def mean(self, name: str) -> float:
        """The mean gain over the seeds, in points."""
        return fmean(self.gain[name])

    def minus(self, first: str, second: str) -> list[float]:
        """The gain of one minus that of another, in points, a value for each seed."""
        return [a - b for a, b in zip(self.gain[first], self.gain[second])]

    def slopes(self, names: Sequence[str]) -> list[float]:
        """Of a line through the gains of `names` over their distance, in points per pixel, a value for each seed."""
        where = torch.tensor([self.distance(name) for name in names])
        where = where - where.mean()
        columns = zip(*(self.gain[name] for name in names))
        return [float(where @ torch.tensor(gains) / where.square().sum()) for gains in columns]

    def points(self, ruler: str, measure: str = GAIN) -> dict[str, list[tuple[float, float]]]:
        """"8 px at 0.5" and so on -> (ruler, measure) of each training. ValueError for names that are not there."""
        if ruler not in RULERS or measure not in (GAIN, ERROR):
            raise ValueError(f"there is no {ruler!r} or {measure!r}; expected one of {RULERS} and of {(GAIN, ERROR)}")

        def read(run: StoredRun) -> float:
            row = run.scores[0]
            return dict(zip(RULERS, (row["distance"], run.settings["hidden"], run.settings["mask_patch"], row["copy"]))
                        )[ruler]

        values = {name: self.gain[name] if measure == GAIN else [run.scores[0]["error"] for run in self.runs[name]]
                  for name in self.masks}
        return {name.removeprefix("mask-").replace("-", " px at "): list(zip(map(read, self.runs[name]), values[name]))
                for name in self.masks}

    def correlation(self, ruler: str, measure: str = GAIN) -> float:
        """Of the four masks' means over the seeds."""
        means = [[fmean(column) for column in zip(*pairs)] for pairs in self.points(ruler, measure).values()]
        return float(torch.corrcoef(torch.tensor(means).T)[0, 1])

    def levels(self) -> dict[str, float]:
        """What the masks' gains are held against: "from scratch", and MAE's mean at equal compute."""
        return {SCRATCH: 0.0, "MAE, equal compute": self.mean(MAE)}

    def drift(self) -> float:
        """How far the same network and seed, from scratch, end apart on the two machines, at most, in points."""
        return max(100 * abs(run.scores[1]["fine_tuned"] - self._scratch[run.seed]) for run in self.runs[MAE])
