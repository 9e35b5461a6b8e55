"""Second spellings of the misconceptions of week 4, and mutants of its references that compute the same."""
from __future__ import annotations

import torch
from torch.nn import functional as F


# ---------------------------------------------------------------- 04.partner
def _listed(n, rule, allowed):
    who = torch.tensor([rule(i, n) for i in range(2 * n)])
    return who, torch.tensor([[allowed(i, j, n) for j in range(2 * n)] for i in range(2 * n)])


def _right(i, n):
    return i + n if i < n else i - n


def _apart(i, j, n):
    return i != j


def _rule(rule=_right, allowed=_apart):
    return lambda n: _listed(n, rule, allowed)


# ---------------------------------------------------------------- 04.nt_xent
def _unit(z):
    return z / z.norm(dim=1, keepdim=True)


def _loops(denominator=None, anchors=None, partner=_right, finish=None, unit=_unit, tau=lambda t: t):
    """NT-Xent anchor by anchor; denominator(i, j, n) says which j stand in the sum of i."""
    def nt_xent(a, b, temperature=0.1):
        n = a.shape[0]
        z = unit(torch.vstack([a, b]))
        s = torch.einsum("id,jd->ij", z, z) / tau(temperature)
        losses, first = [], []
        for i in range(2 * n) if anchors is None else anchors(n):
            p = partner(i, n)
            below = [j for j in range(2 * n) if (j != i if denominator is None else denominator(i, j, n))]
            ranked = below if p in below else [*below, p]
            losses.append(torch.stack([s[i, j] for j in below]).logsumexp(0) - s[i, p])
            first.append(float(ranked[int(torch.stack([s[i, j] for j in ranked]).argmax())] == p))
        losses = torch.stack(losses)
        loss = losses.sum() / len(losses) if finish is None else finish(losses)
        return {"accuracy": s.new_tensor(first).mean(), "loss": loss}
    return nt_xent


def _hadamard(a, b, temperature=0.1):
    z = _unit(torch.vstack([a, b]))
    who = torch.arange(len(z)).roll(len(a))
    logits = torch.where(torch.eye(len(z), dtype=torch.bool), 0.0, z @ z.T / temperature)
    return {"loss": F.nll_loss(logits.log_softmax(1), who),
            "accuracy": (logits.max(1).indices == who).to(z.dtype).mean()}


def _overflow(a, b, temperature=0.1):
    z, n = _unit(torch.vstack([a, b])), len(a)
    e = torch.exp(torch.einsum("id,jd->ij", z, z) / temperature)
    e = e * (1 - torch.eye(2 * n, dtype=z.dtype))
    positive = torch.exp((z[:n] * z[n:]).sum(1) / temperature).repeat(2)
    first = (e.argmax(1) == torch.arange(2 * n).roll(n)).to(z.dtype).mean()
    return {"accuracy": first, "loss": torch.log(e.sum(1) / positive).mean()}


