"""What MiCE's gate and experts say of images, each alone and together, and how many of the experts are in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.evaluate.clusters import matched_scores
from course_lib.evaluate.measures import entropy_rank
from course_lib.methods.clustering.mice import MiCE
from course_lib.models.layers import normalize


class AskedExperts:
    """A learned MiCE and what it makes of images uint8 (N, 3, H, W): vectors for its gate and its experts.

    experts: the function that gives log Phi (N, K) from students and teachers (N, K, D), prototypes, queue and tau.
    """

    @torch.no_grad()
    def __init__(self, method: MiCE, images: Tensor, experts: Callable[..., Tensor]):
        x, self.method, self.experts = standardize(images), method, experts
        clusters, gate = method.clusters, method.gate
        if gate is None:
            raise ValueError("this MiCE has no gate to be asked: it was built with gate='uniform'")
        self.teacher = normalize(method.teach(x))                                                   # (N, K, D)
        self.student = normalize(method.experts(method.backbone(x)).unflatten(1, (clusters, -1)))   # (N, K, D)
        self.gate = normalize(gate(method.backbone(x)))                                             # (N, D)
        self.queue = method.queue.rows.float().unflatten(1, (clusters, -1))                         # (M, K, D)
        self._said: dict[tuple[float, float], tuple[Tensor, Tensor]] = {}

    def say(self, tau: float, kappa: float) -> tuple[Tensor, Tensor]:
        """log pi of the gate at temperature kappa and log Phi of the experts at tau: (N, K) each."""
        if (tau, kappa) not in self._said:
            log_pi = (self.gate @ self.method.centers.T / kappa).log_softmax(1)
            prototypes = self.method.prototypes.detach()
            self._said[tau, kappa] = log_pi, self.experts(self.student, self.teacher, prototypes, self.queue, tau)
        return self._said[tau, kappa]


def sure_and_in_doubt(q: Tensor, each: int = 3) -> dict[str, int]:
    """Images whose responsibilities q (N, K) have the least and the most entropy: "sure 1" -> its number, ..."""
    order = torch.special.entr(q).sum(1).argsort()
    return {f"sure {i + 1}": int(order[20 * i]) for i in range(each)} | {
        f"in doubt {i + 1}": int(order[-1 - 3 * i]) for i in range(each)}


def sureness(q: Tensor, labels: Tensor) -> dict[str, float]:
    """Of responsibilities (N, K): "sure", the mean of the largest, and "acc", of the likeliest expert.

    Experts are matched with classes on the same images, which flatters, and all that are compared alike.
    """
    sure, found = q.max(1)
    return {"sure": float(sure.mean()), "acc": matched_scores(found, labels, found, labels, q.shape[1])["acc"]}


def left_in_use(sizes: Mapping[str, Sequence[Sequence[Sequence[int]]]], few: int = 5) -> dict[str, dict[str, float]]:
    """How evenly clusters are used at the end: name -> for each training, at each look, the images of each cluster.

    Of each name "used": exp of the entropy of the clusters' shares, from 1 (one for all) on, a mean over the trainings;
    "least": the smallest cluster of all; "dead": how many have fewer than `few` images.
    """
    found = {}
    for name, runs in sizes.items():
        last = torch.tensor([run[-1] for run in runs]).float()  # (trainings, K)
        found[name] = {"used": sum(float(entropy_rank(each)) for each in last) / len(last),
                       "least": int(last.min()), "dead": int((last < few).sum())}
    return found


def surest_gate(centers: Tensor, kappa: float) -> float:
    """The largest pi that a gate at temperature kappa can give, if it points at the first of the centres (K, D)."""
    return float((centers @ centers[0] / kappa).softmax(0)[0])
