"""Second spellings of the misconceptions of week 5, and mutants of its references that compute the same."""
from __future__ import annotations

import torch


# ---------------------------------------------------------------- 05.enqueue
def _loop(rows, pointer, new, start=None, move=None, wrap=True):
    """Key by key; `start` the first place, `move` how far the pointer goes."""
    out = [row for row in rows]
    first = int(pointer) if start is None else start
    for number, key in enumerate(new):
        place = first + number
        if place < len(rows) or wrap:
            out[place % len(rows)] = key
    return torch.stack(out), (pointer + (len(new) if move is None else move)) % len(rows)


def _detached(**options):
    return lambda rows, pointer, new: _loop(rows, pointer, new.detach(), **options)


def _overwrite(rows, pointer, new):
    for number in range(len(new)):
        rows[(int(pointer) + number) % len(rows)] = new[number].detach()
    return rows, (pointer + len(new)) % len(rows)


def _runs_off(rows, pointer, new):
    return _loop(rows, pointer, new.detach())[0], len(new) + pointer


def _line(rows, pointer, new):
    return torch.vstack([rows, new.detach()])[-len(rows):], (pointer + len(new)) % len(rows)


# ---------------------------------------------------------------- 05.info_nce
def _choice(own, others, temperature=1.0, extra=True):
    """-log of the probability of the own key; own (N,), others (N, K)."""
    own, others = own / temperature, (others / temperature).exp().sum(1)
    return (torch.log(own.exp() * extra + others) - own).mean()


def _own(q, k):
    return torch.einsum("nd,nd->n", q, k)


def _others(q, negatives):
    return torch.einsum("nd,kd->nk", q, negatives)


def _in_batch(q, k, negatives, temperature=0.07):
    scores = torch.hstack([q @ k.data.T, q @ negatives.data.T]) / temperature
    return -scores.log_softmax(1).diagonal().mean()


def _not_first(extra):
    """The loss with more rows among the negatives; extra: (q, k) -> logits beside those of the queue."""
    def loss(q, k, negatives, temperature=0.07):
        others = torch.hstack([_others(q, negatives.data), extra(q, k.data)])
        return _choice(_own(q, k.data), others, temperature)

    return loss


def _mean_first(q, k, negatives, temperature=0.07):
    own, others = (_own(q, k.data) / temperature).exp(), (_others(q, negatives.data) / temperature).exp().sum(1)
    return -(own / (own + others)).mean().log()


def _last(q, k, negatives, temperature=0.07):
    scores = torch.hstack([_others(q, negatives.data), _own(q, k.data)[:, None]]) / temperature
    return -scores.log_softmax(1)[:, 0].mean()


# ---------------------------------------------------------------- 05.moco_step
def _put(rows, pointer, new):
    out = rows.clone()
    for number, key in enumerate(new.detach()):
        out[(int(pointer) + number) % len(rows)] = key
    return out, (pointer + len(new)) % len(rows)


@torch.no_grad()
def _average(key, query, momentum):
    for t, o in zip(key.parameters(), query.parameters()):
        t.copy_(momentum * t + (1 - momentum) * o)


@torch.no_grad()
def _all_of_it(key, query, momentum):
    mine, theirs = key.state_dict(), query.state_dict()
    key.load_state_dict({name: momentum * t + (1 - momentum) * theirs[name] if t.dtype.is_floating_point else t
                         for name, t in mine.items()})


def _stepped(*, views=(0, 1), keys="key", cut=True, length=None, clear=True, before=False, put="k", keep=lambda m: m,
             average=_average, late=True, number=True,
             advance=True, train=True, alive=True):
    """A step with one thing changed."""
    def step(query, key, optimizer, rows, pointer, view1, view2, momentum, temperature):
        pair, one = (view1, view2), length or _length_one
        if not alive:
            key.eval()
        raw = (query if keys == "query" else key)(pair[views[1]])
        q, k = one(query(pair[views[0]])), one(raw)
        k = k.detach() if cut else k
        line = {"q": q, "raw": raw}.get(put, k) if put != "first" else one(key(view1))
        new = _put(rows, pointer, line) if put else (rows, pointer)
        new = (new[0], (pointer + 1) % len(rows)) if advance == "one" else new
        loss = _choice(_own(q, k), _others(q, new[0] if before else rows), temperature)
        if average and not late:
            average(key, query, keep(momentum))
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if train:
            optimizer.step()
        if average and late:
            average(key, query, keep(momentum))
        return loss.item() if number else loss, new[0], new[1] if advance else pointer

    return step


