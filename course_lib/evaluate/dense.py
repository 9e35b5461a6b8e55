"""What a network says about every place of an image: where a point went in another view, and which pixels are the
object's, learned from a few labelled pictures. Both have true answers on generated images.

A map is (B, D, h, w), one vector for each cell. Places are x, y in [0, 1] along the sides of a view.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.geometry import cell_centres, in_view
from course_lib.augment.pixels import standardize, to_float
from course_lib.augment.views import Augment, check_placed
from course_lib.data.images import ImageSet
from course_lib.data.shapes import object_masks
from course_lib.evaluate.features import evaluating
from course_lib.evaluate.measures import few_threads
from course_lib.evaluate.patches import patch_vectors
from course_lib.methods.base import ComparesMaps, Method
from course_lib.methods.dense.vader import read_at, shared_points
from course_lib.models.layers import check_maps, normalize
from course_lib.models.vit import ViT
from course_lib.seeds import generator

Maps = Callable[[Tensor], Tensor]
CELLS = 8  # along a side of a view: what "within one cell" means, for coarse and fine maps alike


# ------------------------------------------------------------------------------------------------ maps
def maps_of(network: nn.Module) -> dict[str, Maps]:
    """What can be asked for a vector of each place, by name: stages of a conv net, tokens of a ViT, a method's own map.

    Each takes images (B, 3, S, S), uint8 or in [0, 1], and gives (B, D, h, w) on the CPU, without gradient. ValueError
    for a network that has none.
    """
    backbone = network.evaluated if isinstance(network, Method) else network
    if not isinstance(backbone, ViT):
        check_maps(backbone, "a look at places")
    stages = [-1] if isinstance(backbone, ViT) else range(len(getattr(backbone, "widths", ())))
    found = {"tokens" if stage < 0 else f"stage {stage + 1}": _asked(backbone, partial(_stage, backbone, stage))
             for stage in stages}
    if isinstance(network, ComparesMaps):
        found["own map"] = _asked(network, network.maps)
    return found


def _stage(backbone: nn.Module, stage: int, images: Tensor) -> Tensor:
    vectors = patch_vectors(backbone, standardize(images), stage)  # (B, L, D)
    side = math.isqrt(vectors.shape[1])
    return vectors.mT.unflatten(2, (side, side))


def _asked(network: nn.Module, maps: Maps) -> Maps:
    def asked(images: Tensor) -> Tensor:
        with evaluating(network) as home:
            return maps(to_float(images).to(home)).float().cpu()

    return asked


def pixel_maps(images: Tensor) -> Tensor:
    """Raw pixels as a map of CELLS x CELLS: each cell's vector is its pixels, (B, 3 * p * p, CELLS, CELLS)."""
    patch = images.shape[-1] // CELLS
    return F.pixel_unshuffle(to_float(images), patch)


# ------------------------------------------------------------------------------------------------ where did it go?
@dataclass
class Pairs:
    """Two views of each of B images, and n points that both show, as places of each view.

    first, second: float (B, 3, S, S). corners1, corners2: (B, 4). here, there: (B, n, 2). inside: (B, n) bool, points
    of the object, where masks were given.
    """

    first: Tensor
    second: Tensor
    corners1: Tensor
    corners2: Tensor
    here: Tensor
    there: Tensor
    inside: Tensor | None = None

    def head(self, n: int) -> Pairs:
        """The first n of them."""
        return replace(self, **{name: part[:n] for name, part in vars(self).items() if part is not None})


def true_pairs(images: Tensor, augment: Augment, points: int = 16, seed: int = 0, masks: Tensor | None = None) -> Pairs:
    """Two views by `augment` of each image whose views overlap, with the points that both show.

    images: (N, 3, S, S). masks: (N, S, S) bool, the object's pixels. ValueError for views that turn, shift or zoom.
    """
    check_placed("a pair of points", augment)
    draws = generator(seed)
    (first, corners1), (second, corners2) = (augment.placed(images, draws) for _ in range(2))
    shown, kept = shared_points(corners1, corners2, points, draws)  # (N, n, 2), (N,)
    inside = None
    if masks is not None:
        column, row = (shown * masks.shape[-1]).long().clamp(0, masks.shape[-1] - 1).unbind(2)
        inside = masks[torch.arange(len(masks))[:, None], row, column][kept]
    return Pairs(first[kept], second[kept], corners1[kept], corners2[kept], in_view(shown, corners1)[kept],
                 in_view(shown, corners2)[kept], inside)


def cells_of_view(count: int, cells: int = CELLS) -> Tensor:
    """The centres of a view's cells as places, (count, cells * cells, 2)."""
    return cell_centres(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), cells, cells).expand(count, -1, -1)


def cosines_of(here: Tensor, there: Tensor) -> Tensor:
    """Vectors (B, n, D) of points and (B, m, D) of cells -> cosines (B, n, m), about the cells' mean in each image."""
    mean = there.mean(1, keepdim=True)
    return normalize(here - mean) @ normalize(there - mean).mT


def answers(maps: Maps, pairs: Pairs) -> Tensor:
    """Where each point is found in the second view: the centre of the cell most like it, (B, n, 2)."""
    cells = cells_of_view(len(pairs.first))
    cosines = cosines_of(read_at(maps(pairs.first), pairs.here), read_at(maps(pairs.second), cells))
    return cells[0][cosines.argmax(2)]


