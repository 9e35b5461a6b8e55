"""Exercises of week 28, distances that know a tree: Moebius addition, geodesics, the mended loss, an epoch."""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.models.poincare import distance, exp0, mobius_add, project
from lessons.exercises.shared import blank, descend, keeps_graph, randn, small_network, weights_of


def _inside(generator, dtype, *shape, c=1.0, size=0.6):
    return exp0(size * randn(generator, dtype, *shape), c)


# ------------------------------------------------------------------------------------------------ 28.mobius_add
def _sum_probes(generator, dtype):
    draw = lambda *shape, c=1.0: _inside(generator, dtype, *shape, c=c)  # noqa: E731
    return [(draw(5, 3), draw(5, 3)), (draw(4, 2, c=0.4), draw(4, 2, c=0.4), 0.4),
            dict(x=draw(3, c=2.5), y=draw(3, c=2.5), c=2.5), (draw(6, 1, 2, c=0.7), draw(1, 5, 2, c=0.7), 0.7)]


def _dot(a, b):
    return (a * b).sum(-1, keepdim=True)


def _plus(*, swap=False, curved=True, two=2.0, square=lambda s: s, below=2, dot=_dot, minus=-1, over=True):
    """The right one, or with one thing changed."""
    def answer(x, y, c=1.0):
        x, y = (y, x) if swap else (x, y)
        c = c if curved else 1.0
        xy, x2, y2 = dot(x, y), square(dot(x, x)), square(dot(y, y))
        top = (1 + two * c * xy + c * y2) * x + (1 + minus * c * x2) * y
        return top / (1 + two * c * xy + c ** below * x2 * y2) if over else top

    return answer


def _complex_sum(x, y, c=1.0):
    """A right answer: numerator and denominator by einsum, everything scaled to the ball of curvature -1."""
    a, b = x * c ** 0.5, y * c ** 0.5
    a, b = torch.broadcast_tensors(a, b)
    ab, aa, bb = (torch.einsum("...d,...d->...", *p)[..., None] for p in ((a, b), (a, a), (b, b)))
    return ((1 + 2 * ab + bb) * a + (1 - aa) * b) / (1 + 2 * ab + aa * bb) / c ** 0.5


add = Exercise(
    key="28.mobius_add", title="A sum that stays inside", minutes=6, difficulty=2,
    reference="course_lib.models.poincare:mobius_add", probes=_sum_probes, gradients=True,
    wrong={
        "the plain sum": (
            lambda x, y, c=1.0: x + y,
            "x + y is the sum of the plane, and it can leave the ball. Both terms have a factor, and there is a "
            "denominator."),
        "x and y exchanged": (
            _plus(swap=True),
            "You computed y (+) x. The sum does not commute: the factor with |y|^2 is x's, that with |x|^2 is y's."),
        "curvature left out": (
            _plus(curved=False),
            "It is right for c = 1 only: c stands beside each inner product and squared length."),
        "the 2 left out": (
            _plus(two=1.0),
            "The inner product x.y comes with 2c, above and below."),
        "the two factors exchanged": (
            lambda x, y, c=1.0: ((1 + 2 * c * _dot(x, y) + c * _dot(x, x)) * x + (1 - c * _dot(y, y)) * y)
            / (1 + 2 * c * _dot(x, y) + c * c * _dot(x, x) * _dot(y, y)),
            "The squared lengths have changed places: the factor of x has |y|^2 in it, that of y has |x|^2."),
        "a sum of squares below": (
            lambda x, y, c=1.0: ((1 + 2 * c * _dot(x, y) + c * _dot(y, y)) * x + (1 - c * _dot(x, x)) * y)
            / (1 + 2 * c * _dot(x, y) + c * c * (_dot(x, x) + _dot(y, y))),
            "Below stands the *product* of the squared lengths, c^2 |x|^2 |y|^2, not their sum."),
        "no brackets below": (
            lambda x, y, c=1.0: _plus(over=False)(x, y, c) + 2 * c * _dot(x, y) + c * c * _dot(x, x) * _dot(y, y),
            "The whole sum 1 + 2c x.y + c^2 |x|^2 |y|^2 is the denominator: put it in brackets, or the division "
            "ends at "
            "the 1."),
        "no brackets above": (
            lambda x, y, c=1.0: _plus()(x, y, c) + (1 + 2 * c * _dot(x, y) + c * _dot(y, y)) * x * (1 - 1 / (
                1 + 2 * c * _dot(x, y) + c * c * _dot(x, x) * _dot(y, y))),
            "Only the last term is divided. The denominator stands below the whole sum: brackets around both terms."),
        "lengths not squared": (
            _plus(square=lambda s: s.clamp_min(1e-30).sqrt()),
            "You took |x| and |y|; the formula has their squares, (x * x).sum(-1, keepdim=True)."),
        "c in place of its square": (
            _plus(below=1),
            "Below, |x|^2 |y|^2 has the factor c^2: each squared length comes with one c."),
        "sums over everything": (
            _plus(dot=lambda a, b: (a * b).sum()),
            "You added over all points. Each point has its own inner product: sum over the last axis, with keepdim."),
        "a plus before |x|^2": (
            _plus(minus=1),
            "The factor of y is 1 - c |x|^2: near the edge a step gets short."),
        "no denominator": (
            _plus(over=False),
            "The numerator alone leaves the ball. Divide by 1 + 2c x.y + c^2 |x|^2 |y|^2."),
    },
    right={"scaled to curvature -1": _complex_sum},
    hints=("Three numbers of each pair are enough: x.y, |x|^2 and |y|^2. Over which axis?",
           "xy = (x * y).sum(-1, keepdim=True), x2 and y2 likewise. The factor of x has y2 in it, that of y has x2.",
           "xy = (x * y).sum(-1, keepdim=True)\n"
           "x2 = (x * x).sum(-1, keepdim=True)\n"
           "y2 = (y * y).sum(-1, keepdim=True)\n"
           "above = (1 + 2 * c * xy + c * y2) * x + (1 - c * x2) * y\n"
           "return above / (1 + 2 * c * xy + c**2 * x2 * y2)"),
)


