"""Scores of several runs."""

from __future__ import annotations

from course_lib.runs.several import means_table


def test_a_table_of_means_says_of_how_many_runs():
    values = {"base": {"knn": [0.5, 0.75], "loss": [1.0, 3.0]}, "other": {"knn": [0.25], "loss": [4.0]}}
    rows = [line.split() for line in means_table(values, {"loss": ("loss", ".2f"), "knn": ("kNN", ".0%")}).splitlines()]
    assert rows == [["seeds", "loss", "kNN"], ["base", "2", "2.00", "62%"], ["other", "1", "4.00", "25%"]]
