"""VADeR: points that both views show, read between pixels, against the points of other images."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.geometry import in_view
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.dense.vader import read_at, shared_points, vader_loss
from course_lib.models.layers import normalize
from course_lib.train.loop import fit
from helpers.draws import randn
from helpers.tiny import SMALL, Stop, images, same, state

pytestmark = pytest.mark.usefixtures("one_thread")


def build(**options):
    torch.manual_seed(0)
    return build_method("vader", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"out": 6, "points": 3, "queue": 24, **options})


def test_shared_points_show_the_same_in_both_views():
    """Bug: matching after rounding, or a mirrored view taken as it is. The picture's red is x, its green y."""
    axis = (torch.arange(64) + 0.5) / 64
    picture = torch.stack([axis.expand(64, 64), axis[:, None].expand(64, 64), torch.zeros(64, 64)])
    picture = picture.expand(20, -1, -1, -1)
    view, generator = Augment(32, scale=(0.05, 0.3), jitter_p=0.0, gray_p=0.0), torch.Generator().manual_seed(1)
    (a, first), (b, second) = view.placed(picture, generator), view.placed(picture, generator)
    points, found = shared_points(first, second, 7, generator)
    assert 5 < found.sum() < 20
    here, there = (read_at(v, in_view(points, c))[found][..., :2] for v, c in ((a, first), (b, second)))
    torch.testing.assert_close(here, there, atol=0.02, rtol=0)
    torch.testing.assert_close(here, points[found], atol=0.02, rtol=0)


def test_maps_may_be_of_another_type_than_the_points():
    maps, points = randn(2, 3, 4, 4), torch.rand(2, 5, 2)
    wanted = read_at(maps, points.double())
    torch.testing.assert_close(read_at(maps, points), wanted)
    torch.testing.assert_close(read_at(maps.float(), points.double()), wanted.float())
    half = read_at(maps.bfloat16(), points)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, wanted.float(), atol=0.02, rtol=0.02)


def naive(q, k, negatives, found, temperature):
    def unit(row):
        return [v / math.hypot(*row) for v in row]

    losses = []
    for image, here in enumerate(found):
        for i in range(len(q[image])) if here else ():
            a, b = unit(q[image][i]), unit(k[image][i])
            own = math.exp(sum(x * y for x, y in zip(a, b)) / temperature)
            rest = sum(math.exp(sum(x * y for x, y in zip(a, n)) / temperature) for n in negatives)
            losses.append(-math.log(own / (own + rest)))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("found", [[True, False, True], [True] * 3, [False] * 3])
def test_the_loss_equals_its_definition(found):
    q, k, queue = randn(3, 4, 5), randn(3, 4, 5, seed=1), normalize(randn(7, 5, seed=2))
    got = vader_loss(q, k, queue, torch.tensor(found), 0.2)["loss"]
    assert float(got) == pytest.approx(naive(q.tolist(), k.tolist(), queue.tolist(), found, 0.2), rel=1e-9)


def test_gradients_of_queries_only_and_none_of_images_without_overlap():
    q, k = randn(2, 3, 4).requires_grad_(), randn(2, 3, 4, seed=1).requires_grad_()
    found, queue = torch.tensor([True, False]), normalize(randn(5, 4, seed=2))
    assert torch.autograd.gradcheck(lambda q: vader_loss(q, k.detach(), queue, found, 0.3)["loss"], q)
    vader_loss(q, k, queue, found, 0.3)["loss"].backward()
    assert k.grad is None and q.grad[0].any() and not q.grad[1].any()


def test_the_loss_in_half_precision_is_that_of_float32():
    q, k, queue = randn(2, 3, 4), randn(2, 3, 4, seed=1), normalize(randn(5, 4, seed=2))
    found = torch.tensor([True, True])
    with torch.autocast("cpu", torch.bfloat16):
        got = vader_loss(*(x.bfloat16() for x in (q, k, queue)), found)["loss"]
    assert got.dtype == torch.float32
    want = vader_loss(*(x.bfloat16().double() for x in (q, k, queue)), found)["loss"]
    assert float(got) == pytest.approx(float(want), rel=1e-4)


def test_the_queue_takes_the_keys_of_all_points_in_training_only():
    method = build()
    batch = Batch(images(4).images, torch.arange(4))
    views = method.views(batch, torch.Generator().manual_seed(0))
    before = method.queue.rows.clone()
    method.eval().loss(views)
    assert torch.equal(method.queue.rows, before)
    assert torch.isfinite(method.train().loss(views)["loss"])
    assert int(method.queue.pointer) == 12 and not torch.equal(method.queue.rows[:12], before[:12])


def test_maps_have_the_largest_stage_s_size():
    assert build().maps(torch.rand(2, 3, 16, 16)).shape == (2, 6, 8, 8)


@pytest.mark.parametrize("options, what", [
    ({"temperature": 0.0}, "temperature is 0"), ({"points": 0}, "points is 0"),
    ({"augment": {"shift": 0.1}}, "VADeR has to know where the places of a view lie")])
def test_bad_settings_get_a_sentence(options, what):
    with pytest.raises(ValueError, match=what):
        build(**options)


def test_a_queue_longer_than_all_points_is_told():
    with pytest.warns(UserWarning, match=r"queue is 24, but there are 21 points \(3 of each image\)"):
        build().prepare(images(7).images)


def test_resume_is_bit_exact(tmp_path):
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, again = build(), build()
    fit(whole, images(), out=tmp_path / "whole", **settings)
    fit(build(), images(), out=tmp_path / "cut", watch=Stop(3), **settings)
    fit(again, images(), out=tmp_path / "cut", resume=True, **settings)
    assert same(state(whole), state(again))
