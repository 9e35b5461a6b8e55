"""PixPro: pairs of places by where they lie, propagation, and the loss, against loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from course_lib.augment.geometry import cell_centres, corners_of, in_view
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.dense.pixpro import consistency, pixpro_loss, propagate, relative_distances
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 3


def corners(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_places_of_views_are_where_their_pixels_came_from():
    """Bug: a mirrored view whose corners are not. The picture's red is x, its green y."""
    axis = (torch.arange(64) + 0.5) / 64
    picture = torch.stack([axis.expand(64, 64), axis[:, None].expand(64, 64), torch.zeros(64, 64)])
    picture = picture.expand(12, -1, -1, -1)
    view = Augment(16, scale=(0.2, 0.6), jitter_p=0.0, gray_p=0.0)
    got, where = view.placed(picture, torch.Generator().manual_seed(3))
    assert (where[:, 0] > where[:, 2]).any() and (where[:, 0] < where[:, 2]).any()
    seen = got[:, :2].flatten(2).mT  # (B, 256, 2): x and y of the picture
    torch.testing.assert_close(cell_centres(where, 16, 16), seen, atol=0.02, rtol=0)
    back = in_view(cell_centres(where, 16, 16), where)
    torch.testing.assert_close(back, cell_centres(corners((0, 0, 1, 1)).float(), 16, 16).expand_as(back))
    torch.testing.assert_close(got, view(picture, torch.Generator().manual_seed(3)))


def test_corners_are_shares_of_the_sides():
    found = corners_of(torch.tensor([[2, 3, 4, 5], [2, 3, 4, 5]]), 8, 16, torch.tensor([False, True]))
    torch.testing.assert_close(found, torch.tensor([[3 / 16, 1 / 4, 1 / 2, 3 / 4], [1 / 2, 1 / 4, 3 / 16, 3 / 4]]))


def naive_distance(first, second, i, j):
    """Of cell i of one view and j of another, corners as lists."""
    def centre(c, cell):
        row, column = divmod(cell, SIDE)
        return c[0] + (c[2] - c[0]) * (column + 0.5) / SIDE, c[1] + (c[3] - c[1]) * (row + 0.5) / SIDE

    diagonal = max(math.hypot(c[2] - c[0], c[3] - c[1]) / SIDE for c in (first, second))
    return math.dist(centre(first, i), centre(second, j)) / diagonal


def naive_loss(x, g, keys, first, second, threshold, gamma):
    """One direction: lists of vectors for each image."""
    def cosine(a, b):
        return sum(p * q for p, q in zip(a, b)) / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for n in range(len(x)):
        y = []
        for i in range(SIDE**2):
            shares = [max(cosine(x[n][i], x[n][j]), 0) ** gamma for j in range(SIDE**2)]
            unit = [[v / math.hypot(*row) for v in row] for row in g[n]]
            y.append([sum(s * row[d] for s, row in zip(shares, unit)) for d in range(len(unit[0]))])
        pairs = [(i, j) for i in range(SIDE**2) for j in range(SIDE**2)
                 if naive_distance(first[n], second[n], i, j) < threshold]
        total += sum(cosine(y[i], keys[n][j]) for i, j in pairs) / (len(pairs) + 1e-6)
    return -2 * total / len(x)


# the middle pair shows nothing twice
FIRST = corners((0.1, 0.2, 0.7, 0.9), (0.0, 0.0, 0.4, 0.4), (0.9, 0.1, 0.2, 0.6))
SECOND = corners((0.3, 0.1, 0.9, 0.8), (0.6, 0.6, 1.0, 1.0), (0.1, 0.2, 0.8, 0.7))


@pytest.mark.parametrize("threshold, gamma", [(0.7, 2.0), (1.2, 1.0)])
def test_the_loss_equals_its_definition(threshold, gamma):
    x1, g1, k1, x2, g2, k2 = (randn(3, 4, SIDE, SIDE, seed=s) for s in range(6))
    parts = pixpro_loss(propagate(x1, g1, gamma), propagate(x2, g2, gamma), k1, k2, FIRST, SECOND, threshold)
    rows = [m.flatten(2).mT.tolist() for m in (x1, g1, k1, x2, g2, k2)]
    want = (naive_loss(rows[0], rows[1], rows[5], FIRST.tolist(), SECOND.tolist(), threshold, gamma)
            + naive_loss(rows[3], rows[4], rows[2], SECOND.tolist(), FIRST.tolist(), threshold, gamma))
    assert float(parts["loss"]) == pytest.approx(want, rel=1e-12)


