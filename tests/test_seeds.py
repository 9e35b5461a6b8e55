"""Seeded random numbers: things dealt out to names; draws where their generator is."""

from __future__ import annotations

import ast

import pytest

from course_lib.seeds import dealt
from helpers.environment import ROOT


def test_dealt_gives_each_name_one_thing_in_an_order_that_differs_between_seeds():
    hands = [dealt("ABCD", (1, 2, 3, 4), seed=seed) for seed in range(6)]
    assert all(list(hand) == list("ABCD") and sorted(hand.values()) == [1, 2, 3, 4] for hand in hands)
    assert len({tuple(hand.values()) for hand in hands}) > 2
    assert hands[3] == dealt("ABCD", (1, 2, 3, 4), seed=3)


def test_dealt_wants_as_many_names_as_things():
    with pytest.raises(ValueError):
        dealt("ABC", (1, 2), seed=0)


@pytest.mark.parametrize("folder", ["seeds.py", "augment", "methods/contrastive"])
def test_views_are_drawn_where_the_generator_that_is_handed_in_lives(folder):
    """Bug: torch.rand(n, generator=generator), which draws on the CPU and refuses the generator of a GPU."""
    place = ROOT / "course_lib" / folder
    for path in [place] if place.is_file() else sorted(place.glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                options = {word.arg: word.value for word in call.keywords}
                if isinstance(call.func, ast.Attribute) and isinstance(options.get("generator"), ast.Name):
                    assert "device" in options, f"{path.name}:{call.lineno}: no device=generator.device"
