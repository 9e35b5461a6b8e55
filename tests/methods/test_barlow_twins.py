"""Barlow Twins: the loss against loops in plain Python, its gradients and symmetries, bugs that people shipped, the
module.
"""

from __future__ import annotations

import math
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from course_lib.exercises import reference
from course_lib.methods import build_method
from course_lib.methods.contrastive.barlow_twins import (
    BarlowTwins,
    barlow_twins_loss,
    cross_correlation,
    off_diagonal,
)
from course_lib.optim import Schedule, build_optimizer
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state


# ---------------------------------------------------------------- in plain Python
def naive_correlation(a: list[list[float]], b: list[list[float]], eps=1e-5) -> list[list[float]]:
    n, d = len(a), len(a[0])

    def standardised(z, j):
        mean = sum(row[j] for row in z) / n
        variance = sum((row[j] - mean) ** 2 for row in z) / n
        return [(row[j] - mean) / math.sqrt(variance + eps) for row in z]

    columns_a, columns_b = ([standardised(z, j) for j in range(d)] for z in (a, b))
    return [[sum(x * y for x, y in zip(p, q)) / n for q in columns_b] for p in columns_a]


def naive_loss(a, b, lambd) -> dict[str, float]:
    c = naive_correlation(a, b)
    on = sum((c[i][i] - 1) ** 2 for i in range(len(c)))
    off = sum(c[i][j] ** 2 for i in range(len(c)) for j in range(len(c)) if i != j)
    return {"loss": on + lambd * off, "on_diagonal": on, "off_diagonal": off}


@pytest.mark.parametrize("n, d, lambd", [(2, 1, 1.0), (5, 3, 0.0051), (16, 8, 0.1), (7, 12, 2.0)])
def test_the_loss_equals_its_definition(n, d, lambd):
    a, b = randn(n, d) * 3 + 1, randn(n, d, seed=1) * 0.3
    got = {name: float(value) for name, value in barlow_twins_loss(a, b, lambd).items()}
    assert got == pytest.approx(naive_loss(a.tolist(), b.tolist(), lambd), rel=1e-9, abs=1e-12)
    wanted = torch.tensor(naive_correlation(a.tolist(), b.tolist()), dtype=torch.float64)
    torch.testing.assert_close(cross_correlation(a, b), wanted)


def test_lambda_is_the_paper_s_by_default():
    a, b = randn(6, 4), randn(6, 4, seed=1)
    assert float(barlow_twins_loss(a, b)["loss"]) == pytest.approx(naive_loss(a.tolist(), b.tolist(), 0.0051)["loss"])


@pytest.mark.parametrize("part", ["loss", "on_diagonal", "off_diagonal"])
def test_gradients(part):
    a, b = randn(6, 4).requires_grad_(), (randn(6, 4, seed=1) * 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: barlow_twins_loss(x, y, 0.3)[part], (a, b))


@pytest.mark.parametrize("d", [1, 2, 3, 7])
def test_off_diagonal_is_a_mask_of_places(d):
    matrix = randn(d, d)
    wanted = matrix[~torch.eye(d, dtype=torch.bool)]
    assert torch.equal(off_diagonal(matrix), wanted) and len(wanted) == d * (d - 1)
    assert torch.equal(off_diagonal(matrix.T), matrix.T[~torch.eye(d, dtype=torch.bool)])  # not contiguous
    with pytest.raises(ValueError, match="square"):
        off_diagonal(randn(d, d + 1))


# ---------------------------------------------------------------- bugs that people shipped
def test_each_view_is_standardised_by_itself():
    """Bug: both views standardised together."""
    x, y = randn(12, 5), randn(12, 5, seed=1)
    close = dict(rel=1e-4)  # epsilon is not scaled along
    for moved, plain in ((2 * x + 4, x), (3 * y - 7, y)):
        expected = float(barlow_twins_loss(x, plain)["loss"])
        assert float(barlow_twins_loss(x, moved)["loss"]) == pytest.approx(expected, **close)
    together = torch.cat([x, 2 * x + 4])
    mean, std = together.mean(0), together.std(0, correction=0)
    assert ((x - mean) / std * (2 * x + 4 - mean) / std).mean(0).max() < 0.5, "the bug would show"


def test_identical_views_reach_a_diagonal_of_one():
    """Bug: the unbiased deviation, with which a batch of 8 never passes 7/8."""
    x = randn(8, 4)
    variance = x.var(0, correction=0)
    torch.testing.assert_close(cross_correlation(x, x).diagonal(), variance / (variance + 1e-5))
    assert float(barlow_twins_loss(x, x)["on_diagonal"]) < 1e-8
    biased = (x - x.mean(0)) / x.std(0)
    assert (biased * biased).mean(0).max() <= 7 / 8 + 1e-9, "what the bug gives"


