"""Make the stored runs of lesson 04's Further: what a kept layer of SimCLR v2's head brings to few labels.

    python lessons/grids/week04b.py   # what is missing in lessons/runs/04_labels (about two minutes of one core each)

One pretraining with a head of three layers for each seed. Then classifiers, with the same labelled images and steps:
the head dropped; its first layer kept; the same layer with new random weights, so that depth alone is added; and all
from new random weights.
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, controls, few, measure, shapes
from week04 import STEPS, TEMPERATURE, TUNE, few_labels

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.features import reinitialise
from course_lib.methods.contrastive.simclr_v2 import FineTune, SimCLRv2
from course_lib.train.loop import fit


def runs() -> list[Run]:
    return [Run(f"v2-s{seed}", seed, "simclr-v2", {"augment": SHAPES_VIEWS, "temperature": TEMPERATURE},
                fit={**SimCLRv2.recipe, "steps": STEPS, "device": "cpu", "threads": 1},
                says={"temperature": TEMPERATURE, "layers": 3, "n": SHAPES}) for seed in (0, 1, 2)]


def tuned(start: str, method: SimCLRv2, per_class: int, seed: int) -> dict:
    """A row of scores: test accuracy after fine-tuning with few labels."""
    torch.manual_seed(seed)
    network = method.classifier(8, 0 if start == "dropped" else 1)
    if start == "fresh layer":
        network[1] = reinitialise(network[1], seed)
    elif start == "scratch":
        network = reinitialise(network, seed)
    learner = FineTune(network)
    fit(learner, few_labels(per_class, seed), seed=seed, device="cpu", threads=1, progress=False,
        **{**TUNE, "steps": few(TUNE["steps"], 2)})
    with torch.no_grad():
        right = learner.eval().predict(shapes().test.images).argmax(1) == shapes().test.labels
    return {"name": f"{start}, {per_class} a class", "kind": "control" if start == "scratch" else "labels",
            "start": start, "per_class": per_class, "accuracy": float(right.float().mean())}


def rows(made: Made) -> list[dict]:
    method: SimCLRv2 = made.method.eval()  # pyright: ignore
    return [measure("SimCLR v2", "method", method), *controls(),
            *(tuned(start, method, n, made.run.seed) for n in (5, 20)
              for start in ("dropped", "kept layer", "fresh layer", "scratch"))]


GRID = Grid("04_labels", runs, rows, "Lesson 04, Further: a kept layer of the head, or a fresh one, and few labels.")

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
