"""Exercises of week 13, SimMIM: a coarse mask, how far it hides, the loss, one training step, pixels from channels."""
from __future__ import annotations

import math
from functools import partial

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.masks import hidden_count
from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.masked.simmim import simmim_loss as library_loss
from course_lib.models.patches import normalize_patches, patchify, unpatchify
from lessons.exercises.shared import STEP_WORDS, descend, noted_steps, rand, randn, update_mistakes


# ------------------------------------------------------------------------------------------------ 13.coarse_mask
def _noise_probes(generator, dtype):
    noise = partial(rand, generator, dtype)
    # 9 * 0.6 = 5.4, 16 * 0.3 = 4.8, 4 * 0.6 = 2.4: rounding up
    return [(noise(4, 3, 3), 0.6, 2), (noise(5, 4, 4), 0.3, 3), (noise(3, 2, 2), 0.6),
            dict(noise=noise(6, 5, 5), mask_ratio=0.5, scale=1)]


def _but_smallest(noise: Tensor, count: int) -> Tensor:
    """(B, m, m) bool, False for the `count` smallest of each image."""
    ranks = noise.flatten(1).argsort(dim=1, stable=True).argsort(1)
    return (ranks >= count).view(noise.shape)


def _enlarged(mask: Tensor, scale: int) -> Tensor:
    return mask.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def _count(noise: Tensor, mask_ratio: float) -> int:
    return hidden_count(noise.shape[1] * noise.shape[2], mask_ratio)


def _places_for_ranks(noise, mask_ratio, scale=1):
    order = noise.flatten(1).argsort(dim=1, stable=True)
    return _enlarged((order >= _count(noise, mask_ratio)).view(noise.shape), scale)


def _ranked(noise, mask_ratio, scale=1, count=_count, descending=False):
    ranks = noise.flatten(1).argsort(dim=1, stable=True, descending=descending).argsort(1)
    return _enlarged((ranks >= count(noise, mask_ratio)).view(noise.shape), scale)


def _in_rows(noise, mask_ratio, scale=1):
    ranks = noise.argsort(dim=2, stable=True).argsort(2)
    return _enlarged(ranks >= math.ceil(noise.shape[2] * mask_ratio), scale)


coarse_mask = Exercise(
    key="13.coarse_mask", title="A mask coarser than the patches", minutes=6, difficulty=2,
    reference="course_lib.augment.masks:coarse_mask", probes=_noise_probes,
    unit="patches",
    wrong={
        "the mask is tiled": (
            lambda noise, mask_ratio, scale=1: _but_smallest(noise, _count(noise, mask_ratio)).repeat(1, scale, scale),
            "repeat() sets copies of the whole mask side by side: hidden cells come in fine grains again. Each flag "
            "must "
            "cover a block of scale x scale patches: repeat_interleave along both axes."),
        "rounded down": (
            lambda noise, mask_ratio, scale=1: _enlarged(_but_smallest(
                noise, int(noise.shape[1] * noise.shape[2] * mask_ratio)), scale),
            "SimMIM rounds the number of hidden mask patches *up*: math.ceil. (MAE rounds the number of visible ones "
            "down; of "
            "an even split both make the same.)"),
        "True marks what is hidden": (
            lambda noise, mask_ratio, scale=1: ~_enlarged(_but_smallest(noise, _count(noise, mask_ratio)), scale),
            "True = visible, as everywhere in this course: the cells with the smallest noise are False. (SimMIM's own "
            "code has it the other way round.)"),
        "a coin for every mask patch": (
            lambda noise, mask_ratio, scale=1: _enlarged(noise >= mask_ratio, scale),
            "Right on average, but images hide different numbers. Take the k smallest of each image."),
        "argsort taken for ranks": (
            _places_for_ranks, "argsort gives the place that has each rank, not the rank of each place. Argsort twice, "
                               "or "
                               "scatter False to the first k places."),
        "the visible ones are counted": (
            lambda noise, mask_ratio, scale=1: _enlarged(_but_smallest(
                noise, math.ceil(noise.shape[1] * noise.shape[2] * (1 - mask_ratio))), scale),
            "`mask_ratio` is the share that is hidden: ceil(m * m * mask_ratio) cells are False."),
        "the largest noise is hidden": (
            lambda noise, mask_ratio, scale=1: _ranked(noise, mask_ratio, scale, descending=True),
            "You hide the cells with the *largest* noise. The smallest are hidden: ascending order."),
        "rounded to the nearest": (
            lambda noise, mask_ratio, scale=1: _ranked(noise, mask_ratio, scale, lambda n, r: round(n[0].numel() * r)),
            "round() goes to the nearest number. SimMIM rounds the number of hidden cells *up*: math.ceil."),
        "ranks within each row": (
            _in_rows,
            "You rank the cells of each row of an image, so every row hides as many. The m * m cells of an image "
            "compete with each other: flatten(1) before you rank."),
        "tiled along one axis": (
            lambda noise, mask_ratio, scale=1: _but_smallest(noise, _count(noise, mask_ratio)).repeat_interleave(
                scale, 1).repeat(1, 1, scale),
            "Along the rows the flags are enlarged, along the columns repeat() sets copies side by side: "
            "repeat_interleave along both axes."),
        "tiled along the other axis": (
            lambda noise, mask_ratio, scale=1: _but_smallest(noise, _count(noise, mask_ratio)).repeat(
                1, scale, 1).repeat_interleave(scale, 2),
            "Along the columns the flags are enlarged, along the rows repeat() sets copies side by side: "
            "repeat_interleave along both axes."),
    },
    right={
        "threshold and kron": lambda noise, mask_ratio, scale=1: torch.stack([
            torch.kron((n > n.flatten().kthvalue(_count(noise, mask_ratio)).values).int(),
                       torch.ones(scale, scale, dtype=torch.int)).bool() for n in noise]),
        "scatter and nearest": lambda noise, mask_ratio, scale=1: F.interpolate(
            torch.ones(noise.flatten(1).shape)
            .scatter_(1, noise.flatten(1).argsort(1)[:, :_count(noise, mask_ratio)], 0.0).view(noise.shape)[:, None],
            scale_factor=float(scale), mode="nearest")[:, 0].bool(),
    },
    hints=("First the coarse mask, (B, m, m): how many cells are False in each image? Then enlarge it.",
           "The rank of each cell among its image's noise is noise.flatten(1).argsort(1).argsort(1).",
           "m = noise.shape[1]\n"
           "ranks = noise.flatten(1).argsort(dim=1).argsort(dim=1)\n"
           "mask = (ranks >= math.ceil(m * m * mask_ratio)).view(noise.shape)\n"
           "return mask.repeat_interleave(scale, 1).repeat_interleave(scale, 2)"),
)


