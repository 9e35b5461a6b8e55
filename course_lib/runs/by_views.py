"""Stored runs that differ in their views: those of lesson 01, on images with a shortcut, and those of lesson 03."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from course_lib.runs.lines import in_lines
from course_lib.runs.several import mean_causes, scores_of, with_settings
from course_lib.runs.stored import StoredRun

KINDS = ("confounded", "independent")  # test images
CROPS, COLOURS = ("gentle", "hard"), ("strong", "mild")


def embedded_causes(runs: Sequence[StoredRun]) -> dict[str, dict[str, float]]:
    """How well each cause is read from the embedding of lesson 03's runs with the usual weights: views -> means."""
    usual = with_settings(runs, weight_invariance=25, weight_variance=25, weight_covariance=4)
    return {views: mean_causes(line, "embedding_factors") for views, line in in_lines(usual, "views").items()}


class Shortcuts:
    """Runs trained where the background gives the shape away, by their views: (crops, colours).

    Their accuracies of kNN on both `KINDS` of test images.
    """

    def __init__(self, runs: Sequence[StoredRun]):
        self.runs = {(crops, colours): with_settings(runs, crops=crops, colours=colours)
                     for crops in CROPS for colours in COLOURS}
        self.controls = {row["name"]: row for row in runs[0].scores if row["kind"] == "control"}

    def values(self, views: tuple[str, str], key: str) -> list[float]:
        """A score of these views, by seed."""
        return scores_of(self.runs[views], key)

    def means(self) -> dict[tuple[str, str], dict[str, float]]:
        """Views -> the mean accuracy on each kind, and "knn", by a bank of independent images."""
        return {views: {key: fmean(self.values(views, key)) for key in (*KINDS, "knn")} for views in self.runs}

    def ends(self) -> dict[tuple[str, str], list[tuple[float, ...]]]:
        """Views -> for each seed the accuracies on both kinds."""
        return {views: list(zip(*(self.values(views, kind) for kind in KINDS))) for views in self.runs}

    def control_ends(self) -> dict[str, tuple[float, ...]]:
        """Control -> its accuracies on both kinds."""
        return {name: tuple(row[kind] for kind in KINDS) for name, row in self.controls.items()}
