"""Make the stored runs of lesson 15 that show what self-distillation needs: DINO, and DINO without one thing at a time.

    python lessons/grids/week15.py   # what is missing in lessons/runs/15_ibot (about 12 minutes on one core)

The long runs, with the network that the lesson looks into, are `week15_networks.py`'s.
"""

from __future__ import annotations

import sys

from grid import SHAPES, Grid, Made, Run, measure
from week15_networks import FOLDER, OPTIONS, RECIPE, build

from course_lib.augment.views import SHAPES_VIEWS

STEPS = 600
SMALL = {"patch": 8, "dim": 128, "depth": 2, "heads": 4, "pool": "mean", "stem": (32, 64, 128)}  # few tokens
# name -> (other options of the method, other options of the ViT)
CHANGES = {"all of it": ({}, {}), "without turned views": ({"augment": SHAPES_VIEWS}, {}),
           "without KoLeo": ({"koleo": 0.0}, {}), "without a stem": ({}, {"stem": None}),
           "prototypes learned": ({"frozen": 0.02}, {})}


def runs() -> list[Run]:
    return [line(name, {**OPTIONS, **options}, {**SMALL, **vit}) for name, (options, vit) in CHANGES.items()]


def line(change: str, options: dict, vit: dict) -> Run:
    plain = {key: value for key, value in options.items() if key != "augment"}
    id = f"needs-{change.replace(' ', '-').lower()}-s0"
    return Run(id, 0, "dino", options, fit={"steps": STEPS, **RECIPE}, vit=vit, build=build,
               says={**plain, "n": SHAPES, "group": "needs", "change": change})


def rows(made: Made) -> list[dict]:
    return [measure("dino", "method", made.method), measure("random encoder", "control", made.untrained)]


GRID = Grid(FOLDER, runs, rows, "Lesson 15: what self-distillation needs on these images.")

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
