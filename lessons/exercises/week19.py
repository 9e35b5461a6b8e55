"""Exercises of week 19, a network that points: the Gaussian map, two targets, separability, a pool in two steps."""
from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from lessons.exercises.shared import (
    BASIC,
    answers,
    blank,
    descend,
    keeps_graph,
    plain,
    rand,
    randn,
    small_network,
    update_mistakes,
    weights_of,
)


# ------------------------------------------------------------------------------------------------ 19.gaussian
def gaussian(theta: Tensor, height: int, width: int, sharpness: float = 0.05) -> Tensor:
    """(B, 3) -> (B, height, width): attention with a 1 at its centre; theta is row, column, size, in [0, 1]."""
    rows, columns = (torch.linspace(0, 1, n, dtype=theta.dtype) for n in (height, width))
    row, column, size = theta[:, :, None, None].unbind(1)
    distance = (rows[:, None] - row) ** 2 + (columns - column) ** 2
    return torch.exp(-distance / (2 * sharpness * size + 1e-5))


def _gaussian_probes(generator, dtype):
    theta = 0.1 + 0.8 * rand(generator, dtype, 5, 3)
    point = torch.tensor([[0.5, 0.25, 0.0], [0.0, 1.0, 0.6]], dtype=dtype)  # a size of 0: a point, and no NaN
    return [(theta[:3], 4, 6), (theta[1:], 5, 3, 0.2), (point, 3, 5), dict(theta=theta, height=2, width=7,
                                                                            sharpness=0.02)]


def _line(n, theta):
    return torch.linspace(0, 1, n, dtype=theta.dtype)


def _bell(*, columns=(0, 1, 2), axis=_line, size=lambda s: s, power=lambda d: d.square(), join=torch.add, factor=2.0,
          lam=True, eps=1e-5, after=lambda a: a):
    """The right one, or with one thing changed."""
    def answer(theta, height, width, sharpness=0.05):
        row, column, spread = (theta[:, i, None, None] for i in columns)
        y, x = axis(height, theta)[None, :, None], axis(width, theta)[None, None, :]
        distance = join(power(y - row), power(x - column))
        return after((-distance / (factor * (sharpness if lam else 1) * size(spread) + eps)).exp())

    return answer


def _centres(n, theta):
    return (torch.arange(n, dtype=theta.dtype) + 0.5) / n


def _meshed(theta, height, width, sharpness=0.05):
    """A right answer: a grid of coordinates, and a loop over the images."""
    y, x = torch.meshgrid(_line(height, theta), _line(width, theta), indexing="ij")
    return torch.stack([torch.exp(-((y - t[0]) ** 2 + (x - t[1]) ** 2) / (2 * sharpness * t[2] + 1e-5)) for t in theta])


def _separable(theta, height, width, sharpness=0.05):
    """A right answer: the product of two bells on lines."""
    spread = 2 * sharpness * theta[:, 2:] + 1e-5
    rows = torch.exp(-(_line(height, theta) - theta[:, :1]) ** 2 / spread)
    return rows[:, :, None] * torch.exp(-(_line(width, theta) - theta[:, 1:2]) ** 2 / spread)[:, None, :]


