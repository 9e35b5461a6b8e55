"""Exercises of week 9, Barlow Twins: the cross-correlation, the entries beside the diagonal, the loss, its
symmetries.
"""
from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.barlow_twins import cross_correlation
from lessons.exercises.shared import rand, randn


# ------------------------------------------------------------------------------------------------ 09.cross_correlation
def _two_views(n: int, d: int, generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Correlated dimensions with means and scales of their own, other ones in the second view."""
    z = randn(generator, dtype, n, d) @ randn(generator, dtype, d, d)
    noise = randn(generator, dtype, n, d)
    return z + 2, 1.7 * z + noise - 1


def _correlation_probes(generator, dtype):
    flat = randn(generator, dtype, 5, 3)
    flat[:, 1] = 0.5                                              # a dimension that says nothing: its row must be 0
    faint = 0.003 * randn(generator, dtype, 6, 4)     # where epsilon counts
    return [_two_views(9, 4, generator, dtype), (flat, flat + 1),
            dict(zip("ab", _two_views(4, 6, generator, dtype)), eps=0.2),
            (faint, faint.flip(0))]


def _standard(z: Tensor, eps: float = 1e-5, correction: int = 0, dim: int = 0) -> Tensor:
    return (z - z.mean(dim, keepdim=True)) / (z.var(dim, keepdim=True, correction=correction) + eps).sqrt()


def _both_standardised(a, b, eps=1e-5):
    z = torch.cat([a, b])
    mean, std = z.mean(0), (z.var(0, correction=0) + eps).sqrt()
    return ((a - mean) / std).T @ ((b - mean) / std) / len(a)


def _not_centred(a, b, eps=1e-5):
    a, b = (z / (z.var(0, correction=0) + eps).sqrt() for z in (a, b))
    return a.T @ b / len(a)


def _with(change):
    """A cross-correlation of otherwise standardised views: `change(a, b)` of the standardised ones."""
    return lambda a, b, eps=1e-5: change(_standard(a, eps), _standard(b, eps))


def _divide_by_std(a, b, eps=1e-5):
    a, b = ((z - z.mean(0)) / (z.std(0, correction=0) + eps) for z in (a, b))
    return a.T @ b / len(a)


def _plain_std(a, b, eps=1e-5):
    a, b = ((z - z.mean(0)) / z.std(0) for z in (a, b))
    return a.T @ b / len(a)


correlation = Exercise(
    key="09.cross_correlation", title="Which dimension goes with which?", minutes=7, difficulty=3,
    reference="course_lib.methods.contrastive.barlow_twins:cross_correlation", probes=_correlation_probes,
    gradients=True,
    plain=True,
    wrong={
        "both views standardised together": (
            _both_standardised,
            "Each view has a mean and a deviation of its own. Pooled, a dimension that is shifted or scaled in one "
            "view looks "
            "badly correlated, although it carries the same information."),
        "the unbiased variance": (
            lambda a, b, eps=1e-5: _standard(a, eps, 1).T @ _standard(b, eps, 1) / len(a),
            "You divide the variance by N - 1 and the matrix by N: even identical views then reach (N - 1) / N, not 1, "
            "and "
            "the loss pulls for ever at what cannot be had. correction=0, as batch norm does."),
        "z.std(0), nothing else": (
            _plain_std,
            "Two things at once: z.std(0) divides by N - 1, so identical views reach (N - 1) / N instead of 1; and "
            "without "
            "epsilon a constant dimension is divided by 0. torch.sqrt(z.var(0, correction=0) + eps)."),
        "no epsilon": (
            lambda a, b, eps=1e-5: _standard(a, 0.0).T @ _standard(b, 0.0) / len(a),
            "A dimension that is constant over the batch is divided by 0. Add eps to the variance, inside the root: "
            "such a "
            "dimension then correlates with nothing."),
        "not standardised": (
            lambda a, b, eps=1e-5: a.T @ b / len(a),
            "These are second moments of raw numbers. Standardise each view first: mean 0 and variance 1 in each "
            "column."),
        "N - 1 under the matrix": (
            lambda a, b, eps=1e-5: _standard(a, eps).T @ _standard(b, eps) / (len(a) - 1),
            "The variance is biased (divided by N), so the matrix is divided by N as well: with N - 1 identical views "
            "correlate by more than 1."),
        "one sample standardised, not one dimension": (
            lambda a, b, eps=1e-5: _standard(a, eps, dim=1).T @ _standard(b, eps, dim=1) / len(a),
            "You standardise along a row: the numbers of one image. A correlation is taken over images: mean and "
            "variance "
            "of each column, dim=0. (The paper tried yours; it costs accuracy.)"),
        "not centred": (
            _not_centred,
            "Without subtracting the mean, a common offset of all images counts as correlation."),
        "samples instead of dimensions": (
            _with(lambda a, b: a @ b.T / len(a)),
            "a @ b.T is (N, N): how alike images are, SimCLR's matrix. Here it is (D, D): which dimension goes with "
            "which. "
            "Sum over images: a.T @ b."),
        "the views exchanged": (
            _with(lambda a, b: b.T @ a / len(a)),
            "Rows belong to dimensions of the first view, columns to the second: a.T @ b, not b.T @ a."),
        "not divided by N": (
            _with(lambda a, b: a.T @ b),
            "A correlation is a mean over images: divide by N, or the diagonal aims at N."),
        "epsilon outside the root": (
            _divide_by_std,
            "sqrt(var + eps), as in batch norm. Outside the root, the slope at a constant dimension is infinite and "
            "the "
            "gradient NaN."),
        "one view auto-correlated": (
            _with(lambda a, b: a.T @ a / len(a)),
            "The second view is never used: this is how a view correlates with itself, whose diagonal is 1 from the "
            "start. Nothing would tell the views to agree."),
        "the second view detached": (
            _with(lambda a, b: a.T @ b.detach() / len(a)),
            "No stop-gradient here: both views are pulled. Decorrelation already forbids the collapse that SimSiam's "
            "stop-gradient prevents."),
    },
    right={
        "batch norm without affine parameters": lambda a, b, eps=1e-5: torch.nn.functional.batch_norm(
            a, None, None, training=True,
            eps=eps).T @ torch.nn.functional.batch_norm(b, None, None, training=True, eps=eps) / len(a),
        "einsum, divided afterwards": lambda a, b, eps=1e-5: torch.einsum(
            "ni,nj->ij", a - a.mean(0), b - b.mean(0)) / len(a) / torch.outer(
                (a.var(0, correction=0) + eps).sqrt(), (b.var(0, correction=0) + eps).sqrt()),
    },
    hints=("A correlation is taken over images. Which axis of (N, D) is that, and what shape has the result?",
           "For each view apart: (z - z.mean(0)) / torch.sqrt(z.var(0, correction=0) + eps).",
           "a = (a - a.mean(0)) / torch.sqrt(a.var(0, correction=0) + eps)\n"
           "b = (b - b.mean(0)) / torch.sqrt(b.var(0, correction=0) + eps)\n"
           "return a.T @ b / len(a)"),
)


# ------------------------------------------------------------------------------------------------ 09.off_diagonal
def _matrix_probes(generator, dtype):
    # entries of the diagonal's value beside it, and zeros
    even = torch.randint(0, 2, (4, 4), generator=generator).to(dtype)
    return [(randn(generator, dtype, 3, 3),), (even,),
            dict(matrix=randn(generator, dtype, 6, 6).T), (torch.ones(2, 2, dtype=dtype),)]


def _mask(matrix: Tensor) -> Tensor:
    return ~torch.eye(len(matrix), dtype=torch.bool)


off = Exercise(
    key="09.off_diagonal", title="Everything beside the diagonal", minutes=4, difficulty=2,
    reference="course_lib.methods.contrastive.barlow_twins:off_diagonal", probes=_matrix_probes, gradients=True,
    wrong={
        "only the upper triangle": (
            lambda matrix: matrix[torch.ones_like(matrix).triu(1).bool()],
            "The matrix is not symmetric: C_ij compares dimension i of view 1 with j of view 2, C_ji the other way "
            "round. "
            "Both triangles count."),
        "zeros in place of the diagonal": (
            lambda matrix: (matrix - torch.diag(matrix.diagonal())).flatten(),
            "The diagonal is still there, as D zeros. A sum of squares does not mind, a mean or a histogram does: "
            "return "
            "D (D - 1) entries."),
        "left out by value": (
            lambda matrix: matrix[matrix != matrix.diagonal()[:, None]],
            "You pick entries by their value: an entry beside the diagonal that happens to equal it is lost. Pick them "
            "by "
            "their place."),
        "zeros left out": (
            lambda matrix: (matrix - torch.diag(matrix.diagonal()))[(matrix - torch.diag(matrix.diagonal())) != 0],
            "An entry of exactly 0 beside the diagonal is what the loss wants, and you drop it. Pick by place, not by "
            "value."),
        "column by column": (
            lambda matrix: matrix.T[_mask(matrix)],
            "All entries are there, in the order of the columns: read row by row, as flatten() does."),
        "one column dropped": (
            lambda matrix: matrix[:, 1:].flatten(),
            "The diagonal runs through all columns: in row i it is column i that has to go."),
        "the gradient cut": (
            lambda matrix: torch.tensor([float(matrix[i, j]) for i in range(len(matrix)) for j in range(len(matrix))
                                         if i != j], dtype=matrix.dtype),
            "Numbers taken out with float() or .tolist() carry no gradient: index the tensor itself."),
    },
    right={
        "a mask of places": lambda matrix: matrix[_mask(matrix)],
        "stacked entries": lambda matrix: torch.stack(
            [matrix[i, j] for i in range(len(matrix)) for j in range(len(matrix)) if i != j]),
    },
    hints=("How many entries are there beside the diagonal of a D x D matrix? What tells a diagonal entry: its value "
           "or its place?",
           "A mask of places: ~torch.eye(D, dtype=torch.bool). It indexes row by row.",
           "return matrix[~torch.eye(len(matrix), dtype=torch.bool)]"),
)


# ------------------------------------------------------------------------------------------------ 09.barlow_loss
def _loss_probes(generator, dtype):
    return [_two_views(9, 4, generator, dtype), (*_two_views(6, 3, generator, dtype), 0.5),
            dict(zip("ab", _two_views(5, 7, generator, dtype)), lambd=2.0)]


def _away(c: Tensor) -> Tensor:
    return c[_mask(c)]


def _parts(a, b, on=None, beside=None, weigh=None, correlate=cross_correlation, lambd=0.0051):
    c = correlate(a, b)
    first = (on or (lambda c: (c.diagonal() - 1).square().sum()))(c)
    second = (beside or (lambda c: _away(c).square().sum()))(c)
    total = (weigh or (lambda x, y, weight: x + weight * y))(first, second, lambd)
    return {"loss": total, "on_diagonal": first, "off_diagonal": second}


def _loss(**changes):
    """A Barlow Twins loss of which one part is computed otherwise."""
    return lambda a, b, lambd=0.0051: _parts(a, b, lambd=lambd, **changes)


def _weighted_part(a, b, lambd=0.0051):
    parts = _parts(a, b, lambd=lambd)
    return {**parts, "off_diagonal": lambd * parts["off_diagonal"]}


def _detached(a, b):
    return cross_correlation(a, b.detach())


barlow_loss = Exercise(
    key="09.barlow_loss", title="Towards the identity", minutes=5, difficulty=2,
    reference="course_lib.methods.contrastive.barlow_twins:barlow_twins_loss", probes=_loss_probes, gradients=True,
    wrong={
        "means instead of sums": (
            _loss(on=lambda c: (c.diagonal() - 1).square().mean(), beside=lambda c: _away(c).square().mean()),
            "Both parts are sums. With means, the part beside the diagonal is divided by D (D - 1) and the one on it "
            "by D only: "
            "lambda would mean another thing at every width."),
        "the diagonal averaged": (
            _loss(on=lambda c: (c.diagonal() - 1).square().mean()),
            "The part on the diagonal is a sum over the D entries, as the other one is over its D (D - 1)."),
        "lambda on the diagonal": (
            _loss(weigh=lambda x, y, weight: weight * x + y),
            "Lambda weighs the part *beside* the diagonal. On the diagonal it leaves decorrelation in charge: the "
            "views never "
            "agree."),
        "the diagonal pulled to 0": (
            _loss(on=lambda c: c.diagonal().square().sum()),
            "You pull the diagonal to 0: two views of an image are told to have nothing in common. The target is the "
            "identity, "
            "so (C_ii - 1)."),
        "the whole matrix beside the diagonal": (
            _loss(beside=lambda c: c.square().sum()),
            "The diagonal is among the entries that you push to 0, while the other part pulls it to 1: leave it out."),
        "not squared beside the diagonal": (
            _loss(beside=lambda c: _away(c).sum()),
            "Without the square, correlations of -1 are rewarded, and positive ones cancel negative ones: square each "
            "entry, then sum."),
        "absolute values": (
            _loss(on=lambda c: (c.diagonal() - 1).abs().sum(), beside=lambda c: _away(c).abs().sum()),
            "Squares, not absolute values: with |C_ij| an entry near 0 is pulled as hard as one near 1, so small "
            "correlations "
            "that are only noise of the batch keep the gradient busy."),
        "only the upper triangle": (
            _loss(beside=lambda c: c.triu(1).square().sum()),
            "C is not symmetric, and the sum is over all i other than j: both triangles."),
        "lambda squared": (
            _loss(weigh=lambda x, y, weight: x + weight**2 * y),
            "Lambda multiplies the squares; it is not squared with them."),
        "no lambda": (
            _loss(weigh=lambda x, y, weight: x + y),
            "There are D - 1 times more entries beside the diagonal than on it: without lambda they drown it."),
        "the part with its weight": (
            _weighted_part,
            "The loss is right; \"off_diagonal\" is to be returned without lambda, so that runs with different lambdas "
            "can be "
            "compared."),
        "the second view detached": (
            _loss(correlate=_detached),
            "No stop-gradient: both views are pulled."),
    },
    right={
        "distance to the identity, weighted": lambda a, b, lambd=0.0051: (
            lambda c, eye: {"loss": ((c - eye).square() * (eye + lambd * (1 - eye))).sum(),
                            "on_diagonal": ((c - eye).square() * eye).sum(),
                            "off_diagonal": (c.square() * (1 - eye)).sum()}
        )(cross_correlation(a, b), torch.eye(a.shape[1], dtype=a.dtype)),
    },
    hints=("Which matrix should C become? Write the distance to it in two parts: on the diagonal, and beside it.",
           "c = cross_correlation(a, b); on: (c.diagonal() - 1), squared, summed; beside: off_diagonal(c), squared, "
           "summed.",
           "c = cross_correlation(a, b)\n"
           "on = (c.diagonal() - 1).square().sum()\n"
           "off = off_diagonal(c).square().sum()\n"
           'return {"loss": on + lambd * off, "on_diagonal": on, "off_diagonal": off}'),
)


# ------------------------------------------------------------------------------------------------ 09.symmetries
def disguise(
    a: Tensor, b: Tensor, order: Tensor, sign: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Another pair of embeddings with the same loss: two (N, D) -> two (N, D).

    New dimension j is the old dimension order[j] times sign[j], in *both* views; scale (positive) and shift, all (D,),
    need not touch more than one view, here the first, since each view is standardised by itself.
    """
    a, b = a[:, order] * sign, b[:, order] * sign
    return a * scale + shift, b


def _disguise_probes(generator, dtype):
    def case(n: int, d: int) -> tuple[Tensor, ...]:
        sign = torch.ones(d, dtype=dtype)
        sign[torch.randperm(d, generator=generator)[: (d + 1) // 2]] = -1
        order = torch.arange(d).roll(1)  # no dimension stays where it was, and it is not its own inverse
        scale = 0.5 + rand(generator, dtype, d)
        return (*_two_views(n, d, generator, dtype), order, sign, scale, randn(generator, dtype, d))

    return [case(6, 4), case(3, 5), dict(zip(("a", "b", "order", "sign", "scale", "shift"), case(8, 3)))]


def _inverse(order: Tensor) -> Tensor:
    return order.argsort()


symmetries = Exercise(
    key="09.symmetries", title="The same loss in disguise", minutes=6, difficulty=3,
    reference=disguise, probes=_disguise_probes, gradients=True,
    words={'[0]': 'the first view', '[1]': 'the second view'},
    wrong={
        "order in the first view only": (
            lambda a, b, order, sign, scale, shift: (a[:, order] * sign * scale + shift, b * sign),
            "If only one view's dimensions change places, dimension i meets another partner, and the diagonal of C is "
            "gone. "
            "Both views must be reordered."),
        "sign in the first view only": (
            lambda a, b, order, sign, scale, shift: (a[:, order] * sign * scale + shift, b[:, order]),
            "Turning the sign in one view makes C_ii = -1 of C_ii = 1: the worst the diagonal can be. Turned in both, "
            "the "
            "product stays."),
        "scale and shift in both": (
            lambda a, b, order, sign, scale,
            shift: (a[:, order] * sign * scale + shift, b[:, order] * sign * scale + shift),
            "The loss is the same, but you did more than you had to: each view is standardised by itself, so scale and "
            "shift "
            "may be done to one view alone. Leave the second without them."),
        "rows reordered instead of columns": (
            lambda a, b, order, sign, scale, shift: (a[order.clamp(max=len(a) - 1)] * sign * scale + shift,
                                                     b[order.clamp(max=len(b) - 1)] * sign),
            "a[order] picks images. The dimensions are the columns: a[:, order]."),
        "sorted back": (
            lambda a, b, order, sign, scale,
            shift: (a[:, _inverse(order)] * sign * scale + shift, b[:, _inverse(order)] * sign),
            "New dimension j is the old one number order[j]: a[:, order]. Yours undoes that order (it writes to "
            "order[j] "
            "instead of reading from there)."),
        "sign before the order": (
            lambda a, b, order, sign, scale, shift: ((a * sign)[:, order] * scale + shift, (b * sign)[:, order]),
            "The loss is the same, but sign[j] belongs to the *new* dimension j: reorder first, then turn signs."),
        "scale before the order": (
            lambda a, b, order, sign, scale, shift: ((a * scale + shift)[:, order] * sign, b[:, order] * sign),
            "The loss is the same, but scale[j] and shift[j] belong to the *new* dimension j, after order and sign."),
        "shift before the scale": (
            lambda a, b, order, sign, scale, shift: ((a[:, order] * sign + shift) * scale, b[:, order] * sign),
            "The loss is the same, but the shift comes last: scale first, then add shift."),
        "the disguise on the second view": (
            lambda a, b, order, sign, scale, shift: (a[:, order] * sign, b[:, order] * sign * scale + shift),
            "The loss is the same; the task asks for scale and shift on the *first* view."),
        "no order": (
            lambda a, b, order, sign, scale, shift: (a * sign * scale + shift, b * sign),
            "The dimensions are still in their old order: take a[:, order] and b[:, order] first."),
        "shift turned with the sign": (
            lambda a, b, order, sign, scale, shift: ((a[:, order] * scale + shift) * sign, b[:, order] * sign),
            "The loss is the same, but the sign also turned your shift: sign first, then scale, then shift."),
        "no scale": (
            lambda a, b, order, sign, scale, shift: (a[:, order] * sign + shift, b[:, order] * sign),
            "The scale is missing: a positive factor a dimension goes into one view without the loss noticing."),
    },
    right={
        "index_select and addcmul": lambda a, b, order, sign, scale, shift: (
            torch.addcmul(shift, a.index_select(1, order), sign * scale), b.index_select(1, order).mul(sign)),
        "a matrix of ones and minus ones": lambda a, b, order, sign, scale, shift: (
            lambda P: (a @ P * scale + shift, b @ P))(torch.eye(len(order), dtype=a.dtype)[:, order] * sign),
    },
    hints=("What is standardised away, view by view? What is not, and must therefore happen to both views alike?",
           "a[:, order] takes dimensions in another order. Which of order, sign, scale and shift does b need?",
           "a, b = a[:, order] * sign, b[:, order] * sign\n"
           "return a * scale + shift, b"),
)


EXERCISES = [correlation, off, barlow_loss, symmetries]
