"""Make the stored runs of lesson 04: SimCLR v2 on generated shapes by augmentation and temperature, then few labels.

    python benchmarks/grid_simclr.py              # what is missing in lessons/runs/04_simclr (about 8 minutes)
    python benchmarks/grid_simclr.py --again ID   # make one run again and compare it with the stored one
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

import grid
from course_lib.augment import SHAPES_VIEWS, Augment
from course_lib.backbones import ConvNet
from course_lib.data import ImageSet
from course_lib.evaluate import embed, feature_std, reinitialise
from course_lib.layers import normalize as unit
from course_lib.methods.contrastive.simclr_v2 import Distill, FineTune, SimCLRv2
from course_lib.runs import StoredRun
from course_lib.train import fit
from grid import controls, measure, shapes

STEPS, BATCH, LR, TEMPERATURE, LAYERS = 250, 128, 3e-3, 0.2, 3
TEMPERATURES = (0.05, 0.2, 0.5, 2.0)
FULL = "crop+jitter+gray"
PER_CLASS, KEEP = (5, 10, 50), (0, 1, LAYERS)
DECAY = 1e-4
TUNE = dict(steps=100, batch_size=40, lr=3e-3, weight_decay=DECAY, progress=False)
SCRATCH = {**TUNE, "steps": 300}  # more: it starts from nothing
STUDY = dict(steps=150, batch_size=128, lr=1e-3, weight_decay=DECAY, progress=False)


def views(crop: bool, jitter: bool, gray: bool) -> Augment:
    """Views like SHAPES_VIEWS, but with crops down to half the picture, and with parts left out; flips always."""
    whole = {"scale": (0.5, 1.0)} if crop else {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    return replace(SHAPES_VIEWS, **whole, jitter_p=float(jitter), gray_p=SHAPES_VIEWS.gray_p if gray else 0.0)


VIEWS = {"+".join(name for name, on in zip(("crop", "jitter", "gray"), parts) if on) or "flip": views(*parts)
         for parts in product((True, False), repeat=3)}


def cells() -> list[tuple[str, float, int]]:
    """(views, temperature, seed) of every run."""
    found = [(FULL, TEMPERATURE, seed) for seed in (0, 1, 2)] + [(name, TEMPERATURE, 0) for name in VIEWS]
    found += [(name, TEMPERATURE, seed) for name in ("crop", "jitter") for seed in (1, 2)]
    return list(dict.fromkeys(found + [(FULL, t, 0) for t in TEMPERATURES]))


def name_of(augmentation: str, temperature: float, seed: int) -> str:
    return f"{augmentation.replace('+', '-')}-{temperature:g}-s{seed}"


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
    fresh, rows = reinitialise(method, seed), []
    for per_class in PER_CLASS:
        labelled = few_labels(per_class, seed)

        def row(start: str, tuned: FineTune, keep: int) -> None:
            rows.append({"name": f"{start}, {per_class} a class", "kind": "labels", "start": start,
                         "per_class": per_class, "keep": keep, "accuracy": accuracy(tuned)})

        tuned = {}
        for keep in KEEP:
            torch.manual_seed(seed)
            tuned[keep] = FineTune(method.classifier(8, keep))
            fit(tuned[keep], labelled, seed=seed, **TUNE)
            row(f"keep {keep}", tuned[keep], keep)
        scratch = FineTune(fresh.classifier(8, 0))
        fit(scratch, labelled, seed=seed, **SCRATCH)
        row("scratch", scratch, 0)
        student = Distill(method.classifier(8, 1), tuned[1].network)
        fit(student, replace(shapes().train, labels=None), seed=seed, **STUDY)
        row("student", student, 1)
    return rows


def make(augmentation: str, temperature: float, seed: int) -> StoredRun:
    torch.manual_seed(seed)
    method = SimCLRv2(ConvNet(), layers=LAYERS, augment=VIEWS[augmentation], temperature=temperature)
    history = fit(method, shapes().train, steps=STEPS, batch_size=BATCH, lr=LR, weight_decay=DECAY, seed=seed,
                  progress=False)
    main = augmentation == FULL and temperature == TEMPERATURE
    row = measure("SimCLR", "method", method)
    z = unit(embed(Depth(method, LAYERS), shapes().test))
    row |= {"embedding_std": feature_std(z), "contrastive_accuracy": history.curves["accuracy"][-1]}
    depths = [measure(f"head layer {keep}", "layer", Depth(method, keep)) for keep in range(1, LAYERS + 1)] if main else []
    settings = {"optimizer": "adamw", "lr": LR, "weight_decay": DECAY, "n": grid.SHAPES, "views": augmentation,
                "temperature": temperature, "layers": LAYERS}
    if main:
        settings |= {"tune_steps": TUNE["steps"], "scratch_steps": SCRATCH["steps"], "study_steps": STUDY["steps"]}
    return StoredRun.from_history(
        "simclr-v2", shapes().train.name, history, id=name_of(augmentation, temperature, seed), backbone="convnet",
        augmentation=repr(method.augment), seed=seed, settings=settings,
        scores=[row, *depths, *controls(), *(label_rows(method, seed) if main else [])],
        note="Lesson 04: augmentations, temperatures, head layers, few labels.")


def say(run: StoredRun) -> str:
    row = run.scores[0]
    labels = "  ".join(f"{r['name']} {r['accuracy']:.3f}" for r in run.scores if r["kind"] == "labels")
    return f"kNN {row['knn']:.3f}  std {row['embedding_std']:.3f}  {labels}"


if __name__ == "__main__":
    sys.exit(grid.main({name_of(*cell): partial(make, *cell) for cell in cells()}, "04_simclr", say, __doc__))
