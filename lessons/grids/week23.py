"""Make the stored table of lesson 23: what each learned network is good for, and the controls. Nothing is pre-trained.

    python lessons/grids/week23.py   # what is missing in lessons/runs/23_transfer (half a minute of one core each)

$COURSE_PHOTOGRAPHS: a folder with train/ and test/ of CIFAR-10 as pictures in class folders; without it a new record
has no photographs. Networks have one training each; samples are drawn three times: few labels, episodes, attacked
images.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from grid import Grid, Made, Run, few, shapes
from torch import Tensor, nn

from course_lib.augment.pixels import to_float
from course_lib.data.crowds import make_crowds
from course_lib.data.images import ImageSet, Splits, draw
from course_lib.data.loading import load
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.features import embed, reinitialise
from course_lib.evaluate.fewshot import few_shot
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.outliers import outlier_scores
from course_lib.evaluate.probes import linear_head, linear_probe
from course_lib.evaluate.robustness import InPixels, pgd_accuracy
from course_lib.evaluate.suite import Pixels
from course_lib.evaluate.transfer import class_share
from course_lib.models.layers import normalize
from course_lib.runs.networks import learned
from course_lib.train.history import History
from course_lib.train.tuning import fine_tune

FAMILIES = {
    "negatives": "simclr moco moco-v2 npid pirl roco imco amdim cpc dim yadim", "no negatives": "byol simsiam vicreg "
    "barlow-twins", "clusters": "swav mice gatcluster scan ruc", "dense": "pixpro vader",
    "masks": "spark mae simmim beit dmae", "masks and a teacher": "dino ibot", "labels": "supcon",
    "control": "random-conv random-vit pixels"}
VITS = {*"mae simmim beit dmae dino ibot random-vit".split()}
DRAWS, LABELS, EPISODES, ATTACKED = (0, 1, 2), 500, 200, 60  # LABELS: of a linear probe
TUNING: dict[str, Any] = {"limit": 100, "epochs": 12, "batch_size": 20, "lr": 1e-3}
ATTACK: dict[str, Any] = {"epsilon": 1 / 255, "step": 0.25 / 255, "steps": (0, 1, 5, 10, 20), "restarts": 1}
SAYS = {"labels": LABELS, "episodes": EPISODES, "attacked": ATTACKED, "tuned_on": TUNING["limit"],
        "tuned_epochs": TUNING["epochs"], "tuned_lr": TUNING["lr"], "epsilon": ATTACK["epsilon"], "restarts": 1}


class Line(Run):
    """A network that is there already: what is stored beside its name is how it is measured."""

    backbone = property(lambda self: "vit-tiny" if self.method in VITS else "convnet")

    def settings(self) -> dict:
        return self.says


class Frozen(nn.Module):
    """A network as it is; no views, as nothing is trained."""

    augment = None

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network


def find(run: Run) -> Frozen:
    of = {"random-conv": "simclr", "random-vit": "mae"}.get(run.method, run.method)
    network = Pixels() if of == "pixels" else learned(of).method.evaluated
    return Frozen((reinitialise(network, 0) if of != run.method else network).eval())


def runs() -> list[Run]:
    return [Line(name, 0, name, {}, {"steps": 0}, {"family": family, **SAYS}, build=find)
            for family, names in FAMILIES.items() for name in names.split()]


@lru_cache
def targets() -> tuple[dict[str, Splits], dict[str, ImageSet]]:
    """The source, and what is asked of a network beside it; and kinds of outliers."""
    some = lambda n: few(n, 150)  # noqa: E731
    calm = shapes(4000)
    parts = (calm.train, calm.validation.head(500), calm.test)
    striped = [make_shapes(some(n), 900 + n, style="striped") for n in (2000, 300, 1000)]
    crowds = [make_crowds(some(n), 900 + n) for n in (2000, 300, 1000)]
    hues = [replace(part, labels=(8 * part.factors["hue"]).long().clamp(max=7), classes=()) for part in parts]
    found = {name: Splits(*sets) for name, sets in
             {"class": parts, "striped": striped, "hue": hues, "number": crowds}.items()}
    other = {"striped": striped[2], "number": crowds[2]}
    if folder := os.environ.get("COURSE_PHOTOGRAPHS"):
        photographs = load(folder)
        sets = [part.select(draw(len(part), some(n), 0)) for part, n in
                ((photographs.train, 2000), (photographs.validation, 300), (photographs.test, 1000))]
        found["photographs"], other["photographs"] = Splits(*sets), sets[2]
    return found, other


def measured(network: nn.Module, seen: dict, name: str, seed: int) -> dict:
    """kNN, linear and few-shot accuracy on one target, with a draw of labels and episodes."""
    (bank, known), held, (queries, labels) = seen[name]
    some = draw(len(bank), few(LABELS, 100), seed)
    row = {"linear": linear_probe((bank[some], known[some]), held, (queries, labels), settings=(1e-3, 1e-2, 1e-1),
                                  max_iter=60).accuracy}
    if seed == DRAWS[0]:
        row |= {"knn": knn_accuracy(bank, known, queries, labels),
                "share": class_share(normalize(bank - bank.mean(0)), known)}
    for shots in (1, 5):
        row[f"few_{shots}"] = few_shot(queries, labels, ways=5, shots=shots, queries=few(15, 5), seed=seed, bank=bank,
                                       episodes=few(EPISODES, 3)).accuracy
    return {f"{name} {key}": value for key, value in row.items()}


def rows(made: Made) -> list[dict]:
    """A row for each draw; what is not drawn is in the first."""
    network, (sets, other) = made.method.network, targets()
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {
        name: [(embed(network, part), part.labels) for part in (splits.train, splits.validation, splits.test)]
        for name, splits in sets.items() if name != "hue"}
    seen["hue"] = [(z, part.labels) for (z, _), part in
                   zip(seen["class"], (sets["hue"].train, sets["hue"].validation, sets["hue"].test))]
    (bank, known), held, (queries, _) = seen["class"]
    classifier = InPixels(network, linear_head((bank[:2000], known[:2000]), held, settings=(1e-3, 1e-2, 1e-1),
                                               max_iter=60))
    found = []
    for seed in DRAWS:
        row = {"name": made.run.method, "kind": "method", "draw": seed}
        for name in sets:
            row |= measured(network, seen, name, seed)
        some = sets["class"].test.select(draw(len(queries), few(ATTACKED, 8), 50 + seed))
        right = pgd_accuracy(classifier, to_float(some.images), some.labels, seed=seed, **ATTACK)
        row |= {f"pgd {steps}": value for steps, value in right.items()}
        if made.run.method != "pixels":
            row["tuned"] = fine_tune(network, sets["number"], seed=seed, **{**TUNING, "epochs": few(12, 1)}).accuracy
        found.append(row)
    for name, images in other.items():
        found[0] |= {f"{name} {key}": v for key, v in outlier_scores(bank, queries, seen[name][2][0]).items()}
    return found


def look(run: Run, out=None) -> Made:
    return Made(run, run.build(run), History(device="cpu", threads=1), targets()[0]["class"])


GRID = Grid("23_transfer", runs, rows, "Lesson 23: a network of lessons/networks, or a control, as it is.", train=look,
            show=("class knn", "class few_5", "striped few_5", "hue linear", "number linear", "tuned", "pgd 0", "pgd 20",
                  "striped auroc", "number auroc"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
