"""Estimators of mutual information: loops in plain Python, gradients, what they can read at most, known Gaussians."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from course_lib.methods.information import estimators as mi
from helpers.draws import randn

pytestmark = pytest.mark.usefixtures("one_thread")
INF = math.inf


# ---------------------------------------------------------------- definitions, in plain Python
def naive(scores) -> dict[str, float]:
    """Scores as lists of lists, (N, N) of numbers, or of lists of numbers."""
    n = len(scores)
    many = [[cell if isinstance(cell, list) else [cell] for cell in row] for row in scores]
    joint = [v for i in range(n) for v in many[i][i]]
    product = [v for i in range(n) for j in range(n) if i != j for v in many[i][j]]

    def mean(values):
        return sum(values) / len(values)

    def sp(v):
        return math.log(1 + math.exp(v))

    found = {"dv": mean(joint) - math.log(mean([math.exp(v) for v in product])),
             "dv, all": mean(joint) - math.log(mean([math.exp(v) for row in many for cell in row for v in cell])),
             "nwj": mean(joint) - mean([math.exp(v - 1) for v in product]),
             "jsd": 2 * math.log(2) - mean([sp(-v) for v in joint]) - mean([sp(v) for v in product]),
             "gan": mean([math.log(1 / (1 + math.exp(-v))) for v in joint])
             + mean([math.log(1 - 1 / (1 + math.exp(-v))) for v in product]),
             "w1": mean(joint) - mean(product),
             "smile": mean(joint) - math.log(mean([math.exp(min(max(v, -1.5), 1.5)) for v in product])),
             "jsd, read": mean(joint) + 1 - mean([math.exp(v) for v in product])}
    if not isinstance(scores[0][0], list):
        found["infonce"] = mean([math.log(math.exp(row[i]) / mean([math.exp(v) for v in row]))
                                 for i, row in enumerate(scores)])
    return found


def ours(scores) -> dict[str, float]:
    found = {"dv": mi.donsker_varadhan(scores), "dv, all": mi.donsker_varadhan(scores, all_pairs=True),
             "nwj": mi.nwj(scores), "smile": mi.smile(scores, 1.5), "jsd, read": mi.nwj_by_jsd(scores)}
    found |= {kind: mi.f_divergence(scores, kind) for kind in ("jsd", "gan", "w1")}
    if scores.ndim == 2:
        found["infonce"] = mi.infonce(scores)
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("shape", [(2, 2), (5, 5), (4, 4, 3), (4, 4, 4), (3, 3, 2, 4)])
def test_each_equals_its_definition(shape):
    """Bugs: the diagonal in the product's mean; a mask that broadcasts over places, seen where they are N too."""
    scores = 2 * randn(*shape)
    assert ours(scores) == pytest.approx(naive(scores.flatten(2).tolist() if len(shape) > 2 else scores.tolist()),
                                         rel=1e-10)


@pytest.mark.parametrize("kind", mi.DIVERGENCES)
def test_independent_scores_of_zero_measure_nothing(kind):
    """Only gan (a constant), nwj (its best critic is 1) and x2 (which has no maximum) are elsewhere at 0."""
    value = float(mi.f_divergence(torch.zeros(4, 4), kind))
    constants = {"gan": -2 * math.log(2), "nwj": -math.exp(-1), "x2": 0.5, "rkl": 0.0}
    assert value == pytest.approx(constants.get(kind, 0.0), abs=1e-6)
    assert float(mi.nwj(torch.ones(4, 4))) == pytest.approx(0, abs=1e-6)


def test_tuba_is_nwj_with_a_baseline_of_one_and_loosest_far_from_the_best():
    scores = randn(6, 6)
    torch.testing.assert_close(mi.tuba(scores), mi.nwj(scores))
    torch.testing.assert_close(mi.tuba(scores, torch.ones(6)), mi.nwj(scores))
    rows = randn(6, seed=1)
    wanted = 1 + (scores.diagonal() - rows).mean() - sum(
        math.exp(scores[i, j] - rows[i]) for i in range(6) for j in range(6) if i != j) / 30
    torch.testing.assert_close(mi.tuba(scores, rows), wanted)
    best = mi.log_mean_exp(mi.pairs(scores)[1]).item()  # of one number for all rows; then it is Donsker-Varadhan
    torch.testing.assert_close(mi.tuba(scores, best), mi.donsker_varadhan(scores))
    assert all(mi.tuba(scores, best + off) < mi.donsker_varadhan(scores) for off in (-1.0, 0.5, 2.0))


