"""Flat maps of features, one for each checkpoint, that lie alike: where the points of the embedding explorer stand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from course_lib.evaluate.measures import check_features
from course_lib.models.layers import normalize
from course_lib.plots import project
from course_lib.runs.networks import COMPONENTS, Journey

SPAN = 65535  # coordinates are uint16


def features_of(path: Journey) -> Tensor:
    return torch.from_numpy(path.points.astype(np.float32))  # (T, N, D)


def directions(path: Journey) -> Tensor:
    """What cosine compares, as in kNN: (T, N, D), centred at each checkpoint and of unit length."""
    features = torch.stack([check_features(f) for f in features_of(path)])
    return normalize(features - features.mean(dim=1, keepdim=True))


def flat_maps(path: Journey, method: str) -> Tensor:
    """Maps of all checkpoints (T, N, 2) in one frame, so that points move and do not jump."""
    if method == "tsne" and path.maps is not None:
        return _one_size(torch.from_numpy(path.maps.astype(np.float32)))
    wanted = directions(path)
    if method == "pca":
        return project(wanted.flatten(0, 1)).view(*wanted.shape[:2], 2)
    scaled = [_equally_wide(d) for d in wanted]
    frames = [project(scaled[-1], method)]
    for earlier in scaled[:-1][::-1]:
        frame = project(earlier, method, start=frames[0])
        frames.insert(0, frame @ turn(frame, frames[0]))
    return _one_size(torch.stack(frames))


def _one_size(frames: Tensor) -> Tensor:
    """t-SNE's maps (T, N, 2), centred and with the same mean distance from the centre: their sizes mean nothing."""
    centred = frames - frames.mean(1, keepdim=True)
    return centred / centred.norm(dim=2).mean(1)[:, None, None].clamp_min(1e-12)


def _equally_wide(directions: Tensor) -> Tensor:
    """The 16 largest principal components (N, <= 16) of (N, D), each with standard deviation 1.

    In flat maps of the features as they are, lighting and position often push everything else aside.
    """
    centred = directions - directions.mean(0)
    components = centred @ torch.linalg.svd(centred, full_matrices=False)[2][:COMPONENTS].T
    spread = components.std(0)
    return components / spread.clamp_min(1e-3 * float(spread.max()) + 1e-12)


def turn(points: Tensor, onto: Tensor) -> Tensor:
    """The rotation or reflection (2, 2) that brings points (N, 2) nearest to others of the same images (Procrustes)."""
    u, _, v = torch.linalg.svd((points - points.mean(0)).T @ (onto - onto.mean(0)))
    return u @ v


def kept(path: Journey, frames: Tensor) -> list[float]:
    """The share of the variance of directions that the map keeps, at each checkpoint."""
    whole = directions(path).var(dim=1).sum(dim=1).clamp_min(1e-12)
    return (frames.var(dim=1).sum(dim=1) / whole).tolist()


def coordinates(frames: Tensor) -> dict:
    """Frames (T, N, 2), y upwards -> "points": uint16, y downwards, and "extent": their largest x and y.

    The longer side of the rectangle that holds all of them is SPAN.
    """
    low, high = frames.amin((0, 1)), frames.amax((0, 1))
    extent = (high - low) / (high - low).max().clamp_min(1e-12)
    unit = ((frames - (low + high) / 2) / (high - low).max().clamp_min(1e-12) * torch.tensor([1, -1]) + extent / 2)
    return {"points": (unit.clamp(0, 1) * SPAN).round().numpy().astype("<u2").tobytes(),
            "extent": (extent * SPAN).round().clamp_min(1).tolist()}
