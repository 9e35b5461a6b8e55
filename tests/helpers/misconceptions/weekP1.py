"""Second spellings of the misconceptions of project P1, and mutants of its references that compute the same."""
from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


# ---------------------------------------------------------------- P1.split_scenes
def _members(scenes, some):
    some = set(some.tolist())
    return torch.tensor([i for i, s in enumerate(scenes.tolist()) if s in some], dtype=torch.long)


def _ends(count, train, validation):
    a = round(train * count)
    return [0, a, a + round(validation * count), count]


def _parts(scenes, order, train, validation, find=_members, ends=None):
    ends = ends or _ends(len(order), train, validation)
    return {name: find(scenes, order[low:high]) for name, low, high in
            zip(("train", "validation", "test"), ends, ends[1:])}


def _pictures(scenes, order, train, validation):
    ends = _ends(len(scenes), train, validation)
    return {name: torch.tensor([*range(low, high)]) for name, low, high in
            zip(("train", "validation", "test"), ends, ends[1:])}


def _leaky_test(scenes, order, train, validation):
    found = _parts(scenes, order, train, validation)
    return found | {"test": torch.cat([found["validation"], found["test"]])}


def _firsts(scenes, some):
    return torch.tensor([int((scenes == s).long().argmax()) for s in some], dtype=torch.long)


def _left_over(scenes, order, train, validation):
    a = round(train * len(order))
    b = a + round(validation * (len(order) - a))
    return _parts(scenes, order, train, validation, ends=[0, a, b, len(order)])


def _backwards(scenes, order, train, validation):
    found = _parts(scenes, order, train, validation)
    return {"test": found["train"], "validation": found["validation"], "train": found["test"]}


SPLIT = {
    "by picture": _pictures,
    "numbers of scenes": lambda *a, **k: _parts(*a, find=lambda scenes, some: some, **k),
    "the order is not used": lambda scenes, order, train, validation: _parts(
        scenes, torch.arange(len(order)), train, validation),
    "test holds validation": _leaky_test,
    "one frame of each scene": lambda *a, **k: _parts(*a, find=_firsts, **k),
    "a share of what is left": _left_over,
    "masks": lambda *a, **k: _parts(*a, find=lambda scenes, some: (scenes[:, None] == some).any(1), **k),
    "the parts exchanged": _backwards,
}


# ---------------------------------------------------------------- P1.few_labels
def _walk(labels, order, k, known=None):
    taken, left = [], {c: k for c in (known if known is not None else labels.unique().tolist())}
    for i in order.tolist():
        if left.get(int(labels[i]), 0) > 0:
            taken.append(i)
            left[int(labels[i])] -= 1
    return torch.tensor(taken, dtype=torch.long)


def _in_places(labels, order, k):
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    return inverse[_walk(labels, order, k)]


def _common(labels, order, k):
    counts = torch.bincount(labels)
    return _walk(labels, order, k, [c for c in range(len(counts)) if counts[c] >= k])


FEW = {
    "the first of the order": lambda labels, order, k: order[torch.arange(k * len(set(labels.tolist())))],
    "places in the order": _in_places,
    "the order is not used": lambda labels, order, k: _walk(labels, torch.arange(len(labels)), k),
    "classes counted from 0": lambda labels, order, k: _walk(labels, order, k, range(len(labels.unique()))),
    "rare classes left out": _common,
    "labels not put in order": lambda labels, order, k: torch.cat(
        [order[(labels == c).nonzero().flatten()[:k]] for c in labels.unique()]),
    "one too many": lambda labels, order, k: _walk(labels, order, k + 1),
    "the first left out": lambda labels, order, k: torch.tensor(
        [i for c in labels.unique() for i in [j for j in order.tolist() if labels[j] == c][1:][:k]], dtype=torch.long),
    "the last of the order": lambda labels, order, k: torch.cat(
        [order[labels[order] == c][-k:] for c in labels.unique()]),
}


# ---------------------------------------------------------------- P1.ridge_scores
def _solved(features, labels, queries, penalty=0.1, shift=None, spread=None, asked=None, add=True, d=None):
    """By weights of the dimensions, not of the pictures."""
    shift = features.mean(0) if shift is None else shift
    spread = features.std(0, correction=0) + 1e-6 if spread is None else spread
    x = (features - shift) / spread
    q = (queries - shift) / spread if asked is None else asked
    y = F.one_hot(labels.unique(return_inverse=True)[1]).to(x.dtype)
    d = d or x.shape[1]
    inner = x.T @ x / d + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    scores = q @ torch.linalg.lstsq(inner, x.T @ y / d).solution
    return scores + y.mean(0) if add else scores