# ------------------------------------------------------------------------------------------------ 13.average_distance
def _distance_probes(generator, dtype):
    def visible(batch, grid, kept):
        noise = torch.rand(batch, grid * grid, generator=generator)
        ranks = noise.argsort(1).argsort(1)
        return (ranks < torch.tensor(kept)[:, None]).view(batch, grid, grid)

    return [(visible(3, 4, (1, 5, 15)), 8), (visible(2, 3, (2, 4)), 12), dict(visible=visible(1, 2, (1,)), size=8)]


def _pixel_flags(visible: Tensor, size: int) -> Tensor:
    times = size // visible.shape[-1]
    return visible.repeat_interleave(times, 1).repeat_interleave(times, 2).flatten(1)


def _nearest(visible: Tensor, size: int, p: float = 2.0) -> list[Tensor]:
    """Of each image: the distance of every pixel to the nearest visible one (0 for visible ones)."""
    axis = torch.arange(size, dtype=torch.float64)
    place = torch.cartesian_prod(axis, axis)
    distance = torch.cdist(place, place, p=p, compute_mode="donot_use_mm_for_euclid_dist")
    return [distance[:, flags].amin(1) for flags in _pixel_flags(visible, size)]


def _over_hidden(visible, size, p=2.0, reduce=lambda d: float(d.mean())):
    flags = _pixel_flags(visible, size)
    return reduce(torch.cat([d[~f] for d, f in zip(_nearest(visible, size, p), flags)]))


def _mean_visible(visible, size):
    axis = torch.arange(size, dtype=torch.float64)
    place = torch.cartesian_prod(axis, axis)
    return float(torch.cat([torch.cdist(place[~f], place[f]).mean(1) for f in _pixel_flags(visible, size)]).mean())


