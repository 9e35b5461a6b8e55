"""Second spellings of the misconceptions of week 13."""
from __future__ import annotations

import math

import torch
from einops import rearrange, repeat


# ---------------------------------------------------------------- 13.coarse_mask
def _chosen(noise, count):
    """False for the `count` smallest."""
    flat = noise.flatten(1)
    out = torch.ones(flat.shape, dtype=torch.bool)
    for row, values in zip(out, flat):
        row[values.sort(stable=True).indices[:count]] = False
    return out.view(noise.shape)


def _blocks(mask, scale):
    return repeat(mask, "b h w -> b (h p) (w q)", p=scale, q=scale)


def _up(noise, mask_ratio):
    return -int(-noise[0].numel() * mask_ratio // 1)


def _copies(noise, mask_ratio, scale=1):
    return repeat(_chosen(noise, _up(noise, mask_ratio)), "b h w -> b (p h) (q w)", p=scale, q=scale)


def _order_as_rank(noise, mask_ratio, scale=1):
    places = noise.flatten(1).sort(dim=1, stable=True).indices.view(noise.shape)
    return _blocks(places.ge(_up(noise, mask_ratio)), scale)


def _by_threshold(noise, mask_ratio, scale=1):
    return _blocks(_chosen(-noise, _up(noise, mask_ratio)), scale)


def _nearest_count(noise, mask_ratio, scale=1):
    return _blocks(_chosen(noise, int(round(noise[0].numel() * mask_ratio, 0))), scale)


def _row_by_row(noise, mask_ratio, scale=1):
    out = torch.ones(noise.shape, dtype=torch.bool)
    count = -int(-noise.shape[2] * mask_ratio // 1)
    return _blocks(out.scatter_(2, noise.sort(dim=2).indices[..., :count], False), scale)


def _half_tiled(pattern):
    return lambda noise, mask_ratio, scale=1: repeat(_chosen(noise, _up(noise, mask_ratio)), pattern, p=scale, q=scale)


# ---------------------------------------------------------------- 13.average_distance
def _places(visible, size):
    p = size // visible.shape[-1]
    for flags in repeat(visible, "b h w -> b (h p) (w q)", p=p, q=p).tolist():
        seen = [(y, x) for y in range(size) for x in range(size) if flags[y][x]]
        gone = [(y, x) for y in range(size) for x in range(size) if not flags[y][x]]
        yield seen, gone


def _distance(a, b):
    return math.hypot(a[0] - b[0], a[1] - b[1])


def _mean(values):
    return sum(values) / len(values)


def _grid_distance(visible, size):
    return _mean([min(_distance(a, b) for b in seen)
                  for seen, gone in _places(visible, visible.shape[1]) for a in gone])


def _zeros_too(visible, size):
    total = sum(min(_distance(a, b) for b in seen) for seen, gone in _places(visible, size) for a in gone)
    return total / (len(visible) * size * size)


def _manhattan(visible, size):
    return _mean([min(abs(a[0] - b[0]) + abs(a[1] - b[1]) for b in seen)
                  for seen, gone in _places(visible, size) for a in gone])


def _to_all(visible, size):
    return _mean([_mean([_distance(a, b) for b in seen]) for seen, gone in _places(visible, size) for a in gone])


def _images_alike(visible, size):
    return _mean([_mean([min(_distance(a, b) for b in seen) for a in gone]) for seen, gone in _places(visible, size)])


def _no_root(visible, size):
    return _mean([min(_distance(a, b) ** 2 for b in seen) for seen, gone in _places(visible, size) for a in gone])


def _corner_to_corner(visible, size):
    p = size // visible.shape[1]
    return _mean([min(_distance((p * a[0], p * a[1]), (p * b[0], p * b[1])) for b in seen)
                  for seen, gone in _places(visible, visible.shape[1]) for a in gone])


def _tiled_flags(visible, size):
    p = size // visible.shape[-1]
    tiled = repeat(visible, "b h w -> b (p h) (q w)", p=p, q=p)
    return _mean([min(_distance(a, b) for b in seen) for seen, gone in _places(tiled, size) for a in gone])


def _seen_anywhere(visible, size):
    every = list(_places(visible, size))
    union = {place for seen, _ in every for place in seen}
    return _mean([min(_distance(a, b) for b in union) for _, gone in every for a in gone])


# ---------------------------------------------------------------- 13.pixel_shuffle
def _axes(maps, stride, names, order):
    """Split the channels into the axes `names` (of c, p, q), put them into `order`, and merge pairs."""
    b, n, h, w = maps.shape
    sizes = {"c": n // stride**2, "p": stride, "q": stride, "b": b, "h": h, "w": w}
    x = maps.reshape(b, *(sizes[name] for name in names), h, w)
    x = x.permute(*(("b" + names + "hw").index(name) for name in order))
    return x.reshape(b, sizes["c"], h * stride, w * stride)


def _as_it_lies(maps, stride):
    b, n, h, w = maps.shape
    return maps.contiguous().flatten(1).unflatten(1, (n // stride**2, h * stride, w * stride))


# ---------------------------------------------------------------- 13.simmim_loss
def _flat(prediction, images, visible):
    """Differences and flags per pixel, (pixels, C) and (pixels,)."""
    p = images.shape[-1] // visible.shape[-1]
    flags = ~visible.repeat_interleave(p, dim=1).repeat_interleave(p, dim=2).flatten()
    return rearrange(prediction - images, "b c h w -> (b h w) c"), flags


def _with_squares(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return (d[flags] ** 2).sum() / (flags.sum() + eps) / d.shape[1]


def _root_of_squares(prediction, images, visible, eps=1e-5):
    return _with_squares(prediction, images, visible, eps) ** 0.5


def _by_the_seen(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return d[flags].abs().sum() / (len(d) - flags.sum() + eps) / d.shape[1]


def _every_pixel(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return d.abs().sum() / (len(d) + eps) / d.shape[1]


def _the_seen(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return d[~flags].abs().sum() / ((~flags).sum() + eps) / d.shape[1]


def _pixels_only(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return d[flags].abs().sum() / (flags.sum() + eps)


def _colours_twice(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return d[flags].abs().sum() / (flags.sum() + eps) / d.shape[1] ** 2


def _of_three(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return d[flags].abs().sum() / (flags.sum() + eps) / 3


def _side_by_side(prediction, images, visible, eps=1e-5):
    p = images.shape[-1] // visible.shape[-1]
    flags = repeat(~visible, "b h w -> (b p h q w)", p=p, q=p)
    d = rearrange(prediction - images, "b c h w -> (b h w) c")
    return d[flags].abs().sum() / (flags.sum() + eps) / d.shape[1]


def _huber(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    d = d[flags].abs()
    return torch.where(d < 1, d**2 / 2, d - 0.5).sum() / (flags.sum() + eps) / images.shape[1]


def _all_below(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return d[flags].abs().sum() / (len(d) + eps) / d.shape[1]


def _one_by_one(prediction, images, visible, eps=1e-5):
    losses = []
    for a, b, m in zip(prediction, images, visible):
        d, flags = _flat(a[None], b[None], m[None])
        losses.append(d[flags].abs().sum() / (flags.sum() + eps) / d.shape[1])
    return torch.stack(losses).mean()


def _whitened(prediction, images, visible, eps=1e-5):
    p = images.shape[-1] // visible.shape[-1]
    if p > 1:
        blocks = rearrange(images, "b c (h p) (w q) -> b h w (p q c)", p=p, q=p)
        blocks = (blocks - blocks.mean(-1, keepdim=True)) / (blocks.var(-1, keepdim=True) + 1e-6) ** 0.5
        images = rearrange(blocks, "b h w (p q c) -> b c (h p) (w q)", p=p, q=p)
    d, flags = _flat(prediction, images, visible)
    return d[flags].abs().sum() / (flags.sum() + eps) / d.shape[1]


def _mean_of_selection(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return d[flags].abs().mean()


def _eps_at_the_end(prediction, images, visible, eps=1e-5):
    return _mean_of_selection(prediction, images, visible).add(eps)


def _per_patch(prediction, images, visible, eps=1e-5):
    d, flags = _flat(prediction, images, visible)
    return d[flags].abs().mean(1).sum() / (visible.logical_not().sum() + eps)


# ---------------------------------------------------------------- 13.simmim_step
def _spelt(change="", order=("zero", "back", "move"), back=float):
    """A step of its own words; `change` says what is done in another way."""
    def step(embed, positions, encoder, head, mask_token, optimizer, images, visible):
        if change == "first mask":
            visible = torch.stack([visible[0]] * len(visible))
        gone = torch.logical_not(visible).flatten(1).unsqueeze(-1)
        x, token = embed(_holes(images, visible) if change == "holes" else images), mask_token
        if change == "inverted":
            gone = gone.logical_not()
        if change == "zeros":
            token = 0.0 * mask_token.detach()
        if change == "fixed":
            token = mask_token.data
        if change == "mean":
            token = x.sum(1, keepdim=True) / x.shape[1]
        covered = torch.where(gone, token.expand_as(x), x)
        enter = {"late": lambda: torch.where(gone, token.expand_as(x), x + positions), "open": lambda: x + positions,
                 "holes": lambda: x + positions, "after": lambda: x + positions,
                 "sum": lambda: x + gone * token + positions, "nowhere": lambda: covered,
                 "afterwards": lambda: covered, "times": lambda: covered.mul(positions),
                 "everywhere": lambda: torch.where(gone, token, x + token) + positions,
                 "half": lambda: torch.where(gone, token + positions, x)}
        y = enter.get(change, lambda: covered + positions)()
        y = y if change == "straight" else encoder(y)
        if change == "after":
            y = torch.where(gone, token.expand_as(y), y)
        if change == "afterwards":
            y = y + positions
        drawn = head(y)
        target = _holes(images, visible) if change == "target" else images
        flags = {"seen": visible, "all": torch.ones_like(visible)}.get(change, ~visible)
        big = repeat(flags, "b h w -> b c (h p) (w q)", c=images.shape[1], p=images.shape[-1] // visible.shape[-1],
                     q=images.shape[-1] // visible.shape[-1])
        apart = (drawn - target)[big]
        loss = (apart**2 if change == "square" else apart.abs()).sum() / (apart.numel() + 3e-5)
        if change == "per image":
            big = big.to(drawn)
            loss = (((drawn - target).abs() * big).sum((1, 2, 3)) / big.sum((1, 2, 3))).mean()
        for what in order:
            if what == "back":
                loss.backward()
            elif what == "move":
                optimizer.step()
            elif what == "one":
                mask_token.grad = None
            else:
                optimizer.zero_grad(set_to_none=False)
        if change == "again":
            y = encoder(torch.where(gone, mask_token.expand_as(x), embed(images)) + positions)
            return float((head(y) - images)[big].abs().mean())
        return back(loss.detach()) if back is float else back(loss)

    return step


def _holes(images, visible):
    p = images.shape[-1] // visible.shape[-1]
    return images.masked_fill(~repeat(visible, "b h w -> b 1 (h p) (w q)", p=p, q=p), 0.0)


SECOND = {
    "13.simmim_step": {
        "the token replaces the position too": _spelt("late"),
        "nothing is hidden": _spelt("open"),
        "the visible patches are replaced": _spelt("inverted"),
        "the mean of the images' losses": _spelt("per image"),
        "the mean embedding in hidden places": _spelt("mean"),
        "the token is added to all": _spelt("everywhere"),
        "positions are multiplied": _spelt("times"),
        "the encoder is left out": _spelt("straight"),
        "zeros in place of the token": _spelt("zeros"),
        "the mask token is detached": _spelt("fixed"),
        "the token is added": _spelt("sum"),
        "hidden pixels are blanked": _spelt("holes"),
        "the token comes after the encoder": _spelt("after"),
        "no positions": _spelt("nowhere"),
        "positions for mask tokens only": _spelt("half"),
        "positions come after the encoder": _spelt("afterwards"),
        "squared error": _spelt("square"),
        "the loss after the update": _spelt("again"),
        "the target has holes": _spelt("target"),
        "the visible patches are scored": _spelt("seen"),
        "all patches are scored": _spelt("all"),
        "one mask for all": _spelt("first mask"),
        "gradients never cleared": _spelt(order=("back", "move")),
        "only the mask token's gradient is cleared": _spelt(order=("one", "back", "move")),
        "the weights never move": _spelt(order=("zero", "back")),
        "the step comes before backward": _spelt(order=("move", "zero", "back")),
        "the loss is rounded": _spelt(back=lambda loss: float(f"{loss:.3f}")),
        "the loss keeps its graph": _spelt(back=lambda loss: 1.0 * loss),
    },
    "13.coarse_mask": {
        "the mask is tiled": _copies,
        "rounded down": lambda noise, mask_ratio, scale=1: _blocks(
            _chosen(noise, math.floor(noise[0].numel() * mask_ratio)), scale),
        "True marks what is hidden": lambda noise, mask_ratio, scale=1: _blocks(
            _chosen(noise, _up(noise, mask_ratio)), scale).logical_not(),
        "a coin for every mask patch": lambda noise, mask_ratio, scale=1: _blocks((noise - mask_ratio).ge(0), scale),
        "argsort taken for ranks": _order_as_rank,
        "the visible ones are counted": lambda noise, mask_ratio, scale=1: _blocks(
            _chosen(noise, _up(noise, 1 - mask_ratio)), scale),
        "the largest noise is hidden": _by_threshold,
        "rounded to the nearest": _nearest_count,
        "ranks within each row": _row_by_row,
        "tiled along one axis": _half_tiled("b h w -> b (h p) (q w)"),
        "tiled along the other axis": _half_tiled("b h w -> b (p h) (w q)"),
    },
    "13.average_distance": {
        "counted in patches": _grid_distance,
        "visible pixels count as 0": _zeros_too,
        "city blocks": _manhattan,
        "distance to all visible pixels": _to_all,
        "mean of per-image means": _images_alike,
        "the squared distance": _no_root,
        "between the corners of patches": _corner_to_corner,
        "the mask is tiled": _tiled_flags,
        "the visible pixels of any image": _seen_anywhere,
    },
    "13.pixel_shuffle": {
        "MAE's order": lambda maps, stride: _axes(maps, stride, "pqc", "bchpwq"),
        "columns before rows": lambda maps, stride: _axes(maps, stride, "cqp", "bchpwq"),
        "the colours between rows and columns": lambda maps, stride: _axes(maps, stride, "pcq", "bchpwq"),
        "MAE's order, columns before rows": lambda maps, stride: _axes(maps, stride, "qpc", "bchpwq"),
        "rows side by side": lambda maps, stride: _axes(maps, stride, "cpq", "bcphwq"),
        "columns side by side": lambda maps, stride: _axes(maps, stride, "cpq", "bchpqw"),
        "blocks side by side": lambda maps, stride: _axes(maps, stride, "cpq", "bcphqw"),
        "a plain view": _as_it_lies,
    },
    "13.simmim_loss": {
        "squared error": _with_squares,
        "the root of the squared error": _root_of_squares,
        "divided by the visible pixels": _by_the_seen,
        "visible pixels count as well": _every_pixel,
        "the mask is inverted": _the_seen,
        "three times too large": _pixels_only,
        "divided by the colours twice": _colours_twice,
        "three colours, always": _of_three,
        "the mask is tiled": _side_by_side,
        "a smooth absolute error": _huber,
        "divided by the number of all pixels": _all_below,
        "mean of per-image means": _one_by_one,
        "targets normalised in each patch": _whitened,
        "no eps": _mean_of_selection,
        "eps outside the fraction": _eps_at_the_end,
        "patches are counted": _per_patch,
    },
}

EQUIVALENT = {
    "13.coarse_mask": {
        "line 7: noise.flatten(1).argsort(dim=1, stable=True).argsort(dim=1) -> "
        "noise.flatten(1).argsort(dim=1, stable=True).argsort()": "the last axis is axis 1",
        "line 7: noise.flatten(1).argsort(dim=1, stable=True) -> noise.flatten(1).argsort(stable=True)":
            "the last axis is axis 1",
        "line 7: noise.flatten(1).argsort(dim=1, stable=True) -> noise.flatten(1).argsort(dim=1)":
            "short rows are sorted stably without being asked",
        "line 7: noise.flatten(1).argsort(dim=1, stable=True) -> noise.flatten(1).argsort(dim=1, stable=False)":
            "short rows are sorted stably without being asked",
    },
    "13.simmim_loss": {
        "line 8: images.shape[-1] -> images.shape[-2]": "images are square",
    },
}
