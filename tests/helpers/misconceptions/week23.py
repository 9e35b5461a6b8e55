"""Second spellings of the misconceptions of week 23, and mutants of its references that compute the same."""
from __future__ import annotations

import torch
import torch.nn.functional as F


# ---------------------------------------------------------------- 23.prototypes
def _one(z):
    return z / z.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def _by_class(*, off=lambda support, mean: (mean, mean), one=True, kind=lambda rows: rows.mean(0),
              far=lambda q, rows, kind: torch.sqrt(((q - kind(rows)) ** 2).sum(-1))):
    """Class by class: a column of distances for each."""
    def answer(support, queries, mean):
        of_support, of_queries = off(support, mean)
        s, q = support - of_support, queries - of_queries
        s, q = (_one(s), _one(q)) if one else (s, q)
        return torch.stack([far(q, rows, kind) for rows in s], 1)

    return answer


def _each(reduce):
    return lambda q, rows, kind: reduce(torch.stack([(q - row).norm(dim=-1) for row in rows]))


# ---------------------------------------------------------------- 23.mahalanobis
def _one_by_one(*, centre="train", spread="train", less=0, change=lambda c: torch.linalg.pinv(c), centred=True,
                ending=lambda rows: torch.stack([r.sum() for r in rows])):
    """Image by image, the covariance as a sum of outer products."""
    def answer(train, test):
        given = {"train": train, "test": test}
        of = given[spread]
        rows = of - of.mean(0) if centred else of
        table = sum(torch.outer(r, r) for r in rows) / (len(rows) - less)
        middle = given[centre].mean(0) if centre else torch.zeros_like(train[0])
        inverse = change(table)
        return ending([(inverse @ (x - middle)) * (x - middle) for x in test])

    return answer


# ---------------------------------------------------------------- 23.pgd_step
def _pixelwise(*, up=1.0, signed=True, ball="centre", limit=True, floor=True, origin="x", gradient="x", own=False,
               lengths=lambda epsilon, step: (epsilon, step)):
    """torch.where in place of minimum and maximum."""
    def answer(classifier, x, centre, labels, epsilon, step):
        radius, far = lengths(epsilon, step)
        places = {"x": x, "centre": centre}
        z = places[gradient].detach().clone().requires_grad_()
        logits = classifier(z)
        wanted = logits.detach().max(1).indices if own else labels
        (-logits.log_softmax(1).gather(1, wanted[:, None]).mean()).backward()
        way = torch.where(z.grad > 0, 1.0, -1.0).to(x.dtype) * (z.grad != 0) if signed else z.grad
        out = places[origin] + up * far * way
        if limit:
            high, low = places[ball] + radius, places[ball] - radius
            out = torch.where(out > high, high, torch.where(out < low, low, out))
        return torch.where(out < 0, torch.zeros_like(out), torch.where(out > 1, torch.ones_like(out), out)) \
            if floor else out

    return answer


def _changed(*, way=torch.sign, into=lambda d, e: torch.clip(d, -e, e), cost=F.cross_entropy,
             back=lambda centre, d: (centre + d).clip(0, 1)):
    """The change of the image is what moves."""
    def answer(classifier, x, centre, labels, epsilon, step):
        d = (x - centre).detach().requires_grad_()
        (g,) = torch.autograd.grad(cost(classifier(centre + d), labels), d)
        return back(centre, into(d.detach() + step * way(g), epsilon))

    return answer


# ---------------------------------------------------------------- 23.tuning_step
def _by_grad(*, pick=lambda lr, head_lr: (lr, head_lr), up=False, clear=True, use=(True, True), number=True,
             probabilities=False, total=False, late=False, still=False):
    """Weights written anew, parameter by parameter."""
    def answer(backbone, head, images, labels, lr=0.02, head_lr=0.2):
        if still:
            backbone.eval()

        def cost():
            logits = head(backbone(images))
            logs = torch.log_softmax(torch.softmax(logits, 1) if probabilities else logits, 1)
            each = F.nll_loss(logs, labels, reduction="none")
            return each.sum() if total else each.mean()

        loss = cost()
        if clear:
            for p in [*backbone.parameters(), *head.parameters()]:
                p.grad = None
        loss.backward()
        for module, rate, wanted in zip((backbone, head), pick(lr, head_lr), use):
            for p in module.parameters() if wanted else ():
                p.data = p.data + (rate if up else -rate) * p.grad
        if late:
            loss = cost()
        return loss.item() if number else loss

    return answer


