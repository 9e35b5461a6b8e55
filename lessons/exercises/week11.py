"""Exercises of week 11, watch the scores: a meter for them, pairs moved apart, the loss of both mixtures, a step."""
from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.imco import extrapolate, imco_logits
from course_lib.models.layers import Queue
from course_lib.models.teacher import ema_update
from lessons.exercises.shared import (
    BASIC,
    QUEUE_WORDS,
    descend,
    directions,
    queue_steps,
    rand,
    randn,
    two_encoders,
    unit,
    update_mistakes,
)


# ------------------------------------------------------------------------------------------------ 11.score_meter
def _meter_probes(generator, dtype):
    draw, rows = partial(randn, generator, dtype), partial(directions, generator, dtype)
    # the second: all vectors have a direction in common, so that means are far from 0
    return [(draw(5, 3), draw(5, 3), rows(7, 3)), (draw(4, 6) + 2, 3 * draw(4, 6) + 4, unit(draw(9, 6) + 1)),
            dict(q=0.2 * draw(6, 4), k=draw(6, 4), negatives=rows(5, 4))]


def _meter(positive=lambda q, k: (q * k).sum(1), negative=lambda q, k, rows: q @ rows.T, length=unit,
           spread=lambda s: s.var(correction=0), spread_of_all=None):
    """The right one, or with one thing changed."""
    def answer(q, k, negatives):
        near, far = positive(length(q), length(k)), negative(length(q), length(k), negatives)
        return {"positive": near.mean(), "positive_variance": spread(near), "negative": far.mean(),
                "negative_variance": (spread_of_all or spread)(far)}

    return answer


first = Exercise(
    key="11.score_meter", title="A meter for the scores", minutes=6, difficulty=1,
    reference="course_lib.methods.contrastive.imco:score_moments", probes=_meter_probes,
    words={"['positive']": "the mean of the positive scores", "['negative']": "the mean of the negative scores",
           "['positive_variance']": "the variance of the positive scores",
           "['negative_variance']": "the variance of the negative scores"},
    wrong={
        "not of length 1": (
            _meter(length=lambda z: z),
            "Your scores are dot products of vectors of any length. A score is a cosine: scale `q` and `k` to length 1 "
            "first."),
        "length 1 over the batch": (
            _meter(length=lambda z: unit(z, dim=0)),
            "You scaled the columns, over the batch. Each vector, a row, gets length 1: dim=1."),
        "an estimate of the variance": (
            _meter(spread=lambda s: s.var()),
            "torch's var divides by the number less one, an estimate from a sample. Here these *are* all scores: "
            "correction=0."),
        "the standard deviation": (
            _meter(spread=lambda s: s.std(correction=0)),
            "That is the standard deviation, the root of the variance."),
        "all keys of the batch as positives": (
            _meter(positive=lambda q, k: q @ k.T),
            "q @ k.T holds the scores of each query with *all* keys of the batch. A positive pair is a row with its "
            "own row: (q * k).sum(1)."),
        "the variance of each query, averaged": (
            _meter(spread_of_all=lambda s: s.var(1, correction=0).mean()),
            "You averaged the variances of single queries. All N * K negative scores are one heap: their means differ, "
            "too."),
        "the variance of the queries' means": (
            _meter(spread_of_all=lambda s: s.mean(1).var(correction=0)),
            "You took each query's mean first, and lost the spread within. The variance is of all N * K scores."),
        "the keys against the queue": (
            _meter(negative=lambda q, k, rows: k @ rows.T),
            "Negative scores are of the *queries* with the queue; you took the keys."),
        "the queue and the batch's other keys": (
            _meter(negative=lambda q, k, rows: q @ torch.cat([k, rows]).T),
            "Your negatives hold this batch's keys, the own one among them. MoCo's negatives are the queue's rows "
            "alone."),
    },
    right={"cosines by einsum, variance by hand": lambda q, k, negatives: (
        lambda near, far: {"positive": near.mean(), "positive_variance": (near ** 2).mean() - near.mean() ** 2,
                           "negative": far.mean(), "negative_variance": (far - far.mean()).square().mean()})(
        F.cosine_similarity(q, k), torch.einsum("nd,kd->nk", q / q.norm(dim=1, keepdim=True), negatives))},
    hints=("A score is a cosine. Which queries meet which keys, N times, and N times K?",
           "q, k of length 1; positive = (q * k).sum(dim=1), negative = q @ negatives.T. Then .mean() and "
           ".var(correction=0) of each.",
           "q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)\n"
           "positive, negative = (q * k).sum(dim=1), q @ negatives.T\n"
           "return {'positive': positive.mean(), 'positive_variance': positive.var(correction=0),\n"
           "        'negative': negative.mean(), 'negative_variance': negative.var(correction=0)}"),
)


