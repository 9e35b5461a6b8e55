"""Make the stored runs of lesson 04: SimCLR v2 on generated shapes by augmentation and temperature, then few labels.

    python lessons/grids/week04.py   # what is missing in lessons/runs/04_simclr (about 8 minutes)
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product

import torch
from grid import SHAPES, Grid, Made, Run, controls, few, measure, shapes
from torch import Tensor, nn

from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import ImageSet
from course_lib.evaluate.features import embed, reinitialise
from course_lib.evaluate.measures import feature_std
from course_lib.methods.contrastive.simclr_v2 import Distill, FineTune, SimCLRv2
from course_lib.models.layers import normalize
from course_lib.train.loop import fit

DECAY = 1e-4
RECIPE = {"steps": 250, "batch_size": 128, "lr": 3e-3, "weight_decay": DECAY}
TUNE = {"steps": 100, "batch_size": 40, "lr": 3e-3, "weight_decay": DECAY}
SCRATCH = {**TUNE, "steps": 300}  # more: it starts from nothing
STUDY = {"steps": 150, "batch_size": 128, "lr": 1e-3, "weight_decay": DECAY}
FULL, TEMPERATURE, TEMPERATURES, LAYERS = "crop+jitter+gray", 0.2, (0.05, 0.2, 0.5, 2.0), 3
PER_CLASS, KEEP = (5, 10, 50), (0, 1, LAYERS)


def views(crop: bool, jitter: bool, gray: bool) -> Augment:
    """Views like SHAPES_VIEWS, but with crops down to half the picture, and with parts left out; flips always."""
    whole = {"scale": (0.5, 1.0)} if crop else {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    return replace(SHAPES_VIEWS, **whole, jitter_p=float(jitter), gray_p=SHAPES_VIEWS.gray_p if gray else 0.0)


VIEWS = {"+".join(name for name, on in zip(("crop", "jitter", "gray"), parts) if on) or "flip": views(*parts)
         for parts in product((True, False), repeat=3)}


def runs() -> list[Run]:
    table = [(FULL, TEMPERATURE, seed) for seed in (0, 1, 2)] + [(name, TEMPERATURE, 0) for name in VIEWS]
    table += [(name, TEMPERATURE, seed) for name in ("crop", "jitter") for seed in (1, 2)]
    return [line(*cell) for cell in dict.fromkeys(table + [(FULL, t, 0) for t in TEMPERATURES])]


def line(views: str, temperature: float, seed: int) -> Run:
    options = {"temperature": temperature, "layers": LAYERS}
    later = {f"{name}_steps": recipe["steps"] for name, recipe in
             (("tune", TUNE), ("scratch", SCRATCH), ("study", STUDY)) if (views, temperature) == (FULL, TEMPERATURE)}
    id = f"{views.replace('+', '-')}-{temperature:g}-s{seed}"
    return Run(id, seed, "simclr-v2", {"augment": VIEWS[views], **options}, fit=RECIPE,
               says={"n": SHAPES, "views": views, **options, **later})


class Depth(nn.Module):
    """The network up to the head's layer `keep` (0: the representation), on normalised images."""

    def __init__(self, method: SimCLRv2, keep: int):
        super().__init__()
        self.network = method.classifier(1, keep)[:2]

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def few_labels(per_class: int, seed: int) -> ImageSet:
    """The first `per_class` training images of each class, in an order of this seed."""
    order = torch.randperm(len(shapes().train), generator=torch.Generator().manual_seed(seed))
    labels = shapes().train.labels[order]
    return shapes().train.select(torch.cat([order[labels == c][:per_class] for c in range(int(labels.max()) + 1)]))


@torch.no_grad()
def accuracy(method: FineTune) -> float:
    test = shapes().test
    return float((method.eval().predict(test.images).argmax(1) == test.labels).float().mean())


def label_rows(method: SimCLRv2, seed: int) -> list[dict]:
    """Steps 2 and 3: test accuracy by labels per class, for every depth kept, from scratch, and of a student."""
    fresh, found = reinitialise(method, seed), []

    def learn(start: str, keep: int, tuned: FineTune, images: ImageSet, recipe: dict) -> None:
        fit(tuned, images, seed=seed, progress=False, **{**recipe, "steps": few(recipe["steps"], 2)})
        found.append({"name": f"{start}, {per_class} a class", "kind": "labels", "start": start, "per_class": per_class,
                      "keep": keep, "accuracy": accuracy(tuned)})

    for per_class in PER_CLASS:
        labelled, tuned = few_labels(per_class, seed), {}
        for keep in KEEP:
            torch.manual_seed(seed)
            tuned[keep] = FineTune(method.classifier(8, keep))
            learn(f"keep {keep}", keep, tuned[keep], labelled, TUNE)
        learn("scratch", 0, FineTune(fresh.classifier(8, 0)), labelled, SCRATCH)
        student = Distill(method.classifier(8, 1), tuned[1].network)
        learn("student", 1, student, replace(shapes().train, labels=None), STUDY)
    return found


def rows(made: Made) -> list[dict]:
    method, row = made.method, measure("SimCLR", "method", made.method)
    row |= {"embedding_std": feature_std(normalize(embed(Depth(method, LAYERS), shapes().test))),
            "contrastive_accuracy": made.history.curves["accuracy"][-1]}
    if "tune_steps" not in made.run.says:
        return [row, *controls()]
    depths = [measure(f"head layer {keep}", "layer", Depth(method, keep)) for keep in range(1, LAYERS + 1)]
    return [row, *depths, *controls(), *label_rows(method, made.run.seed)]


GRID = Grid("04_simclr", runs, rows, "Lesson 04: augmentations, temperatures, head layers, few labels.",
            show=("knn", "embedding_std"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
