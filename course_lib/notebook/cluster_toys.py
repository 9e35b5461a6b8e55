"""Toys of the lessons on clusters: a head on frozen features, points with wrong labels, what tasks are content with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.evaluate.clusters import matched_scores
from course_lib.methods.clustering.gatcluster import attention_loss, entropy_loss, invariance_loss, usable_clusters
from course_lib.methods.clustering.shared import nearest_rows
from course_lib.notebook.toys import toy_answers
from course_lib.plots.clusters import mending as mending_figure

CORNERS = {"sure, even": toy_answers(0.98, 12)[0], "one cluster": toy_answers(0.98, 0)[0],
           "says nothing": toy_answers(0.0, 12)[0]}  # answers (16, 4)
PARTNERS = ("a neighbour", "itself", "any image")


def head_training(bank: Tensor, around: Tensor, loss: Callable, weight: float, partner: str, clusters: int,
                  steps: int = 150) -> nn.Linear:
    """A linear head on features (N, D) of length 1, trained by loss(logits, the partners' logits, weight).

    around (N, k) int64: neighbours of each, of which one is drawn where the partner is "a neighbour"; see PARTNERS.
    """
    generator, scale = torch.Generator().manual_seed(0), 8.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Linear(bank.shape[1], clusters)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(steps):
        i, other = torch.randint(len(bank), (2, 512), generator=generator)
        drawn = torch.randint(around.shape[1], (512,), generator=generator)
        j = {"a neighbour": around[i, drawn], "itself": i, "any image": other}[partner]
        value = loss(head(scale * bank[i]), head(scale * bank[j]), weight)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return head


class TrainedHead(NamedTuple):
    """A head's clusters of its training images int64 (N,), how many images each has, and its scores on test images."""

    clusters: Tensor
    sizes: list[int]
    scores: dict[str, float]

    @property
    def titles(self) -> tuple[str, str]:
        return (f"ACC {self.scores['acc']:.0%}, NMI {self.scores['nmi']:.2f}",
                f"{self.scores['in use']} of {len(self.sizes)} clusters in use")


class Heads:
    """Heads that `loss` has trained on the features `bank` (N, D), as `head_training` does, and how well they match.

    labels (N,) of the bank, queries (M, D) with query_labels (M,): for the scores alone. An image's partner is one of
    its 20 nearest neighbours (or itself: 21).
    """

    def __init__(self, loss: Callable, bank: Tensor, labels: Tensor, queries: Tensor, query_labels: Tensor,
                 clusters: int):
        self.loss, self.clusters = loss, clusters
        self.bank, self.labels, self.queries, self.query_labels = bank, labels, queries, query_labels
        self.around = nearest_rows(bank, 21)
        self._trained: dict[tuple[float, str], TrainedHead] = {}

    def trained(self, weight: float, partner: str) -> TrainedHead:
        """The head for a weight and a partner (see PARTNERS); "in use" counts clusters with 2 % of the images."""
        if (weight, partner) not in self._trained:
            head = head_training(self.bank, self.around, self.loss, weight, partner, self.clusters)
            with torch.no_grad():
                found, asked = head(self.bank).argmax(1), head(self.queries).argmax(1)
            scores = matched_scores(found, self.labels, asked, self.query_labels, self.clusters)
            sizes = found.bincount(minlength=self.clusters).tolist()
            used = sum(size > 0.02 * len(found) for size in sizes)
            self._trained[weight, partner] = TrainedHead(found, sizes, {**scores, "in use": used})
        return self._trained[weight, partner]


class Peek(NamedTuple):
    """An accuracy that was matched on the very test images, and one that was matched on other images."""

    own: float
    elsewhere: float

    @property
    def points(self) -> float:
        return 100 * (self.own - self.elsewhere)


def peeking(accuracy: Callable, train: tuple[Tensor, Tensor] | None, test: tuple[Tensor, Tensor] | None, k: int,
            sizes: Sequence[int], draws: int = 20) -> dict[int, Peek]:
    """accuracy(clusters, labels, test clusters, test labels, k) of n test images, matched on them and on 2000 others.

    train, test: clusters and labels, int64 (N,) each; without them all clusters and labels are thrown by dice. -> n ->
    means of several draws, for each n in `sizes`.
    """
    return {n: _peek(accuracy, train, test, k, n, draws) for n in sizes}


def _peek(accuracy: Callable, train: tuple[Tensor, Tensor] | None, test: tuple[Tensor, Tensor] | None, k: int, n: int,
          draws: int) -> Peek:
    scores = []
    for seed in range(draws):
        g = torch.Generator().manual_seed(seed)
        if train is None or test is None:
            a, t, b, s = (torch.randint(k, (size,), generator=g) for size in (2000, 2000, n, n))
        else:
            rows, others = (torch.randperm(len(part[0]), generator=g)[:size]
                            for part, size in ((test, n), (train, 2000)))
            a, t, b, s = train[0][others], train[1][others], test[0][rows], test[1][rows]
        scores.append((accuracy(b, s, b, s, k), accuracy(a, t, b, s, k)))
    return Peek(*map(fmean, zip(*scores)))


@dataclass
class Mended:
    """Points (N, 2), their given labels and true ones, who is trusted, and what two networks say in the end."""

    points: Tensor
    labels: Tensor
    true: Tensor
    trusted: Tensor
    found: Tensor

    @property
    def wrong(self) -> Tensor:
        return self.labels != self.true

    @property
    def before(self) -> float:
        return float((self.labels == self.true).float().mean())

    @property
    def after(self) -> float:
        return float((self.found == self.true).float().mean())

    def figure(self) -> Figure:
        """What is given, who is trusted, what both networks say in the end."""
        titles = (f"given: {self.before:.0%} right", f"trusted: {int(self.trusted.sum())} of {len(self.points)}",
                  f"after your steps: {self.after:.0%} right")
        return mending_figure(self.points, self.labels, self.found, self.wrong, self.trusted, titles)


@lru_cache(maxsize=64)
def mending(step: Callable, clean: Callable | None, share: float, where: str = "anywhere", unclean: float = 3.0,
            steps: int = 60) -> Mended:
    """240 points in three groups, a share with wrong labels, and two small networks that `step` trains in turn.

    step(network, peer, optimizer, plain, weak, strong, labels, clean, weight, unclean); clean(p, z, k, threshold) or
    None to trust everybody. Wrong labels lie "anywhere", or "on one side": side by side at one end of a group after the
    other. The last 64 toys are kept.
    """
    anywhere = {"anywhere": True, "on one side": False}[where]
    g, true = torch.Generator().manual_seed(7), torch.arange(240) % 3
    centres = torch.tensor([[0.0, 1.0], [-0.87, -0.5], [0.87, -0.5]])
    points = centres[true] + 0.42 * torch.randn(240, 2, generator=g)
    order = torch.randperm(240, generator=g)
    if not anywhere:
        order = ((true == 0) * 5 + points[:, 0]).argsort(descending=True)
    moved = 1 + torch.randint(2, (240,), generator=g) * anywhere
    labels = true.clone()
    labels[order[:round(share * 240)]] = ((true + moved) % 3)[order[:round(share * 240)]]
    z = F.normalize(torch.cat([points, torch.ones(240, 1)], 1), dim=1)
    trusted = torch.ones(240, dtype=torch.bool) if clean is None else clean(F.one_hot(labels, 3).float(), z, 15, 0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        pair = [nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))
                for _ in range(2)]
    optimizers = [torch.optim.Adam(one.parameters(), lr=0.02) for one in pair]
    weight, noise = torch.zeros(2, 240), torch.tensor([0.05, 0.05, 0.15])[:, None, None]
    for _ in range(steps):
        for i in range(2):
            views = points + noise * torch.randn(3, 240, 2, generator=g)
            step(pair[i], pair[1 - i], optimizers[i], points, views[:2], views[2], labels, trusted, weight[1 - i],
                 unclean)
        with torch.no_grad():
            seen = torch.stack([one(points).softmax(1).amax(1) for one in pair])  # (2, 240)
        low, high = seen.amin(1, keepdim=True), seen.amax(1, keepdim=True)
        weight = (seen - low) / (high - low).clamp_min(1e-6)
    with torch.no_grad():
        found = torch.stack([one(points).softmax(1) for one in pair]).sum(0).argmax(1)
    return Mended(points, labels, true, trusted, found)


