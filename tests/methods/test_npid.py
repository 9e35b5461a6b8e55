"""NPID: both losses against loops in plain Python, the memory bank, Z from the first batch, and what cannot be."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.pretext.memory import MemoryBank
from course_lib.methods.pretext.npid import instance_softmax, nce_loss
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"depth": 2, "widths": (4, 8)}


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("npid", "convnet", 16, backbone_options=TINY,
                        **{"out": 6, "negatives": 5, "temperature": 0.2, **options})


def batch(n=8, data=None):
    data = images() if data is None else data
    return Batch(data.images[:n], torch.arange(n), None, data.images)


def bank(n=9, d=4, **options) -> MemoryBank:
    made = MemoryBank(d, **options).double()
    made.prepare(torch.zeros(n, 3, 2, 2, dtype=torch.uint8))
    return made


# ---------------------------------------------------------------- the losses, in plain Python
def naive_nce(scores, z, n, eps) -> tuple[float, float]:
    data = noise = 0.0
    for row in scores:
        k = len(row) - 1
        p = [math.exp(s) / z for s in row]
        data -= math.log(p[0] / (p[0] + k / n + eps))
        for other in p[1:]:
            noise -= math.log((k / n) / (other + k / n + eps))
    return data / len(scores), noise / len(scores)


@pytest.mark.parametrize("b, k, n, eps", [(1, 1, 4, 0.0), (5, 7, 20, 1e-7), (3, 40, 12, 1e-3)])
def test_nce_equals_its_definition(b, k, n, eps):
    scores = randn(b, 1 + k) * 2
    parts = nce_loss(scores, math.log(37.0), n, eps)
    data, noise = naive_nce(scores.tolist(), 37.0, n, eps)
    assert float(parts["data"]) == pytest.approx(data, rel=1e-10)
    assert float(parts["noise"]) == pytest.approx(noise, rel=1e-10)
    torch.testing.assert_close(parts["loss"], parts["data"] + parts["noise"])


def test_the_softmax_equals_its_definition():
    scores, own = randn(4, 9), torch.tensor([3, 0, 8, 3])
    rows = [(math.log(sum(map(math.exp, row))) - row[i]) for row, i in zip(scores.tolist(), own.tolist())]
    assert float(instance_softmax(scores, own)) == pytest.approx(sum(rows) / 4, rel=1e-10)


def test_gradients():
    v, memory = randn(3, 4).requires_grad_(), bank()
    rows = torch.tensor([[0, 4, 4], [1, 1, 7], [2, 8, 0]])
    assert torch.autograd.gradcheck(lambda x: nce_loss(memory.scores(x, rows, 0.3), 2.0, 9)["loss"], v)
    assert torch.autograd.gradcheck(lambda x: instance_softmax(memory.scores(x, None, 0.3), rows[:, 0]), v)


def test_with_many_noise_rows_and_the_true_z_nce_has_the_softmax_gradient():
    """The derivation: h' of the data is P K/n / (P + K/n) -> P as K grows; each row drawn equally often."""
    memory, own = bank(12, 5), torch.tensor([0, 5])

    def gradient(copies: int | None):
        v = normalize(randn(2, 5, seed=3)).requires_grad_()
        scores = memory.scores(v, None, 0.3)
        if copies is None:
            loss = instance_softmax(scores, own)
        else:
            chosen = torch.cat([scores.gather(1, own[:, None]), scores.repeat(1, copies)], 1)
            log_z = scores.logsumexp(1, keepdim=True).detach()  # of each image
            loss = nce_loss(chosen, log_z, 12, 0.0)["loss"]
        return torch.autograd.grad(loss, v)[0]

    exact = gradient(None)
    errors = [float((gradient(c) - exact).norm() / exact.norm()) for c in (1, 10, 100, 1000)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.05 and errors[-1] < 1e-3


def test_huge_scores_stay_finite():
    scores = torch.tensor([[200.0, -200.0, 100.0]], requires_grad=True)
    loss = nce_loss(scores, 120.0, 1000)["loss"]
    loss.backward()
    assert loss.isfinite() and scores.grad.isfinite().all()


def test_float32_inside_autocast():
    scores = randn(6, 9, dtype=torch.float32)
    wanted = nce_loss(scores, 1.0, 20)["loss"]
    v, memory, rows = randn(6, 4, dtype=torch.float32), bank().float(), torch.zeros(6, 3, dtype=torch.int64)
    cosines = memory.scores(v, rows, 0.1), memory.scores(v, None, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nce_loss(scores, 1.0, 20)["loss"], wanted)
        assert nce_loss(scores.bfloat16(), 1.0, 20)["loss"].dtype == torch.float32
        assert torch.equal(memory.scores(v, rows, 0.1), cosines[0])
        assert torch.equal(memory.scores(v, None, 0.1), cosines[1])


# ---------------------------------------------------------------- the bank
def test_rows_move_half_way_and_remember_when():
    memory = bank()
    before, z = memory.rows, randn(2, 4, seed=5) * 3
    memory.update(torch.tensor([7, 2]), z)
    for place, row in ((7, z[0]), (2, z[1])):
        torch.testing.assert_close(memory.rows[place], normalize(before[place] + normalize(row[None])[0], 1e-12))
    others = [i for i in range(9) if i not in (2, 7)]
    assert torch.equal(memory.rows[others], before[others])
    torch.testing.assert_close(memory.rows.norm(dim=1), torch.ones(9).double())
    memory.update(torch.tensor([7]), z[:1])
    assert memory.age.tolist() == [2, 2, 1, 2, 2, 2, 2, 0, 2]
    newest = bank(momentum=0.0)
    newest.update(torch.tensor([3]), z[:1])
    torch.testing.assert_close(newest.rows[3], normalize(z[:1])[0])


def test_z_is_that_of_the_first_batch():
    """Bug: Z estimated anew at each step."""
    memory, first, second = bank(), randn(3, 5), randn(3, 5, seed=1)
    wanted = math.log(9 * sum(math.exp(s) for s in first.flatten().tolist()) / 15)
    assert float(memory.log_partition(first)) == pytest.approx(wanted, rel=1e-10)
    assert float(memory.log_partition(second)) == pytest.approx(wanted, rel=1e-10)


def test_a_bank_of_another_data_set_is_a_sentence():
    method, data = build(), images()
    with pytest.raises(ValueError, match="the memory bank's rows are not known yet"):
        method.views(batch(), torch.Generator())
    method.prepare(data.images)
    method.prepare(data.images)  # a second run on the same images goes on with the rows
    with pytest.raises(ValueError, match="those of another data set: 36 images, and these are 20"):
        method.prepare(images(20).images)
    with pytest.raises(ValueError, match="those of another data set: 36 images, and these are 20"):
        method.views(batch(data=images(20)), torch.Generator())
    with pytest.raises(ValueError, match="those of another data set: 36 images, and these are 41"):
        method.views(Batch(data.images[:1], torch.tensor([40])), torch.Generator())
    with pytest.raises(ValueError, match="those of another data set, also of 36 images"):
        method.prepare(images(seed=7).images)


@pytest.mark.parametrize("name", ["npid", "pirl", "local-aggregation"])
def test_a_warm_bank_begins_as_what_the_network_makes_of_each_image(name):
    banks = []
    for warm in (True, True, False):
        torch.manual_seed(0)
        method = build_method(name, "convnet", 16, backbone_options=TINY, out=6, negatives=5, warm=warm)
        method.prepare(images().images)
        banks.append(method.memory)
    first, again, random = (memory.rows for memory in banks)
    assert torch.equal(first, again) and not first.requires_grad
    torch.testing.assert_close(first.norm(dim=1), torch.ones(len(first)))
    assert float(first.mean(0).norm()) > 2 * float(random.mean(0).norm())  # all alike, as an untrained network's are
    assert int(banks[0].updates) == 0 and not bool(banks[0].known)


def test_a_warm_bank_looks_where_it_is():
    """Bug: images that are streamed stay on the CPU, and the network is on a GPU."""
    memory, seen, pictures = MemoryBank(4).to("meta"), [], torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
    memory.prepare(pictures, lambda part: seen.append(part) or part.float().flatten(1))
    assert [part.device.type for part in seen] == ["meta"] and memory.rows.shape == (3, 12)


def test_bad_options_are_sentences():
    for wrong in (-1, 2.5, True):
        with pytest.raises(ValueError, match="negatives is .*; (expected|npid expects) a whole number"):
            build(negatives=wrong)
    with pytest.raises(ValueError, match="temperature is 0"):
        build(temperature=0)
    with pytest.raises(ValueError, match="memory is 1; expected a number from 0"):
        build(memory=1)


# ---------------------------------------------------------------- the module
@pytest.mark.parametrize("negatives", [0, 5])
def test_a_step(negatives):
    """The loss is of the old rows, and only the batch's rows move, towards the batch's embeddings."""
    method = build(negatives=negatives)
    method.prepare(images().images)
    before, given = method.memory.rows.clone(), method.views(batch(), torch.Generator().manual_seed(0))
    view, indices, rows = given
    assert torch.equal(rows[:, 0], indices) and rows.shape == (8, 1 + negatives) and int(rows.max()) < 36
    parts = method.loss(given)
    scores = parts["embedding"] @ before.T / 0.2
    if negatives:
        chosen = scores.gather(1, rows)
        log_z = chosen.logsumexp((0, 1)) + math.log(36 / chosen.numel())
        wanted = nce_loss(chosen, log_z, 36)["loss"]
    else:
        wanted = instance_softmax(scores, indices)
    torch.testing.assert_close(parts["loss"].detach(), wanted)
    moved = normalize(before[:8] + parts["embedding"])
    torch.testing.assert_close(method.memory.rows, torch.cat([moved, before[8:]]))
    parts["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())
    method.eval().loss(given)
    torch.testing.assert_close(method.memory.rows[:8], moved)  # evaluating changes nothing


@pytest.mark.parametrize("negatives", [0, 5])
def test_resume_is_bit_exact(negatives, tmp_path):
    settings = {**SMALL, "steps": 7, "log_every": 1, "lr": 0.01}
    whole, part, again = build(negatives=negatives), build(negatives=negatives), build(7, negatives=negatives)
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(part, images(), out=tmp_path / "cut", watch=Stop(4), **settings)
    torch.manual_seed(99)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves
    assert int(whole.memory.updates) == 7 and bool(whole.memory.known) is bool(negatives)
