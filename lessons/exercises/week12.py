"""Exercises of week 12, MAE: shuffle and drop patches, put them back, say where they are, score what was hidden."""
from __future__ import annotations

import math
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from course_lib.exercises.spec import Exercise
from course_lib.methods.masked.mae import unshuffle as library_unshuffle
from course_lib.models.patches import normalize_patches, patchify
from lessons.exercises.shared import rand, randn


# ------------------------------------------------------------------------------------------------ 12.random_masking
def _noise_probes(generator, dtype):
    noise = partial(rand, generator, dtype)
    tied = noise(3, 8).mul(4).floor()  # equal numbers stay in reading order
    return [(noise(4, 16), 4), (noise(3, 10), 6), dict(noise=noise(5, 9), kept=1), (tied, 3)]


def _masking(noise, kept, order=None, restore=None, sort=False, inverted=False):
    order = noise.argsort(dim=1, stable=True) if order is None else order
    back = order.argsort(1) if restore is None else restore(order)
    keep = order[:, :kept]
    visible = order.argsort(1) < kept
    return keep.sort(1).values if sort else keep, back, ~visible if inverted else visible


def _shuffled_mask(noise, kept):
    keep, restore, _ = _masking(noise, kept)
    return keep, restore, (torch.arange(noise.shape[1]) < kept).expand(noise.shape)


def _masking_by_scatter(noise, kept):
    order = torch.sort(noise, dim=1, stable=True).indices
    places = torch.arange(noise.shape[1]).expand_as(order)
    visible = torch.zeros_like(noise, dtype=torch.bool).scatter(1, order[:, :kept], True)
    return order[:, :kept], torch.empty_like(order).scatter(1, order, places), visible


random_masking = Exercise(
    key="12.random_masking", title="Shuffle, keep a few, remember the way back", minutes=8, difficulty=3,
    reference="course_lib.augment.masks:random_masking", probes=_noise_probes,
    words={'[0]': 'keep', '[1]': 'restore', '[2]': 'visible'},
    unit="patches",
    wrong={
        "the way back is the shuffle itself": (
            lambda noise, kept: _masking(noise, kept, restore=lambda order: order),
            "restore must undo the shuffle: order[restore] = 0, 1, 2, ... The inverse of a permutation is its "
            "argsort."),
        "the mask is that of the shuffled patches": (
            _shuffled_mask, "Your mask is True for the first places of the *shuffled* list, the same for every image. "
                            "Visible is asked for in the order of the image: where did each patch go?"),
        "True marks what is hidden": (
            lambda noise, kept: _masking(noise, kept, inverted=True),
            "In this course True = visible. (MAE's own code has 1 = removed: read the first comment of any masking "
            "code "
            "twice.)"),
        "the largest noise stays": (
            lambda noise, kept: _masking(noise, kept, order=noise.argsort(dim=1, descending=True, stable=True)),
            "As random as it should be, but by the convention the patches with the smallest noise stay."),
        "kept patches sorted again": (
            lambda noise, kept: _masking(noise, kept, sort=True),
            "keep is in reading order now, but restore still describes the shuffle, so the tokens would come back to "
            "wrong places. Keep the order of the noise."),
        "one shuffle for the whole batch": (
            lambda noise,
            kept: _masking(noise, kept, order=noise[:1].argsort(dim=1, stable=True).repeat(len(noise), 1)),
            "Every image hides the same patches. Sort each row of the noise by itself: argsort(dim=1)."),
    },
    right={
        "the inverse by scatter": _masking_by_scatter,
        "row by row": lambda noise, kept: tuple(map(torch.stack, zip(*[
            (o[:kept], o.argsort(), torch.isin(torch.arange(len(o)), o[:kept]))
            for o in (row.argsort(stable=True) for row in noise)]))),
    },
    hints=("One argsort gives a random order of the patches. The first `kept` of it stay.",
           "restore is a second argsort, of the order: it says at which place of the shuffled list each patch is.",
           "order = noise.argsort(dim=1, stable=True)\n"
           "restore = order.argsort(dim=1)\n"
           "return order[:, :kept], restore, restore < kept"),
)