def test_sums_and_not_means():
    """Bug: means, with which lambda changes its meaning. D copies of one dimension: each entry of C is 1."""
    x = randn(16, 1)
    for d in (2, 5, 9):
        parts = barlow_twins_loss(x.expand(16, d), x.expand(16, d), 0.5)
        assert float(parts["off_diagonal"]) == pytest.approx(d * (d - 1), rel=1e-3)
        assert float(parts["loss"]) == pytest.approx(0.5 * d * (d - 1), rel=1e-3)
    walsh = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)  # C = 1: the perfect batch
    assert float(barlow_twins_loss(walsh, walsh)["loss"]) < 1e-9
    assert float(barlow_twins_loss(walsh, -walsh)["on_diagonal"]) == pytest.approx(8, rel=1e-4)


def test_the_length_of_an_image_s_vector_counts():
    """Bug: the features of one image normalised, where the paper standardises one feature over the batch."""
    a, b = randn(9, 5), randn(9, 5, seed=1)
    longer = torch.ones(9, 1, dtype=torch.float64)
    longer[0] = 4
    assert not torch.allclose(barlow_twins_loss(a * longer, b)["loss"], barlow_twins_loss(a, b)["loss"], rtol=1e-3)


@pytest.mark.parametrize("collapsed", [torch.zeros(6, 4), torch.full((6, 4), 3.7)])
def test_an_exact_collapse_is_finite_and_costs_the_whole_diagonal(collapsed):
    z = collapsed.clone().requires_grad_()
    parts = barlow_twins_loss(z, collapsed)
    parts["loss"].backward()
    assert z.grad.isfinite().all() and float(parts["on_diagonal"].detach()) == pytest.approx(4, rel=1e-5)


# ---------------------------------------------------------------- symmetries
def test_what_leaves_the_loss_alone():
    a, b = randn(20, 6), randn(20, 6) + 0.5 * randn(20, 6, seed=1)
    order, columns = torch.randperm(20, generator=torch.Generator().manual_seed(0)), torch.arange(6).roll(2)
    sign = torch.tensor([1.0, -1, 1, -1, -1, 1], dtype=torch.float64)
    scale, shift = randn(6, seed=2).abs() + 0.5, randn(6, seed=3)

    def loss(x, y):
        return float(barlow_twins_loss(x, y, 0.3)["loss"])

    def equal(x, y, tolerance=1e-9):
        return loss(x, y) == pytest.approx(loss(a, b), rel=tolerance)

    assert equal(a[order], b[order]) and equal(b, a)
    assert equal(a[:, columns], b[:, columns]) and equal(a * sign, b * sign)
    assert equal(a * scale + shift, b, 1e-4)
    assert equal(*reference("09.symmetries")(a, b, columns, sign, scale, shift), 1e-4)
    assert not equal(a[order], b, 1e-3) and not equal(a[:, columns], b, 1e-3) and not equal(a * sign, b, 1e-3)
    turn = torch.linalg.qr(randn(6, 6, seed=4))[0]
    assert not equal(a @ turn, b @ turn, 1e-3), "a rotation mixes dimensions"


def test_only_a_perfect_batch_may_be_rotated():
    walsh = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    turn = torch.linalg.qr(randn(2, 2, seed=4))[0]
    assert float(barlow_twins_loss(walsh @ turn, walsh @ turn)["loss"]) < 1e-9


