"""Second spellings of the misconceptions of week 7, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def _length(z):
    return z.pow(2).sum(-1, keepdim=True).sqrt()


def _held(z, stop):
    return z.data if stop else z


# ---------------------------------------------------------------- 07.negative_cosine
def _cos(p, z):
    return torch.einsum("nd,nd->n", p / _length(p), z / _length(z))


def _columns(p, z, stop=True):
    z = _held(z, stop)
    return -((p / p.norm(dim=0)) * (z / z.norm(dim=0))).sum(0).mean()


def _pairs(p, z, stop=True):
    z = _held(z, stop)
    return -torch.stack([F.cosine_similarity(p, z.roll(i, 0), dim=1) for i in range(len(p))]).mean()


# ---------------------------------------------------------------- 07.loss
def _nc(p, z, stop):
    return -_cos(p, _held(z, stop)).mean()


def _mean(*values):
    return sum(values) / len(values)


# ---------------------------------------------------------------- 07.step
def _stepped(pairs, *, head=None, behind=None, stop=True, clear="before", together=False, number=True, scale=0.5,
             steps=1, loss=None, training=True, inner=lambda z: z):
    """A step with one thing changed. pairs: which prediction goes with which target, as indices."""
    def step(encoder, predictor, optimizer, view1, view2):
        encoder.train(training)
        z = (list(encoder(torch.cat([view1, view2])).split(len(view1))) if together
             else [encoder(view) for view in (view1, view2)])
        encoder.train()
        p = [(head or predictor)(inner(v)) for v in z]
        t = [(behind(predictor) if behind else lambda v: v)(v) for v in z]
        total = scale * sum((loss or _nc)(p[i], t[j], stop) for i, j in pairs)
        if clear == "before":
            optimizer.zero_grad()
        total.backward()
        if clear == "after":
            optimizer.zero_grad(set_to_none=False)
        for _ in range(steps):
            optimizer.step()
        return total.item() if number else total

    return step


_CROSS = ((0, 1), (1, 0))


def _ordered(order, returned=lambda loss: loss.item(), cleared=None, heads=None):
    """A step whose last lines come in another order, by their first letters: forward, zero, backward, step."""
    def step(encoder, predictor, optimizer, view1, view2):
        for letter in order:
            if letter == "f":
                z = [encoder(view) for view in (view1, view2)]
                p = heads(predictor, z) if heads else [predictor(v) for v in z]
                loss = _mean(_nc(p[0], z[1], True), _nc(p[1], z[0], True))
            elif letter == "z":
                for weight in cleared(encoder, predictor) if cleared else _both(encoder, predictor):
                    weight.grad = None
            elif letter == "b":
                loss.backward()
            else:
                optimizer.step()
        return returned(loss)

    return step


def _both(encoder, predictor):
    return [*encoder.parameters(), *predictor.parameters()]


def _head_in_evaluation(predictor, z):
    predictor.train(False)
    found = [predictor(v) for v in z]
    predictor.train()
    return found


def _only_encoder_learns(encoder, predictor, optimizer, view1, view2):
    before = [weight.detach().clone() for weight in predictor.parameters()]
    loss = _ordered("fzbs")(encoder, predictor, optimizer, view1, view2)
    with torch.no_grad():
        for weight, old in zip(predictor.parameters(), before):
            weight.copy_(old)
    return loss


def _twice(encoder, predictor, optimizer, view1, view2):
    return _stepped(_CROSS)(encoder, predictor, optimizer, view1, view1.clone())


def _look_again(encoder, predictor, optimizer, view1, view2):
    _stepped(_CROSS)(encoder, predictor, optimizer, view1, view2)
    z1, z2 = encoder(view1), encoder(view2)
    return _mean(_nc(predictor(z1), z2, True), _nc(predictor(z2), z1, True)).item()


# ---------------------------------------------------------------- 07.target
def _sphere(z):
    return z / _length(z)


def _median(z):
    return _sphere(_sphere(z).quantile(0.5, dim=0, interpolation="lower"))


def _nearest(z):
    views = _sphere(z)
    return torch.stack([v[(v @ v.sum(0)).argmax()] for v in views.unbind(1)])


def _first_vector(z):
    found = []
    for views in _sphere(z).unbind(1):
        vector = torch.linalg.eigh(views.T @ views)[1][:, -1]
        found.append(vector if vector @ views.sum(0) > 0 else -vector)
    return torch.stack(found)


# ---------------------------------------------------------------- 07.collapse_meter
def _spread(u, dim=0, correction=0):
    centred = u - u.mean(dim, keepdim=True)
    return (centred.pow(2).sum(dim) / (u.shape[dim] - correction)).sqrt()


def _scaled(value, z):
    return value.item() * math.sqrt(z.size(1))


def _centred(features):
    z = features - features.mean(0, keepdim=True)
    return _scaled(_spread(z / _length(z).clamp(min=1e-12)).mean(), z)


SECOND = {
    "07.negative_cosine": {
        "no stop-gradient": lambda p, z, stop=True: -(_sphere(p) * _sphere(z)).sum() / len(p),
        "the stop on p": lambda p, z, stop=True: -F.cosine_similarity(_held(p, stop), z).mean(),
        "p never learns": lambda p, z, stop=True: -F.cosine_similarity(p.data, z).mean(),
        "a stop on both": lambda p, z, stop=True: -_cos(_held(p, stop), _held(z, stop)).mean(),
        "always stopped": lambda p, z, stop=True: -_cos(p, z.data).mean(),
        "the stop reversed": lambda p, z, stop=True: -_cos(p, z if stop else z.data).mean(),
        "the cosine, not its negative": lambda p, z, stop=True: F.cosine_similarity(p, _held(z, stop), dim=-1).mean(),
        "BYOL's distance": lambda p, z, stop=True: (_sphere(p) - _sphere(_held(z, stop))).pow(2).sum() / len(p),
        "a dot product": lambda p, z, stop=True: -torch.einsum("nd,nd->", p, _held(z, stop)) / len(p),
        "only p has length 1": lambda p, z, stop=True: -(p / _length(p) * _held(z, stop)).sum() / len(p),
        "unit columns": _columns,
        "the sum over the batch": lambda p, z, stop=True: -F.cosine_similarity(p, _held(z, stop), dim=-1).sum(),
        "all pairs": _pairs,
        "squared error of unit vectors": lambda p, z, stop=True: (_sphere(p) - _sphere(_held(z, stop))).pow(2).mean(),
        "the cosine of the means": lambda p, z, stop=True: -_cos(p.sum(0, True), _held(z, stop).sum(0, True)).sum(),
        "the median": lambda p, z, stop=True: -_cos(p, _held(z, stop)).sort().values[(len(p) - 1) // 2],
    },
    "07.loss": {
        "each view predicts itself": lambda p1, p2, z1, z2, stop=True: _mean(_nc(p2, z2, stop), _nc(p1, z1, stop)),
        "not halved": lambda p1, p2, z1, z2, stop=True: 2 * _mean(_nc(p1, z2, stop), _nc(p2, z1, stop)),
        "one direction only": lambda p1, p2, z1, z2, stop=True: -_cos(p1, _held(z2, stop)).mean(),
        "predictions compared with each other": lambda p1, p2, z1, z2, stop=True: _mean(
            _nc(p2, p1, stop), _nc(p1, p2, stop)),
        "projections compared with each other": lambda p1, p2, z1, z2, stop=True: _mean(
            _nc(z2, z1, stop), _nc(z1, z2, stop)),
        "the roles swapped": lambda p1, p2, z1, z2, stop=True: _mean(_nc(z2, p1, stop), _nc(z1, p2, stop)),
        "one stop forgotten": lambda p1, p2, z1, z2, stop=True: _mean(_nc(p2, z1, False), _nc(p1, z2, stop)),
        "stop not passed on": lambda p1, p2, z1, z2, stop=True: _mean(_nc(p1, z2, True), _nc(p2, z1, True)),
        "never stopped": lambda p1, p2, z1, z2, stop=True: _mean(_nc(p2, z1, False), _nc(p1, z2, False)),
        "the stop reversed": lambda p1, p2, z1, z2, stop=True: _mean(_nc(p2, z1, not stop), _nc(p1, z2, not stop)),
        "one call the wrong way round": lambda p1, p2, z1, z2, stop=True: _mean(
            _nc(z1, p2, stop), _nc(p1, z2, stop)),
        "the smaller of the two": lambda p1, p2, z1, z2, stop=True: min(_nc(p1, z2, stop), _nc(p2, z1, stop)),
    },
    "07.step": {
        "each view predicts itself": _stepped(((0, 0), (1, 1))),
        "one direction only": _stepped(((0, 1),), scale=1.0),
        "the sum of the two directions": _stepped(_CROSS, scale=1.0),
        "no predictor": _stepped(_CROSS, head=lambda z: z),
        "a predictor on both sides": _stepped(_CROSS, behind=lambda predictor: predictor),
        "no stop-gradient": _stepped(_CROSS, stop=False),
        "the stop on the predictions": _stepped(_CROSS, loss=lambda p, z, stop: -_cos(p.data, z).mean()),
        "the encoder without gradient": _stepped(_CROSS, inner=lambda z: z.data),
        "gradients never cleared": _stepped(_CROSS, clear="never"),
        "the weights never move": _stepped(_CROSS, clear="after"),
        "both views in one batch": _stepped(_CROSS, together=True),
        "the loss keeps its graph": _stepped(_CROSS, number=False),
        "the same view twice": _twice,
        "the loss after the update": _look_again,
        "uphill": _stepped(_CROSS, scale=-0.5),
        "two steps of the optimizer": _stepped(_CROSS, steps=2),
        "the encoder in evaluation mode": _stepped(_CROSS, training=False),
        "the predictor in evaluation mode": _ordered("fzbs", heads=_head_in_evaluation),
        "both views through the predictor in one batch": _ordered(
            "fzbs", heads=lambda predictor, z: predictor(torch.vstack(z)).tensor_split(2)),
        "projections scaled before the predictor": _stepped(_CROSS, inner=lambda z: z / _length(z)),
        "only the encoder's gradients cleared": _ordered(
            "fzbs", cleared=lambda encoder, predictor: list(encoder.parameters())),
        "only the predictor's gradients cleared": _ordered(
            "fzbs", cleared=lambda encoder, predictor: list(predictor.parameters())),
        "the predictor never updated": _only_encoder_learns,
        "the step comes before backward": _ordered("fszb"),
        "the update at the start": _ordered("sfzb"),
        "the loss is rounded": _ordered("fzbs", returned=lambda loss: float(f"{loss.item():.3f}")),
        "the sign of the returned loss": _ordered("fzbs", returned=lambda loss: (-loss).item()),
    },
    "07.target": {
        "the mean of the raw vectors": lambda z: F.normalize(z.sum(dim=0), dim=1),
        "not scaled to length 1": lambda z: sum(_sphere(view) for view in z) / len(z),
        "raw mean, not scaled": lambda z: z.sum(0) / len(z),
        "the mean over images": lambda z: _sphere(_sphere(z).sum(1)),
        "the first view": lambda z: _sphere(z[:1].mean(0)),
        "the median": _median,
        "the view nearest to the mean": _nearest,
        "the principal direction": _first_vector,
        "unit over the views": lambda z: _sphere((z / z.norm(dim=0, keepdim=True)).sum(0)),
    },
    "07.collapse_meter": {
        "raw vectors": lambda features: _scaled(_spread(features).mean(), features),
        "not times the root of D": lambda features: _spread(_sphere(features)).mean().item(),
        "divided by the root of D":
            lambda features: _spread(_sphere(features)).mean().item() / math.sqrt(features.size(1)),
        "the spread within an image": lambda features: _scaled(_spread(_sphere(features), dim=1).mean(), features),
        "centred before scaling": _centred,
        "one deviation for everything": lambda features: _scaled(_spread(_sphere(features).reshape(-1)), features),
        "N - 1": lambda features: _scaled(_spread(_sphere(features), correction=1).mean(), features),
        "the variance": lambda features: _scaled(_spread(_sphere(features)).pow(2).mean(), features),
        "the root of the mean variance": lambda features: _scaled(
            _spread(_sphere(features)).pow(2).mean().sqrt(), features),
        "one minus the length of the mean": lambda features: 1 - _length(_sphere(features).mean(0)).item(),
        "one minus the mean cosine": lambda features: 1 - _sphere(features).mean(0).pow(2).sum().item(),
        "times the root of N": lambda features: math.sqrt(len(features)) * _spread(_sphere(features)).mean().item(),
        "the smallest dimension": lambda features: _scaled(_spread(_sphere(features)).amin(), features),
    },
}
EQUIVALENT = {
    "07.negative_cosine": {
        "line 7: F.cosine_similarity(p, z.detach() if stop else z, dim=1) -> "
        "F.cosine_similarity(p, z.detach() if stop else z)": "dim=1 is the default of cosine_similarity"},
    "07.target": {
        "line 7: directions.mean(dim=0) -> directions.sum(dim=0)": "a factor is taken away by the scaling to length 1",
        "line 7: -1 -> 1": "the mean has two axes, so the last is 1",
        "line 7: F.normalize(directions.mean(dim=0), dim=-1) -> F.normalize(directions.mean(dim=0))":
            "as above: 1 is the default"},
}
