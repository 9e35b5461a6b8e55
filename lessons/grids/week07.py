"""Make the stored runs of lesson 07: SimSiam on generated shapes, parts taken away, and by its predictor's settings.

    python lessons/grids/week07.py   # what is missing in lessons/runs/07_simsiam (about 6 minutes)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, collapse_curves, controls, measure, shapes
from torch.nn import functional as F

from course_lib.augment.views import SHAPES_VIEWS, many_views
from course_lib.device import pick_device
from course_lib.evaluate.measures import effective_rank, feature_std
from course_lib.methods.contrastive.simsiam import AlternatingSimSiam, SimSiam, best_prediction
from course_lib.models.backbones import ConvNet

STEPS, BATCH = 250, 64
RECIPE = {"optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4, "warmup": 0.1}
BASE = {"stop": True, "predictor": True, "norm": True, "predictor_lr": 30.0, "bottleneck": 128, "every": 1}
CHANGES = {
    "full": {}, "no-stop": {"stop": False}, "no-predictor": {"predictor": False},
    "no-norm": {"norm": False}, "no-norm-no-stop": {"norm": False, "stop": False},
    "lr-0": {"predictor_lr": 0.0}, "lr-1": {"predictor_lr": 1.0}, "lr-10": {"predictor_lr": 10.0},
    "bottleneck-4": {"bottleneck": 4}, "bottleneck-32": {"bottleneck": 32}, "bottleneck-512": {"bottleneck": 512},
    "every-10": {"every": 10}, "every-50": {"every": 50}, "every-250": {"every": STEPS},
}
REPEATED = ("full", "no-stop", "no-predictor")  # with three seeds


def runs() -> list[Run]:
    table = [(name, 0) for name in CHANGES] + [(name, seed) for seed in (1, 2) for name in REPEATED]
    return [line(name, {**BASE, **CHANGES[name]}, seed) for name, seed in table]


def line(change: str, options: dict, seed: int) -> Run:
    return Run(f"{change}-s{seed}", seed, "simsiam", {"augment": SHAPES_VIEWS, **options},
               fit={"steps": STEPS, "batch_size": BATCH, **RECIPE},
               says={**options, "width": 512, "n": SHAPES, "change": change}, build=build)


def build(run: Run) -> SimSiam:
    every = run.options["every"]
    options = {key: value for key, value in run.options.items() if key != "every"}
    return AlternatingSimSiam(ConvNet(), every=every, **options) if every > 1 else SimSiam(ConvNet(), **options)


@torch.no_grad()
def agreement(method: SimSiam, views: int = 16, images: int = 500) -> dict[str, float]:
    """Mean cosines with a *new* view's projection: of another view's, its prediction, the mean over many views."""
    method.eval().to(pick_device())
    generator = torch.Generator().manual_seed(0)
    pictures = shapes().test.images[:images].to(pick_device())
    z = torch.stack([method.project(view) for view in many_views(pictures, [SHAPES_VIEWS] * (views + 1), generator)])
    new, first, many = z[0], z[1], best_prediction(z[1:])
    return {name: float(F.cosine_similarity(p, new, dim=1).mean())
            for name, p in (("view", first), ("prediction", method.predictor(first)), ("mean", many))}


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    method = made.method
    row = measure("SimSiam", "method", method) | {"agreement": agreement(method)}
    z = torch.cat([method.project(part.to(pick_device())) for part in shapes().test.images.split(500)]).float().cpu()
    row |= {"embedding_std": feature_std(z), "embedding_rank": effective_rank(z)}
    return [row | collapse_curves(made.history, z.shape[1]), *controls()]


GRID = Grid("07_simsiam", runs, rows, "Lesson 07: parts taken away, the predictor's settings.",
            show=("knn", "embedding_std", "embedding_rank"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
