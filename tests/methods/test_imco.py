"""ImCo: the loss against loops in plain Python, the identity of the scores, gradients, what is drawn, what is enqueued.

Each test of a bug that people shipped names it; the bugs stand in the docstring of the method's file.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from course_lib.methods import build_method
from course_lib.methods.contrastive.imco import (
    extrapolate,
    imco_logits,
    imco_loss,
    interpolate,
    score_moments,
    similarities,
)
from course_lib.methods.contrastive.moco import moco_loss
from course_lib.models.layers import normalize
from course_lib.seeds import beta
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state, views


def imco(seed=0, name="imco", queue=24, **options):
    torch.manual_seed(seed)
    options = {"hidden": 8, "out": 6, "splits": 2, "momentum": 0.9, **options}
    return build_method(name, "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, queue=queue, **options)


def units(n, d, length):
    return normalize(randn(n, d)), normalize(randn(n, d, seed=1)), normalize(randn(length, d, seed=2))


# ---------------------------------------------------------------- the loss, in plain Python
def naive(q, k, queue, temperature, a, b, order, renormalize) -> tuple[float, float]:
    """(loss, accuracy) of lists of unit rows; a and b are lists like q and queue, or None."""
    def mix(share, one, other):
        return [s * x + (1 - s) * y for s, x, y in zip(share, one, other)]

    def unit(row):
        length = math.sqrt(sum(x * x for x in row))
        return [x / length for x in row]

    negatives = queue if b is None else [mix(b[j], queue[j], queue[order[j]]) for j in range(len(queue))]
    total, right = 0.0, 0
    for i in range(len(q)):
        one, other = q[i], k[i]
        if a is not None:
            one, other = mix(a[i], q[i], k[i]), mix(a[i], k[i], q[i])
            if renormalize:
                one, other = unit(one), unit(other)
        scores = [sum(x * y for x, y in zip(one, row)) / temperature for row in [other, *negatives]]
        total += math.log(sum(math.exp(s) for s in scores)) - scores[0]
        right += scores[0] > max(scores[1:])
    return total / len(q), right / len(q)


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("mixed", ["", "positive", "negative", "positive negative"])
@pytest.mark.parametrize("elementwise", [False, True])
def test_the_loss_equals_its_definition(mixed, elementwise, renormalize):
    q, k, queue = randn(5, 4) * 3, randn(5, 4, seed=1) / 2, normalize(randn(9, 4, seed=2))
    order, given, lists = torch.randperm(9, generator=torch.Generator().manual_seed(0)), {}, {"a": None, "b": None}
    for name, word, shape in (("a", "positive", (5, 4)), ("b", "negative", (9, 4))):
        if word in mixed:
            draw = randn(*shape, seed=3).sigmoid() if elementwise else torch.tensor(0.3, dtype=torch.float64)
            given[name] = draw + (name == "a")
            lists[name] = given[name].expand(shape).tolist()
    parts = imco_loss(q, k, queue, 0.2, **given, order=order, renormalize=renormalize)
    loss, accuracy = naive(normalize(q).tolist(), normalize(k).tolist(), queue.tolist(), 0.2, lists["a"], lists["b"],
                           order.tolist(), renormalize)
    assert float(parts["loss"]) == pytest.approx(loss, rel=1e-10)
    assert float(parts["accuracy"]) == pytest.approx(accuracy)


@pytest.mark.parametrize("a", [0.0, 0.4, 1.0, 1.3, 2.0])
def test_the_identity_of_the_scores(a):
    """q'.k' = s + 2 a (1 - a) (1 - s): below s for a above 1. Bug: a in (0, 1), where it is above."""
    q, k, _ = units(50, 3, 1)
    s = (q * k).sum(1)
    first, second = extrapolate(q, k, a)
    mixed = (first * second).sum(1)
    torch.testing.assert_close(mixed, s + 2 * a * (1 - a) * (1 - s))
    torch.testing.assert_close(first + second, q + k)  # the middle of the pair stays where it is
    assert torch.equal(mixed < s - 1e-9, torch.full((50,), a > 1))
    negative = mixed < 0  # which scores become negative: s below c / (1 + c) with c = 2 a (a - 1)
    c = 2 * a * (a - 1)
    assert a <= 1 or torch.equal(negative, s < c / (1 + c))


def test_mixed_vectors_keep_their_lengths():
    """Bug: scaled back to 1. Extrapolated ones are longer than 1, interpolated negatives shorter."""
    q, k, queue = units(20, 5, 12)
    first, second = extrapolate(q, k, 1.7)
    assert (first.norm(dim=1) > 1).all() and (second.norm(dim=1) > 1).all()
    mixed = interpolate(queue, 0.5, torch.arange(12).roll(1))
    assert (mixed.norm(dim=1) < 1).all()
    torch.testing.assert_close(interpolate(queue, 1.0, torch.arange(12).roll(1)), queue)
    plain = imco_logits(q, k, queue, 0.2, 1.7, 0.5, torch.arange(12).roll(1))
    scaled = imco_logits(q, k, queue, 0.2, 1.7, 0.5, torch.arange(12).roll(1), renormalize=True)
    assert plain[:, 0].abs().max() > 1 / 0.2 >= scaled[:, 0].abs().max(), "logits may leave [-1/tau, 1/tau]"
    torch.testing.assert_close(scaled[:, 1:], normalize(first) @ mixed.T / 0.2)  # the negatives stay shorter


def test_without_mixing_it_is_moco():
    q, k, queue = randn(6, 4), randn(6, 4, seed=1), normalize(randn(10, 4, seed=2))
    wanted = moco_loss(q, k, queue, 0.2)
    for given in ({}, {"a": 1.0}, {"b": 1.0, "order": torch.arange(10).flip(0)}, {"b": 0.3, "order": torch.arange(10)}):
        for key, value in imco_loss(q, k, queue, 0.2, **given).items():
            torch.testing.assert_close(value, wanted[key])


def test_gradients_flow_through_both_mixtures_and_to_queries_only():
    """Bug: k' taken as a constant, though it holds (1 - a) q."""
    q, k, queue = randn(4, 3).requires_grad_(), randn(4, 3, seed=1).requires_grad_(), normalize(randn(7, 3, seed=2))
    order = torch.arange(7).roll(3)
    queue.requires_grad_()
    for scaled in (False, True):
        assert torch.autograd.gradcheck(lambda x, scaled=scaled: imco_loss(
            x, k.detach(), queue.detach(), 0.5, 1.4, 0.3, order, scaled)["loss"], q)
    loss = imco_loss(q, k, queue, 0.5, 1.4, 0.3, order)["loss"]
    loss.backward()
    assert k.grad is None and queue.grad is None
    unit, key = normalize(q.detach()).requires_grad_(), normalize(k.detach())
    positive = torch.autograd.grad(imco_logits(unit, key, queue, 1.0, 1.4)[:, 0].sum(), unit)[0]
    a = 1.4  # of a q . k a  +  (1 - a)^2 k . q  +  a (1 - a) (q . q + k . k)
    torch.testing.assert_close(positive, (a**2 + (1 - a) ** 2) * key + 2 * a * (1 - a) * unit.detach())


