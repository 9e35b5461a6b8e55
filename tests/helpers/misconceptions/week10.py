"""Second spellings of the misconceptions of week 10, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch


# ---------------------------------------------------------------- 10.debiased
def _left(*, floor="m", scale=True, m=None, own=lambda s, t: torch.exp(s / t), plain=None, times=None):
    """In means: mean / (1 - p) - p / (1 - p) * own, times M."""
    def answer(positive, negatives, temperature=0.5, tau_plus=0.1):
        number = negatives.size(-1) + (m or 0)
        powers = torch.exp(negatives / temperature)
        total = powers.sum(-1) if plain is None else plain(powers)
        taken = tau_plus * (number if times is None else times) * own(positive, temperature)
        left = total - taken
        if scale:
            left = left / (1.0 - tau_plus)
        if floor is None:
            return left
        if floor == "abs":
            return torch.where(left < 0, -left, left)
        counted = {"m": number, "cold": number, "one": 1, "zero": 0}[floor]
        least = counted * math.exp(-1 if floor == "cold" else -1 / temperature)
        return torch.maximum(left, torch.full_like(left, least))

    return answer


def _for_one_anchor(positive, negatives, temperature, tau_plus, *, number=None, inside=1.0, after=1.0):
    """A row at a time; the sum is divided by `after` once the floor is in, the own class's share by `inside`."""
    least, rows = math.exp(-1 / temperature), []
    for s, row in zip(positive, negatives):
        m = number or len(row)
        left = (row / temperature).exp().sum() - tau_plus * m * (s / temperature).exp() / inside
        left = left if number is None else left / (1 - tau_plus)
        rows.append(torch.clamp(left, min=m * least) / after)
    return torch.stack(rows)


# ---------------------------------------------------------------- 10.reweighted
def _powers(power=lambda e, negatives, beta: e ** beta, scaled=lambda w: w / (w.sum(1, keepdim=True) / w.shape[1]),
            cut=False, only=False):
    def answer(negatives, temperature=0.5, beta=1.0):
        e = torch.exp(negatives / temperature)
        w = scaled(power(e, negatives, beta))
        return (w if only else (w.data if cut else w) * e).sum(-1)

    return answer


# ---------------------------------------------------------------- 10.percentile
def _sorted(take, largest=True, look=lambda scores, values: values, key=lambda scores, values: scores, axis=1):
    def answer(scores, values, low, high):
        m = scores.shape[1]
        order = torch.sort(key(scores, values), dim=axis, descending=largest).indices
        columns = take(order, round(low * m), round(high * m), m)
        return torch.stack([row[c] for row, c in zip(look(scores, values), columns)])

    return answer


def _between(order, first, last, m):
    return order[:, first:last]


def _rank_in_column(scores, values):
    return -(scores[None] > scores[:, None]).sum(1).double()


# ---------------------------------------------------------------- 10.roco_step
def _one(z):
    return z / z.norm(dim=1, keepdim=True).clamp_min(1e-12)


@torch.no_grad()
def _average(key, query, momentum):
    for slow, fast in zip(key.parameters(), query.parameters()):
        slow.copy_(momentum * slow + (1 - momentum) * fast)


def _stepped(*, rivals=None, source="view1", scrambled=True, who="key", cut=True, apart=True, put="k", before=False,
             length=_one, average=_average, train=True, clear=True, number=True):
    """A step with one thing changed; the loss by logsumexp."""
    def step(query, key, optimizer, queue, view1, view2, scramble, alpha=2.0, momentum=0.99, temperature=0.2):
        view = view1 if source == "view1" else view2
        noisy = scramble(view) if scrambled else view
        q = _one(query(view1))
        if apart:
            k, t = key(view2), (query if who == "query" else key)(noisy)
        else:
            both = key(torch.vstack([view2, noisy]))
            k, t = both[:len(q)], both[len(q):]
        k, t = _one(k).detach(), length(t)
        t = t.detach() if cut else t
        new = {"k": k, "t": t.detach(), "q": q.detach(), "kt": torch.vstack([k, t.detach()])}[put]
        if before:
            queue.enqueue(new)
        own = torch.einsum("nd,nd->n", q, k) / temperature
        others = (rivals or _rivals)(q, queue.rows, t, temperature, alpha)
        loss = (torch.logsumexp(torch.hstack([own[:, None], others]), 1) - own).mean()
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if train:
            optimizer.step()
        if average:
            average(key, query, momentum)
        if not before:
            queue.enqueue(new)
        return loss.item() if number else loss

    return step


def _rivals(q, rows, t, temperature, alpha, queue=1.0):
    own = torch.einsum("nd,nd->n", q, t)[:, None]
    return torch.hstack([queue * torch.einsum("nd,kd->nk", q, rows), alpha * own]) / temperature


