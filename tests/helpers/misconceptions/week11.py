"""Second spellings of the misconceptions of week 11, and mutants of its references that compute the same."""
from __future__ import annotations

import torch


def _one(z):
    return z / z.norm(dim=1, keepdim=True).clamp_min(1e-12)


# ---------------------------------------------------------------- 11.score_meter
def _read(*, scale=_one, near=None, far=None, of=None, of_far=None):
    """Sums in place of means."""
    def answer(q, k, negatives):
        q, k = scale(q), scale(k)
        pair = torch.einsum("nd,nd->n", q, k) if near is None else near(q, k)
        rest = torch.einsum("nd,kd->nk", q, negatives) if far is None else far(q, k, negatives)
        spread = of or (lambda s: (s - s.sum() / s.numel()).pow(2).sum() / s.numel())
        return {"positive": pair.sum() / pair.numel(), "negative": rest.sum() / rest.numel(),
                "positive_variance": spread(pair), "negative_variance": (of_far or spread)(rest)}

    return answer


# ---------------------------------------------------------------- 11.extrapolation
def _moved(by=lambda draw: draw, key=lambda q, new, k, d: k + d * (k - q), swap=False, end=lambda z: z):
    """By steps along the difference."""
    def answer(q, k, draw):
        d = by(draw)
        new = q + d * (q - k)
        both = end(new), end(key(q, new, k, d))
        return both[::-1] if swap else both

    return answer


# ---------------------------------------------------------------- 11.mixed_loss
def _far(q, k, draw):
    return q + draw * (q - k), k + draw * (k - q)


def _compared(*, pair=_far, mix=lambda n, b, other: other + b * (n - other), stops=("k", "n"), who="new", near="new",
              divide=lambda own, rest, t: (own / t, rest / t), total=True, end=torch.mean,
              partner=lambda n, order: n[order]):
    """The loss by logsumexp."""
    def answer(q, k, negatives, draw, b, order, temperature=0.1):
        k = k.detach() if "k" in stops else k
        n = negatives.detach() if "n" in stops else negatives
        new, key = pair(q, k, draw)
        own = {"new": (new * key).sum(-1), "old": (q * k).sum(-1), "half": (new * k).sum(-1)}[near]
        rest = torch.einsum("nd,kd->nk", new if who == "new" else q, mix(n, b, partner(n, order)))
        own, rest = divide(own, rest, temperature)
        everybody = torch.cat([own[:, None], rest], 1) if total else rest
        return end(torch.logsumexp(everybody, 1) - own)

    return answer


# ---------------------------------------------------------------- 11.imco_step
@torch.no_grad()
def _average(key, query, momentum):
    for slow, fast in zip(key.parameters(), query.parameters()):
        slow.copy_(momentum * slow + (1 - momentum) * fast)


@torch.no_grad()
def _copied(key, query, momentum):
    for slow, fast in zip(key.parameters(), query.parameters()):
        slow.copy_(fast)


def _stepped(*, turned=False, q_by="query", k_by="key", cut=True, length=_one, mixes="both", put="k", before=False,
             average=_average, early=False, train=True, clear=True, number=True):
    """A step with one thing changed."""
    def step(query, key, optimizer, queue, view1, view2, draw, b, order, momentum=0.99, temperature=0.1):
        one, two = (view2, view1) if turned else (view1, view2)
        encoders = {"query": query, "key": key}
        if cut:
            with torch.no_grad():
                k = length(encoders[k_by](two))
        else:
            k = length(encoders[k_by](two))
        q = length(encoders[q_by](one))
        new = {"k": k, "q": q, "moved": k + draw * (k - q)}[put].detach()
        if before:
            queue.enqueue(new)
        rows, a, share = queue.rows, draw, b
        if mixes == "exchanged":
            a, share = b, draw
        elif mixes == "none":
            a, share = 0, 1
        loss = _compared(stops=("k", "n") if cut else ("n",))(q, k, rows, a, share, order, temperature)
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if early:
            average(key, query, momentum)
        if train:
            optimizer.step()
        if average and not early:
            average(key, query, momentum)
        if not before:
            queue.enqueue(new)
        return loss.item() if number else loss

    return step