def _between_corners(visible, size):
    return _over_hidden(visible, visible.shape[-1]) * (size // visible.shape[-1])


def _of_a_tiled_mask(visible, size):
    times = size // visible.shape[-1]
    return _over_hidden(visible.repeat(1, times, times), size)


def _in_any_image(visible, size):
    flags = _pixel_flags(visible, size)
    axis = torch.arange(size, dtype=torch.float64)
    place = torch.cartesian_prod(axis, axis)
    return float(torch.cat([torch.cdist(place[~f], place[flags.any(0)]).amin(1) for f in flags]).mean())


average_distance = Exercise(
    key="13.average_distance", title="How far is the nearest visible pixel?", minutes=8, difficulty=3,
    reference="course_lib.evaluate.reconstruction:average_distance", probes=_distance_probes, tolerance=1e-4,
    unit="patches",
    wrong={
        "counted in patches": (
            lambda visible, size: _over_hidden(visible, visible.shape[-1]),
            "You measure between patches of the grid. AvgDist is in pixels: enlarge the mask to the image first, so "
            "that "
            "masks with different patches can be compared."),
        "visible pixels count as 0": (
            lambda visible, size: float(torch.cat(_nearest(visible, size)).mean()),
            "The mean is over hidden pixels only: with visible ones as zeros, the ratio would be in it a second time."),
        "city blocks": (
            lambda visible, size: _over_hidden(visible, size, p=1.0),
            "The distance is Euclidean: the root of the sum of squares, not the sum of both axes' distances."),
        "distance to all visible pixels": (
            _mean_visible, "This is the mean distance to all visible pixels. Only the nearest matters: a minimum for "
                           "each "
                           "hidden pixel, then the mean."),
        "mean of per-image means": (
            lambda visible, size: sum(float(d[~f].mean()) for d, f in zip(
                _nearest(visible, size), _pixel_flags(visible, size))) / len(visible),
            "Each image counts the same here. Take one mean over the hidden pixels of all images."),
        "the squared distance": (
            lambda visible, size: _over_hidden(visible, size, reduce=lambda d: float(d.square().mean())),
            "Pixels, not pixels squared: take the root of each distance before the mean."),
        "between the corners of patches": (
            _between_corners,
            "You measure from patch to patch and multiply by the patch's width. Within a hidden patch the pixels lie "
            "at different distances: enlarge the mask to pixels first, then measure."),
        "the mask is tiled": (
            _of_a_tiled_mask, "repeat() sets copies of the whole mask side by side. Each flag must cover the pixels of "
                              "its own patch: repeat_interleave along both axes."),
        "the visible pixels of any image": (
            _in_any_image, "You look for the nearest pixel that is visible in *any* image of the batch. Each image has "
                           "a mask of its own."),
    },
    right={
        "scipy's distance transform": lambda visible, size: _by_scipy(visible, size),
        "a tensor": lambda visible, size: _over_hidden(visible, size, reduce=lambda d: d.mean().float()),
    },
    hints=("Two steps: for every hidden pixel the distance to the nearest visible one; then the mean.",
           "The places of all pixels are torch.cartesian_prod(axis, axis) with axis = arange(size) as floats; "
           "torch.cdist of "
           "them gives all distances.",
           "place = torch.cartesian_prod(torch.arange(size), torch.arange(size)).float()\n"
           "distance = torch.cdist(place, place)\n"
           "times = size // visible.shape[1]\n"
           "big = visible.repeat_interleave(times, 1).repeat_interleave(times, 2).flatten(1)\n"
           "return float(torch.cat([distance[~seen][:, seen].amin(1) for seen in big]).mean())"),
)


def _by_scipy(visible, size):
    from scipy.ndimage import distance_transform_edt

    found = [torch.from_numpy(distance_transform_edt(~flags.view(size, size).numpy())).flatten()[~flags]
             for flags in _pixel_flags(visible, size)]
    return float(torch.cat(found).mean())


# ------------------------------------------------------------------------------------------------ 13.pixel_shuffle
def _map_probes(generator, dtype):
    def maps(batch, channels, stride, height, width):
        return randn(generator, dtype, batch, channels * stride * stride, height, width)

    return [(maps(4, 3, 2, 5, 6), 2), (maps(1, 2, 4, 3, 5), 4), dict(maps=maps(5, 2, 3, 4, 6), stride=3)]


def _shuffled(pattern: str):
    return lambda maps, stride: rearrange(maps, pattern, p=stride, q=stride)


pixel_shuffle = Exercise(
    key="13.pixel_shuffle", title="From channels to pixels", minutes=6, difficulty=2,
    reference="course_lib.methods.masked.simmim:pixel_shuffle", probes=_map_probes, gradients=True,
    plain=True,
    wrong={
        "MAE's order": (
            _shuffled("b (p q c) h w -> b c (h p) (w q)"),
            "That is how MAE reads a patch, (row, column, channel). PixelShuffle's channels are (channel, row, "
            "column): red "
            "has the first stride * stride of them."),
        "the colours between rows and columns": (
            _shuffled("b (p c q) h w -> b c (h p) (w q)"),
            "You split the channels into (p c q). Of PixelShuffle's channels the first stride * stride belong to the "
            "first colour: (c p q)."),
        "MAE's order, columns before rows": (
            _shuffled("b (q p c) h w -> b c (h p) (w q)"),
            "You split the channels into (q p c): colours last, as MAE does, and columns before rows. It is (c p q)."),
        "rows side by side": (
            _shuffled("b (c p q) h w -> b c (p h) (w q)"),
            "Along the columns it is right. Along the rows the big image shows copies of the map: (h p), the block's "
            "place slow, the row inside it fast."),
        "columns side by side": (
            _shuffled("b (c p q) h w -> b c (h p) (q w)"),
            "Along the rows it is right. Along the columns the big image shows copies of the map: (w q), the block's "
            "place slow, the column inside it fast."),
        "columns before rows": (
            _shuffled("b (c q p) h w -> b c (h p) (w q)"),
            "Every block is transposed. Within a colour the channels run row by row: (c p q) with p for rows."),
        "blocks side by side": (
            _shuffled("b (c p q) h w -> b c (p h) (q w)"),
            "The big image shows stride x stride small copies of the map. A position's channels must become the pixels "
            "of "
            "*its own* block: (h p) (w q), the block's place slow, the place inside it fast."),
        "a plain view": (
            lambda maps, stride: maps.reshape(len(maps), -1, maps.shape[2] * stride, maps.shape[3] * stride),
            "view and reshape keep the order in memory, which is channel by channel: axes must be swapped in between "
            "(permute, or einops)."),
    },
    right={
        "torch's own": lambda maps, stride: F.pixel_shuffle(maps, stride),
        "strided slices": lambda maps, stride: _by_slices(maps, stride),
    },
    hints=("Name the axes: the channels of maps are (c p q), c colours, p rows and q columns of a block.",
           "The output's rows are (h p): position first, then the row inside its block; its columns (w q).",
           'return rearrange(maps, "b (c p q) h w -> b c (h p) (w q)", p=stride, q=stride)'),
)


def _by_slices(maps, stride):
    batch, channels, height, width = maps.shape
    colours = channels // stride**2
    rows = []
    for p in range(stride):
        for q in range(stride):
            rows.append(maps[:, [c * stride**2 + p * stride + q for c in range(colours)]])
    grid = torch.stack(rows).view(stride, stride, batch, colours, height, width)
    return grid.permute(2, 3, 4, 0, 5, 1).reshape(batch, colours, height * stride, width * stride)


# ------------------------------------------------------------------------------------------------ 13.simmim_loss
def _loss_probes(generator, dtype):
    def draw(batch, grid, patch, channels=3):
        images, prediction = (randn(generator, dtype, batch, channels, grid * patch, grid * patch)
                              for _ in range(2))
        ranks = torch.rand(batch, grid * grid, generator=generator).argsort(1).argsort(1)
        count = torch.tensor([(3 * i + 1) % (grid * grid) for i in range(batch)])
        return prediction, images * 2 + 0.5, (ranks >= count[:, None]).view(batch, grid, grid)

    return [draw(5, 4, 2), dict(zip(("prediction", "images", "visible"), draw(6, 2, 5))), draw(4, 5, 2, channels=1),
            (*draw(4, 2, 3), 0.5)]


def _pieces(prediction, images, visible, power=1):
    size = images.shape[-1] // visible.shape[-1]
    mask = repeat(~visible, "b h w -> b 1 (h p) (w q)", p=size, q=size).to(images.dtype)
    return (prediction - images).abs() ** power, mask


def _per_image(prediction, images, visible, eps=1e-5):
    error, mask = _pieces(prediction, images, visible)
    return ((error * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) + eps)).mean() / images.shape[1]


