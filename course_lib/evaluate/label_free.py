"""Scores of a representation that need no labels: a linear classifier of rotations on frozen features.

Reed, Metzger, Srinivas, Darrell, Keutzer, "SelfAugment: automatic augmentation policies for self-supervised learning",
CVPR 2021, arXiv 2009.07724: the accuracy ranks augmentations nearly as the supervised probe does, on photographs. What
implementations get wrong: the encoder fine-tuned by the probe; some of an image's rotations in the training and others
in the test set.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from course_lib.evaluate.probes import ProbeResult, linear_probe
from course_lib.methods.pretext.rotation import four_turns


def rotation_probe(embed: Callable[[Tensor], Tensor], train: Tensor, validation: Tensor, test: Tensor) -> ProbeResult:
    """How well a linear classifier on frozen features names the rotation, four classes; `embed`: images -> (N, D).

    The images of the three sets must differ; the penalty is picked on validation, and test is used once.
    """
    parts = []
    for images in (train, validation, test):
        turned, labels = four_turns(images)
        parts.append((embed(turned), labels))
    return linear_probe(*parts)


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Spearman's rank correlation of two lists of scores, in [-1, 1]; ties share their mean rank."""
    from scipy.stats import rankdata  # takes a second to import

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