first = Exercise(
    key="19.gaussian", title="Three numbers that point", minutes=8, difficulty=2,
    reference=gaussian, probes=_gaussian_probes, gradients=True, tolerance=1e-3,  # places may be float32
    wrong={
        "the official slice": (
            _bell(columns=(0, 2, 2)),
            "Your centre's column is the third number, which is also the size. The official code has just this slip "
            "(theta[:, ::2]): a column on the right then makes the map wide. The column is theta[:, 1]."),
        "row and column exchanged": (
            _bell(columns=(1, 0, 2)),
            "theta[:, 0] is the row, which counts downwards along dim 1 of the map; theta[:, 1] is the column."),
        "the size first": (
            _bell(columns=(1, 2, 0)),
            "You read the size from the first number. The order is row, column, size."),
        "the distance without its square": (
            _bell(power=lambda d: d.abs()),
            "The exponent holds the *squared* distance, a sum of two squares. With plain differences the map has a "
            "sharp tip."),
        "the squares multiplied": (
            _bell(join=torch.mul),
            "You multiply the two squares: the map is 1 in the whole row and column of its centre. Distances squared "
            "are added."),
        "the rows alone": (
            _bell(join=lambda rows, columns: rows + 0 * columns),
            "Your map does not fall off along a row: the squared distance of the columns is missing."),
        "the size squared": (
            _bell(size=lambda s: s.square()),
            "delta is already what stands below the squared distance, as a variance does. Do not square it."),
        "lambda left out": (
            _bell(lam=False),
            "The size is multiplied by sharpness, lambda. Without it even a small delta covers the whole picture."),
        "the 2 left out": (
            _bell(factor=1.0),
            "Below the squared distance stands 2 * sharpness * delta."),
        "no small number": (
            _bell(eps=0.0),
            "For delta = 0 you divide 0 by 0 at the centre, and get NaN. Add 1e-5 to what you divide by."),
        "a sum of 1": (
            _bell(after=lambda a: a / a.sum((1, 2), keepdim=True)),
            "You scaled the map to the sum 1. Here it has a 1 at its centre, so that a wide one gathers more."),
        "the centres of pixels": (
            _bell(axis=_centres),
            "Your coordinates are the middles of the places. Here the first place is at 0 and the last at 1: "
            "torch.linspace(0, 1, height)."),
        "coordinates from -1 to 1": (
            _bell(axis=lambda n, theta: torch.linspace(-1, 1, n, dtype=theta.dtype)),
            "theta comes out of a sigmoid, so it can point only between 0 and 1; your coordinates begin at -1."),
        "coordinates in places": (
            _bell(axis=lambda n, theta: torch.arange(n, dtype=theta.dtype)),
            "You count in places, 0 to height - 1. theta is in [0, 1], and so are the coordinates."),
        "height and width exchanged": (
            lambda theta, height, width, sharpness=0.05: _bell()(theta, width, height, sharpness),
            "Your map is (B, width, height). Rows come first: (B, height, width)."),
        "the plus sign": (
            _bell(factor=-2.0, eps=-1e-5),
            "Your map grows with the distance. There is a minus in the exponent."),
    },
    right={"a loop over the images": _meshed, "two bells on lines": _separable},
    hints=("Where is place (i, j) in a picture whose corners are (0, 0) and (1, 1)? How far is that from the centre?",
           "rows = torch.linspace(0, 1, height), columns likewise; squared distances (B, height, width) from "
           "theta[:, 0] and theta[:, 1]; exp(-distance / (2 * sharpness * theta[:, 2] + 1e-5)).",
           "rows = torch.linspace(0, 1, height, dtype=theta.dtype, device=theta.device)\n"
           "columns = torch.linspace(0, 1, width, dtype=theta.dtype, device=theta.device)\n"
           "row, column, size = theta[:, :, None, None].unbind(1)\n"
           "distance = (rows[:, None] - row) ** 2 + (columns - column) ** 2\n"
           "return torch.exp(-distance / (2 * sharpness * size + 1e-5))"),
)


