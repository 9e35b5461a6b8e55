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

from course_lib.evaluate import cluster_scores, embed, knn_accuracy, raw_pixels, reinitialise
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
# in 2 dimensions; so small a curvature makes the ball a plane, with distances twice those of a ruler
TREES = {"ball-2": {"c": 1.0}, "plane-2": {"c": 1e-4}, "rim-2": {"c": 1.0, "radius": 1.0}}


def build(run: Run) -> nn.Module:
    """Layers over frozen features: `body`, which is measured, and with labels `last`, between it and the loss."""
    method, width, tree = nn.Module(), features()[0].shape[1], run.method == "hyperbolic"
    wide = lambda out: (nn.ReLU(), nn.Linear(width, out))  # noqa: E731
    method.augment, method.body = None, nn.Linear(width, 2 if tree else width)
    method.body = method.body if tree else nn.Sequential(method.body, *wide(width))
    method.last = None if tree else nn.Sequential(*wide(8 if run.says["line"].startswith("cross") else 64))
    return method


def runs() -> list[Run]:
    lines = [("hyperbolic", line, options, TREE, {**TREE, **options, "out": 2}) for line, options in TREES.items()]
    lines += [("supcon", line, {}, {**FIT, "steps": steps}, {}) for line, steps in LABELLED.items()]
    return [Run(f"{line}-s{seed}", seed, method, options, fit, {**says, "line": line, "n": SHAPES, "frozen": "simclr"},
                build=build) for method, line, options, fit, says in lines for seed in (0, 1, 2)]


@lru_cache
def features() -> tuple[Tensor, Tensor]:
    """SimCLR's features of 2000 training images and of the test images, standardised by the first."""
    bank, test = (embed(learned("simclr").method, part) for part in (shapes().train.head(2000), shapes().test))
    return (bank - bank.mean(0)) / bank.std(0), (test - bank.mean(0)) / bank.std(0)


def with_labels(run: Run, network: nn.Module) -> list[float]:
    """The loss of each step."""
    draw, bank, labels = torch.Generator().manual_seed(run.seed), features()[0], shapes().train.labels
    optimizer, losses = torch.optim.Adam(network.parameters(), FIT["lr"]), []
    for _ in range(few(run.fit["steps"], 3)):
        rows = torch.randperm(len(bank), generator=draw)[: FIT["batch_size"]]
        views = bank[rows].repeat(2, 1) + FIT["noise"] * torch.randn(2 * len(rows), bank.shape[1], generator=draw)
        z = network.last(network.body(views))
        loss = F.cross_entropy(z, labels[rows].repeat(2)) if z.shape[1] == 8 else supcon_loss(
            torch.stack(z.chunk(2), 1), same_class(labels[rows]), inside=run.says["line"] == "supcon-inside")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def timed(run: Run, out=None) -> Made:
    features()
    torch.manual_seed(run.seed)
    method, began, batch = run.build(run), time.process_time(), run.fit["batch_size"]
    losses = with_labels(run, method) if method.last else learn_map(
        method.body, features()[0], TREE["clusters"], steps=few(TREE["steps"], 3), batch=batch, lr=TREE["lr"],
        weight=TREE["weight"], seed=run.seed, **run.options)
    history = History(total_steps=len(losses), batch_size=batch, device="cpu", precision="float32", threads=1)
    record(history, [(step, {"loss": torch.tensor(loss)}) for step, loss in enumerate(losses, 1) if step % 10 == 1])
    history.steps, history.seconds = len(losses), time.process_time() - began
    return Made(run, method, history, shapes())


def measured(name: str, bank: Tensor, z: Tensor, kind: str = "control") -> dict:
    test, labels = shapes().test, shapes().train.labels[: len(bank)]
    return {"name": name, "kind": kind, "knn": knn_accuracy(bank, labels, z, test.labels),
            **cluster_scores(z, test.labels), **by_level(-normalize(z) @ normalize(z).T, test)}


@lru_cache
def controls() -> list[dict]:
    looks = {"random encoder": partial(embed, reinitialise(ConvNet(), 0).eval()), "raw pixels": raw_pixels}
    return [measured("SimCLR", *features()), *(
        measured(name, look(shapes().train.head(2000)), look(shapes().test)) for name, look in looks.items())]


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    name, body = str(made.run.says["line"]), made.method.body
    if made.method.last:
        return [measured(name, *map(body, features()), kind="method"), *controls()]
    x, d = in_ball(body, features()[1], **made.run.options)
    row = {"name": name, "radius": float(x.norm(dim=1).mean()), "kind": "method"}
    return [row | by_level(d, shapes().test), *controls()]


GRID = Grid("28_metric", runs, rows, "Lesson 28: what labels are used for, and what a tree is drawn on.",
            show=("knn", "shape recall@1", "shape map@r", "nmi"), train=timed)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
