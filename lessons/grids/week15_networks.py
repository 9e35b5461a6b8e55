"""Make the long runs of lesson 15: the small ViT by iBOT, which the lesson looks into, and by DINO.

    python lessons/grids/week15_networks.py   # what is missing in lessons/runs/15_ibot (about 15 minutes each)
    python lessons/grids/week15_networks.py --keep FOLDER   # go on there if interrupted

Beside the records: ibot-s0.pt, weights as float16, for `checkpoint.load_method`. The last step counts, not the best.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import grid
from grid import LABELS, Grid, Made, Run, shapes, tuned

from course_lib.augment.views import TURNED_VIEWS
from course_lib.data.images import Splits
from course_lib.evaluate.scoring import score
from course_lib.methods import build_method
from course_lib.methods.masked.dino import DINO
from course_lib.train.checkpoint import load_method, save_small

FOLDER = "15_ibot"
VIT = {"patch": 4, "dim": 96, "depth": 3, "heads": 3, "stem": (32, 64)}
OPTIONS = {"augment": TURNED_VIEWS, "crops": 0, "out": 256, "momentum": 0.99, "teacher_temp": (0.03, 0.03),
           "koleo": 0.3, "frozen": 1.0, "final_decay": None}
# of iBOT: patches once crops say something
PATCHES = {"patch_temp": (0.03, 0.04), "weights": (1.0, 0.3), "mask_from": 0.5}
RECIPE = {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128, "warmup": 0.1}
STEPS, IMAGES, EPOCHS = 1500, 20000, 20
FRESH = 7  # seed of the test images: the settings above were found with those of seed 0
TUNING_SEEDS = (0, 1, 2)  # a seed draws the labelled images, head and order


def runs() -> list[Run]:
    return [line("ibot", {**OPTIONS, **PATCHES}), line("dino", OPTIONS)]


def build(run: Run) -> DINO:
    """The method as the records have it: fixed positions, the ViT's own initialisation, and KoLeo's mean over crops."""
    options = {**run.options, "koleo": run.options["koleo"] / 2, "std": None}
    return build_method(run.method, run.backbone, 32, backbone_options={"positions": "sincos", **(run.vit or {})},
                        **options)


def line(method: str, options: dict) -> Run:
    plain = {key: value for key, value in options.items() if key != "augment"}
    return Run(f"{method}-s0", 0, method, options, fit={"steps": STEPS, **RECIPE}, vit=VIT, build=build,
               says={**plain, "images": IMAGES, "test_seed": FRESH, "labels": LABELS, "epochs": EPOCHS})


def train(run: Run, out: Path | None = None) -> Made:
    splits = shapes(IMAGES)
    return grid.train(run, Splits(splits.train, splits.validation, shapes(2000, FRESH).test), out)


def rows(made: Made) -> list[dict]:
    name, method = made.run.method, made.method
    found = score(method, made.splits, name=name, factors=True, random_encoder=made.untrained, probe_limit=3000)
    for row, start in zip(found, (method, made.untrained)):
        values = [tuned(start.evaluated, seed, EPOCHS, made.splits) for seed in TUNING_SEEDS]
        row |= {"fine_tuned": sum(values) / len(values), "fine_tuned_seeds": values}
    with tempfile.TemporaryDirectory() as folder:
        stored = load_method(save_small(Path(folder) / "stored.pt", method))
    found[0]["knn_float16"] = score(stored, made.splits, name="as stored", controls=False, linear=False)[0]["knn"]
    if name == "ibot":
        made.beside["ibot-s0.pt"] = method
    return found


GRID = Grid(FOLDER, runs, rows, "Lesson 15: one CPU core; the network that its explorers look into.", train=train,
            rate=True, show=("knn", "linear", "fine_tuned", "knn_float16"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
