"""Exercises of week 5, MoCo: the loss against a queue, the queue, a training step, what a stored key is worth."""
from __future__ import annotations

import re
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.moco import moco_logits
from course_lib.models.layers import enqueue as put_in_line
from course_lib.models.teacher import ema_update
from lessons.exercises.shared import (
    BASIC,
    blank,
    descend,
    directions,
    has_gradient,
    keeps_graph,
    plain,
    randn,
    two_encoders,
    unit,
    update_mistakes,
    weights_of,
)


# ------------------------------------------------------------------------------------------------ 05.info_nce
def info_nce(q: Tensor, k: Tensor, negatives: Tensor, temperature: float = 0.07) -> Tensor:
    """Unit rows (N, D), (N, D), (K, D) -> scalar: each query must pick its own key among the K + 1; keys are constants.
    """
    logits = moco_logits(q, k, negatives, temperature)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def _loss_probes(generator, dtype):
    draw = partial(directions, generator, dtype)
    return [(draw(4, 3), draw(4, 3), draw(6, 3)), (draw(5, 8), draw(5, 8), draw(12, 8), 0.2),
            dict(q=draw(3, 4), k=draw(3, 4), negatives=draw(7, 4), temperature=0.5)]


def _dots(q: Tensor, k: Tensor) -> Tensor:
    return (q * k).sum(1, keepdim=True)


