"""SimSiam: plain-Python references, gradients, the bugs that people shipped, what moves in a step, and resuming."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from course_lib.augment.views import Augment, two_views
from course_lib.evaluate.measures import effective_rank, feature_std
from course_lib.evaluate.pairs import pair_measures
from course_lib.methods import build_method
from course_lib.methods.contrastive.simsiam import (
    AlternatingSimSiam,
    SimSiam,
    best_prediction,
    negative_cosine,
    simsiam_loss,
)
from course_lib.models.backbones import ConvNet
from course_lib.notebook.toys import simsiam_descent
from course_lib.seeds import generator
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, images, same, state


# ---------------------------------------------------------------- plain Python
def cosine(a: list[float], b: list[float]) -> float:
    length = math.sqrt(sum(v * v for v in a)) * math.sqrt(sum(v * v for v in b))
    return sum(v * w for v, w in zip(a, b)) / length


def naive_loss(p1, p2, z1, z2) -> float:
    n, total = len(p1), 0.0
    for i in range(n):
        total += -0.5 * cosine(p1[i], z2[i]) - 0.5 * cosine(p2[i], z1[i])
    return total / n


def naive_best(z) -> list[list[float]]:
    found = []
    for n in range(len(z[0])):
        mean = [0.0] * len(z[0][0])
        for view in z:
            length = math.sqrt(sum(v * v for v in view[n]))
            mean = [m + v / length for m, v in zip(mean, view[n])]
        length = math.sqrt(sum(v * v for v in mean))
        found.append([m / length for m in mean])
    return found


def four(n, d):
    return [randn(n, d, seed=seed) * (1 + seed) for seed in range(4)]


@pytest.mark.parametrize("n, d", [(1, 3), (5, 2), (8, 7)])
def test_the_losses_equal_their_definitions(n, d):
    p1, p2, z1, z2 = four(n, d)
    lists = [t.tolist() for t in (p1, p2, z1, z2)]
    for stop in (True, False):
        assert float(simsiam_loss(p1, p2, z1, z2, stop)) == pytest.approx(naive_loss(*lists), rel=1e-10)
    wanted = -sum(cosine(a, b) for a, b in zip(lists[0], lists[3])) / n
    assert float(negative_cosine(p1, z2)) == pytest.approx(wanted, rel=1e-10)


def test_the_best_prediction_equals_its_definition_and_is_the_best():
    z = randn(4, 5, 3) * torch.tensor([0.1, 1.0, 5.0, 2.0], dtype=torch.float64)[:, None, None]
    best = best_prediction(z)
    torch.testing.assert_close(best, torch.tensor(naive_best(z.tolist()), dtype=torch.float64))

    def loss(p):
        return sum(negative_cosine(p, view) for view in z) / len(z)

    p = randn(5, 3, seed=9).requires_grad_()  # any start: descent on the mean cosine ends there
    for _ in range(400):
        gradient, = torch.autograd.grad(loss(p), p)
        p = (p - 2 * gradient).detach().requires_grad_()
    torch.testing.assert_close(torch.nn.functional.normalize(p.detach(), dim=1), best, rtol=0, atol=1e-4)
    assert float(loss(best)) <= min(float(loss(view)) for view in z)


# ---------------------------------------------------------------- gradients, and where they stop
def test_gradients():
    p1, p2, z1, z2 = (t.requires_grad_() for t in four(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: simsiam_loss(a, b, z1.detach(), z2.detach()), (p1, p2))
    assert torch.autograd.gradcheck(lambda *t: simsiam_loss(*t, stop=False), (p1, p2, z1, z2))


def test_the_stop_is_on_z_and_nowhere_else():
    """Bugs: the stop on p instead of z; on neither; on both."""
    views = [t.requires_grad_() for t in four(6, 4)]
    simsiam_loss(*views).backward()
    assert all(t.grad.abs().max() > 1e-4 for t in views[:2]) and all(t.grad is None for t in views[2:])
    simsiam_loss(*views, stop=False).backward()
    assert all(t.grad.abs().max() > 1e-4 for t in views)


def test_closed_forms():
    """Bugs: the sum of both directions; a view that predicts itself; lengths that count."""
    p, z = randn(6, 4), randn(6, 4, seed=1)
    assert float(simsiam_loss(p, z, z, p)) == pytest.approx(-1)  # each prediction hits the *other* view
    assert float(simsiam_loss(-p, -z, z, p)) == pytest.approx(1)
    assert float(simsiam_loss(p, z, p, z)) == pytest.approx(float(negative_cosine(p, z)))
    torch.testing.assert_close(simsiam_loss(3 * p, z, p, 5 * z), simsiam_loss(p, z, p, z))
    a, b, c, d = four(6, 4)
    torch.testing.assert_close(simsiam_loss(a, b, c, d), simsiam_loss(b, a, d, c))  # the views change places
    order = torch.randperm(6)
    assert not torch.allclose(simsiam_loss(a[order], b, c, d), simsiam_loss(a, b, c, d)), "pairs matter"


def test_without_a_predictor_the_stop_only_halves_the_gradient():
    """Why the predictor has to be there: without it both losses pull in the same direction."""
    z1, z2 = randn(6, 4), randn(6, 4, seed=1)
    found = []
    for stop in (True, False):
        a, b = z1.clone().requires_grad_(), z2.clone().requires_grad_()
        simsiam_loss(a, b, a, b, stop).backward()
        found.append((a.grad, b.grad))
    for halved, whole in zip(*found):
        torch.testing.assert_close(2 * halved, whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_cosine_is_computed_in_float32_under_autocast(dtype):
    p, z = (randn(6, 16, seed=s, dtype=torch.float32).to(dtype) for s in (0, 1))
    wanted = negative_cosine(p.float(), z.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = negative_cosine(p, z)
    assert got.dtype == torch.float32 and torch.equal(got, wanted)


# ---------------------------------------------------------------- the module
def build(kind=SimSiam, seed=0, **options):
    torch.manual_seed(seed)
    return kind(ConvNet(2, (4, 8)), 16, **{"width": 12, **options})


def batch(n=8):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.rand(
        n, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_heads_are_those_of_the_paper():
    """Bugs: a last batch norm with affine parameters, or none; batch norm or ReLU behind the predictor; no
    bottleneck.
    """
    method = build(width=16)
    assert type(method.projector[-1]).__name__ == "BatchNorm1d" and not method.projector[-1].affine
    assert all(layer.bias is None for layer in method.projector if isinstance(layer, nn.Linear))
    assert isinstance(method.predictor[-1], nn.Linear) and method.predictor[-1].bias is not None
    assert method.predictor[0].out_features == 4 and method.predictor[-1].out_features == 16
    for net, linear in ((method.projector, 2), (SimSiam(ConvNet(), 224, width=8).projector, 3)):
        assert sum(isinstance(layer, nn.Linear) for layer in net) == linear
    assert isinstance(build(predictor=False).predictor, nn.Identity)


def test_shapes_and_the_embedding():
    method = build()
    parts = method.loss(batch())
    assert parts["loss"].shape == () and -1 <= float(parts["loss"].detach()) <= 1
    assert parts["embedding"].shape == (8, 12) and not parts["embedding"].requires_grad
    torch.testing.assert_close(parts["embedding"].norm(dim=1), torch.ones(8))
    assert method.embed(images(5).images).shape == (5, 8)


def test_each_view_has_its_own_batch_statistics():
    method = build()
    a, b = batch()
    alone = method.loss((a, a))["embedding"]
    torch.testing.assert_close(method.loss((a, b))["embedding"], alone)


def test_the_predictor_has_a_learning_rate_of_its_own_that_stays():
    """Bug: the predictor's rate decays with the rest. And the official code decays every weight."""
    method = build(predictor_lr=3.0)
    body, head = method.param_groups(0.1)
    assert body["weight_decay"] == head["weight_decay"] == 0.1
    assert len(body["params"]) + len(head["params"]) == len(list(method.parameters()))
    assert {id(p) for p in head["params"]} == {id(p) for p in method.predictor.parameters()}
    assert "fixed_lr" not in body
    rates = []

    class Watched(SimSiam):
        def before_update(self):
            rates.append([group["lr"] for group in self.optimizer.param_groups])

    torch.manual_seed(0)
    watched = Watched(ConvNet(1, (4,)), 16, width=8, predictor_lr=3.0)
    before = state(watched)
    optimizers = []
    original = torch.optim.SGD.__init__

    def remember(self, *args, **kwargs):
        original(self, *args, **kwargs)
        optimizers.append(self)
        watched.optimizer = self

    torch.optim.SGD.__init__ = remember
    try:
        fit(watched, images(), steps=4, optimizer="sgd", lr=0.32, warmup=0.25, **SMALL)
    finally:
        torch.optim.SGD.__init__ = original
    peak = 0.32 * 8 / 256
    assert [r[1] for r in rates] == pytest.approx([3 * peak] * 4)
    assert rates[0][0] == pytest.approx(peak) and rates[-1][0] < 0.3 * peak
    assert not same(before, state(watched))


