"""Make the stored runs of lesson 01: alignment and uniformity where the background gives the class away.

    python lessons/grids/week01.py   # what is missing in lessons/runs/01_orientation (about 10 minutes on one core)

A 2 x 2 table of views, crop by colour, three seeds each. All train on confounded images: each class on its own
background.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from grid import SHAPES, Grid, Made, Run, few, measure, shapes, train
from torch import Tensor, nn

from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import ImageSet, Splits
from course_lib.data.loading import load
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.models.backbones import ConvNet

STEPS, BATCH = 200, 128
FIT = {"steps": STEPS, "batch_size": BATCH, "lr": 3e-3, "device": "cpu", "threads": 1}
CROPS = {"gentle": (0.8, 1.0), "hard": (0.2, 1.0)}
COLOURS = {"strong": SHAPES_VIEWS, "mild": Augment()}  # for generated shapes; those of photographs


@lru_cache
def confounded() -> Splits:
    return load("shapes", n=few(SHAPES, 300), relation="confounded")


def runs() -> list[Run]:
    return [line(crop, colour, seed) for seed in (0, 1, 2) for crop in CROPS for colour in COLOURS]


def line(crop: str, colour: str, seed: int) -> Run:
    return Run(f"crops-{crop}-colours-{colour}-s{seed}", seed, "align-uniform",
               {"augment": replace(COLOURS[colour], scale=CROPS[crop])}, fit=FIT,
               says={"steps": STEPS, "crops": crop, "colours": colour, "n": SHAPES})


def train_confounded(run: Run, out: Path | None = None) -> Made:
    return train(run, confounded(), out)


def row(name: str, kind: str, encoder: nn.Module | None) -> dict:
    """As `measure`, on independent images; and kNN in a confounded bank, of test images of both kinds."""
    look: Callable[[ImageSet], Tensor] = raw_pixels if encoder is None else partial(embed, encoder)
    bank = look(confounded().train)
    found = {kind: knn_accuracy(bank, confounded().train.labels, look(part), part.labels)
             for kind, part in (("confounded", confounded().test), ("independent", shapes().test))}
    return {**measure(name, kind, encoder), **found}


@lru_cache
def controls() -> tuple[dict, dict]:
    return (row("random encoder", "control", reinitialise(ConvNet(), 0).eval()), row("raw pixels", "control", None))


def rows(made: Made) -> list[dict]:
    return [row("align-uniform", "method", made.method.eval()), *controls()]


GRID = Grid("01_orientation", runs, rows, "Lesson 01: views and a shortcut; one part changed at a time.",
            show=("knn", "confounded", "independent"), train=train_confounded)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
