"""How well clusters agree with classes that they were not told: matched on training images, scored on test images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.data.images import ImageSet, Splits, draw
from course_lib.device import pick_device
from course_lib.evaluate.features import embed, evaluating, raw_pixels, reinitialise
from course_lib.evaluate.measures import (
    check_labels,
    classes_of_clusters,
    cluster_match,
    kmeans_clusters,
    partition_scores,
)
from course_lib.methods.base import ClusteringMethod, Method
from course_lib.models.layers import normalize
from course_lib.text import text_table

LARGEST = 50_000  # images of a split that are looked at
FOR_KMEANS = 5000  # training images that k-means learns from


def assigned(method: ClusteringMethod, images: ImageSet | Tensor, device: str | torch.device = "auto",
             batch_size: int = 256) -> tuple[Tensor, Tensor]:
    """The cluster of every image, int64 (N,), and the probability that the method gives it, float (N,), on the CPU."""
    images = images if isinstance(images, Tensor) else images.images
    with evaluating(method, pick_device(str(device))) as where:
        found = [F.softmax(method.logits(part.to(where)).float(), dim=1).max(1) for part in images.split(batch_size)]
    return torch.cat([p.indices for p in found]).cpu(), torch.cat([p.values for p in found]).cpu()


def grouped(model: nn.Module, images: ImageSet, clusters: int | None = None, seed: int = 0,
            device: str | torch.device = "auto") -> tuple[Tensor, Tensor]:
    """Groups of images that nobody has labelled, the largest first: int64 (N,) from 0, and how well each image fits.

    A ClusteringMethod says both itself: its clusters that have images, and their probability. Of another network the
    features are clustered by `kmeans_clusters`, and the fit is the cosine with the mean of the group, about the mean of
    all. ValueError where `clusters` is missing, larger than the number of images, or not the method's own.
    """
    if isinstance(model, ClusteringMethod):
        if clusters not in (None, model.clusters):
            raise ValueError(f"{clusters} clusters asked of a {type(model).title} that was trained with "
                             f"{model.clusters}: leave the number out, or name a run of another method.")
        found, fit = assigned(model, images, device)
    else:
        if len(images) < 2:
            raise ValueError("a single picture is no group: give two or more.")
        if clusters is None or not 2 <= clusters <= len(images):
            raise ValueError(f"the number of clusters is {clusters}; expected 2 to {len(images)}, the number of "
                             "images: this network has features, and no clusters of its own.")
        features = embed(model, images, device=device)
        found, points = kmeans_clusters(features, features, clusters, seed)[0], normalize(features - features.mean(0))
        means = normalize(torch.zeros(clusters, points.shape[1]).index_add_(0, found, points))
        fit = (points * means[found]).sum(1)
    sizes = found.bincount(minlength=int(found.max()) + 1)
    place = torch.empty_like(sizes)
    place[sizes.argsort(descending=True, stable=True)] = torch.arange(len(sizes))
    return place[found], fit


def matched_scores(train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor,
                   clusters: int) -> dict[str, float]:
    """acc, nmi, ari, ami and used of clusters int64 (N,) on training and (M,) on test images.

    acc: share of test images whose cluster stands for their class, by `classes_of_clusters` of the *training* images;
    with more clusters than classes it is not comparable to one with as many. used: clusters that have test images.
    """
    classes = classes_of_clusters(train, train_labels, clusters)
    return {"acc": float((classes[test] == labels).float().mean()), **partition_scores(test, labels),
            "used": float(len(test.unique()))}


def over_clustering(train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor, clusters: int
                    ) -> dict[str, float]:
    """Scores of more clusters than classes, int64 (N,) on training and (M,) on test images: one, majority, nmi, ami.

    one: accuracy where each class has one cluster, by `cluster_match` of the training images. majority: where each
    cluster stands for the class that most of its training images have.
    """
    table = torch.zeros(clusters, int(train_labels.max()) + 1)
    table.index_put_((train, train_labels), torch.ones(len(train)), accumulate=True)
    one = torch.full((clusters,), -1)
    for cluster, label in cluster_match(train, train_labels):
        one[cluster] = label
    found = partition_scores(test, labels)
    return {"one": float((one[test] == labels).float().mean()),
            "majority": float((table.argmax(1)[test] == labels).float().mean()),
            "nmi": found["nmi"], "ami": found["ami"]}


class Reassigned:
    """Two clusterings of the same test images, the second made from the first, against their classes.

    before, after: clusters of training and of test images, int64 (N,) and (M,). tables: two of `class_shares`. said:
    the class that the first cluster of each test image stands for. was_right, is_right: bool (M,); acc: their shares.
    """

    def __init__(self, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], train_labels: Tensor,
                 labels: Tensor, clusters: int):
        self.labels = labels
        self.tables = [class_shares(a, train_labels, b, labels, clusters) for a, b in (before, after)]
        self.said, now = (classes_of_clusters(a, train_labels, clusters)[b] for a, b in (before, after))
        self.was_right, self.is_right = self.said == labels, now == labels
        self.acc = (float(self.was_right.float().mean()), float(self.is_right.float().mean()))

    def most_confused(self) -> tuple[int, int]:
        """Class a and class b: the first clustering has more of a in the cluster of b than of any other such pair."""
        wrong = self.tables[0].clone().fill_diagonal_(0)
        return divmod(int(wrong.argmax()), wrong.shape[1])

    def mean_of(self, values: Tensor, label: int, cluster: int) -> float:
        """The mean of values (M,) of the images of a class in the first cluster that stands for another, or for it."""
        return float(values[(self.labels == label) & (self.said == cluster)].mean())

    def mended(self, among: Tensor) -> float:
        """The share that is right now, of what was wrong among the images `among`, bool (M,)."""
        return float(self.is_right[~self.was_right & among].float().mean())


def same_cluster(answers: Tensor, others: Tensor) -> float:
    """The share of images whose most likely cluster is the same in both answers (N, K)."""
    return float((answers.argmax(1) == others.argmax(1)).float().mean())


def class_shares(train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """Confusions as float (C, C): of the test images of each class (row), the share in clusters that stand for a class.

    By `classes_of_clusters` of the training images; int64 (N,) and (M,).
    """
    count = int(max(train_labels.max(), labels.max())) + 1
    stands = classes_of_clusters(train, train_labels, clusters)[test]
    known = stands >= 0
    table = torch.zeros(count, count).index_put_((labels[known], stands[known]), torch.ones(int(known.sum())),
                                                 accumulate=True)
    return table / labels.bincount(minlength=count).clamp(min=1)[:, None]


def causes_told(clusters: Tensor, images: ImageSet) -> dict[str, float]:
    """How much of each known cause an image's cluster (N,) tells: adjusted mutual information, 0 by luck, 1 at most.

    Over the smaller of the two entropies; a number is cut into eight parts of equally many images. A cause that some
    images do not have, such as the rotation of a disc, is left out: that it is missing tells the class.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    told = {}
    for name, values in images.factors.items():
        if values.is_floating_point() and values.isnan().any():
            continue
        if images.kinds[name] != "category":
            values = values.argsort().argsort() * 8 // len(values)
        told[name] = float(adjusted_mutual_info_score(values.long(), clusters, average_method="min"))
    return told


