"""Exemplar: semi-hard triplets against plain Python, the views of an image, what cannot be, and resume."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.pretext.exemplar import semi_hard, triplet_loss
from helpers.draws import randn
from helpers.tiny import images, resumes

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("exemplar", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"out": 8, **options})


def naive(z, image, margin):
    rows = []
    for row in z.tolist():
        length = math.sqrt(sum(v * v for v in row))
        rows.append([v / length for v in row])

    def far(i, j):
        return sum((a - b) ** 2 for a, b in zip(rows[i], rows[j]))

    costs = []
    for a in range(len(rows)):
        others = [far(a, n) for n in range(len(rows)) if image[n] != image[a]]
        for p in range(len(rows)):
            if p != a and image[p] == image[a]:
                beyond = [d for d in others if d > far(a, p)]
                costs.append(max(0.0, margin + far(a, p) - (min(beyond) if beyond else max(others))))
    return sum(costs) / len(costs), sum(c > 0 for c in costs) / len(costs)


@pytest.mark.parametrize("views, margin", [(2, 0.5), (3, 0.1), (4, 1.5)])
def test_the_loss_equals_its_definition(views, margin):
    image = torch.arange(5).repeat_interleave(views)
    z = randn(5 * views, 3, seed=views)
    parts = triplet_loss(z, image, margin)
    loss, active = naive(z, image.tolist(), margin)
    assert float(parts["loss"]) == pytest.approx(loss, rel=1e-9)
    assert float(parts["active"]) == pytest.approx(active)
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(0))
    assert float(triplet_loss(z[order], image[order], margin)["loss"]) == pytest.approx(loss, rel=1e-9)


def test_where_none_is_farther_the_farthest_is_taken():
    distance = torch.tensor([[0.0, 5.0, 1.0, 2.0], [5.0, 0.0, 6.0, 7.0], [1.0, 6.0, 0.0, 1.0], [2.0, 7.0, 1.0, 0.0]])
    image = torch.tensor([0, 0, 1, 2])
    found = semi_hard(distance, image[:, None] == image)
    assert found[0, 1] == 2.0, "none beyond 5: the farthest of 1 and 2"
    assert found[1, 0] == 6.0, "the nearest beyond 5"


def test_gradients_and_half_precision():
    image = torch.arange(4).repeat_interleave(2)
    assert torch.autograd.gradcheck(lambda x: triplet_loss(x, image)["loss"], randn(8, 4, seed=3).requires_grad_())
    collapsed = torch.ones(8, 4, dtype=torch.float64, requires_grad=True)
    parts = triplet_loss(collapsed, image)
    parts["loss"].backward()
    assert float(parts["loss"].detach()) == pytest.approx(0.5) and bool(collapsed.grad.isfinite().all())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert triplet_loss(randn(8, 4).bfloat16(), image)["loss"].dtype == torch.float32


def test_the_views_are_grouped_by_image():
    method = build(copies=3)
    views = method.views(Batch(images(5).images, torch.arange(5)), torch.Generator().manual_seed(0))
    assert views.shape == (3, 5, 3, 16, 16) and not torch.equal(views[0], views[1])
    plain = build(copies=3, augment={"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "jitter_p": 0.0,
                                     "gray_p": 0.0}).eval()
    parts = plain.loss(plain.views(Batch(images(5).images, torch.arange(5)), torch.Generator().manual_seed(0)))
    assert float(parts["loss"]) < 0.5, "its own views are at distance 0, those of others farther"


def test_what_cannot_be_is_a_sentence():
    for copies in (1, 0, True, 2.5):
        with pytest.raises(ValueError, match=f"copies is {copies!r}; (expected|exemplar expects) a whole number"):
            build(copies=copies)
    with pytest.raises(ValueError, match="margin is 0; expected a number above 0"):
        build(margin=0)
    with pytest.raises(ValueError, match="compares images with each other and needs two or more, got 1"):
        triplet_loss(randn(4, 3), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="each image has one view only"):
        triplet_loss(randn(4, 3), torch.arange(4))


def test_resume_is_bit_exact(tmp_path):
    assert resumes(build, tmp_path)
