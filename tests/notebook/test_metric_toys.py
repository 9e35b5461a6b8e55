"""The pulls of SupCon's two losses: against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.notebook.metric_toys import OTHERS, two_pulls


def two_means(positives, negatives, tau):
    log_p = (torch.cat([positives, negatives]) / tau).log_softmax(0)[:len(positives)]
    return -log_p.mean(), math.log(len(positives)) - log_p.logsumexp(0)


def test_pulls_are_what_is_wanted_minus_what_is_there():
    found = two_pulls(two_means, 0.2, 0.5)
    cosines = [0.9, 0.6, 0.2]
    assert found.cosines == pytest.approx(cosines)
    every = [math.exp(value / 0.5) for value in [*cosines, *OTHERS.tolist()]]
    p = [value / sum(every) for value in every[:3]]
    assert found.pulls["outside"] == pytest.approx([1 / 3 - value for value in p], abs=1e-6)
    assert found.pulls["inside"] == pytest.approx([value / sum(p) - value for value in p], abs=1e-6)
    assert found.losses["outside"] == pytest.approx(-sum(math.log(value) for value in p) / 3)
    assert found.losses["inside"] == pytest.approx(math.log(3) - math.log(sum(p)))
