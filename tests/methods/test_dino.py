"""DINO: loops in plain Python, gradients, the two collapses, the centre, and the bugs that people shipped with it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from course_lib.methods import build_method, method_class
from course_lib.methods.masked.dino import (
    DINO,
    DINOHead,
    Prototypes,
    clip_each,
    dino_loss,
    entropies,
    koleo_loss,
    moved_center,
    teacher_probabilities,
    warm_temperature,
)
from course_lib.models.backbones import build_backbone
from course_lib.models.layers import normalize
from course_lib.optim import cosine, ema_momentum
from course_lib.train import loop
from course_lib.train.checkpoint import export, load_method, save_small
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import SMALL, Stop, images, same, state

VIT = {"patch": 4, "dim": 12, "depth": 1, "heads": 2}


def dino(seed=0, backbone="vit-tiny", **options):
    torch.manual_seed(seed)
    small = VIT if backbone == "vit-tiny" else {"depth": 2, "widths": (4, 8)}
    options = {"out": 7, "hidden": 16, "bottleneck": 6, "crops": 2, "crop_size": 8, **options}
    return build_method("dino", backbone, 16, backbone_options=small, **options)


# ---------------------------------------------------------------- the loss, in plain Python
def naive_loss(student, teacher, center, student_temp, teacher_temp) -> float:
    """Over images, teacher's crops and other crops in loops."""
    total, pairs = 0.0, 0
    for q, large in enumerate(teacher):
        for v, crop in enumerate(student):
            if v == q:
                continue
            pairs += 1
            for t, s in zip(large, crop):
                p = softmax([(a - c) / teacher_temp for a, c in zip(t, center)])
                r = softmax([a / student_temp for a in s])
                total -= sum(a * math.log(b) for a, b in zip(p, r)) / len(crop)
    return total / pairs


@pytest.mark.parametrize("crops, n, k", [(2, 1, 3), (3, 4, 5), (6, 2, 8)])
def test_the_loss_equals_its_definition(crops, n, k):
    student = [randn(n, k, seed=v) for v in range(crops)]
    teacher = [randn(n, k, seed=10 + v) for v in range(2)]
    center = randn(k, seed=20)
    wanted = naive_loss([s.tolist() for s in student], [t.tolist() for t in teacher], center.tolist(), 0.3, 0.2)
    assert float(dino_loss(student, teacher, center, 0.3, 0.2)) == pytest.approx(wanted, rel=1e-10)


def naive_koleo(z) -> float:
    rows = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in z]
    total = 0.0
    for i, row in enumerate(rows):
        total -= math.log(min(math.dist(row, other) for j, other in enumerate(rows) if j != i)) / len(rows)
    return total


@pytest.mark.parametrize("n, d", [(2, 3), (5, 2), (9, 6)])
def test_koleo_equals_its_definition(n, d):
    z = randn(n, d, seed=n).requires_grad_()
    assert float(koleo_loss(z).detach()) == pytest.approx(naive_koleo(z.tolist()), rel=1e-6)
    assert torch.autograd.gradcheck(koleo_loss, z)


