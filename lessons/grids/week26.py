"""Make the stored runs of lesson 26: ideas of the years before SimCLR, the same encoder, images and computing.

    python lessons/grids/week26.py   # what is missing in lessons/runs/26_before_simclr (about 5 minutes of one core)

Steps differ by what a step computes: a step of SimCLR sees two views of each image, one of NPID one.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from grid import Grid, Made, Run, few, shapes, train

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.data.images import Splits
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.models.backbones import ConvNet

IMAGES, BANK, BATCH, LR = 1000, 4000, 64, 1e-3
SOFTMAX, SOME = {"negatives": 0, "warm": True}, {"negatives": 512, "cross_entropy": True, "warm": True}
# line -> method, steps, options; "cold" and "plain" are the controls of NPID and PIRL, "4000" has as many images
LINES = {"npid": ("npid", 320, SOFTMAX), "npid-cold": ("npid", 320, {**SOFTMAX, "warm": False}),
         "pirl": ("pirl", 160, SOME), "pirl-plain": ("pirl", 160, {**SOME, "lam": 0.0}),
         "simclr": ("simclr", 200, {}), "drlim": ("drlim", 200, {}), "jigsaw": ("jigsaw", 320, {}),
         "local-aggregation": ("local-aggregation", 300, {"share": 0.5, "background": 256, "warm": True}),
         "sela": ("sela", 260, {"clusters": 64, "times": 6}), "npid-4000": ("npid", 320, SOFTMAX)}


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in LINES]


def line(name: str, seed: int) -> Run:
    method, steps, own = LINES[name]
    return Run(f"{name}-s{seed}", seed, method, {"augment": SHAPES_VIEWS, **own},
               fit={"steps": steps, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"line": name, "n": images_of(name), "bank": BANK, **own})


def images_of(name: str) -> int:
    return BANK if name.endswith("4000") else IMAGES


@lru_cache
def images(number: int) -> Splits:
    """To train with: the first of the images that kNN looks its neighbours up in."""
    return replace(shapes(BANK), train=shapes(BANK).train.select(torch.arange(few(number, 128))))


def train_few(run: Run, out: Path | None = None) -> Made:
    return train(run, images(run.says["n"]), out)


def row(name: str, kind: str, encoder: torch.nn.Module | None) -> dict:
    """kNN only: the causes take as long to read as a training."""
    look = raw_pixels if encoder is None else lambda some: embed(encoder, some)
    bank, queries = shapes(BANK).train, shapes(BANK).test
    knn = knn_accuracy(look(bank), bank.labels, look(queries), queries.labels)
    return {"name": name, "kind": kind, "bank": len(bank), "queries": len(queries), "knn": knn}


@lru_cache
def controls() -> tuple[dict, dict]:
    return (row("random encoder", "control", reinitialise(ConvNet(), 0).eval()), row("raw pixels", "control", None))


def rows(made: Made) -> list[dict]:
    return [row(made.method.title, "method", made.method), *controls()]


GRID = Grid("26_before_simclr", runs, rows, "Lesson 26: ideas before SimCLR, equal minutes.", train=train_few)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
