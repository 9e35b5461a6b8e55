"""Augmentations: each operation equals torchvision's on the same parameters; draws are per sample, view and step.

Tolerances, on images in [0, 1] in float32: resized crops 2e-6, brightness, contrast, saturation and grayscale 1e-6,
hue 2e-6 (but 1e-6 of pixels with two nearly equal channels), blur 1e-6, solarize exact.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as tv

from course_lib import augment
from course_lib.augment import views
from course_lib.augment.geometry import affine, resized_crop, sample_boxes
from course_lib.augment.masks import patch_mask
from course_lib.augment.views import Augment, many_views, two_views
from helpers.draws import generator


def pictures(n=6, height=20, width=20, seed=0):
    """Random pixels, with grey, black, white, primary and nearly grey pixels and ties among channels in each image."""
    images = torch.rand(n, 3, height, width, generator=generator(seed))
    special = torch.tensor([[0, 0, 0], [1, 1, 1], [.5, .5, .5], [1, 0, 0], [0, 1, 0], [0, 0, 1], [.7, .7, .2],
                            [.2, .7, .7], [.7, .2, .7], [.2, .2, .7], [1, 1, 0], [.3, .3, .300001], [0, 0, 1e-6]])
    images[:, :, 0, : len(special)] = special.T
    return images


def near(got, wanted, tolerance):
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    error = float((got - wanted).abs().max())
    assert error <= tolerance, f"off by {error:.1e}"


# ---------------------------------------------------------------- each operation against torchvision's
BOXES = [(0, 0, 20, 20), (3, 5, 4, 4), (0, 2, 7, 11), (12, 1, 8, 19), (19, 19, 1, 1), (5, 0, 15, 3)]


@pytest.mark.parametrize("size", [5, 8, 20, 33])  # down, up, and the identity
@pytest.mark.parametrize("flip", [False, True])
def test_resized_crop(size, flip):
    images = pictures()
    got = resized_crop(images, torch.tensor(BOXES), size, torch.full((6,), flip))
    for image, box, mine in zip(images, BOXES, got):
        wanted = tv.resized_crop(image, *box, [size, size], InterpolationMode.BILINEAR, antialias=True)
        near(mine, tv.hflip(wanted) if flip else wanted, 2e-6)


@pytest.mark.parametrize("size", [5, 8, 20, 33])
def test_bicubic_crops_are_torchvisions_and_stay_in_their_range(size):
    images = pictures()
    got = resized_crop(images, torch.tensor(BOXES), size, interpolation="bicubic")
    for image, box, mine in zip(images, BOXES, got):
        wanted = tv.resized_crop(image, *box, [size, size], InterpolationMode.BICUBIC, antialias=True)
        near(mine, wanted.clamp(0, 1), 5e-6)
    with pytest.raises(ValueError, match="bilinear.*bicubic.*'nearest'"):
        resized_crop(images, torch.tensor(BOXES), size, interpolation="nearest")


@pytest.mark.parametrize("height, width", [(12, 30), (31, 9)])
def test_resized_crop_of_images_that_are_not_square(height, width):
    images = pictures(3, height, max(width, 13))[..., :width]
    boxes = [(0, 0, height, width), (2, 1, 9, 8), (height - 5, width - 3, 5, 3)]
    for image, box, mine in zip(images, boxes, resized_crop(images, torch.tensor(boxes), 16)):
        near(mine, tv.resized_crop(image, *box, [16, 16], InterpolationMode.BILINEAR, antialias=True), 2e-6)


def test_the_whole_box_is_the_image():
    images = pictures()
    near(resized_crop(images, torch.tensor([(0, 0, 20, 20)] * 6), 20), images, 1e-6)
    flip = torch.tensor([True, False, True, False, True, False])
    mixed = resized_crop(images, torch.tensor([(0, 0, 20, 20)] * 6), 20, flip)
    near(mixed, torch.where(flip[:, None, None, None], images.flip(3), images), 1e-6)


@pytest.mark.parametrize("height, width", [(40, 40), (36, 48)])
def test_affine(height, width):
    """torchvision's, where nothing but black comes from beyond the edge: a block of pixels in the middle."""
    images = torch.zeros(5, 3, height, width)
    middle = (slice(None), slice(None), slice(height // 2 - 2, height // 2 + 3), slice(width // 2 - 3, width // 2 + 2))
    images[middle] = torch.rand(5, 3, 5, 5, generator=generator())
    angle, zoom = torch.tensor([0.0, 90, -37, 180, 11]), torch.tensor([1.0, 1, 0.8, 1.2, 1])
    shift = torch.tensor([[2.0, 0], [0, 1], [1.5, -0.5], [0, 0], [-1, 2]])
    for image, a, t, z, mine in zip(images, angle, shift, zoom, affine(images, angle, shift, zoom)):
        wanted = tv.affine(image, float(a), t.tolist(), float(z), [0.0, 0.0], InterpolationMode.BILINEAR)
        near(mine, wanted, 2e-5)


def test_affine_mirrors_at_the_edge():
    images = pictures(2)
    nothing = torch.zeros(2), torch.zeros(2, 2), torch.ones(2)
    near(affine(images, *nothing), images, 2e-6)
    moved = affine(images, nothing[0], torch.tensor([[3.0, 0], [0, -2]]), nothing[2])
    near(moved[0], torch.cat([images[0, :, :, :3].flip(2), images[0, :, :, :-3]], 2), 2e-5)
    near(moved[1], torch.cat([images[1, :, 2:], images[1, :, -2:].flip(1)], 1), 2e-5)


def test_turned_views_are_drawn_per_sample_and_only_when_asked_for():
    images = pictures(1).expand(64, -1, -1, -1)
    plain = dict(size=20, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray_p=0.0)
    near(Augment(**plain)(images, generator()), images, 1e-6)
    for option in ({"turn": 180.0}, {"shift": 0.2}, {"zoom": (0.5, 1.5)}):
        views = Augment(**plain, **option)(images, generator())
        assert len({tuple(view.flatten()[:50].tolist()) for view in views}) == 64, option
    # shifts are shares of the side, both ways, and along both axes
    dot = torch.zeros(400, 3, 20, 20)
    dot[:, :, 10, 10] = 1.0
    views = Augment(**plain, shift=0.2)(dot, generator())[:, 0]
    axis = torch.arange(20.0) - 10
    down, right = (views.sum(2) * axis).sum(1), (views.sum(1) * axis).sum(1)
    for values in (down, right):
        assert 3.5 < values.max() <= 4.1 and -4.1 <= values.min() < -3.5


FACTORS = [0.0, 0.3, 0.9, 1.0, 1.4, 2.5]


@pytest.mark.parametrize("ours, theirs, factors, tolerance", [
    (augment.adjust_brightness, tv.adjust_brightness, FACTORS, 1e-6),
    (augment.adjust_contrast, tv.adjust_contrast, FACTORS, 1e-6),
    (augment.adjust_saturation, tv.adjust_saturation, FACTORS, 1e-6),
    (augment.adjust_hue, tv.adjust_hue, [-0.5, -0.21, -0.01, 0.0, 0.1, 0.5], 2e-6)])
def test_colour(ours, theirs, factors, tolerance):
    images = pictures(len(factors))
    kept = images.clone()
    got = ours(images, torch.tensor(factors))
    for image, factor, mine in zip(images, factors, got):
        wanted = theirs(image, factor)
        spread = image.amax(0) - image.amin(0)
        hard = (spread < 1e-5) & (spread != 0)  # the hue of almost grey has no digits
        near(mine[:, ~hard], wanted[:, ~hard], tolerance)
        near(mine, wanted, 2e-5)
        near(ours(image[None], factor)[0], mine, 1e-6)  # a number serves a batch as well
    assert torch.equal(images, kept), "the input must not change"


def test_hue_turns_and_comes_back():
    images = pictures()
    near(augment.adjust_hue(images, 0.0), images, 1e-6)
    near(augment.adjust_hue(images, torch.full((6,), 1 / 3)), images.roll(1, 1), 2e-6)  # red -> green -> blue
    near(augment.adjust_hue(augment.adjust_hue(images, 0.23), -0.23), images, 5e-6)


def test_grayscale():
    images = pictures()
    near(augment.grayscale(images), tv.rgb_to_grayscale(images), 1e-6)
    near(augment.adjust_saturation(images, 0.0), tv.rgb_to_grayscale(images, 3), 1e-6)


@pytest.mark.parametrize("kernel", [3, 5, 9])
@pytest.mark.parametrize("height, width", [(20, 20), (13, 24)])
def test_gaussian_blur(kernel, height, width):
    images = pictures(4, height, width)
    sigmas = [0.1, 0.5, 1.3, 2.0]
    for image, sigma, mine in zip(images, sigmas, augment.gaussian_blur(images, torch.tensor(sigmas), kernel)):
        near(mine, tv.gaussian_blur(image, [kernel, kernel], [sigma, sigma]), 1e-6)
    near(augment.gaussian_blur(images, 0.0, kernel), images, 0)
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        augment.gaussian_blur(images, 1.0, 4)
    with pytest.raises(ValueError, match="kernel_size"):
        augment.gaussian_blur(images[..., :4], 1.0, 9)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_solarize(threshold):
    images = pictures()
    assert torch.equal(augment.solarize(images, threshold), tv.solarize(images, threshold))
    assert torch.equal(augment.solarize(images, 1.5), images)
    each = augment.solarize(images, torch.tensor([0.5, 2.0] * 3))
    assert torch.equal(each[1::2], images[1::2]) and torch.equal(each[::2], tv.solarize(images, 0.5)[::2])


def test_inputs():
    raw = (pictures() * 255).to(torch.uint8)
    assert torch.equal(augment.to_float(raw), raw.float() / 255)
    near(augment.standardize(raw), (raw.float() / 255 - 0.45) / 0.25, 1e-6)
    images = pictures()
    kept = images.clone()
    near(augment.standardize(images), (images - 0.45) / 0.25, 1e-6)
    assert torch.equal(images, kept)


# ---------------------------------------------------------------- the pipeline
EVERYTHING = Augment(16, blur_p=0.5, solarize_p=0.5)


def test_uint8_and_float_give_the_same_and_stay_as_they_are():
    raw = (pictures() * 255).to(torch.uint8)
    floats, kept = raw.float() / 255, raw.clone()
    a, b = EVERYTHING(raw, generator()), EVERYTHING(floats, generator())
    assert torch.equal(a, b) and a.dtype == torch.float32 and a.shape == (6, 3, 16, 16)
    assert torch.equal(raw, kept) and torch.equal(floats, kept.float() / 255)
    assert 0 <= a.min() and a.max() <= 1 + 1e-6


def test_a_seed_repeats_and_nothing_else_does():
    """Bugs: one draw for the whole batch; the same for both views; the same again at each step."""
    one = pictures(1).expand(8, 3, 20, 20)  # eight times the same picture
    draw = generator(3)
    first, second = two_views(one, EVERYTHING, draw)
    third, fourth = two_views(one, EVERYTHING, draw)
    views = torch.cat([first, second, third, fourth]).flatten(1)
    distance = torch.cdist(views, views) + torch.eye(32) * 99
    assert distance.min() > 0.1, "two views of one picture are alike"
    again = two_views(one, EVERYTHING, generator(3))
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    torch.manual_seed(0)
    state = torch.get_rng_state()
    two_views(one, EVERYTHING, generator(3))
    assert torch.equal(state, torch.get_rng_state()), "only the generator that is given may be drawn from"


@pytest.mark.parametrize("alone", [
    dict(scale=(0.2, 1.0)), dict(flip=0.5), dict(jitter=(0.8, 0, 0, 0)), dict(jitter=(0, 0.8, 0, 0)),
    dict(jitter=(0, 0, 0.8, 0)), dict(jitter=(0, 0, 0, 0.4)), dict(gray_p=0.5), dict(blur_p=0.5), dict(solarize_p=0.5)])
def test_each_operation_is_drawn_per_sample(alone):
    off = dict(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter=(0.0,) * 4, jitter_p=1.0, gray_p=0.0)
    one = pictures(1).expand(64, 3, 20, 20)
    near(Augment(20, **off)(one, generator()), one, 1e-6)
    views = Augment(20, **{**off, **alone})(one, generator(1))
    changed = (views - one).abs().amax((1, 2, 3)) > 1e-3
    chance = next((v for k, v in alone.items() if k in ("flip", "gray_p", "blur_p", "solarize_p")), None)
    if chance:  # a coin each: 64 throws
        assert 18 <= changed.sum() <= 46
    else:  # a number each
        assert changed.sum() >= 60 and len({round(float(v), 5) for v in views.std((1, 2, 3))}) > 40


@pytest.mark.parametrize("field", ["flip", "gray_p", "jitter_p", "blur_p", "solarize_p"])
def test_probabilities_0_and_1(field):
    off = dict(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray_p=0.0)
    images = pictures(8)
    images[:, :, 0] = 0.4  # no grey image, no symmetric one
    never, always = (Augment(20, **{**off, field: p})(images, generator()) for p in (0.0, 1.0))
    near(never, images, 1e-6)
    assert ((always - images).abs().amax((1, 2, 3)) > 1e-3).all()
    if field == "flip":
        near(always, images.flip(3), 1e-6)
    if field == "gray_p":
        near(always, tv.rgb_to_grayscale(images, 3), 2e-6)
    if field == "solarize_p":
        clear = (images - 0.5).abs() > 1e-5  # a crop of the whole image moves values by a rounding error
        near(always[clear], tv.solarize(images, 0.5)[clear], 2e-6)


def test_jitter_equals_torchvision_in_the_order_that_was_drawn(monkeypatch):
    """Record which operation was called with which factors, then do the same with torchvision's."""
    calls = []
    for name in ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue"):
        real = getattr(augment, name)
        monkeypatch.setattr(views, name, lambda images, factor, name=name, real=real: (
            calls.append((name, factor.clone())), real(images, factor))[1])
    images = pictures()
    got = Augment(20, scale=(1, 1), ratio=(1, 1), flip=0, gray_p=0)(images, generator(4))
    assert len(calls) == 4
    for i, image in enumerate(images):
        for name, factor in calls:
            image = getattr(tv, name)(image, float(factor[i]))
        near(got[i], image, 2e-5)


def test_the_order_of_jitter_varies_between_batches(monkeypatch):
    orders = []
    for name in ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue"):
        monkeypatch.setattr(views, name, lambda images, factor, name=name: (orders[-1].append(name), images)[1])
    draw = generator()
    for _ in range(60):
        orders.append([])
        Augment(20, gray_p=0)(pictures(2), draw)
    assert len(set(map(tuple, orders))) >= 15  # of 24; 60 draws miss 9 or more of them once in 10^4
    assert all(len(set(order)) == 4 for order in orders)


def test_jitter_strengths_are_uniform_in_their_range(monkeypatch):
    factors = {}
    for name in ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue"):
        monkeypatch.setattr(views, name,
                            lambda images, factor, name=name: (factors.update({name: factor}), images)[1])
    Augment(4, jitter=(0.4, 0.6, 1.5, 0.1), jitter_p=0.8, gray_p=0)(torch.rand(20000, 3, 4, 4), generator())
    for name, low, high, neutral in (("adjust_brightness", 0.6, 1.4, 1), ("adjust_contrast", 0.4, 1.6, 1),
                                     ("adjust_saturation", 0.0, 2.5, 1), ("adjust_hue", -0.1, 0.1, 0)):
        changed = factors[name] != neutral
        assert changed.float().mean() == pytest.approx(0.8, abs=0.015)
        values = (factors[name][changed] - low) / (high - low)
        assert 0 <= values.min() and values.max() <= 1
        assert values.mean() == pytest.approx(0.5, abs=0.01)
        assert values.std() == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    hue, brightness = factors["adjust_hue"] != 0, factors["adjust_brightness"] != 1
    assert torch.equal(hue, brightness), "a sample is jittered in all four or not at all"


def test_views_of_several_sizes():
    images = pictures(4, 24, 24)
    crops = [Augment(20)] * 2 + [Augment(8, scale=(0.05, 0.25))] * 3
    views = many_views(images, crops, generator())
    assert [tuple(v.shape) for v in views] == [(4, 3, 20, 20)] * 2 + [(4, 3, 8, 8)] * 3
    assert all(not torch.equal(views[2], v) for v in views[3:])
    a, b = two_views(images, Augment(20), generator(), Augment(8))
    assert a.shape[-1] == 20 and b.shape[-1] == 8
    assert Augment(16)(pictures(2, 12, 30), generator()).shape == (2, 3, 16, 16)


# ---------------------------------------------------------------- boxes
@pytest.mark.parametrize("height, width, scale, ratio", [
    (32, 32, (0.2, 1.0), (3 / 4, 4 / 3)), (32, 32, (0.08, 1.0), (3 / 4, 4 / 3)), (40, 24, (0.3, 0.6), (0.5, 2.0))])
def test_boxes_are_distributed_as_torchvisions(height, width, scale, ratio):
    n = 4000
    ours = sample_boxes(n, height, width, scale, ratio, generator())
    torch.manual_seed(0)
    empty = torch.empty(1, height, width)
    theirs = torch.tensor([RandomResizedCrop.get_params(empty, list(scale), list(ratio)) for _ in range(n)]).float()
    top, left, h, w = ours.unbind(1)
    assert torch.equal(ours, ours.round()) and (h >= 1).all() and (w >= 1).all()
    assert (top >= 0).all() and (left >= 0).all() and (top + h <= height).all() and (left + w <= width).all()

    def measures(boxes):
        return (*boxes.T, boxes[:, 2] * boxes[:, 3], boxes[:, 3] / boxes[:, 2])  # and area, aspect

    for mine, wanted in zip(measures(ours), measures(theirs)):
        points = torch.cat([mine, wanted]).unique()
        gap = ((mine[:, None] <= points).float().mean(0) - (wanted[:, None] <= points).float().mean(0)).abs().max()
        assert gap < 0.044  # Kolmogorov-Smirnov, n = m = 4000: beyond this once in 10^3


def test_boxes_that_never_fit_are_torchvisions_fallback():
    for height, width in ((10, 40), (40, 10), (20, 20), (18, 20)):
        wanted = RandomResizedCrop.get_params(torch.empty(1, height, width), [3.0, 4.0], [3 / 4, 4 / 3])
        boxes = sample_boxes(3, height, width, (3.0, 4.0), (3 / 4, 4 / 3), generator())
        assert abs(boxes - torch.tensor(wanted)).max() <= 1 and (boxes[:, 2:] == torch.tensor(wanted[2:])).all()


# ---------------------------------------------------------------- masks
@pytest.mark.parametrize("grid", [2, 4, 7, 8])
@pytest.mark.parametrize("mask_ratio", [0.0, 0.25, 0.4, 0.5, 0.6, 0.75, 0.99])
def test_every_image_keeps_the_same_number_of_patches(grid, mask_ratio):
    visible = patch_mask(5, grid, mask_ratio, generator())
    assert visible.shape == (5, grid, grid) and visible.dtype == torch.bool
    assert visible.sum((1, 2)).tolist() == [max(1, round(grid * grid * (1 - mask_ratio)))] * 5


def test_rounding_is_pythons():
    noise = torch.rand(1, 10, generator=generator())
    assert [int(augment.mask_from_noise(noise, h).sum()) for h in (0.75, 0.65, 0.25)] == [2, 4, 8]  # 2.5, 3.5, 7.5


def test_the_smallest_noise_stays():
    noise = torch.tensor([[0.3, 0.1, 0.9, 0.2], [0.4, 0.3, 0.2, 0.1]])
    assert augment.mask_from_noise(noise, 0.5).tolist() == [[False, True, False, True], [False, False, True, True]]


def test_masks_are_uniform_and_differ_between_images():
    visible = patch_mask(8000, 4, 0.6, generator()).flatten(1).float()
    assert (visible.mean(0) - 6 / 16).abs().max() < 0.025
    together = visible.T @ visible / 8000  # any two patches: 6/16 * 5/15
    assert (together - torch.diag(together.diag()) - (1 - torch.eye(16)) * 6 / 16 * 5 / 15).abs().max() < 0.025
    assert len({tuple(row) for row in visible[:500].tolist()}) > 450
    assert torch.equal(patch_mask(4, 4, 0.6, generator(5)), patch_mask(4, 4, 0.6, generator(5)))
    for share in (-0.1, 1.0, 60):
        with pytest.raises(ValueError, match="share of patches to hide"):
            patch_mask(2, 4, share, generator())


def test_blur_against_a_loop():
    """Not only against torchvision: weights by hand, mirrored edges."""
    row = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.5])
    image = row.expand(1, 3, 5, 5).clone()
    side = math.exp(-0.5)
    k = [side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side)]
    padded = F.pad(image, (1, 1, 0, 0), mode="reflect")[0, 0, 0].tolist()
    wanted = [sum(k[j] * padded[i + j] for j in range(3)) for i in range(5)]
    near(augment.gaussian_blur(image, 1.0, 3)[0, 0, 2], torch.tensor(wanted), 1e-6)


# ---------------------------------------------------------------- the papers' views
def test_moco_v1_makes_grey_before_it_jitters(monkeypatch):
    """So a grey image is tinted; the jitter is always there, as strong in hue as in the rest, and there is no blur."""
    view = augment.moco_v1_view(96)
    assert view.jitter == (0.4, 0.4, 0.4, 0.4) and view.jitter_p == 1 and view.gray_p == 0.2 and not view.blur_p
    order = []
    monkeypatch.setattr(views, "adjust_hue", lambda x, shift: order.append("hue") or x)
    monkeypatch.setattr(views, "adjust_saturation", lambda x, f: order.append("grey" if f.max() <= 1 else "") or x)
    replace_all = dict(scale=(1.0, 1.0), jitter=(0.0, 0.0, 0.0, 0.4), jitter_p=1.0, gray_p=1.0)
    for first in (True, False):
        Augment(20, gray_first=first, **replace_all)(pictures(), generator())
    assert order == ["grey", "hue", "hue", "grey"]


@pytest.mark.parametrize("size, wanted", [(32, "bilinear"), (64, "bilinear"), (96, "bicubic")])
def test_crops_are_bicubic_where_the_official_code_s_are(size, wanted):
    pair = augment.byol_views(size)
    assert [view.interpolation for view in pair] == [wanted] * 2
    assert views.official_crop(size) == wanted
    assert augment.moco_view(size).interpolation == augment.moco_v1_view(size).interpolation == "bilinear"


# ---------------------------------------------------------------- inputs that are no batch of images
def test_one_image_and_bytes_as_floats_are_refused_by_name():
    images = pictures()
    with pytest.raises(ValueError, match=r"shape \(3, 20, 20\); expected a batch \(B, 3, H, W\)"):
        Augment(20)(images[0], generator())
    for use in (augment.to_float, augment.standardize, lambda x: Augment(20)(x, generator())):
        with pytest.raises(ValueError, match="reach 255; expected values from 0 to 1"):
            use(images * 255)
    for wrong in (images[:, :1], images.movedim(1, 3)):  # grey; channels last
        with pytest.raises(ValueError, match="Repeat a grey channel three times, and put channels before height"):
            Augment(20)(wrong, generator())
    assert Augment(20, jitter_p=0.0, gray_p=0.0)(images[:, :1], generator()).shape == (6, 1, 20, 20)
    noisy = images + torch.randn(images.shape, generator=generator())
    assert torch.equal(augment.to_float(noisy), noisy), "noise leaves [0, 1], and may"


def test_a_share_that_hides_all_or_nothing_is_refused():
    noise = torch.rand(2, 4, 4, generator=generator())
    for share in (-0.2, 0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="mask_ratio"):
            augment.coarse_mask(noise, share)
        with pytest.raises(ValueError, match="mask_ratio"):
            augment.block_mask(2, 4, share, generator())