# ---------------------------------------------------------------- what they can read at most
@pytest.mark.parametrize("n", [2, 16, 200])
def test_infonce_never_exceeds_log_n(n):
    """Bug: InfoNCE without its log N, which is then never above 0."""
    for scores in (100 * torch.eye(n, dtype=torch.float64), 9 * randn(n, n, seed=n), torch.zeros(n, n)):
        assert mi.infonce(scores) <= math.log(n) + 1e-6
        assert mi.donsker_varadhan(scores, all_pairs=True) <= math.log(n) + 1e-6
    assert float(mi.infonce(1e4 * torch.eye(n))) == pytest.approx(math.log(n), rel=1e-6)
    assert float(mi.infonce(torch.zeros(n, n))) == pytest.approx(0, abs=1e-6)
    assert mi.donsker_varadhan(1e4 * torch.eye(n)) > 100, "off the diagonal alone has no such ceiling"


def test_an_added_constant_counts_where_it_should():
    """Donsker-Varadhan and InfoNCE do not see it (the latter none per row either), NWJ and JSD do."""
    scores, rows = randn(5, 5), randn(5, 1, seed=1)
    torch.testing.assert_close(mi.donsker_varadhan(scores + 3), mi.donsker_varadhan(scores))
    torch.testing.assert_close(mi.infonce(scores + rows), mi.infonce(scores))
    assert not torch.allclose(mi.donsker_varadhan(scores + rows), mi.donsker_varadhan(scores))
    assert not torch.allclose(mi.nwj(scores + 3), mi.nwj(scores))
    assert mi.nwj(scores + 0.7) <= mi.donsker_varadhan(scores) + 1e-12, "log v <= v / e: NWJ is below"


@pytest.mark.parametrize("kind", ["jsd", "gan", "nwj", "rkl", "h2"])
def test_each_divergence_peaks_at_its_own_critic(kind):
    """Two outcomes, x = y with probability 0.8: the critic is r, or r + 1, -1/r, ... and any other reads less."""
    r = torch.tensor([[1.6, 0.4], [0.4, 1.6]], dtype=torch.float64)  # p(x, y) / (p(x) p(y))
    critic = {"nwj": 1 + r.log(), "rkl": -(-r.reciprocal()).abs().log(), "h2": -0.5 * (1 / r).log(), "jsd": r.log(),
              "gan": r.log()}[kind]

    def value(u):
        joint, product = mi.DIVERGENCES[kind]
        return float((r / 4 * joint(u)).sum() - (product(u) / 4).sum())

    best = value(critic)
    assert all(value(critic + 0.05 * randn(2, 2, seed=s)) < best for s in range(5))
    if kind == "nwj":
        assert best == pytest.approx(float((r / 4 * r.log()).sum()))
    if kind == "jsd":
        p, q = r / 4, torch.full_like(r, 1 / 4)
        middle = (p + q) / 2
        js = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
        assert best == pytest.approx(float(2 * js))


# ---------------------------------------------------------------- gradients
@pytest.mark.parametrize("shape", [(4, 4), (3, 3, 2)])
def test_gradients(shape):
    scores = randn(*shape).requires_grad_()
    for estimator in (mi.donsker_varadhan, mi.nwj, mi.tuba, *(
            lambda s, k=kind: mi.f_divergence(s, k) for kind in mi.DIVERGENCES)):
        assert torch.autograd.gradcheck(estimator, (scores,))
    if len(shape) == 2:
        assert torch.autograd.gradcheck(mi.infonce, (scores,))


def gradient(estimator, scores):
    scores = scores.detach().requires_grad_()
    return torch.autograd.grad(estimator(scores), scores)[0]


def test_smile_and_a_read_jsd_have_the_gradient_of_jsd():
    scores = 3 * randn(5, 5)
    wanted = gradient(mi.f_divergence, scores)
    for estimator in (mi.smile, mi.nwj_by_jsd, lambda s: mi.smile(s, INF), lambda s: mi.nwj_by_jsd(s, 0.0)):
        torch.testing.assert_close(gradient(estimator, scores), wanted)
    torch.testing.assert_close(mi.smile(scores, INF), mi.donsker_varadhan(scores))
    assert mi.smile(scores, 0.5) != mi.donsker_varadhan(scores)
    kept = scores.clone()
    mi.smile(scores, 0.1), mi.tuba(scores, scores[0]), mi.nwj_by_jsd(scores)
    assert torch.equal(scores, kept), "bug: scores -= baseline, in place"