def _normalised(prediction, images, visible, eps=1e-5):
    patch = images.shape[-1] // visible.shape[-1]
    if patch == 1:  # one pixel has no deviation of its own
        return simmim_loss.resolve()(prediction, images, visible, eps)
    target = unpatchify(normalize_patches(patchify(images, patch))[0], patch)
    return simmim_loss.resolve()(prediction, target, visible, eps)


def _other_mask(prediction, images, visible, eps=1e-5, mask=lambda m: 1 - m, power=1, channels=True, all_pixels=False):
    error, m = _pieces(prediction, images, visible, power)
    m = mask(m)
    count = torch.ones_like(m).sum() if all_pixels else m.sum()
    return (error * m).sum() / (count + eps) / (images.shape[1] if channels else 1)


def _images(prediction, images, visible, eps=1e-5):
    return images


def _tiled(prediction, images, visible, eps=1e-5):
    size = images.shape[-1] // visible.shape[-1]
    mask = (~visible).repeat(1, size, size)[:, None].to(images.dtype)
    return ((prediction - images).abs() * mask).sum() / (mask.sum() + eps) / images.shape[1]


def _smooth(prediction, images, visible, eps=1e-5):
    _, mask = _pieces(prediction, images, visible)
    error = F.smooth_l1_loss(prediction, images, reduction="none")
    return (error * mask).sum() / (mask.sum() + eps) / images.shape[1]


