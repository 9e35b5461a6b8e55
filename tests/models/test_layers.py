"""Batch norm of our own, its conversion, and heads. (Over ranks: tests/test_ranks.py.)"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_lib.models import batch_norm, layers
from helpers.draws import randn, visible_grid


# ---------------------------------------------------------------- batch norm of our own
@pytest.mark.parametrize("ours, torchs, shape", [
    (batch_norm.BatchNorm1d, nn.BatchNorm1d, (6, 4)), (batch_norm.BatchNorm1d, nn.BatchNorm1d, (6, 4, 5)),
    (batch_norm.BatchNorm2d, nn.BatchNorm2d, (6, 4, 5, 3))])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_without_ranks_or_masks_is_torchs(ours, torchs, shape, momentum):
    a, b = ours(4, momentum=momentum), torchs(4, momentum=momentum)
    for _ in range(3):
        x = torch.randn(shape) * 2 + 1
        assert torch.equal(a(x), b(x))
    assert all(torch.equal(a.state_dict()[k], v) for k, v in b.state_dict().items())
    assert torch.equal(a.eval()(x), b.eval()(x))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_masked_batch_norm_with_everything_visible_is_torchs(momentum):
    a, b = batch_norm.BatchNorm2d(4, momentum=momentum).double(), nn.BatchNorm2d(4, momentum=momentum).double()
    for step in range(3):
        x = randn(3, 4, 6, 6, seed=step) * 2 + 1
        a.visible = torch.ones(3, 1, 6, 6, dtype=torch.bool)
        torch.testing.assert_close(a(x), b(x))
    for key, value in b.state_dict().items():
        torch.testing.assert_close(a.state_dict()[key], value)


def test_masked_batch_norm_equals_gathered_positions():
    """The official code: BatchNorm1d over the visible positions of the whole batch; with its gradients."""
    norm, plain = batch_norm.BatchNorm2d(3).double(), nn.BatchNorm1d(3).double()
    visible = randn(4, 1, 5, 5, seed=1) > 0.3
    x, y = randn(4, 3, 5, 5).requires_grad_(), randn(4, 3, 5, 5).requires_grad_()
    norm.visible = visible
    out = norm(x)
    flat = y.permute(0, 2, 3, 1)[visible[:, 0]]
    wanted = torch.zeros(4, 5, 5, 3, dtype=torch.float64)
    wanted[visible[:, 0]] = plain(flat)
    torch.testing.assert_close(out, wanted.permute(0, 3, 1, 2))
    weights = randn(4, 3, 5, 5, seed=7)
    (out * weights).sum().backward(), (wanted.permute(0, 3, 1, 2) * weights).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(norm.running_var, plain.running_var)
    norm.visible = visible[:2]
    assert torch.autograd.gradcheck(norm, randn(2, 3, 5, 5).requires_grad_())


def test_batch_norm_refuses_too_little_and_the_wrong_shape():
    norm = batch_norm.BatchNorm2d(3)
    norm.visible = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    norm.visible[0, 0, 0, 0] = True
    with pytest.raises(ValueError, match="at least 2 visible values per channel, got 1"):
        norm(torch.rand(1, 3, 2, 2))
    with pytest.raises(ValueError, match="4"):
        batch_norm.BatchNorm2d(3)(torch.rand(4, 3))
    one = batch_norm.BatchNorm1d(3)
    with pytest.raises(ValueError, match="needs two or more, got 1"):
        one(torch.rand(1, 3))
    assert one.eval()(torch.rand(1, 3)).shape == (1, 3)


def test_converting_keeps_weights_statistics_and_state():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)),
                        nn.BatchNorm2d(4, affine=False))
    net(torch.rand(5, 3, 4, 4))
    net.double().eval()
    net[1][0].weight.requires_grad_(False)
    x = randn(2, 3, 4, 4)
    before, state = net(x), {k: v.clone() for k, v in net.state_dict().items()}
    converted = batch_norm.convert_batch_norm(net)
    assert type(net[1][0]) is type(net[2]) is batch_norm.BatchNorm2d and not net[1][0].training
    assert (net[1][0].eps, net[1][0].momentum) == (1e-3, 0.3) and not net[1][0].weight.requires_grad
    assert torch.equal(converted(x), before)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


# ---------------------------------------------------------------- heads and small pieces
def test_mlp():
    names = [type(layer).__name__ for layer in layers.MLP(4, 8, 6, 5, last_norm=True)]
    assert names == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    head = layers.MLP(4, 8, 5, hidden_bias=False)
    assert head[0].bias is None and head[-1].bias is None and layers.MLP(4, 5, last_bias=True)[0].bias is not None
    assert not layers.MLP(4, 5, last_norm=True)[-1].affine
    assert head(torch.rand(3, 4)).shape == (3, 5)
    with pytest.raises(ValueError, match="input and an output width"):
        layers.MLP(4)


def test_unit_length():
    z = layers.normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.bfloat16))
    assert z.dtype == torch.float32 and z.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_masked_batch_norm_has_float32_statistics_under_autocast():
    norm = batch_norm.BatchNorm2d(3)
    norm.visible = visible_grid(4, 6)
    x = (randn(4, 3, 6, 6, dtype=torch.float32) * 0.1 + 50).bfloat16()
    wanted = norm(x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = norm(x)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), wanted, rtol=1e-2, atol=1e-2)
