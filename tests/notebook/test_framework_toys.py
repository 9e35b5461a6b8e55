"""What lesson 24's knobs look at, against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib.augment import SHAPES_VIEWS
from course_lib.augment.pixels import to_float
from course_lib.data import make_shapes
from course_lib.methods.information.cmc import SPACES
from course_lib.methods.information.framework import ASPECTS, PAPERS
from course_lib.notebook.framework_toys import MapPairs, as_pictures, channels, compared, go_together
from helpers.draws import randn


def test_every_paper_goes_together_and_not_every_setting():
    assert all(go_together(choices) for choices in PAPERS.values())
    settings = [[options[0] for options in ASPECTS.values()]]
    for place, options in enumerate(ASPECTS.values()):
        settings += [[*settings[0][:place], option, *settings[0][place + 1:]] for option in options]
    assert not all(go_together(choices) for choices in settings)


@pytest.mark.parametrize("paper", ["SimCLR", "AMDIM", "CPC v2"])
def test_what_a_setting_compares_fits_together(paper):
    """Bug: another draw at each call; a positive that is a negative, too."""
    images = make_shapes(6, 3).images
    found = compared(PAPERS[paper], images, SHAPES_VIEWS)
    assert found.positive.shape == found.negative.shape == found.scores.shape
    assert not (found.positive & found.negative).any() and found.positive.any(1).all()
    again = compared(PAPERS[paper], images, SHAPES_VIEWS)
    assert torch.equal(found.scores, again.scores) and found.loss == again.loss


def test_places_that_find_their_own_image_against_a_loop():
    """Bug: the best place in place of the mean over places, or the other view's place."""
    pairs = MapPairs([randn(5, 3, 1, 1), randn(5, 3, 2, 2)], [randn(5, 3, 1, 1), randn(5, 3, 2, 2)])
    assert pairs.names == {"1x1": 0, "2x2": 1}
    scores, won = pairs.scores(1, 1, 1, 0), 0
    for i in range(5):
        means = []
        for j in range(5):
            each = [float(pairs.first[1][i, :, 1, 0] @ pairs.second[1][j, :, r, c]) / 3**0.5
                    for r in range(2) for c in range(2)]
            assert scores[i, j].flatten().tolist() == pytest.approx(each, abs=1e-5)
            means.append(sum(each))
        won += means.index(max(means)) == i
    assert pairs.won(1, 1, 1, 0) == pytest.approx(won / 5)


def test_correlations_of_channels_between_and_within_images():
    images = to_float(make_shapes(12, 5).images)
    found = channels("rgb", images)
    maps = SPACES["rgb"](images)
    assert torch.equal(found.maps, maps)
    one, other = maps[:, 0].double().numpy(), maps[:, 2].double().numpy()
    inner = [each - each.mean((1, 2), keepdims=True) for each in (one, other)]
    for values, (a, b) in ((found.pixels, (one, other)), (found.between, (one.mean((1, 2)), other.mean((1, 2)))),
                           (found.within, inner)):
        assert float(values[1]) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-4)


def test_channels_as_grey_pictures_from_0_to_1():
    maps = randn(4, 2, 3, 3)
    pictures = as_pictures(maps)
    assert pictures.shape == (2, 4, 3, 3, 3) and float(pictures.min()) == 0 and float(pictures.max()) == 1
    low, high = maps[:, 1].min(), maps[:, 1].max()
    for colour in range(3):
        torch.testing.assert_close(pictures[1, :, colour], (maps[:, 1] - low) / (high - low))
