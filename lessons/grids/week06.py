"""Make the stored runs of lesson 06: BYOL on generated shapes with one part changed at a time, three seeds each.

    python lessons/grids/week06.py   # what is missing in lessons/runs/06_byol (about 20 minutes on one core)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, collapse_curves, controls, measure, shapes
from torch import nn

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.features import embed_projected
from course_lib.evaluate.measures import effective_rank, feature_std
from course_lib.methods.contrastive.byol import BYOL
from course_lib.models.backbones import ConvNet
from course_lib.models.batch_norm import replace_batch_norm

STEPS, BATCH = 1000, 32
# as in the paper: predictor, a slow target, batch norm in heads and backbone, none at the projector's output
FULL = {"momentum": 0.97, "predictor": True, "heads": True, "backbone": True, "output": False}
CHANGES = {
    "full": {}, "no-predictor": {"predictor": False}, "nowhere": {"heads": False, "backbone": False},
    "momentum-0": {"momentum": 0.0}, "no-heads": {"heads": False},
}


def runs() -> list[Run]:
    return [line(name, {**FULL, **change}, seed) for seed in (0, 1, 2) for name, change in CHANGES.items()]


def line(change: str, options: dict, seed: int) -> Run:
    return Run(f"{change}-s{seed}", seed, "byol", {"augment": SHAPES_VIEWS, **options},
               fit={**BYOL.recipe, "steps": STEPS, "batch_size": BATCH, "device": "cpu", "threads": 1},
               says={**options, "steps": STEPS, "change": change, "n": SHAPES}, build=build)


def build(run: Run) -> BYOL:
    """BYOL with a constant momentum; where batch norm goes, heads have none and the backbone has group norm."""
    options = run.options
    method = BYOL(ConvNet(), augment=options["augment"], momentum=options["momentum"], constant=True,
                  predictor=options["predictor"], norm=options["output"])
    backbone, projector = method.target.module
    if not options["heads"]:
        for head in (method.projector, method.predictor, projector):
            replace_batch_norm(head, lambda channels: nn.Identity())
    if not options["backbone"]:
        for network in (method.backbone, backbone):
            replace_batch_norm(network, lambda channels: nn.GroupNorm(8, channels))
    return method


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    method = made.method.eval()
    row = measure("BYOL", "method", method)
    z = embed_projected(method, shapes().test)
    row |= {"spread": feature_std(z), "embedding_rank": effective_rank(z), **collapse_curves(made.history, z.shape[1])}
    return [row, *controls()]


GRID = Grid("06_byol", runs, rows, "Lesson 06: one part changed at a time.",
            show=("knn", "spread", "embedding_rank"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
