"""DeepCluster: whitening, uniform epochs and the loss against plain Python, what is renewed when, and resume."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_lib.augment.colour import sobel
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.clustering.deepcluster import (
    cluster_loss,
    clusters_of,
    mutual_information,
    uniform_over,
    whitened,
)
from course_lib.train.loop import fit
from golden.arrays import arrays
from helpers.draws import generator, randn
from helpers.naive import softmax
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("deepcluster", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"clusters": 4, **options})


def batch(n=8, data=None, source=True):
    data = images() if data is None else data
    return Batch(data.images[:n], torch.arange(n), None, data.images if source else None)


# ---------------------------------------------------------------- the pure functions
def test_whitening_equals_its_definition():
    x = (randn(40, 6) @ randn(6, 6, seed=1) + 5).numpy()
    centred = x - x.mean(0)
    variance, axes = np.linalg.eigh(centred.T @ centred / 40)
    wanted = []
    for row in centred:
        parts = [row @ axes[:, k] / math.sqrt(variance[k]) for k in (5, 4, 3)]
        wanted.append([v / math.sqrt(sum(u * u for u in parts)) for v in parts])
    found, wanted = whitened(torch.from_numpy(x), 3), torch.tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(found @ found.T, wanted @ wanted.T)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(40).double())


def test_a_constant_component_is_no_noise():
    x = torch.cat([randn(30, 2), torch.full((30, 3), 7.0)], 1)
    found = whitened(x, 5)
    assert bool(found.isfinite().all()) and int((found.abs().amax(0) > 1e-6).sum()) == 2
    assert not whitened(torch.ones(5, 3)).any()
    with pytest.raises(ValueError, match="1 rows and 4 components; expected two rows or more"):
        whitened(torch.ones(1, 3), 4)


def test_whitening_is_in_float32_inside_autocast():
    x = randn(30, 5, dtype=torch.float32)
    wanted = whitened(x, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(whitened(x, 3), wanted) and whitened(x.bfloat16(), 3).dtype == torch.float32


@pytest.mark.parametrize("sizes", [(50, 3, 0, 7), (5, 5), (1, 30, 2), (9,)])
def test_an_epoch_is_uniform_over_the_clusters_that_are_not_empty(sizes):
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])
    found = uniform_over(labels, len(sizes), generator())
    counts, full = labels[found].bincount(minlength=len(sizes)), sum(n > 0 for n in sizes)
    assert len(found) == len(labels) and int(counts.max()) <= len(labels) // full + 1
    assert all((count > 0) == (n > 0) for count, n in zip(counts.tolist(), sizes))
    assert int(counts[counts > 0].min()) > len(labels) / full - full - 1
    for k, n in enumerate(sizes):
        if n > len(labels) // full + 1:  # a large cluster's images come at most once
            assert len(found[labels[found] == k].unique()) == int(counts[k])


def test_the_official_epoch_is_as_uniform():
    golden = arrays("deepcluster.npz")
    sizes = golden["unif_lists_sizes"].tolist()
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])
    assert torch.equal(labels[golden["unif_indexes_seed0"]].bincount(minlength=4), golden["unif_counts_per_cluster"])
    official = golden["unif_counts_per_cluster"]
    ours = labels[uniform_over(labels, 4, generator())].bincount(minlength=4)
    assert int(official.max()) == 21 and int(ours.max()) == 21 and int((ours - official).abs().max()) <= 3


def test_the_loss_equals_its_definition():
    logits, labels = randn(5, 7), torch.tensor([0, 6, 2, 2, 1])
    rows = [softmax(row) for row in logits.tolist()]
    parts = cluster_loss(logits, labels)
    assert float(parts["loss"]) == pytest.approx(
        -sum(math.log(row[i]) for row, i in zip(rows, labels.tolist())) / 5, rel=1e-10)
    hits = sum(row.index(max(row)) == i for row, i in zip(rows, labels.tolist()))
    assert float(parts["accuracy"]) == pytest.approx(hits / 5)
    assert torch.autograd.gradcheck(lambda x: cluster_loss(x, labels)["loss"], logits.requires_grad_())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cluster_loss(logits.float().bfloat16(), labels)["loss"].dtype == torch.float32


def test_clusters_are_found_again_whatever_they_are_called():
    centres = torch.eye(4).double().repeat_interleave(15, 0)
    found = clusters_of(centres + 0.01 * randn(60, 4), 4, 4, seed=3)
    truth = torch.arange(4).repeat_interleave(15)
    assert mutual_information(found, truth) == pytest.approx(1.0)
    assert mutual_information(truth, 3 - truth) == pytest.approx(1.0) and \
        mutual_information(truth, truth.roll(7)) < 0.8


def test_sobel_equals_its_definition():
    x = randn(1, 3, 5, 4)
    found, grey = sobel(x)[0], [[float(x[0, :, i, j].mean()) for j in range(4)] for i in range(5)]
    weights = ((1, 0, -1), (2, 0, -2), (1, 0, -1))
    for i in range(5):
        for j in range(4):
            near = {(a, b): grey[i + a - 1][j + b - 1] if 0 <= i + a - 1 < 5 and 0 <= j + b - 1 < 4 else 0.0
                    for a in range(3) for b in range(3)}
            right = sum(weights[a][b] * near[a, b] for a in range(3) for b in range(3))
            down = sum(weights[b][a] * near[a, b] for a in range(3) for b in range(3))
            assert found[:, i, j].tolist() == pytest.approx([right, down], abs=1e-12)


# ---------------------------------------------------------------- the module
def test_labels_order_and_head_are_new_in_every_epoch():
    method, data = build(), images(32)
    seen, heads = [], []

    def look(history):
        seen.append(method.memory.labels.clone())
        heads.append(method.head.weight.detach().clone())

    fit(method, data, steps=8, watch=look, log_every=1, **SMALL)  # 4 steps an epoch
    assert int(method.rounds) == 2 and torch.equal(seen[0], seen[3])
    assert float((heads[4] - heads[3]).abs().max()) > 0.005, "drawn anew"
    assert 0 <= float(method.settled) <= 1


@pytest.mark.parametrize("every, rounds", [(1, 4), (2, 2), (5, 1)])
def test_labels_are_found_every_so_many_epochs(every, rounds):
    method = build(every=every)
    fit(method, images(16), steps=8, **SMALL)
    assert int(method.rounds) == rounds


def test_without_reset_the_head_stays_and_without_uniform_the_order():
    method = build(reset=False, uniform=False)
    before = method.head.weight.detach().clone()
    method.views(batch(), generator())
    assert torch.equal(method.head.weight, before) and torch.equal(method.memory.order, torch.arange(36))


def test_the_views_are_those_images_that_the_order_names_with_their_labels():
    method, data = build(augment=PLAIN), images()
    views, labels = method.views(batch(), generator())
    chosen = method.memory.order[:8]
    torch.testing.assert_close(views, data.images[chosen] / 255, atol=1e-5, rtol=0)
    assert torch.equal(labels, method.memory.labels[chosen])


def test_edges_know_no_colour():
    method, x = build(edges=True).eval(), torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(method.embed(x), method.embed(x[:, [2, 0, 1]]))
    assert not torch.allclose(build().eval().embed(x), build().eval().embed(x[:, [2, 0, 1]]))


def test_what_cannot_be_is_a_sentence():
    with pytest.raises(ValueError, match="clusters is 1; expected a whole number from 2 up"):
        build(clusters=1)
    for name in ("every", "components"):
        with pytest.raises(ValueError, match=f"{name} is 0; expected a whole number from 1 up"):
            build(**{name: 0})
    with pytest.raises(ValueError, match="this batch does not hold the set that it is from"):
        build().views(batch(source=False), generator())
    method = build()
    method.prepare(images().images)
    method.views(batch(), generator())
    with pytest.raises(ValueError, match="the labels are those of another data set: 36 images, and these are 20"):
        method.prepare(images(20).images)


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 9, "log_every": 1, "lr": 0.01}
    for stop in (3, 4, 6):  # within an epoch of 4 steps, and at its end
        whole, part, again = build(), build(), build(7)
        history = fit(whole, images(), out=tmp_path / f"whole{stop}", **settings)
        fit(part, images(), out=tmp_path / f"cut{stop}", watch=Stop(stop), **settings)
        resumed = fit(again, images(), out=tmp_path / f"cut{stop}", resume=True, **settings)
        assert same(state(whole), state(again)) and resumed.curves == history.curves
