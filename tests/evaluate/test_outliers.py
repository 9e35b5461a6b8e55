"""SSD's score and the two numbers of a detector against plain Python, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib.data.images import ImageSet
from course_lib.evaluate import auroc, fpr95, mahalanobis, outlier_scores, standardised
from course_lib.evaluate.outliers import euclidean, spliced
from helpers.draws import randn


def test_the_score_equals_its_definition():
    train, test = randn(50, 4) @ randn(4, 4, seed=1), randn(7, 4, seed=2)
    x = train.numpy()
    mean = [x[:, d].sum() / 50 for d in range(4)]
    sigma = np.array([[sum((row[a] - mean[a]) * (row[b] - mean[b]) for row in x) / 50 for b in range(4)]
                      for a in range(4)])
    for row, score in zip(test.numpy(), mahalanobis(train, test).tolist()):
        away = row - np.array(mean)
        assert score == pytest.approx(float(away @ np.linalg.solve(sigma, away)), rel=1e-9)


def test_of_several_clusters_the_nearest_counts():
    train, labels = torch.cat([randn(40, 3), randn(40, 3, seed=1) + 9]), torch.arange(80) // 40
    test = torch.tensor([[0.0, 0, 0], [9, 9, 9], [4.5, 4.5, 4.5]], dtype=torch.float64)
    each = torch.stack([mahalanobis(train[labels == k], test) for k in (0, 1)]).amin(0)
    torch.testing.assert_close(mahalanobis(train, test, labels), each)
    one, two = mahalanobis(train, test), mahalanobis(train, test, labels)
    assert one[2] < one[0] and two[2] > 10 * two[0], "one cluster puts the middle of two into its centre"


def test_more_dimensions_than_images_stay_finite():
    train, test = randn(10, 30), randn(5, 30, seed=1)
    assert bool(mahalanobis(train, test).isfinite().all())
    assert bool(mahalanobis(train, test, covariance="ledoit-wolf").isfinite().all())


def test_directions_that_do_not_vary_count_most():
    train = randn(500, 2) * torch.tensor([10.0, 0.1])
    along, across = (torch.tensor([v]).double() for v in ([8.0, 0.0], [0.0, 1.0]))
    assert float(mahalanobis(train, along)) < 1.5 < 50 < float(mahalanobis(train, across))
    assert float(euclidean(train, along)) > float(euclidean(train, across)), "the control has it the other way round"


def test_auroc_and_fpr95_in_plain_python():
    known, outliers = randn(40).round(decimals=1), (randn(30, seed=1) + 1).round(decimals=1)
    pairs = [(o > k) + (o == k) / 2 for k in known.tolist() for o in outliers.tolist()]
    assert auroc(known, outliers) == pytest.approx(sum(pairs) / len(pairs))
    order = sorted(known.tolist())
    place = 0.95 * 39
    limit = order[int(place)] + (place - int(place)) * (order[int(place) + 1] - order[int(place)])
    assert fpr95(known, outliers) == pytest.approx(sum(o <= limit for o in outliers.tolist()) / 30)
    assert auroc(known, known) == pytest.approx(0.5) and auroc(outliers, outliers + 9) == 1.0
    assert auroc(known, outliers) == pytest.approx(1 - auroc(outliers, known))
    assert fpr95(torch.ones(9), torch.ones(5)) == 1.0, "scores that are all alike miss all"


def test_statistics_are_of_training_features_alone():
    train, test = randn(30, 5), randn(9, 5, seed=1)
    whole, part = standardised(train, test)[1], standardised(train, test[:3])[1]
    torch.testing.assert_close(whole[:3], part)
    constant = torch.cat([train, torch.zeros(30, 1)], 1)
    assert not standardised(constant, constant)[0][:, 5].any()


def test_outliers_are_told_and_the_control_is_beside():
    train = randn(300, 6) * torch.tensor([5.0, 5, 5, 1, 1, 1])
    found = outlier_scores(train, randn(80, 6, seed=1) * torch.tensor([5.0, 5, 5, 1, 1, 1]), randn(80, 6, seed=2) + 3)
    assert set(found) == {"auroc", "fpr95", "auroc_euclidean"} and found["auroc"] > 0.8


def test_halves_are_of_two_images():
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 4, 6)
    found = spliced(ImageSet(images, name="five"), 40)
    left, right = found.images[:, 0, 0, 0], found.images[:, 0, 0, 5]
    assert bool((left != right).all()) and len(left.unique()) == len(right.unique()) == 5
    assert torch.equal(found.images[..., 2], left.view(-1, 1, 1).expand(40, 3, 4))
    assert found.name == "halves of two five"
    assert torch.equal(found.images[..., 3], right.view(-1, 1, 1).expand(40, 3, 4))
    with pytest.raises(ValueError, match="9 outliers of 1 images"):
        spliced(ImageSet(images[:1]), 9)


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(ValueError, match="covariance is 'inv'; expected pinv or ledoit-wolf"):
        mahalanobis(randn(5, 2), randn(5, 2), covariance="inv")
    with pytest.raises(ValueError, match=r"train features have shape \(5, 2\), test features \(5, 3\)"):
        mahalanobis(randn(5, 2), randn(5, 3))
    with pytest.raises(ValueError, match="cluster 4 has a single training row; expected two or more"):
        mahalanobis(randn(5, 2), randn(5, 2), torch.tensor([0, 0, 4, 2, 2]))
    with pytest.raises(ValueError, match=r"clusters have shape \(4,\); expected \(5,\)"):
        mahalanobis(randn(5, 2), randn(5, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"scores have shape \(3, 1\) or are not finite"):
        auroc(randn(3, 1), randn(3))
    with pytest.raises(ValueError, match="are not finite"):
        fpr95(randn(3), torch.tensor([float("nan")]))