# ------------------------------------------------------------------------------------------------ 19.targets
def targets(p: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (M, K) -> T and q, (M, K) each: what p, and what the attention's p, are to become."""
    t, q = p / p.sum(0), p**2 / p.sum(0)
    return t / t.sum(1, keepdim=True), q / q.sum(1, keepdim=True)


def _targets_probes(generator, dtype):
    return [(torch.softmax(1.5 * randn(generator, dtype, m, k), 1),) for m, k in ((6, 3), (5, 7), (9, 4))]


def _target(p, power=1, by=lambda p: p.sum(0), rows=True):
    t = p ** power / by(p)
    return t / t.sum(1, keepdim=True) if rows else t


def _pair(*, powers=(1, 2), by=(lambda p: p.sum(0), lambda p: p.sum(0)), rows=(True, True)):
    return lambda p: tuple(_target(p, *each) for each in zip(powers, by, rows))


second = Exercise(
    key="19.targets", title="Two targets from one's own answers", minutes=6, difficulty=2, tolerance=0.2,
    reference=targets, probes=_targets_probes, words={"[0]": "T", "[1]": "q"},
    wrong={
        "rows are not scaled": (
            _pair(rows=(False, False)),
            "After the division by the clusters' sums a row no longer adds up to 1. Divide each row by its own sum."),
        "T is not scaled": (
            _pair(rows=(False, True)),
            "q is right. T, too, is divided by the sum of its row at the end."),
        "the clusters' sums left out": (
            _pair(by=(lambda p: 1, lambda p: 1)),
            "You never divide by the clusters' sums, p.sum(0). They are what makes a small cluster count more."),
        "q by the sums of squares": (
            _pair(by=(lambda p: p.sum(0), lambda p: p.square().sum(0))),
            "q squares p, but it is divided by the sums of p itself, not of its squares."),
        "no square": (
            _pair(powers=(1, 1)),
            "Your q is T. For q, p is squared first: sure answers become surer."),
        "both squared": (
            _pair(powers=(2, 2)),
            "Your T is q. T takes p as it is."),
        "exchanged": (
            lambda p: targets(p)[::-1],
            "You return q first. The order is T, q."),
        "times the clusters' sums": (
            _pair(by=(lambda p: 1 / p.sum(0), lambda p: 1 / p.sum(0))),
            "You multiply by the clusters' sums, so that large clusters grow. Divide."),
        "columns scaled in place of rows": (
            lambda p: tuple(t / t.sum(0) for t in (p / p.sum(0), p ** 2 / p.sum(0))),
            "At the end each *row* has the sum 1, as probabilities of one image do. You scaled the columns."),
        "a softmax": (
            lambda p: tuple(t.softmax(1) for t in (p / p.sum(0), p ** 2 / p.sum(0))),
            "A softmax takes exponentials first, and flattens these small numbers. Divide by the row's sum."),
    },
    right={
        "means in place of sums": lambda p: tuple(t / t.sum(1, keepdim=True)
                                                  for t in (p / p.mean(0), p ** 2 / p.mean(0))),
        "with a small number in each division": lambda p: (
            lambda t, q: (t / (t.sum(1, keepdim=True) + 1e-5), q / (q.sum(1, keepdim=True) + 1e-5)))(
                p / (p.sum(0) + 1e-5), p.square() / (p.sum(0) + 1e-5)),
        "F.normalize": lambda p: (F.normalize(p / p.sum(0), p=1, dim=1), F.normalize(p * p / p.sum(0), p=1, dim=1)),
    },
    hints=("A cluster that many images name has a large sum over the images. What happens if you divide by it?",
           "p / p.sum(0), and p ** 2 / p.sum(0); then each divided by its sum over dim 1 (keepdim=True).",
           "t = p / p.sum(dim=0)\n"
           "q = p ** 2 / p.sum(dim=0)\n"
           "return t / t.sum(dim=1, keepdim=True), q / q.sum(dim=1, keepdim=True)"),
)


# ------------------------------------------------------------------------------------------------ 19.separability
def separability(p: Tensor, clusters: Tensor) -> Tensor:
    """Probabilities (N, K), clusters (N,) -> scalar: are two images in one cluster? Cross-entropy over pairs."""
    z = F.normalize(p, dim=1)
    i, j = torch.tril_indices(len(p), len(p))
    cosines = (z[i] * z[j]).sum(1).clamp(0, 1)
    return F.binary_cross_entropy(cosines, (clusters[i] == clusters[j]).to(p))


def _separability_probes(generator, dtype):
    draw = lambda n, k: torch.softmax(1.5 * randn(generator, dtype, n, k), 1)  # noqa: E731
    return [(draw(5, 3), torch.tensor([0, 1, 1, 0, 2])), (draw(4, 6), torch.arange(4)),
            dict(p=draw(7, 4), clusters=torch.tensor([3, 0, 0, 3, 3, 1, 0]))]


def _pairs(*, offset=0, every=False, unit=lambda p: F.normalize(p, dim=1), cost=F.binary_cross_entropy,
           reduction="mean"):
    """The right one, or with one thing changed."""
    def answer(p, clusters):
        z = unit(p)
        cosines = (z @ z.T).clamp(0, 1)
        truth = (clusters[:, None] == clusters).to(p)
        i, j = torch.tril_indices(len(p), len(p), offset) if not every else torch.cartesian_prod(
            *2 * [torch.arange(len(p))]).T
        return cost(cosines[i, j], truth[i, j], reduction=reduction)

    return answer


def _looped(p, clusters):
    """A right answer: pair by pair, the logarithms written out."""
    total, count = 0, 0
    for i in range(len(p)):
        for j in range(i + 1):
            cosine = (p[i] @ p[j] / (p[i].norm() * p[j].norm())).clamp(max=1 - 1e-7)
            total = total - (cosine.log() if clusters[i] == clusters[j] else (1 - cosine).log())
            count += 1
    return total / count


third = Exercise(
    key="19.separability", title="Alike, or not", minutes=8, difficulty=3, tolerance=0.1,
    reference=separability, probes=_separability_probes, gradients=True,
    wrong={
        "inner products": (
            _pairs(unit=lambda p: p),
            "You compare by inner products. An unsure p is short, so it would be like nobody, not even itself. Take "
            "cosines: scale each row of p to length 1."),
        "scaled to the sum 1": (
            _pairs(unit=lambda p: p / p.sum(1, keepdim=True)),
            "The rows have the sum 1 already. A cosine needs rows of *length* 1: F.normalize(p, dim=1)."),
        "without the pairs of an image with itself": (
            _pairs(offset=-1),
            "The pairs of each image with itself count, too, as in the official code: b >= c."),
        "each pair twice": (
            _pairs(every=True),
            "You take the mean over the whole square, so each pair counts twice, but an image with itself once. Keep "
            "the lower triangle with its diagonal."),
        "squared errors": (
            _pairs(cost=F.mse_loss),
            "You take squared errors. Binary cross-entropy punishes two images of one cluster with a cosine near 0 "
            "much harder."),
        "cosines as logits": (
            _pairs(cost=F.binary_cross_entropy_with_logits),
            "You send the cosine through a sigmoid. p has no negative entries, so its cosines are in [0, 1] already, "
            "and serve as probabilities."),
        "a sum over the pairs": (
            _pairs(reduction="sum"),
            "You add over the pairs. Take the mean, or the loss grows with the square of the batch."),
        "centred cosines": (
            _pairs(unit=lambda p: F.normalize(p - p.mean(0), dim=1)),
            "You took the mean off first, so cosines may be negative. Here p is compared as it is."),
        "detached": (
            lambda p, clusters: _pairs()(p.detach(), clusters) + 0 * p.sum(),
            "The value is right, but no gradient reaches p."),
        "the diagonal alone": (
            lambda p, clusters: -(F.normalize(p, dim=1) ** 2).sum(1).clamp(0, 1).log().mean() + 0 * p.sum(),
            "You compare each image with itself only. Every pair of the batch counts."),
        "pairs of one cluster only": (
            _pairs(cost=lambda cosines, truth, reduction: -cosines[truth > 0].log().mean()),
            "You take the pairs of one cluster only, so all images may get one answer. Pairs of two clusters count, "
            "too: their cosine should be 0."),
        "pairs of two clusters only": (
            _pairs(cost=lambda cosines, truth, reduction: F.binary_cross_entropy(cosines[truth < 1], truth[truth < 1])),
            "You take the pairs of two clusters only. Pairs of one cluster count, too: their cosine should be 1."),
        "guess and truth exchanged": (
            _pairs(cost=lambda cosines, truth, reduction: F.binary_cross_entropy(truth, cosines)),
            "Your truth stands in the guess's place. F.binary_cross_entropy takes the guess (cosines) first, then what "
            "is true."),
        "divided by the images": (
            lambda p, clusters: _pairs(reduction="sum")(p, clusters) / len(p),
            "You divide by the number of images, N. The mean is over the pairs: N (N + 1) / 2 of them."),
    },
    right={"pair by pair": _looped,
           "cosine_similarity": lambda p, clusters: (lambda i, j: F.binary_cross_entropy(
               F.cosine_similarity(p[i], p[j]).clamp(0, 1), (clusters[i] == clusters[j]).to(p.dtype)))(
                   *torch.tril_indices(len(p), len(p)))},
    hints=("How alike are two answers p? And how alike should they be, if k-means has put the images together?",
           "Cosines z @ z.T of F.normalize(p, dim=1), clamped to [0, 1]; truth = clusters[:, None] == clusters; "
           "F.binary_cross_entropy over torch.tril_indices(N, N).",
           "z = F.normalize(p, dim=1)\n"
           "cosines = (z @ z.T).clamp(0, 1)\n"
           "truth = (clusters[:, None] == clusters).to(p.dtype)\n"
           "i, j = torch.tril_indices(len(p), len(p))\n"
           "return F.binary_cross_entropy(cosines[i, j], truth[i, j])"),
)


# ------------------------------------------------------------------------------------------------ 19.gat_step
def gat_step(network: nn.Module, optimizer, pool: Tensor, transform, clusters_of, batch: int = 32,
             weights: tuple = (5.0, 1.0, 3.0, 5.0)) -> list[float]:
    """One pool: targets of all images, then small batches of transformed ones -> the loss of each batch."""
    network.eval()
    with torch.no_grad():
        t, q = targets(network(pool)[0])
        found = clusters_of(q)
    network.train()
    losses = []
    for rows in torch.arange(len(pool)).split(batch):
        p, attended = network(transform(pool[rows]))
        parts = (-(p * t[rows]).sum(1).mean(), separability(p, found[rows]), _negentropy(p) + _negentropy(attended),
                 F.binary_cross_entropy(attended, q[rows]))
        loss = torch.stack([weight * part for weight, part in zip(weights, parts)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _negentropy(p):
    mean = p.mean(0)
    return (mean * mean.log()).sum()


class _TwoHeads(nn.Module):
    """A network with two answers for each image, (N, K) each: its own, and that of the attention."""

    def __init__(self, seed: int, dtype: torch.dtype):
        super().__init__()
        self.plain = small_network(seed, dtype, 6, 8, 4)
        self.pointed = small_network(seed + 1, dtype, 6, 8, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.plain(images).softmax(1), self.pointed(images).softmax(1)


def _step_probes(generator, dtype):
    pools = [randn(generator, dtype, m, 6) for m in (12, 15)]
    return [(3, pools, {"batch": 4}), (5, pools, {"batch": 5, "weights": (2.0, 4.0, 1.0, 3.0)}),
            (7, [rand(generator, dtype, 40, 6)], {})]


def _turned(images):
    return images.flip(1) * 0.8


def _two_pools(step, seed: int, pools: list, options: dict):
    """The harness: a pool after the other, by SGD; losses, weights, and the mode that the network is left in."""
    network = _TwoHeads(seed, pools[0].dtype)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.5)
    found = answers(step, [(network, optimizer, pool.clone(), _turned, lambda q: q.argmax(1)) for pool in pools],
                    **options)
    if blank(found):
        return found
    return {"losses": [[float(loss) for loss in plain(got)] for got in found],
            "keeps its graph": any(map(keeps_graph, found)), "weights": weights_of(network)}


def _mistaken(*, seen=lambda pool: pool, train=False, gradient=False, small=False, view=_turned, sharp=(0, 1),
              invariance=lambda p, t: -(p * t).sum(1).mean(), entropy=_negentropy, both=True,
              cost=F.binary_cross_entropy, order="clear backward step", back=Tensor.item, last=False,
              source=0, clusters=lambda clusters_of, t, q: clusters_of(q), chosen=lambda rows: rows,
              weighed=lambda weights: weights):
    """A step with one thing changed."""
    def step(network, optimizer, pool, transform, clusters_of, batch=32, weights=(5.0, 1.0, 3.0, 5.0)):
        def made(images):
            network.train(train)
            with torch.set_grad_enabled(gradient):
                p = network(seen(images))[source]
                pair = targets(p)
                found = clusters(clusters_of, *pair)
                t, q = (pair[i] for i in sharp)
            network.train()
            return t, q, found

        whole, losses = None if small else made(pool), []
        for rows in torch.arange(len(pool)).split(batch):
            t, q, found = made(pool[rows]) if small else (each[chosen(rows)] for each in whole)
            p, attended = network(view(pool[rows]))
            parts = (invariance(p, t), separability(p, found), entropy(p) + (entropy(attended) if both else 0),
                     cost(attended, q))
            loss = sum(weight * part for weight, part in zip(weighed(weights), parts))
            losses.append(descend(loss, optimizer, order, back, keep=partial(loss.backward, retain_graph=True)))
        return losses[-1:] if last else losses

    return step


def _copied_pool(network, optimizer, pool, transform, clusters_of, batch=32, weights=(5.0, 1.0, 3.0, 5.0)):
    """A right answer: all images transformed at once, the tasks written out, targets in pieces."""
    was = network.training
    network.train(False)
    with torch.inference_mode():
        p = torch.cat([network(part)[0] for part in pool.split(3)])
    network.train(was or True)
    p = p.clone()
    t, q = p / p.sum(0), p * p / p.sum(0)
    t, q = t / t.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    found, views, losses = clusters_of(q), transform(pool), []
    for start in range(0, len(pool), batch):
        part = slice(start, start + batch)
        plain, pointed = network(views[part])
        loss = -weights[0] * (plain * t[part]).sum() / len(plain) + weights[1] * _looped(plain, found[part])
        for each in (plain, pointed):
            loss = loss - weights[2] * torch.special.entr(each.mean(0)).sum()
        bce = -(q[part] * pointed.log() + (1 - q[part]) * (1 - pointed).log())
        optimizer.zero_grad()
        (loss + weights[3] * bce.mean()).backward()
        optimizer.step()
        losses.append(float(loss + weights[3] * bce.mean()))
    return losses


step = Exercise(
    key="19.gat_step", title="One pool, in two steps", minutes=15, difficulty=4,
    reference=gat_step, probes=_step_probes, call=_two_pools, tolerance=0.02,
    words={"['losses']": "the losses", "['keeps its graph']": "whether a loss keeps its graph",
           "['weights']": "the network's weights after the pools"},
    wrong={
        "targets of the small batch": (
            _mistaken(small=True),
            "You make targets anew for each small batch. They come from the whole pool, once, before the first update: "
            "only then do they know how large each cluster is."),
        "targets of transformed images": (
            _mistaken(seen=_turned),
            "Your targets come from transformed images. The pool is shown as it is; the transformed image has to agree "
            "with that."),
        "targets in training mode": (
            _mistaken(train=True),
            "The network was in training mode for the targets, so batch norm used the pool's own statistics (and moved "
            "its averages). network.eval() first, network.train() afterwards."),
        "targets with a gradient": (
            _mistaken(gradient=True, order="clear keep step"),
            "The loss sends a gradient through the targets, which keeps the whole pool's graph in memory: just what "
            "two steps are to avoid. torch.no_grad()."),
        "targets from the attention's answer": (
            _mistaken(source=1),
            "Your targets come from the second output. All targets are made from p, the answer without attention."),
        "T and q exchanged": (
            _mistaken(sharp=(1, 0)),
            "p gets q and the attention's answer gets T. It is the other way round: T for p, q for the attention."),
        "the images are not transformed": (
            _mistaken(view=lambda images: images),
            "The small batches are the images as they are. transform(pool[rows]): else nothing asks for invariance."),
        "invariance without its minus": (
            _mistaken(invariance=lambda p, t: (p * t).sum(1).mean()),
            "The first task wants p and T to agree: *minus* their inner product."),
        "a sum over the images": (
            _mistaken(invariance=lambda p, t: -(p * t).sum()),
            "The first task is a mean over the images of the batch; you add them up."),
        "a mean over all entries": (
            _mistaken(invariance=lambda p, t: -(p * t).mean()),
            "Your mean also divides by the number of clusters. Add over the clusters, then the mean over the images."),
        "cross-entropy in place of the inner product": (
            _mistaken(invariance=lambda p, t: -(t * p.log()).sum(1).mean()),
            "That is a cross-entropy. GATCluster's first task is the plain inner product, -(p * t).sum(1).mean()."),
        "the mean of the entropies": (
            _mistaken(entropy=lambda p: (p * p.log()).sum(1).mean()),
            "You average the entropies of the images. Each image is to be *sure*; it is the mean over the batch, "
            "p.mean(0), that is to be spread."),
        "the entropy's sign": (
            _mistaken(entropy=lambda p: -_negentropy(p)),
            "A loss is made small, so you push all images into one cluster. The term is + sum m log m, minus the "
            "entropy."),
        "the entropy of p alone": (
            _mistaken(both=False),
            "The third task holds for both answers, p and the attention's."),
        "squared errors": (
            _mistaken(cost=F.mse_loss),
            "The fourth task is a binary cross-entropy over all entries, not a squared error."),
        "a softmax's cross-entropy": (
            _mistaken(cost=lambda a, q: -(q * a.log()).sum(1).mean()),
            "The fourth task is *binary* cross-entropy, F.binary_cross_entropy(attended, q): each entry also says what "
            "the image is not."),
        "k-means of T": (
            _mistaken(clusters=lambda clusters_of, t, q: clusters_of(t)),
            "The clusters are found in q, the sharper of the two."),
        "the first rows' targets each time": (
            _mistaken(chosen=lambda rows: rows - rows[0]),
            "Every batch gets the targets of the pool's first rows. Take those of its own: t[rows], q[rows], "
            "found[rows]."),
        "weights in another order": (
            _mistaken(weighed=lambda w: (w[0], w[2], w[1], w[3])),
            "The weights are those of invariance, separability, entropy, attention, in this order."),
        "T for the attention, too": (
            _mistaken(sharp=(0, 0)),
            "The attention's answer gets T. It gets q, the sharper of the two."),
        "the attention's task left out": (
            _mistaken(weighed=lambda w: (*w[:3], 0.0)),
            "The fourth task is missing: the attention's answer has to agree with q, by binary cross-entropy, times "
            "the fourth weight."),
        "the last loss alone": (
            _mistaken(last=True),
            "You return one loss. Wanted is a list with the loss of each small batch."),
        **update_mistakes(_mistaken, BASIC),
    },
    right={"all images transformed at once": _copied_pool},
    hints=("Step one looks at the whole pool, as it is, and learns nothing. Step two learns, from a few transformed "
           "images at a time. Which numbers go from one to the other?",
           "network.eval(), no_grad: t, q = targets(network(pool)[0]), found = clusters_of(q). network.train(). For "
           "rows of torch.arange(M).split(batch): the four tasks with t[rows], q[rows], found[rows]; the entropy is "
           "that of the mean over the batch, for both answers; then one update.",
           "network.eval()\n"
           "with torch.no_grad():\n"
           "    t, q = targets(network(pool)[0])\n"
           "    found = clusters_of(q)\n"
           "network.train()\n"
           "losses = []\n"
           "for rows in torch.arange(len(pool)).split(batch):\n"
           "    p, attended = network(transform(pool[rows]))\n"
           "    loss = -weights[0] * (p * t[rows]).sum(1).mean()\n"
           "    loss = loss + weights[1] * separability(p, found[rows])\n"
           "    for m in (p.mean(0), attended.mean(0)):\n"
           "        loss = loss + weights[2] * (m * m.log()).sum()\n"
           "    loss = loss + weights[3] * F.binary_cross_entropy(attended, q[rows])\n"
           "    optimizer.zero_grad()\n"
           "    loss.backward()\n"
           "    optimizer.step()\n"
           "    losses.append(loss.item())\n"
           "return losses"),
)


EXERCISES = [first, second, third, step]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("A run ends with all images in one cluster. The loss of the invariance task is at its minimum. Which "
         "term do you look at first?", {
        "Separability": "It punishes one cluster only where k-means still finds several; if all answers are alike it "
            "has nothing to go by.",
        "Entropy, and its sign": "It is the term that sees the batch as a whole. With the wrong sign, or the entropy "
            "of single answers, one cluster for all is what it asks for.",
        "Attention": "Its target comes from p: it copies the collapse.",
    }, "Entropy, and its sign"),
    quiz("Why are targets made in evaluation mode, from images as they are, and before the small batches?", {
        "It is faster": "It costs one more forward pass of the pool.",
        "So that they know the whole pool, and stay the same while the batches learn":
            "Cluster sizes need many images, and a target that moves with each update would chase itself. It also "
            "needs no memory for gradients.",
        "Because batch norm cannot be trained": "It is trained, in step two.",
    }, "So that they know the whole pool, and stay the same while the batches learn"),
    quiz("The attention covers the object in 9 of 10 pictures of a paper. What does that show about the answer?", {
        "That it rests on the object": "Only that the map is there. Part 5: exchange the map, and see whether the "
            "answer changes.",
        "Nothing yet": "Exchange the map for another image's, or a fixed one, and measure the answer. And compare "
            "the share with a Gaussian that never moves.",
        "That the network is right": "It may point at the object and take a star for a triangle.",
    }, "Nothing yet"),
    quiz("Transfer: clusters of skin photographs. Cluster 3 holds nearly all pictures with a ruler in them. "
         "Confidence is 0.95. What follows?", {
        "Cluster 3 is a diagnosis": "Nothing in the four tasks knows of diagnoses. What survives the transformations "
            "can become a cluster.",
        "The ruler survives the transformations, so it may carry the answer": "Transformations that cover or "
            "exchange it make it useless as a cue. Confidence says nothing: the targets are sharpened until the "
            "network is sure.",
        "A higher entropy weight would help": "That only evens out cluster sizes.",
    }, "The ruler survives the transformations, so it may carry the answer"),
]
