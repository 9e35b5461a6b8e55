"""The Poincare ball, levels of clusters, and the log-ratio loss, against loops."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.evaluate.features import embed
from course_lib.evaluate.trees import distortion, hyperbolicity
from course_lib.methods import build_method
from course_lib.methods.metric.hyperbolic import (
    in_ball,
    learn_map,
    level_negatives,
    log_ratio_loss,
    similarities,
    ward_levels,
)
from course_lib.models import poincare as ball
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")


def points(n=6, d=3, seed=0, c=1.0):
    return ball.exp0(0.8 * randn(n, d, seed=seed), c)


@pytest.mark.parametrize("c", [1.0, 0.3])
def test_the_ball_keeps_its_laws(c):
    x, y = points(c=c), points(seed=1, c=c)
    torch.testing.assert_close(ball.mobius_add(-x, ball.mobius_add(x, y, c), c), y)
    torch.testing.assert_close(ball.exp(x, ball.log(x, y, c), c), y)
    torch.testing.assert_close(ball.log0(ball.exp0(x, c), c), x)
    way = ball.mobius_add(-x, y, c).norm(dim=1)
    torch.testing.assert_close(ball.distance(x, y, c), 2 / c**0.5 * torch.atanh(c**0.5 * way))
    middle = ball.geodesic(x[0], y[0], torch.tensor([0.0, 0.5, 1.0], dtype=x.dtype), c)
    half = ball.distance(x[0], y[0], c) / 2
    torch.testing.assert_close(ball.distance(middle[1], middle, c), torch.stack([half, 0 * half, half]), atol=1e-6,
                               rtol=1e-6)
    two = ball.midpoint(torch.stack([x[0], y[0]]), c)
    torch.testing.assert_close(ball.distance(two, x[0], c), ball.distance(two, y[0], c))


@pytest.mark.parametrize("c", [1.0, 0.1])
def test_the_midpoint_of_several_points_is_the_mean_by_lorentz_factors(c):
    x = points(5, 3, c=c)
    klein = [[2 * v / (1 + c * sum(w * w for w in row)) for v in row] for row in x.tolist()]
    factors = [1 / math.sqrt(1 - c * sum(v * v for v in row)) for row in klein]
    mean = [sum(f * row[i] for f, row in zip(factors, klein)) / sum(factors) for i in range(3)]
    wanted = [v / (1 + math.sqrt(1 - c * sum(w * w for w in mean))) for v in mean]
    assert ball.midpoint(x, c).tolist() == pytest.approx(wanted)


def test_the_curvature_of_a_ball_with_a_disc_s_volume():
    assert ball.curvature_of(2) == pytest.approx(1)
    assert ball.curvature_of(1) == pytest.approx((2 / math.pi) ** 2)  # a line as long as pi
    assert ball.curvature_of(3) == pytest.approx((4 / 3) ** (2 / 3))
    for dim in (16, 128, 5000):
        radius = ball.curvature_of(dim) ** -0.5
        volume = dim / 2 * math.log(math.pi) + dim * math.log(radius) - math.lgamma(dim / 2 + 1)
        assert volume == pytest.approx(math.log(math.pi), rel=1e-6)
    with pytest.raises(ValueError, match="dim is 0"):
        ball.curvature_of(0)


def test_distances_at_the_edge_and_of_a_point_to_itself_have_gradients():
    x = torch.tensor([[0.999999, 0.0], [0.1, 0.2]], dtype=torch.float64, requires_grad=True)
    far = ball.distance(x, torch.stack([-x.detach()[0], x.detach()[1]]))
    far.sum().backward()
    assert float(far[0]) == pytest.approx(4 * math.atanh(0.999999)) and float(far[1]) < 1e-12
    assert torch.isfinite(x.grad).all()


def test_a_tree_has_delta_0_and_a_circle_has_not():
    edges = {(0, 1): 1.0, (0, 2): 2.0, (1, 3): 1.5, (1, 4): 0.5, (2, 5): 1.0}
    tree = torch.full((6, 6), math.inf).fill_diagonal_(0)
    for (a, b), length in edges.items():
        tree[a, b] = tree[b, a] = length
    for k in range(6):
        tree = torch.minimum(tree, tree[:, k, None] + tree[k])
    assert hyperbolicity(tree)[0] == pytest.approx(0, abs=1e-9)
    ring = torch.tensor([[min(abs(a - b), 8 - abs(a - b)) for b in range(8)] for a in range(8)]).float()
    assert hyperbolicity(ring)[0] == 2 and hyperbolicity(ring)[1] == 1
    assert distortion(3 * tree, tree) == pytest.approx(0, abs=1e-9) and distortion(tree**2, tree) > 0.1


LABELS = torch.tensor([[0, 0], [0, 0], [1, 0], [2, 1], [2, 1], [3, 1]])


def naive(similarity, labels, omega, weight, eps=1e-6):
    n, levels = labels.shape
    total, triples = 0.0, 0
    for j in range(n):
        for k in range(n):
            for other in range(n):
                if k == j or labels[j, 0] != labels[k, 0] or labels[j, 0] == labels[other, 0]:
                    continue
                m = next(m for m in range(levels) if labels[j, levels - 1 - m] != labels[other, levels - 1 - m])
                ratio = math.log(similarity[j, k] + eps) - math.log(similarity[j, other] + eps)
                goal = math.log(omega + eps) - math.log(omega ** (levels - m + 1) + eps)
                total, triples = total + (ratio - weight * goal) ** 2, triples + 1
    return total, triples


def test_the_loss_equals_its_definition():
    x = points()
    similar = (-ball.distance(x[:, None], x)).exp()
    positives = (LABELS[:, None, 0] == LABELS[:, 0]) & ~torch.eye(6, dtype=torch.bool)
    total, triples = log_ratio_loss(similar, positives, level_negatives(LABELS), 0.2, 0.3)
    want, count = naive(similar, LABELS, 0.2, 0.3)
    assert float(total) == pytest.approx(want, rel=1e-9) and triples == count
    half = log_ratio_loss(similar.bfloat16(), positives, level_negatives(LABELS), 0.2, 0.3)[0]
    assert half.dtype == torch.float32


def test_the_loss_has_the_right_gradient():
    x = points(6, 2)
    positives = (LABELS[:, None, 0] == LABELS[:, 0]) & ~torch.eye(6, dtype=torch.bool)

    def loss(u):
        return log_ratio_loss((-ball.distance(u[:, None], u)).exp(), positives, level_negatives(LABELS))[0]

    assert torch.autograd.gradcheck(loss, x.requires_grad_())


def test_levels_are_nested_and_as_many_as_asked():
    labels = ward_levels(randn(40, 3), (9, 4, 2))
    assert [len(labels[:, i].unique()) for i in range(3)] == [9, 4, 2]
    for fine, coarse in ((0, 1), (1, 2)):
        assert len(torch.unique(labels[:, [fine, coarse]], dim=0)) == len(labels[:, fine].unique())


def test_levels_are_as_many_as_asked_where_heights_are_equal():
    """Bug: of images that are alike all joins have one height, and all were cut or none: one cluster, not four."""
    labels = ward_levels(torch.tensor([0.0, 1.0]).repeat_interleave(6)[:, None], (4, 2))
    assert [len(labels[:, i].unique()) for i in range(2)] == [4, 2]
    assert torch.equal(labels[:, 1] == labels[0, 1], torch.arange(12) < 6)
    assert len(ward_levels(randn(3, 2), (9, 2))[:, 0].unique()) == 3, "each image is its own cluster"
    with pytest.raises(ValueError, match="a tree joins clusters of images, and there are 1"):
        build(standardized=True).tree(images(1).images)


def test_what_a_tree_of_many_images_costs_is_told(monkeypatch):
    """Bug: of 50000 images the process was killed, without a word."""
    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr("scipy.cluster.hierarchy.linkage", refuse)
    said = pytest.warns(UserWarning, match="Ward's linkage of 50000 images takes about 20 GB")
    with said, pytest.raises(MemoryError):
        ward_levels(torch.zeros(50_000, 1), (4, 2))


def build(**options):
    torch.manual_seed(0)
    return build_method("hyperbolic", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"clusters": (6, 3), "out": 4, **options})


def test_clusters_are_made_anew_in_the_next_epoch_and_held_to_their_set():
    method, some = build(), images(20)
    method.prepare(some.images)
    before = method.levels.labels.clone()
    with torch.no_grad():
        for p in method.backbone.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    batch, draw = Batch(some.images[:8], torch.arange(8), source=some.images), torch.Generator().manual_seed(0)
    method.on_epoch(0)
    method.views(batch, draw)
    assert torch.equal(method.levels.labels, before)
    method.on_epoch(1)
    parts = method.loss(method.views(batch, draw))
    assert not torch.equal(method.levels.labels, before) and torch.isfinite(parts["loss"])
    with pytest.raises(ValueError, match="another data set"):
        method.views(Batch(some.images[:8], torch.arange(8), source=some.images[:10]), draw)


def test_standardized_features_are_clustered_whatever_their_scale():
    method, some = build(standardized=True), images(20)
    features = embed(method, some).double()
    tree = method.tree(some.images)
    scaled = (features - features.mean(0)) / features.std(0).clamp(min=1e-6)
    assert torch.equal(tree, ward_levels(scaled, method.clusters))
    assert not torch.equal(tree, build().tree(some.images)), "the control: without it, large channels decide"


def test_the_release_s_radius_is_the_same_for_all():
    method = build(radius=1.0)
    radii = method.place(randn(5, 3, 16, 16).float()).norm(dim=1)
    torch.testing.assert_close(radii, torch.full_like(radii, math.tanh(1.0)), atol=1e-5, rtol=0)


def test_inner_products_are_in_float32_and_points_of_doubles_stay_doubles():
    """Bug: under autocast a matrix product in bfloat16, of whose logarithm the loss takes differences."""
    method, pictures = build(similarity="product", radius=1.0), randn(6, 3, 16, 16).float()
    x = method.place(pictures).detach().abs()  # no product is negative
    assert method.double().place(pictures.double()).dtype == torch.float64
    method.place = lambda _: x
    wanted = method.loss((pictures, LABELS))["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.loss((pictures, LABELS))["loss"], wanted)
    torch.testing.assert_close(similarities(points(), "product"), points() @ points().T)


@pytest.mark.parametrize("options, what", [
    ({"clusters": (4, 8)}, "clusters is"), ({"clusters": ()}, "clusters is"), ({"curvature": 0.0}, "curvature is 0"),
    ({"similarity": "cosine"}, "similarity is 'cosine'"), ({"every": 0}, "every is 0"),
    ({"omega": 1.5}, "omega is 1.5"), ({"radius": 0.0}, "radius is 0")])
def test_bad_settings_get_a_sentence(options, what):
    with pytest.raises(ValueError, match=what):
        build(**options)


def test_a_map_of_frozen_features_learns_and_repeats():
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    again = []
    for _ in range(2):
        torch.manual_seed(0)
        linear = torch.nn.Linear(5, 2)
        losses = learn_map(linear, features, (8, 4, 2), steps=40, batch_size=20, lr=0.05)
        again.append(losses)
    assert again[0] == again[1] and sum(losses[-5:]) < 0.8 * sum(losses[:5])  # of noise, so no more
    x, d = in_ball(linear, features, 0.5, radius=1.0)
    assert x.norm(dim=1).std() < 1e-5 and torch.allclose(d, ball.distance(x[:, None], x, 0.5))


@pytest.mark.parametrize("cut", [3, 4, 6])  # an epoch has 4 steps: within it, before a new tree, after it
def test_resume_is_bit_exact(cut, tmp_path):
    settings = {**SMALL, "steps": 8, "log_every": 1, "lr": 0.01}
    whole, again = build(), build()
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(), images(), out=tmp_path / "cut", watch=Stop(cut), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
