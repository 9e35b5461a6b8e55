"""VICReg against a reference written with loops in plain Python, its gradients and invariances.

Each test of a bug that people shipped names it; the bugs stand in the docstring of the method's file.
"""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.methods.contrastive.vicreg import VICReg, covariance_loss, invariance_loss, variance_loss, vicreg_loss
from course_lib.models.backbones import ConvNet
from golden.arrays import arrays
from helpers.draws import randn


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


def test_golden_and_naive_agree():
    """The references of this file, on the official inputs: a mistake shared by both would show here."""
    z = arrays("vicreg.npz")
    for case in ("c0", "c1", "c2"):
        x, y = z[f"{case}__x"].tolist(), z[f"{case}__y"].tolist()
        assert naive_covariance(x) + naive_covariance(y) == pytest.approx(float(z[f"{case}__cov_loss"]))
        assert (naive_variance(x) + naive_variance(y)) / 2 == pytest.approx(float(z[f"{case}__std_loss"]))
        assert naive_invariance(x, y) == pytest.approx(float(z[f"{case}__repr_loss"]))


def test_one_image_has_no_variance():
    for act in (variance_loss, covariance_loss):
        with pytest.raises(ValueError, match="over the batch compares images .* got 1"):
            act(randn(1, 4))
