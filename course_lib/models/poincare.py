r"""The Poincare ball of curvature -c: the points x with c |x|^2 < 1, in which distances grow towards the edge as the
number of nodes of a tree does from its root.

    x (+) y = ((1 + 2c x.y + c|y|^2) x + (1 - c|x|^2) y) / (1 + 2c x.y + c^2 |x|^2 |y|^2)        Moebius addition
    d(x, y) = 2/sqrt(c) artanh(sqrt(c) |-x (+) y|)

Points are (..., D), with the last axis as their coordinates; half types are the caller's concern: use float32 or
better. The release of hyperbolic image embeddings (hyptorch) adds 1e-5 to the denominator of the sum and cuts artanh
off there, so its distances differ in the fourth digit; geoopt's do not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EDGE = 1e-3  # how far projected points stay from the edge, over the radius


def _norm(x: Tensor) -> Tensor:
    return x.norm(dim=-1, keepdim=True).clamp_min(1e-15)


def mobius_add(x: Tensor, y: Tensor, c: float = 1.0) -> Tensor:
    """x (+) y, which is neither x + y nor y (+) x."""
    xy, x2, y2 = (x * y).sum(-1, keepdim=True), x.square().sum(-1, keepdim=True), y.square().sum(-1, keepdim=True)
    return ((1 + 2 * c * xy + c * y2) * x + (1 - c * x2) * y) / (1 + 2 * c * xy + c**2 * x2 * y2)


def distance(x: Tensor, y: Tensor, c: float = 1.0) -> Tensor:
    """(..., D), (..., D) -> (...): the length of the geodesic. As an arsinh, which is exact also near the edge."""
    edges = (1 - c * x.square().sum(-1)) * (1 - c * y.square().sum(-1))
    return 2 / c**0.5 * torch.asinh(((c * (x - y).square().sum(-1)).clamp_min(1e-30) / edges.clamp_min(1e-15)).sqrt())


def conformal_factor(x: Tensor, c: float = 1.0) -> Tensor:
    """lambda_x = 2 / (1 - c |x|^2), (..., D) -> (..., 1): how much longer a small step is here than it looks."""
    return 2 / (1 - c * x.square().sum(-1, keepdim=True)).clamp_min(1e-15)


def exp0(u: Tensor, c: float = 1.0) -> Tensor:
    """Where one gets from the origin, walking straight in the direction of u: |u| twice over is the distance."""
    return torch.tanh(c**0.5 * _norm(u)) * u / (c**0.5 * _norm(u))


def log0(x: Tensor, c: float = 1.0) -> Tensor:
    """The inverse of `exp0`."""
    return torch.atanh((c**0.5 * _norm(x)).clamp_max(1 - 1e-7)) * x / (c**0.5 * _norm(x))


def exp(x: Tensor, u: Tensor, c: float = 1.0) -> Tensor:
    """Where one gets from x, walking straight with the tangent vector u."""
    step = torch.tanh(c**0.5 * conformal_factor(x, c) * _norm(u) / 2) * u / (c**0.5 * _norm(u))
    return mobius_add(x, step, c)


def log(x: Tensor, y: Tensor, c: float = 1.0) -> Tensor:
    """The tangent vector at x that leads to y."""
    way = mobius_add(-x, y, c)
    length = torch.atanh((c**0.5 * _norm(way)).clamp_max(1 - 1e-7))
    return 2 / (c**0.5 * conformal_factor(x, c)) * length * way / _norm(way)


def geodesic(x: Tensor, y: Tensor, t: Tensor, c: float = 1.0) -> Tensor:
    """Points of the shortest way from x to y, (D,) each, at the shares t (n,) of its length: (n, D)."""
    return exp(x.expand(len(t), -1), t[:, None] * log(x, y, c), c)


def mobius_matvec(matrix: Tensor, x: Tensor, c: float = 1.0) -> Tensor:
    """A linear map (E, D) of points (..., D), in the tangent space of the origin: (..., E)."""
    return exp0(log0(x, c) @ matrix.T, c)


def project(x: Tensor, c: float = 1.0) -> Tensor:
    """Points at the edge or beyond, taken back to just inside; others as they are."""
    return x * (((1 - EDGE) / c**0.5) / _norm(x)).clamp_max(1)


def midpoint(x: Tensor, c: float = 1.0) -> Tensor:
    """The Einstein midpoint of n points, (n, D) -> (D,): their mean in Klein's model, where it is a weighted one."""
    klein = 2 * x / (1 + c * x.square().sum(-1, keepdim=True))
    weight = 1 / (1 - c * klein.square().sum(-1, keepdim=True)).clamp_min(1e-15).sqrt()
    mean = (weight * klein).sum(0) / weight.sum(0)
    return mean / (1 + (1 - c * mean.square().sum(-1, keepdim=True)).sqrt())


def curvature_of(dim: int) -> float:
    """c of the ball in `dim` dimensions that has a disc's volume, pi (by a ruler); c = 1 in two, ValueError below one.

    hyptorch's `auto_select_c`: with c = 1, a ball of many dimensions has next to no volume.
    """
    if dim < 1:
        raise ValueError(f"dim is {dim}; expected 1 or more")
    # a ball of radius R has the volume pi^(dim/2) R^dim / Gamma(dim/2 + 1)
    log_radius = (math.lgamma(dim / 2 + 1) + (1 - dim / 2) * math.log(math.pi)) / dim
    return math.exp(-2 * log_radius)
