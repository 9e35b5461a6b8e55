"""Scores without labels: rotations, the probe on them, rank correlation, a pretext's own accuracy."""

from __future__ import annotations

import pytest
import torch

from course_lib.data.images import Batch
from course_lib.evaluate.label_free import pretext_accuracy, rank_correlation, rotation_probe
from course_lib.evaluate.probes import linear_probe
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


def test_the_rotation_probe_is_a_probe_of_all_turns_of_each_part():
    """Bug: an image is turned one way in the training and another way in the test set, or the encoder is told apart."""
    parts = torch.rand(3, 20, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    flat = lambda images: images.flatten(1)  # noqa: E731

    def by_hand(images):
        rows, labels = [], []
        for quarters in range(4):
            for image in images:
                for _ in range(quarters):  # anticlockwise: the last column becomes the first row
                    image = torch.stack([image[:, :, -1 - k] for k in range(4)], 1)
                rows.append(image.flatten())
                labels.append(quarters)
        return torch.stack(rows), torch.tensor(labels)

    assert rotation_probe(flat, *parts) == linear_probe(*(by_hand(images) for images in parts))


def test_rank_correlation_counts_ranks_only():
    assert rank_correlation([1, 2, 3, 4], [0.1, 0.2, 5.0, 9.0]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    ranks = [(1, 2.5), (2, 1), (3, 4), (4, 2.5)]  # ties share their rank
    mean = 2.5
    cov = sum((a - mean) * (b - mean) for a, b in ranks)
    spread = [sum((r[i] - mean) ** 2 for r in ranks) for i in (0, 1)]
    assert rank_correlation([1, 2, 3, 4], [5, 0, 9, 5]) == pytest.approx(cov / (spread[0] * spread[1]) ** 0.5)


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
