"""The contrastive loss with a weight for each negative: against loops in plain Python, its limits, and DCL and HCL.

Each test of a bug that people shipped names it; the bugs stand in the docstring of the method's file.
"""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.contrastive.moco import moco_logits, moco_loss
from course_lib.methods.contrastive.negatives import (
    contrast,
    log_mass,
    log_weights,
    ranked,
    rivals,
    select,
    weighted_nt_xent,
)
from course_lib.methods.contrastive.simclr import nt_xent
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, images

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = dict(backbone_options={"depth": 2, "widths": (4, 8)}, hidden=12, out=6)


def build(name="dcl", seed=0, **options):
    torch.manual_seed(seed)
    return build_method(name, "convnet", 16, **TINY, **options)


def pairs(n=5, d=4, seed=0):
    return randn(n, d, seed=seed), randn(n, d, seed=seed + 1)


# ---------------------------------------------------------------- in plain Python
def naive(a, b, temperature, tau_plus=0.0, beta=0.0, keep=(0.0, 1.0), alpha=None) -> float:
    z = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for view in (a, b) for row in view]
    n, total = len(a), 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        s = [sum(v * w for v, w in zip(z[i], z[j])) for j in range(2 * n)]
        others = sorted((s[j] for j in range(2 * n) if j not in (i, partner)), reverse=True)
        others = others[round(keep[0] * len(others)) : round(keep[1] * len(others))]
        m = len(others)
        weights = [math.exp(beta * v / temperature) for v in others]
        mass = sum(w * math.exp(v / temperature) for w, v in zip(weights, others)) / (sum(weights) / m)
        own = math.exp(s[partner] / temperature)
        mass = max((mass - tau_plus * m * own) / (1 - tau_plus), m * math.exp(-1 / temperature))
        total -= math.log(own / (own + mass * (1 if alpha is None else alpha / m)))
    return total / (2 * n)


