"""Small trainings for the lesson on mutual information: critics of Gaussians, invertible encoders, digits in a row.

Digits are scikit-learn's, 1797 pictures of 8x8 pixels that need no download: 1200 to train with, 597 to test with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.colour import adjust_hue
from course_lib.augment.pixels import to_float
from course_lib.data.images import ImageSet
from course_lib.evaluate.features import embed
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.methods.contrastive.relic import ReLIC, divergence, log_likeness
from course_lib.methods.information import estimators as mi
from course_lib.models.invertible import InvertibleNet

Estimate = Callable[[Tensor], Tensor]  # scores (N, N) -> nats
ESTIMATORS: dict[str, Estimate] = {"MINE": mi.donsker_varadhan, "NWJ": mi.nwj, "JSD, read as NWJ": mi.nwj_by_jsd,
                                   "SMILE": mi.smile, "InfoNCE": mi.infonce}


class Critic(nn.Module):
    """A separable critic: x (N, *), y (M, *) -> scores (N, M), inner products of what two small networks make of them.

    inputs: numbers in an x, and in a y. width: of the two hidden layers.
    """

    def __init__(self, inputs: int, width: int = 128, out: int = 32):
        super().__init__()
        self.of_x, self.of_y = (nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(),
                                              nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out))
                                for _ in range(2))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.of_x(x) @ self.of_y(y).T

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        """x (N, *), y (N, *) -> the scores of x_i with y_i, (N,)."""
        return (self.of_x(x) * self.of_y(y)).sum(1)


def train_critic(name: str, draw: Callable[[], tuple[Tensor, Tensor]], inputs: int, steps: int = 1200,
                 lr: float = 2e-3) -> Critic:
    """A critic for one of ESTIMATORS, by Adam with a cosine schedule. draw() -> x and y, (N, inputs) each."""
    critic, average = Critic(inputs), None
    optimizer = torch.optim.Adam(critic.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        scores = critic(*draw())
        if name == "MINE":
            value, average = mi.mine(scores, average)
        else:
            value = ESTIMATORS[name](scores)
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
        schedule.step()
    return critic


@torch.no_grad()
def estimates(critic: Callable[[Tensor, Tensor], Tensor], draw: Callable[[], tuple[Tensor, Tensor]],
              estimate: Estimate, batches: int = 200) -> Tensor:
    """What an estimator reads on fresh batches, (batches,) in nats."""
    return torch.stack([estimate(critic(*draw())) for _ in range(batches)])


def read_gaussians(names: Sequence[str], truths: Sequence[float], dim: int, n: int, seed: int, steps: int,
                   batches: int = 200) -> list[dict]:
    """Of Gaussians of each true information (nats): a critic trained by the first of ESTIMATORS named, read by each.

    -> rows of scores: the reading is the mean of `batches` fresh batches of n pairs, the spread their deviation.
    """
    found = []
    for nats in truths:
        draws = torch.Generator().manual_seed(100 + seed)
        draw = partial(mi.correlated_gaussians, n, mi.gaussian_correlation(nats, dim), dim, draws)
        torch.manual_seed(seed)
        critic = train_critic(names[0], draw, dim, steps)
        for name in names:
            read = estimates(critic, draw, ESTIMATORS[name], batches)
            found.append({"name": f"{name}, {nats:g} nats", "kind": "method", "estimator": name, "truth": nats,
                          "reading": float(read.mean()), "spread": float(read.std())})
    return found


# ------------------------------------------------------------------------------------------------ digits
@lru_cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures (1797, 8, 8) in [0, 1], labels (1797,), and which of them to train and to test with."""
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    return (torch.tensor(data.images / 16, dtype=torch.float32), torch.tensor(data.target, dtype=torch.long),
            order[:1200], order[1200:])


@dataclass
class Halves:
    """Two invertible encoders of digits' upper and lower halves, and what was measured of them on the way.

    first: the upper half's; steps, bound, knn, probe, few, error: one entry for each look. bound: InfoNCE's reading of
    test digits in nats, batches of 128. knn, probe, few: accuracy on test digits, from the upper half's code: of the 20
    nearest, of a linear probe with 1200 labels, and with 100. error: the largest error of the inverse.
    """

    first: InvertibleNet
    steps: list[int] = field(default_factory=list)
    bound: list[float] = field(default_factory=list)
    knn: list[float] = field(default_factory=list)
    probe: list[float] = field(default_factory=list)
    few: list[float] = field(default_factory=list)
    error: list[float] = field(default_factory=list)


