"""Make the stored runs of lesson 07: SimSiam on generated shapes with one part changed at a time.

    python lessons/grids/week07.py   # what is missing in lessons/runs/07_simsiam (about 12 minutes on one core)
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, controls, few, measure, shapes
from torch.nn import functional as F

from course_lib.augment.views import SHAPES_VIEWS, many_views
from course_lib.evaluate.features import embed_projected
from course_lib.evaluate.pairs import pair_measures
from course_lib.methods.contrastive.simsiam import SimSiam, best_prediction
from course_lib.models.backbones import ConvNet
from course_lib.train.history import History
from course_lib.train.loop import fit

STEPS, BATCH, EVERY = 1000, 32, 50
FULL = {"stop": True, "predictor": True, "norm": True, "predictor_lr": 30.0}
CHANGES = {
    "full": {}, "no-stop": {"stop": False}, "no-predictor": {"predictor": False}, "lr-0": {"predictor_lr": 0.0},
    "no-norm": {"norm": False}, "lr-1": {"predictor_lr": 1.0},
}
ONCE = ("no-norm", "lr-1")  # with one seed: shown, nothing is claimed of them


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in CHANGES if seed == 0 or name not in ONCE]


def line(change: str, seed: int) -> Run:
    options = {**FULL, **CHANGES[change]}
    return Run(f"{change}-s{seed}", seed, "simsiam", {"augment": SHAPES_VIEWS, **options},
               fit={**SimSiam.recipe, "steps": STEPS, "batch_size": BATCH, "device": "cpu", "threads": 1},
               says={**options, "steps": STEPS, "change": change, "n": SHAPES}, build=build)


def build(run: Run) -> SimSiam:
    return SimSiam(ConvNet(), **run.options)


def train(run: Run, out: Path | None = None) -> Made:
    """Fit, and measure at every EVERY steps on 500 test images, in evaluation mode."""
    torch.manual_seed(run.seed)
    method, log = run.build(run), []
    pictures = shapes().test.images[:500]

    def watch(history: History) -> None:
        if history.steps % EVERY == 0:
            log.append({"step": history.steps, **pair_measures(method, pictures, SHAPES_VIEWS)})

    history = fit(method, shapes().train, seed=run.seed, progress=False, watch=watch, out=out, resume=out is not None,
                  **{**run.fit, "steps": few(run.fit["steps"], 3)})
    return Made(run, method, history, shapes(), beside={"log": log})


@torch.no_grad()
def near(method: SimSiam, views: int = 16) -> dict[str, float]:
    """Mean cosines with a *new* view's projection: of another view's, its prediction, the mean over 16 views."""
    pictures = shapes().test.images[:500]
    views = many_views(pictures, [SHAPES_VIEWS] * (views + 1), torch.Generator().manual_seed(0))
    z = torch.stack([embed_projected(method, view) for view in views])
    found = {"view": z[1], "prediction": method.predictor(z[1]), "mean": best_prediction(z[1:])}
    return {name: float(F.cosine_similarity(p, z[0], dim=1).mean()) for name, p in found.items()}


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    method, log = made.method.eval(), made.beside.pop("log")
    row = measure("SimSiam", "method", method) | pair_measures(method, shapes().test.images, SHAPES_VIEWS)
    row |= {"near": near(method), "log": {key: [entry[key] for entry in log] for key in (log[0] if log else ())}}
    return [row, *controls()]


GRID = Grid("07_simsiam", runs, rows, "Lesson 07: one part changed at a time.", train=train,
            show=("knn", "std", "rank", "agreement"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
