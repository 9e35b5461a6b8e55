r"""AMDIM: maximizing mutual information across views. Bachman, Hjelm, Buchwalter, NeurIPS 2019, arXiv 1906.00910.

Two views of an image, three maps of each: r0 (1x1, the image), r1 (5x5) and r2 (7x7), vectors of one width d. A vector
of one view must find all vectors of a map of the other view among those of N images. Source r_i, targets t_jl:

    s_ijl = <r_i, t_jl> / sqrt(d),    reg = 0.05 mean(s^2),    c_ijl = c tanh(s_ijl / c)

    L = mean over i and l of  -log( exp(c_iil) / (exp(c_iil) + sum over j != i and all l' of exp(c_ijl')) )

The own image's other places are not in the sum. The pairs are 0 -> 1, 0 -> 2 and 1 -> 1, from one source cell of each
image, drawn at random; each is the mean of both directions, and so is its regulariser; all are added. Written "01, 02,
11" here, as in Lightning-Bolts. Official code: Philip-Bachman/amdim-public; c is 20 there, and 10 in Lightning-Bolts,
whose `tclip` never reaches the loss.

What other implementations get wrong: the clip before the regulariser; d in place of sqrt(d); a log-sum-exp over all
places, the own image's too; a flip drawn for each view (it is drawn once); batch norm inside of the encoder, whose
maps are then not local (the official one has it at the end only: the backbone "amdim-net").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize, to_float
from course_lib.augment.views import Augment, official_crop, two_views
from course_lib.collectives import gather, world_size
from course_lib.data.images import Batch
from course_lib.methods.base import TwoViewMethod
from course_lib.models.backbones import mean_of_positions
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.layers import ConvBackbone, check_maps, normalize
from course_lib.precision import check_positive, check_several, in_float32

Pairs = tuple[tuple[int, int], ...]


# ------------------------------------------------------------------------------------------------ the loss
def pairs_of(compare: str, maps: int) -> Pairs:
    """ "01, 02, 11" -> ((0, 1), (0, 2), (1, 1)): source and target, by their place among so many maps.

    ValueError for anything else.
    """
    words = [word.strip() for word in str(compare).split(",")]
    if not all(len(word) == 2 and word.isdecimal() and max(map(int, word)) < maps for word in words):
        raise ValueError(f"compare is {compare!r}; expected pairs of digits, source and target, such as 01,02,11, each "
                         f"below {maps}: there are {maps} maps, of which 0 is the first")
    return tuple((int(word[0]), int(word[1])) for word in words)


def drawn_cells(maps: Tensor, draws: Tensor) -> Tensor:
    """One vector of each image's map: (N, d, h, w), uniform draws (N,) in [0, 1) -> (N, d)."""
    cells = maps.flatten(2)  # (N, d, L)
    return cells[torch.arange(len(cells), device=cells.device), :, (draws * cells.shape[2]).long()]


def scaled_dots(sources: Tensor, targets: Tensor) -> Tensor:
    """(A, d), (C, d) -> their inner products over sqrt(d), (A, C)."""
    return sources @ targets.T / math.sqrt(sources.shape[1])


def tanh_clip(scores: Tensor, clip: float = 20.0) -> Tensor:
    """Scores bent softly into (-clip, clip); clip = inf leaves them."""
    return scores if clip == math.inf else clip * torch.tanh(scores / clip)


