"""Toys of the lesson on mutual information: what a reading is summed up by."""

from __future__ import annotations

import pytest
import torch

from course_lib.notebook.information_toys import means_and_spreads


def test_means_and_spreads_of_each_estimator():
    found = means_and_spreads({"NWJ": torch.tensor([1.0, 3.0]), "MINE": torch.tensor([2.0, 2.0])})
    assert list(found) == ["NWJ", "MINE", "NWJ spread", "MINE spread"]
    assert found["NWJ"] == 2 and found["MINE spread"] == 0 and found["NWJ spread"] == pytest.approx(2**0.5)