def test_the_network_without_predictor_can_be_trained():
    history = fit(build(predictor=False, stop=False), images(), steps=3, **SMALL)
    assert history.steps == 3 and math.isfinite(history.loss[-1])


def test_resuming_is_bit_exact(tmp_path):
    from helpers.tiny import Stop
    whole, parts = build(), build()
    fit(whole, images(), steps=6, log_every=1, **SMALL)
    fit(parts, images(), steps=6, log_every=1, out=tmp_path, watch=Stop(3), **SMALL)
    resumed = build(seed=5)
    fit(resumed, images(), steps=6, log_every=1, out=tmp_path, resume=True, **SMALL)
    assert same(state(whole), state(resumed))


# ---------------------------------------------------------------- alternating
def test_alternating_with_one_step_is_simsiam():
    torch.manual_seed(0)
    plain, alternating = build(), build(AlternatingSimSiam, every=1)
    alternating.load_state_dict({**alternating.state_dict(), **plain.state_dict()})
    alternating.copy.update(nn.Sequential(alternating.backbone, alternating.projector), 0.0)
    for method in (plain, alternating):
        fit(method, images(), steps=4, lr=1e-2, seed=3, **SMALL)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(alternating.state_dict()[name], value, msg=name)


def test_the_copy_is_renewed_every_k_steps_and_saved(tmp_path):
    from helpers.tiny import Stop
    method = build(AlternatingSimSiam, every=3)
    frozen = [p.clone() for p in method.copy.parameters()]
    views = batch()

    def step():
        optimizer.zero_grad()
        method.loss(views)["loss"].backward()
        assert all(p.grad is None for p in method.copy.parameters())
        optimizer.step()
        method.after_update(0.5)

    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    for count in range(1, 5):
        step()
        moved = any(not torch.equal(a, b) for a, b in zip(frozen, method.copy.parameters()))
        assert moved == (count >= 3), count
    whole, resumed = build(AlternatingSimSiam, every=4), build(AlternatingSimSiam, seed=5, every=4)
    fit(whole, images(), steps=7, log_every=1, **SMALL)
    fit(build(AlternatingSimSiam, every=4), images(), steps=7, log_every=1, out=tmp_path, watch=Stop(3), **SMALL)
    fit(resumed, images(), steps=7, log_every=1, out=tmp_path, resume=True, **SMALL)
    assert same(state(whole), state(resumed))


