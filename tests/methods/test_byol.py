"""BYOL: loops in plain Python, gradients, the target that follows, and the bugs that people shipped with it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from course_lib.methods import build_method
from course_lib.methods.contrastive.byol import BYOL, byol_loss, regression_loss
from course_lib.models.batch_norm import BatchNorm1d, BatchNorm2d, replace_batch_norm
from course_lib.models.teacher import ema_update
from course_lib.optim import ema_momentum, parameter_groups
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state


def byol(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("byol", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, hidden=16, out=6,
                        **options)


def online(method) -> dict:
    """Name -> value of the parameters that the target follows."""
    both = nn.Sequential(method.backbone, method.projector)
    return {name: p.detach().clone() for name, p in both.named_parameters()}


def target(method) -> dict:
    return {name: p.detach().clone() for name, p in method.target.module.named_parameters()}


# ---------------------------------------------------------------- the loss, in plain Python
def naive_regression(p: list[list[float]], z: list[list[float]]) -> float:
    total = 0.0
    for a, b in zip(p, z):
        la, lb = (math.sqrt(sum(v * v for v in row)) for row in (a, b))
        total += sum((x / la - y / lb) ** 2 for x, y in zip(a, b))
    return total / len(p)


@pytest.mark.parametrize("n, d, scale", [(1, 2, 1.0), (5, 3, 0.1), (7, 12, 30.0)])
def test_the_losses_equal_their_definitions(n, d, scale):
    p1, p2, z1, z2 = (scale * randn(n, d, seed=seed) for seed in range(4))
    a, b, y, z = (t.tolist() for t in (p1, p2, z1, z2))
    assert float(regression_loss(p1, z2)) == pytest.approx(naive_regression(a, z), rel=1e-10)
    assert float(byol_loss(p1, p2, z1, z2)) == pytest.approx(naive_regression(a, z) + naive_regression(b, y), rel=1e-10)


def test_gradients():
    """Bug: a gradient through the target."""
    p1, p2, z1, z2 = (randn(4, 3, seed=seed).requires_grad_() for seed in range(4))
    assert torch.autograd.gradcheck(lambda a, b: byol_loss(a, b, z1.detach(), z2.detach()), (p1, p2))
    byol_loss(p1, p2, z1, z2).backward()
    assert p1.grad.any() and p2.grad.any() and z1.grad is None and z2.grad is None


def test_closed_forms():
    """Bugs: half of it (1 - cos), the mean over dimensions, the mean of the two directions, views not exchanged."""
    e = torch.eye(4, dtype=torch.float64)
    assert float(regression_loss(e, 3 * e)) == pytest.approx(0)
    assert float(regression_loss(e, e.roll(1, 0))) == pytest.approx(2)
    assert float(byol_loss(e, e, -e, -5 * e)) == pytest.approx(8)
    p, z = randn(5, 4), randn(5, 4, seed=1)
    assert float(regression_loss(p, z)) == pytest.approx(2 - 2 * float(torch.cosine_similarity(p, z).mean()))
    assert float(byol_loss(p, p, z, z)) == pytest.approx(2 * float(regression_loss(p, z)))
    other = randn(5, 4, seed=2)
    expected = float(regression_loss(z, other))
    assert float(byol_loss(p, z, other, p)) == pytest.approx(expected, abs=1e-12), "p1 goes with z2"


@pytest.mark.parametrize("dead", [torch.zeros(4, 3), torch.full((4, 3), 1e-9)])
def test_a_vector_without_length_breaks_nothing(dead):
    p = dead.clone().requires_grad_()
    byol_loss(p, p, dead, torch.ones(4, 3)).backward()
    assert p.grad.isfinite().all()


# ---------------------------------------------------------------- the schedule
@pytest.mark.parametrize("base", [0.0, 0.9, 0.996])
def test_the_schedule_at_its_ends(base):
    assert ema_momentum(base, 0, 50) == pytest.approx(base)
    assert ema_momentum(base, 25, 50) == pytest.approx((1 + base) / 2)
    assert ema_momentum(base, 50, 50) == ema_momentum(base, 90, 50) == 1
    quarter = 1 - (1 - base) * (1 + 0.5**0.5) / 2  # cos(pi / 4)
    assert ema_momentum(base, 12.5, 50) == pytest.approx(quarter)


class Listening(BYOL):
    """Notes the momentum of every update, and what the target should hold, in float64."""

    def after_update(self, progress):
        now = {name: p.double() for name, p in online(self).items()}
        if not hasattr(self, "expected"):
            self.expected, self.momenta = {name: p.double() for name, p in target(self).items()}, []
        m = self.momentum if self.constant else ema_momentum(self.momentum, progress, 1)
        self.expected = {name: m * p + (1 - m) * now[name] for name, p in self.expected.items()}
        self.momenta.append(m)
        super().after_update(progress)


def listening(**options) -> Listening:
    method = byol(**options)
    method.__class__ = Listening
    return method


def test_the_target_moves_at_every_step_by_the_schedule():
    """Bugs: the update written but never called; the schedule counts epochs (here three of four steps each)."""
    method = listening(momentum=0.6)
    start = target(method)
    fit(method, images(), steps=12, **SMALL)
    assert method.momenta == pytest.approx([1 - 0.4 * (1 + math.cos(math.pi * k / 12)) / 2 for k in range(1, 13)])
    assert method.momenta == sorted(set(method.momenta)), "another one at each step, epochs or not"
    for name, p in target(method).items():
        assert not torch.equal(p, start[name]), name
        torch.testing.assert_close(p.double(), method.expected[name], rtol=1e-5, atol=1e-6)


def test_momentum_0_is_a_copy_and_1_never_moves():
    frozen, chasing = byol(momentum=1.0, constant=True), byol(momentum=0.0, constant=True)
    before = target(frozen)
    for method in (frozen, chasing):
        fit(method, images(), steps=3, **SMALL)
    assert same(before, target(frozen)) and not same(before, online(frozen))
    assert same(online(chasing), {k: v for k, v in target(chasing).items()})


# ---------------------------------------------------------------- the target network
def test_only_parameters_are_averaged():
    """Bug: batch norm's running statistics averaged or copied. The target collects its own, in training mode."""
    method = byol(momentum=0.5, constant=True)
    views = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16) * 0.3
    method.train().loss(views)
    buffers = {name: b.clone() for name, b in method.target.module.named_buffers()}
    assert int(method.target.module[0].blocks[0][1].num_batches_tracked) == 2
    with torch.no_grad():
        for p in method.backbone.parameters():
            p.add_(1)
        for b in method.backbone.buffers():
            b.add_(100)
    before, followed = target(method), online(method)
    method.after_update(0.3)
    assert same(buffers, dict(method.target.module.named_buffers()))
    for name, p in target(method).items():
        torch.testing.assert_close(p, (before[name] + followed[name]) / 2)


