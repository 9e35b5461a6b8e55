"""MoCo: the loss against loops in plain Python, the queue, the key encoder, split and shuffled batch norm, resume,
ranks.

Each test of a bug that people shipped names it; the bugs stand in the docstring of the method's file.
"""

from __future__ import annotations

import copy
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from course_lib.augment.pixels import standardize
from course_lib.exercises import reference
from course_lib.methods import build_method
from course_lib.methods.contrastive.moco import moco_logits, moco_loss, shuffled_keys
from course_lib.models import batch_norm
from course_lib.models.batch_norm import split_batch_norm
from course_lib.models.layers import Queue, enqueue, normalize
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state, views


def moco(seed=0, name="moco-v2", queue=24, **options):
    torch.manual_seed(seed)
    options = {"hidden": 8, "out": 6, "splits": 2, "momentum": 0.9, **options}
    return build_method(name, "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, queue=queue, **options)


# ---------------------------------------------------------------- the loss, in plain Python
def naive_moco(q: list[list[float]], k, queue, temperature: float) -> tuple[float, float]:
    """(loss, accuracy) of raw queries and keys against a queue of rows of length 1."""
    total, found = 0.0, 0
    for i in range(len(q)):
        length_q, length_k = math.sqrt(sum(x * x for x in q[i])), math.sqrt(sum(x * x for x in k[i]))
        positive = sum(x * y for x, y in zip(q[i], k[i])) / (length_q * length_k)
        others = [sum(x * y for x, y in zip(q[i], row)) / length_q for row in queue]
        below = math.exp(positive / temperature) + sum(math.exp(other / temperature) for other in others)
        total += -math.log(math.exp(positive / temperature) / below)
        found += positive > max(others)
    return total / len(q), found / len(q)


@pytest.mark.parametrize("n, d, length, temperature", [
    (1, 2, 1, 1.0), (4, 3, 6, 0.5), (5, 8, 32, 0.2), (7, 4, 3, 0.07)])
def test_the_loss_equals_its_definition(n, d, length, temperature):
    q, k, queue = randn(n, d) * 3, randn(n, d, seed=1) / 2, normalize(randn(length, d, seed=2))
    loss, accuracy = naive_moco(q.tolist(), k.tolist(), queue.tolist(), temperature)
    parts = moco_loss(q, k, queue, temperature)
    assert float(parts["loss"]) == pytest.approx(loss, rel=1e-10)
    assert float(parts["accuracy"]) == pytest.approx(accuracy)
    logits = moco_logits(normalize(q), normalize(k), queue, temperature)
    assert logits.shape == (n, 1 + length)
    torch.testing.assert_close(logits[:, 0] * temperature, torch.cosine_similarity(q, k))


def test_gradients_flow_to_queries_only():
    """Bug: keys or the queue learn by gradients."""
    q, k, queue = randn(5, 4).requires_grad_(), randn(5, 4, seed=1).requires_grad_(), normalize(randn(9, 4, seed=2))
    queue.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: moco_loss(x, k.detach(), queue.detach(), 0.5)["loss"], q)
    moco_loss(q, k, queue, 0.5)["loss"].backward()
    assert q.grad.abs().sum() > 0 and k.grad is None and queue.grad is None


def test_the_gradient_is_that_of_a_softmax():
    """tau times the gradient of unit queries: the keys weighed by the softmax, minus the positive (over N)."""
    q, k = normalize(randn(3, 5)).requires_grad_(), normalize(randn(3, 5, seed=1))
    queue = normalize(randn(7, 5, seed=2))
    logits = moco_logits(q, k, queue, 0.2)
    loss = nn.functional.cross_entropy(logits, torch.zeros(3, dtype=torch.long))
    weights = logits.softmax(1).detach()
    pull = weights[:, :1] * k + weights[:, 1:] @ queue - k
    torch.testing.assert_close(torch.autograd.grad(loss, q)[0], pull / 0.2 / 3)


def test_the_floors_of_the_loss():
    """All alike: log(K + 1). A key enqueued before the logits is a second positive: never below log 2."""
    same_row = normalize(torch.ones(1, 4, dtype=torch.float64))
    alike = moco_loss(same_row.expand(3, 4), same_row.expand(3, 4), same_row.expand(10, 4), 0.1)
    assert float(alike["loss"]) == pytest.approx(math.log(11))
    eye = torch.eye(6, dtype=torch.float64)
    assert float(moco_loss(eye[:2], eye[:2], eye[2:], 0.05)["loss"]) < 1e-6
    assert float(moco_loss(eye[:2], eye[:2], eye, 0.05)["loss"]) == pytest.approx(math.log(2), abs=1e-6)


