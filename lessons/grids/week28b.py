"""Make the stored runs of lesson 28 on whole networks: labels used in two ways, and what a tree of clusters adds.

    python lessons/grids/week28b.py   # what is missing in lessons/runs/28_whole (20 seconds each, the longer ones 160)

Labels: SupCon or cross-entropy, from two views of each of 2000 labelled images; the head and its loss change alone, and
cost next to nothing, so equal steps are equal time; seconds are of the processor. Trees: lesson 04's learned SimCLR
goes on, by the log-ratio loss in the ball or by its own, and nothing else differs. Of trees the ball is measured, too.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import lru_cache, partial

import torch
from grid import SHAPES, Grid, Made, Run, shapes, train
from torch import Tensor, nn
from torch.nn import functional as F
from week28 import measured, seen

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, TURNED_VIEWS
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.ranking import by_level
from course_lib.methods import build_method
from course_lib.methods.metric.hyperbolic import in_ball
from course_lib.methods.metric.supcon import SupCon
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize
from course_lib.runs.networks import learned
from course_lib.runs.sources import build_on

LABELLED, CLUSTERED, CPU = 2000, 4000, {"device": "cpu", "threads": 1}
STEPS = {"": 200, "-long": 1500}
LABELS = {"batch_size": 128, "lr": 3e-3, **CPU}
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
    if "cross-entropy" in run.says["line"]:
        return Classifier(ConvNet(), 32, **run.options)
    if run.method == "hyperbolic":
        return build_on("hyperbolic", 32, pretext="simclr", **run.options)
    method = build_method(run.method, "convnet", 32, **run.options)
    if run.method == "simclr":
        method.backbone.load_state_dict(learned("simclr").method.backbone.state_dict())
    return method


def runs() -> list[Run]:
    labels = [(f"{line}{length}", "supcon", {"augment": SHAPES_VIEWS}, {"steps": steps, **LABELS},
               {"labelled": LABELLED}) for length, steps in STEPS.items() for line in ("supcon", "cross-entropy")]
    trees = [(line, name, {"augment": TURNED_VIEWS, **options}, TREES, {"images": CLUSTERED, **options})
             for line, name, options in (("tree", "hyperbolic", TREE), ("no-tree", "simclr", {}))]
    return [Run(f"{line}-s{seed}", seed, name, options, fit, {"line": line, "n": SHAPES, **says}, build=build)
            for seed in (0, 1, 2) for line, name, options, fit, says in [*labels, *trees]]


def timed(run: Run, out=None) -> Made:
    splits, began = shapes(), time.process_time()
    made = train(run, replace(splits, train=splits.train.head(run.says.get("labelled", CLUSTERED))))
    made.history.seconds = time.process_time() - began
    return made


@lru_cache
def controls() -> list[dict]:
    looks = {"SimCLR": partial(embed, learned("simclr").method), "raw pixels": raw_pixels,
             "random encoder": partial(embed, reinitialise(ConvNet(), 0).eval())}
    return [measured(name, *map(look, seen())) for name, look in looks.items()]


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    bank, z = (embed(made.method, part) for part in seen())
    row = measured(made.run.says["line"], bank, z, "method")
    if made.run.method == "hyperbolic":
        row |= {f"ball {key}": each for key, each in by_level(in_ball(made.method.map, z)[1], shapes().test).items()}
    return [row, *controls()]


GRID = Grid("28_whole", runs, rows, "Lesson 28: whole networks, by labels and by trees.",
            show=("knn", "shape recall@1", "shape map@r", "nmi", "ball shape map@r"), train=timed)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
