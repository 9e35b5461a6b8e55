"""Make the stored runs of lesson 03: VICReg on generated shapes over a grid of coefficients and of augmentations.

    python lessons/grids/week03.py   # what is missing in lessons/runs/03_vicreg (about 15 minutes)
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache

import torch
from grid import SHAPES, Grid, Made, Run, measure, shapes

from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.evaluate.features import embed, reinitialise
from course_lib.evaluate.measures import covariance_spectrum, effective_rank, feature_std
from course_lib.methods.contrastive.vicreg import VICReg
from course_lib.models.backbones import ConvNet

STEPS, BATCH, LR = 400, 64, 3e-3
CROPS = replace(SHAPES_VIEWS, scale=(0.5, 1.0))  # down to half the picture
AUGMENTS = {
    "crops": replace(CROPS, jitter_p=0.0, gray_p=0.0),
    "colours": replace(SHAPES_VIEWS, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0),
    "crops + weak colours": Augment(scale=(0.5, 1.0)),
    "crops + colours": CROPS,
}
ALL, BEST = "crops + colours", (10.0, 25.0, 4.0)
REPEATED = [BEST, (10.0, 0.0, 4.0), (10.0, 25.0, 0.0), (0.0, 25.0, 4.0), (25.0, 25.0, 4.0)]  # with three seeds
REST = [(i, v, c) for v in (25.0, 0.0) for i in (0.0, 10.0, 25.0) for c in (0.0, 1.0, 4.0, 16.0)]


def runs() -> list[Run]:
    table = [(ALL, weights, seed) for seed in (0, 1, 2) for weights in REPEATED]
    table += [(views, BEST, seed) for seed in (0, 1, 2) for views in AUGMENTS if views != ALL]
    return [line(*cell) for cell in dict.fromkeys(table + [(ALL, weights, 0) for weights in REST])]


def line(views: str, weights: tuple[float, float, float], seed: int) -> Run:
    id = "-".join([views.replace(" + ", "-").replace(" ", "-"), *(f"{w:g}" for w in weights), f"s{seed}"])
    options = dict(zip(("invariance", "variance", "covariance"), weights))
    return Run(id, seed, "vicreg", {"augment": AUGMENTS[views], **options},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR},
               says={"width": 512, "n": SHAPES, "views": views, **{f"weight_{name}": w for name, w in options.items()}})


def looked_at(name: str, kind: str, method: VICReg) -> dict:
    """The common row, and of the embedding: std, rank, spectrum."""
    with torch.no_grad():
        z = method.expander(embed(method, shapes().test))
    return measure(name, kind, method) | {
        "embedding_std": float(z.std(0).mean()), "embedding_cosine_std": feature_std(z),
        "embedding_rank": effective_rank(z), "spectrum": covariance_spectrum(z)[:64].tolist()}


@lru_cache
def controls() -> tuple[dict, dict]:
    """All of VICReg untrained, whose embedding is looked at, too, and raw pixels, which are too many for a rank."""
    random = looked_at("random encoder", "control", reinitialise(VICReg(ConvNet()), 0).eval())
    pixels = measure("raw pixels", "control", None)
    return random, {key: value for key, value in pixels.items() if key != "rank"}


def rows(made: Made) -> list[dict]:
    return [looked_at("VICReg", "method", made.method), *controls()]


GRID = Grid("03_vicreg", runs, rows, "Lesson 03: coefficients and augmentations.",
            show=("knn", "embedding_std", "embedding_rank"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
