"""Hidden patches drawn as a pattern with given means and standard deviations: what a network knows, what it was told.

A network with normalised targets predicts each hidden patch but for its mean and its standard deviation. Whose these
are decides how good its drawing looks: the true ones tell what is to be found out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.masks import patch_mask
from course_lib.augment.pixels import standardize
from course_lib.evaluate.reconstruction import fill_blurred, fill_nearest, hidden_error
from course_lib.methods.masked.dmae import noisy
from course_lib.methods.masked.mae import MAE
from course_lib.models.patches import normalize_patches, paint, patchify

PATTERNS = ("MAE", "copy", "blur", "flat")
STATISTICS = ("true", "visible", "copy", "blur")
WIDTHS = range(3, 17, 2)  # of a blur's box, in pixels
GRID, PATCH = 8, 4
Brush = tuple[str, str, MAE]  # pattern, statistics, and the network of the pattern "MAE"


def masked(count: int, ratio: float) -> Tensor:
    """The masks of `draw`: bool (count, 8, 8), True = visible, the same each time."""
    return patch_mask(count, GRID, ratio, torch.Generator().manual_seed(7))


@torch.no_grad()
def draw(network: MAE, pictures: Tensor, pattern: str, statistics: str, ratio: float, width: int
         ) -> tuple[Tensor, float]:
    """Pictures float (N, 3, 32, 32) in [0, 1], a share `ratio` of their patches hidden and drawn -> pictures, error.

    pattern: "MAE", what the network predicts; "copy" of the nearest pixel, or that with a "blur" `width` pixels wide,
    normalised; "flat". statistics, a patch's mean and standard deviation: the "true" ones, the mean of the "visible"
    patches', those of the "copy" or the "blur". The error is `hidden_error`.
    """
    visible = masked(len(pictures), ratio)
    fills = {"copy": fill_nearest(pictures, visible), "blur": fill_blurred(pictures, visible, width)}
    cut = {kind: normalize_patches(patchify(standardize(fill.clone()), PATCH)) for kind, fill in fills.items()}
    if pattern == "MAE":
        patches = network.decode(standardize(pictures.clone()), visible)
    else:
        patches = cut.get(pattern, cut["copy"])[0] * (pattern != "flat")
    given = statistics in cut
    if given:
        _, mean, std = cut[statistics]
        patches = patches * std + mean
    picture = paint(pictures, patches, visible, normalized=not given, true_statistics=statistics == "true")
    return picture, hidden_error(picture, pictures, visible)


def best_blur(network: MAE, pictures: Tensor, ratio: float) -> tuple[int, float]:
    """The width of the blurred copy with the smallest error on these pictures, and the error."""
    errors = {width: draw(network, pictures, "blur", "blur", ratio, width)[1] for width in WIDTHS}
    return min(errors.items(), key=lambda found: found[1])


def brush_errors(brushes: Mapping[str, Brush], pictures: Tensor, ratio: float, width: int) -> dict[str, float]:
    """Errors of each brush, of "blur, true" (a blur's pattern with the true statistics) and of the "best blur", whose
    width is picked on the very pictures.
    """
    network = next(iter(brushes.values()))[2]
    every = {**brushes, "blur, true": ("blur", "true", network)}
    found = {name: draw(who, pictures, pattern, statistics, ratio, width)[1]
             for name, (pattern, statistics, who) in every.items()}
    return {**found, "best blur": best_blur(network, pictures, ratio)[1]}


def error_lines(errors: Mapping[tuple[str, float], Mapping[str, float]]) -> str:
    """(name of the pictures, mask ratio) -> `brush_errors`, a line each, without those that were told the truth."""
    return "\n".join(
        f"{name:16s} {ratio:.0%} hidden   " + "   ".join(f"{who.splitlines()[0]} {error:.3f}"
                                                         for who, error in found.items() if "true" not in who)
        for (name, ratio), found in errors.items())


class ThroughNoise(NamedTuple):
    """Pictures with noise, seen (N, 3, 32, 32) where visible (N, 8, 8); name -> predicted patches (N, 64, 48), in the
    scale of normalised ones; name -> their mean squared error at visible and at hidden patches.
    """

    seen: Tensor
    visible: Tensor
    patches: dict[str, Tensor]
    errors: dict[str, tuple[float, float]]


def _scaled(patches: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Patches times the factor with the least error, one for visible and one for hidden patches, bool (N, L)."""
    factors = [(patches * target)[which].mean() / patches[which].square().mean() for which in (visible, ~visible)]
    return torch.where(visible[..., None], patches * factors[0], patches * factors[1])


@torch.no_grad()
def through_noise(networks: Mapping[str, MAE], pictures: Tensor, sigma: float, ratio: float) -> ThroughNoise:
    """What networks draw of pictures float (N, 3, 32, 32) from noisy visible patches, beside two ways without learning.

    "noisy pixels": the nearest visible pixel as it is; "blurred": that in a box 5 pixels wide; both scaled by the
    factor that is best for them. Noise and masks are the same each time.
    """
    seen = noisy(pictures, sigma, torch.Generator().manual_seed(0))
    visible = patch_mask(len(pictures), GRID, ratio, torch.Generator().manual_seed(1))
    copy, there = fill_nearest(seen, visible), visible.flatten(1)
    soft = F.avg_pool2d(F.pad(copy, (2,) * 4, mode="replicate"), 5, 1)
    target = normalize_patches(patchify(pictures, PATCH))[0]
    patches = {name: network.decode(standardize(seen), visible) for name, network in networks.items()}
    for name, picture in (("noisy pixels", copy), ("blurred", soft)):
        patches[name] = _scaled(normalize_patches(patchify(picture, PATCH))[0], target, there)
    wrong = {name: (drawn - target).square().mean(-1) for name, drawn in patches.items()}  # (N, L)
    errors = {name: (float(each[there].mean()), float(each[~there].mean())) for name, each in wrong.items()}
    return ThroughNoise(seen, visible, patches, errors)