def test_gradients_flow_through_the_online_maps_only():
    x, keys = randn(2, 3, 2, 2).requires_grad_(), randn(2, 3, 2, 2, seed=1).requires_grad_()
    positive = torch.eye(4, dtype=torch.bool).expand(2, 4, 4)
    assert torch.autograd.gradcheck(lambda x: consistency(propagate(x, 2 * x, 2.0), keys.detach(), positive), x)
    consistency(propagate(x, x, 2.0), keys, positive).backward()
    assert keys.grad is None and x.grad is not None


def test_a_large_gamma_keeps_only_the_place_itself():
    maps = randn(2, 6, SIDE, SIDE)
    torch.testing.assert_close(propagate(maps, maps, 500.0), F.normalize(maps, dim=1), atol=1e-6, rtol=0)


def test_without_propagation_the_transformed_map_is_compared():
    method = build_method("pixpro", "convnet", 32, hidden=16, out=8, stage=1, gamma=None)
    some = images(4, size=32).images.float() / 255
    views = some, some.flip(0), FIRST[:1].float().expand(4, 4), SECOND[:1].float().expand(4, 4)
    torch.manual_seed(0)
    found = method.loss(views)["loss"]
    method.gamma = 2.0
    assert found != method.loss(views)["loss"], "the control: propagation changes it"
    y1, y2 = (method.transform(method.maps(view)) for view in views[:2])
    keys1, keys2 = (method.maps(view) for view in views[:2])  # the target begins as the online network
    torch.testing.assert_close(found, pixpro_loss(y1, y2, keys1, keys2, *views[2:])["loss"])


def test_a_cell_is_at_distance_0_of_itself():
    """Bug: from 26 cells on torch takes distances by a matrix product, with which it was 0.003 of a cell away."""
    where = torch.tensor([[0.3, 0.2, 0.9, 0.8]])
    assert relative_distances(where, where, 7).diagonal(dim1=1, dim2=2).max() == 0


def test_distances_in_half_precision_are_those_of_float32():
    with torch.autocast("cpu", torch.bfloat16):
        got = relative_distances(FIRST.float(), SECOND.float(), SIDE)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, relative_distances(FIRST, SECOND, SIDE).float(), atol=1e-4, rtol=1e-4)


def test_a_step_of_the_method_moves_the_target_after_the_update():
    method = build_method("pixpro", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, hidden=8, out=4)
    batch = Batch(images(6).images, torch.arange(6))
    parts = method.loss(method.views(batch, torch.Generator().manual_seed(0)))
    assert -4 <= parts["loss"].item() <= 4 and 0 <= float(parts["positives"]) <= 1
    before = method.target.module[1][0].weight.clone()
    with torch.no_grad():
        method.projector[0].weight.add_(1.0)
    method.after_update(0.0)
    torch.testing.assert_close(method.target.module[1][0].weight, before + 0.01)


@pytest.mark.parametrize("options, what", [({"stage": 5}, "stage is 5"), ({"threshold": 0}, "threshold is 0"),
                                           ({"gamma": -1.0}, "gamma is -1"), ({"momentum": 2.0}, "momentum is 2.0"),
                                           ({"augment": {"turn": 30.0}}, "got turn 30.0, shift 0.0"),
                                           ({"other": {"zoom": [0.5, 1.0]}}, "PixPro has to know where the places")])
def test_bad_settings_get_a_sentence(options, what):
    with pytest.raises(ValueError, match=what):
        build_method("pixpro", "convnet", 16, backbone_options={"depth": 2}, **options)


def test_a_vit_has_no_such_maps():
    with pytest.raises(ValueError, match="convolutional"):
        build_method("pixpro", "vit-tiny", 32)


def test_resume_is_bit_exact(tmp_path):
    def build(seed=0):
        torch.manual_seed(seed)
        return build_method("pixpro", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, hidden=8, out=4)

    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, again = build(), build(7)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
