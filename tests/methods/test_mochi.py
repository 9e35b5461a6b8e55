"""MoCHi: mixtures of hard negatives, against loops in plain Python, and when they begin."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.contrastive.mochi import draw_mixtures, mixtures, mochi_logits, mochi_loss
from course_lib.methods.contrastive.moco import moco_loss
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    options = {"hidden": 8, "out": 6, "queue": 24, "momentum": 0.9, "hard": 6, "pairs": 5, "with_query": 3, **options}
    return build_method("mochi", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, **options)


def setting(b=4, d=5, length=12):
    return normalize(randn(b, d)), normalize(randn(b, d, seed=1)), normalize(randn(length, d, seed=2))


def draws(b=4, hard=4, s=6, s2=3, seed=0):
    return draw_mixtures(b, hard, s, s2, torch.Generator().manual_seed(seed))


def as_float64(drawn):
    return tuple(x.double() if x.is_floating_point() else x for x in drawn)


def naive(q, k, queue, hard, drawn, temperature) -> float:
    def dot(x, y):
        return sum(v * w for v, w in zip(x, y))

    def mixed(x, y, share):
        z = [share * v + (1 - share) * w for v, w in zip(x, y)]
        return [v / math.sqrt(dot(z, z)) for v in z]

    i1, j1, a, j2, b = (x.tolist() for x in drawn)
    total = 0.0
    for r, query in enumerate(q):
        near = sorted(queue, key=lambda row: -dot(query, row))[:hard]
        negatives = list(queue)
        negatives += [mixed(near[i], near[j], share) for i, j, share in zip(i1[r], j1[r], a[r])]
        negatives += [mixed(query, near[j], share) for j, share in zip(j2[r], b[r])]
        own = math.exp(dot(query, k[r]) / temperature)
        total -= math.log(own / (own + sum(math.exp(dot(query, n) / temperature) for n in negatives)))
    return total / len(q)


@pytest.mark.parametrize("s, s2", [(6, 3), (4, 0), (0, 5), (0, 0)])
def test_the_loss_equals_its_definition(s, s2):
    q, k, queue = setting()
    drawn = as_float64(draws(s=s, s2=s2))
    got = mochi_loss(3 * q, k / 2, queue, 4, drawn, 0.2)["loss"]
    assert float(got) == pytest.approx(naive(q.tolist(), k.tolist(), queue.tolist(), 4, drawn, 0.2), rel=1e-9)
    assert mochi_logits(q, k, queue, 4, drawn).shape == (4, 1 + 12 + s + s2)
    if not s + s2:
        torch.testing.assert_close(mochi_loss(q, k, queue, 4, drawn, 0.2), moco_loss(q, k, queue, 0.2))


def test_mixtures_have_length_one_and_the_negative_dominates():
    """Bugs: mixtures left shorter than 1; b from 0.5 up, with which the query dominates."""
    q, _, queue = setting()
    drawn = draws(s=50, s2=200)
    mixed = mixtures(q, queue, 4, as_float64(drawn))
    torch.testing.assert_close(mixed.norm(dim=2), torch.ones(4, 250, dtype=torch.float64))
    i, j, a, j2, b = drawn
    assert 0 <= b.min() and b.max() < 0.5 and b.max() > 0.45 and 0 <= a.min() and a.max() > 0.9
    assert {int(x) for x in i.flatten()} == {int(x) for x in j.flatten()} == {0, 1, 2, 3}
    hardest = queue[(q @ queue.T).argsort(1, descending=True)[:, :4]]
    plain = (hardest.gather(1, j2.unsqueeze(-1).expand(-1, -1, 5)) @ q.unsqueeze(-1)).squeeze(-1)
    assert ((mixed[:, 50:] @ q.unsqueeze(-1)).squeeze(-1) >= plain - 1e-9).all(), "harder than the negative in it"


def test_gradients_are_those_of_constants_unless_asked():
    q, k, queue = setting()
    drawn = as_float64(draws())
    q.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mochi_logits(x, k, queue, 4, drawn, 0.5, True).logsumexp(1), q)
    constant = mixtures(q.detach(), queue, 4, drawn)
    wanted = torch.autograd.grad((constant @ q.unsqueeze(-1)).exp().sum(), q)[0]
    got = torch.autograd.grad(mochi_logits(q, k, queue, 4, drawn, 1.0)[:, 13:].exp().sum(), q)[0]
    torch.testing.assert_close(got, wanted)
    full = torch.autograd.grad(mochi_logits(q, k, queue, 4, drawn, 1.0, True)[:, 13:].exp().sum(), q)[0]
    assert (full - wanted).abs().max() > 0.01


def test_float32_inside_autocast():
    q, k, queue = (x.float() for x in setting())
    wanted = mochi_logits(q, k, queue, 4, draws())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mochi_logits(q, k, queue, 4, draws()), wanted)


def test_mixing_begins_later_and_nothing_mixed_is_enqueued():
    """Bugs: mixing from the first step; mixtures in the queue."""
    method = build(start=0.5)
    views = method.views(Batch(images(8).images, torch.arange(8), None), torch.Generator().manual_seed(0))
    early, late = build(start=0.5).loss(views, 0.49)["loss"], build(start=0.5).loss(views, 0.5)["loss"]
    assert late > early, "more negatives"
    before = method.queue.rows.clone()
    method.loss(views, 1.0)
    assert int(method.queue.pointer) == 8 and torch.equal(method.queue.rows[8:], before[8:])
    eval_state = state(method.eval())
    method.loss(views, 1.0)
    assert same(state(method), eval_state)


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 7, "log_every": 1, "lr": 0.01}
    whole, again = build(), build(seed=5)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(), images(), out=tmp_path / "cut", watch=Stop(4), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and int(again.queue.pointer) == 7 * 8 % 24


@pytest.mark.parametrize("wrong, says", [
    ({"hard": 25}, "hard is 25; expected 1 to 24, the length of the queue"), ({"hard": 0}, "hard is 0"),
    ({"pairs": -1}, "pairs is -1 and with_query 3; expected 0"),
    ({"start": 10}, "start is 10; expected a share of the training, 0 to 1"),
])
def test_what_cannot_be_is_a_sentence(wrong, says):
    with pytest.raises(ValueError, match=says):
        build(**wrong)
