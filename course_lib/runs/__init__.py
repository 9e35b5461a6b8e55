"""Stored runs: written by a command, drawn by lessons, never edited by hand."""

from course_lib.runs.lines import first_scores, in_lines
from course_lib.runs.origin import provenance
from course_lib.runs.recap import COLUMNS, CONTROLS, EMPTY, RecapTable, kept, recap_rows, recap_runs, recap_table
from course_lib.runs.stored import (
    CURVE_POINTS, FORMAT, LARGEST_JSON, SETTINGS, Panel, StoredRun, compare_runs, read_runs, record_run, runs_folder,
    write_run,
)

__all__ = [
    "COLUMNS", "CONTROLS", "CURVE_POINTS", "EMPTY", "FORMAT", "LARGEST_JSON", "Panel", "RecapTable", "SETTINGS",
    "StoredRun", "compare_runs", "first_scores", "in_lines", "kept", "provenance", "read_runs", "recap_rows",
    "recap_runs", "recap_table", "record_run", "runs_folder", "write_run",
]