def test_float32_inside_autocast():
    q, k, queue = (randn(8, 16, seed=s, dtype=torch.float32) for s in range(3))
    given = (q, k, normalize(queue), 0.07, torch.tensor(1.5), torch.tensor(0.4), torch.arange(8).flip(0))
    wanted = imco_loss(*given)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, moments = imco_loss(*given)["loss"], score_moments(q, k, queue)
    assert got.dtype == torch.float32 and torch.equal(got, wanted)
    assert all(value.dtype == torch.float32 for value in moments.values())


def test_bad_input_is_a_sentence():
    q, k, queue = units(2, 4, 3)
    with pytest.raises(ValueError, match="temperature is 0.* expected a number above 0"):
        imco_loss(q, k, queue, 0.0)
    with pytest.raises(ValueError, match="order is None; expected a permutation of the queue"):
        imco_loss(q, k, queue, 0.2, b=0.5)
    for options, says in (({"positives": "harder"}, "positives is 'harder'; expected one of extrapolate, interpolate"),
                          ({"negatives": "extrapolate"}, "negatives is 'extrapolate'; expected one of interpolate"),
                          ({"alpha_positive": 0.0}, "alpha_positive is 0.0; expected a number above 0"),
                          ({"alpha_negative": -1.0}, "alpha_negative is -1.0; expected")):
        with pytest.raises(ValueError, match=says):
            imco(**options)


