"""Exercises of week 12, MAE: a head of attention; tokens put back, hidden patches scored, one training step."""
from __future__ import annotations

import math
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from course_lib.augment.masks import random_masking
from course_lib.exercises.spec import Exercise
from course_lib.methods.masked.mae import mae_loss as library_loss
from course_lib.methods.masked.mae import unshuffle as library_unshuffle
from course_lib.models.patches import normalize_patches, patchify
from lessons.exercises.shared import rand, randn


# ------------------------------------------------------------------------------------------------ 12.attention
def attention(x, query, key, value):
    """One head: x (B, T, D), matrices (D, d) -> weights (B, T, T), whose rows sum to 1, and mixed values (B, T, d)."""
    q, k, v = x @ query, x @ key, x @ value
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    return weights, weights @ v


def _attention_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [(draw(2, 5, 6), draw(6, 4), draw(6, 4), draw(6, 3)),
            dict(x=draw(3, 4, 5), query=draw(5, 5), key=draw(5, 5), value=draw(5, 5)),
            (draw(1, 7, 3), draw(3, 9), draw(3, 9), draw(3, 2))]


def _attended(scale=lambda x, q: math.sqrt(q.shape[-1]), dim=-1, swap=False, mixed=2):
    def attend(x, query, key, value):
        parts = x @ query, x @ key, x @ value
        q, k = parts[1::-1] if swap else parts[:2]
        weights = (q @ k.mT / scale(x, q)).softmax(dim)
        return weights, weights @ parts[mixed]

    return attend


def _attention_by_einsum(x, query, key, value):
    q, k, v = (torch.einsum("btd,de->bte", x, w) for w in (query, key, value))
    logits = torch.einsum("bqe,bke->bqk", q, k) * q.shape[-1] ** -0.5
    weights = logits.exp() / logits.exp().sum(2, keepdim=True)
    return weights, torch.einsum("bqk,bke->bqe", weights, v)


