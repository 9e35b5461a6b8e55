"""Make the stored numbers of lesson 23 on Fashion-MNIST: each network of lesson 23, read on pictures of clothes.

    python lessons/grids/week23d.py   # what is missing in lessons/runs/23_fashion (5 seconds of one core each)

Torchvision fetches the images, 31 MB, unless they are in $COURSE_DATA. They are grey, 28 x 28 and a black edge of 2;
all networks learned on coloured shapes. What is sampled is drawn as in week23.py.
"""

from __future__ import annotations

import sys
from functools import lru_cache

from grid import Grid, Made, Run, few
from measured import DRAWS, EPISODES, LABELS, as_it_is, lines, some, source

from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.evaluate.suite import outliers_of, seen, seen_row


def runs() -> list[Run]:
    return lines({"labels": LABELS, "episodes": EPISODES})


@lru_cache
def clothes() -> Splits:
    return some(load("fashion-mnist"))


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
            train=lambda run, out: as_it_is(run, clothes()),
            show=("fashion knn", "fashion linear", "fashion few_5", "fashion auroc"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