# ------------------------------------------------------------------------------------------------ 12.unshuffle
def _token_probes(generator, dtype):
    def draw(batch, length, kept, dim):
        order = torch.rand(batch, length, generator=generator).argsort(1)
        tokens = randn(generator, dtype, batch, kept, dim)
        return tokens, randn(generator, dtype, 1, 1, dim), order.argsort(1)

    return [draw(3, 9, 4, 5), draw(2, 16, 4, 3), dict(zip(("tokens", "mask_token", "restore"), draw(4, 6, 5, 2)))]


def _filled(tokens, mask_token, restore):
    others = mask_token.expand(len(tokens), restore.shape[1] - tokens.shape[1], -1)
    return torch.cat([tokens, others], 1)


def _taken(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))


def _tokens_last(tokens, mask_token, restore):
    return _taken(_filled(tokens, mask_token, restore).flip(1), restore)


def _put_one_by_one(tokens, mask_token, restore):
    batch, kept, _ = tokens.shape
    rows = [[tokens[b, place] if place < kept else mask_token[0, 0] for place in restore[b].tolist()]
            for b in range(batch)]
    return torch.stack([torch.stack(row) for row in rows])


unshuffle = Exercise(
    key="12.unshuffle", title="Put every token back in its place", minutes=7, difficulty=3,
    reference="course_lib.methods.masked.mae:unshuffle", probes=_token_probes, gradients=True,
    plain=True,
    wrong={
        "tokens are not put back": (
            _filled, "The encoded patches stand first and the mask tokens behind them, in every image. The decoder "
                     "adds "
                     "positions to this list: it would draw each patch somewhere else. Gather with restore."),
        "put back with the shuffle": (
            lambda tokens, mask_token, restore: _taken(_filled(tokens, mask_token, restore), restore.argsort(1)),
            "You shuffle a second time instead of undoing it: restore is already the way back. For each place of the "
            "image it holds the place in the shuffled list: gather, don't scatter, and don't argsort again."),
        "mask tokens stand first": (
            _tokens_last, "restore counts the kept patches first. In your list the mask tokens come before them."),
        "zeros where a patch is hidden": (
            lambda tokens, mask_token, restore: library_unshuffle(tokens, torch.zeros_like(mask_token), restore),
            "Hidden places hold zeros: the mask token is a parameter, it must be there and get a gradient."),
        "the mask token is detached": (
            lambda tokens, mask_token, restore: library_unshuffle(tokens, mask_token.detach(), restore),
            "The values are right, but the mask token gets no gradient: don't copy it with .data, .detach() or "
            "torch.tensor(...); expand it."),
        "a mask token for each image": (
            lambda tokens, mask_token,
            restore: _taken(_filled(tokens, mask_token, restore), restore[:1].expand_as(restore)),
            "Every image is put back by the first image's order: each has its own row of restore."),
    },
    right={"one by one": _put_one_by_one,
           "take_along_dim": lambda tokens, mask_token, restore: torch.take_along_dim(
               _filled(tokens, mask_token, restore), restore.unsqueeze(-1), 1)},
    hints=("Make a list of L tokens an image first: the kept ones, in their order, then a mask token for each other "
           "patch.",
           "torch.gather along dim 1 needs an index of the result's shape: restore[..., None].expand(-1, -1, D).",
           "B, kept, D = tokens.shape\n"
           "others = mask_token.expand(B, restore.shape[1] - kept, -1)\n"
           "return torch.cat([tokens, others], 1).gather(1, restore[..., None].expand(-1, -1, D))"),
)


# ------------------------------------------------------------------------------------------------ 12.sincos_positions
def _position_probes(generator, dtype):
    return [(3, 8), (9, 32, True), (2, 4, False), dict(grid=5, dim=12, class_token=True)]


def _table(grid, dim, class_token=True, swap=False, exponent=4.0, start=0, interleave=False, place=0, added=False):
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) * exponent / dim)
    y, x = torch.meshgrid(*[torch.arange(start, start + grid, dtype=torch.float64)] * 2, indexing="ij")
    if swap:
        y, x = x, y
    halves = []
    for axis in (x, y):
        angle = axis.flatten()[:, None] * omega
        parts = torch.stack([angle.sin(), angle.cos()], -1)
        halves.append(parts.flatten(1) if interleave else parts.transpose(1, 2).flatten(1))
    table = torch.cat([halves[0] + halves[1]] * 2 if added else halves, 1)
    if class_token:
        zero = torch.zeros(1, dim, dtype=torch.float64)
        table = torch.cat([zero, table] if place == 0 else [table, zero])
    return table.float()


