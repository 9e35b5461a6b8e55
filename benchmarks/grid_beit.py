"""Make the stored runs of lesson 14: BEiT on generated shapes, by tokenizer and by mask, and fine-tuned on few labels.

    python benchmarks/grid_beit.py              # what is missing in lessons/runs/14_beit (about half an hour of one core)
    python benchmarks/grid_beit.py --again ID   # make one run again and compare it with the stored one
    python benchmarks/grid_beit.py --dry        # a few steps of one run, nothing is stored

Beside the records: vqvae.pt (the trained VQ-VAE) and beit.pt (the first run's method), weights as float16.
"""

from __future__ import annotations

import copy
import sys
from functools import lru_cache, partial

import torch
from torch import nn

import grid
from course_lib import checkpoint
from course_lib.augment import Augment
from course_lib.evaluate import fine_tune, score
from course_lib.methods import build_method
from course_lib.methods.masked.beit import BEIT_VIT
from course_lib.methods.masked.tokenizers import VQVAE, perplexity, word_counts
from course_lib.runs import StoredRun, runs_folder
from course_lib.train import fit
from grid import shapes

FOLDER, CODES, STEPS, BATCH, LABELS, EPOCHS = "14_beit", 128, 1200, 64, 800, 20
VIT = {"patch": 4, "dim": 96, "depth": 4, "heads": 3, **BEIT_VIT}
AUGMENT = Augment(32, scale=(0.5, 1.0), jitter=(0.2, 0.2, 0.2, 0.0), gray_p=0.0)
RECIPE = {"lr": 1.5e-3, "weight_decay": 0.05, "clip": 3.0}
BASE = {"tokenizer": "kmeans", "whiten": True, "masks": "block", "hidden": 0.4, "codes": CODES}
CHANGES = {"kmeans": {}, "raw": {"whiten": False}, "vqvae": {"tokenizer": "vqvae"}, "random": {"masks": "random"}}


def cells() -> dict[str, tuple[dict, int]]:
    """Name -> (settings, seed): three seeds of whitened k-means, one of each change."""
    settings = {name: {**BASE, **change, "steps": STEPS} for name, change in CHANGES.items()}
    return {f"{name}-s{seed}": (settings[name], seed) for name in CHANGES
            for seed in ((0, 1, 2) if name == "kmeans" else (0,))}


@lru_cache
def vqvae(steps: int = 800) -> VQVAE:
    torch.manual_seed(0)
    tokenizer = VQVAE(CODES)
    fit(tokenizer, shapes().train, steps=steps, batch_size=BATCH, progress=False, **VQVAE.recipe)
    return tokenizer.eval()


def build(settings: dict, seed: int) -> nn.Module:
    """BEiT with its tokenizer already trained."""
    torch.manual_seed(seed)
    method = build_method("beit", "vit-tiny", 32, backbone_options=VIT, tokenizer=settings["tokenizer"],
                          codes=settings["codes"], masks=settings["masks"], hidden=settings["hidden"], augment=AUGMENT)
    if settings["tokenizer"] == "vqvae":
        method.tokenizer.load_state_dict(vqvae().state_dict())
    else:
        method.tokenizer.whiten = settings["whiten"]
        method.prepare(shapes().train.images)
    return method


def make(name: str, settings: dict, seed: int, steps: int = STEPS, epochs: int = EPOCHS, store: bool = True) -> StoredRun:
    splits, method = shapes(), build(settings, seed)
    untrained = copy.deepcopy(method)
    history = fit(method, splits.train, steps=steps, batch_size=BATCH, seed=seed, progress=False, **RECIPE)
    rows = score(method, splits, name="BEiT", factors=store, linear=store, random_encoder=untrained, probe_limit=3000)
    for row, start in zip(rows, (method, untrained)):
        tuned = fine_tune(start.backbone, splits, epochs=epochs, batch_size=BATCH, limit=LABELS, seed=seed,
                          augment=Augment(32, scale=(0.7, 1.0), jitter_p=0.0, gray_p=0.0))
        row["fine_tuned"] = tuned.accuracy
    with torch.no_grad():
        words = torch.cat([method.words(part.float() / 255) for part in splits.test.images.split(250)])
        counts = word_counts(words, CODES)
        drawn = torch.cat([method.tokenizer.decode(part) for part in words.split(250)])
    error = (drawn - splits.test.images.float() / 255).square().mean().sqrt()
    rows[0] |= {"perplexity": float(perplexity(counts)), "word_error": float(error), "counts": counts.long().tolist()}
    if store and name == "kmeans-s0":
        checkpoint.save_small(runs_folder() / FOLDER / "beit.pt", method)
    if store and name == "vqvae-s0":
        half = {key: t.half() if t.is_floating_point() else t for key, t in vqvae().state_dict().items()}
        checkpoint.save(runs_folder() / FOLDER / "vqvae.pt", {"method": half, "codes": CODES})
    settings = {"optimizer": "adamw", **RECIPE, **settings, **{f"vit_{k}": v for k, v in VIT.items()},
                "n": grid.SHAPES, "labels": LABELS, "epochs": epochs, "views_per_second": history.views_per_second}
    return StoredRun.from_history("beit", splits.train.name, history, id=name, backbone="vit-tiny",
                                  augmentation=repr(AUGMENT), seed=seed, settings=settings, scores=rows,
                                  note="Lesson 14: tokenizers and masks; fine-tuned with few labels.")


def say(run: StoredRun) -> str:
    row, control = run.scores[:2]
    return (f"loss {run.curves['loss'][-1]:.3f}  accuracy {run.curves['accuracy'][-1]:.3f}  perplexity "
            f"{row['perplexity']:.1f}  kNN {row['knn']:.3f} ({control['knn']:.3f} random)  fine-tuned "
            f"{row['fine_tuned']:.3f} ({control['fine_tuned']:.3f} from scratch)")


if __name__ == "__main__":
    runs = {name: partial(make, name, *cell) for name, cell in cells().items()}
    if "--dry" in sys.argv:
        print(say(make("kmeans-s0", *cells()["kmeans-s0"], steps=20, epochs=2, store=False)))
    else:
        sys.exit(grid.main(runs, FOLDER, say, __doc__))
