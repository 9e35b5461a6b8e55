"""Rotation: the turns against plain Python, the loss against its definition, the module, and resume."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.pretext.rotation import four_turns, rotation_loss
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import SMALL, images, resumes

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("rotation", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, **options)


def test_a_quarter_moves_each_pixel_to_a_pixel():
    x, side = randn(2, 3, 5, 5), 5
    turned, quarters = four_turns(x)
    assert turned.shape == (8, 3, 5, 5) and quarters.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for b in range(2):
        for i in range(side):
            for j in range(side):
                for k, (row, column) in enumerate(((i, j), (side - 1 - j, i), (side - 1 - i, side - 1 - j),
                                                   (j, side - 1 - i))):
                    assert torch.equal(turned[2 * k + b, :, row, column], x[b, :, i, j])


def test_a_mirror_left_and_right_commutes_with_the_label_and_upside_down_does_not():
    x = randn(1, 1, 4, 4)
    turned = four_turns(x)[0]
    assert torch.equal(x.flip(2), turned[2:3].flip(3)), "upside down is half a turn of a mirror image"


def test_the_loss_equals_its_definition():
    logits, quarters = randn(8, 4), torch.arange(4).repeat_interleave(2)
    rows = [softmax(row) for row in logits.tolist()]
    wanted = sum(sum(-math.log(rows[2 * k + b][k]) for k in range(4)) / 4 for b in range(2)) / 2
    parts = rotation_loss(logits, quarters)
    assert float(parts["loss"]) == pytest.approx(wanted, rel=1e-10)
    hits = sum(row.index(max(row)) == k for row, k in zip(rows, quarters.tolist()))
    assert float(parts["accuracy"]) == pytest.approx(hits / 8)
    assert torch.autograd.gradcheck(lambda x: rotation_loss(x, quarters)["loss"], logits.requires_grad_())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert rotation_loss(logits.float().bfloat16(), quarters)["loss"].dtype == torch.float32


def test_the_views_are_all_four_turns_of_one_view():
    views, quarters = build().views(Batch(images(6).images, torch.arange(6)), torch.Generator().manual_seed(0))
    assert views.shape == (24, 3, 16, 16) and quarters.bincount().tolist() == [6, 6, 6, 6]
    assert torch.equal(views[6:12].rot90(-1, (2, 3)), views[:6])


def test_pictures_that_are_not_square_are_a_sentence():
    with pytest.raises(ValueError, match=r"images have shape \(2, 3, 8, 6\); expected square ones"):
        four_turns(torch.zeros(2, 3, 8, 6))


def test_it_learns_which_way_is_up():
    """Pictures whose upper half is bright: told after a few steps; random ones: by chance."""
    data = images(64)
    data.images[:, :, :8] = data.images[:, :, :8] // 2 + 128
    data.images[:, :, 8:] = data.images[:, :, 8:] // 2
    method = build(augment={"scale": (1.0, 1.0), "ratio": (1.0, 1.0)})
    history = fit(method, data, steps=60, lr=0.01, **{**SMALL, "batch_size": 16})
    assert history.curves["accuracy"][-1] > 0.9


def test_resume_is_bit_exact(tmp_path):
    assert resumes(build, tmp_path)
