"""What is read from the vectors of places: against loops, closed forms and numpy's SVD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.evaluate.patches import (
    component_colours,
    counterparts,
    guessed_counterparts,
    patch_vectors,
    same_word,
    shared_bits,
)
from course_lib.models.backbones import ConvNet
from course_lib.models.vit import ViT
from helpers.draws import randn


def naive_colours(vectors: np.ndarray) -> np.ndarray:
    """(rows, D) -> (rows, 3), one component and one row at a time, by SVD."""
    centred = vectors - vectors.mean(0)
    _, _, basis = np.linalg.svd(centred, full_matrices=False)
    out = np.zeros((len(vectors), 3))
    for k in range(3):
        axis = basis[k] * np.sign(max(basis[k], key=abs))
        scores = [sum(a * b for a, b in zip(row, axis)) for row in centred]
        deviation = (sum(s * s for s in scores) / len(scores)) ** 0.5
        out[:, k] = [min(1.0, max(0.0, 0.5 + s / (4 * deviation))) for s in scores]
    return out


def test_component_colours_equal_loops():
    vectors = randn(3, 5, 7, seed=1) * torch.arange(1, 8)
    colours, shares = component_colours(vectors)
    expected = naive_colours(vectors.flatten(0, 1).numpy())
    np.testing.assert_allclose(colours.flatten(0, 1).numpy(), expected, atol=1e-5)
    values = np.linalg.svd(vectors.flatten(0, 1).numpy() - vectors.flatten(0, 1).mean(0).numpy())[1] ** 2
    np.testing.assert_allclose(shares.numpy(), values[:3] / values.sum(), rtol=1e-5)
    assert colours.dtype == torch.float32 and colours.shape == (3, 5, 3)


def test_colours_do_not_flip():
    """The same pictures for the same vectors, scaled, shifted or shuffled: signs and order are not the solver's."""
    vectors = randn(4, 6, 8, seed=2).float() * torch.arange(1, 9)
    colours = component_colours(vectors)[0]
    assert torch.equal(component_colours(vectors)[0], colours)
    torch.testing.assert_close(component_colours(3 * vectors + 1)[0], colours, atol=1e-4, rtol=0)
    torch.testing.assert_close(component_colours(vectors[[2, 0, 3, 1]])[0], colours[[2, 0, 3, 1]], atol=1e-4, rtol=0)


def test_a_collapsed_network_is_grey():
    vectors = 3 + 1e-6 * randn(2, 9, 5, seed=3).float()
    colours, shares = component_colours(vectors)
    torch.testing.assert_close(colours, torch.full_like(colours, 0.5), atol=0.01, rtol=0)
    assert shares.isfinite().all()
    assert component_colours(torch.zeros(1, 4, 3))[0].eq(0.5).all()
    with pytest.raises(ValueError, match="D of 3 or more"):
        component_colours(torch.zeros(1, 4, 2))


def test_patch_vectors_are_tokens_or_positions():
    x, vit, net = randn(2, 3, 16, 16, seed=4).float(), ViT(16, 4, 12, 2, 3).eval(), ConvNet(2, (4, 8)).eval()
    with torch.no_grad():
        assert torch.equal(patch_vectors(vit, x), vit.tokens(x)[:, 1:])
        last, first = net.stages(x)[-1], net.stages(x)[0]
        vectors = patch_vectors(net, x)
        assert vectors.shape == (2, 16, 8) and torch.equal(vectors[1, 4 * 2 + 3], last[1, :, 2, 3])
        assert torch.equal(patch_vectors(net, x, 0)[0, 8 * 5 + 6], first[0, :, 5, 6])
    with pytest.raises(ValueError, match="Linear has no patches"):
        patch_vectors(nn.Linear(2, 2), x)


def test_a_word_that_is_the_cause_tells_all_of_it():
    cause = torch.arange(4).repeat(500)
    draw = torch.Generator().manual_seed(0)
    assert shared_bits(cause, cause, draw) == pytest.approx(2.0, abs=0.01)
    assert shared_bits(cause // 2, cause, draw) == pytest.approx(1.0, abs=0.01)
    chance = torch.randint(4, (2000,), generator=draw)
    assert shared_bits(chance, cause, draw) == pytest.approx(0.0, abs=0.01)


def test_pairs_that_share_a_word_are_counted():
    words = torch.tensor([[0, 0, 1], [2, 0, 1]])
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    flat = words.flatten().tolist()
    of = {"one image": lambda i, j: i // 3 == j // 3, "one place": lambda i, j: i % 3 == j % 3,
          "any two": lambda i, j: True}
    for name, share in same_word(words).items():
        asked = [flat[i] == flat[j] for i, j in pairs if of[name](i, j)]
        assert share == pytest.approx(sum(asked) / len(asked)), name


def test_guesses_at_counterparts():
    line = torch.tensor([[0, column, 0, 0, 0] for column in range(3)])  # middle: column 1
    assert guessed_counterparts([line], 0) == pytest.approx((1 / 3, 1 / 3))
    assert guessed_counterparts([line], 1) == pytest.approx((7 / 9, 1.0))
    assert guessed_counterparts([line, line[:1]], 0) == pytest.approx((2 / 3, 2 / 3))


def test_counterparts_of_an_object_that_moved():
    features = randn(9, 4)
    second = features.view(3, 3, 4).roll(1, 1).reshape(9, 4)  # everything one column to the right
    covered = torch.tensor([1, 1, 1, 0, 0, 0, 1, 0, 0]).bool()
    found = counterparts(features, second, covered, (0, 1), slack=0)
    assert found.tolist() == [[0, 0, 0, 1, 1], [0, 1, 0, 2, 1], [2, 0, 2, 1, 1]]
    assert counterparts(features, features, covered, (0, 1), slack=0)[:, 4].sum() == 0
    assert counterparts(features, features, covered, (0, 1))[:, 4].sum() == 3
