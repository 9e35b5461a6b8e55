"""Exercises of week 9, Barlow Twins: the cross-correlation, the loss, a training step, three meters, its symmetries."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.barlow_twins import barlow_twins_loss, cross_correlation, off_diagonal
from lessons.exercises.shared import (
    BASIC,
    VIEW_WORDS,
    descend_by_name,
    evaluated,
    numbers,
    rand,
    randn,
    second_held,
    shifted_views,
    three_updates,
    two_view_step,
    unit_length,
    update_mistakes,
)


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


def _scaled(deviation, below=0):
    """A cross-correlation whose centred columns are divided by deviation(z, eps); N - `below` under the matrix."""
    def correlate(a, b, eps=1e-5):
        a, b = ((z - z.mean(0)) / deviation(z, eps) for z in (a, b))
        return a.T @ b / (len(a) - below)
    return correlate


def _statistics_of_a(a, b, eps=1e-5):
    mean, std = a.mean(0), (a.var(0, correction=0) + eps).sqrt()
    return ((a - mean) / std).T @ ((b - mean) / std) / len(a)


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
        "the unbiased deviation, epsilon outside the root": (
            _scaled(lambda z, eps: z.std(0) + eps),
            "Two things: z.std(0) divides by N - 1 (correction=0 divides by N), and epsilon belongs inside the root: "
            "torch.sqrt(z.var(0, correction=0) + eps)."),
        "the unbiased deviation, epsilon outside the root, N - 1 under the matrix": (
            _scaled(lambda z, eps: z.std(0) + eps, 1),
            "N - 1 twice is consistent, but batch norm divides by N, both times; and epsilon belongs inside the root: "
            "torch.sqrt(z.var(0, correction=0) + eps)."),
        "the root of epsilon added to the deviation": (
            _scaled(lambda z, eps: z.std(0, correction=0) + eps**0.5),
            "The root of a sum is not the sum of the roots: add eps to the variance first, then take one root."),
        "the variance clamped": (
            _scaled(lambda z, eps: z.var(0, correction=0).clamp(min=eps).sqrt()),
            "clamp changes only variances below eps; batch norm *adds* eps to each of them: (var + eps).sqrt()."),
        "the deviation clamped": (
            _scaled(lambda z, eps: z.std(0, correction=0).clamp(min=eps)),
            "This only keeps a deviation of 0 from dividing; batch norm *adds* eps to each variance: (var + eps)"
            ".sqrt()."),
        "both views by the first one's statistics": (
            _statistics_of_a,
            "You standardise b with the mean and variance of a. Each view has its own: a shifted or scaled view "
            "carries the same information."),
        "made symmetric": (
            _with(lambda a, b: (a.T @ b + b.T @ a) / (2 * len(a))),
            "You average C and its transpose. C is not symmetric: dimension i of a with j of b is another question "
            "than j of a with i of b."),
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


# ------------------------------------------------------------------------------------------------ 09.barlow_loss
def _mask(matrix: Tensor) -> Tensor:
    return ~torch.eye(len(matrix), dtype=torch.bool)


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


def _within_a(a, b, lambd=0.0051):
    on, off = ((c.diagonal() - 1).square().sum() if first else _away(c).square().sum()
               for first, c in ((True, cross_correlation(a, b)), (False, cross_correlation(a, a))))
    return {"loss": on + lambd * off, "on_diagonal": on, "off_diagonal": off}


def _parts_as_numbers(loss, *arguments, **named):
    """The harness: the parts, which are for the log, may be tensors or numbers; the loss carries the gradient."""
    got = loss(*arguments, **named)
    if not isinstance(got, dict):
        return got
    return {name: float(x) if name != "loss" and isinstance(x, Tensor) and x.numel() == 1 else x
            for name, x in got.items()}


barlow_loss = Exercise(
    key="09.barlow_loss", title="Towards the identity", minutes=5, difficulty=2,
    reference="course_lib.methods.contrastive.barlow_twins:barlow_twins_loss", probes=_loss_probes, gradients=True,
    call=_parts_as_numbers,
    wrong={
        "means instead of sums": (
            _loss(on=lambda c: (c.diagonal() - 1).square().mean(), beside=lambda c: _away(c).square().mean()),
            "Both parts are sums. With means, the off-diagonal part is divided by D (D - 1) and the diagonal one by D "
            "only: lambda would mean another thing at every width."),
        "the diagonal averaged": (
            _loss(on=lambda c: (c.diagonal() - 1).square().mean()),
            "The part on the diagonal is a sum over the D entries, as the other one is over its D (D - 1)."),
        "lambda on the diagonal": (
            _loss(weigh=lambda x, y, weight: weight * x + y),
            "Lambda weighs the *off-diagonal* part. On the diagonal it leaves decorrelation in charge: the views never "
            "agree."),
        "the diagonal pulled to 0": (
            _loss(on=lambda c: c.diagonal().square().sum()),
            "You pull the diagonal to 0: two views of an image are told to have nothing in common. The target is the "
            "identity, "
            "so (C_ii - 1)."),
        "the diagonal among the off-diagonal": (
            _loss(beside=lambda c: c.square().sum()),
            "The diagonal is among the entries that you push to 0, while the other part pulls it to 1: leave it out."),
        "off-diagonal not squared": (
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
            "There are D - 1 times more off-diagonal entries than diagonal ones: without lambda they drown the "
            "agreement."),
        "the part with its weight": (
            _weighted_part,
            "The loss is right; \"off_diagonal\" is to be returned without lambda, so that runs with different lambdas "
            "can be "
            "compared."),
        "the correlations within the first view": (
            _within_a,
            "Your off-diagonal part is that of cross_correlation(a, a), within one view. The paper's loss has one "
            "matrix, C, across the views, for both parts. (Part 5 asks what that leaves out.)"),
        "D subtracted from all squares": (
            _loss(beside=lambda c: c.square().sum() - len(c)),
            "The squares of the diagonal do not sum to D: that holds only once both views agree. Leave the diagonal "
            "out, off_diagonal(c)."),
        "sums squared": (
            _loss(on=lambda c: (c.diagonal() - 1).sum().square(), beside=lambda c: _away(c).sum().square()),
            "You square the sum; asked for is the sum of squares. In a sum +1 and -1 cancel."),
        "norms": (
            _loss(on=lambda c: (c.diagonal() - 1).norm(), beside=lambda c: _away(c).norm()),
            "norm() is the root of the sum of squares. Both parts are sums of squares, without a root."),
        "lambda on both": (
            _loss(weigh=lambda x, y, weight: weight * (x + y)),
            "You weigh both parts by lambda, so it changes only the size of the loss, not what is worth what. It "
            "weighs the off-diagonal part alone."),
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
        "parts as numbers": lambda a, b, lambd=0.0051: (lambda on, off: {
            "loss": on + lambd * off, "on_diagonal": on.item(), "off_diagonal": off.item()})(
                *list(_parts(a, b).values())[1:]),
    },
    hints=("Which matrix should C become? Write the distance to it in two parts: diagonal and off-diagonal.",
           "c = cross_correlation(a, b); on: (c.diagonal() - 1), squared, summed; off: off_diagonal(c), squared, "
           "summed.",
           "c = cross_correlation(a, b)\n"
           "on = (c.diagonal() - 1).square().sum()\n"
           "off = off_diagonal(c).square().sum()\n"
           'return {"loss": on + lambd * off, "on_diagonal": on, "off_diagonal": off}'),
)


# ------------------------------------------------------------------------------------------------ 09.step
def barlow_step(network: nn.Module, optimizer: Optimizer, first: Tensor, second: Tensor, lambd: float) -> float:
    """One update of `network` (backbone and projector) on two views (N, ...) of the same images; the loss."""
    a, b = network(first), network(second)  # one view at a time: batch norm's statistics are those of a view
    loss = barlow_twins_loss(a, b, lambd)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step_probes(generator, dtype):
    def probe(n, inputs, hidden, width, lambd):
        network = nn.Sequential(nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(),
                                nn.Linear(hidden, width, bias=False))
        with torch.no_grad():
            for p in network.parameters():
                p.copy_(0.6 * randn(generator, torch.float64, *p.shape))
        return dict(network=network.to(dtype), views=shifted_views(generator, dtype, n, inputs), lambd=lambd)

    return [probe(13, 5, 8, 4, 0.3), probe(10, 4, 7, 3, 1.2)]


_stepping = two_view_step(lambda a, b, lambd: barlow_twins_loss(a, b, lambd)["loss"])


def _loss_after(network, optimizer, first, second, lambd):
    barlow_step(network, optimizer, first, second, lambd)
    with torch.no_grad():
        return barlow_twins_loss(network(first), network(second), lambd)["loss"].item()


def _second_view_first(network, optimizer, first, second, lambd):
    b = network(second)
    a = network(first)
    optimizer.zero_grad()
    loss = barlow_twins_loss(a, b, lambd)["loss"]
    loss.backward()
    optimizer.step()
    return loss


def _through_grad(network, optimizer, first, second, lambd):
    c = cross_correlation(network(first), network(second))
    eye = torch.eye(len(c), dtype=c.dtype)
    loss = ((c - eye).square() * (eye + lambd * (1 - eye))).sum()
    return descend_by_name(loss, optimizer, network).item()


def _charged_within(a, b, lambd):
    on = (cross_correlation(a, b).diagonal() - 1).square().sum()
    return on + lambd * sum(off_diagonal(cross_correlation(z, z)).square().sum() for z in (a, b)) / 2


def _two_backwards(network, optimizer, first, second, lambd):
    loss = barlow_twins_loss(network(first), network(second), lambd)["loss"]
    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    loss.backward()
    optimizer.step()
    return loss.item()


def _both_ways_returned(network, optimizer, first, second, lambd):
    a, b = network(first), network(second)
    loss = barlow_twins_loss(a, b, lambd)["loss"] + barlow_twins_loss(b, a, lambd)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _by_hand(network, optimizer, first, second, lambd):
    loss = barlow_twins_loss(network(first), network(second), lambd)["loss"]
    optimizer.zero_grad()
    loss.backward()
    with torch.no_grad():
        for p in network.parameters():
            p -= optimizer.param_groups[0]["lr"] * p.grad
    return loss.item()


def _some_cleared(network, optimizer, first, second, lambd):
    for p in list(network.parameters())[:2]:
        p.grad = None
    loss = barlow_twins_loss(network(first), network(second), lambd)["loss"]
    loss.backward()
    optimizer.step()
    return loss.item()


step = Exercise(
    key="09.step", title="One training step", minutes=6, difficulty=2, reference=barlow_step, probes=_step_probes,
    call=lambda step, network, views, lambd: three_updates(step, network, views, lambd), tolerance=1e-4,
    wrong={
        **update_mistakes(_stepping, [*BASIC[:2], "the step comes before backward"]),
        "two steps of the optimizer": (
            _stepping(order="clear backward step step"),
            "optimizer.step() is called twice: the same gradient is followed two times."),
        "the second view without a gradient": (
            _stepping(second_held),
            "The loss is right, the update is not: no gradient flows through one of the views. Barlow Twins has no "
            "stop-gradient; both views pull at the same network."),
        "both views in one batch": (
            _stepping(lambda network, first, second: network(torch.cat([first, second])).chunk(2)),
            "Concatenated, the two views share batch norm's mean and variance inside the network. The official code "
            "sends one view at a time: network(first), network(second)."),
        "one view twice": (
            _stepping(lambda network, first, second: (network(first), network(first))),
            "Both embeddings come from the first view: agreement is perfect from the start, and the network learns to "
            "decorrelate whatever it likes."),
        "the default lambda": (
            _stepping(loss=lambda a, b, lambd: barlow_twins_loss(a, b)["loss"]),
            "You minimise the loss at its default lambda: hand yours on, barlow_twins_loss(a, b, lambd)."),
        "the parts without lambda": (
            _stepping(loss=lambda a, b, lambd: sum(list(barlow_twins_loss(a, b, lambd).values())[1:])),
            "The two parts are unweighted, for the log. What is minimised is the entry \"loss\"."),
        "the whole dict summed": (
            _stepping(loss=lambda a, b, lambd: sum(barlow_twins_loss(a, b, lambd).values())),
            "The dict holds the loss *and* its two parts: summed, the parts count once more. Take the entry "
            "\"loss\"."),
        "only the agreement": (
            _stepping(loss=lambda a, b, lambd: barlow_twins_loss(a, b, lambd)["on_diagonal"]),
            "The diagonal alone is the loss of part 1, lambda = 0: copies are free. Take the entry \"loss\"."),
        "the loss after the step": (
            _loss_after,
            "The weights are right, but you return the loss of the *changed* network. The loss is that of the batch "
            "before the step: keep it, do not compute it again."),
        "divided by the batch": (
            _stepping(loss=lambda a, b, lambd: barlow_twins_loss(a, b, lambd)["loss"] / len(a)),
            "You divide by the batch. C is a mean over the batch already; the loss is a sum over its entries."),
        "lambda on the agreement": (
            _stepping(loss=lambda a, b, lambd: (lambda p: lambd * p["on_diagonal"] + p["off_diagonal"])(
                barlow_twins_loss(a, b, lambd))),
            "Lambda weighs the repetition, not the agreement. Both are weighed in the entry \"loss\"."),
        "embeddings of length 1": (
            _stepping(unit_length),
            "No vector is scaled to length 1 here: the loss standardises each dimension over the batch, not each image "
            "over its dimensions."),
        "the charge within each view": (
            _stepping(loss=_charged_within),
            "You charge for repetition within each view: a good control (part 5 runs it), but not this loss. Its entry "
            "\"loss\" uses C, across the views, for both parts."),
        "the loss both ways round, returned": (
            _both_ways_returned,
            "loss(a, b) and loss(b, a) are the same number: C is transposed, no square changes. Their sum is twice the "
            "loss. One call."),
        "backward twice": (
            _two_backwards,
            "The loss is right, its gradient is doubled: a second backward(), or the loss taken both ways round (the "
            "two are the same number: C is transposed, no square changes)."),
        "the images of one view in another order": (
            _stepping(lambda network, first, second: (network(first), network(second.flip(0)))),
            "Row n of both embeddings must belong to the same image. You changed the order of one view, so each image "
            "is told to agree with a stranger."),
        "the update by hand": (
            _by_hand,
            "You update by hand, lr times gradient. The first step is right; the optimizer has momentum, so later ones "
            "are not. optimizer.step()."),
        "some gradients cleared": (
            _some_cleared,
            "You clear the gradients of some parameters only; in the others those of earlier batches stay. "
            "optimizer.zero_grad() clears all."),
        "in evaluation mode": (
            _stepping(evaluated),
            "network.eval() makes batch norm use its running statistics and stop updating them. Train in training "
            "mode, as the network comes."),
    },
    right={"the second view first, the tensor returned": _second_view_first, "gradients asked for": _through_grad},
    hints=("Embed each view by itself, with the same network. What does the optimizer need, in which order?",
           "loss = barlow_twins_loss(a, b, lambd)[\"loss\"]; then zero_grad(), backward(), step().",
           "a, b = network(first), network(second)\n"
           "loss = barlow_twins_loss(a, b, lambd)[\"loss\"]\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
    words=VIEW_WORDS | {
        f"['weights'][{i}][{j}]": f"{part} after step {i + 1}" for i in range(3) for j, part in enumerate((
            "the first layer's weight", "batch norm's scale", "batch norm's shift", "the last layer's weight"))},
)


# ------------------------------------------------------------------------------------------------ 09.meters
def meters(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Two views' embeddings (N, D) -> {"agreement", "across", "within"}: three scalars.

    agreement: mean of the diagonal of C. across: root mean square of its off-diagonal entries. within: the same of the
    correlations within a view, over both views.
    """
    c, own = cross_correlation(a, b), [off_diagonal(cross_correlation(z, z)) for z in (a, b)]
    return {"agreement": c.diagonal().mean(), "across": off_diagonal(c).square().mean().sqrt(),
            "within": torch.cat(own).square().mean().sqrt()}