def _fixed_images(loss, prediction, images, visible, *more, **named):
    """Only the prediction is asked for a gradient: whether the target carries one is the same to a training."""
    return loss(prediction, images.detach(), visible, *more, **named)


def _no_eps(prediction, images, visible, eps=1e-5):
    error, mask = _pieces(prediction, images, visible)
    return (error * mask).sum() / mask.sum() / images.shape[1]


def _eps_outside(prediction, images, visible, eps=1e-5):
    return _no_eps(prediction, images, visible) + eps


def _root(prediction, images, visible, eps=1e-5):
    return _other_mask(prediction, images, visible, eps, mask=lambda m: m, power=2).sqrt()


def _by_the_visible(prediction, images, visible, eps=1e-5):
    error, mask = _pieces(prediction, images, visible)
    return (error * mask).sum() / ((1 - mask).sum() + eps) / images.shape[1]


def _of_patches(prediction, images, visible, eps=1e-5):
    error, mask = _pieces(prediction, images, visible)
    return (error * mask).sum() / ((~visible).sum() + eps) / images.shape[1]


simmim_loss = Exercise(
    key="13.simmim_loss", title="The loss: absolute error where it was hidden", minutes=6, difficulty=2,
    reference="course_lib.methods.masked.simmim:simmim_loss", probes=_loss_probes, gradients=True, tolerance=1e-3,
    unit="patches", call=_fixed_images,
    wrong={
        "squared error": (
            lambda *a, **k: _other_mask(*a, **k, mask=lambda m: m, power=2),
            "SimMIM takes the absolute error, MAE the squared one."),
        "the root of the squared error": (
            _root, "You take the root of the mean square. SimMIM takes the mean of the absolute values."),
        "divided by the visible pixels": (
            _by_the_visible, "You add over the hidden pixels and divide by the number of visible ones."),
        "visible pixels count as well": (
            lambda *a, **k: _other_mask(*a, **k, mask=torch.ones_like),
            "All pixels are scored. The encoder sees the visible ones: copying is no task. Multiply by the mask."),
        "the mask is inverted": (
            lambda *a, **k: _other_mask(*a, **k),
            "True = visible, and you score what the encoder saw. Turn the mask round: ~visible."),
        "three times too large": (
            lambda *a, **k: _other_mask(*a, **k, mask=lambda m: m, channels=False),
            "The mask has one channel, the error has C: the sum of the mask counts pixels, and each pixel has C "
            "numbers. "
            "Divide by C as well."),
        "divided by the colours twice": (
            lambda *a, **k: _other_mask(*a, **k, mask=lambda m: m) / _images(*a, **k).shape[1],
            "Your mask already has C channels, so its sum counts each pixel C times. Divide by C only once."),
        "three colours, always": (
            lambda *a, **k: _other_mask(*a, **k, mask=lambda m: m, channels=False) / 3,
            "Images need not have three colours: C is images.shape[1]."),
        "the mask is tiled": (
            _tiled, "repeat() sets copies of the whole mask side by side. Each flag must cover the pixels of its own "
                    "patch: repeat_interleave along both axes."),
        "a smooth absolute error": (
            _smooth, "Near zero your error is a square (smooth L1). SimMIM takes the plain absolute value."),
        "divided by the number of all pixels": (
            lambda *a, **k: _other_mask(*a, **k, mask=lambda m: m, all_pixels=True),
            "Divide by the number of hidden pixels, or the loss changes with the mask ratio."),
        "mean of per-image means": (
            _per_image, "One ratio over the whole batch: the sum over all images by the hidden pixels of all images."),
        "targets normalised in each patch": (
            _normalised, "That is MAE's target. SimMIM predicts the pixels as they are."),
        "no eps": (
            _no_eps, "Yours is the mean over the hidden pixels. Add eps to their number: without it a mask that hides "
                     "nothing would give 0 / 0 = NaN."),
        "eps outside the fraction": (
            _eps_outside, "eps belongs in the denominator, with the number of hidden pixels: a 0 / 0 would be NaN "
                          "before you add it."),
        "patches are counted": (
            _of_patches, "You divide by the number of hidden *patches*. Enlarge the mask first: then its sum counts "
                         "hidden pixels."),
    },
    right={
        "the target without a graph": lambda prediction, images, visible, eps=1e-5: simmim_loss.resolve()(
            prediction, images.detach(), visible, eps),
        "picked pixels": lambda prediction, images, visible, eps=1e-5: (
            lambda error, mask: error[mask.expand_as(error).bool()].sum() / (mask.sum() + eps) / error.shape[1]
        )(*_pieces(prediction, images, visible)),
        "through patches": lambda prediction, images, visible, eps=1e-5: (lambda p: (
            (patchify(prediction, p) - patchify(images, p)).abs().sum(-1)[~visible.flatten(1)].sum()
            / ((~visible).sum() * p * p + eps) / images.shape[1]))(images.shape[-1] // visible.shape[-1]),
    },
    hints=("Hidden is ~visible. Enlarge this mask to (B, 1, H, W): each flag for all the pixels of its patch.",
           "The error is (B, C, H, W), the mask has one channel: how many numbers are summed, and what does mask.sum() "
           "count?",
           "times = images.shape[-1] // visible.shape[-1]\n"
           "mask = ~visible.repeat_interleave(times, 1).repeat_interleave(times, 2)[:, None]\n"
           "error = ((prediction - images).abs() * mask).sum()\n"
           "return error / (mask.sum() + eps) / images.shape[1]"),
)

# ------------------------------------------------------------------------------------------------ 13.simmim_step
def simmim_step(embed, positions, encoder, head, mask_token, optimizer, images, visible):
    """One update of SimMIM -> the loss, a number.

    embed(images) -> (B, L, D); positions (1, L, D); encoder (B, L, D) -> (B, L, D); head (B, L, D) -> (B, C, H, H).
    """
    tokens = torch.where(visible.flatten(1)[..., None], embed(images), mask_token)
    prediction = head(encoder(tokens + positions))
    loss = library_loss(prediction, images, visible)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _three_steps(step, images: Tensor, visible: Tensor):
    """Three updates of a very small network by `step`: the losses, and the weights at the end.

    The encoder mixes the places by fixed weights, so that a hidden patch feels what stands at the others.
    """
    draw = partial(randn, torch.Generator().manual_seed(5), images.dtype)
    grid, size, width = visible.shape[-1], images.shape[-1], 6
    patch, length = size // grid, grid * grid
    n = 3 * patch * patch
    into, out, bias, token, places = weights = [
        torch.nn.Parameter(0.6 * draw(*shape)) for shape in
        ((n, width), (width, n), (1, 1, width), (1, 1, width), (1, length, width))]
    between = draw(length, length) / math.sqrt(length)

    def embed(pictures):
        return patchify(pictures, patch) @ into + bias

    def encoder(tokens):
        if tokens.shape[1:] != places.shape[1:]:
            raise ValueError(f"the encoder takes {length} tokens for each image, hidden ones as well; it was given "
                             f"the shape {tuple(tokens.shape)}")
        return torch.tanh(tokens + between @ tokens)

    def head(tokens):
        return unpatchify(tokens @ out, patch)

    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.5)
    fixed = embed, places, encoder, head, token, optimizer
    return noted_steps(step, [(*fixed, *pair) for pair in zip(images, visible)], weights)


