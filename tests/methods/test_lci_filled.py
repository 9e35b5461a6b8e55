"""LCI's sixth class: what is erased and pasted, who learns from what, and which untouched pictures were decoded."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.methods.pretext.lci import (
    NOISE,
    PIXELS,
    FilledLCI,
    SpectralConv2d,
    border_mask,
    discriminator_loss,
    inpainter_losses,
    paired,
    pasted,
    patches_at,
    reversed_gradient,
)
from course_lib.models.backbones import ConvNet
from course_lib.train.loop import fit
from helpers.draws import generator
from helpers.tiny import images, views

pytestmark = pytest.mark.usefixtures("one_thread")
WHOLE = Augment(16, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray_p=0.0)


def build(**options):
    torch.manual_seed(0)
    return FilledLCI(ConvNet(depth=2, widths=(4, 8)), 16, WHOLE, side=8, border=2, width=4, **options)


def shown(method, seen):
    """What the network is shown of these views: (6B, 3, S, S), normalised."""
    found = []
    hook = method.backbone.register_forward_pre_hook(lambda _, given: found.append(given[0].detach()))
    parts = method.loss(seen)
    hook.remove()
    return found[0], parts


# ---------------------------------------------------------------- pure functions, beside loops over pixels
def test_patches_are_cut_and_pasted_where_their_corners_are():
    pictures, corners = torch.rand(3, 2, 7, 7, generator=generator(0)), torch.tensor([[0, 4], [2, 2], [4, 0]])
    cut = patches_at(pictures, corners, 3)
    new = torch.rand(3, 2, 3, 3, generator=generator(1))
    made, wanted = pasted(pictures, new, corners), pictures.clone()
    for n, (top, left) in enumerate(corners.tolist()):
        for y in range(3):
            for x in range(3):
                assert torch.equal(cut[n, :, y, x], pictures[n, :, top + y, left + x])
                wanted[n, :, top + y, left + x] = new[n, :, y, x]
    assert torch.equal(made, wanted) and not torch.equal(made, pictures)


def test_the_border_is_a_frame():
    rows = ["".join(".#"[int(v)] for v in row) for row in border_mask(5, 1).tolist()]
    assert rows == ["#####", "#...#", "#...#", "#...#", "#####"]
    for side, border in ((4, 2), (8, 0), (8, -1)):
        with pytest.raises(ValueError, match=f"border is {border} in a patch of {side} pixels; expected 1 or more"):
            border_mask(side, border)


def test_pairs_are_of_two_pictures():
    patches = torch.arange(5.0)[:, None, None, None].expand(5, 3, 2, 2)
    assert paired(patches)[:, :, 0, 0].tolist() == [[0, 0, 0, 2, 2, 2], [1, 1, 1, 3, 3, 3]]
    with pytest.raises(ValueError, match="1 patch; expected two or more"):
        paired(patches[:1])


def test_the_losses_equal_their_definitions():
    real, score = torch.randn(6, generator=generator(0)) * 2, torch.randn(6, generator=generator(1)) * 2
    filled, whole, patches = torch.rand(3, 4, 3, 5, 5, generator=generator(2))
    wanted = sum(max(0.0, 1 - v) for v in real.tolist()) / 6 + sum(max(0.0, 1 + v) for v in score.tolist()) / 6
    assert float(discriminator_loss(real, score)) == pytest.approx(wanted, rel=1e-5)
    found = inpainter_losses(score, filled, whole, patches, border_mask(5, 1))
    frame = [(y, x) for y in range(5) for x in range(5) if y in (0, 4) or x in (0, 4)]
    error = [(filled[n, c, y, x] - patches[n, c, y, x]) ** 2 for n in range(4) for c in range(3) for y, x in frame]
    assert float(found["border"]) == pytest.approx(float(sum(error)) / len(error), rel=1e-5)
    everywhere = [(a - b) ** 2 for a, b in zip(whole.flatten().tolist(), patches.flatten().tolist())]
    assert float(found["whole"]) == pytest.approx(sum(everywhere) / len(everywhere), rel=1e-5)
    assert float(found["fooled"]) == pytest.approx(-sum(score.tolist()) / 6, rel=1e-5)


def test_filters_have_norm_one_as_a_matrix():
    torch.manual_seed(0)
    layer, x = SpectralConv2d(3, 5, 3, 2, 1), torch.rand(2, 3, 6, 6, generator=generator(0))
    matrix = layer.weight.detach().flatten(1)
    largest = torch.linalg.eigvalsh(matrix @ matrix.T).max().sqrt()  # of its singular values
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight / largest, layer.bias, 2, 1))


def test_a_reversed_gradient_is_minus_the_gradient():
    x = torch.tensor([0.3, -2.0], requires_grad=True)
    assert torch.equal(reversed_gradient(x), x)
    (gradient,) = torch.autograd.grad(reversed_gradient(x).square().sum(), x)
    torch.testing.assert_close(gradient, -2 * x)


# ---------------------------------------------------------------- what is shown
def test_six_classes_of_each_picture_and_the_hole_is_all_that_is_filled():
    method = build(resampled=False)
    upright, warped, corners, noise = seen = views(method, 6)
    shows, parts = shown(method, seen)
    assert shows.shape == (36, 3, 16, 16) and parts["views_per_image"] == 6 and parts["embedding"].shape == (6, 8)
    assert torch.equal(shows[24:30], standardize(warped))
    plain = standardize(upright)
    assert torch.equal(shows[:3], plain[:3]), "half of the untouched ones are as they were"
    for part in (shows[3:6], shows[30:]):  # through the autoencoder, filled
        changed = (part != plain[-len(part):]).any(1)
        inside = torch.zeros_like(changed)
        for n, (top, left) in enumerate(corners[-len(part):].tolist()):
            inside[n, top:top + 8, left:left + 8] = True
        assert bool(changed.any()) and not bool((changed & ~inside).any())
    for k in range(1, 4):
        assert torch.equal(shows[6 * k:6 * k + 6].rot90(-k, (2, 3)), shows[:6]), "turned ones are of the same mixture"
    assert int(corners.min()) >= 0 and int(corners.max()) <= 8 and 0.05 < float(noise.std()) / NOISE / 10 < 0.15


def test_the_control_shows_no_untouched_picture_that_was_decoded():
    method = build(decoded=False, resampled=False)
    seen = views(method, 6)
    shows, _ = shown(method, seen)
    assert torch.equal(shows[:6], standardize(seen[0]))


def test_what_fills_a_hole_has_seen_the_border_alone():
    method = build(resampled=False).eval()
    upright, _, corners, noise = views(method, 6)
    blind, near = upright.clone(), upright.clone()
    for n, (top, left) in enumerate(corners.tolist()):
        blind[n, :, top + 2:top + 6, left + 2:left + 6] = 0.5
        near[n, :, top + 1, left + 1] = 0.5
    made = method.filled(upright, corners, noise)[2]
    assert torch.equal(method.filled(blind, corners, noise)[2], made)
    assert not torch.allclose(method.filled(near, corners, noise)[2], made)


# ---------------------------------------------------------------- who learns from what
def gradients(loss, module):
    found = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return [torch.zeros(1) if g is None else g for g in found]


def test_each_of_the_three_learns_by_its_own_loss():
    """Bug: the discriminator is moved by what the inpainter wants, or the inpainter helps the network to name it."""
    method = build(resampled=False).double().eval()  # no batch statistics, which would tie the parts
    seen = [part.double() if part.is_floating_point() else part for part in views(method, 6)]
    total = method.loss(seen)["loss"]
    upright, warped, corners, noise = seen
    patches, whole, made = method.filled(upright, corners, noise)
    judge = method.discriminator
    told = discriminator_loss(judge(paired(patches)), judge(paired(made.detach())))
    plain = pasted(upright, (whole + 1) / 2, corners)
    untouched = torch.cat([upright[:3], plain[3:]])
    pictures = torch.cat([untouched, *(untouched.rot90(k, (2, 3)) for k in (1, 2, 3)), warped,
                          pasted(upright, (made + 1) / 2, corners)])
    logits = method.head(method.backbone(standardize(pictures)))
    named = F.cross_entropy(logits, torch.arange(6).repeat_interleave(6))
    parts = inpainter_losses(judge(paired(made)), made, whole, patches, method.visible)
    wanted = {method.discriminator: told, method.backbone: named, method.head: named,
              method.inpainter: parts["fooled"] + PIXELS * (parts["border"] + parts["whole"]) - named}
    for module, loss in wanted.items():
        for a, b in zip(gradients(total, module), gradients(loss, module)):
            torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-6)
    assert max(float(g.abs().max()) for g in gradients(named, method.inpainter)) > 1e-6  # what the network adds is seen


def test_the_players_have_rates_of_their_own_and_all_is_in_one_group_once():
    method = build()
    groups = method.param_groups(0.1)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in method.parameters())
    assert [group.get("lr_scale", 1.0) for group in groups[-2:]] == pytest.approx([2 / 3, 8 / 3])
    assert all(group["weight_decay"] == 0 and group.get("betas") == (0.5, 0.999) for group in groups[-2:])


def test_a_training_runs_and_the_border_is_learned():
    history = fit(build(), images(64), steps=40, batch_size=16, lr=3e-3, device="cpu", precision="float32",
                  progress=False, log_every=1)
    assert {"named", "accuracy", "fooled", "border", "whole", "discriminator"} <= set(history.curves)
    assert sum(history.curves["whole"][-5:]) < 0.8 * sum(history.curves["whole"][:5])


def test_losses_are_in_float32_inside_autocast():
    scores = [torch.randn(4, generator=generator(i)).bfloat16() for i in (0, 1)]
    with torch.autocast("cpu", torch.bfloat16):
        assert discriminator_loss(*scores).dtype == torch.float32
        parts = build().loss(views(build(), 4))
        assert parts["loss"].dtype == torch.float32 and bool(parts["loss"].isfinite())


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(ValueError, match="side is 10 for images of 16 pixels; expected a multiple of 4"):
        FilledLCI(ConvNet(depth=2, widths=(4, 8)), 16, side=10)
    with pytest.raises(ValueError, match="side is 20 for images of 16 pixels"):
        FilledLCI(ConvNet(depth=2, widths=(4, 8)), 16)
