"""What a memory bank holds: how far its rows are behind the network, what Z they give, and pieces against pictures."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize, to_float
from course_lib.data.images import ImageSet
from course_lib.evaluate.features import embed
from course_lib.evaluate.measures import check_labels
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.methods.pretext.jigsaw import cut
from course_lib.methods.pretext.npid import NPID
from course_lib.methods.pretext.pirl import PIRL
from course_lib.models.layers import normalize


@torch.no_grad()
def bank_vectors(method: NPID, images: Tensor) -> Tensor:
    """Images (N, 3, H, W) -> what the network would write into its bank now: (N, D) of length 1.

    In evaluation mode; the method is left in the mode that it was in.
    """
    training = method.training
    method.eval()
    features = [method.backbone(standardize(to_float(part))) for part in images.split(250)]
    found = normalize(method.head(torch.cat(features)))
    method.train(training)
    return found


class BankMoments(list):
    """The bank, its ages and the images' vectors as training goes on: a `watch` for `fit`, called at each log.

    Of each moment "step"; "rows" (N, D), "age" (N,) of the bank; "now" (N, D), what the network makes of the images.
    """

    def __init__(self, method: NPID, images: Tensor):
        super().__init__()
        self.method, self.images = method, images

    def __call__(self, history: Any) -> None:  # the History of `fit`
        bank = self.method.memory
        self.append({"step": history.steps, "rows": bank.rows, "age": bank.age,
                     "now": bank_vectors(self.method, self.images)})


def bank_agreement(moment: dict) -> dict:
    """How well rows agree with what the network makes of their images now, of a moment of `BankMoments`.

    "each" (N,): cosines; "mean" of them; "another": with another image; "old", "new": means of the half of rows that
    were changed longer ago than the median, and of the others.
    """
    rows, now, age = moment["rows"], moment["now"], moment["age"].float()
    each, old = (rows * now).sum(1), age > age.median()
    return {"each": each, "mean": float(each.mean()), "another": float((rows * now.roll(1, 0)).sum(1).mean()),
            "old": float(each[old].mean()), "new": float(each[~old].mean())}


def log_partition(cosines: Tensor, temperature: float, rows: int) -> float:
    """log Z of a bank of so many rows, from some of its cosines: log of rows times the mean of exp(cosine / t)."""
    scores = cosines.flatten() / temperature
    return float(scores.logsumexp(0)) - math.log(scores.numel()) + math.log(rows)


def nce_threshold(cosines: Tensor, temperature: float, rows: int, drawn: int) -> float:
    """The cosine at which NCE answers "this is its row" with one half: Z from these cosines, so many rows drawn."""
    return temperature * (log_partition(cosines, temperature, rows) + math.log(drawn / rows))


@torch.no_grad()
def pieces_and_pictures(method: PIRL, images: Tensor, cells: Tensor, orders: list[list[int]]) -> dict[str, Tensor]:
    """Cosines of pieces in each order with their "own" picture and with "another": (len(orders), N) each.

    images: float (N, 3, H, W) in [0, 1]. cells (N, c, 3, p, p): their pieces, see `middle_cells`.
    """
    whole = normalize(method.image_head(method.backbone(standardize(images))))
    each = method.backbone(standardize(cells.flatten(0, 1))).unflatten(0, cells.shape[:2])  # (N, c, D)
    pieces = torch.stack([normalize(method.piece_head(each[:, order])) for order in orders])  # (orders, N, D)
    return {"own": (pieces * whole).sum(2), "another": (pieces * whole.roll(1, 0)).sum(2)}


def order_and_picture(cosines: dict[str, Tensor]) -> dict[str, float]:
    """What the cosines of `pieces_and_pictures` depend on: "own" and "another", their means; "order" and "picture".

    The last two are standard deviations: over the orders of one picture's pieces (a mean over pictures), and over the
    pictures' means.
    """
    own = cosines["own"]
    return {"own": float(own.mean()), "another": float(cosines["another"].mean()),
            "order": float(own.std(0).mean()), "picture": float(own.mean(0).std())}


def middle_cells(method: PIRL, images: Tensor) -> Tensor:
    """Images (N, 3, H, W) cut as the method does, each patch from the middle of its cell: (N, c, 3, p, p)."""
    offsets = torch.full((len(images), method.grid**2, 2), method.room // 2)
    return cut(images, method.grid, method.patch, offsets)


def all_orders(pieces: int) -> list[list[int]]:
    """Every order of so many pieces, the first as they lie."""
    return [list(order) for order in itertools.permutations(range(pieces))]


def knn_of(method: NPID, reference: ImageSet, asked: ImageSet) -> float:
    """kNN accuracy on `asked`, among the images of `reference`; ValueError without labels."""
    known, wanted = (check_labels(part.labels, len(part)) for part in (reference, asked))
    return knn_accuracy(embed(method, reference), known, embed(method, asked), wanted)
