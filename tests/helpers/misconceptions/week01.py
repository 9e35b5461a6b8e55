"""Second spellings of the misconceptions of week 1, and mutants of its references that compute the same."""
from __future__ import annotations

import torch
from einops import einsum
from torch.nn import functional as F


# ---------------------------------------------------------------- 01.knn
def _rows(x):
    return x / x.norm(dim=1, keepdim=True)


def _count(labels, order, weights):
    """One query after the other, one neighbour after the other."""
    votes = weights.new_zeros(len(order), int(labels.max()) + 1)
    for q, (near, share) in enumerate(zip(order, weights)):
        for i, w in zip(near, share):
            votes[q, labels[i]] += w
    return votes


def _by_distance(a, b):
    """Cosines out of distances: 1 - d^2 / 2."""
    return 1 - torch.cdist(a, b).square() / 2


def _neighbours(similarity, labels, k, temperature):
    order = similarity.argsort(dim=1, descending=True)[:, :k]
    return _count(labels, order, torch.softmax(similarity.gather(1, order) / temperature, dim=1))


def _both(bank, queries):
    return _by_distance(_rows(queries - bank.mean(0)), _rows(bank - bank.mean(0)))


def _long(bank, bank_labels, queries, k=20, temperature=0.07):
    centred = bank - bank.mean(0)
    return _neighbours(_both(bank, queries) * centred.norm(dim=1), bank_labels, k, temperature)


def _offset(bank, bank_labels, queries, k=20, temperature=0.07):
    return _neighbours(_by_distance(_rows(queries), _rows(bank)), bank_labels, k, temperature)


def _own_mean(bank, bank_labels, queries, k=20, temperature=0.07):
    moved = [_rows(x - x.mean(0, keepdim=True)) for x in (queries, bank)]
    return _neighbours(_by_distance(*moved), bank_labels, k, temperature)


def _late(bank, bank_labels, queries, k=20, temperature=0.07):
    bank, queries = _rows(bank), _rows(queries)
    middle = bank.sum(0) / len(bank)
    return _neighbours(einsum(queries - middle, bank - middle, "q d, b d -> q b"), bank_labels, k, temperature)


def _pooled(bank, bank_labels, queries, k=20, temperature=0.07):
    middle = (bank.sum(0) + queries.sum(0)) / (len(bank) + len(queries))
    return _neighbours(_by_distance(_rows(queries - middle), _rows(bank - middle)), bank_labels, k, temperature)


def _euclidean(bank, bank_labels, queries, k=20, temperature=0.07):
    gaps = (queries[:, None] - bank).square().sum(-1).sqrt()
    return _neighbours(-gaps, bank_labels, k, temperature)


def _far(bank, bank_labels, queries, k=20, temperature=0.07):
    similarity = _both(bank, queries)
    order = similarity.argsort(dim=1)[:, :k]
    return _count(bank_labels, order, torch.softmax(similarity.gather(1, order) / temperature, dim=1))


def _majority(bank, bank_labels, queries, k=20, temperature=0.07):
    order = _both(bank, queries).argsort(dim=1, descending=True)[:, :k]
    return _count(bank_labels, order, torch.ones(order.shape, dtype=bank.dtype))


def _times(bank, bank_labels, queries, k=20, temperature=0.07):
    return _neighbours(_both(bank, queries), bank_labels, k, 1 / temperature)


def _scatter(bank, bank_labels, queries, k=20, temperature=0.07):
    near = _both(bank, queries).sort(dim=1, descending=True)
    votes = bank.new_zeros(len(queries), int(bank_labels.max()) + 1)
    return votes.scatter_(1, bank_labels[near.indices[:, :k]], torch.exp(near.values[:, :k] / temperature))


def _all(bank, bank_labels, queries, k=20, temperature=0.07):
    return torch.softmax(_both(bank, queries) / temperature, dim=1) @ F.one_hot(bank_labels).to(bank)


