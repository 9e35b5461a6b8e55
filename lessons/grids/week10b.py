"""Make the stored runs of lesson 10's Further: works on the negatives, each beside the same run without it, on shapes.

    python lessons/grids/week10b.py   # what is missing in lessons/runs/10_negatives (about 18 minutes of one core)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, controls, shapes

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, two_views
from course_lib.evaluate.features import embed
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.methods.contrastive.adpclr import AdpCLR, mined

STEPS, BATCH, LR, TEMPERATURE = 400, 64, 1e-3, 0.2
# a line's own method and switches; the first of each method is the control
LINES = {"alike": ("dcl", {"tau_plus": 0.0}), "debiased": ("dcl", {"tau_plus": 1 / 8}),
         "hard": ("dcl", {"tau_plus": 0.0, "beta": 1.0}),
         "unmixed": ("mochi", {"pairs": 0, "with_query": 0}), "mixed": ("mochi", {"pairs": 64, "with_query": 8}),
         "k4": ("eqco", {"negatives": 4, "alpha": None}), "k4-as-63": ("eqco", {"negatives": 4, "alpha": 63.0}),
         "easy-95": ("dcl", {"tau_plus": 0.0, "keep": (0.05, 1.0)}),
         "random-95": ("dcl", {"tau_plus": 0.0, "keep": (0.05, 1.0), "by_rank": False}),
         "colder": ("dcl", {"tau_plus": 0.0, "temperature": TEMPERATURE / 2}),  # is HCL more than that?
         "mined": ("adpclr", {"k": 1, "start": 0.5}),  # beside "alike"
         "drawn": ("adpclr", {"k": 1, "start": 0.5, "by_rank": False})}


def runs() -> list[Run]:
    return [line(name, seed) for name in LINES for seed in (0, 1, 2)]


def line(name: str, seed: int) -> Run:
    method, own = LINES[name]
    options = {"augment": SHAPES_VIEWS, "temperature": TEMPERATURE, **own}
    return Run(f"{name}-s{seed}", seed, method, options,
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"line": name, "n": SHAPES, "temperature": TEMPERATURE, **own})


@torch.no_grad()
def mined_right(method: AdpCLR) -> dict[str, float]:
    """What share of the images that it mines at last are of the anchor's class: test images, in batches as trained."""
    method, images, right = method.eval(), shapes().test, []
    for start in range(0, len(images) // BATCH * BATCH, BATCH):
        part = slice(start, start + BATCH)
        views = two_views(images.images[part], method.augment, torch.Generator().manual_seed(start))
        z = torch.stack([method.head(method.backbone(standardize(view))) for view in views], 1)
        found = images.labels[part][mined(z, method.k, method.by_rank)]  # (64, k)
        right.append((found == images.labels[part][:, None]).float().mean())
    return {"mined_right": float(torch.stack(right).mean())}


def rows(made: Made) -> list[dict]:
    """kNN only: the causes take as long to read as half a training. AdpCLR: how many of the mined are of the class."""
    bank, queries = shapes().train, shapes().test
    knn = knn_accuracy(embed(made.method, bank), bank.labels, embed(made.method, queries), queries.labels)
    row = {"name": made.method.title, "kind": "method", "bank": len(bank), "queries": len(queries), "knn": knn}
    return [row | (mined_right(made.method) if isinstance(made.method, AdpCLR) else {}),
            *({key: row[key] for key in ("name", "kind", "bank", "queries", "knn")} for row in controls())]


GRID = Grid("10_negatives", runs, rows, "Lesson 10: works on the negatives, each with its control.")

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
