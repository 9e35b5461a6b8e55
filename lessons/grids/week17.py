"""Make the stored runs of lesson 17: SCAN, and RUC on the same SCAN, as it is and with wrong labels planted in it.

    python lessons/grids/week17.py   # what is missing in lessons/runs/17_ruc (six minutes of one core for each seed)
"""

from __future__ import annotations

import copy
import sys
from functools import lru_cache

import torch
from grid import Grid, Made, Run, cluster_row, kmeans_rows, shapes, train
from torch import Tensor, nn

from course_lib.augment.views import TURNED_VIEWS
from course_lib.evaluate.clusters import assigned
from course_lib.evaluate.measures import classes_of_clusters
from course_lib.evaluate.trust import calibration, mislabel, trust_scores
from course_lib.methods.clustering.ruc import RUC, SELECTIONS, agreeing, confident
from course_lib.methods.clustering.shared import directions, through
from course_lib.runs.networks import learned
from course_lib.runs.sources import begun, build_on

K, BATCH, NEAR, STEPS, PRETEXT, PLANTED = 8, 64, 100, 400, "simclr", 0.3  # PLANTED: labels that are made wrong
SCAN_OPTIONS = {"pretext": PRETEXT, "clusters": K, "head_lr": 10.0}
RUC_OPTIONS = {"clusters": K, "neighbours": NEAR, "threshold": 0.8, "unclean": 3.0}
ALL = {"selection": "confidence", "threshold": 0.0}  # every image is clean; LINES: what changes, and what is planted
LINES = {"ruc": ({}, ""), "no-cleaning": (ALL, ""), "ruc-scattered": ({}, "scattered"),
         "no-cleaning-scattered": (ALL, "scattered")}


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in ("scan", "scan-on", *LINES)]


def line(name: str, seed: int) -> Run:
    if name in LINES:
        changed, planted = LINES[name]
        asked = {**RUC_OPTIONS, **changed}
        says, more = {**asked, "planted": planted, "share": PLANTED if planted else 0.0}, {"optimizer": "adamw"}
        options = {**asked, **RUC.shapes_options}
    else:
        says, more = {**SCAN_OPTIONS, "self_label": 0.0 if name == "scan-on" else 1.0}, {}  # from when it labels itself
        options = {**says, "augment": TURNED_VIEWS}
    return Run(f"{name}-s{seed}", seed, "ruc" if name in LINES else "scan", options,
               {"steps": STEPS, "batch_size": BATCH, "lr": 3e-3, **more}, {"line": name, **says}, build=begin)


@lru_cache
def scan(seed: int) -> tuple[Made, Tensor, Tensor]:
    """SCAN, as all lines of a seed begin with it; its logits and directions of all images."""
    method = (made := train(line("scan", seed))).method
    logits, z = (through(method, of, shapes().train.images) for of in (method.logits, method.embed))
    return made, logits, directions(z)


def begin(run: Run) -> nn.Module:
    """SCAN on the pretext; the seed's SCAN, to label itself; or RUC from the seed's SCAN and its labels."""
    if run.says["line"] == "scan":
        return build_on("scan", 32, **run.options)
    made, _, z = scan(run.seed)
    torch.manual_seed(run.seed)  # the training of that SCAN drew
    if run.says["line"] == "scan-on":
        method = copy.deepcopy(made.method)
        method.self_label = run.options["self_label"]
    else:
        method = begun("ruc", {"labels_from": made.method}, 32, run.options)
        method.use_labels(handed_over(run), z)
    return method


def handed_over(run: Run) -> Tensor:
    """SCAN's logits (N, K), some of them made to name another cluster."""
    logits, generator = scan(run.seed)[1], torch.Generator().manual_seed(100 + run.seed)
    which = torch.randperm(len(logits), generator=generator)[:int(PLANTED * len(logits))]
    return mislabel(logits, which, generator) if run.says.get("planted") else logits


def rows(made: Made) -> list[dict]:
    run, splits, labels = made.run, made.splits, made.splits.train.labels
    (here, _), (there, sure) = (assigned(made.method, part) for part in (splits.train, splits.test))
    names, logits, (_, scan_logits, z) = classes_of_clusters(here, labels, K), handed_over(run), scan(run.seed)
    given, now = logits.argmax(1), names[here] == labels
    right = classes_of_clusters(scan_logits.argmax(1), labels, K)[given] == labels  # of the labels handed over
    kept = [confident(logits, RUC_OPTIONS["threshold"]), agreeing(z, given, NEAR, K)]
    more = {"calibration": calibration(sure, names[there] == splits.test.labels),
            "trust": {name: trust_scores(k, right) for name, k in zip(SELECTIONS, (*kept, kept[0] & kept[1]))},
            "wrong": float((~right).float().mean()), "mended": float(now[~right].float().mean()),
            "spoilt": float((~now)[right].float().mean())}
    own = cluster_row(run.says["line"], (here, there), splits, K)
    return [own | more, *kmeans_rows(PRETEXT, learned(PRETEXT).method, K)]


GRID = Grid("17_ruc", runs, rows, "Lesson 17: SCAN, and RUC on the same SCAN.",
            train=lambda run, out=None: scan(run.seed)[0] if run.says["line"] == "scan" else train(run),
            show=("acc", "nmi", "used", "wrong", "mended", "spoilt"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
