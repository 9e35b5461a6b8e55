"""Exercises of week 8, SwAV: balanced codes, names in use, the swapped loss, prototypes, a step, and a queue."""
from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.swav import normalize_rows
from course_lib.methods.contrastive.swav import queue_codes as library_queue_codes
from course_lib.methods.contrastive.swav import swav_loss as library_swav_loss
from course_lib.models.layers import sinkhorn as library_sinkhorn
from lessons.exercises.shared import (
    BASIC,
    blank,
    descend,
    directions,
    keeps_graph,
    numbers,
    rand,
    randn,
    unit,
    update_mistakes,
)


# ------------------------------------------------------------------------------------------------ 08.sinkhorn
def _cosines(generator, dtype, *shape: int) -> Tensor:
    return 2 * rand(generator, dtype, *shape) - 1


def _sinkhorn_probes(generator, dtype):
    scores = 0.3 * _cosines(generator, dtype, 8, 5)
    # one is liked by all
    crowd = 0.2 * _cosines(generator, dtype, 9, 4) + torch.tensor([0.5, 0.1, 0.0, -0.2], dtype=dtype)
    far = 0.2 * _cosines(generator, dtype, 6, 4)
    far[:, 2] -= 8 if dtype == torch.float32 else 45    # exp gives 0 for a whole prototype
    high = 0.2 * _cosines(generator, dtype, 5, 3) + (6 if dtype == torch.float32 else 40)  # exp gives infinity
    return [(scores,), (crowd, 0.5, 1), dict(scores=crowd[:7], epsilon=0.1, iterations=8), (high,), (far,)]


def _rounds(q: Tensor, iterations: int, samples_first: bool = False) -> Tensor:
    """Plain Sinkhorn on positive numbers: rows of q are samples."""
    for _ in range(iterations):
        for axis in (1, 0) if samples_first else (0, 1):
            q = q / q.sum(axis, keepdim=True)
    return q


def _log_rounds(log_q: Tensor, iterations: int, axes: tuple[int, ...] = (0, 1)) -> Tensor:
    for _ in range(iterations):
        for axis in axes:
            log_q = log_q - log_q.logsumexp(axis, keepdim=True)
    return log_q.exp()


