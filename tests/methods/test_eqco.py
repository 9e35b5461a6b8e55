"""EqCo: a loss that does not depend on the number of negatives, and SiMo, which has it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.contrastive.eqco import eqco_loss, margin, some_others
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("eqco", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"hidden": 12, "out": 6, "momentum": 0.9, **options})


def chosen(n, k, seed=0):
    return some_others(n, n, k, torch.Generator().manual_seed(seed))


def naive(q, k, columns, temperature, alpha) -> float:
    """(N, D) lists of any length; columns[i] are places in the row of keys without key i."""
    def unit(row):
        return [v / math.sqrt(sum(w * w for w in row)) for v in row]

    total = 0.0
    for i, query in enumerate(map(unit, q)):
        s = [sum(v * w for v, w in zip(query, unit(key))) for key in k]
        own, others = s.pop(i), s
        terms = [math.exp(others[c] / temperature) for c in columns[i]]
        below = math.exp(own / temperature) + alpha / len(terms) * sum(terms)
        total -= math.log(math.exp(own / temperature) / below)
    return total / len(q)


@pytest.mark.parametrize("n, count, alpha", [(6, 5, 256.0), (6, 2, 2.0), (9, 4, 65536.0), (2, 1, 0.5)])
def test_the_loss_equals_its_definition(n, count, alpha):
    q, k, columns = randn(n, 4), randn(n, 4, seed=1) * 3, chosen(n, count)
    got = eqco_loss(q, k, columns, 0.2, alpha)["loss"]
    assert float(got) == pytest.approx(naive(q.tolist(), k.tolist(), columns.tolist(), 0.2, alpha), rel=1e-10)
    infonce = eqco_loss(q, k, columns, 0.2, None)["loss"]
    torch.testing.assert_close(eqco_loss(q, k, columns, 0.2, float(count))["loss"], infonce)


def test_alpha_over_k_is_a_margin_on_the_positive():
    """Bug: the factor outside of the logarithm."""
    q, k, columns = normalize(randn(5, 4)), normalize(randn(5, 4, seed=1)), chosen(5, 3)
    s = q @ k.T
    own = s.diagonal() - margin(0.2, 100.0, 3)
    others = s.gather(1, columns + (columns >= torch.arange(5)[:, None]))
    logits = torch.cat([own[:, None], others], 1) / 0.2
    torch.testing.assert_close(eqco_loss(q, k, columns, 0.2, 100.0)["loss"],
                               nn.functional.cross_entropy(logits, torch.zeros(5, dtype=torch.long)))


def test_the_number_of_negatives_does_not_matter():
    """Over random choices of K, the loss stays where all of them have it; InfoNCE falls by about log K."""
    q = normalize(randn(128, 16) + 1.5)
    k = normalize(q + 0.3 * randn(128, 16, seed=1))
    whole, few = chosen(128, 127), chosen(128, 8)
    equal = [float(eqco_loss(q, k, c, 1.0, 127.0)["loss"]) for c in (whole, few)]
    plain = [float(eqco_loss(q, k, c, 1.0, None)["loss"]) for c in (whole, few)]
    assert abs(equal[0] - equal[1]) < 0.02 and plain[0] - plain[1] > 2

    def size(columns, alpha):
        x = q.clone().requires_grad_()
        return float(torch.autograd.grad(eqco_loss(x, k, columns, 1.0, alpha)["loss"], x)[0].norm())

    assert size(few, 127.0) / size(whole, 127.0) == pytest.approx(1, abs=0.1)


def test_gradients_flow_to_queries_only():
    q, k, columns = randn(5, 4).requires_grad_(), randn(5, 4, seed=1).requires_grad_(), chosen(5, 3)
    assert torch.autograd.gradcheck(lambda x: eqco_loss(x, k, columns, 0.5, 9.0)["loss"], q)
    eqco_loss(q, k, columns)["loss"].backward()
    assert q.grad.abs().sum() > 0 and k.grad is None


def test_each_query_has_negatives_of_its_own():
    """Bug: one random choice for all rows, as in the release."""
    columns = chosen(40, 6)
    assert columns.shape == (40, 6) and len({tuple(sorted(row)) for row in columns.tolist()}) > 30
    assert all(len(set(row)) == 6 and 0 <= min(row) and max(row) < 39 for row in columns.tolist())
    everyone = chosen(7, None)
    assert (everyone.sort(1).values == torch.arange(6)).all()
    keys = torch.zeros(40, 40).fill_diagonal_(1)
    got = eqco_loss(keys, keys, columns, 1.0, None)["loss"]  # of its own key no query makes a negative
    assert float(got) == pytest.approx(math.log(math.e + 6) - 1)


@pytest.mark.parametrize("k", [0, 8, 20])
def test_more_negatives_than_images_is_a_sentence(k):
    with pytest.raises(ValueError, match=f"negatives is {k}; expected 1 to 7, the other images of a batch of 8"):
        build(negatives=k).views(Batch(images(8).images, torch.arange(8), None), torch.Generator())
    with pytest.raises(ValueError, match="needs two or more, got 1"):
        build().views(Batch(images(1).images, torch.arange(1), None), torch.Generator())
    with pytest.raises(ValueError, match="alpha is -1"):
        build(alpha=-1)


def test_float32_inside_autocast():
    q, k, columns = randn(8, 16, dtype=torch.float32), randn(8, 16, seed=1, dtype=torch.float32), chosen(8, 7)
    wanted = eqco_loss(q, k, columns)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(eqco_loss(q, k, columns)["loss"], wanted)
        assert eqco_loss(q.bfloat16(), k.bfloat16(), columns)["loss"].dtype == torch.float32


def test_the_module_follows_and_resumes(tmp_path):
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole = build(negatives=3)
    before = {n: p.clone() for n, p in whole.keys.module.named_parameters()}
    fit(whole, images(), out=tmp_path / "whole", **settings)
    assert not same(dict(whole.keys.module.named_parameters()), before)
    fit(build(negatives=3), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    again = build(seed=5, negatives=3)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
    assert all(not p.requires_grad for p in whole.keys.parameters())