def _first(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def _all_keys(q, k, negatives, temperature=0.07):
    keys = torch.cat([k, negatives]).detach()
    return F.cross_entropy(q @ keys.T / temperature, torch.arange(len(q)))


def _without_own(q, k, negatives, temperature=0.07):
    others = torch.logsumexp(q @ negatives.detach().T / temperature, 1)
    return (others - _dots(q, k.detach())[:, 0] / temperature).mean()


def _mean_of_queue(q, k, negatives, temperature=0.07):
    own, others = _dots(q, k.detach()) / temperature, (q @ negatives.detach().T / temperature).exp().mean(1)
    return (torch.log(own[:, 0].exp() + others) - own[:, 0]).mean()


def _written_out(q, k, negatives, temperature=0.07):
    own, others = (q * k.detach()).sum(-1) / temperature, q @ negatives.detach().T / temperature
    return (torch.logaddexp(own, others.logsumexp(1)) - own).mean()


loss = Exercise(
    key="05.info_nce", title="One key of its own, a queue of strangers", minutes=6, difficulty=2,
    reference=info_nce, probes=_loss_probes, gradients=True,
    wrong={
        "the positive in the last column": (
            lambda q, k, negatives, temperature=0.07: _first(
                torch.cat([q @ negatives.detach().T, _dots(q, k.detach())], 1) / temperature),
            "The labels do not point at the own key: cross-entropy takes a stranger of the queue for the positive. "
            "With the own key in column 0, all labels are 0."),
        "the temperature multiplies": (
            lambda q, k, negatives, temperature=0.07: _first(
                torch.cat([_dots(q, k.detach()), q @ negatives.detach().T], 1) * temperature),
            "Cosines lie between -1 and 1: divided by a small temperature they become large differences. Multiplied, "
            "the softmax is almost uniform and says nothing."),
        "the positive without its temperature": (
            lambda q, k, negatives, temperature=0.07: _first(
                torch.cat([_dots(q, k.detach()), q @ negatives.detach().T / temperature], 1)),
            "Both parts are divided by the temperature: put them together first, then divide."),
        "the queue without its temperature": (
            lambda q, k, negatives, temperature=0.07: _first(
                torch.cat([_dots(q, k.detach()) / temperature, q @ negatives.detach().T], 1)),
            "Only the own key is divided by the temperature, so it wins whatever the queue holds. Put both parts "
            "together first, then divide."),
        "a gradient into the keys": (
            lambda q, k, negatives, temperature=0.07: _first(
                torch.cat([_dots(q, k), q @ negatives.detach().T], 1) / temperature),
            "The value is right. But keys are constants in MoCo: their encoder follows by its moving average, not by "
            "gradients. k.detach()."),
        "a gradient into the queue": (
            lambda q, k, negatives, temperature=0.07: _first(
                torch.cat([_dots(q, k.detach()), q @ negatives.T], 1) / temperature),
            "The value is right. But the queue is a memory, not a parameter: negatives.detach()."),
        "the query detached": (
            lambda q, k, negatives, temperature=0.07: _first(
                torch.cat([_dots(q.detach(), k), q.detach() @ negatives.T], 1) / temperature),
            "The value is right, the wrong side learns: the *query* carries the gradient, keys and queue are "
            "constants."),
        "the other keys of the batch as negatives": (
            _all_keys,
            "You compare each query with the keys of the whole batch, as SimCLR does. In MoCo the other keys of the "
            "batch play no part: the negatives are the rows of the queue, and nothing else."),
        "the batch's keys added": (
            lambda q, k, negatives, temperature=0.07: _first(torch.cat(
                [_dots(q, k.detach()), q @ torch.cat([k, negatives]).detach().T], 1) / temperature),
            "Beside the own key and the queue, the batch's keys stand among your negatives, the own one among them: "
            "the loss cannot fall below log 2. The negatives are the rows of the queue, and nothing else."),
        "the own key twice": (
            lambda q, k, negatives, temperature=0.07: _first(torch.cat(
                [_dots(q, k.detach()), _dots(q, k.detach()), q @ negatives.detach().T], 1) / temperature),
            "The own key stands in your logits twice, once as a negative: the loss cannot fall below log 2. One column "
            "for it, K for the queue."),
        "the logarithm of the mean": (
            lambda q, k, negatives, temperature=0.07: -torch.log(torch.cat(
                [_dots(q, k.detach()), q @ negatives.detach().T], 1).div(temperature).softmax(1)[:, 0].mean()),
            "Take -log for each query and then the mean. The logarithm of the mean probability hardly sees the queries "
            "that fail."),
        "the own key is not in the denominator": (
            _without_own,
            "Your denominator holds the queue alone. InfoNCE is a choice among K + 1 keys: the own key is one of them, "
            "or the loss has no lower end at 0."),
        "the mean over the queue": (
            _mean_of_queue,
            "You average the exponentials of the queue: then 65536 negatives ask no more than one does. The "
            "denominator is their *sum*."),
        "the sum over the batch": (
            lambda q, k, negatives, temperature=0.07: len(q) * info_nce(q, k, negatives, temperature),
            "Mean over the queries: with the sum, the step length grows with the batch."),
        "euclidean distances": (
            lambda q, k, negatives, temperature=0.07: _first(torch.cat(
                [(q - k.detach()).square().sum(1, keepdim=True), torch.cdist(q, negatives.detach()).square()], 1)
                / temperature),
            "A distance is small where things are alike: cross-entropy wants the largest logit at the positive. Use "
            "inner products."),
    },
    right={"log-sum-exp": _written_out,
           "the diagonal of all pairs": lambda q, k, negatives, temperature=0.07: _first(torch.hstack(
               [(q @ k.detach().T).diagonal().unsqueeze(1), q @ negatives.detach().T]).div(temperature))},
    hints=("K + 1 classes for each query: its own key and the rows of the queue. Which class is the right one?",
           "Logits (N, 1 + K): (q * k).sum(1, keepdim=True) beside q @ negatives.T, divided by the temperature; the "
           "label is 0 for all. Who gets a gradient?",
           "own = (q * k.detach()).sum(1, keepdim=True)\n"
           "logits = torch.cat([own, q @ negatives.detach().T], dim=1) / temperature\n"
           "return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))"),
)


# ------------------------------------------------------------------------------------------------ 05.enqueue
def _enqueue_probes(generator, dtype):
    draw = partial(directions, generator, dtype)
    return [(draw(12, 3), 0, draw(4, 3)), (draw(12, 3), 8, draw(4, 3)),     # the pointer comes back to the start
            (draw(10, 2), 8, draw(4, 2)),                                   # around the end
            dict(rows=draw(7, 5), pointer=3, new=draw(7, 5)),               # the whole queue at once
            (draw(6, 4), torch.tensor(5), draw(1, 4))]


def _places(start, count: int, length: int) -> Tensor:
    return (start + torch.arange(count)) % length


def _put(rows: Tensor, places: Tensor, new: Tensor) -> Tensor:
    out = rows.clone()
    out[places] = new.detach()
    return out


def _in_place(rows, pointer, new):
    rows[_places(pointer, len(new), len(rows))] = new.detach()
    return rows, (pointer + len(new)) % len(rows)


def _clipped(rows, pointer, new):
    start = int(pointer)
    fit = min(len(rows) - start, len(new))
    return _put(rows, torch.arange(start, start + fit), new[:fit]), (pointer + len(new)) % len(rows)


def _shifted_back(rows, pointer, new):
    start = max(0, min(int(pointer), len(rows) - len(new)))
    return _put(rows, torch.arange(start, start + len(new)), new), (pointer + len(new)) % len(rows)


def _as_buffer(function, rows, pointer, new):
    """The harness: the queue is a buffer, which never has a gradient; whether an answer cuts it does not matter. A
    pointer is a whole number, whether as a tensor or not."""
    try:
        out = function(rows.detach(), pointer, new)
    except RuntimeError as error:
        if int(pointer) + len(new) <= len(rows) or not re.search("shape|size", str(error)):
            raise
        said = f"{error}. Fewer than {len(new)} rows are left from the pointer to the end; the rest goes to the start"
        raise RuntimeError(said).with_traceback(error.__traceback__) from None
    if isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], Tensor) and out[1].numel() == 1:
        return out[0], int(out[1])
    return out


