"""Scores of several stored runs of one kind, such as the seeds of a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from course_lib.runs.stored import StoredRun
from course_lib.text import text_table


def with_settings(runs: Iterable[StoredRun], **settings: Any) -> list[StoredRun]:
    """The runs that have these settings."""
    return [run for run in runs if all(run.settings.get(name) == value for name, value in settings.items())]


def scores_of(runs: Sequence[StoredRun], key: str) -> list[float]:
    """A score of each run's first row, the method's own."""
    return [run.scores[0][key] for run in runs]


def _row(run: StoredRun, name: str | None) -> dict:
    return run.scores[0] if name is None else next(row for row in run.scores if row["name"] == name)


def causes_of(runs: Sequence[StoredRun], cause: str, which: str = "factors", row: str | None = None) -> list[float]:
    """How well a cause is read in each run: from the features ("factors"), or from what `which` names.

    row: the name of another row of the scores, such as a control; None: the method's own.
    """
    return [_row(run, row)[which][cause] for run in runs]


def mean_causes(runs: Sequence[StoredRun], which: str = "factors", row: str | None = None) -> dict[str, float]:
    """How well each cause is read, the mean over the runs; see `causes_of`."""
    return {cause: fmean(causes_of(runs, cause, which, row)) for cause in _row(runs[0], row)[which]}


def means_table(values: Mapping[str, Mapping[str, Sequence[float]]], columns: Mapping[str, tuple[str, str]]) -> str:
    """Rows of means over runs as text: name -> scores by key, a value for each run.

    columns: key -> its heading and format, such as ("kNN", ".0%").
    """
    rows = [["", "seeds", *(heading for heading, _ in columns.values())]]
    for name, scores in values.items():
        seeds = len(next(iter(scores.values())))
        rows.append([name, str(seeds), *(format(fmean(scores[key]), how) for key, (_, how) in columns.items())])
    return text_table(rows, "<>")