# ---------------------------------------------------------------- MINE
def test_mine_has_donsker_varadhans_value_and_divides_by_the_average():
    scores, before = randn(5, 5), torch.tensor(0.3, dtype=torch.float64)
    value, after = mi.mine(scores, before, 0.9)
    torch.testing.assert_close(value, mi.donsker_varadhan(scores))
    batch = mi.pairs(scores)[1].exp().mean()
    average = 0.9 * before.exp() + 0.1 * batch
    torch.testing.assert_close(after.exp(), average)
    torch.testing.assert_close(gradient(lambda s: mi.mine(s, before, 0.9)[0], scores),
                               gradient(lambda s: s.diagonal().mean() - mi.pairs(s)[1].exp().mean() / average, scores))
    plain = gradient(mi.donsker_varadhan, scores)
    torch.testing.assert_close(gradient(lambda s: mi.mine(s)[0], scores), plain)
    torch.testing.assert_close(gradient(lambda s: mi.mine(s, before, 0.0)[0], scores), plain)
    assert not after.requires_grad and not torch.allclose(gradient(lambda s: mi.mine(s, before)[0], scores), plain)


def test_the_plain_gradient_is_biased_and_mines_is_not():
    """Product scores of a normal law, batch after batch: the gradient by the scores' size, which is known.

    Of log E'[exp(a z)], z normal, by a it is a. A batch of two takes it from a ratio of two means.
    """
    z = randn(40000, 2)
    a = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    per_batch = (a * z).logsumexp(1).mean() - math.log(2)
    plain = torch.autograd.grad(per_batch, a)[0]
    log_average = torch.tensor(0.5, dtype=torch.float64)  # log E'[exp z], as a long average would have it
    corrected = torch.autograd.grad(((a * z).exp().mean(1) / log_average.exp()).mean(), a)[0]
    assert abs(float(corrected) - 1) < 0.05 and float(plain) < 0.7
    scores = torch.zeros(2, 2, dtype=torch.float64)
    scores[0, 1], scores[1, 0] = z[0]
    wanted = -scores.exp() / 2 / log_average.exp() * (1 - torch.eye(2))
    got = gradient(lambda s: mi.mine(s, log_average, 1 - 1e-12)[0], scores)
    torch.testing.assert_close(got - torch.eye(2) / 2, wanted)


def test_a_moving_average_does_not_overflow():
    scores = (1e4 * randn(4, 4, dtype=torch.float32)).requires_grad_()
    value, average = mi.mine(scores, torch.tensor(3.0))
    value.backward()
    assert value.isfinite() and average.isfinite() and scores.grad.isfinite().all()
    for estimator in (mi.donsker_varadhan, mi.infonce, mi.smile, mi.f_divergence):
        assert estimator(scores).isfinite()


def test_float32_inside_autocast():
    scores = randn(6, 6, dtype=torch.float32)
    for estimator in (mi.donsker_varadhan, mi.infonce, mi.nwj, mi.smile, mi.f_divergence, mi.tuba, mi.nwj_by_jsd,
                      lambda s: mi.mine(s)[0]):
        wanted = estimator(scores)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(estimator(scores), wanted)
            assert estimator(scores.bfloat16()).dtype == torch.float32
    x, y = randn(4, 3, dtype=torch.float32), randn(4, 3, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mi.gaussian_scores(x, y, 0.5), mi.gaussian_scores(x, y, 0.5).float())


# ---------------------------------------------------------------- the Wasserstein dependency measure
class Slope(nn.Module):
    """A linear critic: its slope is known everywhere."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.tensor(each, dtype=torch.float64)) for each in (a, b))

    def forward(self, x, y):
        return x.flatten(1) @ self.a + y.flatten(1) @ self.b


def test_the_penalty_is_the_distance_from_slope_one():
    x, y = randn(7, 2), randn(7, 1, 2, seed=1)
    draws = torch.rand(7, generator=torch.Generator().manual_seed(0))
    for a, b, slope in (([0.6, 0.0], [0.0, 0.8], 1.0), ([3.0, 0.0], [0.0, 4.0], 5.0), ([0.0, 0.0], [0.0, 0.0], 0.0)):
        critic = Slope(a, b)
        penalty = mi.gradient_penalty(critic, (x, y), (x, y.roll(1, 0)), draws)
        assert penalty.item() == pytest.approx((slope - 1) ** 2)
        penalty.backward()
        assert critic.a.grad.isfinite().all()
    with torch.no_grad():
        assert float(mi.gradient_penalty(Slope([3.0, 0.0], [0.0, 4.0]), (x, y), (x, y), draws)) == pytest.approx(16)


def test_the_penalty_looks_between_joint_and_product():
    """Of the critic |y|^2 / 2 the slope is |y|: of y = 1 and y' = 3, at the draws 1 and 0, it is 1 and 3."""
    def critic(x, y):
        return y.square().sum(1) / 2

    x, y, other = torch.zeros(1, 1), torch.ones(1, 1), torch.full((1, 1), 3.0)
    with torch.enable_grad():
        for draw, slope in ((1.0, 1.0), (0.0, 3.0), (0.5, 2.0)):
            penalty = mi.gradient_penalty(lambda a, b: critic(a, b) + 0 * a.sum(1), (x, y), (x, other),
                                          torch.tensor([draw]))
            assert penalty.item() == pytest.approx((slope - 1) ** 2)


