"""LooC: the loss against loops in plain Python, what the sign table says, what the views share, the module."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.views import Augment
from course_lib.cli.main import main
from course_lib.methods import build_method
from course_lib.methods.contrastive.looc import looc_loss, shared_seeds, sign_table
from course_lib.models.layers import normalize
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state, views

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("looc", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"hidden": 12, "out": 6, "queue": 16, **options})


def outputs(heads, n, d, length):
    return randn(heads, n, d), randn(heads, heads, n, d, seed=1), normalize(randn(heads, length, d, seed=2))


# ---------------------------------------------------------------- the loss, in plain Python
def naive(q, k, queues, temperature) -> list[float]:
    """Each head's loss: positives and negatives picked one by one."""
    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    losses = []
    for i in range(len(q)):
        total = 0.0
        for r, query in enumerate(q[i]):
            rivals = [cosine(query, row) for row in queues[i]]
            if i > 0:
                rivals += [cosine(query, k[i][j][r]) for j in range(len(q)) if j != i]
            positive = math.exp(cosine(query, k[i][i][r]) / temperature)
            total -= math.log(positive / (positive + sum(math.exp(s / temperature) for s in rivals)))
        losses.append(total / len(q[i]))
    return losses


@pytest.mark.parametrize("heads, n, d, length, temperature", [(2, 3, 4, 5, 0.5), (3, 4, 3, 7, 0.1), (4, 2, 5, 3, 1.0)])
def test_the_loss_equals_its_definition(heads, n, d, length, temperature):
    q, k, queues = outputs(heads, n, d, length)
    parts = looc_loss(q, k, queues, temperature)
    wanted = naive(q.tolist(), k.tolist(), queues.tolist(), temperature)
    assert [float(parts[f"head_{i}"]) for i in range(heads)] == pytest.approx(wanted, rel=1e-9)
    assert float(parts["loss"]) == pytest.approx(sum(wanted) / heads, rel=1e-9)


def test_without_queues_the_batchs_other_keys_are_the_negatives():
    q, k, _ = outputs(3, 4, 5, 6)
    keys, parts = normalize(k), looc_loss(q, k, None, 0.3)
    for i in range(3):
        rows = [looc_loss(q[:, r:r + 1], k[:, :, r:r + 1], keys[range(3), range(3)][:, [m for m in range(4) if m != r]],
                          0.3)[f"head_{i}"] for r in range(4)]
        assert float(parts[f"head_{i}"]) == pytest.approx(float(sum(rows)) / 4)
    k = k.requires_grad_()
    assert torch.autograd.gradcheck(lambda q, k: looc_loss(q, k, None, 0.5)["loss"], [q.requires_grad_(), k])


def test_the_sign_table():
    assert sign_table(2).tolist() == [[1, 0, 0], [-1, 1, -1], [-1, -1, 1]]
    assert sign_table(1).tolist() == [[1, 0], [-1, 1]]
    assert sign_table(0).tolist() == [[1]], "MoCo"
    with pytest.raises(ValueError, match="n is -1"):
        sign_table(-1)


def test_head_0_does_not_see_the_other_key_views_and_the_others_are_pushed_from_them():
    q, k, queues = outputs(3, 4, 5, 6)
    moved = k.clone()
    moved[0, 1:] += 1
    assert torch.equal(looc_loss(q, moved, queues)["head_0"], looc_loss(q, k, queues)["head_0"])
    near = k.clone()
    near[1, 0] = q[1]  # key view 0 looks just like the query to head 1
    assert looc_loss(q, near, queues)["head_1"] > looc_loss(q, k, queues)["head_1"]


def test_gradients_reach_the_queries_alone_and_float32_inside_autocast():
    q, k, queues = (x.requires_grad_() for x in outputs(3, 2, 3, 4))
    assert torch.autograd.gradcheck(lambda q: looc_loss(q, k.detach(), queues.detach(), 0.5)["loss"], [q])
    looc_loss(q, k, queues)["loss"].backward()
    assert k.grad is None and queues.grad is None
    given = [x.detach().float() for x in (q, k, queues)]
    wanted = looc_loss(*given)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(looc_loss(*given)["loss"], wanted)
    sharp = given[0].requires_grad_()
    looc_loss(sharp, *given[1:], 0.002)["loss"].backward()
    assert sharp.grad.isfinite().all()


# ---------------------------------------------------------------- the views
def test_a_key_view_has_the_querys_seed_of_its_own_augmentation_alone():
    seeds = shared_seeds(3, torch.Generator().manual_seed(0))
    assert seeds.shape == (5, 3)
    equal = seeds[1:] == seeds[0]  # key views by augmentations
    assert torch.equal(equal[1:], torch.eye(3, dtype=torch.bool)) and not equal[0].any()