def _by_loops(grid, dim, class_token=True):
    rows = [[0.0] * dim] if class_token else []
    for r in range(grid):
        for c in range(grid):
            rows.append([f(p * 10000 ** (-4 * k / dim)) for p in (c, r) for f in (math.sin, math.cos)
                         for k in range(dim // 4)])
    return torch.tensor(rows)


sincos_positions = Exercise(
    key="12.sincos_positions", title="Where a patch was: sines and cosines", minutes=9, difficulty=3,
    reference="course_lib.models.positions:sincos_positions", probes=_position_probes, tolerance=1e-5,
    wrong={
        "rows before columns": (
            lambda grid, dim, class_token=True: _table(grid, dim, class_token, swap=True),
            "In MAE's table the first half of the channels tells the column, the second the row. (Its code calls the "
            "first "
            "one grid_h; a checkpoint's weights know better.)"),
        "frequencies fall too slowly": (
            lambda grid, dim, class_token=True: _table(grid, dim, class_token, exponent=2.0),
            "Each axis has dim / 2 channels, half of them sines: k runs to dim / 4, and the exponent is k / (dim / "
            "4)."),
        "sines and cosines alternate": (
            lambda grid, dim, class_token=True: _table(grid, dim, class_token, interleave=True),
            "As information it is the same, but MAE keeps all sines of an axis before its cosines."),
        "positions count from 1": (
            lambda grid, dim, class_token=True: _table(grid, dim, class_token, start=1),
            "The first row and the first column are 0: sin 0 = 0, cos 0 = 1."),
        "the class token comes last": (
            lambda grid, dim, class_token=True: _table(grid, dim, class_token, place=1),
            "The row of zeros belongs to the class token, which stands before the patches."),
        "row and column added up": (
            lambda grid, dim, class_token=True: _table(grid, dim, class_token, added=True),
            "A sum can't be taken apart: (1, 2) and (2, 1) get the same code. Each axis has half of the channels."),
    },
    right={"by loops": _by_loops,
           "outer product": lambda grid, dim, class_token=True: torch.cat(
               [torch.zeros(int(class_token),
                            dim)] + [torch.cat([f(torch.outer(a, 10000 ** (-torch.arange(dim // 4) * 4 / dim)))
                for a in (torch.arange(grid * grid) % grid, torch.arange(grid * grid) // grid) for f in (torch.sin,
                                                                                                         torch.cos)],
                1)])},
    hints=("Start with one axis: an angle for each position and frequency, position / 10000^(k / (dim / 4)).",
           "For patch l in reading order the column is l % grid, the row l // grid. Columns first: [sin, cos] of the "
           "column, "
           "then [sin, cos] of the row, dim / 4 channels each.",
           "place = torch.arange(grid * grid)\n"
           "column, row = place % grid, place // grid\n"
           "omega = 1 / 10000 ** (torch.arange(dim // 4) / (dim / 4))\n"
           "table = torch.cat([f(p[:, None] * omega) for p in (column, row) for f in (torch.sin, torch.cos)], 1)\n"
           "return torch.cat([torch.zeros(1, dim), table]) if class_token else table"),
)


# ------------------------------------------------------------------------------------------------ 12.mae_loss
def _loss_probes(generator, dtype):
    def draw(batch, grid, patch, kept=None):
        size = grid * patch
        images = randn(generator, dtype, batch, 3, size, size)
        images = images * (1 + rand(generator, dtype, batch, 3, 1, 1)) + 0.5
        images[0, :, :patch, :patch] = 0.01 * images[0, :, :patch, :patch]  # nearly constant: eps and its place
        prediction = randn(generator, dtype, batch, grid * grid, 3 * patch * patch)
        kept = torch.tensor([(3 * i + 1) % (grid * grid) for i in range(batch)]) if kept is None else kept
        visible = torch.rand(batch, grid * grid, generator=generator).argsort(1).argsort(1) < kept.view(-1, 1)
        visible[0, 0] = False
        return prediction, images, visible

    grid = draw(2, 3, 2)
    return [draw(5, 4, 2), dict(zip(("prediction", "images", "visible"), draw(6, 2, 5)), normalized=True),
            (*draw(4, 5, 2), False), (*grid[:2], grid[2].view(2, 3, 3))]


def _parts(prediction, images, visible, normalized, normalise=lambda p: normalize_patches(p)[0], cut=patchify):
    target = cut(images, images.shape[-1] // math.isqrt(prediction.shape[1]))
    error = (prediction - (normalise(target) if normalized else target)).square().mean(-1)
    return error, (~visible.flatten(1)).to(error.dtype)


def _ratio(error, weight):
    return (error * weight).sum() / weight.sum()


def _with(normalise=lambda p: normalize_patches(p)[0], cut=patchify):
    return lambda prediction, images, visible, normalized=True: _ratio(
        *_parts(prediction, images, visible, normalized, normalise, cut))


def _biased(p):
    return (p - p.mean(-1, keepdim=True)) / (p.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()


def _eps_outside(p):
    return (p - p.mean(-1, keepdim=True)) / (p.std(-1, keepdim=True) + 1e-6)


def _colours_apart(p):
    p = p.unflatten(-1, (-1, 3))
    return ((p - p.mean(2, keepdim=True)) / (p.var(2, keepdim=True) + 1e-6).sqrt()).flatten(2)


def _channels_first(images, patch):
    return rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)


def _mean_of_means(prediction, images, visible, normalized=True):
    error, hidden = _parts(prediction, images, visible, normalized)
    return ((error * hidden).sum(1) / hidden.sum(1)).mean()


def _in_images(prediction, images, visible, normalized=True):
    """Patch by patch of each image, with unfold in place of einops."""
    grid = math.isqrt(prediction.shape[1])
    p = images.shape[-1] // grid
    blocks = images.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 4, 5, 1).reshape(len(images), grid * grid, -1)
    if normalized:
        blocks = (blocks - blocks.mean(2, True)) / torch.sqrt(blocks.var(2, keepdim=True) + 1e-6)
    return ((prediction - blocks) ** 2)[~visible.flatten(1)].mean()


mae_loss = Exercise(
    key="12.mae_loss", title="The loss: hidden patches, normalised", minutes=8, difficulty=3,
    reference="course_lib.methods.masked.mae:mae_loss", probes=_loss_probes, gradients=True, tolerance=1e-4,
    unit="patches",
    wrong={
        "the biased variance in the target": (
            _with(_biased), "torch's var divides by n - 1 unless told otherwise, and so does MAE: no correction=0."),
        "mean of per-image means": (
            _mean_of_means, "Each image counts the same here, whatever it hides. MAE divides one sum over the batch by "
                            "the "
                            "number of hidden patches in the batch. (With equal counts you would never notice.)"),
        "visible patches count as well": (
            lambda prediction, images, visible,
            normalized=True: _parts(prediction, images, visible, normalized)[0].mean(),
            "This is the mean over all patches. The decoder has seen the visible ones: leave them out."),
        "the mask is inverted": (
            lambda prediction, images, visible, normalized=True: _ratio(
                *(lambda e, h: (e, 1 - h))(*_parts(prediction, images, visible, normalized))),
            "True = visible, and you score what is visible. Take ~visible."),
        "each colour normalised on its own": (
            _with(_colours_apart), "A patch has one mean and one deviation over all its pixels and colours: p·p·3 "
                                   "numbers."),
        "eps added to the deviation": (
            _with(_eps_outside), "In a nearly constant patch it matters: 1e-6 belongs under the root, with the "
                                 "variance."),
        "channels first in a patch": (
            _with(cut=_channels_first), "The prediction's n numbers are (row, column, channel), the channel fastest: "
                                        "patchify cuts like this."),
    },
    right={
        "with unfold": _in_images,
        "weights in place of a mask": lambda prediction, images, visible, normalized=True: torch.einsum(
            "bl,bl->", *(lambda e, h: (e, h / h.sum()))(*_parts(prediction, images, visible, normalized))),
    },
    hints=("Cut the images into patches and normalise each, if asked to; the prediction is in patches already.",
           "One number per patch: the mean of the squared differences over the last axis, (B, L). Which of them count?",
           "patch = images.shape[-1] // math.isqrt(prediction.shape[1])\n"
           "target = patchify(images, patch)\n"
           "if normalized:\n"
           "    target = normalize_patches(target)[0]\n"
           "error = (prediction - target).square().mean(-1)\n"
           "hidden = ~visible.flatten(1)\n"
           "return (error * hidden).sum() / hidden.sum()"),
)

EXERCISES = [random_masking, unshuffle, sincos_positions, mae_loss]