@in_float32
def nce(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Scores (A, C) of A sources and C targets -> scalar: how little each positive stands out of the negatives.

    positive, negative: (A, C) bool, what a target is for a source; what is neither is left out. The mean over all
    positives of -log(exp(s) / (exp(s) + sum of exp(s') over the negatives of its row)).
    """
    rivals = scores.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)  # (A, 1)
    each = torch.logaddexp(scores, rivals) - scores  # (A, C)
    return torch.where(positive, each, 0.0).sum() / positive.sum()


def regulated_nce(scores: Tensor, positive: Tensor, negative: Tensor, clip: float = 20.0,
                  weight: float = 0.05) -> tuple[Tensor, Tensor]:
    """`nce` of the clipped scores, and weight * mean(s^2) of the scores before."""
    return nce(tanh_clip(scores, clip), positive, negative), weight * scores.square().mean()


@in_float32
def prediction_loss(sources: Tensor, targets: Tensor, clip: float = 20.0,
                    weight: float = 0.05) -> tuple[Tensor, Tensor]:
    """Vectors (N, d) find their image's in maps (N, d, h, w), among all ranks' -> the loss and its regulariser."""
    sources, targets = gather(sources), gather(targets).flatten(2)
    scores = scaled_dots(sources, targets.transpose(1, 2).flatten(0, 1))  # (N, N * L), image by image
    own = torch.eye(len(sources), dtype=torch.bool, device=scores.device).repeat_interleave(targets.shape[2], 1)
    return regulated_nce(scores, own, ~own, clip, weight)


def feature_map_loss(first: Sequence[Tensor], second: Sequence[Tensor], draws: Tensor, pairs: Pairs, clip: float = 20.0,
                     weight: float = 0.05, both: bool = True) -> dict[str, Tensor]:
    """Maps (N, d, h, w) of two views, and for each pair its source cells, as draws (P, 2, N) -> scalars.

    "loss" is the sum of the pairs' ("01", ...) and of "regulariser". both: the mean of the two directions; else sources
    are of the first view only.
    """
    views, parts = (first, second), {}
    regulariser = draws.new_zeros(())
    for (source, target), draw in zip(pairs, draws):
        ways = [prediction_loss(drawn_cells(views[way][source], draw[way]), views[1 - way][target], clip, weight)
                for way in range(1 + both)]
        loss, reg = (sum(way[part] for way in ways) / len(ways) for part in (0, 1))
        name = f"{source}{target}"
        parts[name] = parts[name] + loss if name in parts else loss
        regulariser = regulariser + reg
    return {"loss": sum(parts.values()) + regulariser, **parts, "regulariser": regulariser}


# ------------------------------------------------------------------------------------------------ views, the module
def amdim_view(image_size: int) -> Augment:
    """Colours and grey as in the official code; a shift up to 32 pixels (of up to 4, CIFAR's), else a crop.

    Every view is shifted, there a fifth are not.
    """
    colours: dict[str, Any] = dict(jitter=(0.4, 0.4, 0.4, 0.2), gray_p=0.25)
    if image_size > 32:
        return Augment(image_size, scale=(0.3, 1.0), ratio=(0.7, 1.4), interpolation=official_crop(image_size),
                       **colours)
    return Augment(image_size, scale=(1.0, 1.0), ratio=(1.0, 1.0), shift=0.125, **colours)


def flipped_once(images: Tensor, augment: Augment, generator: torch.Generator, other: Augment) -> tuple[Tensor, Tensor]:
    """Two views of each image that share one flip, drawn with the first one's probability."""
    flip = torch.rand(len(images), generator=generator, device=generator.device) < augment.flip
    images = to_float(images)
    images = torch.where(flip.to(images.device)[:, None, None, None], images.flip(3), images)
    return two_views(images, replace(augment, flip=0.0), generator, replace(other, flip=0.0))


class Embedding(nn.Module):
    """A map (B, width, h, w) -> (B, dim, h, w), place by place: 1x1 convolutions around a near-identity, batch norm."""

    def __init__(self, width: int, dim: int):
        super().__init__()
        last = nn.Conv2d(dim, dim, 1, bias=False)
        self.branch = nn.Sequential(nn.Conv2d(width, dim, 1, bias=False), nn.ReLU(), last)
        self.shortcut, self.norm = nn.Conv2d(width, dim, 1), BatchNorm2d(dim)
        nn.init.zeros_(last.weight)
        if dim >= width:
            nn.init.uniform_(self.shortcut.weight, -0.01, 0.01)
            with torch.no_grad():
                self.shortcut.weight[:width, :, 0, 0].fill_diagonal_(1.0)

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(self.shortcut(maps) + self.branch(maps))


class Scales(nn.Module):
    """A backbone's maps -> what is compared: (B, D, 1, 1), then its last two maps of several places, the smaller first.

    A batch norm on the first, an `Embedding` on each of the others; D is the backbone's width.
    """

    def __init__(self, backbone: ConvBackbone, image_size: int):
        super().__init__()
        sides = [-(-image_size // stride) for stride in backbone.strides]
        self.local = [place for place, side in enumerate(sides) if side > 1][:-3:-1]
        self.whole = BatchNorm2d(backbone.dim)
        self.embeddings = nn.ModuleList(Embedding(backbone.widths[place], backbone.dim) for place in self.local)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        whole = self.whole(mean_of_positions(maps[-1])[:, :, None, None])
        return [whole, *(embed(maps[place]) for place, embed in zip(self.local, self.embeddings))]


class MapMethod(TwoViewMethod):
    """AMDIM, and what differs from it in the maps alone: see `maps`."""

    week = 24
    needs = ("negatives",)
    recipe = {"lr": 1e-3, "weight_decay": 1e-5, "batch_size": 64, "betas": (0.8, 0.999)}
    backbone: ConvBackbone
    pairs: Pairs

    def __init__(self, backbone: ConvBackbone, image_size: int, clip: float, regulariser: float,
                 augment: Augment | None, other: Augment | None):
        super().__init__()
        check_maps(backbone, self.title)
        check_positive("clip", clip)
        self.backbone, self.clip, self.regulariser = backbone, clip, regulariser
        self.augment = augment or amdim_view(image_size)
        self.other = other or self.augment

    def maps(self, images: Tensor) -> list[Tensor]:
        """What is compared, of images in [0, 1]: maps (B, D, h, w)."""
        raise NotImplementedError

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Two views (B, 3, H, W), and draws (P, 2, B) of the source cells."""
        a, b = flipped_once(batch.images, self.augment, generator, self.other)
        draws = torch.rand(len(self.pairs), 2, len(a), generator=generator, device=generator.device)
        return a, b, draws.to(a.device)

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        a, b, draws = views
        if world_size() == 1:
            check_several(a, self.title)
        first, second = self.maps(a), self.maps(b)  # one view at a time, as in the official code
        parts = feature_map_loss(first, second, draws, self.pairs, self.clip, self.regulariser)
        return {**parts, "embedding": normalize(mean_of_positions(first[0]).detach())}


class AMDIM(MapMethod):
    """The method over a convolutional backbone: its vector of the image is map 0, its last two maps are 1 and 2.

    Their sizes are the backbone's: of amdim-net 5x5 and 7x7, as in the paper; of the convnet, at 32 pixels, 4x4 and
    8x8. compare: the pairs, source and target. clip: c (20; inf for none). regulariser: the weight of mean(s^2)
    (0.05). augment: of both views, whose flip is drawn once. recipe: for short runs; the paper has Adam, 2e-4, weight
    decay 1e-5, 500 steps of warm-up.
    """

    title = "AMDIM"
    explored = ("scales",)

    def __init__(self, backbone: ConvBackbone, image_size: int = 32, compare: str = "01,02,11", clip: float = 20.0,
                 regulariser: float = 0.05, augment: Augment | None = None, other: Augment | None = None):
        super().__init__(backbone, image_size, clip, regulariser, augment, other)
        self.scales = Scales(backbone, image_size)
        self.pairs = pairs_of(compare, 1 + len(self.scales.local))

    def maps(self, images: Tensor) -> list[Tensor]:
        return self.scales(self.backbone.stages(standardize(images)))