# ------------------------------------------------------------------------------------------------ 11.extrapolation
def extrapolation(q: Tensor, k: Tensor, draw: Tensor | float) -> tuple[Tensor, Tensor]:
    """Pairs (N, D), (N, D) moved apart along their lines, by lambda = 1 + draw; draw: in (0, 1), a number or (N, D)."""
    return extrapolate(q, k, 1 + draw)


def _pair_probes(generator, dtype):
    rows = partial(directions, generator, dtype)
    return [(rows(4, 3), rows(4, 3), 0.3), (rows(3, 5), rows(3, 5), rand(generator, dtype, 1)[0]),
            dict(q=rows(5, 4), k=rows(5, 4), draw=rand(generator, dtype, 5, 4))]


def _pair(weight=lambda draw: 1 + draw, mix=lambda q, k, a: (a * q + (1 - a) * k, a * k + (1 - a) * q)):
    return lambda q, k, draw: mix(q, k, weight(draw))


def _one_after_the_other(q, k, a):
    q = a * q + (1 - a) * k
    return q, a * k + (1 - a) * q


second = Exercise(
    key="11.extrapolation", title="Move the pair apart", minutes=6, difficulty=2,
    reference=extrapolation, probes=_pair_probes, gradients=True,
    words={"[0]": "the moved queries", "[1]": "the moved keys", "draw": "the draw"},
    wrong={
        "the draw itself as lambda": (
            _pair(weight=lambda draw: draw),
            "With lambda between 0 and 1 both vectors move *towards* each other: an easier positive, as in mixup. "
            "Lambda is 1 + draw."),
        "lambda is 1 - draw": (
            _pair(weight=lambda draw: 1 - draw),
            "1 - draw lies between 0 and 1, too: the pair comes together. Lambda is 1 + draw."),
        "lambda is 2 + draw": (
            _pair(weight=lambda draw: 2 + draw),
            "Lambda lies between 1 and 2: 1 + draw."),
        "the moved query in the key": (
            _pair(mix=_one_after_the_other),
            "Your new key is made with the *new* query: the first line has overwritten q. Both mixtures are of the old "
            "pair."),
        "exchanged": (
            _pair(mix=lambda q, k, a: (a * k + (1 - a) * q, a * q + (1 - a) * k)),
            "You return the moved keys first. The moved queries come first: lambda times q, and a little of k off."),
        "the key stays": (
            _pair(mix=lambda q, k, a: (a * q + (1 - a) * k, k)),
            "Only the query has moved. Both move: the key by the same lambda, away from the query."),
        "both the same": (
            _pair(mix=lambda q, k, a: (a * q + (1 - a) * k,) * 2),
            "You return the same mixture twice. The moved key is lambda times the *key*, plus (1 - lambda) times the "
            "query."),
        "scaled back to length 1": (
            _pair(mix=lambda q, k, a: (unit(a * q + (1 - a) * k), unit(a * k + (1 - a) * q))),
            "You scaled the moved vectors back to length 1. The paper leaves them as they are, longer than 1."),
        "plus in place of minus": (
            _pair(mix=lambda q, k, a: (a * q + (a - 1) * k, a * k + (a - 1) * q)),
            "The weights of a mixture add up to 1: lambda and 1 - lambda, which is negative here. With a plus you add "
            "the other vector instead of taking it off."),
        "the key's query is a constant": (
            _pair(mix=lambda q, k, a: (a * q + (1 - a) * k, a * k + (1 - a) * q.detach())),
            "The values are right, but no gradient reaches q through the moved key. It holds (1 - lambda) q, and the "
            "paper lets the gradient through: do not detach."),
    },
    right={"a step along the difference": lambda q, k, draw: (q + draw * (q - k), k - draw * (q - k)),
           "as a list, by lerp": lambda q, k, draw: [torch.lerp(k, q, torch.as_tensor(1 + draw, dtype=q.dtype)),
                                                     torch.lerp(q, k, torch.as_tensor(1 + draw, dtype=q.dtype))]},
    hints=("A mixture a q + (1 - a) k with a between 0 and 1 lies *between* q and k. Where does it lie for a above 1?",
           "a = 1 + draw; the query becomes a * q + (1 - a) * k; the key the same with the two exchanged, both "
           "from the old vectors.",
           "a = 1 + draw\n"
           "return a * q + (1 - a) * k, a * k + (1 - a) * q"),
)


