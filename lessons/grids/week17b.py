"""Make the stored runs of lesson 17's control: SimCLR trained on with SCAN's views, as long as SCAN, then k-means.

    python lessons/grids/week17b.py   # what is missing in lessons/runs/17_views (half a minute of one core each)

SCAN's views are turned and shifted, those of the learned SimCLR are not. Here only the views change, not the loss.
"""

from __future__ import annotations

import sys

from grid import Grid, Made, Run, kmeans_row, measure, shapes
from torch import nn
from week17 import BATCH, PRETEXT, STEPS, K

from course_lib.augment.views import TURNED_VIEWS
from course_lib.evaluate.features import embed
from course_lib.methods import build_method
from course_lib.runs.networks import learned

LR, DECAY = 3e-3, 1e-4  # SCAN's


def runs() -> list[Run]:
    return [Run(f"simclr-on-s{seed}", seed, PRETEXT, {"augment": TURNED_VIEWS}, build=begin,
                fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "weight_decay": DECAY},
                says={"line": "simclr-on", "pretext": PRETEXT}) for seed in (0, 1, 2)]


def begin(run: Run) -> nn.Module:
    """The method with a new head, on the backbone that it has trained already."""
    method = build_method(run.method, run.backbone, 32, **run.options)
    method.evaluated.load_state_dict(learned(PRETEXT).method.evaluated.state_dict())
    return method


def rows(made: Made) -> list[dict]:
    method, splits = made.method.eval(), shapes()
    pair = embed(method, splits.train), embed(method, splits.test)
    return [measure("simclr-on", "method", method), kmeans_row("k-means", pair, splits, K, made.run.seed)]


GRID = Grid("17_views", runs, rows, "Lesson 17: SimCLR, trained on with SCAN's views.", show=("knn", "acc"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
