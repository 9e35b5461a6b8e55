"""Make the stored runs of lesson 14: BEiT on generated shapes, with one thing changed at a time, fine-tuned.

    python lessons/grids/week14.py   # what is missing in lessons/runs/14_beit (about half an hour of one core)

The paper's ViT, small: a bias for each offset, no other positions. Beside the records: beit.pt, the first run's method.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import grid
import torch
from grid import LABELS, SHAPES, Grid, Made, Run, shapes, tuned
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.methods.masked.beit import BEIT_VIT, BEiT
from course_lib.models.backbones import build_backbone
from course_lib.models.patches import patchify

CODES, STEPS, BATCH, EPOCHS, SEEDS = 128, 1200, 64, 20, (0, 1, 2)
VIT = {"patch": 4, "dim": 96, "depth": 4, "heads": 3, **BEIT_VIT}
PLAIN = {"patch": 4, "dim": 96, "depth": 4, "heads": 3, "pool": "mean"}  # lesson 12's: sines, and larger first weights
AUGMENT = Augment(32, scale=(0.5, 1.0), jitter=(0.2, 0.2, 0.2, 0.0), gray_p=0.0)
BASE = {"tokenizer": "kmeans", "whiten": True, "masks": "block", "mask_ratio": 0.4, "codes": CODES}
CHANGES = {"kmeans": {}, "random": {"masks": "random"}, "pixels": {"tokenizer": "none: pixels"}}


def runs() -> list[Run]:
    """Of a seed all have the same first weights, images and labels."""
    return [line(name, seed) for name in CHANGES for seed in SEEDS]


def line(name: str, seed: int) -> Run:
    asked = {**BASE, **CHANGES[name]}
    return Run(f"{name}-s{seed}", seed, "beit",
               {**{key: asked[key] for key in ("masks", "mask_ratio", "codes")}, "augment": AUGMENT},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": 1.5e-3, "weight_decay": 0.05, "clip": 3.0}, vit=VIT,
               build=build, says={**asked, "steps": STEPS, "n": SHAPES, "labels": LABELS, "epochs": EPOCHS})


class Pixels(BEiT):
    """The same network, masks and images; instead of a word, the numbers of the hidden patch are predicted."""

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict:
        images, hidden = standardize(views[0]), ~views[2].flatten(1)
        error = (self.logits(images, views[2]).float() - patchify(images, self.patch)).square().mean(-1)
        return {"loss": error[hidden].mean(), "views_per_image": 1}


def build(run: Run) -> BEiT:
    method = grid.build(run)
    method.prepare(shapes().train.images)
    if run.id.startswith("pixels"):
        method.__class__ = Pixels
        method.head = nn.Linear(method.backbone.dim, 3 * method.patch**2)
        nn.init.trunc_normal_(method.head.weight, std=0.02, a=-0.02, b=0.02)
        nn.init.zeros_(method.head.bias)
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
    tested = tuned(made.method.backbone, made.run.seed, EPOCHS)
    return [{"name": "BEiT", "kind": "method", "fine_tuned": tested}, *scratch(made.run.seed)]


GRID = Grid("14_beit", runs, rows, "Lesson 14: tokenizers and masks; fine-tuned with few labels.", rate=True,
            show=("fine_tuned",))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
