"""Second spellings of the misconceptions of week 2, and mutants of its references that compute the same."""
from __future__ import annotations

import torch
from einops import rearrange, reduce, repeat
from torch.nn import functional as F

from course_lib.methods.masked.spark import sparse


# ---------------------------------------------------------------- 02.mask_from_noise
def _smallest(noise, keep):
    out = torch.zeros(noise.shape, dtype=torch.bool)
    for row, values in zip(out, noise):
        row[values.sort().indices[:keep]] = True
    return out


def _count(noise, mask_ratio):
    return max(1, round(noise.size(1) * (1 - mask_ratio)))


def _places_as_ranks(noise, mask_ratio):
    return noise.sort(dim=1).indices.lt(_count(noise, mask_ratio))


# ---------------------------------------------------------------- 02.sparse_conv
def _conv(x, weight, bias, stride):
    p = weight.shape[-1] // 2
    return F.conv2d(F.pad(x, (p, p, p, p)), weight, bias, stride=stride)


def _grow(flags, size):
    return repeat(flags, "b 1 h w -> b 1 (h p) (w q)", p=size // flags.shape[2], q=size // flags.shape[3])


def _mask_before(x, weight, bias, visible, stride=1):
    return _conv(x * _grow(visible, x.shape[2]), weight, bias, stride)


def _bias_after(x, weight, bias, visible, stride=1):
    y = torch.where(_grow(visible, x.shape[2] // stride), _conv(x, weight, None, stride), 0.0)
    return y + (0 if bias is None else bias[:, None, None])


def _other_half(x, weight, bias, visible, stride=1):
    y = _conv(x, weight, bias, stride)
    return y.masked_fill(_grow(visible, y.shape[2]), 0)


def _partial(x, weight, bias, visible, stride=1):
    k = weight.shape[-1]
    here = _grow(visible, x.shape[2]).to(x)
    share = F.avg_pool2d(here, k, stride, k // 2)
    y = _conv(x, weight, None, stride) / share.clamp(min=1 / k**2)
    y = y + (0 if bias is None else bias[:, None, None])
    return y * _grow(visible, y.shape[2])


def _copies(x, weight, bias, visible, stride=1):
    y = _conv(x, weight, bias, stride)
    times = y.shape[2] // visible.shape[2]
    return y * torch.cat([torch.cat([visible] * times, 2)] * times, 3)


def _soft(x, weight, bias, visible, stride=1):
    y = _conv(x, weight, bias, stride)
    return y * F.interpolate(visible.to(y), scale_factor=y.shape[2] / visible.shape[2], mode="bilinear")


# ---------------------------------------------------------------- 02.masked_batch_norm
def _seen(x, visible):
    """(C, n): the visible values of each channel."""
    return rearrange(x, "b c h w -> b h w c")[visible[:, 0]].T


def _finish(x, visible, mean, variance, weight, bias, eps):
    shape = (1, -1, 1, 1) if mean.dim() == 1 else mean.shape
    y = (x - mean.view(shape)) * torch.rsqrt(variance.view(shape) + eps)
    return torch.where(visible, y * weight[:, None, None] + bias[:, None, None], 0.0)


def _plain_batch_norm(x, visible, weight, bias, eps=1e-5):
    return F.batch_norm(x * visible, None, None, weight, bias, True, eps=eps) * visible


def _all_in_the_mean(x, visible, weight, bias, eps=1e-5):
    rows = x.movedim(1, -1)
    var = rows[visible[:, 0]].var(0, correction=0)
    y = (rows - rows.flatten(0, 2).mean(0)) / (var + eps) ** 0.5 * weight + bias
    return y.movedim(-1, 1).masked_fill(~visible, 0)


def _zeros_squared(x, visible, weight, bias, eps=1e-5):
    values = _seen(x, visible)
    mean = values.mean(1)
    n = visible.numel()
    hidden = n - values.shape[1]
    variance = (((values - mean[:, None]) ** 2).sum(1) + hidden * mean**2) / n
    return _finish(x, visible, mean, variance, weight, bias, eps)


def _torch_default_variance(x, visible, weight, bias, eps=1e-5):
    values = _seen(x, visible)
    return _finish(x, visible, values.mean(1), values.var(1), weight, bias, eps)


def _shifted_everywhere(x, visible, weight, bias, eps=1e-5):
    values = _seen(x, visible)
    mean, std = values.mean(1)[:, None, None], (values.var(1, correction=0) + eps).sqrt()[:, None, None]
    return (x * visible - mean) / std * weight[:, None, None] + bias[:, None, None]


def _instance(x, visible, weight, bias, eps=1e-5):
    rows = []
    for picture, flags in zip(x, visible[:, 0]):
        values = picture[:, flags]
        mean, variance = values.mean(1)[:, None, None], values.var(1, correction=0)[:, None, None]
        y = (picture - mean) / (variance + eps) ** 0.5
        rows.append((y * weight[:, None, None] + bias[:, None, None]) * flags)
    return torch.stack(rows)


def _single(x, visible, weight, bias, eps=1e-5):
    values = _seen(x, visible).flatten()
    c = x.shape[1]
    return _finish(x, visible, values.mean().expand(c), values.var(correction=0).expand(c), weight, bias, eps)


def _eps_beside_the_root(x, visible, weight, bias, eps=1e-5):
    values = _seen(x, visible)
    y = (x - values.mean(1)[:, None, None]) / (values.std(1, correction=0) + eps)[:, None, None]
    return torch.where(visible, y * weight[:, None, None] + bias[:, None, None], 0.0)


def _root_forgotten(x, visible, weight, bias, eps=1e-5):
    values = _seen(x, visible)
    scale = weight / (values.var(1, correction=0) + eps)
    y = (x - values.mean(1)[:, None, None]) * scale[:, None, None] + bias[:, None, None]
    return y.masked_fill(~visible, 0)


# ---------------------------------------------------------------- 02.spark_loss
def _squares(prediction, images, visible, normalized, correction=1, colours=False):
    """(B, f, f): the mean squared error of each patch."""
    p = images.shape[-1] // visible.shape[-1]
    if normalized:
        blocks = rearrange(images, "b c (h p) (w q) -> b h w (p q) c", p=p, q=p)
        over = (3,) if colours else (3, 4)
        mean, variance = blocks.mean(over, keepdim=True), blocks.var(over, correction=correction, keepdim=True)
        images = rearrange((blocks - mean) * (variance + 1e-6).rsqrt(), "b h w (p q) c -> b c (h p) (w q)", p=p)
    return reduce((prediction - images) ** 2, "b c (h p) (w q) -> b h w", "mean", p=p, q=p)


def _everything(prediction, images, visible, normalized=True):
    return _squares(prediction, images, visible, normalized).mean()


def _seen_patches(prediction, images, visible, normalized=True):
    error = _squares(prediction, images, visible, normalized)
    return error[visible].sum() / (visible.sum() + 1e-8)


def _image_by_image(prediction, images, visible, normalized=True):
    errors = _squares(prediction, images, visible, normalized)
    return sum(error[~flags].sum() / ((~flags).sum() + 1e-8) for error, flags in zip(errors, visible)) / len(errors)


def _hidden_over_all(prediction, images, visible, normalized=True):
    error = _squares(prediction, images, visible, normalized)
    return error.masked_fill(visible, 0).sum() / visible.numel()


def _population_variance(prediction, images, visible, normalized=True):
    error = _squares(prediction, images, visible, normalized, correction=0)
    return (error * ~visible).sum() / ((~visible).sum() + 1e-8)


def _colours_apart(prediction, images, visible, normalized=True):
    error = _squares(prediction, images, visible, normalized, colours=True)
    return (error * ~visible).sum() / ((~visible).sum() + 1e-8)


# ---------------------------------------------------------------- 02.spark_step
def _stepped(encoder, mask_tokens, projections, decoder, optimizer, images, visible, ordinary=False, whole=False,
             empty=False, swapped=False, everywhere=False, one=False, seen=False, score_all=False, plain=False,
             blanked=False, adds=False, still=False, early=False, digits=None, tensor=False):
    here = visible[:, None]
    given = images if whole else images.masked_fill(~_grow(here, images.shape[2]), 0)
    if ordinary:
        maps = encoder.stages(given)
    else:
        with sparse(encoder, here):
            maps = encoder.stages(given)
    dense = []
    for number, x in enumerate(maps[::-1]):
        holes = (~_grow(here, x.shape[2])).to(x)
        holes = 1 - holes if swapped else torch.ones_like(holes) if everywhere else holes
        kept = x if everywhere else x * (1 - holes)
        dense.append(projections[number](x if empty else kept + holes * mask_tokens[number]))
    drawn = decoder([dense[0], None] if one else dense)
    error = _squares(drawn, given if blanked else images, visible, not plain)
    chosen = torch.ones_like(visible) if score_all else visible if seen else ~visible
    loss = (error * chosen).sum() / (chosen.sum() + 1e-8)
    if early:
        optimizer.step()
    if not adds:
        optimizer.zero_grad(set_to_none=False)
    if not still:
        torch.autograd.backward([loss])
    if not early:
        optimizer.step()
    value = float(loss.detach())
    return loss if tensor else value if digits is None else round(value, digits)


def _step(**change):
    return lambda *given: _stepped(*given, **change)


SECOND = {
    "02.mask_from_noise": {
        "True means hidden": lambda noise, mask_ratio: _smallest(noise, _count(noise, mask_ratio)).logical_not(),
        "a coin for every patch": lambda noise, mask_ratio: (noise + mask_ratio).lt(1),
        "argsort taken for ranks": _places_as_ranks,
        "the share of hidden patches is kept": lambda noise, mask_ratio: _smallest(
            noise, _count(noise, 1 - mask_ratio)),
        "rounded down": lambda noise, mask_ratio: _smallest(noise, max(1, int(noise.size(1) * (1 - mask_ratio)))),
        "the largest noise stays": lambda noise, mask_ratio: _smallest(-noise, _count(noise, mask_ratio)),
    },
    "02.sparse_conv": {
        "the mask is not applied after the convolution": _mask_before,
        "the bias leaks": _bias_after,
        "the mask is inverted": _other_half,
        "divided by the number of visible inputs": _partial,
        "the mask is tiled": _copies,
        "the mask has soft edges": _soft,
    },
    "02.masked_batch_norm": {
        "statistics over all positions": _plain_batch_norm,
        "the mask only at the end": lambda x, visible, weight, bias, eps=1e-5: visible * F.batch_norm(
            x, None, None, weight, bias, training=True, eps=eps),
        "the mean over all positions": _all_in_the_mean,
        "hidden zeros in the variance": _zeros_squared,
        "the unbiased variance": _torch_default_variance,
        "hidden positions are not emptied again": _shifted_everywhere,
        "statistics for each image": _instance,
        "one statistic for all channels": _single,
        "eps added to the standard deviation": _eps_beside_the_root,
        "divided by the variance": _root_forgotten,
    },
    "02.spark_loss": {
        "visible patches count as well": _everything,
        "the mask is inverted": _seen_patches,
        "mean of per-image means": _image_by_image,
        "divided by the number of all patches": _hidden_over_all,
        "the biased variance in the target": _population_variance,
        "each colour normalised on its own": _colours_apart,
    },
    "02.spark_step": {
        "the encoder runs as an ordinary network": _step(ordinary=True),
        "the encoder gets the whole image": _step(whole=True),
        "the holes are not filled": _step(empty=True),
        "the visible positions are filled": _step(swapped=True),
        "the mask embedding is added everywhere": _step(everywhere=True),
        "only the smallest map is used": _step(one=True),
        "the visible patches are scored": _step(seen=True),
        "all patches are scored": _step(score_all=True),
        "plain pixels as targets": _step(plain=True),
        "the masked image as target": _step(blanked=True),
        "gradients never cleared": _step(adds=True),
        "the weights never move": _step(still=True),
        "the step comes before backward": _step(early=True),
        "the loss is rounded": _step(digits=3),
        "the loss keeps its graph": _step(tensor=True),
    },
}

EQUIVALENT = {
    "02.sparse_conv": {
        "line 8: y.shape[-1] -> y.shape[-2]": "maps are square: height and width are one number",
        "line 7: weight.shape[-1] -> weight.shape[-2]": "kernels are square",
    },
    "02.spark_loss": {
        "line 9: images.shape[-1] -> images.shape[-2]": "images are square",
    },
    "02.spark_step": {
        "line 10: images.shape[-1] -> images.shape[-2]": "images are square",
        "line 11: x.shape[-1] -> x.shape[-2]": "maps are square",
    },
}
