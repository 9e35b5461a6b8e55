"""Exercises of week 20, good views: a bound on what two views share, LooC's sign table, its loss, its step."""
from __future__ import annotations

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.looc import sign_table
from course_lib.models.layers import Queue
from course_lib.models.teacher import ema_update
from lessons.exercises.shared import (
    blank,
    descend,
    directions,
    has_gradient,
    randn,
    small_network,
    steps,
    unit,
    weights_of,
)


# ------------------------------------------------------------------------------------------------ 20.bound
def _bound_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [(draw(5, 5),), (3 * draw(8, 8) + 4 * torch.eye(8, dtype=dtype),), (draw(12, 12) + 2,),
            dict(scores=draw(3, 3) / 0.3)]


def _bound(scores, *, dim=1, count=None, sign=1, joint=None, total=None, base=1.0, mean=True):
    """The right one, or with one thing changed."""
    own = scores.diagonal() if joint is None else joint(scores)
    others = scores.logsumexp(dim) if total is None else total(scores)
    each = own - others
    number = len(scores) if count is None else count(len(scores))
    return ((each.mean() if mean else each.sum()) + sign * math.log(number)) / base


def _without_own(scores):
    return scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -torch.inf).logsumexp(1)


bound = Exercise(
    key="20.bound", title="How much do two views share?", minutes=8, difficulty=2,
    reference="course_lib.methods.information.estimators:infonce", probes=_bound_probes, gradients=True, plain=True,
    wrong={
        "log N left out": (
            lambda scores: _bound(scores, count=lambda n: 1),
            "That is minus the loss. The bound is log N minus the loss: whoever guesses has the loss log N, and shares "
            "0 nats."),
        "the loss": (
            lambda scores: F.cross_entropy(scores, torch.arange(len(scores))),
            "That is the loss. It goes *down* where views share more: the bound is log N minus it."),
        "log (N - 1)": (
            lambda scores: _bound(scores, count=lambda n: n - 1),
            "The partner is one of the candidates, so there are N of them, not N - 1."),
        "log 2N": (
            lambda scores: _bound(scores, count=lambda n: 2 * n),
            "N candidates stand in a row, the second views only."),
        "the partner left out of the sum": (
            lambda scores: _bound(scores, total=_without_own),
            "Below the logarithm stand *all* N candidates, the partner too. Without it the value may pass log N."),
        "columns choose": (
            lambda scores: _bound(scores, dim=0),
            "You let the second views choose among the first: logsumexp along the columns. Each row picks: dim=1."),
        "the logarithm of the mean probability": (
            lambda scores: scores.softmax(1).diagonal().mean().log() + math.log(len(scores)),
            "You averaged probabilities and took the logarithm afterwards. Log first, then the mean."),
        "a sum over the rows": (
            lambda scores: _bound(scores, mean=False),
            "The mean over the rows, not their sum."),
        "bits": (
            lambda scores: _bound(scores, base=math.log(2)),
            "Those are bits. Asked for are nats: natural logarithms throughout."),
        "log N of all pairs": (
            lambda scores: _bound(scores, count=lambda n: n * n),
            "Each row is a choice among N, not among all N * N pairs."),
        "scores of probabilities": (
            lambda scores: _bound(scores.softmax(1)),
            "You took the softmax, and then logsumexp again. Scores go in as they are."),
    },
    right={
        "cross-entropy": lambda scores: math.log(len(scores)) - F.cross_entropy(scores, torch.arange(len(scores))),
        "the mean under the logarithm": lambda scores: (
            scores.diagonal() - scores.exp().mean(1).log()).mean(),
        "log_softmax and trace": lambda scores: scores.log_softmax(1).trace() / len(scores) + math.log(len(scores))},
    hints=("Each row is a multiple choice among N candidates; the right one stands on the diagonal. What is its loss, "
           "and what is the loss of guessing?",
           "scores.log_softmax(dim=1).diagonal() holds the logarithms of the partners' probabilities; their mean is "
           "minus the loss. Guessing has the loss log N.",
           "n = len(scores)\n"
           "loss = F.cross_entropy(scores, torch.arange(n, device=scores.device))\n"
           "return math.log(n) - loss"),
)


