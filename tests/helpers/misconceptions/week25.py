"""Second spellings of the misconceptions of week 25."""
from __future__ import annotations

import math

import torch
from torch.nn import functional as F


# ---------------------------------------------------------------- 25.infonce
def _entropy(scores):
    return F.cross_entropy(scores, torch.arange(len(scores)))



INFONCE = {
    "without log N": lambda s: s.log_softmax(1).diagonal().mean(),
    "log N taken off": lambda s: -_entropy(s) - math.log(s.shape[0]),
    "the loss": _entropy,
    "log N plus the loss": lambda s: math.log(len(s)) + _entropy(s),
    "only the others below": lambda s: math.log(len(s)) + torch.stack([
        s[i, i] - torch.cat([s[i, :i], s[i, i + 1:]]).logsumexp(0) for i in range(len(s))]).mean(),
    "log(N - 1)": lambda s: math.log(len(s) - 1) - _entropy(s),
    "columns": lambda s: math.log(len(s)) - _entropy(s.T),
    "over the whole square": lambda s: s.trace() / len(s) - s.reshape(-1).logsumexp(0) + math.log(s.numel()),
    "in bits": lambda s: math.log2(len(s)) - _entropy(s) / math.log(2),
    "a sum over the rows": lambda s: math.log(len(s)) - F.cross_entropy(s, torch.arange(len(s)), reduction="sum"),
    "the logarithm of the mean": lambda s: (s.softmax(1).trace()).log(),
    "a mean in place of the sum below": lambda s: s.diagonal().mean() - s.mean(),
    "no logarithm": lambda s: math.log(len(s)) + s.softmax(1).trace() / len(s),
}


# ---------------------------------------------------------------- 25.dv
def _lists(scores):
    n = len(scores)
    joint = torch.stack([scores[i, i] for i in range(n)])
    product = torch.stack([scores[i, j] for i in range(n) for j in range(n) if i != j])
    return joint, product


def _lme(x):
    x = x.reshape(-1)
    top = x.max().detach()
    return (x - top).exp().mean().log() + top


def _ends(scores):
    """The mask as it lands: on the axes of places and codes."""
    n, _, places, codes = scores.shape
    own = [(i, i) for i in range(min(places, codes))]
    rest = [(i, j) for i in range(places) for j in range(codes) if i != j]
    take = lambda which: torch.stack([scores[:, :, i, j] for i, j in which])  # noqa: E731
    return take(own).mean() - (_lme(take(rest)) if rest else 0.0)


def _zeros(scores):
    joint, product = _lists(scores)
    return joint.mean() - _lme(torch.cat([product, torch.zeros_like(joint)]))


def _each_place(scores):
    found = []
    for i in range(scores.shape[2]):
        for j in range(scores.shape[3]):
            joint, product = _lists(scores[:, :, i, j])
            found.append(joint.mean() - _lme(product))
    return sum(found) / len(found)


def _by_image(scores):
    joint, product = _lists(scores)
    n = len(scores)
    return joint.mean() - sum(_lme(product[i * (n - 1):(i + 1) * (n - 1)]) for i in range(n)) / n


DV = {
    "places masked in place of pairs": _ends,
    "the diagonal left in": lambda s: _lists(s)[0].mean() - _lme(s),
    "own pairs set to zero": _zeros,
    "one bound for each place": _each_place,
    "the mean over all pairs for the joint": lambda s: s.sum() / s.numel() - _lme(_lists(s)[1]),
    "own pairs added, but divided by all": lambda s: _lists(s)[0].mean() / len(s) - _lme(_lists(s)[1]),
    "the mean of the scores": lambda s: _lists(s)[0].mean() - _lists(s)[1].mean(),
    "the mean of the logarithms": _by_image,
    "half of the other pairs": lambda s: _lists(s)[0].mean() - _lme(
        torch.stack([s[i, j] for i in range(len(s)) for j in range(i + 1, len(s))])),
    "the other half of the other pairs": lambda s: _lists(s)[0].mean() - _lme(
        torch.stack([s[i, j] for i in range(len(s)) for j in range(i)])),
    "one other image for each": lambda s: _lists(s)[0].mean() - _lme(
        torch.stack([s[i, i - 1] for i in range(len(s))])),
    "a sum of exponentials": lambda s: _lists(s)[0].mean() - _lme(_lists(s)[1]) - math.log(_lists(s)[1].numel()),
    "log N off a sum over pairs": lambda s: (_lists(s)[0].mean() - _lists(s)[1].reshape(-1).logsumexp(0)
                                             + math.log(s.shape[1])),
    "exp of the joint": lambda s: _lme(_lists(s)[0]) - _lme(_lists(s)[1]),
    "exp without logsumexp": lambda s: _lists(s)[0].mean() - torch.log(torch.exp(_lists(s)[1]).mean()),
    "the signs turned": lambda s: _lme(_lists(s)[1]) - _lists(s)[0].mean(),
}


