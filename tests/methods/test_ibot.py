"""iBOT: loops in plain Python, masks, the two centres, and the bugs that people shipped with it."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from course_lib.augment.masks import ibot_masks, random_ratio, scattered
from course_lib.augment.pixels import standardize
from course_lib.methods import build_method
from course_lib.methods.masked.dino import dino_loss, moved_center
from course_lib.methods.masked.ibot import IBOTHead, patch_loss
from course_lib.train.loop import fit
from golden.arrays import GOLDEN
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import SMALL, Stop, images, same, state


def ibot(seed=0, **options):
    torch.manual_seed(seed)
    options = {"out": 7, "hidden": 16, "bottleneck": 6, "crops": 1, "crop_size": 8, **options}
    return build_method("ibot", "vit-tiny", 16, backbone_options=dict(patch=4, dim=12, depth=1, heads=2), **options)


def some_visible(n=4, side=3, seed=5):
    visible = randn(n, side, side, seed=seed) <= 0.3
    visible[0] = True
    visible[1] = False
    return visible


# ---------------------------------------------------------------- the loss, in plain Python
def naive_patch_loss(student, teacher, visible, center, student_temp, teacher_temp) -> float:
    total = 0.0
    for z, t, mask in zip(student, teacher, visible):
        errors = []
        for a, b, seen in zip(z, t, mask):
            if not seen:
                p = softmax([(v - c) / teacher_temp for v, c in zip(b, center)])
                r = softmax([v / student_temp for v in a])
                errors.append(-sum(x * math.log(y) for x, y in zip(p, r)))
        total += sum(errors) / max(1, len(errors))
    return total / len(student)


@pytest.mark.parametrize("k, temps", [(3, (0.1, 0.04)), (6, (0.5, 0.9))])
def test_the_patch_loss_equals_its_definition(k, temps):
    student, teacher, visible, center = randn(4, 9, k), randn(4, 9, k, seed=1), some_visible(), randn(k, seed=2)
    wanted = naive_patch_loss(student.tolist(), teacher.tolist(), visible.flatten(1).tolist(), center.tolist(), *temps)
    assert float(patch_loss(student, teacher, visible, center, *temps)) == pytest.approx(wanted, rel=1e-10)
    same_thing = patch_loss(student, teacher, visible.flatten(1), center.view(1, 1, k), *temps)
    assert float(same_thing) == pytest.approx(wanted, rel=1e-10)


def test_gradients_reach_hidden_student_patches_only():
    student, teacher = randn(4, 9, 5).requires_grad_(), randn(4, 9, 5, seed=1).requires_grad_()
    visible, center = some_visible(), randn(5, seed=2)
    assert torch.autograd.gradcheck(lambda s: patch_loss(s, teacher.detach(), visible, center, 0.5, 0.3), (student,))
    patch_loss(student, teacher, visible, center).backward()
    assert teacher.grad is None
    assert torch.equal(student.grad.abs().sum(-1) > 0, ~visible.flatten(1))


def test_an_image_without_a_mask_counts_and_contributes_nothing():
    """Bugs: left out of the mean; 0 / 0."""
    student, teacher, center = randn(4, 9, 5), randn(4, 9, 5, seed=1), torch.zeros(5)
    visible = some_visible()
    loss = patch_loss(student, teacher, visible, center)
    without = patch_loss(student[1:], teacher[1:], visible[1:], center)
    assert float(loss) == pytest.approx(float(without) * 3 / 4)
    nothing = patch_loss(student, teacher, torch.ones_like(visible), center)
    assert float(nothing) == 0


def test_each_image_weighs_the_same():
    """Bug: one mean over all hidden patches of the batch."""
    k, visible = 4, torch.ones(2, 9, dtype=torch.bool)
    visible[0, :1], visible[1, :] = False, False
    teacher = torch.zeros(2, 9, k, dtype=torch.float64)
    teacher[..., 0] = 50  # sure of score 0
    student = torch.zeros(2, 9, k, dtype=torch.float64)
    student[0, ..., 0] = 50  # right in image 0, undecided in image 1
    assert float(patch_loss(student, teacher, visible, torch.zeros(k))) == pytest.approx(math.log(k) / 2)


def test_the_mean_over_both_crops_is_the_mean_of_their_means():
    student, teacher, center = randn(6, 9, 5), randn(6, 9, 5, seed=1), randn(5, seed=2)
    visible = randn(6, 9, seed=7) <= 0
    both = patch_loss(student, teacher, visible, center)
    one, two = (patch_loss(student[i], teacher[i], visible[i], center) for i in (slice(0, 3), slice(3, 6)))
    assert float(both) == pytest.approx(float((one + two) / 2))


# ---------------------------------------------------------------- masks
def test_half_of_the_images_have_no_mask_and_the_rest_their_own_share():
    """Bug: one share for the batch."""
    draw = random.Random(0)
    ratios = np.array([random_ratio(draw) for _ in range(4000)])
    assert 0.47 < (ratios == 0).mean() < 0.53
    some = ratios[ratios > 0]
    assert 0.1 <= some.min() < 0.11 and 0.49 < some.max() <= 0.5 and abs(some.mean() - 0.3) < 0.01


@pytest.mark.parametrize("shape", ["block", "random"])
def test_mask_shares_agree_with_the_official_sampler(shape):
    """Stored: the share of images without a mask, mean and largest share of hidden patches over 1500 draws."""
    with np.load(GOLDEN / "ibot.npz") as z:
        none, mean, most = z[f"sampler_{'block' if shape == 'block' else 'rand'}_stats_frac0_mean_max"]
    masks = (~ibot_masks(1500, 14, torch.Generator().manual_seed(0), shape=shape)).double().mean((1, 2))
    assert float((masks == 0).double().mean()) == pytest.approx(none, abs=0.05)
    assert float(masks.mean()) == pytest.approx(mean, abs=0.015)
    assert float(masks.max()) == pytest.approx(most, abs=0.02)


def test_masks_come_from_the_generator():
    def draw(seed: int):
        return ibot_masks(20, 8, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    with pytest.raises(ValueError, match="'block' or 'random'"):
        ibot(masks="stripes")


def test_scattered_hides_exactly_as_many_as_asked():
    noise, counts = randn(5, 12), torch.tensor([0, 1, 5, 12, 7])
    hidden = ~scattered(noise, counts)
    assert torch.equal(hidden.sum(1), counts)
    assert all(noise[i][hidden[i]].min() >= noise[i][~hidden[i]].max() for i in (1, 2, 4))


# ---------------------------------------------------------------- the head
def test_one_head_for_both_kinds_of_token():
    shared, split = IBOTHead(5, 7, 9, 4), IBOTHead(5, 7, 9, 4, patch_out=6)
    x = torch.randn(3, 10, 5)
    cls, patches = shared(x)
    assert cls.shape == (3, 7) and patches.shape == (3, 9, 7)
    torch.testing.assert_close(shared(x[:, 0]), cls)
    torch.testing.assert_close(shared(x[:, 4]), patches[:, 3])
    assert split(x)[1].shape == (3, 9, 6)
    assert not any("last_patch" in name for name, _ in shared.named_parameters())


# ---------------------------------------------------------------- the method
def views(method, n=4, seed=0):
    batch = type("Batch", (), {"images": images(n, seed=seed).images})
    return method.views(batch, torch.Generator().manual_seed(seed))


def test_who_sees_what():
    """Bugs: the teacher given masked crops; small crops masked; the mask token after the positions (golden table)."""
    method, seen = ibot(crops=2), {"teacher": [], "student": []}
    for who, net in (("teacher", method.teacher.module[0]), ("student", method.backbone)):
        tokens = net.tokens
        net.tokens = lambda x, *masks, who=who, tokens=tokens, **options: (
            seen[who].append((x.shape, *masks, options)) or tokens(x, *masks, **options))
    crops, visible = views(method)
    method.loss((crops, visible))
    assert seen["teacher"] == [((8, 3, 16, 16), {})]
    (large, mask, token), (small, plain) = seen["student"]
    assert large == (8, 3, 16, 16) and small == (8, 3, 8, 8) and plain == {}
    assert mask is visible and token["mask_token"] is method.mask_token
    assert visible.shape == (8, 4, 4)


def test_the_loss_is_made_of_its_two_parts():
    """Same view for patches, other views for class tokens; lambdas, KoLeo; no centre moved before its loss."""
    method = ibot(weights=(0.7, 0.3), teacher_temp=(0.05, 0.05), patch_temp=(0.06, 0.06)).double().eval()
    method.center += torch.linspace(-1, 1, 7)
    method.patch_center -= torch.linspace(-1, 1, 7)
    crops, visible = views(method)
    crops = [crop.double() for crop in crops]
    parts = method.loss((crops, visible))
    x = standardize(torch.cat(crops[:2]))
    backbone, head = method.teacher.module
    t, tp = head(backbone.tokens(x))
    s, sp = method.head(method.backbone.tokens(x, visible, mask_token=method.mask_token))
    local = method.head(method.backbone.tokens(standardize(crops[2]))[:, 0])
    cls = dino_loss([s[:4], s[4:], local], [t[:4], t[4:]], method.center, 0.1, 0.05)
    patch = sum(patch_loss(sp[i], tp[i], visible[i], method.patch_center, 0.1, 0.06) for i in (slice(0, 4),
                                                                                               slice(4, 8))) / 2
    torch.testing.assert_close(parts["class_loss"], cls)
    torch.testing.assert_close(parts["patch_loss"], patch)
    torch.testing.assert_close(parts["loss"], 0.7 * cls + 0.3 * patch + method.koleo * parts["koleo"])


def test_the_patch_centre_is_of_all_patches():
    """Bugs: hidden patches only; the class token among them."""
    method = ibot().double().train()
    crops, visible = views(method)
    crops = [crop.double() for crop in crops]
    backbone, head = method.teacher.module
    with torch.no_grad():
        t, tp = head(backbone.tokens(standardize(torch.cat(crops[:2]))))
    method.loss((crops, visible))
    torch.testing.assert_close(method.patch_center, moved_center(torch.zeros(7, dtype=torch.float64), tp))
    torch.testing.assert_close(method.center, moved_center(torch.zeros(7, dtype=torch.float64), t))


def test_it_runs_in_the_loop():
    method = ibot(patch_out=5, frozen=0.0)
    start = state(method)
    history = fit(method, images(), steps=4, **SMALL)
    wanted = {"loss", "class_loss", "patch_loss", "entropy", "entropy_of_mean", "patch_entropy",
        "patch_entropy_of_mean"}
    assert wanted <= history.curves.keys()
    moved = {name for name, t in method.state_dict().items() if not torch.equal(t, start[name])}
    assert {"mask_token", "patch_center", "center", "head.last_patch.weight", "teacher.module.1.mlp.0.weight"} <= moved
    assert method.embed(images().images[:3]).shape == (3, 12)


def test_mask_from():
    method = ibot(mask_from=0.5)
    crops, visible = views(method)
    early, late = (method.loss((crops, visible), at)["patch_loss"].detach() for at in (0.4, 0.6))
    assert float(early) == 0 < float(late)


def test_a_conv_net_is_refused():
    with pytest.raises(ValueError, match="needs a ViT"):
        build_method("ibot", "convnet", 16)


def test_a_resumed_run_is_the_same_run(tmp_path, one_thread):
    options = dict(steps=6, **SMALL)
    whole, half, again = ibot(), ibot(), ibot(seed=5)
    fit(whole, images(), **options)
    fit(half, images(), out=tmp_path, watch=Stop(3), log_every=1, **options)
    fit(again, images(), out=tmp_path, resume=True, **options)
    assert same(state(whole), state(again))
