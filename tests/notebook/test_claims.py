"""Claims: intervals against scipy, the three verdicts, and what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from course_lib.notebook.claims import claim, difference_interval, interval, median_interval


@pytest.mark.parametrize("n", [3, 4, 10, 31, 40, 200])
def test_interval_is_students(n):
    x = np.random.default_rng(n).normal(size=n)
    low, high, said = interval(list(x))
    expected = stats.t.interval(0.95, n - 1, x.mean(), stats.sem(x))
    assert (low, high) == pytest.approx(expected, rel=1e-9)
    assert f"over {n} runs" in said


def test_interval_of_two_and_one():
    assert interval([3.0, 1.0]) == (1.0, 3.0, "least and greatest of two runs")
    assert interval([2.0]) == (2.0, 2.0, "one run, no interval")
    assert interval([2.0], "image") == (2.0, 2.0, "one image, no interval")


@pytest.mark.parametrize("n", [6, 9, 12, 20, 41])
def test_interval_of_the_median_cuts_what_coins_allow(n):
    cut = int(stats.binom.ppf(0.025, n, 0.5)) - (stats.binom.cdf(stats.binom.ppf(0.025, n, 0.5), n, 0.5) > 0.025)
    values = np.random.default_rng(n).permutation(n).tolist()
    assert median_interval(values) == (cut, n - 1 - cut)


def test_interval_of_the_median_of_few_values_is_their_span():
    assert [median_interval(v) for v in ([2.0], [3.0, 1.0], [1, 5, 2, 4, 3])] == [(2.0, 2.0), (1.0, 3.0), (1, 5)]


def test_difference_is_welchs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 40), rng.normal(0, 3, 45)
    low, high, _ = difference_interval(list(a), list(b))
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (low, high) == pytest.approx(tuple(expected), rel=1e-9)
    assert difference_interval([1.0, 2.0], [0.0, 0.5, 3.0])[:2] == (-2.0, 2.0)


def test_welchs_degrees_of_freedom_are_not_rounded():
    """They are 3.4 here: with 3 of them the interval would be 0.034 to 0.153."""
    a, b = [0.5663, 0.5935, 0.6207], [0.4827, 0.5, 0.5173]
    low, high, _ = difference_interval(a, b)
    assert (low, high) == pytest.approx((0.038, 0.149), abs=5e-4)
    expected = tuple(stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95))
    assert (low, high) == pytest.approx(expected, rel=1e-9)
    assert difference_interval([1.0] * 3, [0.0] * 4)[:2] == (1.0, 1.0), "runs that are all alike"


def test_values_that_are_no_runs_are_called_what_they_are():
    made = claim("It holds", [0.8, 0.9, 1.0], above=[0.1, 0.2, 0.3, 0.4], each="test image")
    assert "t-interval over 3 test images" in repr(made) and "3 and 4 test images" in repr(made)
    assert "run" not in repr(made)


@pytest.mark.parametrize(
    "bounds, verdict",
    [
        (dict(at_least=0.7), "supported"),
        (dict(at_least=0.81), "not separable"),
        (dict(at_least=0.95), "refuted"),
        (dict(at_most=0.95), "supported"),
        (dict(at_most=0.79), "not separable"),
        (dict(at_most=0.6), "refuted"),
        (dict(at_least=0.7, at_most=0.9), "supported"),
        (dict(at_least=0.7, at_most=0.6), "refuted"),
        (dict(at_least=0.81, at_most=0.6), "refuted"),
        (dict(above=[0.5, 0.52, 0.51]), "supported"),
        (dict(above=[0.79, 0.81, 0.8]), "not separable"),
        (dict(above=[0.9, 0.91, 0.92]), "refuted"),
        (dict(at_least=math.nan), "not separable"),
    ],
)
def test_verdicts(bounds, verdict):
    made = claim("It holds", [0.80, 0.81, 0.79], **bounds)
    assert made.verdict == verdict
    assert verdict in repr(made) and verdict in made._repr_html_() and "<script" not in made._repr_html_()


def test_one_run_is_said_and_judged_by_itself():
    made = claim("It holds", 0.8, at_least=0.8, unit="%")
    assert made.verdict == "supported" and "one run, no interval" in repr(made) and "80.0 %" in repr(made)
    assert claim("It holds", math.nan, at_least=0).verdict == "not separable"
    assert claim("Above", 1.0, above=1.0).verdict == "refuted"  # equal is not above
    assert claim("Above", [1.0, 3.0], above=[0.5]).verdict == "supported"


def test_values_from_stored_runs():
    runs = [{"id": "a1", "knn": 0.5}, {"id": "a2", "knn": 0.6}, SimpleNamespace(id="a3", knn=0.7)]
    made = claim("It learns", "knn", at_least=0.1, unit="%", runs=runs)
    assert (
        made.value == pytest.approx(0.6) and made.sources == ("a1", "a2", "a3") and "a1, a2, a3" in repr(made)
    )
    assert claim("x", np.array([0.5, 0.6]), at_least=0).values == (0.5, 0.6)


def test_what_is_refused():
    with pytest.raises(ValueError, match="nothing could refute it"):
        claim("x", 1.0)
    with pytest.raises(ValueError, match="give fractions"):
        claim("x", 83.0, at_least=80.0, unit="%")
    with pytest.raises(ValueError, match="needs runs="):
        claim("x", "knn", at_least=1)
    with pytest.raises(ValueError, match="at least one value"):
        claim("x", [], at_least=1)