def linear_probe(known: Tensor, labels: Tensor, asked: Tensor, truth: Tensor) -> float:
    """Accuracy of logistic regression on standardised features: (n, d), (n,), (m, d), (m,)."""
    from sklearn.linear_model import LogisticRegression

    mean, std = known.mean(0), known.std(0) + 1e-6
    model = LogisticRegression(max_iter=300).fit(((known - mean) / std).numpy(), labels.numpy())
    return float(model.score(((asked - mean) / std).numpy(), truth.numpy()))


def train_halves(seed: int, scrambled: float = 0.0, steps: int = 600, every: int = 150, batch: int = 128,
                 lr: float = 1e-3) -> Halves:
    """InfoNCE between the halves of digits, through additive coupling layers, with a bilinear critic.

    scrambled: standard deviation of the last weights of each coupling layer at the start; with 0 the encoder only
    reorders pixels.
    """
    pictures, labels, train, test = digits()
    halves = [part.flatten(1) for part in pictures.chunk(2, 1)]  # (1797, 32) each
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nets = [InvertibleNet(32, additive=True) for _ in halves]
        critic = nn.Linear(32, 32, bias=False)
        for layer in (layer for net in nets for layer in net.layers if scrambled):
            nn.init.normal_(layer.net[-1].weight, std=scrambled)
    optimizer = torch.optim.Adam([p for part in (*nets, critic) for p in part.parameters()], lr)
    found = Halves(nets[0])
    for step in range(steps + 1):
        if step % every == 0:
            look(found, step, nets, critic, halves)
        rows = train[torch.randint(len(train), (batch,), generator=generator)]
        x, y = (half[rows] + 0.05 * torch.randn(batch, 32, generator=generator) for half in halves)
        value = mi.infonce(critic(nets[0](x)) @ nets[1](y).T)
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
    return found


@torch.no_grad()
def look(found: Halves, step: int, nets: list[InvertibleNet], critic: nn.Module, halves: list[Tensor]) -> None:
    """Measure and append."""
    _, labels, train, test = digits()
    z = nets[0](halves[0])
    bounds = [mi.infonce(critic(z[rows]) @ nets[1](halves[1][rows]).T) for rows in test[:512].split(128)]
    given = z[train], labels[train], z[test], labels[test]
    for name, value in {"steps": step, "bound": float(torch.stack(bounds).mean()), "probe": linear_probe(*given),
                        "few": linear_probe(z[train[:100]], labels[train[:100]], *given[2:]),
                        "knn": knn_accuracy(*given), "error": float((nets[0].inverse(z) - halves[0]).abs().max())
                        }.items():
        getattr(found, name).append(value)


