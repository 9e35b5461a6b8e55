"""Make the stored runs of lesson 28: what labels are used for, and what a tree is drawn on.

    python lessons/grids/week28.py   # what is missing in lessons/runs/28_metric (a second or two of one core each)

All learn from the frozen features of lesson 04's learned SimCLR, standardised. With labels: two layers, and two noisy
copies of each image's features as views; the loss and its last layer change, steps and batches are equal. SupCon's
steps are slower, so cross-entropy has a line of as much time, too. Trees: as in the official code only a linear map
learns; the curvature or the radius changes. Seconds are of the processor, so that a busy machine does not count.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, few, shapes
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.measures import cluster_scores
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.ranking import by_level
from course_lib.methods.metric.hyperbolic import in_ball, learn_map
from course_lib.methods.metric.supcon import same_class, supcon_loss
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize
from course_lib.runs.networks import learned
from course_lib.train.history import History, record

FIT = {"batch_size": 128, "lr": 1e-3, "noise": 0.5}
LABELLED = {"supcon": 300, "cross-entropy": 300, "cross-entropy-longer": 690, "supcon-inside": 300}  # name -> steps
TREE = {"steps": 300, "batch_size": 64, "lr": 0.01, "clusters": (24, 8, 3), "weight": 0.5}
FLAT = 1e-4  # a curvature so small that the ball is a plane: distances are twice those of a ruler
TREES = {"ball-2": {"c": 1.0}, "plane-2": {"c": FLAT}, "rim-2": {"c": 1.0, "radius": 1.0}}  # in 2 dimensions


class WithLabels(nn.Module):
    """Two layers, whose output is measured, and below the loss a linear one."""

    augment = None

    def __init__(self, classes: int | None):
        super().__init__()
        width = features()[0].shape[1]
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.last = nn.Sequential(nn.ReLU(), nn.Linear(width, classes or 64))


class Map(nn.Module):
    """A linear map of frozen features to two dimensions."""

    augment = None

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(features()[0].shape[1], 2)


def runs() -> list[Run]:
    labelled = [Run(f"{line}-s{seed}", seed, "supcon", {}, {**FIT, "steps": steps},
                    {"line": line, "n": SHAPES, "frozen": "simclr"},
                    build=lambda run: WithLabels(8 if run.says["line"].startswith("cross") else None))
                for line, steps in LABELLED.items() for seed in (0, 1, 2)]
    return [Run(f"{line}-s{seed}", seed, "hyperbolic", options, {"steps": TREE["steps"]},
                {**TREE, **options, "out": 2, "line": line, "n": SHAPES, "frozen": "simclr"}, build=lambda run: Map())
            for line, options in TREES.items() for seed in (0, 1, 2)] + labelled


@lru_cache
def features() -> tuple[Tensor, Tensor]:
    """SimCLR's features of 2000 training images and of the test images, standardised by the first."""
    bank, test = (embed(learned("simclr").method, part) for part in (shapes().train.head(2000), shapes().test))
    return (bank - bank.mean(0)) / bank.std(0), (test - bank.mean(0)) / bank.std(0)


def with_labels(run: Run, network: WithLabels) -> list[float]:
    """The loss of each step."""
    draw, (bank, _), labels = torch.Generator().manual_seed(run.seed), features(), shapes().train.labels
    optimizer, losses = torch.optim.Adam(network.parameters(), FIT["lr"]), []
    for _ in range(few(run.fit["steps"], 3)):
        rows = torch.randperm(len(bank), generator=draw)[: FIT["batch_size"]]
        views = bank[rows].repeat(2, 1) + FIT["noise"] * torch.randn(2 * len(rows), bank.shape[1], generator=draw)
        z = network.last(network.body(views))
        loss = (F.cross_entropy(z, labels[rows].repeat(2)) if run.says["line"].startswith("cross") else supcon_loss(
            torch.stack(z.chunk(2), 1), same_class(labels[rows]), inside=run.says["line"] == "supcon-inside")["loss"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def timed(run: Run, out: Path | None = None) -> Made:
    features()
    torch.manual_seed(run.seed)
    method, began = run.build(run), time.process_time()
    if isinstance(method, WithLabels):
        losses, batch = with_labels(run, method), FIT["batch_size"]
    else:
        batch = TREE["batch_size"]
        losses = learn_map(method.linear, features()[0], TREE["clusters"], steps=few(TREE["steps"], 3), batch=batch,
                           lr=TREE["lr"], weight=TREE["weight"], seed=run.seed, **run.options)
    history = History(total_steps=len(losses), batch_size=batch, device="cpu", precision="float32", threads=1)
    record(history, [(step, {"loss": torch.tensor(loss)}) for step, loss in enumerate(losses, 1) if step % 10 == 1])
    history.steps, history.seconds = len(losses), time.process_time() - began
    return Made(run, method, history, shapes())


def measured(name: str, bank: Tensor, z: Tensor) -> dict:
    test, labels = shapes().test, shapes().train.labels[: len(bank)]
    return {"name": name, "knn": knn_accuracy(bank, labels, z, test.labels), **cluster_scores(z, test.labels),
            **by_level(-normalize(z) @ normalize(z).T, test)}


@lru_cache
def controls() -> list[dict]:
    train, test = shapes().train.head(2000), shapes().test
    fresh = reinitialise(ConvNet(), 0).eval()
    return [measured("SimCLR", *features()) | {"kind": "control"},
            measured("random encoder", embed(fresh, train), embed(fresh, test)) | {"kind": "control"},
            measured("raw pixels", raw_pixels(train), raw_pixels(test)) | {"kind": "control"}]


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    name, method = str(made.run.says["line"]), made.method
    if isinstance(method, WithLabels):
        row = measured(name, *(method.body(part) for part in features()))
    else:
        x, d = in_ball(method.linear, features()[1], **made.run.options)
        row = {"name": name, "radius": float(x.norm(dim=1).mean()), **by_level(d, shapes().test)}
    return [row | {"kind": "method"}, *controls()]


GRID = Grid("28_metric", runs, rows, "Lesson 28: what labels are used for, and what a tree is drawn on.",
            show=("knn", "shape recall@1", "shape map@r", "nmi"), train=timed)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
