"""Stored runs in lines: those that differ by their seed alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from course_lib.runs.stored import StoredRun


def in_lines(runs: Iterable[StoredRun], setting: str = "line") -> dict[str, list[StoredRun]]:
    """Runs by the value of one of their settings, in the order in which the values come, each sorted by seed.

    ValueError for a run that lacks the setting.
    """
    found: dict[str, list[StoredRun]] = {}
    for run in runs:
        if setting not in run.settings:
            raise ValueError(f"the run {run.id} has no setting {setting!r}; it has: {', '.join(sorted(run.settings))}")
        found.setdefault(run.settings[setting], []).append(run)
    return {value: sorted(line, key=lambda run: run.seed) for value, line in found.items()}


def first_scores(lines: Mapping[str, Sequence[StoredRun]], key: str) -> dict[str, list[Any]]:
    """A score of the first row of each run, by line; lines whose rows lack it are left out."""
    return {line: [run.scores[0][key] for run in runs] for line, runs in lines.items()
            if all(key in run.scores[0] for run in runs)}
