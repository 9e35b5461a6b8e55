"""The small trainings of the lesson on clusters: what they show is there, with the library's functions."""

from __future__ import annotations

import pytest
import torch

from course_lib.methods.clustering.scan import scan_loss
from course_lib.methods.clustering.shared import directions, nearest_rows
from course_lib.notebook.cluster_toys import (
    PARTNERS,
    Heads,
    contented,
    head_training,
    mended_shares,
    mending,
    peeking,
    task_losses,
)
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


def test_heads_are_trained_once_and_scored_on_other_images():
    true, made = torch.arange(120) % 3, []
    bank = directions(3 * torch.eye(3, 8)[true] + 0.3 * torch.randn(120, 8, generator=torch.Generator().manual_seed(1)))

    def loss(p, q, weight):
        made.append(weight)
        return scan_loss(p, q, weight)["loss"]

    heads = Heads(loss, bank[:90], true[:90], bank[90:], true[90:], 3)
    found = heads.trained(5.0, "a neighbour")
    assert found.scores["acc"] == 1.0 and found.scores["in use"] == 3 and found.sizes == [30, 30, 30]
    assert found.titles == ("ACC 100%, NMI 1.00", "3 of 3 clusters in use") and len(found.clusters) == 90
    assert heads.trained(5.0, "a neighbour") is found and made == [5.0] * 150
    assert {len(heads.trained(0.5, partner).sizes) for partner in PARTNERS} == {3}


def test_peeking_flatters_dice_and_not_what_is_right():
    truth = torch.arange(3000) % 8
    found = peeking(accuracy, None, None, 8, [32, 64])
    assert list(found) == [32, 64]
    own, elsewhere = found[32]
    assert own > elsewhere + 0.1 and elsewhere == pytest.approx(1 / 8, abs=0.06)
    assert found[32].points == pytest.approx(100 * (own - elsewhere)) and found[64].points < found[32].points
    assert peeking(accuracy, (truth, truth), (truth, truth), 8, [500], draws=2) == {500: (1.0, 1.0)}


def test_wrong_labels_anywhere_are_mended_and_those_on_one_side_are_not():
    anywhere, side = (mending(ruc_step, clean, 0.35, where) for where in ("anywhere", "on one side"))
    assert anywhere.before == side.before == pytest.approx(0.65, abs=0.01)
    assert int(anywhere.wrong.sum()) == 84
    assert anywhere.after > 0.9 > 0.8 > side.after
    assert mending(ruc_step, None, 0.2, steps=1).trusted.all()
    drawn = anywhere.figure()
    assert [axes.get_title(loc="left") for axes in drawn.axes] == [
        "given: 65% right", f"trusted: {int(anywhere.trusted.sum())} of 240",
        f"after your steps: {anywhere.after:.0%} right"]
    ends = mended_shares(ruc_step, clean)
    assert list(ends) == ["clean", "everybody", "heavy", "side"] and ends["side"] == side.after


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