SECOND = {
    "10.debiased": {
        "the floor is left out": _left(floor=None),
        "the floor of a single negative": _left(floor="one"),
        "the floor at 0": _left(floor="zero"),
        "the absolute value in place of the floor": _left(floor="abs"),
        "the floor without its temperature": _left(floor="cold"),
        "not divided by 1 - tau+": _left(scale=False),
        "one positive in place of M": _left(times=1),
        "M counts anchor and positive": _left(m=2),
        "M is the number of anchors": lambda positive, negatives, temperature=0.5, tau_plus=0.1: _for_one_anchor(
            positive, negatives, temperature, tau_plus, number=positive.numel()),
        "the floor before the division": lambda positive, negatives, temperature=0.5, tau_plus=0.1: _for_one_anchor(
            positive, negatives, temperature, tau_plus, after=1 - tau_plus),
        "only the positive's part divided": lambda positive, negatives, temperature=0.5, tau_plus=0.1: _for_one_anchor(
            positive, negatives, temperature, tau_plus, inside=1 - tau_plus),
        "the positive without its exponential": _left(own=torch.div),
        "the positive without its temperature": _left(own=lambda s, t: torch.exp(s)),
        "the positive detached": _left(own=lambda s, t: torch.exp(s.data / t)),
        "a mean in place of the sum": _left(plain=lambda powers: powers.sum(-1) / powers.shape[-1]),
        "the softmax of the negatives": _left(plain=lambda powers: powers.sum(-1).log()),
    },
    "10.reweighted": {
        "beta times the bare cosine": _powers(lambda e, negatives, beta: torch.exp(negatives) ** beta),
        "weights that add up to 1": _powers(scaled=lambda w: w / torch.einsum("am->a", w)[:, None]),
        "weights as they are": _powers(scaled=lambda w: w),
        "one mean for all anchors": _powers(scaled=lambda w: w * w.numel() / w.sum()),
        "a power of the mean": lambda negatives, temperature=0.5, beta=1.0: (
            lambda e: (e ** (1 + beta)).sum(1) / e.mean(1) ** beta)((negatives / temperature).exp()),
        "the mean over the anchors": _powers(scaled=lambda w: w * len(w) / w.sum(0)),
        "weights detached": _powers(cut=True),
        "the easier, the more": _powers(lambda e, negatives, beta: 1 / e ** beta),
        "only the weights": _powers(only=True),
    },
    "10.percentile": {
        "the easiest first": _sorted(_between, largest=False),
        "sorted by the values": _sorted(_between, key=lambda scores, values: values.float()),
        "the scores come back": _sorted(_between, look=lambda scores, values: scores),
        "as they lie": _sorted(lambda order, first, last, m: torch.arange(first, last).expand(len(order), -1)),
        "one order for all anchors": _sorted(_between, key=lambda scores, values: scores.sum(0).expand_as(scores)),
        "ranks over the anchors": _sorted(_between, key=_rank_in_column),
        "counted from the easy end": _sorted(lambda order, first, last, m: order[:, m - last:m - first]),
        "everything above high": _sorted(lambda order, first, last, m: order[:, :last]),
    },
    "10.roco_step": {
        "alpha as a weight of the term": _stepped(rivals=lambda q, rows, t, temperature, alpha: torch.hstack([
            q @ rows.T / temperature, torch.log(alpha * ((q * t).sum(1) / temperature).exp())[:, None]])),
        "alpha for all negatives": _stepped(rivals=lambda *a: _rivals(*a, queue=a[-1])),
        "alpha is not used": _stepped(
            rivals=lambda q, rows, t, temperature, alpha: _rivals(q, rows, t, temperature, 1)),
        "alpha without the temperature": _stepped(rivals=lambda q, rows, t, temperature, alpha: torch.hstack([
            q @ rows.T / temperature, alpha * (q * t).sum(1)[:, None]])),
        "no own negative": _stepped(rivals=lambda q, rows, t, temperature, alpha: q @ rows.T / temperature),
        "everybody's own negatives": _stepped(rivals=lambda q, rows, t, temperature, alpha: torch.hstack([
            q @ rows.T, alpha * torch.einsum("nd,md->nm", q, t)]) / temperature),
        "made from the key's view": _stepped(source="view2"),
        "the key from the query's view": lambda query, key, optimizer, queue, view1, view2, *rest, **named: _stepped()(
            query, key, optimizer, queue, view1, view1, *rest, **named),
        "not scrambled": _stepped(scrambled=False),
        "the query encoder makes t": _stepped(who="query"),
        "a gradient into the own negative": _stepped(cut=False),
        "one pass for both": _stepped(apart=False),
        "the own negatives are enqueued": _stepped(put="t"),
        "both are enqueued": _stepped(put="kt"),
        "the queries are enqueued": _stepped(put="q"),
        "enqueued before the loss": _stepped(before=True),
        "t is not of length 1": _stepped(length=lambda z: z),
        "the key encoder never follows": _stepped(average=None),
        "the weights never move": _stepped(train=False),
        "gradients never cleared": _stepped(clear=False),
        "the loss keeps its graph": _stepped(number=False),
    },
}
EQUIVALENT = {
    "10.roco_step": {
        "line 4: F.normalize(query(view1), dim=1) -> F.normalize(query(view1))": "dim=1 is its default",
        "line 6: F.normalize(key(view2), dim=1) -> F.normalize(key(view2))": "dim=1 is its default",
        "line 7: F.normalize(key(scramble(view1)), dim=1) -> F.normalize(key(scramble(view1)))": "dim=1 is its default",
        "line 9: torch.zeros(len(q), dtype=torch.long, device=q.device) -> torch.zeros(len(q), dtype=torch.long)":
            "the check runs on the CPU"},
}
