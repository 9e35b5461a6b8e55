"""Second spellings of the misconceptions of week 4, and mutants of its references that compute the same."""
from __future__ import annotations

import torch
from torch.nn import functional as F


def _right(i, n):
    return i + n if i < n else i - n


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


def _counted_so(hits):
    """The right loss and another accuracy; hits: (similarities, partner) -> what is averaged."""
    def nt_xent(a, b, temperature=0.1):
        z = _unit(torch.vstack([a, b]))
        who = torch.tensor([_right(i, len(a)) for i in range(len(z))])
        return {"loss": _loops()(a, b, temperature)["loss"], "accuracy": hits(z @ z.T / temperature, who).mean()}
    return nt_xent


def _mean_probability(s, who):
    s = s - torch.eye(len(s), dtype=s.dtype) * 1e9
    return (s.gather(1, who[:, None])[:, 0] - s.logsumexp(1)).exp()


def _minus_one(a, b, temperature=0.1):
    z = _unit(torch.vstack([a, b]))
    who = torch.arange(len(z)).roll(len(a))
    logits = (z @ z.T / temperature).fill_diagonal_(-1)
    return {"accuracy": (logits.max(1).indices == who).to(z.dtype).mean(),
            "loss": F.nll_loss(logits.log_softmax(1), who)}


