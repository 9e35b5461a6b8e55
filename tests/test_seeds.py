"""Seeded random numbers: things dealt out to names."""

from __future__ import annotations

import pytest

from course_lib.seeds import dealt


def test_dealt_gives_each_name_one_thing_in_an_order_that_differs_between_seeds():
    hands = [dealt("ABCD", (1, 2, 3, 4), seed=seed) for seed in range(6)]
    assert all(list(hand) == list("ABCD") and sorted(hand.values()) == [1, 2, 3, 4] for hand in hands)
    assert len({tuple(hand.values()) for hand in hands}) > 2
    assert hands[3] == dealt("ABCD", (1, 2, 3, 4), seed=3)


def test_dealt_wants_as_many_names_as_things():
    with pytest.raises(ValueError):
        dealt("ABC", (1, 2), seed=0)