def _update_probes(generator, dtype):
    def visible(batch, grid, first):
        ranks = torch.rand(3, batch, grid * grid, generator=generator).argsort(-1).argsort(-1)
        kept = first + torch.arange(batch) % (grid * grid - first)
        return (ranks < kept[:, None]).view(3, batch, grid, grid)

    return [dict(images=randn(generator, dtype, 3, 4, 3, 6, 6) + 0.5, visible=visible(4, 3, 3)),
            dict(images=randn(generator, dtype, 3, 5, 3, 8, 8) + 0.5, visible=visible(5, 2, 1))]


def _put_in(tokens, mask_token, visible):
    return torch.where(visible.flatten(1)[..., None], tokens, mask_token)


def _blanked(images, visible):
    size = images.shape[-1] // visible.shape[-1]
    return images * repeat(visible, "b h w -> b 1 (h p) (w q)", p=size, q=size)


def _update(put=_put_in, seen=lambda images, visible: images, enter=lambda put, x, positions: put(x) + positions,
            leave=lambda put, x, positions: x, masks=lambda visible: visible, target=lambda images, visible: images,
            scored=lambda visible: visible, measure=library_loss, order="clear backward step",
            back=lambda loss: loss.item()):
    def step(embed, positions, encoder, head, mask_token, optimizer, images, visible):
        visible = masks(visible)
        replace = partial(put, mask_token=mask_token, visible=visible)
        tokens = encoder(enter(replace, embed(seen(images, visible)), positions))
        loss = measure(head(leave(replace, tokens, positions)), target(images, visible), scored(visible))
        return descend(loss, optimizer, order, back, token=lambda: setattr(mask_token, "grad", None))

    return step


def _mean_of_losses(prediction, images, visible):
    return torch.stack([library_loss(p[None], x[None], v[None]) for p, x, v in zip(prediction, images, visible)]).mean()


def _mean_embedding(x, mask_token, visible):
    return _put_in(x, x.mean(1, keepdim=True), visible)


