"""Second spellings of the misconceptions of week 12."""
from __future__ import annotations

import math

import torch
from einops import rearrange


# ---------------------------------------------------------------- 12.attention
def _heads(x, query, key, value, by=None, over=2, look="bqe,bke->bqk", mix=None):
    q, k, v = (torch.einsum("btd,de->bte", x, w) for w in (query, key, value))
    logits = torch.einsum(look, q, k) * (q.shape[2] ** -0.5 if by is None else by(x, q))
    weights = torch.exp(torch.log_softmax(logits, over))
    return weights, torch.einsum("bqk,bke->bqe", weights, v if mix is None else k)


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
    x = torch.cat([mask_token.repeat(b, restore.shape[1] - n, 1), tokens.flip(1)], 1)
    return _pick(x, restore)


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
            layout="b (h w) (p q c)"):
    grid = math.isqrt(prediction.shape[1])
    if normalized:
        blocks = rearrange(images, "b c (h p) (w q) -> b h w (p q) c", h=grid, w=grid)
        over = (3,) if colours else (3, 4)
        mean = blocks.mean(over, keepdim=True)
        spread = blocks.var(over, correction=correction, keepdim=True)
        spread = spread.sqrt() + 1e-6 if outside else (spread + 1e-6).sqrt()
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


# ---------------------------------------------------------------- 12.mae_step
def _stepped(encoder, decoder, mask_token, optimizer, images, noise, kept, shuffled=False, last=False, seen=False,
             plain=False, adds=False, tensor=False):
    order = noise.sort(dim=1, stable=True).indices
    places = torch.zeros_like(order).scatter_(1, order, torch.arange(order.shape[1]).repeat(len(order), 1))
    tokens = encoder(images, order[:, :kept])
    row = _list(tokens[:, 1:], mask_token, places)
    row = row if shuffled else _pick(row, places)
    prediction = decoder(torch.cat([row, tokens[:, :1]] if last else [tokens[:, :1], row], 1))
    error, hidden = _errors(prediction, images, places < kept, not plain)
    loss = error[hidden != seen].mean()
    if not adds:
        optimizer.zero_grad(set_to_none=False)
    torch.autograd.backward([loss])
    optimizer.step()
    return loss if tensor else float(loss.detach())


def _step(**change):
    return lambda *given: _stepped(*given, **change)


SECOND = {
    "12.attention": {
        "the products are not scaled": _head(by=lambda x, q: 1.0),
        "scaled by d and not by its root": _head(by=lambda x, q: 1 / q.shape[2]),
        "scaled by the width of the tokens": _head(by=lambda x, q: x.shape[2] ** -0.5),
        "softmax over the queries": _head(over=1),
        "queries and keys exchanged": _head(look="bke,bqe->bqk"),
        "keys are mixed instead of values": _head(mix="keys"),
    },
    "12.mae_step": {
        "tokens are not put back": _step(shuffled=True),
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
        "a mask token for each image": _first_order,
    },
    "12.mae_loss": {
        "the biased variance in the target": _picked(correction=0),
        "mean of per-image means": _image_means,
        "visible patches count as well": _everything,
        "the mask is inverted": _seen,
        "each colour normalised on its own": _picked(colours=True),
        "eps added to the standard deviation": _picked(outside=True),
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
