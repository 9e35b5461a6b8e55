"""The small trainings of the lesson on clusters: what they show is there, with the library's functions."""

from __future__ import annotations

import pytest
import torch

from course_lib.methods.clustering.scan import scan_loss
from course_lib.methods.clustering.shared import directions, nearest_rows
from course_lib.notebook.cluster_toys import head_training, mending, peeking
from lessons.exercises.week17 import accuracy, clean, ruc_step

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_head_uses_all_clusters_only_with_the_entropy():
    g = torch.Generator().manual_seed(0)
    true = torch.arange(400) % 4
    bank = directions(3 * torch.eye(4, 12)[true] + torch.randn(400, 12, generator=g))
    around = nearest_rows(bank, 8)

    def sizes(weight):
        head = head_training(bank, around, lambda p, q, w: scan_loss(p, q, w)["loss"], weight, "a neighbour", 4, 60)
        return head(bank).argmax(1).bincount(minlength=4)

    assert int((sizes(5.0) > 40).sum()) == 4 and int((sizes(0.0) > 40).sum()) < 4
    assert sizes(5.0).equal(sizes(5.0)), "the same each time"


def test_peeking_flatters_dice_and_not_what_is_right():
    truth = torch.arange(3000) % 8
    own, elsewhere = peeking(accuracy, None, (truth, truth), 8, 32)
    assert own > elsewhere + 0.1 and elsewhere == pytest.approx(1 / 8, abs=0.06)
    assert peeking(accuracy, (truth, truth), (truth, truth), 8, 500, draws=2) == (1.0, 1.0)


def test_wrong_labels_anywhere_are_mended_and_those_on_one_side_are_not():
    anywhere, side = (mending(ruc_step, clean, 0.35, anywhere=where) for where in (True, False))
    assert anywhere.before == side.before == pytest.approx(0.65, abs=0.01)
    assert int(anywhere.wrong.sum()) == 84
    assert anywhere.after > 0.9 > 0.8 > side.after
    assert mending(ruc_step, None, 0.2, steps=1).trusted.all()
