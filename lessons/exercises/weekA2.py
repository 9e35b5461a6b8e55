"""Exercises of appendix A2: linear CKA, a flat map from distances, and a permutation test of groups."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from lessons.exercises.shared import rand, randn


# ------------------------------------------------------------------------------------------------ A2.linear_cka
def _cka_probes(generator, dtype):
    x = randn(generator, dtype, 9, 4)
    shifted = 2 + randn(generator, dtype, 8, 5)
    return [(x, randn(generator, dtype, 9, 6)), (shifted, randn(generator, dtype, 8, 3) - 1),
            (x + 1, 3 * x @ randn(generator, dtype, 4, 7) + 0.3 * randn(generator, dtype, 9, 7)),
            dict(x=1.5 + randn(generator, dtype, 12, 3) * torch.tensor([3.0, 1.0, 0.2], dtype=dtype),
                 y=randn(generator, dtype, 12, 8) + 0.5)]


def _cka(x: Tensor, y: Tensor, centre: str = "xy", rows: bool = False, power: int = 2, below: str = "covariances",
         standard: bool = False) -> Tensor:
    """`linear_cka` with a mistake asked for by name."""
    dim = 1 if rows else 0
    x = x - x.mean(dim, keepdim=True) if "x" in centre else x
    y = y - y.mean(dim, keepdim=True) if "y" in centre else y
    if standard:
        x, y = x / x.std(0), y / y.std(0)
    scale = (x.T @ x).norm() * (y.T @ y).norm() if below == "covariances" else (x.norm() * y.norm()) ** power
    return (y.T @ x).norm() ** power / scale


def _by_grams(x, y):
    """A right answer: the cosine of two centred Gram matrices."""
    h = torch.eye(len(x), dtype=x.dtype) - 1 / len(x)
    k, l = h @ x @ x.T @ h, h @ y @ y.T @ h  # noqa: E741
    return (k * l).sum() / (k.pow(2).sum() * l.pow(2).sum()).sqrt()


def _by_directions(x, y):
    """A right answer: variances and directions of both, from an SVD."""
    (u, s, _), (v, t, _) = (torch.linalg.svd(z - z.mean(0), full_matrices=False) for z in (x, y))
    return ((s[:, None] * (u.T @ v) * t) ** 2).sum() / ((s**4).sum() * (t**4).sum()) ** 0.5


cka = Exercise(
    key="A2.linear_cka", title="Linear CKA", minutes=8, difficulty=2,
    reference="course_lib.evaluate.cka:linear_cka", probes=_cka_probes,
    words={"x": "the first features", "y": "the second features"},
    wrong={
        "not centred": (
            lambda x, y: _cka(x, y, centre=""),
            "A common offset of all images counts as likeness now: subtract each column's mean from both."),
        "only the first centred": (
            lambda x, y: _cka(x, y, centre="x"),
            "The numerator forgives it, the norm below does not: centre y as well."),
        "only the second centred": (
            lambda x, y: _cka(x, y, centre="y"),
            "The numerator forgives it, the norm below does not: centre x as well."),
        "each image centred": (
            lambda x, y: _cka(x, y, rows=True),
            "You subtract each image's own mean. Centre each *feature*: the mean over images, dim 0."),
        "not squared": (
            lambda x, y: _cka(x, y, power=1),
            "Above the line stands the *squared* Frobenius norm; below are two plain ones."),
        "norms of the features": (
            lambda x, y: _cka(x, y, below="features"),
            "Below the line are the norms of X'X and Y'Y, not those of X and Y: compare a network with itself and you"
            " must get 1."),
        "each feature standardised": (
            lambda x, y: _cka(x, y, standard=True),
            "Dividing by standard deviations makes small features as loud as large ones, and CKA is no longer blind to"
            " rotations. Only centre."),
        "a distance": (
            lambda x, y: 1 - _cka(x, y),
            "That is a distance: 0 for the same features. CKA itself is 1 there."),
        "the distance of the map": (
            lambda x, y: (2 - 2 * _cka(x, y)).clamp(min=0).sqrt(),
            "That is the distance that the map is drawn from, the root of 2 - 2 CKA. Return CKA."),
        "its root": (
            lambda x, y: _cka(x, y).sqrt(),
            "You took a root too many: square the Frobenius norm of Y'X, and leave the rest."),
    },
    right={"centred Gram matrices": _by_grams, "from an SVD": _by_directions},
    hints=("What would CKA say if all images had the same large offset? What has to go first?",
           "Centre the columns of both. Then ||Y'X||^2 / (||X'X|| ||Y'Y||), Frobenius norms: `.norm()` of a matrix.",
           "x, y = x - x.mean(dim=0), y - y.mean(dim=0)\n"
           "return (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())"),
)


# ------------------------------------------------------------------------------------------------ A2.classical_mds
def _mds_probes(generator, dtype):
    def points(n: int, *spread: float) -> Tensor:
        z = randn(generator, dtype, n, len(spread)) * torch.tensor(spread, dtype=dtype)
        return torch.cdist(z, z)

    odd = 0.2 + 3 * rand(generator, dtype, 7, 7)  # no points in space have these distances
    odd = torch.triu(odd, 1) + torch.triu(odd, 1).T
    return [(points(8, 3.0, 1.0),), (points(6, 4.0, 2.0, 0.7), 3), (points(9, 5.0, 2.5, 1.2), 1), (odd, 5),
            dict(distances=points(7, 2.0, 0.8, 0.3), dims=2)]


def _unsigned(fn, distances: Tensor, **named: Any) -> Any:
    """The harness: coordinates whose axes point so that the entry of the largest size is positive; tiny axes are 0.

    An eigenvalue is always 0, but for rounding, and so has a root or none: next to an axis of NaN it counts as one.
    """
    found = fn(distances, **named)
    if not isinstance(found, Tensor) or found.ndim != 2 or not found.is_floating_point() or not len(found):
        return found
    largest = found.gather(0, found.nan_to_num().abs().argmax(dim=0, keepdim=True))
    none = torch.full_like(found, torch.nan if found.isnan().any() else 0.0)
    return torch.where(largest.abs() >= 0.02, found * largest.sign(), none)


def _call_mds(fn, *arguments, **named):
    given = dict(zip(("distances", "dims"), arguments)) | named
    return _unsigned(fn, given.pop("distances"), **given)


def _mds(distances: Tensor, dims: int = 2, square: bool = True, factor: float = -0.5, sides: str = "both",
         power: float = 0.5, largest: bool = True, clamp: bool = True) -> Tensor:
    """`classical_mds` with a mistake asked for by name."""
    n = len(distances)
    b = distances**2 if square else distances
    centre = torch.eye(n, dtype=b.dtype) - torch.ones_like(b) / n
    b = factor * {"both": centre @ b @ centre, "left": centre @ b, "none": b}[sides]
    values, vectors = torch.linalg.eigh(b)
    order = torch.argsort(values, descending=largest)[:dims]
    values = values[order].clamp(min=0) if clamp else values[order]
    return vectors[:, order] * values**power


def _by_svd(distances, dims=2):
    """A right answer: means taken away row by row, positive eigenvalues picked."""
    d2 = distances.pow(2)
    b = -(d2 - d2.mean(0) - d2.mean(1, keepdim=True) + d2.mean()) / 2
    values, vectors = torch.linalg.eigh((b + b.T) / 2)
    pairs = sorted(zip(values.tolist(), vectors.T), key=lambda pair: -pair[0])[:dims]
    return torch.stack([max(value, 0.0) ** 0.5 * vector for value, vector in pairs], dim=1)


mds = Exercise(
    key="A2.classical_mds", title="A flat map from distances", minutes=10, difficulty=3,
    reference="course_lib.evaluate.cka:classical_mds", probes=_mds_probes, call=_call_mds, tolerance=1e-3,
    words={"distances": "the distances", "dims": "the number of axes"},
    wrong={
        "distances not squared": (
            lambda distances, dims=2: _mds(distances, dims, square=False),
            "The inner products follow from *squared* distances: |a - b|^2 = |a|^2 - 2 ab + |b|^2."),
        "without the half": (
            lambda distances, dims=2: _mds(distances, dims, factor=-1.0),
            "Your map is larger by the root of 2: in |a - b|^2 the product ab stands twice, hence the 1/2."),
        "the sign": (
            lambda distances, dims=2: _mds(distances, dims, factor=0.5),
            "The sign is wrong: far means a *small* inner product. B = -1/2 J D^2 J."),
        "centred on one side": (
            lambda distances, dims=2: _mds(distances, dims, sides="left"),
            "Centre rows and columns: J on both sides."),
        "not centred": (
            lambda distances, dims=2: _mds(distances, dims, sides="none"),
            "Without J the squared lengths of the points are still in there. Take the mean off rows and columns."),
        "eigenvectors of length one": (
            lambda distances, dims=2: _mds(distances, dims, power=0.0),
            "All your axes have the same spread. Multiply each eigenvector by the root of its eigenvalue."),
        "eigenvalues, not their roots": (
            lambda distances, dims=2: _mds(distances, dims, power=1.0),
            "B holds inner products, squares of coordinates: the *root* of the eigenvalue is the length of an axis."),
        "the smallest eigenvalues": (
            lambda distances, dims=2: _mds(distances, dims, largest=False),
            "eigh sorts from the smallest up: the axes that matter are the last."),
        "negative eigenvalues": (
            lambda distances, dims=2: _mds(distances, dims, clamp=False),
            "Distances that no points have give negative eigenvalues, and your root is NaN: clamp them at 0."),
    },
    right={"means taken away row by row": _by_svd},
    hints=("If the points were known and centred, which matrix would hold their inner products? What do distances say"
           " about it?",
           "B = -1/2 J D^2 J with J = I - 1/n. eigh gives eigenvalues from the smallest up; coordinates: eigenvector"
           " times the root of its eigenvalue (at least 0).",
           "n = len(distances)\n"
           "centre = torch.eye(n, dtype=distances.dtype) - 1 / n\n"
           "values, vectors = torch.linalg.eigh(-0.5 * centre @ distances**2 @ centre)\n"
           "return vectors.flip(1)[:, :dims] * values.flip(0)[:dims].clamp(min=0).sqrt()"),
)


# ------------------------------------------------------------------------------------------------ A2.group_test
def _test_probes(generator, dtype):
    def case(*sizes: int, shuffles: int, lift: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        groups = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        groups = groups[torch.randperm(len(groups), generator=generator)]
        similarity = rand(generator, dtype, len(groups), len(groups))
        similarity = (similarity + similarity.T) / 2 + lift * (groups[:, None] == groups)
        similarity.fill_diagonal_(1)
        orders = torch.stack([torch.randperm(len(groups), generator=generator) for _ in range(shuffles)])
        orders[1] = orders[4] = torch.arange(len(groups))  # two ties
        return similarity, groups, orders

    return [case(4, 3, 2, shuffles=19), case(5, 5, shuffles=29, lift=0.2), case(3, 6, 2, shuffles=24, lift=-0.1),
            dict(zip(("similarity", "groups", "orders"), case(2, 4, 3, 3, shuffles=39, lift=0.1)))]


def _pairs(similarity: Tensor, groups: Tensor, diagonal: bool = False, others: str = "different",
           sign: float = 1.0, mean: str = "pairs") -> Tensor:
    """`group_gap` with a mistake asked for by name."""
    same = groups[:, None] == groups
    i, j = torch.triu_indices(len(groups), len(groups), 0 if diagonal else 1)
    values, alike = similarity[i, j], same[i, j]
    if mean == "groups":
        own = torch.stack([values[alike & (groups[i] == g)].mean() for g in groups.unique()]).mean()
    else:
        own = values[alike].mean()
    rest = values if others == "all" else values[~alike]
    return sign * (own - rest.mean())


def _tested(similarity, groups, orders, tail=None, plus=(1, 1), deal=None, **mistake) -> dict:
    gap = _pairs(similarity, groups, **mistake)
    deal = deal or (lambda order: _pairs(similarity, groups[order], **mistake))
    dealt = torch.stack([deal(order) for order in orders])
    hits = (tail or (lambda dealt, gap: dealt >= gap))(dealt, gap).sum()
    return {"gap": gap, "p": (plus[0] + hits) / (plus[1] + len(orders))}


def _numbers(fn, *arguments, **named):
    """The harness: a dict of numbers, or what came in its place."""
    result = fn(*arguments, **named)
    if not isinstance(result, dict):
        return result
    return {key: float(value) if isinstance(value, (int, float, Tensor)) and not isinstance(value, bool) else value
            for key, value in result.items()}


def _by_masks(similarity, groups, orders):
    """A right answer: all pairs twice, by masks over the whole table."""
    off = ~torch.eye(len(groups), dtype=torch.bool)

    def gap(g):
        same = (g[:, None] == g[None]) & off
        return similarity[same].mean() - similarity[~same & off].mean()

    seen = gap(groups)
    return dict(gap=seen, p=(sum(bool(gap(groups[o]) >= seen) for o in orders) + 1) / (len(orders) + 1))


groups = Exercise(
    key="A2.group_test", title="A permutation test over networks", minutes=10, difficulty=3,
    reference="course_lib.evaluate.cka:group_test", probes=_test_probes, call=_numbers, tolerance=1e-5,
    words={"['gap']": "the gap", "['p']": "the p-value"},
    wrong={
        "the diagonal counted": (
            lambda *a, **k: _tested(*a, diagonal=True, **k),
            "A network's likeness to itself, 1, is among your pairs of one group. Only pairs i < j."),
        "one group against all pairs": (
            lambda *a, **k: _tested(*a, others="all", **k),
            "Your second mean is over *all* pairs: take those of two different groups."),
        "the mean of the groups' means": (
            lambda *a, **k: _tested(*a, mean="groups", **k),
            "You average each group first, so that a small group's few pairs weigh as much as a large one's many."
            " Asked for is one mean over all pairs of the same group."),
        "the gap the other way round": (
            lambda *a, **k: _tested(*a, sign=-1.0, **k),
            "Same group minus different groups: positive if a group belongs together."),
        "strictly larger": (
            lambda *a, **k: _tested(*a, tail=lambda dealt, gap: dealt > gap, **k),
            "A shuffle that ties is as extreme as what you saw: count >=."),
        "the observed order left out": (
            lambda *a, **k: _tested(*a, plus=(0, 0), **k),
            "The order that was observed is one of the possible ones: add 1 above and below, or p could be 0."),
        "one added above only": (
            lambda *a, **k: _tested(*a, plus=(1, 0), **k),
            "The observed order counts above *and* below the line."),
        "one added below only": (
            lambda *a, **k: _tested(*a, plus=(0, 1), **k),
            "The observed order counts above *and* below the line: p is never 0."),
        "the other tail": (
            lambda *a, **k: _tested(*a, tail=lambda dealt, gap: dealt <= gap, **k),
            "You count the shuffles whose gap is as *small*. Asked for: how often chance does at least as well."),
        "two-sided": (
            lambda *a, **k: _tested(*a, tail=lambda dealt, gap: dealt.abs() >= gap.abs(), **k),
            "Asked for is one side: is a group *more* alike? Leave out the absolute values."),
        "rows shuffled alone": (
            lambda similarity, groups, orders: _tested(
                similarity, groups, orders, deal=lambda order: _pairs(similarity[order], groups)),
            "You shuffle the rows of the table and leave its columns, so a pair is no longer a pair. Shuffle the"
            " groups."),
    },
    right={"masks over the whole table": _by_masks},
    hints=("If families meant nothing, which other ways of dealing the same names out to networks were as likely?",
           "Gap: mean over pairs i < j of one group, minus that of the other pairs. Compute it for groups, and for"
           " groups[order] of every order; count those >= the observed gap; add 1 above and below.",
           "i, j = torch.triu_indices(len(groups), len(groups), offset=1)\n"
           "def gap(g):\n"
           "    same = g[i] == g[j]\n"
           "    return similarity[i, j][same].mean() - similarity[i, j][~same].mean()\n"
           "seen = gap(groups)\n"
           "hits = sum(bool(gap(groups[order]) >= seen) for order in orders)\n"
           'return {"gap": seen, "p": (1 + hits) / (1 + len(orders))}'),
)

EXERCISES = [cka, mds, groups]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("Two networks have linear CKA 0.89 on 60 images with 512 features each. What do you say?", {
        "They are alike": "With fewer images than features, noise has such a value.",
        "Nothing yet: more images, or the debiased estimate": "The diagonal alone would give that value, as in the "
            "hook.",
        "They are not alike": "The number says neither.",
    }, "Nothing yet: more images, or the debiased estimate"),
    quiz("You turn one network's features by a random rotation. Linear CKA with the other network ...", {
        "stays": "X'X changes, its norm does not; inner products between images stay.",
        "falls": "That would be so if features were compared one by one.",
        "becomes 0": "The information is the same, and so are all distances.",
    }, "stays"),
    quiz("Why are networks shuffled, and not the 561 pairs?", {
        "It is faster": "It is about what is independent.",
        "A network is in 33 pairs, which move together": "Shuffled pairs pretend to 561 independent facts, and p "
            "comes out far too small.",
        "Pairs cannot be shuffled": "They can; the answer would be wrong.",
    }, "A network is in 33 pairs, which move together"),
    quiz("Transfer: two languages' word vectors are compared on 1000 translated words. Which control comes first?", {
        "The same vectors with the translations shuffled": "It shows what the measure says when nothing belongs "
            "together.",
        "A larger model": "Perhaps later; first, the value of no relation at all.",
        "A flat map": "A map shows clumps in anything.",
    }, "The same vectors with the translations shuffled"),
]