# ------------------------------------------------------------------------------------------------ 11.mixed_loss
def mixed_loss(q: Tensor, k: Tensor, negatives: Tensor, draw: float, b: float, order: Tensor,
               temperature: float = 0.1) -> Tensor:
    """Unit rows (N, D), (N, D), (K, D) -> scalar: InfoNCE of the extrapolated pairs with the interpolated negatives.

    draw, b: numbers in (0, 1); order: a permutation (K,); k and negatives are constants.
    """
    logits = imco_logits(q, k, negatives, temperature, 1 + draw, b, order)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def _loss_probes(generator, dtype):
    rows, number = partial(directions, generator, dtype), lambda: float(rand(generator, dtype, 1))
    order = partial(torch.randperm, generator=generator)
    return [(rows(4, 3), rows(4, 3), rows(7, 3), 0.4, 0.3, order(7)),
            (rows(5, 6), rows(5, 6), rows(8, 6), number(), number(), order(8), 0.5),
            dict(q=rows(3, 4), k=rows(3, 4), negatives=rows(6, 4), draw=0.7, b=number(),
                 order=order(6), temperature=0.3)]


def _loss(pair=extrapolation, mix=lambda n, b, order: b * n + (1 - b) * n[order], constants=(True, True),
          asks=lambda q, moved: moved, near=lambda q, k, moved, other: (moved * other).sum(1, keepdim=True),
          scale=lambda near, far, t: torch.cat([near, far], 1) / t, reduction="mean"):
    """The right one, or with one thing changed."""
    def answer(q, k, negatives, draw, b, order, temperature=0.1):
        k, negatives = (z.detach() if still else z for z, still in zip((k, negatives), constants))
        moved, other = pair(q, k, draw)
        logits = scale(near(q, k, moved, other), asks(q, moved) @ mix(negatives, b, order).T, temperature)
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long), reduction=reduction)

    return answer


def _constant_key(q, k, draw):
    return extrapolation(q, k, draw)[0], extrapolation(q.detach(), k, draw)[1]


def _written_out(q, k, negatives, draw, b, order, temperature=0.1):
    """A right answer: the positive by its formula, logsumexp by hand."""
    k, rows = k.detach(), negatives.detach()
    rows = torch.lerp(rows[order], rows, torch.as_tensor(b, dtype=rows.dtype).expand_as(rows))
    q, k = q + draw * (q - k), k + draw * (k - q)
    own, others = torch.einsum("nd,nd->n", q, k) / temperature, torch.einsum("nd,kd->nk", q, rows) / temperature
    return (torch.logaddexp(own, others.logsumexp(1)) - own).mean()


