"""Few labels: which pictures have one, ridge regression on them, and the labels that pre-training saves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from course_lib.evaluate.labels import few_labels, ridge_scores, utility


def test_every_class_gives_its_first_pictures_in_the_order():
    generator = torch.Generator().manual_seed(1)
    labels, order = torch.randint(4, (60,), generator=generator), torch.randperm(60, generator=generator)
    for k in (1, 3, 60):
        chosen = few_labels(labels, order, k)
        for c in range(4):
            of_class = [i for i in order.tolist() if labels[i] == c]
            assert sorted(chosen[labels[chosen] == c].tolist()) == sorted(of_class[:k])
    assert set(few_labels(labels, order, 2).tolist()) <= set(few_labels(labels, order, 5).tolist())


def test_the_scores_are_those_of_ridge_regression():
    generator = torch.Generator().manual_seed(2)
    for n, d in ((12, 5), (7, 20)):
        x = 3 + 2 * torch.randn(n, d, generator=generator, dtype=torch.float64)
        y, q = torch.arange(n) % 3, torch.randn(9, d, generator=generator, dtype=torch.float64)
        mean, std = x.mean(0), x.std(0, correction=0) + 1e-6
        one_hot = np.eye(3)[y.numpy()]
        fitted = Ridge(alpha=0.1 * d).fit(((x - mean) / std).numpy(), one_hot)
        expected = fitted.predict(((q - mean) / std).numpy())
        assert np.allclose(ridge_scores(x, y, q).numpy(), expected, atol=1e-8)


def test_dimensions_that_do_not_vary_among_the_labelled_say_nothing():
    x = torch.tensor([[0.0, 1.0, 5.0], [0.0, -1.0, 5.0], [0.0, 1.5, 5.0], [0.0, -0.5, 5.0]])
    y, q = torch.tensor([2, 7, 2, 7]), torch.tensor([[4.0, 1.0, -3.0], [-9.0, -1.0, 8.0]])
    assert ridge_scores(x, y, q).argmax(1).tolist() == [0, 1]


def test_utility_is_where_the_curve_from_scratch_first_gets_as_far():
    labels, scratch = (40, 320, 2560), (0.16, 0.42, 0.53)
    fine = np.exp(np.linspace(np.log(40), np.log(2560), 200_001))
    curve = np.interp(np.log(fine), np.log(labels), scratch)
    for n, accuracy in ((40, 0.34), (40, 0.5), (320, 0.48), (2560, 0.3)):
        naive = next(many for many, reached in zip(fine, curve) if reached >= accuracy) / n - 1
        assert utility(labels, scratch, n, accuracy) == pytest.approx(naive, abs=1e-3)
    assert utility(labels, scratch, 320, 0.42) == pytest.approx(0)
    assert utility(labels, scratch, 40, 0.6) is None and utility(labels, scratch, 40, 0.1) is None
    assert utility((10, 20), (0.5, 0.5), 5, 0.5) == pytest.approx(1)


def test_utility_asks_for_a_curve():
    for labels, scratch in (((40,), (0.2,)), ((40, 20), (0.2, 0.3)), ((40, 80), (0.2,)), ((0, 80), (0.2, 0.3))):
        with pytest.raises(ValueError, match="two or more rising numbers"):
            utility(labels, scratch, 40, 0.2)
