"""Exercises of week 10, whom to push away: negatives debiased, weighed by hardness, picked by rank; a step of RoCo."""
from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.negatives import log_mass, log_weights, ranked
from course_lib.methods.contrastive.roco import roco_logits
from course_lib.models.layers import Queue
from course_lib.models.teacher import ema_update
from lessons.exercises.shared import (
    BASIC,
    QUEUE_WORDS,
    descend,
    queue_steps,
    rand,
    randn,
    two_encoders,
    unit,
    update_mistakes,
)


# ------------------------------------------------------------------------------------------------ 10.debiased
def debiased(positive: Tensor, negatives: Tensor, temperature: float = 0.5, tau_plus: float = 0.1) -> Tensor:
    """Cosines (A,) and (A, M) -> (A,): the sum over the negatives without the share of the anchor's own class."""
    return log_mass(positive / temperature, negatives / temperature, temperature, tau_plus).exp()


def _cosines(generator, dtype, *shape):
    return 1.8 * rand(generator, dtype, *shape) - 0.9


def _debiased_probes(generator, dtype):
    draw = partial(_cosines, generator, dtype)
    # the second probe has positives so near, and negatives so far, that the floor holds for some anchors
    near, far = 0.9 + 0.09 * rand(generator, dtype, 4), -0.9 + 0.02 * rand(generator, dtype, 4, 8)
    return [(draw(3), draw(3, 5)), (torch.cat([draw(2) - 0.1, near]), torch.cat([draw(2, 8), far]), 0.4, 0.2),
            (draw(4).abs().neg(), draw(4, 6), 0.25, 0.3),
            dict(positive=draw(5), negatives=draw(5, 7), temperature=0.7, tau_plus=0.05)]


def _mass(positive, negatives, temperature, tau_plus, *, count=None, own=None, share=None, floor=True, sums=None):
    """The right one, or with one thing changed."""
    m = negatives.shape[1] if count is None else negatives.shape[1] + count
    total = (negatives / temperature).exp().sum(1) if sums is None else sums(negatives / temperature)
    near = (positive / temperature).exp() if own is None else own(positive, temperature)
    left = (total - tau_plus * m * near) / (1 - tau_plus if share is None else share(tau_plus))
    return left.clamp(min=m * math.exp(-1 / temperature)) if floor else left


def _changed(**change):
    return lambda positive, negatives, temperature=0.5, tau_plus=0.1: _mass(positive, negatives, temperature, tau_plus,
                                                                            **change)


def _floor_of_one(positive, negatives, temperature=0.5, tau_plus=0.1):
    return _mass(positive, negatives, temperature, tau_plus, floor=False).clamp(min=math.exp(-1 / temperature))


def _floor_at_zero(positive, negatives, temperature=0.5, tau_plus=0.1):
    return _mass(positive, negatives, temperature, tau_plus, floor=False).clamp(min=0)


def _absolute(positive, negatives, temperature=0.5, tau_plus=0.1):
    return _mass(positive, negatives, temperature, tau_plus, floor=False).abs()


def _cold_floor(positive, negatives, temperature=0.5, tau_plus=0.1):
    return _mass(positive, negatives, temperature, tau_plus, floor=False).clamp(min=negatives.shape[1] * math.exp(-1))


def _one_positive(positive, negatives, temperature=0.5, tau_plus=0.1):
    m, total = negatives.shape[1], (negatives / temperature).exp().sum(1)
    left = (total - tau_plus * (positive / temperature).exp()) / (1 - tau_plus)
    return left.clamp(min=m * math.exp(-1 / temperature))


def _counts_anchors(positive, negatives, temperature=0.5, tau_plus=0.1):
    return _mass(positive, negatives, temperature, tau_plus, count=len(negatives) - negatives.shape[1])


def _floor_first(positive, negatives, temperature=0.5, tau_plus=0.1):
    m, own = negatives.shape[1], (positive / temperature).exp()
    left = (negatives / temperature).exp().sum(1) - tau_plus * m * own
    return left.clamp(min=m * math.exp(-1 / temperature)) / (1 - tau_plus)


