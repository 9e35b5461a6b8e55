"""GATCluster: attention, targets and the four tasks against loops in plain Python, and the two steps of training."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch, ImageSet
from course_lib.methods import build_method
from course_lib.methods.clustering.gatcluster import (
    EPS,
    attention_loss,
    balanced_target,
    entropy_loss,
    found_clusters,
    gaussian_map,
    invariance_loss,
    relation_loss,
    sharpened_target,
    usable_clusters,
)
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

N, K = 7, 3


def probabilities(seed=0, n=N, dtype=torch.float64):
    return (2 * randn(n, K, seed=seed, dtype=dtype)).softmax(1)


# ---------------------------------------------------------------- the definitions, in plain Python
def naive_map(theta, height, width, sharpness):
    row, column, delta = theta
    return [[math.exp(-((i / (height - 1) - row) ** 2 + (j / (width - 1) - column) ** 2)
                      / (2 * sharpness * delta + EPS)) for j in range(width)] for i in range(height)]


def naive_targets(p, power):
    sums = [sum(row[k] for row in p) for k in range(K)]
    rows = [[row[k] ** power / (sums[k] + EPS) for k in range(K)] for row in p]
    return [[v / (sum(row) + EPS) for v in row] for row in rows]


def bce(guess, truth):
    return -(truth * math.log(guess) + (1 - truth) * math.log(1 - guess))


def naive_relation(p, labels):
    length = [math.sqrt(sum(v * v for v in row)) + EPS for row in p]
    terms = [bce(sum(a * b for a, b in zip(p[i], p[j])) / length[i] / length[j], labels[i] == labels[j])
             for i in range(len(p)) for j in range(i + 1)]
    return sum(terms) / len(terms)


def test_attention_equals_its_definition():
    theta = randn(4, 3).sigmoid()
    wanted = torch.tensor([[naive_map(t, 4, 6, 0.07)] for t in theta.tolist()], dtype=torch.float64)
    assert torch.allclose(gaussian_map(theta, 4, 6, 0.07), wanted, rtol=1e-9)


def test_targets_equal_their_definition():
    p = probabilities()
    for power, function in ((1, balanced_target), (2, sharpened_target)):
        wanted = torch.tensor(naive_targets(p.tolist(), power), dtype=torch.float64)
        assert torch.allclose(function(p), wanted, rtol=1e-9)


def test_the_tasks_equal_their_definition():
    p, t = probabilities(), probabilities(1)
    labels = torch.tensor([0, 1, 2, 0, 1, 1, 0])
    assert float(relation_loss(p, labels)) == pytest.approx(naive_relation(p.tolist(), labels.tolist()), rel=1e-9)
    assert float(invariance_loss(p, t)) == pytest.approx(-sum(map(float, (p * t).sum(1))) / N)
    mean = [sum(row[k] for row in p.tolist()) / N for k in range(K)]
    assert float(entropy_loss(p)) == pytest.approx(sum(m * math.log(m) for m in mean))
    both = sum(bce(a, b) for x, y in zip(p.tolist(), t.tolist()) for a, b in zip(x, y)) / N / K
    assert float(attention_loss(p, t)) == pytest.approx(both)


# ---------------------------------------------------------------- attention
def test_attention_is_one_at_its_centre_and_moves_with_theta():
    first, second = gaussian_map(torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.1]]), 5, 5)
    assert first[0, 0, 4] == first.max() == 1 and second[0, 4, 0] == second.max() == 1  # row, then column
    assert first.sum() > second.sum(), "a larger third number is a wider map"


def test_the_official_slice_ties_the_column_to_the_width():
    theta = randn(6, 3).sigmoid()
    ours, official = gaussian_map(theta, 4, 4), gaussian_map(theta, 4, 4, official=True)
    assert (ours - official).abs().max() > 0.05
    tied = torch.stack([theta[:, 0], theta[:, 2], theta[:, 2]], 1)
    assert torch.equal(gaussian_map(tied, 4, 4), official)
    other = theta.clone()
    other[:, 1] = 0.5
    assert torch.equal(gaussian_map(other, 4, 4, official=True), official), "the second number is never used"


def test_no_width_is_a_point_and_no_nan():
    theta = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    found = gaussian_map(theta, 3, 3)
    assert torch.equal(found[0, 0], torch.eye(3)[1][:, None].double() * torch.eye(3)[1].double())
    found.sum().backward()
    assert theta.grad.isfinite().all()


# ---------------------------------------------------------------- targets
def test_targets_raise_small_clusters():
    p = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], dtype=torch.float64)
    t, q = balanced_target(p), sharpened_target(p)
    assert t[0].argmax() == 1, "0.4 of a small cluster counts for more than 0.6 of a large one"
    assert q[1, 0] > t[1, 0], "squares make it surer"
    for target in (t, q):
        assert torch.allclose(target.sum(1), torch.ones(4, dtype=torch.float64), atol=1e-3)


def test_clusters_of_k_means_and_the_way_out():
    points = torch.eye(3).repeat_interleave(4, 0)[torch.randperm(12)]
    found = found_clusters(points, 3, torch.Generator().manual_seed(0))
    assert all(len(found[points.argmax(1) == k].unique()) == 1 for k in range(3)) and len(found.unique()) == 3
    assert torch.equal(usable_clusters(found, 3), found)
    one = found_clusters(torch.full((12, 3), 1 / 3), 3, torch.Generator())
    assert not one.any(), "all alike: no warning of k-means, one cluster"
    alone = torch.arange(12)
    assert torch.equal(usable_clusters(one, 3), alone)
    assert torch.equal(usable_clusters(one, 3, min_ratio=0.0), alone), "an empty cluster is not used at any ratio"
    uneven = torch.tensor([0] * 11 + [1])
    assert torch.equal(usable_clusters(uneven, 2, 0.1), uneven) and torch.equal(usable_clusters(uneven, 2, 0.2), alone)


# ---------------------------------------------------------------- the tasks
def test_gradients():
    p, t, labels = probabilities(n=4), probabilities(1, 4), torch.tensor([0, 1, 0, 2])
    p = p.requires_grad_()
    for loss in (lambda p: invariance_loss(p, t), entropy_loss, lambda p: relation_loss(p, labels),
                 lambda p: attention_loss(p, t)):
        assert torch.autograd.gradcheck(loss, p)
    theta = randn(2, 3).sigmoid().requires_grad_()
    assert torch.autograd.gradcheck(lambda theta: gaussian_map(theta, 3, 4), theta)
    t = t.requires_grad_()
    (invariance_loss(p, t) + attention_loss(p, t)).backward()
    assert t.grad is None, "bug: gradient into the targets"


def test_invariance_and_entropy_want_one_hot_vectors_that_differ():
    """The label-feature theorem, at K = 3: of these four, one-hot and balanced is best."""
    def value(p):
        return 5 * float(invariance_loss(p, balanced_target(p))) + 3 * float(entropy_loss(p))

    onehot = torch.eye(3, dtype=torch.float64).repeat(4, 1)
    flat, one = torch.full_like(onehot, 1 / 3), torch.eye(3, dtype=torch.float64)[[0] * 12]
    soft = 0.7 * onehot + 0.1
    assert value(onehot) < min(value(soft), value(flat), value(one))
    assert float(invariance_loss(one, balanced_target(one))) == pytest.approx(-1, abs=1e-3), \
        "without the entropy one cluster is as good"


def test_sure_images_give_finite_losses():
    onehot = torch.eye(3)[[0, 0, 1]].requires_grad_()
    labels = torch.tensor([0, 1, 1])  # wrong about two pairs
    loss = relation_loss(onehot, labels) + attention_loss(onehot, torch.eye(3)[[1, 0, 1]]) + entropy_loss(onehot)
    loss.backward()
    assert loss.isfinite() and onehot.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_run_in_float32_inside_autocast(dtype):
    p, t, labels = probabilities(dtype=torch.float32), probabilities(1, dtype=torch.float32), torch.arange(N)
    wanted = [invariance_loss(p, t), relation_loss(p, labels), entropy_loss(p), attention_loss(p, t)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = [invariance_loss(p, t), relation_loss(p, labels), entropy_loss(p), attention_loss(p, t)]
        assert all(torch.equal(a, b) for a, b in zip(inside, wanted))
        half = p.to(dtype), t.to(dtype)
        halves = [invariance_loss(*half), relation_loss(half[0], labels), entropy_loss(half[0]), attention_loss(*half),
                  balanced_target(half[0]), gaussian_map(half[0], 4, 4)]
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in halves)


# ---------------------------------------------------------------- the module
def gat(seed=0, **options):
    torch.manual_seed(seed)
    options = {"clusters": 3, "width": 6, "pool": 20, "passes": 2, **options}
    return build_method("gatcluster", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, **options)


def step(method, data, number, n=8):
    indices = torch.arange(number * n, number * n + n) % len(data.images)
    return method.views(Batch(data.images[indices], indices), torch.Generator().manual_seed(number))


def test_a_pool_is_used_as_often_as_it_should_and_then_replaced():
    """20 images in batches of 8: two passes of two batches, the second of which takes the batch's images in."""
    method, data = gat(), images()
    method.prepare(data.images)
    first = method.pool.clone()
    made = []
    method.make_targets = lambda seed: made.append(seed)
    for number in range(9):
        before = method.pool.clone()
        views, *targets = step(method, data, number)
        assert views.shape == (8, 3, 16, 16) and [len(t) for t in targets] == [8, 8, 8]
        assert made == [1 + i for i in range(number // 4 + 1)], "targets are made anew after four batches"
        changed = (method.pool != before).flatten(1).any(1)
        assert changed.sum() == (8 if number % 4 in (2, 3) else 0)
    fresh = {bytes(image.numpy()) for image in data.images[16:32]}
    assert sum(bytes(image.numpy()) in fresh for image in method.pool) >= 8
    assert not torch.equal(method.pool, first) and method.counters.tolist() == [8, 3]


def test_targets_come_from_untransformed_images_in_evaluation_mode():
    method, data = gat(), images()
    method.prepare(data.images)
    statistics = [b.clone() for b in method.backbone.buffers()]
    step(method, data, 0)
    assert method.training and all(torch.equal(a, b) for a, b in zip(statistics, method.backbone.buffers()))
    p = method.eval().probabilities(method.pool)
    torch.testing.assert_close(method.balanced, balanced_target(p))
    torch.testing.assert_close(method.sharpened, sharpened_target(p))
    assert len(method.labels.unique()) in (3, 20)


def test_views_and_targets_belong_together():
    method, data = gat(augment={"jitter_p": 0.0, "flip": 0.0, "turn": 0.0, "shift": 0.0, "zoom": (1.0, 1.0)}), images()
    method.prepare(data.images)
    views, balanced, sharpened, labels = step(method, data, 0)
    for view, *targets in zip((views * 255).round().to(torch.uint8), balanced, sharpened, labels):
        where = (method.pool == view).flatten(1).all(1).nonzero().flatten()
        assert len(where) == 1
        for target, known in zip(targets, (method.balanced, method.sharpened, method.labels)):
            assert torch.equal(target, known[int(where)])


def test_the_loss_weighs_its_tasks():
    for weights in ({}, {"invariance": 0.0, "relation": 2.0, "entropy": 0.5, "attention": 1.0}):
        method = gat(**weights)
        method.prepare(images().images)
        parts = method.loss(step(method, images(), 0))
        used = {"invariance": 5.0, "relation": 1.0, "entropy": 3.0, "attention": 5.0, **weights}
        torch.testing.assert_close(parts["loss"], sum(w * parts[name] for name, w in used.items()))
        assert parts["views_per_image"] == 1 and parts["embedding"].shape == (8, 3) and 1 <= parts["clusters"] <= 3
        parts["loss"].backward()
        assert all(p.grad is not None for p in method.parameters()), "DDP waits for every parameter"


def test_clusters_and_attention_of_images():
    method, pictures = gat().eval(), images(20).images
    p, found, attention = method.probabilities(pictures), method.assign(pictures), method.attention(pictures)
    assert p.shape == (20, 3) and torch.allclose(p.sum(1), torch.ones(20)) and torch.equal(found, p.argmax(1))
    assert found.dtype == torch.int64 and attention.shape == (20, 1, 4, 4)
    assert 0 < attention.min() < attention.max() <= 1
    torch.testing.assert_close(method.probabilities(pictures[4:9]), p[4:9], msg="an image is on its own")
    with pytest.raises(ValueError, match=r"expected a batch \(B, 3, H, W\)"):
        method.assign(pictures[0])


def test_gradients_are_cut():
    method = gat()
    for p in method.parameters():
        p.grad = torch.full_like(p, -300.0)
    method.before_update()
    assert all((p.grad == -10).all() for p in method.parameters())


@pytest.mark.parametrize("cut", [1, 6])
def test_resume_is_bit_exact_within_a_pool_and_over_its_end(tmp_path, cut):
    """Bug: pool, targets or the place in it are in no checkpoint."""
    settings = {**SMALL, "steps": 9, "log_every": 1, "lr": 0.01}
    whole, part = gat(), gat()
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(part, images(), out=tmp_path / "cut", watch=Stop(cut), **settings)
    again = gat(seed=7)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves


def test_other_sizes_are_fitted_into_the_pool():
    method = gat()
    assert fit(method, images(size=24), steps=2, **SMALL).steps == 2 and method.pool.shape == (20, 3, 16, 16)
    assert method.pool.float().std() > 10
    fewer = gat(pool=30)
    fewer.prepare(images(12).images)
    assert len(fewer.pool.flatten(1).unique(dim=0)) == 12, "of few images each is in the pool several times"


# ---------------------------------------------------------------- sentences
@pytest.mark.parametrize("options, says", [
    ({"clusters": 1}, "clusters is 1; expected a whole number from 2 up"),
    ({"passes": 0}, "passes is 0; expected 1 or more"),
    ({"pool": 2}, "pool is 2; expected 3 or more, one image for each of 3 clusters"),
])
def test_what_cannot_be_is_a_sentence(options, says):
    with pytest.raises(ValueError, match=says):
        gat(**options)


def test_what_images_and_batches_cannot_be_is_a_sentence():
    with pytest.raises(ValueError, match="clusters is 12, but there are only 8 images"):
        fit(gat(clusters=12), ImageSet(images(8).images), steps=1, **SMALL)
    with pytest.raises(ValueError, match="batches of 8 images are larger than the pool of 6: set a larger pool"):
        fit(gat(pool=6), images(), steps=1, **SMALL)
    with pytest.raises(ValueError, match="GATCluster needs feature maps, ViT has none"):
        build_method("gatcluster", "vit-tiny", 16)
