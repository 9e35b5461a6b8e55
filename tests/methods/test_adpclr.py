"""AdpCLR: mined positives against loops in plain Python, when mining begins, and what it has in common with SupCon."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.contrastive.adpclr import adpclr_loss, mined, positives
from course_lib.methods.contrastive.negatives import weighted_nt_xent
from course_lib.methods.metric.supcon import same_class, supcon_loss
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, method="adpclr", **options):
    torch.manual_seed(seed)
    return build_method(method, "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"hidden": 8, "out": 6, **options})


def naive(z, k, temperature, by_rank=True) -> float:
    """z: a list of images, each a list of views, each a list of numbers."""
    def dot(x, y):
        return sum(v * w for v, w in zip(x, y))

    z = [[[v / math.sqrt(dot(row, row)) for v in row] for row in image] for image in z]
    total, count = 0.0, 0
    for i, image in enumerate(z):
        def alike(j, image=image):
            return sum(dot(x, y) for x in image for y in z[j]) / len(image) ** 2

        strangers = [j for j in range(len(z)) if j != i]
        own = sorted(strangers, key=alike, reverse=True)[:k] if by_rank else [(i + 1 + n) % len(z) for n in range(k)]
        for v, anchor in enumerate(image):
            power = {(j, w): math.exp(dot(anchor, row) / temperature) for j, other in enumerate(z)
                     for w, row in enumerate(other) if (j, w) != (i, v)}
            p = [x / sum(power.values()) for (j, _), x in power.items() if j == i or j in own]
            total, count = total - sum(map(math.log, p)) / len(p), count + 1
    return total / count


@pytest.mark.parametrize("by_rank", [True, False])
@pytest.mark.parametrize("k, views, temperature", [(0, 2, 0.5), (1, 2, 0.2), (3, 2, 0.5), (2, 3, 1.0), (6, 2, 0.5)])
def test_the_loss_equals_its_definition(k, views, temperature, by_rank):
    z = 3 * randn(7, views, 5)
    got = adpclr_loss(z, k, temperature, by_rank)["loss"]
    assert float(got) == pytest.approx(naive(z.tolist(), k, temperature, by_rank), rel=1e-10)


def test_nobody_mined_is_nt_xent_and_the_own_class_mined_is_supcon():
    z = randn(6, 2, 5)
    torch.testing.assert_close(adpclr_loss(z, 0, 0.2)["loss"], weighted_nt_xent(z[:, 0], z[:, 1], 0.2)["loss"])
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    z = 0.1 * z + torch.eye(5, dtype=z.dtype)[labels][:, None]  # classes far apart
    torch.testing.assert_close(adpclr_loss(z, 1, 0.2)["loss"], supcon_loss(z, same_class(labels), 0.2)["loss"])


def test_the_nearest_are_mined_and_never_the_image_itself():
    """Bugs: the image itself among its k nearest; lengths that count; the farthest."""
    angle = torch.tensor([0.0, 10.0, 30.0, 90.0]).deg2rad()
    z = torch.stack([angle.cos(), angle.sin()], 1)[:, None] * torch.tensor([1.0, 9.0, 1.0, 50.0])[:, None, None]
    assert mined(z.expand(-1, 2, -1), 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert mined(z, 2, by_rank=False).tolist() == [[1, 2], [2, 3], [3, 0], [0, 1]]
    assert positives(mined(z, 1)).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert mined(z, 0).shape == (4, 0)


@pytest.mark.parametrize("k", [0, 2])
def test_gradients_flow_through_the_loss_and_not_through_the_choice(k):
    z = randn(5, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: adpclr_loss(x, k, 0.5)["loss"], z)
    chosen = positives(mined(z, k))
    assert not chosen.requires_grad
    wanted = torch.autograd.grad(supcon_loss(z, chosen, 0.5)["loss"], z)[0]
    torch.testing.assert_close(torch.autograd.grad(adpclr_loss(z, k, 0.5)["loss"], z)[0], wanted)


def test_float32_inside_autocast():
    z = randn(6, 2, 5).float()
    wanted = adpclr_loss(z, 2)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(adpclr_loss(z, 2)["loss"], wanted)


def test_mining_begins_later_and_before_it_is_the_loss_of_dcl_with_no_switch():
    """Bug: mining from the first step, while neighbours are alike by chance."""
    batch = Batch(images(8).images, torch.arange(8), None)
    views = build().views(batch, torch.Generator().manual_seed(0))
    plain = build(method="dcl", tau_plus=0.0).loss(views)["loss"]
    early, late = build(start=0.5).loss(views, 0.49)["loss"], build(start=0.5).loss(views, 0.5)["loss"]
    torch.testing.assert_close(early, plain)
    assert (late - plain).abs() > 1e-3
    torch.testing.assert_close(build(k=0).loss(views, 1.0)["loss"], plain)


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 7, "log_every": 1, "lr": 0.01}
    whole, again = build(k=2), build(seed=5, k=2)
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(k=2), images(), out=tmp_path / "cut", watch=Stop(4), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))


def test_what_cannot_be_is_a_sentence():
    with pytest.raises(ValueError, match="k is 5; expected 0 to 4: at most the other images of the batch, which has 5"):
        adpclr_loss(randn(5, 2, 3), 5)
    views = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)
    with pytest.raises(ValueError, match="k is 4; expected 0 to 3"):
        build(k=4, start=0.5).loss(views, 0.0)  # at once, not when half of the training is over
    with pytest.raises(ValueError, match="k is -1; expected 0"):
        build(k=-1)
    with pytest.raises(ValueError, match="start is 2; expected a share"):
        build(start=2)
    with pytest.raises(ValueError, match="temperature is 0"):
        adpclr_loss(normalize(randn(5, 2, 3)), 1, 0)
