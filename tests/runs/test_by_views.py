"""Stored runs by their views: lesson 01's shortcuts, and the embeddings of lesson 03."""

from __future__ import annotations

import pytest

from course_lib.runs.by_views import COLOURS, CROPS, KINDS, Shortcuts, embedded_causes
from course_lib.runs.several import with_settings
from course_lib.runs.stored import StoredRun


def run(seed: int, scores: list[dict], **settings) -> StoredRun:
    return StoredRun("vicreg", "shapes", id=f"run-{seed}", settings=settings, seed=seed, scores=scores)


def test_with_settings_keeps_the_runs_that_have_them_all():
    runs = [run(0, [], a=1, b=2), run(1, [], a=1, b=3), run(2, [], a=1)]
    assert with_settings(runs, a=1) == runs and with_settings(runs, a=1, b=3) == runs[1:2]


def test_shortcuts_by_views_against_a_loop():
    """Bug: crops taken for colours, or the mean over all views."""
    control = {"name": "raw pixels", "kind": "control", "confounded": 0.9, "independent": 0.3}
    number, runs, expected = 0, [], {}
    for seed in (0, 1):
        for colours in COLOURS:
            for crops in CROPS:
                number += 1
                expected.setdefault((crops, colours), []).append(number)
                own = {"name": "x", "kind": "method", "confounded": number, "independent": -number, "knn": 2 * number}
                runs.append(run(seed, [own, control], crops=crops, colours=colours))
    grid = Shortcuts(runs)
    assert list(grid.runs) == [(crops, colours) for crops in CROPS for colours in COLOURS]
    for views, numbers in expected.items():
        assert grid.values(views, "knn") == [2 * n for n in numbers]
        mean = sum(numbers) / 2
        assert grid.means()[views] == pytest.approx({"confounded": mean, "independent": -mean, "knn": 2 * mean})
        assert grid.ends()[views] == [(n, -n) for n in numbers]
    assert grid.control_ends() == {"raw pixels": (0.9, 0.3)} and KINDS == ("confounded", "independent")


def test_embedded_causes_of_the_usual_weights():
    usual = dict(weight_invariance=25.0, weight_variance=25.0, weight_covariance=4)
    runs = [run(seed, [{"embedding_factors": {"hue": hue}}], views=views, **{**usual, **other})
            for seed, views, hue, other in [(0, "all views", 0.2, {}), (1, "all views", 0.4, {}),
                                            (0, "no flips", 0.7, {}), (0, "all views", 9, {"weight_variance": 0})]]
    assert embedded_causes(runs) == {"all views": {"hue": pytest.approx(0.3)}, "no flips": {"hue": 0.7}}
