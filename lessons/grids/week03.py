"""Make the stored runs of lesson 03: VICReg on generated shapes, each term of the loss and of the views taken away.

    python lessons/grids/week03.py   # what is missing in lessons/runs/03_vicreg (about 15 minutes)
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache

import torch
from grid import SHAPES, Grid, Made, Run, few, measure, shapes

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.features import embed, reinitialise
from course_lib.evaluate.measures import covariance_spectrum, effective_rank, feature_std
from course_lib.evaluate.probes import factor_probe
from course_lib.methods.contrastive.vicreg import VICReg
from course_lib.models.backbones import ConvNet
from course_lib.train.tuning import fine_tune

STEPS, BATCH, LR, EPOCHS = 600, 64, 3e-3, 15
ALL = "all views"
VIEWS = {
    ALL: SHAPES_VIEWS,
    "no colours": replace(SHAPES_VIEWS, jitter_p=0.0, gray_p=0.0),
    "no flips": replace(SHAPES_VIEWS, flip=0.0),
}
FULL = (25.0, 25.0, 4.0)  # those of the learned network
WEIGHTS = [FULL, (25.0, 0.0, 4.0), (25.0, 25.0, 0.0), (0.0, 25.0, 4.0), (25.0, 25.0, 1.0)]


def runs() -> list[Run]:
    cells = [(ALL, weights) for weights in WEIGHTS] + [(views, FULL) for views in VIEWS if views != ALL]
    return [line(*cell, seed) for seed in (0, 1, 2) for cell in cells]


def line(views: str, weights: tuple[float, float, float], seed: int) -> Run:
    id = "-".join([views.replace(" ", "-"), *(f"{w:g}" for w in weights), f"s{seed}"])
    options = dict(zip(("invariance", "variance", "covariance"), weights))
    return Run(id, seed, "vicreg", {"augment": VIEWS[views], **options},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR},
               says={"width": 512, "n": SHAPES, "views": views, **{f"weight_{name}": w for name, w in options.items()}})


def looked_at(name: str, kind: str, method: VICReg) -> dict:
    """The common row, and of the embedding: standard deviation, rank, spectrum, causes that can be read."""
    bank = shapes().train.head(3000)
    with torch.no_grad():
        z, known = (method.expander(embed(method, images)) for images in (shapes().test, bank))
    return measure(name, kind, method) | {
        "embedding_std": float(z.std(0).mean()), "embedding_rank": effective_rank(z),
        "embedding_cosine_std": feature_std(z), "embedding_centred_std": feature_std(z - z.mean(0)),
        "embedding_factors": factor_probe(known, bank, z, shapes().test),
        "spectrum": covariance_spectrum(z)[:64].tolist()}


@lru_cache
def controls() -> tuple[dict, dict, dict]:
    """All of VICReg untrained, embedding and all; raw pixels, too many for a rank; the backbone trained with labels."""
    random = looked_at("random encoder", "control", reinitialise(VICReg(ConvNet()), 0).eval())
    pixels = measure("raw pixels", "control", None)
    supervised = fine_tune(reinitialise(ConvNet(), 0), shapes(), epochs=few(EPOCHS, 1), batch_size=BATCH,
                           augment=SHAPES_VIEWS).model[0].eval()
    return (random, {key: value for key, value in pixels.items() if key != "rank"},
            measure("supervised", "control", supervised))


def rows(made: Made) -> list[dict]:
    return [looked_at("VICReg", "method", made.method), *controls()]


GRID = Grid("03_vicreg", runs, rows, "Lesson 03: each term of the loss and of the views taken away.",
            show=("knn", "embedding_std", "embedding_rank"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