def _added_to_all(x, mask_token, visible):
    return x * visible.flatten(1)[..., None] + mask_token


def _without_encoder(embed, positions, encoder, head, mask_token, optimizer, images, visible):
    return _update()(embed, positions, lambda tokens: tokens, head, mask_token, optimizer, images, visible)


def _after_the_update(embed, positions, encoder, head, mask_token, optimizer, images, visible):
    def loss():
        return library_loss(head(encoder(_put_in(embed(images), mask_token, visible) + positions)), images, visible)

    optimizer.zero_grad()
    loss().backward()
    optimizer.step()
    return loss().item()


def _by_index(embed, positions, encoder, head, mask_token, optimizer, images, visible):
    tokens = embed(images).clone()
    tokens[~visible.flatten(1)] = mask_token[0, 0]
    error = (head(encoder(tokens + positions)) - images).abs().mean(1)
    size = images.shape[-1] // visible.shape[-1]
    hidden = repeat(~visible, "b h w -> b (h p) (w q)", p=size, q=size)
    loss = error[hidden].mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _by_weights(embed, positions, encoder, head, mask_token, optimizer, images, visible):
    optimizer.zero_grad()
    w = visible.flatten(1)[..., None].to(images.dtype)
    tokens = w * embed(_blanked(images, visible)) + (1 - w) * mask_token + positions
    loss = simmim_loss.resolve()(head(encoder(tokens)), images, visible)
    loss.backward()
    optimizer.step()
    return loss.detach().item()