# ---------------------------------------------------------------- 01.alignment
def _columns(x, y, alpha=2.0):
    x, y = (v / v.square().sum(0, keepdim=True).sqrt() for v in (x, y))
    return ((x - y).square().sum(1) ** (alpha / 2)).mean()


def _gaps(x, y):
    return (2 - 2 * F.cosine_similarity(x, y)).sqrt()


def _all_pairs(x, y, alpha=2.0):
    return (2 - 2 * F.cosine_similarity(x[:, None], y[None], dim=-1)).sqrt().pow(alpha).mean()


# ---------------------------------------------------------------- 01.uniformity
def _kernel(z, t, power=2):
    """(N, N) with the diagonal."""
    squared = (2 - 2 * _rows(z) @ _rows(z).T).clamp(min=0)
    return torch.exp(-t * (squared if power == 2 else squared.clamp(min=1e-12).sqrt()))


def _upper(table):
    return table[torch.ones_like(table, dtype=torch.bool).triu(1)]


def _free(z, t=2.0):
    squared = (z[:, None] - z[None]).square().sum(-1)
    return _upper(torch.exp(-t * squared)).mean().log()


# ---------------------------------------------------------------- 01.training_step
def _forward(method, batch, generator):
    return method.loss(method.views(batch, generator), 0.0)["loss"]


def _adds_up(method, batch, optimizer, generator):
    loss = _forward(method, batch, generator)
    torch.autograd.backward([loss])
    optimizer.step()
    return float(loss.detach())


def _stale(method, batch, optimizer, generator):
    loss = _forward(method, batch, generator)
    optimizer.step()
    for parameter in method.parameters():
        parameter.grad = None
    torch.autograd.backward([loss])
    return float(loss.detach())


def _stands_still(method, batch, optimizer, generator):
    loss = _forward(method, batch, generator)
    optimizer.zero_grad()
    optimizer.step()
    loss.backward()
    return float(loss.detach())


