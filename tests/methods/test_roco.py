"""RoCo: negatives made from the image itself, against loops in plain Python; how they are drawn and encoded."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.augment.textures import patch_negatives
from course_lib.methods import build_method
from course_lib.methods.contrastive import roco as module
from course_lib.methods.contrastive.moco import moco_loss
from course_lib.methods.contrastive.roco import roco_logits, roco_loss
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state, views

pytestmark = pytest.mark.usefixtures("one_thread")


def build(name="roco", seed=0, **options):
    torch.manual_seed(seed)
    options = {"hidden": 8, "out": 6, "queue": 24, "momentum": 0.9, **options}
    return build_method(name, "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, **options)


# ---------------------------------------------------------------- the loss, in plain Python
def naive(q, k, queue, t, temperature, alpha) -> float:
    def cosine(x, y):
        return sum(v * w for v, w in zip(x, y)) / math.sqrt(sum(v * v for v in x) * sum(w * w for w in y))

    total = 0.0
    for i in range(len(q)):
        own = math.exp(cosine(q[i], k[i]) / temperature)
        below = own + sum(math.exp(cosine(q[i], row) / temperature) for row in queue)
        below += sum(math.exp(alpha * cosine(q[i], row) / temperature) for row in t[i])
        total -= math.log(own / below)
    return total / len(q)


@pytest.mark.parametrize("n, d, length, own, alpha", [(3, 4, 6, 1, 1.0), (5, 3, 2, 3, 2.0), (1, 2, 1, 2, 3.0)])
def test_the_loss_equals_its_definition(n, d, length, own, alpha):
    q, k, t = randn(n, d) * 3, randn(n, d, seed=1), randn(n, own, d, seed=3) / 2
    queue = normalize(randn(length, d, seed=2))
    parts = roco_loss(q, k, queue, t, 0.2, alpha)
    wanted = naive(q.tolist(), k.tolist(), queue.tolist(), t.tolist(), 0.2, alpha)
    assert float(parts["loss"]) == pytest.approx(wanted, rel=1e-10)
    torch.testing.assert_close(parts["own"], torch.cosine_similarity(q.unsqueeze(1), t, dim=2).mean())
    logits = roco_logits(normalize(q), normalize(k), queue, normalize(t), 0.2, alpha)
    assert logits.shape == (n, 1 + length + own)


def test_alpha_multiplies_the_similarity_of_the_own_negatives_only():
    """Bugs: alpha as a factor of the term; alpha on the queue's negatives too."""
    q, k, queue, t = (normalize(x) for x in (randn(4, 5), randn(4, 5, seed=1), randn(7, 5, seed=2),
                                             randn(4, 2, 5, seed=3)))
    one, three = (roco_logits(q, k, queue, t, 0.2, alpha) for alpha in (1.0, 3.0))
    torch.testing.assert_close(three[:, 8:], 3 * one[:, 8:])
    assert torch.equal(three[:, :8], one[:, :8])
    empty = t[:, :0]
    plain = roco_loss(q, k, queue, empty, 0.2)
    assert float(plain.pop("own")) == 0
    torch.testing.assert_close(plain, moco_loss(q, k, queue, 0.2))


def test_the_share_of_the_gradient_grows_with_alpha():
    q, k, queue, t = randn(1, 5), randn(1, 5, seed=1), normalize(randn(7, 5, seed=2)), randn(1, 1, 5, seed=3)
    t = q.unsqueeze(1) + 0.3 * t  # alike

    def push(alpha: float) -> float:
        own = normalize(t).requires_grad_()
        logits = torch.cat([normalize(q) @ normalize(k).T, normalize(q) @ queue.T], 1) / 0.2
        last = alpha * (own @ normalize(q).unsqueeze(-1)).squeeze(-1) / 0.2
        loss = torch.cat([logits, last], 1).logsumexp(1) - logits[:, 0]
        return float(torch.autograd.grad(loss.sum(), own)[0].norm())

    assert push(1.0) < push(2.0) < push(3.0)


def test_gradients_flow_to_queries_only():
    q, k, queue, t = (x.requires_grad_() for x in (randn(4, 5), randn(4, 5, seed=1), normalize(randn(7, 5, seed=2)),
                                                   randn(4, 2, 5, seed=3)))
    fixed = (k.detach(), queue.detach(), t.detach())
    assert torch.autograd.gradcheck(lambda x: roco_loss(x, *fixed, 0.5)["loss"], q)
    roco_loss(q, k, queue, t)["loss"].backward()
    assert q.grad.abs().sum() > 0 and k.grad is None and queue.grad is None and t.grad is None


