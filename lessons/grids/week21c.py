"""Make the stored runs of lesson 21's Further on LCI's sixth class: a hole that an autoencoder fills from its border.

    python lessons/grids/week21c.py   # what is missing in lessons/runs/21_filled (two minutes of one core each)

Crops of one photograph; all are resampled. One thing differs: whether half of the untouched pictures, too, carry a
patch that went through the autoencoder, so that its traces are no answer. Kept beside the records: a network.
"""

from __future__ import annotations

import sys

import torch
from grid import Grid, Made, Run, few, half
from torch import nn
from week21 import FIRST, LR, PROBED, on_source
from week21b import COUNT, FRESH, probed, untrained

from course_lib.augment.pixels import standardize, to_float
from course_lib.data.one_photo import photo_crops, sample_photograph
from course_lib.methods.pretext.lci import FILLED, NOISE, WARPED, FilledLCI, bent, pasted, shifted
from course_lib.models.backbones import ConvNet

STEPS, BATCH = 400, 64
LINES = {"decoded": True, "bare": False}
KEPT = "lci-decoded-s0"  # its network lies beside the record


def runs() -> list[Run]:
    return [line(name, seed) for seed in (0, 1, 2) for name in LINES]


def line(name: str, seed: int) -> Run:
    options = {"decoded": LINES[name]}
    return Run(f"lci-{name}-s{seed}", seed, "lci", options, build=build,
               fit={"steps": STEPS, "batch_size": BATCH, "lr": LR, "device": "cpu", "threads": 1},
               says={"source": "one photograph", "n": COUNT, "first": FIRST, "classes": FILLED + 1, "probed": PROBED,
                     "resampled": True, **options})


def build(run: Run) -> nn.Module:
    return FilledLCI(ConvNet(first=FIRST), **run.options)


@torch.no_grad()
def shown(method: FilledLCI, picture: str) -> dict[str, torch.Tensor]:
    """Fresh crops in [0, 1], and what is done to them: the same crops, with the same patches."""
    crops = to_float(photo_crops(few(FRESH, 60), sample_photograph(picture), seed=1).images)
    g = torch.Generator().manual_seed(0)
    upright, side = shifted(crops, g), method.side
    corners = torch.randint(crops.shape[-1] - side + 1, (len(crops), 2), generator=g)
    noise = NOISE * torch.randn(len(crops), 3, side, side, generator=g)
    _, whole, made = method.filled(upright, corners, noise)
    return {"untouched": upright, "decoded": pasted(upright, (whole + 1) / 2, corners),
            "filled": pasted(upright, (made + 1) / 2, corners), "warped": bent(crops, g)}


@torch.no_grad()
def called(method: FilledLCI, picture: str, answer: int) -> dict[str, float]:
    """The share of fresh crops that the network answers so, by what was done to them."""
    return {name: float((method.head(method.backbone(standardize(images))).argmax(1) == answer).float().mean())
            for name, images in shown(method, picture).items()}


def rows(made: Made) -> list[dict]:
    method: FilledLCI = made.method.eval()  # pyright: ignore
    if made.run.id == KEPT:
        made.beside[f"{KEPT}.pt"] = half(method)
    answers = {name: {picture: called(method, picture, answer) for picture in ("china", "flower")}
               for name, answer in (("filled", FILLED), ("warped", WARPED))}
    return [probed("LCI", "method", method.backbone) | answers, untrained(made.run.seed)]


GRID = Grid("21_filled", runs, rows, "Lesson 21, Further: LCI's filled hole, and its decoder's traces.", show=(),
            train=on_source)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
