"""DrLIM: the loss against plain Python, its springs, pairs, and the gradient at distance 0."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.methods import build_method
from course_lib.methods.pretext.drlim import distances, pair_losses, pairs
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, images

pytestmark = pytest.mark.usefixtures("one_thread")
Y = torch.tensor([0.0, 1, 1, 0, 1, 1]).double()


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("drlim", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"out": 3, "partners": 3, **options})


@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_the_loss_equals_its_definition(margin):
    x1, x2 = randn(6, 3), randn(6, 3, seed=1)
    got = pair_losses(x1, x2, Y, margin)
    for a, b, y, loss in zip(x1.tolist(), x2.tolist(), Y.tolist(), got.tolist()):
        d = math.sqrt(sum((u - v) ** 2 for u, v in zip(a, b)))
        assert loss == pytest.approx(d * d / 2 if y == 0 else max(0.0, margin - d) ** 2 / 2, rel=1e-10)


def test_the_springs():
    """Similar pairs pull with D; others push with m - D, and not at all from the margin on (Bug: the margin on D^2)."""
    for d in (0.2, 0.7, 1.5):
        x = torch.tensor([[d, 0.0]]).double().requires_grad_()
        pulls = [float(torch.autograd.grad(pair_losses(x, torch.zeros(1, 2).double(), torch.tensor([y]), 1.0).sum(),
                                           x)[0][0, 0]) for y in (0.0, 1.0)]
        assert pulls == pytest.approx([d, -max(0.0, 1 - d)])


def test_gradients_and_that_at_distance_zero():
    x1, x2 = randn(6, 3).requires_grad_(), randn(6, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: pair_losses(a, b, Y, 2.0).sum(), (x1, x2))
    for dtype in (torch.float32, torch.float64):
        same = torch.ones(2, 3, dtype=dtype, requires_grad=True)
        loss = pair_losses(same, torch.ones(2, 3, dtype=dtype), torch.tensor([0.0, 1.0], dtype=dtype))
        loss.sum().backward()
        torch.testing.assert_close(loss.detach(), torch.tensor([0.0, 0.5], dtype=dtype))
        assert not same.grad.any(), "undefined there, NaN in a plain root"
    assert float(distances(torch.zeros(1, 3), torch.zeros(1, 3))) < 1e-10


def test_whether_pairs_differ_may_be_a_bool():
    x1, x2 = randn(6, 3), randn(6, 3, seed=1)
    for kind in (torch.bool, torch.int64):
        assert torch.equal(pair_losses(x1, x2, Y.to(kind)), pair_losses(x1, x2, Y))


def test_pairs_are_own_views_and_the_next_images():
    a, b = randn(5, 2), randn(5, 2, seed=1)
    first, second, dissimilar = pairs(a, b, 2)
    for place in range(15):
        k, i = divmod(place, 5)
        assert torch.equal(first[place], a[i]) and torch.equal(second[place], b[(i + k) % 5])
        assert float(dissimilar[place]) == float(k > 0)
    with pytest.raises(ValueError, match="partners is 5; expected at most 4, the other images of a batch of 5"):
        pairs(a, b, 5)


def test_float32_inside_autocast():
    x1, x2, y = randn(6, 3).float(), randn(6, 3, seed=1).float(), Y.float()
    wanted = pair_losses(x1, x2, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pair_losses(x1, x2, y), wanted)
        assert pair_losses(x1.bfloat16(), x2.bfloat16(), y).dtype == torch.float32


def test_bad_options_are_sentences():
    with pytest.raises(ValueError, match="margin is 0"):
        build(margin=0)
    with pytest.raises(ValueError, match="partners is -1; expected a whole number from 0 up"):
        build(partners=-1)


def test_attraction_alone_ends_in_one_point():
    spreads = {}
    for partners in (0, 5):
        method = build(partners=partners)
        fit(method, images(), steps=60, lr=0.01, **SMALL)
        with torch.no_grad():
            spreads[partners] = float(method.head(method.embed(images().images)).std(0).mean())
    assert spreads[0] < 0.1 * spreads[5]
