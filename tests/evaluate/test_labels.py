"""Few labels: which pictures have one, and ridge regression on them."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import Ridge

from course_lib.evaluate.labels import few_labels, ridge_scores


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
