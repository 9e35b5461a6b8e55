"""Make the stored runs of lesson 17: SCAN, and RUC on the same SCAN, as it is and with wrong labels planted in it.

    python lessons/grids/week17.py   # what is missing in lessons/runs/17_ruc (six minutes of one core for each seed)
"""

from __future__ import annotations

import copy
import sys
from functools import lru_cache
from pathlib import Path

import torch
from grid import Grid, Made, Run, few, shapes
from torch import Tensor

from course_lib.augment.views import TURNED_VIEWS
from course_lib.evaluate.clusters import assigned, kmeans_clusters, matched_scores
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.measures import classes_of_clusters
from course_lib.evaluate.trust import calibration, mislabel, trust_scores
from course_lib.methods.clustering.ruc import RUC, SELECTIONS, agreeing, confident
from course_lib.methods.clustering.shared import directions, through
from course_lib.runs.networks import learned
from course_lib.runs.sources import begun, build_on
from course_lib.train.loop import fit

K, BATCH, NEAR, STEPS = 8, 64, 100, 400
PRETEXT, PLANTED = "simclr", 0.3  # the share of labels that are made wrong
SCAN_OPTIONS = {"pretext": PRETEXT, "clusters": K, "head_lr": 10.0, "augment": TURNED_VIEWS}
RUC_OPTIONS = {"clusters": K, "neighbours": NEAR, "threshold": 0.8, "unclean": 3.0}
ALL = {"selection": "confidence", "threshold": 0.0}  # every image is clean
# what changes: options of RUC, and which wrong labels are planted
LINES = {"ruc": ({}, ""), "no-cleaning": (ALL, ""), "ruc-scattered": ({}, "scattered"),
         "no-cleaning-scattered": (ALL, "scattered")}


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in ("scan", "scan-on", *LINES)]


def line(name: str, seed: int) -> Run:
    if name in LINES:
        changed, planted = LINES[name]
        options = {**RUC_OPTIONS, **changed}
        says = {"line": name, **options, "planted": planted, "share": PLANTED if planted else 0.0}
        return Run(f"{name}-s{seed}", seed, "ruc", {**options, **RUC.shapes_options},
                   {"steps": STEPS, "batch_size": BATCH, "lr": 3e-3, "optimizer": "adamw"}, says)
    options = {**SCAN_OPTIONS, "self_label": 0.0 if name == "scan-on" else 1.0}  # from when it labels itself
    return Run(f"{name}-s{seed}", seed, "scan", options, {"steps": STEPS, "batch_size": BATCH, "lr": 3e-3},
               {"line": name, **{key: value for key, value in options.items() if key != "augment"}})


@lru_cache
def scan(seed: int) -> tuple:
    """SCAN as all lines of a seed begin with it, how it was trained, and its logits and directions of all images."""
    torch.manual_seed(seed)
    method = build_on("scan", 32, **line("scan", seed).options)
    asked = {**line("scan", seed).fit, "steps": few(STEPS, 3)}
    history = fit(method, shapes().train, seed=seed, progress=False, **asked)
    images = shapes().train.images
    return method, history, through(method, method.logits, images), directions(through(method, method.embed, images))


def handed_over(run: Run) -> Tensor:
    """SCAN's logits (N, K), some of them made to name another cluster."""
    logits, generator = scan(run.seed)[2], torch.Generator().manual_seed(100 + run.seed)
    if not run.says.get("planted"):
        return logits
    return mislabel(logits, torch.randperm(len(logits), generator=generator)[:int(PLANTED * len(logits))], generator)


def train(run: Run, out: Path | None = None) -> Made:
    """SCAN; SCAN's own self-labelling for longer; or RUC from SCAN's labels."""
    method, history, _, z = scan(run.seed)
    name = run.says["line"]
    if name != "scan":
        torch.manual_seed(run.seed)
        if name == "scan-on":
            method = copy.deepcopy(method)
            method.self_label = run.options["self_label"]
        else:
            method = begun("ruc", {"labels_from": method}, 32, run.options)
            method.use_labels(handed_over(run), z)
        history = fit(method, shapes().train, seed=run.seed, progress=False,
                      **{**run.fit, "steps": few(run.fit["steps"], 3)})
    return Made(run, method, history, shapes())


@lru_cache
def controls() -> list[dict]:
    """k-means on raw pixels, on a random encoder and on the pretext's features."""
    splits, net = shapes(), learned(PRETEXT).method
    looks = {"raw pixels": raw_pixels, "random encoder": lambda part: embed(reinitialise(net, 0).eval(), part),
             PRETEXT: lambda part: embed(net, part)}
    return [{"name": f"k-means, {name}", "kind": "control"} | matched_scores(
        *(found := kmeans_clusters(look(splits.train), look(splits.test), K))[:1], splits.train.labels, found[1],
        splits.test.labels, K) for name, look in looks.items()]


def rows(made: Made) -> list[dict]:
    run, splits = made.run, made.splits
    found, test = (assigned(made.method, part) for part in (splits.train, splits.test))
    names = classes_of_clusters(found[0], splits.train.labels, K)
    row = {"name": run.says["line"], "kind": "method"} | matched_scores(
        found[0], splits.train.labels, test[0], splits.test.labels, K)
    row["calibration"] = calibration(test[1], names[test[0]] == splits.test.labels)
    logits, z = handed_over(run), scan(run.seed)[3]
    given = logits.argmax(1)
    classes = classes_of_clusters(scan(run.seed)[2].argmax(1), splits.train.labels, K)
    right = classes[given] == splits.train.labels  # of the labels that are handed over
    sure, agree = confident(logits, RUC_OPTIONS["threshold"]), agreeing(z, given, NEAR, K)
    row["trust"] = {name: trust_scores(kept, right) for name, kept in zip(SELECTIONS, (sure, agree, sure & agree))}
    now = names[found[0]] == splits.train.labels
    row |= {"wrong": float((~right).float().mean()), "mended": float(now[~right].float().mean()),
            "spoilt": float((~now)[right].float().mean())}
    return [row, *controls()]


GRID = Grid("17_ruc", runs, rows, "Lesson 17: SCAN, and RUC on the same SCAN.", train=train,
            show=("acc", "nmi", "used", "wrong", "mended", "spoilt"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
