"""Make the stored runs of lesson 11: ImCo's two mixtures, each alone, both and neither (MoCo v2), on shapes.

    python lessons/grids/week11.py   # what is missing in lessons/runs/11_imco (about 15 minutes of one core)

"easier": positives with lambda between 0 and 1, as in mixup. The last two take extrapolation apart, without moving q.
With one lambda for a batch, c = 2 lambda (lambda - 1) and s = q . k the loss sees the score s - c (1 - s); its gradient
pulls q to k with the weight 1 + c, and pushes it off the negatives with lambda in place of 1. "harder" has that score
and MoCo's gradient, "steeper" has MoCo's score and a pull of (1 + c) / lambda: as much for each push.
"""

from __future__ import annotations

import sys

import torch
from grid import SHAPES, Grid, Looks, Made, Run, controls, measure, shapes
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.measures import effective_rank
from course_lib.evaluate.scores import queue_scores, score_statistics
from course_lib.methods.contrastive.imco import ImCo, similarities
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize
from course_lib.precision import in_float32

STEPS, BATCH, LR, TEMPERATURE, MOMENTUM, QUEUE = 800, 64, 1e-3, 0.1, 0.99, 512  # the queue is ImCo's default
MIXTURES = {"extrapolation": ("extrapolate", "plain"), "interpolation": ("plain", "interpolate"),
            "both": ("extrapolate", "interpolate"), "neither": ("plain", "plain"), "easier": ("interpolate", "plain"),
            "harder": ("extrapolate", "plain"), "steeper": ("extrapolate", "plain")}
PANEL, BINS = 500, 40  # test images that are looked at, bins from -1 to 1
SAYS = {"temperature": TEMPERATURE, "momentum": MOMENTUM, "queue": QUEUE, "n": SHAPES}


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in MIXTURES]


def line(name: str, seed: int) -> Run:
    mixing = dict(zip(("positives", "negatives"), MIXTURES[name]))
    options = {"augment": SHAPES_VIEWS, "momentum": MOMENTUM, "temperature": TEMPERATURE, "splits": 1}
    return Run(f"{name}-s{seed}", seed, "imco", {**options, **mixing},
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"line": name, **SAYS, **mixing}, build=build)


class Watched(Looks, ImCo):
    """ImCo that looks at the scores of some test images."""

    only = ""

    def look_at(self) -> tuple:
        return queue_scores(self, shapes().test.images[:PANEL])


class Apart(Watched):
    """The score of an extrapolated pair ("harder") or its pull, relative to the push ("steeper"); q stays."""

    def loss(self, views: tuple, progress: float = 0.0) -> dict:
        first, second, shuffled, a, *_ = views
        q, k = self.head(self.backbone(standardize(first))), self.encode_keys(standardize(second), shuffled)
        loss = in_float32(self.contrast)(q, k, self.queue.rows, a)
        self.queue.enqueue(k)
        return {"loss": loss, "embedding": normalize(q.detach())}

    def contrast(self, q: Tensor, k: Tensor, negatives: Tensor, a: Tensor) -> Tensor:
        near, far = similarities(normalize(q), k, negatives)
        c, fixed = 2 * a * (a - 1), near.detach()
        near = near + (((1 + c) / a - 1) * (near - fixed) if self.only == "steeper" else -c * (1 - fixed))
        logits = torch.cat([near.unsqueeze(1), far], 1) / self.temperature
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))


def build(run: Run) -> Watched:
    method = (Apart if run.says["line"] in ("harder", "steeper") else Watched)(ConvNet(), **run.options)
    method.only = run.says["line"]
    return method


def score_rows(looks: list) -> dict:
    """Histograms, one after the other, means and variances of the scores at each look."""
    found = score_statistics(*map(torch.stack, zip(*looks)), bins=BINS)
    return {f"scores_{name}": [round(float(v), 4) for v in value.flatten()] for name, value in found.items()
            if name != "edges"}


def rows(made: Made) -> list[dict]:
    method, history = made.method, made.history
    own = {"looks": len(method.looks), "embedding_rank": history.rank[-1], "embedding_std": history.std[-1],
           "key_rank": effective_rank(method.queue.rows)}
    return [{**measure(method.title, "method", method), **score_rows(method.looks), **own}, *controls()]


GRID = Grid("11_imco", runs, rows, "Lesson 11: positive extrapolation and negative interpolation.",
            show=("knn", "embedding_rank"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
