"""Mistakes that nobody planted: hardly a card without a clue, none accepted; and no right answer refused."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest
from exercises.attempts import Tries

from course_lib.exercises import grade
from course_lib.exercises.engine import exercise
from helpers.exercise_checks import lesson_space, typed_in

WEEKS = tuple(sorted(path.stem.removeprefix("week") for path in (Path(__file__).parent / "attempts").glob("week*.py")))
# says no more than that values differ, or by how much
BARE = re.compile(r"(?:[\w\[\]'\". ]+: )?(?:the values? differs?|[\d,]+ of [\d,]+ entries differ)"
                  r"(?:\.? yours is too (?:large|small) on (?:every probe|\d+ of \d+ probes)[^.]*[\d. a-z]*)?\.?", re.I)


def attempts(week: str) -> dict[str, Tries]:
    return importlib.import_module(f"exercises.attempts.week{week}").ATTEMPTS


def judged(week: str) -> list[tuple[str, str, str, str]]:
    """(key, what it is, verdict, the card's text) of each attempt at the exercises of a week."""
    space, stubs = lesson_space(week)
    found = []
    for key, tries in attempts(week).items():
        for number, (what, body, right) in enumerate(tries.bodies()):
            function, _ = typed_in(body, stubs[key], space, f"<{key} attempt {number}>")
            check = grade(exercise(key), function)
            text = check.message.split(" Until it is right")[0].strip()
            verdict = check.state
            if check.state == "wrong":
                verdict = "named" if check.name else "bare" if BARE.fullmatch(text) else "clue"
            found.append((key, what, ("right " if right else "wrong ") + verdict, check.name or text))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("week", WEEKS)
def test_all_attempts_of_a_week(week):
    found = judged(week)
    count = Counter(verdict for *_, verdict, _ in found)
    print("\n" + "\n".join(" | ".join(f) for f in found), "\n", dict(count))
    assert not [f for f in found if f[2] == "wrong right"], "a wrong answer is accepted"
    assert not [f for f in found if f[2].startswith("right") and f[2] != "right right"], "a right answer is refused"
    wrong = sum(n for verdict, n in count.items() if verdict.startswith("wrong"))
    bare = [f for f in found if f[2] == "wrong bare"]
    assert len(bare) <= 0.15 * wrong, bare
