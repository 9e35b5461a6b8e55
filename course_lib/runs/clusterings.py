"""One table of clusterings: k-means on pixels and features, SwAV's prototypes, SCAN, RUC, MiCE and GATCluster.

All in the same small network, from the records of the learned networks. Clusters are matched with classes on training
images and scored on test images; the last step counts; the number of clusters was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from course_lib.runs.networks import networks_folder
from course_lib.runs.stored import read_runs
from course_lib.text import text_table

# name -> the learned network whose record has it, and the row there (None: the method's own)
ROWS: dict[str, tuple[str, str | None]] = {
    "k-means, raw pixels": ("scan", "k-means, raw pixels"),
    "k-means, random encoder": ("scan", "k-means, random encoder"),
    "k-means, SimCLR": ("simclr", "k-means on its features"),
    "k-means, MiCE": ("mice", "k-means on its features"),
    "SwAV's prototypes": ("swav", "SwAV's prototypes"),
    "SCAN": ("scan", None), "RUC": ("ruc", None), "MiCE": ("mice", None), "GATCluster": ("gatcluster", None)}
# ACC on CIFAR-10 as the papers have it, and what it was measured on
PAPERS = {"SCAN": "88.3, on test images", "RUC": "90.3, on the images trained on",
          "MiCE": "83.5, trained on test images, too",
          "GATCluster": "61.0, trained on test images, too; the best epoch by their labels"}


class Clusterings:
    """Scores of clusterings on "shapes" or "photographs", a value for each seed; a table as text.

    names: the rows, in their order, of those in `ROWS`. folder: of the learned networks.
    """

    def __init__(self, on: str, names: Sequence[str] = tuple(ROWS), folder: str | Path | None = None):
        self.on, self.names = on, tuple(names)
        self._runs = sorted(read_runs(networks_folder() if folder is None else folder), key=lambda run: run.seed)

    def scores(self, name: str, key: str = "acc") -> list[float]:
        """One score of a row, by seed: "acc", "nmi", "ari", "ami"; [] where no run has it."""
        network, row = ROWS[name]
        found = [run.value(key, row) for run in self._runs if run.id.startswith(f"{self.on}-{network}-s")]
        return [value for value in found if value is not None]

    def __str__(self) -> str:
        heading = [self.on, "ACC (%), by seed", "NMI", "ARI", "AMI"]
        if self.on == "photographs":
            heading.append("in the paper, on CIFAR-10")
        rows = [heading]
        for name in self.names:
            if self.scores(name):
                means = [f"{fmean(self.scores(name, key)):.2f}" for key in ("nmi", "ari", "ami")]
                row = [name, "  ".join(f"{100 * acc:.1f}" for acc in self.scores(name)), *means]
                rows.append([*row, PAPERS.get(name, "")] if self.on == "photographs" else row)
        return text_table(rows)
