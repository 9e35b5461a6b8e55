"""Second spellings of the misconceptions of week 3, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch
from torch.nn import functional as F


# ---------------------------------------------------------------- 03.variance
def _std(z, eps, correction=1, dim=0):
    centred = z - z.mean(dim, keepdim=True)
    return (centred.pow(2).sum(dim) / (z.shape[dim] - correction) + eps) ** 0.5


def _hinge(gamma, std):
    return torch.clamp(gamma - std, min=0.0)


# ---------------------------------------------------------------- 03.covariance
def _outside(matrix):
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)]


def _gram(z):
    centred = z - z.mean(0, keepdim=True)
    products = torch.einsum("id,jd->ij", centred, centred) / (z.shape[0] - 1)
    return (_outside(products) ** 2).sum() / z.shape[1]


def _moments(z):
    n, d = z.shape
    products = torch.einsum("ni,nj->ij", z, z) / (n - 1)
    return (_outside(products) ** 2).sum() / d


# ---------------------------------------------------------------- 03.vicreg
def _spread(z):
    return F.relu(1 - torch.sqrt(torch.var(z, 0) + 1e-4)).mean()


def _across(z):
    return (_outside(torch.cov(z.T)) ** 2).sum() / z.shape[1]


def _put(s, v, c, invariance, variance, covariance):
    return dict(loss=covariance * c + variance * v + invariance * s, invariance=s, variance=v, covariance=c)


def _loss(part):
    def loss(a, b, invariance=25.0, variance=25.0, covariance=1.0):
        parts = dict(s=((b - a) ** 2).mean(), v=0.5 * (_spread(b) + _spread(a)), c=_across(b) + _across(a))
        return _put(**(parts | part(a, b)), invariance=invariance, variance=variance, covariance=covariance)
    return loss


def _scaled(a, b, invariance=25.0, variance=25.0, covariance=1.0):
    out = _loss(lambda a, b: {})(a, b, invariance, variance, covariance)
    weights = dict(invariance=invariance, variance=variance, covariance=covariance)
    scaled = {name: weight * out[name] for name, weight in weights.items()}
    return {"loss": sum(scaled.values()), **scaled}


def _plain(a, b, invariance=25.0, variance=25.0, covariance=1.0):
    out = _loss(lambda a, b: {})(a, b)
    return {**out, "loss": out["covariance"] + out["variance"] + out["invariance"]}


def _unit(a, b, invariance=25.0, variance=25.0, covariance=1.0):
    return _loss(lambda a, b: {})(a / a.norm(dim=1, keepdim=True), b / b.norm(dim=-1, keepdim=True),
                                  invariance, variance, covariance)


def _direction(a, b):
    a, b = (z / z.norm(dim=1, keepdim=True) for z in (a, b))
    return dict(s=(a - b).square().sum(1).mean())


# ---------------------------------------------------------------- 03.step
def _objective(a, b, weights):
    return _loss(lambda a, b: {})(a, b, **weights)["loss"]


def _descent(network, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _kept(network, optimizer, first, second, weights):
    loss = _objective(network(first), network(second), weights)
    loss.backward()
    optimizer.step()
    return float(loss)


def _zeroed_late(network, optimizer, first, second, weights):
    loss = _objective(network(first), network(second), weights)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return float(loss)


def _one_behind(network, optimizer, first, second, weights):
    loss = _objective(network(first), network(second), weights)
    optimizer.step()
    loss.backward()
    return loss


def _first_only(network, optimizer, first, second, weights):
    a, b = network(first), network(second)
    return _descent(network, optimizer, _objective(a, b.detach(), weights))


def _stacked(network, optimizer, first, second, weights):
    both = network(torch.vstack([first, second]))
    return _descent(network, optimizer, _objective(both[:len(first)], both[len(first):], weights))


def _same_view(network, optimizer, first, second, weights):
    a = network(first)
    b = network(first)
    return _descent(network, optimizer, _objective(b, a, weights))


def _by_default(network, optimizer, first, second, weights):
    return _descent(network, optimizer, _objective(network(first), network(second), {}))


def _all_ones(network, optimizer, first, second, weights):
    ones = dict.fromkeys(weights, 1.0)
    return _descent(network, optimizer, _objective(network(first), network(second), ones))


def _everything(network, optimizer, first, second, weights):
    parts = _loss(lambda a, b: {})(network(first), network(second), **weights)
    return _descent(network, optimizer, torch.stack(list(parts.values())).sum())


def _two_terms(network, optimizer, first, second, weights):
    a, b = network(first), network(second)
    loss = weights["invariance"] * F.mse_loss(a, b) + weights["variance"] * (_spread(a) + _spread(b)) / 2
    return _descent(network, optimizer, loss)


def _agreement(network, optimizer, first, second, weights):
    return _descent(network, optimizer, F.mse_loss(network(first), network(second)))


def _directions(network, optimizer, first, second, weights):
    a, b = network(first), network(second)
    return _descent(network, optimizer, _objective(a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True),
                                                   weights))


def _not_training(network, optimizer, first, second, weights):
    a, b = (network.train(False)(view) for view in (first, second))
    return _descent(network, optimizer, _objective(a, b, weights))


# ---------------------------------------------------------------- 03.effective_rank
def _eigen(features, centre=True):
    z = features.to(torch.float64)
    z = z - z.mean(0) if centre else z
    return _rounded(torch.linalg.eigvalsh(z.T @ z / (len(z) - 1)), features)


def _rounded(values, features):
    """Values that are more than rounding, the others 0."""
    return torch.where(values > 1e-14 * features.double().square().mean(), values, 0.0)


def _nats(values):
    total = float(values.sum())
    kept = [float(v) / total for v in values if total > 0 and float(v) > 1e-14 * total]
    return -sum(p * math.log(p) for p in kept), bool(kept)


def _number(values, base=math.e, scale=1.0):
    entropy, alive = _nats(values)
    return base ** (scale * entropy) if alive else 0.0


def _moved(features, values):
    return values if features.var(0).sum() > 1e-12 * features.square().sum() else values * 0


def _zero_log_zero(features):
    values = torch.linalg.svdvals(features.double() - features.double().mean(0)) ** 2
    shares = values / values.sum()
    return shares.log().mul(shares).sum().neg().exp().item()


def _unrounded(features):
    centred = features - features.mean(dim=0, keepdim=True)
    values = torch.linalg.svd(centred, full_matrices=False).S ** 2
    return _number(values) if values.sum() else 0.0


def _correlated(features):
    return _number(torch.linalg.eigvalsh(torch.corrcoef(features.double().T))) if _eigen(features).sum() else 0.0


SECOND = {
    "03.variance": {
        "the variance instead of its root": lambda z, gamma=1.0, eps=1e-4: _hinge(gamma, _std(z, eps) ** 2).mean(),
        "epsilon outside the root": lambda z, gamma=1.0, eps=1e-4: _hinge(gamma, z.std(dim=0) + eps).mean(),
        "the biased variance": lambda z, gamma=1.0, eps=1e-4: _hinge(gamma, _std(z, eps, 0)).mean(),
        "the spread within a sample": lambda z, gamma=1.0, eps=1e-4: _hinge(gamma, _std(z.T, eps)).mean(),
        "one deviation for everything": lambda z, gamma=1.0, eps=1e-4: _hinge(gamma, _std(z.reshape(-1), eps)),
        "no hinge": lambda z, gamma=1.0, eps=1e-4: gamma - _std(z, eps).mean(),
        "the sum over dimensions": lambda z, gamma=1.0, eps=1e-4: sum(_hinge(gamma, s) for s in _std(z, eps)),
        "not centred": lambda z, gamma=1.0, eps=1e-4: _hinge(gamma, (z.pow(2).sum(0) / len(z) + eps) ** 0.5).mean(),
        "epsilon as the least deviation": lambda z, gamma=1.0, eps=1e-4: _hinge(
            gamma, torch.maximum(torch.std(z, 0), torch.full_like(z[0], eps))).mean(),
        "the hinge on the mean": lambda z, gamma=1.0, eps=1e-4: _hinge(gamma, _std(z, eps).mean()),
    },
    "03.covariance": {
        "not divided by D": lambda z: (_outside(torch.cov(z.T)) ** 2).sum(),
        "the mean of the off-diagonal": lambda z: (_outside(torch.cov(z.T)) ** 2).mean(),
        "N instead of N - 1": lambda z: (_outside(torch.cov(z.T, correction=0)) ** 2).sum() / z.shape[1],
        "not centred": _moments,
        "the diagonal kept": lambda z: (torch.cov(z.T) ** 2).sum() / z.size(1),
        "samples instead of dimensions": _gram,
        "correlations": lambda z: (_outside(torch.corrcoef(z.T)) ** 2).sum() / z.shape[1],
        "absolute values": lambda z: _outside(torch.cov(z.T)).abs().sum() / z.shape[1],
        "one triangle": lambda z: (_outside(torch.cov(z.T)) ** 2).sum() / 2 / z.shape[1],
        "the diagonal not squared": lambda z: ((torch.cov(z.T) ** 2).sum() - torch.cov(z.T).trace()) / z.shape[1],
        "squared after the sum": lambda z: _outside(torch.cov(z.T)).sum() ** 2 / z.shape[1],
    },
    "03.vicreg": {
        "the sum of the two variance terms": _loss(lambda a, b: dict(v=_spread(a) + _spread(b))),
        "the mean of the two covariance terms": _loss(lambda a, b: dict(c=0.5 * _across(a) + 0.5 * _across(b))),
        "the paper's invariance": _loss(lambda a, b: dict(s=((a - b) ** 2).sum() / len(a))),
        "distance instead of its square": _loss(lambda a, b: dict(s=(a - b).square().sum(1).sqrt().mean())),
        "absolute differences": _loss(lambda a, b: dict(s=F.l1_loss(a, b))),
        "the unweighted sum": _plain,
        "cosine instead of squares": _loss(_direction),
        "embeddings normalised to length 1": _unit,
        "statistics of both views together": _loss(lambda a, b: dict(v=_spread(torch.vstack([a, b])),
                                                                     c=2 * _across(torch.vstack([b, a])))),
        "only the first view regularised": _loss(lambda a, b: dict(v=_spread(a), c=2 * _across(a))),
        "the second view detached": _loss(lambda a, b: dict(s=((a - b.data) ** 2).mean())),
        "parts with their weights": _scaled,
    },
    "03.step": {
        "gradients never cleared": _kept,
        "the weights never move": _zeroed_late,
        "the step comes before backward": _one_behind,
        "the second view without a gradient": _first_only,
        "both views in one batch": _stacked,
        "one view twice": _same_view,
        "the coefficients are left out": _by_default,
        "the parts without their coefficients": _all_ones,
        "the whole dict summed": _everything,
        "covariance left out": _two_terms,
        "only the invariance": _agreement,
        "embeddings of length 1": _directions,
        "in evaluation mode": _not_training,
    },
    "03.effective_rank": {
        "not centred": lambda features: _number(_moved(features, _eigen(features, False))),
        "shares of deviations instead of variances": lambda features: _number(_eigen(features).sqrt() * (
            _eigen(features) > 1e-14 * _eigen(features).max())),
        "the entropy without exp": lambda features: _nats(_eigen(features))[0],
        "bits, then exp": lambda features: _number(_eigen(features), scale=1 / math.log(2)),
        "0 log 0": _zero_log_zero,
        "the number of nonzero directions": lambda features: float(torch.linalg.matrix_rank(
            features.double() - features.double().mean(0), atol=1e-6, rtol=0)),
        "variances of the dimensions": lambda features: _number(_rounded(features.double().var(dim=0), features)),
        "nothing varies": lambda features: _number(_eigen(features)) or 1.0,
        "nothing varies, up to rounding": lambda features: _unrounded(features),
        "nothing varies, up to rounding in float64": lambda features: _unrounded(features.double()),
        "correlations": _correlated,
        "the participation ratio": lambda features: float(_eigen(features).sum() ** 2 / _eigen(features).square().sum(
            ).clamp(min=1e-300)),
    },
}
EQUIVALENT = {
    "03.variance": {
        "line 7: check_several(z, 'the variance over the batch') -> nothing":
            "a check of the arguments; good ones pass it",
    },
    "03.vicreg": {"line 8: a, b = (gather(a), gather(b)) -> nothing": "on one rank there is nothing to gather"},
    "03.effective_rank": {"line 8: values.sum() -> values.mean()": "positive exactly when the sum is"},
}
