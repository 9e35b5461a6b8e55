"""Make the stored runs of lesson 28: SupCon's two means and cross-entropy; the ball, the plane and one radius.

    python lessons/grids/week28.py   # what is missing in lessons/runs/28_metric (half a minute of one core each)

With labels: the loss and its head change; views, steps and batches are equal, and so is the time, which is measured.
Trees: one map to two dimensions on lesson 04's learned SimCLR, which goes on learning; the curvature or the radius
changes. Seconds are of the processor, so that a busy machine does not count.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from grid import SHAPES, Grid, Made, Run, shapes, train
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize, to_float
from course_lib.augment.views import SHAPES_VIEWS
from course_lib.data.shapes import hierarchy
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.measures import cluster_scores
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.retrieval import retrieval
from course_lib.methods.metric.hyperbolic import Hyperbolic
from course_lib.methods.metric.supcon import SupCon
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize
from course_lib.models.poincare import distance
from course_lib.runs.sources import build_on

FIT = {"steps": 250, "batch_size": 128, "lr": 3e-3, "weight_decay": 1e-4}
TREE_FIT = {"steps": 200, "batch_size": 64, "lr": 1e-3}
TREE = {"pretext": "simclr", "out": 2, "clusters": (24, 8, 3), "weight": 0.5}
FLAT = 1e-4  # a curvature so small that the ball is a plane: distances are twice those of a ruler
LABELLED = ("supcon", "cross-entropy", "supcon-inside", "simclr")
TREES = {"ball": {}, "plane": {"curvature": FLAT}, "rim": {"radius": 1.0}}
LEVELS = ("family", "shape", "variant")


class WithLabels(SupCon):
    """SupCon's views of the same images; the loss is cross-entropy, or NT-Xent, which hides the labels."""

    def __init__(self, *args, cross_entropy: bool = False, hide: bool = False, **options):
        super().__init__(*args, **options)
        self.cross_entropy, self.hide = cross_entropy, hide
        if cross_entropy:
            self.head = nn.Linear(self.backbone.dim, 8)  # type: ignore[assignment]

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        a, b, labels = views
        if self.hide:
            return super().loss((a, b, torch.arange(len(labels))), progress)
        if not self.cross_entropy:
            return super().loss(views, progress)
        z = self.backbone(standardize(torch.cat([a, b])))
        return {"loss": F.cross_entropy(self.head(z), labels.repeat(2)), "embedding": normalize(z.detach())}


def labelled(run: Run) -> nn.Module:
    options = {"supcon": {}, "supcon-inside": {"inside": True}, "cross-entropy": {"cross_entropy": True},
               "simclr": {"hide": True}}[run.says["line"]]
    return WithLabels(ConvNet(), augment=SHAPES_VIEWS, **options)


def runs() -> list[Run]:
    with_labels = [Run(f"{line}-s{seed}", seed, "supcon", {}, FIT, {"line": line, "n": SHAPES}, build=labelled)
                   for line in LABELLED for seed in (0, 1, 2)]
    trees = [Run(f"{line}-s{seed}", seed, "hyperbolic", {**TREE, **options}, TREE_FIT,
                 {**TREE, **options, "line": line, "n": SHAPES},
                 build=lambda run: build_on("hyperbolic", 32, augment=SHAPES_VIEWS, **run.options))
             for line, options in TREES.items() for seed in (0, 1, 2)]
    return with_labels[:9] + trees + with_labels[9:]


def timed(run: Run, out: Path | None = None) -> Made:
    began = time.process_time()
    made = train(run, out=out)
    made.history.seconds = time.process_time() - began
    return made


def found(distances: Tensor, levels: Tensor) -> dict[str, float]:
    """Recall@1, 2, 4, 8 and MAP@R at each level of the tree."""
    return {f"{name} {key}": value for name, labels in zip(LEVELS, levels.T)
            for key, value in retrieval(distances, labels).items()}


def measured(name: str, kind: str, look: Callable) -> dict:
    """kNN, NMI and what is retrieved by a cosine, of what `look` makes of images."""
    bank, z, test = look(shapes().train), look(shapes().test), shapes().test
    return {"name": name, "kind": kind, "knn": knn_accuracy(bank, shapes().train.labels, z, test.labels),
            **cluster_scores(z, test.labels), **found(-normalize(z) @ normalize(z).T, hierarchy(test))}


@lru_cache
def controls() -> list[dict]:
    return [measured("random encoder", "control", partial(embed, reinitialise(ConvNet(), 0).eval())),
            measured("raw pixels", "control", raw_pixels)]


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    test, method = made.splits.test, made.method.eval()
    row = measured(str(made.run.says["line"]), "method", partial(embed, method))
    if not isinstance(method, Hyperbolic):
        return [row, *controls()]
    x = torch.cat([method.place(standardize(to_float(part))) for part in test.images.split(250)])
    d = torch.stack([distance(point, x, method.curvature) for point in x])
    flat = {"name": "its two dimensions", "kind": "method", "radius": float(x.norm(dim=1).mean())}
    return [row, flat | found(d, hierarchy(test)), *controls()]


GRID = Grid("28_metric", runs, rows, "Lesson 28: what labels are used for, and what a tree is drawn on.",
            show=("knn", "shape recall@1", "shape map@r", "nmi"), train=timed)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