def test_targets_that_are_never_renewed_are_a_sentence():
    with pytest.raises(ValueError, match="every is 0; expected 1 .* or more steps"):
        build(AlternatingSimSiam, every=0)


# ---------------------------------------------------------------- measured on fresh views
@torch.no_grad()
def test_pairs_are_measured_in_evaluation_mode_as_they_are_defined():
    method, pictures, views = build().train(), images().images, Augment(16, scale=(0.5, 1.0))
    before, found = state(method), pair_measures(method, pictures, views, seed=3)
    assert method.training and same(before, state(method))
    assert found == pair_measures(method, pictures, views, seed=3) != pair_measures(method, pictures, views, seed=4)
    method.eval()
    z, (z1, z2) = method.project(pictures), (method.project(v) for v in two_views(pictures, views, generator(3)))
    p1, p2 = method.predictor(z1), method.predictor(z2)
    wanted = {"std": feature_std(z), "rank": effective_rank(z), "agreement": -float(negative_cosine(z1, z2)),
              "own": -float(simsiam_loss(p1, p2, z2, z1)), "loss": float(simsiam_loss(p1, p2, z1, z2))}
    assert found == pytest.approx(wanted, abs=1e-4)
    bare = pair_measures(build(predictor=False), pictures, views)
    assert bare["own"] == pytest.approx(1, abs=1e-5) and bare["loss"] == pytest.approx(-bare["agreement"], abs=1e-5)


# ---------------------------------------------------------------- the circle
def test_on_the_circle_only_stop_and_predictor_together_stay_spread():
    def spread(**options):
        """The median of nine seeds: in some runs float32's rounding, which differs between processors, decides the
        end.
        """
        ends = [simsiam_descent(simsiam_loss, seed=seed, **options)["points"][-1] for seed in range(9)]
        return sorted(map(feature_std, ends))[4]

    assert spread() > 0.8
    assert spread(stop=False) < 0.15 and spread(predictor=False) < 0.15
    first, again = (simsiam_descent(simsiam_loss, steps=4) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["points"].shape == (5, 24, 2) and first["loss"].shape == (5,)


def test_the_registry_builds_it():
    method = build_method("simsiam", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, width=8,
                          stop=False)
    assert isinstance(method, SimSiam) and not method.stop
    fit(method, images(), steps=2, **SMALL, **{k: v for k, v in method.recipe.items() if k != "batch_size"})
