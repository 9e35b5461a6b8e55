"""Lesson 03's small experiments: how hard a variance term pulls, what a loss cannot go below, and a table of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.runs.several import scores_of
from course_lib.runs.stored import StoredRun
from course_lib.seeds import generator

Term = Callable[[Tensor], Tensor]


def variance_terms(variance_loss: Callable[..., Tensor], eps: float) -> dict[str, Term]:
    """Three versions of a variance term, (N, D) -> scalar; variance_loss(z, gamma, eps): the exercise's, the first."""
    return {"hinge on the std, eps inside the root": lambda z: variance_loss(z, 1.0, eps),
            "hinge on the std, eps outside": lambda z: F.relu(1 - (z.var(0).sqrt() + eps)).mean(),
            "hinge on the variance": lambda z: F.relu(1 - z.var(0)).mean()}


def pull(term: Term, spread: float, images: int = 32, dimensions: int = 8) -> float:
    """The norm of a term's gradient on a batch with this standard deviation, times sqrt(N D)."""
    base = torch.randn(images, dimensions, generator=generator(0), dtype=torch.float64)
    z = (spread * base).requires_grad_()
    return float(torch.autograd.grad(term(z), z)[0].norm() * z.numel() ** 0.5)


def least_covariance(images: int, dimensions: int) -> float:
    """What the covariance term of a batch cannot go below if every standard deviation is 1: D / (N - 1) - 1."""
    return dimensions / (images - 1) - 1


def least_loss(images: int, dimensions: int, variance: float, covariance: float) -> float:
    """What the variance and covariance terms of two views cost at least, if all dimensions deviate by the same."""
    rest = least_covariance(images, dimensions)
    deviations = torch.linspace(0, 1, 201).tolist()
    return min(variance * (1 - s) + 2 * covariance * rest * s**4 for s in deviations)


def ablation_table(runs: Mapping[str, Sequence[StoredRun]]) -> str:
    """For each name the means of its runs' last loss, and of the std and effective rank of the embedding; each kNN."""
    lines = [f"{'means of three seeds':21s}{'last loss':>10s}{'std':>8s}{'eff. rank':>11s}   kNN of each seed"]
    for name, group in runs.items():
        loss = fmean(run.curves["loss"][-1] for run in group)
        std, rank = (fmean(scores_of(group, f"embedding_{what}")) for what in ("std", "rank"))
        knn = "  ".join(f"{value:.0%}" for value in scores_of(group, "knn"))
        lines.append(f"{name:21s}{loss:10.2f}{std:8.3f}{rank:11.1f}   {knn}")
    return "\n".join(lines)