def test_what_is_left_out_is_shared_and_all_else_is_not():
    """Without crops, and with one kind of change alone: the key view that shares it is the query."""
    method = build(augment=Augment(16, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0,
                                                  gray_p=0.0, turn=180.0))
    query, keys, _ = views(method)
    assert torch.equal(keys[2], query) and not torch.equal(keys[0], query) and not torch.equal(keys[1], query)
    method = build(augment=Augment(16, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=1.0,
                                                  gray_p=0.5))
    query, keys, _ = views(method)
    assert torch.equal(keys[1], query) and not torch.equal(keys[0], query) and not torch.equal(keys[2], query)
    method = build()
    query, keys, _ = views(method)
    assert not any(torch.equal(key, query) for key in keys), "the crop is drawn anew for each view"


# ---------------------------------------------------------------- the module
@pytest.mark.parametrize("left_out", [(), ("colour",), ("colour", "place")])
def test_heads_and_queues(left_out):
    method = build(left_out=left_out)
    query, keys, orders = views(method)
    assert len(keys) == len(orders) == len(method.queues) == 1 + len(left_out)
    before = [queue.rows.clone() for queue in method.queues]
    parts = method.loss((query, keys, orders))
    k = method.encode_keys(keys, orders)
    assert k.shape == (len(keys), len(keys), 8, 6) and parts["views_per_image"] == 2 + len(left_out)
    for i, (queue, rows) in enumerate(zip(method.queues, before)):
        torch.testing.assert_close(queue.rows[:8], k[i, i], atol=1e-5, rtol=1e-4)
        assert torch.equal(queue.rows[8:], rows[8:])
    parts["loss"].backward()
    learning = [*method.backbone.parameters(), *method.heads.parameters()]
    assert all(p.grad is not None for p in learning if p.requires_grad)
    assert all(p.grad is None for p in method.keys.parameters())
    assert method.embed(query).shape == (8, 8) and method.embed_head(query, 0).shape == (8, 6)


def test_keys_come_back_in_the_order_of_their_images():
    method = build(splits=1).eval()
    _, keys, orders = views(method)
    plain = method.encode_keys(keys, [torch.arange(8)] * 3)
    torch.testing.assert_close(method.encode_keys(keys, orders), plain, atol=1e-6, rtol=1e-5)


def test_the_keys_follow_without_a_gradient_and_the_loss_falls():
    method = build(momentum=0.9)
    before = state(method)
    fit(method, images(), steps=3, **SMALL, lr=0.01)
    after = state(method)
    name = "0.blocks.0.0.weight"
    moved = (after[f"backbone.{name[2:]}"] - before[f"backbone.{name[2:]}"]).abs().max()
    assert 0 < (after[f"keys.module.{name}"] - before[f"keys.module.{name}"]).abs().max() < moved


def test_what_does_not_fit_is_a_sentence():
    for options, says in (({"temperature": 0}, "temperature is 0"), ({"left_out": ("size",)}, "left_out has 'size'"),
                          ({"left_out": ("place", "place")}, "each augmentation once")):
        with pytest.raises(ValueError, match=says):
            build(**options)
    with pytest.raises(ValueError, match="temperature is -1"):
        looc_loss(*outputs(2, 3, 3, 4), temperature=-1)


def test_a_run_by_name_is_rebuilt(tmp_path):
    words = ["train", "looc", "--data", "shapes", "--limit", "40", "--device", "cpu", "--steps", "2", "--batch-size",
             "8", "--set", "left_out=colour", "--set", "hidden=8", "--set", "queue=32", "--no-evaluate", "--out",
             str(tmp_path)]
    assert main(words) == 0
    assert checkpoint.load_method(tmp_path / "last.pt").left_out == ("colour",)


def test_without_a_queue_there_is_no_key_encoder_and_the_loss_falls():
    method = build(queue=0)
    history = fit(method, images(64), steps=20, **{**SMALL, "batch_size": 16}, lr=0.01, log_every=1)
    assert method.keys is None and not method.queues
    assert sum(history.curves["loss"][-5:]) < sum(history.curves["loss"][:5])
    with pytest.raises(ValueError, match="LooC without a queue compares images .* got 1"):
        method.loss(views(method, 1))


@pytest.mark.parametrize("queue", [0, 16])
def test_resume_is_bit_exact(tmp_path, queue):
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, again = build(queue=queue), build(seed=7, queue=queue)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(queue=queue), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
