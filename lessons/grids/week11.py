"""Make the stored runs of lesson 11: ImCo's two mixtures, each alone, both and neither (MoCo v2), on shapes.

    python lessons/grids/week11.py   # what is missing in lessons/runs/11_imco (about 15 minutes of one core)

The fifth line makes the positives easier: lambda between 0 and 1, as in mixup.
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, controls, measure, shapes

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.measures import effective_rank
from course_lib.evaluate.scores import queue_scores, score_statistics
from course_lib.methods.contrastive.imco import ImCo
from course_lib.models.backbones import ConvNet

STEPS, BATCH, LR, TEMPERATURE, MOMENTUM, QUEUE = 1200, 64, 1e-3, 0.1, 0.99, 512
MIXTURES = {"extrapolation": ("extrapolate", "plain"), "interpolation": ("plain", "interpolate"),
            "both": ("extrapolate", "interpolate"), "neither": ("plain", "plain"), "easier": ("interpolate", "plain")}
LOOKS, PANEL, BINS = 11, 500, 40  # moments of training, test images, bins from -1 to 1
SAYS = {"temperature": TEMPERATURE, "momentum": MOMENTUM, "queue": QUEUE, "n": SHAPES}


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in MIXTURES]


def line(name: str, seed: int) -> Run:
    mixing = dict(zip(("positives", "negatives"), MIXTURES[name]))
    options = {"augment": SHAPES_VIEWS, "momentum": MOMENTUM, "queue": QUEUE, "temperature": TEMPERATURE, "splits": 1}
    return Run(f"{name}-s{seed}", seed, "imco", {**options, **mixing},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"line": name, **SAYS, **mixing}, build=build)


class Watched(ImCo):
    """ImCo that looks at the scores of some test images: before the first step, then ever less often.

    Look i of `LOOKS` is at the share (i / (LOOKS - 1))^2 of all steps.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.looks: list = []

    def look(self, progress: float) -> None:
        while len(self.looks) < LOOKS and progress * (LOOKS - 1) ** 2 >= len(self.looks) ** 2:
            self.looks.append(queue_scores(self, shapes().test.images[:PANEL]))

    def on_epoch(self, epoch: int) -> None:
        self.look(0.0)

    def after_update(self, progress: float) -> None:
        super().after_update(progress)
        self.look(progress)


def build(run: Run) -> Watched:
    return Watched(ConvNet(), **run.options)


def score_rows(looks: list) -> dict:
    """Histograms, one after the other, means and variances of the scores at each look."""
    found = score_statistics(*map(torch.stack, zip(*looks)), bins=BINS)
    return {f"scores_{name}": [round(float(v), 4) for v in value.flatten()]
            for name, value in found.items() if name != "edges"}


def rows(made: Made) -> list[dict]:
    method, history = made.method, made.history
    row = {**measure(method.title, "method", method), **score_rows(method.looks),
           "looks": len(method.looks), "embedding_rank": history.rank[-1], "embedding_std": history.std[-1],
           "key_rank": effective_rank(method.queue.rows)}
    return [row, *controls()]


GRID = Grid("11_imco", runs, rows, "Lesson 11: positive extrapolation and negative interpolation.",
            show=("knn", "embedding_rank"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
