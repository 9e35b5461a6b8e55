"""Make the stored runs of lesson 22's Further: what pre-training saves in labels, and norms at small batches.

    python lessons/grids/week22b.py   # what is missing in lessons/runs/22_further (a few seconds of one core each)

"labels": the first n images with labels train a network from scratch, or lesson 4's learned SimCLR network; nothing
else differs. "batch": a network from scratch with batch norm, or with group norm and standardised filters, by batch
size; all see as many images.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from grid import CROPS, SHAPES, Grid, Made, Run, few, shapes, train
from torch import nn

from course_lib.evaluate.features import accuracy
from course_lib.models.backbones import build_backbone
from course_lib.runs.networks import learned
from course_lib.train.tuning import Classifier

IMAGES, LR = 4800, 1e-3  # seen in a training: so 150 steps of 32, or 1200 steps of 4
LABELS, BATCH = (40, 320, 2560), 32
NORMS = {"batch norm": {}, "group norm": {"norm": "group", "standardized": True}}
BATCHES = (4, 32)


def runs() -> list[Run]:
    table = [(f"labels-{n}-{start}", {"labels": n, "start": start, "norm": "batch norm"}, BATCH, seed)
             for seed in (0, 1, 2) for n in LABELS for start in ("scratch", "simclr")]
    table += [(f"batch-{size}-{norm.split()[0]}", {"labels": SHAPES, "start": "scratch", "norm": norm}, size, seed)
              for seed in (0, 1, 2) for size in BATCHES for norm in NORMS]
    return [Run(f"{name}-s{seed}", seed, "supervised", {},
                fit={"steps": IMAGES // size, "batch_size": size, "lr": LR, "device": "cpu", "threads": 1},
                says={**says, "n": SHAPES}, build=build) for name, says, size, seed in table]


def build(run: Run) -> nn.Module:
    pretrained = run.says["start"] == "simclr"
    fresh = build_backbone("convnet", **NORMS[run.says["norm"]])
    backbone = learned("simclr").method.backbone if pretrained else fresh
    return Classifier(backbone, nn.Linear(backbone.dim, 8), augment=CROPS)


def train_few(run: Run, out: Path | None = None) -> Made:
    splits = shapes()
    return train(run, replace(splits, train=splits.train.select(range(few(run.says["labels"], 40)))), out)


def rows(made: Made) -> list[dict]:
    method = made.method.eval()
    network = nn.Sequential(method.backbone, method.head)
    return [{"name": "supervised", "kind": "method", "accuracy": accuracy(network, shapes().test, "cpu")}]


GRID = Grid("22_further", runs, rows, "Lesson 22, Further: labels saved, and norms at small batches.",
            show=("accuracy",), train=train_few)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
