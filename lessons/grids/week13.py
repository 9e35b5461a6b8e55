"""Make the stored runs of lesson 13: SimMIM on generated shapes by mask patch and share, frozen and fine-tuned.

    python lessons/grids/week13.py   # what is missing in lessons/runs/13_simmim (about 15 minutes of one core)

The first three have as many multiply-adds in training as the runs of lesson 12 (`week12.py`), with which they are
compared. Beside the records: simmim.pt, the first run's method, weights as float16.
"""

from __future__ import annotations

import sys

import torch
from grid import LABELS, SHAPES, Grid, Made, Run
from week12 import BATCH, EPOCHS, VIT, frozen_and_tuned

from course_lib.augment.masks import patch_mask
from course_lib.evaluate.reconstruction import average_distance
from course_lib.methods.masked.simmim import SIMMIM_VIT

STEPS = 816
CELLS = [(8, 0.5, 0), (8, 0.5, 1), (8, 0.5, 2), (8, 0.25, 0), (8, 0.75, 0), (16, 0.25, 0), (16, 0.5, 0), (16, 0.75, 0)]


def runs() -> list[Run]:
    """Of each cell: the patch that is hidden as one, the share that is hidden, the seed."""
    return [Run(f"mask-{patch}-{ratio}-s{seed}", seed, "simmim", {"mask_ratio": ratio, "mask_patch": patch},
                fit={"steps": STEPS, "batch_size": BATCH, "lr": 2e-3, "clip": 5.0}, vit={**VIT, **SIMMIM_VIT},
                says={"mask_patch": patch, "mask_ratio": ratio, "steps": STEPS, "n": SHAPES, "labels": LABELS,
                      "epochs": EPOCHS}) for patch, ratio, seed in CELLS]


def rows(made: Made) -> list[dict]:
    found, ratio = frozen_and_tuned(made, "SimMIM"), made.run.options["mask_ratio"]
    masks = patch_mask(64, made.method.mask_grid, ratio, torch.Generator().manual_seed(0))
    found[0]["distance"] = average_distance(masks, 32)
    if made.run.id == "mask-8-0.5-s0":
        made.beside["simmim.pt"] = made.method
    return found


GRID = Grid("13_simmim", runs, rows, "Lesson 13: masks by distance, frozen and fine-tuned.",
            show=("knn", "linear", "fine_tuned", "distance"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
