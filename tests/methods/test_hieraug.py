"""Hierarchical augmentation: the loss against plain loops, which stage sees what, and how far gradients go."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.contrastive.hieraug import hierarchical_loss, hierarchy
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = Augment(16, scale=(0.5, 1.0), turn=20.0, shift=0.2, jitter=(0.4, 0.4, 0.4, 0.5), jitter_p=1.0)


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("hieraug", "convnet", 16, backbone_options={"depth": 3, "widths": (4, 8, 8)},
                        **{"hidden": 8, "out": 6, "told": 3, "augment": ALL, **options})


def seen(method, n=8, seed=0):
    return method.views(Batch(images(n).images, torch.arange(n), None), torch.Generator().manual_seed(seed))


def naive(pairs, temperature) -> list[float]:
    """Each stage's loss: every view picks its partner among all others."""
    def cosine(x, y):
        return sum(v * w for v, w in zip(x, y)) / math.sqrt(sum(v * v for v in x) * sum(w * w for w in y))

    losses = []
    for a, b in pairs:
        rows, total = a + b, 0.0
        for i, anchor in enumerate(rows):
            power = {j: math.exp(cosine(anchor, row) / temperature) for j, row in enumerate(rows) if j != i}
            total -= math.log(power[(i + len(a)) % len(rows)] / sum(power.values()))
        losses.append(total / len(rows))
    return losses


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_equals_its_definition(temperature):
    pairs = [(randn(4, d, seed=d), randn(4, d, seed=9 + d)) for d in (3, 5, 4)]
    parts = hierarchical_loss(pairs, temperature)
    wanted = naive([(a.tolist(), b.tolist()) for a, b in pairs], temperature)
    assert [float(parts[f"stage_{s}"]) for s in (1, 2, 3)] == pytest.approx(wanted, rel=1e-9)
    assert float(parts["loss"]) == pytest.approx(sum(wanted), rel=1e-9)


def test_gradients():
    pairs = [randn(3, d, seed=d + s).requires_grad_() for d in (3, 4) for s in (0, 7)]
    assert torch.autograd.gradcheck(lambda a, b, c, d: hierarchical_loss([(a, b), (c, d)], 0.5)["loss"], pairs)


def test_a_kind_more_at_each_stage():
    first, second, third = hierarchy(ALL, 3)
    assert first.jitter_p == 0 and first.gray_p == 0 and first.turn == 0 and first.shift == 0
    assert first.scale == ALL.scale
    assert second.turn == ALL.turn and second.shift == ALL.shift and second.jitter_p == 0
    assert third == ALL
    colour, _, last = hierarchy(ALL, 3, ("colour", "place", "common"))
    assert colour.jitter_p == 1.0 and colour.turn == 0 and colour.scale == (1.0, 1.0) and last == ALL
    assert hierarchy(ALL, 2) == [first, ALL] and hierarchy(ALL, 5) == [first, second, third]


def test_each_stage_has_views_of_its_own_and_the_control_all_kinds_at_all():
    """Bug: one pair of views for all stages."""
    def shift(view):  # of the mean colour of each image, which a crop moves little and the jitter a lot
        return (view[0].mean((2, 3)) - source).abs().mean()

    source = images(8).images.float().mean((2, 3)) / 255
    pairs = seen(build())
    assert len(pairs) == 3 and not torch.equal(pairs[0][0][1], pairs[1][0][1]), "crops of their own"
    assert max(shift(pairs[0][0]), shift(pairs[0][1])) < min(shift(pairs[2][0]), shift(pairs[2][1]))
    assert build(hierarchical=False).augments == [ALL] * 3
    assert build(hierarchical=False).state_dict().keys() == build().state_dict().keys()


def test_a_shallow_loss_reaches_its_own_stages_only():
    for s in (1, 2, 3):
        method = build()
        method.loss(seen(method))[f"stage_{s}"].backward()
        moved = [any(p.grad is not None and p.grad.abs().max() > 0 for p in block.parameters())
                 for block in method.backbone.blocks]
        assert moved == [True] * s + [False] * (3 - s)


def test_each_head_is_told_where_its_own_views_lie():
    """Bug: one view's parameters for both."""
    method = build()
    pairs = seen(method)
    corners = torch.cat([pairs[1][0][1], pairs[1][1][1]])
    features = randn(16, 8).float()
    expanded = method.expand(features, corners)
    assert expanded.shape == (16, 11) and torch.equal(expanded[:, :8], features)
    torch.testing.assert_close(expanded[8:, 8:], method.told(pairs[1][1][1]))
    assert (expanded[:8, 8:] - expanded[8:, 8:]).abs().max() > 1e-2
    before = method.loss(pairs)["stage_2"]
    (a, _), b = pairs[1]
    pairs[1] = ((a, b[1]), b)
    assert (method.loss(pairs)["stage_2"] - before).abs() > 1e-6
    assert build(told=0).expand(features, corners) is features


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 7, "log_every": 1, "lr": 0.01}
    whole, again = build(), build(seed=5)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(), images(), out=tmp_path / "cut", watch=Stop(4), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))


def test_what_cannot_be_is_a_sentence():
    with pytest.raises(ValueError, match="order is colour, place; expected common, place, colour, in any order"):
        build(order=("colour", "place"))
    with pytest.raises(ValueError, match="HierAug needs feature maps, ViT has none; use a convolutional backbone"):
        build_method("hieraug", "vit-tiny", 16, backbone_options={"dim": 12, "depth": 1, "heads": 2})
