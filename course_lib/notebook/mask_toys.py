"""Masks of squares, measured by what a copy leaves under them: the small experiments of lesson 13."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_lib.evaluate.reconstruction import fill_nearest, hidden_error
from course_lib.seeds import generator

SIZE = 32  # pixels of a side


def squares(coarse_mask: Callable[..., Tensor], size: int, mask_ratio: float, patch: int, seed: int,
            count: int = 64) -> Tensor:
    """Masks of squares of `size` pixels on a grid of patches, bool (count, 32 / patch, 32 / patch), True = visible.

    coarse_mask(noise, mask_ratio, scale): as lesson 13's exercise makes it. Of four squares at most three are hidden.
    """
    noise = torch.rand(count, SIZE // size, SIZE // size, generator=generator(seed))
    return coarse_mask(noise, min(mask_ratio, 0.75 if SIZE // size == 2 else 1.0), size // patch)


def mask_survey(sets: Mapping[str, Tensor], sizes: Sequence[int], ratios: Sequence[float],
                coarse_mask: Callable[..., Tensor],
                average_distance: Callable[[Tensor, int], float]) -> dict[tuple[str, int, float], dict[str, Any]]:
    """(kind of pictures, size of a square, mask ratio) -> that mask on 64 pictures, and what a copy leaves under it.

    average_distance(visible, 32): the exercise's. Of a mask: "visible", "filled" by the nearest pixel, "distance",
    "error" (share of the variance), and the share that is really "hidden".
    """
    found = {}
    for kind, images in sets.items():
        images = images[:64]
        for size in sizes:
            for ratio in ratios:
                visible = squares(coarse_mask, size, ratio, patch=2, seed=0)
                filled = fill_nearest(images, visible)
                found[kind, size, ratio] = {
                    "visible": visible, "filled": filled, "distance": average_distance(visible, SIZE),
                    "error": hidden_error(filled, images, visible), "hidden": 1 - float(visible.float().mean())}
    return found


def different(survey: Mapping[tuple[str, int, float], dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Kind of pictures -> (distance, error) of each mask of a survey that is not another's once more."""
    points: dict[str, dict[tuple, tuple[float, float]]] = {}
    for (kind, size, _), mask in survey.items():
        points.setdefault(kind, {})[size, mask["hidden"]] = (mask["distance"], mask["error"])
    return {kind: list(masks.values()) for kind, masks in points.items()}


def copy_spread(survey: Mapping[tuple[str, int, float], dict[str, Any]], low: float, high: float) -> dict[str, float]:
    """Kind of pictures -> the worst error of a copy over the best, of masks whose distance is between low and high."""
    near = {kind: [error for distance, error in points if low < distance < high]
            for kind, points in different(survey).items()}
    return {kind: max(errors) / min(errors) for kind, errors in near.items()}