def _half_divided(positive, negatives, temperature=0.5, tau_plus=0.1):
    m, own = negatives.shape[1], (positive / temperature).exp()
    left = (negatives / temperature).exp().sum(1) - tau_plus * m * own / (1 - tau_plus)
    return left.clamp(min=m * math.exp(-1 / temperature))


def _softer(positive, negatives, temperature=0.5, tau_plus=0.1):
    """A right answer: means instead of sums, the floor by maximum."""
    m = negatives.shape[1]
    mean = torch.exp(negatives / temperature).mean(dim=-1)
    left = mean / (1 - tau_plus) - tau_plus / (1 - tau_plus) * torch.exp(positive / temperature)
    return m * torch.maximum(left, torch.full_like(left, math.exp(-1 / temperature)))


first = Exercise(
    key="10.debiased", title="Take off the share of your own kind", minutes=8, difficulty=2,
    reference=debiased, probes=_debiased_probes, gradients=True,
    wrong={
        "the floor is left out": (
            _changed(floor=False),
            "For a near positive the estimate falls below what M negatives can weigh at the least, and may even be "
            "negative; its logarithm is NaN. No cosine is below -1: clamp at M exp(-1 / temperature)."),
        "the floor of a single negative": (
            _floor_of_one,
            "exp(-1 / temperature) is the least that *one* negative can weigh. There are M of them."),
        "the floor at 0": (
            _floor_at_zero,
            "A sum of M exponentials is never as small as 0: each is at least exp(-1 / temperature)."),
        "the absolute value in place of the floor": (
            _absolute,
            "abs turns a negative estimate into a large positive one. An estimate that is too small becomes the least "
            "that M negatives can weigh: clamp(min=M exp(-1 / temperature))."),
        "the floor without its temperature": (
            _cold_floor,
            "The floor is what M negatives of cosine -1 weigh, and they are divided by the temperature as all others: "
            "M exp(-1 / temperature)."),
        "not divided by 1 - tau+": (
            _changed(share=lambda tau_plus: 1),
            "After the own class is taken off, only the share 1 - tau_plus of the M is left. Divide by it, so that the "
            "rest stands for M negatives again."),
        "one positive in place of M": (
            _one_positive,
            "Of M random images tau_plus * M are expected to be of the anchor's own class. You took off tau_plus of "
            "one."),
        "M counts anchor and positive": (
            _changed(count=2),
            "M is the number of negatives, without the anchor and without its positive: negatives.shape[1]."),
        "M is the number of anchors": (
            _counts_anchors,
            "M is the number of negatives of one anchor, negatives.shape[1]; you count the anchors."),
        "the floor before the division": (
            _floor_first,
            "The floor holds for N_g, so it comes last: first divide by 1 - tau_plus, then clamp."),
        "only the positive's part divided": (
            _half_divided,
            "1 - tau_plus divides the whole difference: (sum - tau_plus * M * exp(positive / temperature)) / (1 - "
            "tau_plus). Mind the brackets."),
        "the positive without its exponential": (
            _changed(own=lambda positive, temperature: positive / temperature),
            "What is taken off is of the kind that is summed: exp(positive / temperature)."),
        "the positive without its temperature": (
            _changed(own=lambda positive, temperature: positive.exp()),
            "The positive stands for negatives of its own class, so it goes through the same exp(. / temperature)."),
        "the positive detached": (
            _changed(own=lambda positive, temperature: (positive.detach() / temperature).exp()),
            "The value is right. In the official code the gradient flows through the positive here, too: do not detach "
            "it."),
        "a mean in place of the sum": (
            _changed(sums=lambda logits: logits.exp().mean(1)),
            "N_g stands for the *sum* over M negatives. Your mean is M times smaller, while M copies of the positive "
            "are taken off."),
        "the softmax of the negatives": (
            _changed(sums=lambda logits: logits.logsumexp(1)),
            "logsumexp is the logarithm of the sum. N_g is the sum itself: no logarithm yet."),
    },
    right={"means, and the floor by maximum": _softer},
    hints=("A random image is of the anchor's own class with the probability tau_plus. How much of the sum over M of "
           "them belongs to that class, if each weighs as much as the positive?",
           "(sum - tau_plus * M * exp(positive / temperature)) / (1 - tau_plus), and never below M * exp(-1 / "
           "temperature).",
           "m = negatives.shape[1]\n"
           "total = torch.exp(negatives / temperature).sum(dim=1)\n"
           "own = tau_plus * m * torch.exp(positive / temperature)\n"
           "return ((total - own) / (1 - tau_plus)).clamp(min=m * math.exp(-1 / temperature))"),
)


