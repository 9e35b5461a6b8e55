"""What lesson 27's knobs look at, against loops."""

from __future__ import annotations

import pytest
import torch

from course_lib.exercises import reference
from course_lib.notebook import dense_toys
from course_lib.notebook.dense_toys import CELLS, by_mirror, kin, places_differ, propagation, through_training
from helpers.draws import randn


def cosine(a, b) -> float:
    return float(a @ b / a.norm() / b.norm())


def test_how_different_places_are_against_a_loop():
    """Bug: pairs counted over maps, not within them."""
    maps = randn(2, 5, 3, 3)
    means = []
    for each in maps:
        places = list(each.flatten(1).T)
        means.append(sum(cosine(a, b) for a in places for b in places) / 81)
    assert places_differ(maps) == pytest.approx(1 - sum(means) / 2, abs=1e-6)
    assert places_differ(torch.ones(1, 4, 2, 2)) == pytest.approx(0, abs=1e-6)


def test_propagation_shows_the_weights_of_the_place():
    maps = randn(3, 5, 4, 4)
    data, panels, weights = propagation(reference("27.propagate"), maps, 1, 2.0, (2, 3))
    for row in range(4):
        for column in range(4):
            expected = max(cosine(maps[1, :, row, column], maps[1, :, 2, 3]), 0) ** 2
            assert float(weights[row, column]) == pytest.approx(expected, abs=1e-5)
    assert data["gathers"] == pytest.approx(float(weights.sum())) and data["before"] == places_differ(maps)
    assert data["after"] == places_differ(reference("27.propagate")(maps, maps, 2.0))
    assert all(panel.shape == (4, 4, 3) for panel in panels.values()) and len(panels) == 2


def stored() -> dict:
    """Three pairs at two moments: equal crops; the second mirrored; the second half a view to the right."""
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0])
    second = torch.stack([whole, whole[[2, 1, 0, 3]], torch.tensor([0.5, 0.0, 1.5, 1.0])])
    cosines = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    cosines[1, :, range(64), range(64)] = 255  # at the end everybody answers with the same place of the view
    pictures = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    return {"cosines": cosines, "steps": [0, 200], "corners1": whole.repeat(3, 1), "corners2": second,
            "first": pictures, "second": pictures}


def test_points_through_training_against_a_loop():
    """Bug: cells that are not shown in the second view counted as found or missed."""
    carry, kept = reference("27.carry"), stored()
    for number in range(3):
        _, truth, seen, right = through_training(kept, carry, 1, number)
        hits = [float((CELLS[0][i] - truth[i]).abs().max()) <= 1 / 8 for i in range(64) if seen[i]]
        assert right == pytest.approx(sum(hits) / len(hits))
    assert through_training(kept, carry, 1, 0)[3] == 1 and int(through_training(kept, carry, 1, 2)[2].sum()) == 32
    assert through_training(kept, carry, 0, 0)[3] < 0.1


def test_pairs_parted_by_the_mirror():
    carry, kept = reference("27.carry"), stored()
    right = [through_training(kept, carry, 1, number)[3] for number in range(3)]
    assert by_mirror(kept, carry) == pytest.approx(((right[0] + right[2]) / 2, right[1], 1))


def test_a_picture_of_a_pair_says_what_is_not_shown():
    data, figure = dense_toys.looked_up(stored(), reference("27.carry"), 1, 2, (3, 0))
    assert data["step"] == 200 and "not shown" in figure.axes[2].get_title(loc="left")
    data, figure = dense_toys.looked_up(stored(), reference("27.carry"), 1, 0, (3, 0))
    assert data["right"] == 1 and "not shown" not in figure.axes[2].get_title(loc="left")


def test_kin_of_a_place_against_a_loop():
    maps = randn(6, 4, 4)
    found = kin(maps, (9, 14), 16)  # the place at row 2, column 3
    mean = maps.flatten(1).mean(1)
    for row in range(4):
        for column in range(4):
            expected = cosine(maps[:, row, column] - mean, maps[:, 2, 3] - mean)
            assert float(found[row, column]) == pytest.approx(expected, abs=1e-5)
