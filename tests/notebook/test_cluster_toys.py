"""The small trainings of the lesson on clusters: what they show is there, with the library's functions."""

from __future__ import annotations

import pytest
import torch

from course_lib.methods.clustering.scan import scan_loss
from course_lib.methods.clustering.shared import directions, nearest_rows
from course_lib.notebook.cluster_toys import contented, head_training, mending, peeking, task_losses
from course_lib.notebook.toys import toy_answers
from lessons.exercises.week17 import accuracy, clean, ruc_step
from lessons.exercises.week19 import separability, targets

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


def test_tasks_are_content_with_what_their_formulas_say():
    sure = torch.tensor([0.0, 0.5, 0.98])
    losses = task_losses(targets, separability, sure)
    assert {tuple(loss.shape) for loss in losses.values()} == {(13, 3)}
    p, _ = toy_answers(0.5, 12)
    mean = p.mean(0)
    assert float(losses["entropy"][12, 1]) == pytest.approx(6 * float(sum(v * v.log() for v in mean)), rel=1e-5)
    T, q = targets(p)
    rows = [sum(float(a * b) for a, b in zip(one, wanted)) for one, wanted in zip(p, T)]
    assert float(losses["invariance"][12, 1]) == pytest.approx(-5 * sum(rows) / 16, rel=1e-5)
    assert losses["separability"].max() <= 5
    alone = contented(losses, ["entropy"])
    assert alone["says nothing"] and alone["best"] == len(alone["places"]) > 3 and alone["title"] == "entropy"
    both = contented(losses, ["invariance", "entropy"])
    assert both["places"] == [[12, 2]] and not both["says nothing"] and both["title"] == "invariance + entropy"
    torch.testing.assert_close(both["loss"], losses["invariance"] + losses["entropy"])
    nothing = contented(losses, [])
    assert nothing["tasks"] == 0 and nothing["title"] == "no task" and nothing["best"] == 39