# ------------------------------------------------------------------------------------------------ 10.reweighted
def reweighted(negatives: Tensor, temperature: float = 0.5, beta: float = 1.0) -> Tensor:
    """Cosines (A, M) -> (A,): the sum over the negatives, each weighed by exp(beta cosine / temperature), of mean 1."""
    logits = negatives / temperature
    return (logits + log_weights(logits, beta)).exp().sum(1)


def _reweighted_probes(generator, dtype):
    draw = partial(_cosines, generator, dtype)
    return [(draw(3, 5),), (draw(4, 7), 0.3, 0.4), dict(negatives=draw(5, 3), temperature=0.8), (draw(6, 4), 0.6, 2.5),
            (draw(2, 6), 0.5, 0.0)]


def _tilted(tilt=lambda negatives, temperature, beta: beta * negatives / temperature,
            norm=lambda w: w.mean(1, keepdim=True), detach=False):
    """The right one, or with one thing changed."""
    def answer(negatives, temperature=0.5, beta=1.0):
        weights = tilt(negatives, temperature, beta).exp()
        weights = weights / norm(weights)
        return ((weights.detach() if detach else weights) * (negatives / temperature).exp()).sum(1)

    return answer


def _only_weights(negatives, temperature=0.5, beta=1.0):
    weights = (beta * negatives / temperature).exp()
    return (weights / weights.mean(1, keepdim=True)).sum(1)


def _power_of_the_mean(negatives, temperature=0.5, beta=1.0):
    terms = (negatives / temperature).exp()
    return ((terms / terms.mean(1, keepdim=True)) ** beta * terms).sum(1)


second = Exercise(
    key="10.reweighted", title="The nearer, the more it counts", minutes=7, difficulty=2,
    reference=reweighted, probes=_reweighted_probes, gradients=True,
    wrong={
        "beta times the bare cosine": (
            _tilted(tilt=lambda negatives, temperature, beta: beta * negatives),
            "beta multiplies the cosine *over the temperature*, so that a weight is a power of its own exponential: "
            "exp(cosine / temperature) ** beta."),
        "weights that add up to 1": (
            _tilted(norm=lambda w: w.sum(1, keepdim=True)),
            "Your weights have the *sum* 1, so N_g shrinks from a sum to a mean: with beta = 0 it would be M times too "
            "small. Divide by their mean."),
        "weights as they are": (
            _tilted(norm=lambda w: 1),
            "Without a division N_g grows with beta, and the comparison is no longer one of hard and easy: all "
            "negatives count more. Weights have mean 1 for each anchor."),
        "one mean for all anchors": (
            _tilted(norm=lambda w: w.mean()),
            "You divide by the mean over the whole table. Each anchor has its own M negatives: the mean of its row."),
        "a power of the mean": (
            _power_of_the_mean,
            "You divide by a power of the mean of the exponentials. Then the weights have mean 1 for beta = 1 only: "
            "divide them by *their* mean, that of exp(beta * cosine / temperature)."),
        "the mean over the anchors": (
            _tilted(norm=lambda w: w.mean(0, keepdim=True)),
            "You divide by the mean of each column, over the anchors. The weights of one anchor's negatives have mean "
            "1: over dim 1."),
        "weights detached": (
            _tilted(detach=True),
            "The value is right. But in the official code gradients flow through the weights, too: moving a negative "
            "changes how much it counts."),
        "the easier, the more": (
            _tilted(tilt=lambda negatives, temperature, beta: -beta * negatives / temperature),
            "Your weights are largest for the *farthest* negatives. A positive beta asks for the near ones."),
        "only the weights": (
            _only_weights,
            "That is the sum of the weights, which is always M. Each weight multiplies its own exp(cosine / "
            "temperature)."),
    },
    right={
        "powers of the exponentials": lambda negatives, temperature=0.5, beta=1.0: (
            lambda e: (e ** (1 + beta)).sum(1) / (e ** beta).mean(1))((negatives / temperature).exp()),
        "a softmax, times M": lambda negatives, temperature=0.5, beta=1.0: (
            negatives.shape[1] * (beta * negatives / temperature).softmax(1) * (negatives / temperature).exp()).sum(1),
    },
    hints=("Which weights would leave the sum as it is? What must their mean be, whatever beta is?",
           "weights = exp(beta * negatives / temperature), divided by their mean over dim 1 (keepdim=True).",
           "logits = negatives / temperature\n"
           "weights = torch.exp(beta * logits)\n"
           "weights = weights / weights.mean(dim=1, keepdim=True)\n"
           "return (weights * torch.exp(logits)).sum(dim=1)"),
)


