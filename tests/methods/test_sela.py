"""SeLa: the plan against plain Python, what it balances, when labels are found, the module, and resume."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.clustering.sela import label_loss, label_times, labels_of, transport_plan
from course_lib.models.layers import sinkhorn
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.naive import softmax
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("sela", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"clusters": 4, "heads": 2, "times": 3, **options})


def batch(n=8, data=None, source=True):
    data = images() if data is None else data
    return Batch(data.images[:n], torch.arange(n), None, data.images if source else None)


def draws():
    return torch.Generator().manual_seed(0)


# ---------------------------------------------------------------- the plan
def naive_plan(p, lam, tolerance):
    """P^lambda scaled by alpha and beta, in the way of the paper, with numbers as they are."""
    n, k = len(p), len(p[0])
    power = [[v**lam for v in row] for row in p]
    beta, error, rounds = [1 / n] * n, math.inf, 0
    while error > tolerance:
        alpha = [1 / k / sum(power[i][j] * beta[i] for i in range(n)) for j in range(k)]
        new = [1 / n / sum(power[i][j] * alpha[j] for j in range(k)) for i in range(n)]
        if rounds % 10 == 0:
            error = sum(abs(b / c - 1) for b, c in zip(beta, new))
        beta, rounds = new, rounds + 1
    return [[alpha[j] * power[i][j] * beta[i] for j in range(k)] for i in range(n)], error, rounds


@pytest.mark.parametrize("n, k, lam, tolerance", [(9, 3, 1.0, 0.1), (24, 4, 10.0, 0.1), (24, 4, 25.0, 0.01)])
def test_the_plan_equals_its_definition(n, k, lam, tolerance):
    log_p = (randn(n, k) * 1.5).log_softmax(1)
    plan, error, rounds = transport_plan(log_p, lam, tolerance)
    wanted, naive_error, naive_rounds = naive_plan(log_p.exp().tolist(), lam, tolerance)
    assert rounds == naive_rounds and error == pytest.approx(naive_error, rel=1e-6, abs=1e-12)
    torch.testing.assert_close(plan, torch.tensor(wanted).double(), rtol=1e-7, atol=1e-12)
    assert torch.equal(labels_of(log_p, lam, tolerance), plan.argmax(1))


def test_it_is_swavs_sinkhorn_on_log_p_and_logits_have_the_same_solution():
    logits = randn(30, 5) * 2
    plan, _, rounds = transport_plan(logits.log_softmax(1), 10.0)
    torch.testing.assert_close(plan, sinkhorn(logits.log_softmax(1), 1 / 10, rounds) / 30)
    torch.testing.assert_close(*(transport_plan(x, 10.0, 1e-9)[0] for x in (logits, logits.log_softmax(1))),
                               rtol=1e-6, atol=1e-9)


def test_rows_and_columns_are_balanced_and_argmax_nearly():
    log_p = (randn(60, 6) + torch.tensor([2.0, 1, 0, 0, 0, -1])).log_softmax(1)
    plan, _, _ = transport_plan(log_p, 25.0, 1e-6)
    torch.testing.assert_close(plan.sum(1), torch.full((60,), 1 / 60).double())
    torch.testing.assert_close(plan.sum(0), torch.full((6,), 1 / 6).double(), rtol=1e-3, atol=1e-3)
    plain, fair = (labels_of(log_p, balance=b).bincount(minlength=6) for b in (False, True))
    assert int(plain.max()) > 20 and int(plain.min()) <= 2 and 7 <= int(fair.min()) <= int(fair.max()) <= 13


def test_float32_inputs_do_not_underflow():
    """Bug: P^25 in float32, of which most is 0."""
    log_p = (randn(40, 4, dtype=torch.float32) * 30).log_softmax(1)
    assert (log_p.exp() ** 25 == 0).float().mean() > 0.5
    plan, error, _ = transport_plan(log_p, 25.0, most=50)
    assert plan.dtype == torch.float64 and plan.isfinite().all() and math.isfinite(error)
    torch.testing.assert_close(plan.sum(1), torch.full((40,), 1 / 40).double())


def test_the_times_are_denser_at_the_start():
    assert label_times(5).tolist() == [0, 1 / 16, 1 / 4, 9 / 16, 1] and label_times(1).tolist() == [0]


def test_the_label_loss_equals_its_definition():
    logits, labels = randn(3, 2, 4), torch.tensor([[0, 3], [1, 1], [2, 0]])
    wanted = -sum(math.log(softmax(head)[label]) for row, ls in zip(logits.tolist(), labels.tolist())
                  for head, label in zip(row, ls)) / 6
    assert float(label_loss(logits, labels)) == pytest.approx(wanted, rel=1e-10)
    assert torch.autograd.gradcheck(lambda x: label_loss(x, labels), logits.requires_grad_())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert label_loss(logits.float().bfloat16(), labels).dtype == torch.float32


# ---------------------------------------------------------------- the module
def test_labels_begin_balanced_and_are_found_before_the_first_step():
    method, data = build(), images()
    method.prepare(data.images)
    first = method.memory.labels.clone()
    assert all(column.bincount().tolist() == [9, 9, 9, 9] for column in first.T)
    assert not torch.equal(first[:, 0], first[:, 1])
    _, labels = method.views(batch(), draws())
    found = method.memory.labels
    assert int(method.found) == 1 and not torch.equal(found, first) and torch.equal(labels, found[:8])
    assert all(5 <= int(c.bincount(minlength=4).min()) for c in found.T), "nearly balanced"


def test_labels_are_found_when_it_is_time():
    method = build()
    method.prepare(images().images)
    counts = []
    for progress in (0.0, 0.2, 0.25, 0.3, 0.9):
        method.after_update(progress)
        method.views(batch(), draws())
        counts.append(int(method.found))
    assert counts == [1, 1, 2, 2, 2]  # at 0, 1/4 and 1


def test_without_balance_a_label_is_the_likeliest():
    method = build(balance=False, heads=1, augment={"scale": (1.0, 1.0), "flip": 0.0, "jitter_p": 0.0, "gray_p": 0.0})
    method.prepare(images().images)
    method.views(batch(), draws())
    with torch.no_grad():
        likeliest = method.scores(method.augment(images().images, draws())).argmax(2)
    assert (method.memory.labels == likeliest).float().mean() > 0.9  # but for the place of ties and the crop's aspect


def test_gradients_reach_all_and_clusters_are_the_first_heads():
    method = build()
    method.prepare(images().images)
    parts = method.loss(method.views(batch(), draws()))
    parts["loss"].backward()
    assert all(p.grad is not None for p in method.parameters()) and 1 <= float(parts["clusters"]) <= 4.01
    method.eval()
    pictures = images(8).images
    assert torch.equal(method.assign(pictures), method.scores(pictures / 255)[:, 0].argmax(1))


def test_what_cannot_be_is_a_sentence():
    for options, message in (({"clusters": 1}, "clusters is 1"), ({"lam": 0}, "lam is 0"), ({"heads": 0}, "heads is 0"),
                             ({"times": 1.5}, "times is 1.5"), ({"tolerance": -1}, "tolerance is -1")):
        with pytest.raises(ValueError, match=message):
            build(**options)
    with pytest.raises(ValueError, match="clusters is 40, but there are only 36 images"):
        build(clusters=40).prepare(images().images)
    method = build()
    with pytest.raises(ValueError, match="the labels are not known yet"):
        method.views(batch(), draws())
    method.prepare(images().images)
    with pytest.raises(ValueError, match="the labels are those of another data set: 36 images, and these are 20"):
        method.prepare(images(20).images)
    with pytest.raises(ValueError, match="does not hold the set"):
        method.views(batch(source=False), draws())


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 8, "log_every": 1, "lr": 0.01}
    whole, part, again = build(times=4), build(times=4), build(7, times=4)
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(part, images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves
    assert int(whole.found) == 3