def test_invariances():
    q, k, queue = randn(6, 4), randn(6, 4, seed=1), normalize(randn(10, 4, seed=2))
    loss = moco_loss(q, k, queue, 0.3)["loss"]
    order = torch.randperm(6)
    rotation = torch.linalg.qr(randn(4, 4, seed=3)).Q
    for other in (moco_loss(q[order], k[order], queue, 0.3), moco_loss(q, k, queue.flip(0), 0.3),
                  moco_loss(5 * q, 0.1 * k, queue, 0.3), moco_loss(q @ rotation, k @ rotation, queue @ rotation, 0.3)):
        torch.testing.assert_close(other["loss"], loss)
    assert not torch.allclose(moco_loss(q[order], k, queue, 0.3)["loss"], loss), "pairs matter"


def test_float32_inside_autocast():
    q, k, queue = (randn(8, 16, seed=s, dtype=torch.float32) for s in range(3))
    wanted = moco_loss(q, k, normalize(queue), 0.07)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = moco_loss(q, k, normalize(queue), 0.07)["loss"]
    assert got.dtype == torch.float32 and torch.equal(got, wanted)
    halves = moco_loss(q.bfloat16(), k.bfloat16(), normalize(queue), 0.07)["loss"]
    assert halves.dtype == torch.float32 and float(halves) == pytest.approx(float(wanted), rel=2e-2)


# ---------------------------------------------------------------- the queue
def test_the_queue_is_first_in_first_out():
    """Against a list: the last K keys, in the order of their places, whatever the batch sizes."""
    length, queue, line = 7, Queue(7, 3), [("start", i) for i in range(7)]
    known = {("start", i): row for i, row in enumerate(queue.rows)}
    for step, n in enumerate((3, 3, 3, 2, 7, 1, 5)):
        new = normalize(randn(n, 3, seed=step, dtype=torch.float32))
        queue.enqueue(new)
        known |= {(step, i): row for i, row in enumerate(new)}
        line = (line + [(step, i) for i in range(n)])[-length:]
        old_to_new = torch.roll(queue.rows, -int(queue.pointer), 0)  # from the oldest row, which the pointer names
        assert torch.equal(old_to_new, torch.stack([known[name] for name in line]))
    assert int(queue.pointer) == (3 + 3 + 3 + 2 + 7 + 1 + 5) % 7


def test_the_queue_starts_with_unit_rows_and_refuses_too_many():
    queue = Queue(10, 4)
    torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(10))
    assert int(queue.pointer) == 0
    with pytest.raises(ValueError, match="11 new rows do not fit into a queue of 10"):
        queue.enqueue(torch.ones(11, 4))


def test_a_loss_survives_the_enqueue():
    """Bug: rows written in place, so that the backward of this step's logits finds other values."""
    rows, q = normalize(randn(6, 3)), randn(2, 3, seed=1).requires_grad_()
    loss = moco_loss(q, randn(2, 3, seed=2), rows, 0.2)["loss"]
    wanted = torch.autograd.grad(loss, q, retain_graph=True)[0]
    before = rows.clone()
    after, pointer = enqueue(rows, 5, normalize(randn(2, 3, seed=3).requires_grad_()))
    assert torch.equal(rows, before) and not after.requires_grad and pointer == 1
    torch.testing.assert_close(torch.autograd.grad(loss, q)[0], wanted, rtol=0, atol=0)


def test_own_share():
    """1 for keys as made now, about 0 for strangers', whichever row is the oldest."""
    share, fresh = reference("05.own_share"), normalize(randn(3, 50, 8))
    rows = fresh.flip(0).flatten(0, 1).roll(100, 0)
    torch.testing.assert_close(share(rows, 100, fresh), torch.ones(3, dtype=rows.dtype))
    assert float(share(rows, 50, fresh).abs().max()) < 0.1


# ---------------------------------------------------------------- the module
@pytest.mark.parametrize("symmetric", [False, True])
def test_keys_are_enqueued_after_the_logits(symmetric):
    """Bug: enqueued before, so that every positive is also a negative. Shows at the first step after an enqueue."""
    method = moco(symmetric=symmetric)
    before = method.queue.rows.clone()
    a, b, order = views(method)
    twin = copy.deepcopy(method)
    parts = method.loss((a, b, order))
    directions = [(a, b), (b, a)] if symmetric else [(a, b)]
    wanted, keys = 0, []
    for query, key in directions:
        query, key = standardize(query), standardize(key)
        q, k = normalize(twin.head(twin.backbone(query))), twin.encode_keys(key, order)
        wanted = wanted + moco_loss(q, k, before, method.temperature)["loss"]
        keys.append(k)
    torch.testing.assert_close(parts["loss"], wanted)
    count = 8 * len(directions)
    assert int(method.queue.pointer) == count and torch.equal(method.queue.rows[count:], before[count:])
    torch.testing.assert_close(method.queue.rows[:count], torch.cat(keys[::-1]))
    highest = (twin.encode_keys(standardize(b), order) @ before.T).max()
    assert highest < 0.999, "a key was its own negative"