# ------------------------------------------------------------------------------------------------ 10.percentile
def percentile(scores: Tensor, values: Tensor, low: float, high: float) -> Tensor:
    """(A, M), (A, M) -> (A, M'): of each row the values where the score's rank is from low * M to high * M.

    Counted from the highest score, which comes first.
    """
    first, last = (round(share * scores.shape[1]) for share in (low, high))
    return values.gather(1, ranked(scores, first, last))


def _percentile_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [(draw(3, 10), draw(3, 10), 0.0, 0.3), (draw(4, 8), draw(4, 8), 0.25, 0.75),
            dict(scores=draw(2, 12), values=(draw(2, 12) > 0), low=0.5, high=1.0), (draw(5, 6), draw(5, 6), 0.5, 1.0)]


def _picked(scores, values, low, high, *, by=None, descending=True, dim=1, shift=0):
    """The right one, or with one thing changed."""
    order = (scores if by is None else by(scores, values)).argsort(dim, descending=descending)
    m = scores.shape[1]
    return values.gather(1, order[:, round(low * m) + shift:round(high * m) + shift])


def _by_threshold(scores, values, low, high):
    """Above a quantile of the whole table: rows may keep different numbers, so they are cut to the fewest."""
    ranks = scores.flatten().argsort(descending=True).argsort().view_as(scores).double() / scores.numel()
    kept = [row[(rank >= low) & (rank < high)] for row, rank in zip(values, ranks)]
    return torch.stack([row[:min(map(len, kept))] for row in kept])


def _ranked_once(scores, values, low, high):
    """A right answer: ranks by counting who is higher."""
    m = scores.shape[1]
    rank = (scores[:, None, :] > scores[:, :, None]).sum(-1)  # (A, M)
    out = torch.empty_like(values)
    out.scatter_(1, rank, values)
    return out[:, round(low * m):round(high * m)]