# ---------------------------------------------------------------- 05.own_share
def _length_one(z, dim=-1):
    return z / z.norm(dim=dim, keepdim=True).clamp_min(1e-12)


def _measured(places, result=lambda own, others: (own - others) / (1 - others), inclusive=False, pooled=False):
    """Batch by batch; places: (pointer, age, ages, n) -> the rows of that batch, before the modulo."""
    def share(rows, pointer, fresh):
        ages, n, _ = fresh.shape
        own, others = [], []
        for age in range(ages):
            cosines = rows[places(int(pointer), age, ages, n) % len(rows)] @ fresh[age].T
            own.append(cosines.trace() / n)
            others.append(cosines.mean() if inclusive else (cosines.sum() - cosines.trace()) / (n * n - n))
        own, others = torch.stack(own), torch.stack(others)
        return result(own, others.mean() if pooled else others)

    return share


def _yardstick(stored):
    """Others from keys of one kind, batch by batch."""
    def share(rows, pointer, fresh):
        ages, n, _ = fresh.shape
        out = []
        for age in range(ages):
            old = rows[_from_the_pointer(int(pointer), age, ages, n) % len(rows)]
            kind = old if stored else fresh[age]
            alike, own = kind @ kind.T, (old * fresh[age]).sum(1).mean()
            others = alike[~torch.eye(n, dtype=torch.bool)].mean()
            out.append((own - others) / (1 - others))
        return torch.stack(out)

    return share


def _ratios(rows, pointer, fresh):
    ages, n, _ = fresh.shape
    out = []
    for age in range(ages):
        cosines = rows[_from_the_pointer(int(pointer), age, ages, n) % len(rows)] @ fresh[age].T
        rest = [torch.cat([row[:i], row[i + 1:]]).mean() for i, row in enumerate(cosines)]
        out.append(torch.stack([(cosines[i, i] - rest[i]) / (1 - rest[i]) for i in range(n)]).mean())
    return torch.stack(out)


def _from_the_pointer(pointer, age, ages, n):
    return pointer + (ages - 1 - age) * n + torch.arange(n)


