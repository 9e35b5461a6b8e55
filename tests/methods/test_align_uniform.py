"""Alignment and uniformity: the official code's values, loops in plain Python, gradients, and the circle of lesson
1.
"""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import ImageSet
from course_lib.evaluate.measures import alignment, uniformity
from course_lib.exercises import reference
from course_lib.methods.contrastive.align_uniform import AlignUniform, alignment_loss, uniformity_loss
from course_lib.models.backbones import ConvNet
from course_lib.notebook.toys import circle_descent
from course_lib.train.loop import fit
from golden.arrays import arrays


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_the_sphere(row: list[float]) -> list[float]:
    length = math.sqrt(sum(v * v for v in row))
    return [v / length for v in row]


def distance(a: list[float], b: list[float]) -> float:
    return math.sqrt(sum((v - w) ** 2 for v, w in zip(a, b)))


@pytest.mark.parametrize("n, d", [(2, 3), (5, 2), (8, 7)])
def test_the_losses_equal_their_definitions(n, d):
    x, y = randn(n, d), randn(n, d, seed=1)
    a, b = ([on_the_sphere(row) for row in z.tolist()] for z in (x, y))
    for alpha in (1.0, 2.0, 3.0):
        wanted = sum(distance(v, w) ** alpha for v, w in zip(a, b)) / n
        assert float(alignment_loss(x, y, alpha)) == pytest.approx(wanted, rel=1e-10)
    for t in (0.5, 2.0):
        kernel = [math.exp(-t * distance(a[i], a[j]) ** 2) for j in range(n) for i in range(j)]
        assert float(uniformity_loss(x, t)) == pytest.approx(math.log(sum(kernel) / len(kernel)), rel=1e-9)


def test_they_equal_the_official_code_and_the_measures():
    z = arrays("align_uniform.npz")
    x, y = z["x"].double(), z["y"].double()
    for alpha in (1, 2, 4):
        assert float(alignment_loss(x, y, alpha)) == pytest.approx(float(z[f"align_alpha{alpha}"]), rel=1e-6)
    for t in (1, 2, 4):
        assert float(uniformity_loss(x, t)) == pytest.approx(float(z[f"uniform_t{t}_x"]), rel=1e-6)
    total = alignment_loss(x, y) + (uniformity_loss(x) + uniformity_loss(y)) / 2
    assert float(total) == pytest.approx(float(z["stl10_total"]), rel=1e-6)
    assert float(alignment_loss(x, y)) == pytest.approx(alignment(x, y))
    assert float(uniformity_loss(x)) == pytest.approx(uniformity(x))


def test_gradients():
    x, y = randn(5, 3).requires_grad_(), randn(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(alignment_loss, (x, y))
    assert torch.autograd.gradcheck(uniformity_loss, (x,))


def test_float32_inside_autocast():
    x, y = randn(6, 5).float(), randn(6, 5, seed=1).float()
    wanted = alignment_loss(x, y), uniformity_loss(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (alignment_loss(x, y), uniformity_loss(x)) == wanted
        assert alignment_loss(x.half(), y.bfloat16()).dtype == uniformity_loss(x.half()).dtype == torch.float32


def test_closed_forms():
    """Bugs: the diagonal among the pairs; the mean of the logarithms, which cannot tell two heaps from a spread."""
    heaps = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], dtype=torch.float64)
    even = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    assert float(uniformity_loss(heaps)) == pytest.approx(math.log((2 + 4 * math.exp(-8)) / 6))
    assert float(uniformity_loss(even)) == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6))
    assert float(uniformity_loss(heaps)) > float(uniformity_loss(even))
    assert float(uniformity_loss(torch.ones(6, 3))) == pytest.approx(0, abs=1e-6)  # collapsed
    assert float(alignment_loss(heaps, -heaps)) == pytest.approx(4)
    assert float(alignment_loss(heaps, 7 * heaps)) == pytest.approx(0)  # lengths do not count


@pytest.mark.parametrize("collapsed", [torch.zeros(6, 4), torch.full((6, 4), 3.7)])
def test_the_gradient_at_an_exact_collapse_is_finite(collapsed):
    z = collapsed.clone().requires_grad_()
    (alignment_loss(z, collapsed) + uniformity_loss(z)).backward()
    assert z.grad.isfinite().all()


def test_a_method_weighs_its_terms_and_trains():
    torch.manual_seed(0)
    method = AlignUniform(ConvNet(1, (4,)), 16, width=6, align=2.0, uniform=3.0)
    views = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16)
    parts = method.loss(views)
    weighted = float((2 * parts["align"] + 3 * parts["uniform"]).detach())
    assert float(parts["loss"].detach()) == pytest.approx(weighted, rel=1e-5)
    assert not parts["embedding"].requires_grad and parts["embedding"].shape == (8, 6)
    generator = torch.Generator().manual_seed(0)
    images = ImageSet(torch.randint(0, 256, (32, 3, 16, 16), generator=generator, dtype=torch.uint8))
    history = fit(method, images, steps=3, batch_size=16, device="cpu", precision="float32", progress=False)
    assert history.steps == 3 and set(history.curves) == {"loss", "align", "uniform"}
    assert method.embed(images.images).shape == (32, 4)


def test_on_the_circle_attraction_collapses_and_repulsion_spreads():
    spread = {repulsion: float(circle_descent(alignment_loss, uniformity_loss, repulsion=repulsion)[-1]
                               .std(0, correction=0).norm()) for repulsion in (0.0, 1.0)}
    assert spread[0.0] < 0.1 and spread[1.0] > 0.9
    first, again = (circle_descent(alignment_loss, uniformity_loss, steps=3) for _ in range(2))
    assert torch.equal(first, again) and first.shape == (4, 24, 2)
    assert torch.allclose(first.norm(dim=-1), torch.ones(4, 24))


def test_a_training_step_follows_the_gradient_of_its_own_batch_only():
    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([1.0]))

        def views(self, batch, generator):
            return batch

        def loss(self, views, progress=0.0):
            return {"loss": (self.weight * views).sum()}

    method, generator = Line(), torch.Generator()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    losses = [reference("01.training_step")(method, torch.tensor([slope]), optimizer, generator)
              for slope in (1.0, 2.0)]
    assert losses == pytest.approx([1.0, 1.8]) and all(type(loss) is float for loss in losses)
    assert method.weight.item() == pytest.approx(1 - 0.1 - 0.2)


# ---------------------------------------------------------------- what is not a cloud of points
def test_rows_of_zeros_are_collapsed_and_not_perfect():
    for rows in (torch.zeros(5, 3), torch.ones(5, 3)):
        assert float(uniformity_loss(rows)) == pytest.approx(0.0, abs=1e-6)
    one_apart = torch.tensor([[0.0, 0.0], [0.0, 2.0]])  # at the distance 1
    assert float(uniformity_loss(one_apart)) == pytest.approx(-2.0)


def test_a_single_row_and_settings_without_meaning_are_named():
    with pytest.raises(ValueError, match="uniformity compares images .* got 1"):
        uniformity_loss(torch.ones(1, 3))
    with pytest.raises(ValueError, match="t is 0"):
        uniformity_loss(torch.ones(2, 3), t=0)
    for alpha in (0.5, 0, -1):
        with pytest.raises(ValueError, match="alpha is .* expected 1 or more"):
            alignment_loss(torch.ones(2, 3), torch.ones(2, 3), alpha)
