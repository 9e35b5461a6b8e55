"""Second spellings of the misconceptions of week 28."""
from __future__ import annotations

import math

import torch

from course_lib.models.poincare import distance, mobius_add

_inner = lambda a, b: torch.linalg.vecdot(a, b)[..., None]  # noqa: E731


# ---------------------------------------------------------------- 28.mobius_add
def _parts(change):
    """Coefficients of x and y and the denominator, from the six numbers that `change` may spoil."""
    def answer(x, y, c=1.0):
        a, b = torch.broadcast_tensors(x, y)
        n = {"xy": _inner(a, b), "x2": _inner(a, a), "y2": _inner(b, b), "c": c, "two": 2, "cc": c * c, "sign": -1}
        n |= change(n, a, b)
        below = n.get("below", 1 + n["two"] * n["c"] * n["xy"] + n["cc"] * n["x2"] * n["y2"])
        above = a + n["two"] * n["c"] * n["xy"] * a + n["c"] * n["y2"] * a + b + n["sign"] * n["c"] * n["x2"] * b
        return above / below

    return answer


ADD = {
    "the plain sum": lambda x, y, c=1.0: torch.add(y, x),
    "x and y exchanged": lambda x, y, c=1.0: mobius_add(y, x, c),
    "curvature left out": lambda x, y, c=1.0: mobius_add(x, y),
    "the 2 left out": _parts(lambda n, a, b: {"two": 1}),
    "the two factors exchanged": _parts(lambda n, a, b: {"x2": n["y2"], "y2": n["x2"]}),
    "a sum of squares below": _parts(
        lambda n, a, b: {"below": 1 + 2 * n["c"] * n["xy"] + n["cc"] * (n["x2"] + n["y2"])}),
    "no brackets below": lambda x, y, c=1.0: _parts(lambda n, a, b: {"below": 1})(x, y, c) / 1 + (
        2 * c * _inner(x, y) + c ** 2 * _inner(x, x) * _inner(y, y)),
    "no brackets above": lambda x, y, c=1.0: (1 + 2 * c * _inner(x, y) + c * _inner(y, y)) * x + (
        1 - c * _inner(x, x)) * y / (1 + 2 * c * _inner(x, y) + c ** 2 * _inner(x, x) * _inner(y, y)),
    "lengths not squared": _parts(lambda n, a, b: {"x2": a.norm(dim=-1, keepdim=True),
                                                   "y2": b.norm(dim=-1, keepdim=True)}),
    "c in place of its square": _parts(lambda n, a, b: {"cc": n["c"]}),
    "sums over everything": lambda x, y, c=1.0: (
        (1 + 2 * c * (x * y).sum() + c * y.square().sum()) * x + (1 - c * x.square().sum()) * y
    ) / (1 + 2 * c * (x * y).sum() + c * c * x.square().sum() * y.square().sum()),
    "a plus before |x|^2": _parts(lambda n, a, b: {"sign": 1}),
    "no denominator": _parts(lambda n, a, b: {"below": 1}),
}


# ---------------------------------------------------------------- 28.geodesic
def _loop(*, start=lambda x, y: (x, y), way=lambda x, y, c: mobius_add(-x, y, c), reach=lambda s, r: torch.tanh(
        s * torch.atanh(r)), land=mobius_add, c_used=lambda c: c, root=math.sqrt):
    """A point after the other, with numbers for lengths."""
    def answer(x, y, t, c=1.0):
        x, y = start(x, y)
        c = c_used(c)
        to = way(x, y, c)
        scale = root(c)
        r = scale * to.norm()
        return torch.stack([land(x, to * (reach(s, r) / r), c) for s in t])

    return answer


def _two_multiples(x, y, t, c=1.0):
    def times(share, v):
        r = math.sqrt(c) * torch.linalg.norm(v)
        return torch.tanh(share * torch.atanh(r)) / r * v

    return torch.stack([mobius_add(times(1 - s, x), times(s, y), c) for s in t])


WAY = {
    "a straight line": lambda x, y, t, c=1.0: torch.lerp(x.expand(len(t), -1), y.expand(len(t), -1), t[:, None]),
    "from y to x": _loop(start=lambda x, y: (y, x)),
    "plain difference": _loop(way=lambda x, y, c: torch.sub(y, x)),
    "the sum of the wrong side": _loop(way=lambda x, y, c: -mobius_add(-y, x, c)),
    "t times the vector": _loop(reach=lambda s, r: s * r),
    "added as in the plane": _loop(land=lambda x, step, c: torch.add(x, step)),
    "the last sum turned round": _loop(land=lambda x, step, c: mobius_add(step, x, c)),
    "curvature left out": _loop(c_used=lambda c: 1.0),
    "no root of c": _loop(root=lambda c: 1.0),
    "two multiples added": _two_multiples,
    "c in place of its root": _loop(root=lambda c: c),
}