SECOND = {
    "23.prototypes": {
        "not centred": _by_class(off=lambda support, mean: (0.0, 0.0)),
        "centred on the support": _by_class(off=lambda support, mean: (support.flatten(0, 1).mean(0),) * 2),
        "only the queries are centred": _by_class(off=lambda support, mean: (0.0, mean)),
        "not of length 1": _by_class(one=False),
        "the means made of length 1": _by_class(kind=lambda rows: _one(rows.sum(0))),
        "the nearest support image": _by_class(far=_each(lambda d: d.min(0).values)),
        "the mean of the distances": _by_class(far=_each(lambda d: d.mean(0))),
        "the sum of the support": _by_class(kind=lambda rows: rows.sum(0)),
        "the first image only": _by_class(kind=lambda rows: rows[0]),
        "absolute differences": _by_class(far=lambda q, rows, kind: (q - kind(rows)).norm(p=1, dim=-1)),
        "one minus the dot product": _by_class(far=lambda q, rows, kind: 1 - (q * kind(rows)).sum(-1)),
        "squared": _by_class(far=lambda q, rows, kind: ((q - kind(rows)) ** 2).sum(-1)),
        "cosines": _by_class(far=lambda q, rows, kind: (q * kind(rows)).sum(-1)),
        "averaged before length 1": lambda support, queries, mean: torch.stack(
            [(_one(queries - mean) - _one(rows.mean(0) - mean)).norm(dim=1) for rows in support], 1),
        "divided by the deviation": lambda support, queries, mean: torch.cdist(
            (queries - mean) / (queries - mean).var(-1, keepdim=True).sqrt(),
            ((support - mean) / (support - mean).var(-1, keepdim=True).sqrt()).mean(1)),
        "probabilities": lambda support, queries, mean: torch.exp(-_by_class()(support, queries, mean)) / torch.exp(
            -_by_class()(support, queries, mean)).sum(1, keepdim=True),
    },
    "23.mahalanobis": {
        "divided by N - 1": _one_by_one(less=1),
        "Euclid": _one_by_one(change=lambda c: torch.eye(len(c)).to(c)),
        "the covariance itself": _one_by_one(change=torch.clone),
        "only the variances": _one_by_one(change=lambda c: torch.diag(
            torch.where(c.diagonal() > 0, 1 / c.diagonal().clamp_min(1e-30), 0.0))),
        "the mean of the test images": _one_by_one(centre="test"),
        "the covariance of the test images": _one_by_one(spread="test"),
        "not centred": _one_by_one(centre=None),
        "second moments": _one_by_one(centred=False),
        "the root": _one_by_one(ending=lambda rows: torch.stack([r.sum() ** 0.5 for r in rows])),
        "the mean over dimensions": _one_by_one(ending=lambda rows: torch.stack([r.mean() for r in rows])),
        "one number for all": _one_by_one(ending=lambda rows: sum(r.sum() for r in rows) / len(rows)),
        "summed over the test images": lambda train, test: torch.stack([sum(
            (a - train.mean(0)) @ torch.linalg.pinv(torch.cov(train.T, correction=0)) @ (b - train.mean(0))
            for b in test) for a in test]),
    },
    "23.pgd_step": {
        "downhill": _pixelwise(up=-1.0),
        "no sign": _pixelwise(signed=False),
        "outside the ball": _pixelwise(limit=False),
        "outside [0, 1]": _pixelwise(floor=False),
        "a ball around x": _pixelwise(ball="x"),
        "from the centre": _pixelwise(origin="centre"),
        "the gradient at the centre": _pixelwise(gradient="centre"),
        "epsilon as the step": _pixelwise(lengths=lambda epsilon, step: (epsilon, epsilon)),
        "the step as the ball": _pixelwise(lengths=lambda epsilon, step: (step, step)),
        "away from its own answer": _pixelwise(own=True),
        "a gradient of length 1": _changed(way=lambda g: torch.stack([one / one.square().sum().sqrt() for one in g])),
        "a round ball": _changed(into=lambda d, e: torch.stack([one * min(1.0, e / float(one.norm())) for one in d])),
        "one side of the ball": _changed(into=lambda d, e: torch.where(d > e, torch.full_like(d, e), d)),
        "the change alone": _changed(back=lambda centre, d: d),
        "the true logit down": _changed(cost=lambda logits, labels: -sum(row[y] for row, y in zip(logits, labels))),
    },
    "23.tuning_step": {
        "lr for both": _by_grad(pick=lambda lr, head_lr: [lr] * 2),
        "head_lr for both": _by_grad(pick=lambda lr, head_lr: [head_lr] * 2),
        "the rates exchanged": _by_grad(pick=lambda lr, head_lr: [head_lr, lr]),
        "only the head": _by_grad(use=(False, True)),
        "only the backbone": _by_grad(use=(True, False)),
        "gradients never cleared": _by_grad(clear=False),
        "uphill": _by_grad(up=True),
        "softmax before the cross-entropy": _by_grad(probabilities=True),
        "a sum over the images": _by_grad(total=True),
        "the loss after the step": _by_grad(late=True),
        "evaluation mode": _by_grad(still=True),
        "the loss keeps its graph": _by_grad(number=False),
    },
}

EQUIVALENT = {
    "23.prototypes": {
        "line 3: F.normalize(queries - mean, dim=-1) -> F.normalize(queries - mean)": "1 is the last of their two axes",
        "line 3: -1 -> 1 (2)": "likewise",
    },
    "23.pgd_step": {
        "line 3: x.detach() -> x": "it only cuts off what the caller did before",
        "line 6: x.detach() -> x": "the values are the same; the result would keep a graph",
        "line 6: step * gradient.sign() -> step / gradient.sign()": "a sign is its own inverse; no gradient here is 0",
    },
}
