r"""Mutual information from a matrix of scores: MINE (Belghazi et al., ICML 2018, arXiv 1801.04062) and its relatives.

A critic T scores pairs: scores[i, j] = T(x_i, y_j), (N, N). Its diagonal holds N draws of the joint p(x, y); what is
off it stands for draws of the product p(x) p(y). With E the mean over the former, E' over the latter, in nats:

    Donsker-Varadhan, MINE   I >= E[T] - log E'[exp T]                         1801.04062
    NWJ                      I >= E[T] - E'[exp(T - 1)]                        0809.0853; MINE-f in MINE
    TUBA                     I >= 1 + E[T - b(x)] - E'[exp(T - b(x))]          1905.06922; NWJ with b = 1
    InfoNCE                  I >= E[T_ii - log mean over j of exp T_ij]        1807.03748; never above log N
    JSD                      2 log 2 - E[softplus(-T)] - E'[softplus(T)]       1808.06670; no bound on I
    SMILE                    E[T] - log E'[exp clip(T, -c, c)]                 1910.06222; no bound on I
    Wasserstein              E[T] - E'[T] over critics of slope 1              1903.11780; no bound on I

All are made as large as possible. With r = log p(x, y) / (p(x) p(y)) the best critic is r + a constant for the first,
r + 1 for NWJ, r + any function of x for InfoNCE, and r for JSD, whose value is then twice a Jensen-Shannon divergence.
Here x belongs to rows. Conventions are those of ermongroup/smile-mi-estimator; the other divergences of `DIVERGENCES`
are those of rdevon/DIM.

What other implementations get wrong: the diagonal left among the draws of the product (then no reading exceeds log N,
as with InfoNCE); log N taken off a sum over the N (N - 1) pairs; InfoNCE without its log N; NWJ read from a critic
that JSD has trained, without the 1 by which the best critics differ (it then reads I - 1/e); exp without logsumexp; the
gradient of the logarithm of a batch's mean, which is biased (see `mine`). DIM's official Donsker-Varadhan loss
multiplies scores (N, N, L, M), of L places and M vectors, by a mask (N, N). Broadcasting aligns shapes at their ends,
so it raises an error for nearly all sizes; where L = M = N it runs, masks places instead of pairs and is wrong (on the
golden arrays 3.59 for 0.30). Here pairs are picked by index before anything is averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from course_lib.precision import check_positive, in_float32

Function = Callable[[Tensor], Tensor]
LOG2 = math.log(2)

# kind -> (what is averaged over the joint, what over the product and taken off); official names: upper case, nwj is KL.
# x2 has no maximum as it stands there: both its terms grow with the scores
DIVERGENCES: dict[str, tuple[Function, Function]] = {
    "gan": (lambda u: -softplus(-u), softplus),
    "jsd": (lambda u: LOG2 - softplus(-u), lambda u: softplus(u) - LOG2),
    "x2": (torch.square, lambda u: -(u.abs() + 1).square() / 2),
    "nwj": (lambda u: u, lambda u: (u - 1).exp()),
    "rkl": (lambda u: -(-u).exp(), lambda u: u - 1),
    "h2": (lambda u: 1 - (-u).exp(), lambda u: u.exp() - 1),
    "w1": (lambda u: u, lambda u: u)}


# ------------------------------------------------------------------------------------------------ what they share
def pairs(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (N, N, ...) -> those of the joint, (N, ...), and of the product, (N (N - 1), ...), row by row.

    ValueError where they are not square, or of fewer than two samples.
    """
    if scores.ndim < 2 or len(scores) < 2 or len(scores) != scores.shape[1]:
        raise ValueError(f"scores have the shape {tuple(scores.shape)}; expected (N, N, ...) of two or more samples: "
                         "each x with each y")
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return scores[own], scores[~own]


def log_mean_exp(x: Tensor) -> Tensor:
    """The logarithm of the mean of exp(x) over all entries, a scalar."""
    return x.flatten().logsumexp(0) - math.log(x.numel())


def surrogate(value: Tensor, objective: Tensor) -> Tensor:
    """A scalar with the value of the one and the gradient of the other."""
    return objective + (value - objective).detach()


# ------------------------------------------------------------------------------------------------ the estimators
@in_float32
def f_divergence(scores: Tensor, kind: str = "jsd") -> Tensor:
    """One of DIVERGENCES, (N, N, ...) -> scalar: nwj bounds mutual information, the others measure dependence.

    ValueError for an unknown kind.
    """
    if kind not in DIVERGENCES:
        raise ValueError(f"the divergence is {kind!r}; expected one of {', '.join(DIVERGENCES)}")
    joint, product = pairs(scores)
    of_joint, of_product = DIVERGENCES[kind]
    return of_joint(joint).mean() - of_product(product).mean()


@in_float32
def donsker_varadhan(scores: Tensor, all_pairs: bool = False) -> Tensor:
    """The bound of Donsker and Varadhan, (N, N, ...) -> nats.

    all_pairs: the diagonal counts among the product's draws too, so that no value exceeds log N.
    """
    joint, product = pairs(scores)
    return joint.mean() - log_mean_exp(scores if all_pairs else product)


