"""Un-Mix: the loss against loops in plain Python, its weights, the free reversed pairing, views, the module, resume."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.methods import build_method
from course_lib.methods.contrastive.moco import moco_loss
from course_lib.methods.contrastive.unmix import unmix_loss
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state, views


def unmix(seed=0, queue=24, **options):
    torch.manual_seed(seed)
    options = {"hidden": 8, "out": 6, "splits": 2, "momentum": 0.9, **options}
    return build_method("unmix", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, queue=queue, **options)


# ---------------------------------------------------------------- the loss, in plain Python
def info_nce(q, k, queue, temperature) -> float:
    def cosine(x, y):
        return sum(a * b for a, b in zip(x, y)) / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))

    scores = [cosine(q, row) / temperature for row in [k, *queue]]
    return math.log(sum(math.exp(s) for s in scores)) - scores[0]


def naive(q, mixed, k, queue, lam, temperature) -> float:
    n, total = len(q), 0.0
    for i in range(n):
        total += info_nce(q[i], k[i], queue, temperature)
        total += lam * info_nce(mixed[i], k[i], queue, temperature)
        total += (1 - lam) * info_nce(mixed[n - 1 - i], k[i], queue, temperature)
    return total / n


@pytest.mark.parametrize("n, d, length, temperature", [(1, 3, 4, 1.0), (4, 3, 6, 0.5), (5, 8, 12, 0.1)])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_the_loss_equals_its_definition(n, d, length, temperature, lam):
    q, mixed, k, queue = randn(n, d) * 3, randn(n, d, seed=1), randn(n, d, seed=2), normalize(randn(length, d, seed=3))
    parts = unmix_loss(q, mixed, k, queue, lam, temperature)
    wanted = naive(q.tolist(), mixed.tolist(), k.tolist(), queue.tolist(), lam, temperature)
    assert float(parts["loss"]) == pytest.approx(wanted, rel=1e-10)
    torch.testing.assert_close(parts["loss"], parts["plain"] + parts["mixed"])
    torch.testing.assert_close(parts["plain"], moco_loss(q, k, queue, temperature)["loss"])


def test_the_weights_add_up_to_two():
    """Nothing told apart: 2 log(K + 1), whatever the ratio."""
    row = normalize(torch.ones(1, 4, dtype=torch.float64))
    q, queue = row.expand(4, 4), row.expand(9, 4)
    for lam in (0.0, 0.4, 1.0):
        assert float(unmix_loss(q, q, q, queue, lam, 0.1)["loss"]) == pytest.approx(2 * math.log(10))


def test_lam_is_the_share_of_an_images_own():
    """Bug: lam on the partner. A mixture that *is* image i, with lam 1, has MoCo's loss twice."""
    q, k, queue = randn(4, 5), randn(4, 5, seed=1), normalize(randn(8, 5, seed=2))
    alone = moco_loss(q, k, queue, 0.2)["loss"]
    torch.testing.assert_close(unmix_loss(q, q, k, queue, 1.0, 0.2)["loss"], 2 * alone)
    torch.testing.assert_close(unmix_loss(q, q.flip(0), k, queue, 0.0, 0.2)["loss"], 2 * alone)
    assert not torch.allclose(unmix_loss(q, q.flip(0), k, queue, 1.0, 0.2)["loss"], 2 * alone)


def test_gradients():
    q, mixed, k = (randn(4, 3, seed=s).requires_grad_() for s in range(3))
    queue = normalize(randn(7, 3, seed=4)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y: unmix_loss(x, y, k.detach(), queue.detach(), 0.3, 0.5)["loss"], (q, mixed))
    unmix_loss(q, mixed, k, queue, 0.3, 0.5)["loss"].backward()
    assert q.grad.abs().sum() > 0 and mixed.grad.abs().sum() > 0 and k.grad is None and queue.grad is None


def test_float32_inside_autocast():
    q, mixed, k, queue = (randn(8, 16, seed=s, dtype=torch.float32) for s in range(4))
    given = (q, mixed, k, normalize(queue), torch.tensor(0.3), 0.07)
    wanted = unmix_loss(*given)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = unmix_loss(*given)["loss"]
    assert got.dtype == torch.float32 and torch.equal(got, wanted)


def test_bad_options_are_sentences():
    with pytest.raises(ValueError, match="alpha is 0.0; expected a number above 0"):
        unmix(alpha=0.0)
    with pytest.raises(ValueError, match="blend_p is 1.5; expected a probability"):
        unmix(blend_p=1.5)
    with pytest.raises(ValueError, match="temperature is 0"):
        unmix_loss(randn(2, 4), randn(2, 4), randn(2, 4), normalize(randn(3, 4)), 0.5, 0.0)


# ---------------------------------------------------------------- the module
@pytest.mark.parametrize("blend_p", [0.0, 1.0])
def test_first_views_are_mixed_and_keys_are_of_clean_ones(blend_p):
    method = unmix(blend_p=blend_p)
    first, second, order, mixed, lam = views(method)
    plain = views(build_method("moco-v2", "convnet", 16, augment=method.augment))
    assert torch.equal(first, plain[0]) and torch.equal(second, plain[1]) and torch.equal(order, plain[2])
    assert lam.shape == () and 0 <= lam <= 1
    if blend_p:
        torch.testing.assert_close(mixed, lam * first + (1 - lam) * first.flip(0))
    else:
        own, partner = mixed == first, mixed == first.flip(0)
        assert (own | partner).all()
        torch.testing.assert_close(own.all(1).float().mean((1, 2)).median(), lam, atol=0.05, rtol=0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_terms_and_the_queue(symmetric):
    """Six terms when symmetric, with mixtures of first views only; keys enqueued after the logits."""
    method = unmix(symmetric=symmetric)
    before, given = method.queue.rows.clone(), views(method)
    parts = method.loss(given)
    a, b, m = (standardize(given[i]) for i in (0, 1, 3))
    order, lam = given[2], given[4]
    mixed = method.head(method.backbone(m))
    wanted, keys = 0.0, []
    for query, key in ((a, b), (b, a))[: 1 + symmetric]:
        q, k = method.head(method.backbone(query)), method.encode_keys(key, order)
        for features, weight in ((q, 1.0), (mixed, lam), (mixed.flip(0), 1 - lam)):
            wanted = wanted + weight * moco_loss(features, k, before, method.temperature)["loss"]
        keys.append(k)
    torch.testing.assert_close(parts["loss"], wanted)
    count = 8 * len(keys)
    torch.testing.assert_close(method.queue.rows[:count], torch.cat(keys[::-1]))
    assert torch.equal(method.queue.rows[count:], before[count:])
    parts["loss"].backward()
    assert all(p.grad is None for p in method.keys.parameters())
    assert all(p.grad is not None for p in (*method.backbone.parameters(), *method.head.parameters()))


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 7, "log_every": 1, "lr": 0.01}
    whole, part, again = unmix(), unmix(), unmix(seed=7)
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(part, images(), out=tmp_path / "cut", watch=Stop(4), **settings)
    torch.manual_seed(99)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves
