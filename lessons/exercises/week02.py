"""Exercises of week 2, SparK: keep a mask through a convolution and a batch norm, score what is hidden, train."""
from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.masks import enlarge
from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.masked.spark import LightDecoder, sparse
from course_lib.methods.masked.spark import spark_loss as library_loss
from course_lib.models.backbones import ConvNet
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.patches import normalize_patches, patchify
from lessons.exercises.shared import STEP_WORDS, descend, noted_steps, rand, randn, seeded, update_mistakes


def mixed_masks(batch: int, grid: int, generator: torch.Generator, least: int = 1) -> Tensor:
    """(batch, 1, grid, grid) bool, True = visible: every image shows another number of patches."""
    noise = torch.rand(batch, grid * grid, generator=generator)
    keep = torch.tensor([least + (5 * i) % (grid * grid - least) for i in range(batch)])
    return (noise.argsort(1).argsort(1) < keep[:, None]).view(batch, 1, grid, grid)


# ------------------------------------------------------------------------------------------------ 02.mask_from_noise
def _noise_probes(generator, dtype):
    noise = partial(rand, generator, dtype)
    # 9 * 0.4 = 3.6, 16 * 0.4 = 6.4, 10 * 0.25 = 2.5 and 9 * 0.5 = 4.5 (ties), 4 * 0.05: rounding, the least count
    return [(noise(5, 9), 0.6), (noise(3, 16), 0.6), (noise(2, 10), 0.75), (noise(4, 9), 0.5), (noise(7, 4), 0.95),
            dict(noise=noise(6, 16), mask_ratio=0.25)]


def _keep(noise: Tensor, mask_ratio: float) -> int:
    return max(1, round(noise.shape[1] * (1 - mask_ratio)))


def _from_order(noise: Tensor, first: Tensor, keep: int) -> Tensor:
    return torch.zeros_like(noise, dtype=torch.bool).scatter_(1, first[:, :keep], True)


mask_from_noise = Exercise(
    key="02.mask_from_noise", title="Draw a mask", minutes=5, difficulty=2,
    reference="course_lib.augment.masks:mask_from_noise", probes=_noise_probes,
    unit="patches",
    wrong={
        "True means hidden": (
            lambda noise, mask_ratio: ~_from_order(noise, noise.argsort(1), _keep(noise, mask_ratio)),
            "SparK's map says what is visible: True stays, False is hidden. (MAE has it the other way round, "
            "a good reason to read the first comment of any masking code twice.)"),
        "a coin for every patch": (
            lambda noise, mask_ratio: noise < 1 - mask_ratio,
            "Each patch is kept with the right probability, but images keep different numbers of patches. "
            "Keep the k smallest of each row, so that every image shows the same share."),
        "argsort taken for ranks": (
            lambda noise, mask_ratio: noise.argsort(1) < _keep(noise, mask_ratio),
            "argsort gives, for each rank, the position that has it; you compare positions as if they were ranks. "
            "Either argsort twice, or scatter True to the first k positions."),
        "the share of hidden patches is kept": (
            lambda noise, mask_ratio: _from_order(noise, noise.argsort(1), max(1, round(noise.shape[1] * mask_ratio))),
            "`mask_ratio` is the share that goes. The number that stays is round(L * (1 - mask_ratio))."),
        "rounded down": (
            lambda noise, mask_ratio: _from_order(noise, noise.argsort(1),
                                                  max(1, int(noise.shape[1] * (1 - mask_ratio)))),
            "int() cuts off: of 9 patches at mask_ratio = 0.6, 3.6 should become 4, not 3. MAE cuts off, SparK "
            "rounds."),
        "the largest noise stays": (
            lambda noise, mask_ratio: _from_order(noise, noise.argsort(1, descending=True), _keep(noise, mask_ratio)),
            "As random as it should be, but by the convention (here, in MAE and in SparK) the smallest noise stays."),
    },
    right={
        "ranks by argsort twice": lambda noise, mask_ratio: noise.argsort(1).argsort(1) < _keep(noise, mask_ratio),
        "threshold at the k-th smallest": lambda noise, mask_ratio:
            noise <= noise.kthvalue(_keep(noise, mask_ratio), dim=1, keepdim=True).values,
    },
    hints=("How many patches of a row stay? Compute that number first; at least one must.",
           "noise.argsort(1)[:, :keep] holds, for each row, the positions of the keep smallest numbers.",
           "keep = max(1, round(noise.shape[1] * (1 - mask_ratio)))\n"
           "visible = torch.zeros_like(noise, dtype=torch.bool)\n"
           "return visible.scatter_(1, noise.argsort(dim=1)[:, :keep], True)"),
)