def best_map(maps: dict[str, Maps], pairs: Pairs) -> tuple[str, Maps]:
    """The map by which most points are found, with its name: ask it of validation pictures."""
    name = max(maps, key=lambda name: shares_found(answers(maps[name], pairs), pairs)["found"])
    return name, maps[name]


def cell_cosines(maps: Maps, first: Tensor, second: Tensor) -> Tensor:
    """Two views (B, 3, S, S) of each image -> cosines of the cells of the one with those of the other, (B, L, L)."""
    cells = cells_of_view(len(first))
    return cosines_of(read_at(maps(first), cells), read_at(maps(second), cells))


def at_same_place(pairs: Pairs) -> Tensor:
    """The answer that knows no picture: the cell at the point's place in the first view, (B, n, 2)."""
    cells = cells_of_view(1)[0]
    return cells[torch.cdist(pairs.here, cells).argmin(2)]


def within(found: Tensor, pairs: Pairs, cells: int = CELLS) -> Tensor:
    """(B, n) bool: the answer is at most one cell from the truth, along each side."""
    return (found - pairs.there).abs().amax(2) <= 1 / cells


def shares_found(found: Tensor, pairs: Pairs) -> dict[str, float]:
    """"found": how many of all answers are `within`; "object": of the object's points, where they are known."""
    right = within(found, pairs).float()
    return {"found": float(right.mean())} | ({} if pairs.inside is None else
                                             {"object": float(right[pairs.inside].mean())})


# ------------------------------------------------------------------------------------------------ segmentation
def mean_iou(guess: Tensor, truth: Tensor, classes: int = 2) -> float:
    """Intersection over union of each class over all pixels, then the mean: (N, H, W) integers or bool, alike.

    A class that neither holds is left out. ValueError for two shapes, or if no class is left.
    """
    if guess.shape != truth.shape:
        raise ValueError(f"guess has shape {tuple(guess.shape)}, truth {tuple(truth.shape)}; expected the same")
    shares = []
    for k in range(classes):
        a, b = guess == k, truth == k
        if (either := (a | b).sum()) > 0:
            shares.append((a & b).sum() / either)
    if not shares:
        raise ValueError(f"no pixel is of one of the {classes} classes, so that nothing overlaps")
    return float(torch.stack(shares).double().mean())


def pixel_vectors(maps: Maps, images: Tensor) -> Tensor:
    """The map stretched (bilinear) to the picture's pixels: (N, S, S, D)."""
    return F.interpolate(maps(images).float(), size=images.shape[2:], mode="bilinear").permute(0, 2, 3, 1)


def segment(maps: Maps, few: Tensor, few_masks: Tensor, images: Tensor, strength: float = 0.1) -> Tensor:
    """Logistic regression on the pixels of a few labelled pictures -> which pixels of others are the object's.

    few (n, 3, S, S), few_masks (n, S, S) bool, images (N, 3, S, S) -> bool (N, S, S). Every second pixel along each
    side is learned from. strength: scikit-learn's C, the same for all networks, as five pictures leave none to pick it
    on. Features are standardised on the few. ValueError if masks do not fit, or show the object only, or the ground.
    """
    from sklearn.linear_model import LogisticRegression

    if few_masks.shape != (len(few), *few.shape[2:]):
        raise ValueError(f"few_masks have shape {tuple(few_masks.shape)}; expected "
                         f"{(len(few), *few.shape[2:])}, one for each picture")
    known = few_masks[:, ::2, ::2].flatten()
    if not 0 < int(known.sum()) < len(known):
        raise ValueError("the few labelled pictures show only the object or only the ground; expected pixels of both")
    rows = pixel_vectors(maps, few)[:, ::2, ::2].flatten(0, 2)
    mean, std = rows.mean(0), rows.std(0).clamp_min(1e-6)
    with few_threads(rows.numel()):
        model = LogisticRegression(C=strength, max_iter=200).fit(((rows - mean) / std).numpy(), known.numpy())
    weights = torch.from_numpy(model.coef_[0]).float() / std
    bias = float(model.intercept_[0]) - float(weights @ mean)
    return torch.cat([pixel_vectors(maps, part) @ weights + bias > 0 for part in images.split(200)])


def score_maps(maps: dict[str, Maps], validation: Pairs, test: Pairs, few: ImageSet, judged: ImageSet) -> dict:
    """Shares of the points of test pairs found, of all and of the object's, and mIoU from a few labelled pictures.

    "map" is the map that finds most points of the validation pairs; "found", "object" and "iou" are its own, and
    "maps" holds the same of every map. test has `inside`; few and judged are generated images with their factors.
    """
    by_map = {}
    for name, look in maps.items():
        guess = segment(look, few.images, object_masks(few), judged.images)
        by_map[name] = {"validation": shares_found(answers(look, validation), validation)["found"],
                        **shares_found(answers(look, test), test),
                        "iou": mean_iou(guess, object_masks(judged))}
    best = max(by_map, key=lambda name: by_map[name]["validation"])
    return {"map": best, **by_map[best], "maps": by_map}
