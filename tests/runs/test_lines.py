"""Stored runs by line, and the scores of their first rows."""

from __future__ import annotations

import pytest

from course_lib.runs import StoredRun, first_scores, in_lines


def run(line: str, seed: int, **scores: float) -> StoredRun:
    return StoredRun("simclr", "shapes", id=f"{line}-{seed}", settings={"line": line}, seed=seed, scores=[scores])


def test_lines_are_sorted_by_seed():
    found = in_lines([run("b", 1), run("a", 0), run("b", 0)])
    assert {line: [one.seed for one in runs] for line, runs in found.items()} == {"b": [0, 1], "a": [0]}
    assert list(found) == ["b", "a"]
    with pytest.raises(ValueError, match="the run b-1 has no setting 'change'; it has: line"):
        in_lines([run("b", 1)], "change")


def test_first_scores_leave_out_lines_without_them():
    lines = in_lines([run("a", 0, acc=0.5), run("a", 1, acc=0.6, used=3), run("b", 0, acc=0.7, used=2)])
    assert first_scores(lines, "acc") == {"a": [0.5, 0.6], "b": [0.7]} and first_scores(lines, "used") == {"b": [2]}
