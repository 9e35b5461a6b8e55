"""Retrieval: each image in turn is the query, all others are the gallery, the nearest come first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from course_lib.data.images import ImageSet
from course_lib.data.shapes import hierarchy
from course_lib.evaluate.measures import check_labels, cluster_scores
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.models.layers import normalize

LEVELS = ("family", "shape", "variant")  # of `hierarchy`


@torch.no_grad()
def retrieval(distances: Tensor, labels: Tensor, ks: tuple[int, ...] = (1, 2, 4, 8)) -> dict[str, float]:
    """Recall@k and MAP@R from distances (N, N), with labels int64 (N,); the diagonal is left out.

    "recall@k": the share of queries with an image of their class among the k nearest. "map@r": R is the number of
    other images of the query's class; the precision at each rank up to R that holds one, added up, over R (Musgrave
    et al., arXiv 2003.08505). Of equal distances the image that comes first is the nearer. Queries that are alone in
    their class are left out; ValueError if all are, for NaN, or a k that is not from 1 to N - 1.
    """
    n = len(distances)
    labels = check_labels(labels, n).to(distances.device)
    if distances.shape != (n, n):
        raise ValueError(f"distances have shape {tuple(distances.shape)}; expected ({n}, {n}), all images to all")
    if not ks or min(ks) < 1 or max(ks) >= n:
        raise ValueError(f"ks is {ks}; expected ranks from 1 to {n - 1}, one less than the images")
    if bool(distances.isnan().any()):
        raise ValueError("a distance is NaN, so that nothing can be ranked")
    _, labels, counts = labels.unique(return_inverse=True, return_counts=True)  # names of classes may be any numbers
    others = counts[labels] - 1  # R of each query, (N,)
    if not bool(others.any()):
        raise ValueError("no two images have one label, so that nothing can be found")
    most = max(*ks, int(others.max()))
    order = distances.argsort(dim=1, stable=True)
    order = order[order != torch.arange(n, device=order.device)[:, None]].view(n, n - 1)[:, :most]
    hits = (labels[order] == labels[:, None])[others > 0].double()  # (Q, most)
    within = others[others > 0, None]
    ranks = torch.arange(1, most + 1, device=hits.device)
    precision = hits.cumsum(1) / ranks * hits * (ranks <= within)
    found = {f"recall@{k}": float(hits[:, :k].amax(1).mean()) for k in ks}
    return found | {"map@r": float((precision.sum(1) / within[:, 0]).mean())}


def by_level(distances: Tensor, images: ImageSet) -> dict[str, float]:
    """`retrieval` at each level of the tree of generated shapes: "family recall@1", ..., "variant map@r"."""
    return {f"{name} {key}": value for name, labels in zip(LEVELS, hierarchy(images).T)
            for key, value in retrieval(distances, labels).items()}


def ranked(bank: Tensor, known: Tensor, features: Tensor, images: ImageSet) -> dict[str, float]:
    """kNN, `cluster_scores` and, by cosines, `by_level` of features (N, D) of labelled generated images.

    bank (M, D), known int64 (M,): the features and labels that kNN asks.
    """
    labels, z = check_labels(images.labels, len(features)), normalize(features)
    return {"knn": knn_accuracy(bank, known, features, labels), **cluster_scores(features, labels),
            **by_level(-z @ z.T, images)}


def cosine_distances(features: Tensor) -> Tensor:
    """1 minus the cosine of each two rows of features (N, D): (N, N)."""
    z = normalize(features)
    return 1 - z @ z.T


def level_lines(scores: Mapping[str, Mapping[str, float]]) -> str:
    """name -> `by_level`, a line each: Recall@1 and MAP@R at each level."""
    head = f"{'Recall@1, then MAP@R':22s} " + "".join(f"{level:>18s}" for level in LEVELS)
    return "\n".join([head, *(
        f"{name:22s} " + "".join(f"{row[f'{level} recall@1']:11.1%}{row[f'{level} map@r']:7.1%}" for level in LEVELS)
        for name, row in scores.items())])
