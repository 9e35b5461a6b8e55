"""The stored trainings of lesson 28: losses with labels and spaces for a tree; frozen features and whole networks."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from course_lib.runs.lines import first_scores, in_lines
from course_lib.runs.stored import read_runs, runs_folder

FROZEN = {"supcon": "SupCon, outside", "supcon-inside": "SupCon, inside", "cross-entropy": "cross-entropy",
          "cross-entropy-longer": "longer cross-entropy"}
TREES = {"ball-2": "the ball", "plane-2": "nearly a plane", "rim-2": "one radius"}
WHOLE = {"supcon": "SupCon", "cross-entropy": "cross-entropy", "supcon-long": "SupCon, longer",
         "cross-entropy-long": "cross-entropy, longer", "tree": "SimCLR, then the tree",
         "no-tree": "SimCLR, then SimCLR"}


class Trainings:
    """Stored runs of one folder by line, and tables of their means as text."""

    def __init__(self, name: str, folder: str | Path | None = None):
        self.lines = in_lines(read_runs((runs_folder() if folder is None else Path(folder)) / name))

    def scores(self, key: str) -> dict[str, list[float]]:
        """A score by line, a value for each seed."""
        return first_scores(self.lines, key)

    def named(self, key: str, names: dict[str, str]) -> dict[str, list[float]]:
        """A score of some lines, by their names."""
        found = self.scores(key)
        return {name: found[line] for line, name in names.items()}

    def seconds(self, line: str) -> float:
        """Of a training, the mean over its seeds."""
        return fmean(run.wall_seconds for run in self.lines[line])

    def mean(self, line: str, key: str) -> float:
        return fmean(self.scores(key)[line])


def frozen_table(runs: Trainings) -> str:
    """Losses on frozen features: seconds and scores of FROZEN, and of what they begin with; TREES by MAP@R."""
    lines = [f"{'means of three seeds':20s} seconds    kNN  Recall@1  MAP@R   NMI"]
    for line, name in FROZEN.items():
        row = [runs.mean(line, key) for key in ("knn", "shape recall@1", "shape map@r", "nmi")]
        lines.append(f"{name:20s} {runs.seconds(line):7.1f} {row[0]:6.1%} {row[1]:9.1%} {row[2]:6.1%} {row[3]:5.2f}")
    first = min((run for line in runs.lines.values() for run in line), key=lambda run: (run.seed, run.id))
    lines += [f"{row['name']:28s} {row['knn']:6.1%} {row['shape recall@1']:9.1%} {row['shape map@r']:6.1%} "
              f"{row['nmi']:5.2f}" for row in first.scores[1:]]
    lines.append(f"{'on a tree, MAP@R':20s}  family   shape variant  Recall@1 of the shape")
    lines += [f"{name:20s} " + "".join(f"{runs.mean(line, key):8.1%}" for key in (
        "family map@r", "shape map@r", "variant map@r", "shape recall@1")) for line, name in TREES.items()]
    return "\n".join(lines)


def whole_table(runs: Trainings) -> str:
    """Whole networks: seconds and scores of WHOLE, and of the tree in its own ball."""
    lines = [f"{'whole networks':22s} seconds    kNN  Recall@1  MAP@R"]
    lines += [f"{name:22s} {runs.seconds(line):7.1f} {runs.mean(line, 'knn'):6.1%} "
              f"{runs.mean(line, 'shape recall@1'):9.1%} {runs.mean(line, 'shape map@r'):6.1%}"
              for line, name in WHOLE.items()]
    lines.append(f"{'the tree, in its ball':37s} {runs.mean('tree', 'ball shape recall@1'):9.1%} "
                 f"{runs.mean('tree', 'ball shape map@r'):6.1%}")
    return "\n".join(lines)