# ---------------------------------------------------------------- 28.tree_loss
def _anchors(*, similar=lambda a, b, c: (-distance(a, b, c)).exp(),
             level=lambda labels, j: (labels != labels[j]).sum(1), itself=False, everyone=False, flip=False,
             cost=lambda e: e ** 2, total=False, fixed=(), cut=False, ratio_=None, outside=False, share=None):
    """An anchor after the other, by logarithms of similarities."""
    def answer(x, labels, omega=0.1, weight=0.5, c=1.0):
        omega, weight, c = (default if name in fixed else value for name, value, default in
                            (("omega", omega, 0.1), ("weight", weight, 0.5), ("c", c, 1.0)))
        terms, factor = [], weight if outside else 1.0
        weight = 1.0 if outside else weight
        for j in range(len(x)):
            rest = torch.arange(len(x)) != j
            fine = labels[:, 0] == labels[j, 0]
            mates = fine if itself else fine & rest
            others = rest if everyone else ~fine
            points = x.detach() if cut else x
            logs = similar(points[j], points, c).log()
            ratio = ratio_(logs[mates][:, None], logs[others]) if ratio_ else logs[mates][:, None] - logs[others][None]
            goal = -weight * math.log(omega) * level(labels, j)[others].to(x)
            terms.append(cost((-ratio if flip else ratio) - goal).flatten())
        found = torch.cat(terms)
        if not len(found):
            return 0 * x.sum()
        if share is not None:
            return found.sum() / share(x)
        return factor * (found.sum() if total else found.mean()) + (0 * x.sum() if cut else 0)

    return answer


LOSS = {
    "the inner product as similarity": _anchors(similar=lambda a, b, c: b @ a),
    "every level against the first": _anchors(
        level=lambda labels, j: sum((labels[j, i] != labels[:, 0]).long() for i in range(labels.shape[1]))),
    "levels from the other end": _anchors(level=lambda labels, j: 1 + (labels == labels[j]).sum(1)),
    "one goal for all levels": _anchors(level=lambda labels, j: torch.full((len(labels),), labels.shape[1])),
    "an image as its own positive": _anchors(itself=True),
    "positives as negatives": _anchors(everyone=True),
    "the ratio upside down": _anchors(flip=True),
    "distances of the plane": _anchors(similar=lambda a, b, c: (-((a - b).square().sum(-1) + 1e-30).sqrt()).exp()),
    "the ratio of distances": _anchors(ratio_=lambda near, far: far / (near - 1e-6)),
    "absolute errors": _anchors(cost=lambda e: e.abs()),
    "one level too many": _anchors(level=lambda labels, j: 1 + labels.shape[1] - (labels == labels[j]).sum(1)),
    "a logarithm of base 2": _anchors(level=lambda labels, j: (labels != labels[j]).sum(1).double() / math.log(2.0)),
    "divided by the anchors": _anchors(share=len),
    "a sum over the triples": _anchors(total=True),
    "curvature left out": _anchors(fixed=("c",)),
    "weight left out": _anchors(fixed=("weight",)),
    "weight beside the square": _anchors(outside=True),
    "omega fixed": _anchors(fixed=("omega",)),
    "detached": _anchors(cut=True),
}


# ---------------------------------------------------------------- 28.metric_epoch
def _round(*, levels=lambda k: k, output=0, mode="eval", tree="whole", take="own", learn="train", zero=True,
           update=True, give="floats"):
    """The labels in a list of columns, batches by slices."""
    def answer(network, optimizer, images, cut, sizes, batch=32):
        from lessons.exercises.week28 import tree_loss

        def columns(some):
            getattr(network, mode)()
            with torch.inference_mode():
                found = network(some)[output]
            getattr(network, learn)()
            return [cut(found.clone(), k) for k in levels(list(sizes))]

        made, out = columns(images) if tree == "whole" else None, []
        for start in range(0, len(images), batch):
            part = images[start:start + batch]
            first = 0 if take == "first" else start
            mine = columns(part) if made is None else [column[first:first + len(part)] for column in made]
            value = tree_loss(network(part)[1], torch.stack(mine, dim=1))
            if zero:
                network.zero_grad()
            value.backward()
            if update:
                optimizer.step()
            out.append(value if give == "tensors" else float(value.detach()))
        return [out[-1]] if give == "last" else out

    return answer


EPOCH = {
    "the third level as the first": _round(levels=lambda k: [k[0] if i == 2 else size for i, size in enumerate(k)]),
    "one level": _round(levels=lambda k: [k[0]]),
    "the coarsest first": _round(levels=lambda k: sorted(k)),
    "clusters of the points": _round(output=1),
    "features in training mode": _round(mode="train"),
    "a tree for each batch": _round(tree="batch"),
    "labels of the first rows": _round(take="first"),
    "stays in evaluation mode": _round(learn="eval"),
    "gradients never cleared": _round(zero=False),
    "the network never learns": _round(update=False),
    "the last loss alone": _round(give="last"),
    "losses keep their graph": _round(give="tensors"),
}

SECOND = {"28.mobius_add": ADD, "28.geodesic": WAY, "28.tree_loss": LOSS, "28.metric_epoch": EPOCH}
