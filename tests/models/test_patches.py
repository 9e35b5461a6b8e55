"""Painting predictions into images, with and without what the network can't know."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.pixels import MEAN, STD, standardize
from course_lib.methods.masked.beit import beit_loss
from course_lib.methods.masked.mae import mae_loss
from course_lib.methods.masked.simmim import simmim_loss
from course_lib.methods.masked.spark import spark_loss
from course_lib.models.patches import normalize_patches, paint, patchify, unpatchify
from helpers.draws import randn

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
VISIBLE = torch.tensor([[[True, False], [False, True]], [[False, False], [True, False]]])


def test_the_normalised_truth_paints_the_image_with_its_own_statistics_only():
    prediction = normalize_patches(patchify(standardize(IMAGES), 4))[0]
    torch.testing.assert_close(paint(IMAGES, prediction, VISIBLE, True), IMAGES, atol=1e-3, rtol=0)
    blind = paint(IMAGES, prediction, VISIBLE, True, true_statistics=False)
    assert (blind - IMAGES).abs().max() > 0.02
    seen = VISIBLE.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(IMAGES)
    torch.testing.assert_close(blind[seen], IMAGES[seen], atol=1e-6, rtol=0)


def test_statistics_of_the_visible_patches_equal_loops():
    prediction = 0.3 * randn(2, 4, 48, seed=1).float()
    painted = patchify(paint(IMAGES, prediction, VISIBLE, True, true_statistics=False), 4)
    patches = patchify(standardize(IMAGES), 4)
    for b in range(2):
        shown = [patches[b, n] for n in range(4) if VISIBLE[b].flatten()[n]]
        mean = sum(float(p.mean()) for p in shown) / len(shown)
        deviation = (sum(float(p.var()) for p in shown) / len(shown)) ** 0.5
        for n in range(4):
            if not VISIBLE[b].flatten()[n]:
                wanted = ((prediction[b, n] * deviation + mean) * STD + MEAN).clamp(0, 1)
                torch.testing.assert_close(painted[b, n], wanted, atol=1e-4, rtol=0)


def test_nothing_of_a_hidden_patch_gets_into_the_picture_without_the_leak():
    prediction = randn(2, 4, 48, seed=2).float()
    seen = VISIBLE.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    other = torch.where(seen, IMAGES, 1 - IMAGES)
    for leak in (False, True):
        a, b = (paint(x, prediction, VISIBLE, True, true_statistics=leak) for x in (IMAGES, other))
        assert torch.allclose(a, b, atol=1e-6) is not leak


@pytest.mark.parametrize("true_statistics", [True, False])
def test_plain_targets_know_no_statistics(true_statistics):
    prediction = randn(2, 4, 48, seed=3).float()
    painted = paint(IMAGES, prediction, VISIBLE, False, true_statistics)
    drawn = unpatchify(prediction, 4).mul(STD).add(MEAN).clamp(0, 1)
    hidden = ~VISIBLE.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand_as(IMAGES)
    torch.testing.assert_close(painted[hidden], drawn[hidden])


@pytest.mark.parametrize("loss", [spark_loss, mae_loss, simmim_loss, beit_loss])
def test_a_loss_with_nothing_hidden_is_a_sentence(loss):
    """Bug: a loss of 0 or NaN, on which a run goes on."""
    first = {mae_loss: (2, 4, 48), beit_loss: (2, 4, 3)}.get(loss, (2, 3, 8, 8))
    second = torch.zeros(2, 4, dtype=torch.long) if loss is beit_loss else randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match="no patch is hidden in the whole batch"):
        loss(randn(*first), second, torch.ones(2, 2, 2, dtype=torch.bool))
    assert loss(randn(*first, seed=1), second, VISIBLE) > 0