# ---------------------------------------------------------------- 04.temperature_weights
def _grad(loss=lambda s, t, i, p, others: s[i, others].div(t).logsumexp(0) - s[i, p] / t, scale=None):
    """Row by row, by autograd."""
    def similarity_gradient(similarity, temperature=0.1):
        count = len(similarity)
        leaf = similarity.detach().clone().requires_grad_()
        total = 0.0
        for i in range(count):
            p = _right(i, count // 2)
            total = total + loss(leaf, temperature, i, p, [j for j in range(count) if j != i])
        out = torch.autograd.grad(total, leaf)[0]
        return out if scale is None else scale(count, temperature) * out
    return similarity_gradient


def _no_pull(s, t, i, p, others):
    return (s[i, others] / t).logsumexp(0)


def _no_partner(s, t, i, p, others):
    return (s[i, [j for j in others if j != p]] / t).logsumexp(0) - s[i, p] / t


def _self_too(s, t, i, p, others):
    return (s[i] / t).logsumexp(0) - s[i, p] / t


def _columns(s, t, i, p, others):
    return (s[others, i] / t).logsumexp(0) - s[i, p] / t


def _bare_exp(similarity, temperature=0.1):
    n = len(similarity) // 2
    e = torch.exp(similarity / temperature)
    e.fill_diagonal_(0)
    shares = e / e.sum(dim=1, keepdim=True)
    return (shares - torch.eye(2 * n, dtype=e.dtype).roll(n, 1)) / temperature


# ---------------------------------------------------------------- 04.distill
def _per_image(soft, log, finish=lambda parts: sum(parts) / len(parts), constant=True):
    def distillation_loss(student, teacher, temperature=1.0):
        parts = []
        for s, t in zip(student, teacher.detach() if constant else teacher):
            parts.append(-torch.dot(soft(t, temperature), log(s, temperature)))
        return finish(parts)
    return distillation_loss


def _p(t, temperature):
    e = torch.exp(t / temperature)
    return e / e.sum()


def _log(s, temperature):
    return s / temperature - torch.logsumexp(s / temperature, 0)


def _hard(t, temperature):
    return (t == t.max()).to(t.dtype)


SECOND = {
    "04.partner": {
        "neighbours in the list": _rule(lambda i, n: i + 1 if i % 2 == 0 else i - 1),
        "each is its own partner": _rule(lambda i, n: i),
        "partners of the first views only": lambda n: (n + torch.arange(n), _listed(n, _right, _apart)[1]),
        "only the first half is moved": _rule(lambda i, n: max(i, i + n) if i < n else i),
        "the list turned round": _rule(lambda i, n: 2 * n - 1 - i),
        "the partner may not be chosen": _rule(allowed=lambda i, j, n: i % n != j % n),
        "only views of the other side": _rule(allowed=lambda i, j, n: i // n != j // n),
        "the mask the wrong way round": _rule(allowed=lambda i, j, n: i == j),
    },
    "04.nt_xent": {
        "the anchor compared with itself": _loops(denominator=lambda i, j, n: True),
        "the anchor multiplied by zero": _hadamard,
        "exp overflows": _overflow,
        "the positive missing below the fraction": _loops(denominator=lambda i, j, n: j not in (i, _right(i, n))),
        "neighbours in the list as partners": _loops(partner=lambda i, n: i + 1 - 2 * (i % 2)),
        "the logarithm of the mean": _loops(finish=lambda losses: -losses.neg().exp().mean().log()),
        "only the other side's views": _loops(denominator=lambda i, j, n: i // n != j // n),
        "only the first views as anchors": _loops(anchors=range),
        "the sum of the two directions": _loops(finish=lambda losses: losses.sum() * 2 / len(losses)),
        "the sum over anchors": _loops(finish=lambda losses: losses.sum()),
        "embeddings of any length": _loops(unit=lambda z: z),
        "multiplied by the temperature": _loops(tau=lambda t: 1 / t),
        "the second view detached": lambda a, b, temperature=0.1: _loops()(a, b.data, temperature),
    },
    "04.temperature_weights": {
        "without 1 / temperature": _grad(scale=lambda n, t: t),
        "the mean over anchors": _grad(scale=lambda n, t: 1 / n),
        "the partner is not pulled": _grad(_no_pull),
        "shares among the negatives only": _grad(_no_partner),
        "the anchor pushes itself": _grad(_self_too),
        "shares along columns": _grad(_columns),
        "downhill instead of uphill": _grad(scale=lambda n, t: -1),
        "exp overflows": _bare_exp,
    },
    "04.distill": {
        "hard labels": _per_image(_hard, _log),
        "the temperature on the student only": _per_image(lambda t, temperature: _p(t, 1), _log),
        "the temperature on the teacher only": _per_image(_p, lambda s, temperature: _log(s, 1)),
        "the teacher learns, too": _per_image(_p, _log, constant=False),
        "the mean over classes": lambda student, teacher, temperature=1.0: _per_image(_p, _log)(
            student, teacher, temperature) / student.shape[1],
        "the sum over images": _per_image(_p, _log, finish=sum),
        "times the temperature squared": lambda student, teacher, temperature=1.0: _per_image(_p, _log)(
            student, teacher, temperature) * temperature * temperature,
        "student and teacher swapped": lambda student, teacher, temperature=1.0: _per_image(_p, _log)(
            teacher, student, temperature),
    },
}


def _divergence(student, teacher, temperature=1.0):
    parts = [torch.dot(_p(t, temperature), _log(t, temperature) - _log(s, temperature))
             for s, t in zip(student, teacher.detach())]
    return sum(parts) / len(parts)


SECOND["04.distill"] |= {
    "the divergence": _divergence,
    "the divergence, with kl_div's default mean": lambda student, teacher, temperature=1.0: F.kl_div(
        F.log_softmax(student / temperature, 1), F.softmax(teacher.data / temperature, 1)),
}
EQUIVALENT = {
    "04.distill": {
        "line 7: check_positive('temperature', temperature) -> nothing":
            "a check of the arguments; good ones pass it",
    },
    "04.partner": {"line 7: torch.arange(2 * n, device=device) -> torch.arange(2 * n)":
                   "the same on the default device"},
    "04.nt_xent": {"line 14: logits.argmax(1) -> logits.argmax(0)": "the similarities are symmetric"},
}