third = Exercise(
    key="11.mixed_loss", title="The loss of both mixtures", minutes=10, difficulty=3,
    reference=mixed_loss, probes=_loss_probes, gradients=True,
    words={"draw": "the draw", "b": "the negatives' share", "order": "the permutation", "k": "the keys",
           "negatives": "the queue"},
    wrong={
        "the old query against the negatives": (
            _loss(asks=lambda q, moved: q),
            "Your negative scores are of the query as it was. The *moved* query meets its key and the negatives "
            "alike."),
        "the old pair's score": (
            _loss(near=lambda q, k, moved, other: (q * k).sum(1, keepdim=True)),
            "Your positive score is of the pair as it was: the moved query belongs with the moved key."),
        "the moved query, the old key": (
            _loss(near=lambda q, k, moved, other: (moved * k).sum(1, keepdim=True)),
            "The positive score is moved query times *moved* key; you took the key as it was."),
        "the negatives as they are": (
            _loss(mix=lambda n, b, order: n),
            "The negatives are not mixed: each row becomes b * row + (1 - b) * another row, the one that `order` "
            "names."),
        "the shares of the two rows exchanged": (
            _loss(mix=lambda n, b, order: (1 - b) * n + b * n[order]),
            "b is the share of the row itself, 1 - b that of negatives[order]; you have them the other way round (or "
            "the permutation's inverse, which comes to the same)."),
        "the negatives extrapolated": (
            _loss(mix=lambda n, b, order: (1 + b) * n - b * n[order]),
            "You moved the negatives apart. b is between 0 and 1 and stays as it is: mixtures lie *between* two rows."),
        "the negatives scaled to length 1": (
            _loss(mix=lambda n, b, order: unit(b * n + (1 - b) * n[order])),
            "You scaled the mixed negatives to length 1. The paper leaves them shorter, inside of the sphere."),
        "the pair scaled to length 1": (
            _loss(pair=lambda q, k, draw: tuple(map(unit, extrapolation(q, k, draw)))),
            "You scaled the moved pair back to length 1. The paper leaves it longer than 1."),
        "the pair moved together": (
            _loss(pair=lambda q, k, draw: extrapolation(q, k, draw - 1)),
            "Your lambda is the draw itself, below 1: an easier positive. It is 1 + draw, as in exercise 2."),
        "the moved key is a constant": (
            _loss(pair=_constant_key),
            "The value is right. But the moved key holds (1 - lambda) q, and no gradient of yours reaches q through "
            "it. Detach k alone, *before* you mix."),
        "a gradient into the keys": (
            _loss(constants=(False, True)),
            "The value is right, but a gradient flows into `k`. Keys come from the slow encoder: k.detach() before "
            "mixing."),
        "a gradient into the queue": (
            _loss(constants=(True, False)),
            "The value is right, but a gradient flows into the queue: its rows are constants."),
        "the negatives without their temperature": (
            _loss(scale=lambda near, far, t: torch.cat([near / t, far], 1)),
            "Only the positive is divided by the temperature; all 1 + K scores are."),
        "no temperature": (
            _loss(scale=lambda near, far, t: torch.cat([near, far], 1)),
            "The temperature is missing: all 1 + K scores are divided by it."),
        "the positive left out of the sum": (
            lambda q, k, negatives, draw, b, order, temperature=0.1: (
                lambda pair, rows: ((pair[0] @ rows.T / temperature).logsumexp(1)
                                    - (pair[0] * pair[1]).sum(1) / temperature).mean())(
                extrapolation(q, k.detach(), draw), (b * negatives + (1 - b) * negatives[order]).detach()),
            "The denominator sums over the queue alone. The positive is one of the 1 + K candidates."),
        "the sum over the queries": (
            _loss(reduction="sum"),
            "You summed over the queries; the loss is their mean."),
    },
    right={"written out": _written_out},
    hints=("MoCo's loss with three other vectors. Which become constants, and before or after the mixing?",
           "k, negatives = k.detach(), negatives.detach(); then your extrapolation(q, k, draw), and b * negatives + "
           "(1 - b) * negatives[order]. One column for the positive, K for the rest, over the temperature; class 0.",
           "k, negatives = k.detach(), negatives.detach()\n"
           "q, k = extrapolation(q, k, draw)\n"
           "negatives = b * negatives + (1 - b) * negatives[order]\n"
           "logits = torch.cat([(q * k).sum(dim=1, keepdim=True), q @ negatives.T], dim=1) / temperature\n"
           "return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))"),
)


