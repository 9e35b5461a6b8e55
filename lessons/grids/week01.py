"""Make the stored runs of lesson 01: alignment and uniformity on generated shapes, as in the lesson, three seeds.

    python lessons/grids/week01.py   # what is missing in lessons/runs (about 2 minutes)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, shapes

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.features import embed
from course_lib.evaluate.scoring import score
from course_lib.plots.charts import project
from course_lib.runs.stored import Panel

STEPS, LR = 300, 3e-3
PANEL = 600  # the first test images, whose embedding the lesson opens with


def runs() -> list[Run]:
    return [Run(f"shapes-align-uniform-convnet-s{seed}", seed, "align-uniform", {"augment": SHAPES_VIEWS},
                fit={"steps": STEPS, "lr": LR}, says={"steps": STEPS, "n": SHAPES}) for seed in (0, 1, 2)]


def rows(made: Made) -> list[dict]:
    return score(made.method, shapes(), name="align-uniform", clusters=True, probe_limit=2000, seed=made.run.seed)


def panel(made: Made) -> Panel:
    test = shapes().test.head(PANEL)
    features = embed(made.method, test).numpy()
    where = [("test", test.classes[label], number) for number, label in enumerate(test.labels.tolist())]
    return Panel(features, test.labels.numpy(), where, project(torch.from_numpy(features), "tsne").numpy())


GRID = Grid(".", runs, rows, "Lesson 01: alignment and uniformity on generated shapes.", panel=panel)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
