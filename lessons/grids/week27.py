"""Make the stored runs of lesson 27: points matched in two views, whole images, and what goes wrong with wrong pairs.

    python lessons/grids/week27.py   # what is missing in lessons/runs/27_dense (half a minute each, the longer three)

All but what is compared is equal. A network's map is the one of its maps that finds most points in validation pictures.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import torch
from grid import Grid, Made, Run, shapes, train
from torch import Tensor, nn

from course_lib.augment.views import CROPPED_VIEWS
from course_lib.data.shapes import object_masks
from course_lib.evaluate import dense
from course_lib.evaluate.features import reinitialise
from course_lib.methods import build_method
from course_lib.models.backbones import ConvNet
from course_lib.train.history import History

FIT, LONG, PICTURES, PANEL = {"steps": 200, "batch_size": 64, "lr": 3e-3}, 2000, 500, 8
LOOKS = (0, 10, 30, 60, 100, 200, 500, 1000, 2000)  # steps at which it is asked for points
VADER = ("vader", {"points": 8, "queue": 1024})
PIXPRO = {"stage": 1, "hidden": 256, "out": 64}  # the map of 8 x 8 cells
LINES = {"vader": VADER, "any-point": VADER, "mirror-forgotten": VADER, "simclr": ("simclr", {}),
         "pixpro": ("pixpro", PIXPRO), "pixpro-alone": ("pixpro", {**PIXPRO, "gamma": None})}
KEPT = ("vader", "mirror-forgotten", "simclr", "pixpro")  # of their seed 0
LINES |= {f"{line}-long": LINES[line] for line in ("vader", "pixpro", "simclr")}


def build(run: Run) -> nn.Module:
    """The method; VADeR with other points as positives, too: any shared point of the image, or mirroring not undone."""
    method, line = build_method(run.method, run.backbone, 32, **run.options), run.says["line"]
    right = method.views

    def wrong(*arguments) -> tuple[Tensor, ...]:
        a, b, here, there, found = right(*arguments)
        if line == "any-point":
            return a, b, here, there.roll(1, 1), found
        # a view's x, counted from the other side, where just one of the two is mirrored: known by how x runs in both
        turned = (here[:, :1, 0] - here[:, 1:2, 0]) * (there[:, :1, 0] - there[:, 1:2, 0]) < 0  # (B, 1)
        x, y = there.unbind(-1)
        return a, b, here, torch.stack([torch.where(turned, 1 - x, x), y], -1), found

    if line in ("any-point", "mirror-forgotten"):
        method.views = wrong
    return method


def runs() -> list[Run]:
    return [Run(f"{line}-s{seed}", seed, name, {"augment": CROPPED_VIEWS, **options},
                {**FIT, "steps": LONG} if line.endswith("-long") else FIT, {**options, "line": line}, build=build)
            for seed in (0, 1, 2) for line, (name, options) in LINES.items()]


@lru_cache
def pairs(split: str) -> dense.Pairs:
    part = getattr(shapes(), split).head(PICTURES)
    return dense.true_pairs(part.images, CROPPED_VIEWS, seed=1, masks=object_masks(part.factors))


def measured(name: str, maps: dict[str, dense.Maps], kind: str = "control") -> dict:
    return {"name": name, "kind": kind} | dense.score_maps(maps, pairs("validation"), pairs("test"),
                                                           shapes().train.head(5), shapes().test.head(100))


@lru_cache
def controls() -> list[dict]:
    place = dense.shares_found(dense.at_same_place(pairs("test")), pairs("test"))
    return [{"name": "position alone", "kind": "control", **place},
            measured("random encoder", dense.maps_of(reinitialise(ConvNet(), 0).eval())),
            measured("raw pixels", {"pixels": dense.pixel_maps})]


def watched(run: Run, out=None) -> Made:
    """A training that is asked for the points of 100 test pairs at some of its steps."""
    seen, some = {}, pairs("test").head(100)
    few = some.head(PANEL)

    def look(method: nn.Module, history: History | None) -> None:
        if (step := history.steps if history else 0) in LOOKS:
            maps = list(dense.maps_of(method).values())[-1]
            seen[step] = (dense.shares_found(dense.answers(maps, some), some)["found"],
                          dense.cell_cosines(maps, few.first, few.second))

    made = train(run, watch=look)
    cosines = torch.stack([cosines for _, cosines in seen.values()])  # (looks, PANEL, L, L)
    if run.seed == 0 and run.says["line"] in KEPT:
        made.beside[f"{run.says['line']}.pt"] = {
            "steps": list(seen), "cosines": (cosines.clamp(0, 1) * 255).byte(),
            "first": (255 * few.first).byte(), "second": (255 * few.second).byte(), "corners1": few.corners1,
            "corners2": few.corners2}
    made.beside["looks"] = {"looks": list(seen), "found_at": [right for right, _ in seen.values()]}
    return made


def rows(made: Made) -> list[dict]:
    row = measured(str(made.run.says["line"]), dense.maps_of(made.method), "method")
    return [row | made.beside.pop("looks"), *controls()]


GRID = Grid("27_dense", runs, rows, "Lesson 27: what is compared; and wrong pairs.", ("found", "object"), watched)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
