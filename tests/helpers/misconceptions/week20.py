"""Second spellings of the misconceptions of week 20, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch


# ---------------------------------------------------------------- 20.bound
def _rows(scores, *, n=None, columns=False, drop=False, start=0.0, sign=1.0):
    """Row by row; the partner's logarithm plus log n, and their mean."""
    table, total = scores.T if columns else scores, start
    for i in range(len(table)):
        row = table[i]
        rivals = torch.cat([row[:i], row[i + 1:]]) if drop else row
        total = total + row[i] - torch.log(torch.exp(rivals).sum())
    return sign * total / len(table) + (0.0 if n is None else math.log(n))


# ---------------------------------------------------------------- 20.signs
def _entries(rule, extra=1):
    return lambda n: torch.tensor([[rule(i, j, n) for j in range(n + extra)] for i in range(n + extra)])


def _plain(i, j, n):
    return 1 if i == j else 0 if i == 0 else -1


# ---------------------------------------------------------------- 20.looc
def _heads(*, seen=lambda i, j: i > 0 or j == 0, positive=lambda i: (i,), rows=lambda queues, i: queues[i],
           keys=lambda k, i, j: k[i][j], scale=None, below=True, count=None, images=torch.mean, heads=None):
    """Probabilities in place of logarithms of sums: a softmax over dicts of columns."""
    def answer(q, k, queues, temperature=0.2):
        t, found = scale or temperature, []
        for i in range(len(q)):
            columns = {j: (q[i] * keys(k, i, j)).sum(-1) / t for j in range(len(q))}
            far = (q[i] @ rows(queues, i).mT / t).exp().sum(1)
            good = positive(i) if i or len(positive(i)) == 1 else range(len(q))
            own = sum(columns[j].exp() for j in range(len(q)) if j in good or seen(i, j))
            if not below:
                own = own - columns[i].exp()
            top = torch.stack([columns[j] for j in good]).mean(0)
            found.append(-images(top - torch.log(own + far)))
        found = torch.stack(found)
        return found.mean() if heads is None else heads(found)

    return answer


def _swapped(q, k, queues, temperature=0.2):
    """Every head looks for k_0; its own key view is a negative."""
    mixed = k.clone()
    for i in range(1, len(q)):
        mixed[i, 0], mixed[i, i] = k[i, i], k[i, 0]
    return _heads()(q, mixed, queues, temperature)


# ---------------------------------------------------------------- 20.looc_step
def _one(z):
    return z / z.norm(dim=-1, keepdim=True).clamp_min(1e-12)


@torch.no_grad()
def _average(key, query, momentum):
    for slow, fast in zip(key.parameters(), query.parameters()):
        slow.copy_(momentum * slow + (1 - momentum) * fast)


def _stepped(*, axis=1, joined=False, who="key", instead=False, cut=True, unit_q=True, unit_k=True,
             put=lambda k, q, i: k[i][i], before=False, average=_average, train=True, clear=True, number=True):
    def step(query, key, optimizer, queues, view, key_views, contrast, momentum=0.99):
        encoder = query if who == "query" else key
        views = [view, *key_views[1:]] if instead else list(key_views)
        if joined:
            n = len(views[0])
            k = torch.stack(encoder(torch.vstack(views)).split(n, dim=1), 1)
        else:
            k = torch.stack([encoder(each) for each in views], axis)
        k = _one(k) if unit_k else k
        k = k.detach() if cut else k
        q = query(view)
        q = _one(q) if unit_q else q

        def fill():
            for i in range(len(queues)):
                queues[i].enqueue(put(k, q, i).detach())
        if before:
            fill()
        loss = contrast(q, k, torch.stack([each.rows for each in queues]))
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if train:
            optimizer.step()
        if average:
            average(key, query, momentum)
        if not before:
            fill()
        return loss.item() if number else loss

    return step