attention_exercise = Exercise(
    key="12.attention", title="One head of attention", minutes=9, difficulty=2,
    reference=attention, probes=_attention_probes, gradients=True,
    words={"[0]": "the weights", "[1]": "the mixed values"},
    wrong={
        "the products are not scaled": (
            _attended(lambda x, q: 1.0), "Divide the products by the root of d, the width of queries and keys: without "
                                         "it they grow with d, and the softmax is close to a hard choice."),
        "scaled by d and not by its root": (
            _attended(lambda x, q: q.shape[-1]), "A sum of d products of independent numbers has a standard deviation "
                                                 "of the *root* of d. Divide by that."),
        "scaled by the width of the tokens": (
            _attended(lambda x, q: math.sqrt(x.shape[-1])), "The products are sums over the d channels of queries and "
                                                            "keys: d is q.shape[-1], not the width of x."),
        "softmax over the queries": (
            _attended(dim=-2), "Your columns sum to 1. Every *query* spreads a weight of 1 over the keys: softmax over "
                               "the last axis of (query, key)."),
        "queries and keys exchanged": (
            _attended(swap=True), "Row i must say where token i looks: its query against all keys, q @ k.mT."),
        "keys are mixed instead of values": (
            _attended(mixed=1), "The weights are right. What they mix are the values, not the keys."),
    },
    right={"einsum": _attention_by_einsum,
           "torch's own": lambda x, query, key, value: (
               torch.softmax(torch.bmm(x @ query, (x @ key).transpose(1, 2)) / (x @ query).size(2) ** 0.5, 2),
               torch.nn.functional.scaled_dot_product_attention(x @ query, x @ key, x @ value))},
    hints=("Three products of x with a matrix: q, k and v. Which two of them decide who looks where?",
           "q @ k.mT has shape (B, T, T), row = query. Divide by math.sqrt(q.shape[-1]), then softmax over the last "
           "axis.",
           "q, k, v = x @ query, x @ key, x @ value\n"
           "weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)\n"
           "return weights, weights @ v"),
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
            _with(_colours_apart),
            "A patch has one mean and one standard deviation over all its pixels and colours: p·p·3 numbers."),
        "eps added to the standard deviation": (
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


# ------------------------------------------------------------------------------------------------ 12.mae_step
def mae_step(encoder, decoder, mask_token, optimizer, images, noise, kept):
    """One update of MAE -> the loss, a number.

    encoder(images, keep) -> tokens (B, 1 + kept, D), the class token first; decoder(tokens (B, 1 + L, D)) -> (B, L, n).
    """
    keep, restore, visible = random_masking(noise, kept)
    tokens = encoder(images, keep)
    patches = library_unshuffle(tokens[:, 1:], mask_token, restore)
    prediction = decoder(torch.cat([tokens[:, :1], patches], 1))
    loss = library_loss(prediction, images, visible)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _three_steps(step, images: Tensor, noise: Tensor, kept: int):
    """Three updates of a very small autoencoder by `step`: the losses, and the weights at the end."""
    draw = partial(randn, torch.Generator().manual_seed(5), images.dtype)
    length, n, width = noise.shape[-1], 3 * images.shape[-1] ** 2 // noise.shape[-1], 6
    into, out, first, token, places, more = weights = [
        torch.nn.Parameter(0.5 * draw(*shape)) for shape in
        ((n, width), (width, n), (1, 1, width), (1, 1, width), (1, length, width), (1, 1 + length, width))]

    def encoder(pictures, keep):
        x = patchify(pictures, math.isqrt(n // 3)) @ into + places
        x = x.gather(1, keep[..., None].expand(-1, -1, width))
        x = torch.cat([first.expand(len(x), -1, -1), x], 1)
        return torch.tanh(x + x.mean(1, keepdim=True))

    def decoder(tokens):
        x = torch.tanh(tokens + more[:, : tokens.shape[1]] + tokens.mean(1, keepdim=True))
        return (x + x[:, :1])[:, 1:] @ out

    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.5)
    losses = [step(encoder, decoder, token, optimizer, *pair, kept) for pair in zip(images, noise)]
    if any(loss is None or loss is Ellipsis for loss in losses):
        return losses[0]
    held = any(isinstance(loss, Tensor) and loss.requires_grad for loss in losses)
    losses = [loss.detach() if isinstance(loss, Tensor) else loss for loss in losses]
    return {"losses": losses, "keeps its graph": held, "weights": torch.cat([w.detach().flatten() for w in weights])}


def _update_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [dict(images=draw(3, 4, 3, 6, 6), noise=rand(generator, dtype, 3, 4, 9), kept=3),
            dict(images=draw(3, 3, 3, 8, 8), noise=rand(generator, dtype, 3, 3, 16), kept=4)]


def _update(put_back=library_unshuffle, join=lambda first, patches: [first, patches], seen=lambda visible: visible,
            normalized=True, clear=True, number=True):
    def step(encoder, decoder, mask_token, optimizer, images, noise, kept):
        keep, restore, visible = random_masking(noise, kept)
        first, patches = encoder(images, keep).split([1, kept], 1)
        tokens = torch.cat(join(first, put_back(patches, mask_token, restore)), 1)
        loss = library_loss(decoder(tokens), images, seen(visible), normalized)
        if clear:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item() if number else loss

    return step


def _by_autograd(encoder, decoder, mask_token, optimizer, images, noise, kept):
    keep, restore, visible = random_masking(noise, kept)
    tokens = encoder(images, keep)
    tokens = torch.cat([tokens[:, :1], _put_one_by_one(tokens[:, 1:], mask_token, restore)], 1)
    loss = _in_images(decoder(tokens), images, visible)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


step_exercise = Exercise(
    key="12.mae_step", title="One training step", minutes=9, difficulty=3,
    reference=mae_step, probes=_update_probes, call=_three_steps, tolerance=1e-4,
    words={"['losses']": "the returned losses", "['weights']": "the weights after three steps"},
    wrong={
        "tokens are not put back": (
            _update(put_back=_filled), "The decoder gets the kept tokens first and the mask tokens behind them, so it "
                                       "adds the position of patch 0 to whichever was kept first. unshuffle them."),
        "the class token comes last": (
            _update(join=lambda first, patches: [patches, first]),
            "The decoder expects the class token in front: torch.cat([first, patches], 1)."),
        "the visible patches are scored": (
            _update(seen=lambda visible: ~visible),
            "mae_loss takes the mask with True = visible and scores the others. Hand on `visible` as it is."),
        "plain pixels as targets": (
            _update(normalized=False),
            "The targets are patches of mean 0 and standard deviation 1, which is mae_loss's default."),
        "gradients never cleared": (
            _update(clear=False), "backward adds to the gradients of the step before. optimizer.zero_grad() first."),
        "the loss keeps its graph": (
            _update(number=False),
            "You return the tensor with the whole computation behind it, which keeps every batch in memory. Return a "
            "number: loss.item()."),
    },
    right={"cleared at the end, one by one": _by_autograd},
    hints=("Mask, encode what is kept, put back, decode, score, update: six lines, and a function for most of them.",
           "random_masking(noise, kept) gives keep, restore, visible. The class token, tokens[:, :1], waits outside "
           "while tokens[:, 1:] are put back.",
           "keep, restore, visible = random_masking(noise, kept)\n"
           "tokens = encoder(images, keep)\n"
           "patches = unshuffle(tokens[:, 1:], mask_token, restore)\n"
           "prediction = decoder(torch.cat([tokens[:, :1], patches], 1))\n"
           "loss = mae_loss(prediction, images, visible)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)

EXERCISES = [attention_exercise, unshuffle, mae_loss, step_exercise]
