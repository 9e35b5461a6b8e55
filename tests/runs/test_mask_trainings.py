"""The stored trainings of lesson 13, read and compared as loops over their records do."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest

from course_lib.runs.mask_trainings import ERROR, GAIN, MAE, RULERS, SCRATCH, MaskTrainings

TRAININGS = MaskTrainings()


def test_gains_are_over_the_scratch_of_the_same_seed():
    assert set(TRAININGS.runs) == {*TRAININGS.masks, "all-scored", MAE}
    for name in (*TRAININGS.masks, MAE):
        assert [run.seed for run in TRAININGS.runs[name]] == [0, 1, 2]
        for seed, run in enumerate(TRAININGS.runs[name]):
            own = run if name == MAE else TRAININGS.runs["mask-8-0.5"][seed]
            wanted = 100 * (run.scores[0]["fine_tuned"] - own.scores[1]["fine_tuned"])
            assert TRAININGS.gain[name][seed] == pytest.approx(wanted)
    assert TRAININGS.minus(SCRATCH, MAE) == [-gain for gain in TRAININGS.gain[MAE]]
    assert TRAININGS.levels() == {SCRATCH: 0.0, "MAE, equal compute": fmean(TRAININGS.gain[MAE])}
    assert 0 < TRAININGS.drift() < 10


def test_masks_lie_from_near_to_far_and_slopes_are_those_of_a_line():
    far = [TRAININGS.distance(name) for name in TRAININGS.masks]
    assert far == sorted(far) and len(far) == 4
    for seed, slope in enumerate(TRAININGS.slopes(TRAININGS.masks)):
        line = np.polyfit(far, [TRAININGS.gain[name][seed] for name in TRAININGS.masks], 1)
        assert slope == pytest.approx(line[0], rel=1e-3)


@pytest.mark.parametrize("ruler", RULERS)
def test_points_and_their_correlation(ruler):
    points = TRAININGS.points(ruler, GAIN)
    assert {len(pairs) for pairs in points.values()} == {3} and "8 px at 0.5" in points
    means = [(fmean(x for x, _ in pairs), fmean(y for _, y in pairs)) for pairs in points.values()]
    assert TRAININGS.correlation(ruler) == pytest.approx(np.corrcoef(np.array(means).T)[0, 1], abs=1e-4)
    stored = TRAININGS.runs["mask-16-0.5"][1].scores[0]["error"]
    assert TRAININGS.points(ruler, ERROR)["16 px at 0.5"][1][1] == stored


def test_a_ruler_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="there is no 'a foot'"):
        TRAININGS.points("a foot")
