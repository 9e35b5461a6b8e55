"""Clusters against classes: matched on training images, scored on test images, beside as many of k-means."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from course_lib.data.images import ImageSet, Splits
from course_lib.evaluate.clusters import (
    Reassigned,
    assigned,
    causes_told,
    class_shares,
    cluster_table,
    kmeans_clusters,
    matched_scores,
    over_clustering,
    score_clusters,
    unscorable,
)
from course_lib.evaluate.measures import classes_of_clusters, cluster_accuracy, partition_scores
from course_lib.methods.base import ClusteringMethod, Method

pytestmark = pytest.mark.usefixtures("one_thread")


class ByBrightness(ClusteringMethod):
    """Three clusters by brightness, the darkest first; `embed` is the brightness, and its distance from 120."""

    clusters = 3

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(1, 1)

    def embed(self, images):
        brightness = images.float().mean((1, 2, 3))
        return torch.stack([brightness, (brightness - 120).abs()], 1)

    def logits(self, images):
        return -(self.embed(images)[:, :1] - torch.tensor([[20.0, 120.0, 220.0]])).abs()


def gray(n: int, split: str, classes=3) -> ImageSet:
    """Class c is gray 220, 120, 20 for c = 0, 1, 2."""
    labels = torch.arange(n) % classes
    values = torch.tensor([220, 120, 20])[labels]
    images = values[:, None, None, None].expand(n, 3, 8, 8).contiguous().to(torch.uint8)
    return ImageSet(images, labels, tuple("abc")[:classes], split=split)


def splits(n=30, test=12):
    return Splits(gray(n, "train"), gray(6, "validation"), gray(test, "test"))


class Bright(Method):
    """The same features, of a method that has no clusters of its own."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(1, 1)

    embed = ByBrightness.embed


def test_classes_of_clusters():
    predicted, true = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3]), torch.tensor([1, 1, 0, 0, 0, 0, 1, 0])
    found = classes_of_clusters(predicted, true, 6)
    # 2 or 1 is matched with class 0, 0 with class 1; who is left over takes its majority, an empty one nothing
    assert found.tolist() == [1, 0, 0, 0, -1, -1]
    with pytest.raises(ValueError, match="clusters is 3, but an image is in cluster 3"):
        classes_of_clusters(predicted, true, 3)


def naive_accuracy(train, train_labels, test, labels, clusters: int, classes: int) -> float:
    """Each class picks a cluster of its own, as suits the training images best of all picks; the others go by most."""
    counts = [[sum(a == c and t == k for a, t in zip(train, train_labels)) for k in range(classes)]
              for c in range(clusters)]
    best = max(itertools.permutations(range(clusters), classes),
               key=lambda pick: sum(counts[c][k] for k, c in enumerate(pick)))
    stands = {c: counts[c].index(max(counts[c])) for c in range(clusters) if sum(counts[c])}
    stands |= {c: k for k, c in enumerate(best) if sum(counts[c])}
    return sum(stands.get(c) == t for c, t in zip(test, labels)) / len(test)


@pytest.mark.parametrize("clusters", [3, 5, 6])
def test_over_clustering_equals_its_definition(clusters):
    generator = torch.Generator().manual_seed(clusters)
    for _ in range(5):  # of 101 images: no two matchings of the training images are equally good here
        labels = torch.randint(3, (2, 101), generator=generator)
        blur = torch.randint(clusters, (2, 101), generator=generator)
        found = torch.where(torch.rand(2, 101, generator=generator) < 0.6, labels % clusters, blur)
        got = matched_scores(found[0], labels[0], found[1], labels[1], clusters)["acc"]
        wanted = naive_accuracy(*(x.tolist() for pair in zip(found, labels) for x in pair), clusters, 3)
        assert got == pytest.approx(wanted)


def test_matching_on_test_images_flatters():
    """Bug: the best matching of the very images that are scored. Clusters that say nothing beat chance so."""
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randint(0, 10, (200,), generator=generator) for _ in range(2))
    labels = torch.randint(0, 10, (200,), generator=generator)
    ours = matched_scores(train, labels, test, labels.roll(7), 10)
    assert cluster_accuracy(test, labels.roll(7)) > ours["acc"]


def test_measures_of_partitions():
    true = torch.arange(40) % 4
    assert partition_scores((true + 1) % 4, true) == pytest.approx({"nmi": 1.0, "ari": 1.0, "ami": 1.0})
    alone = partition_scores(torch.arange(40), true)  # a cluster for each image
    assert alone["nmi"] > 0.5 and abs(alone["ari"]) < 1e-9 and abs(alone["ami"]) < 1e-9


def test_scores_of_a_method_and_of_kmeans():
    rows = score_clusters(ByBrightness(), splits(), name="ours", device="cpu", controls=False)
    assert rows == [{"name": "ours", "kind": "method", "clusters": 3, "acc": 1.0, "nmi": pytest.approx(1.0),
                     "ari": pytest.approx(1.0), "ami": pytest.approx(1.0), "used": 3.0}]
    rows = score_clusters(ByBrightness(), splits(), name="ours", device="cpu")
    assert [row["name"] for row in rows[1:]] == ["k-means on its features", "k-means, random encoder",
                                                 "k-means, raw pixels"]
    assert all(0 <= row["acc"] <= 1 and row["clusters"] == 3 for row in rows)
    text = cluster_table(rows)
    assert "ours" in text and "100.0 %" in text and "3 of 3" in text


