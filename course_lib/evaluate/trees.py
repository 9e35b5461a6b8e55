"""How much distances resemble those of a tree, and how well an embedding keeps them."""

from __future__ import annotations

import torch
from torch import Tensor


def hyperbolicity(distances: Tensor, base: int = 0) -> tuple[float, float]:
    """Gromov's delta of distances (N, N), and 2 delta over the diameter: 0 for a tree, up to 1.

    With (x.y) = (d(x, b) + d(y, b) - d(x, y)) / 2 for a base point b: the most by which min((x.z), (z.y)) exceeds
    (x.y). Of another base point delta differs by at most a factor of 2.
    """
    d = distances.double()
    products = (d[base][:, None] + d[base][None] - d) / 2  # (N, N)
    best = torch.stack([torch.minimum(row[:, None], products).amax(0) for row in products])  # (N, N), over all z
    delta = float((best - products).max())
    return delta, 2 * delta / float(d.max())


def distortion(embedded: Tensor, true: Tensor) -> float:
    """The mean of |embedded / true - 1| over pairs of points, (N, N) each; `embedded` is scaled as suits it best."""
    pairs = torch.triu_indices(len(true), len(true), 1)
    ratio = (embedded / true)[pairs[0], pairs[1]].double()
    return float((ratio * ratio.mean() / ratio.square().mean() - 1).abs().mean())
