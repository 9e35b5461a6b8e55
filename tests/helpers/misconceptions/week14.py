"""Second spellings of week 14's planted mistakes."""
from __future__ import annotations

import math

import torch
from torch.nn import functional as F


# ---------------------------------------------------------------- 14.perplexity
def _nats(counts):
    p = [float(c) / float(counts.sum()) for c in counts]
    return sum(-v * math.log(v) for v in p if v > 0)


def _zero_log_zero(counts):
    p = counts / counts.sum()
    return torch.exp(torch.nn.functional.kl_div(torch.zeros_like(p), p, reduction="sum").neg()
                     + 0 * (p * p.log()).sum())


PERPLEXITY = {
    "the entropy itself": _nats,
    "bits with the wrong base": lambda counts: math.exp(_nats(counts) / math.log(2)),
    "nats with the wrong base": lambda counts: math.exp(_nats(counts) * math.log(2)),
    "how many words occur": lambda counts: float(len(counts.nonzero())),
    "0 log 0": _zero_log_zero,
    "counts in place of shares": lambda counts: math.exp(
        -sum(float(c) * math.log(float(c)) for c in counts if c > 0) / float(counts.sum())),
    "one over the sum of squares": lambda counts: counts.sum() ** 2 / (counts * counts).sum(),
    "a share of the codebook": lambda counts: math.exp(_nats(counts) - math.log(len(counts))),
    "the mean over words": lambda counts: torch.special.entr(counts / counts.sum()).mean().exp(),
    "the entropy over its maximum": lambda counts: math.log(math.exp(_nats(counts)), len(counts)),
    "one over the largest share": lambda counts: counts.sum() / max(counts),
}


# ---------------------------------------------------------------- 14.add_block
def _cells(visible, top, left, height, width):
    return [(r, c) for r in range(top, top + height) for c in range(left, left + width)
            if r < visible.shape[0] and c < visible.shape[1]]


def _loop(rule, answer=None, order=lambda h, w: (h, w), extra=0, flip=False, early=False, dry=False):
    def add(visible, top, left, height, width, missing):
        height, width = order(height, width)
        cells = _cells(visible, top, left, height + extra, width + extra)
        fresh = [cell for cell in cells if visible[cell]]
        good = rule(len(fresh), height * width, missing)
        if good or early:
            for cell in cells:
                if not dry:
                    visible[cell] = flip and not visible[cell]
        if not good:
            return 0
        return len(fresh) if answer is None else answer(visible, len(cells))
    return add


def _right(new, area, missing):
    return 1 <= new <= missing


def _cut(visible, top, left, height, width, missing):
    fresh = [cell for cell in _cells(visible, top, left, height, width) if visible[cell]][:missing]
    for cell in fresh:
        visible[cell] = False
    return len(fresh)


def _half_open(visible, top, left, height, width, missing):
    return _loop(_right)(visible, top, left, height - 1, width - 1, missing)


def _cut_at(visible, top, left, height, width, missing):
    cells = [(r, c) for r in range(top, min(height, len(visible))) for c in range(left, min(width, len(visible)))]
    fresh = [cell for cell in cells if visible[cell]]
    if not _right(len(fresh), 0, missing):
        return 0
    for cell in fresh:
        visible[cell] = False
    return len(fresh)


def _one_up(visible, top, left, height, width, missing):
    part = visible[top - 1:top + height - 1].T[left - 1:left + width - 1].T
    fresh = int(part.long().sum())
    if _right(fresh, 0, missing):
        part.zero_()
        return fresh
    return 0


BLOCK = {
    "a slice that ends at the height": _cut_at,
    "rows and columns counted from 1": _one_up,
    "a row and a column too few": _half_open,
    "True is returned": _loop(_right, answer=lambda visible, area: visible.numel() > 0),
    "counted after writing": _loop(_right, answer=lambda visible, area: torch.tensor(0)),
    "the whole block is counted": _loop(_right, answer=lambda visible, area: area),
    "refused by its area": _loop(lambda new, area, missing: new >= 1 and not area > missing),
    "it overshoots": _loop(lambda new, area, missing: new != 0),
    "one too few allowed": _loop(lambda new, area, missing: 1 <= new <= missing - 1),
    "trimmed to fit": _cut,
    "written before it is checked": _loop(_right, early=True),
    "no overlap allowed": _loop(lambda new, area, missing: area - new == 0 and area <= missing),
    "hidden patches come back": _loop(_right, flip=True),
    "a row and a column too many": _loop(_right, extra=1),
    "height and width exchanged": _loop(_right, order=lambda h, w: (w, h)),
    "all hidden patches are returned": _loop(
        _right, answer=lambda visible, area: visible.numel() - int(visible.long().sum())),
    "the mask is not changed": _loop(_right, dry=True),
}


