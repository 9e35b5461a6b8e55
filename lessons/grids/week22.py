"""Make the stored runs of lesson 22: four pretexts and labels, by encoder and by width.

    python lessons/grids/week22.py   # what is missing in lessons/runs/22_revisiting (10 to 60 seconds of one core each)

Generated shapes that stand upright: of turned ones nobody could name the rotation. Encoders differ from "plain" in one
thing, or ("group") in BiT's pair of norm and filters. Images a step, steps and seeds are equal; views are each
pretext's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache, partial

from grid import SHAPES, Grid, Made, Run, few, shapes, train
from torch import Tensor, nn

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.data.images import ImageSet, Splits
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.label_free import pretext_accuracy
from course_lib.evaluate.layers import ridge_layers
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.probes import linear_probe
from course_lib.methods import build_method
from course_lib.models.backbones import build_backbone
from course_lib.train.tuning import Classifier

STEPS, BATCH, LR, READ, FEATURES = 150, 32, 2e-3, 1000, 512
PRETEXTS = {"rotation": {}, "relative-patch": {"colours": "keep"}, "jigsaw": {}, "exemplar": {"augment": SHAPES_VIEWS},
            "supervised": {}}
ENCODERS = {"plain": {}, "skips": {"skips": True}, "group": {"norm": "group", "standardized": True}}
WIDTHS = (1.0, 2.0)  # times 32, 64 and 128 maps
KEPT = "exemplar-group-1-s0"  # its network lies beside the record


def runs() -> list[Run]:
    return [Run(f"{pretext}-{encoder}-{width:g}-s{seed}", seed, pretext, PRETEXTS[pretext],
                fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
                says={"encoder": encoder, "width": width, "n": SHAPES, "upright": True}, build=build)
            for width in WIDTHS for seed in (0, 1, 2) for encoder in ENCODERS for pretext in PRETEXTS]


def build(run: Run) -> nn.Module:
    """The pretext, or a classifier with labels, over the encoder that the run names."""
    net = {"convs": 2, **ENCODERS[run.says["encoder"]]}
    if (width := run.says["width"]) != 1:
        net["widths"] = tuple(int(width * maps) for maps in (32, 64, 128))
    if run.method == "supervised":
        backbone = build_backbone("convnet", **net)
        return Classifier(backbone, nn.Linear(backbone.dim, 8), augment=SHAPES_VIEWS)
    return build_method(run.method, "convnet", 32, backbone_options=net, **run.options)


def upright() -> Splits:
    return shapes(upright=True)


@lru_cache
def parts() -> list[ImageSet]:
    """READ images each to read with, to pick a penalty on, and to test with."""
    return [part.select(range(min(len(part), few(READ, 300)))) for part in
            (upright().train, upright().validation, upright().test)]


def read(look: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Test accuracies of two readers of READ labelled images: logistic regression, and nearest neighbours."""
    bank, _, test = sets = [(look(part.images), part.labels) for part in parts()]
    return {"linear": linear_probe(*sets).accuracy, "knn": knn_accuracy(*bank, *test)}


@lru_cache
def pixels() -> dict:
    return {"name": "raw pixels", "kind": "control", **read(raw_pixels)}


def measured(name: str, kind: str, backbone: nn.Module) -> dict:
    known, _, test = parts()
    return {"name": name, "kind": kind, **read(partial(embed, backbone.eval())),
            "layers": ridge_layers(backbone, known, test, FEATURES)}


def rows(made: Made) -> list[dict]:
    method = made.method.eval()
    if made.run.id == KEPT:
        made.beside[f"{KEPT}.pt"] = method
    row = measured(made.run.method, "method", method.backbone)
    if made.run.method == "supervised":  # beside it the same network, not trained
        untrained = reinitialise(method.backbone, made.run.seed)
        return [row, measured("random encoder", "control", untrained), pixels()]
    return [row | {"pretext": pretext_accuracy(method, upright().test.images[:few(512, 64)], BATCH, seed=9)}, pixels()]


GRID = Grid("22_revisiting", runs, rows, "Lesson 22: pretexts by encoder and width, on shapes that stand upright.",
            show=("linear", "knn", "pretext"), train=lambda run, out=None: train(run, upright(), out))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
