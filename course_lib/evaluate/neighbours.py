"""kNN by one protocol: cosine of centred features, k = 20, temperature 0.07."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.data.images import Splits
from course_lib.evaluate.features import embed
from course_lib.evaluate.measures import check_features, check_labels
from course_lib.methods.clustering.shared import directions, nearest_rows
from course_lib.models.layers import normalize
from course_lib.precision import check_positive
from course_lib.threads import well_threaded


@torch.no_grad()
def nearest(features: Tensor, k: int, queries: Sequence[int] | None = None) -> Tensor:
    """The k nearest others of each row (or of the rows `queries`) of features (N, D), nearest first: int64 (N, k).

    By cosine of features centred on their mean, as in `knn_votes`. In blocks: no (N, N) matrix is kept.
    """
    features = check_features(features)
    if not 1 <= k < len(features):
        raise ValueError(f"k={k} neighbours asked of {len(features)} images; expected 1 to {len(features) - 1}.")
    rows = torch.arange(len(features))[slice(None) if queries is None else list(queries)]
    return nearest_rows(directions(features), k, itself=False, rows=rows.to(features.device))


def alike(features: Tensor, values: Tensor, k: int = 1) -> float:
    """The share of the k nearest others (`nearest`) of each row of features (N, D) with the same value, (N,)."""
    return float((values[nearest(features, k)] == values[:, None]).float().mean())


@torch.no_grad()
def knn_votes(bank: Tensor, bank_labels: Tensor, queries: Tensor, k: int = 20, temperature: float = 0.07,
              center: bool = True, classes: int | None = None) -> Tensor:
    """Votes of the k nearest bank images for each class: bank (N, D), queries (M, D) -> float (M, classes).

    Cosine similarity of features centred on the bank's mean; each neighbour votes with weight exp(cosine /
    temperature). center=False is the protocol of InstDisc, MoCo's demo and DINO. Runs on the bank's device
    in blocks of queries: no (M, N) matrix is kept. ValueError for what doesn't fit together, such as a label that is
    not one of `classes`, or a temperature that is not above 0.
    """
    check_positive("temperature", temperature)
    bank, queries = check_features(bank, "bank features"), check_features(queries, "query features")
    labels = check_labels(bank_labels, len(bank), "bank labels").to(bank.device)
    if bank.shape[1] != queries.shape[1]:
        raise ValueError(f"the bank has {bank.shape[1]} features per image, the queries {queries.shape[1]}.")
    if not 1 <= k <= len(bank):
        raise ValueError(f"k={k} neighbours asked of {len(bank)} images; expected 1 to {len(bank)}.")
    mean = bank.mean(dim=0) if center else None

    def directions(features: Tensor) -> Tensor:
        found = torch.empty_like(features)
        for rows, part in zip(found.split(4096), features.split(4096)):  # in parts, as copies of all take memory
            rows.copy_(normalize(part if mean is None else part - mean))
        return found

    known = int(labels.max()) + 1
    if classes is not None and classes < known:
        raise ValueError(f"classes is {classes}, but the bank's labels reach {known - 1}; expected {known} or more.")
    bank, classes = directions(bank), classes or known
    votes = []
    for block in queries.to(bank).split(max(1, 2**24 // len(bank))):
        near = (directions(block) @ bank.T).topk(k, dim=1)
        weights = ((near.values - near.values[:, :1]) / temperature).exp()  # minus the largest: no overflow
        votes.append(weights.new_zeros(len(block), classes).scatter_add_(1, labels[near.indices], weights))
    return torch.cat(votes)


def voters(bank: Tensor, bank_labels: Tensor, queries: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The nearest bank images (N, D) of queries (M, D), nearest first: cosines float (M, most), labels int64 (M, most).

    As in `knn_votes`, whose votes for every k up to `most` are `accuracy_by_k` of these.
    """
    mean = bank.mean(0)
    near = (normalize(queries - mean) @ normalize(bank - mean).T).topk(most, dim=1)
    return near.values, bank_labels[near.indices]


def accuracy_by_k(cosines: Tensor, labels: Tensor, true: Tensor, temperature: float, classes: int) -> Tensor:
    """kNN accuracy in [0, 1] with 1, 2, ... of the `voters`, cosines and labels (M, most), of queries (M,): (most,)."""
    weights = ((cosines - cosines[:, :1]) / temperature).exp()
    votes = (F.one_hot(labels, classes) * weights[..., None]).cumsum(1)  # (M, most, classes)
    return (votes.argmax(2) == true[:, None]).float().mean(0)


def knn_predict(bank: Tensor, bank_labels: Tensor, queries: Tensor, k: int = 20, temperature: float = 0.07,
                center: bool = True) -> Tensor:
    """The class with the most votes, int64 (M,); see `knn_votes`."""
    return knn_votes(bank, bank_labels, queries, k, temperature, center).argmax(dim=1)


@well_threaded()
def knn_accuracy(bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, k: int = 20,
                 temperature: float = 0.07, center: bool = True) -> float:
    """Share of queries that kNN classifies correctly, by the course's protocol (k=20, temperature 0.07, centred)."""
    labels = check_labels(labels, len(queries), "query labels")
    if bank is queries:
        raise ValueError("The bank and the queries are the same images: each would find itself. "
                         "Use the training images as the bank.")
    predicted = knn_predict(bank, bank_labels, queries, k, temperature, center)
    return float((predicted.cpu() == labels.cpu()).float().mean())


def knn(model: nn.Module, splits: Splits) -> float:
    """`knn_accuracy` of a model's representations of test images, with all training images as the bank."""
    train, test = splits.train, splits.test
    bank, queries = embed(model, train), embed(model, test)
    return knn_accuracy(bank, check_labels(train.labels, len(train), "bank labels"), queries,
                        check_labels(test.labels, len(test), "query labels"))
