"""What is measured of scenes, against loops over a few images."""

from __future__ import annotations

import pytest
import torch

from course_lib.evaluate import knn_accuracy
from course_lib.evaluate.scenes import first_of_scenes, leak_accuracy, scene_neighbours
from helpers.draws import randn

SCENES = torch.tensor([7, 3, 7, 3, 9, 9, 3, 5])
LABELS = torch.tensor([0, 1, 0, 1, 2, 2, 1, 0])


def test_the_first_image_of_each_scene():
    assert first_of_scenes(SCENES).tolist() == [SCENES.tolist().index(scene) for scene in (3, 5, 7, 9)]


def test_a_leak_lets_the_other_images_of_a_scene_answer():
    bank, bank_labels = randn(12, 6), torch.arange(12) % 3
    features = randn(4, 6, seed=1)[torch.tensor([2, 0, 2, 0, 3, 3, 0, 1])] + 0.01 * randn(8, 6, seed=2)
    asked = [1, 7, 0, 4]  # of the scenes 3, 5, 7, 9
    honest = knn_accuracy(bank, bank_labels, features[asked], LABELS[asked], k=1)
    assert leak_accuracy(bank, bank_labels, features, LABELS, SCENES, 0.0) == {"honest": honest, "leaked": honest}
    joined = [i for i in range(8) if SCENES[i] in (3, 5) and i not in asked]
    half = knn_accuracy(torch.cat([bank, features[joined]]), torch.cat([bank_labels, LABELS[joined]]),
                        features[asked], LABELS[asked], k=1)
    assert leak_accuracy(bank, bank_labels, features, LABELS, SCENES, 0.5) == {"honest": honest, "leaked": half}
    assert leak_accuracy(bank, bank_labels, features, LABELS, SCENES, 1.0)["leaked"] >= 0.75
    with pytest.raises(ValueError, match="leaked is 2"):
        leak_accuracy(bank, bank_labels, features, LABELS, SCENES, 2)


def test_neighbours_within_and_without_the_scene_against_a_loop():
    x = randn(8, 5, seed=3)
    x[2] = 2 * x[0]  # 0 and 2, one scene, are nearest to one another
    cosine = torch.nn.functional.cosine_similarity
    same, right = 0, 0
    for i in range(8):
        order = sorted((j for j in range(8) if j != i), key=lambda j: -float(cosine(x[i], x[j], dim=0)))
        same += int(SCENES[order[0]] == SCENES[i])
        other = next(j for j in order if SCENES[j] != SCENES[i])
        right += int(LABELS[other] == LABELS[i])
    assert scene_neighbours(x, LABELS, SCENES) == {"same scene": same / 8, "class": right / 8} and same >= 2
    with pytest.raises(ValueError, match="one scene"):
        scene_neighbours(x, LABELS, torch.zeros(8, dtype=torch.long))
