"""Make the stored runs of lesson 15: what self-distillation needs. DINO, and DINO without one thing at a time.

    python lessons/grids/week15.py   # what is missing in lessons/runs/15_ibot (about two minutes of one core each)

A smaller network than the learned ones: patches of 8, two layers.
"""

from __future__ import annotations

import sys

from grid import SHAPES, Grid, Made, Run, measure

from course_lib.augment.views import SHAPES_VIEWS, TURNED_VIEWS
from course_lib.methods import build_method
from course_lib.methods.masked.dino import DINO

FOLDER, STEPS, SEEDS = "15_ibot", 600, (0, 1, 2)
VIT = {"patch": 8, "dim": 128, "depth": 2, "heads": 4, "pool": "mean", "stem": (32, 64, 128)}
OPTIONS = {"augment": TURNED_VIEWS, "crops": 0, "out": 256, "momentum": 0.99, "teacher_temp": (0.03, 0.03),
           "koleo": 0.3, "frozen": 1.0, "final_decay": None}
RECIPE = {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128, "warmup": 0.1}
# name -> (what is other: options of the method, of the ViT; seeds). Sharp: a temperature below the student's 0.1
CHANGES = {"all of it": ({}, {}, SEEDS), "without the centre": ({"center": None}, {}, SEEDS),
           "without sharpening": ({"teacher_temp": (0.1, 0.1)}, {}, SEEDS), "without KoLeo": ({"koleo": 0.0}, {}, (0,)),
           "without turned views": ({"augment": SHAPES_VIEWS}, {}, (0,)), "without a stem": ({}, {"stem": None}, (0,)),
           "prototypes learned": ({"frozen": 0.02}, {}, (0,))}


def runs() -> list[Run]:
    return [line(name, seed) for seed in SEEDS for name, (_, _, seeds) in CHANGES.items() if seed in seeds]


def build(run: Run) -> DINO:
    """The method as the records have it: fixed positions, the ViT's own initialisation, and KoLeo's mean over crops."""
    options = {**run.options, "koleo": run.options["koleo"] / 2, "std": None}
    return build_method(run.method, run.backbone, 32, backbone_options={"positions": "sincos", **(run.vit or {})},
                        **options)


def line(change: str, seed: int) -> Run:
    method, vit, _ = CHANGES[change]
    options = {**OPTIONS, **method}
    plain = {key: value for key, value in options.items() if key != "augment"}
    return Run(f"needs-{change.replace(' ', '-').lower()}-s{seed}", seed, "dino", options, vit={**VIT, **vit},
               build=build, fit={"steps": STEPS, **RECIPE},
               says={**plain, "n": SHAPES, "group": "needs", "change": change})


def rows(made: Made) -> list[dict]:
    return [measure("dino", "method", made.method), measure("random encoder", "control", made.untrained)]


GRID = Grid(FOLDER, runs, rows, "Lesson 15: what self-distillation needs on these images.")

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
