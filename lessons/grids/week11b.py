"""Make the stored runs of lesson 11's Further: Un-Mix beside MoCo v2, and Feature Lenses over a learned network.

    python lessons/grids/week11b.py   # what is missing in lessons/runs/11_mixtures (about 10 minutes of one core)
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Made, Run, build, controls, few, measure, shapes
from torch import Tensor, nn

from course_lib.augment.pixels import to_float
from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.features import embed
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.methods.contrastive.lenses import KINDS, Lenses, transformed
from course_lib.runs.networks import learned

STEPS, BATCH, LR, HOST = 400, 64, 1e-3, "moco-v2"
MOCO, QUEUE = {"momentum": 0.99, "temperature": 0.1, "splits": 1}, 512  # the queue's default
LINES = {"unmix": ("unmix", {}), "plain": ("moco-v2", {}),  # method, its own switches
         "lenses": ("lenses", {"contrast": True}), "lenses-squared": ("lenses", {"contrast": False})}


def runs() -> list[Run]:
    return [line(name, seed) for name in LINES for seed in (0, 1, 2)]


def line(name: str, seed: int) -> Run:
    method, own = LINES[name]
    host = method == "lenses"
    options = own if host else {"augment": SHAPES_VIEWS, **MOCO, **own}
    says = {"host": HOST} if host else {**{key: MOCO[key] for key in ("temperature", "momentum")}, "queue": QUEUE}
    return Run(f"{name}-s{seed}", seed, method, options,
               fit={"steps": STEPS, "batch_size": BATCH, "lr": 2e-3 if host else LR, "device": "cpu", "threads": 1},
               says={"line": name, "n": SHAPES, **says, **own}, build=hosted if host else build)


def hosted(run: Run) -> nn.Module:
    """The lenses over the learned network."""
    method = build(run)
    method.backbone.load_state_dict(learned(HOST).method.backbone.state_dict())
    return method


@torch.no_grad()
def through(encoder: nn.Module, images: Tensor, bank: Tensor) -> dict:
    """kNN of test images, as they are and transformed, among the features of training images as the host has them."""
    labels, found = (shapes().train.labels, shapes().test.labels), {}
    for kind in ("plain", *KINDS):
        changed = images if kind == "plain" else transformed(images, kind, torch.Generator().manual_seed(9), 180.0,
                                                             (0.6, 1.4), (0.4, 1.6))[0]
        found[f"knn_{kind}"] = knn_accuracy(bank, labels[0], embed(encoder, changed), labels[1][:len(changed)])
    return found


def rows(made: Made) -> list[dict]:
    """Un-Mix and MoCo: kNN. Lenses: with them and without, on images that are transformed."""
    method = made.method.eval()
    row = measure(method.title, "method", method)
    if not isinstance(method, Lenses):
        return [row, *controls()]
    images, bank = to_float(shapes().test.images[:few(2000, 200)]), embed(method.backbone, shapes().train)
    return [row | through(method, images, bank),
            measure("host", "control", method.backbone) | through(method.backbone, images, bank), *controls()]


GRID = Grid("11_mixtures", runs, rows, "Lesson 11: Un-Mix and Feature Lenses, each with its control.",
            show=("knn", "knn_turn"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
