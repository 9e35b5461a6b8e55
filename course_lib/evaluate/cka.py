"""How alike two representations of the same images are, and whether groups of networks are: CKA, a flat map, a test.

Linear CKA: Kornblith et al., ICML 2019, arXiv 1905.00414. It is the cosine of two centred Gram matrices, so 1 for
features that differ by a rotation, a shift and a scale, and 0 for none in common. With few images it is far too high;
the debiased estimate (Song et al., JMLR 2012; Nguyen et al., ICLR 2021, arXiv 2010.15327) is 0 on average for noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.evaluate.measures import check_features


def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    """Features (N, D) and (N, E) of the same N images -> a scalar in [0, 1]."""
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    return (y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())


def debiased_hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """Gram matrices (N, N), N at least 4, not centred -> the unbiased estimate of HSIC, a scalar of either sign.

    Song et al., equation 5.
    """
    n = len(k)
    k, l = (gram - torch.diag(gram.diagonal()) for gram in (k, l))  # noqa: E741
    sums = k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(dim=0) * l.sum(dim=0)).sum() / (n - 2)
    return ((k * l).sum() + sums) / (n * (n - 3))


def debiased_cka(x: Tensor, y: Tensor) -> Tensor:
    """Linear CKA by `debiased_hsic`: about 0 for independent features, however many there are; may be negative."""
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return debiased_hsic(k, l) / (debiased_hsic(k, k) * debiased_hsic(l, l)).sqrt()


def cka_table(features: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Features (N, D_i) of the same images in n networks -> linear and debiased CKA of all pairs, float32 (n, n) each.

    In float64. ValueError for features of other numbers of images, or fewer than 4.
    """
    counts = {len(check_features(x)) for x in features}
    if len(counts) != 1 or min(counts) < 4:
        raise ValueError(f"the features are of {sorted(counts)} images; expected those of the same images, 4 or more")
    centred = [x.double() - x.double().mean(dim=0) for x in features]
    grams = [x @ x.T for x in centred]  # a shift changes neither estimate
    flat = torch.stack([gram.flatten() / gram.norm() for gram in grams])
    hsic = torch.stack([torch.stack([debiased_hsic(a, b) for b in grams]) for a in grams])
    scale = hsic.diagonal().sqrt()
    return (flat @ flat.T).float(), (hsic / (scale[:, None] * scale)).float()


def regress_out(x: Tensor, causes: Tensor) -> Tensor:
    """Features (N, D), centred, without what a linear function of causes (N, C) tells of them."""
    x, causes = x - x.mean(dim=0), causes - causes.mean(dim=0)
    return x - causes @ torch.linalg.lstsq(causes, x).solution


def cka_distances(cka: Tensor) -> Tensor:
    """CKA (n, n) -> distances (n, n): sqrt(2 - 2 CKA), between unit Gram matrices, whose cosine CKA is."""
    return (2 - 2 * cka).clamp(min=0).sqrt()


def classical_mds(distances: Tensor, dims: int = 2) -> Tensor:
    """Distances (n, n) -> coordinates (n, dims) whose distances are nearest to them (Torgerson 1952).

    Axes in the order of their variance, of either sign; an axis without any (a negative eigenvalue) is 0.
    """
    n = len(distances)
    centre = torch.eye(n, dtype=distances.dtype) - 1 / n
    values, vectors = torch.linalg.eigh(-0.5 * centre @ distances.square() @ centre)
    return vectors.flip(1)[:, :dims] * values.flip(0)[:dims].clamp(min=0).sqrt()


def group_gap(similarity: Tensor, groups: Tensor) -> Tensor:
    """Similarity (n, n) and groups int (n,) -> mean over pairs of one group minus mean over pairs of two; a scalar.

    NaN if there are no pairs of one of the two sorts.
    """
    i, j = torch.triu_indices(len(groups), len(groups), offset=1)
    same = groups[i] == groups[j]
    return similarity[i, j][same].mean() - similarity[i, j][~same].mean()


def group_test(similarity: Tensor, groups: Tensor, orders: Tensor) -> dict[str, Tensor]:
    """Are networks of one group more alike? A permutation test over networks, not over their pairs.

    orders: int (P, n), in which order the groups' names are dealt out anew (`shuffles`). -> "gap" of `group_gap`, and
    one-sided "p": the share of gaps that are at least as large, the observed one included.
    """
    gap = group_gap(similarity, groups)
    dealt = torch.stack([group_gap(similarity, groups[order]) for order in orders])
    return {"gap": gap, "p": (1 + (dealt >= gap).sum()) / (1 + len(orders))}


def shuffles(within: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` orders int64 (count, n) that exchange only networks with the same value of `within`, int (n,)."""
    orders = torch.arange(len(within)).repeat(count, 1)
    for value in within.unique():
        places = (within == value).nonzero().flatten()
        drawn = torch.rand(count, len(places), generator=generator).argsort(dim=1)
        orders[:, places] = places[drawn]
    return orders