# ------------------------------------------------------------------------------------------------ digits in a row
def rows_of_digits(n: int, count: int, generator: torch.Generator, test: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """n pairs of pictures (8, 8 * count) of the same digits in other hands: x, y (n, 8, 8 * count), labels (n, count).

    Digits are drawn independently, so I(x; y) is count * log 10 nats at least as far as the hands do not tell more.
    """
    pictures, truth, train, held = digits()
    pool = held if test else train
    labels = torch.randint(10, (n, count), generator=generator)

    def drawn() -> Tensor:
        place, chosen = torch.rand(n, count, generator=generator), torch.zeros(n, count, dtype=torch.long)
        for digit in range(10):
            own, mine = labels == digit, pool[truth[pool] == digit]
            chosen[own] = mine[(place[own] * len(mine)).long()]
        return pictures[chosen].permute(0, 2, 1, 3).reshape(n, 8, 8 * count)

    return drawn(), drawn(), labels


def train_rows(seed: int, weight: float, count: int = 4, steps: int = 1000, batch: int = 64,
               lr: float = 1e-3) -> tuple[float, list[float]]:
    """InfoNCE on rows of digits, less weight * the critic's gradient penalty -> its reading, and accuracy by place.

    The reading is in nats, of test rows; the accuracies are those of a linear probe for each of the digits on the
    64 features of x.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = Critic(64 * count, 256, 64)
    optimizer = torch.optim.Adam(critic.parameters(), lr)
    for _ in range(steps):
        x, y, _ = rows_of_digits(batch, count, generator)
        loss = -mi.infonce(critic(x, y))
        if weight:
            draws = torch.rand(batch, generator=generator)
            loss = loss + weight * mi.gradient_penalty(critic.paired, (x, y), (x, y.roll(1, 0)), draws)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        fresh = lambda: rows_of_digits(batch, count, generator, test=True)[:2]  # noqa: E731
        reading = float(estimates(critic, fresh, mi.infonce, 20).mean())
        return reading, probed(critic.of_x, count, generator)


@torch.no_grad()
def probed(encoder: Callable[[Tensor], Tensor], count: int, generator: torch.Generator) -> list[float]:
    """Accuracy of a linear probe for the digit at each place of a row: trained on 2000 rows, tested on 1000."""
    (x, _, known), (asked, _, truth) = (rows_of_digits(n, count, generator, test)
                                        for n, test in ((2000, False), (1000, True)))
    z, z_asked = encoder(x), encoder(asked)
    return [linear_probe(z, known[:, place], z_asked, truth[:, place]) for place in range(count)]


def read_rows(seed: int, weight: float, count: int, steps: int) -> list[dict]:
    """Rows of scores: `train_rows`, and raw pixels for comparison."""
    bound, accuracy = train_rows(seed, weight, count, steps)
    pixels = probed(lambda x: x.flatten(1), count, torch.Generator().manual_seed(seed))
    return [{"name": "rows", "kind": "method", "bound": bound, "digits": accuracy},
            {"name": "raw pixels", "kind": "control", "digits": pixels}]


# ------------------------------------------------------------------------------------------------ turned hues
@torch.no_grad()
def under_turned_hues(method: ReLIC, bank: ImageSet, test: ImageSet, turns: Sequence[float]) -> dict:
    """Test images whose hues are turned by parts of the circle: their kNN, and how far likenesses move (KL, nats)."""
    assert bank.labels is not None and test.labels is not None
    turned = [adjust_hue(to_float(test.images), torch.full((len(test),), turn)) for turn in turns]
    looks = [embed(method, (255 * each).round().byte()) for each in turned]
    outputs, known = [method.critic(each)[:256] for each in looks], embed(method, bank)
    likeness = [log_likeness(each, outputs[0], method.temperature) for each in outputs]
    return {"turned_knn": [knn_accuracy(known, bank.labels, z, test.labels) for z in looks],
            "turned_kl": [float(divergence(likeness[0], each)) for each in likeness]}


# ------------------------------------------------------------------------------------------------ the best critic
def best_scores(nats: float, n: int, generator: torch.Generator, dim: int = 4) -> Tensor:
    """n Gaussian pairs of that information, scored by the best critic there is, r: (n, n)."""
    rho = mi.gaussian_correlation(nats, dim)
    return mi.gaussian_scores(*mi.correlated_gaussians(n, rho, dim, generator), rho)


def best_readings(nats: float, n: int, scale: float = 1.0, shift: float = 0.0, batches: int = 40) -> dict[str, Tensor]:
    """What each estimator reads of batches of n pairs, (batches,): of scale * r + shift, and NWJ of 1 more."""
    generator = torch.Generator().manual_seed(0)
    scores = [scale * best_scores(nats, n, generator) + shift for _ in range(batches)]
    return {name: torch.stack([estimate(s + (name == "NWJ")) for s in scores])
            for name, estimate in ESTIMATORS.items()}


def means_and_spreads(readings: Mapping[str, Tensor]) -> dict[str, float]:
    """Of the readings of each estimator, (batches,): "NWJ", their mean, "NWJ spread", their standard deviation, ..."""
    return {name: float(read.mean()) for name, read in readings.items()} | {
        f"{name} spread": float(read.std()) for name, read in readings.items()}


def pulls(nats: float, n: int, at: float = 0.5, batches: int = 40) -> dict[str, Tensor]:
    """How each estimator pulls at the scale of a critic that is too timid, at * r: its derivative, (batches,)."""
    generator, found = torch.Generator().manual_seed(0), {name: [] for name in ESTIMATORS}
    for _ in range(batches):
        scores = best_scores(nats, n, generator)
        for name, estimate in ESTIMATORS.items():
            scale = torch.tensor(at, requires_grad=True)
            found[name] += torch.autograd.grad(estimate(scale * scores + (name == "NWJ")), scale)
    return {name: torch.stack(values) for name, values in found.items()}


def bias_of_gradient(n: int, momentum: float, nats: float = 2.0, at: float = 0.5, batches: int = 2000) -> float:
    """The mean over batches of n pairs of MINE's derivative by the scale of at * r; momentum 0: the plain one."""
    generator, average, total = torch.Generator().manual_seed(0), None, 0.0
    for _ in range(batches):
        scale = torch.tensor(at, requires_grad=True)
        value, average = mi.mine(scale * best_scores(nats, n, generator), average, momentum)
        total += float(torch.autograd.grad(value, scale)[0])
    return total / batches
