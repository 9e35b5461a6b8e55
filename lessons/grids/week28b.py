"""Make the stored runs of lesson 28 on labels end to end: SupCon against cross-entropy, nothing frozen.

    python lessons/grids/week28b.py   # what is missing in lessons/runs/28_labels (40 seconds of one core each)

Both learn from two views of each of 2000 labelled images; backbone, views, batches and steps are equal, the head and
its loss change. What is measured is the backbone. The two losses cost next to nothing beside the network, so that
equal steps are equal time; seconds are of the processor, so that a busy machine does not count.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, shapes, train
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS
from course_lib.data.images import Splits
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.measures import cluster_scores
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.ranking import by_level
from course_lib.methods import build_method
from course_lib.methods.metric.supcon import SupCon
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize

LABELLED = 2000
FIT = {"steps": 300, "batch_size": 128, "lr": 3e-3, "device": "cpu", "threads": 1}


class Classifier(SupCon):
    """SupCon's backbone and views; a linear layer and cross-entropy in place of its head and loss."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.head = nn.Linear(self.backbone.dim, 8)

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Tensor]:
        z = self.backbone(standardize(torch.cat(views[:2])))  # (2N, D)
        return {"loss": F.cross_entropy(self.head(z), views[2].repeat(2)), "embedding": normalize(z.detach())}


def build(run: Run) -> nn.Module:
    if run.says["line"] == "supcon":
        return build_method("supcon", "convnet", 32, **run.options)
    return Classifier(ConvNet(), 32, **run.options)


def runs() -> list[Run]:
    return [Run(f"{line}-s{seed}", seed, "supcon", {"augment": SHAPES_VIEWS}, FIT,
                {"line": line, "n": SHAPES, "labelled": LABELLED}, build=build)
            for seed in (0, 1, 2) for line in ("supcon", "cross-entropy")]


@lru_cache
def few_labels() -> Splits:
    return Splits(shapes().train.head(LABELLED), shapes().validation, shapes().test)


def timed(run: Run, out: Path | None = None) -> Made:
    splits, began = few_labels(), time.process_time()
    made = train(run, splits)
    made.history.seconds = time.process_time() - began
    return made


def measured(name: str, kind: str, bank: Tensor, z: Tensor) -> dict:
    test, labels = shapes().test, few_labels().train.labels
    return {"name": name, "kind": kind, "knn": knn_accuracy(bank, labels, z, test.labels),
            **cluster_scores(z, test.labels), **by_level(-normalize(z) @ normalize(z).T, test)}


@lru_cache
def controls() -> list[dict]:
    train, test, fresh = few_labels().train, shapes().test, reinitialise(ConvNet(), 0).eval()
    return [measured("random encoder", "control", embed(fresh, train), embed(fresh, test)),
            measured("raw pixels", "control", raw_pixels(train), raw_pixels(test))]


def rows(made: Made) -> list[dict]:
    seen = (embed(made.method, part) for part in (few_labels().train, shapes().test))
    return [measured(str(made.run.says["line"]), "method", *seen), *controls()]


GRID = Grid("28_labels", runs, rows, "Lesson 28: labels, end to end.", show=("knn", "shape map@r", "nmi"), train=timed)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
