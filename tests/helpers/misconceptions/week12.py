"""Second spellings of the misconceptions of week 12."""
from __future__ import annotations

import math

import torch
from einops import rearrange, repeat


# ---------------------------------------------------------------- 12.random_masking
def _sorted(noise, descending=False):
    return torch.sort(noise, dim=1, stable=True, descending=descending).indices


def _inverse(order):
    places = torch.arange(order.shape[1]).repeat(len(order), 1)
    return torch.zeros_like(order).scatter_(1, order, places)


def _flags(order, kept):
    return torch.zeros(order.shape, dtype=torch.bool).scatter_(1, order[:, :kept], True)


def _forward_again(noise, kept):
    order = _sorted(noise)
    return order[:, :kept], order, _flags(order, kept)


def _front_mask(noise, kept):
    order, mask = _sorted(noise), torch.zeros(noise.shape, dtype=torch.bool)
    mask[:, :kept] = True
    return order[:, :kept], _inverse(order), mask


def _removed(noise, kept):
    order = _sorted(noise)
    removed = torch.ones(noise.shape).scatter_(1, order[:, :kept], 0.0)
    return order[:, :kept], _inverse(order), removed.bool()


def _largest(noise, kept):
    order = _sorted(-noise)
    return order[:, :kept], _inverse(order), _flags(order, kept)


def _in_reading_order(noise, kept):
    order = _sorted(noise)
    flags = _flags(order, kept)
    return torch.stack([row.nonzero()[:, 0] for row in flags]), _inverse(order), flags


def _shared(noise, kept):
    order = repeat(noise[0].sort(stable=True).indices, "l -> b l", b=len(noise))
    return order[:, :kept], _inverse(order), _flags(order, kept)


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


# ---------------------------------------------------------------- 12.sincos_positions
def _rows(grid, dim, class_token, code, zero_last=False):
    rows = [code(r, c) for r in range(grid) for c in range(grid)]
    if class_token:
        rows = rows + [[0.0] * dim] if zero_last else [[0.0] * dim] + rows
    return torch.tensor(rows)


def _axis(p, n, base=10000.0):
    angles = [p / base ** (k / n) for k in range(n)]
    return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]


def _rows_first(grid, dim, class_token=True):
    return _rows(grid, dim, class_token, lambda r, c: _axis(r, dim // 4) + _axis(c, dim // 4))


def _slow(grid, dim, class_token=True):
    return _rows(grid, dim, class_token, lambda r, c: _axis(c, dim // 4, 100.0) + _axis(r, dim // 4, 100.0))


def _alternating(grid, dim, class_token=True):
    def mixed(p):
        n = dim // 4
        values = _axis(p, n)
        return [v for pair in zip(values[:n], values[n:]) for v in pair]

    return _rows(grid, dim, class_token, lambda r, c: mixed(c) + mixed(r))


def _from_one(grid, dim, class_token=True):
    return _rows(grid, dim, class_token, lambda r, c: _axis(c + 1, dim // 4) + _axis(r + 1, dim // 4))


def _class_last(grid, dim, class_token=True):
    return _rows(grid, dim, class_token, lambda r, c: _axis(c, dim // 4) + _axis(r, dim // 4), zero_last=True)


def _summed(grid, dim, class_token=True):
    def code(r, c):
        both = [a + b for a, b in zip(_axis(c, dim // 4), _axis(r, dim // 4))]
        return both + both

    return _rows(grid, dim, class_token, code)


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


SECOND = {
    "12.random_masking": {
        "the way back is the shuffle itself": _forward_again,
        "the mask is that of the shuffled patches": _front_mask,
        "True marks what is hidden": _removed,
        "the largest noise stays": _largest,
        "kept patches sorted again": _in_reading_order,
        "one shuffle for the whole batch": _shared,
    },
    "12.unshuffle": {
        "tokens are not put back": _list,
        "put back with the shuffle": _scattered,
        "mask tokens stand first": _masks_in_front,
        "zeros where a patch is hidden": _no_token,
        "the mask token is detached": _copied_token,
        "a mask token for each image": _first_order,
    },
    "12.sincos_positions": {
        "rows before columns": _rows_first,
        "frequencies fall too slowly": _slow,
        "sines and cosines alternate": _alternating,
        "positions count from 1": _from_one,
        "the class token comes last": _class_last,
        "row and column added up": _summed,
    },
    "12.mae_loss": {
        "the biased variance in the target": _picked(correction=0),
        "mean of per-image means": _image_means,
        "visible patches count as well": _everything,
        "the mask is inverted": _seen,
        "each colour normalised on its own": _picked(colours=True),
        "eps added to the deviation": _picked(outside=True),
        "channels first in a patch": _picked(layout="b (h w) (c p q)"),
    },
}

EQUIVALENT = {
    "12.random_masking": {
        "line 7: noise.argsort(dim=1, stable=True) -> noise.argsort(stable=True)": "the last axis is axis 1",
        "line 7: noise.argsort(dim=1, stable=True) -> noise.argsort(dim=1)":
            "short rows are sorted stably without being asked",
        "line 7: noise.argsort(dim=1, stable=True) -> noise.argsort(dim=1, stable=False)":
            "short rows are sorted stably without being asked",
        "line 8: order.argsort(dim=1) -> order.argsort()": "the last axis is axis 1",
    },
    "12.unshuffle": {
        "line 4: restore.shape[1] - kept -> restore.shape[1] + kept": "mask tokens too many at the end are never taken",
        "line 4: restore.shape[1] - kept -> restore.shape[1]": "mask tokens too many at the end are never taken",
    },
    "12.sincos_positions": {
        "line 10: torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing='ij') -> "
        "torch.meshgrid(torch.arange(grid), torch.arange(grid))": "the default, with a warning",
        "line 9: torch.arange(dim // 4, dtype=torch.float64) -> torch.arange(dim // 4)":
            "the table is rounded to single precision in the end",
        "line 18: torch.zeros(1, dim, dtype=table.dtype) -> torch.zeros(1, dim)":
            "joined with the table it becomes double",
    },
    "12.mae_loss": {
        "line 8: images.shape[-1] -> images.shape[-2]": "images are square",
    },
}
