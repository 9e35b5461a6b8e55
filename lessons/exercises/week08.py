"""Exercises of week 8, SwAV: balanced codes, the swapped loss, prototypes that rest, and a queue for small batches."""
from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.swav import normalize_rows
from course_lib.methods.contrastive.swav import queue_codes as library_queue_codes
from course_lib.models.layers import sinkhorn as library_sinkhorn
from lessons.exercises.shared import directions, rand, randn


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


# ------------------------------------------------------------------------------------------------ 08.swav_loss
def _loss_probes(generator, dtype):
    def crops(count: int, n: int, k: int) -> tuple[list[Tensor], list[Tensor]]:
        scores = [_cosines(generator, dtype, n, k) for _ in range(count)]
        codes = [F.softmax(3 * randn(generator, dtype, n, k), dim=1) for _ in range(2)]
        return scores, codes

    return [crops(2, 6, 5), (*crops(4, 5, 3), 0.3), dict(zip(("scores", "codes"), crops(3, 4, 7)), temperature=0.5)]


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
    for x, resting in zip(inputs, hold):
        optimizer.zero_grad()
        F.cross_entropy(prototypes(x @ encoder) / 0.5, torch.arange(len(x)) % len(weight)).backward()
        got = step(prototypes, optimizer, resting) if resting else step(prototypes, optimizer)
        if got is None or got is Ellipsis:
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


def _rest(prototypes: nn.Linear, hold: bool) -> None:
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


def _never_rests(prototypes, optimizer, hold=False):
    optimizer.step()
    return _scale(prototypes)


def _scaled_before(prototypes, optimizer, hold=False):
    _rest(prototypes, hold)
    _scale(prototypes)
    optimizer.step()
    return prototypes.weight.detach()


def _columns(prototypes, optimizer, hold=False):
    _rest(prototypes, hold)
    optimizer.step()
    return _scale(prototypes, 0)


def _whole_matrix(prototypes, optimizer, hold=False):
    _rest(prototypes, hold)
    optimizer.step()
    return _scale(prototypes, None)


def _never_scaled(prototypes, optimizer, hold=False):
    _rest(prototypes, hold)
    optimizer.step()
    return prototypes.weight.detach()


def _new_parameter(prototypes, optimizer, hold=False):
    _rest(prototypes, hold)
    optimizer.step()
    prototypes.weight = nn.Parameter(F.normalize(prototypes.weight.detach(), dim=1))
    return prototypes.weight.detach()


def _only_returned(prototypes, optimizer, hold=False):
    _rest(prototypes, hold)
    optimizer.step()
    return F.normalize(prototypes.weight.detach(), dim=1)


def _remembered(prototypes, optimizer, hold=False):
    """Right, in another order of thought: the gradient is put aside."""
    gradient = prototypes.weight.grad
    prototypes.weight.grad = None if hold else gradient
    optimizer.step()
    prototypes.weight.data /= prototypes.weight.data.square().sum(1, keepdim=True).sqrt()
    return prototypes.weight.data


prototypes = Exercise(
    key="08.prototypes", title="Prototypes that rest, on the sphere", minutes=6, difficulty=3,
    reference=prototype_step, probes=_prototype_probes, call=_updates,
    wrong={
        "a gradient of zero": (
            _zero_gradient,
            "A gradient of 0 is still a gradient: momentum from earlier steps and weight decay go on moving the "
            "prototypes. "
            "Set .grad to None; an optimizer passes over parameters that have none."),
        "nobody moves": (
            _nobody_moves,
            "While the prototypes rest, the encoder must learn: call optimizer.step() in any case."),
        "they never rest": (
            _never_rests,
            "`hold` has no effect. Take the prototypes' gradient away *before* optimizer.step(): after it they have "
            "moved."),
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
    hints=("Three things in order: who may not move, the step, the lengths.",
           "if hold: prototypes.weight.grad = None. Then optimizer.step().",
           "if hold:\n"
           "    prototypes.weight.grad = None\n"
           "optimizer.step()\n"
           "with torch.no_grad():\n"
           "    prototypes.weight.copy_(F.normalize(prototypes.weight, dim=1))\n"
           "return prototypes.weight.detach()"),
)


# ------------------------------------------------------------------------------------------------ 08.queue_codes
def _queue_probes(generator, dtype):
    draw = partial(directions, generator, dtype)
    z, prototypes = draw(4, 3), draw(5, 3)
    half = torch.cat([draw(4, 3), torch.zeros(5, 3, dtype=dtype)])
    nearly = torch.cat([draw(8, 3), torch.zeros(1, 3, dtype=dtype)])
    upright = torch.cat([draw(8, 3), torch.tensor([[0.0, 1.0, 0.0]], dtype=dtype)])  # full, with zeros in its last row
    return [(z, draw(9, 3), prototypes), (z, half, prototypes, 0.1, 2), (z, nearly, prototypes),
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


EXERCISES = [sinkhorn, swav_loss, prototypes, queue_codes]
