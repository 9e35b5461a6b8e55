"""Make the stored runs of lesson 07: SimSiam on generated shapes with one part changed at a time.

    python lessons/grids/week07.py   # what is missing in lessons/runs/07_simsiam (about 14 minutes on one core)

The long pair has the recipe, the images and the batch of the learned network, on a shorter schedule of its own.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, shapes, train
from torch import nn
from torch.nn import functional as F

from course_lib.augment.views import SHAPES_VIEWS, many_views
from course_lib.evaluate.features import embed, embed_projected, raw_pixels, reinitialise
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.pairs import pair_measures
from course_lib.methods.contrastive.simsiam import SimSiam, best_prediction
from course_lib.models.backbones import ConvNet
from course_lib.train.history import History

STEPS, BATCH, EVERY = 500, 32, 50
LONG = {"steps": 1600, "batch_size": 64}
IMAGES = 20_000  # of the long runs
FULL = {"stop": True, "predictor": True, "norm": True, "predictor_lr": 30.0}
CHANGES = {"full": {}, "no-stop": {"stop": False}, "no-predictor": {"predictor": False}, "no-norm": {"norm": False},
           "lr-0": {"predictor_lr": 0.0}, "lr-1": {"predictor_lr": 1.0}}
REPEATED = ("full", "no-stop", "no-predictor")  # with three seeds; of the others nothing is claimed


def runs() -> list[Run]:
    table = [(name, seed) for seed in (0, 1, 2) for name in REPEATED]
    short = [line(*pair) for pair in table + [(name, 0) for name in CHANGES if name not in REPEATED]]
    return short + [line(name, seed, LONG, IMAGES, "long-") for seed in (0, 1) for name in ("full", "no-stop")]


def line(change: str, seed: int, size: dict | None = None, n: int = SHAPES, length: str = "") -> Run:
    options, size = {**FULL, **CHANGES[change]}, size or {"steps": STEPS, "batch_size": BATCH}
    return Run(f"{length}{change}-s{seed}", seed, "simsiam", {"augment": SHAPES_VIEWS, **options},
               fit={**SimSiam.recipe, **size, "device": "cpu", "threads": 1},
               says={**options, "steps": size["steps"], "change": length + change, "n": n})


def train_watched(run: Run, out: Path | None = None) -> Made:
    """Fit, and measure every EVERY steps (or a sixteenth of them) on 500 test images, in evaluation mode."""
    splits, log = shapes(run.says["n"]), []

    def watch(method: SimSiam, history: History | None) -> None:
        if history and history.steps % max(EVERY, run.says["steps"] // 16) == 0:
            log.append({"step": history.steps, **pair_measures(method, splits.test.images[:500], SHAPES_VIEWS)})

    return replace(train(run, splits, watch=watch), beside={"log": log})


@torch.no_grad()
def near(method: SimSiam, control: bool, views: int = 16) -> dict[str, float]:
    """Mean cosines with a *new* view of another one, its prediction, the mean of 16; control: of two that know less."""
    pictures = shapes().test.images[:300]
    views = many_views(pictures, [SHAPES_VIEWS] * (views + 1), torch.Generator().manual_seed(0))
    z = torch.stack([embed_projected(method, view) for view in views])
    found = {"view": z[1], "prediction": method.predictor(z[1]), "mean": best_prediction(z[1:])}
    if control:
        found |= {"constant": best_prediction(z[1:].flatten(0, 1)[:, None]), "other": found["prediction"].roll(1, 0)}
    return {name: float(F.cosine_similarity(p, z[0], dim=1).mean()) for name, p in found.items()}


def neighbours(name: str, kind: str, encoder: nn.Module | None, n: int) -> dict:
    """kNN of a network's features among n training images, encoder=None: of raw pixels."""
    splits, look = shapes(n), raw_pixels if encoder is None else partial(embed, encoder)
    bank, queries = look(splits.train), look(splits.test)
    knn = knn_accuracy(bank, splits.train.labels, queries, splits.test.labels)
    return {"name": name, "kind": kind, "bank": len(bank), "queries": len(queries), "knn": knn}


@lru_cache
def controls(n: int) -> tuple[dict, dict]:
    return (neighbours("random encoder", "control", reinitialise(ConvNet(), 0).eval(), n),
            neighbours("raw pixels", "control", None, n))


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    method, log, n = made.method.eval(), made.beside.pop("log"), made.run.says["n"]
    row = neighbours("SimSiam", "method", method, n) | pair_measures(method, made.splits.test.images, SHAPES_VIEWS)
    row |= {"near": near(method, n > SHAPES), "log": {
        key: [entry[key] for entry in log] for key in (log[0] if log else ())}}
    return [row, *controls(n)]


SHOW = ("knn", "std", "rank", "agreement")
GRID = Grid("07_simsiam", runs, rows, "Lesson 07: one part changed at a time.", SHOW, train_watched)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
