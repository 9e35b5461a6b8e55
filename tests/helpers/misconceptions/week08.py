"""Second spellings of the misconceptions of week 8, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


# ---------------------------------------------------------------- 08.sinkhorn
def _codes(divide, start=lambda s, e: s / e, finish=lambda q: q, frozen=True):
    """Sinkhorn in which each half of a round is one entry of `divide`: an axis of the logarithms."""
    def answer(scores, epsilon=0.05, iterations=3):
        with torch.set_grad_enabled(not frozen):
            logs = start(scores, epsilon)
            for axis in divide(iterations):
                logs = torch.log_softmax(logs, dim=axis)
            return finish(logs.exp())
    return answer


def _both(iterations):
    return [0, 1] * iterations


def _official(scores, epsilon=0.05, iterations=3, shift=0.0):
    with torch.no_grad():
        q = torch.exp((scores - shift) / epsilon).t()
        k, b = q.shape
        q = q / q.sum()
        for _ in range(iterations):
            q = q / q.sum(dim=1, keepdim=True) / k
            q = q / q.sum(dim=0, keepdim=True) / b
        return (q * b).t()


def _guarded(start):
    @torch.no_grad()
    def answer(scores, epsilon=0.05, iterations=3):
        q = start(scores / epsilon)
        for _ in range(iterations):
            q = torch.einsum("nk,k->nk", q, 1 / torch.einsum("nk->k", q))
            q = q / torch.einsum("nk->n", q)[:, None]
        return q
    return answer


# ---------------------------------------------------------------- 08.in_use
def _counted(scores):
    return torch.stack([(scores.argmax(1) == k).sum() for k in range(scores.shape[1])]).to(scores)


def _hill(p, order=1.0):
    p = p[p > 0]
    return (-(p * p.log()).sum()).exp() if order == 1 else p.pow(order).sum().pow(1 / (1 - order))


# ---------------------------------------------------------------- 08.swav_loss
def _cross(score, code, temperature, dim=1):
    log_p = score / temperature - torch.logsumexp(score / temperature, dim=dim, keepdim=True)
    return torch.einsum("nk,nk->n", code, log_p).neg().mean()


def _loss(who=lambda i, v: i != v, term=_cross, rows=lambda terms: torch.stack(terms).mean(),
          total=lambda losses: torch.stack(losses).mean(), target=lambda code: code.data):
    def answer(scores, codes, temperature=0.1):
        losses = []
        for i in range(len(codes)):
            losses.append(rows([term(scores[v], target(codes[i]), temperature)
                                for v in range(len(scores)) if who(i, v)]))
        return total(losses)
    return answer


# ---------------------------------------------------------------- 08.prototypes
def _step(before=lambda weight, hold: setattr(weight, "grad", None if hold else weight.grad), moves=lambda hold: True,
          after=lambda weight: weight / weight.norm(dim=1, keepdim=True)):
    def answer(prototypes, optimizer, hold=False):
        weight = prototypes.weight
        before(weight, hold)
        if moves(hold):
            optimizer.step()
        weight.data = after(weight.data)
        return weight.data.clone()
    return answer


def _zeroed(weight, hold):
    weight.grad = torch.zeros_like(weight) if hold else weight.grad


def _again(prototypes, optimizer, hold=False):
    prototypes.weight.grad = None if hold else prototypes.weight.grad
    for _ in range(2):
        optimizer.step()
    prototypes.weight.data /= prototypes.weight.data.norm(dim=1, keepdim=True)
    return prototypes.weight.data.clone()


def _restored(prototypes, optimizer, hold=False):
    kept = prototypes.weight.data.clone()
    moved = _step(before=lambda weight, hold: None)(prototypes, optimizer, hold)
    if hold:
        prototypes.weight.data = kept
    return kept if hold else moved


def _slowed(prototypes, optimizer, hold=False):
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * (not hold)
    moved = _step(before=lambda weight, hold: None)(prototypes, optimizer, hold)
    for group, rate in zip(optimizer.param_groups, rates):
        group["lr"] = rate
    return moved


def _all_of_it(prototypes, optimizer, hold=False):
    moved = _step()(prototypes, optimizer, hold)
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.data.div_(p.data.norm(dim=-1, keepdim=True))
    return moved


def _first_scaled(prototypes, optimizer, hold=False):
    prototypes.weight.data /= prototypes.weight.data.norm(dim=-1, keepdim=True)
    return _step(after=lambda weight: weight)(prototypes, optimizer, hold)


def _replaced(prototypes, optimizer, hold=False):
    moved = _step()(prototypes, optimizer, hold)
    prototypes.register_parameter("weight", nn.Parameter(moved.clone()))
    return moved


def _result_only(prototypes, optimizer, hold=False):
    moved = _step(after=lambda weight: weight)(prototypes, optimizer, hold)
    return moved / moved.norm(dim=1, keepdim=True)


# ---------------------------------------------------------------- 08.step
def _train(codes_of=lambda codes, s: [codes(each) for each in s], scale=lambda z: z / z.norm(dim=1, keepdim=True),
           tau=0.1, terms=lambda both: sum(both) / 2, code=lambda q: q.detach(),
           order=("clear", "back", "free", "step"),
           after=lambda w: w / w.norm(dim=1, keepdim=True), mine=False, give=float, pick=(0, 1),
           lost=lambda s: s):
    """A step as a list of its parts, each of which can be another one, missing, or elsewhere."""

    def answer(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
        w = prototypes.weight
        s = lost([scale(encoder((view1, view2)[v])) @ w.T for v in pick])
        q = [code(each) for each in codes_of(codes, s)]
        predicted = [torch.log_softmax(each / tau, -1) for each in s]
        loss = terms([-(q[v if mine else 1 - v] * predicted[v]).sum() / len(view1) for v in (0, 1)])
        for part in order:
            if part == "clear":
                optimizer.zero_grad()
            elif part == "back":
                loss.backward()
            elif part == "free" and hold or part == "keep" and not hold:
                w.grad = None
            elif part == "step":
                optimizer.step()
        w.data.copy_(after(w.data))
        return give(loss)

    return answer


def _still(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    weight = prototypes.weight.data.clone()
    s = [F.normalize(encoder(view)) @ weight.T for view in (view1, view2)]
    q = [codes(each).detach() for each in s]
    loss = (F.cross_entropy(s[0] / 0.1, q[1]) + F.cross_entropy(s[1] / 0.1, q[0])) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    prototypes.weight.data /= prototypes.weight.data.norm(dim=1, keepdim=True)
    return loss.item()


def _one_cleared(encoder, prototypes, optimizer, view1, view2, codes, hold=False):
    for p in encoder.parameters():
        p.grad = None
    return _train(order=("back", "free", "step"))(encoder, prototypes, optimizer, view1, view2, codes, hold)


def _together(codes, s):
    q = codes(torch.vstack(s))
    return q[: len(s[0])], q[len(s[0]):]


# ---------------------------------------------------------------- 08.queue_codes
def _balance(rows, epsilon, iterations):
    logs = rows / epsilon
    for axis in [0, 1] * iterations:
        logs = torch.log_softmax(logs, dim=axis)
    return logs.exp()


def _queue(full=lambda queue: queue[-1].abs().max() > 0, own=lambda codes, n: codes[-n:],
           after=lambda queue, z: torch.vstack([z, queue[: len(queue) - len(z)]]), first=None):
    def answer(z, queue, prototypes, epsilon=0.05, iterations=3):
        with torch.no_grad():
            queue = first(queue, z) if first else queue
            rows = torch.vstack([queue, z]) if full(queue) else z
            codes = own(_balance(torch.einsum("nd,kd->nk", rows, prototypes), epsilon, iterations), len(z))
            return codes, after(queue, z)
    return answer


def _shifted(queue, z):
    return torch.vstack([z, queue[: len(queue) - len(z)]])


def _pooled(rows):
    def answer(z, queue, prototypes, epsilon=0.05, iterations=3):
        all_rows = torch.vstack([z, rows(queue, len(z))])
        return _balance(all_rows @ prototypes.T, epsilon, iterations)[:len(z)], _shifted(queue, z)
    return answer


def _spoilt(z, queue, prototypes, epsilon=0.05, iterations=3):
    codes, moved = _queue()(z, queue, prototypes, epsilon, iterations)
    queue[:] = moved
    return codes, queue


SECOND = {
    "08.sinkhorn": {
        "exp of large numbers": _official,
        "a far prototype underflows": lambda scores, epsilon=0.05, iterations=3: _official(scores, epsilon, iterations,
                                                                                           scores.max()),
        "double precision": lambda scores, epsilon=0.05, iterations=3: _official(
            scores.to(torch.float64), epsilon, iterations).type_as(scores),
        "large scores clamped": _guarded(lambda x: torch.exp(torch.minimum(x, torch.tensor(80.0, dtype=x.dtype)))),
        "the largest of each row subtracted": _guarded(lambda x: torch.exp(x - x.amax(1)[:, None])),
        "a small number added": _guarded(lambda x: 1e-8 + torch.exp(x - x.amax())),
        "images first, prototypes last": _codes(lambda n: [1, 0] * n, finish=lambda q: q / (len(q) / q.shape[1])),
        "no balance": _codes(lambda n: [1] * n),
        "prototypes only": _codes(lambda n: [0]),
        "softmax before the rounds": _codes(_both, start=lambda s, e: (s - s.amax(1, keepdim=True)) / e -
                                            ((s - s.amax(1, keepdim=True)) / e).exp().sum(1, keepdim=True).log()),
        "one round whatever is asked": _codes(lambda n: [0, 1]),
        "multiplied by epsilon": _codes(_both, start=lambda s, e: e * s),
        "rows that sum to 1/N": _codes(_both, finish=lambda q: q / q.sum()),
        "hard codes": _codes(_both, finish=lambda q: (q == q.amax(1, keepdim=True)).to(q)),
        "gradient through the codes": _codes(_both, frozen=False),
    },
    "08.swav_loss": {
        "each crop predicts itself": _loss(who=lambda i, v: i == v),
        "itself among the others": _loss(who=lambda i, v: True),
        "the small crops forgotten": _loss(who=lambda i, v: v < 2 and v != i),
        "gradient through the codes": _loss(target=lambda code: code),
        "no temperature": _loss(term=lambda s, q, t: _cross(s, q, 1)),
        "a sum over the crops": _loss(rows=sum),
        "a sum over the codes": _loss(total=sum),
        "the mean over prototypes": _loss(term=lambda s, q, t: _cross(s, q, t) / s.shape[1]),
        "hard codes": _loss(term=lambda s, q, t: F.nll_loss(F.log_softmax(s / t, -1), q.max(1).indices)),
        "the prediction as the target": _loss(term=lambda s, q, t: -(torch.softmax(s / t, 1) * q.log()).sum() / len(s)),
        "only crops after the code's": lambda scores, codes, temperature=0.1: torch.stack([
            _cross(s, q.data, temperature) for i, q in enumerate(codes) for s in scores[i + 1:]]).mean(),
        "the temperature outside the softmax": _loss(term=lambda s, q, t: _cross(s, q, 1) / t),
        "a Kullback-Leibler divergence": _loss(term=lambda s, q, t: F.kl_div(
            F.log_softmax(s / t, 1), q, reduction="batchmean")),
        "the log of a softmax over the images": _loss(term=lambda s, q, t: _cross(s, q, t, 0)),
    },
    "08.prototypes": {
        "a gradient of zero": _step(before=_zeroed),
        "nobody moves": _step(moves=lambda hold: not hold),
        "never held": _step(before=lambda weight, hold: None),
        "held the other way round": _step(before=lambda weight, hold: setattr(weight, "grad", weight.grad if hold else
                                                                                None)),
        "old weights put back": _restored,
        "a learning rate of zero": _slowed,
        "the encoder scaled, too": _all_of_it,
        "requires_grad switched off": _step(before=lambda weight, hold: weight.requires_grad_(not hold)),
        "two updates": _again,
        "divided by the squared length": _step(after=lambda weight: weight / weight.pow(2).sum(1)[:, None]),
        "the sum of absolute values": _step(after=lambda weight: weight / weight.abs().sum(1, keepdim=True)),
        "scaled before the step": _first_scaled,
        "columns of length 1": _step(after=lambda weight: weight / weight.norm(dim=0)),
        "the matrix of length 1": _step(after=lambda weight: weight / weight.square().sum().sqrt()),
        "never scaled": _step(after=lambda weight: weight),
        "a new parameter": _replaced,
        "scaled only in the result": _result_only,
    },
    "08.in_use": {
        "prototypes with an image are counted": lambda scores: len(set(scores.argmax(1).tolist())),
        "the entropy without exp": lambda scores: _hill(_counted(scores) / len(scores)).log(),
        "0 times log 0": lambda scores: torch.exp(-sum(p * p.log() for p in _counted(scores) / len(scores))),
        "soft names": lambda scores: _hill((scores - scores.logsumexp(1, keepdim=True)).exp().mean(0)),
        "one image at a time": lambda scores: torch.stack([_hill(p) for p in scores.softmax(1)]).mean(),
        "the nearest image of each prototype": lambda scores: _hill(
            torch.unique(scores.argmax(0), return_counts=True)[1].to(scores) / scores.shape[1]),
        "counts in place of shares": lambda scores: torch.special.entr(_counted(scores)).sum().exp(),
        "two bases": lambda scores: math.exp(-sum(p * math.log2(p) for p in (_counted(scores) / len(scores)).tolist()
                                                  if p)),
        "the share of the largest": lambda scores: 1 / (_counted(scores) / len(scores)).max(),
        "a softmax of the counts": lambda scores: _hill(_counted(scores).exp() / _counted(scores).exp().sum()),
        "the largest in size": lambda scores: _hill(_counted(torch.maximum(scores, -scores)) / len(scores)),
        "a share of the possible entropy": lambda scores: _hill(_counted(scores) / len(scores)).log() / math.log(
            scores.shape[1]),
        "names after the balance": lambda scores: _hill(_counted(_codes(_both)(scores)) / len(scores)),
        "one over the sum of squares": lambda scores: _hill(_counted(scores) / len(scores), 2.0),
    },
    "08.step": {
        "embeddings of any length": _train(scale=lambda z: z),
        "each view predicts its own code": _train(mine=True),
        "each image by itself": _train(codes_of=lambda codes, s: [torch.softmax(each / 0.05, 1) for each in s]),
        "both views in one balance": _train(codes_of=lambda codes, s: _together(codes, s)),
        "the gradient goes through the codes": _train(code=lambda q: q),
        "gradients never cleared": _train(order=("back", "free", "step")),
        "the weights never move": _train(order=("clear", "back", "free")),
        "hold is ignored": _train(order=("clear", "back", "step")),
        "held the other way round": _train(order=("clear", "back", "keep", "step")),
        "two updates": _train(order=("clear", "back", "free", "step", "step")),
        "a step beside prototype_step": _train(order=("clear", "back", "step", "free", "step")),
        "scores scaled, not embeddings": _train(scale=lambda z: z, lost=lambda s: [F.normalize(each) for each in s]),
        "scaled along the batch": _train(scale=lambda z: z / z.norm(dim=0)),
        "one view twice": _train(pick=(0, 0)),
        "one view carries no gradient": _train(lost=lambda s: [s[0], s[1].detach()]),
        "one code for both": _train(codes_of=lambda codes, s: [codes(s[0])] * 2),
        "codes of a softmax": _train(codes_of=lambda codes, s: [codes(torch.softmax(each, -1)) for each in s]),
        "cosines divided before the codes": _train(codes_of=lambda codes, s: [codes(10 * each) for each in s]),
        "hard codes": _train(codes_of=lambda codes, s: [
            (q == q.amax(1, keepdim=True)).to(q) for q in (codes(each) for each in s)]),
        "one code of the mean score": _train(codes_of=lambda codes, s: [codes(torch.stack(s).mean(0))] * 2),
        "always held": _still,
        "only the encoder's gradients cleared": _one_cleared,
        "prototypes of any length": _train(after=lambda w: w),
        "one direction only": _train(terms=lambda both: both[0]),
        "no temperature": _train(tau=1),
        "codes of the transposed scores": _train(codes_of=lambda codes, s: [codes(each.t()).t() for each in s]),
        "the loss keeps its graph": _train(give=lambda loss: loss),
    },
    "08.queue_codes": {
        "used before it is full": _queue(full=lambda queue: len(queue) > 0),
        "full with its first row": _queue(full=lambda queue: queue[0].norm() > 0),
        "never used": _queue(full=lambda queue: False),
        "codes of the queue": _queue(own=lambda codes, n: codes[:n]),
        "codes of everybody": _queue(own=lambda codes, n: codes),
        "queued before the codes": _queue(first=_shifted, after=lambda queue, z: queue),
        "rows that are not zero": _pooled(lambda queue, n: queue[queue.norm(dim=1) > 0]),
        "only the newest rows": _pooled(lambda queue, n: queue[:n] if queue[-1].norm() > 0 else queue[:0]),
        "a softmax while it fills": lambda z, queue, prototypes, epsilon=0.05, iterations=3: (
            _queue()(z, queue, prototypes, epsilon, iterations) if queue[-1].norm() > 0 else
            (torch.softmax(z @ prototypes.T / epsilon, 1), _shifted(queue, z))),
        "newest last": _queue(after=lambda queue, z: torch.vstack([queue[len(z):], z])),
        "the newest dropped": _queue(after=lambda queue, z: torch.vstack([z, queue])[len(z):]),
        "it grows": _queue(after=lambda queue, z: torch.vstack([z, queue])),
        "changed in place": _spoilt,
    },
}
_ONE_RANK = "on one rank its own rows are all rows"
_SCALE = ("the first half of a round undoes any scale of the whole matrix; without a round it counts "
          "(tests/test_swav.py)")
EQUIVALENT = {
    "08.sinkhorn": {
        "line 11: check_positive('epsilon', epsilon) -> nothing":
            "a check of the arguments; good ones pass it",
        "line 12: rank() * len(scores) -> rank()": _ONE_RANK,
        "line 20: first + own -> own": _ONE_RANK,
        "line 15: log_q = torch.cat([log_q, at_least_float32(extra)]) -> nothing":
            "the learner's function has no extra rows; 08.queue_codes and tests/test_swav.py have",
        "line 17: log_q = log_q - log_q.logsumexp((0, 1)) -> nothing": _SCALE,
        "line 17: log_q - log_q.logsumexp((0, 1)) -> log_q + log_q.logsumexp((0, 1))": _SCALE,
        "line 17: log_q - log_q.logsumexp((0, 1)) -> log_q": _SCALE,
    },
    "08.swav_loss": {
        "line 8: check_positive('temperature', temperature) -> nothing":
            "a check of the arguments; good ones pass it",
        "line 12: F.log_softmax(s / temperature, dim=1) -> F.log_softmax(s / temperature)":
            "torch takes dim 1 of a matrix, with a warning",
    },
    "08.step": {
        "line 4: F.normalize(encoder(view), dim=1) -> F.normalize(encoder(view))": "torch's default is dim 1",
        "line 5: score.detach() -> score": "the loss detaches the codes",
    },
    "08.prototypes": {
        "line 10: prototypes.weight.detach() -> prototypes.weight": "the check looks at the values only",
    },
}
