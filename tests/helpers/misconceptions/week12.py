"""Second spellings of the misconceptions of week 12."""
from __future__ import annotations

import math

import torch
from einops import rearrange

from course_lib.models.patches import patchify


# ---------------------------------------------------------------- 12.attention
def _heads(x, query, key, value, by=None, over=2, look="bqe,bke->bqk", mix=None):
    q, k, v = (torch.einsum("btd,de->bte", x, w) for w in (query, key, value))
    logits = torch.einsum(look, q, k) * (q.shape[2] ** -0.5 if by is None else by(x, q))
    weights = torch.exp(torch.log_softmax(logits, over))
    return weights, torch.einsum("bqk,bke->bqe", weights, v if mix is None else k)


def _late(x, query, key, value):
    q, k, v = (torch.einsum("btd,de->bte", x, w) for w in (query, key, value))
    weights = torch.softmax(torch.einsum("bqe,bke->bqk", q, k), 2) * q.shape[2] ** -0.5
    return weights, torch.einsum("bqk,bke->bqe", weights, v)


def _head(**change):
    return lambda x, query, key, value: _heads(x, query, key, value, **change)


# ---------------------------------------------------------------- 12.unshuffle
def _list(tokens, mask_token, restore):
    b, n, d = tokens.shape
    return torch.cat([tokens, mask_token.repeat(b, restore.shape[1] - n, 1)], dim=1)


def _pick(x, index):
    return torch.stack([rows[places] for rows, places in zip(x, index)])


def _scattered(tokens, mask_token, restore):
    x = _list(tokens, mask_token, restore)
    return torch.stack([torch.zeros_like(rows).index_copy(0, places, rows) for rows, places in zip(x, restore)])


def _masks_in_front(tokens, mask_token, restore):
    b, n, d = tokens.shape
    x = torch.cat([mask_token.repeat(b, restore.shape[1] - n, 1), tokens], 1)
    return _pick(x, restore)


def _left_to_right(tokens, mask_token, restore):
    kept = tokens.shape[1]
    rows = []
    for b in range(len(tokens)):
        waiting = iter(tokens[b])
        rows.append(torch.stack([next(waiting) if place < kept else mask_token[0, 0] for place in restore[b].tolist()]))
    return torch.stack(rows)


def _pick_of_the_one_before(tokens, mask_token, restore):
    x = _list(tokens, mask_token, restore)
    return torch.stack([x[b][restore[b - 1]] for b in range(len(x))])


def _rolled(by):
    return lambda tokens, mask_token, restore: _pick(_list(tokens, mask_token, restore).roll(by, 1), restore)


def _no_token(tokens, mask_token, restore):
    b, n, d = tokens.shape
    x = torch.nn.functional.pad(tokens, (0, 0, 0, restore.shape[1] - n))
    return _pick(x, restore) + 0 * mask_token


def _copied_token(tokens, mask_token, restore):
    return _pick(_list(tokens, mask_token.data.clone(), restore), restore)


def _first_order(tokens, mask_token, restore):
    return _list(tokens, mask_token, restore)[:, restore[0]]


# ---------------------------------------------------------------- 12.mae_loss
def _errors(prediction, images, visible, normalized, correction=1, colours=False, outside=False,
            layout="b (h w) (p q c)", eps=1e-6, over=None, times=1, floor=False):
    grid = math.isqrt(prediction.shape[1])
    for _ in range(times * normalized):
        blocks = rearrange(images, "b c (h p) (w q) -> b h w (p q) c", h=grid, w=grid)
        axes = over or ((3,) if colours else (3, 4))
        mean = blocks.mean(axes, keepdim=True)
        spread = blocks.var(axes, correction=correction, keepdim=True)
        spread = spread.clamp_min(eps) - eps if floor else spread
        spread = spread.sqrt() + eps if outside else (spread + eps).sqrt()
        p = images.shape[-1] // grid
        images = rearrange((blocks - mean) / spread, "b h w (p q) c -> b c (h p) (w q)", p=p)
    target = rearrange(images, f"b c (h p) (w q) -> {layout}", h=grid, w=grid)
    return ((prediction - target) ** 2).mean(2), ~visible.reshape(len(images), -1)


