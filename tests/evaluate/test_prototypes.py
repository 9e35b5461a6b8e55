"""Names near prototypes, and the spread of codes, against loops."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from course_lib.evaluate.prototypes import commonest_share, effective, spread_of_codes
from helpers.draws import randn


def test_commonest_share_against_a_count():
    labels = torch.randint(4, (20, 7), generator=torch.Generator().manual_seed(0))
    counted = [Counter(row.tolist()).most_common(1)[0][1] / 7 for row in labels]
    assert commonest_share(labels).tolist() == pytest.approx(counted)


def test_effective_is_the_number_of_equal_shares():
    for many in (1, 2, 5):
        shares = torch.cat([torch.full((many,), 1 / many), torch.zeros(3)])
        assert float(effective(shares)) == pytest.approx(many, rel=1e-5)


def test_the_spread_of_an_image_and_of_the_batch():
    """Bug: the two exchanged, or the batch's shares not divided by its images."""
    codes = (3 * randn(9, 4)).softmax(1)

    def spread(shares) -> float:
        return math.exp(-sum(p * math.log(p) for p in shares))

    rows = [spread(row) for row in codes.tolist()]
    columns = spread([sum(row[k] for row in codes.tolist()) / 9 for k in range(4)])
    assert spread_of_codes(codes) == pytest.approx((sum(rows) / 9, columns), rel=1e-5)
    assert spread_of_codes(torch.eye(4)) == pytest.approx((1, 4)), "sharp and even"