SECOND = {
    "11.score_meter": {
        "not of length 1": _read(scale=lambda z: z),
        "length 1 over the batch": _read(scale=lambda z: z / z.norm(dim=0)),
        "an estimate of the variance": _read(of=lambda s: (s - s.mean()).pow(2).sum() / (s.numel() - 1)),
        "the standard deviation": _read(of=lambda s: (s - s.mean()).pow(2).mean().sqrt()),
        "all keys of the batch as positives": _read(near=lambda q, k: torch.einsum("nd,md->nm", q, k)),
        "the variance of each query, averaged": _read(
            of_far=lambda s: (s - s.mean(1, keepdim=True)).pow(2).mean()),
        "the variance of the queries' means": _read(
            of_far=lambda s: (s.sum(1) / s.shape[1] - s.mean()).pow(2).mean()),
        "the keys against the queue": _read(far=lambda q, k, n: torch.einsum("nd,kd->nk", k, n)),
        "the queue and the batch's other keys": _read(far=lambda q, k, n: torch.hstack([q @ n.T, q @ k.T])),
    },
    "11.extrapolation": {
        "the draw itself as lambda": _moved(by=lambda draw: draw - 1),
        "lambda is 1 - draw": _moved(by=lambda draw: -draw),
        "lambda is 2 + draw": _moved(by=lambda draw: 1 + draw),
        "the moved query in the key": _moved(key=lambda q, new, k, d: k + d * (k - new)),
        "exchanged": _moved(swap=True),
        "the key stays": _moved(key=lambda q, new, k, d: k),
        "both the same": _moved(key=lambda q, new, k, d: new),
        "scaled back to length 1": _moved(end=_one),
        "plus in place of minus": lambda q, k, draw: (q + draw * (q + k), k + draw * (k + q)),
        "the key's query is a constant": _moved(key=lambda q, new, k, d: k + d * (k - q.data)),
    },
    "11.mixed_loss": {
        "the old query against the negatives": _compared(who="old"),
        "the old pair's score": _compared(near="old"),
        "the moved query, the old key": _compared(near="half"),
        "the negatives as they are": _compared(mix=lambda n, b, other: n + 0 * other),
        "the shares of the two rows exchanged": _compared(mix=lambda n, b, other: n + b * (other - n)),
        "the negatives extrapolated": _compared(mix=lambda n, b, other: n + b * (n - other)),
        "the negatives scaled to length 1": _compared(mix=lambda n, b, other: _one(b * n + (1 - b) * other)),
        "the pair scaled to length 1": _compared(pair=lambda q, k, draw: [_one(z) for z in _far(q, k, draw)]),
        "the pair moved together": _compared(pair=lambda q, k, draw: _far(q, k, draw - 1)),
        "the moved key is a constant": _compared(pair=lambda q, k, d: (q + d * (q - k), (k + d * (k - q)).detach())),
        "a gradient into the keys": _compared(stops=("n",)),
        "a gradient into the queue": _compared(stops=("k",)),
        "the negatives without their temperature": _compared(divide=lambda own, rest, t: (own / t, rest)),
        "no temperature": _compared(divide=lambda own, rest, t: (own, rest)),
        "the positive left out of the sum": _compared(total=False),
        "the sum over the queries": _compared(end=torch.sum),
    },
    "11.imco_step": {
        "the moved keys are enqueued": _stepped(put="moved"),
        "the queries are enqueued": _stepped(put="q"),
        "enqueued before the loss": _stepped(before=True),
        "nothing is mixed": _stepped(mixes="none"),
        "draw and b exchanged": _stepped(mixes="exchanged"),
        "not of length 1": _stepped(length=lambda z: z),
        "views exchanged": _stepped(turned=True),
        "the key is made by the query encoder": _stepped(k_by="query"),
        "the query is made by the key encoder": _stepped(q_by="key", k_by="query", cut=False),
        "a gradient into the key encoder": _stepped(cut=False),
        "the key encoder never follows": _stepped(average=None),
        "the key encoder copies": _stepped(average=_copied),
        "momentum the wrong way round": _stepped(average=lambda key, query, m: _average(key, query, 1 - m)),
        "the key encoder follows too early": _stepped(early=True),
        "the weights never move": _stepped(train=False),
        "gradients never cleared": _stepped(clear=False),
        "the loss keeps its graph": _stepped(number=False),
    },
}
EQUIVALENT = {
    "11.mixed_loss": {
        "line 8: torch.zeros(len(q), dtype=torch.long, device=q.device) -> torch.zeros(len(q), dtype=torch.long)":
            "the check runs on the CPU"},
    "11.imco_step": {
        "line 5: F.normalize(query(view1), dim=1) -> F.normalize(query(view1))": "dim=1 is its default",
        "line 7: F.normalize(key(view2), dim=1) -> F.normalize(key(view2))": "dim=1 is its default"},
}