# ------------------------------------------------------------------------------------------------ 20.signs
def _signs_probes(generator, dtype):
    return [(2,), (1,), (4,), dict(n=3)]


def _as_numbers(function, n):
    """Whole numbers or floats, a tensor or a list: only the values count."""
    got = function(n)
    return got if got is None or got is Ellipsis else torch.as_tensor(got, dtype=torch.float64)


def _signs(change):
    def function(n):
        table = sign_table(n).clone()
        return change(table, n)
    return function


def _set(table, where, value):
    table[where] = value
    return table


signs = Exercise(
    key="20.signs", title="Who is whose: the sign table", minutes=8, difficulty=2,
    reference=sign_table, probes=_signs_probes, call=_as_numbers, plain=True,
    wrong={
        "head 0 pushes the others away": (
            _signs(lambda t, n: _set(t, (0, slice(1, None)), -1)),
            "Head 0 has -1 at k_1, k_2, ... They share *more* with the query than k_0 does, and it is told nothing of "
            "them: 0."),
        "all key views are positives of head 0": (
            _signs(lambda t, n: _set(t, (0, slice(None)), 1)),
            "In the loss of the paper head 0 has one positive, k_0. The others share a parameter with the query, which "
            "would make head 0's task easier: 0."),
        "only k_0 is a negative": (
            _signs(lambda t, n: torch.eye(n + 1, dtype=torch.long).index_put(
                (torch.arange(1, n + 1), torch.tensor(0)), torch.tensor(-1)) if n > 1 else -t),
            "In head i the key views of the *other* augmentations are negatives, too: all but k_i."),
        "no negatives of the same image": (
            lambda n: torch.eye(n + 1, dtype=torch.long),
            "Then head i need not keep augmentation i: nothing tells k_i from the other key views. These are "
            "negatives."),
        "k_0 is not compared": (
            _signs(lambda t, n: _set(t, (slice(1, None), 0), 0)),
            "In head i also k_0 is a negative: it does not share augmentation i with the query."),
        "k_0 is a positive everywhere": (
            _signs(lambda t, n: _set(t, (slice(1, None), 0), 1)),
            "Head i would then be asked to forget augmentation i after all: k_0 has other parameters of it."),
        "signs exchanged": (
            lambda n: -sign_table(n),
            "1 is the positive, -1 a negative."),
        "transposed": (
            lambda n: sign_table(n).T,
            "Rows are heads, columns are key views; yours is the other way round."),
        "without head 0": (
            lambda n: 2 * torch.eye(n, dtype=torch.long) - 1,
            "There are n + 1 heads and key views: head 0 keeps none of the augmentations."),
    },
    right={
        "floats": lambda n: sign_table(n).float(),
        "entry by entry": lambda n: torch.tensor(
            [[1 if i == j else 0 if i == 0 else -1 for j in range(n + 1)] for i in range(n + 1)])},
    hints=("Head i must find k_i, and only the parameters of augmentation i help it. Which key views of the same image "
           "lack them? And what does head 0 see?",
           "Rows 1 to n: 1 on the diagonal, -1 everywhere else. Row 0: 1, then zeros.",
           "table = 2 * torch.eye(n + 1, dtype=torch.long) - 1\n"
           "table[0, 1:] = 0\n"
           "return table"),
)


# ------------------------------------------------------------------------------------------------ 20.looc
def looc(q: Tensor, k: Tensor, queues: Tensor, temperature: float = 0.2) -> Tensor:
    """LooC's loss of unit queries (H, N, D), keys (H, H, N, D) and queues (H, K, D) -> scalar."""
    table, losses = sign_table(len(q) - 1), []
    for i in range(len(q)):
        own = torch.einsum("nd,jnd->nj", q[i], k[i][table[i] != 0])  # (N, 1) in head 0, (N, H) in the others
        logits = torch.cat([own, q[i] @ queues[i].T], 1) / temperature
        losses.append((logits.logsumexp(1) - logits[:, i]).mean())
    return torch.stack(losses).mean()


