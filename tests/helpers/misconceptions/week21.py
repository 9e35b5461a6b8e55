"""Second spellings of the misconceptions of week 21, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F


# ---------------------------------------------------------------- 21.crops
def _at(d, h, w, scale, *, side=None, limit=True, x=None, y=None, u=1, v=2):
    share = torch.lerp(torch.full_like(d[0], scale[0]), torch.full_like(d[0], scale[1]), d[0])
    s = (share * h * w) ** 0.5 if side is None else side(share, d[0], h, w, scale)
    s = torch.minimum(s, torch.full_like(s, min(h, w))) if limit else s
    x = x or (lambda t, s, size: (size - s) * t + 0.5 * s)
    y = y or x
    return torch.cat([x(d[u], s, w)[:, None], y(d[v], s, h)[:, None]], 1), s


def _with(**change):
    return lambda draws, height, width, scale: _at(draws, height, width, scale, **change)


# ---------------------------------------------------------------- 21.round
def _k(z, c, *, empty=lambda z, d, c, k, i: z[d.topk(i + 1).indices[i]], mean=lambda r: r.sum(0) / len(r), pick=None):
    far = ((z[:, None] - c[None]) ** 2).sum(-1).sqrt()
    labels = far.argmin(1) if pick is None else pick(far, z, c)
    own, out, i = far[torch.arange(len(z)), labels], [], 0
    for k in range(len(c)):
        rows = z[labels == k]
        if not len(rows):
            out.append(empty(z, own, c, k, i))
            i += 1
        else:
            out.append(mean(rows))
    return labels, torch.stack(out)


def _again(**change):
    return lambda z, centres: _k(z, centres, **change)


def _renewed(z, centres):
    moved = _k(z, centres)[1]
    return ((z[:, None] - moved) ** 2).sum(2).argmin(1), moved


def _turned(z, centres):
    labels, moved = _k(z, centres)
    return moved, labels


def _copied(z, own, c, k, i):
    labels = ((z[:, None] - c) ** 2).sum(2).argmin(1)
    return z[labels == torch.bincount(labels, minlength=len(c)).argmax()].mean(0)


# ---------------------------------------------------------------- 21.step
def _step(*, renew="both", late=False, out=lambda h: h, cost=None, clear=True, update=True, item=True, zero=False):
    def step(backbone, head, optimizer, views, labels, drawn=None):
        def fresh():
            if drawn is None or renew == "none":
                return
            head.weight.data = (head.weight.data if renew == "add" else 0) + drawn.clone()
            if renew != "weight":
                head.bias.data.mul_(0)
        if zero:
            head.bias.data.mul_(0)
        if not late:
            fresh()
        logits = head(out(backbone(views)))
        log_p = logits - logits.logsumexp(1, keepdim=True)
        loss = -log_p.gather(1, labels[:, None]).mean() if cost is None else cost(logits, labels)
        if clear:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad = None
        loss.backward()
        if update:
            optimizer.step()
        if late:
            fresh()
        return float(loss) if item else loss
    return step


# ---------------------------------------------------------------- 21.same_size
def _tiled(side):
    return lambda maps: maps.unfold(2, len(maps[0, 0]) // side, len(maps[0, 0]) // side).unfold(
        3, len(maps[0, 0]) // side, len(maps[0, 0]) // side).amax((-2, -1))


def _picked(side):
    return lambda maps: (lambda at: maps[:, :, at][..., at])(torch.arange(side) * maps.shape[-1] // side)


def _sized(*, side=lambda f, c: int(math.sqrt(f / c) + 0.5), cap=True, pool=torch.nn.AdaptiveMaxPool2d,
           flat=lambda p: p.reshape(len(p), -1)):
    def answer(maps, features):
        s = max(1, side(features, maps.size(1)))
        return flat(pool(min(s, maps.size(3)) if cap else s)(maps))
    return answer


SECOND = {
    "21.crops": {
        "a share of the side": _with(side=lambda a, d, h, w, s: min(h, w) * a),
        "the area instead of its root": _with(side=lambda a, d, h, w, s: a * (h * w)),
        "a share of the shorter side's square": _with(side=lambda a, d, h, w, s: (a * min(h, w) ** 2) ** 0.5),
        "the side drawn evenly": _with(side=lambda a, d, h, w, s: (
            (1 - d) * math.sqrt(h * w * s[0]) + d * math.sqrt(h * w * s[1]))),
        "evenly in the logarithm": _with(side=lambda a, d, h, w, s: (
            torch.exp((1 - d) * math.log(s[0]) + d * math.log(s[1])) * h * w).sqrt()),
        "larger than the picture": _with(limit=False),
        "corners, not centres": _with(x=lambda t, s, size: t * size - t * s),
        "centres anywhere": _with(x=lambda t, s, size: size * t),
        "half a side from one edge only": _with(x=lambda t, s, size: 0.5 * s + t * (size - 0.5 * s)),
        "x and y exchanged": lambda draws, height, width, scale: _at(draws, width, height, scale),
        "across and down exchanged": _with(u=2, v=1),
        "always the smallest": _with(side=lambda a, d, h, w, s: (s[0] * h * w + 0 * d).sqrt()),
        "the upper end as the width": _with(side=lambda a, d, h, w, s: ((s[0] + d * s[1]) * h * w).sqrt()),
    },
    "21.round": {
        "nan for an empty cluster": _again(empty=lambda z, d, c, k, i: z[0] * float("nan")),
        "an empty cluster stays": _again(empty=lambda z, d, c, k, i: c[k].clone()),
        "zeros for an empty cluster": _again(empty=lambda z, d, c, k, i: 0 * c[k]),
        "all take the same point": _again(empty=lambda z, d, c, k, i: z[d.topk(1).indices[0]]),
        "the nearest point": _again(empty=lambda z, d, c, k, i: z[d.topk(i + 1, largest=False).indices[i]]),
        "farthest from the empty centre": _again(empty=lambda z, d, c, k, i: z[
            ((z - c[k]) ** 2).sum(1).topk(i + 1).indices[i]]),
        "a copy of the largest cluster's centre": _again(empty=_copied),
        "farthest centre": _again(pick=lambda far, z, c: far.argmax(1)),
        "by inner product": _again(pick=lambda far, z, c: torch.einsum("nd,kd->nk", z, c).argmax(1)),
        "labels of the moved centres": _renewed,
        "a sum, not a mean": _again(mean=lambda r: r.mean(0) * len(r)),
        "the median": _again(mean=lambda r: r.sort(0).values[(len(r) - 1) // 2]),
        "the other way round": _turned,
    },
    "21.step": {
        "the old head stays": _step(renew="none"), "the old bias stays": _step(renew="weight"),
        "drawn is added": _step(renew="add"), "the head is renewed after the step": _step(late=True),
        "the bias is zeroed in every step": _step(zero=True),
        "features detached": _step(out=lambda h: h.data),
        "softmax before cross-entropy": _step(cost=lambda z, y: F.nll_loss(z.softmax(1).log_softmax(1), y)),
        "a sum over the batch": _step(cost=lambda z, y: F.cross_entropy(z, y) * len(y)),
        "squared error": _step(cost=lambda z, y: (z - F.one_hot(y, z.shape[1])).square().mean()),
        "gradients never cleared": _step(clear=False), "nobody learns": _step(update=False),
        "the loss keeps its graph": _step(item=False),
        "features of length 1": _step(out=lambda h: h / h.norm(dim=1, keepdim=True)),
    },
    "21.same_size": {
        "mean-pooled": _sized(pool=torch.nn.AdaptiveAvgPool2d),
        "windows that leave a rest": _sized(pool=_tiled), "one place of each part": _sized(pool=_picked),
        "one number for each map": lambda maps, features: maps.amax((2, 3)),
        "no pooling": lambda maps, features: maps.reshape(len(maps), -1),
        "the first numbers": lambda maps, features: maps.reshape(len(maps), -1)[:, :features],
        "the root left out": _sized(side=lambda f, c: int(f / c + 0.5)),
        "root of all features": _sized(side=lambda f, c: int(f**0.5 + 0.5)),
        "rounded down": _sized(side=lambda f, c: math.floor((f / c) ** 0.5)),
        "rounded up": _sized(side=lambda f, c: -int(-((f / c) ** 0.5) // 1)),
        "larger than the map": _sized(cap=False), "not flattened": _sized(flat=lambda p: p * 1),
        "the batch flattened, too": _sized(flat=lambda p: p.reshape(-1)),
        "the mean over the maps": _sized(flat=lambda p: p.mean(1).reshape(len(p), -1)),
        "places first": _sized(flat=lambda p: p.movedim(1, -1).reshape(len(p), -1)),
    },
}
SQUARE = "maps of a square image are square"
EQUIVALENT = {
    "21.same_size": {"line 3: min(maps.shape[2:]) -> max(maps.shape[2:])": SQUARE,
                     "line 3: maps.shape[2:] -> maps.shape[3:]": SQUARE},
}
