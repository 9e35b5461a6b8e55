"""Scores of a representation that need no labels: a linear classifier of rotations on frozen features.

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

from course_lib.evaluate.probes import ProbeResult, linear_probe


def four_rotations(images: Tensor) -> tuple[Tensor, Tensor]:
    """Square images (N, C, H, H) -> (4N, C, H, H), all by 0, then by 90, 180, 270 degrees; labels int64 (4N,)."""
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images are {tuple(images.shape)}; expected square ones, (N, C, H, H)")
    turned = torch.cat([torch.rot90(images, quarter, (2, 3)) for quarter in range(4)])
    return turned, torch.arange(4, device=images.device).repeat_interleave(len(images))


def rotation_probe(embed: Callable[[Tensor], Tensor], train: Tensor, validation: Tensor, test: Tensor) -> ProbeResult:
    """How well a linear classifier on frozen features names the rotation, four classes; `embed`: images -> (N, D).

    The images of the three sets must differ; the penalty is picked on validation, and test is used once.
    """
    parts = []
    for images in (train, validation, test):
        turned, labels = four_rotations(images)
        parts.append((embed(turned), labels))
    return linear_probe(*parts)


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Spearman's rank correlation of two lists of scores, in [-1, 1]; ties share their mean rank."""
    from scipy.stats import rankdata  # takes a second to import

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