def _looc_probes(generator, dtype):
    draw = partial(directions, generator, dtype)
    near = draw(3, 6, 5)
    keys = unit(near[:, None] + 0.5 * randn(generator, dtype, 3, 3, 6, 5))
    return [(near, keys, draw(3, 7, 5)), (draw(2, 5, 4), draw(2, 2, 5, 4), draw(2, 9, 4), 0.5),
            dict(q=draw(4, 3, 6), k=draw(4, 4, 3, 6), queues=draw(4, 8, 6), temperature=0.1)]


def _looc(q, k, queues, temperature=0.2, *, table=None, queue=lambda queues, i: queues[i], key=lambda k, i, j: k[i, j],
          joint=False, over=None, reduce=lambda losses: sum(losses) / len(losses), positive=True, mean=True):
    """The right one, head by head, or with one thing changed."""
    table = sign_table(len(q) - 1) if table is None else table(len(q) - 1)
    losses = []
    for i in range(len(q)):
        own = torch.stack([(q[i] * key(k, i, j)).sum(1) for j in range(len(q))], 1) / temperature  # (N, H)
        rivals = [own[:, j:j + 1] for j in range(len(q)) if table[i, j] < 0]
        if queue is not None:
            rivals.append(q[i] @ queue(queues, i).T / temperature)
        good = torch.stack([own[:, j] for j in range(len(q)) if table[i, j] > 0], 1)
        below = torch.cat([*rivals, good] if positive else rivals, 1).logsumexp(1)
        top = good.logsumexp(1) if joint else good.mean(1)
        losses.append((below - top).mean() if mean else (below - top).sum())
    return reduce(losses)


def _and_gradient(function, q, *others, **settings):
    """The loss, and its gradient by the queries; keys may be constants, as in the step."""
    q = q.clone().requires_grad_()
    value = function(q, *others, **settings)
    if isinstance(value, float):
        value = torch.tensor(value, dtype=q.dtype)
    if not isinstance(value, Tensor):
        return value
    gradient = torch.autograd.grad(value.sum(), q)[0] if value.requires_grad else torch.zeros_like(q)
    return {"loss": value.detach(), "gradient": gradient}


def _changed(**change):
    return lambda q, k, queues, temperature=0.2: _looc(q, k, queues, temperature, **change)


def _all_positive(n):
    table = sign_table(n)
    table[0] = 1
    return table


def _pushed(n):
    return 2 * torch.eye(n + 1, dtype=torch.long) - 1


