"""What lesson 27's knobs look at: maps before and after propagation, points through training, kin in a photograph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.geometry import cell_centres
from course_lib.evaluate.attention import similarity
from course_lib.evaluate.patches import component_colours
from course_lib.plots import dense as figures

SIDE = 8  # cells of a stored view, across and down
CELLS = cell_centres(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), SIDE, SIDE)  # (1, 64, 2)
Carry = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # `27.carry`


def places_differ(maps: Tensor) -> float:
    """How different the places of maps (N, D, h, w) are: one minus the mean cosine of two places, mean over maps."""
    return float(1 - F.normalize(maps.flatten(2), dim=1).mean(2).square().sum(1).mean())


def propagation(propagate: Callable, maps: Tensor, number: int, gamma: float, place: Sequence[int]
                ) -> tuple[dict[str, float], dict[str, Tensor], Tensor]:
    """A learner's `propagate` on maps (N, D, h, w) and, of the map `number`, what a place (row, column) gathers.

    -> how different the places are "before" and "after", and the sum that the place "gathers"; both maps as colours
    (h, w, 3) of common components; the weights (h, w) of that place.
    """
    x, y, side = F.normalize(maps.flatten(2), dim=1), propagate(maps, maps, gamma), maps.shape[-1]
    weights = (x[number].T @ x[number, :, place[0] * side + place[1]]).clamp(min=0) ** gamma
    rows = torch.cat([F.normalize(each.flatten(2), dim=1).mT for each in (maps, y)])
    colours = component_colours(rows)[0].view(2, len(maps), side, side, 3)[:, number]
    data = {"before": places_differ(maps), "after": places_differ(y), "gathers": float(weights.sum())}
    return data, {"x: components": colours[0], "y": colours[1]}, weights.view(side, side)


def through_training(kept: Mapping[str, Any], carry: Carry, moment: int, number: int
                     ) -> tuple[Tensor, Tensor, Tensor, float]:
    """A stored pair of views at a moment of training: who is found in the second for each cell of the first.

    -> the cosines of all cells (64, 64); where the cells lie in the second view, (64, 2), and whether they are shown
    there, (64,), by a learner's `carry`; the share of the shown ones that are found within one cell.
    """
    cosines = kept["cosines"][moment, number].float() / 255
    truth, seen = carry(CELLS, *(kept[name][number:number + 1] for name in ("corners1", "corners2")))
    near = (CELLS[0][cosines.argmax(1)] - truth[0]).abs().amax(1) <= 1 / SIDE
    return cosines, truth[0], seen[0], float(near[seen[0]].float().mean())


def looked_up(kept: Mapping[str, Any], carry: Carry, moment: int, number: int, cell: tuple[int, int]
              ) -> tuple[dict[str, float], Figure]:
    """`through_training` with one cell (row, column) asked for: the share "right" and the "step", and the picture."""
    cosines, truth, seen, right = through_training(kept, carry, moment, number)
    here, step = SIDE * cell[0] + cell[1], kept["steps"][moment]
    shown = bool(seen[here])
    return {"right": right, "step": step}, figures.looked_up(
        kept["first"][number], kept["second"][number], cosines, cell, truth[here] if shown else None,
        f"cosines, step {step}" + ("" if shown else "; not shown"), right)


def by_mirror(kept: Mapping[str, Any], carry: Carry) -> tuple[float, float, int]:
    """The mean share found at the end in pairs of equally mirrored views and of others, and how many others there are.
    """
    first, second = (kept[name][:, 0] > kept[name][:, 2] for name in ("corners1", "corners2"))
    last, differ = len(kept["steps"]) - 1, (first != second).tolist()
    right = [through_training(kept, carry, last, number)[3] for number in range(len(differ))]
    alike, others = ([each for each, other in zip(right, differ) if other is which] for which in (False, True))
    return fmean(alike), fmean(others), len(others)


def kin(maps: Tensor, place: Sequence[int], clicks: int) -> Tensor:
    """The cosines of all places of a map (D, h, w), its mean subtracted, with one: (h, w).

    place: row and column, of `clicks` in a row.
    """
    side = maps.shape[-1]
    row, column = (int((at + 0.5) * side / clicks) for at in place)
    centred = maps.flatten(1).T - maps.flatten(1).T.mean(0)
    return similarity(centred[row * side + column][None], centred, center=False).view(side, side)


CROPS = {"crops that overlap, and yet not one pair": lambda d: d["shown"] > 0 and d["pairs"] == 0,
         "a cell with at least nine partners": lambda d: d["most"] >= 9}
SHARPNESS = {
    "a gamma that leaves the map nearly as it was (VADeR)":
        lambda d: d["network"] == "VADeR" and abs(d["after"] - d["before"]) < 0.1 * d["before"],
    "a map in which all places have become one": lambda d: d["after"] < 0.01}
TRAINING = {
    "a pair in which VADeR, trained, finds fewer than three points in four":
        lambda d: d["network"] == "VADeR" and d["step"] > 150 and d["right"] < 0.75,
    "a pair in which SimCLR, trained, finds more than half":
        lambda d: d["network"] == "SimCLR" and d["step"] > 150 and d["right"] > 0.5}
PHOTOGRAPH = {"by colour: a place that over three fifths of the picture resemble": lambda d: d["colour"] > 0.6,
              "VADeR: a place that hardly any other resembles (under 2 %)": lambda d: d["VADeR"] < 0.02}
