"""Make the stored runs of lesson 10: RoCo against plain negatives where the background's colour gives the class away.

    python lessons/grids/week10.py   # what is missing in lessons/runs/10_roco

Training images are confounded, views keep their colours: telling images apart by the background is the easy way.
Causes and neighbours are measured on images where class and background are independent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, controls, few, measure, shapes, train

from course_lib.augment.pixels import to_float
from course_lib.augment.textures import patch_negatives, texture_negatives
from course_lib.augment.views import Augment
from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.methods.contrastive.roco import RoCo
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize

STEPS, BATCH, LR, QUEUE = 400, 64, 1e-3, 512
VIEWS = Augment(scale=(0.5, 1.0), jitter=(0.4, 0.4, 0.2, 0.02), gray_p=0.0)  # hues move by less than backgrounds differ
# the same run without own negatives, with patches of the query's view, with textures of the image
NEGATIVES = {"plain": {"n": 0, "alpha": 2.0, "kind": "patch"},
             "patch-a1": {"n": 1, "alpha": 1.0, "kind": "patch"},
             "patch-a2": {"n": 1, "alpha": 2.0, "kind": "patch"},
             "texture-a2": {"n": 1, "alpha": 2.0, "kind": "texture"}}


@lru_cache
def _confounded(n: int) -> Splits:
    return load("shapes", n=n, relation="confounded")


def confounded() -> Splits:
    """Generated images whose class always has the same background."""
    return _confounded(few(SHAPES, QUEUE))


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in NEGATIVES]


def line(name: str, seed: int) -> Run:
    return Run(f"{name}-s{seed}", seed, "roco", {"augment": VIEWS, "splits": 1, "queue": QUEUE, **NEGATIVES[name]},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu"},
               says={**NEGATIVES[name], "queue": QUEUE, "n": SHAPES, "own_negatives": NEGATIVES[name]["n"],
                     "relation": "confounded"})


def train_confounded(run: Run, out: Path | None = None) -> Made:
    return train(run, confounded(), out)


@torch.no_grad()
def shortcut_row(encoder: torch.nn.Module | None) -> dict:
    """kNN of independent images among confounded ones: a neighbour of the same background has another class."""
    look = raw_pixels if encoder is None else lambda images: embed(encoder, images)
    bank, queries, own = look(confounded().train), look(shapes().test), look(confounded().test)
    labels = confounded().train.labels
    return {"knn_shortcut_broken": knn_accuracy(bank, labels, queries, shapes().test.labels),
            "knn_shortcut_holds": knn_accuracy(bank, labels, own, confounded().test.labels)}


@torch.no_grad()
def own_row(encoder: torch.nn.Module) -> dict:
    """Cosine of 500 independent test images with themselves in patches and as textures."""
    images = to_float(shapes().test.images[:500])

    def cosine(make: Callable) -> float:
        own = embed(encoder, make(images, torch.Generator().manual_seed(9)))
        return float((normalize(embed(encoder, images)) * normalize(own)).sum(1).mean())

    return {"cosine_patches": cosine(patch_negatives), "cosine_texture": cosine(texture_negatives)}


@lru_cache
def all_controls() -> tuple[dict, dict]:
    random, pixels = controls()
    untrained = reinitialise(ConvNet(), 0).eval()
    return random | shortcut_row(untrained) | own_row(untrained), pixels | shortcut_row(None)


def rows(made: Made) -> list[dict]:
    method = made.method
    assert isinstance(method, RoCo)
    name = "RoCo" if method.n else "plain negatives"
    return [measure(name, "method", method) | shortcut_row(method) | own_row(method), *all_controls()]


GRID = Grid("10_roco", runs, rows, "Lesson 10: RoCo and plain negatives, confounded backgrounds.",
            show=("knn", "knn_shortcut_broken", "knn_shortcut_holds"), train=train_confounded)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
