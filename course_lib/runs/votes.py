"""The stored votes of lesson 16: classifiers on noisy copies of 200 test images, after four kinds of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from course_lib.evaluate.smoothing import ABSTAIN, certified_radius
from course_lib.runs.stored import read_runs, runs_folder

SIGMA, ALPHA = 0.25, 0.001
PAIRS = (("dmae", "mae"), ("mae", "noise"), ("dmae", "noise"))


class StoredVotes:
    """Votes by kind of training: "plain" (labels, no noise), "noise" (labels on noisy images), after "mae", "dmae".

    rows: (kind, sigma, seed) -> the row of a stored run: "votes_100", "votes_1000", the "found" class and the true
    "labels" of each image, "clean", the accuracy in one pass, "certify_seconds". seeds: kind -> those at sigma 0.25.
    folder: of the lessons' runs.
    """

    kinds = ("plain", "noise", "mae", "dmae")

    def __init__(self, folder: str | Path | None = None):
        root = runs_folder() if folder is None else Path(folder)
        self.rows = {(run.scores[0]["name"], run.settings["smooth_sigma"], run.seed): run.scores[0]
                     for run in read_runs(root / "16_dmae")}
        self.seeds = {kind: sorted(seed for name, sigma, seed in self.rows if (name, sigma) == (kind, SIGMA))
                      for kind in self.kinds}

    def certificates(self, kind: str, sigma: float = SIGMA, seed: int = 0, n: int = 1000, alpha: float = ALPHA
                     ) -> tuple[Tensor, Tensor, Tensor]:
        """The stored votes of the test images -> found (ABSTAIN without a certificate), radii, labels: (N,) each."""
        row = self.rows[kind, sigma, seed]
        reach = certified_radius(torch.tensor(row[f"votes_{n}"]), n, sigma, alpha)
        return torch.tensor(row["found"]).where(reach > 0, ABSTAIN), reach, torch.tensor(row["labels"])

    def seconds(self) -> float:
        """For one image, the mean of the kinds' first seeds."""
        return fmean(self.rows[kind, SIGMA, 0]["certify_seconds"] / len(self.rows[kind, SIGMA, 0]["labels"])
                     for kind in self.kinds)

    def one_class(self, kind: str) -> list[float]:
        """The share of the images for which the most frequent answer is given, for each seed."""
        answers = [torch.tensor(self.rows[kind, SIGMA, seed]["found"]) for seed in self.seeds[kind]]
        return [float((winners == winners.mode().values).double().mean()) for winners in answers]

    def common(self, first: str, second: str) -> list[int]:
        """The seeds of both."""
        return sorted(set(self.seeds[first]) & set(self.seeds[second]))

    def only_one(self, first: str, second: str, at: float = SIGMA) -> list[tuple[int, int]]:
        """For each common seed, how many images only the first certifies correctly at a radius, and only the second."""
        counts = []
        for seed in self.common(first, second):
            a, b = ((found == labels) & (radii >= at) for found, radii, labels in (
                self.certificates(kind, seed=seed) for kind in (first, second)))
            counts.append((int((a & ~b).sum()), int((b & ~a).sum())))
        return counts

    def gains(self, accuracy: Mapping[tuple[str, int], Mapping], ats: tuple[float, ...] = (0.25, 0.5)
              ) -> dict[tuple[str, str, float], list[float]]:
        """(kind, another, radius) -> what the first's accuracy is above the second's, in points, for each common seed.

        accuracy: (kind, seed) -> radius -> share of the images.
        """
        return {(one, other, at): [100 * (accuracy[one, seed][at] - accuracy[other, seed][at])
                                   for seed in self.common(one, other)] for one, other in PAIRS for at in ats}
