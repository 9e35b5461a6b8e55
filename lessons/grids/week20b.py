"""Make the stored runs of lesson 20 on LooC: a head for each augmentation that is left out.

    python lessons/grids/week20b.py   # what is missing in lessons/runs/20_looc (half a minute of one core each)

The control is in each network: head 0, which may keep neither, beside the others on the same backbone. Kept beside
the records: the first seed's network.
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, controls, measure, shapes
from torch import Tensor

from course_lib.augment.pixels import standardize, to_float
from course_lib.evaluate.probes import factor_probe
from course_lib.methods.contrastive.looc import MOVED_VIEWS, LooC

STEPS, BATCH, LR = 150, 64, 1e-3
LINES = {"both": ("colour", "place")}


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in LINES]


def line(name: str, seed: int) -> Run:
    options = {"left_out": LINES[name], "queue": 0, "temperature": 0.2}
    return Run(f"{name}-s{seed}", seed, "looc", {"augment": MOVED_VIEWS, **options},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"line": name, "n": SHAPES, **options})


@torch.no_grad()
def through(method: LooC, images: Tensor, head: int) -> Tensor:
    """What a head says of images (N, 3, H, W): (N, out)."""
    return torch.cat([method.embed_head(standardize(to_float(part)), head) for part in images.split(500)])


def rows(made: Made) -> list[dict]:
    method, splits = made.method.eval(), shapes()
    assert isinstance(method, LooC)
    if made.run.id == "both-s0":
        made.beside["both.pt"] = method
    seen = [{"name": f"head {head}", "kind": "head",
             "factors": factor_probe(through(method, splits.train.images, head), splits.train,
                                     through(method, splits.test.images, head), splits.test, limit=2000)}
            for head in range(1 + len(method.left_out))]
    return [measure(made.run.says["line"], "method", method.evaluated), *seen, *controls()]


GRID = Grid("20_looc", runs, rows, "Lesson 20: LooC over SimCLR, by which augmentations are left out.")

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