third = Exercise(
    key="10.percentile", title="Negatives of a rank", minutes=7, difficulty=2,
    reference=percentile, probes=_percentile_probes,
    wrong={
        "the easiest first": (
            partial(_picked, descending=False),
            "argsort goes from low to high, so your first negatives are the *easiest*. Hard means a high score: "
            "descending=True."),
        "sorted by the values": (
            partial(_picked, by=lambda scores, values: values.double()),
            "You ranked by `values`. The scores say who is hard; the values are only looked up."),
        "the scores come back": (
            lambda scores, values, low, high: _picked(scores, scores, low, high),
            "You return the scores of the chosen negatives. Wanted are their *values*: gather them with the same "
            "columns."),
        "as they lie": (
            lambda scores, values, low, high: values[:, round(low * values.shape[1]):round(high * values.shape[1])],
            "You cut the columns as they lie. Sort each row by its scores first."),
        "one order for all anchors": (
            lambda scores, values, low, high: values[:, scores.mean(0).argsort(descending=True)][
                :, round(low * values.shape[1]):round(high * values.shape[1])],
            "You use one order for all rows. What is hard for one anchor is easy for another: sort each row by "
            "itself."),
        "ranks over the anchors": (
            lambda scores, values, low, high: _picked(
                scores.argsort(0, descending=True).argsort(0).double().neg(), values, low, high)
            if len(scores) > 1 else values,
            "You ranked along the columns, over the anchors. Each anchor ranks *its* negatives: dim=1."),
        "counted from the easy end": (
            lambda scores, values, low, high: _picked(scores, values, 1 - high, 1 - low),
            "You cut off the wrong end: shares count from the hardest, 0 is the very hardest."),
        "everything above high": (
            lambda scores, values, low, high: _picked(scores, values, 0, high),
            "You keep all down to `high`. The negatives above `low` are to go, too."),
    },
    right={"who is higher, counted": _ranked_once,
           "topk": lambda scores, values, low, high: values.gather(
               1, scores.topk(round(high * scores.shape[1]), dim=1).indices[:, round(low * scores.shape[1]):])},
    hints=("Sort each row by its scores. Which columns does a share of it mean?",
           "order = scores.argsort(dim=1, descending=True); the columns from round(low * M) to round(high * M); then "
           "values.gather(1, columns).",
           "m = scores.shape[1]\n"
           "order = scores.argsort(dim=1, descending=True)[:, round(low * m):round(high * m)]\n"
           "return values.gather(1, order)"),
)


# ------------------------------------------------------------------------------------------------ 10.roco_step
def roco_step(query: nn.Module, key: nn.Module, optimizer: torch.optim.Optimizer, queue: Queue, view1: Tensor,
              view2: Tensor, scramble, alpha: float = 2.0, momentum: float = 0.99, temperature: float = 0.2) -> float:
    """One training step of RoCo with one negative made from each query's own view -> the loss as a number."""
    q = F.normalize(query(view1), dim=1)
    with torch.no_grad():
        k = F.normalize(key(view2), dim=1)
        t = F.normalize(key(scramble(view1)), dim=1)
    logits = roco_logits(q, k, queue.rows, t.unsqueeze(1), temperature, alpha)
    loss = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema_update(key, query, momentum)
    queue.enqueue(k)
    return loss.item()


def _roco_probes(generator, dtype):
    wide, narrow = two_encoders(generator, dtype, (4, 6, 3), (5, 7, 4))
    return [dict(**wide, rows=unit(randn(generator, dtype, 16, 3)),
                 views=randn(generator, dtype, 3, 2, 8, 4), alpha=1.7, momentum=0.7, temperature=0.5),
            dict(**narrow, rows=unit(randn(generator, dtype, 18, 4)),
                 views=randn(generator, dtype, 3, 2, 9, 5))]


def _scramble(view):
    return view.roll(1, dims=1).flip(1)


def _three_steps(step, query, key, rows, views, **settings):
    return queue_steps(step, query, key, rows, [(*pair, _scramble) for pair in views], **settings)


def _logits(q, k, rows, t, temperature, alpha):
    own = (q * t).sum(1, keepdim=True)
    return torch.cat([(q * k).sum(1, keepdim=True), q @ rows.T, alpha * own], 1) / temperature


def _pair_of_keys(key, view2, scrambled):
    return key(view2), key(scrambled)