def test_what_moves_and_what_must_not():
    """Bugs: a key encoder that learns by gradients, never follows, or whose batch-norm buffers are averaged in."""
    method = moco(momentum=0.9)
    optimizer = torch.optim.SGD([p for group in method.param_groups(0.1) for p in group["params"]], lr=0.5)
    online = nn.Sequential(method.backbone, method.head)
    assert same(state(method.keys.module), state(online)), "the key encoder starts as a copy"
    keys_before = {n: p.clone() for n, p in method.keys.module.named_parameters()}
    loss = method.loss(views(method))["loss"]
    loss.backward()
    assert all(p.grad is None for p in method.keys.parameters())
    assert all(p.grad is not None for p in online.parameters())
    optimizer.step()
    assert same(dict(method.keys.module.named_parameters()), keys_before), "only after_update moves it"
    buffers = {n: b.clone() for n, b in method.keys.module.named_buffers()}
    method.after_update(0.5)
    for (name, key), query in zip(method.keys.module.named_parameters(), online.parameters()):
        torch.testing.assert_close(key, 0.9 * keys_before[name] + 0.1 * query)
    assert same(dict(method.keys.module.named_buffers()), buffers), "buffers are the key encoder's own"
    assert any(not torch.equal(a, b) for a, b in zip(method.keys.module.buffers(), online.buffers()))


def test_weight_decay_reaches_every_parameter_of_the_query_encoder():
    method = moco()
    groups = method.param_groups(0.1)
    params = {id(p) for group in groups for p in group["params"]}
    assert all(group["weight_decay"] == 0.1 for group in groups)
    assert params == {id(p) for p in nn.Sequential(method.backbone, method.head).parameters()}


def test_v1_and_v2():
    one, two = moco(name="moco"), moco(name="moco-v2")
    assert [type(m) for m in one.head] == [nn.Linear] and len([m for m in two.head if isinstance(m, nn.Linear)]) == 2
    assert two.eval().embed(images(3).images).shape == (3, 8)


def test_evaluation_leaves_the_queue_alone():
    method = moco().eval()
    before = state(method)
    parts = method.loss(views(method))
    assert same(state(method), before) and parts["embedding"].shape == (8, 6)
    torch.testing.assert_close(parts["embedding"].norm(dim=1), torch.ones(8))


# ---------------------------------------------------------------- batch norm: split and shuffled
def test_split_batch_norm_sees_interleaved_parts():
    """Bug: one statistic over the whole batch. Image n is in part n mod splits, as in the official demo."""
    norm = split_batch_norm(batch_norm.BatchNorm1d(3), 2).double().train()
    x = randn(8, 3) * torch.tensor([1.0, 5.0, 0.1], dtype=torch.float64) + 3
    got = norm(x)
    for part in (0, 1):
        mine = x[part::2]
        wanted = (mine - mine.mean(0)) / (mine.var(0, correction=0) + norm.eps).sqrt()
        torch.testing.assert_close(got[part::2], wanted)
    means = torch.stack([x[0::2].mean(0), x[1::2].mean(0)]).mean(0)
    torch.testing.assert_close(norm.running_mean, 0.1 * means)
    changed = x.clone()
    changed[1] += 100
    assert torch.equal(norm(changed)[0::2], got[0::2]), "the other part does not feel it"
    with pytest.raises(ValueError, match="a batch of 7 cannot be split into 2"):
        norm(x[:7])
    norm.eval()
    assert torch.equal(norm(x)[:3], norm(x[:3])), "in evaluation an image is on its own"


def test_one_split_is_plain_batch_norm():
    plain, split = nn.BatchNorm2d(3), split_batch_norm(batch_norm.BatchNorm2d(3), 1)
    x = randn(4, 3, 5, 5, dtype=torch.float32)
    torch.testing.assert_close(split(x), plain(x))
    torch.testing.assert_close(split.running_var, plain.running_var)


def test_shuffling_changes_who_is_normalised_together_and_nothing_else():
    """Bug: keys left in the shuffled order, or shuffled a second time instead of back."""
    net = nn.Sequential(nn.Linear(5, 4), batch_norm.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    net = split_batch_norm(net, 2).double()
    x, order = randn(6, 5), torch.tensor([2, 3, 1, 5, 0, 4])
    keys = shuffled_keys(net, x, order)
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(6, dtype=torch.float64))
    for i in range(6):  # by hand: key i stands where the shuffled batch holds image i
        place = order.tolist().index(i)
        torch.testing.assert_close(keys[i], normalize(net(x[order]))[place])
    torch.testing.assert_close(shuffled_keys(net, x, torch.arange(6)), normalize(net(x)))
    among_halves = torch.tensor([0, 1, 4, 3, 2, 5])  # even places keep even images: the same groups
    torch.testing.assert_close(shuffled_keys(net, x, among_halves), normalize(net(x)))
    assert not torch.allclose(keys, normalize(net(x)))
    whole = split_batch_norm(copy.deepcopy(net), 1)
    torch.testing.assert_close(shuffled_keys(whole, x, order), normalize(whole(x)))


