"""Lesson 06's instruments: a BYOL whose weights are read at each step, and how far back a moving average looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data.images import Splits
from course_lib.evaluate.neighbours import knn
from course_lib.methods.contrastive.byol import BYOL
from course_lib.models.backbones import ConvNet
from course_lib.models.batch_norm import replace_batch_norm
from course_lib.models.layers import normalize
from course_lib.runs.stored import StoredRun
from course_lib.seeds import generator

READINGS = {"distance": "distance of the networks", "pull": "pull (honest: 1 - m)", "stray": "stray part of the step"}


class Watched(BYOL):
    """BYOL whose last update is read off its weights, before each step.

    read(online, before, after), flat weights (P,) float64 each -> {"pull": ..., "stray": ...}: the lesson's exercise.
    log: a reading for each step but the first, with the "distance" of the two networks over the online one's length. A
    movement of the size of rounding counts as none.
    """

    read: Callable[[Tensor, Tensor, Tensor], dict[str, Any]]
    before: Tensor | None = None

    def views(self, batch, generator):
        if self.before is None:
            self.log: list[dict[str, float]] = []
        online = torch.cat([self._flat(self.backbone), self._flat(self.projector)])
        before, after = self.before, self._flat(self.target)
        if before is not None:
            moved = (after - before).norm() > 2e-6 * online.norm()
            found = type(self).read(online, before, after if moved else before)
            self.log.append({**found, "distance": float((online - after).norm() / online.norm())})
        self.before = after
        return super().views(batch, generator)

    @staticmethod
    def _flat(part: nn.Module) -> Tensor:
        return torch.cat([weight.detach().double().flatten() for weight in part.parameters()])


def readings(log: Sequence[dict[str, float]], steps: Sequence[int],
             loss: Sequence[float]) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """What was read of a run: "loss", and each of `READINGS`, -> (steps, values)."""
    numbers = range(1, len(log) + 1)
    return {"loss": (steps, loss), **{title: (numbers, [row[key] for row in log]) for key, title in READINGS.items()}}


def in_short(log: Sequence[dict[str, float]], loss: Sequence[float]) -> dict[str, float]:
    """A run in five numbers: its largest "pull" and "stray" part, how many different pulls ("levels", to 4 digits),
    the "distance" of the networks and the "loss" at the end.
    """
    return {"pull": max(abs(row["pull"]) for row in log), "stray": max(row["stray"] for row in log),
            "levels": len({round(row["pull"], 4) for row in log}), "distance": log[-1]["distance"], "loss": loss[-1]}


def target_memory(momenta: Sequence[float], now: int) -> Tensor:
    """The weight in the target of the online network after step 0 (the start), 1, ..., now: float64 (now + 1,).

    momenta: that of each step; the update of step k is target = m_k target + (1 - m_k) online.
    """
    weights = torch.zeros(now + 1, dtype=torch.float64)
    weights[0] = 1.0
    for k in range(1, now + 1):
        weights *= momenta[k]
        weights[k] += 1 - momenta[k]
    return weights


def run_curves(run: StoredRun) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """A stored run's loss, and the std and effective rank of its training batches, -> (steps, values)."""
    row = run.scores[0]
    return {"loss": (run.curve_steps, run.curves["loss"]), "standard deviation": (row["rank_steps"], row["std_curve"]),
            "effective rank": (row["rank_steps"], row["rank_curve"])}


def rounding_std(dimensions: int, count: int = 1000) -> float:
    """What rounding to bfloat16 alone does to vectors of length 1: its std per dimension, times sqrt(dimensions)."""
    z = normalize(torch.randn(count, dimensions, generator=generator(0)))
    return dimensions**0.5 * float((z.bfloat16().float() - z).std())


def knn_without_batch_norm(splits: Splits, seeds: int = 3) -> list[float]:
    """kNN accuracy of the small conv net before any training, with group norm in the place of batch norm, by seed."""
    found = []
    for seed in range(seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = replace_batch_norm(ConvNet(), lambda width: nn.GroupNorm(8, width))
        found.append(knn(network, splits))
    return found