def _meter_probes(generator, dtype):
    def noisy(n, d):  # all dimensions of a view are copies, up to signs, of what the other view does not share
        copies = randn(generator, dtype, 2, n, 1) * torch.tensor([1.0, -1.0]).repeat(d)[:d].to(dtype)
        return tuple(copies + 0.3 * randn(generator, dtype, 2, n, d))

    return [_two_views(11, 4, generator, dtype), noisy(9, 6), dict(zip("ab", _two_views(8, 3, generator, dtype)))]


def _metered(**parts):
    """The meters with one of them computed otherwise: name=(a, b) -> scalar."""
    return lambda a, b: {**meters(a, b), **{name: part(a, b) for name, part in parts.items()}}


def _own(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([off_diagonal(cross_correlation(z, z)) for z in (a, b)])


def _upper(matrix: Tensor) -> Tensor:
    return matrix[tuple(torch.triu_indices(*matrix.shape, 1))]


def _rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


def _size(matrices) -> Tensor:
    """The root mean square of matrices' entries with zeros on the diagonal, these counted."""
    return _rms(torch.stack([m - m.diagonal().diag() for m in matrices]))


meters_exercise = Exercise(
    key="09.meters", title="Three meters", minutes=8, difficulty=3, reference=meters, probes=_meter_probes,
    call=numbers,
    words={"['agreement']": "the agreement", "['across']": "the redundancy across views",
           "['within']": "the redundancy within views"},
    wrong={
        "across in place of within": (
            _metered(within=lambda a, b: _rms(off_diagonal(cross_correlation(a, b)))),
            "Your \"within\" compares two views again. Within a view, a dimension of a is compared with another of the "
            "*same* a: cross_correlation(a, a)."),
        "only the first view within": (
            _metered(within=lambda a, b: _rms(off_diagonal(cross_correlation(a, a)))),
            "\"within\" looks at the first view only: the correlations within b count as well."),
        "the diagonal counted within": (
            _metered(within=lambda a, b: _rms(torch.stack([cross_correlation(z, z) for z in (a, b)]))),
            "Within a view the diagonal is 1 whatever the network does: leave it out, off_diagonal(...)."),
        "the diagonal counted across": (
            _metered(across=lambda a, b: _rms(cross_correlation(a, b))),
            "\"across\" counts the diagonal, which is the agreement: off_diagonal(c) only."),
        "means without squares": (
            _metered(across=lambda a, b: off_diagonal(cross_correlation(a, b)).mean(),
                     within=lambda a, b: _own(a, b).mean()),
            "A mean of signed correlations: a copy with its sign turned (-1) cancels a copy (+1). Square first, then "
            "the mean, then the root."),
        "absolute values": (
            _metered(across=lambda a, b: off_diagonal(cross_correlation(a, b)).abs().mean(),
                     within=lambda a, b: _own(a, b).abs().mean()),
            "The mean of absolute values; asked for is the root of the mean square, the size that the loss feels."),
        "no root": (
            _metered(across=lambda a, b: off_diagonal(cross_correlation(a, b)).square().mean(),
                     within=lambda a, b: _own(a, b).square().mean()),
            "Mean squares: take the root, so that the meters read as correlations."),
        "sums of squares": (
            _metered(across=lambda a, b: off_diagonal(cross_correlation(a, b)).square().sum(),
                     within=lambda a, b: _own(a, b).square().sum()),
            "Sums, as in the loss, grow with D. A meter should read the same at every width: mean, then root."),
        "the agreement squared": (
            _metered(agreement=lambda a, b: _rms(cross_correlation(a, b).diagonal())),
            "The agreement is the plain mean of the diagonal: its sign matters, since -1 is the worst there is."),
        "the loss in place of the agreement": (
            _metered(agreement=lambda a, b: (cross_correlation(a, b).diagonal() - 1).square().mean()),
            "(C_ii - 1) squared is what the loss charges; the agreement is the mean of C_ii itself: 1 at best."),
        "covariances": (
            lambda a, b: (lambda a, b: {
                "agreement": (a * b).mean(), "across": _rms(off_diagonal(a.T @ b / len(a))),
                "within": _rms(torch.cat([off_diagonal(z.T @ z / len(z)) for z in (a, b)]))})(
                    a - a.mean(0), b - b.mean(0)),
            "These are covariances: they grow with the scale of a dimension. Use cross_correlation, which "
            "standardises."),
        "both views as one batch": (
            _metered(within=lambda a, b: _rms(off_diagonal(cross_correlation(torch.cat([a, b]), torch.cat([a, b]))))),
            "For \"within\" you standardise both views together. Each view by itself, then the mean square over both."),
        "only the upper triangle": (
            _metered(across=lambda a, b: _rms(_upper(cross_correlation(a, b)))),
            "C is not symmetric: C_ij and C_ji compare other dimensions. \"across\" takes both triangles."),
        "the standard deviation of the entries": (
            _metered(across=lambda a, b: off_diagonal(cross_correlation(a, b)).std(),
                     within=lambda a, b: _own(a, b).std()),
            "std() subtracts the mean of the entries: if all dimensions are copies, all entries are 1 and it reads 0. "
            "Root mean square: no mean subtracted."),
        "the columns of both views in one matrix": (
            _metered(within=lambda a, b: _rms(off_diagonal(cross_correlation(*[torch.cat([a, b], 1)] * 2)))),
            "Side by side, the (2D, 2D) matrix holds the correlations across the views as well. One matrix for each "
            "view."),
        "the matrices averaged first": (
            _metered(within=lambda a, b: _rms(off_diagonal(cross_correlation(a, a) + cross_correlation(b, b)) / 2)),
            "You average the matrices of both views, then square: +0.8 in one and -0.8 in the other cancel. Square "
            "first, then one mean over both."),
        "the roots added": (
            _metered(within=lambda a, b: _rms(off_diagonal(cross_correlation(a, a)))
                     + _rms(off_diagonal(cross_correlation(b, b)))),
            "You add the roots of both views: that reads twice too much. One mean square over the entries of both "
            "views, then one root."),
        "zeros on the diagonal counted across": (
            _metered(across=lambda a, b: _size([cross_correlation(a, b)])),
            "You set the diagonal to 0 and divide by all D * D entries: the zeros count. Divide by the D (D - 1) "
            "others: off_diagonal(c)."),
        "zeros on the diagonals counted": (
            _metered(across=lambda a, b: _size([cross_correlation(a, b)]),
                     within=lambda a, b: _size([cross_correlation(z, z) for z in (a, b)])),
            "You set the diagonals to 0 and divide by all D * D entries: the zeros count. Divide by the D (D - 1) "
            "others: off_diagonal(c)."),
        "the size of the mean": (
            _metered(across=lambda a, b: off_diagonal(cross_correlation(a, b)).mean().abs(),
                     within=lambda a, b: _own(a, b).mean().abs()),
            "You take the mean first, so that +1 and -1 cancel. Square first, then the mean, then the root."),
        "the mean of all of C as agreement": (
            _metered(agreement=lambda a, b: cross_correlation(a, b).mean()),
            "The agreement is a mean over the diagonal only, c.diagonal(): each dimension with itself."),
        "a median": (
            _metered(agreement=lambda a, b: cross_correlation(a, b).diagonal().median()),
            "You take the median of the diagonal; asked for is its mean, in which every dimension counts."),
        "cosines as agreement": (
            _metered(agreement=lambda a, b: F.cosine_similarity(a, b, dim=0).mean()),
            "A cosine of columns is a correlation only once their means are 0: use the diagonal of C."),
        "the mean of two roots": (
            _metered(within=lambda a, b: (_rms(off_diagonal(cross_correlation(a, a)))
                                          + _rms(off_diagonal(cross_correlation(b, b)))) / 2),
            "You take a root for each view and average the roots. One mean square over both views, then one root."),
    },
    right={
        "by hand": lambda a, b: (lambda a, b, d: {
            "agreement": float((a * b).mean()),
            "across": float((((a.T @ b / len(a)) ** 2).sum() - ((a * b).mean(0) ** 2).sum()) / (d * d - d)) ** 0.5,
            "within": float(sum(((z.T @ z / len(z)) ** 2).sum() - ((z * z).mean(0) ** 2).sum() for z in (a, b))
                            / (2 * (d * d - d))) ** 0.5})(_standard(a), _standard(b), a.shape[1]),
        "with masks": lambda a, b: (lambda c, own: {
            "agreement": c.diag().mean(), "across": c[_mask(c)].pow(2).mean() ** 0.5,
            "within": ((own[0][_mask(c)].pow(2).mean() + own[1][_mask(c)].pow(2).mean()) / 2) ** 0.5})(
                cross_correlation(a, b), [cross_correlation(z, z) for z in (a, b)]),
    },
    hints=("cross_correlation(a, b) compares views. Which call compares the dimensions of one view with each other?",
           "off_diagonal(matrix) gives the entries you need; root mean square: x.square().mean().sqrt(). For "
           "\"within\", put the entries of both views together first.",
           "c = cross_correlation(a, b)\n"
           "own = torch.cat([off_diagonal(cross_correlation(z, z)) for z in (a, b)])\n"
           "return {\"agreement\": c.diagonal().mean(), \"across\": off_diagonal(c).square().mean().sqrt(),\n"
           "        \"within\": own.square().mean().sqrt()}"),
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


def _as_pair(disguise, *arguments, **named):
    """The harness: a pair may be one tensor (2, N, D)."""
    got = disguise(*arguments, **named)
    return tuple(got) if isinstance(got, Tensor) and got.ndim == 3 and len(got) == 2 else got


symmetries = Exercise(
    key="09.symmetries", title="The same loss in disguise", minutes=6, difficulty=3,
    reference=disguise, probes=_disguise_probes, gradients=True, call=_as_pair,
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
        "the second view unchanged": (
            lambda a, b, order, sign, scale, shift: (a[:, order] * sign * scale + shift, b),
            "The second view is as it was: then dimension i meets another partner, and some with the sign turned. "
            "Order and sign belong to both views."),
        "the second view in the inverse order": (
            lambda a, b, order, sign, scale, shift: (a[:, order] * sign * scale + shift, b[:, _inverse(order)] * sign),
            "The second view is put in the *inverse* order. Both views need the same one: [:, order]."),
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
        "stacked": lambda a, b, order, sign, scale, shift: torch.stack(
            [a[:, order] * sign * scale + shift, b[:, order] * sign]),
    },
    hints=("What is standardised away, view by view? What is not, and must therefore happen to both views alike?",
           "a[:, order] takes dimensions in another order. Which of order, sign, scale and shift does b need?",
           "a, b = a[:, order] * sign, b[:, order] * sign\n"
           "return a * scale + shift, b"),
)


EXERCISES = [correlation, barlow_loss, step, meters_exercise, symmetries]