def _own(features, labels, queries, penalty=0.1):
    return _solved(features, labels, queries, penalty, asked=(queries - queries.mean(0)) / (
        ((queries - queries.mean(0)) ** 2).mean(0).sqrt() + 1e-6))


def _numbered(features, labels, queries, penalty=0.1):
    found = _solved(features, labels, queries, penalty)
    out = found.new_zeros(len(found), int(labels.max()) + 1)
    out[:, labels.unique()] = found
    return out


def _with_queries(features, labels, queries, penalty=0.1):
    every = torch.vstack([queries, features])
    middle, spread = every.mean(0), every.var(0, correction=0).sqrt() + 1e-6
    x, q = (features - middle) / spread, (queries - middle) / spread
    y = F.one_hot(labels.unique(return_inverse=True)[1]).to(x.dtype)
    inverse = torch.linalg.inv(x @ x.mT / x.shape[1] + penalty * torch.eye(len(x), dtype=x.dtype))
    return y.mean(0) + q @ x.mT @ inverse @ y / x.shape[1]


def _multiplied(features, labels, queries, penalty=0.1):
    middle, spread = features.mean(0), features.std(0, correction=0) + 1e-6
    x, q = (features - middle) / spread, (queries - middle) / spread
    y = F.one_hot(labels.unique(return_inverse=True)[1]).to(x.dtype)
    return q @ x.mT / x.shape[1] @ (x @ (x.mT @ y) / x.shape[1] + penalty * y) + y.mean(0)


RIDGE = {
    "not centred": lambda features, labels, queries, penalty=0.1: _solved(
        features, labels, queries, penalty, shift=torch.zeros_like(features[0])),
    "not scaled": lambda features, labels, queries, penalty=0.1: _solved(
        features, labels, queries, penalty, spread=torch.ones_like(features[0])),
    "queries by their own statistics": _own,
    "the mean is not added back": lambda *a, **k: _solved(*a, add=False, **k),
    "the kernel is not divided by D": lambda *a, **k: _solved(*a, d=1, **k),
    "one scale for all dimensions": lambda features, labels, queries, penalty=0.1: _solved(
        features, labels, queries, penalty, spread=(features - features.mean(0)).pow(2).mean() ** 0.5 + 1e-6),
    "standardised with the queries": _with_queries,
    "multiplied, not solved": _multiplied,
    "the penalty squared into the kernel": lambda features, labels, queries, penalty=0.1: _solved(
        features, labels, queries, penalty * penalty),
    "a column for every number": _numbered,
    "the labelled ones scored": lambda features, labels, queries, penalty=0.1: _solved(
        features, labels, features, penalty),
}


# ---------------------------------------------------------------- P1.paired_interval
def _ends_of(middle, half):
    middle, half = float(middle), float(half)
    return dict(low=middle - half, mean=middle, high=middle + half)


def _error(a, b, ddof=1, power=0.5):
    gains = (a - b).numpy()
    return gains.std(ddof=ddof) / len(gains) ** power


def _middle(a, b):
    return np.mean((a - b).numpy())


PAIR = {
    "unpaired": lambda a, b, t: _ends_of(
        _middle(a, b), t * np.hypot(a.numpy().std(ddof=1), b.numpy().std(ddof=1)) / len(a) ** 0.5),
    "the spread of one draw": lambda a, b, t: _ends_of(_middle(a, b), t * _error(a, b, power=0)),
    "divided by n": lambda a, b, t: _ends_of(_middle(a, b), t * _error(a, b, power=1)),
    "n instead of n - 1": lambda a, b, t: _ends_of(_middle(a, b), t * _error(a, b, ddof=0)),
    "without t": lambda a, b, t: _ends_of(_middle(a, b), _error(a, b)),
    "the other way round": lambda a, b, t: _ends_of(-_middle(a, b), t * _error(a, b)),
    "the variance": lambda a, b, t: _ends_of(_middle(a, b), t * np.var((a - b).numpy(), ddof=1) / len(a) ** 0.5),
    "the median": lambda a, b, t: _ends_of(np.median((a - b).numpy()), t * _error(a, b)),
    "the extremes": lambda a, b, t: dict(
        low=float(min(a - b)), mean=float(_middle(a, b)), high=float(max(a - b))),
}

SECOND = {"P1.split_scenes": SPLIT, "P1.few_labels": FEW, "P1.ridge_scores": RIDGE, "P1.paired_interval": PAIR}
_EYE = "the sum takes the kernel's dtype"
EQUIVALENT = {"P1.ridge_scores": {
    f"line 12: torch.eye(len(x), dtype=x.dtype, device=x.device) -> torch.eye(len(x), {kept})": _EYE
    for kept in ("device=x.device", "dtype=x.dtype")}}