# ---------------------------------------------------------------- precision
def test_the_loss_is_float32_inside_autocast():
    """Bug: a matrix product in the loss that autocast casts back to half precision."""
    a, b = randn(8, 5, dtype=torch.float32), randn(8, 5, seed=1, dtype=torch.float32)
    wanted = cross_correlation(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, parts = cross_correlation(a, b), barlow_twins_loss(a, b)
        half = cross_correlation(a.bfloat16(), b.bfloat16())
    assert torch.equal(got, wanted) and got.dtype == half.dtype == torch.float32
    assert {value.dtype for value in parts.values()} == {torch.float32}
    assert cross_correlation(a.double(), b.double()).dtype == torch.float64


# ---------------------------------------------------------------- ranks: the official gradient
def work(folder: str, rank: int, world: int, port: int) -> None:
    """One of `world` processes: the parameter gradients after DDP's averaging, exact and official."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    torch.save({name: averaged(name == "official", rank, world) for name in ("exact", "official")},
               f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def averaged(official: bool, rank: int = 0, world: int = 1) -> dict:
    net = torch.nn.Linear(5, 7, bias=False, dtype=torch.float64)
    with torch.no_grad():
        net.weight.copy_(randn(7, 5, seed=3))
    own = slice(rank * 12 // world, (rank + 1) * 12 // world)
    loss = barlow_twins_loss(net(randn(12, 5, seed=1)[own]), net(randn(12, 5, seed=2)[own]), 0.2, official)["loss"]
    loss.backward()
    gradient = net.weight.grad.clone()
    if world > 1:
        dist.all_reduce(gradient)
    return {"loss": float(loss.detach()), "gradient": gradient / world}


def test_on_two_ranks_the_official_gradient_is_half_the_exact_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = ("import sys; sys.path.insert(0, sys.argv.pop(1)); from test_barlow_twins import work; "
              "work(sys.argv[1], *map(int, sys.argv[2:]))")
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)]
    processes = [subprocess.Popen([*command, str(rank), "2", str(port)], stderr=subprocess.PIPE, text=True)
                 for rank in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    alone = averaged(False)
    torch.testing.assert_close(averaged(True)["gradient"], alone["gradient"])  # one rank has nothing to lose
    for rank in range(2):
        got = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(got["exact"]["gradient"], alone["gradient"])
        torch.testing.assert_close(got["official"]["gradient"], alone["gradient"] / 2)
        assert got["exact"]["loss"] == pytest.approx(alone["loss"]) == got["official"]["loss"]


# ---------------------------------------------------------------- the module
def small(seed=0, width=8, **options) -> BarlowTwins:
    torch.manual_seed(seed)
    return build_method("barlow-twins", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, width=width,
                        **options)


def test_the_projector_is_the_paper_s():
    method = small(width=6)
    linear = [layer for layer in method.projector if isinstance(layer, torch.nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(6, method.backbone.dim), (6, 6), (6, 6)]
    assert all(layer.bias is None for layer in linear) and isinstance(method.projector[-1], torch.nn.Linear)


def test_lambda_belongs_to_the_width():
    assert small(width=8).lambd > small(width=64).lambd > 0.0051
    assert small(width=8, lambd=0.25).lambd == 0.25


def test_the_loss_weighs_its_parts_and_returns_the_embedding():
    method = small(lambd=0.5)
    views = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16)
    parts = method.loss(views)
    torch.testing.assert_close(parts["loss"], parts["on_diagonal"] + 0.5 * parts["off_diagonal"])
    method.lambd = 0.0
    torch.testing.assert_close(method.loss(views)["loss"], parts["on_diagonal"], rtol=1e-4, atol=1e-5)
    assert parts["embedding"].shape == (8, 8) and not parts["embedding"].requires_grad
    assert method.embed(images(5).images).shape == (5, method.backbone.dim)


def test_both_views_get_gradients_and_differ():
    method = small()
    batch = type("Batch", (), {"images": images(8).images})()
    a, b = method.views(batch, torch.Generator().manual_seed(0))
    assert a.shape == b.shape == (8, 3, 16, 16) and not torch.equal(a, b)
    again = method.views(batch, torch.Generator().manual_seed(0))
    assert torch.equal(a, again[0]) and torch.equal(b, again[1])
    a, b = a.requires_grad_(), b.requires_grad_()
    method.loss((a, b))["loss"].backward()
    assert a.grad.abs().sum() > 0 and b.grad.abs().sum() > 0, "no stop-gradient"


def test_large_images_get_the_paper_s_asymmetric_pair():
    torch.manual_seed(0)
    method = build_method("barlow-twins", "convnet", 96, backbone_options={"depth": 2, "widths": (4, 8)}, width=8)
    assert (method.augment.blur_p, method.augment.solarize_p) == (1.0, 0.0)
    assert (method.other.blur_p, method.other.solarize_p) == (0.1, 0.2)
    plain = small()
    assert plain.augment is plain.other


@pytest.mark.parametrize("optimizer", ["adamw", "lars"])
def test_a_resumed_run_is_the_same_run(tmp_path, optimizer):
    settings = {**SMALL, "steps": 7, "optimizer": optimizer, "log_every": 1}
    whole, again = small(), small(seed=7)
    history = fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(small(), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    resumed = fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again)) and resumed.curves == history.curves
    assert set(history.curves) == {"loss", "on_diagonal", "off_diagonal"}


def test_biases_have_a_rate_of_their_own_under_lars_only():
    """main.py: 0.2 for weights, 0.0048 for biases and norms."""
    for name, ratio in (("lars", 0.0048 / 0.2), ("adamw", 1.0), ("sgd", 1.0)):
        groups = build_method("barlow-twins", image_size=16, width=8).param_groups(1e-6)
        optimizer = build_optimizer(name, groups, 0.2)
        Schedule(optimizer, groups, 0.2, warmup=0.0).set(0, 10)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.2 * ratio])


def test_one_image_has_no_correlation():
    with pytest.raises(ValueError, match="needs two or more, got 1"):
        barlow_twins_loss(randn(1, 4), randn(1, 4))


def test_a_linear_toy_repeats_one_cause_where_copies_are_free_and_buys_noise_where_they_cost_too_much():
    from course_lib.methods.contrastive.barlow_twins import barlow_twins_loss
    from course_lib.notebook import twins_descent

    def step(network, optimizer, first, second, lambd):
        optimizer.zero_grad()
        barlow_twins_loss(network(first), network(second), lambd)["loss"].backward()
        optimizer.step()

    shares, outputs = twins_descent(step, 0.0)
    assert shares.shape == (16, 5, 12) and len(outputs) == 16 and outputs[0][0].shape == (60, 12)
    assert torch.allclose(shares.sum(1), torch.ones(16, 12)) and shares[-1, 0].min() > 0.9
    assert twins_descent(step, 5.0)[0][-1, 4].mean() > 0.5
