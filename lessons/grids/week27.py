"""Make the stored runs of lesson 27: points matched in two views, whole images, and what goes wrong with wrong pairs.

    python lessons/grids/week27.py   # what is missing in lessons/runs/27_dense (half a minute of one core each)

Backbone, views, images, batch, steps and learning rate are equal; a line changes what is compared. Test pictures are
held out; a network's map is the one of its maps that finds most points in validation pictures.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from grid import Grid, Made, Run, shapes, train
from torch import Tensor, nn

from course_lib.augment.views import CROPPED_VIEWS
from course_lib.data.images import ImageSet
from course_lib.data.shapes import object_masks
from course_lib.evaluate import dense
from course_lib.evaluate.features import reinitialise
from course_lib.methods import build_method
from course_lib.models.backbones import ConvNet

STEPS, BATCH, LR, PICTURES, PANEL = 200, 64, 3e-3, 500, 8
LOOKS = (0, 10, 30, 60, 100, 200)  # steps at which it is asked for points; of seed 0 the first pairs are kept
VADER = {"points": 8, "queue": 1024}
PIXPRO = {"stage": 1, "hidden": 256, "out": 64}  # the map of 8 x 8 cells
SHOWN = ("vader", "mirror-forgotten", "simclr", "pixpro")  # lines of which cosines are kept
LINES: dict[str, tuple[str, dict]] = {
    "vader": ("vader", VADER), "any-point": ("vader", VADER), "mirror-forgotten": ("vader", VADER),
    "simclr": ("simclr", {}), "pixpro": ("pixpro", PIXPRO), "pixpro-alone": ("pixpro", {**PIXPRO, "gamma": None})}


def wrong_pairs(line: str, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """VADeR's views with other points as positives: any shared point of the image, or mirroring not undone."""
    a, b, here, there, found = views
    if line == "any-point":
        return a, b, here, there.roll(1, 1), found
    # a view's x, counted from the other side, where just one of the two is mirrored: known by how x runs in both
    turned = ((here[:, :1, 0] - here[:, 1:2, 0]) * (there[:, :1, 0] - there[:, 1:2, 0]) < 0)  # (B, 1)
    there = torch.stack([torch.where(turned, 1 - there[..., 0], there[..., 0]), there[..., 1]], -1)
    return a, b, here, there, found


def build(run: Run) -> nn.Module:
    method, line = build_method(run.method, run.backbone, 32, **run.options), run.says["line"]
    if line in ("any-point", "mirror-forgotten"):
        right = method.views
        method.views = lambda batch, generator: wrong_pairs(line, right(batch, generator))
    return method


def runs() -> list[Run]:
    return [Run(f"{line}-s{seed}", seed, name, {"augment": CROPPED_VIEWS, **options},
                fit={"steps": STEPS, "batch_size": BATCH, "lr": LR}, says={**options, "line": line}, build=build)
            for seed in (0, 1, 2) for line, (name, options) in LINES.items()]


@lru_cache
def pairs(split: str) -> dense.Pairs:
    part: ImageSet = getattr(shapes(), split).head(PICTURES)
    return dense.true_pairs(part.images, CROPPED_VIEWS, seed=1, masks=object_masks(part.factors))


def measured(name: str, kind: str, maps: dict[str, dense.Maps]) -> dict:
    return {"name": name, "kind": kind} | dense.score_maps(maps, pairs("validation"), pairs("test"),
                                                           shapes().train.head(5), shapes().test.head(100))


@lru_cache
def controls() -> list[dict]:
    place = dense.within(dense.at_same_place(pairs("test")), pairs("test"))
    return [{"name": "position alone", "kind": "control", "found": float(place.float().mean()),
             "object": float(place[pairs("test").inside].float().mean())},
            measured("random encoder", "control", dense.maps_of(reinitialise(ConvNet(), 0).eval())),
            measured("raw pixels", "control", {"pixels": dense.pixel_maps})]


def watched(run: Run, out: Path | None = None) -> Made:
    """A training that is asked for the points of 100 test pairs at some of its steps."""
    held, seen = {}, {}
    some = dense.Pairs(*(part[:100] for part in vars(pairs("test")).values()))

    def begun(run: Run) -> nn.Module:
        held["method"] = build(run)
        look(0)
        return held["method"]

    def look(step: int) -> None:
        maps = list(dense.maps_of(held["method"]).values())[-1]
        right = dense.within(dense.answers(maps, some), some).float().mean()
        seen[step] = float(right), dense.cell_cosines(maps, some.first[:PANEL], some.second[:PANEL])

    made = train(replace(run, build=begun, fit={**run.fit, "watch": lambda history: history.steps in LOOKS
                                                and look(history.steps)}), out=out)
    made.run = run
    if run.seed == 0 and run.says["line"] in SHOWN:
        cosines = torch.stack([cosines for _, cosines in seen.values()])  # (looks, PANEL, L, L)
        made.beside[f"{run.says['line']}.pt"] = {
            "steps": list(seen), "cosines": (cosines.clamp(0, 1) * 255).byte(),
            **{view: (255 * getattr(some, view)[:PANEL]).byte() for view in ("first", "second")},
            **{name: getattr(some, name)[:PANEL] for name in ("corners1", "corners2")}}
    made.beside["looks"] = {"looks": list(seen), "found_at": [right for right, _ in seen.values()]}
    return made


def rows(made: Made) -> list[dict]:
    return [measured(made.run.says["line"], "method", dense.maps_of(made.method)) | made.beside.pop("looks"),
            *controls()]


GRID = Grid("27_dense", runs, rows, "Lesson 27: what is compared; and wrong pairs.", show=("found", "object", "iou"),
            train=watched)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
