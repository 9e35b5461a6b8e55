"""Every last hint, typed in as it stands in a lesson: with the lesson's imports and its earlier exercises."""

from __future__ import annotations

import pytest

from course_lib.exercises import all_exercises, grade
from helpers.exercise_checks import lesson_space, typed_in

EXERCISES = {e.key: e for e in all_exercises()}
NAMES = {"math", "torch", "nn", "F", "einops", "check", "hints", "solution", "answer"}


@pytest.fixture(scope="module")
def lessons():
    return {week: lesson_space(week) for week in sorted({key.partition(".")[0] for key in EXERCISES})}


@pytest.mark.parametrize("key", sorted(EXERCISES))
def test_the_last_hint_passes_its_check(key, lessons):
    space, stubs = lessons[key.partition(".")[0]]
    function, code = typed_in(EXERCISES[key].hints[-1], stubs[key], space, f"<hint of {key}>")
    assert grade(EXERCISES[key], function).state == "right", code


@pytest.mark.parametrize("week", sorted({key.partition(".")[0] for key in EXERCISES}))
def test_every_lesson_imports_what_answers_need(week, lessons):
    space, _ = lessons[week]
    assert NAMES <= set(space)
