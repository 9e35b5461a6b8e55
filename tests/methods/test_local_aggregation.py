"""Local Aggregation: its loss against loops in plain Python, the harmless broadcast, clusters, phases and resume."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.clustering.local_aggregation import aggregation_loss, clusterings
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"depth": 2, "widths": (4, 8)}


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("local-aggregation", "convnet", 16, backbone_options=TINY,
                        **{"out": 6, "negatives": 5, "temperature": 0.2, "clusters": 3, "background": 9, "share": 0.4,
                           **options})


def batch(n=8):
    data = images()
    return Batch(data.images[:n], torch.arange(n), None, data.images)


def naive(scores, own, groups, k, eps) -> tuple[float, float]:
    total = close = 0.0
    for row, mine in zip(scores, own):
        background = sorted(range(len(row)), key=lambda j: -row[j])[:k]
        near = [j for j in background if any(a == b for a, b in zip(mine, groups[j]))]
        total -= math.log(sum(math.exp(row[j]) for j in near) / sum(math.exp(row[j]) for j in background) + eps)
        close += len(near) / len(background)
    return total / len(scores), close / len(scores)


@pytest.mark.parametrize("b, n, k, clusters", [(1, 5, 2, 2), (4, 20, 7, 3), (4, 20, 50, 3), (3, 12, 4, 12)])
def test_the_loss_equals_its_definition(b, n, k, clusters):
    scores = randn(b, n) * 2
    groups = torch.randint(clusters, (n, 3), generator=torch.Generator().manual_seed(1))
    parts = aggregation_loss(scores, groups[:b], groups, k)
    loss, close = naive(scores.tolist(), groups[:b].tolist(), groups.tolist(), k, 1e-7)
    assert float(parts["loss"]) == pytest.approx(loss, rel=1e-10)
    assert float(parts["close"]) == pytest.approx(close)


def test_gradients_also_where_no_close_row_is_in_the_background():
    scores, groups = (randn(3, 8) * 2).requires_grad_(), torch.tensor([[0], [1], [2], [0], [0], [1], [1], [2]])
    assert torch.autograd.gradcheck(lambda x: aggregation_loss(x, groups[:3], groups, 5)["loss"], scores)
    alone = aggregation_loss(scores, torch.tensor([[7], [7], [7]]), groups, 5)["loss"]
    alone.backward()
    assert float(alone.detach()) == pytest.approx(-math.log(1e-7)) and scores.grad.isfinite().all()
    huge = aggregation_loss(1000 * scores, groups[:3], groups, 5)["loss"]
    assert huge.isfinite()


def test_the_ports_broadcast_is_harmless_in_the_mean_of_logarithms():
    close, background = randn(5).exp(), 3 + randn(5, seed=1).exp()
    row_by_row = (close / background).log().mean()
    torch.testing.assert_close((close / background[:, None]).log().mean(), row_by_row)


def test_float32_inside_autocast():
    scores, groups = randn(4, 9, dtype=torch.float32), torch.arange(18).view(9, 2) % 4
    wanted = aggregation_loss(scores, groups[:4], groups, 5)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(aggregation_loss(scores, groups[:4], groups, 5)["loss"], wanted)
        assert aggregation_loss(scores.bfloat16(), groups[:4], groups, 5)["loss"].dtype == torch.float32


def test_clusterings_find_clouds_and_start_differently():
    true = torch.arange(60) % 3
    clouds = normalize(torch.eye(3, 6)[true] + 0.05 * randn(60, 6, dtype=torch.float32))
    found = clusterings(clouds, 3, 2, 0)
    assert found.shape == (60, 2) and all(len(found[true == c].unique(dim=0)) == 1 for c in range(3))
    noise = normalize(randn(80, 6, dtype=torch.float32))
    many = clusterings(noise, 8, 4, 0)
    assert len({tuple(column) for column in many.T.tolist()}) == 4
    assert torch.equal(many, clusterings(noise, 8, 4, 0))


def test_it_begins_as_npid_and_then_aggregates():
    method = build()
    method.prepare(images().images)
    given = method.views(batch(), torch.Generator().manual_seed(0))
    npid = build_method("npid", "convnet", 16, backbone_options=TINY, out=6, negatives=5, temperature=0.2)
    npid.backbone.load_state_dict(method.backbone.state_dict())
    npid.head.load_state_dict(method.head.state_dict())
    npid.prepare(images().images)
    assert torch.equal(method.loss(given, 0.39)["loss"], npid.loss(given)["loss"])
    assert same(dict(method.memory.named_buffers()), dict(npid.memory.named_buffers())) and not len(method.near)
    before = method.memory.rows
    parts = method.loss(given, 0.4)
    groups = method.near.groups
    assert groups.shape == (36, 3)
    wanted = aggregation_loss(parts["embedding"] @ before.T / 0.2, groups[:8], groups, 9)
    torch.testing.assert_close(parts["loss"].detach(), wanted["loss"])
    method.on_epoch(5)
    assert not torch.equal(method.near.groups, groups)


def test_what_cannot_be_is_a_sentence():
    for options, message in (({"clusters": 1}, "clusters is 1"), ({"share": 1.5}, "share is 1.5"),
                             ({"clusterings": 0}, "clusterings is 0"), ({"background": 2.5}, "background is 2.5"),
                             ({"negatives": 0}, "negatives is 0; expected a whole number from 1 up")):
        with pytest.raises(ValueError, match=message):
            build(**options)
    with pytest.raises(ValueError, match="clusters is 40, but there are only 36 images"):
        build(clusters=40).prepare(images().images)
    method = build()
    method.prepare(images().images)
    with pytest.raises(ValueError, match="those of another data set: 36 images, and these are 20"):
        method.prepare(images(20).images)


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 9, "log_every": 1, "lr": 0.01}
    whole, part, again = build(), build(), build(7)
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(part, images(), out=tmp_path / "cut", watch=Stop(6), **settings)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves
    assert len(whole.near) == 36
