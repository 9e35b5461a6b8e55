"""Make the stored runs of lesson 24's Further: CMC, with channels as views, and its control.

    python lessons/grids/week24b.py   # what is missing in lessons/runs/24_further (about a minute of one core each)

What the two encoders see differs and nothing else: lightness and colours, or both of them the whole picture. The first
1000 images, which the memory banks meet often enough.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from grid import CROPS, Grid, Made, Run, controls, few, measure, shapes, train

STEPS, BATCH, IMAGES, SEEDS = 300, 64, 1000, (0, 1, 2)
SEEN = {"channels": {"split": True}, "whole": {"split": False}}


def runs() -> list[Run]:
    return [line(name, seed) for seed in SEEDS for name in SEEN]


def line(name: str, seed: int) -> Run:
    options = {"softmax": True, **SEEN[name]}
    return Run(f"cmc-{name}-s{seed}", seed, "cmc", {"augment": CROPS, **options},
               {"steps": STEPS, "batch_size": BATCH, "lr": 1e-3, "device": "cpu", "threads": 1},
               {"line": name, "n": IMAGES, **options})


def on_some(run: Run, out: Path | None = None) -> Made:
    return train(run, replace(shapes(), train=shapes().train.select(range(few(IMAGES, 128)))), out)


def rows(made: Made) -> list[dict]:
    assert made.untrained is not None
    return [measure("CMC", "method", made.method.eval()), measure("random encoder", "control", made.untrained.eval()),
            controls()[1]]


GRID = Grid("24_further", runs, rows, "Lesson 24, Further: what the two encoders of CMC see.", train=on_some)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