def mended_shares(step: Callable, clean: Callable) -> dict[str, float]:
    """The shares that are right in the end of four toys of `mending`.

    Half of the labels wrong anywhere: trust in the "clean" ones, in "everybody", and in the clean ones at an unclean
    weight of 25 ("heavy"). 35 % wrong on one "side", with trust in the clean ones.
    """
    toys = {"clean": mending(step, clean, 0.5), "everybody": mending(step, None, 0.5),
            "heavy": mending(step, clean, 0.5, unclean=25.0), "side": mending(step, clean, 0.35, "on one side")}
    return {name: toy.after for name, toy in toys.items()}


def task_losses(targets: Callable, separability: Callable, sure: Tensor, moved: int = 12) -> dict[str, Tensor]:
    """GATCluster's four tasks on toy answers: name -> weighted loss (moved + 1, len(sure)), by evenness and sureness.

    targets and separability: as the lesson's exercises make them. sure: as `toy_answers` takes it, the first 0. Both
    heads say the same. The loss on pairs is cut at 5.
    """
    found = {task: torch.zeros(moved + 1, len(sure)) for task in ("invariance", "separability", "entropy", "attention")}
    for row in range(moved + 1):
        for column, certain in enumerate(sure.tolist()):
            p, home = toy_answers(certain, row)
            T, q = targets(p)
            clusters = usable_clusters(home, 4) if certain else torch.arange(len(p))  # all alike: k-means finds nothing
            found["invariance"][row, column] = 5 * invariance_loss(p, T)
            found["separability"][row, column] = separability(p, clusters).clamp(max=5)
            found["entropy"][row, column] = 6 * entropy_loss(p)
            found["attention"][row, column] = 5 * attention_loss(p, q)
    return found


def contented(losses: dict[str, Tensor], chosen: Sequence[str]) -> dict:
    """Where the sum of the chosen tasks' losses (see `task_losses`) is smallest, among toy answers.

    "loss": the sum; "places": (row, column) of the smallest, "best": how many; "says nothing": whether answers that
    are alike, with clusters half even, are among them; "tasks": how many were chosen, "title": their names.
    """
    loss = sum((losses[task] for task in chosen), torch.zeros_like(next(iter(losses.values()))))
    places = (loss < loss.min() + 1e-2).nonzero().tolist()
    return {"loss": loss, "places": places, "best": len(places), "says nothing": [len(loss) // 2, 0] in places,
            "tasks": len(chosen), "title": " + ".join(chosen) or "no task"}
