"""Scores of a contrastive method over training: against NumPy, and the method left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.data.images import Batch
from course_lib.evaluate import queue_scores, score_statistics
from course_lib.methods import build_method
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
