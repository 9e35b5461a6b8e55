"""Make the stored runs of lesson 22: four pretexts and labels, by encoder and by width.

    python lessons/grids/week22.py   # what is missing in lessons/runs/22_revisiting (10 seconds of one core each)

Generated shapes that stand upright: of turned ones nobody could name the rotation. Encoders differ from "plain" in one
thing, or ("group") in BiT's pair of norm and filters. Images a step, steps and seeds are equal; views are each
pretext's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, few, train
from torch import Tensor, nn

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.data.images import Batch, ImageSet, Splits
from course_lib.data.loading import load
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.labels import ridge_scores
from course_lib.evaluate.layers import layer_features
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.probes import linear_probe
from course_lib.methods import build_method
from course_lib.models.backbones import build_backbone
from course_lib.train.tuning import Classifier

STEPS, BATCH, LR, READ, FEATURES = 150, 32, 2e-3, 1000, 512
PRETEXTS = {"rotation": {}, "relative-patch": {"colours": "keep"}, "jigsaw": {}, "exemplar": {"augment": SHAPES_VIEWS},
            "supervised": {}}
ENCODERS = {"plain": {}, "skips": {"skips": True}, "group": {"norm": "group", "standardized": True}}
WIDTHS = {1.0: (32, 64, 128), 0.5: (16, 32, 64)}
KEPT = "exemplar-group-1-s0"  # its network lies beside the record
ASKED = {1.0: tuple(ENCODERS)}  # width -> the encoders of that width


def runs() -> list[Run]:
    return [line(pretext, encoder, width, seed) for width, encoders in ASKED.items() for seed in (0, 1, 2)
            for encoder in encoders for pretext in PRETEXTS]


def line(pretext: str, encoder: str, width: float, seed: int) -> Run:
    return Run(f"{pretext}-{encoder}-{width:g}-s{seed}", seed, pretext, PRETEXTS[pretext],
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"encoder": encoder, "width": width, "n": SHAPES, "upright": True}, build=build)


def build(run: Run) -> nn.Module:
    """The pretext, or a classifier with labels, over the encoder that the run names."""
    net = {"convs": 2, "widths": WIDTHS[run.says["width"]], **ENCODERS[run.says["encoder"]]}
    if run.method == "supervised":
        backbone = build_backbone("convnet", **net)
        return Classifier(backbone, nn.Linear(backbone.dim, 8), augment=SHAPES_VIEWS)
    return build_method(run.method, "convnet", 32, backbone_options=net, **run.options)


@lru_cache
def upright() -> Splits:
    return load("shapes", n=few(SHAPES, 300), upright=True)


@lru_cache
def parts() -> list[ImageSet]:
    """READ images each to read with, to pick a penalty on, and to test with."""
    return [part.select(range(min(len(part), few(READ, 300)))) for part in
            (upright().train, upright().validation, upright().test)]


def read(look: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Test accuracies of two readers of READ labelled images: logistic regression, and nearest neighbours."""
    bank, _, test = sets = [(look(part.images), part.labels) for part in parts()]
    return {"linear": linear_probe(*sets).accuracy, "knn": knn_accuracy(*bank, *test)}


def by_layer(backbone: nn.Module) -> list[float]:
    """Test accuracy after every ReLU: ridge regression on FEATURES numbers of a layer, READ labelled images."""
    (known, _, test), found = parts(), []
    for bank, queries in zip(layer_features(backbone, known, FEATURES), layer_features(backbone, test, FEATURES)):
        scores = ridge_scores(bank, known.labels, queries)
        found.append(float((scores.argmax(1) == test.labels).float().mean()))
    return found


@torch.no_grad()
def pretext_accuracy(method: nn.Module, images: Tensor) -> float:
    """Of the pretext itself, on new pictures; of an exemplar the share of triplets that cost nothing."""
    generator, found = torch.Generator().manual_seed(9), []
    for part in images.split(BATCH):
        losses = method.loss(method.views(Batch(part, torch.arange(len(part)), None), generator))
        found.append(float(losses["accuracy"] if "accuracy" in losses else 1 - losses["active"]))
    return sum(found) / len(found)


@lru_cache
def pixels() -> dict:
    return {"name": "raw pixels", "kind": "control", **read(raw_pixels)}


def measured(name: str, kind: str, backbone: nn.Module, width: float) -> dict:
    layers = {"layers": by_layer(backbone)} if width == 1 else {}
    return {"name": name, "kind": kind, **read(partial(embed, backbone.eval())), **layers}


def rows(made: Made) -> list[dict]:
    method, width = made.method.eval(), made.run.says["width"]
    if made.run.id == KEPT:
        made.beside[f"{KEPT}.pt"] = method
    row = measured(made.run.method, "method", method.backbone, width)
    if made.run.method == "supervised":  # beside it the same network, not trained
        untrained = reinitialise(method.backbone, made.run.seed)
        return [row, measured("random encoder", "control", untrained, width), pixels()]
    return [row | {"pretext": pretext_accuracy(method, upright().test.images[:few(512, 64)])}, pixels()]


def train_upright(run: Run, out: Path | None = None) -> Made:
    return train(run, upright(), out)


GRID = Grid("22_revisiting", runs, rows, "Lesson 22: pretexts by encoder and width, on shapes that stand upright.",
            show=("linear", "knn", "pretext"), train=train_upright)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
