"""Second spellings of the misconceptions of week 19."""
from __future__ import annotations

import torch
from torch.nn import functional as F


# ---------------------------------------------------------------- 19.gaussian
def _drawn(*, numbers=lambda t: (t[0], t[1], t[2]), place=lambda i, n: i / (n - 1), fall=lambda d, s, lam: -d / (
        2 * lam * s + 1e-5), apart=lambda a, b: a ** 2 + b ** 2, turned=False, scaled=False):
    """Place by place, in loops."""
    def answer(theta, height, width, sharpness=0.05):
        height, width = (width, height) if turned else (height, width)
        maps = []
        for t in theta:
            row, column, size = numbers(t)
            cells = [torch.exp(fall(apart(place(i, height) - row, place(j, width) - column), size, sharpness))
                     for i in range(height) for j in range(width)]
            grid = torch.stack(cells).view(height, width)
            maps.append(grid / grid.sum() if scaled else grid)
        return torch.stack(maps)

    return answer


GAUSSIAN = {
    "the official slice": _drawn(numbers=lambda t: (*t[::2], t[2])),
    "row and column exchanged": _drawn(numbers=lambda t: (t[1], t[0], t[2])),
    "the size first": _drawn(numbers=lambda t: (t[1], t[2], t[0])),
    "the distance without its square": _drawn(apart=lambda a, b: a.abs() + b.abs()),
    "the squares multiplied": _drawn(apart=lambda a, b: a ** 2 * b ** 2),
    "the rows alone": _drawn(apart=lambda a, b: a ** 2),
    "the size squared": _drawn(fall=lambda d, s, lam: -d / (2 * lam * s ** 2 + 1e-5)),
    "lambda left out": _drawn(fall=lambda d, s, lam: -d / (2 * s + 1e-5)),
    "the 2 left out": _drawn(fall=lambda d, s, lam: -d / (lam * s + 1e-5)),
    "no small number": _drawn(fall=lambda d, s, lam: -d / (2 * lam * s)),
    "a sum of 1": _drawn(scaled=True),
    "the centres of pixels": _drawn(place=lambda i, n: (i + 0.5) / n),
    "coordinates from -1 to 1": _drawn(place=lambda i, n: 2 * i / (n - 1) - 1),
    "coordinates in places": _drawn(place=lambda i, n: i),
    "height and width exchanged": _drawn(turned=True),
    "the plus sign": _drawn(fall=lambda d, s, lam: d / (2 * lam * s + 1e-5)),
}


# ---------------------------------------------------------------- 19.targets
def _columns(*, t=1, q=2, divide=(True, True), scale=(True, True), swap=False, sums=(1, 1), axis=1, last=None,
             sign=1):
    """Cluster by cluster."""
    def answer(p):
        made = []
        for power, divided, scaled, kind in zip((t, q), divide, scale, sums):
            columns = [c ** power / ((c ** kind).sum() ** sign if divided else 1) for c in p.unbind(1)]
            out = torch.stack(columns, 1)
            out = last(out) if last else F.normalize(out, p=1, dim=axis) if scaled else out
            made.append(out)
        return (made[1], made[0]) if swap else tuple(made)

    return answer


TARGETS = {
    "rows are not scaled": _columns(scale=(False, False)),
    "T is not scaled": _columns(scale=(False, True)),
    "the clusters' sums left out": _columns(divide=(False, False)),
    "q by the sums of squares": _columns(sums=(1, 2)),
    "no square": _columns(q=1),
    "both squared": _columns(t=2),
    "exchanged": _columns(swap=True),
    "times the clusters' sums": _columns(sign=-1),
    "columns scaled in place of rows": _columns(axis=0),
    "a softmax": _columns(last=lambda out: out.exp() / out.exp().sum(1, keepdim=True)),
}


# ---------------------------------------------------------------- 19.separability
def _by_hand(*, length=lambda p: p.norm(dim=1, keepdim=True), shift=0.0, keep=lambda i, j: j <= i,
             score=lambda c, t: -torch.where(t > 0, c, 1 - c).log().clamp_min(-100), add=False,
             squash=lambda c: c.clamp(0, 1), cut=False):
    """The whole table, then a mask; the logarithms written out."""
    def answer(p, clusters):
        z = (p.data + 0 * p if cut else p) - shift * p.mean(0, keepdim=True)
        z = z / length(z)
        table, n = squash(torch.einsum("nk,mk->nm", z, z)), len(p)
        same = (clusters.view(-1, 1) == clusters.view(1, -1)).to(p)
        rows = torch.arange(n)
        mask = keep(rows[:, None], rows[None, :]) & torch.ones(n, n, dtype=torch.bool)
        values = score(table[mask], same[mask])
        return values.sum() if add else values.mean()

    return answer


def _own_only(p, clusters):
    return F.binary_cross_entropy((F.normalize(p, dim=1) ** 2).sum(1).clamp(0, 1), torch.ones_like(p[:, 0]))


