"""The live picture of a run: what its title says, and when it is drawn."""

from __future__ import annotations

import pytest

from course_lib.notebook.live import LiveCurves
from course_lib.train.history import History


def history(**changes) -> History:
    return History(**{"steps": 20, "total_steps": 100, "seconds": 5.0, "views_per_second": 300.0,
                      "curve_steps": [10, 20], "curves": {"loss": [2.0, 1.0]}, **changes})


@pytest.mark.parametrize("changes, title", [
    ({}, "20/100 steps, about 20 s left"), ({"stop_at": 60}, "20/100 steps, about 10 s left"),
    ({"seconds": 80.0}, "20/100 steps, about 5 min left"), ({"steps": 100}, "100/100 steps"),
    ({"stop_at": 20}, "20/100 steps"), ({"interrupted": True}, "interrupted at step 20 of 100"),
])
def test_the_title_says_how_far_it_is_and_how_long_it_takes(changes, title):
    axes = LiveCurves().draw(history(**changes)).axes[0]
    assert title in {axes.get_title(loc) for loc in ("left", "center")}


def test_the_end_and_an_interrupt_are_drawn_at_once(screen):
    watch = LiveCurves(every=1000)
    watch(history())
    watch(history(steps=30))
    assert len(screen.shown) == 1 and not screen.updates
    watch(history(steps=30, interrupted=True))
    watch(history(steps=60, stop_at=60))
    assert len(screen.updates) == 2