# ---------------------------------------------------------------- the draws
@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.6, 2.0])
def test_beta_draws(alpha):
    draws = beta(alpha, (20000,), torch.Generator().manual_seed(0)).double()
    assert 0 <= draws.min() and draws.max() <= 1 and abs(draws.mean() - 0.5) < 0.01
    assert float(draws.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_draws_come_from_the_generator():
    one, two, other = (beta(2.0, (), torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(one, two) and one != other and one.shape == () and one.dtype == torch.float32
    with pytest.raises(ValueError, match="alpha is 0; expected a number above 0"):
        beta(0, (), torch.Generator())


@pytest.mark.parametrize("elementwise", [False, True])
def test_what_is_drawn(elementwise):
    """Bug: no shift by 1 in extrapolation. One number a batch, or one for each element."""
    shapes = [(8, 6), (24, 6)] if elementwise else [(), ()]
    seen = [views(imco(elementwise=elementwise), seed=seed)[3:] for seed in range(20)]
    for a, b, order in seen:
        assert (a > 1).all() and (a < 2).all() and (b > 0).all() and (b < 1).all()
        assert [a.shape, b.shape] == shapes and sorted(order.tolist()) == list(range(24))
    assert len({float(a.mean()) for a, _, _ in seen}) == 20
    a, b, order = views(imco(positives="interpolate", negatives="plain"))[3:]
    assert 0 < float(a) < 1 and b is None and order is None
    assert views(imco(positives="plain"))[3] is None


# ---------------------------------------------------------------- the module
def test_with_both_plain_it_is_moco_v2():
    plain, moco = imco(positives="plain", negatives="plain"), imco(name="moco-v2")
    assert same(state(plain), state(moco))
    settings = {**SMALL, "steps": 4, "log_every": 1, "lr": 0.01}
    curves = [fit(method, images(), **settings).curves for method in (plain, moco)]
    assert curves[0]["loss"] == curves[1]["loss"] and same(state(plain), state(moco))


def test_the_queue_gets_the_keys_as_they_are():
    """Bug: mixed keys enqueued; or keys enqueued before the logits."""
    method = imco()
    given, before = views(method), method.queue.rows.clone()
    keys = method.encode_keys((given[1] - 0.45) / 0.25, given[2])
    parts = method.loss(given)
    torch.testing.assert_close(method.queue.rows[:8], keys)
    assert torch.equal(method.queue.rows[8:], before[8:]) and int(method.queue.pointer) == 8
    torch.testing.assert_close(method.queue.rows[:8].norm(dim=1), torch.ones(8))
    q = parts["embedding"]
    a, b, order = given[3:]
    logits = imco_logits(q, keys, before, method.temperature, a, b, order)
    torch.testing.assert_close(parts["loss"], F.cross_entropy(logits, torch.zeros(8, dtype=torch.long)))
    positive, negative = similarities(q, keys, before)
    for name, scores in (("positive", positive), ("negative", negative)):
        torch.testing.assert_close(parts[name], scores.mean())
        torch.testing.assert_close(parts[f"{name}_variance"], scores.var(correction=0))


def test_keys_follow_after_the_update_and_learn_nothing():
    method = imco()
    before = {n: p.clone() for n, p in method.keys.module.named_parameters()}
    method.loss(views(method))["loss"].backward()
    assert all(p.grad is None for p in method.keys.parameters())
    with torch.no_grad():
        for parameter in (*method.backbone.parameters(), *method.head.parameters()):
            parameter.add_(1.0)
    method.after_update(0.5)
    for name, key in method.keys.module.named_parameters():
        torch.testing.assert_close(key, before[name] + 0.1)


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 7, "log_every": 1, "lr": 0.01}
    whole, part, again = imco(elementwise=True), imco(elementwise=True), imco(seed=7, elementwise=True)
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(part, images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    stored = checkpoint.load(tmp_path / "cut" / "last.pt")["method"]
    assert torch.equal(stored["queue.rows"], part.queue.rows) and int(stored["queue.pointer"]) == 0
    torch.manual_seed(99)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves
