"""Stored runs: written by a command, drawn by lessons, never edited by hand."""

from course_lib.runs.origin import provenance
from course_lib.runs.recap import COLUMNS, CONTROLS, EMPTY, RecapTable, kept, recap_rows, recap_runs, recap_table
from course_lib.runs.speed import NOT_MEASURED, Figures, figures_file, read_figures, run_hours
from course_lib.runs.stored import (
    CURVE_POINTS, FORMAT, LARGEST_JSON, SETTINGS, Panel, StoredRun, compare_runs, read_runs, record_run, runs_folder,
    write_run,
)

__all__ = [
    "COLUMNS", "CONTROLS", "CURVE_POINTS", "EMPTY", "FORMAT", "Figures", "LARGEST_JSON", "NOT_MEASURED", "Panel",
    "RecapTable", "SETTINGS", "StoredRun", "compare_runs", "figures_file", "kept", "provenance", "read_figures",
    "read_runs", "recap_rows", "recap_runs", "recap_table", "record_run", "run_hours", "runs_folder", "write_run",
]
