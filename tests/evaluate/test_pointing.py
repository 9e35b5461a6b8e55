"""Where a GATCluster points and what it answers, against the method's own forward pass and loops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_lib.augment.pixels import standardize, to_float
from course_lib.data.shapes import draw_causes, object_masks
from course_lib.evaluate import pointing
from course_lib.methods import build_method
from course_lib.methods.clustering.gatcluster import gaussian_map


@pytest.fixture
def method():
    torch.manual_seed(0)
    return build_method("gatcluster", "convnet", 32, clusters=5).eval()


def images(n=6):
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_looks_and_answers_are_those_of_the_forward_pass(method):
    pictures = images()
    maps, theta = pointing.looks(method, pictures)
    assert maps.shape[-2:] == (4, 4) and theta.shape == (6, 3) and not theta.requires_grad
    with torch.no_grad():
        _, attended, attention = method.heads(method.backbone.stages(standardize(to_float(pictures)))[-1])
    torch.testing.assert_close(gaussian_map(theta, 4, 4), attention)
    answers = pointing.pointed_answers(method, maps, attention[:, 0])
    torch.testing.assert_close(answers, attended)
    everywhere = pointing.pointed_answers(method, maps, gaussian_map(pointing.CORNER, 4, 4)[:, 0])
    for i in range(6):  # one map for all, or its copy for each
        one = pointing.pointed_answers(method, maps[i : i + 1], gaussian_map(pointing.CORNER, 4, 4)[:, 0])
        torch.testing.assert_close(everywhere[i : i + 1], one)


def test_follows_is_a_correlation_with_the_object():
    causes = draw_causes(200, torch.Generator().manual_seed(0))
    truth = pointing.true_centres(causes)
    rows = object_masks(causes).float().mean(2)  # (N, 32): how much of each row is object
    middle = (rows * torch.arange(32)).sum(1) / rows.sum(1) / 31
    assert torch.corrcoef(torch.stack([middle, truth[:, 0]]))[0, 1] > 0.95, "the first number is the row"
    theta = torch.cat([truth, truth[:, :1]], 1)
    assert pointing.follows(theta, causes) == pytest.approx({"row": 1, "column": 1}, abs=1e-5)
    assert pointing.follows(theta[:, [1, 0, 2]], causes)["row"] < 0.3


def test_exchanged_counts_what_a_loop_counts(method):
    pictures, labels = images(8), torch.arange(8) % 3
    objects = torch.zeros(8, 32, 32, dtype=torch.bool)
    objects[:, :8, :8] = True  # the upper left place of sixteen
    maps, theta = pointing.looks(method, pictures)
    classes = torch.tensor([0, 1, 2, 0, 1])
    thetas = {"own": theta, "corner": pointing.CORNER.expand_as(theta)}
    found = pointing.exchanged(method, maps, thetas, objects, labels, classes)
    own = pointing.pointed_answers(method, maps, gaussian_map(theta, 4, 4)[:, 0])
    corner = gaussian_map(pointing.CORNER, 4, 4)[0, 0]
    said = pointing.pointed_answers(method, maps, corner[None])
    assert found["own"]["kept"] == 1
    assert found["corner"]["kept"] == sum(int(a.argmax() == b.argmax()) for a, b in zip(own, said)) / 8
    assert found["corner"]["acc"] == sum(int(classes[a.argmax()] == c) for a, c in zip(said, labels)) / 8
    assert found["corner"]["sure"] == pytest.approx(sum(float(a.max()) for a in said) / 8, rel=1e-5)
    assert found["corner"]["share"] == pytest.approx(float(corner[0, 0] / corner.sum()), rel=1e-5)


def test_the_receptive_field_of_convolutions():
    two = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(), nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 3))
    assert pointing.seen_by_a_place(two) == 9
    picture = torch.zeros(1, 1, 19, 19, requires_grad=True)
    out = two(picture)
    out[0, 0, out.shape[2] // 2, out.shape[3] // 2].backward()
    assert int((picture.grad[0, 0] != 0).any(1).sum()) in (8, 9), "ReLU may switch an edge off"