# ---------------------------------------------------------------- 14.relative_index
def _table(number, extra=(0, 1, 2), place=lambda n, h, w: (n // w, n % w), before=0):
    def index(height, width):
        length, base = height * width, (2 * height - 1) * (2 * width - 1) - before
        out = torch.empty(length + 1, length + 1, dtype=torch.long)
        for i in range(-1, length):
            for j in range(-1, length):
                if i < 0 or j < 0:
                    kind = 2 if i < 0 and j < 0 else 0 if i < 0 else 1
                    out[i + 1, j + 1] = base + extra[kind]
                else:
                    (a, b), (c, d) = place(i, height, width), place(j, height, width)
                    out[i + 1, j + 1] = number(a - c, b - d, height, width)
        return out
    return index


def _rows_first(height, width):
    out = _table(_number)(height, width) + 3
    n = (2 * height - 1) * (2 * width - 1)
    return torch.where(out >= n + 3, out - n - 3, out)


def _class_at_the_end(height, width):
    out = _table(_number)(height, width)
    order = [*range(1, len(out)), 0]
    return out[order][:, order]


def _number(dy, dx, h, w):
    return (dy + h - 1) * (2 * w - 1) + dx + w - 1


INDEX = {
    "key minus query": _table(lambda dy, dx, h, w: _number(-dy, -dx, h, w)),
    "the stride of a square": _table(lambda dy, dx, h, w: (dy + h - 1) * (2 * h - 1) + dx + w - 1),
    "the width as stride": _table(lambda dy, dx, h, w: (dy + h - 1) * w + dx + w - 1),
    "not shifted": _table(lambda dy, dx, h, w: dy * (2 * w - 1) + dx),
    "shifted by the size": _table(lambda dy, dx, h, w: (dy + h) * (2 * w - 1) + dx + w),
    "rows shifted by the height": _table(lambda dy, dx, h, w: _number(dy, dx, h, w) + 2 * w - 1),
    "distances without a sign": _table(lambda dy, dx, h, w: abs(dy) * (2 * w - 1) + abs(dx)),
    "patch -> class and class -> patch exchanged": _table(_number, extra=(1, 0, 2)),
    "one row for all that has to do with the class token": _table(_number, extra=(0, 0, 0)),
    "class -> class forgotten": _table(_number, extra=(0, 1, 1)),
    "the class rows first": _rows_first,
    "dx is the slow one": _table(lambda dy, dx, h, w: (dx + w - 1) * (2 * h - 1) + dy + h - 1),
    "the corner before the others": _table(_number, extra=(1, 2, 0)),
    "the class token last": _class_at_the_end,
    "as many offsets as patches": lambda height, width: _table(
        _number, before=(2 * height - 1) * (2 * width - 1) - height * width)(height, width),
    "columns first": _table(_number, place=lambda n, h, w: (n % h, n // h)),
    "the extra rows too early": _table(_number, before=1),
}


# ---------------------------------------------------------------- 14.beit_loss
def _log_p(logits, words, dim=-1):
    return torch.log_softmax(logits, dim).gather(-1, words.unsqueeze(-1)).squeeze(-1)


def _means(logits, words, visible):
    hidden = (~visible).to(logits)
    return (-(_log_p(logits, words) * hidden).sum(1) / hidden.sum(1)).mean()


def _twice(logits, words, visible):
    p = torch.softmax(logits, -1)
    return -(torch.log_softmax(p, -1).gather(-1, words.unsqueeze(-1)).squeeze(-1))[~visible].mean()


def _brier(logits, words, visible):
    target = torch.zeros_like(logits).scatter_(-1, words.unsqueeze(-1), 1.0)
    error = F.mse_loss(torch.softmax(logits, -1), target, reduction="none").sum(-1)
    return (error * ~visible).sum() / (~visible).sum()


def _word_by_word(logits, words, visible):
    cost, found = -_log_p(logits, words), []
    for word in range(logits.shape[-1]):
        at = ~visible & (words == word)
        found += [cost[at].sum() / at.sum()] if at.any() else []
    return sum(found) / len(found)


LOSS = {
    "the mean of the words' means": _word_by_word,
    "word 0 is ignored": lambda logits, words, visible: -_log_p(logits, words)[~visible & (words > 0)].mean(),
    "the mean of the images' means": _means,
    "all patches": lambda logits, words, visible: F.cross_entropy(logits.transpose(1, 2), words),
    "the visible patches": lambda logits, words, visible: -_log_p(logits, words)[visible].mean(),
    "divided by all patches": lambda logits, words, visible: -_log_p(logits, words)[~visible].sum() / words.numel(),
    "the sum": lambda logits, words, visible: -_log_p(logits, words)[~visible].sum(),
    "softmax twice": _twice,
    "softmax over the patches": lambda logits, words, visible: -_log_p(logits, words, 1)[~visible].mean(),
    "squared error to the one-hot word": _brier,
}

# ---------------------------------------------------------------- 14.beit_step
def _stepped(tokenizer, embed, transformer, mask_token, optimizer, images, visible, black="", put="instead",
             first=False, learns=True, score="hidden", per_image=False, own=False, adds=False, still=False,
             early=False, digits=None, tensor=False):
    side = int(visible.shape[1] ** 0.5)
    p = images.shape[-1] // side
    kept = visible.view(-1, 1, side, 1, side, 1).expand(-1, 3, side, p, side, p).reshape(images.shape)
    dark = torch.where(kept, images, torch.zeros_like(images))
    words = tokenizer(dark if "named" in black else images)
    tokens = embed(dark if "read" in black else images)
    shown = (visible[0].repeat(len(visible), 1) if first else visible).to(tokens).unsqueeze(-1)
    token = mask_token if learns else mask_token.data
    tokens = {"instead": lambda: shown * tokens + (1 - shown) * token, "not": lambda: tokens,
              "zero": lambda: shown * tokens, "all": lambda: tokens * 0 + token,
              "mean": lambda: shown * tokens + (1 - shown) * tokens.sum(1, True) / side**2,
              "added": lambda: tokens + (1 - shown) * token,
              "other": lambda: shown * tokens + (1 - shown) * torch.cat([tokens[-1:], tokens[:-1]]),
              "part": lambda: torch.where(shown > 0, tokens, tokens + 0.9 * (token - tokens)),
              "swapped": lambda: (1 - shown) * tokens + shown * token}[put]()
    logits = transformer(tokens)
    words = logits.detach().max(-1).indices if own else words
    price = -torch.log_softmax(logits, -1).gather(-1, words.unsqueeze(-1)).squeeze(-1)
    weight = {"hidden": (~visible).to(price), "visible": visible.to(price), "all": torch.ones_like(price)}[score]
    loss = ((price * weight).sum(1) / weight.sum(1)).mean() if per_image else (price * weight).sum() / weight.sum()
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


STEP = {
    "words of the masked image": _step(black="named"),
    "nothing is hidden": _step(put="not"),
    "black patches without a mask token": _step(black="read", put="not"),
    "zeros in hidden places": _step(put="zero"),
    "the mean token in hidden places": _step(put="mean"),
    "another image's tokens in hidden places": _step(put="other"),
    "a part of the token is left in": _step(put="part"),
    "the mask token everywhere": _step(put="all"),
    "the mask token is added": _step(put="added"),
    "the mask token in visible places": _step(put="swapped"),
    "one mask for all": _step(first=True),
    "the mask token does not learn": _step(learns=False),
    "the visible patches are scored": _step(score="visible"),
    "all patches are scored": _step(score="all"),
    "the mean of the images' means": _step(per_image=True),
    "the network's own words": _step(own=True),
    "gradients never cleared": _step(adds=True),
    "the weights never move": _step(still=True),
    "the step comes before backward": _step(early=True),
    "the loss is rounded": _step(digits=3),
    "the loss keeps its graph": _step(tensor=True),
}

SECOND = {"14.perplexity": PERPLEXITY, "14.add_block": BLOCK, "14.relative_index": INDEX, "14.beit_loss": LOSS,
          "14.beit_step": STEP}
EQUIVALENT: dict[str, dict[str, str]] = {}
