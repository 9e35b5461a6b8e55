"""Make the stored runs of lesson 09: Barlow Twins on generated shapes over widths of the embedding and lambda.

    python lessons/grids/week09.py   # what is missing in lessons/runs/09_barlow_twins (about 8 minutes)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, controls, measure, shapes

from course_lib.augment.views import SHAPES_VIEWS, two_views
from course_lib.evaluate.features import embed
from course_lib.evaluate.measures import effective_rank, feature_std
from course_lib.methods.contrastive.barlow_twins import BarlowTwins, cross_correlation, off_diagonal

STEPS, BATCH, LR = 400, 64, 1e-3  # as many steps and images as the runs of lesson 03, beside which they are shown
WIDTHS, LAMBDAS = (32, 128, 512), (0.0, 0.0051, 0.03, 0.05, 0.2)
REPEATED = [(128, lambd) for lambd in (0.0, 0.0051, 0.05)]  # with three seeds


def runs() -> list[Run]:
    table = [(width, lambd, 0) for width in WIDTHS for lambd in LAMBDAS]
    table += [(*cell, seed) for cell in REPEATED for seed in (1, 2)]
    return [Run(f"d{width}-{lambd:g}-s{seed}", seed, "barlow-twins",
                {"augment": SHAPES_VIEWS, "width": width, "lambd": lambd},
                fit={"steps": STEPS, "batch_size": BATCH, "lr": LR}, says={"width": width, "lambd": lambd, "n": SHAPES})
            for width, lambd, seed in table]


@torch.no_grad()
def embedding_row(method: BarlowTwins) -> dict:
    """Of the embedding: rank, spread, and the cross-correlation of two fixed views of 500 test images."""
    z = method.projector(embed(method, shapes().test))
    views = two_views(shapes().test.images[:500], SHAPES_VIEWS, torch.Generator().manual_seed(9))
    c = cross_correlation(*(method.projector(embed(method, view)) for view in views))
    standardised = (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()
    return {"embedding_rank": effective_rank(standardised), "embedding_cosine_std": feature_std(standardised),
            "embedding_std": float(z.std(0).mean()), "diagonal": float(c.diagonal().mean()),
            "beside": float(off_diagonal(c).square().mean().sqrt()),
            "block": [round(float(v), 3) for v in c[:16, :16].flatten()]}


def rows(made: Made) -> list[dict]:
    return [measure("Barlow Twins", "method", made.method) | embedding_row(made.method), *controls()]


GRID = Grid("09_barlow_twins", runs, rows, "Lesson 09: width of the embedding and lambda.",
            show=("knn", "embedding_rank", "diagonal", "beside"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
