"""Make the stored runs of lesson 10: negatives of one's own where the background's colour gives the class away.

    python lessons/grids/week10.py   # what is missing in lessons/runs/10_roco

Training images are confounded: telling them apart by the background is the easy way, unless the views change colours.
Causes are measured on images where class and background are independent.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, controls, few, measure, shapes, train

from course_lib.augment.pixels import standardize, to_float
from course_lib.augment.textures import patch_negatives, texture_negatives
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.methods.contrastive.roco import RoCo
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize

STEPS, BATCH, LR, QUEUE = 400, 64, 1e-3, 512
KEPT = Augment(scale=(0.5, 1.0), jitter=(0.4, 0.4, 0.2, 0.02), gray_p=0.0)  # hues move by less than backgrounds differ
CHANGED = replace(KEPT, jitter=SHAPES_VIEWS.jitter, jitter_p=1.0, gray_p=SHAPES_VIEWS.gray_p)
# views, and how many own negatives of which kind
LINES = {"plain": (KEPT, 0, "patch"), "patch": (KEPT, 1, "patch"), "texture": (KEPT, 1, "texture"),
         "plain-recoloured": (CHANGED, 0, "patch"), "patch-recoloured": (CHANGED, 1, "patch")}


@lru_cache
def confounded() -> Splits:
    """Generated images whose class always has the same background."""
    return load("shapes", n=few(SHAPES, QUEUE), relation="confounded")


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in LINES]


def line(name: str, seed: int) -> Run:
    views, n, kind = LINES[name]
    own = {"alpha": 2.0, "kind": kind, "queue": QUEUE}
    return Run(f"{name}-s{seed}", seed, "roco", {"augment": views, "splits": 1, "n": n, **own},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu"},
               says={**own, "line": name, "own_negatives": n, "n": SHAPES, "relation": "confounded"})


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
def own_row(method: RoCo) -> dict:
    """Of 500 test images and what was made of them, in the embedding: cosine, and how much of the difference is common.

    That share is 1 if all images differ from their patchworks in the same direction.
    """
    images, row = to_float(shapes().test.images[:500]), {}
    for name, make in (("patches", patch_negatives), ("texture", texture_negatives)):
        both = images, make(images, torch.Generator().manual_seed(9))
        here, there = (normalize(method.head(method.backbone(standardize(x)))) for x in both)
        gap = here - there
        row |= {f"cosine_{name}": float((here * there).sum(1).mean()),
                f"common_{name}": float(gap.mean(0).square().sum() / gap.square().sum(1).mean())}
    return row


def rows(made: Made) -> list[dict]:
    method = made.method.eval()
    assert isinstance(method, RoCo)
    random, pixels = controls()
    own = measure("RoCo" if method.n else "plain negatives", "method", method) | own_row(method)
    return [own | shortcut_row(method),
            random | shortcut_row(reinitialise(ConvNet(), 0).eval()), pixels | shortcut_row(None)]


GRID = Grid("10_roco", runs, rows, "Lesson 10: RoCo and plain negatives, confounded backgrounds.",
            show=("knn", "knn_shortcut_broken", "cosine_patches"), train=train_confounded)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