@in_float32
def mine(scores: Tensor, log_average: Tensor | None = None, momentum: float = 0.9) -> tuple[Tensor, Tensor]:
    """Donsker-Varadhan's value in nats, with MINE's gradient; and the new moving average, as a logarithm.

    The gradient of log E'[exp T] is E'[exp(T) grad T] / E'[exp T]; of a batch, a ratio of two means that depend on each
    other, biased. MINE divides by a moving average of batches, m * old + (1 - m) * new. log_average: of
    the batches before; None for the first, whose gradient is then the plain one. ValueError for a momentum that is not
    in [0, 1).
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; expected 0 or more, and less than 1")
    joint, product = pairs(scores)
    batch = log_mean_exp(product)
    average = batch.detach()
    if log_average is not None and momentum:
        average = torch.logaddexp(log_average + math.log(momentum), average + math.log(1 - momentum))
    corrected = (batch - average).exp()  # its gradient: that of E'[exp T], over the average
    return surrogate(joint.mean() - batch, joint.mean() - corrected), average


@in_float32
def tuba(scores: Tensor, log_baseline: Tensor | float = 1.0) -> Tensor:
    """The tractable bound with a baseline, (N, N, ...) -> nats; log_baseline: b(x), (N,), or one number."""
    if isinstance(log_baseline, Tensor):
        log_baseline = log_baseline.view(-1, *[1] * (scores.ndim - 1))
    joint, product = pairs(scores - log_baseline)
    return 1 + joint.mean() - log_mean_exp(product).exp()


def nwj(scores: Tensor) -> Tensor:
    """The bound of Nguyen, Wainwright and Jordan, (N, N, ...) -> nats."""
    return f_divergence(scores, "nwj")


@in_float32
def infonce(scores: Tensor) -> Tensor:
    """InfoNCE's bound, (N, N) -> nats: each x picks its own y out of all N; log N minus their cross-entropy."""
    pairs(scores)  # its checks
    if scores.ndim > 2:
        raise ValueError(f"scores have the shape {tuple(scores.shape)}; expected (N, N): each x with each y, once")
    return (scores.diagonal() - scores.logsumexp(1)).mean() + math.log(len(scores))


@in_float32
def nwj_by_jsd(scores: Tensor, plus: float = 1.0) -> Tensor:
    """(N, N, ...) -> nats as NWJ reads them, with the gradient of JSD, which is calmer.

    plus: what JSD's best critic lacks of NWJ's; the widely copied code leaves it out (0).
    """
    return surrogate(nwj(scores + plus), f_divergence(scores, "jsd"))


@in_float32
def smile(scores: Tensor, clip: float = 5.0) -> Tensor:
    """SMILE, (N, N, ...) -> nats, with the gradient of JSD: Donsker-Varadhan with the product's scores clipped.

    The clip (inf for none) bounds the variance and costs the bound: the reading may be above I. ValueError for a clip
    that is not above 0.
    """
    check_positive("clip", clip)
    joint, product = pairs(scores)
    return surrogate(joint.mean() - log_mean_exp(product.clamp(-clip, clip)), f_divergence(scores, "jsd"))


# ------------------------------------------------------------------------------------------------ Wasserstein
@in_float32
def gradient_penalty(critic: Callable[..., Tensor], joint: tuple[Tensor, Tensor], product: tuple[Tensor, Tensor],
                     draws: Tensor) -> Tensor:
    """How far a critic is from slope 1 between the joint and the product: the mean of (|gradient| - 1)^2, a scalar.

    critic: x (N, ...), y (N, ...) -> (N,). joint, product: pairs (x, y). draws: uniform in [0, 1), (N,), each chooses a
    point on the line between two pairs. The Wasserstein dependency measure takes it off the objective, times a weight.
    That it has this form, of WGAN-GP (arXiv 1704.00028), is recalled, not looked up.
    """
    between = [torch.lerp(b, a, draws.to(a).view(-1, *[1] * (a.ndim - 1))).detach().requires_grad_()
               for a, b in zip(joint, product)]
    with torch.enable_grad():
        slopes = torch.autograd.grad(critic(*between).sum(), between, create_graph=True)
    return (torch.cat([slope.flatten(1) for slope in slopes], 1).norm(dim=1) - 1).square().mean()


# ------------------------------------------------------------------------------------------------ the known case
def gaussian_information(rho: float, dim: int = 1) -> float:
    """Mutual information in nats of Gaussians x, y in R^dim whose coordinates correlate pair by pair with rho.

    ValueError for a rho that is not between -1 and 1.
    """
    if not -1 < rho < 1:
        raise ValueError(f"rho is {rho}; expected a correlation between -1 and 1, both excluded: there it is infinite")
    return -dim / 2 * math.log1p(-rho * rho)


def gaussian_correlation(information: float, dim: int = 1) -> float:
    """The rho, 0 or more, of that many nats. ValueError for fewer than 0."""
    if not information >= 0:
        raise ValueError(f"the mutual information is {information}; expected 0 or more nats")
    return math.sqrt(-math.expm1(-2 * information / dim))


def correlated_gaussians(n: int, rho: float, dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n draws of such Gaussians, of mean 0 and variance 1: x and y, float32 (n, dim) each."""
    x, noise = torch.randn(2, n, dim, generator=generator, device=generator.device)
    return x, rho * x + math.sqrt(1 - rho * rho) * noise


@in_float32
def gaussian_scores(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """The best critic of such Gaussians, r = log p(y | x) / p(y): (N, dim), (N, dim) -> scores (N, N)."""
    rest = 1 - rho * rho
    squares = rho * rho * (x.square().sum(1)[:, None] + y.square().sum(1))
    return (rho * x @ y.T - squares / 2) / rest + gaussian_information(rho, x.shape[1])
