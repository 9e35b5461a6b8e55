"""Measures of an embedding that train nothing on it: clusters, rank, standard deviation, collapse.

All measures take features as float tensors (N, D), raise half precision to float32 and leave float64 alone,
and return Python numbers. Those with labels return fractions in [0, 1], not percent.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from course_lib.methods.contrastive.align_uniform import alignment_loss, uniformity_loss
from course_lib.models.layers import normalize


def check_features(features: Tensor, name: str = "features") -> Tensor:
    """The features as a float tensor (N, D); ValueError if the shape is wrong or a value isn't finite."""
    features = torch.as_tensor(features)
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f"{name} have shape {tuple(features.shape)}; expected (N, D) with at least one row.")
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    broken = ~torch.isfinite(features).all(dim=1)
    if broken.any():
        rows = broken.nonzero().flatten()
        raise ValueError(f"{name} contain NaN or infinity in {len(rows)} of {len(features)} rows (first: row "
                         f"{int(rows[0])}). Look at the training loss: the network probably diverged.")
    return features


def check_labels(labels: Tensor | None, count: int, name: str = "labels") -> Tensor:
    """The labels as int64 (N,); ValueError if there are none or their number is not `count`."""
    if labels is None:
        raise ValueError(f"{name} are missing: this measure needs labelled images. "
                         "rankme, effective_rank, uniformity and feature_std work without labels.")
    labels = torch.as_tensor(labels)
    if labels.shape != (count,):
        raise ValueError(f"{name} have shape {tuple(labels.shape)}; expected ({count},), one per row.")
    if labels.is_floating_point() or (len(labels) and labels.min() < 0):
        raise ValueError(f"{name} must be whole numbers from 0 up.")
    return labels.long()


def few_threads(numbers: int) -> AbstractContextManager:
    """One thread for scikit-learn on small inputs, where threads wait for each other longer than they work.

    Measured on two busy cores: 17 s with two threads, 0.3 s with one.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    return threadpool_limits(1) if numbers <= 10_000_000 else nullcontext()


# ------------------------------------------------------------------------------------------------ clusters
def cluster_match(predicted: Tensor, true: Tensor) -> list[tuple[int, int]]:
    """The one-to-one pairing (cluster, class) that gets most images right (Hungarian algorithm).

    Cluster and class counts may differ; surplus clusters or classes have no partner.
    """
    from scipy.optimize import linear_sum_assignment  # scipy comes with scikit-learn

    clusters, classes = (np.asarray(torch.as_tensor(x).cpu()) for x in (predicted, true))
    if clusters.shape != classes.shape or clusters.ndim != 1 or len(classes) == 0:
        raise ValueError(f"clusters have shape {clusters.shape} and labels {classes.shape}; expected one (N,).")
    table = np.zeros((clusters.max() + 1, classes.max() + 1), dtype=np.int64)
    np.add.at(table, (clusters, classes), 1)
    return [(int(c), int(t)) for c, t in zip(*linear_sum_assignment(table, maximize=True))]


def cluster_accuracy(predicted: Tensor, true: Tensor) -> float:
    """Share of images whose cluster is paired with their class by `cluster_match`. Both int64 (N,)."""
    predicted, true = torch.as_tensor(predicted).cpu(), torch.as_tensor(true).cpu()
    pairs = cluster_match(predicted, true)
    return sum(int(((predicted == c) & (true == t)).sum()) for c, t in pairs) / len(true)


def classes_of_clusters(predicted: Tensor, true: Tensor, clusters: int) -> Tensor:
    """The class that each cluster stands for, int64 (clusters,): its partner in `cluster_match`.

    A cluster without one (there are more clusters than classes) has the class that most of its images have; an empty
    one none, -1. For a fair score make this of training images and apply it to test images.
    """
    predicted, true = torch.as_tensor(predicted).cpu(), torch.as_tensor(true).cpu()
    if len(predicted) and int(predicted.max()) >= clusters:
        raise ValueError(f"clusters is {clusters}, but an image is in cluster {int(predicted.max())}; expected numbers "
                         f"below {clusters}")
    found = torch.full((clusters,), -1)
    for cluster in predicted.unique().tolist():
        found[cluster] = true[predicted == cluster].bincount().argmax()
    for cluster, label in cluster_match(predicted, true):
        if found[cluster] >= 0:
            found[cluster] = label
    return found


def partition_scores(predicted: Tensor, true: Tensor) -> dict[str, float]:
    """nmi, ari and ami of clusters and classes, int64 (N,) each: how much two partitions share, without any matching.

    NMI by the arithmetic mean, as in scikit-learn and SCAN; GATCluster's geometric mean is a little higher. NMI grows
    with the number of clusters (one for each image: above 0); ARI and AMI are 0 for chance, whatever the numbers.
    """
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score

    a, b = (np.asarray(torch.as_tensor(x).cpu()) for x in (true, predicted))
    return {"nmi": float(normalized_mutual_info_score(a, b)), "ari": float(adjusted_rand_score(a, b)),
            "ami": float(adjusted_mutual_info_score(a, b))}


def kmeans_clusters(train: Tensor, test: Tensor, clusters: int, seed: int = 0,
                    restarts: int = 3) -> tuple[Tensor, Tensor]:
    """k-means of training features (N, D) by cosine, and the nearest centre of test features (M, D): int64 (N,), (M,).

    Features are centred on the training mean and scaled to length 1.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    train, test = check_features(train, "train features"), check_features(test, "test features")
    if clusters > len(train):
        raise ValueError(f"{clusters} clusters asked of {len(train)} images; pass fewer clusters.")
    mean = train.mean(0)
    points, queries = (normalize(features - mean).cpu().numpy() for features in (train, test))
    if (points == points[0]).all():  # collapsed: one cluster, and k-means would only warn about it
        return torch.zeros(len(points), dtype=torch.long), torch.zeros(len(queries), dtype=torch.long)
    with few_threads(points.size), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different points than clusters
        # the stub takes n_init for a text, by its default
        means = KMeans(clusters, n_init=restarts, random_state=seed).fit(points)  # pyright: ignore[reportArgumentType]
        first, second = (torch.from_numpy(means.predict(x)).long() for x in (points, queries))
    return first, second