# ---------------------------------------------------------------- Gaussians
def test_information_and_correlation_of_gaussians():
    assert mi.gaussian_information(0.0, 5) == 0 and mi.gaussian_correlation(0.0) == 0
    for nats, dim in ((0.5, 1), (3.0, 20), (10.0, 4), (1e-9, 2)):
        assert mi.gaussian_information(mi.gaussian_correlation(nats, dim), dim) == pytest.approx(nats)
    assert mi.gaussian_information(-0.6, 2) == pytest.approx(-math.log(0.64))
    for wrong in (1.0, -1.0, 3):
        with pytest.raises(ValueError, match="rho is .* expected a correlation between -1 and 1"):
            mi.gaussian_information(wrong)
    with pytest.raises(ValueError, match="mutual information is -1"):
        mi.gaussian_correlation(-1)


def test_the_best_critic_is_the_logarithm_of_the_densities_ratio():
    x, y = mi.correlated_gaussians(4, 0.7, 2, torch.Generator().manual_seed(0))
    scores = mi.gaussian_scores(x.double(), y.double(), 0.7)
    one = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.7], [0.7, 1.0]]))
    alone = torch.distributions.Normal(0.0, 1.0)
    for i in range(4):
        for j in range(4):
            ratio = sum(one.log_prob(torch.stack([x[i, d], y[j, d]])) - alone.log_prob(x[i, d])
                        - alone.log_prob(y[j, d]) for d in range(2))
            assert float(scores[i, j]) == pytest.approx(float(ratio), abs=1e-5)


def test_draws_have_the_correlation_and_repeat_by_seed():
    x, y = mi.correlated_gaussians(20000, -0.8, 3, torch.Generator().manual_seed(0))
    assert torch.equal(y, mi.correlated_gaussians(20000, -0.8, 3, torch.Generator().manual_seed(0))[1])
    correlation = (x.T @ y / 20000)
    torch.testing.assert_close(correlation, -0.8 * torch.eye(3), atol=0.03, rtol=0)
    assert y.var().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("nats", [0.5, 1.0, 2.0])
def test_with_the_best_critic_each_bound_reads_the_truth(nats):
    """Mean over 20 batches of 128 pairs; JSD's reading without the 1 lacks 1/e."""
    rho, generator = mi.gaussian_correlation(nats, 4), torch.Generator().manual_seed(0)
    batches = [mi.gaussian_scores(*mi.correlated_gaussians(128, rho, 4, generator), rho) for _ in range(20)]

    def read(estimator):
        return sum(float(estimator(scores)) for scores in batches) / 20

    for estimator in (mi.donsker_varadhan, mi.infonce, lambda s: mi.nwj(s + 1), mi.nwj_by_jsd, mi.smile):
        assert read(estimator) == pytest.approx(nats, abs=0.12)
    assert read(lambda s: mi.nwj_by_jsd(s, 0.0)) == pytest.approx(nats - math.exp(-1), abs=0.12)


def test_what_cannot_be_read_is_a_sentence():
    for scores in (torch.zeros(3), torch.zeros(1, 1), torch.zeros(3, 4), torch.zeros(0, 0)):
        for estimator in (mi.donsker_varadhan, mi.infonce, mi.nwj, mi.smile, mi.mine, mi.tuba):
            with pytest.raises(ValueError, match=r"scores have the shape .* expected \(N, N, ...\) of two or more"):
                estimator(scores)
    for act, says in ((lambda s: mi.f_divergence(s, "tv"), "divergence is 'tv'; expected one of gan, jsd, x2, nwj"),
                      (lambda s: mi.smile(s, 0.0), "clip is 0"), (lambda s: mi.mine(s, None, 1.0), "momentum is 1"),
                      (lambda s: mi.infonce(s[..., None]), r"expected \(N, N\)")):
        with pytest.raises(ValueError, match=says):
            act(torch.zeros(3, 3))
