"""Second spellings of the misconceptions of week 26, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def _one(z):
    return z / z.norm(dim=-1, keepdim=True)


# ---------------------------------------------------------------- 26.move_rows
def _loop(mix, after=_one, keep=True, place=None):
    def answer(rows, indices, z, momentum=0.5):
        out = [row for row in rows]
        moved = [after(mix(rows[i], e, momentum)) for i, e in zip(indices.tolist(), z)]
        for b, i in enumerate(indices.tolist()):
            out[i if place is None else place(b)] = moved[b]
        return torch.stack(out if keep else moved)

    return answer


def _row_of_the_batch(rows, indices, z, momentum=0.5):
    out = rows.clone()
    for b, i in enumerate(indices.tolist()):
        out[i] = _one(_right_mix(rows[b], z[b], momentum))
    return out


def _right_mix(row, e, m):
    return m * row + (1 - m) * _one(e)


# ---------------------------------------------------------------- 26.nce
def _odds(k=-1, shift=0.0, z=lambda scores, log_z, n: log_z, noise=1, own=False, mean=False, part=1.0, sign=1.0,
          batch="mean", count=None, batch_for_k=False):
    """By log-odds: softplus."""
    def answer(scores, log_z, n):
        number = len(scores) if batch_for_k else scores.shape[1] + k
        against = math.log(number / n) if count is None else math.log(count(number, n))
        odds = scores - z(scores, log_z, n) - against
        off = F.softplus(noise * (odds if own else odds[:, 1:]))
        off = off.mean(1) if mean else off.sum(1)
        over = torch.mean if batch == "mean" else torch.sum
        data, noise_ = sign * over(F.softplus(-odds[:, 0])), sign * over(off)
        return {"noise": noise_, "data": data, "loss": data + part * noise_}

    return answer


def _beside_one(scores, log_z, n):
    k = scores.size(1) - 1
    h = n * torch.exp(scores - log_z) / (n + k)
    terms = torch.cat([h[:, :1], 1 - h[:, 1:]], 1).log().neg().mean(0)
    return {"data": terms[0], "noise": terms[1:].sum(), "loss": terms.sum()}


# ---------------------------------------------------------------- 26.npid_step
def _rows_after(rows, indices, v, momentum):
    rows = rows.clone()
    rows[indices] = _one(momentum * rows[indices] + (1 - momentum) * _one(v))
    return rows


def _step(*, keep=True, total=True, first=0, when="after", again=False, own="first", scale=True, clear=True, learn=True,
          number=True, heat=True, term="loss", whose="own", short=False):
    def step(network, optimizer, bank, view, indices, drawn, temperature=0.1, momentum=0.5):
        e = network(view)
        e = _one(e) if scale else e
        if when == "before":
            bank["rows"] = _rows_after(bank["rows"], indices, e.detach(), momentum)
        rows, n = bank["rows"], len(bank["rows"])
        mine, far = torch.einsum("bd,bd->b", e, rows[indices])[:, None], torch.einsum("bd,bkd->bk", e, rows[drawn])
        s = torch.hstack({"first": [mine, far], "last": [far, mine], "none": [far]}[own]) / (temperature if heat else 1)
        if not keep or bank["log_z"] is None:
            some = s.detach()[:, first:]
            bank["log_z"] = some.flatten().logsumexp(0) - math.log(some.numel()) + (math.log(n) if total else 0)
        loss = _odds()(s, bank["log_z"], n)[term]
        if clear:
            network.zero_grad()
        loss.backward()
        if learn:
            optimizer.step()
        if when == "after":
            new = network(view).detach() if again else e.detach()
            bank["rows"] = _rows_after(rows, indices if whose == "own" else drawn.T[0], new, momentum)
            if short:
                bank["rows"] = rows.clone()
                bank["rows"][indices] = rows[indices].lerp(new, 1 - momentum)
        return float(loss) if number else loss

    return step


# ---------------------------------------------------------------- 26.pirl_terms
def _two(near=lambda g, v, own: (own, own), draws=(0, 1), mix=lambda lam, a, b: lam * a + (1 - lam) * b,
         names=("pieces", "image"), own=True, heat=True, every=False, log=True, average=False, scaled=False):
    def answer(g, v, rows, indices, drawn, lam=0.5, temperature=0.1):
        terms = []
        for z, which, positive in zip((g, v), draws, near(g, v, rows[indices])):
            t = temperature if heat else 1.0
            z = _one(z) if scaled else z
            s, far = (z * positive).sum(1) / t, (rows[drawn[which]] @ z[:, :, None])[..., 0] / t
            below = (far.exp().mean(1) if average else far.exp().sum(1)) + (s.exp() if own else 0)
            below = (z @ rows.mT / t).exp().sum(1) if every else below
            terms.append((below.log() - s).sum() / len(z) if log else -(s.exp() / below).mean())
        return {"loss": mix(lam, *terms), names[0]: terms[0], names[1]: terms[1]}

    return answer


SECOND = {
    "26.move_rows": {
        "rows not of length 1": _loop(_right_mix, after=lambda row: row),
        "the embedding as long as it is": _loop(lambda row, e, m: m * row + (1 - m) * e),
        "momentum turned round": _loop(lambda row, e, m: _one(e) * m + row * (1 - m)),
        "the old row is thrown away": _loop(lambda row, e, m: e),
        "added, not mixed": _loop(lambda row, e, m: row + (1 - m) * _one(e)),
        "the first rows mixed in": _row_of_the_batch,
        "scaled by the largest entry": _loop(lambda row, e, m: m * row + (1 - m) * e / max(abs(v) for v in e)),
        "only the batch's rows": _loop(_right_mix, keep=False),
        "the first rows move": _loop(_right_mix, place=lambda b: b),
    },
    "26.nce": {
        "the noise terms averaged": _odds(mean=True),
        "Z estimated anew": _odds(z=lambda s, log_z, n: s.flatten().logsumexp(0) + math.log(n / s.numel())),
        "scores without Z": _odds(z=lambda s, log_z, n: 0.0),
        "one draw of noise": _odds(count=lambda k, n: 1 / n),
        "the noise without 1 / n": _odds(count=lambda k, n: k),
        "K counts the own row": _odds(k=0),
        "K is the batch": _odds(batch_for_k=True),
        "n over K": _odds(count=lambda k, n: n / k),
        "noise beside 1": _beside_one,
        "Z as a score": _odds(z=lambda scores, log_z, n: scores - (scores / log_z if log_z else scores)),
        "the own row as noise, too": _odds(own=True),
        "noise taken for data": _odds(noise=-1),
        "only the data term": _odds(part=0.0),
        "the sign turned": _odds(sign=-1.0),
        "summed over the batch": _odds(batch="sum"),
    },
    "26.npid_step": {
        "Z anew in each step": _step(keep=False),
        "Z without n": _step(total=False),
        "Z of the drawn rows only": _step(first=1),
        "the bank moves first": _step(when="before"),
        "the bank takes a second look": _step(again=True),
        "the bank never moves": _step(when="never"),
        "only the data term learns": _step(term="data"),
        "the drawn rows move": _step(whose="drawn"),
        "moved rows of any length": _step(short=True),
        "only drawn rows": _step(own="none"),
        "the own row last": _step(own="last"),
        "v of any length": _step(scale=False),
        "no temperature": _step(heat=False),
        "gradients never cleared": _step(clear=False),
        "the network never learns": _step(learn=False),
        "the loss keeps its graph": _step(number=False),
    },
    "26.pirl_terms": {
        "pieces against the picture": _two(near=lambda g, v, own: (v, own)),
        "each against the other": _two(near=lambda g, v, own: (v, g)),
        "one draw for both": _two(draws=(0, 0)),
        "the draws exchanged": _two(draws=(1, 0)),
        "all rows of the bank": _two(every=True),
        "probabilities without logarithm": _two(log=False),
        "the mean of the negatives": _two(average=True),
        "length 1 once more": _two(scaled=True),
        "lam turned round": _two(mix=lambda lam, a, b: lam * b + (1 - lam) * a),
        "lam for both": _two(mix=lambda lam, a, b: lam * (a + b)),
        "the terms added up": _two(mix=lambda lam, a, b: a + b),
        "the two names exchanged": _two(names=("image", "pieces")),
        "the own row not in the sum": _two(own=False),
        "no temperature": _two(heat=False),
    },
}
EQUIVALENT = {
    "26.move_rows": {
        "line 3: F.normalize(z, dim=1) -> F.normalize(z)": "dim=1 is its default",
        "line 4: F.normalize(moved, dim=1) -> F.normalize(moved)": "dim=1 is its default"},
    "26.npid_step": {
        "line 4: F.normalize(network(view), dim=1) -> F.normalize(network(view))": "dim=1 is its default"},
}
