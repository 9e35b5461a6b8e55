"""Make the stored runs of lesson 28: what labels are used for, and what a tree is drawn on.

    python lessons/grids/week28.py   # what is missing in lessons/runs/28_metric (a second or two of one core each)

From lesson 04's frozen SimCLR. With labels: two layers, two noisy copies of an image's features as views; the loss and
its last layer change; cross-entropy also for as much time. Trees: a linear map; the curvature or the radius changes.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache, partial

import torch
from grid import SHAPES, Grid, Made, Run, few, shapes
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.data.images import ImageSet
from course_lib.evaluate import embed, raw_pixels, reinitialise
from course_lib.evaluate.ranking import by_level, ranked
from course_lib.methods.metric.hyperbolic import in_ball, learn_map
from course_lib.methods.metric.supcon import learn_layers, same_class, supcon_loss
from course_lib.models.backbones import ConvNet
from course_lib.runs.networks import learned
from course_lib.train.history import History, record

FIT = {"batch_size": 128, "lr": 1e-3, "noise": 0.5}
LABELLED = {"supcon": 300, "cross-entropy": 300, "cross-entropy-longer": 690, "supcon-inside": 300}  # name -> steps
TREE = {"steps": 300, "batch_size": 64, "lr": 0.01, "clusters": (24, 8, 3), "weight": 0.5}
# in 2 dimensions; so small a curvature makes the ball a plane, with distances twice those of a ruler
TREES = {"ball-2": {"c": 1.0}, "plane-2": {"c": 1e-4}, "rim-2": {"c": 1.0, "radius": 1.0}}


def build(run: Run) -> nn.Module:
    """Layers over frozen features: `body`, which is measured, and with labels `last`, between it and the loss."""
    method, width, tree = nn.Module(), features()[0].shape[1], run.method == "hyperbolic"
    method.augment, first = None, nn.Linear(width, 2 if tree else width)
    method.body = first if tree else nn.Sequential(first, nn.ReLU(), nn.Linear(width, width))
    last = nn.ReLU(), nn.Linear(width, 8 if run.says["line"].startswith("cross") else 64)
    method.last = None if tree else nn.Sequential(*last)
    return method


def runs() -> list[Run]:
    lines = [("hyperbolic", line, options, TREE, {**TREE, **options, "out": 2}) for line, options in TREES.items()]
    lines += [("supcon", line, {}, {**FIT, "steps": steps}, {}) for line, steps in LABELLED.items()]
    return [Run(f"{line}-s{seed}", seed, method, options, fit, {**says, "line": line, "n": SHAPES, "frozen": "simclr"},
                build=build) for method, line, options, fit, says in lines for seed in (0, 1, 2)]


def seen() -> tuple[ImageSet, ImageSet]:
    return shapes().train.head(2000), shapes().test


@lru_cache
def features() -> tuple[Tensor, Tensor]:
    """SimCLR's features of 2000 training images and of the test images, standardised by the first."""
    bank, test = (embed(learned("simclr").method, part) for part in seen())
    return (bank - bank.mean(0)) / bank.std(0), (test - bank.mean(0)) / bank.std(0)


def loss(line: str, z: Tensor, labels: Tensor) -> Tensor:
    if line.startswith("cross"):
        return F.cross_entropy(z, labels.repeat(2))
    return supcon_loss(torch.stack(z.chunk(2), 1), same_class(labels), inside=line == "supcon-inside")["loss"]


def timed(run: Run, out=None) -> Made:
    bank, how = features()[0], {**run.fit, **run.options, "steps": few(run.fit["steps"], 3), "seed": run.seed}
    torch.manual_seed(run.seed)
    method, began = run.build(run), time.process_time()
    losses = learn_map(method.body, bank, **how) if not method.last else learn_layers(
        nn.Sequential(method.body, method.last), bank, shapes().train.labels, partial(loss, run.says["line"]), **how)
    history = History(how["steps"], total_steps=how["steps"], seconds=time.process_time() - began, threads=1,
                      batch_size=how["batch_size"], device="cpu", precision="float32")
    record(history, [(step, {"loss": torch.tensor(value)}) for step, value in enumerate(losses, 1) if step % 10 == 1])
    return Made(run, method, history, shapes())


def measured(name: str, bank: Tensor, z: Tensor, kind: str = "control") -> dict:
    return {"name": name, "kind": kind, **ranked(bank, shapes().train.labels[: len(bank)], z, shapes().test)}


@lru_cache
def controls() -> list[dict]:
    looks = {"random encoder": partial(embed, reinitialise(ConvNet(), 0).eval()), "raw pixels": raw_pixels}
    return [measured("SimCLR", *features()), *(measured(name, *map(look, seen())) for name, look in looks.items())]


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    name, body = made.run.says["line"], made.method.body
    if made.method.last:
        return [measured(name, *map(body, features()), kind="method"), *controls()]
    x, d = in_ball(body, features()[1], **made.run.options)
    row = {"name": name, "radius": float(x.norm(dim=1).mean()), "kind": "method"}
    return [row | by_level(d, shapes().test), *controls()]


GRID = Grid("28_metric", runs, rows, "Lesson 28: what labels are used for, and what a tree is drawn on.",
            show=("knn", "shape recall@1", "shape map@r", "nmi"), train=timed)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
