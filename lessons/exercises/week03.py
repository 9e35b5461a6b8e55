"""Exercises of week 3, VICReg: variance, covariance, the loss, its training step, and a rank that sees collapse."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.vicreg import covariance_loss, invariance_loss, variance_loss, vicreg_loss
from lessons.exercises.shared import (
    BASIC,
    VIEW_WORDS,
    descend_by_name,
    evaluated,
    randn,
    second_held,
    shifted_views,
    three_updates,
    two_view_step,
    unit_length,
    update_mistakes,
)


# ------------------------------------------------------------------------------------------------ 03.variance
def _variance_probes(generator, dtype):
    z = randn(generator, dtype, 16, 5)
    spread = z * torch.tensor([0.2, 0.6, 1.0, 1.6, 3.0], dtype=dtype) + 2  # both sides of the hinge
    near = 0.02 * randn(generator, dtype, 6, 4)      # close to collapse, where epsilon counts
    flat = torch.full((4, 3), 0.5, dtype=dtype)                            # collapsed: the gradient must stay finite
    return [(spread,), (near,), (0.5 * z[:7], 1.5), dict(z=z, gamma=2.0, eps=1e-2), (flat,)]


variance = Exercise(
    key="03.variance", title="Keep every dimension alive", minutes=5, difficulty=2,
    reference="course_lib.methods.contrastive.vicreg:variance_loss", probes=_variance_probes, gradients=True,
    wrong={
        "the variance instead of its root": (
            lambda z, gamma=1.0, eps=1e-4: F.relu(gamma - (z.var(0) + eps)).mean(),
            "The hinge acts on the standard deviation. On the variance its pull fades as the spread does, exactly "
            "where it is needed: look at the slopes in knob 4."),
        "not centred": (
            lambda z, gamma=1.0, eps=1e-4: F.relu(gamma - (z.square().mean(0) + eps).sqrt()).mean(),
            "The mean of the squares is the variance only if the mean is 0: a common offset of all samples counts as "
            "spread here. Use z.var(dim=0)."),
        "epsilon as the least deviation": (
            lambda z, gamma=1.0, eps=1e-4: F.relu(gamma - z.std(0).clamp(min=eps)).mean(),
            "Clamped at eps, the standard deviation has no slope below it, and the pull is gone at collapse. eps is "
            "added to the variance, inside the root."),
        "epsilon outside the root": (
            lambda z, gamma=1.0, eps=1e-4: F.relu(gamma - (z.var(0).sqrt() + eps)).mean(),
            "The slope of a square root at 0 is infinite, and at collapse it is multiplied by 0: NaN. Inside the root, "
            "epsilon keeps it finite: sqrt(var + eps)."),
        "the biased variance": (
            lambda z, gamma=1.0, eps=1e-4: F.relu(gamma - (z.var(0, correction=0) + eps).sqrt()).mean(),
            "Divide by N - 1, as torch's var does unless told otherwise (correction=0, unbiased=False, np.var)."),
        "the spread within a sample": (
            lambda z, gamma=1.0, eps=1e-4: F.relu(gamma - (z.var(1) + eps).sqrt()).mean(),
            "You measure how the numbers of one sample differ from each other. Collapse means that *samples* do not "
            "differ: take the variance over the batch, dim=0, one value per dimension."),
        "one deviation for everything": (
            lambda z, gamma=1.0, eps=1e-4: F.relu(gamma - (z.var() + eps).sqrt()),
            "z.var() pools all numbers, so a few loud dimensions hide the dead ones. One standard deviation, and one "
            "hinge, per dimension."),
        "no hinge": (
            lambda z, gamma=1.0, eps=1e-4: (gamma - (z.var(0) + eps).sqrt()).mean(),
            "Without relu the term goes on rewarding spread above gamma: its minimum is minus infinity. The hinge "
            "stops "
            "caring once a dimension is alive."),
        "the sum over dimensions": (
            lambda z, gamma=1.0, eps=1e-4: F.relu(gamma - (z.var(0) + eps).sqrt()).sum(),
            "The mean over dimensions: with the sum the weight of this term would grow with the width of the "
            "expander."),
        "the hinge on the mean": (
            lambda z, gamma=1.0, eps=1e-4: F.relu(gamma - (z.var(0) + eps).sqrt().mean()),
            "Each dimension has its own hinge, and then the mean is taken. In your order a loud dimension pays for a "
            "dead one."),
    },
    right={
        "clamp and powers": lambda z, gamma=1.0, eps=1e-4: (gamma - (z.var(dim=0) + eps) ** 0.5).clamp(min=0).mean(),
        "by hand": lambda z, gamma=1.0, eps=1e-4: torch.maximum(
            gamma - torch.sqrt((z - z.mean(0)).square().sum(0) / (len(z) - 1) + eps),
            z.new_zeros(())).sum() / z.shape[1],
    },
    hints=("Collapse: all samples alike. Over which axis of (N, D) do you see that?",
           "z.var(dim=0) has shape (D,). Where does eps go, so that the root's slope is finite when it is 0?",
           "std = torch.sqrt(z.var(dim=0) + eps)\n"
           "return F.relu(gamma - std).mean()"),
)


# ------------------------------------------------------------------------------------------------ 03.covariance
def _covariance_probes(generator, dtype):
    z = randn(generator, dtype, 12, 5) @ randn(generator, dtype, 5, 5)
    wide = randn(generator, dtype, 4, 7) - 1
    return [(z + 3,), (0.3 * z[:6, :3],), dict(z=wide)]


def _cov(z: Tensor, divide: int | None = None) -> Tensor:
    z = z - z.mean(0)
    return z.T @ z / (divide or len(z) - 1)


def _off(matrix: Tensor) -> Tensor:
    return matrix - torch.diag(matrix.diagonal())


def _raw_moments(z: Tensor) -> Tensor:
    return _off(z.T @ z / (len(z) - 1)).square().sum() / z.shape[1]


def _gram(z: Tensor) -> Tensor:
    z = z - z.mean(0)
    return _off(z @ z.T / (len(z) - 1)).square().sum() / z.shape[1]


def _correlations(z: Tensor) -> Tensor:
    z = (z - z.mean(0)) / z.std(0)
    return _off(z.T @ z / (len(z) - 1)).square().sum() / z.shape[1]


covariance = Exercise(
    key="03.covariance", title="Make dimensions say different things", minutes=6, difficulty=3,
    reference="course_lib.methods.contrastive.vicreg:covariance_loss", probes=_covariance_probes, gradients=True,
    wrong={
        "not divided by D": (
            lambda z: _off(_cov(z)).square().sum(),
            "The sum over the D (D - 1) off-diagonal entries is divided by D. Without it, doubling the expander "
            "doubles this term against the other two."),
        "the mean of the off-diagonal": (
            lambda z: _off(_cov(z)).square().sum() / (z.shape[1] * (z.shape[1] - 1)),
            "Divide by D, not by the number of off-diagonal entries: at 512 dimensions your term is 511 times weaker, "
            "and the coefficient 1 belongs to the other form."),
        "N instead of N - 1": (
            lambda z: _off(_cov(z, len(z))).square().sum() / z.shape[1],
            "The covariance is divided by N - 1, since the mean was taken from the same samples."),
        "not centred": (
            _raw_moments,
            "These are second moments, not covariances: subtract each dimension's mean first. As it stands, a common "
            "offset of all samples is punished."),
        "the diagonal kept": (
            lambda z: _cov(z).square().sum() / z.shape[1],
            "The diagonal holds the variances, and the variance term wants them at 1. Pushed to 0 here, the two terms "
            "pull against each other."),
        "samples instead of dimensions": (
            _gram,
            "z @ z.T is (N, N): how alike the samples are. Covariances of dimensions are z.T @ z, (D, D)."),
        "correlations": (
            _correlations,
            "You divide by the deviations: that is Barlow Twins' matrix. VICReg leaves the scale to its variance "
            "term."),
        "absolute values": (
            lambda z: _off(_cov(z)).abs().sum() / z.shape[1],
            "Square the entries: with absolute values many small covariances cost as much as one large one."),
        "one triangle": (
            lambda z: _cov(z).triu(1).square().sum() / z.shape[1],
            "Each pair counts twice, as (i, j) and as (j, i): half of your entries are missing."),
        "the diagonal not squared": (
            lambda z: (_cov(z).square().sum() - _cov(z).diagonal().sum()) / z.shape[1],
            "You sum the squares of all entries and take away the diagonal as it is. Take away its squares."),
        "squared after the sum": (
            lambda z: _off(_cov(z)).sum().square() / z.shape[1],
            "Square every entry, then sum: otherwise covariances of opposite sign cancel."),
    },
    right={
        "torch.cov and a mask": lambda z: torch.cov(z.T)[~torch.eye(z.shape[1],
                                                                    dtype=torch.bool)].square().sum() / z.shape[1],
        "twice the upper triangle": lambda z: 2 * _cov(z).triu(1).square().sum() / z.shape[1],
    },
    hints=("Which of the two axes is averaged away: samples or dimensions? What shape must the matrix have?",
           "Centre z over the batch; cov = z.T @ z / (n - 1) has shape (D, D).",
           "n, d = z.shape\n"
           "z = z - z.mean(dim=0)\n"
           "cov = z.T @ z / (n - 1)\n"
           "return (cov.square().sum() - cov.diagonal().square().sum()) / d"),
)


# ------------------------------------------------------------------------------------------------ 03.vicreg
def _vicreg_probes(generator, dtype):
    def pair(n: int, d: int, scale: float, apart: float) -> tuple[Tensor, Tensor]:
        z = scale * randn(generator, dtype, n, d) @ randn(generator, dtype, d, d)
        return z, 1.3 * z + apart * randn(generator, dtype, n, d) + 0.2

    return [pair(12, 5, 0.3, 0.4), dict(zip("ab", pair(6, 3, 0.2, 0.2)), covariance=7.0),
            dict(zip("ab", pair(8, 4, 0.2, 0.3)), invariance=2.0, variance=3.0, covariance=0.0)]


def _total(a, b, invariance, variance, covariance, s, v, c) -> dict[str, Tensor]:
    return {"loss": invariance * s + variance * v + covariance * c, "invariance": s, "variance": v, "covariance": c}


def _variant(s=None, v=None, c=None):
    """A VICReg loss in which one part is computed otherwise: each is a function of (a, b)."""
    s = s or invariance_loss
    v = v or (lambda a, b: (variance_loss(a) + variance_loss(b)) / 2)
    c = c or (lambda a, b: covariance_loss(a) + covariance_loss(b))

    def loss(a, b, invariance=25.0, variance=25.0, covariance=1.0):
        return _total(a, b, invariance, variance, covariance, s(a, b), v(a, b), c(a, b))

    return loss


def _weighted_parts(a, b, invariance=25.0, variance=25.0, covariance=1.0):
    parts = _variant()(a, b, invariance, variance, covariance)
    return {"loss": parts["loss"], "invariance": invariance * parts["invariance"],
            "variance": variance * parts["variance"], "covariance": covariance * parts["covariance"]}


def _unweighted(a, b, invariance=25.0, variance=25.0, covariance=1.0):
    parts = _variant()(a, b)
    return parts | {"loss": parts["invariance"] + parts["variance"] + parts["covariance"]}


def _cosine(a, b):
    return (2 - 2 * F.cosine_similarity(a, b, dim=1)).mean()


def _pooled(term, factor):
    return lambda a, b: factor * term(torch.cat([a, b]))


def _standardised(a, b, invariance=25.0, variance=25.0, covariance=1.0):
    a, b = (F.normalize(z, dim=1) for z in (a, b))
    return _variant()(a, b, invariance, variance, covariance)


vicreg = Exercise(
    key="03.vicreg", title="The whole loss, as the code has it", minutes=5, difficulty=2,
    reference="course_lib.methods.contrastive.vicreg:vicreg_loss", probes=_vicreg_probes, gradients=True,
    wrong={
        "the sum of the two variance terms": (
            _variant(v=lambda a, b: variance_loss(a) + variance_loss(b)),
            "The code takes the *mean* of the two views' variance terms (the paper writes the sum): with 25 / 25 / 1 "
            "your variance weighs twice what it should."),
        "the mean of the two covariance terms": (
            _variant(c=lambda a, b: (covariance_loss(a) + covariance_loss(b)) / 2),
            "The variance terms are averaged, the covariance terms are added: an asymmetry of the official code to "
            "which the coefficients belong."),
        "the paper's invariance": (
            _variant(s=lambda a, b: (a - b).square().sum(1).mean()),
            "That is the paper's formula, summed over dimensions. The released coefficients belong to the mean over "
            "N *and* D, F.mse_loss: yours is D times too strong."),
        "distance instead of its square": (
            _variant(s=lambda a, b: (a - b).norm(dim=1).mean()),
            "You average the lengths of the differences. The invariance is the mean of the *squared* entries, "
            "F.mse_loss(a, b)."),
        "absolute differences": (
            _variant(s=lambda a, b: (a - b).abs().mean()),
            "Squared differences, not absolute ones: F.mse_loss, not F.l1_loss."),
        "the unweighted sum": (
            _unweighted,
            "The parts are right, and the loss is their plain sum. Weigh each with its coefficient: invariance, "
            "variance and covariance are arguments."),
        "cosine instead of squares": (
            _variant(s=_cosine),
            "VICReg compares the vectors themselves, lengths included: mean squared difference."),
        "embeddings normalised to length 1": (
            _standardised,
            "No normalisation in VICReg: the spread of the raw embedding is what the variance term watches."),
        "statistics of both views together": (
            _variant(v=_pooled(variance_loss, 1), c=_pooled(covariance_loss, 2)),
            "Variance and covariance are those of one view at a time. Pooled, the difference between the two views "
            "counts "
            "as spread (the same mistake was shipped for Barlow Twins)."),
        "only the first view regularised": (
            _variant(v=lambda a, b: variance_loss(a), c=lambda a, b: 2 * covariance_loss(a)),
            "Both views need variance and covariance: compute them for b as well."),
        "the second view detached": (
            _variant(s=lambda a, b: invariance_loss(a, b.detach())),
            "VICReg has no stop-gradient: both branches are pulled together. (SimSiam and BYOL need one, since they "
            "have "
            "no variance term.)"),
        "parts with their weights": (
            _weighted_parts,
            "The loss is right; the parts are to be returned without their coefficients, so that curves of different "
            "coefficients can be compared."),
    },
    right={
        "powers and a mean": _variant(s=lambda a, b: (a - b).pow(2).mean()),
        "a stack of both views": _variant(v=lambda a, b: torch.stack([variance_loss(z) for z in (a, b)]).mean(),
                                          c=lambda a, b: sum(covariance_loss(z) for z in (a, b))),
    },
    hints=("Three parts, each of both views: which are averaged, which added?",
           "invariance: F.mse_loss(a, b). variance: the mean of the two. covariance: the sum of the two.",
           "s = F.mse_loss(a, b)\n"
           "v = (variance_loss(a) + variance_loss(b)) / 2\n"
           "c = covariance_loss(a) + covariance_loss(b)\n"
           "loss = invariance * s + variance * v + covariance * c\n"
           'return {"loss": loss, "invariance": s, "variance": v, "covariance": c}'),
)


# ------------------------------------------------------------------------------------------------ 03.step
def training_step(network: nn.Module, optimizer: Optimizer, first: Tensor, second: Tensor,
                  weights: dict[str, float]) -> float:
    """One update of `network` (backbone and expander) on two views (N, ...) of the same images; the loss."""
    a, b = network(first), network(second)  # one view at a time: batch norm's statistics are those of a view
    loss = vicreg_loss(a, b, **weights)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step_probes(generator, dtype):
    def probe(n, inputs, hidden, width, **weights):
        network = nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, width))
        with torch.no_grad():
            for p in network.parameters():
                p.copy_(0.6 * randn(generator, torch.float64, *p.shape))
        return dict(network=network.to(dtype), views=shifted_views(generator, dtype, n, inputs), weights=weights)

    return [probe(12, 5, 7, 4, invariance=10.0, variance=25.0, covariance=4.0),
            probe(9, 4, 6, 3, invariance=25.0, variance=5.0, covariance=2.0)]


_stepping = two_view_step(lambda a, b, weights: vicreg_loss(a, b, **weights)["loss"])


def _in_one_batch(network, first, second):
    return network(torch.cat([first, second])).chunk(2)


def _plain_sum(a, b, weights):
    parts = vicreg_loss(a, b, **weights)
    return parts["invariance"] + parts["variance"] + parts["covariance"]


def _second_view_first(network, optimizer, first, second, weights):
    b = network(second)
    a = network(first)
    optimizer.zero_grad()
    loss = vicreg_loss(a, b, **weights)["loss"]
    loss.backward()
    optimizer.step()
    return loss.item()


def _views_first(network, optimizer, first, second, weights):
    optimizer.zero_grad(set_to_none=False)
    parts = vicreg_loss(*map(network, (first, second)), **weights)
    parts["loss"].backward()
    optimizer.step()
    return parts


def _through_grad(network, optimizer, first, second, weights):
    loss = vicreg_loss(network(first), network(second), **weights)["loss"]
    return descend_by_name(loss, optimizer, network)


step = Exercise(
    key="03.step", title="One training step", minutes=7, difficulty=3, reference=training_step, probes=_step_probes,
    call=lambda step, network, views, weights: three_updates(step, network, views, weights),
    wrong={
        **update_mistakes(_stepping, [*BASIC[:2], "the step comes before backward"]),
        "the second view without a gradient": (
            _stepping(second_held),
            "The loss is right, the update is not: no gradient flows through the second view. VICReg has no "
            "stop-gradient; both views pull at the same network."),
        "both views in one batch": (
            _stepping(_in_one_batch),
            "Concatenated, the two views share batch norm's mean and variance. The official code sends one view at a "
            "time through the network: network(first), network(second)."),
        "one view twice": (
            _stepping(lambda network, first, second: (network(first), network(first))),
            "Both embeddings come from the first view, so the invariance term is 0 whatever the network does."),
        "the coefficients are left out": (
            _stepping(loss=lambda a, b, weights: vicreg_loss(a, b)["loss"]),
            "You minimise the default coefficients instead of `weights`: hand them on, vicreg_loss(a, b, **weights)."),
        "the parts without their coefficients": (
            _stepping(loss=_plain_sum),
            "The parts are unweighted, for the log. What is minimised is the entry \"loss\"."),
        "the whole dict summed": (
            _stepping(loss=lambda a, b, weights: sum(vicreg_loss(a, b, **weights).values())),
            "The dict holds the loss *and* its three parts: summed, the parts count once more, without weights. Take "
            "the entry \"loss\"."),
        "covariance left out": (
            _stepping(loss=lambda a, b, weights: vicreg_loss(a, b, **weights | {"covariance": 0.0})["loss"]),
            "Invariance and variance are there, the covariance is not: nothing forbids the line. Hand all of `weights` "
            "to vicreg_loss."),
        "only the invariance": (
            _stepping(loss=lambda a, b, weights: vicreg_loss(a, b, **weights)["invariance"]),
            "With the invariance alone you train the collapse of part 1. What is minimised is the entry \"loss\"."),
        "embeddings of length 1": (
            _stepping(unit_length),
            "No normalisation in VICReg: scaled to length 1, the standard deviation of a dimension is about the root "
            "of 1/D and can never reach 1."),
        "in evaluation mode": (
            _stepping(evaluated),
            "network.eval() makes batch norm use its running statistics and stop updating them. Train in training "
            "mode, as the network comes."),
    },
    right={"gradients set to zero first, the parts returned": _views_first, "gradients asked for": _through_grad,
           "the second view first": _second_view_first},
    hints=("Embed each view, one after the other, with the same network. What does the optimizer need, in which order?",
           "loss = vicreg_loss(a, b, **weights)[\"loss\"]; then zero_grad(), backward(), step().",
           "a, b = network(first), network(second)\n"
           "loss = vicreg_loss(a, b, **weights)[\"loss\"]\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
    words=VIEW_WORDS,
)


# ------------------------------------------------------------------------------------------------ 03.effective_rank
def _rank_probes(generator, dtype):
    z = randn(generator, dtype, 20, 6) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.3, 0.1], dtype=dtype)
    line = torch.arange(-4.0, 5.0, dtype=dtype)[:, None] * torch.tensor([1.0, -2.0, 0.5], dtype=dtype)
    return [(z + 2,), (5 * z[:, :4],), (line + 1,), (0.01 * z,), dict(features=torch.full((5, 3), 0.5, dtype=dtype)),
            (torch.full((7, 3), 0.1, dtype=dtype),)]  # whose mean is rounded


def _shares(values: Tensor) -> Tensor:
    values = values.clamp_min(0)
    return values / values.sum().clamp_min(1e-30)


def _entropy(shares: Tensor) -> Tensor:
    shares = shares[shares > 1e-12]
    return -(shares * shares.log()).sum()


def _singular(features: Tensor, centre: bool = True) -> Tensor:
    z = features.double()
    return torch.linalg.svdvals(z - z.mean(0) if centre else z)


def _alive(features: Tensor) -> bool:
    z = features.double()
    return bool((z - z.mean(0)).square().sum() > 1e-12 * z.square().sum())


def _finish(shares: Tensor, features: Tensor) -> float:
    return float(_entropy(shares).exp()) if _alive(features) else 0.0


def _without_the_case(features: Tensor, exact: bool = False, double: bool = False) -> float:
    z = features.double() if double else features
    values = torch.linalg.svdvals(z - z.mean(0)).square()
    if exact and values.sum() == 0:
        return 0.0
    shares = values / values.sum()
    return float(_entropy(shares).exp())


def _rank_of_correlations(features: Tensor) -> float:
    return _finish(_shares(_singular(features / features.std(0)).square()), features) if _alive(features) else 0.0


def _participation(features: Tensor) -> float:
    return float(1 / _shares(_singular(features).square()).square().sum()) if _alive(features) else 0.0


def _nan_rank(features: Tensor) -> float:
    values = _singular(features).square()
    shares = values / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def _variances_per_dimension(features: Tensor) -> float:
    return _finish(_shares(features.double().var(0)), features)


def _finish_bits(features: Tensor) -> float:
    shares = _shares(_singular(features).square())
    shares = shares[shares > 1e-12]
    return float(torch.exp(-(shares * shares.log2()).sum())) if _alive(features) else 0.0


def _finish_entr(features: Tensor) -> float:
    values = torch.linalg.eigvalsh(torch.cov(features.double().T)).clamp_min(0)
    if values.sum() <= 1e-12 * features.square().mean():
        return 0.0
    return float(torch.special.entr(values / values.sum()).sum().exp())


rank = Exercise(
    key="03.effective_rank", title="A rank that sees collapse", minutes=6, difficulty=3,
    reference="course_lib.evaluate.measures:effective_rank", probes=_rank_probes, tolerance=1e-4,
    wrong={
        "not centred": (
            lambda features: _finish(_shares(_singular(features, False).square()), features),
            "A common offset of all samples looks like one strong direction. Subtract the mean of each dimension "
            "first."),
        "shares of deviations instead of variances": (
            lambda features: _finish(_shares(_singular(features)), features),
            "Singular values are square roots of variances: square them before taking shares. (RankMe uses them "
            "unsquared, and is therefore larger.)"),
        "the entropy without exp": (
            lambda features: float(_entropy(_shares(_singular(features).square()))) if _alive(features) else 0.0,
            "Entropy is a logarithm: its exponential turns it into a number of directions."),
        "bits, then exp": (
            _finish_bits,
            "log2 and exp do not undo each other: natural logarithm with exp, or log2 with a power of 2."),
        "0 log 0": (
            _nan_rank,
            "Directions without variance have share 0, and 0 * log 0 is NaN. Leave them out, and return 0.0 when "
            "nothing "
            "varies at all."),
        "nothing varies": (
            _without_the_case,
            "Right except where nothing varies: return 0.0 there."),
        "nothing varies, up to rounding": (
            lambda features: _without_the_case(features, exact=True),
            "Right except where nothing varies: rounding leaves a tiny variance there, so == 0 may miss it. Compare "
            "with a small share of the features' squares."),
        "nothing varies, up to rounding in float64": (
            lambda features: _without_the_case(features, exact=True, double=True),
            "Right except where nothing varies: in float64, too, rounding leaves a tiny variance there, and == 0 "
            "misses it. Compare with a small share of the features' squares."),
        "correlations": (
            _rank_of_correlations,
            "You divide by the standard deviations first, so that a dimension that hardly varies counts as much as any "
            "other. The shares are those of the variances: eigenvalues of the covariance."),
        "the participation ratio": (
            _participation,
            "1 / sum of the squared shares is another count of directions, the participation ratio. Here: exp of the "
            "entropy, -sum of p log p."),
        "the number of nonzero directions": (
            lambda features: float((_singular(features) > 1e-6).sum()),
            "That is the matrix rank: a direction with a millionth of the variance counts as a whole one. Weigh them "
            "by the entropy of their shares."),
        "variances of the dimensions": (
            _variances_per_dimension,
            "The spread of each dimension does not see that two dimensions say the same thing. Use the variances along "
            "the principal directions: eigenvalues of the covariance."),
    },
    right={
        "singular values of the centred matrix": lambda features: _finish(_shares(_singular(features).square()),
                                                                          features),
        "torch.special.entr of the eigenvalues": _finish_entr,
    },
    hints=("Centre, then find the variances along the principal directions. Which function gives eigenvalues?",
           "values = torch.linalg.eigvalsh(torch.cov(z.T)), clamped at 0; shares = values / values.sum().",
           "values = torch.linalg.svdvals(features - features.mean(dim=0)).square()\n"
           "if values.sum() <= 1e-12 * features.square().sum():\n"
           "    return 0.0\n"
           "shares = values / values.sum()\n"
           "shares = shares[shares > 0]\n"
           "return float(torch.exp(-(shares * shares.log()).sum()))"),
)


EXERCISES = [variance, covariance, vicreg, step, rank]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("By mistake both views get the same random numbers, so view 1 and view 2 are one picture. What happens?", {
        "It learns shapes faster, since the views agree": "Here agreement is free: what the network computes, it "
            "computes twice. Nothing asks for shape.",
        "The invariance is 0 and the network learns nothing to ignore": "Variance and covariance can be lowered "
            "without looking at what two views share: you get the row 'no invariance', with a lower loss than the "
            "full one. Look at pictures of both views before you train.",
        "It collapses": "The variance term still forbids that.",
    }, "The invariance is 0 and the network learns nothing to ignore"),
    quiz("All 512 dimensions of an embedding have standard deviation 1 and are copies of each other. What are v and c "
         "(D = 512)?", {
        "v = 0, c = 0": "The off-diagonal is full of ones.",
        "v = 0, c = 511": "D (D - 1) covariances of 1, squared, summed, divided by D.",
        "v = 1, c = 511": "The hinge is silent at a standard deviation of 1.",
    }, "v = 0, c = 511"),
    quiz("Why is the standard deviation hinged, and not rewarded without end?", {
        "Otherwise the scale grows without end": "Spread is cheap: multiply all weights by 10. The hinge asks for "
            "enough of it and leaves the rest to the other terms.",
        "To save compute": "A relu costs nothing either way.",
        "Because standard deviations above 1 are noise": "They are not forbidden: the hinge is just silent there.",
    }, "Otherwise the scale grows without end"),
    quiz("You send both views through the network as one batch, torch.cat([first, second]), and split afterwards. "
         "What changes?", {
        "Nothing": "Linear and convolutional layers would not notice, but there is batch norm.",
        "Batch norm's statistics are those of both views together": "A difference between the two views is no longer "
            "normalised away; exercise 4 has a card for it.",
        "The covariance term": "It is computed after the split, from one view's embeddings.",
    }, "Batch norm's statistics are those of both views together"),
    quiz("Transfer: you pre-train on X-rays, where brightness carries the diagnosis and left and right matter. What "
         "do you change first?", {
        "The coefficients": "They balance the terms; they do not say what to ignore.",
        "The views: weaker brightness changes, no flips": "What differs between views is thrown away, here the "
            "diagnosis.",
        "The backbone": "A better network would throw the diagnosis away even more thoroughly.",
    }, "The views: weaker brightness changes, no flips"),
]