def test_no_gradient_and_no_optimizer_reaches_the_target():
    """Bug: the target's parameters handed to the optimizer, so that the loss moves them as well."""
    method = byol()
    parts = method.loss((torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16)))
    parts["loss"].backward()
    assert all(p.grad is None and not p.requires_grad for p in method.target.parameters())
    trained = [p for module in (method.backbone, method.projector, method.predictor) for p in module.parameters()]
    assert all(p.grad is not None for p in trained)
    groups = method.param_groups(0.1) if hasattr(method, "param_groups") else parameter_groups(method, 0.1)
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in trained}


def test_the_update_does_not_depend_on_what_is_trained():
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    wanted = 0.9 * net.weight.detach() + 0.1 * other.weight.detach()
    for trained in (True, False):
        again = nn.Linear(2, 2).requires_grad_(trained)
        again.load_state_dict(net.state_dict())
        assert ema_update(again, other, 0.9) is again
        torch.testing.assert_close(again.weight.detach(), wanted)
        assert again.weight.is_leaf and again.weight.requires_grad == trained


# ---------------------------------------------------------------- the module
def test_shapes_and_parts():
    method = byol()
    parts = method.loss((torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16)))
    assert parts["loss"].shape == () and 0 <= float(parts["loss"].detach()) <= 8
    assert parts["embedding"].shape == (8, 6) and not parts["embedding"].requires_grad
    torch.testing.assert_close(parts["embedding"].norm(dim=1), torch.ones(8))
    assert method.embed(torch.rand(5, 3, 16, 16)).shape == (5, 8)


def test_each_view_has_its_own_batch_statistics():
    method = byol().train()
    a, b = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16) * 0.2
    torch.testing.assert_close(method.loss((a, b))["embedding"], method.loss((a, a))["embedding"])


def test_the_loss_is_float32_inside_autocast():
    p, z = randn(8, 6, dtype=torch.float32), randn(8, 6, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = regression_loss(p.bfloat16(), z.bfloat16())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, regression_loss(p.bfloat16().float(), z.bfloat16().float()))


def test_views_differ_for_large_images_only():
    large = build_method("byol", "convnet", 96)
    assert (large.augment.solarize_p, large.other.solarize_p) == (0.0, 0.2) and large.augment.blur_p == 1.0
    small = byol()
    assert small.other is small.augment


@pytest.mark.parametrize("cut", [1, 6])
def test_resume_is_bit_exact(tmp_path, cut):
    settings = {**SMALL, "steps": 9, "log_every": 1}
    whole, again = byol(momentum=0.7), byol(seed=7, momentum=0.7)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(byol(momentum=0.7), images(), out=tmp_path / "cut", watch=Stop(cut), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
    assert any(name.startswith("target.") and name.endswith("running_mean") for name in state(again))


def test_batch_norm_can_be_replaced_everywhere():
    method = byol()
    replace_batch_norm(method, lambda channels: nn.GroupNorm(2, channels))
    kinds = [type(module) for module in method.modules()]
    assert nn.GroupNorm in kinds and BatchNorm1d not in kinds and BatchNorm2d not in kinds
    assert len(target(method)) == len(online(method))
    loss = method.train().loss((torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16)))["loss"]
    loss.backward()
    method.after_update(0.5)
