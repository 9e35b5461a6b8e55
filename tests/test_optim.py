"""Learning rates, parameter groups, optimizers and the teacher. (Official numbers: tests/golden_table.py.)"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import optim
from course_lib.models.teacher import EMA
from course_lib.train import loop
from course_lib.train.loop import fit
from course_lib.train.settings import DEFAULTS
from helpers.tiny import SMALL, Stop, Toy, images, same, state, vicreg

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- learning rate and groups
def rates(monkeypatch, method=None, **settings):
    """The learning rates of each group at each step."""
    seen = []
    real = loop.build_optimizer

    def build(name, groups, lr, **options):
        opt = real(name, groups, lr, **options)
        step = opt.step
        opt.step = lambda *a, **k: (seen.append([group["lr"] for group in opt.param_groups]), step(*a, **k))[1]
        return opt

    monkeypatch.setattr(loop, "build_optimizer", build)
    fit(method or Toy(), images(), **{**SMALL, **settings})
    return seen


def test_the_schedule_at_its_ends_and_middle(monkeypatch):
    seen = [group[0] for group in rates(monkeypatch, steps=100, lr=2.0, warmup=0.1, final_lr=0.25)]
    assert len(seen) == 100
    assert seen[0] == pytest.approx(0.2) and seen[4] == pytest.approx(1.0)  # linear from the first step on
    assert seen[9] == max(seen) == pytest.approx(2.0)
    assert seen[10] == pytest.approx(2.0)  # the cosine begins
    assert seen[55] == pytest.approx(2.0 * (0.25 + 0.75 * 0.5))  # half-way down the cosine
    assert seen[99] == pytest.approx(2.0 * optim.warmup_cosine(99, 100, 10, 0.25)) and seen[99] > 0.5
    assert all(a > b for a, b in zip(seen[10:], seen[11:]))


@pytest.mark.parametrize("steps, warmup", [(1, 0.1), (3, 0.1), (3, 0.9), (20, 0.0), (20, 0.5)])
def test_no_update_has_the_rate_zero(monkeypatch, steps, warmup):
    """As in official loops: the cosine is that of step / total, with step from 0 to total - 1."""
    seen = [group[0] for group in rates(monkeypatch, steps=steps, lr=1.0, warmup=warmup)]
    assert min(seen) > 0 and max(seen) == pytest.approx(1.0)
    if not warmup:
        assert seen == pytest.approx([0.5 * (1 + np.cos(np.pi * step / steps)) for step in range(steps)])


def test_a_run_that_began_with_the_earlier_schedule_keeps_it(tmp_path, monkeypatch):
    """Its cosine was one step ahead, and the last update had the rate 0."""
    fit(Toy(), images(), steps=8, log_every=1, out=tmp_path, watch=Stop(3), warmup=0.0, **SMALL)
    state_of = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state_of.pop("schedule") == 2
    torch.save(state_of, tmp_path / "last.pt")
    seen = rates(monkeypatch, steps=8, lr=1e-3, warmup=0.0, out=tmp_path, resume=True)
    assert [group[0] for group in seen] == pytest.approx([1e-3 * optim.warmup_cosine(k + 1, 8, 1) for k in range(3, 8)])
    assert seen[-1][0] == 0 and "schedule" not in torch.load(tmp_path / "last.pt", weights_only=True)


def test_learning_rates_scale_with_the_batch_where_that_is_usual(monkeypatch):
    assert max(rates(monkeypatch, steps=10, optimizer="sgd", lr=0.32))[0] == pytest.approx(0.32 * 8 / 256)
    assert max(rates(monkeypatch, steps=10, optimizer="lars", lr=0.32))[0] == pytest.approx(0.32 * 8 / 256)
    assert max(rates(monkeypatch, steps=10, optimizer="adamw", lr=0.32))[0] == pytest.approx(0.32)
    assert max(rates(monkeypatch, steps=10))[0] == pytest.approx(DEFAULTS["adamw"]["lr"])


def test_groups_may_keep_their_rate_or_scale_it(monkeypatch):
    class Predictor(Toy):
        def param_groups(self, weight_decay):
            weight, bias = self.backbone.parameters()
            return [dict(params=[weight], weight_decay=0.0, fixed_lr=True),
                    dict(params=[bias], weight_decay=0.0, lr_scale=0.5)]

    seen = rates(monkeypatch, Predictor(), steps=20, lr=1.0, warmup=0.5)
    assert [fixed for fixed, _ in seen] == [1.0] * 20
    wanted = [0.5 * optim.warmup_cosine(step + (step < 10), 20, 10) for step in range(20)]
    assert [scaled for _, scaled in seen] == pytest.approx(wanted)


def test_biases_and_norms_neither_decay_nor_adapt_by_default():
    method = vicreg()
    groups = optim.parameter_groups(method, 0.1)
    decays, spared = groups
    names = {id(p): name for name, p in method.named_parameters()}
    assert decays["weight_decay"] == 0.1 and decays["adapt"] and spared["weight_decay"] == 0 and not spared["adapt"]
    assert all(names[id(p)].endswith("weight") and p.ndim > 1 for p in decays["params"])
    assert all(p.ndim == 1 for p in spared["params"])
    assert len(decays["params"]) + len(spared["params"]) == len(names)
    all_of_them = optim.parameter_groups(method, 0.1, exempt=False)
    assert len(all_of_them) == 1 and len(all_of_them[0]["params"]) == len(names)
    method.backbone.requires_grad_(False)
    assert sum(len(g["params"]) for g in optim.parameter_groups(method, 0.1)) == len(list(method.expander.parameters()))


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd", "lars", "lars-simclr"])
def test_decay_alone_shrinks_matrices_only(name):
    module = nn.Linear(4, 4)
    nn.init.ones_(module.weight), nn.init.ones_(module.bias)
    opt = optim.build_optimizer(name, optim.parameter_groups(module, 0.5), lr=0.1)
    for _ in range(2):
        for p in module.parameters():
            p.grad = torch.zeros_like(p)
        opt.step()
    assert (module.weight < 1).all() and (module.bias == 1).all()


def test_sgd_has_momentum_and_lars_refuses_unknown_flavours():
    assert optim.build_optimizer("sgd", [dict(params=[nn.Parameter(torch.ones(2))])], 1.0).defaults["momentum"] == 0.9
    with pytest.raises(ValueError, match="flavour"):
        optim.LARS([nn.Parameter(torch.ones(2))], lr=1.0, flavour="tf")


def test_lars_closure_and_missing_gradients():
    a, b = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    opt = optim.LARS([a, b], lr=0.1)
    loss = opt.step(lambda: (a.sum().backward(), a.sum())[1])
    assert loss.item() == 4 and not torch.equal(a, torch.ones(2, 2)) and torch.equal(b, torch.ones(2, 2))


@pytest.mark.parametrize("shape", [(6, 6), (5, 40), (40, 5), (8, 3, 3, 3)])
def test_orthogonal_turns_as_the_singular_vectors_do(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).flatten(1)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    found = optim.orthogonal(matrix)
    assert found.dtype == matrix.dtype and found.shape == matrix.shape
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() and values.max() < 1.3
    turned = u.T @ found @ v.T  # nearly diagonal: no singular vector is turned away
    assert (turned - turned.diag().diag()).abs().max() < 0.05
    assert torch.equal(optim.orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


def muon_by_hand(p, grads, lr, decay):
    """Muon on one matrix in float64: Newton and Schulz's polynomial, on each singular value by itself."""
    p, mean = p.double(), torch.zeros_like(p).double()
    for g in grads:
        mean = 0.95 * mean + 0.05 * g
        u, values, v = torch.linalg.svd((0.95 * mean + 0.05 * g).flatten(1), full_matrices=False)
        values = values / values.square().sum().sqrt()
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        step = 0.2 * max(u.shape[0], v.shape[1]) ** 0.5 * (u * values) @ v
        p = p - lr * (decay * p + step.view(p.shape))
    return p.float()


