r"""Outliers: is this picture of another kind than those that were learned? SSD: Sehwag, Chiang and Mittal, ICLR 2021,
arXiv 2103.12051; official: inspire-group/SSD.

Features z, taken *before* the head, are brought to length 1, then standardised by mean and deviation of the training
features. The score is Mahalanobis' distance to the training features, or to the nearest of several clusters of them:

    s(z) = min over clusters c of  (z - mu_c)^T Sigma_c^+ (z - mu_c)

One cluster was best. What counts is not how far a picture lies, but how far in directions in which training pictures do
not vary: Euclid's distance is the control.

    AUROC  how often an outlier scores higher than a picture of the known kind (1/2: by chance)
    FPR95  the share of outliers up to the score that 95 % of the known kind stay below: missed at that alarm rate

What other implementations get wrong: statistics that include test images; the inverse of a covariance that has none
(more dimensions than images); outliers as the negative class; FPR95 the other way round.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from course_lib.data.images import ImageSet
from course_lib.evaluate.measures import check_features, check_labels
from course_lib.models.layers import normalize

SHRUNK = ("pinv", "ledoit-wolf")


def standardised(train: Tensor, *others: Tensor) -> list[Tensor]:
    """Train (N, D) and others (M, D) -> of each, rows of length 1, standardised by train's mean and deviation.

    A dimension without deviation becomes 0. In float64.
    """
    rows = [normalize(check_features(x).double()) for x in (train, *others)]
    mean, deviation = rows[0].mean(0), rows[0].std(0, correction=0)
    scale = torch.where(deviation > 1e-10, deviation, torch.inf)
    return [(x - mean) / scale for x in rows]


def mahalanobis(train: Tensor, test: Tensor, clusters: Tensor | None = None, covariance: str = "pinv") -> Tensor:
    """The score of each row of test (M, D): the squared distance to train (N, D), float64 (M,).

    clusters: which cluster each training row is in, int64 (N,); None: one. covariance: of a cluster, divided by N and
    pseudo-inverted ("pinv"), or shrunk towards a ball ("ledoit-wolf"). ValueError for another kind, or fewer than two
    rows in all or in a cluster.
    """
    if covariance not in SHRUNK:
        raise ValueError(f"covariance is {covariance!r}; expected {' or '.join(SHRUNK)}")
    train, test = check_features(train, "train features").double(), check_features(test, "test features").double()
    if len(train) < 2 or train.shape[1] != test.shape[1]:
        raise ValueError(f"train features have shape {tuple(train.shape)}, test features {tuple(test.shape)}; expected "
                         "two training rows or more, and as many features in both")
    groups = [train]
    if clusters is not None:
        clusters = check_labels(clusters, len(train), "clusters").to(train.device)
        sizes = clusters.bincount()
        if (sizes == 1).any():  # without a covariance: everything would be at distance 0 of it
            raise ValueError(f"cluster {int((sizes == 1).nonzero()[0])} has a single training row; expected two or "
                             "more: cluster into fewer")
        groups = [train[clusters == k] for k in sizes.nonzero().flatten()]
    scores = []
    for group in groups:
        away = test - group.mean(0)  # (M, D)
        if covariance == "pinv":
            inverse = torch.linalg.pinv(torch.cov(group.T, correction=0).reshape(away.shape[1], -1), hermitian=True)
        else:
            from sklearn.covariance import ledoit_wolf

            inverse = torch.linalg.inv(torch.from_numpy(np.asarray(ledoit_wolf(group.numpy())[0])))
        scores.append(((away @ inverse) * away).sum(1))
    return torch.stack(scores).amin(0)


def euclidean(train: Tensor, test: Tensor) -> Tensor:
    """The control: squared distance of each row of test (M, D) from the mean of train (N, D), float64 (M,)."""
    return (test.double() - train.double().mean(0)).square().sum(1)


def auroc(known: Tensor, outliers: Tensor) -> float:
    """The share of pairs in which the outlier scores higher than the known one, ties half: scores (M,), (L,)."""
    known, outliers = _scores(known, outliers)
    order = known.sort().values
    below = torch.searchsorted(order, outliers, right=False).double()
    up_to = torch.searchsorted(order, outliers, right=True).double()
    return float((below + up_to).mean() / (2 * len(known)))


def fpr95(known: Tensor, outliers: Tensor) -> float:
    """The share of outliers whose score is at most the 95th percentile of the known ones'.

    Below it in the official code, by which scores that are all alike would miss none.
    """
    known, outliers = _scores(known, outliers)
    return float((outliers <= known.quantile(0.95)).double().mean())


def _scores(*given: Tensor) -> list[Tensor]:
    for scores in given:
        if scores.ndim != 1 or not len(scores) or not scores.isfinite().all():
            raise ValueError(f"scores have shape {tuple(scores.shape)} or are not finite; expected (M,), one number "
                             "for each image")
    return [scores.double() for scores in given]


def spliced(images: ImageSet, count: int, seed: int = 0) -> ImageSet:
    """Outliers of any set: `count` pictures whose left half is one image's and whose right half another's.

    Colours and textures are those of the set, what they make together is not. ValueError for fewer than two images.
    """
    if len(images) < 2 or count < 1:
        raise ValueError(f"{count} outliers of {len(images)} images; expected one or more, of two images or more")
    generator = torch.Generator().manual_seed(seed)
    left = torch.randint(len(images), (count,), generator=generator)
    right = (left + 1 + torch.randint(len(images) - 1, (count,), generator=generator)) % len(images)  # another one
    made, half = images.images[left].clone(), images.images.shape[3] // 2
    made[..., half:] = images.images[right][..., half:]
    return ImageSet(made, name=f"halves of two {images.name or 'pictures'}", split=images.split)


def outlier_scores(train: Tensor, test: Tensor, outliers: Tensor) -> dict[str, float]:
    """SSD's numbers of features (N, D), (M, D), (L, D): "auroc", "fpr95", and "auroc_euclidean", the control."""
    z, known, other = standardised(train, test, outliers)
    scores = [mahalanobis(z, x) for x in (known, other)]
    return {"auroc": auroc(*scores), "fpr95": fpr95(*scores),
            "auroc_euclidean": auroc(euclidean(z, known), euclidean(z, other))}