enqueue = Exercise(
    key="05.enqueue", title="First in, first out", minutes=6, difficulty=2,
    reference="course_lib.models.layers:enqueue", probes=_enqueue_probes, gradients=True, call=_as_buffer,
    words={'[0]': 'the queue', '[1]': 'the pointer'},
    wrong={
        "the queue is written in place": (
            _in_place,
            "You write into the tensor that this step's logits were computed from; backward still needs its old values "
            "and will refuse, or worse. Return a new tensor: rows.clone(), or index_copy without the underscore."),
        "no way around the end": (
            _clipped,
            "When fewer rows are left than keys arrive, the rest must go to the start: take all places modulo the "
            "length."),
        "moved back to fit": (
            _shifted_back,
            "Near the end you write earlier than the pointer says, over rows that are not the oldest. Let the places "
            "run "
            "around the end instead."),
        "the pointer stays": (
            lambda rows, pointer, new: (_put(rows, _places(pointer, len(new), len(rows)), new), pointer),
            "The next batch would land on the same rows: most of the queue would never be renewed. Move the pointer by "
            "the number of keys."),
        "the pointer runs off": (
            lambda rows, pointer, new: (_put(rows, _places(pointer, len(new), len(rows)), new), pointer + len(new)),
            "The pointer must come back to the start: modulo the number of rows."),
        "the pointer moves by one": (
            lambda rows, pointer, new: (_put(rows, _places(pointer, len(new), len(rows)), new),
                                        (pointer + 1) % len(rows)),
            "A batch of keys was written, not one: the pointer moves by len(new), or the next batch overwrites most of "
            "it."),
        "always at the front": (
            lambda rows, pointer, new: (torch.cat([new.detach(), rows[len(new):]]), (pointer + len(new)) % len(rows)),
            "The keys go where the pointer is. At the front, the same rows are overwritten in every step, and all "
            "others "
            "keep their first keys for ever."),
        "shifted instead of overwritten": (
            lambda rows, pointer, new: (torch.cat([rows[len(new):], new.detach()]), (pointer + len(new)) % len(rows)),
            "First in, first out it is, but every row moves in every step and then the pointer means nothing. "
            "Overwrite "
            "the rows at the pointer, leave the others where they are."),
        "shifted, and the pointer stays": (
            lambda rows, pointer, new: (torch.cat([rows[len(new):], new.detach()]), pointer),
            "A queue that is shifted needs no pointer; this one is not shifted: overwrite the rows at the pointer, "
            "leave the others where they are, and move the pointer by the number of keys."),
        "the pointer starts again": (
            lambda rows, pointer, new: (_put(rows, _places(pointer, len(new), len(rows)), new),
                                        pointer + len(new) if pointer + len(new) < len(rows) else 0),
            "Around the end the pointer goes on, too: 2 rows past the end is row 2, not row 0. Modulo the number of "
            "rows."),
        "a gradient stays in the queue": (
            lambda rows, pointer, new: (rows.index_copy(0, _places(pointer, len(new), len(rows)), new),
                                        (pointer + len(new)) % len(rows)),
            "The values are right, but the queue now holds the graph of every step that filled it: memory grows until "
            "training dies. Detach the new keys (or work under torch.no_grad())."),
    },
    right={
        "roll, overwrite the front, roll back": lambda rows, pointer, new: (
            torch.roll(torch.cat([new, torch.roll(rows, -int(pointer), 0)[len(new):]]), int(pointer), 0).detach(),
            (pointer + len(new)) % len(rows)),
        "row by row": lambda rows, pointer, new: (
            torch.stack([new[(i - int(pointer)) % len(rows)] if (i - int(pointer)) % len(rows) < len(new) else rows[i]
                         for i in range(len(rows))]).detach(), (pointer + len(new)) % len(rows)),
    },
    hints=("Which rows are the oldest? Those from the pointer on. What comes after the last row?",
           "places = (pointer + torch.arange(len(new))) % len(rows); never write into `rows` itself.",
           "places = (pointer + torch.arange(len(new))) % len(rows)\n"
           "out = rows.clone()\n"
           "out[places] = new.detach()\n"
           "return out, (pointer + len(new)) % len(rows)"),
)


