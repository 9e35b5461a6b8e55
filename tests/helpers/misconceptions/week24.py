"""Second spellings of the misconceptions of week 24, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F


# ---------------------------------------------------------------- 24.nce
def _rowwise(rest, each=None, mean=lambda found: torch.cat(found).mean()):
    """A row at a time: rest(scores, a, p, n) -> one number, or one for each positive; then the mean."""
    def answer(scores, positive, negative):
        found = []
        for a, (p, n) in enumerate(zip(positive, negative)):
            s, below = scores[a][p], rest(scores, a, p, n)
            found.append(torch.logaddexp(s, below) - s if each is None else each(s, below))
        return mean(found)

    return answer


def _negatives(scores, a, p, n):
    return scores[a][n].logsumexp(0)


def _masked(scores, a, p, n):
    return (scores[a] * n).logsumexp(0)


def _shares(scores, positive, negative):
    e = scores.exp()
    return -torch.log(e / (e + (e * negative.to(e.dtype)).sum(-1)[:, None]))[positive].mean()


def _together(s, below):
    own = s.logsumexp(0)
    return (torch.logaddexp(own, below) - own)[None]


# ---------------------------------------------------------------- 24.map_loss
def _scored(*, root=lambda n, d: d ** 0.5, bend=lambda s, c: c * (s / c).tanh(), seen="raw", power=2, order="ijl",
            rest="others", mean="all", pool=False, flat=None, unit=False, weigh=1.0):
    """Images by images by places."""
    def answer(sources, targets, clip=20.0, weight=0.05):
        n, d = sources.shape
        places = targets.mean((-1, -2))[:, :, None] if pool else targets.reshape(n, d, -1)
        if flat is not None:
            places = flat(targets, n, d)
        if unit:
            sources, places = sources / sources.norm(dim=1, keepdim=True), places / places.norm(dim=1, keepdim=True)
        raw = torch.einsum("id,jdl->ijl", sources, places) / (1.0 if unit else root(n, d))
        soft = bend(raw, clip)
        own, losses = torch.stack([soft[i, i] for i in range(n)]), []
        for i in range(n):
            kept = [j for j in range(n) if j != i]
            below = soft[i, kept].flatten().logsumexp(0)
            mine = own[i, :1] if mean == "first" else own[i]
            losses.append((soft[i].flatten().logsumexp(0) if rest == "all" else torch.logaddexp(mine, below)) - mine)
        loss = torch.stack([each.sum() if mean == "sum" else each.mean() for each in losses]).mean()
        table = {"raw": raw, "soft": soft, "own": torch.stack([raw[i, i] for i in range(n)])}[seen]
        return loss + weigh * weight * table.abs().pow(power).mean()

    return answer


def _by_place(targets, n, d):
    """Candidates place by place, read as if they were image by image."""
    rows = torch.cat([targets[:, :, r, c] for r in range(targets.shape[2]) for c in range(targets.shape[3])])
    return rows.reshape(n, -1, d).transpose(1, 2)


def _cut_anew(targets, n, d):
    return targets.contiguous().view(n, -1, d).transpose(1, 2)


# ---------------------------------------------------------------- 24.labels
def _listed(number, rows=lambda height, k: range(height - k)):
    def answer(images, height, width, k):
        return torch.tensor([number(b, r, c, height, width, k)
                             for b in range(images) for r in rows(height, k) for c in range(width)])

    return answer


def _columns(images, height, width, k):
    return torch.tensor([b * height * width + (r + k) * width + c
                         for b in range(images) for c in range(width) for r in range(height - k)])


def _right(images, height, width, k):
    return torch.tensor([b * height * width + r * width + c
                         for b in range(images) for r in range(height) for c in range(min(k, width - 1), width)])


def _places(images, height, width, k):
    return torch.tensor([b * height * width + (r + k) * width + c
                         for r in range(height - k) for c in range(width) for b in range(images)])


# ---------------------------------------------------------------- 24.yadim_step
def _loss(sources, maps, clip):
    n, d = sources.shape
    scores = torch.einsum("id,jdhw->ijhw", sources, maps).flatten(2) / math.sqrt(d)
    soft = clip * torch.tanh(scores / clip)
    own = torch.stack([soft[i, i] for i in range(n)])
    rest = torch.stack([torch.cat([soft[i, j] for j in range(n) if j != i]).logsumexp(0) for i in range(n)])
    return F.softplus(rest[:, None] - own).mean() + 0.05 * scores.pow(2).mean()


def _step(*, both=lambda one, two: (one + two) / 2, pairs=lambda a, b: ((a, b), (b, a)), cells=lambda x, y: (x, y),
          source=lambda m, at: torch.stack([row[:, k] for row, k in zip(m.flatten(2), at)]), goal=lambda m: m,
          anchor=lambda s: s, clips=lambda clip: clip, clear=True, move=True, number=True):
    """A step with one thing changed."""
    def step(network, optimizer, view1, view2, cell1, cell2, clip=10.0):
        a, b = network(view1), network(view2)
        one, two = (_loss(anchor(source(here, at)), goal(there), clips(clip))
                    for (here, there), at in zip(pairs(a, b), cells(cell1, cell2)))
        total = both(one, two)
        if clear:
            optimizer.zero_grad(set_to_none=False)
        total.backward()
        if move:
            optimizer.step()
        return float(total.detach()) if number else total

    return step


SECOND = {
    "24.nce": {
        "the other positives in the sum": _rowwise(lambda scores, a, p, n: scores[a][p | n].logsumexp(0),
                                                   lambda s, below: below - s),
        "everything in the sum": lambda scores, positive, negative: -scores.log_softmax(1)[positive].mean(),
        "the positive not in the sum": _rowwise(_negatives, lambda s, below: below - s),
        "the mean of the rows' means": _rowwise(_negatives, mean=lambda f: torch.stack([x.mean() for x in f]).mean()),
        "divided by the number of anchors": _rowwise(
            _negatives, mean=lambda f: torch.stack([x.sum() for x in f]).mean()),
        "a mean over the whole table": lambda scores, positive, negative: _rowwise(_negatives)(
            scores, positive, negative) * positive.sum() / positive.numel(),
        "added up": _rowwise(_negatives, mean=lambda f: torch.cat(f).sum()),
        "negatives of all anchors": lambda scores, positive, negative: F.softplus(
            scores[negative].logsumexp(0) - scores[positive]).mean(),
        "masked by 0": _rowwise(_masked),
        "exponentials as they are": _shares,
        "all positives as one": _rowwise(_negatives, _together),
        "the sign": _rowwise(_negatives, lambda s, below: s - torch.logaddexp(s, below)),
        "negatives by their number": _rowwise(
            lambda scores, a, p, n: scores[a][n].logsumexp(0) - math.log(int(n.sum()))),
    },
    "24.map_loss": {
        "the width in place of its root": _scored(root=lambda n, d: float(d)),
        "not scaled": _scored(root=lambda n, d: 1.0),
        "the root of another size": _scored(root=lambda n, d: n ** 0.5),
        "the clip before the regulariser": _scored(seen="soft"),
        "a hard clip": _scored(bend=lambda s, c: torch.clamp(s, min=-c, max=c)),
        "tanh without its unit": _scored(bend=lambda s, c: s.tanh() * c),
        "not clipped": _scored(bend=lambda s, c: s),
        "the own image's other places as rivals": _scored(rest="all"),
        "one positive for each image": _scored(mean="first"),
        "added over the places": _scored(mean="sum"),
        "the maps pooled": _scored(pool=True),
        "flattened the wrong way": _scored(flat=_by_place),
        "reshaped in place of transposed": _scored(flat=_cut_anew),
        "no regulariser": _scored(weigh=0.0),
        "the regulariser of the positives": _scored(seen="own"),
        "absolute scores": _scored(power=1),
        "cosines": _scored(unit=True),
    },
    "24.labels": {
        "height and width exchanged": _listed(
            lambda b, r, c, height, width, k: b * height * width + (r + k) * height + c),
        "the patch itself": _listed(lambda b, r, c, height, width, k: (b * height + r) * width + c),
        "one row too far": _listed(lambda b, r, c, height, width, k: (b * height + r + k + 1) * width + c),
        "always the next row": _listed(lambda b, r, c, height, width, k: (b * height + r + 1) * width + c),
        "the image's own count": _listed(lambda b, r, c, height, width, k: (r + k) * width + c),
        "images of fewer patches": _listed(
            lambda b, r, c, height, width, k: (b * (height - k) + r + k) * width + c),
        "all rows predict": _listed(lambda b, r, c, height, width, k: (b * height + r + k) * width + c,
                                    lambda height, k: range(height)),
        "rows and columns of the grid exchanged": lambda images, height, width, k: torch.tensor(
            [(b * width + r) * height + c for b in range(images) for r in range(width) for c in range(k, height)]),
        "the column alone": _listed(lambda b, r, c, height, width, k: c),
        "the row alone": _listed(lambda b, r, c, height, width, k: r + k),
        "rows from below": _listed(lambda b, r, c, height, width, k: (b * height + height - k - r - 1) * width + c),
        "column by column": _columns,
        "to the right": _right,
        "place by place": _places,
        "counted from 1": _listed(lambda b, r, c, height, width, k: (b * height + r + k) * width + c + 1),
    },
    "24.yadim_step": {
        "one direction": _step(both=lambda one, two: one),
        "the other direction": _step(both=lambda one, two: two),
        "both directions added": _step(both=lambda one, two: one + two),
        "a view looks in itself": _step(pairs=lambda a, b: ((a, a), (b, b))),
        "the other view's cell": _step(cells=lambda x, y: (y, x)),
        "one cell for both": _step(cells=lambda x, y: (x, x)),
        "always the first cell": _step(source=lambda m, at: m[:, :, 0, 0]),
        "the mean for a source": _step(source=lambda m, at: m.flatten(2).mean(2)),
        "the mean for a target": _step(goal=lambda m: m.flatten(2).mean(2)[:, :, None, None]),
        "targets without gradient": _step(goal=lambda m: m.data),
        "sources without gradient": _step(anchor=lambda s: s.data),
        "the clip is not handed on": _step(clips=lambda clip: 10),
        "AMDIM's clip": _step(clips=lambda clip: 20),
        "gradients never cleared": _step(clear=False),
        "no step": _step(move=False),
        "the loss keeps its graph": _step(number=False),
    },
}