loss = Exercise(
    key="20.looc", title="The loss of all heads", minutes=12, difficulty=3,
    reference=looc, probes=_looc_probes, call=_and_gradient,
    words={"['loss']": "the loss", "['gradient']": "the gradient of the queries"},
    wrong={
        "the query of head 0": (
            lambda q, k, queues, temperature=0.2: _looc(q[:1].expand_as(q), k, queues, temperature),
            "Every head of yours asks with head 0's query. Head i has its own embedding of the query view: q[i]."),
        "queries are constants": (
            lambda q, k, queues, temperature=0.2: _looc(q.detach(), k, queues, temperature) + 0 * q.sum(),
            "The loss is right, but nothing can be learned from it: the queries are detached. Keys are constants, "
            "queries are not."),
        "no negatives of the same image": (
            _changed(table=lambda n: torch.eye(n + 1, dtype=torch.long)),
            "Each head sees its positive and its queue only. In heads 1 to n the other key views of the same image are "
            "negatives: the -1 of the sign table."),
        "head 0 sees the others, too": (
            _changed(table=_pushed),
            "In head 0 the key views k_1, k_2, ... are negatives in yours. Its row of the sign table has zeros there."),
        "all are positives of head 0": (
            _changed(table=_all_positive),
            "Head 0 has one positive, k_0; the other key views are not in its loss."),
        "one queue for all": (
            _changed(queue=lambda queues, i: queues[0]),
            "You use queue 0 for every head. Each head has a space, and a queue, of its own: queues[i]."),
        "no queue": (
            _changed(queue=lambda queues, i: queues[i][:0]),
            "The queue's rows are missing among the negatives: q[i] @ queues[i].T."),
        "keys of head 0": (
            _changed(key=lambda k, i, j: k[0, j]),
            "You compare every head's query with head 0's keys. Head i has its own embedding of each key view: "
            "k[i, j]."),
        "head and key view exchanged": (
            _changed(key=lambda k, i, j: k[j, i]),
            "k[i, j] is head i's embedding of key view j; you took k[j, i]."),
        "k_0 is everybody's positive": (
            lambda q, k, queues, temperature=0.2: _looc(
                q, k, queues, temperature, key=lambda k, i, j: k[i, 0] if j == i else k[i, i] if j == 0 else k[i, j]),
            "Your heads all look for k_0. Head i looks for k_i, the key view that shares its augmentation."),
        "the positive left out below": (
            _changed(positive=False),
            "Below the logarithm stands the positive, too."),
        "a sum over the heads": (
            _changed(reduce=sum),
            "The mean over the heads, not their sum."),
        "a sum over the images": (
            _changed(mean=False),
            "The mean over the images, not their sum."),
        "no temperature": (
            lambda q, k, queues, temperature=0.2: _looc(q, k, queues, 1.0),
            "All cosines are divided by the temperature."),
        "head 0 left out": (
            _changed(reduce=lambda losses: sum(losses[1:]) / (len(losses) - 1)),
            "Head 0 belongs to the mean: it forgets all augmentations."),
        "only head 0": (
            _changed(reduce=lambda losses: losses[0]),
            "That is head 0's loss, which is MoCo's. The others are missing."),
    },
    right={
        "head by head": _changed(),
        "softmax": lambda q, k, queues, temperature=0.2: torch.stack([-torch.cat(
            [torch.einsum("nd,jnd->nj", q[i], k[i] if i else k[0, :1]), q[i] @ queues[i].T], 1).div(
                temperature).softmax(1)[:, i].log().mean() for i in range(len(q))]).mean()},
    hints=("Go through the heads one by one. Each is InfoNCE: which column is the positive, and which negatives does "
           "the sign table add to the queue?",
           "Head i >= 1: logits = [q_i . k_i0, ..., q_i . k_in, q_i . queue_i] / temperature, and the answer is column "
           "i. Head 0: the column of k_0 and its queue.",
           "losses = []\n"
           "for i in range(len(q)):\n"
           "    seen = k[i] if i > 0 else k[i, :1]\n"
           "    own = torch.einsum('nd,jnd->nj', q[i], seen)\n"
           "    logits = torch.cat([own, q[i] @ queues[i].T], dim=1) / temperature\n"
           "    target = torch.full((q.shape[1],), i, device=q.device)\n"
           "    losses.append(F.cross_entropy(logits, target))\n"
           "return torch.stack(losses).mean()"),
)


# ------------------------------------------------------------------------------------------------ 20.looc_step
class _Spaces(nn.Module):
    """A small network with H heads: (N, d) -> (H, N, D)."""

    def __init__(self, seed: int, dtype: torch.dtype, heads: int, width: int, out: int):
        super().__init__()
        self.net, self.heads = small_network(seed, dtype, width, 6, heads * out), heads

    def forward(self, x):
        return self.net(x).view(len(x), self.heads, -1).transpose(0, 1)


def looc_step(query: nn.Module, key: nn.Module, optimizer: torch.optim.Optimizer, queues: list[Queue], view: Tensor,
              key_views: list[Tensor], contrast, momentum: float = 0.99) -> float:
    """One training step of LooC with a queue for each head -> the loss as a number."""
    q = F.normalize(query(view), dim=-1)
    with torch.no_grad():
        k = torch.stack([F.normalize(key(each), dim=-1) for each in key_views], 1)  # (H, H, N, D)
    value = contrast(q, k, torch.stack([queue.rows for queue in queues]))
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    ema_update(key, query, momentum)
    for i, queue in enumerate(queues):
        queue.enqueue(k[i, i])
    return value.item()


def _step_probes(generator, dtype):
    seeds = torch.randint(2**30, (2,), generator=generator).tolist()
    wide, narrow = _Spaces(seeds[0], dtype, 3, 4, 3), _Spaces(seeds[1], dtype, 2, 5, 4)
    return [dict(query=wide, key=copy.deepcopy(wide).requires_grad_(False), rows=directions(generator, dtype, 3, 16, 3),
                 views=randn(generator, dtype, 3, 4, 8, 4), momentum=0.7),
            dict(query=narrow, key=copy.deepcopy(narrow), rows=directions(generator, dtype, 2, 18, 4),
                 views=randn(generator, dtype, 3, 3, 9, 5))]


