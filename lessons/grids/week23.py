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

from grid import Grid, Made, Run, few
from measured import DRAWS, EPISODES, LABELS, SIZES, as_it_is, lines, some, source

from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.data.renderings import make_crowds
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.suite import attacked, outliers_of, seen, seen_row
from course_lib.train.tuning import fine_tune

ATTACKED = 60
TUNING = {"limit": 100, "epochs": 12, "batch_size": 20, "lr": 1e-3}
ATTACK = {"epsilon": 1 / 255, "step": 0.25 / 255, "steps": (0, 1, 5, 10, 20), "restarts": 1}
SAYS = {"labels": LABELS, "episodes": EPISODES, "attacked": ATTACKED, "tuned_on": TUNING["limit"],
        "tuned_epochs": TUNING["epochs"], "tuned_lr": TUNING["lr"], "epsilon": ATTACK["epsilon"], "restarts": 1}


def runs() -> list[Run]:
    return lines(SAYS)


@lru_cache
def targets() -> dict[str, Splits]:
    """The source, and what is asked of a network beside it."""
    made = {name: Splits(*(make(few(n, 300), 900 + n) for n in SIZES.values())) for name, make in {
        "striped": lambda n, seed: make_shapes(n, seed, style="striped"), "number": make_crowds}.items()}
    if folder := os.environ.get("COURSE_PHOTOGRAPHS"):
        made["photographs"] = some(load(folder))
    hues = (replace(part, labels=(8 * part.factors["hue"]).long().clamp(max=7), classes=())
            for part in (getattr(source(), name) for name in SIZES))
    return {"class": source(), "hue": Splits(*hues), **made}


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
            train=lambda run, out: as_it_is(run, source()),
            show=("class knn", "class few_5", "striped knn", "hue linear", "number linear", "tuned", "pgd 0", "pgd 20",
                  "number auroc"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