def _picked(**options):
    def loss(prediction, images, visible, normalized=True):
        error, hidden = _errors(prediction, images, visible, normalized, **options)
        return error[hidden].mean()

    return loss


def _image_means(prediction, images, visible, normalized=True):
    error, hidden = _errors(prediction, images, visible, normalized)
    return torch.stack([e[h].mean() for e, h in zip(error, hidden)]).mean()


def _everything(prediction, images, visible, normalized=True):
    error, _ = _errors(prediction, images, visible, normalized)
    return error.sum() / error.numel()


def _seen(prediction, images, visible, normalized=True):
    error, hidden = _errors(prediction, images, visible, normalized)
    return error[~hidden].mean()


def _by_the_first(prediction, images, visible, normalized=True):
    error, hidden = _errors(prediction, images, visible, normalized)
    return error[hidden].sum() / (hidden[0].sum() * len(hidden))


def _as_a_picture(prediction, images, visible, normalized=True):
    p = images.shape[-1] // math.isqrt(prediction.shape[1])
    target = patchify(images, p)
    if normalized:
        mean, spread = target.mean(2, True), (target.var(2, keepdim=True) + 1e-6) ** 0.5
        target, prediction = (target - mean) / spread, torch.addcmul(mean, prediction, spread)
    return ((prediction - target) ** 2).mean(2)[~visible.flatten(1)].mean()


