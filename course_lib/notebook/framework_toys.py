"""What lesson 24's knobs look at: a setting of the five switches untrained, maps that find each other, channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import einops
import torch
from torch import Tensor

from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods.information.cmc import SPACES
from course_lib.methods.information.framework import ASPECTS, Framework, Represented, check_choices
from course_lib.models.backbones import ConvNet
from course_lib.seeds import generator


def go_together(choices: Sequence[str]) -> bool:
    """Whether five choices, in the order of `ASPECTS`, make a method that runs."""
    try:
        check_choices(**dict(zip(ASPECTS, choices)))
    except ValueError:
        return False
    return True


class Compared(NamedTuple):
    """What a setting compares before any training: views, who is whose positive and negative, scores, the loss."""

    views: Tensor
    positive: Tensor
    negative: Tensor
    scores: Tensor
    loss: float


def compared(choices: Sequence[str], images: Tensor, augment: Augment) -> Compared:
    """The first comparison that a setting makes of images uint8 (N, 3, H, W). The same each time."""
    augmentation, encoder, extraction, similarity, loss = choices
    torch.manual_seed(0)
    method = Framework(ConvNet(), images.shape[-1], augmentation, encoder, extraction, similarity, loss,
                       augment=augment, queue=24)
    views = method.views(Batch(images, torch.arange(len(images)), None), generator(1))
    with torch.no_grad():
        online = Represented(method.backbone, method.read)
        first = next(iter(method.extract(online, method.copy or online, views)))
        shown = views[0][0] if views[0].ndim > 4 else torch.stack(views[:2])
        scores = method.similarity(first.anchors, first.candidates)
        return Compared(shown, first.positive, first.negative, scores, float(method.loss(views)["loss"]))


class MapPairs:
    """Maps of two views of the same images, by their side: how well places find places of their own image.

    first, second: maps (N, D, h, w) of each view, the smallest first.
    """

    def __init__(self, first: Sequence[Tensor], second: Sequence[Tensor]):
        self.first, self.second = first, second
        self.names = {f"{each.shape[-1]}x{each.shape[-1]}": number for number, each in enumerate(first)}

    def scores(self, source: int, target: int, row: int, column: int) -> Tensor:
        """(N, N, h, w): of a place of each image's first view with all places of all second views."""
        anchors = self.first[source][:, :, row, column]
        return torch.einsum("id,jdhw->ijhw", anchors, self.second[target]) / self.first[0].shape[1] ** 0.5

    def won(self, source: int, target: int, row: int = 0, column: int = 0) -> float:
        """The share of images whose place scores highest, in the mean over places, with its own second view."""
        means = self.scores(source, target, row, column).mean((2, 3))
        return float((means.argmax(1) == torch.arange(len(means))).float().mean())


class Channels(NamedTuple):
    """Channels (N, K, H, W) of images, and how the first goes with each other: correlations (K - 1,).

    pixels: over all pixels; between: over the images' means; within: over what is left of each image.
    """

    maps: Tensor
    pixels: Tensor
    between: Tensor
    within: Tensor


def channels(space: str, images: Tensor) -> Channels:
    """Images float (N, 3, H, W) in a colour space of `cmc.SPACES`."""
    maps = SPACES[space](images)
    means = maps.mean((2, 3))

    def first_with_others(rows: Tensor) -> Tensor:
        return torch.corrcoef(rows)[0, 1:]

    return Channels(maps, *map(first_with_others, (
        einops.rearrange(maps, "n k h w -> k (n h w)"), means.T,
        einops.rearrange(maps - means[:, :, None, None], "n k h w -> k (n h w)"))))


def as_pictures(maps: Tensor) -> Tensor:
    """Channels (N, K, H, W) stretched to [0, 1], each over all images, in grey: (K, N, 3, H, W)."""
    low, high = maps.amin((0, 2, 3), keepdim=True), maps.amax((0, 2, 3), keepdim=True)
    return einops.repeat((maps - low) / (high - low), "n k h w -> k n rgb h w", rgb=3)


SWITCHES = {"two choices that do not go together": lambda d: not d["goes"],
            "a setting that runs and has no name": lambda d: d["goes"] and not d["paper"],
            "a loss that ignores its negatives": lambda d: d["loss kind"] in ("distance", "minus")}
MAPS = {"the whole picture as the source": lambda d: d["source"] == "1x1",
        "places of 2x2 that look for places of 2x2, as 5x5 for 5x5 in the paper":
            lambda d: d["source"] == d["targets"]}
PATCHES = {"patches that do not fit the picture": lambda d: "do not fit" in d["error"],
           "a grid of fewer than ten patches": lambda d: not d["error"] and d["negatives"] < 64 * 10 - 1}