# ------------------------------------------------------------------------------------------------ 11.imco_step
def imco_step(query: nn.Module, key: nn.Module, optimizer: torch.optim.Optimizer, queue: Queue, view1: Tensor,
              view2: Tensor, draw: Tensor | float, b: Tensor | float, order: Tensor, momentum: float = 0.99,
              temperature: float = 0.1) -> float:
    """One training step: encode, mix, compare, learn, follow, enqueue the keys as they are -> the loss as a number."""
    q = F.normalize(query(view1), dim=1)
    with torch.no_grad():
        k = F.normalize(key(view2), dim=1)
    loss = mixed_loss(q, k, queue.rows, draw, b, order, temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema_update(key, query, momentum)
    queue.enqueue(k)
    return loss.item()


def _step_probes(generator, dtype):
    wide, narrow = two_encoders(generator, dtype, (4, 6, 3), (5, 7, 4))

    def mixing(length):
        return [(float(rand(generator, dtype, 1)), float(rand(generator, dtype, 1)),
                 torch.randperm(length, generator=generator)) for _ in range(3)]

    return [dict(**wide, rows=directions(generator, dtype, 16, 3),
                 views=randn(generator, dtype, 3, 2, 8, 4), mixing=mixing(16),
                 settings=dict(momentum=0.7, temperature=0.5)),
            dict(**narrow, rows=directions(generator, dtype, 18, 4),
                 views=randn(generator, dtype, 3, 2, 9, 5), mixing=mixing(18), settings={})]


def _three_steps(step, query, key, rows, views, mixing, settings):
    return queue_steps(step, query, key, rows, [(*pair, *mix) for pair, mix in zip(views, mixing)], **settings)


def _mistaken(*, views=(0, 1), encoders=(0, 1), gradient=False, length=unit, loss=mixed_loss, swap=False, early=False,
              queued=lambda q, k, draw: k, order="clear backward step", follow=ema_update,
              back=Tensor.item):
    """A step with one thing changed."""
    def step(query, key, optimizer, queue, view1, view2, draw, b, mixed, momentum=0.99, temperature=0.1):
        pair, two = (view1, view2), (query, key)
        q = length(two[encoders[0]](pair[views[0]]))
        with torch.set_grad_enabled(gradient):
            k = length(two[encoders[1]](pair[views[1]]))
        if early:
            queue.enqueue(k.detach())
        draw, b = (b, draw) if swap else (draw, b)
        value = loss(q, k, queue.rows, draw, b, mixed, temperature)
        number = descend(value, optimizer, order, back, follow=lambda: follow(key, query, momentum))
        if follow and "follow" not in order:
            follow(key, query, momentum)
        if not early:
            queue.enqueue(queued(q, k.detach(), draw))
        return number

    return step


def _plain(q, k, negatives, draw, b, order, temperature=0.1):
    return mixed_loss(q, k, negatives, 0.0, 1.0, order, temperature)


def _both_gradients(q, k, negatives, draw, b, order, temperature=0.1):
    """`mixed_loss` without its detach."""
    return _loss(constants=(False, True))(q, k, negatives, draw, b, order, temperature)


def _in_another_order(query, key, optimizer, queue, view1, view2, draw, b, order, momentum=0.99, temperature=0.1):
    """A right answer: keys first, all written out."""
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        k = key(view2)
        k = k / k.norm(dim=1, keepdim=True)
        rows = b * queue.rows + (1 - b) * queue.rows.index_select(0, order)
    q = query(view1)
    q = q / q.norm(dim=1, keepdim=True)
    far_q, far_k = q + draw * (q - k), k + draw * (k - q)
    own, others = (far_q * far_k).sum(1) / temperature, far_q @ rows.T / temperature
    loss = -(own - torch.logsumexp(torch.cat([others, own[:, None]], 1), 1)).mean()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(key.parameters(), query.parameters()):
            slow.mul_(momentum).add_((1 - momentum) * fast)
    queue.enqueue(k)
    return float(loss)


step = Exercise(
    key="11.imco_step", title="One step of ImCo", minutes=11, difficulty=3,
    reference=imco_step, probes=_step_probes, call=_three_steps, tolerance=1e-3,
    words=QUEUE_WORDS,
    wrong={
        "the moved keys are enqueued": (
            _mistaken(queued=lambda q, k, draw: extrapolation(q.detach(), k, draw)[1]),
            "You put the *moved* keys into the queue. They are longer than 1 and belong to this step alone: enqueue "
            "the keys as the encoder gave them."),
        "the queries are enqueued": (
            _mistaken(queued=lambda q, k, draw: q.detach()),
            "You put the queries into the queue; it holds keys, k."),
        "enqueued before the loss": (
            _mistaken(early=True),
            "The queue of your loss already holds this step's keys: each positive is also a negative. First the loss, "
            "then the queue."),
        "nothing is mixed": (
            _mistaken(loss=_plain),
            "That is a step of MoCo: neither pair nor negatives are mixed. Give draw, b and order to mixed_loss."),
        "draw and b exchanged": (
            _mistaken(swap=True),
            "draw is of the pair, b of the negatives; you exchanged them."),
        "not of length 1": (
            _mistaken(length=lambda z: z),
            "Queries and keys are not of length 1: F.normalize(., dim=1), before they are mixed."),
        "views exchanged": (
            _mistaken(views=(1, 0)),
            "The query is made from view1, the key from view2; you exchanged them."),
        "the key is made by the query encoder": (
            _mistaken(encoders=(0, 0)),
            "Both vectors come from `query`. Keys come from the slow encoder, `key`."),
        "the query is made by the key encoder": (
            _mistaken(encoders=(1, 0), gradient=True, loss=_both_gradients),
            "You exchanged the encoders: `query` makes q, with gradient, `key` makes k, without."),
        "a gradient into the key encoder": (
            _mistaken(gradient=True, loss=_both_gradients),
            "The loss sends a gradient into the key encoder. k is a constant: torch.no_grad()."),
        "the key encoder never follows": (
            _mistaken(follow=None),
            "The key encoder stays as it was: ema_update(key, query, momentum) after the optimizer's step."),
        "the key encoder copies": (
            _mistaken(follow=lambda key, query, momentum: ema_update(key, query, 0.0)),
            "After your step the key encoder *equals* the query encoder. It keeps the share `momentum` of itself."),
        "momentum the wrong way round": (
            _mistaken(follow=lambda key, query, momentum: ema_update(key, query, 1 - momentum)),
            "The key encoder keeps the share `momentum` of itself and takes 1 - momentum of the query encoder."),
        "the key encoder follows too early": (
            _mistaken(order="clear backward follow step"),
            "The key encoder followed the query encoder before the optimizer's step. Here it follows after it."),
        **update_mistakes(_mistaken, BASIC),
    },
    right={"another order, all written out": _in_another_order},
    hints=("MoCo's step (lesson 05) with your loss. Which keys wait in the queue for later steps, moved ones or the "
           "encoder's own?",
           "q from query(view1); k from key(view2) under torch.no_grad(); both of length 1. mixed_loss(q, k, "
           "queue.rows, draw, b, order, temperature). Then the optimizer, ema_update(key, query, momentum), "
           "queue.enqueue(k).",
           "q = F.normalize(query(view1), dim=1)\n"
           "with torch.no_grad():\n"
           "    k = F.normalize(key(view2), dim=1)\n"
           "loss = mixed_loss(q, k, queue.rows, draw, b, order, temperature)\n"
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


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("The log of a run says: mean positive score 0.98. What do you look at next?", {
        "Nothing, it is aligned": "The moved-apart run of figure 2 is at 0.98, too, and so are its strangers.",
        "The mean and the variance of the negative scores": "Only the distance of the two histograms says whether "
            "pairs can be told from strangers.",
        "The learning rate": "First see whether anything is wrong.",
    }, "The mean and the variance of the negative scores"),
    quiz("A pair scores 0.6, lambda is 1.5. Which score does the loss see?", {
        "0.9": "That is 1.5 times 0.6. Both vectors move.",
        "0": "0.6 - 2 * 1.5 * 0.5 * (1 - 0.6) = 0.6 - 0.6.",
        "-0.6": "Count again: 2 * 1.5 * 0.5 is 1.5, times 0.4 is 0.6.",
    }, "0"),
    quiz("Somebody enqueues the moved keys. What is wrong with that, besides their length?", {
        "Nothing, they are harder": "Harder for whom? They are negatives of *other* images later on.",
        "They hold a part of this step's queries, made by the fast encoder": "Each is lambda k + (1 - lambda) q. The "
            "queue is consistent only because a slow encoder makes all its rows.",
        "They have a gradient": "They would be detached; that is not the point.",
    }, "They hold a part of this step's queries, made by the fast encoder"),
    quiz("You make a loss harder and the network gets worse. Why is 'harder tasks hurt here' not yet a finding?", {
        "One seed is not enough": "True, but even a hundred seeds would not tell why.",
        "A change of the score changes the gradient's slope, too": "Hold one of the two fixed: detach. Then one thing "
            "has changed.",
        "It is a finding": "Extrapolation does two things. The table of part 6 separates them.",
    }, "A change of the score changes the gradient's slope, too"),
    quiz("Transfer: in an image-text model a colleague doubles the positive's logit 'so that pairs count more'. Pairs "
         "soon score 0.99. Your advice?", {
        "Ship it": "Look at figure 2 first.",
        "Compare unpaired texts, and test retrieval": "Doubling one logit doubles the pull and not the push: "
            "everything may have come together.",
        "Double the negatives' logits, too": "Then it is half the temperature: a fair idea, but first look whether "
            "anything is wrong.",
    }, "Compare unpaired texts, and test retrieval"),
]
