"""Make the stored runs of lesson 15 that show what self-distillation needs: DINO, and DINO without one thing at a time.

    python benchmarks/grid_ibot.py              # what is missing in lessons/runs/15_ibot (about 12 minutes on one core)
    python benchmarks/grid_ibot.py --again ID   # make one run again and compare it with the stored one

The long runs, with the network that the lesson looks into, are `stored_ibot.py`'s.
"""

from __future__ import annotations

import copy
import sys
from functools import partial

import torch

import grid
from course_lib.augment import SHAPES_VIEWS
from course_lib.methods import build_method
from course_lib.runs import StoredRun
from course_lib.train import fit

from grid import SHAPES, measure, shapes
from stored_ibot import FOLDER, OPTIONS, RECIPE

STEPS = 600
SMALL = {"patch": 8, "dim": 128, "depth": 2, "heads": 4, "pool": "mean", "stem": (32, 64, 128)}  # a quarter of the tokens
# name -> (other options of the method, other options of the ViT)
CHANGES = {"all of it": ({}, {}), "without turned views": ({"augment": SHAPES_VIEWS}, {}),
           "without KoLeo": ({"koleo": 0.0}, {}), "without a stem": ({}, {"stem": None}),
           "prototypes learned": ({"frozen": 0.02}, {})}


def make(id: str, name: str, seed: int) -> StoredRun:
    options, vit = ({**common, **own} for common, own in zip((OPTIONS, SMALL), CHANGES[name]))
    torch.manual_seed(seed)
    method = build_method("dino", "vit-tiny", 32, backbone_options=vit, **options)
    untrained = copy.deepcopy(method)
    history = fit(method, shapes().train, steps=STEPS, seed=seed, progress=False, **RECIPE)
    settings = {"optimizer": "adamw", **RECIPE, "n": SHAPES, "group": "needs", "change": name,
                **{k: v for k, v in options.items() if k != "augment"}, **{f"vit_{k}": v for k, v in vit.items()}}
    return StoredRun.from_history(
        "dino", shapes().train.name, history, id=id, backbone="vit-tiny", augmentation=repr(method.augment), seed=seed,
        settings=settings, scores=[measure("dino", "method", method), measure("random encoder", "control", untrained)],
        note="Lesson 15: what self-distillation needs on these images.")


def cells() -> dict:
    """id -> a function that makes the run."""
    names = {name: name.replace(" ", "-").lower() for name in CHANGES}
    return {f"needs-{short}-s0": partial(make, f"needs-{short}-s0", name, 0) for name, short in names.items()}


def say(run: StoredRun) -> str:
    return f"kNN {run.scores[0]['knn']:.3f} (untrained {run.scores[1]['knn']:.3f}), loss {run.curves['loss'][-1]:.2f}"


if __name__ == "__main__":
    sys.exit(grid.main(cells(), FOLDER, say, __doc__))
