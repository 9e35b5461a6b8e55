"""SupCon: both means against loops in plain Python, its relatives and bounds, and images without labels."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch, ImageSet
from course_lib.methods import build_method
from course_lib.methods.contrastive.simclr import nt_xent
from course_lib.methods.metric.supcon import learn_layers, same_class, supcon_loss
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, images

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("supcon", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"hidden": 8, "out": 6, **options})


def naive(z, labels, temperature, inside, first_only=False) -> float:
    """z: a list of images, each a list of views, each a list of numbers."""
    def unit(row):
        return [v / math.sqrt(sum(w * w for w in row)) for v in row]

    flat = [(i, v, unit(row)) for i, image in enumerate(z) for v, row in enumerate(image)]
    total = count = 0.0
    for i, v, row in flat:
        if first_only and v:
            continue
        count += 1
        power = {(j, w): math.exp(sum(a * b for a, b in zip(row, other)) / temperature) for j, w, other in flat
                 if (j, w) != (i, v)}
        p = [x / sum(power.values()) for (j, _), x in power.items() if labels[j] == labels[i]]
        if p:
            total -= math.log(sum(p) / len(p)) if inside else sum(map(math.log, p)) / len(p)
    return total / count


@pytest.mark.parametrize("views, temperature", [(1, 0.5), (2, 0.1), (3, 1.0)])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("first_only", [False, True])
def test_the_loss_equals_its_definition(views, temperature, inside, first_only):
    z = randn(6, views, 4) * 3
    got = supcon_loss(z, same_class(LABELS), temperature, inside, first_only)["loss"]
    assert float(got) == pytest.approx(naive(z.tolist(), LABELS.tolist(), temperature, inside, first_only), rel=1e-10)


@pytest.mark.parametrize("inside", [False, True])
def test_without_labels_it_is_nt_xent(inside):
    z = randn(5, 2, 4)
    wanted = nt_xent(z[:, 0], z[:, 1], 0.3)
    got = supcon_loss(z, None, 0.3, inside)
    torch.testing.assert_close(got["loss"], wanted["loss"])
    torch.testing.assert_close(got["accuracy"], wanted["accuracy"])


def test_inside_is_never_above_outside_and_holds_to_the_nearest_positive():
    for seed in range(5):
        z = randn(6, 2, 4, seed=seed)
        inside, outside = (supcon_loss(z, same_class(LABELS), 0.2, i)["loss"] for i in (True, False))
        assert inside < outside
    near, far, other = torch.eye(3).double()[[0, 1, 2]]
    anchor = normalize((near + 0.1 * far)[None])[0].requires_grad_()
    pulls = {}
    for inside in (True, False):
        z = torch.stack([anchor, near, far, other])[:, None]
        loss = supcon_loss(z, same_class(torch.tensor([0, 0, 0, 1])), 0.2, inside, unit_length=False)["loss"]
        pulls[inside] = -torch.autograd.grad(loss, anchor)[0]
    assert pulls[False] @ far > 3 * (pulls[True] @ far) > 0


def test_the_least_value_is_the_logarithm_of_the_positives():
    """All views of a class in one place, classes opposite: each of |P| positives gets 1 / |P|."""
    z = torch.eye(2).double()[torch.tensor([0, 0, 0, 1, 1, 1])].sub(0.5)[:, None].expand(6, 2, 2)
    for inside in (False, True):
        got = supcon_loss(z, same_class(torch.tensor([0, 0, 0, 1, 1, 1])), 0.05, inside)
        assert float(got["loss"]) == pytest.approx(math.log(5), rel=1e-6) and float(got["accuracy"]) == 1


@pytest.mark.parametrize("inside", [False, True])
def test_gradients_also_of_anchors_without_a_positive(inside):
    z = randn(5, 1, 3).requires_grad_()
    positives = same_class(torch.tensor([0, 1, 0, 2, 0]))
    assert torch.autograd.gradcheck(lambda x: supcon_loss(x, positives, 0.5, inside)["loss"], z)


def test_float32_inside_autocast():
    z, positives = randn(6, 2, 8, dtype=torch.float32), same_class(LABELS)
    for inside in (False, True):
        wanted = supcon_loss(z, positives, 0.07, inside)["loss"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(supcon_loss(z, positives, 0.07, inside)["loss"], wanted)
            assert supcon_loss(z.bfloat16(), positives, 0.07, inside)["loss"].dtype == torch.float32


def test_what_cannot_be_is_a_sentence():
    with pytest.raises(ValueError, match="SupCon learns from labels, and these images have none"):
        fit(build(), ImageSet(images().images), steps=1, **SMALL)
    with pytest.raises(ValueError, match="needs two or more, got 1"):
        supcon_loss(randn(1, 1, 4))
    with pytest.raises(ValueError, match="temperature is 0"):
        build(temperature=0)
    with pytest.raises(ValueError, match=r"z has shape \(6, 4\); expected \(N, views, D\)"):
        supcon_loss(randn(6, 4))
    for wrong in (LABELS, same_class(LABELS[:5])):
        with pytest.raises(ValueError, match=r"positives have shape .*expected \(6, 6\), such as same_class"):
            supcon_loss(randn(6, 2, 4), wrong)


def test_a_step_is_the_loss_of_both_views_and_the_labels():
    method, data = build(inside=True), images(8)
    a, b, labels = method.views(Batch(data.images, torch.arange(8), data.labels), torch.Generator().manual_seed(0))
    assert torch.equal(labels, data.labels) and not torch.equal(a, b)
    parts = method.loss((a, b, labels))
    z = parts["embedding"].view(2, 8, 6).transpose(0, 1)
    torch.testing.assert_close(parts["loss"].detach(), supcon_loss(z, same_class(labels), 0.1, True)["loss"])
    parts["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())


def test_labels_are_learned():
    data = images(24)
    data.images = data.images // 4 + (data.labels * 60).to(torch.uint8).view(-1, 1, 1, 1)  # the brighter, the higher
    method = build(augment={"jitter_p": 0.0})
    first, *_, last = fit(method, data, steps=40, log_every=1, lr=0.01, **{**SMALL, "batch_size": 24}).loss
    assert last < first - 0.3


def test_the_first_step_over_frozen_features_is_adams():
    layers, features, labels = torch.nn.Linear(3, 2), randn(6, 3).float(), LABELS
    layers.weight.data.copy_(randn(2, 3, seed=1))
    before, seen = layers.weight.detach().clone(), []

    def loss(z, told):
        seen.append(told)
        return (z.view(2, 6, 2) * told[:, None]).sum()

    losses = learn_layers(layers, features, labels, loss, steps=1, batch_size=6, lr=0.1, noise=0.0)
    order = seen[0]
    assert sorted(order.tolist()) == sorted(LABELS.tolist()) and len(losses) == 1
    slope = 2 * (features * labels[:, None]).sum(0)  # of each row of the weights
    torch.testing.assert_close(layers.weight.detach(), before - 0.1 * slope.sign())


def test_noise_makes_two_different_views_of_each_row():
    views = []
    learn_layers(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(3, 3)), torch.zeros(6, 3), LABELS,
                 lambda z, told: views.append(z.detach()) or z.sum(), steps=1, batch_size=4, noise=0.5)
    assert len(views[0]) == 8 and len(views[0].unique(dim=0)) == 8
