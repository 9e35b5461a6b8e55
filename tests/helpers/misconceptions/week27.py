"""Second spellings of the misconceptions of week 27."""
from __future__ import annotations

import torch
from torch.nn import functional as F


# ---------------------------------------------------------------- 27.carry
def _carried(*, start=lambda u, a, b: a + u * (b - a), end=lambda v, a, b: (v - a) / (b - a), order=(0, 1, 2, 3),
             shown=lambda t, v: (t >= 0).all() and (t <= 1).all(), back=False, sort=False):
    """Point by point, in loops."""
    def answer(points, first, second):
        first, second = (second, first) if back else (first, second)
        there, seen = torch.zeros_like(points), torch.zeros(points.shape[:2], dtype=torch.bool)
        for b in range(len(points)):
            one, two = ([corner[b, k] for k in order] for corner in (first, second))
            for i in range(points.shape[1]):
                image = []
                for k in (0, 1):
                    ends = [(c[k], c[k + 2]) for c in (one, two)]
                    ends = [(min(e), max(e)) for e in ends] if sort else ends
                    image.append(start(points[b, i, k], *ends[0]))
                    there[b, i, k] = end(image[k], *ends[1])
                seen[b, i] = bool(shown(there[b, i], torch.stack(image)))
        return there, seen

    return answer


def _shift_too_long(points, first, second):
    a, b = first[:, None], second[:, None]
    there = (a[..., 2:] - a[..., :2]) * points / (b[..., 2:] - b[..., :2]) + a[..., :2] - b[..., :2]
    return there, (there == there.clamp(0, 1)).all(2)


CARRY = {
    "the corner of view 1 left out": _carried(start=lambda u, a, b: u * (b - a)),
    "the size of view 1 left out": _carried(start=lambda u, a, b: a + u),
    "the size of view 2 left out": _carried(end=lambda v, a, b: v - a),
    "mirrored views put right first": _carried(sort=True),
    "from view 2 to view 1": _carried(back=True),
    "corner 2 taken for a size": _carried(start=lambda u, a, b: a + u * b, end=lambda v, a, b: (v - a) / b),
    "corners read as x1, x2, y1, y2": _carried(order=(0, 2, 1, 3)),
    "the shift in the image": _shift_too_long,
    "x and y exchanged": _carried(order=(1, 0, 3, 2)),
    "one coordinate is enough": _carried(shown=lambda t, v: ((t >= 0) & (t <= 1)).any()),
    "in the image instead of in the view": _carried(shown=lambda t, v: (v >= 0).all() and (v <= 1).all()),
}


# ---------------------------------------------------------------- 27.positives
def _paired(*, cell=max, long=lambda w, h: (w * w + h * h) ** 0.5, count=lambda n: n ** 0.5, turned=False,
            apart=lambda d: (d * d).sum(-1) ** 0.5, far=False):
    """Image by image."""
    def answer(p, q, first, second, threshold=0.7):
        found = []
        for a, b, one, two in zip(p, q, first, second):
            lengths = [long(c[2] - c[0], c[3] - c[1]) / count(len(a)) for c in (one, two)]
            near = apart(a[:, None] - b) < threshold * cell(*lengths)
            near = ~near if far else near
            found.append(near.T if turned else near)
        return torch.stack(found)

    return answer


POSITIVES = {
    "the smaller cell": _paired(cell=min),
    "the first view's cell": _paired(cell=lambda a, b: a),
    "the diagonal of the view": _paired(count=lambda n: 1),
    "over all cells": _paired(count=lambda n: n),
    "distance over the image": _paired(cell=lambda a, b: 1.0),
    "the cell's width": _paired(long=lambda w, h: abs(w)),
    "squared distances": _paired(apart=lambda d: (d * d).sum(-1)),
    "far ones": _paired(far=True),
    "transposed": _paired(turned=True),
}


