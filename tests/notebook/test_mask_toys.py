"""Masks of squares: what is hidden, what is measured of each, and which are counted."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.masks import coarse_mask
from course_lib.evaluate.reconstruction import average_distance, hidden_error
from course_lib.notebook import mask_toys as T

SETS = {"shapes": torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))}


def test_squares_hide_their_share_and_leave_one_of_four():
    half = T.squares(coarse_mask, 8, 0.5, patch=4, seed=2)
    assert half.shape == (64, 8, 8) and (half.flatten(1).sum(1) == 32).all()
    assert (half[:, ::2, ::2] == half[:, 1::2, 1::2]).all()
    assert (T.squares(coarse_mask, 16, 0.9, patch=4, seed=2).flatten(1).sum(1) == 16).all()


def test_a_survey_measures_each_mask_and_counts_each_once():
    survey = T.mask_survey(SETS, (8, 16), (0.75, 0.9), coarse_mask, average_distance)
    mask = survey["shapes", 8, 0.75]
    assert mask["hidden"] == 0.75 and mask["distance"] == average_distance(mask["visible"], 32)
    assert mask["error"] == hidden_error(mask["filled"], SETS["shapes"], mask["visible"])
    points = T.different(survey)["shapes"]
    assert len(survey) == 4 and len(points) == 3 and points[0] == (mask["distance"], mask["error"])
    errors = [error for _, error in points]
    assert T.copy_spread(survey, 0, 99) == {"shapes": pytest.approx(max(errors) / min(errors))}