SEPARABILITY = {
    "inner products": _by_hand(length=lambda p: 1),
    "scaled to the sum 1": _by_hand(length=lambda p: p.norm(p=1, dim=1, keepdim=True)),
    "without the pairs of an image with itself": _by_hand(keep=lambda i, j: j < i),
    "each pair twice": _by_hand(keep=lambda i, j: j == j),
    "squared errors": _by_hand(score=lambda c, t: (c - t) ** 2),
    "cosines as logits": _by_hand(squash=torch.sigmoid),
    "a sum over the pairs": _by_hand(add=True),
    "centred cosines": _by_hand(shift=1.0),
    "detached": _by_hand(cut=True),
    "the diagonal alone": _own_only,
    "pairs of one cluster only": _by_hand(score=lambda c, t: -c[t > 0].log()),
    "pairs of two clusters only": _by_hand(score=lambda c, t: -(1 - c[t < 1]).log()),
    "guess and truth exchanged": _by_hand(
        score=lambda c, t: -(c * t.log().clamp_min(-100) + (1 - c) * (1 - t).log().clamp_min(-100))),
    "divided by the images": lambda p, clusters: _by_hand()(p, clusters) * (len(p) + 1) / 2,
}


# ---------------------------------------------------------------- 19.gat_step
def _scaled(x):
    return x / x.sum(1, keepdim=True)


def _round(*, mode=False, graph=False, whole=True, look=None, eyes=None, answer=0, pair=("t", "q"), found="q",
           terms=None, sign=1, spread=1.0, heads=2, of_mean=True, attend=None, weights_at=(0, 1, 2, 3), clear=True,
           update=True, give="all", shift=False):
    """Targets in a dict; terms in a list."""
    def step(network, optimizer, pool, transform, clusters_of, batch=32, weights=(5.0, 1.0, 3.0, 5.0)):
        def think(images):
            network.train(mode)
            context = torch.enable_grad() if graph else torch.no_grad()
            with context:
                p = network(transform(images) if look == "turned" else images)[answer]
                made = {"t": _scaled(p / p.sum(0)), "q": _scaled(p ** 2 / p.sum(0))}
            network.train(True)
            return made[pair[0]], made[pair[1]], clusters_of(made[found])

        losses, once = [], think(pool) if whole else None
        for start in range(0, len(pool), batch):
            rows = slice(start, min(len(pool), start + batch))
            size = rows.stop - rows.start
            t, q, names = (x[:size] if shift else x[rows] for x in once) if whole else think(pool[rows])
            p, a = network(pool[rows] if eyes == "plain" else transform(pool[rows]))
            first = terms(p, t) if terms else -torch.einsum("nk,nk->n", p, t).mean()
            third = sum((x.mean(0) * torch.log(x.mean(0))).sum() if of_mean else -torch.special.entr(x).sum(1).mean()
                        for x in (p, a)[:heads])
            fourth = attend(a, q) if attend else -(q * a.log() + (1 - q) * torch.log1p(-a)).mean()
            w = [weights[i] for i in weights_at]
            loss = w[0] * sign * first + w[1] * _by_hand()(p, names) + w[2] * spread * third + w[3] * fourth
            if clear:
                network.zero_grad()
            loss.backward(retain_graph=graph)
            if update:
                optimizer.step()
            losses.append(loss if give == "tensors" else float(loss))
        return [losses[-1]] if give == "last" else losses

    return step


STEP = {
    "targets of the small batch": _round(whole=False),
    "targets of transformed images": _round(look="turned"),
    "targets in training mode": _round(mode=True),
    "targets with a gradient": _round(graph=True),
    "targets from the attention's answer": _round(answer=1),
    "T and q exchanged": _round(pair=("q", "t"), found="q"),
    "the images are not transformed": _round(eyes="plain"),
    "invariance without its minus": _round(sign=-1),
    "a sum over the images": _round(terms=lambda p, t: -torch.einsum("nk,nk->", p, t)),
    "a mean over all entries": _round(terms=lambda p, t: -torch.einsum("nk,nk->", p, t) / p.numel()),
    "cross-entropy in place of the inner product": _round(terms=lambda p, t: F.cross_entropy(p.log(), t)),
    "the mean of the entropies": _round(of_mean=False),
    "the entropy's sign": _round(spread=-1.0),
    "the entropy of p alone": _round(heads=1),
    "squared errors": _round(attend=lambda a, q: ((a - q) ** 2).mean()),
    "a softmax's cross-entropy": _round(attend=lambda a, q: F.cross_entropy(a.log(), q)),
    "k-means of T": _round(found="t"),
    "the first rows' targets each time": _round(shift=True),
    "T for the attention, too": _round(pair=("t", "t")),
    "the attention's task left out": _round(attend=lambda a, q: 0 * a.sum()),
    "weights in another order": _round(weights_at=(0, 2, 1, 3)),
    "gradients never cleared": _round(clear=False),
    "the weights never move": _round(update=False),
    "the last loss alone": _round(give="last"),
    "the loss keeps its graph": _round(give="tensors"),
}


SECOND = {"19.gaussian": GAUSSIAN, "19.targets": TARGETS, "19.separability": SEPARABILITY, "19.gat_step": STEP}

EQUIVALENT = {
    "19.targets": {"line 3: p.sum(0) -> p.mean(0)": "a row's scale is divided out",
                   "line 3: p.sum(0) -> p.mean(0) (2)": "a row's scale is divided out"},
    "19.separability": {"line 3: F.normalize(p, dim=1) -> F.normalize(p)": "dim=1 is its default"},
}
