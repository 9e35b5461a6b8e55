"""ReLIC: the loss against loops in plain Python, what its KL compares, the target network, the module."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.cli.main import main
from course_lib.methods import build_method
from course_lib.methods.contrastive.relic import divergence, log_likeness, relic_loss
from course_lib.models.layers import normalize
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import SMALL, Stop, images, same, state, views

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("relic", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"hidden": 12, "out": 6, **options})


def outputs(n, d):
    return [randn(n, d, seed=s) for s in range(4)]


# ---------------------------------------------------------------- the loss, in plain Python
def naive(o1, o2, t1, t2, alpha, temperature) -> dict[str, float]:
    def on_the_sphere(row):
        return [v / math.sqrt(sum(w * w for w in row)) for v in row]

    def likeness(anchors, targets):
        anchors, targets = ([on_the_sphere(row) for row in rows] for rows in (anchors, targets))
        return [softmax([sum(v * w for v, w in zip(a, t)) / temperature for t in targets]) for a in anchors]

    n, p12, p21 = len(o1), likeness(o1, t2), likeness(o2, t1)
    contrast = -sum(math.log(p[i][i]) for p in (p12, p21) for i in range(n)) / (2 * n)
    kl = sum(p[i][j] * math.log(p[i][j] / q[i][j]) for p, q in ((p12, p21), (p21, p12)) for i in range(n)
             for j in range(n)) / (2 * n)
    right = sum(max(range(n), key=p[i].__getitem__) == i for p in (p12, p21) for i in range(n)) / (2 * n)
    return {"loss": contrast + alpha * kl, "contrast": contrast, "invariance": kl, "accuracy": right}


@pytest.mark.parametrize("n, d, alpha, temperature", [(2, 3, 1.0, 0.5), (5, 4, 0.0, 0.1), (8, 2, 5.0, 1.0)])
def test_the_loss_equals_its_definition(n, d, alpha, temperature):
    given = outputs(n, d)
    parts = relic_loss(*given, alpha, temperature)
    wanted = naive(*(x.tolist() for x in given), alpha, temperature)
    assert {name: float(part) for name, part in parts.items()} == pytest.approx(wanted, rel=1e-9)


def test_the_kl_compares_an_image_with_itself():
    """Bug: the columns of one matrix without the transpose. Its partners moved along, no image then meets itself."""
    o1, o2, _, _ = outputs(6, 3)
    parts = relic_loss(o1, o2, o1, o2, 1.0, 0.3)
    logits = normalize(o1) @ normalize(o2).T / 0.3
    right = divergence(logits.log_softmax(1), logits.T.log_softmax(1))
    wrong = divergence(logits.log_softmax(1), logits.log_softmax(0))
    other = divergence(logits.T.log_softmax(1), logits.log_softmax(1))
    torch.testing.assert_close(parts["invariance"], (right + other) / 2)
    assert abs(float(wrong) - float(right)) > 0.1
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    moved = relic_loss(o1[order], o2[order], o1[order], o2[order], 1.0, 0.3)
    torch.testing.assert_close(moved, parts)


def test_invariant_is_not_right():
    """Equal distributions have no KL, whether they find the partner or not: alpha alone teaches nothing."""
    a = torch.eye(5, dtype=torch.float64)
    sure, lost, collapsed = (relic_loss(a, a, t, t, 9.0, 0.1) for t in (a, a.roll(1, 0), torch.ones_like(a)))
    for parts in (sure, lost, collapsed):
        assert float(parts["invariance"]) == pytest.approx(0, abs=1e-9)
    assert sure["accuracy"] == 1 and lost["accuracy"] == 0 and sure["loss"] < 0.01 < 5 < lost["loss"]
    assert float(collapsed["contrast"]) == pytest.approx(math.log(5))


def test_it_compares_distributions_and_not_features():
    """Bug: a KL or distance of features. Views turned alike have the same likeness to all, whatever they are."""
    o, t = randn(6, 3), randn(6, 3, seed=1)
    turned = torch.linalg.qr(randn(3, 3, seed=2))[0]
    parts = relic_loss(o, o @ turned, t @ turned, t, 1.0, 0.3)
    assert float(parts["invariance"]) == pytest.approx(0, abs=1e-9)


def test_gradients_small_temperatures_and_float32_inside_autocast():
    given = [x.requires_grad_() for x in outputs(4, 3)]
    assert torch.autograd.gradcheck(lambda *x: relic_loss(*x, 2.0, 0.5)["loss"], given)
    given = [x.detach().float().requires_grad_() for x in given]
    sharp = relic_loss(*given, 1.0, 0.002)["loss"]
    sharp.backward()
    assert sharp.isfinite() and all(x.grad.isfinite().all() for x in given)
    wanted = relic_loss(*given)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(relic_loss(*given)["loss"], wanted)
        assert relic_loss(*(x.bfloat16() for x in given))["loss"].dtype == torch.float32
    assert torch.allclose(log_likeness(given[0], given[1]).exp().sum(1), torch.ones(4))


# ---------------------------------------------------------------- the module
def test_without_a_target_it_is_its_own():
    method = build(alpha=2.0)
    given = views(method)
    o1, o2 = method.critic(method.backbone((torch.cat(given) - 0.45) / 0.25)).chunk(2)
    parts = method.loss(given)
    torch.testing.assert_close(parts["loss"], relic_loss(o1, o2, o1, o2, 2.0, 0.2)["loss"])
    assert parts["embedding"].shape == (8, 6) and not parts["embedding"].requires_grad
    parts["loss"].backward()
    assert all(p.grad is not None for p in method.parameters()) and method.target is None
    assert method.embed(given[0]).shape == (8, 8)


def test_the_target_follows_without_a_gradient():
    method = build(momentum=0.9)
    before = state(method)
    fit(method, images(), steps=3, **SMALL, lr=0.01)
    after = state(method)
    name = "backbone.blocks.0.0.weight"
    followed = (after[f"target.module.0.{name.removeprefix('backbone.')}"] - before[name]).abs().max()
    assert 0 < followed < (after[name] - before[name]).abs().max()
    assert all(not p.requires_grad and p.grad is None for p in method.target.parameters())


def test_a_penalty_makes_the_views_agree():
    """Twenty steps from the same start: the KL falls further with it than without."""
    found = {}
    for alpha in (0.0, 10.0):
        history = fit(build(alpha=alpha), images(64), steps=20, **{**SMALL, "batch_size": 16}, lr=0.01, log_every=1)
        found[alpha] = sum(history.curves["invariance"][-5:])
        if alpha:
            assert sum(history.curves["loss"][-5:]) < sum(history.curves["loss"][:5])
    assert found[10.0] < found[0.0]


def test_what_does_not_fit_is_a_sentence():
    for options, says in (({"temperature": 0}, "temperature is 0"), ({"momentum": 1.0}, "momentum is 1.0"),
                          ({"momentum": -0.1}, "momentum is -0.1"), ({"alpha": -1.0}, "alpha -1.0; expected")):
        with pytest.raises(ValueError, match=says):
            build(**options)
    with pytest.raises(ValueError, match="temperature is -1"):
        relic_loss(*outputs(2, 3), temperature=-1)
    with pytest.raises(ValueError, match="ReLIC compares images .* got 1"):
        build().loss((torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)))


def test_a_run_by_name_is_rebuilt(tmp_path):
    words = ["train", "relic", "--data", "shapes", "--limit", "40", "--device", "cpu", "--steps", "2",
             "--batch-size", "8", "--set", "alpha=3", "--set", "momentum=0.9", "--set", "hidden=8", "--no-evaluate",
             "--out", str(tmp_path)]
    assert main(words) == 0
    method = checkpoint.load_method(tmp_path / "last.pt")
    assert method.alpha == 3 and method.target is not None


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_resume_is_bit_exact(tmp_path, momentum):
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, again = build(momentum=momentum), build(seed=7, momentum=momentum)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(momentum=momentum), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
