"""PIRL: its two terms against loops in plain Python, what the memory follows, lambda = 0 as NPID, and resume."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.data.images import Batch
from course_lib.methods import build_method
from course_lib.methods.pretext.pirl import PieceHead, pirl_loss
from course_lib.models.layers import normalize
from helpers.draws import randn
from helpers.tiny import images, resumes

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **options):
    torch.manual_seed(seed)
    return build_method("pirl", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)},
                        **{"out": 6, "negatives": 5, "temperature": 0.2, **options})


def given(method, n=8, seed=0):
    data = images()
    method.prepare(data.images)
    return method.views(Batch(data.images[:n], torch.arange(n), None, data.images),
                        torch.Generator().manual_seed(seed))


def naive(pieces, image, z, n, lam, eps) -> float:
    def term(scores):
        total = 0.0
        for row in scores:
            noise = (len(row) - 1) / n
            p = [math.exp(s) / z for s in row]
            total -= math.log(p[0] / (p[0] + noise + eps)) + sum(math.log(noise / (q + noise + eps)) for q in p[1:])
        return total / len(scores)

    return lam * term(pieces) + (1 - lam) * term(image)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("b, k, n", [(1, 2, 3), (4, 6, 20)])
def test_the_loss_equals_its_definition(lam, b, k, n):
    pieces, image = randn(b, 1 + k), randn(b, 1 + k, seed=1)
    got = pirl_loss(pieces, image, math.log(11.0), n, lam, 1e-6)["loss"]
    assert float(got) == pytest.approx(naive(pieces.tolist(), image.tolist(), 11.0, n, lam, 1e-6), rel=1e-10)


def test_the_softmax_equals_its_definition():
    pieces, image = randn(3, 5), randn(3, 5, seed=1)
    wanted = [sum(math.log(sum(map(math.exp, row))) - row[0] for row in x.tolist()) / 3 for x in (pieces, image)]
    parts = pirl_loss(pieces, image, None, 9, 0.25)
    assert float(parts["loss"]) == pytest.approx(0.25 * wanted[0] + 0.75 * wanted[1], rel=1e-10)
    assert float(parts["pieces"]) == pytest.approx(wanted[0]) and float(parts["image"]) == pytest.approx(wanted[1])


def test_gradients_and_float32_inside_autocast():
    pieces, image = randn(3, 5).requires_grad_(), randn(3, 5, seed=1).requires_grad_()
    for log_z in (1.5, None):
        assert torch.autograd.gradcheck(lambda a, b, z=log_z: pirl_loss(a, b, z, 9)["loss"], (pieces, image))
        plain = (pieces.detach().float(), image.detach().float(), log_z, 9)
        wanted = pirl_loss(*plain)["loss"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(pirl_loss(*plain)["loss"], wanted)
            assert pirl_loss(plain[0].bfloat16(), *plain[1:])["loss"].dtype == torch.float32


def test_pieces_are_put_in_a_row_not_averaged():
    torch.manual_seed(0)
    head, features = PieceHead(5, 4, 3).double(), randn(2, 4, 5)
    first = [head.each(features[:, k]) for k in range(4)]
    torch.testing.assert_close(head(features), head.all(torch.cat(first, 1)))
    assert not torch.allclose(head(features), head(features.flip(1)))


@pytest.mark.parametrize("cross_entropy", [False, True])
def test_a_step(cross_entropy):
    """Both terms against the old rows, Z of the pieces, and a memory that follows the picture alone."""
    method = build(cross_entropy=cross_entropy, lam=0.3)
    views = given(method)
    before = method.memory.rows.clone()
    assert torch.equal(views["image_rows"][:, 0], views["indices"]) and not torch.equal(views["image_rows"],
                                                                                       views["piece_rows"])
    parts = method.loss(views)
    v = parts["embedding"]
    features = method.backbone(standardize(views["pieces"].flatten(0, 1)))
    g = normalize(method.piece_head(features.view(8, 4, -1)))
    scores = [(x @ before.T / 0.2).gather(1, rows) for x, rows in ((g, views["piece_rows"]),
                                                                   (v, views["image_rows"]))]
    log_z = scores[0].logsumexp((0, 1)) + math.log(36 / scores[0].numel())
    wanted = pirl_loss(*scores, None if cross_entropy else log_z, 36, 0.3)["loss"]
    torch.testing.assert_close(parts["loss"], wanted)
    torch.testing.assert_close(method.memory.rows, torch.cat([normalize(before[:8] + v), before[8:]]))
    torch.testing.assert_close(parts["agreement"], (v * g.detach()).sum(1).mean())
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in (*method.image_head.parameters(),
                                                             *method.piece_head.parameters()))


def test_without_pieces_it_is_npid():
    method = build(lam=0.0)
    views = given(method)
    parts = method.loss(views)
    torch.testing.assert_close(parts["loss"], parts["image"])
    parts["loss"].backward()
    assert not any(p.grad.any() for p in method.piece_head.parameters())
    npid = build_method("npid", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, out=6, negatives=5,
                        temperature=0.2)
    npid.backbone.load_state_dict(method.backbone.state_dict())
    npid.head.load_state_dict(method.image_head.state_dict())
    npid.prepare(images().images)
    npid.memory.log_z, npid.memory.known = method.memory.log_z, method.memory.known  # Z is that of the pieces
    other = npid.loss((views["image"], views["indices"], views["image_rows"]))["loss"]
    torch.testing.assert_close(other, parts["loss"])
    torch.testing.assert_close(npid.memory.rows, method.memory.rows)


def test_bad_options_are_sentences():
    with pytest.raises(ValueError, match="lam is 1.5; expected a number from 0"):
        build(lam=1.5)
    with pytest.raises(ValueError, match="negatives is 0; expected a whole number from 1 up"):
        build(negatives=0)
    with pytest.raises(ValueError, match="patch is 12, which does not fit"):
        build(patch=12)
    with pytest.raises(ValueError, match="those of another data set: 36 images, and these are 20"):
        method = build()
        method.prepare(images().images)
        method.prepare(images(20).images)


def test_resume_is_bit_exact(tmp_path):
    assert resumes(build, tmp_path)
