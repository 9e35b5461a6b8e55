"""Make the stored runs of lesson 23's second table: fine-tuning at two rates, and outliers of the network's own kind.

    python lessons/grids/week23b.py   # what is missing in lessons/runs/23_again (10 seconds of one core each)

The same networks and labels as in week23.py; what changes is the backbone's learning rate, a tenth of the head's.
"""

from __future__ import annotations

import sys
from typing import Any

from grid import Grid, Made, Run, few
from week23 import DRAWS, FAMILIES, TUNING, Line, find, look, targets

from course_lib.data.renderings import make_small
from course_lib.evaluate.features import embed
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.outliers import left_out, outlier_scores, spliced
from course_lib.train.tuning import fine_tune

TWO: dict[str, Any] = {**TUNING, "lr": 1e-2, "backbone_rate": 0.1}


def runs() -> list[Run]:
    return [Line(name, 0, name, {}, {"steps": 0}, {"family": family, **TWO}, build=find)
            for family, names in FAMILIES.items() for name in names.split()]


def rows(made: Made) -> list[dict]:
    """A row for each draw of labels; what is not drawn is in the first."""
    network, sets = made.method.network, targets()
    source = sets["class"]
    (bank, known), (queries, labels) = ((embed(network, part), part.labels) for part in (source.train, source.test))
    found: list[dict] = [{"name": made.run.method, "kind": "method", "draw": number} for number in DRAWS]
    small = [make_small(few(n, 150), 900 + n) for n in (2000, 1000)]
    here, there = (embed(network, part) for part in small)
    found[0]["small knn"] = knn_accuracy(here, small[0].labels, there, small[1].labels)
    pasted = embed(network, spliced(source.test, few(1000, 100)))
    for name, scores in (("left_out", left_out(bank, known, queries, labels)),
                         ("spliced", outlier_scores(bank, queries, pasted))):
        found[0] |= {f"{name} {key}": value for key, value in scores.items()}
    for number in DRAWS if made.run.method != "pixels" else ():
        found[number]["tuned"] = fine_tune(network, sets["number"], seed=number,
                                           **{**TWO, "epochs": few(TWO["epochs"], 1)}).accuracy
    return found


GRID = Grid("23_again", runs, rows, "Lesson 23: a network of lessons/networks, or a control, as it is.", train=look,
            show=("small knn", "left_out auroc", "spliced auroc", "tuned"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
