"""AMDIM: the loss against loops in plain Python, its pairs and source cells, the views' one flip, maps, the module."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.pixels import to_float
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.contrastive.moco import info_nce
from course_lib.methods.information.amdim import (
    Embedding,
    drawn_cells,
    feature_map_loss,
    flipped_once,
    nce,
    pairs_of,
    prediction_loss,
    tanh_clip,
)
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, name="amdim", **options):
    torch.manual_seed(seed)
    return build_method(name, "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, **options)


# ---------------------------------------------------------------- the loss, in plain Python
def naive(sources, targets, clip, weight) -> tuple[float, float]:
    """Sources (N, d) and targets (N, d, L) as lists."""
    n, d, places = len(sources), len(sources[0]), len(targets[0][0])
    s = [[[sum(a * targets[j][k][p] for k, a in enumerate(sources[i])) / math.sqrt(d) for p in range(places)]
          for j in range(n)] for i in range(n)]
    reg = weight * sum(v * v for row in s for cell in row for v in cell) / (n * n * places)

    def bent(v):
        return clip * math.tanh(v / clip) if clip < math.inf else v

    total = 0.0
    for i in range(n):
        rivals = sum(math.exp(bent(v)) for j in range(n) if j != i for v in s[i][j])
        for v in s[i][i]:
            total -= math.log(math.exp(bent(v)) / (math.exp(bent(v)) + rivals))
    return total / (n * places), reg


@pytest.mark.parametrize("n, d, side, clip, weight", [(2, 3, 1, 20.0, 0.05), (4, 3, 2, 5.0, 0.05), (5, 8, 3, 2.0, 0.3),
                                                      (3, 4, 2, math.inf, 0.0)])
def test_the_loss_equals_its_definition(n, d, side, clip, weight):
    sources, targets = randn(n, d) * 3, randn(n, d, side, side, seed=1) * 3
    got = prediction_loss(sources, targets, clip, weight)
    wanted = naive(sources.tolist(), targets.flatten(2).tolist(), clip, weight)
    assert [float(part) for part in got] == pytest.approx(wanted, rel=1e-10)


def test_a_pair_is_the_mean_of_both_directions_and_pairs_are_added():
    first, second = ([randn(4, 6, side, side, seed=10 * view + side) for side in (1, 2, 3)] for view in (0, 1))
    draws, pairs = torch.rand(3, 2, 4), pairs_of("01,02,11", 3)
    parts = feature_map_loss(first, second, draws, pairs, 10.0)
    total = 0.0
    for number, (source, target) in enumerate(pairs):
        there = prediction_loss(drawn_cells(first[source], draws[number, 0]), second[target], 10.0)
        back = prediction_loss(drawn_cells(second[source], draws[number, 1]), first[target], 10.0)
        torch.testing.assert_close(parts[f"{source}{target}"], (there[0] + back[0]) / 2)
        total = total + (sum(there) + sum(back)) / 2
    torch.testing.assert_close(parts["loss"], total)
    one_way = feature_map_loss(first, second, draws, ((1, 1),), 10.0, both=False)
    there = prediction_loss(drawn_cells(first[1], draws[0, 0]), second[1], 10.0)
    torch.testing.assert_close(one_way["loss"], sum(there))


def test_one_place_no_clip_and_no_regulariser_are_infonce():
    q, k = randn(5, 4), randn(5, 4, seed=1)
    logits = q @ k.T / 2  # sqrt(4)
    rolled = torch.stack([row.roll(-i) for i, row in enumerate(logits)])  # the own key first
    got = prediction_loss(q, k[:, :, None, None], math.inf, 0.0)
    torch.testing.assert_close(got[0], info_nce(rolled)["loss"])
    assert got[1] == 0


def test_the_own_images_other_places_are_not_rivals():
    """Bug: a log-sum-exp over all places; nine equal places of the own image would then leave log 9."""
    sure = 50 * torch.eye(3)
    assert prediction_loss(sure, sure[:, :, None, None].expand(3, 3, 3, 3), math.inf)[0] < 1e-6
    own = torch.eye(3, dtype=torch.bool)
    assert float(nce(torch.full((3, 3), 7.0), own, ~own)) == pytest.approx(math.log(3))


def test_the_regulariser_sees_scores_before_the_clip():
    """Bug: the clip before the regulariser, which then never exceeds weight * clip^2."""
    sources = 100 * randn(3, 4)
    _, reg = prediction_loss(sources, randn(3, 4, 2, 2, seed=1), 5.0, 1.0)
    assert reg > 25
    assert tanh_clip(torch.tensor([-1e4, 0.0, 1e4]), 5.0).tolist() == [-5, 0, 5]


def test_scores_do_not_grow_with_the_width():
    """Bug: d in place of sqrt(d), or neither: random vectors of any width have scores of variance 1."""
    for d in (16, 4096):
        _, reg = prediction_loss(randn(40, d), randn(40, d, 1, 1, seed=1), 20.0, 1.0)
        assert float(reg) == pytest.approx(1, abs=0.15)


def test_gradients():
    sources, targets = randn(3, 2).requires_grad_(), randn(3, 2, 2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: prediction_loss(s, t, 3.0, 0.1), (sources, targets))


def test_large_scores_are_finite():
    sources, targets = (1e4 * randn(4, 3)).requires_grad_(), 1e4 * randn(4, 3, 2, 2, seed=1)
    loss, _ = prediction_loss(sources, targets, math.inf)
    loss.backward()
    assert loss.isfinite() and sources.grad.isfinite().all()


def test_float32_inside_autocast():
    first, second = ([randn(4, 8, side, side, seed=view, dtype=torch.float32) for side in (1, 2)] for view in (0, 1))
    draws = torch.rand(1, 2, 4)
    wanted = feature_map_loss(first, second, draws, ((0, 1),))["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(feature_map_loss(first, second, draws, ((0, 1),))["loss"], wanted)
        half = feature_map_loss([m.bfloat16() for m in first], [m.bfloat16() for m in second], draws, ((0, 1),))
    assert half["loss"].dtype == torch.float32


# ---------------------------------------------------------------- pairs, cells, views
def test_pairs_are_read_as_in_bolts():
    assert pairs_of("01, 02, 11", 3) == ((0, 1), (0, 2), (1, 1))
    for wrong in ("1t5", "03", "0", "01;02", "0r", 11, ""):
        with pytest.raises(ValueError, match="expected pairs of digits, source and target.*there are 1 maps"):
            pairs_of(wrong, 1)


def test_a_draw_chooses_one_cell_of_each_image():
    maps = torch.arange(2 * 3 * 4).view(2, 3, 2, 2)
    assert torch.equal(drawn_cells(maps, torch.tensor([0.0, 0.99])), torch.stack([maps[0, :, 0, 0], maps[1, :, 1, 1]]))
    method = build()
    draws = method.views(Batch(images(8).images, torch.arange(8), None), torch.Generator().manual_seed(0))[2]
    assert draws.shape == (3, 2, 8) and len(draws.unique()) == 48


def test_both_views_share_one_flip():
    """Bug: a flip drawn for each view."""
    plain = Augment(16, scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter_p=0.0, gray_p=0.0)
    pictures = to_float(images(40).images)
    a, b = flipped_once(pictures, plain, torch.Generator().manual_seed(0), plain)
    assert torch.equal(a, b)
    flipped = [not torch.allclose(x, y, atol=1e-5) for x, y in zip(a, pictures)]
    assert 10 < sum(flipped) < 30
    torch.testing.assert_close(a[flipped.index(True)], pictures[flipped.index(True)].flip(2))


# ---------------------------------------------------------------- the module
def test_maps_are_the_image_and_the_last_two_maps():
    method = build()
    assert [tuple(m.shape) for m in method.maps(torch.rand(3, 3, 16, 16))] == [(3, 8, 1, 1), (3, 8, 4, 4), (3, 8, 8, 8)]
    torch.manual_seed(0)
    paper = build_method("amdim", "amdim-net", 32, backbone_options={"width": 4, "dim": 16})
    assert [m.shape[2] for m in paper.maps(torch.rand(3, 3, 32, 32))] == [1, 5, 7]
    assert not any("bn" in name or "norm" in name for name, _ in paper.backbone.named_modules())
    assert paper.embed(torch.rand(2, 3, 32, 32)).shape == (2, 16)


def test_an_embedding_starts_as_a_near_identity():
    torch.manual_seed(0)
    embedding, maps = Embedding(4, 6).eval(), torch.rand(2, 4, 3, 3)
    given = embedding(maps) - embedding.shortcut.bias[:, None, None]
    assert (given[:, :4] - maps).abs().max() < 0.1 and given[:, 4:].abs().max() < 0.1


def test_loss_and_gradients_of_the_module():
    method = build()
    a, b, draws = method.views(Batch(images(8).images, torch.arange(8), None), torch.Generator().manual_seed(0))
    parts = method.loss((a, b, draws))
    again = feature_map_loss(method.maps(a), method.maps(b), draws, ((0, 1), (0, 2), (1, 1)), 20.0, 0.05)
    torch.testing.assert_close(parts["loss"], again["loss"])
    assert {"01", "02", "11", "regulariser"} <= set(parts) and parts["embedding"].shape == (8, 8)
    parts["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(ValueError, match="AMDIM needs feature maps, ViT has none; use a convolutional backbone"):
        build_method("amdim", "vit-tiny", 16)
    with pytest.raises(ValueError, match="there are 2 maps"):
        build_method("amdim", "convnet", 16, backbone_options={"depth": 1})
    with pytest.raises(ValueError, match="clip is 0"):
        build(clip=0)
    with pytest.raises(ValueError, match="AMDIM compares images .* needs two or more, got 1"):
        method = build()
        method.loss(method.views(Batch(images(1).images, torch.arange(1), None), torch.Generator()))


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, again = build(), build(seed=7)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))


# ---------------------------------------------------------------- YADIM
def test_yadim_compares_last_maps():
    method = build(name="yadim")
    a, b, draws = method.views(Batch(images(6).images, torch.arange(6), None), torch.Generator().manual_seed(0))
    parts = method.loss((a, b, draws))
    first, second = (method.backbone.stages((view - 0.45) / 0.25)[-1] for view in (a, b))
    assert first.shape[2:] == (4, 4) and draws.shape == (1, 2, 6)
    ways = [prediction_loss(drawn_cells(x, draw), y, 10.0)
            for x, y, draw in zip((first, second), (second, first), draws[0])]
    torch.testing.assert_close(parts["loss"], sum(sum(way) for way in ways) / 2)
    torch.testing.assert_close(parts["embedding"], normalize(first.mean((2, 3)).detach()))
    assert set(dict(method.named_parameters())) == {f"backbone.{n}" for n, _ in method.backbone.named_parameters()}
    with pytest.raises(ValueError, match="YADIM needs feature maps, ViT has none"):
        build_method("yadim", "vit-tiny", 16)