def test_koleo_pushes_neighbours_apart_and_survives_twins():
    """Two equal rows have no direction to part in, but their loss and gradient stay finite."""
    close, apart = torch.tensor([[1, 0.0], [1, 0.1]]), torch.tensor([[1, 0.0], [-1, 0.1]])
    assert koleo_loss(close) > koleo_loss(apart)
    z = torch.ones(3, 4, requires_grad=True)
    koleo_loss(z).backward()
    assert z.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert koleo_loss(close.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("name", ["dino", "ibot"])
def test_koleo_joins_the_loss_for_large_crops_and_class_tokens(name, monkeypatch):
    from course_lib.methods.masked import dino as module

    seen = []
    monkeypatch.setattr(module, "koleo_loss", lambda z: seen.append(z) or z.square().sum())
    torch.manual_seed(0)
    method = build_method(name, "vit-tiny", 16, backbone_options=VIT, out=7, hidden=16, bottleneck=6, crops=2,
                          crop_size=8,
                          koleo=0.5)
    views = method.views(type("Batch", (), {"images": images().images[:5]}), torch.Generator().manual_seed(0))
    parts = method.loss(views)
    assert [tuple(z.shape) for z in seen] == [(5, 6), (5, 6)]
    assert float(parts["koleo"]) == pytest.approx(10.0, rel=1e-5), "rows of length 1, and the sum of two crops"
    method.koleo = 0.0
    assert "koleo" not in method.loss(views) and len(seen) == 2


def test_gradients_reach_the_student_only():
    student = [randn(3, 4, seed=v).requires_grad_() for v in range(3)]
    teacher = [randn(3, 4, seed=10 + v).requires_grad_() for v in range(2)]
    center = randn(4, seed=20)
    assert torch.autograd.gradcheck(lambda *s: dino_loss(list(s), [t.detach() for t in teacher], center, 0.5, 0.3),
                                    student)
    dino_loss(student, teacher, center).backward()
    assert all(s.grad.any() for s in student) and all(t.grad is None for t in teacher)


def test_a_crop_does_not_predict_itself():
    """Bug: all pairs. With two crops, the loss of crop 1 depends on what the teacher says about crop 2 only."""
    student = [randn(2, 4, seed=v).requires_grad_() for v in range(2)]
    teacher = [randn(2, 4, seed=10 + v) for v in range(2)]
    center = torch.zeros(4, dtype=torch.float64)
    dino_loss(student, teacher, center).backward()
    other = [s.detach().clone().requires_grad_() for s in student]
    dino_loss(other, [teacher[0] * 3 + 1, teacher[1]], center).backward()
    assert torch.equal(student[0].grad, other[0].grad) and not torch.equal(student[1].grad, other[1].grad)


def test_every_pair_has_the_same_weight():
    """Bug: the mean per large crop over its own pairs and the small crops counted twice, or a sum."""
    logits = [torch.zeros(2, 5, dtype=torch.float64) for _ in range(7)]
    assert float(dino_loss(logits, logits[:2], torch.zeros(5))) == pytest.approx(math.log(5))


def test_sharpening_is_a_low_temperature():
    """Bug: the teacher's temperature raised. And: first the centre is subtracted, then the temperature divides."""
    logits, center = randn(6, 9), randn(9, seed=1)
    sharp, soft = (entropies(teacher_probabilities(logits, center, t))[0] for t in (0.04, 1.0))
    assert sharp < 0.3 * soft
    wanted = ((logits - center) / 0.05).softmax(-1)
    torch.testing.assert_close(teacher_probabilities(logits, center, 0.05), wanted)
    assert not torch.allclose(wanted, (logits / 0.05 - center).softmax(-1))


def test_the_loss_is_computed_in_float32():
    student, teacher = [randn(4, 6).half() * 30 for _ in range(2)], [randn(4, 6, seed=1).half() * 30 for _ in range(2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = dino_loss(student, teacher, torch.zeros(6))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss,
                               dino_loss([s.float() for s in student], [t.float() for t in teacher], torch.zeros(6)))


def test_large_logits_are_finite():
    student = [(1e4 * randn(3, 5, seed=v)).requires_grad_() for v in range(2)]
    loss = dino_loss(student, [1e4 * randn(3, 5, seed=9)] * 2, torch.zeros(5))
    loss.backward()
    assert loss.isfinite() and all(s.grad.isfinite().all() for s in student)


# ---------------------------------------------------------------- the centre, the two entropies
def test_the_centre_is_the_moving_mean_of_raw_logits():
    """Bugs: the mean of probabilities, of one crop, momentum the other way round."""
    center, logits = randn(5), randn(8, 5, seed=1)
    wanted = [0.9 * c + 0.1 * sum(row[k] for row in logits.tolist()) / 8 for k, c in enumerate(center.tolist())]
    torch.testing.assert_close(moved_center(center, logits), torch.tensor(wanted, dtype=torch.float64))
    torch.testing.assert_close(moved_center(center, logits.view(2, 4, 5), 0.9), moved_center(center, logits, 0.9))
    assert moved_center(center, logits, 1.0).equal(center) and not moved_center(center,
                                                                                logits.requires_grad_()).requires_grad


def test_the_centre_moves_after_the_loss():
    """Bug: the centre of this batch is used for this batch."""
    method = dino().double()
    views = [randn(4, 3, 16, 16, seed=v) for v in range(2)] + [randn(4, 3, 8, 8, seed=v) for v in (2, 3)]
    before = method.center.clone()
    reference = dino().double().eval()
    torch.testing.assert_close(method.train().loss(views)["loss"], reference.loss(views)["loss"])
    assert not torch.equal(method.center, before) and torch.equal(reference.center, before)


def test_centre_off_stays_zero():
    method = dino(center=None)
    fit(method, images(), steps=3, **SMALL)
    assert not method.center.any()


def test_entropies_of_known_distributions():
    k = 6
    sure = torch.eye(k, dtype=torch.float64)
    own, mean = entropies(sure)
    assert float(own) == 0 and float(mean) == pytest.approx(math.log(k))  # healthy
    assert [float(e) for e in entropies(sure[:1].expand(4, k))] == [0, 0]  # one score for all
    uniform = torch.full((4, k), 1 / k, dtype=torch.float64)
    assert [float(e) for e in entropies(uniform)] == pytest.approx([math.log(k)] * 2)  # nothing said
    p = randn(7, k).softmax(-1)
    own, mean = entropies(p)
    divergences = [sum(a * math.log(a / b) for a, b in zip(row, p.mean(0).tolist())) for row in p.tolist()]
    assert float(mean - own) == pytest.approx(sum(divergences) / 7)


def collapse(center: bool, temperature: float, steps: int = 300) -> tuple[float, float]:
    """A student and a teacher of free scores: (mean entropy, entropy of the mean) over log K at the end."""
    torch.manual_seed(0)
    x, k = torch.randn(64, 8), 12

    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, k))

    student, teacher = net(), net()
    teacher.load_state_dict(student.state_dict())
    optimizer, c = torch.optim.Adam(student.parameters(), 0.01), torch.zeros(k)
    for _ in range(steps):
        a, b = x + 0.3 * torch.randn_like(x), x + 0.3 * torch.randn_like(x)
        with torch.no_grad():
            targets = [teacher(a), teacher(b)]
        loss = dino_loss([student(a), student(b)], targets, c, 0.1, temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if center:
            c = moved_center(c, torch.cat(targets))
        with torch.no_grad():
            for t, s in zip(teacher.parameters(), student.parameters()):
                t.lerp_(s, 0.1)
    own, mean = entropies(teacher_probabilities(teacher(x), c, temperature))
    return float(own) / math.log(k), float(mean) / math.log(k)


def test_the_two_collapses(one_thread):
    """Without the centre one score wins; without sharpening the uniform distribution does; with both, neither."""
    own, mean = collapse(center=True, temperature=0.04)
    assert own < 0.5 and mean > 0.7
    own, without = collapse(center=False, temperature=0.04)
    assert own < 0.2 and without < mean - 0.25
    own, mean = collapse(center=True, temperature=1.0)
    assert own > 0.95


# ---------------------------------------------------------------- schedules, clipping, head
def test_temperature_schedule():
    assert [warm_temperature(p, 0.04, 0.07, 0.3) for p in (0, 0.15, 0.3, 1)] == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert warm_temperature(0.0, 0.04, 0.07, 0.0) == 0.07
    method = dino(teacher_temp=(0.02, 0.08), warm=0.5)
    assert method.temperature(0.25) == pytest.approx(0.05)


def test_clipping_is_per_parameter():
    """Bug: one norm over all parameters: a large gradient in one place would then shrink all others."""
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for i, p in enumerate(module.parameters()):
        p.grad = torch.full_like(p, (0.01, 10.0)[i % 2])
    before = [p.grad.clone() for p in module.parameters()]
    norms = clip_each(module.parameters(), 3.0)
    for p, old, norm in zip(module.parameters(), before, norms):
        assert float(old.norm()) == pytest.approx(float(norm))
        torch.testing.assert_close(p.grad, old * min(1.0, 3.0 / float(old.norm())), rtol=1e-5, atol=1e-8)


def test_prototypes_are_directions():
    head = DINOHead(5, 7, 11, 4)
    x = randn(6, 5, dtype=torch.float32)
    logits = head(x)
    assert logits.shape == (6, 7) and logits.abs().max() <= 1 + 1e-6, "cosines"
    with torch.no_grad():
        head.last.weight.mul_(torch.linspace(0.1, 9, 7)[:, None])
    torch.testing.assert_close(head(x), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, normalize(head.mlp(x)) @ normalize(head.last.weight).T, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Prototypes(4, 3)(torch.randn(2, 4).bfloat16()).dtype == torch.float32


# ---------------------------------------------------------------- the method in the loop
class Watching(DINO):
    def before_update(self):
        frozen = self.progress < self.frozen
        super().before_update()
        self.seen = [*getattr(self, "seen", []), (frozen, self.head.last.weight.grad is None)]

    def after_update(self, progress):
        before = {n: p.clone() for n, p in self.teacher.module.named_parameters()}
        super().after_update(progress)
        m = ema_momentum(self.momentum, progress)
        now = dict(nn.ModuleList([self.backbone, self.head]).named_parameters())
        for name, p in self.teacher.module.named_parameters():
            torch.testing.assert_close(p, m * before[name] + (1 - m) * now[name].detach(), rtol=1e-4, atol=1e-6)
        self.updates = getattr(self, "updates", 0) + 1


def test_teacher_follows_and_prototypes_rest_at_first():
    method = dino(frozen=0.4, momentum=0.6, out=5)
    method.__class__ = Watching
    start = method.head.last.weight.detach().clone()
    fit(method, images(), steps=5, **SMALL)
    assert method.updates == 5
    assert method.seen == [(True, True)] * 2 + [(False, False)] * 3
    assert not torch.equal(start, method.head.last.weight)


@pytest.mark.parametrize("backbone", ["vit-tiny", "convnet"])
def test_it_learns_in_the_loop_and_says_the_entropies(backbone):
    method = dino(backbone=backbone)
    start = state(method)
    history = fit(method, images(), steps=4, **SMALL)
    assert {"loss", "entropy", "entropy_of_mean"} <= history.curves.keys()
    assert all(0 <= v <= 1.0001 for name in ("entropy", "entropy_of_mean") for v in history.curves[name])
    assert method.embed(images().images[:3]).shape == (3, method.backbone.dim)
    assert not torch.equal(start["head.mlp.0.weight"], method.state_dict()["head.mlp.0.weight"])
    assert history.rank and method.center.any()


def test_weight_decay_follows_a_cosine():
    method = dino(final_decay=0.4)
    groups = method.param_groups(0.04)
    assert [g.get("final_decay") for g in groups] == [0.4, None]

    seen = []

    class Noting(torch.optim.AdamW):
        def step(self, *arguments, **options):
            seen.append([g["weight_decay"] for g in self.param_groups])
            return super().step(*arguments, **options)

    original, loop.build_optimizer = loop.build_optimizer, lambda name, groups, lr: Noting(
        [{k: v for k, v in g.items() if k != "adapt"} for g in groups], lr=lr)
    try:
        fit(method, images(), steps=4, weight_decay=0.04, **SMALL)
    finally:
        loop.build_optimizer = original
    assert [row[0] for row in seen] == pytest.approx([cosine(0.04, 0.4, step / 4) for step in range(4)])
    assert [row[1] for row in seen] == [0.0] * 4


def test_weight_decay_may_end_or_begin_at_zero():
    """Bug: an end of 0 taken for none, or a start of 0 for a group that never decays."""
    for end, start in ((0.0, 0.04), (0.4, 0.0)):
        assert [g.get("final_decay") for g in dino(final_decay=end).param_groups(start)] == [end, None]
    assert not any("final_decay" in g for g in dino().param_groups(0.04))


def test_a_limit_of_zero_is_a_sentence():
    """Bug: every gradient is scaled to nothing; no limit is None."""
    with pytest.raises(ValueError, match="clip is 0; expected a number above 0"):
        dino(clip=0)
    assert dino(clip=None).clip is None


def test_the_teacher_is_evaluated_and_exported():
    method = dino()
    fit(method, images(), steps=3, **SMALL)
    with torch.no_grad():
        x = images().images[:4]
        from course_lib.augment.pixels import standardize
        torch.testing.assert_close(method.embed(x), method.teacher.module[0](standardize(x)))
    assert all(torch.equal(v, method.teacher.module[0].state_dict()[k]) for k, v in export(method).items())


def test_the_teacher_sees_large_crops_only_and_small_ones_are_small():
    method = dino(crops=3, crop_size=8)
    generator = torch.Generator().manual_seed(0)
    views = method.views(type("Batch", (), {"images": images().images[:5]}), generator)
    assert [v.shape[-1] for v in views] == [16, 16, 8, 8, 8]
    seen = []
    method.teacher.module[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    method.loss(views)
    assert seen == [torch.Size([10, 3, 16, 16])]


def test_a_resumed_run_is_the_same_run(tmp_path, one_thread):
    """The centre, the teacher and the decay's start are part of the checkpoint."""
    options = dict(steps=6, **SMALL)
    whole = dino()
    fit(whole, images(), **options)
    half = dino()
    fit(half, images(), out=tmp_path, watch=Stop(3), log_every=1, **options)
    again = dino(seed=5)
    fit(again, images(), out=tmp_path, resume=True, **options)
    assert same(state(whole), state(again))


# ---------------------------------------------------------------- as in the official code
@pytest.mark.parametrize("name", ["dino", "ibot"])
def test_a_vit_starts_from_truncated_normals_with_learned_positions(name, tmp_path):
    torch.manual_seed(0)
    method = build_method(name, "vit-tiny", 32)
    assert method.backbone.learned and method.backbone.positions.requires_grad
    vit = method.backbone
    for tensor in (vit.positions, vit.class_token, vit.patch_embed.weight, vit.blocks[0].mlp[0].weight,
                   vit.blocks[2].attn.proj.weight):
        assert float(tensor.std()) == pytest.approx(0.02, rel=0.15)
    assert all(torch.equal(a, b) for a, b in zip(method.backbone.parameters(), method.evaluated.parameters()))
    torch.manual_seed(0)
    vit = build_backbone("vit-tiny", 32, dim=24, depth=1, heads=3)
    before = {key: tensor.clone() for key, tensor in vit.state_dict().items()}
    assert same(before, build_method(name, vit, 32, std=None).backbone.state_dict()), "None leaves it alone"


def test_a_network_of_before_still_has_fixed_positions(tmp_path):
    """Its settings said nothing of them, since they were the ViT's own default."""
    torch.manual_seed(0)
    method = dino()
    old = build_method("dino", "vit-tiny", 16, backbone_options={**VIT, "positions": "sincos"},
                       **method.settings["options"])
    old.settings["backbone_options"].pop("positions")
    again = load_method(save_small(tmp_path / "old.pt", old))
    assert not again.backbone.learned
    picture = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(again.embed(picture), old.eval().embed(picture), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", ["dino", "ibot"])
def test_large_images_have_the_official_blurs(name):
    method = build_method(name, "vit-tiny", 96, backbone_options={**VIT, "patch": 16}, crops=2)
    assert [view.blur_p for view in method.crops] == [1.0, 0.1, 0.5, 0.5]
    assert [view.solarize_p for view in method.crops] == [0.0, 0.2, 0.0, 0.0]
    assert {view.interpolation for view in method.crops} == {"bicubic"}
    small = dino()
    assert {view.blur_p for view in small.crops} == {0.0} and small.crops[0] == small.crops[1]


def test_betas_are_the_papers():
    assert [method_class(name).recipe["betas"] for name in ("dino", "ibot", "beit", "simmim")] == [(0.9, 0.999)] * 4
    assert "betas" not in method_class("mae").recipe, "0.9 and 0.95, the default"


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_a_temperature_must_be_positive(temperature):
    scores, center = [randn(3, 4), randn(3, 4)], torch.zeros(4)
    for options in ({"student_temp": temperature}, {"teacher_temp": temperature}):
        with pytest.raises(ValueError, match="temperature is .* expected a number above 0"):
            dino_loss(scores, scores, center, **options)
    with pytest.raises(ValueError, match="KoLeo compares images"):
        koleo_loss(randn(1, 4))
