"""Exercises of week 27, every pixel an instance: where a point went, which cells are a pair, propagation, a step."""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.geometry import cell_centres
from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.dense.pixpro import consistency
from course_lib.models.teacher import ema_update
from lessons.exercises.shared import blank, descend, has_gradient, rand, randn, seeded, steps, weights_of


def _corners(generator, dtype, n, mirrored=(), largest=0.9):
    """Corners (n, 4) of crops: x1, y1, x2, y2 in [0, 1]; of those in `mirrored`, x1 and x2 change places."""
    size = 0.3 + (largest - 0.3) * rand(generator, dtype, n, 2)
    start = (1 - size) * rand(generator, dtype, n, 2)
    corners = torch.cat([start, start + size], 1)
    for row in mirrored:
        corners[row] = corners[row, [2, 1, 0, 3]]
    return corners


# ------------------------------------------------------------------------------------------------ 27.carry
def carry(points: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Places (B, n, 2) of view 1, corners (B, 4) of both -> places in view 2, and whether it shows them (B, n)."""
    image = first[:, None, :2] + points * (first[:, None, 2:] - first[:, None, :2])
    there = (image - second[:, None, :2]) / (second[:, None, 2:] - second[:, None, :2])
    return there, ((there >= 0) & (there <= 1)).all(-1)


def _carry_probes(generator, dtype):
    draw = lambda b, n: rand(generator, dtype, b, n, 2)  # noqa: E731
    corners = lambda b, mirrored: _corners(generator, dtype, b, mirrored)  # noqa: E731
    return [(draw(3, 7), corners(3, ()), corners(3, ())), (draw(4, 5), corners(4, (0, 2)), corners(4, (2, 3))),
            dict(points=draw(2, 9), first=corners(2, (1,)), second=corners(2, (0,)))]


def _moved(*, origin=True, scale=True, other=True, unmirror=False, inside=None, back=False, axes=None):
    """The right one, or with one thing changed."""
    def answer(points, first, second):
        if back:
            first, second = second, first
        if unmirror:
            first, second = (torch.cat([torch.minimum(c[:, :2], c[:, 2:]), torch.maximum(c[:, :2], c[:, 2:])], 1)
                             for c in (first, second))
        if axes:
            first, second = first[:, axes], second[:, axes]
        low, wide = first[:, None, :2], first[:, None, 2:] - first[:, None, :2]
        image = (low if origin else 0) + points * (wide if scale else 1)
        low, wide = second[:, None, :2], second[:, None, 2:] - second[:, None, :2]
        there = (image - low) / (wide if other else 1)
        return there, (inside or (lambda t, i: ((t >= 0) & (t <= 1)).all(-1)))(there, image)

    return answer


def _looped(points, first, second):
    """A right answer: image by image, coordinate by coordinate."""
    there = torch.empty_like(points)
    for b in range(len(points)):
        for k in range(2):
            image = (1 - points[b, :, k]) * first[b, k] + points[b, :, k] * first[b, k + 2]
            there[b, :, k] = (image - second[b, k]) / (second[b, k + 2] - second[b, k])
    return there, (there.amin(-1) >= 0) & (there.amax(-1) <= 1)


def _shifted(points, first, second):
    scale = (first[:, 2:] - first[:, :2]) / (second[:, 2:] - second[:, :2])
    there = points * scale[:, None] + (first[:, :2] - second[:, :2])[:, None]
    return there, ((there >= 0) & (there <= 1)).all(-1)


first = Exercise(
    key="27.carry", title="Where did this point go?", minutes=8, difficulty=2,
    reference=carry, probes=_carry_probes, gradients=True, unit="points",
    words={"[0]": "the places in view 2", "[1]": "whether view 2 shows them"},
    wrong={
        "the corner of view 1 left out": (
            _moved(origin=False),
            "You scale the place by the size of view 1 but do not add its corner: all crops would begin at the upper "
            "left of the image."),
        "the size of view 1 left out": (
            _moved(scale=False),
            "A place of 0.5 is the middle of the *view*. Multiply by the view's size in the image, corner 2 minus "
            "corner 1, before you add its corner."),
        "the size of view 2 left out": (
            _moved(other=False),
            "You end with a distance in the image. A place of view 2 is that distance over the size of view 2."),
        "mirrored views put right first": (
            _moved(unmirror=True),
            "You sorted the corners, so mirrored views are treated as if they were not. Leave x1 above x2: a negative "
            "width turns the place round by itself."),
        "from view 2 to view 1": (
            _moved(back=True),
            "That is the way back, from view 2 to view 1."),
        "corner 2 taken for a size": (
            lambda points, first, second: _moved()(points, *(torch.cat([c[:, :2], c[:, :2] + c[:, 2:]], 1)
                                                             for c in (first, second))),
            "You took the second corner for the view's size. The size is corner 2 minus corner 1, of both views."),
        "corners read as x1, x2, y1, y2": (
            _moved(axes=[0, 2, 1, 3]),
            "You read the four numbers as x1, x2, y1, y2. They are two corners: x1, y1, then x2, y2."),
        "the shift in the image": (
            lambda points, first, second: _shifted(points, first, second),
            "Your factor is right, the shift is not: the distance of the two corners is one in the *image*. In "
            "view 2 it "
            "is that, over the size of view 2."),
        "x and y exchanged": (
            _moved(axes=[1, 0, 3, 2]),
            "Points are x, y, and corners are x1, y1, x2, y2: you read them as y, x."),
        "one coordinate is enough": (
            _moved(inside=lambda t, i: ((t >= 0) & (t <= 1)).any(-1)),
            "The places are right. View 2 shows a point if *both* its coordinates are in [0, 1]: all, not any."),
        "in the image instead of in the view": (
            _moved(inside=lambda t, i: ((i >= 0) & (i <= 1)).all(-1)),
            "The places are right. Every point of view 1 is in the image; ask whether it is in view 2: whether its "
            "place there is between 0 and 1."),
    },
    right={"a loop": _looped,
           "in_view": lambda points, first, second: (lambda t: (t, (t == t.clamp(0, 1)).all(2)))(
               (first[:, None, :2].lerp(first[:, None, 2:], points) - second[:, None, :2])
               / (second[:, None, 2:] - second[:, None, :2]))},
    hints=("Two steps. Where in the *image* is the point? And how far is that from corner 1 of view 2, in sizes of "
           "view 2?",
           "image = corner1 + points * (corner2 - corner1) of `first`; there = (image - corner1) / (corner2 - corner1) "
           "of `second`. first[:, None, :2] is corner 1 with a dimension for the n points.",
           "image = first[:, None, :2] + points * (first[:, None, 2:] - first[:, None, :2])\n"
           "there = (image - second[:, None, :2]) / (second[:, None, 2:] - second[:, None, :2])\n"
           "return there, ((there >= 0) & (there <= 1)).all(-1)"),
)


# ------------------------------------------------------------------------------------------------ 27.positives
def positives(p: Tensor, q: Tensor, first: Tensor, second: Tensor, threshold: float = 0.7) -> Tensor:
    """Centres (B, L, 2) of the cells of two views, their corners (B, 4) -> (B, L, L) bool: which cells are a pair."""
    side = math.isqrt(p.shape[1])
    diagonals = [(corners[:, 2:] - corners[:, :2]).norm(dim=1) / side for corners in (first, second)]
    return torch.cdist(p, q) < threshold * torch.maximum(*diagonals)[:, None, None]


def _positives_probes(generator, dtype):
    found = []
    for count, side, mirrored, more in ((3, 4, (), {}), (4, 3, (0, 2), {"threshold": 1.6}), (2, 5, (1,), {}),
                                        (3, 2, (2,), {"threshold": 0.4})):
        views = _corners(generator, dtype, count, mirrored), _corners(generator, dtype, count)
        views[1][0, 2:] = views[1][0, :2] + 0.5 * (views[1][0, 2:] - views[1][0, :2])
        found.append(dict(p=cell_centres(views[0], side, side).to(dtype), q=cell_centres(views[1], side, side)
                          .to(dtype), first=views[0], second=views[1], **more))
    return found


def _near(*, choose=torch.maximum, side=lambda p: math.isqrt(p.shape[1]), unit=None, distance=torch.cdist,
          compare=torch.lt, size=lambda c: (c[:, 2:] - c[:, :2]).norm(dim=1)):
    """The right one, or with one thing changed."""
    def answer(p, q, first, second, threshold=0.7):
        cell = choose(*(size(c) / side(p) for c in (first, second))) if unit is None else unit(p)
        return compare(distance(p, q), threshold * cell[:, None, None])

    return answer


second = Exercise(
    key="27.positives", title="Which cells are a pair?", minutes=8, difficulty=3,
    reference=positives, probes=_positives_probes, unit="pairs of cells",
    wrong={
        "the smaller cell": (
            _near(choose=torch.minimum),
            "You measure in the smaller of the two diagonals. It is the larger: a coarse view cannot tell places apart "
            "that are nearer than its own cell."),
        "the first view's cell": (
            _near(choose=lambda a, b: a),
            "You measure in cells of the first view only. Take the larger of the two."),
        "the diagonal of the view": (
            _near(side=lambda p: 1),
            "You measure in diagonals of the whole view, so nearly all are pairs. A cell's diagonal is the view's "
            "over the number of cells along a side."),
        "over all cells": (
            _near(side=lambda p: p.shape[1]),
            "A view has L cells, but sqrt(L) along a side."),
        "distance over the image": (
            _near(unit=lambda p: torch.ones(len(p)).to(p)),
            "You compare the distance with the threshold itself, in sides of the image. It is measured in diagonals of "
            "a cell."),
        "the cell's width": (
            _near(size=lambda c: (c[:, 2] - c[:, 0]).abs()),
            "You measure in the width of a cell. The paper takes its diagonal."),
        "squared distances": (
            _near(distance=lambda p, q: torch.cdist(p, q) ** 2),
            "Your distances are squared, the diagonal is not."),
        "far ones": (
            _near(compare=torch.ge),
            "You marked the pairs that are too far apart. Near ones are positive: smaller than the threshold."),
        "transposed": (
            lambda *a, **k: _near()(*a, **k).mT,
            "Rows are the cells of the first view, columns those of the second. Yours is transposed."),
    },
    right={"by broadcasting": lambda p, q, first, second, threshold=0.7: (
               (p[:, :, None] - q[:, None]).square().sum(-1).sqrt()
               / torch.stack([(c[:, 2:] - c[:, :2]).square().sum(1).sqrt() for c in (first, second)]).amax(0)
               [:, None, None] * p.shape[1] ** 0.5) < threshold,
           "hypot": lambda p, q, first, second, threshold=0.7: torch.cdist(p, q) / torch.maximum(
               *(torch.hypot(c[:, 2] - c[:, 0], c[:, 3] - c[:, 1]) for c in (first, second))).view(-1, 1, 1)
               < threshold / math.isqrt(p.shape[1])},
    hints=("How long is the diagonal of one cell, if the view has sqrt(L) cells along a side?",
           "torch.cdist(p, q) is (B, L, L). A diagonal: (corners[:, 2:] - corners[:, :2]).norm(dim=1) / side, with "
           "side = math.isqrt(L); torch.maximum of the two views'.",
           "side = math.isqrt(p.shape[1])\n"
           "diagonal1 = (first[:, 2:] - first[:, :2]).norm(dim=1) / side\n"
           "diagonal2 = (second[:, 2:] - second[:, :2]).norm(dim=1) / side\n"
           "larger = torch.maximum(diagonal1, diagonal2)[:, None, None]\n"
           "return torch.cdist(p, q) < threshold * larger"),
)


# ------------------------------------------------------------------------------------------------ 27.propagate
def propagate(maps: Tensor, values: Tensor, gamma: float = 2.0) -> Tensor:
    """Maps (B, D, h, w), their transformed values alike -> (B, D, h, w): each place a sum over those like it."""
    x, v = (m.flatten(2) / m.flatten(2).norm(dim=1, keepdim=True) for m in (maps, values))  # (B, D, L)
    return (v @ (x.mT @ x).clamp(min=0) ** gamma).view_as(maps)


def _propagate_probes(generator, dtype):
    draw = lambda *shape: randn(generator, dtype, *shape)  # noqa: E731
    return [(draw(2, 5, 3, 2), draw(2, 5, 3, 2)), (draw(3, 4, 2, 4), draw(3, 4, 2, 4), 1.0),
            dict(maps=draw(1, 6, 3, 3), values=draw(1, 6, 3, 3), gamma=4.0)]


def _spread(*, norm=lambda x: F.normalize(x, dim=1), value=lambda v: F.normalize(v, dim=1),
            weigh=lambda s, g: s.clamp(min=0) ** g, gather=lambda v, w: v @ w, after=lambda y: y):
    """The right one, or with one thing changed."""
    def answer(maps, values, gamma=2.0):
        x, v = norm(maps.flatten(2)), value(values.flatten(2))
        return after(gather(v, weigh(x.mT @ x, gamma)).view_as(maps))

    return answer


def _alone(s):
    return s * (1 - torch.eye(s.shape[-1]).to(s))


def _one_by_one(maps, values, gamma=2.0):
    """A right answer: place by place."""
    x, v = maps.flatten(2), values.flatten(2)
    v = v / v.norm(dim=1, keepdim=True)
    rows = []
    for i in range(x.shape[2]):
        weight = F.relu(F.cosine_similarity(x[:, :, i:i + 1], x, dim=1)) ** gamma  # (B, L)
        rows.append(torch.einsum("bl,bdl->bd", weight, v))
    return torch.stack(rows, 2).reshape(maps.shape)


third = Exercise(
    key="27.propagate", title="Propagate yourself", minutes=10, difficulty=3, tolerance=1e-4,
    reference=propagate, probes=_propagate_probes, gradients=True,
    wrong={
        "a softmax": (
            _spread(weigh=lambda s, g: (g * s).softmax(1)),
            "You weigh by a softmax, as attention does. PixPro's weights are max(cos, 0) to the power gamma, and do "
            "not add up to 1."),
        "weights that add up to 1": (
            _spread(weigh=lambda s, g: (lambda w: w / w.sum(1, keepdim=True))(s.clamp(min=0) ** g)),
            "You scale the weights to the sum 1. They stay as they are; the loss takes cosines, so the length of y "
            "does not matter there."),
        "not clamped": (
            _spread(weigh=lambda s, g: s ** g),
            "A negative cosine to an even power is positive again: clamp at 0 before the power."),
        "a sigmoid": (
            _spread(weigh=lambda s, g: s.sigmoid() ** g),
            "You squash cosines by a sigmoid: one of 0 would still weigh. It is max(cos, 0), to the power gamma."),
        "gamma left out": (
            _spread(weigh=lambda s, g: s.clamp(min=0)),
            "The cosines are not raised to the power gamma: with a larger gamma only places that are much alike "
            "count."),
        "the place itself left out": (
            _spread(weigh=lambda s, g: _alone(s.clamp(min=0) ** g)),
            "A place also gathers from itself, with the weight cos = 1."),
        "values not of length 1": (
            _spread(value=lambda v: v),
            "The transformed vectors are scaled to length 1, too, before they are added up."),
        "maps not of length 1": (
            _spread(norm=lambda x: x),
            "You compare by inner products. Scale the vectors of the places to length 1 (over the channels, dim 1) "
            "first."),
        "length over the places": (
            _spread(norm=lambda x: F.normalize(x, dim=2)),
            "You scaled each channel over the places. A place's vector runs along the channels, dim 1."),
        "similarities detached": (
            _spread(weigh=lambda s, g: s.detach().clamp(min=0) ** g),
            "The values are right, but no gradient reaches the similarities: do not detach them."),
    },
    right={"place by place": _one_by_one,
           "bmm": lambda maps, values, gamma=2.0: (lambda x, v: torch.bmm(
               v, F.relu(torch.bmm(x.transpose(1, 2), x)).pow(gamma)).reshape(maps.shape))(
                   *(F.normalize(m.flatten(2), dim=1) for m in (maps, values)))},
    hints=("Which matrix says how alike each two places of one map are? It is (B, L, L) with L = h * w.",
           "x = F.normalize(maps.flatten(2), dim=1), (B, D, L), values alike; weights = (x.mT @ x).clamp(min=0) ** "
           "gamma; values @ weights, in the shape of maps.",
           "x = F.normalize(maps.flatten(2), dim=1)\n"
           "v = F.normalize(values.flatten(2), dim=1)\n"
           "weights = (x.mT @ x).clamp(min=0) ** gamma\n"
           "return (v @ weights).view_as(maps)"),
)


# ------------------------------------------------------------------------------------------------ 27.pixpro_step
def pixpro_step(online: nn.Module, transform: nn.Module, target: nn.Module, optimizer, view1: Tensor, view2: Tensor,
                positive: Tensor, momentum: float = 0.99) -> float:
    """One training step on two views and their pairs (B, L, L) -> the loss; the target moves after the optimizer."""
    x1, x2 = online(view1), online(view2)
    y1, y2 = propagate(x1, transform(x1)), propagate(x2, transform(x2))
    with torch.no_grad():
        keys1, keys2 = target(view1), target(view2)
    loss = -2 * (consistency(y1, keys2, positive) + consistency(y2, keys1, positive.mT))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema_update(target, online, momentum)
    return loss.item()


def _maps_network(seed: int, dtype: torch.dtype, *widths: int) -> nn.Module:
    """Images to maps: two convolutions with a batch norm and tanh between them."""
    return seeded(seed, dtype, lambda: nn.Sequential(
        nn.Conv2d(widths[0], widths[1], 3, padding=1, bias=False), nn.BatchNorm2d(widths[1]), nn.Tanh(),
        nn.Conv2d(widths[1], widths[2], 1)))


def _transform(seed: int, dtype: torch.dtype, width: int) -> nn.Module:
    return seeded(seed, dtype, lambda: nn.Conv2d(width, width, 1))


def _step_probes(generator, dtype):
    found = []
    for widths, (batch, side), more in (((3, 5, 4), (4, 3), {}), ((2, 6, 3), (3, 2), {"momentum": 0.6}),
                                        ((3, 4, 5), (5, 2), {"momentum": 0.3})):
        seeds = torch.randint(2**30, (3,), generator=generator).tolist()
        positive = rand(generator, dtype, batch, side**2, side**2) < 0.4
        positive[0] = False  # views that do not overlap
        found.append(((_maps_network(seeds[0], dtype, *widths), _transform(seeds[1], dtype, widths[-1]),
                       _maps_network(seeds[2], dtype, *widths), randn(generator, dtype, 3, 2, batch, widths[0], side,
                                                                      side), positive), more))
    return [dict(networks=networks, more=more) for networks, more in found]


def _three_steps(step, networks: tuple, more: dict):
    """The harness: three steps with gradient descent over online network and transform; what all hold then."""
    online, transform, target, views, positive = networks
    optimizer = torch.optim.SGD([*online.parameters(), *transform.parameters()], lr=0.1)
    found = steps(step, [(online, transform, target, optimizer, view1.clone(), view2.clone(), positive.clone())
                         for view1, view2 in views], **more)
    if blank(found):
        return found
    return {**found, "online": weights_of(online), "transform": weights_of(transform), "target": weights_of(target),
            "gradient in the target": has_gradient(target)}


def _mistaken(*, smooth=lambda x, t: propagate(x, t(x)), crossed=(1, 0), turned=True, factor=-2.0, ways=(1, 1),
              order="clear backward step", follow="after", returns=Tensor.item, momentum_=lambda m: m,
              source=lambda online, target: target, pairs=lambda p: p):
    """A step with one thing changed."""
    def step(online, transform, target, optimizer, view1, view2, positive, momentum=0.99):
        x1, x2 = online(view1), online(view2)
        y = smooth(x1, transform), smooth(x2, transform)
        with torch.no_grad():
            k = [source(online, target)(view) for view in (view1, view2)]
        if follow == "before":
            ema_update(target, online, momentum_(momentum))
        a = pairs(positive)
        loss = factor * (ways[0] * consistency(y[0], k[crossed[0]], a)
                         + ways[1] * consistency(y[1], k[crossed[1]], a.mT if turned else a))
        told = descend(loss, optimizer, order, returns)
        if follow == "after":
            ema_update(target, online, momentum_(momentum))
        return told

    return step


def _stacked(online, transform, target, optimizer, view1, view2, positive, momentum=0.99):
    """A right answer: keys first, the agreement written out, gradients cleared at the end, the average by hand."""
    with torch.no_grad():
        k1, k2 = target(view1), target(view2)
    total = 0
    for view, keys, pairs in ((view1, k2, positive), (view2, k1, positive.transpose(1, 2))):
        x = online(view)
        y = F.normalize(propagate(x, transform(x)).flatten(2), dim=1)
        cosines = torch.einsum("bdi,bdj->bij", y, F.normalize(keys.flatten(2), dim=1))
        total = total - 2 * ((cosines * pairs).sum((1, 2)) / (pairs.sum((1, 2)) + 1e-6)).mean()
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    with torch.no_grad():
        for old, new in zip(target.parameters(), online.parameters()):
            old.mul_(momentum).add_((1 - momentum) * new)
    return float(total)


step = Exercise(
    key="27.pixpro_step", title="One step of PixPro", minutes=14, difficulty=4,
    reference=pixpro_step, probes=_step_probes, call=_three_steps, tolerance=1e-3,
    words={"['losses']": "the returned losses", "['online']": "the online network's weights after three steps",
           "['transform']": "the transform's weights after three steps",
           "['target']": "the target's weights after three steps",
           "['keeps its graph']": "whether the returned loss keeps its graph",
           "['gradient in the target']": "whether the target got a gradient"},
    wrong={
        "each view with its own keys": (
            _mistaken(crossed=(0, 1)),
            "y of view 1 is compared with the target's map of view 1. It must agree with the *other* view's keys."),
        "the pairs not turned round": (
            _mistaken(turned=False),
            "Rows of positive are cells of view 1. In the second direction y is view 2's: use positive.mT."),
        "one direction": (
            _mistaken(ways=(1, 0)),
            "Only view 1 learns. The second direction, y of view 2 with keys of view 1, is missing."),
        "the mean of the directions": (
            _mistaken(factor=-1.0),
            "Each direction counts twice: -2 times its agreement, so the smallest loss is -4."),
        "the sign": (
            _mistaken(factor=2.0),
            "You push pairs apart: the loss is *minus* the agreement."),
        "no propagation": (
            _mistaken(smooth=lambda x, t: t(x)),
            "The online map is transformed but not propagated: propagate(x, transform(x))."),
        "no transform": (
            _mistaken(smooth=lambda x, t: propagate(x, x) + 0 * t(x)),
            "The values that are gathered are transform(x), not x itself."),
        "keys of the online network": (
            _mistaken(source=lambda online, target: online),
            "Your keys come from the online network. They come from the target, its moving average."),
        "the target first": (
            _mistaken(follow="before"),
            "You moved the target before the optimizer's step, so it follows the online network of the step before."),
        "the target stands still": (
            _mistaken(follow="never"),
            "The target never moves: ema_update(target, online, momentum) after the optimizer's step."),
        "momentum fixed": (
            _mistaken(momentum_=lambda m: 0.99),
            "You always use 0.99. The momentum is an argument."),
        "gradients not cleared": (
            _mistaken(order="backward step"),
            "backward adds to .grad: from the second step on, old gradients are followed, too. optimizer.zero_grad()."),
        "the loss keeps its graph": (
            _mistaken(returns=lambda loss: loss),
            "You return a tensor that holds the whole graph. Return loss.item()."),
        "all cells are pairs": (
            _mistaken(pairs=torch.ones_like),
            "You compare all cells with all. Only the pairs in `positive` count."),
    },
    right={"written out": _stacked},
    hints=("Two online maps, propagated; two maps of the target, the other way round; the three lines of every step; "
           "and the target follows.",
           "y = propagate(x, transform(x)) of both views; keys = target(view) under torch.no_grad(); loss = -2 * "
           "(consistency(y1, keys2, positive) + consistency(y2, keys1, positive.mT)); at the end ema_update.",
           "x1, x2 = online(view1), online(view2)\n"
           "y1, y2 = propagate(x1, transform(x1)), propagate(x2, transform(x2))\n"
           "with torch.no_grad():\n"
           "    keys1, keys2 = target(view1), target(view2)\n"
           "loss = -2 * (consistency(y1, keys2, positive) + consistency(y2, keys1, positive.mT))\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "ema_update(target, online, momentum)\n"
           "return loss.item()"),
)

EXERCISES = [first, second, third, step]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("A view is mirrored. Its corners are x1 = 0.8, x2 = 0.2. What must the code do about it?", {
        "Sort the corners first": "Then left and right of that view are exchanged for good: half of the pairs are "
            "wrong, as in the line 'mirror forgotten'.",
        "Nothing: a negative width does it": "A place u of the view is x1 + u (x2 - x1) in the image, and that runs "
            "backwards by itself.",
        "Mirror the map back": "Possible, but the formula has done it already; doing both undoes it.",
    }, "Nothing: a negative width does it"),
    quiz("All positives of VADeR's loss are at the same place of both views, since nobody crops. What would it "
         "learn of places?", {
        "Nothing it could use": "It may: but the position in the view, which padding gives away, would be enough for "
            "the task.",
        "Where in the view it is, as that is enough": "A shortcut: position alone solves the task. Crops that move "
            "places take it away, so the control 'position alone' must be low.",
        "The same as now": "Look at the control position alone: with weak crops it rises, and with none it is perfect.",
    }, "Where in the view it is, as that is enough"),
    quiz("PixPro with gamma so large that each cell gathers only from itself. What is left?", {
        "The map itself, transformed: y = g(x) at each place": "All weights but that of cos = 1 vanish. The loss "
            "still compares near cells.",
        "A constant map": "That is the other end: gamma = 0 gives every cell the same weight, so all y are alike.",
        "VADeR": "There are still no negatives, and pairs are all cells within T.",
    }, "The map itself, transformed: y = g(x) at each place"),
    quiz("Transfer: slices of a CT scan, to find the same anatomical point in two patients. Positives by the "
         "coordinates of the scanner?", {
        "Yes, coordinates are exact": "They are exact for one patient. Two patients do not lie alike, and position "
            "alone would already score.",
        "Two crops of one patient, by coordinates; and test on two patients with marked points":
            "Within one scan the truth is known for nothing. Between patients it has to be marked by people, and "
            "only for the test.",
        "Better SimCLR on whole slices": "It may find many points, as in figure 2. Measure it; it is a control, not "
            "the answer.",
    }, "Two crops of one patient, by coordinates; and test on two patients with marked points"),
]