SECOND = {
    "20.bound": {
        "log N left out": lambda scores: _rows(scores),
        "the loss": lambda scores: _rows(scores, sign=-1.0),
        "log (N - 1)": lambda scores: _rows(scores, n=len(scores) - 1),
        "log 2N": lambda scores: _rows(scores, n=2 * len(scores)),
        "the partner left out of the sum": lambda scores: _rows(scores, n=len(scores), drop=True),
        "columns choose": lambda scores: _rows(scores, n=len(scores), columns=True),
        "the logarithm of the mean probability": lambda scores: torch.log(
            torch.trace(torch.softmax(scores, -1)) / len(scores)) + math.log(len(scores)),
        "a sum over the rows": lambda scores: len(scores) * _rows(scores) + math.log(len(scores)),
        "bits": lambda scores: _rows(scores, n=len(scores)) * math.log2(math.e),
        "log N of all pairs": lambda scores: _rows(scores, n=scores.numel()),
        "scores of probabilities": lambda scores: _rows(torch.softmax(scores, -1), n=len(scores)),
    },
    "20.signs": {
        "head 0 pushes the others away": _entries(lambda i, j, n: 1 if i == j else -1),
        "all key views are positives of head 0": _entries(lambda i, j, n: 1 if i in (0, j) else -1),
        "only k_0 is a negative": lambda n: _entries(
            lambda i, j, n: 1 if i == j else -1 if i and not j else 0)(n) if n > 1 else -_entries(_plain)(1),
        "no negatives of the same image": _entries(lambda i, j, n: int(i == j)),
        "k_0 is not compared": _entries(lambda i, j, n: 0 if i and not j else _plain(i, j, n)),
        "k_0 is a positive everywhere": _entries(lambda i, j, n: 1 if not j else _plain(i, j, n)),
        "signs exchanged": _entries(lambda i, j, n: -_plain(i, j, n)),
        "transposed": _entries(lambda i, j, n: _plain(j, i, n)),
        "without head 0": _entries(lambda i, j, n: 1 if i == j else -1, extra=0),
    },
    "20.looc": {
        "the query of head 0": lambda q, k, queues, temperature=0.2: _heads()(
            torch.stack([q[0]] * len(q)), k, queues, temperature),
        "queries are constants": lambda q, k, queues, temperature=0.2: _heads()(
            q.data, k, queues, temperature).detach(),
        "no negatives of the same image": _heads(seen=lambda i, j: i == j),
        "head 0 sees the others, too": _heads(seen=lambda i, j: True),
        "all are positives of head 0": _heads(positive=lambda i: (i,) if i else (0, 1)),
        "one queue for all": _heads(rows=lambda queues, i: queues[:1][0]),
        "no queue": _heads(rows=lambda queues, i: queues[i, :0]),
        "keys of head 0": _heads(keys=lambda k, i, j: k[0][j]),
        "head and key view exchanged": _heads(keys=lambda k, i, j: k.transpose(0, 1)[i][j]),
        "k_0 is everybody's positive": _swapped,
        "the positive left out below": _heads(below=False),
        "a sum over the heads": _heads(heads=torch.sum),
        "a sum over the images": _heads(images=torch.sum),
        "no temperature": _heads(scale=1),
        "head 0 left out": _heads(heads=lambda found: found[1:].mean()),
        "only head 0": _heads(heads=lambda found: found[0]),
    },
    "20.looc_step": {
        "k is transposed": _stepped(axis=0),
        "one pass for all key views": _stepped(joined=True),
        "the query encoder makes the keys": _stepped(who="query"),
        "the query's view as k_0": _stepped(instead=True),
        "a gradient into the keys": _stepped(cut=False),
        "queries not of length 1": _stepped(unit_q=False),
        "keys not of length 1": _stepped(unit_k=False),
        "all queues get k_0": _stepped(put=lambda k, q, i: k[i][0]),
        "all queues get head 0": _stepped(put=lambda k, q, i: k[0][i]),
        "the same rows for all queues": _stepped(put=lambda k, q, i: k[0][0]),
        "the queries are enqueued": _stepped(put=lambda k, q, i: q[i]),
        "enqueued before the loss": _stepped(before=True),
        "the key encoder never follows": _stepped(average=None),
        "the query encoder never learns": _stepped(train=False),
        "gradients never cleared": _stepped(clear=False),
        "the loss keeps its graph": _stepped(number=False),
    },
}

EQUIVALENT = {
    "20.bound": {"line 4: pairs(scores) -> nothing": "it only refuses scores that are not square"},
}
