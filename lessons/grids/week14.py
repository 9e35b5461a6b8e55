"""Make the stored runs of lesson 14: BEiT on generated shapes with one thing changed at a time, fine-tuned.

    python lessons/grids/week14.py   # what is missing in lessons/runs/14_beit (about half an hour of one core)

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
from course_lib.evaluate.scoring import score
from course_lib.methods.masked.beit import BEiT
from course_lib.methods.masked.tokenizers import perplexity, word_counts
from course_lib.models.patches import patchify

CODES, STEPS, BATCH, EPOCHS, SEEDS = 128, 600, 64, 20, (0, 1, 2)
VIT = {**PATCHES, "stem": None}
BASE = {"words": "whitened", "masks": "block", "mask_ratio": 75 / 196, "codes": CODES, "positions": "sincos"}
CHANGES = {"beit": {}, "scattered": {"masks": "random"}, "pixels": {"words": "none: pixels"}, "colours": {"words": "raw"},
           "no-positions": {"positions": "none"}, "relative": {"positions": "relative"}}
POSITIONS = {"sincos": {}, "none": {"positions": "none"}, "relative": {"positions": "none", "relative": "shared"}}


class Pixels(BEiT):
    """The same network, masks and images; instead of a word, the numbers of the hidden patch are predicted."""

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict:
        images, hidden = standardize(views[0]), ~views[2].flatten(1)
        error = (self.logits(images, views[2]).float() - patchify(images, self.patch)).square().mean(-1)
        return {"loss": error[hidden].mean(), "views_per_image": 1}


def runs() -> list[Run]:
    """All from the same first weights, images and masks: three seeds of what claims rest on, one of the others."""
    return [line(name, seed) for seed in SEEDS for name in CHANGES if not seed or name not in ("relative", "no-positions")]


def line(name: str, seed: int) -> Run:
    asked = {**BASE, **CHANGES[name]}
    return Run(f"{name}-s{seed}", seed, "beit", {key: asked[key] for key in ("masks", "mask_ratio", "codes")},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": 1.5e-3, "clip": 3.0, "device": "cpu", "threads": 1},
               vit={**VIT, **POSITIONS[asked["positions"]]}, build=build,
               says={**asked, "steps": STEPS, "n": SHAPES, "labels": LABELS, "epochs": EPOCHS})


def build(run: Run) -> BEiT:
    """BEiT whose words are learned already; its first weights are those of the seed in every line."""
    method = grid.build(run)
    if run.says["words"] == "none: pixels":
        method.__class__ = Pixels
        method.head = nn.Linear(method.backbone.dim, 3 * method.patch**2)
        nn.init.trunc_normal_(method.head.weight, std=0.02, a=-0.02, b=0.02)
        nn.init.zeros_(method.head.bias)
    method.tokenizer.whiten = run.says["words"] != "raw"
    method.prepare(shapes().train.images)
    return method


@lru_cache
def scratch(seed: int) -> tuple[float, dict]:
    """The same network untrained: fine-tuned, and its row of scores."""
    torch.manual_seed(seed)
    method = build(line("beit", seed))
    row = score(method, shapes(), name="random encoder", controls=False, probe_limit=2000, seed=seed)[0]
    return tuned(method.backbone, seed, EPOCHS), {**row, "kind": "control"}


@torch.no_grad()
def words_row(method: BEiT) -> dict:
    """How many words the test images really use."""
    counts = sum(word_counts(method.words(part.float() / 255), CODES) for part in shapes().test.images.split(250))
    return {"perplexity": float(perplexity(counts))}


def rows(made: Made) -> list[dict]:
    method, seed = made.method, made.run.seed
    row = score(method, shapes(), name="BEiT", controls=False, probe_limit=2000, factors=not seed, seed=seed)[0]
    row |= {"fine_tuned": tuned(method.backbone, seed, EPOCHS), **words_row(method)}
    if made.run.id == "relative-s0":
        made.beside["relative.pt"] = method
    control, fresh = scratch(seed)
    return [row, {**fresh, "fine_tuned": control}]


GRID = Grid("14_beit", runs, rows, "Lesson 14: words, masks and positions, one changed at a time; fine-tuned.",
            show=("knn", "linear", "fine_tuned", "perplexity"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
