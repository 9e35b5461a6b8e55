"""Make the stored runs of lesson 14: BEiT on generated shapes with one thing changed at a time, fine-tuned.

    python lessons/grids/week14.py   # what is missing in lessons/runs/14_beit (about a quarter of an hour of one core)

The ViT is that of the learned networks without its convolutions. Beside the records: relative.pt, a BEiT with the
paper's positions, whose bias the lesson draws.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import grid
import torch
from grid import LABELS, SHAPES, Grid, Made, Run, shapes, tuned
from networks import PATCHES
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.methods.masked.beit import BEiT
from course_lib.models.backbones import build_backbone
from course_lib.models.patches import patchify

CODES, STEPS, BATCH, EPOCHS, SEEDS = 128, 500, 64, 15, (0, 1, 2)
VIT = {**PATCHES, "stem": None}
BASE = {"words": "whitened", "masks": "block", "mask_ratio": 75 / 196, "codes": CODES, "positions": "sincos"}
CHANGES = {"beit": {}, "scattered": {"masks": "random"}, "pixels": {"words": "none"}}
ALONE = {"relative": {"positions": "relative"}, "no-positions": {"positions": "none"}}  # of one seed, for a picture
POSITIONS = {"sincos": {}, "none": {"positions": "none"}, "relative": {"positions": "none", "relative": "shared"}}


def runs() -> list[Run]:
    """Of a seed all have the same first weights, images and labels; those of three seeds are what claims rest on."""
    return [*(line(name, seed, change) for seed in SEEDS for name, change in CHANGES.items()),
            *(line(name, 0, change) for name, change in ALONE.items())]


def line(name: str, seed: int, change: dict) -> Run:
    asked = {**BASE, **change}
    return Run(f"{name}-s{seed}", seed, "beit", {key: asked[key] for key in ("masks", "mask_ratio", "codes")},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": 1.5e-3, "clip": 3.0, "device": "cpu", "threads": 1},
               vit={**VIT, **POSITIONS[asked["positions"]]}, build=build,
               says={**asked, "steps": STEPS, "n": SHAPES, "labels": LABELS, "epochs": EPOCHS})


class Pixels(BEiT):
    """The same network, masks and images; instead of a word, the numbers of the hidden patch are predicted."""

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict:
        images, hidden = standardize(views[0]), ~views[2].flatten(1)
        error = (self.logits(images, views[2]).float() - patchify(images, self.patch)).square().mean(-1)
        return {"loss": error[hidden].mean(), "views_per_image": 1}


def build(run: Run) -> BEiT:
    """The method over a ViT with its plain first weights, as in lesson 12 (BEiT's own are smaller)."""
    method = grid.build(run)
    torch.manual_seed(run.seed)
    method.backbone.load_state_dict(build_backbone("vit-tiny", 32, **run.vit).state_dict())
    method.prepare(shapes().train.images)
    if run.says["words"] == "none":
        method.__class__ = Pixels
        method.head = nn.Linear(method.backbone.dim, 3 * method.patch**2)
        nn.init.trunc_normal_(method.head.weight, std=0.02, a=-0.02, b=0.02)
        nn.init.zeros_(method.head.bias)
    return method


@lru_cache
def scratch(seed: int) -> dict:
    """The same network, fine-tuned without any training before."""
    torch.manual_seed(seed)
    backbone = build(line("beit", seed, {})).backbone
    return {"name": "random encoder", "kind": "control", "fine_tuned": tuned(backbone, seed, EPOCHS)}


def rows(made: Made) -> list[dict]:
    if made.run.id == "relative-s0":
        made.beside["relative.pt"] = made.method
    seed = made.run.seed
    found = {"name": "BEiT", "kind": "method", "fine_tuned": tuned(made.method.backbone, seed, EPOCHS)}
    return [found, scratch(seed)] if made.run.id.split("-s")[0] in CHANGES else [found]


GRID = Grid("14_beit", runs, rows, "Lesson 14: words, masks and positions, one changed at a time; fine-tuned.",
            show=("fine_tuned",))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
