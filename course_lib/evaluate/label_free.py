"""Scores that need no labels: a linear classifier of rotations on frozen features, and a pretext's own accuracy.

Reed, Metzger, Srinivas, Darrell, Keutzer, "SelfAugment: automatic augmentation policies for self-supervised learning",
CVPR 2021, arXiv 2009.07724: the accuracy ranks augmentations nearly as the supervised probe does, on photographs. What
implementations get wrong: the encoder fine-tuned by the probe; some of an image's rotations in the training and others
in the test set.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.data.images import Batch
from course_lib.evaluate.features import evaluating
from course_lib.evaluate.probes import ProbeResult, linear_probe
from course_lib.methods.base import Method
from course_lib.methods.pretext.rotation import four_turns
from course_lib.seeds import generator


def rotation_probe(embed: Callable[[Tensor], Tensor], train: Tensor, validation: Tensor, test: Tensor) -> ProbeResult:
    """How well a linear classifier on frozen features names the rotation, four classes; `embed`: images -> (N, D).

    The images of the three sets must differ; the penalty is picked on validation, and test is used once.
    """
    parts = []
    for images in (train, validation, test):
        turned, labels = four_turns(images)
        parts.append((embed(turned), labels))
    return linear_probe(*parts)


def pretext_accuracy(method: Method, images: Tensor, batch_size: int, seed: int = 0) -> float:
    """How well a method does its own task on images uint8 (N, 3, H, W), in evaluation mode: the mean over batches.

    What it calls "accuracy"; of Exemplar, whose loss has triplets, the share that costs nothing. ValueError for a
    method with neither.
    """
    draws, found = generator(seed), []
    with evaluating(method):
        for part in images.split(batch_size):
            losses = method.loss(method.views(Batch(part, torch.arange(len(part)), None), draws))
            if not {"accuracy", "active"} & set(losses):
                raise ValueError(f"{method.title} does not say how well it does its task: its loss has no accuracy")
            found.append(float(losses["accuracy"] if "accuracy" in losses else 1 - losses["active"]))
    return sum(found) / len(found)


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Spearman's rank correlation of two lists of scores, in [-1, 1]; ties share their mean rank."""
    from scipy.stats import rankdata  # takes a second to import

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