# ------------------------------------------------------------------------------------------------ 05.moco_step
def moco_step(query: nn.Module, key: nn.Module, optimizer: torch.optim.Optimizer, rows: Tensor, pointer: int | Tensor,
              view1: Tensor, view2: Tensor, momentum: float, temperature: float) -> tuple[float, Tensor, int | Tensor]:
    """One training step of MoCo -> the loss as a number, and the queue afterwards (rows, pointer)."""
    q = F.normalize(query(view1), dim=1)
    with torch.no_grad():
        k = F.normalize(key(view2), dim=1)
    loss = info_nce(q, k, rows, temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema_update(key, query, momentum)
    rows, pointer = put_in_line(rows, pointer, k)
    return loss.item(), rows, pointer


def _step_probes(generator, dtype):
    """The key encoder starts as a copy, as in the paper: whether it moves last or first is then the same."""
    wide, narrow = two_encoders(generator, dtype, (4, 6, 3), (5, 7, 2))
    return [dict(**wide, rows=directions(generator, dtype, 16, 3),
                 pointer=0, views=randn(generator, dtype, 4, 2, 8, 4), momentum=0.7, temperature=0.5),
            dict(**narrow, rows=directions(generator, dtype, 15, 2), pointer=12,
                 views=randn(generator, dtype, 4, 2, 6, 5), momentum=0.4, temperature=0.3)]


def _four_steps(step, query, key, rows, pointer, views, momentum, temperature):
    """The harness: four steps of gradient descent over the query encoder; what came of them."""
    optimizer, losses = torch.optim.SGD(query.parameters(), lr=0.3), []
    for pair in views:
        out = step(query, key, optimizer, rows, pointer, *pair, momentum, temperature)
        if isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], tuple):
            raise TypeError("the step must return three things, (loss, rows, pointer); this returns two, of which the "
                            "second is a pair. A star unpacks it: return loss.item(), *enqueue(...)")
        if not isinstance(out, tuple) or len(out) != 3 or any(map(blank, out)):
            return out
        loss, rows, pointer = out
        losses.append(loss)
    return {"losses": [float(loss) for loss in plain(losses)], "keeps its graph": keeps_graph(losses),
            "queue keeps its graph": rows.requires_grad, "rows": rows.detach(), "pointer": int(pointer),
            "query": weights_of(query), "statistics": [b.detach().clone() for b in key.buffers()],
            "gradient in the key encoder": has_gradient(key)}


