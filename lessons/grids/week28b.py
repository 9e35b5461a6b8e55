"""Make the stored runs of lesson 28 on whole networks: labels used in two ways, and what a tree of clusters adds.

    python lessons/grids/week28b.py   # what is missing in lessons/runs/28_whole (20 seconds of one core each)

Labels: SupCon or cross-entropy, from two views of each of 2000 labelled images; backbone, views, batches and steps are
equal, the head and its loss change. The two losses cost next to nothing beside the network, so that equal steps are
equal time; seconds are of the processor, so that a busy machine does not count. Trees: lesson 04's learned SimCLR goes
on, by the log-ratio loss in the ball or by its own; views, images, batches and steps are equal. What is measured is the
backbone, and of trees also the ball.
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
from course_lib.augment.views import SHAPES_VIEWS, TURNED_VIEWS
from course_lib.data.images import Splits
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.measures import cluster_scores
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.ranking import by_level
from course_lib.methods import build_method
from course_lib.methods.metric.hyperbolic import Hyperbolic, in_ball
from course_lib.methods.metric.supcon import SupCon
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize
from course_lib.runs.networks import learned
from course_lib.runs.sources import build_on

LABELLED, CLUSTERED = 2000, 4000
CPU = {"device": "cpu", "threads": 1}
LABELS = {"steps": 200, "batch_size": 128, "lr": 3e-3, **CPU}
TREES = {"steps": 160, "batch_size": 64, "lr": 1e-3, **CPU}
TREE = {"standardized": True, "clusters": (128, 24, 8), "weight": 1.0, "out": 64}


class Classifier(SupCon):
    """SupCon's backbone and views; a linear layer and cross-entropy in place of its head and loss."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.head = nn.Linear(self.backbone.dim, 8)

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Tensor]:
        z = self.backbone(standardize(torch.cat(views[:2])))  # (2N, D)
        return {"loss": F.cross_entropy(self.head(z), views[2].repeat(2)), "embedding": normalize(z.detach())}


def build(run: Run) -> nn.Module:
    if run.says["line"] == "cross-entropy":
        return Classifier(ConvNet(), 32, **run.options)
    if run.method == "hyperbolic":
        return build_on("hyperbolic", 32, pretext="simclr", **run.options)
    method = build_method(run.method, "convnet", 32, **run.options)
    if run.method == "simclr":
        method.backbone.load_state_dict(learned("simclr").method.backbone.state_dict())
    return method


def runs() -> list[Run]:
    labels = [(line, "supcon", {"augment": SHAPES_VIEWS}, LABELS, {"labelled": LABELLED})
              for line in ("supcon", "cross-entropy")]
    turned = {"augment": TURNED_VIEWS}
    trees = [(line, name, {**turned, **options}, TREES, {"images": CLUSTERED, **options})
             for line, name, options in (("tree", "hyperbolic", TREE), ("no-tree", "simclr", {}))]
    return [Run(f"{line}-s{seed}", seed, name, options, fit, {"line": line, "n": SHAPES, **says}, build=build)
            for seed in (0, 1, 2) for line, name, options, fit, says in [*labels, *trees]]


def timed(run: Run, out: Path | None = None) -> Made:
    seen = shapes().train.head(run.says.get("labelled", CLUSTERED))
    splits, began = Splits(seen, shapes().validation, shapes().test), time.process_time()
    made = train(run, splits)
    made.history.seconds = time.process_time() - began
    return made


def measured(name: str, kind: str, bank: Tensor, z: Tensor) -> dict:
    test, labels = shapes().test, shapes().train.labels[: len(bank)]
    return {"name": name, "kind": kind, "knn": knn_accuracy(bank, labels, z, test.labels),
            **cluster_scores(z, test.labels), **by_level(-normalize(z) @ normalize(z).T, test)}


def looked(name: str, kind: str, encoder: nn.Module) -> dict:
    return measured(name, kind, embed(encoder, shapes().train.head(LABELLED)), embed(encoder, shapes().test))


@lru_cache
def controls() -> list[dict]:
    pixels = (raw_pixels(part) for part in (shapes().train.head(LABELLED), shapes().test))
    return [looked("SimCLR", "control", learned("simclr").method), measured("raw pixels", "control", *pixels),
            looked("random encoder", "control", reinitialise(ConvNet(), 0).eval())]


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    row, method = looked(str(made.run.says["line"]), "method", made.method), made.method
    if isinstance(method, Hyperbolic):
        _, d = in_ball(method.map, embed(method, shapes().test))
        row |= {f"ball {key}": value for key, value in by_level(d, shapes().test).items()}
    return [row, *controls()]


GRID = Grid("28_whole", runs, rows, "Lesson 28: whole networks, by labels and by trees.",
            show=("knn", "shape recall@1", "shape map@r", "nmi", "ball shape map@r"), train=timed)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
