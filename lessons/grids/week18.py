"""Make the stored runs of lesson 18: MiCE's experts and gates over the frozen features of the learned MoCo v2.

    python lessons/grids/week18.py   # what is missing in lessons/runs/18_mice

All lines see the same features of four views of each image; only the gate differs. A run takes seconds.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import torch
from grid import Grid, Made, Run, cluster_row, kmeans_row, shapes, train
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import TURNED_VIEWS
from course_lib.data.images import Batch
from course_lib.evaluate.features import embed
from course_lib.methods.clustering.mice import MiCE
from course_lib.runs.networks import learned

IMAGES, STORED, ASKED = 3000, 4, 48  # training images; views of each; test images whose shares are kept, in percent
CLUSTERS, EPOCHS, BATCH, LR, TAU, FROZEN = 8, 14, 128, 2e-3, 1.0, "moco-v2"
GATES = {"fixed": ("fixed", 1.0), "learned": ("learned", 1.0), "uniform": ("uniform", 1.0), "sharp": ("fixed", 0.3)}


def runs() -> list[Run]:
    return [line(name, seed) for seed in range(5) for name in GATES]


def line(name: str, seed: int) -> Run:
    gate, kappa = GATES[name]
    own = {"clusters": CLUSTERS, "out": 32, "tau": TAU, "kappa": kappa, "gate": gate}
    return Run(f"{name}-s{seed}", seed, "mice", {"augment": TURNED_VIEWS, "splits": 1, **own}, build=on_features,
               fit={"steps": EPOCHS * (IMAGES // BATCH), "batch_size": BATCH, "lr": LR, "weight_decay": 1e-4,
                    "log_every": IMAGES // BATCH, "device": "cpu", "precision": "float32"},
               says={"line": name, "n": IMAGES, "frozen": FROZEN, "views": STORED, **own})


@lru_cache
def features() -> tuple[Tensor, Tensor, Tensor]:
    """Frozen features of (views of) training and of test images, each standardised: (4, N, D), (N, D), (M, D)."""
    splits, network, g = shapes(IMAGES), learned(FROZEN).method, torch.Generator().manual_seed(0)
    with torch.no_grad():
        seen = torch.stack([torch.cat([network.evaluated(standardize(TURNED_VIEWS(part, g)))
                                       for part in splits.train.images.split(500)]) for _ in range(STORED)])
    mean, std = seen.mean((0, 1)), seen.std((0, 1))
    return (seen - mean) / std, (embed(network, splits.train) - mean) / std, (embed(network, splits.test) - mean) / std


class Hidden(nn.Sequential):
    dim = 128  # of the layer that is trained below the heads


class OnFeatures(MiCE):
    """MiCE whose views are stored features: three of the four of each image."""

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        three = torch.randperm(STORED, generator=generator)[:3]
        return *features()[0][three][:, batch.indices], torch.arange(len(batch.indices))

    def loss(self, views: tuple[Tensor, ...], progress: float = 0.0) -> dict:
        return self.mixed(*views)


def on_features(run: Run) -> MiCE:
    return OnFeatures(Hidden(nn.Linear(128, 128), nn.ReLU()), 32, **run.options)


def train_watched(run: Run, out: Path | None = None) -> Made:
    """Asks test images for their clusters before and after each epoch."""
    sizes, answers = [], []

    def look(method, _history) -> None:
        q = method.joint(features()[2]).softmax(1)
        sizes.append(q.argmax(1).bincount(minlength=CLUSTERS).tolist())
        answers.append((100 * q[:ASKED]).round().int().tolist())

    made = train(run, shapes(IMAGES), watch=look)
    made.beside["watched"] = {"sizes": sizes, "answers": answers[::2] if run.seed == 0 else []}
    return made


def rows(made: Made) -> list[dict]:
    _, learnt_from, test = features()
    here, there = (made.method.eval().joint(x) for x in (learnt_from, test))
    own = cluster_row(made.run.says["line"], (here.argmax(1), there.argmax(1)), made.splits, CLUSTERS)
    return [own | {"sure": float(there.softmax(1).amax(1).mean()), **made.beside.pop("watched")},
            kmeans_row("k-means", (learnt_from, test), made.splits, CLUSTERS, made.run.seed)]


GRID = Grid("18_mice", runs, rows, "Lesson 18: MiCE's gates over frozen features of MoCo v2.",
            show=("acc", "nmi", "used", "sure"), train=train_watched)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