@torch.no_grad()
def _in_logs(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    return _log_rounds(scores / epsilon, iterations)


@torch.no_grad()
def _potentials(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Sinkhorn as one finds it in texts on optimal transport: two vectors instead of a matrix."""
    s = scores / epsilon
    u = s.new_zeros(len(s), 1)
    for _ in range(iterations):
        v = -(s + u).logsumexp(0, keepdim=True)
        u = -(s + v).logsumexp(1, keepdim=True)
    return (s + u + v).exp()


@torch.no_grad()
def _plain(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    return _rounds((scores / epsilon).exp(), iterations)


@torch.no_grad()
def _largest_subtracted(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    return _rounds(((scores - scores.max()) / epsilon).exp(), iterations)


def _with_plain(start):
    """Plain rounds of start(scores, epsilon)."""
    return _no_grad(lambda s, e, n: _rounds(start(s, e), n))


def _no_grad(function):
    return torch.no_grad()(lambda scores, epsilon=0.05, iterations=3: function(scores, epsilon, iterations))


sinkhorn = Exercise(
    key="08.sinkhorn", title="Balanced codes", minutes=8, difficulty=3,
    reference="course_lib.models.layers:sinkhorn", probes=_sinkhorn_probes, gradients=True, tolerance=1e-4,
    wrong={
        "exp of large numbers": (
            _plain,
            "exp(scores / epsilon) overflows: beyond exp(88) in float32, beyond exp(11) in float16. Keep the logarithm "
            "of the "
            "matrix, and subtract a logsumexp where you would divide by a sum."),
        "a far prototype underflows": (
            _largest_subtracted,
            "With the largest entry subtracted nothing overflows, but a prototype that is far from every image gets "
            "exp(-160) "
            "= 0 everywhere, and 0 / 0 is NaN. In the log domain it gets its share of images like all others."),
        "double precision": (
            _no_grad(lambda s, e, n: _rounds((s.double() / e).exp(), n).to(s)),
            "float64 overflows and underflows as well, only later (exp(710)): some probes are beyond that. Keep the "
            "logarithm; subtract a logsumexp where you would divide by a sum."),
        "large scores clamped": (
            _with_plain(lambda s, e: (s / e).clamp(max=80).exp()),
            "Where clamp acts, different scores become equal, and small ones still underflow to 0 / 0. In the log "
            "domain nothing has to be clamped."),
        "the largest of each row subtracted": (
            _with_plain(lambda s, e: ((s - s.max(1, keepdim=True).values) / e).exp()),
            "With each row's largest subtracted you begin half a round earlier (columns are to come first), and a far "
            "prototype still underflows to 0 / 0. Keep the logarithm."),
        "a small number added": (
            _with_plain(lambda s, e: ((s - s.max()) / e).exp() + 1e-8),
            "The 1e-8 gives a far prototype images at random: its true codes are smaller than that. In the log domain "
            "no such guard is needed."),
        "images first, prototypes last": (
            _no_grad(lambda s, e, n: _log_rounds(s / e, n, (1, 0)) * s.shape[1] / len(s)),
            "A round ends with the images: the last thing done must make each row sum to 1, or a code is no "
            "distribution. "
            "Columns (prototypes) first, then rows."),
        "no balance": (
            _no_grad(lambda s, e, n: F.softmax(s / e, dim=1)),
            "Each image by itself: nothing stops all of them from choosing the same prototype. Divide the columns by "
            "their "
            "sums, too, in every round."),
        "prototypes only": (
            _no_grad(lambda s, e, n: F.softmax(s / e, dim=0)),
            "You normalise over the images, dim 0, only: every prototype gets its share, but the codes of an image do "
            "not "
            "sum to 1. Each round has two halves."),
        "softmax before the rounds": (
            _no_grad(lambda s, e, n: _log_rounds(F.log_softmax(s / e, dim=1), n)),
            "Rounds start from exp(scores / epsilon). With a softmax over the prototypes (or the largest entry of each "
            "row "
            "subtracted) you begin half a round earlier: at three rounds the codes are other ones."),
        "one round whatever is asked": (
            _no_grad(lambda s, e, n: _log_rounds(s / e, 1)),
            "`iterations` says how many rounds there are. After the rows the columns are no longer even: go round "
            "again."),
        "multiplied by epsilon": (
            _no_grad(lambda s, e, n: _log_rounds(s * e, n)),
            "Epsilon is a temperature: divide by it. Multiplied by 0.05, all scores look alike and the codes are "
            "flat."),
        "rows that sum to 1/N": (
            _no_grad(lambda s, e, n: _log_rounds(s / e, n) / len(s)),
            "The whole matrix sums to 1, so a row to 1/N. A code is a distribution over prototypes: multiply by N at "
            "the end."),
        "hard codes": (
            _no_grad(lambda s, e, n: F.one_hot(_log_rounds(s / e, n).argmax(1), s.shape[1]).to(s)),
            "You round each code to its largest entry. The official README lists that as an option; here codes stay "
            "soft, as the rounds leave them."),
        "gradient through the codes": (
            lambda scores, epsilon=0.05, iterations=3: _log_rounds(scores / epsilon, iterations),
            "The values are right, but a gradient flows through them. Codes are targets: with a gradient the network "
            "moves the "
            "targets to where they are easy. Compute them under torch.no_grad()."),
    },
    right={"a matrix of logarithms": _in_logs, "two vectors of potentials": _potentials},
    hints=("log(q / q.sum(0)) = log q - ... ? Which function of torch sums exponentials without overflow?",
           "log_q = scores / epsilon; dividing columns by their sums: log_q = log_q - log_q.logsumexp(0, "
           "keepdim=True).",
           "log_q = scores / epsilon\n"
           "for _ in range(iterations):\n"
           "    log_q = log_q - log_q.logsumexp(dim=0)\n"
           "    log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)\n"
           "return log_q.exp()"),
)


# ------------------------------------------------------------------------------------------------ 08.in_use
def in_use(scores: Tensor) -> float:
    """How many prototypes are in use: exp of the entropy of their shares of the images, each by its nearest."""
    counts = scores.argmax(1).unique(return_counts=True)[1]
    return float(torch.special.entr(counts / len(scores)).sum().exp())


def _in_use_probes(generator, dtype):
    def lean(n: int, k: int) -> Tensor:
        return _cosines(generator, dtype, n, k) + torch.linspace(0.6, 0, k, dtype=dtype)

    one = 0.1 * _cosines(generator, dtype, 7, 3)
    one[:, 1] += 0.8                                        # a single name
    each = 0.2 * _cosines(generator, dtype, 5, 5) + 0.6 * torch.eye(5, dtype=dtype)
    return [(lean(40, 6),), (lean(30, 9),), (one,), dict(scores=each), (0.1 * lean(12, 20),)]


def _perplexity(shares: Tensor) -> float:
    return float(torch.special.entr(shares).sum().exp())


def _names(scores: Tensor, dim: int = 1) -> Tensor:
    return scores.argmax(dim).bincount(minlength=scores.shape[1]).to(scores)


def _rowwise(scores: Tensor) -> float:
    p = F.softmax(scores, dim=1)
    return float(torch.special.entr(p).sum(1).exp().mean())


def _unguarded(scores: Tensor) -> float:
    shares = _names(scores) / len(scores)
    return float((-(shares * shares.log()).sum()).exp())


def _by_unique(scores: Tensor) -> Tensor:
    counts = torch.unique(scores.max(dim=1).indices, return_counts=True)[1].to(scores)
    return torch.distributions.Categorical(probs=counts / counts.sum()).entropy().exp()


def _in_bits(scores: Tensor) -> float:
    shares = F.one_hot(scores.argmax(1), scores.shape[1]).double().mean(0)
    shares = shares[shares > 0]
    return 2 ** float(-(shares * shares.log2()).sum())


names = Exercise(
    key="08.in_use", title="Names in use", minutes=4, difficulty=2, reference=in_use, probes=_in_use_probes,
    call=numbers, tolerance=1e-4,
    wrong={
        "prototypes with an image are counted": (
            lambda scores: float((_names(scores) > 0).sum()),
            "You count the prototypes that have at least one image: nine of ten images at one prototype, the tenth "
            "elsewhere, would read 2. Weigh them: exp of the entropy of the shares."),
        "the entropy without exp": (
            lambda scores: float(torch.special.entr(_names(scores) / len(scores)).sum()),
            "The entropy is a logarithm: its exponential turns it into a number of prototypes, 1 to K."),
        "0 times log 0": (
            _unguarded,
            "A prototype without an image has share 0, and 0 * log(0) is nan. It contributes 0: torch.special.entr "
            "knows that, or leave zeros out."),
        "soft names": (
            lambda scores: _perplexity(F.softmax(scores, dim=1).mean(0)),
            "A softmax of cosines without a temperature is nearly even whatever they are. An image has one name here, "
            "its nearest prototype: argmax."),
        "one image at a time": (
            _rowwise,
            "You measure over how many prototypes one image spreads, and take the mean over images. Names in use are a "
            "matter of the whole batch: first the shares of all images, then their entropy."),
        "the nearest image of each prototype": (
            lambda scores: _perplexity(scores.argmax(0).bincount(minlength=len(scores)).to(scores) / scores.shape[1]),
            "argmax over dim 0 asks for the image nearest to a prototype. An image's name is the prototype nearest to "
            "*it*: dim 1."),
        "counts in place of shares": (
            lambda scores: float((-torch.xlogy(_names(scores), _names(scores)).sum()).exp()),
            "Entropy is that of shares: divide the counts by the number of images, so that they sum to 1."),
        "two bases": (
            lambda scores: float((torch.special.entr(_names(scores) / len(scores)).sum() / math.log(2)).exp()),
            "The logarithm and the power have to be of one base: log with exp, or log2 with 2 ** ...."),
        "the share of the largest": (
            lambda scores: float(len(scores) / _names(scores).max()),
            "One over the largest share looks at one prototype only. exp of the entropy weighs all of them."),
        "a softmax of the counts": (
            lambda scores: _perplexity(_names(scores).softmax(0)),
            "You take a softmax of the counts. Shares are counts divided by the number of images: they sum to 1 "
            "already."),
        "the largest in size": (
            lambda scores: _perplexity(_names(scores.abs()) / len(scores)),
            "You look for the largest cosine in *size*. The nearest prototype has the largest cosine; -1 is the "
            "farthest: argmax without abs()."),
        "a share of the possible entropy": (
            lambda scores: float(torch.special.entr(_names(scores) / len(scores)).sum() / math.log(scores.shape[1])),
            "The entropy over log K lies between 0 and 1. Asked for is a number of names: exp of the entropy."),
        "names after the balance": (
            lambda scores: _perplexity(_names(library_sinkhorn(scores, 0.05, 3)) / len(scores)),
            "You balance first, so you count the balanced codes. A name is the *nearest* prototype: argmax of the "
            "cosines as they are."),
        "one over the sum of squares": (
            lambda scores: float(1 / (_names(scores) / len(scores)).square().sum()),
            "That is another way to count (the inverse of Simpson's index): 1 and K at the ends, smaller in between. "
            "Take exp of the entropy."),
    },
    right={"unique, and torch's entropy": _by_unique, "in bits": _in_bits},
    hints=("First give each image one name. Then: which share of the images has each name?",
           "scores.argmax(dim=1).bincount(minlength=K) counts; torch.special.entr(p) is -p log p, and 0 at 0.",
           "counts = torch.bincount(scores.argmax(dim=1), minlength=scores.shape[1])\n"
           "shares = counts / counts.sum()\n"
           "entropy = torch.special.entr(shares).sum()\n"
           "return float(entropy.exp())"),
)


# ------------------------------------------------------------------------------------------------ 08.swav_loss
def _loss_probes(generator, dtype):
    def crops(count: int, n: int, k: int) -> tuple[list[Tensor], list[Tensor]]:
        scores = [_cosines(generator, dtype, n, k) for _ in range(count)]
        codes = [F.softmax(3 * randn(generator, dtype, n, k), dim=1) for _ in range(2)]
        return scores, codes

    return [crops(4, 6, 5), (*crops(2, 5, 3), 0.3), dict(zip(("scores", "codes"), crops(3, 4, 7)), temperature=0.5)]


def _entropy(score: Tensor, code: Tensor, temperature: float) -> Tensor:
    return -(code * F.log_softmax(score / temperature, dim=1)).sum(1).mean()


def _swapped(pairs=lambda i, crops: [v for v in range(crops) if v != i], term=_entropy, detach: bool = True,
             reduce=None):
    """A swapped loss in which one thing is otherwise: which crops predict code i, the term of a pair, or the mean."""
    reduce = reduce or (lambda rows: sum(sum(row) / len(row) for row in rows) / len(rows))

    def loss(scores, codes, temperature=0.1):
        rows = [[term(scores[v], code.detach() if detach else code, temperature) for v in pairs(i, len(scores))]
                for i, code in enumerate(codes)]
        return reduce(rows)

    return loss


swav_loss = Exercise(
    key="08.swav_loss", title="Predict the code of the other crop", minutes=7, difficulty=3,
    reference="course_lib.methods.contrastive.swav:swav_loss", probes=_loss_probes, gradients=True,
    wrong={
        "each crop predicts itself": (
            _swapped(lambda i, crops: [i]),
            "scores[i] and codes[i] are of one and the same crop: nothing is swapped, and nothing is learned about "
            "what two "
            "crops share. Let the *other* crops predict codes[i]."),
        "itself among the others": (
            _swapped(lambda i, crops: list(range(crops))),
            "Leave out v == i: a crop that may also predict its own code gets part of the loss for nothing."),
        "the small crops forgotten": (
            _swapped(lambda i, crops: [1 - i]),
            "Only the two large crops predict each other. Codes come from the large ones, but all the other crops, the "
            "small "
            "ones too, are to predict them."),
        "gradient through the codes": (
            _swapped(detach=False),
            "Codes are targets: codes[i].detach(). Otherwise the loss also pulls the target to the prediction."),
        "no temperature": (
            _swapped(term=lambda s, q, t: _entropy(s, q, 1.0)),
            "Divide the scores by the temperature before the softmax: cosines lie between -1 and 1, and their plain "
            "softmax is "
            "nearly flat whatever they are."),
        "a sum over the crops": (
            _swapped(reduce=lambda rows: sum(sum(row) for row in rows) / len(rows)),
            "Take the mean over the V - 1 crops that predict, or adding small crops scales the loss up."),
        "a sum over the codes": (
            _swapped(reduce=lambda rows: sum(sum(row) / len(row) for row in rows)),
            "Take the mean over the two codes as well: yours is twice as large."),
        "the mean over prototypes": (
            _swapped(term=lambda s, q, t: -(q * F.log_softmax(s / t, dim=1)).mean()),
            "A cross-entropy *sums* over the prototypes, then takes the mean over the images. .mean() over everything "
            "divides "
            "by K as well."),
        "hard codes": (
            _swapped(term=lambda s, q, t: F.cross_entropy(s / t, q.argmax(1))),
            "The codes are soft: weigh every log-probability by its share of the code. With argmax you throw the rest "
            "away."),
        "the prediction as the target": (
            _swapped(term=lambda s, q, t: -((s / t).softmax(1) * q.clamp_min(1e-30).log()).sum(1).mean()),
            "The roles are exchanged: the code weighs, the logarithm is taken of the prediction. -(code * log "
            "prediction), not the reverse."),
        "only crops after the code's": (
            _swapped(lambda i, crops: [v for v in range(crops) if v > i],
                     reduce=lambda rows: (lambda terms: sum(terms) / len(terms))([x for row in rows for x in row])),
            "Only crops with v > i predict code i. Crop 0 is to predict code 1 as well: all v other than i."),
        "the temperature outside the softmax": (
            _swapped(term=lambda s, q, t: _entropy(s, q, 1.0) / t),
            "You divide the log-probabilities by the temperature: that only scales the loss. Divide the *scores*, "
            "before the softmax."),
        "a Kullback-Leibler divergence": (
            _swapped(term=lambda s, q, t: _entropy(s, q, t) - torch.special.entr(q).sum(1).mean()),
            "That is the Kullback-Leibler divergence: the cross-entropy minus the entropy of the codes. Its gradient "
            "is right; asked for is the cross-entropy itself, -(code * log prediction)."),
        "the log of a softmax over the images": (
            _swapped(term=lambda s, q, t: -(q * F.log_softmax(s / t, dim=0)).sum(1).mean()),
            "The prediction is a distribution over prototypes: log_softmax over dim 1. Over dim 0 the images compete."),
    },
    right={
        "cross_entropy with soft targets": _swapped(term=lambda s, q, t: F.cross_entropy(s / t, q)),
        "logsumexp": _swapped(term=lambda s, q, t: ((s / t).logsumexp(1) - (q * s / t).sum(1)).mean()),
    },
    hints=("One pair first: scores of one crop, the code of another. Which function turns scores into "
           "log-probabilities?",
           "A pair: -(code.detach() * F.log_softmax(score / temperature, dim=1)).sum(1).mean().",
           "total = 0\n"
           "for i, code in enumerate(codes):\n"
           "    others = [s for v, s in enumerate(scores) if v != i]\n"
           "    terms = [-(code.detach() * F.log_softmax(s / temperature, dim=1)).sum(1).mean() for s in others]\n"
           "    total = total + sum(terms) / len(terms)\n"
           "return total / len(codes)"),
)


# ------------------------------------------------------------------------------------------------ 08.prototypes
def prototype_step(prototypes: nn.Linear, optimizer: torch.optim.Optimizer, hold: bool = False) -> Tensor:
    """The update after a backward, as SwAV needs it; -> the prototypes after it, (K, D), rows of length 1.

    hold: the prototypes stand still, whatever momentum and decay the optimizer has, and all else moves.
    """
    if hold:
        prototypes.weight.grad = None  # not zero: optimizers pass over what has no gradient
    optimizer.step()
    normalize_rows(prototypes)
    return prototypes.weight.detach()


HOLD = (False, True, True, False, False)


def _updates(step, weight: Tensor, inputs: Tensor, hold=HOLD):
    """Five updates of prototypes and of a matrix before them: what `step` returned, and both weights after each."""
    prototypes = nn.Linear(weight.shape[1], len(weight), bias=False, dtype=weight.dtype)
    prototypes.weight.data.copy_(weight)
    known = prototypes.weight
    encoder = nn.Parameter(torch.eye(weight.shape[1], dtype=weight.dtype))
    optimizer = torch.optim.SGD([encoder, prototypes.weight], lr=0.2, momentum=0.9, weight_decay=0.1)
    returned, seen, moved = [], [], []
    for x, held in zip(inputs, hold):
        optimizer.zero_grad()
        F.cross_entropy(prototypes(x @ encoder) / 0.5, torch.arange(len(x)) % len(weight)).backward()
        got = step(prototypes, optimizer, held) if held else step(prototypes, optimizer)
        if blank(got):
            return got
        returned.append(got.detach().clone() if isinstance(got, Tensor) else got)
        seen.append(prototypes.weight.detach().clone())
        moved.append(encoder.detach().clone())
    return {"returned": returned, "prototypes": seen, "encoder": moved,
            "still the optimizer's": prototypes.weight is known and known.requires_grad}


def _prototype_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [dict(weight=F.normalize(draw(k, d), dim=1), inputs=draw(len(HOLD), n, d)) for k, d,
            n in ((4, 3, 6), (3, 6, 7))]


def _scale(prototypes: nn.Linear, dim=1) -> Tensor:
    with torch.no_grad():
        prototypes.weight.copy_(F.normalize(prototypes.weight, dim=dim) if dim is not None else
                                prototypes.weight / prototypes.weight.norm())
    return prototypes.weight.detach()


def _hold(prototypes: nn.Linear, hold: bool) -> None:
    if hold:
        prototypes.weight.grad = None


def _zero_gradient(prototypes, optimizer, hold=False):
    if hold:
        prototypes.weight.grad.zero_()
    optimizer.step()
    return _scale(prototypes)


def _nobody_moves(prototypes, optimizer, hold=False):
    if not hold:
        optimizer.step()
    return _scale(prototypes)


def _never_held(prototypes, optimizer, hold=False):
    optimizer.step()
    return _scale(prototypes)


def _held_otherwise(prototypes, optimizer, hold=False):
    return prototype_step(prototypes, optimizer, not hold)


def _updated_twice(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    optimizer.step()
    optimizer.step()
    return _scale(prototypes)


def _squared_length(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    optimizer.step()
    prototypes.weight.data /= prototypes.weight.data.square().sum(1, keepdim=True)
    return prototypes.weight.detach()


def _absolute_length(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    optimizer.step()
    prototypes.weight.data = F.normalize(prototypes.weight.data, p=1, dim=1)
    return prototypes.weight.detach()


def _scaled_before(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    _scale(prototypes)
    optimizer.step()
    return prototypes.weight.detach()


def _columns(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    optimizer.step()
    return _scale(prototypes, 0)


def _whole_matrix(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    optimizer.step()
    return _scale(prototypes, None)


def _never_scaled(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    optimizer.step()
    return prototypes.weight.detach()


def _new_parameter(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    optimizer.step()
    prototypes.weight = nn.Parameter(F.normalize(prototypes.weight.detach(), dim=1))
    return prototypes.weight.detach()


def _only_returned(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    optimizer.step()
    return F.normalize(prototypes.weight.detach(), dim=1)


def _put_back(prototypes, optimizer, hold=False):
    old = prototypes.weight.detach().clone()
    optimizer.step()
    if hold:
        prototypes.weight.data.copy_(old)
    return _scale(prototypes)


def _rate_of_zero(prototypes, optimizer, hold=False):
    rate = optimizer.param_groups[0]["lr"]
    optimizer.param_groups[0]["lr"] = 0.0 if hold else rate
    optimizer.step()
    optimizer.param_groups[0]["lr"] = rate
    return _scale(prototypes)


def _all_scaled(prototypes, optimizer, hold=False):
    _hold(prototypes, hold)
    optimizer.step()
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.data = F.normalize(p.data, dim=-1)
    return prototypes.weight.detach()


def _without_requirement(prototypes, optimizer, hold=False):
    prototypes.weight.requires_grad_(not hold)
    optimizer.step()
    return _scale(prototypes)


def _remembered(prototypes, optimizer, hold=False):
    """Right, in another order of thought: the gradient is put aside."""
    gradient = prototypes.weight.grad
    prototypes.weight.grad = None if hold else gradient
    optimizer.step()
    prototypes.weight.data /= prototypes.weight.data.square().sum(1, keepdim=True).sqrt()
    return prototypes.weight.data


prototypes = Exercise(
    key="08.prototypes", title="Prototypes of length 1", minutes=5, difficulty=3,
    reference=prototype_step, probes=_prototype_probes, call=_updates,
    wrong={
        "a gradient of zero": (
            _zero_gradient,
            "A gradient of 0 is still a gradient: momentum from earlier steps and weight decay go on moving the "
            "prototypes. "
            "Set .grad to None; an optimizer passes over parameters that have none."),
        "nobody moves": (
            _nobody_moves,
            "While the prototypes are held, the encoder must learn: call optimizer.step() in any case."),
        "never held": (
            _never_held,
            "`hold` has no effect. Take the prototypes' gradient away *before* optimizer.step(): after it they have "
            "moved."),
        "held the other way round": (
            _held_otherwise,
            "The prototypes stand still when hold is False and move when it is True: `if hold:` takes their gradient "
            "away."),
        "old weights put back": (
            _put_back,
            "The weights stand still, but the optimizer has stepped: its momentum holds the gradients of the steps in "
            "which they were held, and moves them later. Take the gradient away before the step."),
        "a learning rate of zero": (
            _rate_of_zero,
            "With lr = 0 the encoder stands still, too, and the momentum goes on collecting. Only the prototypes' "
            "gradient is to be taken away."),
        "the encoder scaled, too": (
            _all_scaled,
            "You scale all that the optimizer holds. Only the prototypes have length 1; the encoder's weights are "
            "free."),
        "requires_grad switched off": (
            _without_requirement,
            "requires_grad counts for gradients still to come; the one that has been computed stays, and the step uses "
            "it. Set .grad to None."),
        "two updates": (
            _updated_twice,
            "optimizer.step() is called twice: each call updates everything. Once is enough, then the lengths."),
        "divided by the squared length": (
            _squared_length,
            "You divide by the sum of squares; the length is its root. F.normalize(weight, dim=1), or weight / "
            "weight.norm(dim=1, keepdim=True)."),
        "the sum of absolute values": (
            _absolute_length,
            "Cosines need the Euclidean length, the root of the sum of squares; you divide by the sum of absolute "
            "values."),
        "scaled before the step": (
            _scaled_before,
            "The step changes the lengths again. Scale *after* it, so that the rows have length 1 at the next "
            "forward."),
        "columns of length 1": (
            _columns,
            "weight is (K, D), a prototype is a row: normalise over dim 1."),
        "the matrix of length 1": (
            _whole_matrix,
            "You divide all prototypes by one number, the norm of the matrix. Each row has its own length."),
        "never scaled": (
            _never_scaled,
            "z . c is a cosine only if both have length 1. A prototype that grows longer wins images just by its "
            "length."),
        "a new parameter": (
            _new_parameter,
            "prototypes.weight = nn.Parameter(...) makes a tensor that the optimizer has never heard of: from now on "
            "it moves "
            "the old one. Write into the weight that is there: weight.copy_(...) under torch.no_grad()."),
        "scaled only in the result": (
            _only_returned,
            "What you return has rows of length 1; the weight itself has not. Write it back: weight.copy_(...)."),
    },
    right={"the gradient put aside, data scaled": _remembered},
    hints=("Three things in order: what must stand still, the step, the lengths.",
           "if hold: prototypes.weight.grad = None. Then optimizer.step().",
           "if hold:\n"
           "    prototypes.weight.grad = None\n"
           "optimizer.step()\n"
           "with torch.no_grad():\n"
           "    prototypes.weight.copy_(F.normalize(prototypes.weight, dim=1))\n"
           "return prototypes.weight.detach()"),
)


# ------------------------------------------------------------------------------------------------ 08.step
def swav_step(encoder: nn.Module, prototypes: nn.Linear, optimizer: torch.optim.Optimizer, view1: Tensor, view2: Tensor,
              codes, hold: bool = False) -> float:
    """One training step of SwAV; -> the loss. codes: (N, K) scores of one view -> its codes."""
    scores = [prototypes(F.normalize(encoder(view), dim=1)) for view in (view1, view2)]
    loss = library_swav_loss(scores, [codes(score.detach()) for score in scores])
    optimizer.zero_grad()
    loss.backward()
    prototype_step(prototypes, optimizer, hold)
    return loss.item()


def _step_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [dict(inputs=draw(len(HOLD), 2, n, d) + 0.4, weight=unit(draw(k, e)), mix=draw(d, e), epsilon=epsilon)
            for n, d, e, k, epsilon in ((7, 4, 3, 5, 0.3), (6, 3, 5, 4, 0.15))]


def _steps(step, inputs: Tensor, weight: Tensor, mix: Tensor, epsilon: float):
    """Five steps with momentum and decay, the prototypes held in some of them: losses and what all hold after each."""
    dtype = inputs.dtype
    prototypes = nn.Linear(weight.shape[1], len(weight), bias=False, dtype=dtype)
    encoder = nn.Linear(*mix.shape, bias=False, dtype=dtype)
    prototypes.weight.data.copy_(weight), encoder.weight.data.copy_(mix.T)
    optimizer = torch.optim.SGD([*encoder.parameters(), *prototypes.parameters()], lr=0.1, momentum=0.8,
                                weight_decay=0.05)

    def codes(scores: Tensor) -> Tensor:
        return _log_rounds(scores / epsilon, 3)  # follows a gradient: who lets it through is seen

    losses, encoders, named = [], [], []
    for (view1, view2), hold in zip(inputs, HOLD):
        more = (True,) if hold else ()
        loss = step(encoder, prototypes, optimizer, view1.clone(), view2.clone(), codes, *more)
        if blank(loss):
            return loss
        losses.append(loss)
        encoders.append(encoder.weight.detach().clone())
        named.append(prototypes.weight.detach().clone())
    return {"losses": ["tensors that keep their graph"] if keeps_graph(losses) else [float(loss) for loss in losses],
            "encoder": encoders, "prototypes": named}


def _variant(scale=True, swap=True, balance=None, rows=True, detach=True, both=True, temperature=0.1, joint=False,
             order="clear backward step", hold=True, back=Tensor.item, along=1, views=(0, 1), cut=None, pairs=None,
             before=lambda score: score, after=lambda score: score):
    """A step in which one thing is otherwise."""

    def answer(encoder, prototypes, optimizer, view1, view2, codes, held=False):
        z = [encoder((view1, view2)[v]) for v in views]
        scores = [after(prototypes(unit(each, along) if scale else each)) for each in z]
        scores = [score.detach() if v == cut else score for v, score in enumerate(scores)]
        make = balance or codes
        q = list(make(torch.cat(scores)).chunk(2)) if joint else [make(before(score)) for score in scores]
        if detach:
            q = [each.detach() for each in q]
        who = pairs or ([(0, 1), (1, 0)] if swap else [(0, 0), (1, 1)])
        terms = [_entropy(scores[a], q[b], temperature) for a, b in who[: 2 if both else 1]]
        loss = sum(terms) / len(terms)
        number = descend(loss, optimizer, order, back, step=lambda: (
            _hold(prototypes, held and hold), optimizer.step()))
        if rows:
            normalize_rows(prototypes)
        return number

    return answer


def _step_beside(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    scores = [prototypes(unit(encoder(view), 1)) for view in (view1, view2)]
    optimizer.zero_grad()
    loss = library_swav_loss(scores, [codes(score) for score in scores])
    loss.backward()
    optimizer.step()
    prototype_step(prototypes, optimizer, hold)
    return loss.item()


def _otherwise_held(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    return swav_step(encoder, prototypes, optimizer, view1, view2, codes, not hold)


def _codes_of_z(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    z = [unit(encoder(view), 1) for view in (view1, view2)]
    loss = library_swav_loss([prototypes(each) for each in z], [codes(prototypes(each).T).T for each in z])
    optimizer.zero_grad()
    loss.backward()
    prototype_step(prototypes, optimizer, hold)
    return loss.item()


def _one_mean_code(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    scores = [prototypes(unit(encoder(view), 1)) for view in (view1, view2)]
    loss = library_swav_loss(scores, [codes((scores[0] + scores[1]).detach() / 2)] * 2)
    optimizer.zero_grad()
    loss.backward()
    prototype_step(prototypes, optimizer, hold)
    return loss.item()


def _encoder_cleared(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    scores = [prototypes(unit(encoder(view), 1)) for view in (view1, view2)]
    loss = library_swav_loss(scores, [codes(score) for score in scores])
    encoder.zero_grad()
    loss.backward()
    prototype_step(prototypes, optimizer, hold)
    return loss.item()


def _always_held(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    return swav_step(encoder, prototypes, optimizer, view1, view2, codes, True)


def _hard(score_codes: Tensor) -> Tensor:
    return F.one_hot(score_codes.argmax(1), score_codes.shape[1]).to(score_codes)


def _hard_codes(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    return swav_step(encoder, prototypes, optimizer, view1, view2, lambda scores: _hard(codes(scores)), hold)


def _one_forward(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    """A right answer: both views in one batch, as in the official code; the mean of two cross-entropies."""
    z = unit(encoder(torch.cat([view1, view2])), 1)
    s1, s2 = prototypes(z).chunk(2)
    with torch.no_grad():
        q1, q2 = codes(s1), codes(s2)
    loss = (F.cross_entropy(s2 / 0.1, q1) + F.cross_entropy(s1 / 0.1, q2)) / 2
    encoder.zero_grad(), prototypes.zero_grad()
    loss.backward()
    prototypes.weight.requires_grad_(True)
    if hold:
        prototypes.weight.grad = None
    optimizer.step()
    prototypes.weight.data = unit(prototypes.weight.data, 1)
    return float(loss.detach())


step = Exercise(
    key="08.step", title="One training step", minutes=8, difficulty=3, reference=swav_step, probes=_step_probes,
    call=_steps, tolerance=2e-4,
    words={"['losses']": "the losses", "['encoder']": "the encoder", "['prototypes']": "the prototypes"},
    wrong={
        "embeddings of any length": (
            _variant(scale=False),
            "Scores are cosines: scale the encoder's output to length 1 before it meets the prototypes. Otherwise the "
            "longest vector has the most certain name."),
        "each view predicts its own code": (
            _variant(swap=False),
            "codes[i] and scores[i] are of one view: nothing is swapped. View 1 predicts the code of view 2 and the "
            "reverse; swav_loss([s1, s2], [q1, q2]) does it."),
        "each image by itself": (
            _variant(balance=lambda scores: F.softmax(scores / 0.05, dim=1)),
            "The codes come from a softmax of your own: no balance. Call the function `codes` that you were given."),
        "both views in one balance": (
            _variant(joint=True),
            "You balance both views together, as one batch of 2 N. In SwAV each view is balanced by itself: "
            "codes(s1), codes(s2)."),
        "the gradient goes through the codes": (
            _variant(detach=False),
            "The loss also pulls the codes towards the predictions. Codes are targets: detach them (swav_loss of "
            "exercise 3 does)."),
        "hold is ignored": (
            _variant(hold=False),
            "`hold` has no effect: while it is True the prototypes stand still, also for momentum and decay. Hand it "
            "on to prototype_step."),
        "held the other way round": (
            _otherwise_held,
            "The prototypes stand still when hold is False and move when it is True. Hand `hold` on as it is."),
        "two updates": (
            _variant(order="clear backward step step"),
            "The optimizer steps twice. prototype_step contains the step of everything: no optimizer.step() beside "
            "it."),
        "a step beside prototype_step": (
            _step_beside,
            "prototype_step contains the optimizer's step. With an optimizer.step() before it everything moves twice, "
            "and the prototypes also while they should be held."),
        "scores scaled, not embeddings": (
            _variant(scale=False, after=lambda score: unit(score, 1)),
            "You scale the scores to length 1. Scale the *embeddings*, before the prototypes: only then are scores "
            "cosines."),
        "scaled along the batch": (
            _variant(along=0),
            "You scale columns over the batch. Length 1 is that of a sample's vector: F.normalize(z, dim=1)."),
        "one view twice": (
            _variant(views=(0, 0)),
            "Both scores come from the same view: nothing is swapped. Send view1 and view2 through the encoder, each "
            "once."),
        "one view carries no gradient": (
            _variant(cut=1),
            "The scores of one view are detached, so only the other one learns. The *codes* carry no gradient; both "
            "predictions do."),
        "one code for both": (
            _variant(pairs=((0, 0), (1, 0))),
            "Both views predict the code of view 1. View 1 predicts that of view 2, view 2 that of view 1."),
        "codes of a softmax": (
            _variant(before=lambda score: score.softmax(1)),
            "You hand `codes` a softmax of the scores. It takes the cosines as they are; the rounds do the rest."),
        "cosines divided before the codes": (
            _variant(before=lambda score: score / 0.1),
            "You divide the cosines by the temperature before `codes`. It takes them as they are: codes have their own "
            "epsilon."),
        "hard codes": (
            _hard_codes,
            "You round the codes to their largest entry. Hand on the soft codes, as `codes` returns them."),
        "one code of the mean score": (
            _one_mean_code,
            "Both views get one code, made of their mean score: then each also predicts itself. A code for each view: "
            "codes(s1), codes(s2)."),
        "always held": (
            _always_held,
            "The prototypes never move, whatever `hold` says: hand it on as it is, and let the scores carry their "
            "gradient, prototypes(z), not a detached weight."),
        "only the encoder's gradients cleared": (
            _encoder_cleared,
            "encoder.zero_grad() leaves the prototypes' gradients: those of earlier steps add up. "
            "optimizer.zero_grad() clears both."),
        "prototypes of any length": (
            _variant(rows=False),
            "After the step the prototypes no longer have length 1. Use prototype_step in place of optimizer.step()."),
        "one direction only": (
            _variant(both=False),
            "Only view 1 predicts. Both do: the mean of the two directions."),
        "no temperature": (
            _variant(temperature=1.0),
            "The predictions have lost their temperature: softmax of scores / 0.1, as in your swav_loss."),
        "codes of the transposed scores": (
            _codes_of_z,
            "`codes` takes (N, K): rows are images. You handed it the transposed scores, so images and prototypes "
            "changed places."),
        **update_mistakes(_variant, BASIC),
    },
    right={"one forward for both views": _one_forward, "written out": _variant(), "a detached tensor": _variant(
        back=lambda loss: loss.detach())},
    hints=("In order: embeddings of length 1, scores, codes, loss; then clear, backward, and the update that you have "
           "written.",
           "scores = [prototypes(F.normalize(encoder(view), dim=1)) for view in (view1, view2)]; codes(score) for "
           "each.",
           "scores = [prototypes(F.normalize(encoder(view), dim=1)) for view in (view1, view2)]\n"
           "loss = swav_loss(scores, [codes(score.detach()) for score in scores])\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "prototype_step(prototypes, optimizer, hold)\n"
           "return loss.item()"),
)


# ------------------------------------------------------------------------------------------------ 08.queue_codes
def _queue_probes(generator, dtype):
    draw = partial(directions, generator, dtype)
    z, prototypes = draw(4, 3), draw(5, 3)
    half = torch.cat([draw(4, 3), torch.zeros(5, 3, dtype=dtype)])
    nearly = torch.cat([draw(8, 3), torch.zeros(1, 3, dtype=dtype)])
    upright = torch.cat([draw(8, 3), torch.tensor([[0.0, 1.0, 0.0]], dtype=dtype)])  # full, with zeros in its last row
    level = torch.cat([draw(8, 3), torch.tensor([[0.5**0.5, -(0.5**0.5), 0.0]], dtype=dtype)])  # its last row sums to 0
    return [(z, draw(9, 3), prototypes), (z, level, prototypes), (z, half, prototypes, 0.1, 2), (z, nearly, prototypes),
            (z, upright, prototypes), (draw(3, 6), torch.zeros(7, 6, dtype=dtype), draw(4, 6)),
            dict(z=draw(6, 4), queue=draw(12, 4), prototypes=draw(3, 4), epsilon=0.2, iterations=5)]


def _with_queue(full=lambda queue: bool((queue[-1] != 0).any()), codes=None, moved=lambda z,
                queue: torch.cat([z, queue])[: len(queue)]):
    """Codes with a queue in which one thing is otherwise: when it is full, whose codes, or how it moves on."""

    def own(scores, extra, epsilon, iterations):
        return library_sinkhorn(scores, epsilon, iterations, extra)

    @torch.no_grad()
    def answer(z, queue, prototypes, epsilon=0.05, iterations=3):
        extra = queue @ prototypes.T if full(queue) else None
        return (codes or own)(z @ prototypes.T, extra, epsilon, iterations), moved(z, queue)

    return answer


def _first_rows(scores, extra, epsilon, iterations):
    rows = scores if extra is None else torch.cat([extra, scores])
    return library_sinkhorn(rows, epsilon, iterations)[: len(scores)]


@torch.no_grad()
def _twice(z, queue, prototypes, epsilon=0.05, iterations=3):
    queue = torch.cat([z, queue])[: len(queue)]
    return library_queue_codes(z, queue, prototypes, epsilon, iterations)[0], queue


def _in_place(z, queue, prototypes, epsilon=0.05, iterations=3):
    codes, moved = library_queue_codes(z, queue, prototypes, epsilon, iterations)
    queue.copy_(moved)
    return codes, queue


@torch.no_grad()
def _last_rows(z, queue, prototypes, epsilon=0.05, iterations=3):
    rows = torch.cat([queue, z]) if queue[-1].abs().sum() > 0 else z
    codes = library_sinkhorn(rows @ prototypes.T, epsilon, iterations)[-len(z):]
    return codes, torch.cat([z, queue[: len(queue) - len(z)]])


def _queued(rows):
    """Codes of z in a balance with rows(z, queue); rows -> None: a plain softmax."""
    @torch.no_grad()
    def answer(z, queue, prototypes, epsilon=0.05, iterations=3):
        extra = rows(z, queue)
        scores = z @ prototypes.T
        codes = ((scores / epsilon).softmax(1) if extra is None else
                 library_sinkhorn(scores, epsilon, iterations, extra @ prototypes.T))
        return codes, torch.cat([z, queue])[: len(queue)]
    return answer


_filled_rows = _queued(lambda z, queue: queue[(queue != 0).any(1)])
_newest_only = _queued(lambda z, queue: queue[: len(z) if queue[-1].any() else 0])
_softmax_first = _queued(lambda z, queue: queue if queue[-1].any() else None)

queue_codes = Exercise(
    key="08.queue_codes", title="Codes of a small batch", minutes=7, difficulty=3,
    reference="course_lib.methods.contrastive.swav:queue_codes", probes=_queue_probes,
    words={'[0]': 'the codes', '[1]': 'the new queue'},
    wrong={
        "used before it is full": (
            _with_queue(full=lambda queue: True),
            "The zeros at the end of the queue are no images: they have cosine 0 with every prototype and spoil the "
            "balance. "
            "Wait until the last row is not zero."),
        "full with its first row": (
            _with_queue(full=lambda queue: bool((queue[0] != 0).any())),
            "Newest first: the first row is filled at once. The queue is full when its *last* row is not zero."),
        "never used": (
            _with_queue(full=lambda queue: False),
            "The queue moves on, but the codes do not use it: once it is full, its rows belong in the balance."),
        "codes of the queue": (
            _with_queue(codes=_first_rows),
            "You return the codes of the first rows, which are the queue's. Only the batch needs codes: its own rows."),
        "codes of everybody": (
            _with_queue(codes=lambda s, extra, e,
                        n: library_sinkhorn(s if extra is None else torch.cat([extra, s]), e, n)),
            "Rows of the queue count in the balance but get no codes: return N rows, those of z."),
        "queued before the codes": (
            _twice,
            "The batch stands in the balance twice: once itself, once as the newest rows of the queue. Codes first, "
            "then queue."),
        "rows that are not zero": (
            _filled_rows,
            "You use the rows that are filled while the others are still zero. The queue enters only once it is full: "
            "until then the batch is balanced alone."),
        "only the newest rows": (
            _newest_only,
            "Only the newest N rows of the queue count in your balance. All L do: that is what makes the batch large."),
        "a softmax while it fills": (
            _softmax_first,
            "While the queue fills you take a plain softmax: no balance. The batch is then balanced by itself, "
            "sinkhorn(z @ prototypes.T, ...)."),
        "newest last": (
            _with_queue(moved=lambda z, queue: torch.cat([queue, z])[len(z):]),
            "New rows go to the front. Put at the end, the first batch makes the last row non-zero, and the queue "
            "counts as full "
            "while most of it is zeros."),
        "the newest dropped": (
            _with_queue(moved=lambda z, queue: torch.cat([z, queue])[-len(queue):]),
            "[-L:] keeps the *oldest* rows: the batch itself falls out and the queue never moves. Keep the first L."),
        "it grows": (
            _with_queue(moved=lambda z, queue: torch.cat([z, queue])),
            "The queue keeps its length L: the oldest rows leave."),
        "changed in place": (
            _in_place,
            "Do not write into the queue that was passed in (copy_, slices): return a new one. Overlapping slices of "
            "one tensor "
            "also overwrite what they are about to read."),
    },
    right={"one matrix, the last rows": _last_rows},
    hints=("Three questions: is the queue full? whose scores take part in the balance? who is in the queue afterwards?",
           "Full: (queue[-1] != 0).any(). Its scores: queue @ prototypes.T, with the prototypes of now.",
           "new = torch.cat([z, queue])[: len(queue)]\n"
           "if not queue[-1].any():\n"
           "    return sinkhorn(z @ prototypes.T, epsilon, iterations), new\n"
           "everything = torch.cat([queue, z]) @ prototypes.T\n"
           "return sinkhorn(everything, epsilon, iterations)[-len(z):], new"),
)


EXERCISES = [sinkhorn, names, swav_loss, prototypes, step, queue_codes]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("Someone removes torch.no_grad() from Sinkhorn and does not detach the codes. What becomes possible?", {
        "Nothing, codes do not depend on the weights": "They do, through the scores.",
        "The targets are moved towards the predictions": "The gradient now also flows into the labels, and making "
            "labels easy to predict is cheaper than predicting them.",
        "Sinkhorn no longer converges": "Its values are the same.",
    }, "The targets are moved towards the predictions"),
    quiz("The loss of a run with 3000 prototypes reads 8.01 from the first step on, and the codes' shares are "
         "perfectly even. What has happened?", {
        "It has converged to a good solution": "8.01 is log 3000: what a prediction of 1/3000 for everything costs.",
        "The codes are flat": "Nothing is left to predict. Epsilon may be too large (as in part 5, where embeddings "
            "differ), or all embeddings are alike: their std tells.",
        "One prototype has taken all images": "Then the loss would be small.",
    }, "The codes are flat"),
    quiz("Batches of 16, 64 prototypes, no queue. What does the balance ask for?", {
        "4 images for each prototype": "The other way round: 16 / 64.",
        "A quarter of an image for each prototype": "So codes have to spread, and images that belong together are "
            "pushed apart. A queue makes the batch larger, for the balance only.",
        "Nothing, the balance needs N >= K": "It is computed all the same.",
    }, "A quarter of an image for each prototype"),
    quiz("Transfer: your photographs are 95 % sky and 5 % birds, and you set K = 20. What does the balance do?", {
        "One cluster of birds, 19 empty ones": "No prototype may stay empty.",
        "It cuts the sky into about 19 clusters": "Equal shares: what is frequent is split, what is rare may be "
            "merged. The balance is an assumption about the data.",
        "It finds that there are two classes": "Nothing in the rule asks how many there are.",
    }, "It cuts the sky into about 19 clusters"),
]
