"""What of two views' vectors is compared, and with what: the third choice of the framework (see framework.py).

An extraction takes the encoders of anchors and of candidates and the views, and yields one `Compared` for each term of
the loss. The papers' own networks (predictors, queue) are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib.collectives import gather
from course_lib.methods.contrastive.simclr import partners
from course_lib.methods.information.amdim import Pairs, drawn_cells
from course_lib.methods.information.cpc import by_patch, labels_below
from course_lib.models.layers import Queue, normalize

Encode = Callable[[Tensor], Any]  # images (B, 3, H, W) or patches (B, h, w, 3, p, p) -> vectors (B, d), or maps


class Compared(NamedTuple):
    """Anchors (A, d), candidates (C, d), and what each is for whom, (A, C) bool; what is neither does not count."""

    anchors: Tensor
    candidates: Tensor
    positive: Tensor
    negative: Tensor
    weight: float = 1.0


Extract = Callable[[Encode, Encode, Sequence[Tensor]], Iterable[Compared]]


def own_and_others(n: int, places: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each of n images, which of n * places candidates are its own, and which are not: (n, n * places) bool."""
    own = torch.eye(n, dtype=torch.bool, device=device).repeat_interleave(places, 1)
    return own, ~own


def all_views(online: Encode, target: Encode, views: Sequence[Tensor]) -> Iterable[Compared]:
    """SimCLR: each of 2N vectors with all others; its positive is the other view of its image."""
    both = torch.cat([*views[:2]])  # through the network at once
    z, k = (torch.cat([gather(part) for part in encode(both).chunk(2)]) for encode in (online, target))  # (2N, d)
    partner, others = partners(len(z) // 2, z.device)
    positive = torch.zeros_like(others).scatter(1, partner[:, None], True)
    yield Compared(z, k, positive, others & ~positive)


def key_and_queue(queue: Queue) -> Extract:
    """MoCo: the first view's query with the second's key, and the negatives of a queue; keys are constants."""
    def extract(online: Encode, target: Encode, views: Sequence[Tensor]) -> Iterable[Compared]:
        q, k = online(views[0]), normalize(target(views[1]).detach())  # (N, d) each
        own, _ = own_and_others(len(q), 1, q.device)
        queued = own.new_ones(len(q), len(queue.rows))
        yield Compared(q, torch.cat([k, queue.rows]), torch.cat([own, ~queued], 1), torch.cat([own & False, queued], 1))
    return extract


def predicted(predictor: nn.Module) -> Extract:
    """BYOL, SimSiam: a prediction from each view with the other's vector, which is a constant."""
    def extract(online: Encode, target: Encode, views: Sequence[Tensor]) -> Iterable[Compared]:
        vectors = [online(view) for view in views[:2]]
        for z, view in zip(vectors, (views[1], views[0])):
            p, k = gather(predictor(z)), gather(target(view).detach())  # (N, d) each
            yield Compared(p, k, *own_and_others(len(p), 1, p.device), weight=0.5)
    return extract


def cells_and_maps(pairs: Pairs) -> Extract:
    """AMDIM, YADIM: one cell of a map of each image with all cells of a map of the other view, both ways."""
    def extract(online: Encode, target: Encode, views: Sequence[Tensor]) -> Iterable[Compared]:
        for (source, aim), draw in zip(pairs, views[-1]):
            for way in (0, 1):
                cells = gather(drawn_cells(online(views[way])[source], draw[way]))  # (N, d)
                maps = gather(target(views[1 - way])[aim])  # (N, d, h, w)
                masks = own_and_others(len(maps), maps.shape[2] * maps.shape[3], maps.device)
                yield Compared(cells, by_patch(maps), *masks, weight=0.5)
    return extract


def rows_below(predictors: nn.ModuleList, rows: Sequence[int]) -> Extract:
    """CPC: what the rows above a place predict of it, with all places; the mean of all views and directions."""
    def extract(online: Encode, target: Encode, views: Sequence[Tensor]) -> Iterable[Compared]:
        for view in views[:-1]:
            for quarter, predictor in enumerate(predictors):
                predictions = predictor(online(view)[-1].rot90(quarter, (2, 3)))[1]
                targets = gather(predictor(target(view)[-1].rot90(quarter, (2, 3)))[0])  # (N, d, h, w)
                n, _, height, width = targets.shape
                for k, prediction in zip(rows, predictions):
                    labels = labels_below(n, height, width, k).to(targets.device)
                    anchors, candidates = by_patch(gather(prediction)[:, :, :-k]), by_patch(targets)
                    places = torch.arange(len(candidates), device=targets.device)
                    positive = labels[:, None] == places  # (A, C)
                    yield Compared(anchors, candidates, positive, ~positive, 1 / len(predictors) / len(views[:-1]))
    return extract