def _frozen_draw(method, batch, optimizer, generator):
    loss = _forward(method, batch, torch.Generator().manual_seed(0))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _twin(method, batch, optimizer, generator):
    views = method.views(batch, generator)
    loss = method.loss([views[0], views[0].clone()])["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _pull_only(method, batch, optimizer, generator):
    optimizer.zero_grad()
    found = method.loss(method.views(batch, generator))
    torch.autograd.backward([found["pull"]])
    optimizer.step()
    return float(found["loss"].detach())


def _summed(method, batch, optimizer, generator):
    optimizer.zero_grad()
    loss = _forward(method, batch, generator)
    torch.autograd.backward([sum(loss for _ in batch.images)])
    optimizer.step()
    return float(loss.detach())


def _tensor(method, batch, optimizer, generator):
    optimizer.zero_grad()
    parts = method.loss(method.views(batch, generator))
    parts["loss"].backward()
    optimizer.step()
    return parts["loss"]


SECOND = {
    "01.knn": {
        "inner products of any length": _long,
        "not centred": _offset,
        "queries centred on their own mean": _own_mean,
        "centred after normalising": _late,
        "the farthest vote": _far,
        "every neighbour has one vote": _majority,
        "multiplied by the temperature": _times,
        "the last vote of a class counts": _scatter,
        "one mean over bank and queries": _pooled,
        "distances in place of cosines": _euclidean,
        "everybody votes": _all,
    },
    "01.alignment": {
        "not normalised": lambda x, y, alpha=2.0: F.pairwise_distance(x, y, eps=0.0).pow(alpha).mean(),
        "normalised over the batch": _columns,
        "averaged over dimensions too":
            lambda x, y, alpha=2.0: ((_rows(x) - _rows(y)).abs() ** alpha).sum() / x.numel(),
        "mean over dimensions inside the distance":
            lambda x, y, alpha=2.0: (_gaps(x, y) / x.shape[1] ** 0.5).pow(alpha).mean(),
        "summed over images": lambda x, y, alpha=2.0: _gaps(x, y).pow(alpha).sum(),
        "the power of the mean": lambda x, y, alpha=2.0: (_gaps(x, y).sum() / len(x)) ** alpha,
        "alpha left out": lambda x, y, alpha=2.0: (_rows(x) - _rows(y)).square().sum(1).mean(),
        "one minus cosine": lambda x, y, alpha=2.0: (_gaps(x, y).square() / 2).pow(alpha / 2).mean(),
        "every view with every view": _all_pairs,
    },
    "01.uniformity": {
        "each point paired with itself": lambda z, t=2.0: _kernel(z, t).mean().log(),
        "diagonal left out of the sum only": lambda z, t=2.0: (
            (_kernel(z, t).sum() - _kernel(z, t).diagonal().sum()) / z.shape[0] ** 2).log(),
        "the mean of the logarithms": lambda z, t=2.0: _upper(_kernel(z, t)).log().mean(),
        "not normalised": _free,
        "distance not squared": lambda z, t=2.0: _upper(_kernel(z, t, power=1)).mean().log(),
        "repulsion turned round": lambda z, t=2.0: _upper(_kernel(z, -t)).mean().log(),
        "the logarithm is missing": lambda z, t=2.0: _upper(_kernel(z, t)).mean(),
        "a logarithm for each image": lambda z, t=2.0: torch.stack([
            torch.cat([row[:i], row[i + 1:]]).mean().log() for i, row in enumerate(_kernel(z, t))]).mean(),
        "only the nearest partner": lambda z, t=2.0: torch.stack([
            torch.cat([row[:i], row[i + 1:]]).max() for i, row in enumerate(_kernel(z, t))]).mean().log(),
        "the sum over pairs": lambda z, t=2.0: _upper(_kernel(z, t)).sum().log(),
    },
    "01.training_step": {
        "gradients never cleared": _adds_up,
        "the step comes before backward": _stale,
        "the weights never move": _stands_still,
        "the same views at every step": _frozen_draw,
        "a view compared with itself": _twin,
        "the gradient of one part": _pull_only,
        "the gradient of a sum": _summed,
        "the loss keeps its graph": _tensor,
    },
}

_BLOCK = "queries are worked off in blocks: their size decides memory and time, not votes"
_SCALE = "votes are compared as shares, and taking off the largest cosine only scales a query's weights"

EQUIVALENT = {
    "01.uniformity": {
        "line 7: check_positive('t', t) -> nothing":
            "a check of the arguments; good ones pass it",
    },
    "01.knn": {
        "line 11: check_positive('temperature', temperature) -> nothing":
            "a check of the arguments; good ones pass it",
        "line 12: bank, queries = (check_features(bank, 'bank features'), check_featu... -> nothing":
            "a check of the arguments; it returns good ones as they are",
        "line 32: (directions(block) @ bank.T).topk(k, dim=1) -> (directions(block) @ bank.T).topk(k)":
            "topk takes the last dimension by itself, and a matrix has no other after dim 1",
        **dict.fromkeys([
            "line 31: max(1, 2 ** 24 // len(bank)) -> min(1, 2 ** 24 // len(bank))",
            "line 31: max(1, 2 ** 24 // len(bank)) -> max(0, 2 ** 24 // len(bank))",
            "line 31: max(1, 2 ** 24 // len(bank)) -> max(2, 2 ** 24 // len(bank))",
            "line 31: 2 ** 24 // len(bank) -> 2 ** 24 * len(bank)",
            "line 31: 2 ** 24 -> 2 * 24",
            "line 31: 2 ** 24 -> 2",
            "line 31: 2 ** 24 -> 1 ** 24",
            "line 31: 2 ** 24 -> 3 ** 24",
            "line 31: 2 ** 24 -> 2 ** 25",
            "line 31: 2 ** 24 -> 2 ** 23",
            *(f"line 22: {split}(4096) -> {split}({size})" for split in ("found.split", "features.split")
              for size in (4095, 4097)),  # probes have fewer rows
        ], _BLOCK),
        **dict.fromkeys([
            "line 33: near.values - near.values[:, :1] -> near.values + near.values[:, :1]",
            "line 33: near.values - near.values[:, :1] -> near.values",
        ], _SCALE),
    },
}