def test_float32_inside_autocast():
    q, k, queue, t = (x.float() for x in (randn(4, 5), randn(4, 5, seed=1), normalize(randn(7, 5, seed=2)),
                                          randn(4, 2, 5, seed=3)))
    wanted = roco_loss(q, k, queue, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = roco_loss(q, k, queue, t)
        half = roco_loss(q.bfloat16(), k.bfloat16(), queue, t.bfloat16())
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert all(part.dtype == torch.float32 for part in half.values())


# ---------------------------------------------------------------- what is drawn
def test_patches_are_cut_from_the_querys_own_view(monkeypatch):
    """Bug: cut from the original image."""
    seen = []
    monkeypatch.setattr(module, "patch_negatives",
                        lambda x, g, p: seen.append(x.clone()) or patch_negatives(x, g, p))
    a, _, order, own = views(build(n=3))
    assert len(own) == len(seen) == 3 and all(torch.equal(x, a) for x in seen)
    assert all(torch.isin(t[i, 0], a[i, 0]).all() for t, _ in own for i in range(8))
    assert not torch.equal(own[0][0], own[1][0]) and not torch.equal(own[0][1], own[1][1])
    assert all(sorted(shuffled.tolist()) == list(range(8)) for _, shuffled in own)


def test_a_texture_gets_the_querys_augmentation(monkeypatch):
    monkeypatch.setattr(module, "texture_negatives", lambda x, g: torch.rand(3, generator=g) is None or x)
    a, b, _, own = views(build(kind="texture", n=2))
    for t, _ in own:
        torch.testing.assert_close(t, a)
    assert not torch.equal(a, b)
    monkeypatch.undo()
    real, _ = views(build(kind="texture"))[3][0]
    assert real.shape == a.shape and not torch.equal(real, a) and 0 <= real.min() and real.max() <= 1


@pytest.mark.parametrize("kind", ["patch", "texture"])
def test_without_own_negatives_it_is_moco_with_the_same_draws(kind):
    with_own, without, moco = views(build(kind=kind)), views(build(n=0)), views(build("moco-v2", temperature=0.2))
    for mine, plain, mocos in zip(with_own[:3], without[:3], moco):
        assert torch.equal(mine, plain) and torch.equal(plain, mocos)
    parts = build(n=0).loss(without)
    torch.testing.assert_close(parts["loss"], build("moco-v2", temperature=0.2).loss(moco)["loss"])
    assert parts["views_per_image"] == 2 and build().loss(views(build()))["views_per_image"] == 3


# ---------------------------------------------------------------- the module
def test_the_key_encoder_sees_each_set_on_its_own_and_the_queue_none():
    """Bugs: t encoded by the query encoder, or normalised together with the keys; t enqueued."""
    method = build(n=2)
    twin, drawn = copy.deepcopy(method), views(method)
    a, b, order, own = drawn
    before = method.queue.rows.clone()
    parts = method.loss(drawn)
    q = twin.head(twin.backbone(standardize(a)))
    k = twin.encode_keys(standardize(b), order)
    t = torch.stack([twin.encode_keys(standardize(x), shuffled) for x, shuffled in own], 1)
    torch.testing.assert_close(parts["loss"], roco_loss(q, k, before, t, 0.2, 2.0)["loss"])
    assert int(method.queue.pointer) == 8 and torch.equal(method.queue.rows[8:], before[8:])
    torch.testing.assert_close(method.queue.rows[:8], k)
    parts["loss"].backward()
    assert all(p.grad is None for p in method.keys.parameters())


def test_evaluation_leaves_the_queue_alone():
    method = build().eval()
    before = state(method)
    method.loss(views(method))
    assert same(state(method), before)


@pytest.mark.parametrize("kind", ["patch", "texture"])
def test_resume_is_bit_exact(kind, tmp_path):
    settings = {**SMALL, "steps": 7, "log_every": 1, "lr": 0.01}
    whole, again = build(kind=kind), build(kind=kind, seed=5)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(kind=kind), images(), out=tmp_path / "cut", watch=Stop(4), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and int(again.queue.pointer) == 7 * 8 % 24


@pytest.mark.parametrize("wrong, says", [
    ({"kind": "shuffle"}, "kind is 'shuffle'; expected one of patch, texture"), ({"n": -1}, "n is -1 and alpha 2.0"),
    ({"alpha": -2.0}, "alpha -2.0; expected 0 or more"), ({"patch": (72, 16)}, "patch is .*such as"),
])
def test_what_cannot_be_is_a_sentence(wrong, says):
    with pytest.raises(ValueError, match=says):
        build(**wrong)
