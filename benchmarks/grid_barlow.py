"""Make the stored runs of lesson 09: Barlow Twins on generated shapes over widths of the embedding and lambda.

    python benchmarks/grid_barlow.py              # what is missing in lessons/runs/09_barlow_twins (about 8 minutes)
    python benchmarks/grid_barlow.py --again ID   # make one run again and compare it with the stored one
"""

from __future__ import annotations

import sys
from functools import partial

import torch

import grid
from course_lib.augment import SHAPES_VIEWS, two_views
from course_lib.backbones import ConvNet
from course_lib.evaluate import effective_rank, embed, feature_std
from course_lib.methods.contrastive.barlow_twins import BarlowTwins, cross_correlation, off_diagonal
from course_lib.runs import StoredRun
from course_lib.train import fit
from grid import controls, measure, shapes

STEPS, BATCH, LR = 400, 64, 1e-3  # as many steps and images as the runs of lesson 03, beside which they are shown
WIDTHS, LAMBDAS = (32, 128, 512), (0.0, 0.0051, 0.03, 0.05, 0.2)
BEST = (128, 0.05)


def cells() -> list[tuple[int, float, int]]:
    """(width, lambda, seed) of every run."""
    found = [(width, lambd, 0) for width in WIDTHS for lambd in LAMBDAS]
    return found + [(BEST[0], lambd, seed) for lambd in (0.0, 0.0051, BEST[1]) for seed in (1, 2)]


def name_of(width: int, lambd: float, seed: int) -> str:
    return f"d{width}-{lambd:g}-s{seed}"


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


def make(width: int, lambd: float, seed: int) -> StoredRun:
    torch.manual_seed(seed)
    method = BarlowTwins(ConvNet(), augment=SHAPES_VIEWS, width=width, lambd=lambd)
    history = fit(method, shapes().train, steps=STEPS, batch_size=BATCH, lr=LR, seed=seed, progress=False)
    row = {**measure("Barlow Twins", "method", method), **embedding_row(method)}
    settings = {"optimizer": "adamw", "lr": LR, "width": width, "lambd": lambd, "n": len(shapes().train)}
    return StoredRun.from_history(
        "barlow-twins", shapes().train.name, history, id=name_of(width, lambd, seed), backbone="convnet",
        augmentation=repr(method.augment), seed=seed, settings=settings, scores=[row, *controls()],
        note="Lesson 09: width of the embedding and lambda.")


def say(run: StoredRun) -> str:
    row = run.scores[0]
    return f"kNN {row['knn']:.3f}  rank {row['embedding_rank']:.1f}  diagonal {row['diagonal']:.2f}  beside {row['beside']:.2f}"


if __name__ == "__main__":
    sys.exit(grid.main({name_of(*cell): partial(make, *cell) for cell in cells()}, "09_barlow_twins", say, __doc__))
