"""Make the stored runs of lesson 04: SimCLR on generated shapes with one part of the views or the temperature changed.

    python lessons/grids/week04.py   # what is missing in lessons/runs/04_simclr (about 20 minutes on one core)
"""

from __future__ import annotations

import sys
from dataclasses import replace
from statistics import fmean

import torch
from grid import SHAPES, Grid, Made, Run, controls, few, measure, shapes
from torch import nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment, two_views
from course_lib.data.images import ImageSet
from course_lib.evaluate.features import embed, reinitialise
from course_lib.evaluate.measures import feature_std
from course_lib.methods.contrastive.simclr import SimCLR, nt_xent
from course_lib.methods.contrastive.simclr_v2 import Distill, FineTune, SimCLRv2
from course_lib.models.layers import normalize
from course_lib.train.loop import fit

STEPS, HEAD, TEMPERATURE, TEMPERATURES = 300, 2, 0.2, (0.05, 1.0)
VIEWS: dict[str, Augment] = {  # one part of the views taken away
    "all": SHAPES_VIEWS, "no crop": replace(SHAPES_VIEWS, scale=(1.0, 1.0), ratio=(1.0, 1.0)),
    "no jitter": replace(SHAPES_VIEWS, jitter_p=0.0), "no flip": replace(SHAPES_VIEWS, flip=0.0),
    "no grey": replace(SHAPES_VIEWS, gray_p=0.0)}
TUNE = {"steps": 100, "batch_size": 40, "lr": 3e-3, "weight_decay": 1e-4}
SCRATCH, STUDY = {**TUNE, "steps": 200}, {**TUNE, "steps": 60, "batch_size": 128, "lr": 1e-3}  # scratch: more steps


def runs() -> list[Run]:
    cells = [(views, TEMPERATURE) for views in VIEWS] + [("all", temperature) for temperature in TEMPERATURES]
    return [line(*cell, seed) for seed in (0, 1, 2) for cell in cells]


def line(views: str, temperature: float, seed: int) -> Run:
    return Run(f"{views.replace(' ', '-')}-{temperature:g}-s{seed}", seed, "simclr",
               {"augment": VIEWS[views], "temperature": temperature, "layers": HEAD},
               fit={**SimCLR.recipe, "steps": STEPS, "device": "cpu", "threads": 1},
               says={"views": views, "temperature": temperature, "layers": HEAD, "n": SHAPES})


@torch.no_grad()
def found(network: nn.Module, augment: Augment, batch: int = 128) -> float:
    """The game on test images: the share of anchors that find their partner among 2 * batch - 1, over four batches."""
    generator = torch.Generator().manual_seed(0)
    pairs = [two_views(images, augment, generator) for images in shapes().test.images.split(batch)[:4]]
    return fmean(float(nt_xent(*(network(standardize(view)) for view in pair))["accuracy"]) for pair in pairs)


def few_labels(per_class: int, seed: int) -> ImageSet:
    """The first `per_class` training images of each class, in an order of this seed."""
    order = torch.randperm(len(shapes().train), generator=torch.Generator().manual_seed(seed))
    labels = shapes().train.labels[order]
    return shapes().train.select(torch.cat([order[labels == c][:per_class] for c in labels.unique()]))


def label_rows(method: SimCLR, seed: int) -> list[dict]:
    """Fine-tuned with few labels from each depth of the head, from scratch, and a student of the one in the middle."""
    fresh, rows, classifier = reinitialise(method, seed), [], SimCLRv2.classifier

    def learn(start: str, tuned: FineTune, images: ImageSet, recipe: dict) -> FineTune:
        fit(tuned, images, seed=seed, device="cpu", threads=1, **{**recipe, "steps": few(recipe["steps"], 2)},
            progress=False)
        with torch.no_grad():
            right = tuned.eval().predict(shapes().test.images).argmax(1) == shapes().test.labels
        rows.append({"name": f"{start}, {per_class} a class", "kind": "labels", "start": start, "per_class": per_class,
                     "steps": recipe["steps"], "accuracy": float(right.float().mean())})
        return tuned

    for per_class in (5, 20):
        labelled, tuned = few_labels(per_class, seed), []
        for keep in range(HEAD + 1):
            torch.manual_seed(seed)
            tuned.append(learn(f"keep {keep}", FineTune(classifier(method, 8, keep)), labelled, TUNE))
        learn("scratch", FineTune(classifier(fresh, 8, 0)), labelled, SCRATCH)
        if per_class == 5:
            learn("student", Distill(classifier(method, 8, 1), tuned[1].network), replace(shapes().train, labels=None),
                  STUDY)
    return rows


def rows(made: Made) -> list[dict]:
    method, projected = made.method.eval(), nn.Sequential(made.method.backbone, made.method.head)
    std = feature_std(normalize(embed(projected, shapes().test)))
    behind = measure("behind the head", "layer", projected) | {"std": std}
    row = measure("SimCLR", "method", method) | {"found": found(projected, method.augment)}
    full = made.run.id.startswith(f"all-{TEMPERATURE:g}-")
    return [row, behind, *controls(), *(label_rows(method, made.run.seed) if full else [])]


GRID = Grid("04_simclr", runs, rows, "Lesson 04: one part of the views, or the temperature, changed at a time.",
            show=("knn", "found"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
