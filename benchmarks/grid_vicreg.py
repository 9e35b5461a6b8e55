"""Make the stored runs of lesson 03: VICReg on generated shapes over a grid of coefficients and of augmentations.

    python benchmarks/grid_vicreg.py              # what is missing in lessons/runs/03_vicreg (about 15 minutes)
    python benchmarks/grid_vicreg.py --again ID   # make one run again and compare it with the stored one
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache, partial

import torch

import grid
from course_lib.augment import SHAPES_VIEWS, Augment
from course_lib.backbones import ConvNet
from course_lib.evaluate import (covariance_spectrum, effective_rank, embed, factor_probe, feature_std, knn_accuracy,
                                 raw_pixels, reinitialise)
from course_lib.methods.contrastive.vicreg import VICReg
from course_lib.runs import StoredRun
from course_lib.train import fit
from grid import SHAPES, shapes

STEPS, BATCH, LR = 400, 64, 3e-3
INVARIANCE, COVARIANCE = (0.0, 10.0, 25.0), (0.0, 1.0, 4.0, 16.0)
CROPS = replace(SHAPES_VIEWS, scale=(0.5, 1.0))  # down to half the picture
AUGMENTS = {
    "crops": replace(CROPS, jitter_p=0.0, gray_p=0.0),
    "colours": replace(SHAPES_VIEWS, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0),
    "crops + weak colours": Augment(scale=(0.5, 1.0)),
    "crops + colours": CROPS,
}


def cells() -> list[tuple[str, tuple[float, float, float], int]]:
    """(augmentation, coefficients, seed) of every run."""
    best, colours = (10.0, 25.0, 4.0), "crops + colours"
    without = [(10.0, 0.0, 4.0), (10.0, 25.0, 0.0), (0.0, 25.0, 4.0), (25.0, 25.0, 4.0)]
    found = [(colours, weights, seed) for seed in (0, 1, 2) for weights in (best, *without)]
    found += [(name, best, seed) for seed in (0, 1, 2) for name in AUGMENTS if name != colours]
    rest = [(i, v, c) for v in (25.0, 0.0) for i in INVARIANCE for c in COVARIANCE]
    return list(dict.fromkeys(found + [(colours, weights, 0) for weights in rest]))


def name_of(augmentation: str, weights: tuple[float, float, float], seed: int) -> str:
    return "-".join([augmentation.replace(" + ", "-").replace(" ", "-"), *(f"{w:g}" for w in weights), f"s{seed}"])


def measure(name: str, kind: str, method: VICReg) -> dict:
    """What the lesson draws: of the representation (kNN, factors, rank) and of the embedding (std, rank, spectrum)."""
    splits = shapes()
    bank, queries = embed(method, splits.train), embed(method, splits.test)
    with torch.no_grad():
        z = method.expander(queries)
    values = covariance_spectrum(z)
    return {"name": name, "kind": kind, "bank": len(bank), "queries": len(queries),
            "knn": knn_accuracy(bank, splits.train.labels, queries, splits.test.labels),
            "rank": effective_rank(queries), "embedding_std": float(z.std(0).mean()),
            "embedding_cosine_std": feature_std(z), "embedding_rank": effective_rank(z),
            "spectrum": values[:64].tolist(),
            "factors": factor_probe(bank, splits.train, queries, splits.test, limit=3000)}


@lru_cache
def controls() -> tuple[dict, ...]:
    """Raw pixels, and the same network untrained: the same for every run."""
    splits = shapes()
    bank, queries = raw_pixels(splits.train), raw_pixels(splits.test)
    random = measure("random encoder", "control", reinitialise(VICReg(ConvNet()), 0).eval())
    return random, {"name": "raw pixels", "kind": "control", "bank": len(bank), "queries": len(queries),
                    "knn": knn_accuracy(bank, splits.train.labels, queries, splits.test.labels),
                    "factors": factor_probe(bank, splits.train, queries, splits.test, limit=3000)}


def make(augmentation: str, weights: tuple[float, float, float], seed: int) -> StoredRun:
    torch.manual_seed(seed)
    method = VICReg(ConvNet(), augment=AUGMENTS[augmentation], invariance=weights[0], variance=weights[1],
                    covariance=weights[2])
    history = fit(method, shapes().train, steps=STEPS, batch_size=BATCH, lr=LR, seed=seed, progress=False)
    settings = {"optimizer": "adamw", "lr": LR, "width": 512, "n": SHAPES, "views": augmentation,
                **{f"weight_{name}": weight for name, weight in method.weights.items()}}
    return StoredRun.from_history(
        "vicreg", shapes().train.name, history, id=name_of(augmentation, weights, seed), backbone="convnet",
        augmentation=repr(method.augment), seed=seed, settings=settings,
        scores=[measure("VICReg", "method", method), *controls()], note="Lesson 03: coefficients and augmentations.")


def say(run: StoredRun) -> str:
    row = run.scores[0]
    return f"kNN {row['knn']:.3f}  std {row['embedding_std']:.4f}  rank {row['embedding_rank']:.1f}"


if __name__ == "__main__":
    sys.exit(grid.main({name_of(*cell): partial(make, *cell) for cell in cells()}, "03_vicreg", say, __doc__))
