"""Second spellings of the misconceptions of week 22, and mutants of its references that compute the same."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


# ---------------------------------------------------------------- 22.pair
def _rows(*, places=(0, 1, 2, 3, 5, 6, 7, 8), centre=4, join=lambda m, o: torch.hstack([m, o]), stack=1):
    """Neighbour by neighbour."""
    def answer(features):
        whole = features.unbind(1)
        return torch.stack([join(whole[centre], whole[k]) for k in places], stack)

    return answer


def _cut_off(features):
    middle = features[:, 4:5].clone().detach().repeat(1, 8, 1)
    return torch.cat([middle, features[:, [0, 1, 2, 3, 5, 6, 7, 8]]], -1)


def _strangers(features):
    middle = torch.cat([features[-1:], features[:-1]])[:, 4]
    around = torch.cat([features[:, :4], features[:, 5:]], 1)
    return torch.cat([middle.unsqueeze(1).repeat(1, 8, 1), around], -1)


# ---------------------------------------------------------------- 22.position_step
def _run(encoder, patches, *, groups=None, swap=False, frozen=False, evaluated=False):
    n = len(patches)
    if evaluated:
        encoder.train(False)
    flat = (patches.swapaxes(0, 1) if swap else patches).reshape(n * 9, *patches.shape[2:])
    if groups == "place":
        parts = [encoder(patches[:, k]) for k in range(9)]
        return torch.cat([each.unsqueeze(1) for each in parts], 1)
    if groups == "picture":
        return torch.cat([encoder(each).unsqueeze(0) for each in patches])
    out = encoder(flat)
    return (out.detach() if frozen else out).reshape(n, 9, -1)


def _stepped(*, answers=None, score=lambda logits: logits, total=torch.mean, rows=slice(None), clear=True, move=True,
             number=True, **how):
    def step(encoder, head, optimizer, patches, pair):
        joined = pair(_run(encoder, patches, **how))[:, rows]
        logits = score(head(joined.reshape(-1, joined.shape[-1]))).log_softmax(-1)
        count = joined.shape[1]
        right = torch.tensor([k for _ in patches for k in range(count)]) if answers is None else answers(len(patches))
        loss = total(-logits[torch.arange(len(logits)), right])
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if move:
            optimizer.step()
        return float(loss.detach()) if number else loss

    return step


# ---------------------------------------------------------------- 22.standardise
def _loop(*, divide=lambda w, eps: (w.pow(2).mean() + eps).sqrt(), centre=True, statistics=lambda w: w):
    """Filter by filter."""
    def answer(weight, eps=1e-10):
        found = []
        for each in weight:
            seen = statistics(each)
            middle = seen.mean() if centre else 0.0
            found.append((each - middle) / divide(seen - seen.mean(), eps))
        return torch.stack(found)

    return answer


def _together(weight, eps=1e-10):
    flat = weight.flatten() - weight.mean()
    return (flat / (flat.square().mean() + eps).sqrt()).view_as(weight)


def _along(order, back, keep):
    """Brings the axes that share statistics to the end."""
    def answer(weight, eps=1e-10):
        moved = weight.permute(order)
        flat = moved.flatten(keep)
        flat = (flat - flat.mean(-1, keepdim=True)) / (flat.var(-1, keepdim=True, correction=0) + eps).sqrt()
        return flat.view(moved.shape).permute(back)

    return answer


# ---------------------------------------------------------------- 22.ranks
def _places(x, *, share="mean"):
    """By hand: sorted values, and where each one stands in them, from 1 on."""
    ordered, found = sorted(x.tolist()), []
    for value in x.tolist():
        where = [i + 1 for i, other in enumerate(ordered) if other == value]
        found.append({"mean": sum(where) / len(where), "low": where[0], "high": where[-1]}[share])
    return torch.tensor(found, dtype=torch.float64)


def _correlation(x, y, centre=True, scale=True):
    x, y = x.double(), y.double()
    if centre:
        x, y = x - x.mean(), y - y.mean()
    top = (x * y).mean()
    return top / (x.square().mean() * y.square().mean()).sqrt() if scale else top


def _in_order(x):
    found = torch.empty(len(x))
    found[x.sort(stable=True).indices] = torch.arange(len(x)).float()
    return found


def _dense(x):
    values = sorted(set(x.tolist()))
    return torch.tensor([values.index(v) for v in x.tolist()]).double()


def _pairs(a, b):
    n, total = len(a), 0.0
    for i in range(n):
        for j in range(n):
            total += float(torch.sign(a[i] - a[j]) * torch.sign(b[i] - b[j]))
    return total / (n * (n - 1))


def _short_formula(a, b):
    n = len(a)
    return 1 - 6 * float((_places(a) - _places(b)).pow(2).sum()) / (n**3 - n)


SECOND = {
    "22.pair": {
        "the neighbour first": _rows(join=lambda m, o: torch.hstack([o, m])),
        "the middle beside itself": _rows(places=tuple(range(9))),
        "the first patch is the middle": _rows(centre=0, places=(1, 2, 3, 4, 5, 6, 7, 8)),
        "the last eight are the neighbours": _rows(places=(1, 2, 3, 4, 5, 6, 7, 8)),
        "column by column": _rows(places=(0, 3, 6, 1, 7, 2, 5, 8)),
        "clockwise": _rows(places=(0, 1, 2, 5, 8, 7, 6, 3)),
        "the difference": _rows(join=lambda m, o: -(m - o)),
        "stacked": _rows(join=lambda m, o: torch.stack([m, o], 1)),
        "one under the other": lambda features: torch.vstack([torch.cat([
            features[i, 4:5].repeat(8, 1), features[i, :4], features[i, 5:]])[None] for i in range(len(features))]),
        "no gradient into the middle": _cut_off,
        "another picture's middle": _strangers,
    },
    "22.position_step": {
        "all first neighbours first": _stepped(answers=lambda n: torch.tensor([k for k in range(8) for _ in range(n)])),
        "patches of different pictures together": _stepped(swap=True),
        "a pass for each patch": _stepped(groups="place"),
        "a pass for each picture": _stepped(groups="picture"),
        "the encoder gets no gradient": _stepped(frozen=True),
        "evaluation mode": _stepped(evaluated=True),
        "softmax before the loss": _stepped(score=nn.Softmax(-1)),
        "a sum over the pairs": _stepped(total=torch.sum),
        "the first neighbour only": _stepped(rows=slice(0, 1)),
        "all places are 0": _stepped(answers=lambda n: torch.zeros(n * 8).long()),
        "places counted backwards": _stepped(answers=lambda n: torch.tensor([7, 6, 5, 4, 3, 2, 1, 0]).tile(n)),
        "gradients never cleared": _stepped(clear=False),
        "nothing is learned": _stepped(move=False),
        "the loss keeps its graph": _stepped(number=False),
    },
    "22.standardise": {
        "divided by n - 1": _loop(divide=lambda w, eps: (w.square().sum() / (w.numel() - 1) + eps).sqrt()),
        "all filters together": _together,
        "each kernel alone": _along((0, 1, 2, 3), (0, 1, 2, 3), 2),
        "each input alone": _along((1, 0, 2, 3), (1, 0, 2, 3), 1),
        "across the filters": _along((1, 2, 3, 0), (3, 0, 1, 2), 3),
        "the mean stays": _loop(centre=False),
        "divided by the variance": _loop(divide=lambda w, eps: w.pow(2).mean() + eps),
        "eps outside the root": _loop(divide=lambda w, eps: w.pow(2).mean().sqrt() + eps),
        "std and eps": _loop(divide=lambda w, eps: w.std() + eps),
        "eps left out": _loop(divide=lambda w, eps: (w.pow(2).mean() + 1e-10).sqrt()),
        "statistics without gradient": _loop(statistics=lambda w: w.clone().detach()),
        "length 1": _loop(divide=lambda w, eps: w.norm()),
    },
    "22.ranks": {
        "the values, not their ranks": lambda a, b: _correlation(a, b),
        "argsort once": lambda a, b: _correlation(torch.sort(a).indices, torch.sort(b).indices),
        "ties in the order of the list": lambda a, b: _correlation(_in_order(a), _in_order(b)),
        "ties get the lowest place": lambda a, b: _correlation(_places(a, share="low"), _places(b, share="low")),
        "ties get the highest place": lambda a, b: _correlation(_places(a, share="high"), _places(b, share="high")),
        "ties count as one": lambda a, b: _correlation(_dense(a), _dense(b)),
        "only one of them ranked": lambda a, b: _correlation(_places(a), b),
        "one from the top": lambda a, b: -_correlation(_places(a), _places(b)),
        "the mean not subtracted": lambda a, b: F.cosine_similarity(_places(a), _places(b), dim=0),
        "a covariance": lambda a, b: _correlation(_places(a), _places(b), scale=False),
        "torch.cov": lambda a, b: _correlation(_places(a), _places(b), scale=False) * len(a) / (len(a) - 1),
        "the formula for no ties": _short_formula,
        "Kendall's tau": _pairs,
        "squared": lambda a, b: _correlation(_places(a), _places(b)).pow(2),
    },
}
