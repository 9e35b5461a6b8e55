"""The invertible encoder: its inverse, its change of volume, what it starts as, and that no input looks away."""

from __future__ import annotations

import pytest
import torch

from course_lib.models.invertible import InvertibleNet
from helpers.draws import randn

pytestmark = pytest.mark.usefixtures("one_thread")


def scrambled(*arguments, strength=1.0, **options) -> InvertibleNet:
    """A net far from the identity: each of its layers drawn at random, with scales near e where the strength is 3."""
    torch.manual_seed(0)
    net = InvertibleNet(*arguments, **options)
    for layer in net.layers:
        torch.nn.init.normal_(layer.net[-1].weight, std=strength / layer.net[-1].in_features**0.5)
        torch.nn.init.normal_(layer.net[-1].bias, std=strength)
    return net


@pytest.mark.parametrize("shape", [2, 7, (8, 4), (3, 8, 8)])
@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_the_inverse_is_exact_to_a_ten_thousandth(shape, additive, strength):
    net = scrambled(shape, hidden=32, additive=additive, strength=strength)
    x = randn(16, *net.shape, dtype=torch.float32)
    with torch.no_grad():
        z = net(x)
        assert z.shape == (16, net.dim) and (z[:, net.orders[-1].argsort()] - x.flatten(1)).abs().max() > 0.1
        torch.testing.assert_close(net.inverse(z), x, atol=1e-4, rtol=0)
        torch.testing.assert_close(net(net.inverse(z)), z, atol=1e-4 * strength, rtol=1e-5)


def test_it_stays_exact_in_training():
    """Of digits as an example: 200 steps of a loss that pulls on all outputs."""
    from sklearn.datasets import load_digits

    x = torch.tensor(load_digits().images[:256], dtype=torch.float32)[:, None] / 16
    torch.manual_seed(0)
    net = InvertibleNet((1, 8, 8), hidden=64)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    start = net(x).detach()
    for _ in range(200):
        z, volume = net.flow(x)
        loss = (z.square().sum(1) / 2 - volume).mean()  # the likelihood under a normal law
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert (net(x) - start).abs().max() > 0.5
        torch.testing.assert_close(net.inverse(net(x)), x, atol=1e-4, rtol=0)


@pytest.mark.parametrize("additive", [False, True])
def test_the_change_of_volume_is_the_jacobians_determinant(additive):
    """The naive way: all derivatives of all outputs, and their determinant."""
    net = scrambled(5, hidden=16, additive=additive).double()
    for x in randn(3, 5):
        jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0], x)
        wanted = torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(net.flow(x[None])[1][0], wanted)
        assert not additive or wanted.abs() < 1e-10, "shifts change no volume"


def test_it_starts_by_reordering():
    torch.manual_seed(0)
    net, x = InvertibleNet((2, 3)), randn(4, 2, 3, dtype=torch.float32)
    z, volume = net.flow(x)
    assert torch.equal(z.sort(1).values, x.flatten(1).sort(1).values) and not volume.any()
    assert not torch.equal(z, x.flatten(1))


def test_every_output_hangs_on_every_input():
    net = scrambled(6, blocks=4, hidden=32).double()
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0], randn(6))
    assert (jacobian != 0).all()


def test_the_orders_are_kept_with_the_weights():
    """Bug: permutations that no checkpoint holds; the inverse is then another function."""
    net, x = scrambled(6, hidden=8), randn(4, 6, dtype=torch.float32)
    torch.manual_seed(1)
    again = InvertibleNet(6, hidden=8)
    again.load_state_dict(net.state_dict())
    torch.testing.assert_close(again.inverse(net(x)), x, atol=1e-5, rtol=0)


def test_autocast_does_not_cost_the_inverse():
    net, x = scrambled((3, 4, 4), hidden=32), randn(8, 3, 4, 4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        z = net(x)
        assert z.dtype == torch.float32
        torch.testing.assert_close(net.inverse(z), x, atol=1e-4, rtol=0)


def test_what_does_not_fit_is_a_sentence():
    for arguments in ((1,), ((),), (4, 0)):
        with pytest.raises(ValueError, match="expected two numbers or more in an input, and one block or more"):
            InvertibleNet(*arguments)
    with pytest.raises(ValueError, match=r"inputs have the shape \(2, 5\); this net was built for \(B, 6\)"):
        InvertibleNet(6)(torch.rand(2, 5))
