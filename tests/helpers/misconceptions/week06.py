"""Second spellings of the misconceptions of week 6, and mutants of its references that compute the same."""
from __future__ import annotations

import copy

import torch


# ---------------------------------------------------------------- 06.regression_loss
def _length_one(z, dim=-1):
    return z / z.pow(2).sum(dim, keepdim=True).sqrt()


def _cos(a, b):
    return (_length_one(a) * _length_one(b)).sum(-1)


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


@torch.no_grad()
def _follow(target, online, momentum):
    for t, o in zip(target.parameters(), online.parameters()):
        t.mul_(momentum).add_(o, alpha=1 - momentum)
    return target


def _trained_ones(target, online, momentum):
    pairs = [(t, o) for t, o in zip(target.parameters(), online.parameters()) if o.requires_grad]
    for t, o in pairs:
        t.data = momentum * t.data + (1 - momentum) * o.data
    return target


def _moved_copy(target, online, momentum):
    return _follow(copy.deepcopy(target), online, momentum)


# ---------------------------------------------------------------- 06.byol_step
def _half(p, z):
    return 2 - 2 * _cos(p, z.data).mean()


def _stepped(pairs, *, head=None, behind=None, teacher=None, clear=True, order=("learn", "follow"), number=True,
             scale=1.0, loss=_half, steps=1, kept=None, training=True):
    """A step with one thing changed. pairs: which prediction goes with which target, as indices."""
    def step(online, predictor, target, optimizer, view1, view2, momentum):
        views, learn = (view1, view2), order.index("learn")
        follow = order.index("follow") if "follow" in order else None
        target.train(training)
        outputs = [online(view) for view in views]
        p = [(head or predictor)(z) for z in outputs]
        z = outputs if teacher == "online" else [target(view) for view in views]
        z = [predictor(t).detach() for t in z] if behind else z
        total = scale * sum(loss(p[i], z[j]) for i, j in pairs)

        def move():
            with torch.no_grad():
                _follow(target, online, kept or momentum)

        if follow is not None and follow < learn:
            move()
        if clear:
            optimizer.zero_grad()
        total.backward()
        for _ in range(steps):
            optimizer.step()
        if follow is not None and follow > learn:
            move()
        return total.item() if number else total

    return step


_CROSS = ((0, 1), (1, 0))


def _whole_batch(online, predictor, target, optimizer, view1, view2, momentum):
    views, n = torch.cat([view1, view2]), len(view1)
    p = predictor(online(views))
    with torch.no_grad():
        z = target(views)
    loss = _half(p[:n], z[n:]) + _half(p[n:], z[:n])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for t, o in zip(target.parameters(), online.parameters()):
            t.mul_(momentum).add_(o, alpha=1 - momentum)
    return loss.item()


# ---------------------------------------------------------------- 06.diagnose
def _read(pull, gap=None, over="moved", shown=lambda pull: pull, guard=True):
    """A diagnosis with one thing changed; pull, gap: of (online, before, after)."""
    def diagnose(online, before, after):
        moved, way = after - before, (gap or (lambda o, b, a: o - b))(online, before, after)
        share = pull(moved, way)
        left = (moved - share * way).square().sum().sqrt()
        size = {"moved": moved.norm(), "gap": way.norm(), "one": torch.ones_like(left)}[over]
        stray = 0.0 if guard and moved.norm() == 0 else float(left / size)
        return {"pull": float(shown(share)), "stray": stray}

    return diagnose


def _projected(moved, way):
    return (moved * way).sum() / way.square().sum()


def _guarded(counts):
    """A diagnosis that calls the stray part 0 unless `counts` says that the movement does."""
    def diagnose(online, before, after):
        moved, gap = after - before, online - before
        share = _projected(moved, gap)
        stray = float((moved - share * gap).norm() / moved.norm()) if counts(moved, share) else 0.0
        return {"pull": float(share), "stray": stray}

    return diagnose


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
        "frozen weights of the online network skipped": _trained_ones,
        "a copy is moved": _moved_copy,
        "0.99 whatever is given": lambda target, online, momentum: _follow(target, online, 0.99),
    },
    "06.byol_step": {
        "each view predicts itself": _stepped(((0, 0), (1, 1))),
        "one direction only": _stepped(((0, 1),)),
        "the mean of the two directions": _stepped(_CROSS, scale=0.5),
        "the target moves before the optimizer": _stepped(_CROSS, order=("follow", "learn")),
        "the target never moves": _stepped(_CROSS, order=("learn",)),
        "gradients never cleared": _stepped(_CROSS, clear=False),
        "a predictor behind the target": _stepped(_CROSS, behind=True),
        "no predictor": _stepped(_CROSS, head=lambda z: z),
        "the online network as its own target": _stepped(_CROSS, teacher="online"),
        "a gradient into the target": _stepped(_CROSS, loss=lambda p, z: 2 - 2 * _cos(p, z).mean()),
        "both views in one batch": _whole_batch,
        "the loss keeps its graph": _stepped(_CROSS, number=False),
        "the weights never move": _stepped(_CROSS, steps=0),
        "two steps of the optimizer": _stepped(_CROSS, steps=2),
        "the target in evaluation mode": _stepped(_CROSS, training=False),
        "the arguments of the loss swapped": _stepped(_CROSS, loss=lambda p, z: 2 - 2 * _cos(p.data, z).mean()),
        "0.99 whatever is given": _stepped(_CROSS, kept=0.99),
    },
    "06.diagnose": {
        "a ratio of lengths": _read(lambda moved, way: (moved.square().sum() / way.square().sum()).sqrt()),
        "the gap that is left": _read(_projected, gap=lambda online, before, after: online - after),
        "divided by the length, not its square": _read(lambda moved, way: (moved * way).sum() / way.norm()),
        "the momentum, not the pull": _read(_projected, shown=lambda pull: 1 - pull),
        "the cosine": _read(lambda moved, way: (moved * way).sum() / (moved.norm() * way.norm()).clamp_min(1e-30)),
        "the stray part as a length": _read(_projected, over="one"),
        "the stray part over the gap": _read(_projected, over="gap"),
        "0 / 0 where the target stood still": _read(_projected, guard=False),
        "no pull, so nothing stray": _guarded(lambda moved, share: bool(share != 0)),
        "a small movement is none": _guarded(lambda moved, share: bool(moved.abs().max() > 1e-4)),
        "the mean of the ratios": _read(lambda moved, way: (moved / way).sum() / len(way)),
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
