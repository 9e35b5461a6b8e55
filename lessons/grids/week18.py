"""Make the stored runs of lesson 18: MiCE with its gates, and MoCo trained on as long, all begun from one MoCo v2.

    python lessons/grids/week18.py   # what is missing in lessons/runs/18_mice

The gate is all that differs between MiCE's lines; "sharp" is the fixed one with a lower temperature.
"""

from __future__ import annotations

import sys
from functools import lru_cache, partial
from pathlib import Path

import torch
from grid import SHAPES, Grid, Made, Run, few, shapes
from torch import nn

from course_lib.augment.views import TURNED_VIEWS
from course_lib.evaluate.clusters import FOR_KMEANS, assigned, kmeans_clusters, matched_scores
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.methods import build_method
from course_lib.methods.clustering.mice import GATES, MiCE
from course_lib.models.backbones import ConvNet
from course_lib.runs.networks import learned
from course_lib.runs.sources import build_on
from course_lib.train.loop import fit

CLUSTERS, EPOCHS, BATCH, LR, TAU, BEGUN = 8, 6, 128, 3e-3, 0.1, "moco-v2"
STEPS = EPOCHS * (SHAPES // BATCH)
WATCHED, ASKED = 1000, 48  # test images whose clusters are counted; whose responsibilities are kept, in percent


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in (*GATES, "moco", "sharp")]


def line(name: str, seed: int) -> Run:
    kappa, gate = (0.3, "fixed") if name == "sharp" else (1.0, name)
    mixture = {"clusters": CLUSTERS, "tau": TAU, "kappa": kappa, "gate": gate, "pretext": BEGUN}
    method, own, make = (BEGUN, {}, moco_going_on) if name == "moco" else ("mice", mixture, mixed)
    return Run(f"{name}-s{seed}", seed, method, {"augment": TURNED_VIEWS, **own}, build=make,
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "weight_decay": 1e-4, "log_every": SHAPES // BATCH,
                    "device": "cpu"}, says={"line": name, "n": SHAPES, **mixture})


def mixed(run: Run) -> nn.Module:
    return build_on(run.method, 32, **run.options)


def moco_going_on(run: Run) -> nn.Module:
    """MoCo v2 over the backbone of the learned one, with a new head and queue: what MiCE begins with, too."""
    backbone = ConvNet()
    backbone.load_state_dict(learned(BEGUN).method.evaluated.state_dict())
    return build_method(run.method, backbone, 32, **run.options)


def train_watched(run: Run, out: Path | None = None) -> Made:
    """Asks test images for their clusters after each epoch; not resumed, as these would be lost."""
    splits, sizes, answers = shapes(), [], []
    torch.manual_seed(run.seed)
    method = run.build(run)
    some = splits.test.head(WATCHED)

    def look(_=None) -> None:
        if isinstance(method, MiCE):
            sizes.append(assigned(method, some)[0].bincount(minlength=CLUSTERS).tolist())
            with torch.no_grad():
                q = method.eval().probabilities(some.images[:ASKED])
            method.train()
            answers.append((100 * q).round().int().tolist())

    look()
    history = fit(method, splits.train, seed=run.seed, progress=False, watch=look,
                  **{**run.fit, "steps": few(run.fit["steps"], 3)})
    made = Made(run, method, history, splits)
    made.beside["watched"] = {"sizes": sizes, "answers": answers if run.seed == 0 else []}
    return made


def kmeans_row(name: str, kind: str, look) -> dict:
    """kNN, and the scores of k-means, of features that `look` makes of images."""
    splits = shapes()
    bank, queries = look(splits.train), look(splits.test)
    pair = kmeans_clusters(bank[:FOR_KMEANS], queries, CLUSTERS)
    scores = matched_scores(pair[0], splits.train.labels[:FOR_KMEANS], pair[1], splits.test.labels, CLUSTERS)
    return {"name": name, "kind": kind, "knn": knn_accuracy(bank, splits.train.labels, queries, splits.test.labels),
            **{f"kmeans_{key}": value for key, value in scores.items()}}


def rows(made: Made) -> list[dict]:
    method, splits = made.method.eval(), made.splits
    own = kmeans_row(made.run.says["line"], "method", partial(embed, method))
    if isinstance(method, MiCE):
        train, test = (assigned(method, part)[0] for part in (splits.train, splits.test))
        own |= matched_scores(train, splits.train.labels, test, splits.test.labels, CLUSTERS)
    return [own | made.beside.pop("watched"), *controls()]


@lru_cache
def controls() -> list[dict]:
    """k-means on what all lines began with, on a random encoder and on pixels."""
    begun, untrained = learned(BEGUN).method, reinitialise(ConvNet(), 0).eval()
    looks = {"as it began": partial(embed, begun), "random encoder": partial(embed, untrained),
             "raw pixels": raw_pixels}
    return [kmeans_row(name, "control", look) for name, look in looks.items()]


GRID = Grid("18_mice", runs, rows, "Lesson 18: MiCE's gates, and MoCo trained on, from one network.",
            show=("acc", "kmeans_acc", "knn", "used"), train=train_watched)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