def _mistaken(*, first=0, second=1, teacher="key", gradient=False, scaled=True, early=False, queued="key",
              loss=info_nce, follow=ema_update, order="clear backward step follow", back=Tensor.item, pointer=True,
              dim=-1, evaluates=False):
    """A step with one thing changed. queued="view1": that view's keys; pointer=1: it moves by one."""
    moves = pointer

    def step(query, key, optimizer, rows, pointer, view1, view2, momentum, temperature):
        views, length_one = (view1, view2), partial(unit, dim=dim) if scaled else lambda z: z
        key.train(not evaluates)
        q = length_one(query(views[first]))
        with torch.set_grad_enabled(gradient):
            made = (key if teacher == "key" else query)(views[second])
            k = length_one(made)
        others = {"query": q, "any length": made, "view1": length_one(key(view1)) if queued == "view1" else k}
        new = put_in_line(rows, pointer, others.get(queued, k).detach())
        new = (new[0], (pointer + 1) % len(rows)) if moves == 1 and moves is not True else new
        seen = new[0] if early else rows
        value = loss(q, k, seen, temperature)
        number = descend(value, optimizer, order, back, follow=lambda: follow(key, query, momentum))
        return (number, new[0] if queued else rows,
                new[1] if queued and moves else pointer)

    return step


@torch.no_grad()
def _everything(key, query, momentum):
    for t, o in zip(key.state_dict().values(), query.state_dict().values()):
        if t.is_floating_point():
            t.lerp_(o, 1 - momentum)


def _both_learn(q, k, negatives, temperature):
    return _first(torch.cat([_dots(q, k), q @ negatives.T], 1) / temperature)


def _as_in_the_code(query, key, optimizer, rows, pointer, view1, view2, momentum, temperature):
    """A right answer: the key encoder follows first, as in the official code; gradients cleared at the end."""
    with torch.no_grad():
        for t, o in zip(key.parameters(), query.parameters()):
            t.data = t.data * momentum + o.data * (1 - momentum)
        k = key(view2)
        k = k / k.norm(dim=1, keepdim=True)
    q = query(view1)
    q = q / q.norm(dim=1, keepdim=True)
    loss = _written_out(q, k, rows, temperature)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach(), *put_in_line(rows, pointer, k)


def _key_graph_dropped(query, key, optimizer, rows, pointer, view1, view2, momentum, temperature):
    """A right answer: no torch.no_grad() around the keys; the loss and the queue detach them."""
    q, k = unit(query(view1)), unit(key(view2))
    loss = info_nce(q, k, rows, temperature)
    new = put_in_line(rows, pointer, k.detach())
    descend(loss, optimizer)
    with torch.no_grad():
        for t, o in zip(key.parameters(), query.parameters()):
            t.mul_(momentum).add_(o, alpha=1 - momentum)
    return loss.item(), *new


