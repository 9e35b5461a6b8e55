"""Second spellings of the misconceptions of week 9, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch


# ---------------------------------------------------------------- 09.cross_correlation
def _scores(z, eps, divide=None, dim=0):
    centred = z - z.mean(dim, keepdim=True)
    spread = centred.pow(2).sum(dim, keepdim=True) / (divide or z.shape[dim])
    return centred / (spread + eps) ** 0.5


def _pooled(a, b, eps=1e-5):
    z = _scores(torch.vstack([a, b]), eps)
    return torch.einsum("ni,nj->ij", z[: len(a)], z[len(a):]) / len(a)


def _biased_only(a, b, eps=1e-5):
    n = len(a)
    return torch.einsum("ni,nj->ij", _scores(a, eps, n - 1), _scores(b, eps, n - 1)) / n


def _product(a, b, deviation):
    a, b = (c / deviation(c.pow(2).mean(0)) for c in (z - z.mean(0, keepdim=True) for z in (a, b)))
    return torch.einsum("ni,nj->ij", a, b) / len(a)


def _with(product):
    return lambda a, b, eps=1e-5: product(_scores(a, eps), _scores(b, eps))


# ---------------------------------------------------------------- 09.barlow_loss
def _matrix(a, b):
    return _scores(a, 1e-5).T @ _scores(b, 1e-5) / len(a)


def _of(change=lambda c, eye, lambd: {}, matrix=_matrix):
    def loss(a, b, lambd=0.0051):
        c = matrix(a, b)
        eye = torch.eye(len(c), dtype=c.dtype)
        parts = {"on_diagonal": (eye * (c - eye) ** 2).sum(), "off_diagonal": ((1 - eye) * c**2).sum()}
        parts |= change(c, eye, lambd)
        return {"loss": parts["on_diagonal"] + lambd * parts["off_diagonal"]} | parts
    return loss


def _total(weigh):
    def change(c, eye, lambd):
        return {"loss": weigh((eye * (c - eye) ** 2).sum(), ((1 - eye) * c**2).sum(), lambd)}
    return _of(change)


def _scaled(a, b, lambd=0.0051):
    parts = _of()(a, b, lambd)
    parts["off_diagonal"] = parts["off_diagonal"] * lambd
    return parts


# ---------------------------------------------------------------- 09.step
def _objective(a, b, lambd):
    return _of()(a, b, lambd)["loss"]


def _descent(network, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _kept(network, optimizer, first, second, lambd):
    loss = _objective(network(first), network(second), lambd)
    loss.backward()
    optimizer.step()
    return float(loss)


def _zeroed_late(network, optimizer, first, second, lambd):
    loss = _objective(network(first), network(second), lambd)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return float(loss)


def _one_behind(network, optimizer, first, second, lambd):
    loss = _objective(network(first), network(second), lambd)
    optimizer.step()
    loss.backward()
    return loss


def _twice(network, optimizer, first, second, lambd):
    loss = _descent(network, optimizer, _objective(network(first), network(second), lambd))
    optimizer.step()
    return loss


def _late(network, optimizer, first, second, lambd):
    _descent(network, optimizer, _objective(network(first), network(second), lambd))
    return float(_objective(network(first), network(second), lambd))


def _doubled(network, optimizer, first, second, lambd):
    loss = _objective(network(first), network(second), lambd)
    _descent(network, optimizer, 2 * loss)
    return float(loss)


def _without_momentum(network, optimizer, first, second, lambd):
    loss = _objective(network(first), network(second), lambd)
    parameters = list(network.parameters())
    for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
        p.data.sub_(g, alpha=optimizer.param_groups[0]["lr"])
    return float(loss)


def _half_cleared(network, optimizer, first, second, lambd):
    loss = _objective(network(first), network(second), lambd)
    for p in list(network.parameters())[:2]:
        p.grad = torch.zeros_like(p)
    loss.backward()
    optimizer.step()
    return float(loss)


def _embedding(pair, loss=_objective):
    return lambda network, optimizer, first, second, lambd: _descent(
        network, optimizer, loss(*pair(network, first, second), lambd))


def _plain(network, first, second):
    return network(first), network(second)


def _not_training(network, first, second):
    network.train(False)
    return network(first), network(second)


def _directions(network, first, second):
    return tuple(z / z.norm(dim=1, keepdim=True) for z in (network(first), network(second)))


# ---------------------------------------------------------------- 09.meters
def _corr(a, b):
    return _scores(a, 1e-5).T @ _scores(b, 1e-5) / len(a)


def _off(c):
    return c[~torch.eye(len(c), dtype=torch.bool)]


def _read(size=lambda x: x.pow(2).mean() ** 0.5, within=lambda a, b: torch.cat([_off(_corr(a, a)), _off(_corr(b, b))]),
          across=lambda a, b: _off(_corr(a, b)), agreement=lambda a, b: _corr(a, b).diag().mean()):
    return lambda a, b: {"agreement": agreement(a, b), "across": size(across(a, b)), "within": size(within(a, b))}


def _products(a, b):
    a, b = (z - z.mean(0, keepdim=True) for z in (a, b))
    size = lambda *m: torch.cat([_off(x) for x in m]).pow(2).mean() ** 0.5  # noqa: E731
    return {"agreement": torch.einsum("nd,nd->d", a, b).mean() / len(a), "across": size(a.T @ b / len(a)),
            "within": size(a.T @ a / len(a), b.T @ b / len(b))}


# ---------------------------------------------------------------- 09.symmetries
def _columns(z, order):
    return torch.stack([z[:, j] for j in order.tolist()], dim=1)


def _turned(z, sign):
    return torch.where(sign < 0, -z, z)


def _disguise(first, second):
    return lambda a, b, order, sign, scale, shift: (first(a, order, sign, scale, shift),
                                                    second(b, order, sign, scale, shift))


def _second(b, order, sign, scale, shift):
    return _turned(_columns(b, order), sign)


def _first(a, order, sign, scale, shift):
    return shift + scale * _turned(_columns(a, order), sign)


def _scattered(z, order):
    out = torch.empty_like(z)
    return out.index_copy(1, order, z)


SECOND = {
    "09.cross_correlation": {
        "both views standardised together": _pooled,
        "the unbiased variance": _biased_only,
        "z.std(0), nothing else": lambda a, b, eps=1e-5: torch.einsum(
            "ni,nj->ij", (a - a.mean(0)) / a.var(0) ** 0.5, (b - b.mean(0)) / b.var(0) ** 0.5) / a.shape[0],
        "no epsilon": lambda a, b, eps=1e-5: torch.einsum(
            "ni,nj->ij", (a - a.mean(0)) / a.std(0, correction=0),
            (b - b.mean(0)) / b.std(0, correction=0)) / a.shape[0],
        "not standardised": lambda a, b, eps=1e-5: torch.einsum("ni,nj->ij", a, b) / b.shape[0],
        "N - 1 under the matrix": _with(lambda a, b: torch.einsum("ni,nj->ij", a, b) / (a.shape[0] - 1)),
        "one sample standardised, not one dimension": lambda a, b, eps=1e-5: torch.einsum(
            "ni,nj->ij", _scores(a, eps, dim=1), _scores(b, eps, dim=1)).div(len(b)),
        "not centred": lambda a, b, eps=1e-5: torch.einsum(
            "ni,nj->ij", a / torch.sqrt(a.var(0, unbiased=False) + eps),
            b / torch.sqrt(b.var(0, unbiased=False) + eps)) / len(a),
        "samples instead of dimensions": _with(lambda a, b: torch.einsum("nd,md->nm", a, b) / a.size(0)),
        "the views exchanged": _with(lambda a, b: (a.T @ b / len(a)).T),
        "not divided by N": _with(lambda a, b: torch.einsum("ni,nj->ij", a, b)),
        "epsilon outside the root": lambda a, b, eps=1e-5: torch.einsum(
            "ni,nj->ij", (a - a.mean(0)) / (a.var(0, unbiased=False) ** 0.5 + eps),
            (b - b.mean(0)) / (b.var(0, unbiased=False) ** 0.5 + eps)) / len(a),
        "the unbiased deviation, epsilon outside the root": lambda a, b, eps=1e-5: torch.einsum(
            "ni,nj->ij", (a - a.mean(0)) / (a.var(0) ** 0.5 + eps), (b - b.mean(0)) / (b.var(0) ** 0.5 + eps)) / len(b),
        "the unbiased deviation, epsilon outside the root, N - 1 under the matrix": lambda a, b, eps=1e-5: torch.einsum(
            "ni,nj->ij", (a - a.mean(0)) / (a.var(0) ** 0.5 + eps),
            (b - b.mean(0)) / (b.var(0) ** 0.5 + eps)).div(len(b) - 1),
        "the root of epsilon added to the deviation": lambda a, b, eps=1e-5: torch.einsum(
            "ni,nj->ij", (a - a.mean(0)) / (a.var(0, unbiased=False) ** 0.5 + math.sqrt(eps)),
            (b - b.mean(0)) / (b.var(0, unbiased=False) ** 0.5 + math.sqrt(eps))) / len(a),
        "the variance clamped": lambda a, b, eps=1e-5: _product(a, b, lambda v: v.clamp_min(eps) ** 0.5),
        "the deviation clamped": lambda a, b, eps=1e-5: _product(a, b, lambda v: v.pow(0.5).clamp_min(eps)),
        "both views by the first one's statistics": lambda a, b, eps=1e-5: (
            lambda v: torch.einsum("ni,nj->ij", (a - a.mean(0)) / v, (b - a.mean(0)) / v) / len(b))(
                torch.sqrt((a - a.mean(0)).pow(2).mean(0) + eps)),
        "made symmetric": _with(lambda a, b: (lambda c: (c + c.T) / 2)(torch.einsum("ni,nj->ij", a, b) / len(a))),
        "one view auto-correlated": _with(lambda a, b: torch.einsum("ni,nj->ij", a, a) / len(b)),
        "the second view detached": lambda a, b, eps=1e-5: _scores(a, eps).T @ _scores(b.data, eps) / len(a),
    },
    "09.barlow_loss": {
        "means instead of sums": _of(lambda c, eye, lambd: {
            "on_diagonal": (eye * (c - eye) ** 2).sum() / len(c),
            "off_diagonal": ((1 - eye) * c**2).sum() / (1 - eye).sum()}),
        "the diagonal averaged": _of(lambda c, eye, lambd: {"on_diagonal": (c.diag() - 1).pow(2).mean()}),
        "lambda on the diagonal": _total(lambda on, off, lambd: off + on * lambd),
        "the diagonal pulled to 0": _of(lambda c, eye, lambd: {"on_diagonal": (eye * c**2).sum()}),
        "the diagonal among the off-diagonal": _of(lambda c, eye, lambd: {"off_diagonal": c.pow(2).sum()}),
        "off-diagonal not squared": _of(lambda c, eye, lambd: {"off_diagonal": c.sum() - c.trace()}),
        "absolute values": _of(lambda c, eye, lambd: {"on_diagonal": (1 - c.diag()).abs().sum(),
                                                      "off_diagonal": (c - c.diag().diag()).abs().sum()}),
        "only the upper triangle": _of(lambda c, eye, lambd: {"off_diagonal": ((1 - eye).triu() * c**2).sum()}),
        "lambda squared": _total(lambda on, off, lambd: on + lambd * lambd * off),
        "no lambda": _total(lambda on, off, lambd: on + off),
        "the part with its weight": _scaled,
        "the correlations within the first view": lambda a, b, lambd=0.0051: (
            lambda on, off: {"loss": on + lambd * off, "on_diagonal": on, "off_diagonal": off})(
                _of()(a, b)["on_diagonal"], _of()(a, a)["off_diagonal"]),
        "D subtracted from all squares": _of(lambda c, eye, lambd: {"off_diagonal": c.pow(2).sum() - c.shape[0]}),
        "sums squared": _of(lambda c, eye, lambd: {"on_diagonal": (c.trace() - len(c)) ** 2,
                                                   "off_diagonal": (c.sum() - c.trace()) ** 2}),
        "norms": _of(lambda c, eye, lambd: {"on_diagonal": (c.diag() - 1).pow(2).sum().sqrt(),
                                            "off_diagonal": ((1 - eye) * c**2).sum().sqrt()}),
        "lambda on both": _total(lambda on, off, lambd: lambd * on + lambd * off),
        "the second view detached": _of(matrix=lambda a, b: _matrix(a, b.data)),
    },
    "09.step": {
        "gradients never cleared": _kept,
        "the weights never move": _zeroed_late,
        "the step comes before backward": _one_behind,
        "two steps of the optimizer": _twice,
        "the second view without a gradient": _embedding(lambda n, x, y: (n(x), n(y).detach())),
        "both views in one batch": _embedding(
            lambda n, x, y: (lambda z: (z[:len(x)], z[len(x):]))(n(torch.vstack([x, y])))),
        "one view twice": _embedding(lambda n, x, y: (n(x), n(x))),
        "the default lambda": _embedding(_plain, lambda a, b, lambd: _of()(a, b)["loss"]),
        "the parts without lambda": _embedding(_plain, lambda a, b, lambd: _objective(a, b, 1.0)),
        "the whole dict summed": _embedding(_plain, lambda a, b, lambd: sum(_of()(a, b, lambd).values())),
        "only the agreement": _embedding(_plain, lambda a, b, lambd: _objective(a, b, 0.0)),
        "the loss after the step": _late,
        "divided by the batch": _embedding(_plain, lambda a, b, lambd: _objective(a, b, lambd) / a.shape[0]),
        "lambda on the agreement": _embedding(_plain, lambda a, b, lambd: _total(
            lambda on, off, weight: off + on * weight)(a, b, lambd)["loss"]),
        "embeddings of length 1": _embedding(_directions),
        "the charge within each view": _embedding(_plain, lambda a, b, lambd: _of()(a, b)["on_diagonal"] + lambd / 2 * (
            _of()(a, a)["off_diagonal"] + _of()(b, b)["off_diagonal"])),
        "the loss both ways round, returned": _embedding(
            _plain, lambda a, b, lambd: _objective(b, a, lambd) + _objective(a, b, lambd)),
        "backward twice": _doubled,
        "the images of one view in another order": _embedding(
            lambda n, x, y: (n(x), n(y[torch.arange(len(y) - 1, -1, -1)]))),
        "the update by hand": _without_momentum,
        "some gradients cleared": _half_cleared,
        "in evaluation mode": _embedding(_not_training),
    },
    "09.meters": {
        "across in place of within": _read(within=lambda a, b: _off(_corr(a, b))),
        "only the first view within": _read(within=lambda a, b: _off(_corr(a, a))),
        "the diagonal counted within": _read(within=lambda a, b: torch.cat([_corr(a, a), _corr(b, b)])),
        "the diagonal counted across": _read(across=_corr),
        "means without squares": _read(torch.mean),
        "absolute values": _read(lambda x: x.abs().mean()),
        "no root": _read(lambda x: x.pow(2).mean()),
        "sums of squares": _read(lambda x: x.pow(2).sum()),
        "the agreement squared": _read(agreement=lambda a, b: _corr(a, b).diag().pow(2).mean() ** 0.5),
        "the loss in place of the agreement": _read(agreement=lambda a, b: (1 - _corr(a, b).diag()).pow(2).mean()),
        "covariances": _products,
        "both views as one batch": _read(within=lambda a, b: _off(_corr(torch.vstack([a, b]), torch.vstack([a, b])))),
        "only the upper triangle": _read(across=lambda a, b: torch.stack(
            [_corr(a, b)[i, j] for i in range(a.shape[1]) for j in range(i + 1, a.shape[1])])),
        "the standard deviation of the entries": _read(lambda x: x.var() ** 0.5),
        "the columns of both views in one matrix": _read(
            within=lambda a, b: _off(_corr(torch.hstack([a, b]), torch.hstack([a, b])))),
        "the matrices averaged first": _read(within=lambda a, b: _off((_corr(a, a) + _corr(b, b)) / 2)),
        "the roots added": lambda a, b: {**_read()(a, b), "within": sum(
            _off(_corr(z, z)).pow(2).mean() ** 0.5 for z in (a, b))},
        "zeros on the diagonal counted across": _read(
            across=lambda a, b: _corr(a, b) * (1 - torch.eye(a.shape[1], dtype=a.dtype))),
        "zeros on the diagonals counted": _read(
            across=lambda a, b: _corr(a, b) * (1 - torch.eye(a.shape[1], dtype=a.dtype)),
            within=lambda a, b: torch.stack([_corr(a, a), _corr(b, b)]) * (1 - torch.eye(a.shape[1], dtype=a.dtype))),
        "the size of the mean": _read(lambda x: abs(x.sum() / x.numel())),
        "the mean of all of C as agreement": _read(agreement=lambda a, b: _corr(a, b).sum() / a.shape[1] ** 2),
        "a median": _read(agreement=lambda a, b: _corr(a, b).diag().sort().values[(a.shape[1] - 1) // 2]),
        "cosines as agreement": _read(agreement=lambda a, b: (
            (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).mean()),
        "the mean of two roots": lambda a, b: {**_read()(a, b), "within": sum(
            _off(_corr(z, z)).pow(2).mean() ** 0.5 for z in (a, b)) / 2},
    },
    "09.symmetries": {
        "order in the first view only": _disguise(_first, lambda b, order, sign, scale, shift: _turned(b, sign)),
        "sign in the first view only": _disguise(_first, lambda b, order, sign, scale, shift: _columns(b, order)),
        "scale and shift in both": _disguise(_first, _first),
        "rows reordered instead of columns": _disguise(
            lambda a, order, sign, scale, shift: shift + scale * _turned(a[order.clamp(max=a.shape[0] - 1), :], sign),
            lambda b, order, sign, scale, shift: _turned(b[order.clamp(max=b.shape[0] - 1), :], sign)),
        "sorted back": _disguise(
            lambda a, order, sign, scale, shift: shift + scale * _turned(_scattered(a, order), sign),
            lambda b, order, sign, scale, shift: _turned(_scattered(b, order), sign)),
        "sign before the order": _disguise(
            lambda a, order, sign, scale, shift: shift + scale * _columns(_turned(a, sign), order),
            lambda b, order, sign, scale, shift: _columns(_turned(b, sign), order)),
        "scale before the order": _disguise(
            lambda a, order, sign, scale, shift: _turned(_columns(shift + scale * a, order), sign), _second),
        "shift before the scale": _disguise(
            lambda a, order, sign, scale, shift: scale * (shift + _turned(_columns(a, order), sign)), _second),
        "the disguise on the second view": _disguise(_second, _first),
        "the second view unchanged": _disguise(_first, lambda b, order, sign, scale, shift: b.clone()),
        "the second view in the inverse order": _disguise(
            _first, lambda b, order, sign, scale, shift: _turned(_scattered(b, order), sign)),
        "no order": _disguise(lambda a, order, sign, scale, shift: shift + scale * _turned(a, sign),
                              lambda b, order, sign, scale, shift: _turned(b, sign)),
        "shift turned with the sign": _disguise(
            lambda a, order, sign, scale, shift: _turned(shift + scale * _columns(a, order), sign), _second),
        "no scale": _disguise(lambda a, order, sign, scale, shift: shift + _turned(_columns(a, order), sign), _second),
    },
}
EQUIVALENT = {
    "09.cross_correlation": {
        "line 7: check_several(a, 'a correlation over the batch') -> nothing":
            "a check of the arguments; good ones pass it",
    },
    "09.barlow_loss": {name: "on one rank, 1/W of the gradient is the gradient" for name in (
        "line 2: False -> True",
        "line 12: official_gradient -> if not official_gradient: loss = divide_gradient_by_ranks(loss)",
        "line 13: loss = divide_gradient_by_ranks(loss) -> nothing",
    )},
}
