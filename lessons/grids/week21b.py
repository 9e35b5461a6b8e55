"""Make the stored runs of lesson 21's Further: LCI's warp as a fifth class beside RotNet's turns.

    python lessons/grids/week21b.py   # what is missing in lessons/runs/21_further (about a minute of one core each)

Crops of one photograph. One thing differs: whether all pictures are resampled, or those that are warped alone.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import torch
from grid import Grid, Made, Run, few, shapes
from torch import nn
from week21 import FEATURES, FIRST, LR, PROBED, on_source

from course_lib.augment.pixels import standardize, to_float
from course_lib.data.one_photo import photo_crops, sample_photograph
from course_lib.evaluate.layers import probed_layers
from course_lib.methods.pretext.lci import LCI, WARPED, bent, shifted
from course_lib.models.backbones import ConvNet

STEPS, BATCH, FRESH, COUNT = 200, 64, 1000, 10_000


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in ("resampled", "untouched")]


def line(name: str, seed: int) -> Run:
    options = {"resampled": name == "resampled"}
    return Run(f"lci-{name}-s{seed}", seed, "lci", options, build=build,
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"source": "one photograph", "n": COUNT, "first": FIRST, **options})


def build(run: Run) -> nn.Module:
    return LCI(ConvNet(first=FIRST), **run.options)


@torch.no_grad()
def called_warped(method: LCI, picture: str) -> dict[str, float]:
    """The share of fresh crops that the network calls warped, by what was done to them."""
    crops = to_float(photo_crops(few(FRESH, 60), sample_photograph(picture), seed=1).images)
    g = torch.Generator().manual_seed(0)
    made = {"untouched": crops, "shifted": shifted(crops, g), "warped": bent(crops, g)}
    return {name: float((method.head(method.backbone(standardize(images))).argmax(1) == WARPED).float().mean())
            for name, images in made.items()}


def probed(name: str, kind: str, backbone: nn.Module) -> dict:
    return {"name": name, "kind": kind,
            **probed_layers(backbone, {"shapes": shapes(COUNT)}, FEATURES, few(PROBED, 200))}


@lru_cache
def untrained(seed: int) -> dict:
    torch.manual_seed(seed)
    return probed("random encoder", "control", ConvNet(first=FIRST).eval())


def rows(made: Made) -> list[dict]:
    method: LCI = made.method.eval()  # pyright: ignore
    called = {picture: called_warped(method, picture) for picture in ("china", "flower")}
    return [probed("LCI", "method", method.backbone) | {"warped": called}, untrained(made.run.seed)]


GRID = Grid("21_further", runs, rows, "Lesson 21, Further: LCI's warp beside RotNet's turns.", show=(), train=on_source)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