step = Exercise(
    key="05.moco_step", title="One step of MoCo", minutes=12, difficulty=3,
    reference=moco_step, probes=_step_probes, call=_four_steps, tolerance=1e-3,
    words={"['losses']": "the losses of four steps", "['keeps its graph']": "whether the loss keeps its graph",
           "['queue keeps its graph']": "whether the queue keeps a graph",
           "['rows']": "the queue after four steps", "['pointer']": "the pointer after four steps",
           "['query']": "the query encoder's weights after four steps",
           "['statistics']": "the key encoder's batch-norm statistics",
           "['gradient in the key encoder']": "whether the key encoder got a gradient"},
    wrong={
        "enqueued before the logits": (
            _mistaken(early=True),
            "The loss is computed against a queue that already holds this step's keys: each positive is also a "
            "negative, and the loss cannot fall below log 2. First the loss, then the queue."),
        "the queue stays as it was": (
            _mistaken(queued=""),
            "You return the queue that you were given: its random rows stay for ever. Enqueue the keys after the loss, "
            "and return the new rows and the new pointer."),
        "the queries are enqueued": (
            _mistaken(queued="query"),
            "You put the *queries* into the queue. They come from an encoder that changes fast; the queue holds keys, "
            "k, of the slow one."),
        "the key encoder never moves": (
            _mistaken(order="clear backward step"),
            "Nothing complains, but the key encoder is what it was at the start. Move every parameter of `key` in "
            "place, after the optimizer's step (`p = ...` only gives a new tensor the name p). You will meet this bug "
            "again."),
        "the weights exchanged": (
            _mistaken(follow=lambda key, query, momentum: ema_update(key, query, 1 - momentum)),
            "momentum is what the key encoder *keeps*: key <- m * key + (1 - m) * query. With the two exchanged, 0.99 "
            "makes it nearly a copy."),
        "the key encoder as a copy": (
            _mistaken(follow=lambda key, query, momentum: ema_update(key, query, 0.0)),
            "The key encoder becomes the query encoder in every step: that is momentum 0, whatever you are given."),
        "the key encoder one step behind": (
            _mistaken(order="follow clear backward step"),
            "You moved the key encoder between the loss and the optimizer's step, so it follows the query encoder of "
            "the step before. The optimizer's step comes first."),
        "the query encoder is moved": (
            _mistaken(follow=lambda key, query, momentum: ema_update(query, key, momentum)),
            "You wrote into the query encoder. It is trained by the loss; the *key* encoder follows it."),
        "the pointer is left behind": (
            _mistaken(pointer=False),
            "The keys are written, but you return the old pointer: every batch lands on the same rows. Return what "
            "enqueue returns, rows and pointer."),
        "the pointer moves by one": (
            _mistaken(pointer=1),
            "The pointer moves by one row for a whole batch of keys: the next batch overwrites most of them, and the "
            "rest of the queue is never renewed. It moves by the number of keys."),
        "keys of any length in the queue": (
            _mistaken(queued="any length"),
            "The loss is right, but the queue gets the keys as they leave the encoder. Scale them to length 1 before "
            "they go in."),
        "the first view's keys are enqueued": (
            _mistaken(queued="view1"),
            "You enqueue keys of view1, which the loss never used. The keys of this step, from view2, go in."),
        "the key encoder in evaluation mode": (
            _mistaken(evaluates=True),
            "In evaluation mode the key encoder's batch norm uses its running statistics. While a network trains, both "
            "encoders stay in training mode: leave .eval() out."),
        "length 1 along the batch": (
            _mistaken(dim=0),
            "You scale each *column* to length 1. Each image has a row, and each row gets length 1: dim=1."),
        "buffers averaged, too": (
            _mistaken(follow=_everything),
            "The weights are right, but you averaged batch norm's running statistics as well. Parameters only: the key "
            "encoder collects statistics of its own."),
        "the query encoder makes the keys": (
            _mistaken(teacher="query"),
            "Both vectors come from `query`. The keys are made by the slow encoder: key(view2)."),
        "one view for both": (
            _mistaken(second=0),
            "Query and key are made from the same view: there is nothing to ignore, and nothing to learn. "
            "query(view1), key(view2)."),
        "the views exchanged": (
            _mistaken(first=1, second=0),
            "The query is made from view1 and the key from view2; you have them the other way round. Over many steps "
            "it would make no difference, to this check it does."),
        "not of length 1": (
            _mistaken(scaled=False),
            "Queries and keys are scaled to length 1 before anything else, so that inner products are cosines: "
            "F.normalize(..., dim=1)."),
        "a gradient into the key encoder": (
            _mistaken(gradient=True, loss=_both_learn),
            "The loss also sends a gradient into the key encoder. Its output is a constant: torch.no_grad(), and the "
            "moving average moves it."),
        **update_mistakes(_mistaken, BASIC, after="follow"),
    },
    right={"the key encoder first, as in the official code": _as_in_the_code,
           "keys detached later": _key_graph_dropped},
    hints=("Query and key, the loss against the *old* queue, the three lines of every training step, the moving "
           "average, the queue.",
           "q = F.normalize(query(view1), dim=1); k likewise from key(view2), under torch.no_grad(). In place and "
           "without gradients: every parameter of `key` towards that of `query`, by the share 1 - momentum.",
           "q = F.normalize(query(view1), dim=1)\n"
           "with torch.no_grad():\n"
           "    k = F.normalize(key(view2), dim=1)\n"
           "loss = info_nce(q, k, rows, temperature)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "with torch.no_grad():\n"
           "    for slow, fast in zip(key.parameters(), query.parameters()):\n"
           "        slow.lerp_(fast, 1 - momentum)\n"
           "return loss.item(), *enqueue(rows, pointer, k)"),
)


