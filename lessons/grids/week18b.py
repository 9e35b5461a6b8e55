"""Make the stored runs of lesson 18's control: MoCo v2 trained on with MiCE's views, as long as MiCE, then k-means.

    python lessons/grids/week18b.py   # what is missing in lessons/runs/18_views (two minutes of one core each)

MiCE's views are turned and shifted, those of the learned MoCo v2 are not. Here only the views change, not the loss.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from grid import Grid, Made, Run, kmeans_row, measure, shapes, train
from torch import nn
from week18 import BATCH, CLUSTERS, FROZEN

from course_lib.augment.views import TURNED_VIEWS
from course_lib.evaluate.clusters import FOR_KMEANS
from course_lib.evaluate.features import embed
from course_lib.methods import build_method
from course_lib.methods.contrastive.moco import MoCo
from course_lib.runs.networks import learned

IMAGES, STEPS, LR, DECAY = 20_000, 1500, 3e-3, 1e-4  # those of the learned MiCE


def runs() -> list[Run]:
    return [Run(f"moco-on-s{seed}", seed, FROZEN, {"augment": TURNED_VIEWS}, build=begin,
                fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "weight_decay": DECAY, "device": "cpu"},
                says={"line": "moco-on", "pretext": FROZEN, "n": IMAGES}) for seed in (0, 1, 2)]


def begin(run: Run) -> nn.Module:
    """The method with a new head and queue, on the backbone that it has trained already."""
    method = build_method(run.method, run.backbone, 32, **run.options)
    assert isinstance(method, MoCo)
    method.backbone.load_state_dict(learned(FROZEN).method.evaluated.state_dict())
    state = nn.Sequential(method.backbone, method.head).state_dict()
    method.keys.module.load_state_dict(state)
    return method


def train_all(run: Run, out: Path | None = None) -> Made:
    return train(run, shapes(IMAGES), out)


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    method, splits = made.method.eval(), made.splits
    few = splits.train.head(FOR_KMEANS)
    return [measure("moco-on", "method", method),
            kmeans_row("k-means", (embed(method, few), embed(method, splits.test)), splits, CLUSTERS, made.run.seed)]


GRID = Grid("18_views", runs, rows, "Lesson 18: MoCo v2, trained on with MiCE's views.", show=("knn",), train=train_all)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