def _mistaken(*, source=0, made=_scramble, by="key", gradient=False, lengths=(True, True, True), logits=_logits,
              keys=_pair_of_keys, queued=lambda k, t, q: k, follow=ema_update, early=False, order="clear backward step",
              back=Tensor.item, views=(0, 1)):
    """A step with one thing changed."""
    def step(query, key, optimizer, queue, view1, view2, scramble, alpha=2.0, momentum=0.99, temperature=0.2):
        pair = view1, view2
        length = [unit if one else lambda z: z for one in lengths]
        q = length[0](query(pair[views[0]]))
        with torch.set_grad_enabled(gradient):
            k, t = keys(key, pair[views[1]], made(pair[source]))
            t = query(made(pair[source])) if by == "query" else t
        k, t = length[1](k.detach()), length[2](t if gradient else t.detach())
        if early:
            queue.enqueue(queued(k, t, q))
        value = F.cross_entropy(logits(q, k, queue.rows, t, temperature, alpha), torch.zeros(len(q), dtype=torch.long))
        number = descend(value, optimizer, order, back)
        if follow:
            follow(key, query, momentum)
        if not early:
            queue.enqueue(queued(k, t, q))
        return number

    return step


def _weight_of_the_term(q, k, rows, t, temperature, alpha):
    plain = _logits(q, k, rows, t, temperature, 1.0)
    return torch.cat([plain[:, :-1], plain[:, -1:] + math.log(alpha)], 1)


def _all_of_the_batch(q, k, rows, t, temperature, alpha):
    return torch.cat([(q * k).sum(1, keepdim=True), q @ rows.T, alpha * q @ t.T], 1) / temperature


def _after_the_temperature(q, k, rows, t, temperature, alpha):
    own = (q * t).sum(1, keepdim=True)
    return torch.cat([torch.cat([(q * k).sum(1, keepdim=True), q @ rows.T], 1) / temperature, alpha * own], 1)


def _one_pass(key, view2, scrambled):
    return key(torch.cat([view2, scrambled])).chunk(2)


def _both_in_a_loop(query, key, optimizer, queue, view1, view2, scramble, alpha=2.0, momentum=0.99, temperature=0.2):
    """A right answer: the loss written out, query by query; t before k."""
    with torch.no_grad():
        t = key(scramble(view1))
        t = t / t.norm(dim=1, keepdim=True)
        k = key(view2)
        k = k / k.norm(dim=1, keepdim=True)
    q = query(view1)
    q = q / q.norm(dim=1, keepdim=True)
    loss = 0
    for i in range(len(q)):
        rivals = torch.cat([queue.rows @ q[i], alpha * (t[i] @ q[i]).view(1), (k[i] @ q[i]).view(1)])
        loss = loss + (torch.logsumexp(rivals / temperature, 0) - k[i] @ q[i] / temperature) / len(q)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(key.parameters(), query.parameters()):
            slow.copy_(momentum * slow + (1 - momentum) * fast)
    queue.enqueue(k)
    return float(loss)