# ------------------------------------------------------------------------------------------------ 05.own_share
def own_share(rows: Tensor, pointer: int | Tensor, fresh: Tensor) -> Tensor:
    """How much of its own image a stored key still says, by age: (A,), newest batch first.

    rows (K, D), pointer: the queue, filled by A batches of N = K / A keys. fresh (A, N, D): the same views encoded now,
    newest batch first. 1: as if made now; 0: no more like its own image than like the others of its batch.
    """
    stored = rows.roll(-int(pointer), 0).view_as(fresh).flip(0)
    cosines = stored @ fresh.mT
    own, n = cosines.diagonal(dim1=1, dim2=2).sum(1), fresh.shape[1]
    others = (cosines.sum((1, 2)) - own) / (n * (n - 1))
    return (own / n - others) / (1 - others)


def _share_probes(generator, dtype):
    def queue(ages: int, n: int, d: int, pointer: int):
        common, images = randn(generator, dtype, d), randn(generator, dtype, ages, n, d)
        drift = torch.linspace(0.1, 1.5, ages, dtype=dtype)[:, None, None] * randn(generator, dtype, ages, n, d)
        fresh, stored = unit(images + common), unit(images + common + drift)
        return stored.flip(0).flatten(0, 1).roll(pointer, 0), pointer, fresh

    rows, pointer, fresh = queue(2, 5, 3, 7)
    strange, place, now = queue(3, 5, 4, 10)
    return [queue(4, 3, 5, 0), queue(3, 4, 6, 8), (-strange, place, now),                  # worse than a stranger's
            dict(rows=rows, pointer=torch.tensor(pointer), fresh=fresh)]


def _cosines(rows, pointer, fresh, back=True, newest_first=True):
    stored = rows.roll(-int(pointer), 0) if back else rows
    stored = stored.view_as(fresh)
    return (stored.flip(0) if newest_first else stored) @ fresh.mT


def _shares(cosines, own=None, others=None, result=lambda own, others: (own - others) / (1 - others)):
    n = cosines.shape[1]
    diagonal = cosines.diagonal(dim1=1, dim2=2)
    if others is None:
        others = (cosines.sum((1, 2)) - diagonal.sum(1)) / (n * (n - 1))
    return result(diagonal.mean(1) if own is None else own, others)


def _rows_reversed(rows, pointer, fresh):
    stored = rows.roll(-int(pointer), 0).flip(0).view_as(fresh)
    return _shares(stored @ fresh.mT)


