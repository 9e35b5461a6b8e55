"""Make the stored runs of lesson 14: BEiT on generated shapes by its words and its masks, fine-tuned.

    python lessons/grids/week14.py   # what is missing in lessons/runs/14_beit (about half an hour of one core)

The paper's ViT, small: a bias for each offset, no other positions. Beside the records: beit.pt, the first run's method.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import grid
import torch
from grid import LABELS, SHAPES, Grid, Made, Run, shapes, tuned

from course_lib.augment.views import Augment
from course_lib.methods.masked.beit import BEIT_VIT, BEiT
from course_lib.models.backbones import build_backbone

CODES, STEPS, BATCH, EPOCHS, SEEDS = 128, 1200, 64, 20, (0, 1, 2)
VIT = {"patch": 4, "dim": 96, "depth": 4, "heads": 3, **BEIT_VIT}
PLAIN = {"patch": 4, "dim": 96, "depth": 4, "heads": 3, "pool": "mean"}  # lesson 12's: sines, and larger first weights
AUGMENT = Augment(32, scale=(0.5, 1.0), jitter=(0.2, 0.2, 0.2, 0.0), gray_p=0.0)
BASE = {"tokenizer": "kmeans", "whiten": True, "masks": "block", "mask_ratio": 0.4, "codes": CODES}
CHANGES = {"kmeans": {}, "random": {"masks": "random"}, "raw": {"whiten": False}}


def runs() -> list[Run]:
    """Of a seed all have the same first weights, images and labels."""
    return [line(name, seed) for name in CHANGES for seed in SEEDS]


def line(name: str, seed: int) -> Run:
    asked = {**BASE, **CHANGES[name]}
    return Run(f"{name}-s{seed}", seed, "beit",
               {**{key: asked[key] for key in ("masks", "mask_ratio", "codes")}, "augment": AUGMENT},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": 1.5e-3, "weight_decay": 0.05, "clip": 3.0}, vit=VIT,
               build=build, says={**asked, "steps": STEPS, "n": SHAPES, "labels": LABELS, "epochs": EPOCHS})


def build(run: Run) -> BEiT:
    method = grid.build(run)
    method.tokenizer.whiten = run.says["whiten"]
    method.prepare(shapes().train.images)
    return method


@lru_cache
def scratch(seed: int) -> list[dict]:
    """Two networks fine-tuned without any training before: this one, and one as in lesson 12."""
    torch.manual_seed(seed)
    own = build(line("kmeans", seed)).backbone
    torch.manual_seed(seed)
    plain = build_backbone("vit-tiny", 32, **PLAIN)
    return [{"name": name, "kind": "control", "fine_tuned": tuned(network, seed, EPOCHS)}
            for name, network in (("random encoder", own), ("plain ViT", plain))]


def rows(made: Made) -> list[dict]:
    if made.run.id == "kmeans-s0":
        made.beside["beit.pt"] = made.method
    found = {"name": "BEiT", "kind": "method", "fine_tuned": tuned(made.method.backbone, made.run.seed, EPOCHS)}
    return [found, *([] if made.run.id.startswith("raw") else scratch(made.run.seed))]


GRID = Grid("14_beit", runs, rows, "Lesson 14: tokenizers and masks; fine-tuned with few labels.", rate=True,
            show=("fine_tuned",))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
