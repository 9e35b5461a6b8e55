"""Make the stored runs of lesson 28: what labels are used for, and what a tree is drawn on.

    python lessons/grids/week28.py   # what is missing in lessons/runs/28_metric (some 15 seconds of one core each)

With labels: the loss and its head change; views, steps and batches are equal, and so is the time, which is measured.
Trees: as in the official code only a linear map learns, here on the frozen features of lesson 04's learned SimCLR; the
curvature or the radius changes. Seconds are of the processor, so that a busy machine does not count.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache, partial
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, few, shapes, train
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.measures import cluster_scores
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.retrieval import by_level
from course_lib.methods.metric.hyperbolic import in_ball, learn_map
from course_lib.methods.metric.supcon import SupCon
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize
from course_lib.runs.networks import learned
from course_lib.train.history import History, record

FIT = {"steps": 150, "batch_size": 64, "lr": 3e-3, "weight_decay": 1e-4}
LABELLED = ("supcon", "cross-entropy", "supcon-inside")
TREE = {"steps": 300, "batch_size": 64, "lr": 0.01, "clusters": (24, 8, 3), "weight": 0.5}
FLAT = 1e-4  # a curvature so small that the ball is a plane: distances are twice those of a ruler
TREES = {"ball-2": {"c": 1.0}, "plane-2": {"c": FLAT}, "rim-2": {"c": 1.0, "radius": 1.0}}  # in 2 dimensions


class WithLabels(SupCon):
    """SupCon's views of the same images; the loss may be cross-entropy, of a linear head."""

    def __init__(self, line: str):
        super().__init__(ConvNet(), augment=SHAPES_VIEWS, inside=line == "supcon-inside")
        self.line, self.linear = line, nn.Linear(self.backbone.dim, 8)

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict:
        a, b, labels = views
        if self.line != "cross-entropy":
            return super().loss(views, progress)
        z = self.backbone(standardize(torch.cat([a, b])))
        return {"loss": F.cross_entropy(self.linear(z), labels.repeat(2)), "embedding": normalize(z.detach())}


class Map(nn.Module):
    """A linear map of frozen features to two dimensions."""

    augment = None

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(features()[0].shape[1], 2)


def runs() -> list[Run]:
    labelled = [Run(f"{line}-s{seed}", seed, "supcon", {}, FIT, {"line": line, "n": SHAPES},
                    build=lambda run: WithLabels(run.says["line"])) for line in LABELLED for seed in (0, 1, 2)]
    return [Run(f"{line}-s{seed}", seed, "hyperbolic", options, {"steps": TREE["steps"]},
                {**TREE, **options, "out": 2, "line": line, "n": SHAPES, "frozen": "simclr"}, build=lambda run: Map())
            for line, options in TREES.items() for seed in (0, 1, 2)] + labelled


@lru_cache
def features() -> tuple[Tensor, Tensor]:
    """SimCLR's features of 2000 training images and of the test images, standardised by the first."""
    bank, test = (embed(learned("simclr").method, part) for part in (shapes().train.head(2000), shapes().test))
    return (bank - bank.mean(0)) / bank.std(0), (test - bank.mean(0)) / bank.std(0)


def timed(run: Run, out: Path | None = None) -> Made:
    began = time.process_time()
    if run.method == "supcon":
        made = train(run, out=out)
    else:
        torch.manual_seed(run.seed)
        method, steps = run.build(run), few(TREE["steps"], 3)
        history = History(total_steps=steps, batch_size=TREE["batch_size"], device="cpu", precision="float32", threads=1)
        losses = learn_map(method.linear, features()[0], TREE["clusters"], steps=steps, batch=TREE["batch_size"],
                            lr=TREE["lr"], weight=TREE["weight"], seed=run.seed, **run.options)
        record(history, [(step, {"loss": torch.tensor(loss)}) for step, loss in enumerate(losses, 1) if step % 10 == 1])
        history.steps, made = steps, Made(run, method, history, shapes())
    made.history.seconds = time.process_time() - began
    return made


def measured(name: str, look) -> dict:
    bank, z, test = look(shapes().train), look(shapes().test), shapes().test
    return {"name": name, "knn": knn_accuracy(bank, shapes().train.labels, z, test.labels),
            **cluster_scores(z, test.labels), **by_level(-normalize(z) @ normalize(z).T, test)}


@lru_cache
def controls() -> list[dict]:
    looks = {"random encoder": partial(embed, reinitialise(ConvNet(), 0).eval()), "raw pixels": raw_pixels}
    return [measured(name, look) | {"kind": "control"} for name, look in looks.items()]


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    if made.run.method == "supcon":
        row = measured(str(made.run.says["line"]), partial(embed, made.method.eval()))
    else:
        x, d = in_ball(made.method.linear, features()[1], **made.run.options)
        row = {"name": str(made.run.says["line"]), "radius": float(x.norm(dim=1).mean()), **by_level(d, shapes().test)}
    return [row | {"kind": "method"}, *controls()]


GRID = Grid("28_metric", runs, rows, "Lesson 28: what labels are used for, and what a tree is drawn on.",
            show=("knn", "shape recall@1", "shape map@r", "nmi"), train=timed)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