# ------------------------------------------------------------------------------------------------ 28.geodesic
def _way_probes(generator, dtype):
    t = torch.tensor([0.0, 0.3, 0.5, 1.0], dtype=dtype)
    made = [(d, c, t[:n]) for d, c, n in ((2, 1.0, 4), (3, 0.4, 3), (2, 2.5, 4))]
    pairs = [(_inside(generator, dtype, d, c=c), _inside(generator, dtype, d, c=c), t, c) for d, c, t in made]
    return [pairs[0][:3], pairs[1], dict(zip(("x", "y", "t", "c"), pairs[2]))]


def _walk(*, swap=False, back=False, way=lambda x, y, c: mobius_add(-x, y, c), root=lambda c: c ** 0.5,
          stretch=lambda t, r: (t * r.atanh()).tanh(), arrive=mobius_add, curved=True):
    """The right one, or with one thing changed."""
    def answer(x, y, t, c=1.0):
        x, y = (y, x) if swap else (x, y)
        c = c if curved else 1.0
        to = way(x, y, c)
        share = (1 - t if back else t)[:, None]
        length = to.norm()
        step = stretch(share, root(c) * length) * to / (root(c) * length)
        return arrive(x.expand(len(t), -1), step, c)

    return answer


def _times(t, v, c):
    r = c ** 0.5 * v.norm()
    return (t[:, None] * r.atanh()).tanh() * v / r


def _point_by_point(x, y, t, c=1.0):
    """A right answer: a loop over t, by half the distance."""
    way = mobius_add(-x, y, c)
    whole, ahead = distance(x, y, c), way / way.norm()
    return torch.stack([mobius_add(x, torch.tanh(s * whole * c ** 0.5 / 2) * ahead / c ** 0.5, c) for s in t])


