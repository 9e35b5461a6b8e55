"""Rank correlation, the mean of classes and VOC's precision against plain Python; the probe as a layer."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.evaluate import (
    eleven_point_precision,
    kendall_tau,
    linear_head,
    linear_probe,
    mean_class_accuracy,
    rank_correlations,
)
from course_lib.evaluate.transfer import class_share, rank_interval
from helpers.draws import randn


def naive_tau(a, b):
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    signs = [((a[i] > a[j]) - (a[i] < a[j]), (b[i] > b[j]) - (b[i] < b[j])) for i, j in pairs]
    return sum(x * y for x, y in signs) / math.sqrt(sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs))


@pytest.mark.parametrize("seed", range(4))
def test_kendalls_tau_counts_pairs(seed):
    a, b = randn(9, seed=seed).round(decimals=1).tolist(), randn(9, seed=seed + 9).round(decimals=1).tolist()
    assert kendall_tau(a, b) == pytest.approx(naive_tau(a, b))
    assert kendall_tau(a, [2 * v + 1 for v in a]) == pytest.approx(1) == -kendall_tau(a, [-v for v in a])


def test_all_pairs_of_tasks():
    found = rank_correlations({"knn": [1, 2, 3], "linear": [1, 3, 2], "far": [3, 2, 1]})
    assert set(found) == {("knn", "linear"), ("knn", "far"), ("linear", "far")}
    assert found["knn", "far"] == pytest.approx(-1) and found["knn", "linear"] == pytest.approx(1 / 3)
    assert math.isnan(kendall_tau([1, 1, 1], [1, 2, 3]))
    for wrong in (([1, 2], [1, 2]), ([1, 2, 3], [1, 2])):
        with pytest.raises(ValueError, match="expected the same number, three networks or more"):
            kendall_tau(*wrong)


def test_a_rare_class_counts_as_much():
    labels, predicted = torch.tensor([0] * 8 + [1] * 2), torch.tensor([0] * 8 + [0, 1])
    assert mean_class_accuracy(predicted, labels) == pytest.approx((1 + 0.5) / 2)


def test_elevens_points_in_plain_python():
    scores, positive = randn(40), randn(40, seed=1) > 0.3
    order = sorted(range(40), key=lambda i: -float(scores[i]))
    points, hits = [], 0
    for rank, i in enumerate(order, 1):
        hits += bool(positive[i])
        points.append((hits / rank, hits / int(positive.sum())))
    wanted = sum(max(p for p, r in points if r >= k / 10 - 1e-9) for k in range(11)) / 11
    assert eleven_point_precision(scores, positive) == pytest.approx(wanted)
    assert eleven_point_precision(torch.tensor([3.0, 2, 1]), torch.tensor([True, True, False])) == 1.0
    with pytest.raises(ValueError, match="no image is positive"):
        eleven_point_precision(scores, torch.zeros(40, dtype=torch.bool))


@pytest.mark.parametrize("classes", [2, 4])
def test_the_probe_as_a_layer_predicts_as_the_probe(classes):
    x = randn(300, 6, dtype=torch.float32) * torch.tensor([1.0, 5, 1, 1, 0.1, 0]) + 3
    y = (x[:, 0] + x[:, 1] / 5 + 3 * randn(300, seed=1).float()).argsort().argsort() * classes // 300
    parts = [(x[rows], y[rows]) for rows in (slice(0, 150), slice(150, 220), slice(220, 300))]
    head = linear_head(parts[0], parts[1])
    assert head.weight.shape == (classes, 6)
    share = float((head(parts[2][0]).argmax(1) == parts[2][1]).float().mean())
    assert share == pytest.approx(linear_probe(*parts).accuracy, abs=0.02)


def test_a_class_that_was_not_trained_is_never_named():
    x, y = randn(60, 3, dtype=torch.float32), torch.arange(60) % 2 * 2
    head = linear_head((x, y), (x[:9], torch.full((9,), 3)))
    assert head.weight.shape == (4, 3) and set(head(randn(200, 3, seed=5).float()).argmax(1).tolist()) <= {0, 2}
    with pytest.raises(ValueError, match="a single class"):
        linear_head((x, y * 0), (x[:9], y[:9]))


def test_the_share_between_classes_equals_its_definition():
    z, labels = randn(40, 3), torch.arange(40) % 4
    total = between = 0.0
    mean = z.mean(0)
    for row, label in zip(z, labels):
        total += float(((row - mean) ** 2).sum())
        between += float(((z[labels == label].mean(0) - mean) ** 2).sum())
    assert class_share(z, labels) == pytest.approx(between / total, rel=1e-6)
    assert class_share(z[labels].repeat_interleave(2, 0), labels.repeat_interleave(2)) == pytest.approx(1.0)


def test_the_interval_of_a_rank_correlation_holds_it_and_shrinks_with_networks():
    from course_lib.evaluate.label_free import rank_correlation

    def pair(n):
        a = randn(n, seed=1)
        return a.tolist(), (a + randn(n, seed=2)).tolist()

    low, high = rank_interval(*pair(12))
    assert low < rank_correlation(*pair(12)) < high <= 1
    assert high - low > 2 * (lambda ends: ends[1] - ends[0])(rank_interval(*pair(120)))
    assert rank_interval([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx((1, 1))
    assert all(math.isnan(end) for end in rank_interval([1, 1, 1], [5, 6, 7]))
    with pytest.raises(ValueError, match="three networks"):
        rank_interval([1, 2], [1, 2])
