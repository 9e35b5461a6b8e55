"""RUC: clean sets, targets and losses against loops in plain Python, what the module keeps, and what cannot be."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.data.images import Batch, ImageSet
from course_lib.methods import build_method
from course_lib.methods.clustering.ruc import (
    agreeing,
    confident,
    mix,
    mixed_losses,
    ramp,
    refined_targets,
    relabel_threshold,
    sharpen,
    smoothed_loss,
)
from course_lib.train.checkpoint import load_method
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import SMALL, Stop, images, same, state

TINY = {"depth": 2, "widths": (4, 8)}


def method(seed=0, **options):
    torch.manual_seed(seed)
    given = {"clusters": 3, "neighbours": 6, "threshold": 0.4, **options}
    return build_method("ruc", "convnet", 16, backbone_options=TINY, **given)


def probabilities(n, k, seed=0):
    return randn(n, k, seed=seed).softmax(1)


# ---------------------------------------------------------------- the definitions, in plain Python
def test_clean_images_are_those_of_the_definition():
    z, labels = randn(20, 3), torch.randint(0, 4, (20,), generator=torch.Generator().manual_seed(1))
    for k in (1, 5, 20):
        wanted = []
        for i in range(20):
            near = sorted(range(20), key=lambda j: -float(z[i] @ z[j]))[:k]
            counts = [sum(int(labels[j]) == c for j in near) for c in range(4)]
            wanted.append(counts.index(max(counts)) == int(labels[i]))
        assert agreeing(z, labels, k, 4).tolist() == wanted
    logits = 3 * randn(20, 4, seed=2)
    assert confident(logits, 0.7).tolist() == [max(softmax(row)) >= 0.7 for row in logits.tolist()]


def test_targets_equal_their_definition():
    peer, labels, weight = probabilities(6, 4), torch.tensor([0, 1, 2, 3, 0, 1]), torch.linspace(0, 1, 6).double()
    found = refined_targets(labels, peer, weight)
    for i in range(6):
        w = float(weight[i])
        mixed = [(1 - w) * (k == int(labels[i])) + w * float(peer[i, k]) for k in range(4)]
        power = [v**2 for v in mixed]
        assert found[i].tolist() == pytest.approx([v / sum(power) for v in power], abs=1e-9)
    assert torch.allclose(found[0], torch.eye(4).double()[0], atol=1e-9), "without confidence the label itself"
    assert torch.allclose(sharpen(peer, 1.0), peer)


def test_losses_equal_their_definitions():
    logits, targets, clean = randn(7, 4), probabilities(7, 4, seed=1), torch.tensor([1, 0, 1, 1, 0, 0, 1]).bool()
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    entropy, error = mixed_losses(logits, targets, clean)
    p = [softmax(row) for row in logits.tolist()]
    yes, no = [i for i in range(7) if clean[i]], [i for i in range(7) if not clean[i]]
    assert float(entropy) == pytest.approx(-sum(float(targets[i, k]) * math.log(p[i][k]) for i in yes
                                                for k in range(4)) / 4)
    assert float(error) == pytest.approx(sum((p[i][k] - float(targets[i, k])) ** 2 for i in no for k in range(4)) / 12)
    wanted = -sum((0.5 if k == int(labels[i]) else 0.5 / 3) * math.log(p[i][k]) for i in yes for k in range(4)) / 4
    assert float(smoothed_loss(logits, labels, clean, 0.5)) == pytest.approx(wanted)


def test_a_batch_without_clean_or_without_unclean_images_is_finite():
    logits, targets, labels = randn(3, 4).requires_grad_(), probabilities(3, 4), torch.tensor([0, 1, 2])
    none = torch.zeros(3, dtype=torch.bool)
    for clean in (none, ~none):
        total = sum(mixed_losses(logits, targets, clean)) + smoothed_loss(logits, labels, clean)
        total.backward()
        assert total.isfinite() and logits.grad.isfinite().all()
    assert float(mixed_losses(logits, targets, none)[0]) == 0 == float(mixed_losses(logits, targets, ~none)[1])


def test_gradients():
    logits, targets, clean = randn(5, 3).requires_grad_(), probabilities(5, 3), torch.tensor([1, 0, 1, 0, 1]).bool()
    labels = torch.tensor([0, 1, 2, 0, 1])
    assert torch.autograd.gradcheck(lambda x: mixed_losses(x, targets, clean), logits)
    assert torch.autograd.gradcheck(lambda x: smoothed_loss(x, labels, clean, 0.3), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_run_in_float32_inside_autocast(dtype):
    logits, targets = (30 * randn(6, 4, dtype=torch.float32)).to(dtype), probabilities(6, 4).float()
    clean, labels = torch.arange(6) % 2 == 0, torch.arange(6) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [*mixed_losses(logits, targets, clean), smoothed_loss(logits, labels, clean)]
        found.append(sharpen(targets.to(dtype)))
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_choices_and_targets_of_half_precision_are_those_of_its_numbers(dtype):
    logits, labels, weight = (3 * randn(400, 4)).to(dtype), torch.arange(400) % 4, torch.rand(400)
    peer = logits.float().softmax(1).to(dtype)
    assert torch.equal(confident(logits, 0.7), confident(logits.float(), 0.7))
    assert torch.equal(refined_targets(labels, peer, weight), refined_targets(labels, peer.float(), weight))


def test_schedules():
    assert [ramp(p) for p in (0.0, 0.05, 0.5, 1.0)] == [0.1, 0.1, 0.5, 1.0]
    assert [relabel_threshold(p, 0.9, 0.02) for p in (0.0, 0.19, 0.2, 0.99, 1.0)] == pytest.approx(
        [0.9, 0.9, 0.92, 0.98, 0.98])
    assert relabel_threshold(0.7) == 0.99


def test_mixup_is_of_inputs_and_targets_alike_and_keeps_the_larger_share():
    x = torch.arange(6.0).view(3, 2)
    assert torch.allclose(mix(x, 0.75, torch.tensor([2, 0, 1])), 0.75 * x + 0.25 * x[[2, 0, 1]])
    ruc, data, shares = method(), images(), []
    ruc.prepare(data.images)
    for seed in range(300):
        views = ruc.views(Batch(data.images[:4], torch.arange(4), source=data.images),
                          torch.Generator().manual_seed(seed))
        shares += views["share"].tolist()
    mean, low = sum(shares) / len(shares), min(shares)
    # of max(l, 1 - l), l from Beta(4, 4): 1/2 + 1 / (4^4 * 4 * B(4, 4)), and B(4, 4) = 1/140
    assert low >= 0.5 and mean == pytest.approx(0.6367, abs=0.01)
    assert views["order"].sort(1).values.tolist() == [list(range(8))] * 2


# ---------------------------------------------------------------- the module
def test_labels_and_clean_images_are_chosen_once():
    ruc, data = method(), images()
    logits, features = 4 * randn(36, 3), randn(36, 5)
    ruc.use_labels(logits, features)
    sure, agree = confident(logits, 0.4), agreeing(torch.nn.functional.normalize(features - features.mean(0)),
                                                   logits.argmax(1), 6, 3)
    assert torch.equal(ruc.memory.labels, logits.argmax(1)) and torch.equal(ruc.memory.clean, sure & agree)
    before = state(ruc)
    ruc.prepare(data.images)
    assert same(before, state(ruc)), "what is known stays"
    for selection, wanted in (("confidence", sure), ("neighbours", agree)):
        other = method(selection=selection)
        other.use_labels(logits, features)
        assert torch.equal(other.memory.clean, wanted)


def test_networks_differ_in_their_heads_only_and_learn_both():
    ruc = method()
    assert same(ruc.backbone.state_dict(), ruc.peer[0].state_dict())
    assert not torch.equal(ruc.head.weight, ruc.peer[1].weight)
    before = state(ruc)
    fit(ruc, images(), steps=2, **SMALL)
    after = state(ruc)
    assert all(not torch.equal(before[key], after[key]) for key in before if key.endswith("weight")
               and not key.startswith("memory"))


def test_confidences_of_an_epoch_weigh_in_the_next():
    """And the peer's count: the refined target of one network is pulled by the other's confidence."""
    ruc = method()
    ruc.use_labels(4 * randn(36, 3), randn(36, 5))
    plain = [probabilities(4, 3).float(), probabilities(4, 3, seed=1).float()]
    index = torch.tensor([3, 30, 7, 9])
    ruc.remember(index, plain, 0.0)
    assert torch.equal(ruc.memory.confidence[index], torch.stack([p.amax(1) for p in plain], 1))
    assert not ruc.memory.weight.any()
    ruc.on_epoch(0)
    assert not ruc.memory.weight.any()
    ruc.on_epoch(1)
    assert ruc.memory.weight.amin() == 0 and torch.equal(ruc.memory.weight.amax(0), torch.ones(2))
    ruc.memory.clean[index] = True
    predicted = {"plain": plain, "weak": plain, "weak2": plain}
    first, second = ruc.targets(predicted, index)
    labels = ruc.memory.labels[index]
    assert torch.allclose(first, refined_targets(labels, plain[1], ruc.memory.weight[index, 1]))
    assert torch.allclose(second, refined_targets(labels, plain[0], ruc.memory.weight[index, 0]))
    ruc.memory.clean[index] = False
    first, second = ruc.targets(predicted, index)
    assert torch.equal(first, second) and torch.allclose(first, sharpen((plain[0] + plain[1]) / 2), atol=1e-6)


def test_what_a_network_is_sure_of_turns_clean_with_its_label():
    ruc = method(relabel=0.9)
    ruc.use_labels(torch.tensor([[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0]]).repeat(12, 1), randn(36, 5))
    ruc.memory.clean[:] = False
    ruc.memory.clean[2], ruc.memory.labels[2] = True, 1  # a clean one keeps its label
    before = ruc.memory.labels.clone()
    sure, unsure = [0.02, 0.03, 0.95], [0.3, 0.3, 0.4]
    ruc.remember(torch.arange(3), [torch.tensor([sure, unsure, unsure]), torch.tensor([unsure, unsure, sure])], 0.0)
    assert ruc.memory.clean[:3].tolist() == [True, False, True] and not ruc.memory.clean[3:].any()
    assert ruc.memory.labels[0] == 2 and torch.equal(ruc.memory.labels[1:], before[1:])


def test_evaluation_changes_nothing():
    ruc, data = method(relabel=0.3).eval(), images()
    ruc.use_labels(4 * randn(36, 3), randn(36, 5))
    views = ruc.views(Batch(data.images[:8], torch.arange(8), source=data.images), torch.Generator().manual_seed(0))
    before = state(ruc)
    ruc.loss(views)
    assert same(before, state(ruc))


def test_predictions_are_the_mean_of_both():
    ruc, x = method().eval(), images().images[:5]
    one = ruc.head(ruc.embed(x)).softmax(1)
    assert torch.allclose(2 * ruc.logits(x).exp() - one, ruc.networks[1](standardize(x)).softmax(1), atol=1e-5)


@pytest.mark.parametrize("stop", [3, 6])
def test_a_resumed_run_is_the_same_run(tmp_path, stop):
    whole = method(relabel=0.5)
    history = fit(whole, images(), steps=8, log_every=1, **SMALL)  # 4 steps an epoch
    stopped = fit(method(relabel=0.5), images(), steps=8, log_every=1, out=tmp_path, watch=Stop(stop), **SMALL)
    assert stopped.interrupted
    resumed = method(seed=5, relabel=0.5)
    again = fit(resumed, images(), steps=8, log_every=1, out=tmp_path, resume=True, **SMALL)
    assert same(state(whole), state(resumed)) and again.curves == history.curves
    assert whole.memory.weight.any() and torch.equal(load_method(tmp_path).memory.labels, whole.memory.labels)


# ---------------------------------------------------------------- what cannot be
@pytest.mark.parametrize("options, says", [
    (dict(clusters=1), "clusters is 1"),
    (dict(selection="metric"), "selection is 'metric'; expected one of confidence"),
    (dict(smoothing=2), "smoothing is 2; expected a number from 0 to 1")])
def test_options_that_cannot_be_are_sentences(options, says):
    with pytest.raises(ValueError, match=says):
        method(**options)


def test_labels_that_cannot_be_mended_are_sentences():
    features = randn(36, 5)
    with pytest.raises(ValueError, match="put all 36 images into one cluster"):
        method().use_labels(torch.tensor([[9.0, 0, 0]]).repeat(36, 1), features)
    with pytest.raises(ValueError, match="has 4 clusters and this method 3: give it clusters=4"):
        method().use_labels(randn(36, 4), features)
    with pytest.raises(ValueError, match="finds no clean image among 36: lower threshold"):
        method(threshold=1.0).use_labels(randn(36, 3), features)
    with pytest.warns(UserWarning, match="leave 1 of 3 clusters without an image .first: 2."):
        method().use_labels(torch.tensor([[9.0, 0, 0], [0, 9.0, 0]]).repeat(18, 1), features)
    with pytest.raises(ValueError, match="clusters is 40, but there are only 36 images"):
        fit(method(clusters=40), images(), steps=1, **SMALL)
    flat = ImageSet(torch.zeros(16, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="into one cluster"), pytest.warns(Warning):
        fit(method(), flat, steps=1, **SMALL)
    with pytest.raises(ValueError, match="labels_from='out/scan' has only been named"):
        fit(method(labels_from="out/scan"), images(), steps=1, **SMALL)


def test_labels_of_another_set_are_a_sentence():
    ruc = method()
    ruc.use_labels(4 * randn(36, 3), randn(36, 5))
    with pytest.raises(ValueError, match="the labels are those of another data set: 36 images, and these are 20"):
        fit(ruc, images(n=20), steps=1, **SMALL)
