"""Second spellings of the misconceptions of appendix A2, and mutants of its references that compute the same."""
from __future__ import annotations

import numpy as np
import torch


# ---------------------------------------------------------------- A2.linear_cka
def _grams(x, y, before=lambda z: z - z.mean(0)):
    k, l = (before(z) @ before(z).T for z in (x, y))  # noqa: E741
    return (k * l).sum() / (k.norm() * l.norm())


def _norms(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return torch.einsum("nd,ne->de", x, y).square().sum() / (x.square().sum() * y.square().sum())


def _half(x, y, first):
    a, b = (x - x.mean(0), y) if first else (x, y - y.mean(0))
    return torch.einsum("nd,ne->de", a, b).square().sum() / (
        torch.linalg.matrix_norm(a.T @ a) * torch.linalg.matrix_norm(b.T @ b))


CKA = {
    "not centred": lambda x, y: _grams(x, y, lambda z: z),
    "only the first centred": lambda x, y: _half(x, y, True),
    "only the second centred": lambda x, y: _half(x, y, False),
    "each image centred": lambda x, y: _grams(x, y, lambda z: (z.T - z.T.mean(0)).T),
    "not squared": lambda x, y: torch.sqrt(((y - y.mean(0)).T @ (x - x.mean(0))).pow(2).sum()) / (
        torch.cov(x.T).norm() * torch.cov(y.T).norm() * (len(x) - 1) ** 2),
    "norms of the features": _norms,
    "each feature standardised": lambda x, y: _grams(x, y, lambda z: (z - z.mean(0)) / z.var(0).sqrt()),
    "a distance": lambda x, y: 1.0 - _grams(x, y),
    "the distance of the map": lambda x, y: 2**0.5 * (1 - _grams(x, y)) ** 0.5,
    "its root": lambda x, y: _grams(x, y) ** 0.5,
}


# ---------------------------------------------------------------- A2.classical_mds
def _eigen(b, dims, scale=np.sqrt, pick=slice(None, None, -1), clamp=True):
    values, vectors = np.linalg.eigh(b.numpy())
    values, vectors = values[pick][:dims], vectors[:, pick][:, :dims]
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(vectors * scale(np.maximum(values, 0) if clamp else values)).to(b.dtype)


def _double(d2, factor=-0.5):
    return factor * (d2 - d2.mean(0, keepdim=True) - d2.mean(1, keepdim=True) + d2.mean())


MDS = {
    "distances not squared": lambda distances, dims=2: _eigen(_double(distances), dims),
    "without the half": lambda distances, dims=2: 2**0.5 * _eigen(_double(distances**2), dims),
    "the sign": lambda distances, dims=2: _eigen(_double(distances**2, 0.5), dims),
    "centred on one side": lambda distances, dims=2: _eigen(
        -0.5 * (distances**2 - (distances**2).mean(0, keepdim=True)), dims),
    "not centred": lambda distances, dims=2: _eigen(-(distances**2) / 2, dims),
    "eigenvectors of length one": lambda distances, dims=2: _eigen(_double(distances**2), dims, np.ones_like),
    "eigenvalues, not their roots": lambda distances, dims=2: _eigen(_double(distances**2), dims, lambda v: v),
    "the smallest eigenvalues": lambda distances, dims=2: _eigen(_double(distances**2), dims, pick=slice(None)),
    "negative eigenvalues": lambda distances, dims=2: _eigen(_double(distances**2), dims, clamp=False),
}


# ---------------------------------------------------------------- A2.group_test
def _gap(similarity, groups, diagonal=False, everything=False, by_group=False):
    n = len(groups)
    own, other, means = [], [], {}
    for i in range(n):
        for j in range(i if diagonal else i + 1, n):
            value = float(similarity[i, j])
            if groups[i] == groups[j]:
                own.append(value)
                means.setdefault(int(groups[i]), []).append(value)
            if everything or groups[i] != groups[j]:
                other.append(value)
    first = np.mean([np.mean(v) for v in means.values()]) if by_group else np.mean(own)
    return first - np.mean(other)


def _p(similarity, groups, orders, hit=lambda d, g: d >= g, above=1, below=1, **more):
    seen = _gap(similarity, groups, **more)
    hits = sum(bool(hit(_gap(similarity, groups[order], **more), seen)) for order in orders)
    return {"gap": seen, "p": (hits + above) / (len(orders) + below)}


def _reversed(similarity, groups, orders):
    found = _p(-similarity, groups, orders)
    return found


def _rows(similarity, groups, orders):
    seen = _gap(similarity, groups)
    hits = sum(bool(_gap(similarity[order], groups) >= seen) for order in orders)
    return {"gap": seen, "p": (hits + 1) / (len(orders) + 1)}


GROUPS = {
    "the diagonal counted": lambda *a, **k: _p(*a, diagonal=True, **k),
    "one group against all pairs": lambda *a, **k: _p(*a, everything=True, **k),
    "the mean of the groups' means": lambda *a, **k: _p(*a, by_group=True, **k),
    "the gap the other way round": _reversed,
    "strictly larger": lambda *a, **k: _p(*a, hit=lambda d, g: d > g, **k),
    "the observed order left out": lambda *a, **k: _p(*a, above=0, below=0, **k),
    "one added above only": lambda *a, **k: _p(*a, below=0, **k),
    "one added below only": lambda *a, **k: _p(*a, above=0, **k),
    "the other tail": lambda *a, **k: _p(*a, hit=lambda d, g: d <= g, **k),
    "two-sided": lambda *a, **k: _p(*a, hit=lambda d, g: abs(d) >= abs(g), **k),
    "rows shuffled alone": _rows,
}

SECOND = {"A2.linear_cka": CKA, "A2.classical_mds": MDS, "A2.group_test": GROUPS}
EQUIVALENT: dict = {}