# ---------------------------------------------------------------- 04.temperature_weights
def _written(pull, keep_self=False):
    """Row by row; pull: (shares, i, partner) changes the shares of row i in place."""
    def similarity_gradient(similarity, temperature=0.1):
        rows = []
        for i, row in enumerate(similarity):
            shares = (row - (0 if keep_self else 1e9) * (torch.arange(len(row)) == i)).div(temperature).softmax(0)
            pull(shares, i, _right(i, len(row) // 2))
            rows.append(shares / temperature)
        return torch.stack(rows)
    return similarity_gradient


def _off(place):
    def pull(shares, i, p):
        shares[place(i, p)] -= 1
    return pull


def _emptied(shares, i, p):
    shares[p] -= 1
    shares[i] = 0


def _replaced(shares, i, p):
    shares[p] = -1


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


# ---------------------------------------------------------------- 04.simclr_step
def _loss(z, n, temperature, partner=_right, constant=False):
    z = _unit(z)
    s = (z @ (torch.cat([z[:n], z[n:].data]).T if constant else z.T)) / temperature
    terms = []
    for i in range(2 * n):
        rest = [j for j in range(2 * n) if j != i]
        terms.append(s[i, rest].logsumexp(0) - s[i, partner(i, n)])
    return torch.stack(terms).mean()


def _passed(net, x1, x2):
    return net(torch.vstack([x1, x2]))


def _stepped(draw=None, passed=_passed, through=None, partner=_right, tau=None, sign=1.0, clear="first", number=True,
             again=False):
    """A step with one thing changed; through: (backbone, head) -> the network that the views pass."""
    def step(backbone, head, optimizer, images, augment, generator, temperature):
        x1 = augment(images, generator)
        x1, x2 = (x1, augment(x1 if again else images, generator)) if draw is None else draw(x1, images, augment)
        net = (through or torch.nn.Sequential)(backbone, head)
        loss = _loss(passed(net, x1, x2), len(images), tau or temperature, partner)
        if clear == "first":
            optimizer.zero_grad(set_to_none=False)
        (sign * loss).backward()
        if clear == "late":
            optimizer.zero_grad()
        optimizer.step()
        return loss.item() if number else loss

    return step


def _cut(backbone, head):
    return lambda x: head(backbone(x).data)


def _seeded(x1, images, augment):
    source = torch.Generator()
    source.manual_seed(0)
    return augment(images, source), augment(images, source)


def _one_side(backbone, head, optimizer, images, augment, generator, temperature):
    z = head(backbone(torch.vstack([augment(images, generator) for _ in range(2)])))
    n = len(images)
    loss = _loss(torch.cat([z[:n], z[n:].data]), n, temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _evaluated(net, x1, x2):
    net.train(False)
    return net(torch.vstack([x1, x2]))


def _second_pass(backbone, head, optimizer, images, augment, generator, temperature):
    net, n = torch.nn.Sequential(backbone, head), len(images)
    views = torch.vstack([augment(images, generator) for _ in range(2)])
    for number in range(2):
        loss = _loss(net(views), n, temperature)
        if not number:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


# ---------------------------------------------------------------- 04.standing
def _counted(hit=None, other=lambda i, j, n: i % n != j % n, anchors=lambda n: range(2 * n), unit=_unit,
             shown=lambda c: c, average=True):
    """The readings, pair by pair, with one thing changed."""
    def standing(a, b):
        n, z = len(a), unit(torch.vstack([a, b]))
        s = torch.einsum("id,jd->ij", z, z)
        hits = [(hit or _nearest)(s, i, n) for i in anchors(n)]
        rows = [[float(s[i, j]) for j in range(2 * n) if other(i, j, n)] for i in range(2 * n)]
        others = sum(map(sum, rows)) / sum(map(len, rows)) if average else sum(map(max, rows)) / len(rows)
        same = sum(float(s[i, _right(i, n)]) for i in range(2 * n)) / (2 * n)
        return {"others": shown(others), "partners": shown(same), "found": sum(hits) / len(hits)}

    return standing


def _nearest(s, i, n, among=lambda i, j, n: j != i):
    return max((j for j in range(2 * n) if among(i, j, n)), key=lambda j: float(s[i, j])) == _right(i, n)


def _above_average(s, i, n):
    rest = [float(s[i, j]) for j in range(2 * n) if j != i]
    return float(s[i, _right(i, n)]) > sum(rest) / len(rest)


def _centred(z):
    return _unit(z - z.mean(dim=0, keepdim=True))


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
    "04.nt_xent": {
        "the anchor compared with itself": _loops(denominator=lambda i, j, n: True),
        "the anchor multiplied by zero": _hadamard,
        "exp overflows": _overflow,
        "the positive missing below the fraction": _loops(denominator=lambda i, j, n: j not in (i, _right(i, n))),
        "neighbours in the list as partners": _loops(partner=lambda i, n: i + 1 - 2 * (i % 2)),
        "the next row as partner": _loops(partner=lambda i, n: (i + 1) % (2 * n)),
        "accuracy before the diagonal is masked": _counted_so(lambda s, who: (s.max(1).indices == who).to(s.dtype)),
        "accuracy of the first views": _counted_so(lambda s, who: (
            s.clone().fill_diagonal_(-1e9).max(1).indices == who).to(s.dtype)[: len(s) // 2]),
        "the probability for the accuracy": _counted_so(_mean_probability),
        "the diagonal at -1": _minus_one,
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
        "neighbours in the list as partners": _written(_off(lambda i, p: i + 1 - 2 * (i % 2))),
        "the 1 taken off the diagonal": _written(_off(lambda i, p: i)),
        "the diagonal emptied after the softmax": _written(_emptied, keep_self=True),
        "-1 for the partner's share": _written(_replaced),
        "shares along columns": _grad(_columns),
        "downhill instead of uphill": _grad(scale=lambda n, t: -1),
        "exp overflows": _bare_exp,
    },
    "04.simclr_step": {
        "one draw for both views": _stepped(draw=lambda x1, images, augment: (x1, x1.clone())),
        "the image as a view": _stepped(draw=lambda x1, images, augment: (x1, images)),
        "the same random numbers at every step": _stepped(draw=_seeded),
        "each view by itself": _stepped(passed=lambda net, x1, x2: torch.vstack([net(x1), net(x2)])),
        "the head on each view": _stepped(through=lambda backbone, head: lambda x: torch.vstack(
            [head(half) for half in backbone(x).split(len(x) // 2)])),
        "even and odd rows": _stepped(passed=lambda net, x1, x2: torch.vstack(
            [net(torch.vstack([x1, x2]))[0::2], net(torch.vstack([x1, x2]))[1::2]])),
        "a view of a view": _stepped(again=True),
        "the backbone in evaluation mode": _stepped(through=lambda backbone, head: lambda x: head(
            backbone.train(False)(x))),
        "the loss on the representation": _stepped(through=lambda backbone, head: backbone),
        "only the head learns": _stepped(through=_cut),
        "the second view is a constant": _one_side,
        "views interleaved": _stepped(passed=lambda net, x1, x2: net(
            torch.vstack([row for pair in zip(x1, x2) for row in pair]))),
        "the first view against itself": _stepped(passed=lambda net, x1, x2: net(
            torch.vstack([x1, x2]))[: len(x1)].repeat(2, 1)),
        "evaluation mode": _stepped(passed=_evaluated),
        "the loss of another pass": _second_pass,
        "the temperature forgotten": _stepped(tau=0.1),
        "gradients never cleared": _stepped(clear="never"),
        "the weights never move": _stepped(clear="late"),
        "uphill": _stepped(sign=-1.0),
        "the loss keeps its graph": _stepped(number=False),
    },
    "04.standing": {
        "the anchor finds itself": _counted(hit=lambda s, i, n: False),
        "candidates of the other side only": _counted(
            hit=lambda s, i, n: _nearest(s, i, n, lambda i, j, n: i // n != j // n)),
        "neighbours in the list as partners": _counted(hit=lambda s, i, n: max(
            (j for j in range(2 * n) if j != i), key=lambda j: float(s[i, j])) == i + 1 - 2 * (i % 2)),
        "only if both find each other": _counted(
            hit=lambda s, i, n: _nearest(s, i, n) and _nearest(s, _right(i, n), n)),
        "others of the same side only": _counted(other=lambda i, j, n: i // n == j // n and i != j),
        "the mean vector squared": _counted(other=lambda i, j, n: True),
        "first views only": _counted(anchors=range),
        "a partner nearer than the average": _counted(hit=_above_average),
        "itself among the others": _counted(other=lambda i, j, n: i == j or i % n != j % n),
        "partners among the others": _counted(other=lambda i, j, n: i != j),
        "others of the other side only": _counted(other=lambda i, j, n: i // n != j // n and i % n != j % n),
        "the nearest other only": _counted(average=False),
        "embeddings of any length": _counted(unit=lambda z: z),
        "centred first": _counted(unit=_centred),
        "the squared distance": _counted(shown=lambda c: 2 * (1 - c)),
    },
    "04.distill": {
        "hard labels": _per_image(_hard, _log),
        "the temperature on the student only": _per_image(lambda t, temperature: _p(t, 1), _log),
        "the temperature on the teacher only": _per_image(_p, lambda s, temperature: _log(s, 1)),
        "the teacher learns, too": _per_image(_p, _log, constant=False),
        "squared differences of logits": lambda student, teacher, temperature=1.0: (
            (student - teacher.data) ** 2).mean() / temperature**2,
        "squared differences of probabilities": lambda student, teacher, temperature=1.0: torch.stack(
            [(_p(s, temperature) - _p(t, temperature)) ** 2 for s, t in zip(student, teacher.data)]).mean(),
        "the temperature after the softmax": lambda student, teacher, temperature=1.0: _per_image(
            lambda t, tau: _p(t, 1), lambda s, tau: _log(s, 1))(student, teacher, 1.0) / temperature**2,
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
    "04.standing": {
        "line 9: torch.arange(len(z), device=z.device) -> torch.arange(len(z))": "the same on the default device",
        "line 10: cosines.masked_fill(~candidates, -torch.inf).argmax(1) -> "
        "cosines.masked_fill(~candidates, -torch.inf).argmax(0)": "the cosines are symmetric",
    },
    "04.nt_xent": {"line 14: logits.argmax(1) -> logits.argmax(0)": "the similarities are symmetric"},
}
