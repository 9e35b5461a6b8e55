"""Make the stored runs of lesson 20 on hierarchical augmentation: what each stage of the network keeps.

    python lessons/grids/week20c.py   # what is missing in lessons/runs/20_hierarchical (half a minute of one core each)

The control, "flat", has the same three losses, heads and embeddings, and views with all kinds of augmentation at each.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import torch
from grid import SHAPES, Grid, Made, Run, few, shapes
from torch import Tensor, nn

from course_lib.augment.pixels import standardize, to_float
from course_lib.evaluate.features import reinitialise
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.probes import factor_probe
from course_lib.methods.contrastive.looc import MOVED_VIEWS
from course_lib.models.backbones import ConvNet, mean_of_positions

STEPS, BATCH, LR, LIMIT = 150, 64, 1e-3, 2000
LINES = {"hierarchical": True, "flat": False}


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in LINES]


def line(name: str, seed: int) -> Run:
    own = {"hierarchical": LINES[name], "temperature": 0.2}
    return Run(f"{name}-s{seed}", seed, "hieraug", {"augment": MOVED_VIEWS, **own},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"line": name, "n": SHAPES, **own})


@torch.no_grad()
def at_stages(backbone: ConvNet, images: Tensor) -> list[Tensor]:
    """The mean over places of each stage's maps, (N, width) each."""
    parts = [[mean_of_positions(maps) for maps in backbone.stages(standardize(to_float(part)))]
             for part in images.split(500)]
    return [torch.cat(stage) for stage in zip(*parts)]


def stage_rows(backbone: nn.Module, kind: str, prefix: str = "") -> list[dict]:
    """What can be read of the causes, and kNN of the class, at each stage."""
    assert isinstance(backbone, ConvNet)
    train, test = (part.select(range(few(LIMIT, 200))) for part in (shapes().train, shapes().test))
    return [{"name": f"{prefix}stage {s}", "kind": kind, "bank": len(a), "queries": len(b),
             "knn": knn_accuracy(a, train.labels, b, test.labels), "factors": factor_probe(a, train, b, test)}
            for s, (a, b) in enumerate(zip(at_stages(backbone, train.images), at_stages(backbone, test.images)), 1)]


@lru_cache
def untrained() -> list[dict]:
    return stage_rows(reinitialise(ConvNet(), 0).eval(), "control", "random encoder, ")


def rows(made: Made) -> list[dict]:
    return [*stage_rows(made.method.eval().evaluated, "method"),
            *untrained()]


GRID = Grid("20_hierarchical", runs, rows, "Lesson 20: hierarchical augmentation, and all kinds at all stages.",
            show=())

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
