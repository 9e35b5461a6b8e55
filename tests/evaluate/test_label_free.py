"""Scores without labels: rotations, the probe on them, rank correlation, a pretext's own accuracy."""

from __future__ import annotations

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.evaluate import linear_probe
from course_lib.evaluate.label_free import pretext_accuracy, rank_correlation, rotation_probe
from course_lib.methods import build_method
from helpers.tiny import images


def test_a_direction_can_be_read_and_its_absence_too():
    generator = torch.Generator().manual_seed(0)
    slope = torch.linspace(0, 1, 6)[:, None].expand(6, 6)

    def draw(n, up):
        return (up * slope + torch.rand(n, 1, 6, 6, generator=generator)).float()

    flat = lambda images: images.flatten(1)  # noqa: E731
    lit = rotation_probe(flat, *(draw(n, 2.0) for n in (60, 40, 40)))
    plain = rotation_probe(flat, *(draw(n, 0.0) for n in (60, 40, 40)))
    assert lit.accuracy > 0.95 and plain.accuracy < 0.45 and lit.train_size == 240


def test_the_probe_is_asked_about_every_image_in_every_turn():
    """Beside naive turning, pixel by pixel: the row of an image at the left edge is its column at the bottom."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(n, 1, 5, 5, generator=generator) for n in (12, 8, 6)]

    def turned(image: list[list[float]]) -> list[list[float]]:
        return [[image[row][4 - column] for row in range(5)] for column in range(5)]

    naive = []
    for part in parts:
        rows, turns = [], []
        for image in part[:, 0].tolist():
            for turn in range(4):
                rows.append([value for row in image for value in row])
                turns.append(turn)
                image = turned(image)
        naive.append((torch.tensor(rows), torch.tensor(turns)))
    got = rotation_probe(lambda images: images.flatten(1), *parts)
    wanted = linear_probe(*naive)
    assert got.accuracy == pytest.approx(wanted.accuracy, abs=1 / 24 + 1e-9) and got.train_size == wanted.train_size


def naive(a: list[float], b: list[float]) -> float:
    """Spearman's correlation: the rank of a value counts those below it, and half of those that equal it."""
    ranks = [[sum(w < v for w in x) + (sum(w == v for w in x) + 1) / 2 for v in x] for x in (a, b)]
    mean = (len(a) + 1) / 2
    cov = sum((r - mean) * (s - mean) for r, s in zip(*ranks))
    spread = [sum((r - mean) ** 2 for r in x) for x in ranks]
    return cov / (spread[0] * spread[1]) ** 0.5


def test_rank_correlation_counts_ranks_only():
    assert rank_correlation([1, 2, 3, 4], [0.1, 0.2, 5.0, 9.0]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    generator = torch.Generator().manual_seed(1)
    for levels in (3, 100):  # many ties, few
        a, b = torch.randint(levels, (2, 12), generator=generator).tolist()
        assert rank_correlation(a, b) == pytest.approx(naive(a, b))


@pytest.mark.parametrize("name, key", [("rotation", "accuracy"), ("exemplar", "active")])
def test_a_pretext_is_judged_batch_by_batch(name, key):
    torch.manual_seed(0)
    method = build_method(name, "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}).train()
    pictures = images(10, 16).images
    draws, found = torch.Generator().manual_seed(3), []
    method.eval()
    for start in (0, 5):
        part = pictures[start:start + 5]
        losses = method.loss(method.views(Batch(part, torch.arange(5), None), draws))
        found.append(float(losses[key]) if key == "accuracy" else 1 - float(losses[key]))
    method.train()
    assert pretext_accuracy(method, pictures, 5, seed=3) == pytest.approx(sum(found) / 2) and method.training


def test_a_method_without_an_accuracy_is_a_sentence():
    method = build_method("vicreg", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, width=8)
    with pytest.raises(ValueError, match="VICReg does not say how well it does its task"):
        pretext_accuracy(method, images(10, 16).images, 5)
