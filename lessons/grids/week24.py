"""Make the stored runs of lesson 24: from SimCLR to YADIM one switch at a time, CPC's colours, three encoders.

    python lessons/grids/week24.py   # what is missing in lessons/runs/24_framework

All lines have the same images, steps, batch, learning rate and seeds. Switches: the same views, of which two share a
flip where the augmentation is "amdim". CPC: a picture recoloured as a whole, or each patch by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache, partial

import torch
from grid import Grid, Made, Run, few, shapes
from networks import DEEPER

from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import ImageSet
from course_lib.evaluate.features import embed, raw_pixels
from course_lib.evaluate.measures import effective_rank
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.methods import build_method
from course_lib.methods.information.framework import ASPECTS, PAPERS

STEPS, BATCH, LR, SEEDS = 120, 64, 3e-3, (0, 1, 2)
BANK, QUERIES = 4000, 1000  # of the images
CROPS = Augment(scale=(0.8, 1.0), jitter_p=0.0, gray_p=0.0)  # patches are recoloured by themselves
START, END = PAPERS["SimCLR"], PAPERS["YADIM"]
SWITCHES = {name: START[:place] + END[place:place + 1] + START[place + 1:] for place, name in enumerate(ASPECTS)
            if name in ("augmentation", "extraction")}  # two of the four that differ
PATCHES = {"patch": 16, "step": 8, "rows": (1, 2)}
ENCODERS = {"convnet": {}, "deeper convnet": DEEPER, "amdim-net": {}}


class Encoded(Run):
    """A run over an encoder of `ENCODERS`; the last one, AMDIM's own, is a backbone of the library by this name."""

    @property
    def backbone(self) -> str:
        return "amdim-net" if self.says.get("network") == "amdim-net" else "convnet"


def build(run: Run) -> torch.nn.Module:
    options = ENCODERS[run.says.get("network", "convnet")]
    return build_method(run.method, run.backbone, 32, backbone_options=options, **run.options)


def line(name: str, seed: int, method: str, options: dict, augment: Augment = SHAPES_VIEWS, lr: float = LR,
         **says: str) -> Run:
    fit = {"steps": STEPS, "batch_size": BATCH, "lr": lr, "device": "cpu"}
    return Encoded(f"{name.replace(' ', '-')}-s{seed}", seed, method, {"augment": augment, **options}, fit,
                   {"line": name, **options, **says}, build=build)


def runs() -> list[Run]:
    lines, nets = {"simclr": START, **SWITCHES, "yadim": END}, list(ENCODERS)
    made = [line(name, seed, "framework", dict(zip(ASPECTS, choices))) for seed in SEEDS
            for name, choices in lines.items()]
    made += [line(f"{method} {net}", seed, method.split("-")[0], options, network=net) for seed in SEEDS
             for method, options, some in (("yadim", {"norm": True}, nets), ("yadim-bare", {}, nets[1:2]),
                                           ("amdim", {}, nets)) for net in some]
    return made + [line(f"cpc {name}", seed, "cpc", {**PATCHES, "patch_augment": own}, views, 1e-3) for seed in SEEDS
                   for name, own, views in (("one colour", False, SHAPES_VIEWS), ("own colours", True, CROPS))]


@lru_cache
def parts() -> tuple[ImageSet, ImageSet]:
    splits = shapes()
    return splits.train.select(range(few(BANK, 100))), splits.test.select(range(few(QUERIES, 50)))


def row(name: str, kind: str, look: Callable[[ImageSet], torch.Tensor]) -> dict:
    bank, queries = (look(part) for part in parts())
    return {"name": name, "kind": kind,
            "rank": effective_rank(queries) if len(queries) > 2 * queries.shape[1] else None,
            "knn": knn_accuracy(bank, parts()[0].labels, queries, parts()[1].labels)}


@lru_cache
def pixels() -> dict:
    return row("raw pixels", "control", raw_pixels)


def rows(made: Made) -> list[dict]:
    assert made.untrained is not None
    return [row(made.run.says["line"], "method", partial(embed, made.method.eval())),
            row("random encoder", "control", partial(embed, made.untrained.eval())), pixels()]


GRID = Grid("24_framework", runs, rows, "Lesson 24: five switches, three encoders.", show=("knn",))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
