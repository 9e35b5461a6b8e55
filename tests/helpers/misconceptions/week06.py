"""Second spellings of the misconceptions of week 6, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch


# ---------------------------------------------------------------- 06.regression_loss
def _length_one(z, dim=-1):
    return z / z.pow(2).sum(dim, keepdim=True).sqrt()


def _cos(a, b):
    return (_length_one(a) * _length_one(b)).sum(-1)


# ---------------------------------------------------------------- 06.byol_loss
def _one(p, z):
    return (2 - 2 * _cos(p, z.data)).mean()


# ---------------------------------------------------------------- 06.momentum_schedule
def _share(step, total):
    return min(step, total) / total


# ---------------------------------------------------------------- 06.update
@torch.no_grad()
def _swapped(target, online, momentum):
    for t, o in zip(target.parameters(), online.parameters()):
        t.copy_((1 - momentum) * t + momentum * o)
    return target


@torch.no_grad()
def _all_of_it(target, online, momentum):
    mine, theirs = target.state_dict(), online.state_dict()
    target.load_state_dict({k: momentum * v + (1 - momentum) * theirs[k] if v.dtype.is_floating_point else v
                            for k, v in mine.items()})
    return target


@torch.no_grad()
def _statistics_too(target, online, momentum):
    theirs = {**online.state_dict()}
    for name, t in target.named_parameters():
        theirs[name] = momentum * t + (1 - momentum) * theirs[name]
    target.load_state_dict(theirs)
    return target


def _new_names(target, online, momentum):
    for t, o in zip(target.parameters(), online.parameters()):
        t = t.detach().clone().mul_(momentum).add_(o.detach(), alpha=1 - momentum)
    return target


@torch.no_grad()
def _filtered(target, online, momentum):
    trained = [(t, o) for t, o in zip(target.parameters(), online.parameters()) if t.requires_grad]
    for t, o in trained:
        t.mul_(momentum).add_(o, alpha=1 - momentum)
    return target


@torch.no_grad()
def _other_way(target, online, momentum):
    for t, o in zip(target.parameters(), online.parameters()):
        o.copy_(momentum * o + (1 - momentum) * t)
    return target


def _clone(target, online, momentum):
    theirs = dict(online.named_parameters())
    for name, t in target.named_parameters():
        t.data = theirs[name].data.clone()
    return target


def _without_no_grad(target, online, momentum):
    theirs = dict(online.named_parameters())
    for name, t in target.named_parameters():
        t.mul_(momentum).add_(theirs[name], alpha=1 - momentum)
    return target


@torch.no_grad()
def _weights_of_layers(target, online, momentum):
    for t, o in zip(target.parameters(), online.parameters()):
        if len(t.shape) >= 2:
            t.mul_(momentum).add_(o, alpha=1 - momentum)
    return target


SECOND = {
    "06.regression_loss": {
        "the target is not a constant": lambda prediction, target: 2 - 2 * _cos(prediction, target).mean(),
        "the prediction is the constant": lambda prediction, target: 2 - 2 * _cos(prediction.data, target).mean(),
        "not scaled to length 1": lambda prediction, target: (prediction - target.data).pow(2).sum(1).mean(),
        "only the prediction scaled": lambda prediction, target: torch.einsum(
            "nd,nd->n", *2 * [_length_one(prediction) - target.data]).mean(),
        "the mean over dimensions": lambda prediction, target: (
            _length_one(prediction) - _length_one(target.data)).pow(2).mean(),
        "1 - cos": lambda prediction, target: (1 - _cos(prediction, target.data)).mean(),
        "minus the cosine": lambda prediction, target: -_cos(prediction, target.data).mean(),
        "scaled along the batch": lambda prediction, target: (
            _length_one(prediction, 0) - _length_one(target.data, 0)).pow(2).sum(1).mean(),
        "the sum over the batch": lambda prediction, target: (2 - 2 * _cos(prediction, target.data)).sum(),
        "the distance, not its square": lambda prediction, target: (
            (_length_one(prediction) - _length_one(target.data)) ** 2).sum(1).sqrt().mean(),
    },
    "06.byol_loss": {
        "each view predicts itself": lambda p1, p2, z1, z2: _one(p1, z1) + _one(p2, z2),
        "the mean of the two directions": lambda p1, p2, z1, z2: 0.5 * _one(p1, z2) + 0.5 * _one(p2, z1),
        "one direction only": lambda p1, p2, z1, z2: _one(p1, z2) + 0 * p2.sum(),
        "one direction, doubled": lambda p1, p2, z1, z2: 4 - 4 * _cos(p1, z2.data).mean(),
        "predictions against predictions": lambda p1, p2, z1, z2: _one(p2, p1) + _one(p1, p2),
        "prediction and target exchanged": lambda p1, p2, z1, z2: _one(z1, p2) + _one(p1, z2),
        "a gradient into the target": lambda p1, p2, z1, z2: (4 - 2 * _cos(p1, z2) - 2 * _cos(p2, z1)).mean(),
    },
    "06.momentum_schedule": {
        "from 1 down to the base": lambda base, step, total: 1 - (1 - base) * (
            1 - math.cos(math.pi * _share(step, total))) / 2,
        "the learning rate's cosine": lambda base, step, total: 0.5 * base * (
            1 + math.cos(math.pi * _share(step, total))),
        "a quarter of the circle": lambda base, step, total: 1 - (1 - base) * math.cos(
            math.pi * _share(step, total) / 2),
        "a straight line": lambda base, step, total: 1 - (1 - base) * (1 - _share(step, total)),
        "not halved": lambda base, step, total: base - (1 - base) * math.cos(math.pi * _share(step, total)),
        "it turns back after the end": lambda base, step, total: 1 - (1 - base) * math.cos(
            math.pi * step / total / 2) ** 2,
        "counted in whole rounds": lambda base, step, total: base if step < total else 1.0,
        "pi is missing": lambda base, step, total: 1 - 0.5 * (1 - base) * (1 + math.cos(_share(step, total))),
    },
    "06.update": {
        "the weights exchanged": _swapped,
        "buffers averaged, too": _all_of_it,
        "buffers copied": _statistics_too,
        "a new name instead of a new value": _new_names,
        "only what is trained": _filtered,
        "the online network is moved": _other_way,
        "the target is a copy": _clone,
        "the update is part of the graph": _without_no_grad,
        "vectors left out": _weights_of_layers,
    },
}
_SHORT = ("counts only for vectors shorter than a millionth; a right answer may have another epsilon, "
          "so no probe is that short")
EQUIVALENT = {
    "06.regression_loss": {
        "line 4: normalize(prediction, eps=1e-06) -> normalize(prediction)": _SHORT,
        "line 4: normalize(target.detach(), eps=1e-06) -> normalize(target.detach())": _SHORT,
        "line 4: normalize(prediction, eps=1e-06) -> normalize(prediction, eps=2e-06)": _SHORT,
        "line 4: normalize(target.detach(), eps=1e-06) -> normalize(target.detach(), eps=2e-06)": _SHORT,
    },
}
