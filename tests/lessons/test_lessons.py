"""Every lesson: runs as committed, with nbval; its knobs move; its exercises can be solved; its names exist;
its lint."""

from __future__ import annotations

import re

import nbformat
import pytest

from course_lib.exercises import all_exercises
from course_lib.exercises.engine import exercise
from helpers.lesson_lint import problems
from helpers.lesson_tools import (
    code_cells,
    desk,
    exercise_keys,
    lessons,
    missing_names,
    run_solved,
    run_with_nbval,
    tail,
    with_knobs_driven,
)

every = pytest.mark.parametrize("lesson", lessons(), ids=lambda p: p.stem)


@every
@pytest.mark.slow
def test_runs_as_committed_and_its_knobs_move(lesson, tmp_path):
    """With holes: tagged cells print what is committed, the others run; then every knob to both ends in two
    orders."""
    copy = desk(lesson, tmp_path)
    with_knobs_driven(copy)
    done = run_with_nbval(copy)
    if done.returncode:
        pytest.fail(
            f"{lesson.name} under nbval (the last cell drives the knobs):\n{tail(done.stdout)}", pytrace=False
        )


@every
@pytest.mark.slow
def test_runs_solved(lesson, tmp_path):
    """A right answer in place of each stub: all checks say so."""
    keys = {k for c in code_cells(nbformat.read(lesson, as_version=4)) for k in exercise_keys(c)}
    states = run_solved(lesson, tmp_path)
    assert states == dict.fromkeys(keys, "right")


@every
def test_names_exist(lesson):
    assert missing_names(nbformat.read(lesson, as_version=4)) == []


@every
def test_exercises_are_registered(lesson):
    keys = [k for c in code_cells(nbformat.read(lesson, as_version=4)) for k in exercise_keys(c)]
    registered = [e.key for e in all_exercises() if e.key.partition(".")[0] == lesson.name[:2]]
    assert sorted(keys) == sorted(registered), "the lesson's stubs and the week's exercises are the same"


@every
def test_the_text_gives_exercises_the_minutes_of_the_progress_list(lesson):
    cells = nbformat.read(lesson, as_version=4).cells
    texts = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    said = [tuple(map(int, pair)) for pair in re.findall(r"(\d+) minutes, difficulty (\d)", texts)]
    listed = [exercise(k) for c in cells if c.cell_type == "code" for k in exercise_keys(c)]
    assert said == [(e.minutes, e.difficulty) for e in listed]


@every
def test_lint(lesson):
    found = problems(lesson)
    if found:
        pytest.fail("\n".join([lesson.name, *("  " + line for line in found)]), pytrace=False)