def _three_steps(step, query, key, rows, views, **settings):
    """Three steps of gradient descent; losses, queues and weights."""
    optimizer = torch.optim.SGD(query.parameters(), lr=0.3)
    queues = [Queue(*each.shape) for each in rows]
    for queue, each in zip(queues, rows):
        queue.rows = each.clone()
    found = steps(step, [(query, key, optimizer, queues, view, key_views, _looc) for view, *key_views in views],
                  **settings)
    if blank(found):
        return found
    return {**found, "rows": torch.stack([q.rows.detach() for q in queues]), "query": weights_of(query),
            "key": weights_of(key), "gradient in the key encoder": has_gradient(key)}


def _mistaken(*, keys=None, gradient=False, lengths=(True, True), by="key", queued=lambda k, q, i: k[i, i],
              follow=ema_update, order="clear backward step", early=False, back=Tensor.item, first=False):
    """A step with one thing changed."""
    def step(query, key, optimizer, queues, view, key_views, contrast, momentum=0.99):
        q = unit(query(view)) if lengths[0] else query(view)
        with torch.set_grad_enabled(gradient):
            encoder = key if by == "key" else query
            many = keys or (lambda encoder, view, views: torch.stack([encoder(each) for each in views], 1))
            k = many(encoder, view, key_views)
        k = unit(k) if lengths[1] else k

        def enqueue():
            for i, queue in enumerate(queues):
                queue.enqueue(queued(k, q, i))
        if early:
            enqueue()
        if first:
            follow(key, query, momentum)
        value = contrast(q, k, torch.stack([queue.rows for queue in queues]))
        told = descend(value, optimizer, order, back)
        if follow and not first:
            follow(key, query, momentum)
        if not early:
            enqueue()
        return told

    return step


def _one_pass(encoder, view, key_views):
    return encoder(torch.cat(key_views)).unflatten(1, (len(key_views), -1))


