"""Make the stored table of lesson 23: what each learned network is good for, and the controls. Nothing is pre-trained.

    python lessons/grids/week23.py   # what is missing in lessons/runs/23_transfer (15 seconds of one core each)

$COURSE_PHOTOGRAPHS: a folder with train/ and test/ of CIFAR-10 as pictures in class folders; without it a new record
has no photographs. A network has one training; what is sampled is drawn three times: labels, episodes, attacked images.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import lru_cache

from grid import Grid, Made, Run, few, shapes
from torch import nn

from course_lib.data.images import Splits, draw
from course_lib.data.loading import load
from course_lib.data.renderings import make_crowds
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.features import reinitialise
from course_lib.evaluate.suite import Pixels, attacked, outliers_of, seen, seen_row
from course_lib.runs.networks import learned
from course_lib.train.history import History
from course_lib.train.tuning import fine_tune

FAMILIES = {
    "negatives": "simclr moco moco-v2 npid pirl roco imco amdim cpc dim yadim",
    "no negatives": "byol simsiam vicreg barlow-twins", "clusters": "swav mice gatcluster scan ruc",
    "dense": "pixpro vader", "masks": "spark mae simmim beit dmae", "masks and a teacher": "dino ibot",
    "labels": "supcon", "control": "random-conv random-vit pixels"}
VITS = {*"mae simmim beit dmae dino ibot random-vit".split()}
FROM = {"random-conv": "simclr", "random-vit": "mae"}  # of what network they are the untrained weights
DRAWS, LABELS, EPISODES, ATTACKED = (0, 1, 2), 500, 200, 60  # LABELS: of a linear probe
TUNING = {"limit": 100, "epochs": 12, "batch_size": 20, "lr": 1e-3}
ATTACK = {"epsilon": 1 / 255, "step": 0.25 / 255, "steps": (0, 1, 5, 10, 20), "restarts": 1}
SAYS = {"labels": LABELS, "episodes": EPISODES, "attacked": ATTACKED, "tuned_on": TUNING["limit"],
        "tuned_epochs": TUNING["epochs"], "tuned_lr": TUNING["lr"], "epsilon": ATTACK["epsilon"], "restarts": 1}


class Line(Run):
    """A network that is there already; what is stored beside its name is how it is measured."""

    backbone = property(lambda self: "vit-tiny" if self.method in VITS else "convnet")

    def settings(self) -> dict:
        return self.says


def find(run: Run) -> nn.Module:
    """A network as it is; no views, as nothing is trained."""
    found = nn.Module()
    network = Pixels() if run.method == "pixels" else learned(FROM.get(run.method, run.method)).method.evaluated
    found.augment, found.network = None, (reinitialise(network, 0) if run.method in FROM else network).eval()
    return found


def runs() -> list[Run]:
    return [Line(name, 0, name, {}, {"steps": 0}, {"family": family, **SAYS}, build=find)
            for family, names in FAMILIES.items() for name in names.split()]


@lru_cache
def targets() -> dict[str, Splits]:
    """The source, and what is asked of a network beside it."""
    calm, sizes = shapes(4000), (2000, 300, 1000)
    source = calm.train, calm.validation.head(500), calm.test
    made = {name: [make(few(n, 300), 900 + n) for n in sizes] for name, make in {
        "striped": lambda n, seed: make_shapes(n, seed, style="striped"), "number": make_crowds}.items()}
    hues = [replace(part, labels=(8 * part.factors["hue"]).long().clamp(max=7), classes=()) for part in source]
    if folder := os.environ.get("COURSE_PHOTOGRAPHS"):
        photographs = load(folder)
        made["photographs"] = [part.select(draw(len(part), few(n, 300), 0)) for part, n in zip(
            (photographs.train, photographs.validation, photographs.test), sizes)]
    return {name: Splits(*parts) for name, parts in {"class": source, "hue": hues, **made}.items()}


def rows(made: Made) -> list[dict]:
    """A row for each draw; what is not drawn is in the first."""
    network, sets = made.method.network, targets()
    known = {name: seen(network, splits) for name, splits in sets.items()}
    found = []
    for number in DRAWS:
        row = {"name": made.run.method, "kind": "method", "draw": number}
        for name, each in known.items():
            row |= seen_row(name, each, few(LABELS, 100), few(EPISODES, 3), number, first=number == DRAWS[0])
        row |= attacked(network, known["class"], sets["class"].test, few(ATTACKED, 8), number, ATTACK)
        if made.run.method != "pixels":
            row["tuned"] = fine_tune(network, sets["number"], seed=number, **{**TUNING, "epochs": few(12, 1)}).accuracy
        found.append(row)
    found[0] |= outliers_of(known, "class", ("striped", "number", "photographs"))
    return found


GRID = Grid("23_transfer", runs, rows, "Lesson 23: a network of lessons/networks, or a control, as it is.",
            train=lambda run, out: Made(run, run.build(run), History(device="cpu", threads=1), targets()["class"]),
            show=("class knn", "class few_5", "striped knn", "hue linear", "number linear", "tuned", "pgd 0", "pgd 20",
                  "number auroc"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