step = Exercise(
    key="10.roco_step", title="One step of RoCo", minutes=12, difficulty=3,
    reference=roco_step, probes=_roco_probes, call=_three_steps, tolerance=1e-3,
    words=QUEUE_WORDS,
    wrong={
        "alpha as a weight of the term": (
            _mistaken(logits=_weight_of_the_term),
            "You multiply the *term* exp(q . t / temperature) by alpha. In RoCo alpha multiplies the similarity, "
            "inside the exponential: near negatives of the own image gain much more than far ones."),
        "alpha for all negatives": (
            _mistaken(logits=lambda q, k, rows, t, temperature, alpha: torch.cat(
                [(q * k).sum(1, keepdim=True), alpha * q @ rows.T, alpha * (q * t).sum(1, keepdim=True)], 1)
                / temperature),
            "alpha belongs to the own negative alone; you multiply the queue's similarities, too."),
        "alpha is not used": (
            _mistaken(logits=lambda q, k, rows, t, temperature, alpha: _logits(q, k, rows, t, temperature, 1.0)),
            "Your own negative counts like any other: its similarity is multiplied by alpha first."),
        "alpha without the temperature": (
            _mistaken(logits=_after_the_temperature),
            "All K + 2 similarities are divided by the temperature, the own negative's as well."),
        "no own negative": (
            _mistaken(logits=lambda q, k, rows, t, temperature, alpha: torch.cat(
                [(q * k).sum(1, keepdim=True), q @ rows.T], 1) / temperature),
            "That is MoCo: the negative made from the query's view is missing among the logits."),
        "everybody's own negatives": (
            _mistaken(logits=_all_of_the_batch),
            "Each query is compared with the scrambled views of *all* images of the batch. It gets its own alone: "
            "(q * t).sum(1), one column."),
        "made from the key's view": (
            _mistaken(source=1),
            "t is made from view2. The paper scrambles the *query's* view, so that colours and textures are just those "
            "of the query."),
        "the key from the query's view": (
            _mistaken(views=(0, 0)),
            "k is made from view1, as q is: positive and query are one and the same view. k = key(view2)."),
        "not scrambled": (
            _mistaken(made=lambda view: view),
            "t is the query's own view as it is: you push each image away from itself. scramble(view1) first."),
        "the query encoder makes t": (
            _mistaken(by="query"),
            "t comes out of `query`. It is a negative like the queue's: made by the key encoder, without gradient."),
        "a gradient into the own negative": (
            _mistaken(gradient=True),
            "The loss sends a gradient through t into the key encoder. t is a constant, like all keys: "
            "torch.no_grad()."),
        "one pass for both": (
            _mistaken(keys=_one_pass),
            "You encoded keys and own negatives in one pass, so they share the statistics of batch norm, and each says "
            "something about the other. Two passes: key(view2), key(scramble(view1))."),
        "the own negatives are enqueued": (
            _mistaken(queued=lambda k, t, q: t),
            "The queue gets the keys of real images. Scrambled ones would be everybody's negatives later on."),
        "both are enqueued": (
            _mistaken(queued=lambda k, t, q: torch.cat([k, t])),
            "Enqueue the keys alone: the own negatives belong to their queries and are thrown away."),
        "the queries are enqueued": (
            _mistaken(queued=lambda k, t, q: q),
            "You put the queries into the queue; it holds keys, k."),
        "enqueued before the loss": (
            _mistaken(early=True),
            "The loss is computed against a queue that holds this step's keys: each positive is also a negative. First "
            "the loss, then the queue."),
        "t is not of length 1": (
            _mistaken(lengths=(True, True, False)),
            "q . t is no cosine: scale t to length 1, as q and k."),
        "the key encoder never follows": (
            _mistaken(follow=None),
            "The key encoder stays as it was: move it towards the query encoder after the optimizer's step."),
        **update_mistakes(_mistaken, BASIC),
    },
    right={"the loss written out, query by query": _both_in_a_loop},
    hints=("The scrambled view plays the part of a key: the slow encoder sees it, without gradient. It is a "
           "negative of its own query alone, so no other query may meet it, now or later.",
           "k and t under torch.no_grad(), both by `key`, in two passes. Logits: (q * k).sum(1), q @ queue.rows.T, "
           "alpha * (q * t).sum(1), all over the temperature. Then the optimizer, ema_update(key, query, momentum), "
           "queue.enqueue(k).",
           "q = F.normalize(query(view1), dim=1)\n"
           "with torch.no_grad():\n"
           "    k = F.normalize(key(view2), dim=1)\n"
           "    t = F.normalize(key(scramble(view1)), dim=1)\n"
           "own = alpha * (q * t).sum(1, keepdim=True)\n"
           "logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.rows.T, own], dim=1) / temperature\n"
           "loss = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "with torch.no_grad():\n"
           "    for slow, fast in zip(key.parameters(), query.parameters()):\n"
           "        slow.lerp_(fast, 1 - momentum)\n"
           "queue.enqueue(k)\n"
           "return loss.item()"),
)


EXERCISES = [first, second, third, step]
