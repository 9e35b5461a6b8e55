"""What is measured of photographs that come in scenes, several of each: leaks of a test, and neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.evaluate.measures import check_features, check_labels
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.models.layers import normalize


def first_of_scenes(scenes: Tensor) -> Tensor:
    """Scenes int64 (N,) -> the position of the first image of each, in the order of the scenes' numbers, int64 (S,)."""
    known, places = scenes.unique(return_inverse=True)
    none = torch.full((len(known),), len(scenes))
    return none.scatter_reduce(0, places, torch.arange(len(scenes)), "amin")


def leak_accuracy(bank: Tensor, bank_labels: Tensor, features: Tensor, labels: Tensor, scenes: Tensor, leaked: float,
                  k: int = 1) -> dict[str, float]:
    """kNN of one test image of each scene: "honest", and "leaked", where other images of its scene are in the bank.

    bank (N, D) of training images, features (M, D) of test images, labels and scenes int64 (M,). leaked: the share of
    the test scenes, the first ones, of which all images but the one that is asked about join the bank. ValueError for a
    share outside [0, 1], and what `knn_accuracy` refuses.
    """
    if not 0 <= leaked <= 1:
        raise ValueError(f"leaked is {leaked}; expected a share of the scenes, 0 to 1")
    asked, known = first_of_scenes(scenes), scenes.unique()
    joins = torch.isin(scenes, known[: round(leaked * len(known))])
    joins[asked] = False
    wider, wider_labels = torch.cat([bank, features[joins]]), torch.cat([bank_labels, labels[joins]])
    return {"honest": knn_accuracy(bank, bank_labels, features[asked], labels[asked], k=k),
            "leaked": knn_accuracy(wider, wider_labels, features[asked], labels[asked], k=k)}


def scene_neighbours(features: Tensor, labels: Tensor, scenes: Tensor) -> dict[str, float]:
    """Nearest images by cosine: how often of the "same scene"; and how often the nearest of another has the "class".

    features (N, D), labels and scenes int64 (N,). ValueError where all images are of one scene.
    """
    features, labels = check_features(features), check_labels(labels, len(features))
    together = scenes[:, None] == scenes
    if together.all():
        raise ValueError("all images are of one scene; expected two scenes or more")
    z = normalize(features)
    cosines = (z @ z.T).fill_diagonal_(-2)  # an image is no neighbour of itself
    nearest, other = cosines.argmax(1), cosines.masked_fill(together, -2).argmax(1)
    return {"same scene": float((scenes[nearest] == scenes).float().mean()),
            "class": float((labels[other] == labels).float().mean())}
