"""Second spellings of the misconceptions of week 9, and mutants of its references that compute the same."""
from __future__ import annotations

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


def _with(product):
    return lambda a, b, eps=1e-5: product(_scores(a, eps), _scores(b, eps))


# ---------------------------------------------------------------- 09.off_diagonal
def _places(matrix, wanted):
    return [matrix[i, j] for i in range(len(matrix)) for j in range(len(matrix)) if wanted(i, j)]


def _by_value(matrix):
    return torch.stack([matrix[i, j] for i in range(len(matrix)) for j in range(len(matrix))
                        if float(matrix[i, j]) != float(matrix[i, i])]
                       or [matrix.new_zeros(())])[: int((matrix != matrix.diagonal().view(-1, 1)).sum())]


def _without_zeros(matrix):
    empty = matrix.masked_fill(torch.eye(len(matrix), dtype=torch.bool), 0)
    return empty[empty.abs() > 0]


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
        "one view auto-correlated": _with(lambda a, b: torch.einsum("ni,nj->ij", a, a) / len(b)),
        "the second view detached": lambda a, b, eps=1e-5: _scores(a, eps).T @ _scores(b.data, eps) / len(a),
    },
    "09.off_diagonal": {
        "only the upper triangle": lambda matrix: torch.stack(_places(matrix, lambda i, j: i < j)),
        "zeros in place of the diagonal": lambda matrix: matrix.masked_fill(
            torch.eye(len(matrix), dtype=torch.bool), 0).reshape(-1),
        "left out by value": _by_value,
        "zeros left out": _without_zeros,
        "column by column": lambda matrix: torch.stack(_places(matrix.T, lambda i, j: i != j)),
        "one column dropped": lambda matrix: torch.stack(_places(matrix, lambda i, j: j > 0)),
        "the gradient cut": lambda matrix: matrix.detach()[~torch.eye(len(matrix), dtype=torch.bool)],
    },
    "09.barlow_loss": {
        "means instead of sums": _of(lambda c, eye, lambd: {
            "on_diagonal": (eye * (c - eye) ** 2).sum() / len(c),
            "off_diagonal": ((1 - eye) * c**2).sum() / (1 - eye).sum()}),
        "the diagonal averaged": _of(lambda c, eye, lambd: {"on_diagonal": (c.diag() - 1).pow(2).mean()}),
        "lambda on the diagonal": _total(lambda on, off, lambd: off + on * lambd),
        "the diagonal pulled to 0": _of(lambda c, eye, lambd: {"on_diagonal": (eye * c**2).sum()}),
        "the whole matrix beside the diagonal": _of(lambda c, eye, lambd: {"off_diagonal": c.pow(2).sum()}),
        "not squared beside the diagonal": _of(lambda c, eye, lambd: {"off_diagonal": c.sum() - c.trace()}),
        "absolute values": _of(lambda c, eye, lambd: {"on_diagonal": (1 - c.diag()).abs().sum(),
                                                      "off_diagonal": (c - c.diag().diag()).abs().sum()}),
        "only the upper triangle": _of(lambda c, eye, lambd: {"off_diagonal": ((1 - eye).triu() * c**2).sum()}),
        "lambda squared": _total(lambda on, off, lambd: on + lambd * lambd * off),
        "no lambda": _total(lambda on, off, lambd: on + off),
        "the part with its weight": _scaled,
        "the second view detached": _of(matrix=lambda a, b: _matrix(a, b.data)),
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
