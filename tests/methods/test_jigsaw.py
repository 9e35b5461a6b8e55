"""Jigsaw: the cut and the permutations against plain Python, no gap and gap, and what does not fit."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.pretext.jigsaw import cut, in_order, jigsaw_loss, patch_side, permutation_set, random_offsets
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import images, resumes

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("jigsaw", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"hidden": 8, **options})


def batch(n=8):
    return Batch(images(n).images, torch.arange(n), None)


@pytest.mark.parametrize("size, grid, patch", [(16, 2, 6), (16, 3, 4), (9, 3, 3), (20, 4, 1)])
def test_patches_are_pixels_of_their_cells(size, grid, patch):
    x, cell = randn(2, 3, size, size), size // grid
    offsets = random_offsets(2, grid, cell - patch, torch.Generator().manual_seed(1))
    found = cut(x, grid, patch, offsets)
    assert found.shape == (2, grid * grid, 3, patch, patch) and int(offsets.max()) <= cell - patch
    for b in range(2):
        for number in range(grid * grid):
            top = (number // grid) * cell + int(offsets[b, number, 0])
            left = (number % grid) * cell + int(offsets[b, number, 1])
            assert torch.equal(found[b, number], x[b, :, top : top + patch, left : left + patch])


def test_patches_without_a_gap_are_the_whole_picture():
    x = randn(1, 3, 8, 8)
    pieces = cut(x, 2, 4, torch.zeros(1, 4, 2, dtype=torch.int64))[0]
    whole = torch.cat([torch.cat([pieces[0], pieces[1]], 2), torch.cat([pieces[2], pieces[3]], 2)], 1)
    assert torch.equal(whole, x[0])
    order = torch.tensor([[2, 0, 3, 1]])
    assert torch.equal(in_order(pieces[None], order)[0, 0], pieces[2])
    assert torch.equal(in_order(in_order(pieces[None], order), order.argsort(1))[0], pieces)


def test_offsets_reach_both_ends_and_differ():
    offsets = random_offsets(200, 2, 3, torch.Generator().manual_seed(0))
    assert offsets.unique().tolist() == [0, 1, 2, 3]
    assert len({tuple(map(tuple, each)) for each in offsets.tolist()}) > 150


def naive_greedy(pieces: int, count: int, first: tuple[int, ...]) -> list[int]:
    """The sums of distances of each choice to those before it."""
    import itertools

    pool = list(itertools.permutations(range(pieces)))
    chosen, sums = [first], []
    while len(chosen) < count:
        best = max((p for p in pool if p not in chosen),
                   key=lambda p: sum(a != b for other in chosen for a, b in zip(p, other)))
        sums.append(sum(a != b for other in chosen for a, b in zip(best, other)))
        chosen.append(best)
    return sums


@pytest.mark.parametrize("pieces, count", [(4, 24), (4, 5), (5, 12)])
def test_permutations_are_greedily_far_apart(pieces, count):
    found = permutation_set(pieces, count).tolist()
    assert len({tuple(p) for p in found}) == count and all(sorted(p) == list(range(pieces)) for p in found)
    for place, wanted in enumerate(naive_greedy(pieces, count, tuple(found[0])), 1):
        here = sum(a != b for other in found[:place] for a, b in zip(found[place], other))
        if place < 4:  # later, ties are broken otherwise and the ways part
            assert here == wanted
    assert torch.equal(permutation_set(pieces, count), torch.tensor(found)), "fixed"


def test_of_nine_pieces_the_permutations_are_farther_apart_than_drawn_ones():
    def mean_distance(p):
        return float((p[:, None] != p).sum(2).double().sum() / (len(p) * (len(p) - 1)))

    drawn = torch.rand(30, 9, generator=torch.Generator().manual_seed(0)).argsort(1)
    assert mean_distance(permutation_set(9, 30)) > mean_distance(drawn) + 0.2


def test_the_loss_equals_its_definition():
    logits, which = randn(5, 7), torch.tensor([0, 6, 2, 2, 1])
    rows = [softmax(row) for row in logits.tolist()]
    wanted = -sum(math.log(row[i]) for row, i in zip(rows, which.tolist())) / 5
    parts = jigsaw_loss(logits, which)
    assert float(parts["loss"]) == pytest.approx(wanted, rel=1e-10)
    hits = sum(row.index(max(row)) == i for row, i in zip(rows, which.tolist()))
    assert float(parts["accuracy"]) == pytest.approx(hits / 5)
    assert torch.autograd.gradcheck(lambda x: jigsaw_loss(x, which)["loss"], logits.requires_grad_())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert jigsaw_loss(logits.float().bfloat16(), which)["loss"].dtype == torch.float32


def test_the_label_is_the_order_of_the_patches():
    method = build(augment={"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "gray_p": 0.0}, patch=8)
    patches, which = method.views(batch(), torch.Generator().manual_seed(0))
    plain = cut(images(8).images / 255, 2, 8, torch.zeros(8, 4, 2, dtype=torch.int64))
    torch.testing.assert_close(patches, in_order(plain, method.permutations[which]), atol=1e-5, rtol=0)
    assert len(which.unique()) > 3


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(ValueError, match="permutations is 25; expected 2 to 24: 4 pieces have 24 orders"):
        build(permutations=25)
    with pytest.raises(ValueError, match="permutations is 60000; expected 2 to 50,000: 9 pieces have 362,880 orders"):
        build(grid=3, permutations=60000)
    with pytest.raises(ValueError, match="patch is 9, which does not fit: a picture of 16 pixels in a grid of 2 has"):
        build(patch=9)
    for grid in (1, 9):
        with pytest.raises(ValueError, match=f"grid is {grid}; expected 2 to 8, cells along a side of 16 pixels"):
            build(grid=grid)
    assert patch_side(255, 3, None) == 64


def test_resume_is_bit_exact(tmp_path):
    assert resumes(build, tmp_path)
