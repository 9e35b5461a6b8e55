"""Hidden patches in a conv net: what each way of passing them does to maps and to stored statistics."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from course_lib.augment.masks import enlarge
from course_lib.evaluate import sparsity
from course_lib.evaluate.layers import StageMean
from course_lib.models.backbones import ConvNet
from lessons.exercises.week02 import masked_batch_norm


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ConvNet(widths=(4, 6, 8)).eval()


def half(count):
    visible = torch.zeros(count, 1, 4, 4, dtype=torch.bool)
    visible[:, :, ::2, ::2] = visible[:, :, 1::2, 1::2] = True
    return visible


@torch.no_grad()
def test_ways_differ_in_what_they_say(encoder):
    x, visible = torch.randn(2, 3, 32, 32), half(2)
    zero, counted, kept = (way(encoder, x, visible) for way in sparsity.WAYS.values())
    torch.testing.assert_close(zero[-1], encoder.stages(x * enlarge(visible, 32))[-1])
    for maps in (counted, kept):  # in evaluation mode statistics are not counted at all
        for one in maps:
            assert (one[~enlarge(visible, one.shape[-1]).expand_as(one)] == 0).all(), "nothing where nothing is seen"
    assert not torch.allclose(zero[0], kept[0])
    torch.testing.assert_close(counted[0], kept[0])
    assert not any(hook for layer in encoder.modules() for hook in (layer._forward_hooks, layer._forward_pre_hooks))


def test_the_first_norm_stores_the_truth_only_if_holes_are_kept(encoder):
    images = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    scales = sparsity.scales_by_way(encoder, images, half(24))
    assert list(scales) == list(sparsity.WAYS) and {len(values) for values in scales.values()} == {6}
    zero, counted, kept = (values[0] for values in scales.values())
    assert abs(kept - 1) < 0.1 and zero < 0.9 and counted < 0.9
    whole = sparsity.scales_by_way(encoder, images, torch.ones(24, 1, 4, 4, dtype=torch.bool))
    for values in whole.values():
        assert values == pytest.approx([1] * 6, abs=0.05)


def test_norms_over_all_and_over_visible_positions():
    visible = half(8)
    found = sparsity.norm_both_ways(2.0, visible, masked_batch_norm)
    here = enlarge(visible, 16)
    seen = found["found"][here]
    wanted = (seen - seen.mean()) / seen.std(correction=0)
    torch.testing.assert_close(found["over visible ones"], wanted, rtol=1e-3, atol=1e-3)
    assert abs(float(found["found"].mean()) - 1) < 0.1, "half of the positions are zeros"
    torch.testing.assert_close(found["over all positions"],
                               F.batch_norm(found["found"], None, None, training=True)[here])


def test_the_mean_of_a_stage(encoder):
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        for stage in range(3):
            maps = encoder.stages(images)[stage]
            assert torch.equal(StageMean(encoder, stage)(images), maps.mean((2, 3)))
