"""Losses against references written with loops in plain Python, their gradients, precision and invariances.

Each test of a bug that people shipped names it; the bugs stand in the docstrings of the methods' files.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_lib import layers
from course_lib.backbones import ConvNet
from course_lib.methods.contrastive.vicreg import VICReg, covariance_loss, invariance_loss, variance_loss, vicreg_loss
from course_lib.methods.masked.spark import enlarge, normalize_patches, spark_loss

from draws import randn, visible_grid
from test_golden import arrays


# ---------------------------------------------------------------- VICReg, in plain Python
def naive_variance(z: list[list[float]], gamma=1.0, eps=1e-4) -> float:
    n, d = len(z), len(z[0])
    total = 0.0
    for j in range(d):
        mean = sum(row[j] for row in z) / n
        variance = sum((row[j] - mean) ** 2 for row in z) / (n - 1)
        total += max(0.0, gamma - math.sqrt(variance + eps))
    return total / d


def naive_invariance(a, b) -> float:
    n, d = len(a), len(a[0])
    return sum((a[i][j] - b[i][j]) ** 2 for i in range(n) for j in range(d)) / (n * d)


def naive_covariance(z) -> float:
    n, d = len(z), len(z[0])
    means = [sum(row[j] for row in z) / n for j in range(d)]
    total = 0.0
    for i in range(d):
        for j in range(d):
            if i != j:
                total += (sum((row[i] - means[i]) * (row[j] - means[j]) for row in z) / (n - 1)) ** 2
    return total / d


@pytest.mark.parametrize("n, d, scale", [(2, 1, 1.0), (5, 3, 0.1), (16, 8, 1.0), (7, 12, 3.0)])
def test_vicreg_equals_its_definition(n, d, scale):
    a, b = randn(n, d) * scale, randn(n, d, seed=1) * scale
    x, y = a.tolist(), b.tolist()
    parts = vicreg_loss(a, b, 25.0, 10.0, 2.0)
    wanted = {"invariance": naive_invariance(x, y), "variance": (naive_variance(x) + naive_variance(y)) / 2,
              "covariance": naive_covariance(x) + naive_covariance(y)}
    wanted["loss"] = 25 * wanted["invariance"] + 10 * wanted["variance"] + 2 * wanted["covariance"]
    assert {name: float(value) for name, value in parts.items()} == pytest.approx(wanted, rel=1e-10)
    assert float(variance_loss(a, gamma=2.0, eps=0.01)) == pytest.approx(naive_variance(x, 2.0, 0.01))


@pytest.mark.parametrize("d", [4, 9])  # fewer dimensions than samples, and more
@pytest.mark.parametrize("part", ["loss", "invariance", "variance", "covariance"])
def test_vicreg_gradients(part, d):
    a, b = randn(6, d).requires_grad_(), (randn(6, d, seed=1) * 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: vicreg_loss(x, y)[part], (a, b))


def test_variance_closed_forms():
    """Bugs: the sum instead of the mean over dimensions; the biased variance; the sum of the two views."""
    z = torch.tensor([[0.3, 0.0, 2.0], [-0.3, 0.0, -2.0]], dtype=torch.float64)  # variances 0.18, 0, 8
    short = [1 - math.sqrt(0.18 + 1e-4), 1 - 0.01, 0.0]
    assert float(variance_loss(z)) == pytest.approx(sum(short) / 3)
    assert float(vicreg_loss(z, z)["variance"]) == pytest.approx(sum(short) / 3)
    assert float(variance_loss(torch.ones(5, 4))) == pytest.approx(0.99)  # collapse costs 1 - sqrt(eps)


def test_covariance_closed_forms():
    """Bug: the off-diagonal sum not divided by D."""
    z = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)  # every covariance is 2
    assert float(covariance_loss(z)) == pytest.approx((4 + 4) / 2)
    for d in (2, 4, 8):  # D copies of one column: D (D - 1) entries of 4, over D
        assert float(covariance_loss(z[:, :1].expand(2, d))) == pytest.approx(4 * (d - 1))
    walsh = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert float(covariance_loss(walsh)) == 0
    assert float(vicreg_loss(z, z)["covariance"]) == pytest.approx(8)  # the two views are summed, not averaged


@pytest.mark.parametrize("n, d", [(16, 512), (256, 257), (256, 255), (64, 8)])
def test_covariance_in_float32(n, d):
    """What is left when the diagonal is taken off keeps its digits, by either product, near and far from collapse."""
    for z in (randn(n, d), randn(n, d) * 1e-4 + 3, randn(n, 2) @ randn(2, d, seed=1), randn(n, 1).expand(n, d)):
        z = z.clone().requires_grad_()
        single = z.detach().float().requires_grad_()
        exact, got = (covariance_loss(each) for each in (z, single))
        assert got.item() == pytest.approx(exact.item(), rel=2e-3 if exact.item() < 1e-6 else 1e-5)
        exact.backward()
        got.backward()
        assert (single.grad - z.grad).norm() <= 2e-3 * z.grad.norm()


def test_covariance_of_a_wide_embedding_makes_no_matrix_of_its_width():
    """Memory for the backward grows with the width, not with its square."""
    def kept(d: int) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            covariance_loss(randn(8, d).requires_grad_())
        return max(sizes)

    assert kept(64) == 8 * 64 and kept(512) == 8 * 512


def test_invariance_closed_form():
    """The code's mean over N and D, not the paper's sum over D."""
    assert float(invariance_loss(torch.zeros(3, 5), torch.full((3, 5), 2.0))) == pytest.approx(4)


@pytest.mark.parametrize("collapsed", [torch.zeros(6, 4), torch.full((6, 4), 3.7)])
def test_the_gradient_at_an_exact_collapse_is_finite(collapsed):
    """Bug: epsilon outside the root, whose slope at 0 is infinite."""
    z = collapsed.clone().requires_grad_()
    vicreg_loss(z, collapsed)["loss"].backward()
    assert z.grad.isfinite().all()
    near = (collapsed + 1e-3 * randn(6, 4, dtype=torch.float32)).requires_grad_()
    variance_loss(near).backward()
    assert near.grad.abs().max() > 1e-3, "just beside the collapse the variance term pushes"


def test_vicreg_invariances():
    a, b = randn(9, 5), randn(9, 5, seed=1)
    parts = vicreg_loss(a, b)
    order, columns = torch.randperm(9), torch.randperm(5)

    def equal(x, y, names=("loss", "invariance", "variance", "covariance")):
        other = vicreg_loss(x, y)
        assert all(torch.allclose(parts[name], other[name], rtol=1e-10) for name in names)

    equal(a[order], b[order])  # the order of the batch
    equal(a[:, columns], b[:, columns])  # of the dimensions
    equal(b, a)  # of the views
    equal(a + 7, b + 7)  # a shift of both
    equal(a + 3, b - 9, ("variance", "covariance"))  # of each
    equal(-a, -b)
    assert not torch.allclose(parts["loss"], vicreg_loss(a[order], b)["loss"]), "pairs matter"
    assert variance_loss(randn(200, 5) * 50) == 0, "no reward beyond gamma"


def test_vicreg_stops_no_gradient():
    a, b = randn(6, 4).requires_grad_(), randn(6, 4, seed=1).requires_grad_()
    vicreg_loss(a, b)["invariance"].backward()
    torch.testing.assert_close(a.grad, -b.grad)
    torch.testing.assert_close(a.grad, 2 * (a - b).detach() / 24)


def test_a_method_weighs_the_parts_by_its_knobs():
    torch.manual_seed(0)
    method = VICReg(ConvNet(1, (4,)), 16, width=6, invariance=2.0, variance=3.0, covariance=5.0)
    views = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16)
    parts = method.loss(views)
    two = 2 * parts["invariance"] + 3 * parts["variance"]
    torch.testing.assert_close(parts["loss"], two + 5 * parts["covariance"])
    method.weights["covariance"] = 0.0
    torch.testing.assert_close(method.loss(views)["loss"], two, rtol=1e-4, atol=1e-5)
    assert not parts["embedding"].requires_grad and parts["embedding"].shape == (8, 6)


def test_each_view_has_its_own_batch_statistics():
    """As in the official code: the views go through the network one at a time."""
    torch.manual_seed(0)
    method = VICReg(ConvNet(1, (4,)), 16, width=6)
    a, b = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16) * 0.2
    method.loss((a, b))
    assert int(method.backbone.blocks[0][1].num_batches_tracked) == 2
    alone = method.loss((a, a))["embedding"]
    torch.testing.assert_close(method.loss((a, b))["embedding"], alone)


# ---------------------------------------------------------------- SparK, in plain Python
def naive_patches(image: np.ndarray, p: int) -> list[np.ndarray]:
    """(C, H, W) -> its patches in reading order, each a list of numbers by row, column, channel."""
    c, h, w = image.shape
    return [np.array([image[k, y * p + i, x * p + j] for i in range(p) for j in range(p) for k in range(c)])
            for y in range(h // p) for x in range(w // p)]


def naive_spark(prediction: np.ndarray, images: np.ndarray, visible: np.ndarray, normalized: bool) -> float:
    size, total, count = visible.shape[-1], 0.0, 0
    p = images.shape[-1] // size
    for guess, image, seen in zip(prediction, images, visible):
        for l, (x_hat, x) in enumerate(zip(naive_patches(guess, p), naive_patches(image, p))):
            if seen[l // size, l % size]:
                continue
            if normalized:
                mean = sum(x) / len(x)
                variance = sum((v - mean) ** 2 for v in x) / (len(x) - 1)
                x = (x - mean) / math.sqrt(variance + 1e-6)
            total += sum((u - v) ** 2 for u, v in zip(x_hat, x)) / len(x)
            count += 1
    return total / (count + 1e-8)


def some_images(b=3, size=8, grid=4):
    visible = randn(b, grid, grid, seed=2) > torch.tensor([-1.0, 0.0, 1.0])[:b, None, None]  # unequal counts
    return randn(b, 3, size, size), randn(b, 3, size, size, seed=1), visible


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("size, grid", [(8, 4), (8, 2), (12, 3)])
def test_spark_loss_equals_its_definition(normalized, size, grid):
    prediction, images, visible = some_images(size=size, grid=grid)
    images[0, :, : size // grid, : size // grid] = 0.7  # a constant patch: its deviation is 0
    visible[0, 0, 0] = False
    wanted = naive_spark(prediction.numpy(), images.numpy(), visible.numpy(), normalized)
    assert float(spark_loss(prediction, images, visible, normalized)) == pytest.approx(wanted, rel=1e-9)
    assert float(spark_loss(prediction, images, visible.unsqueeze(1), normalized)) == pytest.approx(wanted, rel=1e-9)


def test_spark_loss_gradients():
    prediction, images, visible = some_images(2, 4, 2)
    visible[:, 0, 0] = False
    assert torch.autograd.gradcheck(lambda x: spark_loss(x, images, visible), prediction.requires_grad_())


def test_spark_loss_is_one_mean_over_the_hidden_patches_of_the_batch():
    """Bug: the mean of per-image means. Bug: the loss on visible patches."""
    prediction, images, visible = some_images()
    each = [spark_loss(p[None], i[None], v[None]) for p, i, v in zip(prediction, images, visible)]
    hidden = (~visible).sum((1, 2)).double()
    wanted = (torch.stack(each) * hidden).sum() / hidden.sum()
    torch.testing.assert_close(spark_loss(prediction, images, visible), wanted)
    assert len(set(hidden.tolist())) > 1
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(spark_loss(prediction[order], images[order], visible[order]),
                               spark_loss(prediction, images, visible))
    where = enlarge(visible.unsqueeze(1), 8)
    other = torch.where(where, randn(3, 3, 8, 8, seed=9), prediction)
    torch.testing.assert_close(spark_loss(other, images, visible), spark_loss(prediction, images, visible))
    assert spark_loss(prediction, images, torch.ones_like(visible)) == 0


def test_spark_targets_ignore_a_patchs_brightness_and_contrast():
    prediction, images, visible = some_images()
    wanted = spark_loss(prediction, images, visible)
    torch.testing.assert_close(spark_loss(prediction, images * 5 + 3, visible), wanted, rtol=1e-4, atol=0)
    plain = spark_loss(prediction, images, visible, normalized=False)
    assert not torch.isclose(spark_loss(prediction, images * 5 + 3, visible, normalized=False), plain)


def test_target_patches_have_the_unbiased_deviation():
    """Bug: the biased variance in the target."""
    patches, mean, std = normalize_patches(randn(2, 4, 12))
    torch.testing.assert_close(patches.var(-1), torch.ones(2, 4, dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close(patches * std + mean, randn(2, 4, 12))


# ---------------------------------------------------------------- precision
HALVES = {
    "invariance": (lambda a, b, v: invariance_loss(a.flatten(1), b.flatten(1))),
    "variance": (lambda a, b, v: variance_loss(a.flatten(1))),
    "covariance": (lambda a, b, v: covariance_loss(a.flatten(1))),
    "vicreg": (lambda a, b, v: vicreg_loss(a.flatten(1), b.flatten(1))["loss"]),
    "vicreg, by keyword": (lambda a, b, v: invariance_loss(a=a.flatten(1), b=b.flatten(1))),
    "spark": (lambda a, b, v: spark_loss(a, b, v)),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", HALVES)
def test_losses_compute_in_float32_under_autocast(name, dtype):
    """Bug: a matrix product inside the loss that autocast casts back to half precision."""
    a, b = randn(6, 3, 8, 8, dtype=torch.float32).to(dtype), randn(6, 3, 8, 8, seed=1, dtype=torch.float32).to(dtype)
    visible = visible_grid(6)[:, 0]
    wanted = HALVES[name](a.float(), b.float(), visible)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = HALVES[name](a, b, visible)
        full = HALVES[name](a.float(), b.float(), visible)  # float32 inputs must not be cast down either
        assert torch.is_autocast_enabled("cpu") and (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert got.dtype == torch.float32 and torch.equal(got, wanted) and torch.equal(full, wanted)
    double = HALVES[name](a.double(), b.double(), visible)
    assert double.dtype == torch.float64 and float(double) == pytest.approx(float(wanted), rel=1e-4)


def test_masked_batch_norm_has_float32_statistics_under_autocast():
    norm = layers.BatchNorm2d(3)
    norm.visible = visible_grid(4, 6)
    x = (randn(4, 3, 6, 6, dtype=torch.float32) * 0.1 + 50).bfloat16()
    wanted = norm(x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = norm(x)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), wanted, rtol=1e-2, atol=1e-2)


def test_golden_and_naive_agree():
    """The references of this file, on the official inputs: a mistake shared by both would show here."""
    z = arrays("vicreg.npz")
    for case in ("c0", "c1", "c2"):
        x, y = z[f"{case}__x"].tolist(), z[f"{case}__y"].tolist()
        assert naive_covariance(x) + naive_covariance(y) == pytest.approx(float(z[f"{case}__cov_loss"]))
        assert (naive_variance(x) + naive_variance(y)) / 2 == pytest.approx(float(z[f"{case}__std_loss"]))
        assert naive_invariance(x, y) == pytest.approx(float(z[f"{case}__repr_loss"]))