way = Exercise(
    key="28.geodesic", title="The shortest way", minutes=8, difficulty=3,
    reference="course_lib.models.poincare:geodesic", probes=_way_probes, tolerance=1e-4,
    wrong={
        "a straight line": (
            lambda x, y, t, c=1.0: (1 - t[:, None]) * x + t[:, None] * y,
            "That is the straight line of the plane. In the disc the shortest way bends towards the middle."),
        "from y to x": (
            _walk(swap=True),
            "Your way begins at y. t = 0 is x, t = 1 is y."),
        "plain difference": (
            _walk(way=lambda x, y, c: y - x),
            "You start with y - x. What leads from x to y is (-x) (+) y."),
        "the sum of the wrong side": (
            _walk(way=lambda x, y, c: mobius_add(y, -x, c)),
            "You took y (+) (-x). The sum does not commute, and x (+) (y (+) (-x)) is not y: write (-x) (+) y."),
        "t times the vector": (
            _walk(stretch=lambda t, r: t * r),
            "You multiply the vector by t. Half of the way is half of the *distance*, so t goes between artanh and "
            "tanh."),
        "added as in the plane": (
            _walk(arrive=lambda x, y, c: x + y),
            "The last sum is a Moebius addition, too: x (+) step."),
        "the last sum turned round": (
            _walk(arrive=lambda x, y, c: mobius_add(y, x, c)),
            "The step goes on the right, x (+) step: start at x, then walk."),
        "curvature left out": (
            _walk(curved=False),
            "It is right for c = 1 only. Hand c to both sums, and take the length times sqrt(c)."),
        "no root of c": (
            _walk(root=lambda c: 1.0),
            "artanh takes sqrt(c) times the length, which is below 1 in every ball. Without sqrt(c) it is right "
            "for c = 1 "
            "only, and NaN where c is small."),
        "two multiples added": (
            lambda x, y, t, c=1.0: mobius_add(*(_times(s, v, c) for s, v in ((1 - t, x), (t, y))), c),
            "That is (1 - t) x (+) t y: in the plane the same way, here another. Go from x, by a share of (-x) (+) y."),
        "c in place of its root": (
            _walk(root=lambda c: c),
            "The length of the step is multiplied by sqrt(c), not c: sqrt(c) |x| < 1 is the ball."),
    },
    right={"point by point": _point_by_point},
    hints=("How do you get from x to y in the plane? x + t (y - x). What do the two signs and the factor become?",
           "way = mobius_add(-x, y, c), r = sqrt(c) |way|; the step is tanh(t * artanh(r)) * way / r, one for each t; "
           "then mobius_add(x, step, c).",
           "way = mobius_add(-x, y, c)\n"
           "r = c**0.5 * way.norm()\n"
           "step = torch.tanh(t[:, None] * torch.atanh(r)) * way / r\n"
           "return mobius_add(x.expand(len(t), -1), step, c)"),
)


# ------------------------------------------------------------------------------------------------ 28.tree_loss
def tree_loss(x: Tensor, labels: Tensor, omega: float = 0.1, weight: float = 0.5, c: float = 1.0) -> Tensor:
    """Points (N, D) of the ball, labels (N, M), finest level first -> scalar: the log-ratio loss, mean over triples."""
    d = distance(x[:, None], x[None], c)
    same = labels[:, None] == labels  # (N, N, M)
    positives = same[:, :, 0] & ~torch.eye(len(x), dtype=torch.bool)
    apart = (~same).sum(2)  # levels at which two images differ: M in another of the coarsest clusters
    goal = -weight * math.log(omega) * apart
    triples = positives[:, :, None] & ~same[:, None, :, 0]  # (N, N, N): anchor, positive, negative
    error = d[:, None, :] - d[:, :, None] - goal[:, None, :]
    return (error.square() * triples).sum() / triples.sum().clamp(min=1)