def test_muon_by_hand_with_adam_for_vectors():
    torch.manual_seed(0)
    start = {"kernel": torch.randn(6, 2, 3, 3), "tall": torch.randn(7, 3), "bias": torch.randn(5)}
    grads = {name: [torch.randn_like(p) for _ in range(3)] for name, p in start.items()}
    ours, adam = ({name: nn.Parameter(p.clone()) for name, p in start.items()} for _ in range(2))
    steps = [optim.build_optimizer("muon", [dict(params=[ours["kernel"], ours["tall"]], weight_decay=0.1),
                                            dict(params=[ours["bias"]], weight_decay=0.0)], lr=0.01),
             torch.optim.AdamW([adam["bias"]], lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)]
    for k in range(3):
        for name in start:
            ours[name].grad, adam[name].grad = grads[name][k].clone(), grads[name][k].clone()
        for opt in steps:
            opt.step()
    for name in ("kernel", "tall"):
        wanted = muon_by_hand(start[name], grads[name], 0.01, 0.1)
        off = (ours[name] - wanted).norm() / (wanted - start[name]).norm()
        assert off < 0.03, "bfloat16 rounds off a percent or two of the way"
    torch.testing.assert_close(ours["bias"].data, adam["bias"].data, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_is_torchs_on_matrices():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(9, 4, bias=False), nn.Linear(9, 4, bias=False)
    theirs.load_state_dict(ours.state_dict())
    start = ours.weight.detach().clone()
    opts = (optim.Muon(ours.parameters(), lr=0.02, weight_decay=0.1),
            torch.optim.Muon(theirs.parameters(), lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    for _ in range(4):
        ours.weight.grad = torch.randn_like(ours.weight)
        theirs.weight.grad = ours.weight.grad.clone()
        for opt in opts:
            opt.step()
    off = (ours.weight - theirs.weight).norm() / (theirs.weight - start).norm()
    assert off < 0.05, "both round to bfloat16, not quite alike"


def test_muon_takes_a_closure_and_leaves_alone_what_has_no_gradient():
    a, b = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    opt = optim.Muon([a, b], lr=0.1)
    assert opt.step(lambda: (a.sum().backward(), a.sum())[1]).item() == 4
    assert not torch.equal(a, torch.ones(2, 2)) and torch.equal(b, torch.ones(2, 2))


def test_larc_is_apexs_around_sgd():
    """LARC.py, clip=False: decay added to the gradient, both times 0.001 |p| / (|g| + decay |p|); then SGD."""
    torch.manual_seed(0)
    module, wanted = nn.Linear(4, 3), nn.Linear(4, 3)
    wanted.load_state_dict(module.state_dict())
    opt = optim.build_optimizer("larc", optim.parameter_groups(module, 0.1, exempt=False), lr=2.0)
    sgd = torch.optim.SGD(wanted.parameters(), lr=2.0, momentum=0.9)
    for _ in range(3):
        for p, q in zip(module.parameters(), wanted.parameters()):
            p.grad = torch.randn_like(p)
            rate = 0.001 * q.detach().norm() / (p.grad.norm() + 0.1 * q.detach().norm() + 1e-8)
            q.grad = (p.grad + 0.1 * q.detach()) * rate
        opt.step()
        sgd.step()
    for p, q in zip(module.parameters(), wanted.parameters()):
        torch.testing.assert_close(p, q)


# ---------------------------------------------------------------- teacher
def test_the_teacher_follows_parameters_and_keeps_its_own_buffers():
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    teacher = EMA(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    start = state(teacher.module)
    student(torch.randn(8, 3))  # moves the student's running statistics
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1.0)
    teacher.update(student, 0.9)
    for name, p in teacher.module.named_parameters():
        torch.testing.assert_close(p, 0.9 * start[name] + 0.1 * dict(student.named_parameters())[name])
    assert all(torch.equal(b, start[name]) for name, b in teacher.module.named_buffers())
    teacher.train()(torch.randn(8, 3))
    assert not torch.equal(teacher.module[1].running_mean, start["1.running_mean"]), "its own batches move them"
    frozen = state(teacher.module)
    teacher.update(student, 1.0)
    assert same(frozen, state(teacher.module))
    teacher.update(student, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(teacher.module.parameters(), student.parameters()))


class Teaching(Toy):
    """A method with a teacher, as BYOL's: moves after each update by a schedule over steps; lies in the checkpoint."""

    def __init__(self):
        super().__init__()
        self.teacher = EMA(self.backbone)
        self.momenta = []

    def loss(self, views, progress):
        wanted = self.teacher(views)
        assert not wanted.requires_grad
        return {"loss": F.mse_loss(self.backbone(views), wanted + 1), "views_per_image": 1}

    def after_update(self, progress):
        self.momenta.append(optim.ema_momentum(0.9, progress))
        self.teacher.update(self.backbone, self.momenta[-1])


def test_a_teacher_is_moved_every_step_and_resumes(tmp_path):
    def build():
        torch.manual_seed(0)
        return Teaching()

    whole, cut, rest = build(), build(), build()
    start = state(whole.teacher)
    fit(whole, images(), steps=8, log_every=1, **SMALL)
    assert len(whole.momenta) == 8 and not same(start, state(whole.teacher))
    assert whole.momenta[3] == pytest.approx(0.95) and whole.momenta[-1] == 1.0
    assert whole.momenta[0] == pytest.approx(1 - 0.1 * (1 + np.cos(np.pi / 8)) / 2)
    fit(cut, images(), steps=8, log_every=1, out=tmp_path, watch=Stop(3), **SMALL)
    fit(rest, images(), steps=8, log_every=1, out=tmp_path, resume=True, **SMALL)
    assert same(state(whole), state(rest)) and cut.momenta + rest.momenta == whole.momenta


@pytest.mark.parametrize("base", [0.9, 0.99, 0.996])
def test_ema_momentum_at_its_ends(base):
    assert optim.ema_momentum(base, 0.0) == pytest.approx(base)
    assert optim.ema_momentum(base, 0.5) == pytest.approx((1 + base) / 2)
    assert optim.ema_momentum(base, 1.0) == 1.0 == optim.ema_momentum(base, 1.5)