def unscorable(splits: Splits) -> str:
    """Why clusters cannot be compared with classes on these images; "" if they can."""
    train, test = splits.train, splits.test
    return next((why for why, holds in (
        ("test has no images", not len(test)), ("train has no labels", train.labels is None),
        ("test has no labels", test.labels is None),
        ("train has one class only", train.labels is not None and len(train.labels.unique()) < 2),
        ("test has one class only", test.labels is not None and len(test.labels.unique()) < 2)) if holds), "")


def score_clusters(method: Method, splits: Splits, *, name: str = "method", controls: bool = True,
                   clusters: int | None = None, seed: int = 0, device: str | torch.device = "auto") -> list[dict]:
    """A row (a dict) of `matched_scores` for the method's clusters and, with `controls`, for as many of k-means.

    k-means on the method's own features, on those of a random encoder (the same network, untrained) and on raw pixels;
    it learns from at most FOR_KMEANS training images. clusters: their number, for a method that has none of its own;
    the rows of k-means are then all. ValueError for images on which nothing can be compared.
    """
    if why := unscorable(splits):
        raise ValueError(f"clusters cannot be compared with classes here: {why}.")
    count = method.clusters if isinstance(method, ClusteringMethod) else clusters
    if count is None:
        raise ValueError(f"{name} has no clusters of its own: say their number by clusters=.")
    if clusters not in (None, count):
        raise ValueError(f"{clusters} clusters asked of {name}, which was trained with {count}: leave the number out.")
    most = {"train": LARGEST, "test": LARGEST}
    which = {split: draw(len(getattr(splits, split)), limit, seed) for split, limit in most.items()}
    few = draw(len(splits.train), FOR_KMEANS, seed)
    labels = {split: check_labels(getattr(splits, split).labels, len(getattr(splits, split))) for split in most}
    test_labels, rows = labels["test"][which["test"]], []
    if isinstance(method, ClusteringMethod):
        found = {split: assigned(method, getattr(splits, split).images[seen], device)[0]
                 for split, seen in which.items()}
        rows.append({"name": name, "kind": "method", "clusters": count} | matched_scores(
            found["train"], labels["train"][which["train"]], found["test"], test_labels, count))
    encoders: dict[str, Callable[[ImageSet, Tensor], Tensor]] = {}
    if controls:
        fresh = reinitialise(method, seed)
        encoders = {"k-means on its features": lambda part, some: embed(method, part, device=device, which=some),
                    "k-means, random encoder": lambda part, some: embed(fresh, part, device=device, which=some),
                    "k-means, raw pixels": raw_pixels}
    for title, encode in encoders.items():
        pair = kmeans_clusters(encode(splits.train, few), encode(splits.test, which["test"]), count, seed)
        rows.append({"name": title, "kind": "control", "clusters": count} | matched_scores(
            pair[0], labels["train"][few], pair[1], test_labels, count))
    return rows


def cluster_table(rows: list[dict]) -> str:
    """The rows of `score_clusters` as aligned text; accuracy in percent."""
    lines = [["", "ACC", "NMI", "ARI", "AMI", "clusters used"]]
    lines += [[row["name"], f"{100 * row['acc']:.1f} %", *(f"{row[key]:.2f}" for key in ("nmi", "ari", "ami")),
               f"{row['used']:.0f} of {row['clusters']}"] for row in rows]
    return text_table(lines, "<>")
