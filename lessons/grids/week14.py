"""Make the stored runs of lesson 14: BEiT on generated shapes, by tokenizer and by mask, and fine-tuned on few labels.

    python lessons/grids/week14.py   # what is missing in lessons/runs/14_beit (about half an hour of one core)

Beside the records: vqvae.pt (the trained VQ-VAE) and beit.pt (the first run's method), weights as float16.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache

import grid
import torch
from grid import LABELS, SHAPES, Grid, Made, Run, few, half, shapes, tuned
from torch import nn

from course_lib.augment.views import Augment
from course_lib.evaluate.scoring import score
from course_lib.methods.masked.beit import BEIT_VIT
from course_lib.methods.masked.tokenizers import VQVAE, perplexity, word_counts
from course_lib.train.loop import fit

CODES, STEPS, BATCH, EPOCHS = 128, 1200, 64, 20
VIT = {"patch": 4, "dim": 96, "depth": 4, "heads": 3, **BEIT_VIT}
AUGMENT = Augment(32, scale=(0.5, 1.0), jitter=(0.2, 0.2, 0.2, 0.0), gray_p=0.0)
RECIPE = {"lr": 1.5e-3, "weight_decay": 0.05, "clip": 3.0}
BASE = {"tokenizer": "kmeans", "whiten": True, "masks": "block", "mask_ratio": 0.4, "codes": CODES}
CHANGES = {"kmeans": {}, "raw": {"whiten": False}, "vqvae": {"tokenizer": "vqvae"}, "random": {"masks": "random"}}


def runs() -> list[Run]:
    """Three seeds of whitened k-means, one of each change."""
    cells = [("kmeans", 0), ("kmeans", 1), ("kmeans", 2), ("raw", 0), ("vqvae", 0), ("random", 0)]
    return [Run(f"{name}-s{seed}", seed, "beit", {**BASE, **CHANGES[name], "augment": AUGMENT},
                fit={"steps": STEPS, "batch_size": BATCH, **RECIPE}, vit=VIT, build=build,
                says={**BASE, **CHANGES[name], "steps": STEPS, "n": SHAPES, "labels": LABELS, "epochs": EPOCHS})
            for name, seed in cells]


@lru_cache
def vqvae(steps: int = 800) -> VQVAE:
    torch.manual_seed(0)
    tokenizer = VQVAE(CODES)
    fit(tokenizer, shapes().train, steps=few(steps, 3), batch_size=BATCH, progress=False, **VQVAE.recipe)
    return tokenizer.eval()


def build(run: Run) -> nn.Module:
    """BEiT with its tokenizer already trained."""
    options = {**run.options}
    whiten = options.pop("whiten")
    method = grid.build(replace(run, options=options))
    if options["tokenizer"] == "vqvae":
        method.tokenizer.load_state_dict(vqvae().state_dict())
    else:
        method.tokenizer.whiten = whiten
        method.prepare(shapes().train.images)
    return method


@torch.no_grad()
def words_row(method: nn.Module) -> dict:
    """Of the words of the test images: how many are in use, and how far pictures drawn from them are off."""
    images = shapes().test.images
    words = torch.cat([method.words(part.float() / 255) for part in images.split(250)])
    counts = word_counts(words, CODES)
    drawn = torch.cat([method.tokenizer.decode(part) for part in words.split(250)])
    error = (drawn - images.float() / 255).square().mean().sqrt()
    return {"perplexity": float(perplexity(counts)), "word_error": float(error), "counts": counts.long().tolist()}


def rows(made: Made) -> list[dict]:
    found = score(made.method, shapes(), name="BEiT", factors=True, random_encoder=made.untrained, probe_limit=3000)
    for row, start in zip(found, (made.method, made.untrained)):
        row["fine_tuned"] = tuned(start.backbone, made.run.seed, EPOCHS)
    found[0] |= words_row(made.method)
    if made.run.id == "kmeans-s0":
        made.beside["beit.pt"] = made.method
    if made.run.id == "vqvae-s0":
        made.beside["vqvae.pt"] = half(vqvae(), codes=CODES)
    return found


GRID = Grid("14_beit", runs, rows, "Lesson 14: tokenizers and masks; fine-tuned with few labels.", rate=True,
            show=("knn", "fine_tuned", "perplexity"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
