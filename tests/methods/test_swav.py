"""SwAV: Sinkhorn, the swapped loss, prototypes and queue against loops in plain Python, and what the module keeps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.data.images import Batch
from course_lib.exercises import reference
from course_lib.methods import build_method
from course_lib.methods.contrastive.swav import normalize_rows, queue_codes, swav_loss
from course_lib.models.layers import sinkhorn
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state


# ---------------------------------------------------------------- the definitions, in plain Python
def naive_sinkhorn(scores: list[list[float]], epsilon: float, iterations: int) -> list[list[float]]:
    """As the paper has it: exp, then prototypes to 1/K and images to 1/N in turn; images to 1 at the end."""
    n, k = len(scores), len(scores[0])
    q = [[math.exp(s / epsilon) for s in row] for row in scores]
    total = sum(map(sum, q))
    q = [[v / total for v in row] for row in q]
    for _ in range(iterations):
        columns = [sum(row[j] for row in q) for j in range(k)]
        q = [[row[j] / columns[j] / k for j in range(k)] for row in q]
        q = [[v / sum(row) / n for v in row] for row in q]
    return [[n * v for v in row] for row in q]


def naive_loss(scores, codes, temperature) -> float:
    total = 0.0
    for i, code in enumerate(codes):
        for v, score in enumerate(scores):
            if v == i:
                continue
            for row, target in zip(score, code):
                log_sum = math.log(sum(math.exp(s / temperature) for s in row))
                total -= sum(q * (s / temperature - log_sum) for q, s in zip(target, row)) / len(code)
    return total / len(codes) / (len(scores) - 1)


def cosines(n, d, k, seed=0):
    return F.normalize(randn(n, d, seed=seed), dim=1) @ F.normalize(randn(k, d, seed=seed + 100), dim=1).T


@pytest.mark.parametrize("n, k", [(1, 1), (2, 5), (9, 4), (8, 8)])
@pytest.mark.parametrize("epsilon, iterations", [(0.05, 3), (0.5, 1), (0.1, 0), (0.05, 20)])
def test_sinkhorn_equals_its_definition(n, k, epsilon, iterations):
    scores = cosines(n, 3, k)
    wanted = torch.tensor(naive_sinkhorn(scores.tolist(), epsilon, iterations), dtype=torch.float64)
    assert torch.allclose(sinkhorn(scores, epsilon, iterations), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("crops", [2, 3, 6])
def test_the_loss_equals_its_definition(crops):
    scores = [cosines(5, 3, 4, seed=v) for v in range(crops)]
    codes = [sinkhorn(s) for s in scores[:2]]
    for temperature in (0.1, 0.5):
        wanted = naive_loss([s.tolist() for s in scores], [q.tolist() for q in codes], temperature)
        assert float(swav_loss(scores, codes, temperature)) == pytest.approx(wanted, rel=1e-10)


# ---------------------------------------------------------------- Sinkhorn
def test_codes_are_distributions_and_nearly_balanced():
    q = sinkhorn(cosines(64, 4, 6), 0.05, 3)
    assert torch.allclose(q.sum(1), torch.ones(64, dtype=torch.float64))
    spread = [(sinkhorn(cosines(64, 4, 6), 0.05, rounds).sum(0) - 64 / 6).abs().max() for rounds in (1, 3, 100)]
    assert spread[0] > spread[1] > spread[2] and spread[2] < 0.01
    assert not sinkhorn(cosines(4, 3, 2).requires_grad_()).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("epsilon", [0.05, 1e-3])
def test_large_scores_stay_finite(dtype, epsilon):
    """Bug: exp(20) is too much for half precision, exp(1 / 0.001) for any."""
    scores = cosines(8, 4, 5).to(dtype)
    scores[:, 3] = -1.0  # a prototype that is far from every image still gets its share
    scores[0] += 30.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = sinkhorn(scores, epsilon, 3)
    assert q.dtype == torch.float32 and q.isfinite().all()
    assert torch.allclose(q.sum(1), torch.ones(8), atol=1e-3) and q[:, 3].sum() > 0.2


def test_a_shift_of_all_scores_changes_nothing_and_of_one_row_does():
    """Bug: the largest entry of each *row* subtracted against overflow, which is half a round of its own."""
    scores = cosines(6, 4, 3)
    assert torch.allclose(sinkhorn(scores + 0.7), sinkhorn(scores))
    assert not torch.allclose(sinkhorn(scores - scores.amax(1, keepdim=True)), sinkhorn(scores), atol=1e-3)


def test_collapsed_embeddings_get_flat_codes():
    flat = sinkhorn(cosines(1, 4, 5).expand(7, 5))
    assert torch.allclose(flat, torch.full_like(flat, 1 / 5))
    floor = swav_loss([torch.zeros(7, 5)] * 2, [flat] * 2)
    assert float(floor) == pytest.approx(math.log(5), rel=1e-6)  # where a collapsed network stays


def test_extra_rows_count_in_the_balance_only():
    scores, extra = cosines(4, 3, 5), cosines(9, 3, 5, seed=7)
    assert torch.allclose(sinkhorn(scores, extra=extra), sinkhorn(torch.cat([extra, scores]))[-4:])


# ---------------------------------------------------------------- the loss
def test_gradients():
    scores = [cosines(4, 3, 5, seed=v).requires_grad_() for v in range(3)]
    codes = [sinkhorn(cosines(4, 3, 5, seed=9)), sinkhorn(cosines(4, 3, 5, seed=10))]
    assert torch.autograd.gradcheck(lambda *s: swav_loss(list(s), codes, 0.3), scores)
    live = [q.clone().requires_grad_() for q in codes]
    swav_loss(scores, live).backward()
    assert all(q.grad is None for q in live)  # bug: gradient through the codes


def test_no_crop_predicts_itself():
    """Bug: a crop among those that predict its own code. With two crops, crop 0 meets code 1 only."""
    first, second = cosines(4, 3, 5), cosines(4, 3, 5, seed=1)
    codes = [sinkhorn(first), sinkhorn(second)]
    alone = swav_loss([first, second], codes[:1])
    assert float(alone) == pytest.approx(float(swav_loss([cosines(4, 3, 5, seed=2), second], codes[:1])))
    both = (alone + swav_loss([second, first], codes[1:])) / 2
    assert float(swav_loss([first, second], codes)) == pytest.approx(float(both))


def test_small_crops_predict_and_have_no_codes():
    scores = [cosines(4, 3, 5, seed=v).requires_grad_() for v in range(5)]
    swav_loss(scores, [sinkhorn(s) for s in scores[:2]]).backward()
    assert all(s.grad.abs().sum() > 0 for s in scores)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_run_in_float32_inside_autocast(dtype):
    z = F.normalize(randn(6, 8, dtype=torch.float32), dim=1)
    prototypes = F.normalize(randn(4, 8, dtype=torch.float32), dim=1)
    codes, _ = queue_codes(z, torch.zeros(0, 8), prototypes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert swav_loss([30 * z @ prototypes.T] * 2, [codes] * 2).dtype == torch.float32
        inside, queue = queue_codes(z, torch.zeros(6, 8), prototypes)
        assert torch.equal(inside, codes) and queue.dtype == torch.float32
        assert queue_codes(z.to(dtype), torch.zeros(6, 8), prototypes)[0].isfinite().all()


# ---------------------------------------------------------------- the queue, as the official code has it
def test_the_queue_is_newest_first_and_enters_when_full():
    prototypes = F.normalize(randn(4, 3), dim=1)
    queue, seen = torch.zeros(7, 3, dtype=torch.float64), []
    for step in range(5):
        z = F.normalize(randn(3, 3, seed=step), dim=1)
        kept = queue.clone()
        full = len(seen) >= 7
        rows = torch.cat([queue, z]) if full else z
        codes, moved = queue_codes(z, queue, prototypes)
        assert torch.allclose(codes, sinkhorn(rows @ prototypes.T)[-3:])
        assert torch.equal(queue, kept)  # a new queue, the old one untouched
        assert full == bool(queue[-1].any())
        seen = [*z, *seen]
        filled = min(7, len(seen))
        assert torch.equal(moved[:filled], torch.stack(seen)[:7]) and not moved[filled:].any()
        queue = moved
    assert queue_codes(z, queue[:0], prototypes)[1].shape == (0, 3)


# ---------------------------------------------------------------- the module
def method(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("swav", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, hidden=8, out=6,
                        prototypes=5, **options)


def batch(n=8):
    data = images(n)
    return Batch(data.images, torch.arange(n), data.labels)


@pytest.mark.parametrize("crops", [0, 3])
def test_shapes_of_views_and_loss(crops):
    swav = method(crops=crops, queue=12)
    views = swav.views(batch(), torch.Generator().manual_seed(0))
    assert [view.shape[-1] for view in views] == [16, 16] + crops * [8] and len(views[0]) == 8
    assert not torch.equal(views[0], views[1])
    parts = swav.loss(views)
    assert parts["views_per_image"] == 2 + crops and parts["embedding"].shape == (8, 6)
    assert not parts["embedding"].requires_grad and torch.allclose(parts["embedding"].norm(dim=1), torch.ones(8))
    assert 1 <= float(parts["clusters"]) <= 5
    assert swav.queue.shape == (2, 12, 6) and swav.queue[:, :8].any(-1).all() and not swav.queue[:, 8:].any()
    assert torch.equal(swav.queue[0, :8], parts["embedding"])
    assert swav.embed(batch().images).shape == (8, 8)


def test_settings_of_the_small_crops():
    assert method(crops=1).crops[2].scale == (0.2, 0.5) and method(crops=1).crops[2].size == 8
    photographs = build_method("swav", "convnet", 224, crops=6)
    assert photographs.crops[2].scale == (0.05, 0.14) and photographs.crops[0].scale == (0.14, 1.0)
    told = method(crops=2, crop_size=12, crop_scale=(0.1, 0.3), augment=SHAPES_VIEWS)
    assert told.crops[3].scale == (0.1, 0.3) and told.crops[3].size == 12
    assert told.crops[3].jitter == SHAPES_VIEWS.jitter


def test_queue_from_and_evaluation():
    swav = method(queue=8, queue_from=0.5)
    views = swav.views(batch(), torch.Generator().manual_seed(0))
    swav.loss(views, 0.4)
    assert not swav.queue.any()
    swav.eval().loss(views, 0.6)
    assert not swav.queue.any()
    swav.train().loss(views, 0.5)
    assert swav.queue.any(-1).all()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
def test_prototypes_rest_at_first_and_have_length_one(optimizer):
    """Bug: frozen by a zero gradient, which decay and momentum still move."""
    swav, seen = method(frozen=0.5), []
    assert torch.allclose(swav.prototypes.weight.norm(dim=1), torch.ones(5))
    inner = swav.after_update

    def after_update(progress):
        inner(progress)
        seen.append((swav.prototypes.weight.detach().clone(), swav.projector[0].weight.detach().clone()))

    swav.after_update = after_update
    before = swav.prototypes.weight.detach().clone()
    fit(swav, images(), steps=4, optimizer=optimizer, lr=100.0 if optimizer == "lars" else 0.1, weight_decay=0.1,
        log_every=1, **SMALL)
    assert torch.allclose(before, seen[0][0], atol=1e-6) and torch.allclose(before, seen[1][0], atol=1e-6)
    assert not torch.equal(seen[0][1], seen[1][1])  # everything else learns
    assert not torch.allclose(seen[1][0], seen[3][0], atol=1e-6)
    assert all(torch.allclose(weight.norm(dim=1), torch.ones(5)) for weight, _ in seen)


def test_prototype_step_is_what_the_module_does():
    layer = nn.Linear(3, 4, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    normalize_rows(layer)
    weights = []
    for hold in (False, True, False):
        optimizer.zero_grad()
        layer(randn(5, 3, dtype=torch.float32)).square().sum().backward()
        weights.append(reference("08.prototypes")(layer, optimizer, hold).clone())
    assert torch.allclose(weights[0], weights[1], atol=1e-6) and not torch.allclose(weights[1], weights[2], atol=1e-3)
    assert torch.allclose(weights[2].norm(dim=1), torch.ones(4)) and layer.weight.requires_grad


@pytest.mark.parametrize("options", [dict(queue=20), dict(crops=2, frozen=0.5)])
def test_a_resumed_run_is_the_same_run(tmp_path, options):
    whole = method(**options)
    history = fit(whole, images(), steps=8, log_every=1, **SMALL)
    half = method(**options)
    stopped = fit(half, images(), steps=8, log_every=1, out=tmp_path, watch=Stop(4), **SMALL)
    assert stopped.interrupted and stopped.steps == 4
    resumed = method(seed=5, **options)
    again = fit(resumed, images(), steps=8, log_every=1, out=tmp_path, resume=True, **SMALL)
    assert same(state(whole), state(resumed)) and again.curves == history.curves
    assert ("queue" in state(whole)) and (not options.get("queue") or whole.queue.any(-1).all())


def test_everything_decays_as_under_larc():
    method = build_method("swav", image_size=16, hidden=8, out=4, prototypes=6)
    groups = method.param_groups(0.1)
    assert all(group["weight_decay"] == 0.1 and group["adapt"] for group in groups)
    assert sum(len(group["params"]) for group in groups) == len(list(method.parameters()))


def test_temperatures_must_be_positive():
    scores = [randn(3, 4), randn(3, 4)]
    with pytest.raises(ValueError, match="temperature is 0"):
        swav_loss(scores, [s.softmax(1) for s in scores], temperature=0.0)
    with pytest.raises(ValueError, match="epsilon is -1"):
        sinkhorn(randn(3, 4), epsilon=-1.0)


@pytest.mark.parametrize("name", ["frozen", "queue_from"])
def test_epochs_in_place_of_shares_are_a_sentence(name):
    """Bug: queue_from=15, the official epoch, and the queue is never filled."""
    with pytest.raises(ValueError, match=f"{name} is 15; expected a share of the training, from 0 to 1"):
        method(**{name: 15})