step = Exercise(
    key="20.looc_step", title="One step of LooC", minutes=12, difficulty=3,
    reference=looc_step, probes=_step_probes, call=_three_steps, tolerance=1e-3,
    words={"['losses']": "the losses of three steps", "['keeps its graph']": "whether the loss keeps its graph",
           "['rows']": "the queues after three steps", "['query']": "the query encoder's weights after three steps",
           "['key']": "the key encoder's weights after three steps",
           "['gradient in the key encoder']": "whether the key encoder got a gradient"},
    wrong={
        "k is transposed": (
            _mistaken(keys=lambda encoder, view, views: torch.stack([encoder(each) for each in views], 0)),
            "Your first axis of k is the key view, and the second the head. contrast wants k[i, j]: head i of key view "
            "j. Stack along dim=1."),
        "one pass for all key views": (
            _mistaken(keys=_one_pass),
            "You encoded all key views in one pass, so they share the statistics of batch norm. A pass for each view."),
        "the query encoder makes the keys": (
            _mistaken(by="query"),
            "The keys come out of `query`. They are the key encoder's."),
        "the query's view as k_0": (
            _mistaken(keys=lambda encoder, view, views: torch.stack([encoder(each) for each in [view, *views[1:]]], 1)),
            "You encoded the query's own view as key view 0: then head 0 forgets nothing."),
        "a gradient into the keys": (
            _mistaken(gradient=True),
            "The loss sends a gradient into the key encoder. Keys are constants: torch.no_grad()."),
        "queries not of length 1": (
            _mistaken(lengths=(False, True)),
            "q is not of length 1: F.normalize(query(view), dim=-1)."),
        "keys not of length 1": (
            _mistaken(lengths=(True, False)),
            "k is not of length 1, and so the queues are filled with rows that are not."),
        "all queues get k_0": (
            _mistaken(queued=lambda k, q, i: k[i, 0]),
            "Queue i got head i's embedding of key view 0. Its negatives are to be like its positives: k[i, i]."),
        "all queues get head 0": (
            _mistaken(queued=lambda k, q, i: k[0, i]),
            "Queue i got *head 0*'s embedding. Each queue belongs to a head: k[i, i]."),
        "the same rows for all queues": (
            _mistaken(queued=lambda k, q, i: k[0, 0]),
            "All queues got the same rows. Queue i gets k[i, i]."),
        "the queries are enqueued": (
            _mistaken(queued=lambda k, q, i: q[i].detach()),
            "You enqueued the queries; queues hold keys."),
        "enqueued before the loss": (
            _mistaken(early=True),
            "The loss is computed against queues that hold this step's keys: each positive is also a negative. First "
            "the loss, then the queues."),
        "the key encoder never follows": (
            _mistaken(follow=None),
            "The key encoder stays as it was: move it towards the query encoder after the optimizer's step."),
        "the query encoder never learns": (
            _mistaken(order="clear backward"),
            "The query encoder's weights are those of the start: zero_grad, backward, step."),
        "gradients never cleared": (
            _mistaken(order="backward step"),
            "backward *adds* to .grad: optimizer.zero_grad() before it."),
        "the loss keeps its graph": (
            _mistaken(back=lambda loss: loss),
            "You return the tensor with its whole computation. Return loss.item()."),
    },
    right={"one thing after another": _mistaken()},
    hints=("MoCo's step (lesson 05) with n + 1 key views, and a queue for each head. Which key goes into which queue?",
           "q = normalised query(view), (H, N, D). Under torch.no_grad() a pass of `key` for each key view, stacked "
           "along dim=1: (H, H, N, D). Then contrast(q, k, queues), optimizer, momentum, queues[i].enqueue(k[i, i]).",
           "q = F.normalize(query(view), dim=-1)\n"
           "with torch.no_grad():\n"
           "    k = torch.stack([F.normalize(key(each), dim=-1) for each in key_views], dim=1)\n"
           "loss = contrast(q, k, torch.stack([queue.rows for queue in queues]))\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "with torch.no_grad():\n"
           "    for slow, fast in zip(key.parameters(), query.parameters()):\n"
           "        slow.lerp_(fast, 1 - momentum)\n"
           "for i, queue in enumerate(queues):\n"
           "    queue.enqueue(k[i, i])\n"
           "return loss.item()"),
)


EXERCISES = [bound, signs, loss, step]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("You train on photographs of birds, to tell species apart. Which change of colour should two views have?", {
        "As strong as possible": "Then the plumage is of no use for finding the partner, and may be forgotten. "
            "Species differ in it.",
        "Weak, or left out for one head": "The task needs colour: views have to share it. A head of its own can keep "
            "it while others forget.",
        "It makes no difference": "Part 1: it decides what is read.",
    }, "Weak, or left out for one head"),
    quiz("With 64 candidates your bound says 4.1 nats, for views of strength 0 and of strength 0.1. What follows?", {
        "Both pairs share the same": "log 64 is 4.16. Both are at the ceiling: the candidates decide, not the views.",
        "Nothing, until there are more candidates": "4.1 is nearly log 64. More candidates raise the ceiling.",
        "The loss is wrong": "It is what a good network gets with so few candidates.",
    }, "Nothing, until there are more candidates"),
    quiz("In head 1 somebody leaves out the negatives of the same image. What happens?", {
        "The head collapses": "It still has the negatives of other images.",
        "Keeping colour is allowed, but hardly asked for": "k1 shares colour with the query, so colour helps against "
            "other images; nothing of the same image has to be told apart by it.",
        "Nothing changes": "The -1 of the table is what tells k1 from k0 and k2.",
    }, "Keeping colour is allowed, but hardly asked for"),
    quiz("Transfer: views of a sentence are made by leaving out words. The network finds the partner by rare "
         "names. Which of InfoMin's cases is that?", {
        "Too little shared": "They share a lot: names.",
        "Too much shared: something easier than the task": "As with the background's colour. Take names out of one "
            "view.",
        "The sweet spot": "Then there would be nothing easier to go by.",
    }, "Too much shared: something easier than the task"),
]