# ---------------------------------------------------------------- 25.jsd
def _nwj(scores, shift):
    joint, product = _lists(scores + shift)
    return joint.mean() - (product - 1).exp().mean()


def _signal(scores):
    joint, product = _lists(scores)
    return F.logsigmoid(joint).mean() + F.logsigmoid(-product).mean()


def _both(value, signal):
    return value.detach() - signal.detach() + signal


JSD = {
    "the copied code": lambda s: _both(_nwj(s, 0), _signal(s)),
    "one taken off": lambda s: _both(_nwj(s, -1), _signal(s)),
    "NWJ's own gradient": lambda s: _nwj(s, 1),
    "no gradient": lambda s: (_nwj(s, 1) + 0 * s.mean()).detach() + 0 * s.mean(),
    "JSD as the reading": _signal,
    "both gradients": lambda s: _nwj(s, 1) + (_signal(s) - _signal(s).detach()),
    "softplus exchanged": lambda s: _both(_nwj(s, 1), F.logsigmoid(-_lists(s)[0]).mean()
                                          + F.logsigmoid(_lists(s)[1]).mean()),
    "the diagonal left in": lambda s: _both(_nwj(s, 1), F.logsigmoid(_lists(s)[0]).mean() + F.logsigmoid(-s).mean()),
    "own pairs alone": lambda s: _both(_nwj(s, 1), F.logsigmoid(_lists(s)[0]).mean()),
    "the signs turned": lambda s: _both(_nwj(s, 1), -_signal(s)),
    "a sum over pairs": lambda s: _both(_nwj(s, 1), F.logsigmoid(_lists(s)[0]).sum()
                                        + F.logsigmoid(-_lists(s)[1]).sum()),
    "Donsker-Varadhan as the signal": lambda s: _both(_nwj(s, 1), _lists(s)[0].mean() - _lme(_lists(s)[1])),
}


# ---------------------------------------------------------------- 25.dim_step
def _step(*, sign=-1, reading=True, swap=False, by=lambda u: u ** 0.5, unit=False, pool=False, mixed=False,
          cut=(), clear=True, move=True, evaluate=False, item=True):
    """Scores by loops over images."""
    def step(encoder, place_net, code_net, optimizer, images, estimate):
        if clear:
            optimizer.zero_grad()
        if evaluate:
            encoder.train(False)
        maps, codes = encoder(images)
        maps = maps.detach() if "map" in cut else maps
        codes = codes.detach() if "code" in cut else codes
        made, queries = place_net(maps), code_net(codes)
        n, units, height, width = made.shape
        places = (made.reshape(n, height * width, units) if mixed
                  else made.permute(0, 2, 3, 1).reshape(n, height * width, units))
        if pool:
            places = places.mean(1, keepdim=True).repeat(1, height * width, 1)
        if unit:
            places, queries = (z / z.norm(dim=-1, keepdim=True) for z in (places, queries))
        scores = torch.stack([torch.stack([(places[k] @ queries[i]) for k in range(n)]) for i in range(n)])
        scores = scores if unit else scores / by(units)
        value = estimate(scores.permute(1, 0, 2) if swap else scores)
        (sign * value).backward()
        if move:
            optimizer.step()
        value = value if reading else -value
        return float(value) if item else value

    return step


STEP = {
    "the information made small": _step(sign=1),
    "the loss returned": _step(reading=False),
    "codes and images exchanged": _step(swap=True),
    "no scale": _step(by=lambda u: 1),
    "divided by the width": _step(by=lambda u: u),
    "cosines": _step(unit=True),
    "places averaged first": _step(pool=True),
    "reshaped in place of transposed": _step(mixed=True),
    "the map without a gradient": _step(cut=("map",)),
    "the code without a gradient": _step(cut=("code",)),
    "old gradients are kept": _step(clear=False),
    "the weights do not move": _step(move=False),
    "in evaluation mode": _step(evaluate=True),
    "the graph is kept": _step(item=False),
}

SECOND = {"25.infonce": INFONCE, "25.dv": DV, "25.jsd": JSD, "25.dim_step": STEP}
EQUIVALENT = {"25.infonce": {"line 4: pairs(scores) -> nothing": "it only refuses scores that are not square"}}