# ---------------------------------------------------------------- 27.propagate
def _gathered(*, like=lambda a, b: F.cosine_similarity(a, b, dim=0), value=lambda v: v / v.norm(),
              weight=lambda s, g: F.relu(s) ** g, itself=True, share=lambda w: w, prepare=lambda x: x):
    """Place by place, in loops."""
    def answer(maps, values, gamma=2.0):
        found = []
        for x, v in zip(prepare(maps.flatten(2)), values.flatten(2)):
            columns = []
            for i in range(x.shape[1]):
                row = torch.stack([weight(like(x[:, i], x[:, j]), gamma) if itself or i != j else 0 * x[0, 0]
                                   for j in range(x.shape[1])])
                columns.append(sum(w * value(v[:, j]) for j, w in enumerate(share(row))))
            found.append(torch.stack(columns, 1))
        return torch.stack(found).reshape(maps.shape)

    return answer


PROPAGATE = {
    "a softmax": _gathered(weight=lambda s, g: (g * s).exp(), share=lambda w: w / w.sum()),
    "weights that add up to 1": _gathered(share=lambda w: w / w.sum()),
    "not clamped": _gathered(weight=lambda s, g: s ** g),
    "a sigmoid": _gathered(weight=lambda s, g: (1 / (1 + torch.exp(-s))) ** g),
    "gamma left out": _gathered(weight=lambda s, g: F.relu(s)),
    "the place itself left out": _gathered(itself=False),
    "values not of length 1": _gathered(value=lambda v: v),
    "maps not of length 1": _gathered(like=torch.dot),
    "length over the places": _gathered(like=torch.dot, prepare=lambda x: x / x.norm(dim=2, keepdim=True)),
    "similarities detached": _gathered(weight=lambda s, g: F.relu(s.detach()) ** g),
}


# ---------------------------------------------------------------- 27.pixpro_step
def _smoothed(x, values):
    x, v = (F.normalize(m.flatten(2), dim=1) for m in (x, values))
    return torch.einsum("bdj,bji->bdi", v, torch.relu(torch.einsum("bdi,bdj->bij", x, x)) ** 2)


def _stepped(*, smooth=_smoothed, values=lambda x, t: t(x), own=False, order=(1, 2), second=1.0, factor=2.0, sign=-1.0,
             keys_of="target", when="last", clear=True, every=False, keep=False, fixed=None):
    """The agreement written out, the average by hand."""
    def follow(target, online, momentum):
        with torch.no_grad():
            for old, new in zip(target.parameters(), online.parameters()):
                old.copy_(momentum * old + (1 - momentum) * new)

    def step(online, transform, target, optimizer, view1, view2, positive, momentum=0.99):
        momentum = fixed or momentum
        x = [online(view) for view in (view1, view2)]
        y = [F.normalize(smooth(each, values(each, transform)), dim=1) for each in x]
        with torch.no_grad():
            network = target if keys_of == "target" else online
            keys = [F.normalize(network(view).flatten(2), dim=1) for view in (view1, view2)]
        if when == "first":
            follow(target, online, momentum)
        pairs = torch.ones_like(positive) if every else positive
        agreed = []
        for i, a in ((0, pairs), (1, pairs if order == (1, 1) else pairs.transpose(1, 2))):
            cosines = torch.einsum("bdi,bdj->bij", y[i], keys[i if own else 1 - i])
            agreed.append(((cosines * a).sum((1, 2)) / (a.sum((1, 2)) + 1e-6)).mean())
        loss = sign * factor * (agreed[0] + second * agreed[1])
        if clear:
            optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        if when == "last":
            follow(target, online, momentum)
        return loss if keep else float(loss)

    return step


STEP = {
    "each view with its own keys": _stepped(own=True),
    "the pairs not turned round": _stepped(order=(1, 1)),
    "one direction": _stepped(second=0.0),
    "the mean of the directions": _stepped(factor=1.0),
    "the sign": _stepped(sign=1.0),
    "no propagation": _stepped(smooth=lambda x, v: v.flatten(2)),
    "no transform": _stepped(values=lambda x, t: x + 0 * t(x)),
    "keys of the online network": _stepped(keys_of="online"),
    "the target first": _stepped(when="first"),
    "the target stands still": _stepped(when="never"),
    "momentum fixed": _stepped(fixed=0.99),
    "gradients not cleared": _stepped(clear=False),
    "the loss keeps its graph": _stepped(keep=True),
    "all cells are pairs": _stepped(every=True),
}

SECOND = {"27.carry": CARRY, "27.positives": POSITIVES, "27.propagate": PROPAGATE, "27.pixpro_step": STEP}
