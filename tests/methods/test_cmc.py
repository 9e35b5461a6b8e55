"""CMC: the loss against loops, colour spaces against known colours, which view sees what, banks, the module."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.cli.main import main
from course_lib.methods import build_method
from course_lib.methods.information.cmc import SPACES, cmc_loss, lab, ycbcr
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state, views

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, ready=36, **options):
    torch.manual_seed(seed)
    method = build_method("cmc", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                          **{"out": 6, "negatives": 9, **options})
    if ready:
        method.prepare(images(ready).images)
    return method


# ---------------------------------------------------------------- the loss, in plain Python
def naive_nce(scores, z, n) -> float:
    total = 0.0
    for row in scores:
        noise = (len(row) - 1) / n
        p = [math.exp(s) / z for s in row]
        total -= math.log(p[0] / (p[0] + noise + 1e-7)) + sum(math.log(noise / (q + noise + 1e-7)) for q in p[1:])
    return total / len(scores)


def naive_softmax(scores) -> float:
    return sum(math.log(sum(math.exp(s) for s in row)) - row[0] for row in scores) / len(scores)


@pytest.mark.parametrize("n, k, rows", [(3, 5, 40), (1, 1, 2), (4, 12, 9)])
def test_the_loss_equals_its_definition(n, k, rows):
    scores, z = [3 * randn(n, 1 + k, seed=s) for s in (0, 1)], [7.0, 30.0]
    parts = cmc_loss(scores, [torch.tensor(math.log(each)) for each in z], rows)
    wanted = [naive_nce(s.tolist(), each, rows) for s, each in zip(scores, z)]
    assert [float(parts[name]) for name in ("first", "second")] == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(parts["loss"], parts["first"] + parts["second"])
    soft = cmc_loss(scores, None, rows)
    assert float(soft["loss"]) == pytest.approx(sum(naive_softmax(s.tolist()) for s in scores), rel=1e-10)


def test_gradients_and_float32_inside_autocast():
    scores = [randn(3, 5, seed=s).requires_grad_() for s in (0, 1)]
    log_z = [torch.tensor(2.0), torch.tensor(3.0)]
    assert torch.autograd.gradcheck(lambda *s: cmc_loss(s, log_z, 20)["loss"], scores)
    assert torch.autograd.gradcheck(lambda *s: cmc_loss(s, None, 20)["loss"], scores)
    method, given = build(), None
    given = views(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert method.loss(given)["loss"].dtype == torch.float32


# ---------------------------------------------------------------- channels
@pytest.mark.parametrize("colour, wanted", [  # of sRGB under D65, rounded
    ((1, 1, 1), (100.0, 0.0, 0.0)), ((0, 0, 0), (0.0, 0.0, 0.0)), ((1, 0, 0), (53.24, 80.09, 67.20)),
    ((0, 1, 0), (87.73, -86.18, 83.18)), ((0, 0, 1), (32.30, 79.19, -107.86)), ((0.5, 0.5, 0.5), (53.39, 0.0, 0.0))])
def test_lab_of_known_colours(colour, wanted):
    got = lab(torch.tensor(colour, dtype=torch.float64)[None, :, None, None])[0, :, 0, 0]
    scale = torch.tensor([50.0, 92.2, 101.2], dtype=torch.float64), torch.tensor([50.0, 6.0, -6.7], dtype=torch.float64)
    assert (got * scale[0] + scale[1]).tolist() == pytest.approx(wanted, abs=0.02)


def test_ycbcr_is_between_minus_one_and_one():
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)[:, :, None, None]
    got = ycbcr(corners)
    assert got.amax((0, 2, 3)).tolist() == pytest.approx([1, 1, 1]) and got.amin((0, 2, 3)).tolist() == pytest.approx(
        [-1, -1, -1])
    grey = ycbcr(torch.full((1, 3, 1, 1), 0.3))[0, :, 0, 0].tolist()
    assert grey == pytest.approx([-0.4, 0, 0], abs=1e-6)


@pytest.mark.parametrize("space", SPACES)
def test_each_encoder_sees_its_channels_alone(space):
    encoders = build(space=space).eval().encoders
    picture = torch.rand(1, 3, 16, 16)
    seen = []
    for net in (encoders.first, encoders.second):
        net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    both = encoders(standardize(picture))
    torch.testing.assert_close(seen[0] + seen[1], SPACES[space](picture), atol=1e-5, rtol=1e-5)
    assert not seen[0][:, 1:].any() and not seen[1][:, :1].any()
    assert both.shape == (1, encoders.dim) == (1, 16)


def test_the_control_sees_the_whole_picture_with_both():
    encoders = build(split=False).eval().encoders
    picture, seen = torch.rand(1, 3, 16, 16), []
    for net in (encoders.first, encoders.second):
        net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoders(standardize(picture))
    for each in seen:
        torch.testing.assert_close(each, SPACES["lab"](picture), atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- the module
def test_a_view_is_compared_with_the_other_views_bank():
    """Bug: with its own. The bank of colours is moved by colours, and it is lightness that is scored with it."""
    method = build()
    view, indices, rows = views(method)
    assert rows.shape == (8, 10) and torch.equal(rows[:, 0], indices)
    first, second = method.banks
    before = [bank.rows.clone() for bank in (first, second)]
    with torch.no_grad():
        v = [torch.nn.functional.normalize(head(half), dim=1)
             for head, half in zip(method.heads, method.encoders.each(standardize(view)))]
    scores = [torch.einsum("bd,bmd->bm", each, bank[rows]) / 0.07 for each, bank in zip(v, before[::-1])]
    z = [each.exp().mean() * 36 for each in scores]
    parts = method.loss((view, indices, rows))
    torch.testing.assert_close(parts["loss"], cmc_loss(scores, [each.log() for each in z], 36)["loss"])
    for bank, old, each in zip((first, second), before, v):
        torch.testing.assert_close(bank.rows[:8], torch.nn.functional.normalize(old[:8] + each, dim=1))
        assert torch.equal(bank.rows[8:], old[8:])
    method.loss(views(method, seed=1))
    torch.testing.assert_close(second.log_z.exp(), z[0])  # of the first batch, for ever
    parts["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())


def test_the_representation_is_of_both_encoders():
    method = build().eval()
    assert method.embed(images(3).images).shape == (3, 16) and method.evaluated.dim == 16


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(ValueError, match="space is 'hsv'; expected one of lab, ycbcr, rgb"):
        build(space="hsv")
    with pytest.raises(ValueError, match="negatives is 0"):
        build(negatives=0)
    with pytest.raises(ValueError, match="rows are not known yet"):
        views(build(ready=0))
    with pytest.raises(ValueError, match="rows are those of another data set"):
        build().prepare(images(20).images)


def test_a_run_is_stored_and_read(tmp_path, capsys):
    words = ["train", "cmc", "--data", "shapes", "--limit", "40", "--device", "cpu", "--steps", "2",
             "--batch-size", "8", "--set", "space=ycbcr", "--set", "softmax=True", "--no-evaluate",
             "--out", str(tmp_path)]
    assert main(words) == 0
    method = checkpoint.load_method(tmp_path / "last.pt")
    assert method.softmax and method.encoders.space == "ycbcr"
    capsys.readouterr()
    other = ["--weights", str(tmp_path / "backbone.pt"), "--out", str(tmp_path / "other")]
    assert main([*words[:-2], *other]) == 2 and "has a second encoder" in capsys.readouterr().err


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, again = build(ready=0), build(seed=7, ready=0)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(ready=0), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