step_exercise = Exercise(
    key="13.simmim_step", title="One training step", minutes=8, difficulty=3,
    reference=simmim_step, probes=_update_probes, call=_three_steps, tolerance=1e-4,
    words=STEP_WORDS,
    wrong={
        "the token replaces the position too": (
            _update(enter=lambda put, x, positions: put(x + positions)),
            "The mask tokens have no position: all hidden patches are alike, and the network cannot know which one to "
            "draw. Put the token in first, then add positions to all."),
        "nothing is hidden": (
            _update(put=lambda x, mask_token, visible: x),
            "The encoder sees the patches that it is to predict. Replace their embeddings by the mask token."),
        "the visible patches are replaced": (
            _update(put=lambda x, mask_token, visible: _put_in(x, mask_token, ~visible)),
            "True = visible: those embeddings stay. torch.where takes its second argument where the first is True."),
        "the mean of the images' losses": (
            _update(measure=_mean_of_losses),
            "You average over images, whatever each hides. One ratio over the batch: simmim_loss of all at once."),
        "the mean embedding in hidden places": (
            _update(put=_mean_embedding),
            "Hidden places hold the mean of their image's embeddings, and with it something of what is hidden. "
            "mask_token belongs there."),
        "the token is added to all": (
            _update(put=_added_to_all),
            "Hidden embeddings are gone, as they should be, but the mask token is added to the visible ones as well. "
            "It stands in hidden places only."),
        "positions are multiplied": (
            _update(enter=lambda put, x, positions: put(x) * positions),
            "Positions are added to the tokens, not multiplied with them."),
        "the encoder is left out": (
            _without_encoder,
            "The tokens go straight to the head, so that no hidden patch learns of any other: head(encoder(...))."),
        "zeros in place of the token": (
            _update(put=lambda x, mask_token, visible: _put_in(x, torch.zeros_like(mask_token), visible)),
            "Hidden places hold zeros: the mask token is a parameter; it must stand there and get a gradient."),
        "the mask token is detached": (
            _update(put=lambda x, mask_token, visible: _put_in(x, mask_token.detach(), visible)),
            "The losses begin right, but the mask token never moves: no .detach(), .data or torch.tensor(...)."),
        "the token is added": (
            _update(put=lambda x, mask_token, visible: x + ~visible.flatten(1)[..., None] * mask_token),
            "The mask token is added to the hidden patch's embedding, which still says what was there. It must "
            "replace it."),
        "hidden pixels are blanked": (
            _update(put=lambda x, mask_token, visible: x, seen=_blanked),
            "You hide pixels, and the mask token is not used: a black patch and a hidden one look the same. Replace "
            "the embedding."),
        "the token comes after the encoder": (
            _update(enter=lambda put, x, positions: x + positions, leave=lambda put, x, positions: put(x)),
            "The encoder has read the hidden patches, and a mask token that enters after it has learned nothing of "
            "this image. It goes into the sequence before the encoder. (MAE drops them; SimMIM does not.)"),
        "no positions": (
            _update(enter=lambda put, x, positions: put(x)),
            "Nothing tells the encoder where a token stands: add `positions` to all of them."),
        "positions for mask tokens only": (
            _update(enter=lambda put, x, positions: put(x) + positions * (put(0 * x) != put(0 * x + 1)).logical_not()),
            "Visible patches need their positions as well: a mask token must know what stands where. Add positions to "
            "all tokens."),
        "positions come after the encoder": (
            _update(enter=lambda put, x, positions: put(x), leave=lambda put, x, positions: x + positions),
            "Positions must be there before tokens look at each other: encoder(tokens + positions)."),
        "the target has holes": (
            _update(target=_blanked),
            "You compare with the image whose hidden pixels are blank, so that blank is the right answer. The target "
            "is the whole image."),
        "the visible patches are scored": (
            _update(scored=lambda visible: ~visible),
            "simmim_loss takes the mask with True = visible and scores the others. Hand on `visible` as it is."),
        "all patches are scored": (
            _update(scored=torch.zeros_like),
            "The loss counts every pixel. Hand on `visible`, so that simmim_loss leaves out what the encoder saw."),
        "squared error": (
            _update(measure=lambda prediction, images, visible: _other_mask(
                prediction, images, visible, mask=lambda m: m, power=2)),
            "SimMIM takes the absolute error; squares are MAE's. simmim_loss does it."),
        "the loss after the update": (
            _after_the_update, "The weights are right, but the loss is computed anew after the update. Return the one "
                               "that you took the gradient of."),
        "one mask for all": (
            _update(masks=lambda visible: visible[:1].expand_as(visible)),
            "Every image hides the first one's patches: each has a mask of its own."),
        "only the mask token's gradient is cleared": (
            _update(order="token backward step"),
            "You clear the gradient of the mask token only; all other weights add theirs up. optimizer.zero_grad() "
            "clears them all."),
        **update_mistakes(_update),
    },
    right={"written by index, cleared at the end": _by_index, "weights in place of where": _by_weights},
    hints=("Embed, replace, add positions, encode, draw, score, update: a line or a function for each.",
           "torch.where(visible.flatten(1)[..., None], a, b) keeps a where a patch is visible. Positions come after "
           "it, for all tokens.",
           "tokens = torch.where(visible.flatten(1)[..., None], embed(images), mask_token)\n"
           "prediction = head(encoder(tokens + positions))\n"
           "loss = simmim_loss(prediction, images, visible)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)

EXERCISES = [coarse_mask, average_distance, simmim_loss, step_exercise, pixel_shuffle]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("Why is SimMIM's mask drawn on a coarser grid than the encoder's patches?", {
        "A coarse mask is quicker to draw": "Drawing it costs nothing either way.",
        "With small holes a visible pixel is near": "Unless nearly all is hidden (part 1). An encoder with small "
            "patches (Swin: 4 pixels) needs holes larger than its patches, or a copy will do.",
        "The linear layer needs whole squares": "It draws each patch by itself.",
    }, "With small holes a visible pixel is near"),
    quiz("Two papers, same encoder: one is best at a mask ratio of 75 %, the other at 60 %. Can both be right?", {
        "No, one is badly tuned": "The mask ratio is only half of a mask.",
        "Yes, with squares of different sizes": "Larger squares at a smaller ratio can lie at the same distance "
            "(figure 2).",
        "Only on different data": "Data matter too, but compare the squares first.",
    }, "Yes, with squares of different sizes"),
    quiz("The sum over three colours is divided by the number of hidden pixels only. What happens?", {
        "Nothing, the optimum is the same": "The optimum is; the loss and its gradient are three times as large, and "
            "clipping at a norm means something else.",
        "The loss is three times as large, and a clipped training changes": "Adam hardly cares for a factor, clipping "
            "does.",
        "Red counts three times": "All colours count alike.",
    }, "The loss is three times as large, and a clipped training changes"),
    quiz("A method gains 5 points on its own network from scratch, another gains none on its own. Which would you "
         "use?", {
        "The one that gains": "Its scratch may be a weak one: here MAE's untrained ViT beat the fine-tuned SimMIM "
            "(part 4).",
        "Neither yet: first compare both with the better scratch": "The initialisation was part of the gain. With "
            "equal first weights it is MAE that gains (part 6).",
        "The one without a gain": "Its level is higher here, but a gain of nothing does not recommend it.",
    }, "Neither yet: first compare both with the better scratch"),
    quiz("Transfer: satellite images, in which neighbouring pixels differ more than in photographs. Where on the axis "
         "of AvgDist do you start?", {
        "Farther than for photographs": "Where neighbours differ, even a short way is hard.",
        "Nearer": "What counts is how much a neighbour tells, and there it tells less. Draw figure 4 for your images "
            "first.",
        "AvgDist does not apply": "It is about pixels, whatever they show; the useful range is what changes.",
    }, "Nearer"),
]
