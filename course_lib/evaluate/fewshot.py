r"""Few-shot episodes: how well do a few labelled images of new classes do? As in "How Well Do Self-Supervised Models
Transfer?", Ericsson, Gouk and Hospedales, CVPR 2021, arXiv 2011.13377 (600 episodes, the nearest class mean).

An episode draws `ways` classes, of each `shots` images whose labels are told and `queries` others; a query gets the
class whose mean (prototype) is nearest, by Euclid's distance. Nothing is trained. Features are those of kNN in this
course: centred on the mean of images without labels, then of length 1.

The interval is +-1.96 standard errors over episodes: it says how exactly *this* network is measured on *these* images,
not how other trainings of it would do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.evaluate.measures import check_features, check_labels
from course_lib.models.layers import normalize


@dataclass(frozen=True)
class FewShot:
    """Mean accuracy of the episodes, half of its 95 % interval, and each episode's: fractions, (E,) float64."""

    accuracy: float
    interval: float
    each: Tensor


def draw_episode(labels: Tensor, ways: int, shots: int, queries: int,
                 generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of the support, int64 (ways, shots), and of the queries (ways, queries), all different.

    labels int64 (N,). ValueError where fewer than `ways` classes have shots + queries images.
    """
    sizes = labels.bincount()
    usable = (sizes >= shots + queries).nonzero().flatten()
    if min(ways - 1, shots, queries) < 1:
        raise ValueError(f"ways is {ways}, shots {shots} and queries {queries}; expected two classes or more, and one "
                         "image or more of each kind")
    if len(usable) < ways:
        raise ValueError(f"{len(usable)} classes have {shots + queries} images or more ({shots} shots and {queries} "
                         f"queries); expected {ways}: ask for fewer, or give more images")
    classes = usable[torch.randperm(len(usable), generator=generator)[:ways]]
    rows = []
    for label in classes.tolist():
        members = (labels == label).nonzero().flatten()
        rows.append(members[torch.randperm(len(members), generator=generator)[: shots + queries]])
    drawn = torch.stack(rows)  # (ways, shots + queries)
    return drawn[:, :shots], drawn[:, shots:]


def prototype_accuracy(features: Tensor, support: Tensor, queries: Tensor) -> float:
    """Share of the queries, rows (ways, Q) of features (N, D), nearest to the mean of their own class's support."""
    prototypes = features[support].mean(1)  # (ways, D)
    nearest = torch.cdist(features[queries].flatten(0, 1), prototypes).argmin(1)  # (ways * Q,)
    truth = torch.arange(len(support)).repeat_interleave(queries.shape[1])
    return float((nearest == truth).double().mean())


def few_shot(features: Tensor, labels: Tensor, *, ways: int = 5, shots: int = 1, queries: int = 15,
             episodes: int = 600, seed: int = 0, bank: Tensor | None = None) -> FewShot:
    """Accuracy over episodes of features (N, D) with labels int64 (N,), on the CPU.

    bank: features (M, D) of images without labels whose mean is taken off; None: of these. ValueError for what does not
    fit, and for fewer than two episodes, of which no interval can be told.
    """
    if episodes < 2:
        raise ValueError(f"episodes is {episodes}; expected two or more, for an interval")
    features = check_features(features).cpu()
    labels = check_labels(labels, len(features)).cpu()
    mean = (features if bank is None else check_features(bank, "bank features").cpu()).mean(0)
    z, generator = normalize(features - mean), torch.Generator().manual_seed(seed)
    each = torch.tensor([prototype_accuracy(z, *draw_episode(labels, ways, shots, queries, generator))
                         for _ in range(episodes)], dtype=torch.float64)
    return FewShot(float(each.mean()), 1.96 * float(each.std()) / math.sqrt(episodes), each)