def _one_yardstick(rows, pointer, fresh):
    cosines = _cosines(rows, pointer, fresh)
    n = cosines.shape[1]
    others = (cosines.sum((1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(1)) / (n * (n - 1))
    return _shares(cosines, others=others.mean())


def _among(rows, pointer, fresh, stored):
    kind = rows.roll(-int(pointer), 0).view_as(fresh).flip(0) if stored else fresh
    alike, n = kind @ kind.mT, fresh.shape[1]
    others = (alike.sum((1, 2)) - alike.diagonal(dim1=1, dim2=2).sum(1)) / (n * (n - 1))
    return _shares(_cosines(rows, pointer, fresh), others=others)


def _each_its_own(rows, pointer, fresh):
    cosines = _cosines(rows, pointer, fresh)
    own = cosines.diagonal(dim1=1, dim2=2)
    others = (cosines.sum(2) - own) / (cosines.shape[1] - 1)
    return ((own - others) / (1 - others)).mean(1)


def _looped(rows, pointer, fresh):
    """A right answer: batch by batch, masked."""
    ages, n, _ = fresh.shape
    out = []
    for age in range(ages):
        places = (int(pointer) - (age + 1) * n + torch.arange(n)) % len(rows)
        cosines = torch.einsum("id,jd->ij", rows[places], fresh[age])
        same = torch.eye(n, dtype=torch.bool)
        own, others = cosines[same].mean(), cosines[~same].mean()
        out.append((own - others) / (1 - others))
    return torch.stack(out)


measurement = Exercise(
    key="05.own_share", title="What is an old key still worth?", minutes=9, difficulty=3,
    reference=own_share, probes=_share_probes, tolerance=1e-3,
    wrong={
        "the rows as they lie": (
            lambda rows, pointer, fresh: _shares(_cosines(rows, pointer, fresh, back=False)),
            "You cut the queue into batches from row 0 on. The oldest key lies at the *pointer*: roll the rows by "
            "-pointer first."),
        "rolled the other way": (
            lambda rows, pointer, fresh: _shares(_cosines(rows, -int(pointer), fresh)),
            "You rolled by +pointer. Row `pointer`, the oldest, must come to place 0: rows.roll(-pointer, 0)."),
        "the oldest first": (
            lambda rows, pointer, fresh: _shares(_cosines(rows, pointer, fresh, newest_first=False)),
            "From the pointer on, the queue goes from old to new; `fresh` goes from new to old. Flip the order of the "
            "*batches*."),
        "single rows flipped": (
            _rows_reversed,
            "You flipped the rows one by one, so the keys within a batch stand in reverse order, too, and meet other "
            "images' fresh keys. Cut into batches first, then flip the batches."),
        "the bare cosine": (
            lambda rows, pointer, fresh: _cosines(rows, pointer, fresh).diagonal(dim1=1, dim2=2).mean(1),
            "That is the mean cosine of a stored key with its fresh one. Where all keys are alike, it is near 1 for "
            "any image's. Compare with the yardstick: (own - others) / (1 - others)."),
        "only the difference": (
            lambda rows, pointer, fresh: _shares(_cosines(rows, pointer, fresh), result=torch.sub),
            "own - others is small wherever all keys are alike. Scale it by the most that is possible, 1 - others: "
            "then a key as good as new counts 1."),
        "the ratio of the cosines": (
            lambda rows, pointer, fresh: _shares(_cosines(rows, pointer, fresh), result=torch.div),
            "A ratio of cosines has no fixed ends (and `others` may be 0 or negative). Wanted: 1 for as good as new, 0 "
            "for no better than another image's."),
        "the own image among the others": (
            lambda rows, pointer, fresh: _shares(_cosines(rows, pointer, fresh),
                                                 others=_cosines(rows, pointer, fresh).mean((1, 2))),
            "Your mean over other images includes the diagonal, where a key meets its own image. Leave it out: "
            "n (n - 1) pairs are left."),
        "a yardstick of stored keys alone": (
            lambda rows, pointer, fresh: _among(rows, pointer, fresh, stored=True),
            "Your `others` compares stored keys with stored keys. Own and others are cosines of the same two kinds: a "
            "stored key with a fresh one."),
        "a yardstick of fresh keys alone": (
            lambda rows, pointer, fresh: _among(rows, pointer, fresh, stored=False),
            "Your `others` compares fresh keys with fresh keys. Own and others are cosines of the same two kinds: a "
            "stored key with a fresh one."),
        "each image with its own yardstick": (
            _each_its_own,
            "You form the ratio for each image and average the ratios. Average first, own and others over the batch; "
            "then one ratio for each age."),
        "cut off at 0": (
            lambda rows, pointer, fresh: own_share(rows, pointer, fresh).clamp(0, 1),
            "A share below 0 is possible, and says something: the stored key is less like its own image than like "
            "others. Do not cut it off."),
        "one yardstick for all ages": (
            _one_yardstick,
            "You average the yardstick over all ages. Each batch is compared with its own: others has one number for "
            "each age."),
    },
    right={"batch by batch, with a mask": _looped},
    hints=("Bring the rows into the order of `fresh`, then compare every stored key with every fresh key of its batch. "
           "Where do the pairs of one image lie?",
           "rows.roll(-pointer, 0) starts at the oldest key; view it like `fresh`, then flip the batches. own: mean "
           "of the diagonals of stored @ fresh.mT, (A, N, N); others: the mean of all that is off-diagonal.",
           "stored = rows.roll(-int(pointer), 0).view_as(fresh).flip(0)\n"
           "cosines, n = stored @ fresh.mT, fresh.shape[1]\n"
           "own = cosines.diagonal(dim1=1, dim2=2).mean(1)\n"
           "others = (cosines.sum((1, 2)) - n * own) / (n * (n - 1))\n"
           "return (own - others) / (1 - others)"),
)


EXERCISES = [loss, enqueue, step, measurement]