def test_each_step_draws_another_order():
    method = moco()
    orders = [views(method, seed=seed)[2] for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    assert sorted(orders[0].tolist()) == list(range(8))
    assert moco(splits=1).shuffle is False and moco(splits=2, shuffle=False).shuffle is False


# ---------------------------------------------------------------- the checkpoint
@pytest.mark.parametrize("cut", [1, 5])
def test_resume_is_bit_exact_with_queue_and_pointer(tmp_path, cut):
    """Bug: queue and pointer are not in the checkpoint, so a resumed run starts with random negatives."""
    settings = {**SMALL, "steps": 9, "log_every": 1, "lr": 0.01}
    whole = moco()
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    part = moco()
    fit(part, images(), out=tmp_path / "cut", watch=Stop(cut), **settings)
    stored = checkpoint.load(tmp_path / "cut" / "last.pt")["method"]
    assert torch.equal(stored["queue.rows"], part.queue.rows) and int(stored["queue.pointer"]) == 8 * cut % 24
    torch.manual_seed(99)
    again = moco(seed=7)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves
    assert int(again.queue.pointer) == 8 * 9 % 24 == 0


# ---------------------------------------------------------------- two ranks
def rank_step(rank: int, world: int) -> dict:
    """A module on its share of a batch of 8; what it holds after two steps."""
    method = moco(splits=1, queue=20)
    for step in range(2):
        generator = torch.Generator().manual_seed(10 + step)
        batch = torch.rand(2, 8, 3, 16, 16, generator=generator)
        mine = slice(rank * 8 // world, (rank + 1) * 8 // world)
        method.loss((batch[0, mine], batch[1, mine], torch.arange(8 // world)))
    return {"rows": method.queue.rows, "pointer": method.queue.pointer}


def test_the_queue_is_the_same_on_every_rank(tmp_path):
    """Bug: a queue that each rank fills with its own keys alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    env = {**os.environ, "OMP_NUM_THREADS": "1",
           "PYTHONPATH": os.environ["PYTHONPATH"]}
    processes = [subprocess.Popen([sys.executable, __file__, str(tmp_path), str(rank), port], env=env,
                                  stderr=subprocess.PIPE, text=True) for rank in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    one, first, second = rank_step(0, 1), *(torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first["rows"], second["rows"]) and int(first["pointer"]) == int(second["pointer"]) == 16
    torch.testing.assert_close(first["rows"], one["rows"], rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    folder, number, port = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=int(number), world_size=2)
    torch.save(rank_step(int(number), 2), Path(folder) / f"{number}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_v1_and_v2_have_their_own_views():
    first, second = (build_method(name, image_size=96).augment for name in ("moco", "moco-v2"))
    assert first.gray_first and first.jitter == (0.4, 0.4, 0.4, 0.4) and first.jitter_p == 1.0 and first.blur_p == 0.0
    assert not second.gray_first and second.jitter == (0.4, 0.4, 0.4, 0.1) and second.blur_p == 0.5


@pytest.mark.parametrize("temperature", [0.0, -0.2])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature is .* expected a number above 0"):
        moco_loss(randn(2, 4), randn(2, 4), normalize(randn(3, 4)), temperature)


def test_what_cannot_be_is_a_sentence_and_a_queue_longer_than_the_set_a_warning():
    """Bugs: three layers asked for and two made; an image's own keys of the epoch before among its negatives."""
    with pytest.raises(ValueError, match="layers is 3; expected a head of 1 layer .* or of 2"):
        moco(layers=3)
    with pytest.warns(UserWarning, match="queue is 40, but there are 36 images: earlier keys of an image"):
        fit(moco(queue=40), images(), steps=1, **SMALL)


@pytest.mark.parametrize("name", ["roco", "mochi", "imco", "unmix"])
def test_methods_of_this_family_refuse_a_queue_longer_than_the_set_if_it_was_asked_for(name):
    def built(**options):
        return build_method(name, "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, **options)

    some = {"hard": 8} if name == "mochi" else {}
    assert fit(built(queue=36, **some), images(), steps=1, **SMALL).steps == 1
    with pytest.raises(ValueError, match="queue is 37, but there are 36 images.*set a shorter queue, such as queue=18"):
        fit(built(queue=37, **some), images(), steps=1, **SMALL)
    with pytest.warns(UserWarning, match="queue is 512, but there are 36 images"):
        fit(built(), images(), steps=1, **SMALL)