def _weighed_by_contrast(prediction, images, visible, normalized=True):
    patches = patchify(images, images.shape[-1] // math.isqrt(prediction.shape[1]))
    spread = (patches.var(2, keepdim=True) + 1e-6).sqrt()
    target = (patches - patches.mean(2, True)) / spread if normalized else patches
    error = (prediction - target) * (spread if normalized else 1)
    return (error ** 2).mean(2)[~visible.flatten(1)].mean()


def _of_size(size):
    def loss(prediction, images, visible, normalized=True):
        target = patchify(images, size(prediction))
        if normalized:
            target = (target - target.mean(2, True)) / (target.var(2, keepdim=True) + 1e-6).sqrt()
        return ((prediction - target) ** 2).mean(2)[~visible.flatten(1)].mean()

    return loss


def _unflattened(prediction, images, visible, normalized=True):
    error, _ = _errors(prediction, images, visible, normalized)
    weight = torch.logical_not(visible)
    return torch.sum(error * weight) / torch.sum(weight)


# ---------------------------------------------------------------- 12.mae_step
def _stepped(encoder, decoder, mask_token, optimizer, images, noise, kept, shuffled=False, last=False, seen=False,
             plain=False, adds=False, tensor=False, one=False, sort=False, write=None, kept_as=None, first=None,
             whole="", score_all=False, token_only=False, still=False, early=False, digits=None):
    order = noise.sort(dim=1, stable=True).indices
    order = order[0].repeat(len(order), 1) if one else order
    places = torch.zeros_like(order).scatter_(1, order, torch.arange(order.shape[1]).repeat(len(order), 1))
    inverse = torch.arange(order.shape[1]).repeat(len(order), 1)
    ask = inverse if whole else torch.sort(order[:, :kept], 1)[0] if sort else order[:, :kept]
    tokens = encoder(images, ask)
    front, rest = tokens[:, :1], tokens[:, 1:]
    front = rest.sum(1, True) / kept if first == "mean" else front
    rest = kept_as(tokens) if kept_as else rest
    if whole == "hidden":
        row = torch.where((places < kept).unsqueeze(2), rest, mask_token)
    elif write:
        row = write(rest, mask_token, places)
    else:
        row = _list(rest, mask_token, places)
        row = row if shuffled else _pick(row, places)
    prediction = decoder(torch.cat([row, front] if last else [front, row], 1))
    error, hidden = _errors(prediction, images, places < kept, not plain)
    loss = error.mean() if score_all else error[hidden != seen].mean()
    if early:
        optimizer.step()
    if token_only:
        mask_token.grad = None
    elif not adds:
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
    "12.attention": {
        "the products are not scaled": _head(by=lambda x, q: 1.0),
        "scaled by d and not by its root": _head(by=lambda x, q: 1 / q.shape[2]),
        "scaled by the width of the tokens": _head(by=lambda x, q: x.shape[2] ** -0.5),
        "scaled by the width of the values":
            lambda x, query, key, value: _heads(x, query, key, value, by=lambda x, q: value.shape[1] ** -0.5),
        "scaled by the number of tokens": _head(by=lambda x, q: q.shape[1] ** -0.5),
        "scaled after the softmax": _late,
        "the results in the other order": lambda *given: tuple(reversed(_heads(*given))),
        "softmax over the queries": _head(over=1),
        "queries and keys exchanged": _head(look="bke,bqe->bqk"),
        "keys are mixed instead of values": _head(mix="keys"),
    },
    "12.mae_step": {
        "tokens are not put back": _step(shuffled=True),
        "the kept patches are sorted": _step(sort=True),
        "written in reading order": _step(write=_left_to_right),
        "kept tokens reversed": _step(kept_as=lambda tokens: torch.stack(tokens[:, 1:].unbind(1)[::-1], 1)),
        "kept tokens moved on by one": _step(kept_as=lambda t: torch.cat([t[:, -1:], t[:, 1:-1]], 1)),
        "kept tokens averaged": _step(kept_as=lambda t: t[:, 1:].mean(1, True).repeat(1, t.shape[1] - 1, 1)),
        "the last token is dropped": _step(kept_as=lambda t: t.narrow(1, 0, t.shape[1] - 1)),
        "a mean for the class token": _step(first="mean"),
        "one mask for all": _step(one=True),
        "all patches are encoded": _step(whole="hidden"),
        "all patches are encoded and shuffled": _step(whole="shuffled"),
        "all patches are scored": _step(score_all=True),
        "only the mask token's gradient is cleared": _step(token_only=True),
        "the weights never move": _step(still=True),
        "the step comes before backward": _step(early=True),
        "the loss is rounded": _step(digits=3),
        "the class token comes last": _step(last=True),
        "the visible patches are scored": _step(seen=True),
        "plain pixels as targets": _step(plain=True),
        "gradients never cleared": _step(adds=True),
        "the loss keeps its graph": _step(tensor=True),
    },
    "12.unshuffle": {
        "tokens are not put back": _list,
        "put back with the shuffle": _scattered,
        "mask tokens stand first": _masks_in_front,
        "zeros where a patch is hidden": _no_token,
        "the mask token is detached": _copied_token,
        "the first image's order for all": _first_order,
        "the neighbour's order": _pick_of_the_one_before,
        "written in reading order": _left_to_right,
        "one place too far": _rolled(-1),
        "one place too early": _rolled(1),
    },
    "12.mae_loss": {
        "the biased variance in the target": _picked(correction=0),
        "mean of per-image means": _image_means,
        "visible patches count as well": _everything,
        "the mask is inverted": _seen,
        "each colour normalised on its own": _picked(colours=True),
        "eps added to the standard deviation": _picked(outside=True),
        "eps of another size": _picked(eps=1e-5),
        "no eps": _picked(eps=0.0),
        "the variance is clamped": _picked(floor=True),
        "normalised twice": _picked(times=2),
        "statistics over the patches of an image": _picked(over=(1, 2)),
        "statistics over the batch": _picked(over=(0, 1, 2, 3, 4)),
        "the prediction is scaled back": _as_a_picture,
        "the error is in pixels": _weighed_by_contrast,
        "the first image's count for all": _by_the_first,
        "the mask as a grid": _unflattened,
        "patches of 4 pixels": _of_size(lambda prediction: 4),
        "the patch size from n without the colours": _of_size(lambda prediction: int(prediction.shape[2] ** 0.5)),
        "channels first in a patch": _picked(layout="b (h w) (c p q)"),
    },
}

EQUIVALENT = {
    "12.unshuffle": {
        "line 4: restore.shape[1] - kept -> restore.shape[1] + kept": "mask tokens too many at the end are never taken",
        "line 4: restore.shape[1] - kept -> restore.shape[1]": "mask tokens too many at the end are never taken",
    },
    "12.mae_loss": {
        "line 8: images.shape[-1] -> images.shape[-2]": "images are square",
    },
}
