"""What a memory bank holds, against loops over its rows."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.augment.pixels import standardize, to_float
from course_lib.data.loading import load
from course_lib.evaluate import banks
from course_lib.methods import build_method
from course_lib.models.layers import normalize
from course_lib.train.loop import fit


def unit(n, d, seed):
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)))


def test_vectors_are_those_of_evaluation_mode_whatever_the_mode():
    torch.manual_seed(0)
    method = build_method("npid", "convnet", 32)
    pictures = torch.randint(0, 256, (260, 3, 32, 32), dtype=torch.uint8)
    training = banks.bank_vectors(method.train(), pictures)
    assert method.training, "left as it was"
    with torch.no_grad():
        for i in (0, 255, 259):
            one = method.eval().head(method.backbone(standardize(to_float(pictures[i : i + 1]))))[0]
            torch.testing.assert_close(training[i], one / one.norm(), rtol=1e-4, atol=1e-5)


def test_moments_are_taken_as_training_goes_on():
    images = load("shapes", n=96).train
    torch.manual_seed(0)
    method = build_method("npid", "convnet", 32, negatives=0)
    seen = banks.BankMoments(method, images.images)
    fit(method, images, steps=4, batch_size=32, log_every=2, seed=0, device="cpu", watch=seen, progress=False)
    assert [moment["step"] for moment in seen] == sorted({moment["step"] for moment in seen}) and seen[-1]["step"] == 4
    first, last = seen[0], seen[-1]
    assert first["rows"].shape == first["now"].shape == (len(images), 128)
    assert not torch.equal(first["rows"], last["rows"]), "a copy, not the bank itself"
    agreement = banks.bank_agreement(last)
    cosines = [float(last["rows"][i] @ last["now"][i]) for i in range(len(images))]
    middle = float(last["age"].float().median())
    old = [c for c, age in zip(cosines, last["age"].tolist()) if age > middle]
    new = [c for c, age in zip(cosines, last["age"].tolist()) if age <= middle]
    assert agreement["mean"] == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)
    assert agreement["new"] == pytest.approx(sum(new) / len(new), abs=1e-5)
    assert not old or agreement["old"] == pytest.approx(sum(old) / len(old), abs=1e-5)
    other = sum(float(last["rows"][i] @ last["now"][i - 1]) for i in range(len(images))) / len(images)
    assert agreement["another"] == pytest.approx(other, abs=1e-5)
    assert 0 <= banks.knn_of(method, images, images.select(range(10))) <= 1


def test_z_and_the_threshold_are_those_of_the_formulas():
    rows, asked, t, drawn = unit(40, 8, 0), unit(5, 8, 1), 0.2, 16
    cosines = asked @ rows.T
    z = 40 * sum(math.exp(float(c) / t) for c in cosines.flatten()) / cosines.numel()
    assert banks.log_partition(cosines, t, 40) == pytest.approx(math.log(z), rel=1e-5)
    where = banks.nce_threshold(cosines, t, 40, drawn)
    p = math.exp(where / t) / z
    assert p / (p + drawn / 40) == pytest.approx(0.5, rel=1e-4)


def test_pieces_are_compared_in_every_order():
    torch.manual_seed(0)
    method = build_method("pirl", "convnet", 32, grid=2).eval()
    pictures = torch.rand(3, 3, 32, 32)
    cells, orders = banks.middle_cells(method, pictures), banks.all_orders(4)
    side, room = method.patch, method.room // 2
    torch.testing.assert_close(cells[1, 2], pictures[1, :, 16 + room : 16 + room + side, room : room + side])
    assert len(orders) == 24 == len(set(map(tuple, orders))) and orders[0] == [0, 1, 2, 3]
    found = banks.pieces_and_pictures(method, pictures, cells, orders)
    with torch.no_grad():
        whole = normalize(method.image_head(method.backbone(standardize(pictures))))
        pieces = torch.stack([method.backbone(standardize(cells[:, i])) for i in orders[7]], 1)  # (3, 4, D)
        each = normalize(method.piece_head(pieces))
    for i in range(3):
        assert float(found["own"][7, i]) == pytest.approx(float(each[i] @ whole[i]), abs=1e-4)
        assert float(found["another"][7, i]) == pytest.approx(float(each[i] @ whole[i - 1]), abs=1e-4)
    told = banks.order_and_picture(found)
    columns = [found["own"][:, i] for i in range(3)]
    assert told["order"] == pytest.approx(sum(float(c.std()) for c in columns) / 3, rel=1e-5)
    assert told["picture"] == pytest.approx(float(torch.stack([c.mean() for c in columns]).std()), rel=1e-5)
