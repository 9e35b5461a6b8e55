"""What choosing the best of many does to its score."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.seeds import generator


def lucky_winners(hits: Tensor, images: int, repeats: int = 100, seed: int = 1) -> tuple[Tensor, Tensor]:
    """The best of the first 1, 2, ... candidates on `images` test images, and the same winner on all the others.

    hits: 1.0 where a candidate is right, float (candidates, test images). Each repeat draws the test images and the
    candidates' order anew; -> the mean shares right, reported and honest, float (candidates,) each. ValueError unless
    some images are left to be fresh.
    """
    if not 1 <= images < hits.shape[1]:
        raise ValueError(f"images is {images} of {hits.shape[1]}; expected 1 to {hits.shape[1] - 1}")
    draws = generator(seed)
    chosen = (torch.rand(repeats, hits.shape[1], generator=draws).argsort(1).argsort(1) < images).float()
    order = torch.rand(len(hits), repeats, generator=draws).argsort(0)
    small = (hits @ chosen.T / images).gather(0, order)  # (candidates, repeats)
    fresh = (hits @ (1 - chosen).T / (hits.shape[1] - images)).gather(0, order)
    best, winner = small.cummax(0)
    return best.mean(1), fresh.gather(0, winner).mean(1)
