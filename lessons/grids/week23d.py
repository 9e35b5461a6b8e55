"""Make the stored numbers of lesson 23 on Fashion-MNIST: each network of week23.py, read on pictures of clothes.

    python lessons/grids/week23d.py   # what is missing in lessons/runs/23_fashion (5 seconds of one core each)

Torchvision fetches the images, 31 MB, unless they are in $COURSE_DATA. They are grey, 28 x 28 and a black edge of 2;
all networks learned on coloured shapes. What is sampled is drawn as in week23.py.
"""

from __future__ import annotations

import sys
from functools import lru_cache

from grid import Grid, Made, Run, few, shapes
from week23 import DRAWS, EPISODES, FAMILIES, LABELS, Line, find

from course_lib.data.images import Splits, draw
from course_lib.data.loading import load
from course_lib.evaluate.suite import outliers_of, seen, seen_row
from course_lib.train.history import History

SIZES = {"train": 2000, "validation": 300, "test": 1000}


def runs() -> list[Run]:
    return [Line(name, 0, name, {}, {"steps": 0}, {"family": family, "labels": LABELS, "episodes": EPISODES},
                 build=find) for family, names in FAMILIES.items() for name in names.split()]


@lru_cache
def clothes() -> Splits:
    splits = load("fashion-mnist")
    return Splits(*(part.select(draw(len(part), few(n, 300), 0)) for split, n in SIZES.items()
                    for part in [getattr(splits, split)]))


def source() -> Splits:
    """What most of the networks learned on: the known kind, beside which clothes are outliers."""
    calm = shapes(4000)
    return Splits(calm.train, calm.validation.head(500), calm.test)


def rows(made: Made) -> list[dict]:
    """A row for each draw; what is not drawn is in the first."""
    network = made.method.network
    known = {"class": seen(network, source()), "fashion": seen(network, clothes())}
    found = [{"name": made.run.method, "kind": "method", "draw": number,
              **seen_row("fashion", known["fashion"], few(LABELS, 100), few(EPISODES, 3), number,
                         first=number == DRAWS[0])} for number in DRAWS]
    found[0] |= outliers_of(known, "class", ("fashion",))
    return found


GRID = Grid("23_fashion", runs, rows, "Lesson 23: a network of lessons/networks, or a control, on Fashion-MNIST.",
            train=lambda run, out: Made(run, run.build(run), History(device="cpu", threads=1), clothes()),
            show=("fashion knn", "fashion linear", "fashion few_5", "fashion auroc"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
