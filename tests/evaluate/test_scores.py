"""Scores of a contrastive method over training: against NumPy, and the method left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.data.images import Batch
from course_lib.evaluate import queue_scores, score_statistics
from course_lib.evaluate.scores import MovedPairs, directions, mixing_effect, readings_table, stored_looks
from course_lib.methods import build_method
from course_lib.methods.contrastive.imco import extrapolate, score_moments
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, images, same, state


def method(name="imco"):
    torch.manual_seed(0)
    return build_method(name, "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, queue=24, out=6)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_the_statistics_equal_numpys(shape):
    positive, negative = randn(*shape, 40).tanh(), randn(*shape, 25, seed=1).tanh()
    found = score_statistics(positive, negative, bins=10)
    np.testing.assert_allclose(found["edges"], np.linspace(-1, 1, 11), atol=1e-7)
    for name, scores in (("positive", positive), ("negative", negative)):
        assert found[name].shape == (*shape, 10) and found[f"{name}_mean"].shape == shape
        rows = zip(scores.reshape(-1, scores.shape[-1]), found[name].reshape(-1, 10),
                   found[f"{name}_mean"].reshape(-1), found[f"{name}_variance"].reshape(-1))
        for row, histogram, mean, variance in rows:
            counts, _ = np.histogram(row.numpy(), 10, (-1, 1))
            np.testing.assert_allclose(histogram, counts / len(row))
            assert float(mean) == pytest.approx(row.numpy().mean())
            assert float(variance) == pytest.approx(row.numpy().var())


def test_edges_and_scores_outside():
    """A score on an edge is in the bin above, as in NumPy; those of mixed embeddings, outside, are in the outermost."""
    found = score_statistics(torch.tensor([-1.0, 0.0, 0.5, 1.0]), torch.tensor([-7.0, 3.0]), bins=4)
    assert found["positive"].tolist() == [0.25, 0.0, 0.25, 0.5] and found["negative"].tolist() == [0.5, 0.0, 0.0, 0.5]
    assert float(found["negative_mean"]) == -2.0
    assert score_statistics(torch.zeros(3).half(), torch.zeros(3))["positive_mean"].dtype == torch.float32


@pytest.mark.parametrize("positive, negative, options, says", [
    (torch.zeros(2, 3), torch.zeros(4, 3), {}, "alike but for the last axis"),
    (torch.tensor(1.0), torch.zeros(3), {}, "alike but for the last axis"),
    (torch.zeros(3), torch.tensor([0.0, torch.nan]), {}, "negative scores are none, or hold NaN"),
    (torch.zeros(0), torch.zeros(3), {}, "positive scores are none"),
    (torch.zeros(3), torch.zeros(3), {"bins": 0}, "bins is 0"),
    (torch.zeros(3), torch.zeros(3), {"span": (1.0, 1.0)}, "two rising numbers"),
])
def test_bad_input_is_a_sentence(positive, negative, options, says):
    with pytest.raises(ValueError, match=says):
        score_statistics(positive, negative, **options)


@pytest.mark.parametrize("name", ["moco-v2", "imco", "unmix"])
def test_scores_are_those_of_queries_and_keys_and_nothing_moves(name):
    model = method(name).train()
    before = state(model)
    positive, negative = queue_scores(model, images(8), seed=3)
    assert same(state(model), before) and model.training
    assert positive.shape == (8,) and negative.shape == (8 * 24,)
    model.eval()
    batch = Batch(images(8).images, torch.arange(8))
    a, b, *_ = model.views(batch, torch.Generator().manual_seed(3))
    with torch.no_grad():
        q = normalize(model.head(model.backbone(standardize(a))))
        torch.testing.assert_close(positive, (q * normalize(model.keys(standardize(b)))).sum(1))
        torch.testing.assert_close(negative, (q @ model.queue.rows.T).flatten())
    assert torch.equal(queue_scores(model, images(8).images, seed=3)[0], positive)


def test_over_a_training():
    model, looks = method(), []
    fit(model, images(), steps=6, log_every=2, watch=lambda _: looks.append(queue_scores(model, images(8))), **SMALL)
    found = score_statistics(*map(torch.stack, zip(*looks)), bins=20)
    assert found["positive"].shape == found["negative"].shape == (3, 20)
    torch.testing.assert_close(found["positive"].sum(1), torch.ones(3))


def test_a_method_without_a_queue_is_named():
    with pytest.raises(ValueError, match="VICReg has no queue of keys"):
        queue_scores(build_method("vicreg"), images(4))


def test_moved_pairs_have_the_scores_and_forces_of_their_formulas():
    q, k, rows = (normalize(randn(12, 5, seed=seed)) for seed in (1, 2, 3))
    pairs = MovedPairs(lambda q, k, draw: extrapolate(q, k, draw + 1), q, k, rows)
    s = (q * k).sum(1)
    torch.testing.assert_close(pairs.scores(1.5), s - 1.5 * (1 - s))  # 2 lam (lam - 1) = 1.5
    a, b = 1.5 * q - 0.5 * k, 1.5 * k - 0.5 * q
    torch.testing.assert_close(pairs.scores(1.5, scaled=True), torch.cosine_similarity(a, b))
    found = pairs.reading(1.5)
    assert found["pull"] == pytest.approx(2.5, abs=1e-4) and found["push"] == pytest.approx(1.5, abs=1e-4)
    assert found["ratio"] == pytest.approx(5 / 3, abs=1e-4) and found["times"] == pytest.approx(2.5, abs=1e-4)
    assert found["mean"] == pytest.approx(float((s - 1.5 * (1 - s)).mean()), abs=1e-6)
    assert len(pairs.balances) == len(pairs.lambdas) == 37
    assert pairs.balances[pairs.lambdas.index(1.0)] == pytest.approx(1, abs=1e-4)


def test_what_mixing_changes():
    before, after = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.5, 0.5], [1.0, 2.0]])
    assert mixing_effect(before, after) == pytest.approx(
        {"variance": 0.5 / 2.0, "mean": 1.0, "was": 2.0, "hardest": 1.25})


def test_stored_histograms_give_scores_back():
    shares = [0.0] * 40
    shares[39] = 1.0
    other = [0.0] * 40
    other[0], other[20] = 0.25, 0.75
    row = {"scores_positive": other + shares, "scores_negative": shares + other}
    (first, (near, far)), (second, (close, strange)) = stored_looks(row, [0, 10], count=100)
    assert (first, second) == (0, 10) and len(near) == len(far) == len(close) == len(strange) == 100
    assert near.unique().tolist() == pytest.approx([-0.975, 0.025]) and int((near < 0).sum()) == 25
    assert far.unique().tolist() == pytest.approx([0.975]) and close.equal(far) and strange.equal(near)


def test_directions_in_use_are_counted_by_strangers():
    rows = [{"scores_negative_mean": [1.0, 0.0], "scores_negative_variance": [0.0, 0.25]},
            {"scores_negative_mean": [1.0, 0.6], "scores_negative_variance": [0.0, 0.14]}]
    assert directions(rows[:1]) == pytest.approx(4) and directions(rows) == pytest.approx((4 + 2) / 2)
    z = normalize(randn(4000, 8))  # evenly spread in 8 directions
    scores = z[:2000] @ z[2000:].T
    spread = {"scores_negative_mean": [float(scores.mean())], "scores_negative_variance": [float(scores.var())]}
    assert directions([spread]) == pytest.approx(8, rel=0.05)


def test_readings_are_a_line_for_each_run():
    moments = {"positive": 0.5, "positive_variance": 0.04, "negative": 0.1, "negative_variance": 0.09}
    assert set(moments) == set(score_moments(randn(3, 2), randn(3, 2), randn(4, 2)))
    assert readings_table({"mine": moments}, 60) == (
        "mine             after 60 steps: pairs 0.50, strangers 0.10, standard deviations 0.20 and 0.30")