def test_a_method_without_clusters_has_the_rows_of_kmeans_alone():
    rows = score_clusters(Bright(), splits(), name="bright", device="cpu", clusters=3)
    assert rows == score_clusters(ByBrightness(), splits(), device="cpu")[1:]
    with pytest.raises(ValueError, match="bright has no clusters of its own"):
        score_clusters(Bright(), splits(), name="bright", device="cpu")
    with pytest.raises(ValueError, match="4 clusters asked of ours, which was trained with 3"):
        score_clusters(ByBrightness(), splits(), name="ours", device="cpu", clusters=4)


def test_assigned_gives_clusters_and_their_probabilities():
    found, sure = assigned(ByBrightness(), gray(6, "test"), "cpu", batch_size=4)
    assert found.tolist() == [2, 1, 0, 2, 1, 0] and (sure > 0.99).all()


def test_kmeans_of_train_assigns_test():
    centres = torch.eye(4) * 9
    train, test = torch.arange(80) % 4, torch.arange(20) % 4
    noise = 0.1 * torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    a, b = kmeans_clusters(centres[train] + noise, centres[test], 4)
    assert matched_scores(a, train, b, test, 4)["acc"] == 1.0
    a, b = kmeans_clusters(torch.ones(9, 3), torch.ones(4, 3), 2)
    assert not a.any() and b.shape == (4,)
    with pytest.raises(ValueError, match="40 clusters asked of 9 images"):
        kmeans_clusters(torch.ones(9, 3), torch.ones(4, 3), 40)


def test_what_cannot_be_scored_is_a_sentence():
    data = splits()
    unlabelled = ImageSet(data.train.images, split="train")
    one = ImageSet(data.train.images, torch.zeros(30, dtype=torch.long), ("a",), split="train")
    for wrong, why in ((Splits(unlabelled, data.validation, data.test), "train has no labels"),
                       (Splits(one, data.validation, data.test), "train has one class only"),
                       (Splits(data.train, data.validation, one), "test has one class only"),
                       (Splits(data.train, data.validation, data.test.head(0)), "test has no images")):
        assert unscorable(wrong) == why
        with pytest.raises(ValueError, match=why):
            score_clusters(ByBrightness(), wrong, device="cpu")
    assert unscorable(data) == ""


def test_confusions_are_shares_of_each_class():
    train, labels = torch.tensor([1, 1, 0, 0, 2, 2]), torch.tensor([0, 0, 1, 1, 2, 2])
    found = class_shares(train, labels, torch.tensor([1, 0, 0, 0, 2]), torch.tensor([0, 0, 1, 1, 2]), 3)
    assert found.tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    # a cluster without a training image stands for no class
    assert class_shares(train, labels, torch.tensor([3, 1]), torch.tensor([0, 0]), 4)[0].tolist() == [0.5, 0.0, 0.0]


def test_what_clusters_tell_of_causes():
    images = gray(240, "test")
    half = torch.arange(240) % 2
    images.factors = {"class": images.labels, "half": half, "size": half + 0.01 * torch.rand(240),
                      "turn": torch.where(half == 0, torch.nan, 1.0)}
    images.kinds = {"class": "category", "half": "category", "size": "number", "turn": "number"}
    told = causes_told(half, images)
    assert told.keys() == {"class", "half", "size"}  # what some images lack is left out
    assert told["half"] == pytest.approx(1) and told["size"] > 0.99 and abs(told["class"]) < 0.02


def test_over_clustering_by_one_cluster_a_class_and_by_majority():
    train, labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3]), torch.tensor([0, 0, 1, 1, 1, 0, 0, 1])
    test, truth = torch.tensor([0, 2, 1, 3, 4]), torch.tensor([0, 0, 1, 1, 1])
    found = over_clustering(train, labels, test, truth, 5)
    # classes 0 and 1 take two of the clusters 0, 1, 2; by majority 0 and 2 stand for class 0, 1 and 3 for class 1
    assert found["one"] == pytest.approx(2 / 5) and found["majority"] == pytest.approx(4 / 5)
    assert found["nmi"] == partition_scores(test, truth)["nmi"] and found["ami"] == partition_scores(test, truth)["ami"]


def test_what_a_second_clustering_mends_of_the_first():
    train = torch.arange(6) % 3
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    before, after = torch.tensor([0, 1, 1, 1, 1, 2, 2, 0]), torch.tensor([0, 0, 1, 1, 1, 2, 2, 2])
    pair = Reassigned((train, before), (train, after), train, labels, 3)
    assert pair.acc == pytest.approx((5 / 8, 7 / 8)) and pair.most_confused() == (0, 1)
    assert float(pair.tables[0][0, 1]) == pytest.approx(2 / 3) and float(pair.tables[1][0, 1]) == pytest.approx(1 / 3)
    values = torch.arange(8.0)
    assert pair.mean_of(values, 0, 1) == 1.5 and pair.mean_of(values, 1, 1) == 3.5
    everyone = torch.ones(8, dtype=torch.bool)
    assert pair.mended(everyone) == pytest.approx(2 / 3) and pair.mended(labels == 0) == pytest.approx(1 / 2)