def _nested(generator, n: int, *sizes: int) -> Tensor:
    """Labels (n, levels) of a tree in which neighbours of a shuffled order share clusters."""
    place = torch.randperm(n, generator=generator)
    return torch.stack([place * size // n for size in sizes], 1)


def _loss_probes(generator, dtype):
    draw = lambda n, d, c, size, *sizes: (_inside(generator, dtype, n, d, c=c, size=size),  # noqa: E731
                                          _nested(generator, n, *sizes))
    alone = draw(4, 2, 1.0, 0.5, 4, 2)
    return [draw(13, 2, 1.0, 0.6, 4, 2), (*draw(17, 3, 1.0, 0.4, 8, 4, 2), 0.2, 0.8),
            (*draw(9, 2, 0.5, 0.6, 3), 0.1, 2.0, 0.5), alone,
            dict(zip(("x", "labels"), draw(12, 4, 2.0, 0.5, 6, 3)), c=2.0)]


def _products(x, c):
    return -(x @ x.T).log()


def _balls(x, c):
    return distance(x[:, None], x[None], c)


def _levels(labels):
    return (labels[:, None] != labels).sum(2)


def _first_level(labels):
    """As in the released code: every level's labels are held against those of the first."""
    return (labels[:, None, :] != labels[None, :, :1]).sum(2)


def _ratio(*, far=_balls, levels=_levels, itself=False, others=False, sign=1, cost=torch.square, mean=True,
           use=(True, True, True), detach=False, count=torch.sum):
    """The right one, or with one thing changed."""
    def answer(x, labels, omega=0.1, weight=0.5, c=1.0):
        omega, weight, c = (v if u else o for v, u, o in zip((omega, weight, c), use, (0.1, 0.5, 1.0)))
        d, eye = far(x.detach() if detach else x, c), torch.eye(len(x), dtype=torch.bool)
        fine = labels[:, None, 0] == labels[:, 0]
        positives = fine if itself else fine & ~eye
        negatives = ~eye if others else ~fine
        goal = -weight * math.log(omega) * levels(labels).to(d)
        error = cost(sign * (d[:, None, :] - d[:, :, None]) - goal[:, None, :])
        mask = positives[:, :, None] & negatives[:, None, :]
        total = torch.where(mask, error, 0.0).sum() + 0 * x.sum()
        return total / count(mask).clamp(min=1) if mean else total

    return answer


def _ratio_of_distances(x, labels, omega, weight, c):
    d, eye, fine = _balls(x, c), torch.eye(len(x), dtype=torch.bool), labels[:, None, 0] == labels[:, 0]
    error = d[:, None, :] / (d[:, :, None] + 1e-6) + weight * math.log(omega) * _levels(labels).to(d)[:, None, :]
    mask = (fine & ~eye)[:, :, None] & ~fine[:, None, :]
    return torch.where(mask, error.square(), 0.0).sum() / mask.sum().clamp(min=1) + 0 * x.sum()


def _looped(x, labels, omega=0.1, weight=0.5, c=1.0):
    """A right answer: triple by triple, and by logarithms of similarities."""
    s, levels, terms = (-_balls(x, c)).exp(), labels.shape[1], []
    for j in range(len(x)):
        mates = [k for k in range(len(x)) if k != j and labels[k, 0] == labels[j, 0]]
        for other in range(len(x)):
            if labels[other, 0] == labels[j, 0]:
                continue
            m = next(i for i in range(levels) if labels[other, levels - 1 - i] != labels[j, levels - 1 - i])
            goal = weight * math.log(omega / omega ** (levels - m + 1))
            terms += [((s[j, k] / s[j, other]).log() - goal) ** 2 for k in mates]
    return torch.stack(terms).mean() if terms else 0 * x.sum()


loss = Exercise(
    key="28.tree_loss", title="The loss, mended", minutes=15, difficulty=4,
    reference=tree_loss, probes=_loss_probes, gradients=True, tolerance=1e-4,
    words={"labels": "the labels", "x": "the points"},
    wrong={
        "the inner product as similarity": (
            _ratio(far=_products),
            "The logarithm of an inner product, as in the released code: it is NaN wherever two points lie on "
            "opposite sides. Take s = exp(-d), then log(s_jk / s_jl) is d_jl - d_jk."),
        "every level against the first": (
            _ratio(levels=_first_level),
            "You compare labels of one level with those of the first, as the released code does. Cluster 3 of the "
            "coarse level and cluster 3 of the fine one have nothing to do with each other: labels[:, None] == labels "
            "compares each level with itself."),
        "levels from the other end": (
            _ratio(levels=lambda labels: (labels[:, None] == labels).sum(2) + 1),
            "Your goal grows where two images share *more* levels. The farther apart in the tree, the larger the goal: "
            "M log(1/Omega) for another of the coarsest clusters."),
        "one goal for all levels": (
            _ratio(levels=lambda labels: labels.shape[1] * torch.ones(len(labels), len(labels))),
            "Every negative has the same goal, so the tree is not used. A negative that shares m levels with the "
            "anchor has (M - m) times log(1/Omega)."),
        "an image as its own positive": (
            _ratio(itself=True),
            "An image counts as its own positive. Leave out the diagonal."),
        "positives as negatives": (
            _ratio(others=True),
            "Images of the anchor's own finest cluster count as negatives. A negative differs at least at the finest "
            "level."),
        "the ratio upside down": (
            _ratio(sign=-1),
            "A sign is turned: you push negatives near and positives away. log(s_jk / s_jl) = d_jl - d_jk, with s = "
            "exp(-d); its goal, weight * log(1/Omega) for each level, is positive."),
        "distances of the plane": (
            _ratio(far=lambda x, c: ((x[:, None] - x[None]).square().sum(-1) + 1e-30).sqrt()),
            "You measure with a ruler. The points are in the ball: distance(x[:, None], x[None], c)."),
        "the ratio of distances": (
            lambda x, labels, omega=0.1, weight=0.5, c=1.0: _ratio_of_distances(x, labels, omega, weight, c),
            "You divide distances. The ratio is one of similarities exp(-d), so its logarithm is a *difference* of "
            "distances, d_jl - d_jk."),
        "absolute errors": (
            _ratio(cost=torch.abs),
            "The error is squared."),
        "one level too many": (
            _ratio(levels=lambda labels: _levels(labels) + 1),
            "Your goals count a level too many: a negative of another finest cluster alone differs at *one* level, and "
            "its goal is weight * log(1/Omega)."),
        "a logarithm of base 2": (
            _ratio(levels=lambda labels: _levels(labels) / math.log(2)),
            "The goal stands beside the natural logarithm of a ratio of exp(-d): take math.log, not log2."),
        "divided by the anchors": (
            _ratio(count=lambda mask: torch.tensor(len(mask))),
            "You add over the triples and divide by the number of images. It is the mean over *triples*: divide by "
            "how many there are."),
        "a sum over the triples": (
            _ratio(mean=False),
            "You add over the triples; the paper's code does, too. Here it is the mean, so that the learning rate need "
            "not follow the batch."),
        "curvature left out": (
            _ratio(use=(True, True, False)),
            "It is right for c = 1 only: hand c to distance."),
        "weight left out": (
            _ratio(use=(True, False, True)),
            "weight multiplies the goal."),
        "weight beside the square": (
            lambda x, labels, omega=0.1, weight=0.5, c=1.0: weight * _ratio()(x, labels, omega, 1.0, c),
            "weight multiplies the *goal*, before the square, not the loss."),
        "omega fixed": (
            _ratio(use=(False, True, True)),
            "It is right for omega = 0.1 only."),
        "detached": (
            _ratio(detach=True),
            "The value is right, but no gradient reaches the points."),
    },
    right={"triple by triple": _looped},
    hints=("With s = exp(-d) the left ratio needs no logarithm. And how many levels do two images *not* share?",
           "d is (N, N). apart = (labels[:, None] != labels).sum(2) counts levels at which two images differ: M for "
           "another of the coarsest clusters, 0 for positives. goal = weight * log(1 / omega) * apart. Errors "
           "(N, N, N): d_jl - d_jk - goal_jl, for positives k and negatives l.",
           "d = distance(x[:, None], x[None], c)\n"
           "apart = (labels[:, None] != labels).sum(2)\n"
           "goal = weight * math.log(1 / omega) * apart\n"
           "positives = (labels[:, None, 0] == labels[:, 0]) & ~torch.eye(len(x), dtype=torch.bool, device=x.device)\n"
           "triples = positives[:, :, None] & (apart > 0)[:, None, :]\n"
           "error = d[:, None, :] - d[:, :, None] - goal[:, None, :]\n"
           "return (error.square() * triples).sum() / triples.sum().clamp(min=1)"),
)


# ------------------------------------------------------------------------------------------------ 28.metric_epoch
def metric_epoch(network: nn.Module, optimizer, images: Tensor, cut, sizes: tuple[int, ...],
                 batch: int = 32) -> list[float]:
    """One epoch: a tree of all images' features, cut at every level; then an update for each batch -> its losses."""
    network.eval()
    with torch.no_grad():
        features, _ = network(images)
    labels = torch.stack([cut(features, size) for size in sizes], 1)
    network.train()
    losses = []
    for rows in torch.arange(len(images)).split(batch):
        _, points = network(images[rows])
        loss = tree_loss(points, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class _Placed(nn.Module):
    """A network with features (N, 4) and points of the disc (N, 2)."""

    def __init__(self, seed: int, dtype: torch.dtype):
        super().__init__()
        self.body, self.map = small_network(seed, dtype, 6, 8, 4), nn.Linear(4, 2, bias=False).to(dtype)
        self.map.weight.data = randn(torch.Generator().manual_seed(seed), dtype, 2, 4) / 2

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return features, project(exp0(self.map(features)))


def _cut(features: Tensor, size: int) -> Tensor:
    """Stands in for Ward's tree: equal parts along the first coordinate, nested where sizes divide each other."""
    assert features.ndim == 2
    return features.detach()[:, 0].argsort().argsort() * size // len(features)


def _epoch_probes(generator, dtype):
    sets = [randn(generator, dtype, n, 6) for n in (24, 24)]
    return [(3, sets, (8, 4, 2), {"batch": 12}), (5, sets[:1], (6, 3), {"batch": 10}),
            (7, [randn(generator, dtype, 40, 6)], (8, 4, 2), {})]


def _two_epochs(step, seed: int, sets: list, sizes: tuple, options: dict):
    """The harness: an epoch on each set, by SGD; losses, weights, and the numbers of clusters that were asked for."""
    network = _Placed(seed, sets[0].dtype)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.5)
    losses, kept, asked = [], False, []

    def cut(features, size):
        asked.append(int(size))
        return _cut(features, int(size))

    for number, images in enumerate(sets):
        network.train(number == 0)  # it comes in either mode
        got = step(network, optimizer, images.clone(), cut, sizes, **options)
        if blank(got):
            return got
        kept = kept or keeps_graph(got)
        losses.append([float(value) for value in got])
    return {"clusters": sorted(asked), "losses": losses, "keeps its graph": kept,
            "weights": weights_of(network)}


def _mistaken(*, numbers=lambda sizes: sizes, source=0, train=False, fresh=False, order=lambda rows: rows,
              returns=Tensor.item, update="clear backward step", last=False, stay=False):
    """An epoch with one thing changed."""
    def step(network, optimizer, images, cut, sizes, batch=32):
        def tree(some):
            network.train(train)
            with torch.no_grad():
                found = network(some)[source]
            network.train(not stay)
            return torch.stack([cut(found, size) for size in numbers(sizes)], 1)

        labels, losses = None if fresh else tree(images), []
        for rows in torch.arange(len(images)).split(batch):
            mine = tree(images[rows]) if fresh else labels[order(rows)]
            value = tree_loss(network(images[rows])[1], mine)
            losses.append(descend(value, optimizer, update, returns))
        return losses[-1:] if last else losses

    return step


def _third_as_first(sizes):
    """As in the released code: of three levels the third has the first's number."""
    return (*sizes[:2], sizes[0]) if len(sizes) == 3 else sizes


def _other_epoch(network, optimizer, images, cut, sizes, batch=32):
    """A right answer: features in pieces, levels one by one, slices."""
    network.train(False)
    with torch.inference_mode():
        features = torch.cat([network(part)[0] for part in images.split(7)])
    features = features.clone()
    network.train()
    levels, losses = [cut(features, size) for size in sizes], []
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        value = _ratio()(network(images[part])[1], torch.stack([level[part] for level in levels], dim=-1))
        optimizer.zero_grad(set_to_none=False)
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    return losses


step = Exercise(
    key="28.metric_epoch", title="One epoch: a tree, then updates", minutes=12, difficulty=3,
    reference=metric_epoch, probes=_epoch_probes, call=_two_epochs, tolerance=0.01,
    words={"['clusters']": "the numbers of clusters", "['losses']": "the losses",
           "['keeps its graph']": "whether a loss keeps its graph", "['weights']": "the network's weights"},
    wrong={
        "the third level as the first": (
            _mistaken(numbers=_third_as_first),
            "Your third level has the first's number of clusters, as in the released code: a tree that grows finer "
            "again at the top. Each level has its own: for size in sizes."),
        "one level": (
            _mistaken(numbers=lambda sizes: sizes[:1]),
            "You cut the tree once. Each entry of sizes is a level, a column of the labels."),
        "the coarsest first": (
            _mistaken(numbers=lambda sizes: sizes[::-1]),
            "Your levels are in the reverse order. tree_loss takes the finest first, as sizes has them."),
        "clusters of the points": (
            _mistaken(source=1),
            "You cluster the points of the disc. The tree is made of the backbone's features, the first output."),
        "features in training mode": (
            _mistaken(train=True),
            "The network was in training mode for the features, so batch norm used all images' statistics and moved "
            "its averages. network.eval() first, network.train() afterwards."),
        "a tree for each batch": (
            _mistaken(fresh=True),
            "You make a tree for each batch. It is made once an epoch, of all images."),
        "labels of the first rows": (
            _mistaken(order=lambda rows: rows - rows[0]),
            "Every batch gets the labels of the first images. Take those of its own: labels[rows]."),
        "stays in evaluation mode": (
            _mistaken(stay=True),
            "The network learns in evaluation mode, so batch norm does not see its batches. network.train() before the "
            "updates."),
        "gradients never cleared": (
            _mistaken(update="backward step"),
            "backward *adds* to .grad: optimizer.zero_grad() before it."),
        "the network never learns": (
            _mistaken(update="clear backward"),
            "The weights are those of the start: optimizer.step() after backward."),
        "the last loss alone": (
            _mistaken(last=True),
            "You return one loss. Wanted is a list with the loss of each batch."),
        "losses keep their graph": (
            _mistaken(returns=lambda value: value),
            "You collect tensors with their whole computation, so the memory of every batch is kept. loss.item()."),
    },
    right={"features in pieces": _other_epoch},
    hints=("What is made once, of all images, and what is made for each batch? In which mode is the network each time?",
           "network.eval(), no_grad: features, _ = network(images). labels = torch.stack of cut(features, size) for "
           "each size, along dim 1. network.train(). Then for rows of torch.arange(N).split(batch): points, "
           "tree_loss(points, labels[rows]), one update.",
           "network.eval()\n"
           "with torch.no_grad():\n"
           "    features, _ = network(images)\n"
           "labels = torch.stack([cut(features, size) for size in sizes], 1)\n"
           "network.train()\n"
           "losses = []\n"
           "for rows in torch.arange(len(images)).split(batch):\n"
           "    _, points = network(images[rows])\n"
           "    loss = tree_loss(points, labels[rows])\n"
           "    optimizer.zero_grad()\n"
           "    loss.backward()\n"
           "    optimizer.step()\n"
           "    losses.append(loss.item())\n"
           "return losses"),
)


EXERCISES = [add, way, loss, step]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("A tree with twice as many leaves on each level is drawn in the plane. Why must distances go wrong, whatever "
         "the optimiser?", {
        "Adam gets stuck": "It may, but even the best drawing has no room for the leaves.",
        "A circle's rim grows with its radius, the leaves double with each level": "Sooner or later leaves of "
            "different branches lie side by side. In the disc the rim grows exponentially, too.",
        "The plane has no centre": "Any point will do as the root.",
    }, "A circle's rim grows with its radius, the leaves double with each level"),
    quiz("Someone scales embeddings to length 1, then maps them into the ball. What is lost?", {
        "Nothing, lengths carry no meaning": "In the ball the radius is where depth goes: general things near the "
            "centre, special ones near the rim.",
        "All points lie on one circle": "One of the two dimensions is left. Distances between points of one circle "
            "only depend on their angle.",
        "The gradient": "It is still there, along the circle.",
    }, "All points lie on one circle"),
    quiz("Each image has 31 positives. SupCon's loss stays at 3.5, but kNN is perfect. What is wrong?", {
        "The learning rate": "Compute the lowest possible value first.",
        "Nothing": "With |P| positives in the denominator, each can get 1/|P| at best, so the loss cannot go below "
            "log |P|, here 3.43.",
        "The temperature is too high": "It moves where the minimum is nearly reached, not the minimum.",
    }, "Nothing"),
    quiz("Transfer: species photographs, and Ward's tree of features from generated shapes as the hierarchy. The loss "
         "falls nicely. What do you check?", {
        "That the loss falls on test images, too": "It may, and the tree may still be one of backgrounds.",
        "What the levels stand for": "Labels made from features can only hold what the features hold. Compare each "
            "level with something known, by NMI, before the tree is taught.",
        "That the radius is large": "A ball can be used fully for the wrong tree.",
    }, "What the levels stand for"),
]