SECOND = {
    "05.enqueue": {
        "the queue is written in place": _overwrite,
        "no way around the end": _detached(wrap=False),
        "moved back to fit": lambda rows, pointer, new: (
            _loop(rows, min(int(pointer), len(rows) - len(new)), new.detach())[0], (pointer + len(new)) % len(rows)),
        "the pointer stays": _detached(move=0),
        "the pointer runs off": _runs_off,
        "the pointer moves by one": _detached(move=1),
        "always at the front": _detached(start=0),
        "shifted instead of overwritten": _line,
        "shifted, and the pointer stays": lambda rows, pointer, new: (_line(rows, pointer, new)[0], pointer),
        "the pointer starts again": lambda rows, pointer, new: (
            _loop(rows, pointer, new.detach())[0], (int(pointer) + len(new)) * (int(pointer) + len(new) < len(rows))),
        "a gradient stays in the queue": _loop,
    },
    "05.info_nce": {
        "the positive in the last column": _last,
        "the temperature multiplies": lambda q, k, negatives, temperature=0.07: _choice(
            _own(q, k.data), _others(q, negatives.data), 1 / temperature),
        "the positive without its temperature": lambda q, k, negatives, temperature=0.07: _choice(
            _own(q, k.data), _others(q, negatives.data) / temperature),
        "the queue without its temperature": lambda q, k, negatives, temperature=0.07: _choice(
            _own(q, k.data) / temperature, _others(q, negatives.data)),
        "a gradient into the keys": lambda q, k, negatives, temperature=0.07: _choice(
            _own(q, k), _others(q, negatives.data), temperature),
        "a gradient into the queue": lambda q, k, negatives, temperature=0.07: _choice(
            _own(q, k.data), _others(q, negatives), temperature),
        "the query detached": lambda q, k, negatives, temperature=0.07: _choice(
            _own(q.data, k), _others(q.data, negatives), temperature),
        "the other keys of the batch as negatives": _in_batch,
        "the batch's keys added": _not_first(lambda q, k: torch.einsum("nd,md->nm", q, k)),
        "the own key twice": _not_first(lambda q, k: _own(q, k)[:, None]),
        "the logarithm of the mean": _mean_first,
        "the own key is not in the denominator": lambda q, k, negatives, temperature=0.07: _choice(
            _own(q, k.data), _others(q, negatives.data), temperature, extra=False),
        "the mean over the queue": lambda q, k, negatives, temperature=0.07: -torch.log(
            (_own(q, k.data) / temperature).exp() / ((_own(q, k.data) / temperature).exp() + (
                _others(q, negatives.data) / temperature).exp().sum(1) / len(negatives))).mean(),
        "the sum over the batch": lambda q, k, negatives, temperature=0.07: q.shape[0] * _choice(
            _own(q, k.data), _others(q, negatives.data), temperature),
        "euclidean distances": lambda q, k, negatives, temperature=0.07: _choice(
            ((q - k.data) ** 2).sum(1), ((q[:, None] - negatives.data) ** 2).sum(2), temperature),
    },
    "05.moco_step": {
        "enqueued before the logits": _stepped(before=True),
        "the queue stays as it was": _stepped(put=""),
        "the queries are enqueued": _stepped(put="q"),
        "the key encoder never moves": _stepped(average=None),
        "the weights never move": _stepped(train=False),
        "the weights exchanged": _stepped(keep=lambda momentum: 1 - momentum),
        "the key encoder as a copy": _stepped(keep=lambda momentum: 0.0),
        "the key encoder one step behind": _stepped(late=False),
        "the query encoder is moved": _stepped(average=lambda key, query, momentum: _average(query, key, momentum)),
        "the pointer is left behind": _stepped(advance=False),
        "the pointer moves by one": _stepped(advance="one"),
        "keys of any length in the queue": _stepped(put="raw"),
        "the first view's keys are enqueued": _stepped(put="first"),
        "the key encoder in evaluation mode": _stepped(alive=False),
        "length 1 along the batch": _stepped(length=lambda z: z / z.norm(dim=0, keepdim=True).clamp_min(1e-12)),
        "buffers averaged, too": _stepped(average=_all_of_it),
        "the query encoder makes the keys": _stepped(keys="query"),
        "one view for both": _stepped(views=(0, 0)),
        "the views exchanged": _stepped(views=(1, 0)),
        "not of length 1": _stepped(length=lambda z: z),
        "gradients never cleared": _stepped(clear=False),
        "a gradient into the key encoder": _stepped(cut=False),
        "the loss keeps its graph": _stepped(number=False),
    },
    "05.own_share": {
        "the rows as they lie": _measured(lambda pointer, age, ages, n: _from_the_pointer(0, age, ages, n)),
        "rolled the other way": _measured(lambda pointer, age, ages, n: _from_the_pointer(-pointer, age, ages, n)),
        "the oldest first": _measured(
            lambda pointer, age, ages, n: _from_the_pointer(pointer, ages - 1 - age, ages, n)),
        "single rows flipped": _measured(lambda pointer, age, ages, n: pointer - 1 - age * n - torch.arange(n)),
        "the bare cosine": _measured(_from_the_pointer, lambda own, others: own),
        "only the difference": _measured(_from_the_pointer, torch.sub),
        "the ratio of the cosines": _measured(_from_the_pointer, torch.div),
        "the own image among the others": _measured(_from_the_pointer, inclusive=True),
        "a yardstick of stored keys alone": _yardstick(True),
        "a yardstick of fresh keys alone": _yardstick(False),
        "each image with its own yardstick": _ratios,
        "cut off at 0": _measured(_from_the_pointer, lambda own, others: ((own - others) / (1 - others)).relu()),
        "one yardstick for all ages": _measured(_from_the_pointer, pooled=True),
    },
}
EQUIVALENT = {
    "05.info_nce": {"line 5: torch.zeros(len(q), dtype=torch.long, device=q.device) -> "
                    "torch.zeros(len(q), dtype=torch.long)": "the check runs on the CPU"},
    "05.moco_step": {"line 4: F.normalize(query(view1), dim=1) -> F.normalize(query(view1))": "dim=1 is its default",
                     "line 6: F.normalize(key(view2), dim=1) -> F.normalize(key(view2))": "dim=1 is its default"},
    "05.enqueue": {"line 8: torch.arange(len(new), device=new.device) -> torch.arange(len(new))":
                   "the check runs on the CPU"},
}