def cluster_scores(features: Tensor, labels: Tensor, seed: int = 0, clusters: int | None = None,
                   restarts: int = 3) -> dict[str, float]:
    """k-means on centred, L2-normalised features, compared with the labels.

    `clusters` defaults to the number of classes present. Returns acc (Hungarian), and nmi, ari and ami of
    `partition_scores`.
    """
    features = check_features(features)
    classes = check_labels(labels, len(features)).cpu()
    found, _ = kmeans_clusters(features, features[:1], clusters or len(classes.unique()), seed, restarts)
    return {"acc": cluster_accuracy(found, classes), **partition_scores(found, classes)}


# ------------------------------------------------------------------------------------------------ rank
def rankme(features: Tensor, eps: float = 1e-7) -> float:
    """RankMe (Garrido et al., ICML 2023, arXiv 2210.02885): exp(entropy of the singular values' shares).

    The features are *not* centred, as in the paper, so a common offset of all rows looks like one strong direction;
    `effective_rank` is the centred measure. Between 1 and D (needs N well above D); 0 if all features are zero.
    """
    values = torch.linalg.svdvals(check_features(features).cpu())  # Apple's MPS has no SVD
    return float(torch.special.entr(values / values.sum() + eps).sum().exp()) if values.sum() > 0 else 0.0


def effective_rank(features: Tensor) -> float:
    """exp(entropy of the shares of variance), the eigenvalues of the centred covariance over their sum.

    Differs from `rankme` twice: centred, and variances (squared singular values) in place of singular values. It is
    therefore blind to an offset and lower, because strong directions count for more. 0 if nothing varies.
    """
    values = covariance_spectrum(features)
    return float(entropy_rank(values)) if values.sum() > 0 else 0.0


def entropy_rank(values: Tensor) -> Tensor:
    """exp(entropy of the shares that values (D,), none negative, have in their sum): how many of them count. Scalar."""
    return torch.special.entr(values / values.sum().clamp(min=1e-30)).sum().exp()


def variance_rank(features: Tensor) -> Tensor:
    """The effective rank of float features (N, D), a scalar on their device, not waited for; 1 if all are alike.

    The smaller of the two Gram matrices has the same nonzero eigenvalues.
    """
    centred = features - features.mean(dim=0)
    # scaled, so that the squares of a collapsed embedding do not underflow
    centred = centred / centred.norm().clamp(min=1e-30)
    gram = centred.T @ centred if len(centred) > centred.shape[1] else centred @ centred.T
    return entropy_rank(torch.linalg.eigvalsh(gram).clamp(min=0))


def covariance_spectrum(features: Tensor) -> Tensor:
    """Eigenvalues (D,) of the centred covariance, largest first, float64."""
    features = check_features(features).cpu().double()  # Apple's MPS has no float64
    centred = features - features.mean(dim=0)
    # rounding leaves 1e-17 of "variance" in constant columns: what is below it is zero
    floor = len(features) * torch.finfo(torch.float64).eps * features.square().mean()
    values = torch.linalg.eigvalsh(centred.T @ centred / max(1, len(features) - 1)).flip(0)
    return torch.where(values > floor, values, torch.zeros_like(values))


# ------------------------------------------------------------------------------------------------ on the sphere
def alignment(first: Tensor, second: Tensor, alpha: float = 2.0) -> float:
    """Mean distance to the power alpha between the two views of an image, on the unit sphere; 0 is perfect.

    `first` and `second` (N, D), row i of both is image i. Wang and Isola, ICML 2020, arXiv 2005.10242.
    """
    first, second = check_features(first, "first"), check_features(second, "second")
    if first.shape != second.shape:
        raise ValueError(f"the two views have shapes {tuple(first.shape)} and {tuple(second.shape)}; "
                         "expected the same, row i of both being image i.")
    return float(alignment_loss(first, second, alpha))


def uniformity(features: Tensor, t: float = 2.0) -> float:
    """log of the mean of exp(-t |z_i - z_j|^2) over the pairs i < j, on the unit sphere (Wang and Isola).

    0 when collapsed to a point, near -2t for points spread evenly over a sphere of many dimensions.
    All pairs are in memory at once: pass a few thousand images at most.
    """
    features = check_features(features)
    if len(features) < 2:
        raise ValueError("uniformity needs at least two images.")
    return float(uniformity_loss(features, t))


def feature_std(features: Tensor) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised features, times sqrt(D): 0 = collapsed.

    SimSiam (arXiv 2011.10566, figure 2) compares the plain mean with 1 / sqrt(D), the value of a cloud
    spread evenly over the sphere; multiplied by sqrt(D), that value is 1 for every D.
    """
    z = normalize(check_features(features))
    return float(z.std(dim=0, correction=0).mean() * z.shape[1] ** 0.5)