# ------------------------------------------------------------------------------------------------ 02.sparse_conv
def sparse_conv(x: Tensor, weight: Tensor, bias: Tensor | None, visible: Tensor, stride: int = 1) -> Tensor:
    """A convolution that keeps hidden positions empty: the dense one, then "times the mask".

    x (B, C, H, H), 0 where hidden; weight (D, C, k, k), k odd; bias (D,) or None; visible (B, 1, f, f) bool on the
    grid of patches -> (B, D, H/stride, H/stride), 0 where hidden.
    """
    y = F.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)
    return y * enlarge(visible, y.shape[-1])


def _conv_probes(generator, dtype):
    def draw(batch, grid, size, channels, out, kernel, stride=1, bias=True):
        visible = mixed_masks(batch, grid, generator)
        x = randn(generator, dtype, batch, channels, size, size) * enlarge(visible, size)
        x[:, :, 1::4, ::3] = 0  # empty, and visible all the same: a mask can't be read off x
        weight = randn(generator, dtype, out, channels, kernel, kernel)
        shift = 1 + rand(generator, dtype, out) if bias else None
        return (x, weight, shift, visible, stride)

    first = draw(2, 3, 12, 4, 7, 5)
    return [first[:4], draw(5, 2, 8, 4, 6, 3, stride=2), draw(3, 4, 4, 5, 2, 7, bias=False),
            dict(zip(("x", "weight", "bias", "visible", "stride"), draw(4, 3, 6, 2, 5, 1)))]


def _dense(x, weight, bias, stride):
    return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)


def _no_mask(x, weight, bias, visible, stride=1):
    return _dense(x, weight, bias, stride)


def _bias_leaks(x, weight, bias, visible, stride=1):
    y = _dense(x, weight, None, stride)
    y = y * enlarge(visible, y.shape[-1])
    return y if bias is None else y + bias.view(1, -1, 1, 1)


def _mask_inverted(x, weight, bias, visible, stride=1):
    y = _dense(x, weight, bias, stride)
    return y * enlarge(~visible, y.shape[-1])


def _renormalised(x, weight, bias, visible, stride=1):
    y, k = _dense(x, weight, None, stride), weight.shape[-1]
    seen = enlarge(visible, x.shape[-1]).to(x.dtype)
    inside = F.conv2d(seen, torch.ones(1, 1, k, k, dtype=x.dtype), None, stride, k // 2)
    y = y * (k * k / inside.clamp(min=1))
    y = y if bias is None else y + bias.view(1, -1, 1, 1)
    return y * enlarge(visible, y.shape[-1])


def _mask_tiled(x, weight, bias, visible, stride=1):
    y = _dense(x, weight, bias, stride)
    times = y.shape[-1] // visible.shape[-1]
    return y * visible.repeat(1, 1, times, times)


def _mask_blurred(x, weight, bias, visible, stride=1):
    y = _dense(x, weight, bias, stride)
    return y * F.interpolate(visible.to(y.dtype), size=y.shape[-2:], mode="bilinear", align_corners=False)


def _sparse_layer(x, weight, bias, visible, stride=1):
    """The library's way: a plain nn.Conv2d inside `sparse`."""
    conv = torch.nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[-1], stride, weight.shape[-1] // 2,
                           bias=bias is not None).to(x.dtype)
    parts = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    with sparse(conv, visible):
        return torch.func.functional_call(conv, parts, (x,))


