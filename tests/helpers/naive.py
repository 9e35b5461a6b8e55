"""References in plain Python that several test files share."""

from __future__ import annotations

import math

import numpy as np


def naive_patches(image: np.ndarray, p: int) -> list[np.ndarray]:
    """(C, H, W) -> its patches in reading order, each a list of numbers by row, column, channel."""
    c, h, w = image.shape
    return [np.array([image[k, y * p + i, x * p + j] for i in range(p) for j in range(p) for k in range(c)])
            for y in range(h // p) for x in range(w // p)]


def naive_spark(prediction: np.ndarray, images: np.ndarray, visible: np.ndarray, normalized: bool) -> float:
    size, total, count = visible.shape[-1], 0.0, 0
    p = images.shape[-1] // size
    for guess, image, seen in zip(prediction, images, visible):
        for k, (x_hat, x) in enumerate(zip(naive_patches(guess, p), naive_patches(image, p))):
            if seen[k // size, k % size]:
                continue
            if normalized:
                mean = sum(x) / len(x)
                variance = sum((v - mean) ** 2 for v in x) / (len(x) - 1)
                x = (x - mean) / math.sqrt(variance + 1e-6)
            total += sum((u - v) ** 2 for u, v in zip(x_hat, x)) / len(x)
            count += 1
    return total / count


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(v - top) for v in row]
    return [p / sum(powers) for p in powers]
