"""SCAN: both losses against loops in plain Python, the neighbours, the two steps in one run, and what cannot be."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.clustering.scan import scan_loss, self_label_loss
from course_lib.methods.clustering.shared import PerImage, directions, nearest_rows, soft_kmeans, through
from course_lib.train.checkpoint import CheckpointError, load_method
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import SMALL, Stop, images, same, state

TINY = {"depth": 2, "widths": (4, 8)}


# ---------------------------------------------------------------- the definitions, in plain Python
def naive_scan(anchors: list[list[float]], neighbours: list[list[float]]) -> tuple[float, float]:
    """consistency, entropy of the mean."""
    p, q = [softmax(row) for row in anchors], [softmax(row) for row in neighbours]
    consistency = -sum(math.log(sum(u * v for u, v in zip(a, b))) for a, b in zip(p, q)) / len(p)
    mean = [sum(row[k] for row in p) / len(p) for k in range(len(p[0]))]
    return consistency, -sum(m * math.log(m) for m in mean)


def naive_self_label(weak, strong, threshold: float, balance: bool) -> float:
    chosen = []
    for w, s in zip(weak, strong):
        p = softmax(w)
        if max(p) > threshold:
            label = p.index(max(p))
            chosen.append((label, -math.log(softmax(s)[label])))
    labels = [label for label, _ in chosen]
    weights = [len(labels) / labels.count(label) if balance else 1.0 for label in labels]
    return sum(w * loss for w, (_, loss) in zip(weights, chosen)) / sum(weights)


@pytest.mark.parametrize("n, k", [(1, 2), (6, 5), (9, 3)])
def test_the_clustering_loss_equals_its_definition(n, k):
    anchors, neighbours = randn(n, k), randn(n, k, seed=1)
    consistency, entropy = naive_scan(anchors.tolist(), neighbours.tolist())
    for weight in (0.0, 2.0, 5.0):
        parts = scan_loss(anchors, neighbours, weight)
        assert float(parts["loss"]) == pytest.approx(consistency - weight * entropy, rel=1e-10)
        assert float(parts["entropy"]) == pytest.approx(entropy, rel=1e-10)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("balance", [True, False])
def test_the_self_label_loss_equals_its_definition(threshold, balance):
    weak, strong = randn(12, 4) * 3, randn(12, 4, seed=1)
    wanted = naive_self_label(weak.tolist(), strong.tolist(), threshold, balance)
    assert float(self_label_loss(weak, strong, threshold, balance)) == pytest.approx(wanted, rel=1e-10)


def test_gradients():
    anchors, neighbours = randn(4, 3).requires_grad_(), randn(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: scan_loss(a, b)["loss"], (anchors, neighbours))
    weak = (3 * randn(6, 3, seed=2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: self_label_loss(weak, s, 0.6), randn(6, 3, seed=3).requires_grad_())
    self_label_loss(weak, anchors.repeat(2, 1)[:6], 0.6).backward()
    assert weak.grad is None, "labels are constants"


def test_of_a_constant_prediction_one_cluster_is_best_below_a_weight_of_one():
    """L = -log |p|^2 - lambda H(p): 0 for one cluster, (1 - lambda) log K for all alike."""
    one, all_alike = torch.tensor([[50.0, 0, 0, 0]] * 6).double(), torch.zeros(6, 4).double()
    for weight in (0.5, 2.0):
        assert float(scan_loss(one, one, weight)["loss"]) == pytest.approx(0.0, abs=1e-12)
        assert float(scan_loss(all_alike, all_alike, weight)["loss"]) == pytest.approx((1 - weight) * math.log(4))


def test_opposite_certainties_keep_a_gradient():
    """Bug: log of a similarity that has underflowed to 0, which clamped has no gradient and else is infinite."""
    anchors = torch.tensor([[2000.0, 0.0], [0.0, 1.0]]).requires_grad_()
    parts = scan_loss(anchors, torch.tensor([[0.0, 2000.0], [0.0, 1.0]]))
    parts["loss"].backward()
    assert parts["loss"].isfinite() and anchors.grad.isfinite().all() and anchors.grad[0].abs().max() > 0.1


def test_no_confident_image_is_a_loss_of_zero_with_a_gradient():
    strong = randn(5, 3).requires_grad_()
    loss = self_label_loss(torch.zeros(5, 3).double(), strong)
    loss.backward()
    assert float(loss.detach()) == 0.0 and not strong.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_run_in_float32_inside_autocast(dtype):
    anchors, neighbours = (30 * randn(8, 4, seed=s, dtype=torch.float32).to(dtype) for s in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts, labels = scan_loss(anchors, neighbours), self_label_loss(anchors, neighbours)
    assert parts["loss"].dtype == labels.dtype == torch.float32 and parts["loss"].isfinite() and labels.isfinite()
    assert torch.equal(parts["loss"], scan_loss(anchors.float(), neighbours.float())["loss"])


# ---------------------------------------------------------------- neighbours and rows of images
def test_neighbours_are_the_nearest_with_and_without_the_image_itself():
    z = directions(randn(30, 4))
    order = (z @ z.T).argsort(1, descending=True)
    assert torch.equal(nearest_rows(z, 5), order[:, :5]) and torch.equal(order[:, 0], torch.arange(30))
    assert torch.equal(nearest_rows(z, 5, itself=False), order[:, 1:6])
    assert torch.equal(nearest_rows(z, 3, itself=False, rows=torch.tensor([7, 2])), order[[7, 2], 1:4])


def test_kmeans_gives_probabilities_of_clouds():
    centres = torch.eye(3, 6).double() * 9
    true = torch.arange(60) % 3
    logits = soft_kmeans(centres[true] + 0.1 * randn(60, 6), 3)
    found = logits.argmax(1)
    assert torch.allclose(logits.exp().sum(1), torch.ones(60).double())
    assert all(len(found[true == c].unique()) == 1 for c in range(3)) and len(found.unique()) == 3


class Rows(PerImage):
    a: torch.Tensor
    b: torch.Tensor


def test_rows_of_images_come_back_in_their_own_size():
    memory, other = Rows(), Rows()
    memory.fill(a=torch.arange(5), b=torch.rand(5, 2))
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.a, memory.a) and other.a.dtype == torch.int64 and torch.equal(other.b, memory.b)
    memory.check(5, "the rows")
    with pytest.raises(ValueError, match="the rows are those of another data set: 5 images, and these are 6"):
        memory.check(6, "the rows")
    with pytest.raises(ValueError, match="are not known yet"):
        Rows().check(6, "the rows")


# ---------------------------------------------------------------- the module
def method(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("scan", "convnet", 16, backbone_options=TINY, **{"clusters": 3, "neighbours": 4, **options})


def batch(n=8, source=None):
    data = images()
    return Batch(data.images[:n], torch.arange(n), data.labels[:n], data.images if source is None else source)


def test_the_pairs_of_a_step_are_images_and_their_neighbours():
    scan, data = method(), images()
    scan.prepare(data.images)
    near = scan.memory.neighbours
    assert near.shape == (36, 5) and torch.equal(near[:, 0], torch.arange(36)), "the image itself is the first"
    wanted = nearest_rows(directions(through(scan, scan.embed, data.images)), 5)
    assert torch.equal(near, wanted) and scan.training
    scan.augment = scan.plain  # so that pixels can be compared
    seen = [set() for _ in range(8)]
    for draw in range(60):
        views = scan.views(batch(), torch.Generator().manual_seed(draw))
        assert torch.equal((views["strong"] * 255).round().byte(), data.images[:8])
        for i, view in enumerate((views["neighbour"] * 255).round().byte()):
            seen[i].add(next(j for j in range(36) if torch.equal(data.images[j], view)))
    assert [s == set(near[i].tolist()) for i, s in enumerate(seen)] == [True] * 8, "drawn from all of them"


def test_the_self_label_step_begins_in_the_middle_and_the_parts_keep_their_names():
    scan, seen = method(self_label=0.5, threshold=0.4), []
    inner = scan.views

    def views(*args):
        found = inner(*args)
        seen.append("plain" in found)
        return found

    scan.views = views
    history = fit(scan, images(), steps=8, log_every=1, **SMALL)
    assert seen == [False] * 4 + [True] * 4
    assert set(history.curves) == {"loss", "consistency", "entropy", "confident"}
    assert all(len(curve) == 8 for curve in history.curves.values())
    assert bool(scan.labelling) and not method(self_label=1.0).labelling and method(self_label=0.0).labels_itself


def test_the_loss_is_that_of_the_views():
    scan = method().eval()
    scan.prepare(images().images)
    views = scan.views(batch(), torch.Generator().manual_seed(0))
    logits = [scan.logits(views[name]) for name in ("strong", "neighbour")]
    assert torch.allclose(scan.loss(views)["loss"], scan_loss(*logits)["loss"], atol=1e-5)
    assert scan.logits(images().images[:4]).shape == (4, 3) and scan.embed(images().images[:4]).shape == (4, 8)
    scan.labels_itself, scan.threshold = True, 0.3
    views = scan.views(batch(), torch.Generator().manual_seed(0))
    wanted = self_label_loss(scan.logits(views["plain"]), scan.logits(views["strong"]), 0.3)
    assert torch.allclose(scan.loss(views)["loss"], wanted, atol=1e-5)


def test_a_new_schedule_begins_with_the_clustering_step_and_keeps_the_neighbours():
    scan = method(threshold=0.4)
    fit(scan, images(), steps=4, **SMALL)
    kept = scan.memory.neighbours.clone()
    assert scan.labels_itself
    scan.prepare(images().images)
    assert not scan.labels_itself and not scan.labelling and torch.equal(scan.memory.neighbours, kept)


@pytest.mark.parametrize("stop", [2, 6])
def test_a_resumed_run_is_the_same_run(tmp_path, stop):
    """In either step; neighbours and the step are in the checkpoint, the images come from the batches."""
    whole = method(threshold=0.4)
    history = fit(whole, images(), steps=8, log_every=1, **SMALL)
    stopped = fit(method(threshold=0.4), images(), steps=8, log_every=1, out=tmp_path, watch=Stop(stop), **SMALL)
    assert stopped.interrupted
    resumed = method(seed=5, threshold=0.4)
    again = fit(resumed, images(), steps=8, log_every=1, out=tmp_path, resume=True, **SMALL)
    assert same(state(whole), state(resumed)) and again.curves == history.curves
    loaded = load_method(tmp_path)
    assert loaded.labels_itself and torch.equal(loaded.memory.neighbours, whole.memory.neighbours)
    with pytest.raises(CheckpointError):
        fit(method(threshold=0.4), images(n=40), steps=8, out=tmp_path, resume=True, **SMALL)


def test_streamed_images_give_the_same_run():
    one, other = method(), method()
    a = fit(one, images(), steps=3, log_every=1, stream=False, **SMALL)
    b = fit(other, images(), steps=3, log_every=1, stream=True, **SMALL)
    assert a.curves == b.curves and same(state(one), state(other))


def test_the_head_may_learn_faster():
    groups = method(head_lr=10.0).param_groups(0.1)
    assert [group.get("lr_scale", 1.0) for group in groups] == [1.0, 1.0, 10.0, 10.0]


# ---------------------------------------------------------------- what cannot be
@pytest.mark.parametrize("options, says", [
    (dict(clusters=1), "clusters is 1; expected a whole number from 2 up"), (dict(clusters=2.5), "clusters is 2.5"),
    (dict(neighbours=0), "neighbours is 0; expected a whole number from 1 up"),
    (dict(threshold=1.5), "threshold is 1.5; expected a number from 0 to 1"),
    (dict(self_label=-1), "self_label is -1; expected a number from 0 to 1")])
def test_options_that_cannot_be_are_sentences(options, says):
    with pytest.raises(ValueError, match=says):
        method(**options)


def test_more_clusters_than_images_and_neighbours_of_another_set_are_sentences():
    with pytest.raises(ValueError, match="clusters is 40, but there are only 36 images"):
        fit(method(clusters=40), images(), steps=1, **SMALL)
    scan = method()
    scan.prepare(images().images)
    with pytest.raises(ValueError, match="the neighbours are those of another data set: 36 images, and these are 20"):
        fit(scan, images(n=20), steps=1, **SMALL)
    with pytest.raises(ValueError, match="the neighbours are those of another data set"):
        scan.views(batch(source=images(n=20).images), torch.Generator())
    for wrong in (torch.zeros(9, 3, dtype=torch.long), torch.full((36, 3), 36), torch.full((36, 3), -1)):
        with pytest.raises(ValueError, match="the neighbours are of another data set.*each of 36 images"):
            method().use_neighbours(wrong, 36)
    with pytest.raises(ValueError, match="are not known yet"):
        method().views(batch(), torch.Generator())
    with pytest.raises(ValueError, match="does not hold the set"):
        scan.views(Batch(images().images[:4], torch.arange(4)), torch.Generator())


def test_a_pretext_that_is_only_named_is_a_sentence():
    with pytest.raises(ValueError, match="pretext='out/simclr' has only been named"):
        fit(method(pretext="out/simclr"), images(), steps=1, **SMALL)
