"""Relative patch: pairs, colours and the loss against plain Python, the gap, what does not fit, and resume."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.pixels import MEAN
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.pretext.relative_patch import (
    drop_colours,
    patch_room,
    position_loss,
    project_colours,
    with_middle,
)
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import SMALL, images, resumes

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}


def build(seed=0, size=16, **options):
    torch.manual_seed(seed)
    return build_method("relative-patch", "convnet", size, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"hidden": 8, **options})


def test_the_papers_sizes():
    assert patch_room(3 * 144, None, None) == (96, 48, 7)
    assert patch_room(32, None, None) == (7, 3, 1), "a cell of 10 pixels"
    assert patch_room(9, 3, None) == (3, 0, 0)


def test_patches_lie_in_their_cells_and_move():
    method = build(size=32, colours="keep", augment=PLAIN)
    data = torch.arange(32 * 32).view(1, 1, 32, 32).remainder(251).to(torch.uint8).expand(4, 3, 32, 32)
    patches = method.views(Batch(data, torch.arange(4)), torch.Generator().manual_seed(1))
    assert patches.shape == (4, 9, 3, 7, 7)
    picture, corners = data[0, 0] / 255, set()
    for b in range(4):
        for number in range(9):
            found = [(i, j) for i in range(4) for j in range(4)
                     if torch.allclose(picture[10 * (number // 3) + i:, 10 * (number % 3) + j:][:7, :7],
                                       patches[b, number, 0], atol=1e-5)]
            assert len(found) == 1
            corners |= set(found)
    assert {i for i, _ in corners} == {j for _, j in corners} == {0, 1, 2}, "1, one pixel either way"


def test_the_pairs_are_the_middle_and_each_neighbour():
    x = randn(2, 9, 3)
    found = with_middle(x)
    for b in range(2):
        for row, k in enumerate((0, 1, 2, 3, 5, 6, 7, 8)):
            assert torch.equal(found[b, row], torch.cat([x[b, 4], x[b, k]]))


def test_dropped_colours_are_faint_noise_around_grey():
    x, noise = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(0)).double(), randn(5, 3, 6, 6)
    keep = torch.tensor([0, 1, 2, 2, 0])
    found = drop_colours(x, keep, noise)
    for b in range(5):
        values = x[b, keep[b]].flatten().tolist()
        mean = sum(values) / 36
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 36)
        for c in range(3):
            wanted = x[b, c] if c == keep[b] else MEAN + noise[b, c] * deviation / 100
            torch.testing.assert_close(found[b, c], wanted)


def test_projected_colours_have_no_green_against_magenta():
    x = randn(4, 3, 5, 5)
    found = project_colours(x)
    torch.testing.assert_close(2 * found[:, 1], found[:, 0] + found[:, 2])
    axis = [-1.0, 2.0, -1.0]
    matrix = torch.tensor([[float(i == j) - axis[i] * axis[j] / 6 for j in range(3)] for i in range(3)])
    torch.testing.assert_close(found, torch.einsum("ij,bjhw->bihw", matrix.double(), x))


def test_the_loss_equals_its_definition():
    logits = randn(3, 8, 8)
    rows = [[softmax(row) for row in one] for one in logits.tolist()]
    wanted = -sum(math.log(one[k][k]) for one in rows for k in range(8)) / 24
    parts = position_loss(logits)
    assert float(parts["loss"]) == pytest.approx(wanted, rel=1e-10)
    hits = sum(one[k].index(max(one[k])) == k for one in rows for k in range(8))
    assert float(parts["accuracy"]) == pytest.approx(hits / 24)
    assert torch.autograd.gradcheck(lambda x: position_loss(x)["loss"], logits.requires_grad_())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert position_loss(logits.float().bfloat16())["loss"].dtype == torch.float32


@pytest.mark.parametrize("colours", ["drop", "project", "keep"])
def test_all_colours_train(colours):
    assert fit(build(colours=colours), images(), steps=2, **SMALL).steps == 2


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(ValueError, match="patch is 6, which does not fit: a picture of 16 pixels has 3 x 3 cells of 5"):
        build(patch=6)
    with pytest.raises(ValueError, match="jitter is 2; expected 0 to 1: a patch of 3 pixels in a cell of 5"):
        build(patch=3, jitter=2)
    with pytest.raises(ValueError, match="image_size is 8; expected 9 pixels or more"):
        build(size=8)
    with pytest.raises(ValueError, match="colours is 'grey'; expected drop, project or keep"):
        build(colours="grey")
    for name in ("relative-patch", "jigsaw", "pirl"):
        with pytest.raises(ValueError, match="patch is 5; expected a multiple of 4, the side of the ViT's own patches"):
            build_method(name, "vit-tiny", 32, patch=5)


def test_resume_is_bit_exact(tmp_path):
    assert resumes(build, tmp_path)