sparse_conv_exercise = Exercise(
    key="02.sparse_conv", title="A convolution that keeps the mask", minutes=6, difficulty=2,
    reference=sparse_conv, probes=_conv_probes, gradients=True,
    unit="patches",
    wrong={
        "the mask is not applied after the convolution": (
            _no_mask, "A hidden position with a visible neighbour gets a value, and with a bias every position does. "
                      "Masking the input again changes nothing, it is empty there already: multiply the output."),
        "the bias leaks": (
            _bias_leaks, "Hidden positions hold the bias: it was added after the mask. Mask last."),
        "the mask is inverted": (
            _mask_inverted, "True = visible. You kept what is hidden and emptied what is visible."),
        "divided by the number of visible inputs": (
            _renormalised, "That is a partial convolution (inpainting): it rescales windows that reach over the "
                           "edge of the mask. SparK does not: a hidden neighbour counts as 0, like padding."),
        "the mask is tiled": (
            _mask_tiled, "repeat() sets copies of the whole mask side by side. Each flag must cover the positions "
                         "of its own patch: repeat_interleave, or the library's enlarge."),
        "the mask has soft edges": (
            _mask_blurred, "Bilinear interpolation gives values between 0 and 1 at the edges of patches. "
                           "A position is visible or hidden: enlarge by repeating (or mode='nearest')."),
    },
    right={
        "the library's layer inside `sparse`": _sparse_layer,
        "where in place of times": lambda x, weight, bias, visible, stride=1: torch.where(
            F.interpolate(visible.float(), size=(x.shape[-1] // stride,) * 2).bool(),
            _dense(x, weight, bias, stride), x.new_zeros(())),
    },
    hints=("Do the dense convolution first, as if nothing was hidden: F.conv2d with padding k // 2.",
           "What is wrong with its output? Which positions must be empty, and at which resolution?",
           "y = F.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)\n"
           "return y * enlarge(visible, y.shape[-1])"),
)


# ------------------------------------------------------------------------------------------------ 02.masked_batch_norm
def masked_batch_norm(x: Tensor, visible: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Batch norm in training whose statistics count visible positions only; hidden positions come out as 0.

    x (B, C, H, W); visible (B, 1, H, W) bool; weight and bias (C,) -> (B, C, H, W). The variance is the biased one.
    """
    mask = visible.to(x.dtype)
    count = mask.sum()
    mean = (x * mask).sum((0, 2, 3), keepdim=True) / count
    centred = (x - mean) * mask
    variance = centred.square().sum((0, 2, 3), keepdim=True) / count
    scaled = centred / torch.sqrt(variance + eps)
    return (scaled * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)) * mask


def _norm_probes(generator, dtype):
    def draw(batch, channels, height, width, scale=1.0):
        visible = torch.rand(batch, 1, height, width, generator=generator) < 0.4
        visible[:, :, 0, 0], visible[:, :, -1, -1] = True, False
        level = torch.arange(1, channels + 1, dtype=dtype).view(1, -1, 1, 1)
        x = randn(generator, dtype, batch, channels, height, width)
        x = (x * level + 2 + torch.arange(batch, dtype=dtype).view(-1, 1, 1, 1)) * scale
        weight, bias = (rand(generator, dtype, channels) + 0.5 for _ in range(2))
        return (x * visible, visible, weight, bias)

    second = draw(2, 3, 5, 4)
    # The third is small, so that eps and its place matter; the last has values at hidden positions.
    loud = draw(3, 2, 5, 4)
    loud = (loud[0] + 7 * ~loud[1], *loud[1:])
    return [draw(4, 3, 5, 6), dict(zip(("x", "visible", "weight", "bias"), second)), (*draw(5, 2, 4, 6, 0.02), 1e-5),
            dict(zip(("x", "visible", "weight", "bias"), loud), eps=0.5)]


def _affine(x, mean, variance, weight, bias, eps, mask):
    y = (x - mean) / torch.sqrt(variance + eps) * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
    return y * mask


def _visible_moments(x, visible, over=(0, 2, 3), correction=0):
    mask = visible.to(x.dtype)
    count = mask.sum(over, keepdim=True)
    mean = (x * mask).sum(over, keepdim=True) / count
    return mean, ((x - mean).square() * mask).sum(over, keepdim=True) / (count - correction)


def _all_positions(x, visible, weight, bias, eps=1e-5):
    x = x * visible
    return _affine(x, x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True),
                   weight, bias, eps, visible)


def _mask_at_the_end(x, visible, weight, bias, eps=1e-5):
    return _affine(x, x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True),
                   weight, bias, eps, visible)


def _variance_of_all(x, visible, weight, bias, eps=1e-5):
    x, mean = x * visible, _visible_moments(x, visible)[0]
    return _affine(x, mean, (x - mean).square().mean((0, 2, 3), keepdim=True), weight, bias, eps, visible)


def _unbiased(x, visible, weight, bias, eps=1e-5):
    return _affine(x, *_visible_moments(x, visible, correction=1), weight, bias, eps, visible)


def _hidden_not_zero(x, visible, weight, bias, eps=1e-5):
    return _affine(x * visible, *_visible_moments(x, visible), weight, bias, eps, 1)


def _per_image(x, visible, weight, bias, eps=1e-5):
    return _affine(x, *_visible_moments(x, visible, (2, 3)), weight, bias, eps, visible)


def _one_for_all_channels(x, visible, weight, bias, eps=1e-5):
    mask = visible.to(x.dtype).expand_as(x)
    mean = (x * mask).sum() / mask.sum()
    return _affine(x, mean, ((x - mean).square() * mask).sum() / mask.sum(), weight, bias, eps, visible)


def _eps_outside(x, visible, weight, bias, eps=1e-5):
    mean, variance = _visible_moments(x, visible)
    y = (x - mean) / (variance.sqrt() + eps) * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
    return y * visible


def _no_root(x, visible, weight, bias, eps=1e-5):
    mean, variance = _visible_moments(x, visible)
    y = (x - mean) / (variance + eps) * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
    return y * visible


def _norm_layer(x, visible, weight, bias, eps=1e-5):
    """The library's layer, as SparK's encoder uses it."""
    norm = BatchNorm2d(x.shape[1], eps).to(x.dtype)
    norm.visible = visible
    return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))


def _norm_gathered(x, visible, weight, bias, eps=1e-5):
    """The official code's way: batch norm in one dimension over the gathered visible positions."""
    rows = rearrange(x, "b c h w -> b h w c")
    seen = visible[:, 0]
    out = torch.zeros_like(rows)
    out[seen] = F.batch_norm(rows[seen], None, None, weight, bias, training=True, eps=eps)
    return rearrange(out, "b h w c -> b c h w")


masked_batch_norm_exercise = Exercise(
    key="02.masked_batch_norm", title="Batch norm over visible positions", minutes=10, difficulty=3,
    reference=masked_batch_norm, probes=_norm_probes, gradients=True, tolerance=5e-5,
    wrong={
        "statistics over all positions": (
            _all_positions, "The zeros of hidden positions are counted: the mean is pulled towards 0 and the variance "
                            "is wrong. Sum over visible positions and divide by their number."),
        "the mask only at the end": (
            _mask_at_the_end, "Only the output is masked: every position still counts in the mean and the variance, "
                              "also what stands at hidden ones. Sum x * visible and divide by the visible number."),
        "the mean over all positions": (
            lambda x, visible, weight, bias, eps=1e-5: _affine(
                x, x.mean((0, 2, 3), keepdim=True), _visible_moments(x, visible)[1], weight, bias, eps, visible),
            "Your mean counts the hidden positions; your variance does not. Both are over visible positions."),
        "hidden zeros in the variance": (
            _variance_of_all, "The mean is right. In the variance every hidden position adds (0 - mean)²: mask the "
                              "squares, and divide by the number of visible positions."),
        "the unbiased variance": (
            _unbiased, "Batch norm normalises with the biased variance (divide by n, not n - 1); the unbiased one "
                       "only goes into the running variance."),
        "hidden positions are not emptied again": (
            _hidden_not_zero, "Statistics and scaling are right, but shifting by the mean and the bias has put a value "
                              "into every hidden position. Mask last."),
        "statistics for each image": (
            _per_image, "That is instance norm: one mean per image and channel. Batch norm takes one mean per "
                        "channel, over all images of the batch together: axes 0, 2 and 3."),
        "one statistic for all channels": (
            _one_for_all_channels, "Each channel has a mean and a variance of its own: sum over axes 0, 2 and 3 and "
                                   "keep axis 1."),
        "eps added to the standard deviation": (
            _eps_outside, "eps belongs under the root: sqrt(variance + eps)."),
        "divided by the variance": (
            _no_root, "Divide by the standard deviation, the root of (variance + eps): the variance has the unit of "
                      "x squared."),
    },
    right={
        "the library's BatchNorm2d layer": _norm_layer,
        "batch norm of the gathered positions": _norm_gathered,
        "var_mean of each channel's visible values": lambda x, visible, weight, bias, eps=1e-5: torch.stack([
            ((x[:, c] - x[:, c][visible[:, 0]].mean())
             / (x[:, c][visible[:, 0]].var(correction=0) + eps) ** 0.5 * weight[c] + bias[c]) * visible[:, 0]
            for c in range(x.shape[1])], 1),
    },
    hints=("Only two numbers per channel are needed. Over which axes of (B, C, H, W) do you sum, and how many "
           "positions "
           "are there in all?",
           "count = visible.sum(); mean = (x * visible).sum((0, 2, 3), keepdim=True) / count; for the variance do "
           "the same with the squares of x - mean.",
           "count = visible.sum()\n"
           "mean = (x * visible).sum((0, 2, 3), keepdim=True) / count\n"
           "variance = ((x - mean).square() * visible).sum((0, 2, 3), keepdim=True) / count\n"
           "scaled = (x - mean) / torch.sqrt(variance + eps)\n"
           "return (scaled * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)) * visible"),
)


# ------------------------------------------------------------------------------------------------ 02.spark_loss
def _loss_probes(generator, dtype):
    def draw(batch, grid, patch):
        images = randn(generator, dtype, batch, 3, grid * patch, grid * patch)
        images = images * (1 + rand(generator, dtype, batch, 3, 1, 1)) + 0.5
        prediction = randn(generator, dtype, images.shape)
        return prediction, images, mixed_masks(batch, grid, generator)[:, 0]

    return [draw(5, 4, 2), dict(zip(("prediction", "images", "visible"), draw(6, 2, 5)), normalized=True),
            (*draw(4, 5, 2), False)]


def _parts(prediction, images, visible, normalized, normalise=lambda p: normalize_patches(p)[0]):
    visible = visible.flatten(1)
    patch = images.shape[-1] // math.isqrt(visible.shape[1])
    target, guess = patchify(images, patch), patchify(prediction, patch)
    error = (guess - (normalise(target) if normalized else target)).square().mean(-1)
    return error, (~visible).to(error.dtype)


def _all_patches(prediction, images, visible, normalized=True):
    return _parts(prediction, images, visible, normalized)[0].mean()


def _visible_patches(prediction, images, visible, normalized=True):
    error, hidden = _parts(prediction, images, visible, normalized)
    return (error * (1 - hidden)).sum() / ((1 - hidden).sum() + 1e-8)


def _mean_of_means(prediction, images, visible, normalized=True):
    error, hidden = _parts(prediction, images, visible, normalized)
    return ((error * hidden).sum(1) / (hidden.sum(1) + 1e-8)).mean()


def _over_all_patches(prediction, images, visible, normalized=True):
    error, hidden = _parts(prediction, images, visible, normalized)
    return (error * hidden).mean()


def _biased(prediction, images, visible, normalized=True):
    def normalise(p):
        return (p - p.mean(-1, keepdim=True)) / (p.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()

    error, hidden = _parts(prediction, images, visible, normalized, normalise)
    return (error * hidden).sum() / (hidden.sum() + 1e-8)


def _per_channel(prediction, images, visible, normalized=True):
    def normalise(p):
        p = rearrange(p, "b l (n c) -> b l n c", c=3)
        p = (p - p.mean(2, keepdim=True)) / (p.var(2, keepdim=True) + 1e-6).sqrt()
        return p.flatten(2)

    error, hidden = _parts(prediction, images, visible, normalized, normalise)
    return (error * hidden).sum() / (hidden.sum() + 1e-8)


def _loss_by_image(prediction, images, visible, normalized=True):
    """The same in the shape of an image: normalise blocks of pixels, enlarge the mask."""
    patch = images.shape[-1] // visible.shape[-1]
    target = rearrange(images, "b c (h p) (w q) -> b h w (c p q)", p=patch, q=patch)
    if normalized:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
    target = rearrange(target, "b h w (c p q) -> b c (h p) (w q)", p=patch, q=patch)
    hidden = repeat(~visible, "b h w -> b c (h p) (w q)", c=3, p=patch, q=patch)
    squares = (prediction - target) ** 2
    return (squares * hidden).sum() / (hidden.sum() + 1e-8)


spark_loss = Exercise(
    key="02.spark_loss", title="The error on hidden patches", minutes=8, difficulty=3,
    reference="course_lib.methods.masked.spark:spark_loss", probes=_loss_probes, gradients=True,
    # images are data: whether a target lets a gradient through to them is no matter
    call=lambda loss, prediction, images, *rest, **named: loss(prediction, images.detach(), *rest, **named),
    unit="patches",
    wrong={
        "visible patches count as well": (
            _all_patches, "This is the mean over all patches. Copying what is visible is no task: it would only dilute "
                          "the loss. Weight each patch with (not visible)."),
        "the mask is inverted": (
            _visible_patches, "True = visible, and you score the visible patches: the network is paid for copying. "
                              "Take ~visible."),
        "mean of per-image means": (
            _mean_of_means, "Each image counts the same here, whatever it hides. SparK (and MAE) divide one sum over "
                            "the batch by the number of hidden patches in the batch: each hidden patch counts the "
                            "same."),
        "divided by the number of all patches": (
            _over_all_patches, "The sum is right. Divide by the number of hidden patches, not of all patches: else "
                               "the loss changes with the mask ratio."),
        "the biased variance in the target": (
            _biased, "The target's standard deviation is the unbiased one: patches.var(-1) as it stands, without "
                     "correction=0. normalize_patches does it."),
        "each colour normalised on its own": (
            _per_channel, "A patch has one mean and one standard deviation over all its pixels and colours together: "
                          "p·p·3 numbers."),
    },
    right={
        "in the shape of an image": _loss_by_image,
        "rows picked by the mask": lambda prediction, images, visible, normalized=True: (
            lambda error, hidden: error[hidden.bool()].sum() / (hidden.sum() + 1e-8)
        )(*_parts(prediction, images, visible, normalized)),
    },
    hints=("Cut both images into patches (B, L, n), and normalise the patches of the target when asked to. Prediction "
           "and mask stay as they are.",
           "One number per patch: the mean of the squared differences over the last axis, (B, L). Which of them count?",
           "patch = images.shape[-1] // visible.shape[-1]\n"
           "target, guess = patchify(images, patch), patchify(prediction, patch)\n"
           "if normalized:\n"
           "    target = normalize_patches(target)[0]\n"
           "error = (guess - target).square().mean(-1)\n"
           "hidden = ~visible.flatten(1)\n"
           "return (error * hidden).sum() / hidden.sum()"),
)

# ------------------------------------------------------------------------------------------------ 02.spark_step
def spark_step(encoder, mask_tokens, projections, decoder, optimizer, images, visible):
    """One update of SparK -> the loss, a number.

    encoder.stages(images) -> maps (B, D, h, w), the largest first; mask_tokens (1, D, 1, 1) and projections, one for
    each map, the smallest first; decoder(maps, the smallest first) -> (B, 3, H, W). images (B, 3, H, W), visible
    (B, f, f) bool.
    """
    seen = visible.unsqueeze(1)
    with sparse(encoder, seen):
        maps = encoder.stages(images * enlarge(seen, images.shape[-1]))
    dense = [project(torch.where(enlarge(seen, x.shape[-1]), x, token))
             for token, project, x in zip(mask_tokens, projections, reversed(maps))]
    loss = library_loss(decoder(dense), images, visible)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _three_updates(step, images: Tensor, visible: Tensor):
    """Three updates of a very small SparK by `step`: the losses, and the weights at the end."""
    draw = partial(randn, torch.Generator().manual_seed(5), images.dtype)
    parts = encoder, tokens, projections, decoder = seeded(5, images.dtype, lambda: torch.nn.ModuleList([
        ConvNet(depth=2, widths=(4, 6)), torch.nn.ParameterList([draw(1, 6, 1, 1), draw(1, 4, 1, 1)]),
        torch.nn.ModuleList([torch.nn.Conv2d(6, 8, 1), torch.nn.Conv2d(4, 4, 3, padding=1)]), LightDecoder(4, 8)]))
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.05, momentum=0.5)
    fixed = encoder, tokens, projections, decoder, optimizer
    return noted_steps(step, [(*fixed, *pair) for pair in zip(images, visible)], parts.parameters())


def _step_probes(generator, dtype):
    def draw(batch, grid):
        images = randn(generator, dtype, 3, batch, 3, 4 * grid, 4 * grid)
        return dict(images=images, visible=torch.stack([mixed_masks(batch, grid, generator)[:, 0] for _ in images]))

    return [draw(4, 3), draw(3, 4)]


def _step(shown=lambda images, seen: images * enlarge(seen, images.shape[-1]), layers=sparse,
          fill=lambda seen, x, token: torch.where(enlarge(seen, x.shape[-1]), x, token), sequence=reversed,
          used=lambda dense: dense, scored=lambda visible: visible, normalized=True, order="clear backward step",
          back=lambda loss: loss.item()):
    def step(encoder, mask_tokens, projections, decoder, optimizer, images, visible):
        seen = visible.unsqueeze(1)
        with layers(encoder, seen):
            maps = encoder.stages(shown(images, seen))
        dense = [project(fill(seen, x, token)) for token, project, x in zip(mask_tokens, projections, sequence(maps))]
        loss = library_loss(decoder(used(dense)), images, scored(visible), normalized)
        return descend(loss, optimizer, order, back)

    return step


def _all_within_sparse(encoder, mask_tokens, projections, decoder, optimizer, images, visible):
    """The decoder and the loss inside the context, which masks the encoder only; multiplied in place of `where`."""
    with sparse(encoder, visible[:, None]):
        maps = list(encoder.stages(torch.where(enlarge(visible[:, None], images.shape[-1]), images, 0.0)))
        dense = []
        for number in range(len(maps)):
            x, token = maps[-1 - number], mask_tokens[number]
            here = enlarge(visible[:, None], x.shape[-1]).to(x)
            dense.append(projections[number](x + token * (1 - here)))
        loss = library_loss(decoder(dense), images, visible)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


spark_step_exercise = Exercise(
    key="02.spark_step", title="One training step", minutes=10, difficulty=4,
    reference=spark_step, probes=_step_probes, call=_three_updates, tolerance=2e-4,
    words=STEP_WORDS,
    wrong={
        "the encoder runs as an ordinary network": (
            _step(layers=lambda *_: nullcontext()),
            "The first two leaks: the encoder ran as an ordinary network, wrote into the holes and counted them. Call "
            "its stages inside `with sparse(encoder, seen):`."),
        "the encoder gets the whole image": (
            _step(shown=lambda images, seen: images),
            "The encoder is given the whole image. `sparse` masks what comes out of a layer, not what goes into the "
            "first one: windows at the edge of a hole read hidden pixels. Multiply the images by the enlarged mask."),
        "the holes are not filled": (
            _step(fill=lambda seen, x, token: x),
            "The decoder gets maps with holes of 0, and the mask embeddings are never trained: torch.where(enlarge("
            "seen, x.shape[-1]), x, token)."),
        "the visible positions are filled": (
            _step(fill=lambda seen, x, token: torch.where(enlarge(seen, x.shape[-1]), token, x)),
            "The mask embedding stands where something was visible, and the holes stay empty: torch.where(seen, x, "
            "token) takes x where it is True."),
        "the mask embedding is added everywhere": (
            _step(fill=lambda seen, x, token: x + token),
            "The mask embedding is added to visible positions as well. It belongs in the holes only."),
        "only the smallest map is used": (
            _step(used=lambda dense: dense[:1]),
            "Only the smallest map reaches the decoder: that is SparK without its hierarchy. Hand on all of them."),
        "the visible patches are scored": (
            _step(scored=lambda visible: ~visible),
            "spark_loss takes the mask with True = visible and scores the others. Hand on `visible` as it is."),
        "all patches are scored": (
            _step(scored=torch.zeros_like), "The loss counts every patch, and copying what was shown is no task. Hand "
                                            "on `visible`."),
        "plain pixels as targets": (
            _step(normalized=False), "The targets are patches of mean 0 and standard deviation 1, which is "
                                     "spark_loss's default."),
        "the masked image as target": (
            lambda encoder, tokens, projections, decoder, optimizer, images, visible: _step()(
                encoder, tokens, projections, decoder, optimizer,
                images * enlarge(visible.unsqueeze(1), images.shape[-1]), visible),
            "The loss compares with the masked image, in which every hidden patch is 0. The target is `images`."),
        **update_mistakes(_step),
    },
    right={"all inside the context, cleared at the end": _all_within_sparse},
    hints=("Five acts: mask and encode, fill the holes of every map, draw, score, update. The lists of embeddings and "
           "projections begin with the smallest map, the encoder's with the largest.",
           "seen = visible.unsqueeze(1); with sparse(encoder, seen): maps = encoder.stages(...). A map x becomes "
           "project(torch.where(enlarge(seen, x.shape[-1]), x, token)).",
           "seen = visible.unsqueeze(1)\n"
           "with sparse(encoder, seen):\n"
           "    maps = encoder.stages(images * enlarge(seen, images.shape[-1]))\n"
           "dense = [project(torch.where(enlarge(seen, x.shape[-1]), x, token))\n"
           "         for token, project, x in zip(mask_tokens, projections, reversed(maps))]\n"
           "loss = spark_loss(decoder(dense), images, visible)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)

EXERCISES = [mask_from_noise, sparse_conv_exercise, masked_batch_norm_exercise, spark_loss, spark_step_exercise]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("The input is masked already. Why multiply by the mask after every convolution?", {
        "To save compute": "The dense convolution is computed all the same. A sparse kernel would save it.",
        "Each convolution writes into hidden positions": "Their windows reach visible neighbours, and a bias reaches "
            "everything.",
        "So that gradients do not explode": "The mask changes where gradients flow, not how large they are in general.",
    }, "Each convolution writes into hidden positions"),
    quiz("Half of a map is hidden and 0; a channel's visible values are all 4. What does an ordinary batch norm "
         "make of them?", {
        "0, as the variance is 0": "Over visible positions it would be. The ordinary one counts the zeros: mean 2, "
            "standard deviation 2.",
        "1": "(4 - 2) / 2 = 1: the mask has become the channel's only signal.",
        "4": "Nothing would be normalised then.",
    }, "1"),
    quiz("One image hides 4 patches, another 12. How does a hidden patch of the first weigh in SparK's loss?", {
        "Three times as much as one of the second": "It would, with the mean of per-image means.",
        "The same": "One sum over the batch, divided by the number of hidden patches in the batch.",
        "A third": "No rule does this.",
    }, "The same"),
    quiz("A paper shows sharp completions, from targets normalised per patch. What do you ask?", {
        "Whose mean and standard deviation was painted": "If the true ones: part of the picture was never predicted "
            "(figure 9).",
        "Whether the mask was random": "Worth knowing, but it does not make a picture dishonest.",
        "Which optimizer was used": "That does not decide what the picture shows.",
    }, "Whose mean and standard deviation was painted"),
    quiz("Transfer: a ConvNeXt has layer norm over the channels of each position. What does it need?", {
        "Statistics over visible positions, like batch norm": "A layer norm never looks at another position: its "
            "statistics are right.",
        "Only the mask after it": "Right: its bias would fill the empty positions.",
        "Nothing": "Its bias writes into empty positions, as a convolution's does.",
    }, "Only the mask after it"),
]
