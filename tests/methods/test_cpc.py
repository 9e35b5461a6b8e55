"""CPC v2: patches, the label formula, the loss against loops, what a context sees, directions, the module."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from course_lib.cli.main import main
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.information.cpc import ContextNet, by_patch, cpc_loss, cut, labels_below
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("cpc", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"hidden": 6, "out": 5, "blocks": 2, **options})


def views(method, n=6, seed=0):
    return method.views(Batch(images(n).images, torch.arange(n), None), torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- patches and labels
def test_patches_overlap_and_are_in_reading_order():
    pictures = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8)
    patches = cut(pictures, 4, 2)
    assert patches.shape == (2, 3, 3, 3, 4, 4)
    for row in range(3):
        for column in range(3):
            top, left = 2 * row, 2 * column
            assert torch.equal(patches[:, row, column], pictures[:, :, top : top + 4, left : left + 4])


@pytest.mark.parametrize("patch, step", [(9, 1), (5, 2), (4, 5), (0, 1), (4, 0)])
def test_patches_that_do_not_fit_are_a_sentence(patch, step):
    with pytest.raises(ValueError, match=f"patches of {patch} pixels, one every {step}, do not fit a picture of 8"):
        cut(torch.zeros(1, 3, 8, 8), patch, step)


def test_a_side_that_the_default_does_not_fit_is_told_one_that_it_does():
    """Bug: of 36 pixels the sentence proposed the very patches that had not fitted."""
    with pytest.raises(ValueError, match="every eighth fits where the side is a multiple of 8"):
        build_method("cpc", "convnet", 36)
    assert build_method("cpc", "convnet", 40).patch == 10


@pytest.mark.parametrize("n, height, width, rows", [(2, 3, 4, 1), (3, 5, 2, 2), (1, 7, 7, 3), (2, 4, 4, 3)])
def test_the_label_is_the_formula(n, height, width, rows):
    wanted = [b * height * width + (r + rows) * width + c
              for b in range(n) for r in range(height - rows) for c in range(width)]
    assert labels_below(n, height, width, rows).tolist() == wanted


# ---------------------------------------------------------------- the loss, in plain Python
def naive(predictions, targets, rows, scale) -> tuple[float, float]:
    """Lists (B, d, H, W)."""
    n, d, height, width = len(targets), len(targets[0]), len(targets[0][0]), len(targets[0][0][0])
    total = right = count = 0
    for b in range(n):
        for r in range(height - rows):
            for c in range(width):
                scores = {(i, y, x): scale * sum(predictions[b][k][r][c] * targets[i][k][y][x] for k in range(d))
                          for i in range(n) for y in range(height) for x in range(width)}
                own = scores[b, r + rows, c]
                total += math.log(sum(math.exp(s) for s in scores.values())) - own
                right += own == max(scores.values())
                count += 1
    return total / count, right / count


@pytest.mark.parametrize("n, d, height, width, rows", [(2, 3, 3, 2, 1), (2, 4, 4, 3, 3), (1, 2, 5, 2, 2)])
def test_the_loss_equals_its_definition(n, d, height, width, rows):
    predictions, targets = 3 * randn(n, d, height, width), 3 * randn(n, d, height, width, seed=1)
    parts = cpc_loss(predictions, targets, rows, 0.3)
    wanted = naive(predictions.tolist(), targets.tolist(), rows, 0.3)
    assert (float(parts["loss"]), float(parts["accuracy"])) == pytest.approx(wanted, rel=1e-10)


def test_swapped_height_and_width_stay_at_chance():
    """Perfect predictions: the loss goes to 0; with H and W swapped in the label it is worse than log(B H W)."""
    targets = 30 * randn(3, 16, 4, 3)
    predictions = torch.zeros_like(targets)
    predictions[:, :, :-1] = targets[:, :, 1:]
    assert cpc_loss(predictions, targets, 1)["loss"] < 1e-6 and cpc_loss(predictions, targets, 1)["accuracy"] == 1
    logits = 0.1 * by_patch(predictions[:, :, :-1]) @ by_patch(targets).T
    swapped = [b * 12 + (r + 1) * 4 + c for b in range(3) for r in range(3) for c in range(3)]
    assert F.cross_entropy(logits, torch.tensor(swapped).clamp(max=35)) > math.log(36)
    assert float(cpc_loss(0 * targets, targets, 2)["loss"]) == pytest.approx(math.log(36))


def test_gradients_and_float32_inside_autocast():
    p, t = randn(2, 2, 3, 2).requires_grad_(), randn(2, 2, 3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, t: cpc_loss(p, t, 1)["loss"], (p, t))
    p, t = (x.detach().float() for x in (p, t))
    wanted = cpc_loss(p, t, 1)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cpc_loss(p, t, 1)["loss"], wanted)
        assert cpc_loss(p.bfloat16(), t.bfloat16(), 1)["loss"].dtype == torch.float32


# ---------------------------------------------------------------- contexts
def dependence(net, side=5):
    """[row, column of the context, row, column of the map]."""
    z = torch.rand(1, 3, side, side, requires_grad=True)
    found = torch.zeros(side, side, side, side, dtype=torch.bool)
    for row in range(side):
        for column in range(side):
            found[row, column] = torch.autograd.grad(net(z)[0, :, row, column].sum(), z)[0].abs().sum((0, 1)) > 0
    return found


def test_a_context_sees_no_row_below_and_all_columns():
    torch.manual_seed(0)
    seen = dependence(ContextNet(3, 8, 5))
    rows, columns = seen.sum((1, 3)) > 0, seen.sum((0, 2)) > 0
    assert torch.equal(rows, torch.ones(5, 5, dtype=torch.bool).tril())
    assert columns.all(), "the outer columns too"
    bolts = dependence(ContextNet(3, 8, 5, bolts=True)).sum((0, 2)) > 0
    assert bolts[0].tolist() == [True, False, False, False, False]


# ---------------------------------------------------------------- the module
def test_each_patch_is_encoded_alone():
    """Bug: batch norm in the encoder, whose statistics tie the patches of a batch together."""
    method = build()
    patches = views(method)
    assert patches.shape == (6, 7, 7, 3, 4, 4)
    whole, single = method.encode(patches), method.encode(patches[2:3, 3:4, 1:2])
    torch.testing.assert_close(whole[2, :, 3, 1], single[0, :, 0, 0], atol=1e-5, rtol=1e-4)
    assert build_method("cpc", "resnet18", 32).settings["backbone_options"] == {"norm": "layer"}


def test_the_representation_is_the_mean_of_the_patches():
    method = build().eval()
    pictures = images(3).images
    wanted = torch.stack([method.backbone((patch.flatten(0, 1) / 255.0 - 0.45) / 0.25).mean(0)
                          for patch in cut(pictures, 4, 2)])
    torch.testing.assert_close(method.embed(pictures), wanted)


def test_directions_and_distances():
    """Of a picture turned by a quarter the second direction has the loss that the first has of the picture."""
    method = build(directions=2, rows=(1, 3))
    patches = views(method)
    z = method.encode(patches)
    wanted = 0
    for predictor, grid in zip(method.predictors, (z, z.transpose(2, 3).flip(2))):
        targets, predictions = predictor(grid)
        wanted = wanted + sum(cpc_loss(p, targets, k)["loss"] for p, k in zip(predictions, (1, 3)))
    parts = method.loss(patches)
    torch.testing.assert_close(parts["loss"], wanted / 2)
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters() if p.ndim > 1)
    assert parts["views_per_image"] == 1 and parts["embedding"].shape == (6, 8)


def test_what_does_not_fit_is_a_sentence():
    for options, says in (({"patch": 5}, "patches of 5 pixels, one every 2, do not fit a picture of 16"),
                          ({"rows": 7}, "rows is 7; expected distances from 1 to 6"), ({"rows": ()}, "rows is"),
                          ({"directions": 5}, "directions is 5; expected 1"), ({"scale": 0}, "scale is 0")):
        with pytest.raises(ValueError, match=says):
            build(**options)
    with pytest.raises(ValueError, match="rows is 3; expected 1 to 2: the grid has 3 rows"):
        cpc_loss(randn(1, 2, 3, 3), randn(1, 2, 3, 3), 3)


def test_a_run_by_name_is_rebuilt_with_its_layer_norms(tmp_path):
    words = ["train", "cpc", "--data", "shapes", "--limit", "40", "--device", "cpu", "--steps", "2",
             "--batch-size", "8", "--set", "rows=1,2", "--set", "directions=1", "--set", "hidden=8", "--no-evaluate",
             "--out", str(tmp_path)]
    assert main(words) == 0
    method = checkpoint.load_method(tmp_path / "last.pt")
    assert method.rows == (1, 2) and not any("running_mean" in name for name in method.state_dict())


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, again = build(directions=1), build(seed=7, directions=1)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(directions=1), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))


def test_patches_are_recoloured_by_themselves():
    """Of a grey picture of one value, patches differ only if each has an augmentation of its own."""
    batch = Batch(torch.full((4, 3, 16, 16), 128, dtype=torch.uint8), torch.arange(4), None)
    spread = {}
    for own in (False, True):
        method = build(patch_augment=own)
        patches = method.views(batch, torch.Generator().manual_seed(0))
        assert patches.shape == (4, 7, 7, 3, 4, 4)
        spread[own] = float(patches.mean((3, 4, 5)).flatten(1).std(1).max())
    assert spread[False] < 1e-5 < 0.02 < spread[True]