SWITCHES = [{}, {"tau_plus": 0.1}, {"tau_plus": 0.6}, {"beta": 1.0}, {"beta": 0.5, "tau_plus": 0.05},
            {"keep": (0.0, 0.25)}, {"keep": (0.25, 1.0)}, {"keep": (0.1, 0.6), "beta": 2.0, "tau_plus": 0.1},
            {"alpha": 256.0}, {"alpha": 3.0, "tau_plus": 0.1, "keep": (0.0, 0.5)}]


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("n, d, temperature", [(3, 3, 0.5), (5, 4, 0.2), (8, 2, 1.0), (6, 8, 0.1)])
def test_the_loss_equals_its_definition(n, d, temperature, switches):
    a, b = pairs(n, d)
    wanted = naive(a.tolist(), b.tolist(), temperature, **switches)
    got = weighted_nt_xent(3 * a, b / 2, temperature, **switches)["loss"]
    assert float(got) == pytest.approx(wanted, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("switches", SWITCHES)
def test_gradients(switches):
    a, b = (x.requires_grad_() for x in pairs(4, 3))
    assert torch.autograd.gradcheck(lambda x, y: weighted_nt_xent(x, y, 0.5, **switches)["loss"], (a, b))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_without_a_switch_it_is_simclrs(temperature):
    a, b = (x.requires_grad_() for x in pairs(6, 5))
    ours, simclrs = weighted_nt_xent(a, b, temperature), nt_xent(a, b, temperature)
    torch.testing.assert_close(ours, simclrs)
    torch.testing.assert_close(torch.autograd.grad(ours["loss"], a), torch.autograd.grad(simclrs["loss"], a))


def test_who_is_a_rival():
    """Bug: the anchor or its positive among the negatives; M is 2N - 2."""
    z = normalize(torch.cat(pairs(3)))
    positive, negatives = rivals(z, 0.5)
    s = z @ z.T / 0.5
    assert negatives.shape == (6, 4)
    for i in range(6):
        assert positive[i] == s[i, (i + 3) % 6]
        assert sorted(negatives[i].tolist()) == sorted(s[i, j].item() for j in range(6) if j not in (i, (i + 3) % 6))


# ---------------------------------------------------------------- debias
def test_the_floor_holds_and_stops_the_gradient_of_negatives():
    """Bug: no floor, so that N_g is negative and its logarithm NaN. Where it holds, negatives have no gradient."""
    negatives = torch.full((2, 6), -5.0, dtype=torch.float64, requires_grad=True)
    positive = torch.tensor([4.0, 1.0], dtype=torch.float64, requires_grad=True)
    mass = log_mass(positive, negatives, 0.2, tau_plus=0.3)
    torch.testing.assert_close(mass, torch.full((2,), math.log(6) - 5.0, dtype=torch.float64))
    loss = contrast(positive, negatives, 0.2, tau_plus=0.3)["loss"]
    to_positive, to_negatives = torch.autograd.grad(loss, (positive, negatives))
    assert loss.isfinite() and (to_positive < 0).all() and not to_negatives.any()


def test_no_nan_where_the_estimate_is_just_zero():
    positive = torch.tensor([1.0, 1.0 + 1e-7, 1.0 - 1e-7], requires_grad=True)
    negatives = torch.ones(3, 5, requires_grad=True)
    for tau_plus in (0.999999, 0.5, 1e-8):
        loss = contrast(positive, negatives, 1.0, tau_plus)["loss"]
        gradients = torch.autograd.grad(loss, (positive, negatives))
        assert loss.isfinite() and all(g.isfinite().all() for g in gradients)


def test_debiasing_takes_off_the_own_class():
    """The estimate of the other classes' mean is exact where tau+ is the share and the positive the class's mean."""
    own, other = 2.0, 0.5  # exp(s / tau) of the own class and of another
    negatives = torch.tensor([[own] * 3 + [other] * 7], dtype=torch.float64).log()
    positive = torch.tensor([own], dtype=torch.float64).log()
    assert float(log_mass(positive, negatives, 0.5, tau_plus=0.3).exp()) == pytest.approx(10 * other)
    assert float(log_mass(positive, negatives, 0.5, tau_plus=0.0).exp()) == pytest.approx(3 * own + 7 * other)


# ---------------------------------------------------------------- reweight
def test_weights_have_mean_one():
    """Bug: divided by the sum, so that the mass shrinks by M; beta times the cosine and not the cosine over tau."""
    logits = randn(4, 7)
    weights = log_weights(logits, 1.5).exp()
    torch.testing.assert_close(weights.mean(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(weights, (1.5 * logits).exp() / (1.5 * logits).exp().mean(1, keepdim=True))
    assert not log_weights(logits, 0.0).any()


def test_a_large_beta_is_the_hardest_negative_alone():
    a, b = pairs(6, 3)
    positive, negatives = rivals(normalize(torch.cat([a, b])), 0.5)
    count = negatives.shape[1]
    sharp = log_mass(positive, negatives, 0.5, beta=400.0)
    torch.testing.assert_close(sharp, negatives.amax(1) + math.log(count), atol=1e-4, rtol=1e-4)
    masses = [log_mass(positive, negatives, 0.5, beta=beta) for beta in (0.0, 0.5, 1.0, 4.0)]
    assert all((low < high).all() for low, high in zip(masses, masses[1:]))


def test_weights_are_not_detached():
    """Bug: weights as constants. The official gradient flows through them."""
    positive, negatives = randn(3), randn(3, 6, seed=1).requires_grad_()
    full = torch.autograd.grad(log_mass(positive, negatives, 1.0, beta=1.0).sum(), negatives)[0]
    detached = (negatives + log_weights(negatives, 1.0).detach()).logsumexp(1)
    assert (full - torch.autograd.grad(detached.sum(), negatives)[0]).abs().max() > 0.01


# ---------------------------------------------------------------- select
def test_ranks_count_from_the_hardest():
    scores = torch.tensor([[0.1, 0.9, -0.5, 0.3], [3.0, 1.0, 2.0, 0.0]])
    assert ranked(scores, 0, 2).tolist() == [[1, 3], [0, 2]] and ranked(scores, 1, 4).tolist() == [[3, 0, 2], [2, 1, 3]]
    torch.testing.assert_close(select(scores, (0.0, 0.5)), torch.tensor([[0.9, 0.3], [3.0, 2.0]]))
    assert select(scores, (0.0, 1.0)) is scores
    with pytest.raises(ValueError, match="keep is .*leaves none of 4 negatives: widen it"):
        select(scores, (0.0, 0.1))


def test_as_many_whatever_their_rank():
    """The control of leaving out the hardest: the columns of a shuffled batch, cut as they lie."""
    positive, negatives = randn(3), randn(3, 8, seed=1)
    torch.testing.assert_close(select(negatives, (0.25, 1.0), by_rank=False), negatives[:, 2:])
    left = contrast(positive, negatives[:, 2:], 0.2)["loss"]
    torch.testing.assert_close(contrast(positive, negatives, 0.2, keep=(0.25, 1.0), by_rank=False)["loss"], left)
    z = normalize(randn(2, 5, 4, seed=2))
    loss = [weighted_nt_xent(*z, 0.2, keep=(0.5, 1.0), by_rank=by_rank)["loss"] for by_rank in (True, False)]
    assert loss[0] < loss[1]


def test_a_share_of_mocos_queue():
    """The paper's own setting: the keys of a queue, ranked for each query."""
    q, k, queue = randn(5, 6), randn(5, 6, seed=1), normalize(randn(40, 6, seed=2))
    logits = moco_logits(normalize(q), normalize(k), queue, 0.2)
    whole = contrast(logits[:, 0], logits[:, 1:], 0.2)
    torch.testing.assert_close(whole, moco_loss(q, k, queue, 0.2))
    hard, easy = (contrast(logits[:, 0], logits[:, 1:], 0.2, keep=keep)["loss"] for keep in ((0, 0.05), (0.05, 1)))
    for i, keep in ((hard, slice(0, 2)), (easy, slice(2, 40))):
        terms = [torch.cat([row[:1], row[1:].sort(descending=True).values[keep]]) for row in logits]
        torch.testing.assert_close(i, torch.stack([t.logsumexp(0) - t[0] for t in terms]).mean())


# ---------------------------------------------------------------- numbers
def test_small_temperatures_and_half_precision():
    a, b = randn(16, 8, dtype=torch.float32), randn(16, 8, seed=1, dtype=torch.float32)
    for switches in ({"tau_plus": 0.1}, {"tau_plus": 0.1, "beta": 2.0}):
        sharp = weighted_nt_xent(a.requires_grad_(), b, 0.005, **switches)["loss"]
        assert sharp.isfinite() and torch.autograd.grad(sharp, a)[0].isfinite().all()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = weighted_nt_xent(a.bfloat16(), b.bfloat16(), **switches)["loss"]
            full = weighted_nt_xent(a.bfloat16().float(), b.bfloat16().float(), **switches)["loss"]
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, full)


# ---------------------------------------------------------------- the methods
def test_dcl_and_hcl_are_the_loss_of_their_embeddings():
    from course_lib.augment.pixels import standardize

    for name, beta in (("dcl", 0.0), ("hcl", 1.0)):
        method = build(name)
        views = method.views(Batch(images(8).images, torch.arange(8), None), torch.Generator().manual_seed(0))
        a, b = (method.head(method.backbone(standardize(view))) for view in views)
        torch.testing.assert_close(method.loss(views)["loss"], weighted_nt_xent(a, b, 0.5, 0.1, beta)["loss"])
        assert (method.tau_plus, method.beta) == (0.1, beta) and method.embed(images(3).images).shape == (3, 8)
    head = build().head
    assert [(m.bias is None) for m in head if isinstance(m, torch.nn.Linear)] == [True, False]
    assert all(group["weight_decay"] == 0.1 for group in build().param_groups(0.1))


def test_it_trains():
    history = fit(build("hcl", keep=(0.0, 0.5)), images(), steps=3, **SMALL)
    assert len(history.loss) >= 1 and all(map(math.isfinite, history.loss))


@pytest.mark.parametrize("wrong, says", [
    ({"tau_plus": 1.0}, "tau_plus is 1.0; expected a probability from 0 to below 1"),
    ({"tau_plus": -0.1}, "tau_plus is -0.1"), ({"tau_plus": math.nan}, "tau_plus is nan"),
    ({"beta": -1.0}, "beta is -1.0; expected a number from 0 up"), ({"beta": math.inf}, "beta is inf"),
    ({"keep": (0.5, 0.5)}, "keep is .*two shares"), ({"keep": (0.0, 1.5)}, "keep is .*two shares"),
    ({"alpha": 0.0}, "alpha is 0.0; expected a number above 0"), ({"temperature": 0.0}, "temperature is 0.0"),
])
def test_a_switch_out_of_its_range_is_a_sentence(wrong, says):
    with pytest.raises(ValueError, match=says):
        build(**wrong)
    with pytest.raises(ValueError, match=says):
        weighted_nt_xent(*pairs(), **wrong)


def test_one_image_is_too_few():
    with pytest.raises(ValueError, match="needs two or more, got 1: use a larger batch"):
        weighted_nt_xent(*pairs(1))
    with pytest.raises(ValueError, match="DCL compares images .*got 1"):
        build().loss((torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)))
