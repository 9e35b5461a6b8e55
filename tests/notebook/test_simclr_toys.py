"""Lesson 04's small experiments: each bug does what its line says, and the runs are told apart by their settings."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment import SHAPES_VIEWS, standardize
from course_lib.data import load
from course_lib.notebook import simclr_toys as T
from course_lib.runs import read_runs, runs_folder


def view(images, source):
    return standardize(SHAPES_VIEWS(images, source))


@pytest.fixture(scope="module")
def images():
    return load("shapes", n=64).train.images[:32]


def test_each_bug_is_its_one_line(images):
    runs = {bug: T.logged(bug, images, 16, view) for bug in T.BUGS}
    assert all(len(run.loss) == len(run.accuracy) == 2 and not run.network.training for run in runs.values())
    assert len({run.loss[0] for run in runs.values()}) == 4
    assert runs["one draw"].accuracy[0] == 1.0, "the partner is the same picture"
    assert runs["itself"].accuracy == [0.0, 0.0], "each anchor is nearest to itself"
    assert runs["itself"].loss[0] > runs["right"].loss[0], "one more candidate, the nearest of all"
    assert T.logged("right", images, 16, view).loss == runs["right"].loss
    with pytest.raises(ValueError, match="no bug 'typo'"):
        T.logged("typo", images, 16, view)


def test_embedded_is_what_is_behind_the_head(images):
    network = T.logged("right", images, 16, view).network
    z = T.embedded(network, images.float() / 255)
    torch.testing.assert_close(z, network.head(network.backbone(standardize(images.float() / 255))).detach())


def test_closest_equals_a_loop():
    looks = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))
    for i, found in enumerate(T.closest(looks).tolist()):
        others = [j for j in range(7) if j != i]
        assert found == min(others, key=lambda j: float((looks[i] - looks[j]).norm()))


def test_the_stored_runs_of_each_part():
    stored = read_runs(runs_folder() / "04_simclr")
    assert set(T.LABELS) == set(T.PARTS) and T.LABELS["crop"] == "without crop"
    for views in T.PARTS.values():
        assert len(T.chosen(stored, views)) == 3
    assert {run.settings["temperature"] for run in T.chosen(stored, "all", 1.0)} == {1.0}
    row = T.chosen(stored, "all")[0].scores
    assert {name for name in T.LAYERS.values()} <= {each["name"] for each in row}
