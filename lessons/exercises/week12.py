"""Exercises of week 12, MAE: a head of attention; tokens put back, hidden patches scored, one training step."""
from __future__ import annotations

import math
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from course_lib.augment.masks import random_masking
from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.masked.mae import mae_loss as library_loss
from course_lib.methods.masked.mae import unshuffle as library_unshuffle
from course_lib.models.patches import normalize_patches, patchify
from lessons.exercises.shared import STEP_WORDS, descend, noted_steps, rand, randn, update_mistakes


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


def _scaled_late(x, query, key, value):
    q, k, v = x @ query, x @ key, x @ value
    weights = (q @ k.mT).softmax(-1) / math.sqrt(q.shape[-1])
    return weights, weights @ v


def _attention_by_einsum(x, query, key, value):
    q, k, v = (torch.einsum("btd,de->bte", x, w) for w in (query, key, value))
    logits = torch.einsum("bqe,bke->bqk", q, k) * q.shape[-1] ** -0.5
    weights = logits.exp() / logits.exp().sum(2, keepdim=True)
    return weights, torch.einsum("bqk,bke->bqe", weights, v)


attention_exercise = Exercise(
    key="12.attention", title="One head of attention", minutes=8, difficulty=2,
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
        "scaled by the width of the values": (
            lambda x, query, key, value: _attended(lambda x, q: math.sqrt(value.shape[-1]))(x, query, key, value),
            "The products are sums over the channels of queries and keys. The values may have another width, and no "
            "say in who looks where."),
        "scaled by the number of tokens": (
            _attended(lambda x, q: math.sqrt(x.shape[1])), "q.shape[1] counts the tokens. The products are sums over "
                                                           "the last axis of q: divide by the root of its size."),
        "scaled after the softmax": (
            _scaled_late, "Your rows sum to 1 / sqrt(d). Divide the products first: the softmax comes last, and makes "
                          "every row sum to 1."),
        "the results in the other order": (
            lambda *given: _attended()(*given)[::-1], "Return the weights first, then the mixed values."),
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
    others = mask_token.expand(len(tokens), restore.shape[1] - tokens.shape[1], -1)
    return _taken(torch.cat([others, tokens], 1), restore)


def _in_reading_order(tokens, mask_token, restore):
    visible = restore < tokens.shape[1]
    out = mask_token.repeat(*restore.shape, 1)
    return out.index_put(tuple(visible.nonzero().T), tokens.flatten(0, 1))


def _moved(step):
    return lambda tokens, mask_token, restore: _taken(
        _filled(tokens, mask_token, restore), (restore + step) % restore.shape[1])


def _put_one_by_one(tokens, mask_token, restore):
    batch, kept, _ = tokens.shape
    rows = [[tokens[b, place] if place < kept else mask_token[0, 0] for place in restore[b].tolist()]
            for b in range(batch)]
    return torch.stack([torch.stack(row) for row in rows])


unshuffle = Exercise(
    key="12.unshuffle", title="Put every token back in its place", minutes=6, difficulty=3,
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
        "the first image's order for all": (
            lambda tokens, mask_token,
            restore: _taken(_filled(tokens, mask_token, restore), restore[:1].expand_as(restore)),
            "Every image is put back by the first image's order: each has its own row of restore."),
        "the neighbour's order": (
            lambda tokens, mask_token, restore: _taken(_filled(tokens, mask_token, restore), restore.roll(1, 0)),
            "Each image is put back by the row of restore that belongs to the image before it in the batch."),
        "written in reading order": (
            _in_reading_order, "The mask tokens stand right. The kept tokens are written to the visible places from "
                               "left to right, but they come in the order of the shuffle: token i belongs where "
                               "restore is i."),
        "one place too far": (
            _moved(1), "You take the token behind the one that is meant: restore counts from 0, so it is an index as "
                       "it stands."),
        "one place too early": (
            _moved(-1), "You take the token before the one that is meant: restore counts from 0, not from 1."),
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
        images[0, :, :patch, :patch] *= 0.01  # nearly constant: eps and its place
        images[0, :, :patch, patch : 2 * patch] *= 1e-4  # more so: eps added, not a floor
        prediction = randn(generator, dtype, batch, grid * grid, 3 * patch * patch)
        kept = torch.tensor([(3 * i + 1) % (grid * grid) for i in range(batch)]) if kept is None else kept
        visible = torch.rand(batch, grid * grid, generator=generator).argsort(1).argsort(1) < kept.view(-1, 1)
        visible[0, :2] = False
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


def _by_itself(prediction, images, visible, normalized=True):
    with torch.no_grad():
        target = patchify(images, images.shape[-1] // math.isqrt(prediction.shape[1]))
        target = normalize_patches(target)[0] if normalized else target
    hidden = ~visible.flatten(1)
    return (prediction - target).square().mean(-1)[hidden].sum() / (hidden.sum() + 1e-6)


def _over_patches(p, over):
    return (p - p.mean(over, keepdim=True)) / (p.var(over, keepdim=True) + 1e-6).sqrt()


def _floor(p):
    return (p - p.mean(-1, keepdim=True)) / p.var(-1, keepdim=True).clamp(min=1e-6).sqrt()


def _with_eps(eps):
    return _with(lambda p: (p - p.mean(-1, keepdim=True)) / (p.var(-1, keepdim=True) + eps).sqrt())


def _drawn_back(prediction, images, visible, normalized=True):
    if normalized:
        _, mean, std = normalize_patches(patchify(images, images.shape[-1] // math.isqrt(prediction.shape[1])))
        prediction = prediction * std + mean
    return _ratio(*_parts(prediction, images, visible, normalized))


def _in_pixels(prediction, images, visible, normalized=True):
    target = patchify(images, images.shape[-1] // math.isqrt(prediction.shape[1]))
    if normalized:
        _, mean, std = normalize_patches(target)
        prediction = prediction * std + mean
    return _ratio((prediction - target).square().mean(-1), (~visible.flatten(1)).to(target))


def _first_count(prediction, images, visible, normalized=True):
    error, hidden = _parts(prediction, images, visible, normalized)
    return (error * hidden).sum() / (len(error) * hidden[0].sum())


def _cut_into(size):
    def loss(prediction, images, visible, normalized=True):
        target = patchify(images, size(prediction))
        target = normalize_patches(target)[0] if normalized else target
        return _ratio((prediction - target).square().mean(-1), ~visible.flatten(1))

    return loss


def _grid_kept(prediction, images, visible, normalized=True):
    return _ratio(_parts(prediction, images, visible, normalized)[0], ~visible)


def _fixed_images(loss, prediction, images, visible, *more, **named):
    """Only the prediction is asked for a gradient: whether the target carries one is the same to a training."""
    return loss(prediction, images.detach(), visible, *more, **named)


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
    reference="course_lib.methods.masked.mae:mae_loss", probes=_loss_probes, call=_fixed_images, gradients=True,
    tolerance=5e-4, unit="patches",
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
        "eps of another size": (
            _with_eps(1e-5), "In a nearly constant patch it matters: MAE adds 1e-6 to the variance, not 1e-5."),
        "no eps": (
            _with_eps(0.0), "A constant patch has variance 0: add 1e-6 to the variance before you take the root."),
        "the variance is clamped": (
            _with(_floor), "The 1e-6 is added to every variance; it is not the smallest one allowed."),
        "normalised twice": (
            _with(lambda p: normalize_patches(normalize_patches(p)[0])[0]),
            "Once is enough. A second time changes the nearly constant patches, because of the 1e-6."),
        "statistics over the patches of an image": (
            _with(lambda p: _over_patches(p, 1)),
            "Your mean and variance run over the patches, one per pixel of a patch. Take them over the last axis: one "
            "pair per patch."),
        "statistics over the batch": (
            _with(lambda p: _over_patches(p, (0, 1, 2))),
            "You use one mean and one variance for the whole batch. Each patch has its own: take them over the last "
            "axis."),
        "the prediction is scaled back": (
            _drawn_back, "Compare the prediction as it is with the normalised patch. The patch's mean and standard "
                         "deviation are for drawing a picture, after training."),
        "the error is in pixels": (
            _in_pixels, "You scale the prediction back and compare pixels, so that contrasty patches weigh more. The "
                        "normalised patch is the target, and the prediction stays as it is."),
        "the first image's count for all": (
            _first_count, "Images may hide different numbers of patches: count the hidden ones of the whole batch, "
                          "hidden.sum()."),
        "the mask as a grid": (
            _grid_kept, "visible may come as (B, g, g), the errors are (B, L): visible.flatten(1) first."),
        "patches of 4 pixels": (
            _cut_into(lambda prediction: 4), "The patch size is not always 4: there are L patches, so sqrt(L) to a "
                                             "side, and a patch has images.shape[-1] // sqrt(L) pixels to a side."),
        "the patch size from n without the colours": (
            _cut_into(lambda prediction: math.isqrt(prediction.shape[2])),
            "n = p · p · 3 counts three colours, so its root is not p."),
        "channels first in a patch": (
            _with(cut=_channels_first), "The prediction's n numbers are (row, column, channel), the channel fastest: "
                                        "patchify cuts like this."),
    },
    right={
        "a target without gradient, a guarded division": _by_itself,
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
    """Three updates of a very small autoencoder by `step`: the losses, and the weights at the end.

    The decoder mixes the places by fixed weights, so that a hidden patch feels which token stands at which place.
    """
    draw = partial(randn, torch.Generator().manual_seed(5), images.dtype)
    length, n, width = noise.shape[-1], 3 * images.shape[-1] ** 2 // noise.shape[-1], 6
    into, out, first, token, places, more = weights = [
        torch.nn.Parameter(0.9 * draw(*shape)) for shape in
        ((n, width), (width, n), (1, 1, width), (1, 1, width), (1, length, width), (1, 1 + length, width))]
    between = draw(1 + length, 1 + length) / math.sqrt(length)

    def encoder(pictures, keep):
        x = patchify(pictures, math.isqrt(n // 3)) @ into + places
        x = x.gather(1, keep[..., None].expand(-1, -1, width))
        x = torch.cat([first.expand(len(x), -1, -1), x], 1)
        return torch.tanh(x + x.mean(1, keepdim=True))

    def decoder(tokens):
        if tokens.shape[1:] != more.shape[1:]:
            raise ValueError(f"the decoder takes {1 + length} tokens for each image, the class token and {length} "
                             f"patches; it was given the shape {tuple(tokens.shape)}")
        x = tokens + more
        return torch.tanh(x + between @ x)[:, 1:] @ out

    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.5)
    fixed = encoder, decoder, token, optimizer
    return noted_steps(step, [(*fixed, *pair, kept) for pair in zip(images, noise)], weights)


def _update_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [dict(images=draw(3, 4, 3, 6, 6), noise=rand(generator, dtype, 3, 4, 9), kept=3),
            dict(images=draw(3, 3, 3, 8, 8), noise=rand(generator, dtype, 3, 3, 16), kept=4)]


def _update(put_back=library_unshuffle, join=lambda first, patches: [first, patches], seen=lambda visible: visible,
            normalized=True, chosen=lambda keep: keep, drawn=lambda noise: noise, rest=lambda tokens: tokens[:, 1:],
            order="clear backward step", back=lambda loss: loss.item()):
    def step(encoder, decoder, mask_token, optimizer, images, noise, kept):
        keep, restore, visible = random_masking(drawn(noise), kept)
        tokens = encoder(images, chosen(keep))
        tokens = torch.cat(join(tokens[:, :1], put_back(rest(tokens), mask_token, restore)), 1)
        loss = library_loss(decoder(tokens), images, seen(visible), normalized)
        return descend(loss, optimizer, order, back, token=lambda: setattr(mask_token, "grad", None))

    return step


def _mean_in_front(tokens):
    return torch.cat([tokens[:, 1:].mean(1, keepdim=True), tokens[:, 1:]], 1)


def _all_encoded(hide):
    """The encoder gets every patch; its tokens at hidden places are replaced only after it, or shuffled at the end."""
    def step(encoder, decoder, mask_token, optimizer, images, noise, kept):
        _, restore, visible = random_masking(noise, kept)
        tokens = encoder(images, torch.arange(noise.shape[1]).expand_as(noise))
        patches = (torch.where(visible[..., None], tokens[:, 1:], mask_token) if hide
                   else library_unshuffle(tokens[:, 1:], mask_token, restore))
        loss = library_loss(decoder(torch.cat([tokens[:, :1], patches], 1)), images, visible)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

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
    key="12.mae_step", title="One training step", minutes=8, difficulty=3,
    reference=mae_step, probes=_update_probes, call=_three_steps, tolerance=1e-4,
    words=STEP_WORDS,
    wrong={
        "tokens are not put back": (
            _update(put_back=_filled), "The decoder gets the kept tokens first and the mask tokens behind them, so it "
                                       "adds the position of patch 0 to whichever was kept first. unshuffle them."),
        "the kept patches are sorted": (
            _update(chosen=lambda keep: keep.sort(1).values),
            "The encoder gets the kept patches in reading order, but restore undoes the shuffle: hand on `keep` as "
            "random_masking gave it, or the tokens change places among themselves."),
        "written in reading order": (
            _update(put_back=_in_reading_order),
            "The kept tokens come in the order of the shuffle, and you write them to the visible places from left to "
            "right: each lands on another's place. unshuffle knows the way back."),
        "kept tokens reversed": (
            _update(rest=lambda tokens: tokens[:, 1:].flip(1)),
            "The kept tokens are reversed before they are put back: restore expects them as the encoder returns them."),
        "kept tokens moved on by one": (
            _update(rest=lambda tokens: tokens[:, 1:].roll(1, 1)),
            "Each kept token stands where the next one belongs: hand tokens[:, 1:] to unshuffle as it is."),
        "kept tokens averaged": (
            _update(rest=lambda tokens: tokens[:, 1:].mean(1, keepdim=True).expand_as(tokens[:, 1:])),
            "All visible places get the same token, the mean of the kept ones: the decoder no longer knows what "
            "was where."),
        "the last token is dropped": (
            _update(rest=lambda tokens: tokens[:, :-1]),
            "tokens[:, :-1] holds the class token and drops a patch. The class token comes first: put tokens[:, 1:] "
            "back."),
        "a mean for the class token": (
            lambda encoder, *given, **named: _update()(
                lambda *seen: _mean_in_front(encoder(*seen)), *given, **named),
            "In front of the decoder's list belongs the class token, tokens[:, :1], not the mean of the others."),
        "the class token comes last": (
            _update(join=lambda first, patches: [patches, first]),
            "The decoder expects the class token in front: torch.cat([first, patches], 1)."),
        "one mask for all": (
            _update(drawn=lambda noise: noise[:1].expand_as(noise)),
            "Every image hides the same patches: random_masking takes the whole noise, a row for each image."),
        "all patches are encoded": (
            _all_encoded(True), "The encoder reads the patches that it should not see, and its visible tokens know "
                                "them. Give it `keep` only; the mask tokens come after it."),
        "all patches are encoded and shuffled": (
            _all_encoded(False), "The encoder gets all patches in reading order, and then restore, which undoes a "
                                 "shuffle that never happened, scatters them. Give the encoder `keep`."),
        "the visible patches are scored": (
            _update(seen=lambda visible: ~visible),
            "mae_loss takes the mask with True = visible and scores the others. Hand on `visible` as it is."),
        "all patches are scored": (
            _update(seen=torch.zeros_like), "The loss counts every patch. Hand on `visible`, so that mae_loss leaves "
                                            "out what the encoder has seen."),
        "plain pixels as targets": (
            _update(normalized=False),
            "The targets are patches of mean 0 and standard deviation 1, which is mae_loss's default."),
        "only the mask token's gradient is cleared": (
            _update(order="token backward step"),
            "You clear the gradient of the mask token only; all other weights add theirs up. optimizer.zero_grad() "
            "clears them all."),
        **update_mistakes(_update),
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


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("Why does MAE keep mask tokens out of the encoder?", {
        "They would be too many to store": "Memory is saved, but the encoder would also meet in training what it "
            "never meets later.",
        "It never meets what it would not meet later, and computes a quarter": "In the paper's ablation, mask tokens "
            "in the encoder make training slower and the linear probe much worse (source: arXiv 2111.06377, table 1).",
        "Mask tokens have no gradient": "They have one: they are learned, in the decoder.",
    }, "It never meets what it would not meet later, and computes a quarter"),
    quiz("One image hides 4 patches, another 12, and you average the two images' losses. How does a hidden patch of "
         "the first weigh?", {
        "As much as one of the second": "So does MAE, which divides one sum by the number of hidden patches in the "
            "batch.",
        "Three times as much": "Each image counts the same, so a patch counts by one over the number of its image's "
            "hidden patches.",
        "A third": "The other way round.",
    }, "Three times as much"),
    quiz("A paper's reconstructions from normalised targets look sharp. What do you ask first?", {
        "How long it was trained": "Longer training sharpens too, but a leak makes any prediction look better.",
        "Where each hidden patch's mean and standard deviation came from": "Usually from the hidden patch itself. "
            "Copying gains from that gift as well.",
        "Which mask ratio was used": "A fair question, the second one.",
    }, "Where each hidden patch's mean and standard deviation came from"),
    quiz("A patch puts far more of its attention on its object than the object's share of the image. Does it know the "
         "object?", {
        "Yes, it is far above chance": "Chance ignores that attention prefers near patches, which lie on the same "
            "object.",
        "Less than it seems: compare with the same place in other images": "That control explained much of it here.",
        "No, attention maps mean nothing": "The part beyond place is real: it depends on this image.",
    }, "Less than it seems: compare with the same place in other images"),
    quiz("Transfer: you pre-train on video, cut into blocks of 2 frames by 16 by 16 pixels. Which mask ratio do you "
         "try first?", {
        "The same as for images": "Neighbouring frames are nearly copies: the task would be easy (figure 2).",
        "A larger one": "The more a neighbour can tell, the more must go: MAE for video hides nine in ten (source: "
            "arXiv 2205.09113).",
        "A smaller one": "Then copying along time solves it.",
    }, "A larger one"),
]
