"""How much distances resemble those of a tree, and how well an embedding keeps them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from course_lib.models.poincare import distance, exp0


def hyperbolicity(distances: Tensor, base: int = 0) -> tuple[float, float]:
    """Gromov's delta of distances (N, N), and 2 delta over the diameter: 0 for a tree, up to 1.

    With (x.y) = (d(x, b) + d(y, b) - d(x, y)) / 2 for a base point b: the most by which min((x.z), (z.y)) exceeds
    (x.y). Of another base point delta differs by at most a factor of 2. ValueError if no two points are apart.
    """
    d = distances.double()
    if not d.numel() or float(d.max()) <= 0:
        raise ValueError("no two points are apart; expected distances (N, N) with one above 0")
    products = (d[base][:, None] + d[base][None] - d) / 2  # (N, N)
    best = torch.stack([torch.minimum(row[:, None], products).amax(0) for row in products])  # (N, N), over all z
    delta = float((best - products).max())
    return delta, 2 * delta / float(d.max())


def distortion(embedded: Tensor, true: Tensor) -> float:
    """The mean of |embedded / true - 1| over pairs of points, (N, N) each; `embedded` is scaled as suits it best.

    ValueError for a single point, or if two are at one place of the tree.
    """
    pairs = torch.triu_indices(len(true), len(true), 1)
    if not pairs.numel() or bool((true[pairs[0], pairs[1]] <= 0).any()):
        raise ValueError("an error is a share of a distance: expected two points or more, and no true distance of 0")
    ratio = (embedded / true)[pairs[0], pairs[1]].double()
    return float((ratio * ratio.mean() / ratio.square().mean() - 1).abs().mean())


def tree_distances(parents: list[int]) -> Tensor:
    """Edges between any two nodes, (N, N); parents[i] is below i, and -1 for the root, which is node 0.

    ValueError for other parents.
    """
    n = len(parents)
    if any(not 0 <= parent < node for node, parent in enumerate(parents[1:], 1)) or parents[:1] != [-1]:
        raise ValueError(f"parents are {parents}; expected -1, then for each node the number of one before it")
    d = torch.zeros(n, n)
    for node in range(1, n):
        d[node, :node] = d[:node, node] = d[parents[node], :node] + 1
    return d


def embed_tree(true: Tensor, c: float, start: Tensor | None = None, steps: int = 300, lr: float = 0.1,
               seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points whose distances are those of a tree but for a factor: `true` (N, N) -> points (N, 2), distances (N, N).

    c: the curvature is -c; 0 is the plane. The mean of (d / (factor * true) - 1)^2 over pairs is made small by Adam,
    whose rate falls to 0; the factor is learned, too. start: points of the plane to begin with, such as the plane's own
    embedding (they are scaled so that an edge is about 1 long); else random ones. In the ball points are exp0 of what
    is learned; there random ones get stuck, as branches that lie across each other do not pass, so as many steps in the
    plane come first.
    """
    if start is None and c:
        start, _ = embed_tree(true, 0.0, None, steps, lr, seed)
    n, generator = len(true), torch.Generator().manual_seed(seed)
    i, j = torch.triu_indices(n, n, 1)

    def placed(u: Tensor) -> Tensor:
        return exp0(u, c) if c else u

    def between(u: Tensor) -> Tensor:
        x = placed(u)
        return distance(x[i], x[j], c) if c else ((x[i] - x[j]).square().sum(1) + 1e-12).sqrt()

    if start is None:
        u = 0.1 * torch.randn(n, 2, generator=generator)
    else:
        length = float(((start[i] - start[j]).norm(dim=1) / true[i, j]).mean())
        u = start / length / (2 if c else 1)  # from the origin, |u| in the tangent space is half of the distance
    u, factor = u.clone().requires_grad_(), torch.zeros(()).requires_grad_()
    optimizer = torch.optim.Adam([u, factor], lr=lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        loss = (between(u) / (factor.exp() * true[i, j]) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        d = torch.zeros(n, n)
        d[i, j] = d[j, i] = between(u)
        return placed(u).detach(), d


class TreeDrawings:
    """A tree drawn at several curvatures, each time from the same start and by as many steps (see `embed_tree`).

    true: its distances (N, N). curves: name -> c of the curvature -c; one is "plane", 0. points: name -> (N, 2);
    lengths: name -> distances (N, N); distortion: name -> float.
    """

    def __init__(self, true: Tensor, start: Tensor, curves: Mapping[str, float], steps: int = 300):
        self.true, self.curves = true, dict(curves)
        found = {name: embed_tree(true, c, start, steps) for name, c in curves.items()}
        self.points = {name: points for name, (points, _) in found.items()}
        self.lengths = {name: lengths for name, (_, lengths) in found.items()}
        self.distortion = {name: distortion(lengths, true) for name, lengths in self.lengths.items()}

    def share(self, name: str) -> float:
        """Its distortion, as a share of the plane's."""
        return self.distortion[name] / self.distortion["plane"]

    def reach(self, name: str) -> float:
        """How far the outermost point is on the way to the rim of the ball."""
        return float(self.points[name].norm(dim=1).max()) * self.curves[name] ** 0.5

    def enlarged(self, name: str, times: float, c: float) -> float:
        """The distortion of a drawing, `times` as large, in the ball of curvature -c."""
        large = times * self.points[name]
        return distortion(distance(large[:, None], large[None], c), self.true)
