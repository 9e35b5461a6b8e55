"""Exercises of week 1: let neighbours vote, pull views together, push images apart, take one training step."""
from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.data.images import Batch
from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from lessons.exercises.shared import (
    BASIC,
    STEP_WORDS,
    descend,
    descend_by_name,
    noted_steps,
    randn,
    unit,
    update_mistakes,
)


# ------------------------------------------------------------------------------------------------ 01.knn
def _knn_probes(generator, dtype):
    def draw(bank, queries, width, classes):
        # An offset, so that centring matters, and lengths that differ, so that normalising does.
        offset = 2 * randn(generator, dtype, width)
        features = randn(generator, dtype, bank + queries, width)
        features = offset + features * torch.linspace(0.3, 3, bank + queries, dtype=dtype)[:, None].flip(0)
        features = features[torch.randperm(bank + queries, generator=generator)]
        labels = torch.cat([torch.arange(classes), torch.randint(classes, (bank - classes,), generator=generator)])
        return features[:bank], labels, features[bank:] + 0.7

    return [draw(60, 9, 5, 4), (*draw(40, 7, 3, 3), 5), dict(zip(("bank", "bank_labels", "queries"), draw(30, 6, 8, 5)),
                                                             k=8, temperature=0.3)]


def _shares(function, *arguments, **keywords):
    """Each query's votes as shares of their sum: weights may be on any scale."""
    votes = function(*arguments, **keywords)
    if isinstance(votes, Tensor) and votes.ndim == 2 and votes.is_floating_point():
        return votes / votes.sum(dim=1, keepdim=True)
    return votes


def _vote(cosine: Tensor, labels: Tensor, k: int, weigh, largest: bool = True) -> Tensor:
    near = cosine.topk(k, dim=1, largest=largest)
    votes = cosine.new_zeros(len(cosine), int(labels.max()) + 1)
    return votes.scatter_add_(1, labels[near.indices], weigh(near.values))


def _overwrite(near, labels: Tensor, temperature: float) -> Tensor:
    votes = near.values.new_zeros(len(near.values), int(labels.max()) + 1)
    for neighbour in range(near.values.shape[1]):
        rows = torch.arange(len(votes))
        votes[rows, labels[near.indices[:, neighbour]]] = (near.values[:, neighbour] / temperature).exp()
    return votes


def _cosine(bank: Tensor, queries: Tensor) -> Tensor:
    mean = bank.mean(0)
    return unit(queries - mean) @ unit(bank - mean).T


knn = Exercise(
    key="01.knn", title="Let the neighbours vote", minutes=10, difficulty=2,
    reference="course_lib.evaluate.neighbours:knn_votes", probes=_knn_probes, call=_shares,
    plain=True,
    wrong={
        "inner products of any length": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                unit(queries - bank.mean(0), 1) @ (bank - bank.mean(0)).T, bank_labels, k,
                lambda s: ((s - s[:, :1]) / temperature).exp()),
            "The bank's features are not scaled to length 1, so an image with a long feature vector is near to "
            "everybody. "
            "Cosine similarity normalises both sides."),
        "not centred": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                unit(queries) @ unit(bank).T, bank_labels, k, lambda s: (s / temperature).exp()),
            "Features that share a large offset all point the same way, and their cosines are all close to 1. "
            "Subtract the bank's mean from both sides before you normalise."),
        "queries centred on their own mean": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                unit(queries - queries.mean(0)) @ unit(bank - bank.mean(0)).T, bank_labels, k,
                lambda s: (s / temperature).exp()),
            "Bank and queries are moved by different amounts, and the prediction for an image then depends on which "
            "other images are asked about. One mean for both: the bank's."),
        "centred after normalising": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                (unit(queries) - unit(bank).mean(0)) @ (unit(bank) - unit(bank).mean(0)).T, bank_labels, k,
                lambda s: (s / temperature).exp()),
            "After the mean is taken off, the vectors have no longer length 1, and what you compute is no cosine. "
            "First centre, then normalise."),
        "the farthest vote": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                _cosine(bank, queries), bank_labels, k, lambda s: (s / temperature).exp(), largest=False),
            "A large cosine means near. You take the k smallest: the images that are least alike. "
            "(Sorting upwards is right for distances.)"),
        "every neighbour has one vote": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                _cosine(bank, queries), bank_labels, k, torch.ones_like),
            "All k neighbours count alike. In the course's protocol a nearer one counts more: exp(cosine / "
            "temperature)."),
        "multiplied by the temperature": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                _cosine(bank, queries), bank_labels, k, lambda s: (s * temperature).exp()),
            "A low temperature should let the nearest decide. You multiply by it, and all weights become nearly equal: "
            "divide the cosine by the temperature."),
        "the last vote of a class counts": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _overwrite(
                _cosine(bank, queries).topk(k, dim=1), bank_labels, temperature),
            "Votes for one class overwrite each other, and only the last is left: scatter_ (or votes[i, label] = "
            "weight) sets "
            "an entry, scatter_add_ (or +=) adds to it."),
        "one mean over bank and queries": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                unit(queries - torch.cat([bank, queries]).mean(0)) @ unit(bank - torch.cat([bank, queries]).mean(0)).T,
                bank_labels, k, lambda s: (s / temperature).exp()),
            "The queries are in your mean, so the prediction for an image depends on which others are asked about "
            "with it. The mean is the bank's alone."),
        "distances in place of cosines": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                -torch.cdist(queries, bank), bank_labels, k, lambda s: (s / temperature).exp()),
            "You vote by Euclidean distances, which depend on how long the vectors are. Scale the centred vectors to "
            "length 1; their inner product is the cosine."),
        "everybody votes": (
            lambda bank, bank_labels, queries, k=20, temperature=0.07: _vote(
                _cosine(bank, queries), bank_labels, len(bank), lambda s: (s / temperature).exp()),
            "All images of the bank vote. Only the k nearest of each query may: topk gives their values and places."),
    },
    right={
        "one-hot labels and a sorted list": lambda bank, bank_labels, queries, k=20, temperature=0.07: torch.stack([
            ((row.sort(descending=True).values[:k] / temperature).exp()[:, None]
             * F.one_hot(bank_labels, int(bank_labels.max()) + 1)[row.argsort(descending=True)[:k]]).sum(0)
            for row in _cosine(bank, queries)]),
        "a mask over the whole bank": lambda bank, bank_labels, queries, k=20, temperature=0.07: (
            (_cosine(bank, queries) / temperature).exp()
            * (_cosine(bank, queries) >= _cosine(bank, queries).topk(k, dim=1).values[:, -1:])
            @ F.one_hot(bank_labels).to(bank.dtype)),
    },
    hints=("Cosine similarity is a matrix product of rows of length 1: (M, D) @ (D, N). What has to be taken off "
           "first?",
           "near = cosine.topk(k, dim=1) has near.values and near.indices, both (M, k); labels[near.indices] is (M, "
           "k).",
           "mean = bank.mean(dim=0)\n"
           "cosine = F.normalize(queries - mean, dim=1) @ F.normalize(bank - mean, dim=1).T\n"
           "near = cosine.topk(k, dim=1)\n"
           "votes = torch.zeros(len(queries), int(bank_labels.max()) + 1)\n"
           "return votes.scatter_add_(1, bank_labels[near.indices], (near.values / temperature).exp())"),
)


# ------------------------------------------------------------------------------------------------ 01.alignment
def _pair_probes(generator, dtype):
    def pair(rows, width):
        x = 2 * randn(generator, dtype, rows, width) + 0.5
        return x, 0.5 * x + randn(generator, dtype, rows, width)

    return [pair(6, 3), (*pair(4, 7), 1.0), dict(zip("xy", pair(5, 2)), alpha=4.0)]


def _distance(x: Tensor, y: Tensor, dim: int = 1) -> Tensor:
    return (unit(x, dim) - unit(y, dim)).norm(dim=1)


alignment = Exercise(
    key="01.alignment", title="Pull two views together", minutes=5, difficulty=1,
    reference="course_lib.methods.contrastive.align_uniform:alignment_loss", probes=_pair_probes, gradients=True,
    tolerance=1e-2,  # F.pairwise_distance adds 1e-6 to each difference
    wrong={
        "not normalised": (
            lambda x, y, alpha=2.0: (x - y).norm(dim=1).pow(alpha).mean(),
            "The distance is to be taken on the sphere: scale each row to length 1 first. Otherwise the loss falls "
            "when "
            "all vectors shrink, and nothing has been learned."),
        "normalised over the batch": (
            lambda x, y, alpha=2.0: _distance(x, y, dim=0).pow(alpha).mean(),
            "You scale each *column* to length 1 (dim=0). An image is a row: normalise over its dimensions, dim=1."),
        "averaged over dimensions too": (
            lambda x, y, alpha=2.0: (unit(x) - unit(y)).abs().pow(alpha).mean(),
            "The mean runs over all N x D entries. A distance sums over the D dimensions; only images are averaged."),
        "mean over dimensions inside the distance": (
            lambda x, y, alpha=2.0: (unit(x) - unit(y)).square().mean(1).pow(alpha / 2).mean(),
            "Inside the distance you average over the D dimensions. A distance sums their squares; only images are "
            "averaged."),
        "summed over images": (
            lambda x, y, alpha=2.0: _distance(x, y).pow(alpha).sum(),
            "The sum grows with the batch, so a learning rate would suit one batch size only: take the mean over "
            "images."),
        "the power of the mean": (
            lambda x, y, alpha=2.0: _distance(x, y).mean().pow(alpha),
            "You average the distances and raise the average. Raise each image's distance to alpha first, then "
            "average."),
        "alpha left out": (
            lambda x, y, alpha=2.0: _distance(x, y).square().mean(),
            "It is right for alpha = 2, but alpha is an argument: use distance ** alpha."),
        "one minus cosine": (
            lambda x, y, alpha=2.0: (1 - (unit(x) * unit(y)).sum(1)).pow(alpha / 2).mean(),
            "On the sphere the squared distance is 2 - 2 cosine; you have half of it. A minimum in the same place, but "
            "another weight against the second term of the loss."),
        "every view with every view": (
            lambda x, y, alpha=2.0: torch.cdist(unit(x), unit(y)).pow(alpha).mean(),
            "You compare view 1 of each image with view 2 of *all* images. Only rows with the same index are two views "
            "of one image."),
    },
    right={
        "by pairwise_distance": lambda x, y, alpha=2.0: F.pairwise_distance(unit(x), unit(y)).pow(alpha).mean(),
        "by the cosine": lambda x, y, alpha=2.0: (2 - 2 * F.cosine_similarity(x, y)).pow(alpha / 2).mean(),
        "with a loop": lambda x, y, alpha=2.0: sum(
            ((a / a.norm() - b / b.norm()) ** 2).sum() ** (alpha / 2) for a, b in zip(x, y)) / len(x),
    },
    hints=("Two steps: put both views on the sphere, then measure how far apart row i of one is from row i of the "
           "other.",
           "F.normalize(x, dim=1) scales rows to length 1; (a - b).norm(dim=1) is one distance an image, shape (N,).",
           "distance = (F.normalize(x, dim=1) - F.normalize(y, dim=1)).norm(dim=1)\n"
           "return distance.pow(alpha).mean()"),
)


# ------------------------------------------------------------------------------------------------ 01.uniformity
def _cloud_probes(generator, dtype):
    def cloud(rows, width):
        scale = torch.linspace(0.4, 3, rows, dtype=dtype)[:, None]
        return scale * (randn(generator, dtype, rows, width) + 0.6)

    return [(cloud(6, 3),), (cloud(9, 2), 0.5), dict(z=cloud(4, 8), t=3.0)]


def _squares(z: Tensor) -> Tensor:
    return torch.pdist(unit(z)).square()


uniformity = Exercise(
    key="01.uniformity", title="Push images apart", minutes=8, difficulty=3,
    reference="course_lib.methods.contrastive.align_uniform:uniformity_loss", probes=_cloud_probes, gradients=True,
    wrong={
        "each point paired with itself": (
            lambda z, t=2.0: (-t * (unit(z)[:, None] - unit(z)).square().sum(-1)).exp().mean().log(),
            "The mean runs over all N x N entries, and the diagonal is there: each point at distance 0 from itself. "
            "No training can move those. Keep the pairs i < j."),
        "diagonal left out of the sum only": (
            lambda z, t=2.0: ((-t * _squares(z)).exp().sum() * 2 / len(z) ** 2).log(),
            "The diagonal is not summed, but still counted: you divide by N * N where there are N * (N - 1) pairs."),
        "the mean of the logarithms": (
            lambda z, t=2.0: (-t * _squares(z)).mean(),
            "log and exp cancel when the mean is taken last. What is left is the mean squared distance, which two "
            "opposite heaps make as large as an even spread. First exp, then the mean over pairs, then log."),
        "not normalised": (
            lambda z, t=2.0: (-t * torch.pdist(z).square()).exp().mean().log(),
            "Without normalising, points move apart by growing longer, for ever. Scale each row to length 1."),
        "distance not squared": (
            lambda z, t=2.0: (-t * torch.pdist(unit(z))).exp().mean().log(),
            "The kernel is Gaussian: exp(-t * distance ** 2). You have exp(-t * distance)."),
        "repulsion turned round": (
            lambda z, t=2.0: (t * _squares(z)).exp().mean().log(),
            "A minus is missing in the exponent: this loss falls when points come together, and it would cause the "
            "collapse that it is there to prevent."),
        "the logarithm is missing": (
            lambda z, t=2.0: (-t * _squares(z)).exp().mean(),
            "The mean of the kernel over pairs is right; the loss is its logarithm, which keeps the gradient large "
            "when "
            "points are already well apart."),
        "a logarithm for each image": (
            lambda z, t=2.0: (-t * (unit(z)[:, None] - unit(z)).square().sum(-1)).masked_fill(
                torch.eye(len(z), dtype=torch.bool), -torch.inf).logsumexp(1).sub(math.log(len(z) - 1)).mean(),
            "You take the logarithm for each image, over its partners, and average those. One mean over all pairs, "
            "then one logarithm."),
        "only the nearest partner": (
            lambda z, t=2.0: (-t * (unit(z)[:, None] - unit(z)).square().sum(-1)).exp().masked_fill(
                torch.eye(len(z), dtype=torch.bool), 0.0).amax(1).mean().log(),
            "Each image is pushed by its nearest partner only. The mean runs over all pairs; the kernel makes near "
            "ones count more by itself."),
        "the sum over pairs": (
            lambda z, t=2.0: (-t * _squares(z)).logsumexp(0),
            "logsumexp is the log of a *sum*. For the log of the mean take off the log of the number of pairs, or the "
            "value depends on the batch size."),
    },
    right={
        "both orders of each pair": lambda z, t=2.0: (
            (-t * (2 - 2 * unit(z) @ unit(z).T)).exp()[~torch.eye(len(z), dtype=torch.bool)].mean().log()),
        "with two loops": lambda z, t=2.0: torch.stack([
            (-t * (F.normalize(z[i], dim=0) - F.normalize(z[j], dim=0)).square().sum()).exp()
            for i in range(len(z)) for j in range(i)]).mean().log(),
    },
    hints=("Which pairs are there? N points have N (N - 1) / 2 of them; torch.pdist lists their distances.",
           "squared = torch.pdist(F.normalize(z, dim=1)).square() has one entry a pair.",
           "squared = torch.pdist(F.normalize(z, dim=1)).square()\n"
           "return (-t * squared).exp().mean().log()"),
)


# ------------------------------------------------------------------------------------------------ 01.training_step
def training_step(method: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer,
                  generator: torch.Generator) -> float:
    """One update of a method's weights, the heart of `train.fit` without anything around it; -> the loss."""
    views = method.views(batch, generator)
    loss = method.loss(views)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class _Line(nn.Module):
    """The smallest method: a matrix, views with noise, two terms of a loss."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def views(self, batch, generator):
        noise = (torch.randn(batch.images.shape, generator=generator, dtype=batch.images.dtype) for _ in range(2))
        return tuple(batch.images + 0.3 * n for n in noise)

    def loss(self, views, progress: float = 0.0):
        a, b = (torch.tanh(view @ self.weight) for view in views)
        parts = {"pull": (a - b).square().mean(), "push": (a @ b.T).square().mean()}
        return {"loss": parts["pull"] + 0.1 * parts["push"], **parts}


def _steps(step, weight: Tensor, images: Tensor):
    """Three updates by `step`: what it returned, whether the loss still holds its graph, and the weights at the end."""
    method = _Line(weight)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5, momentum=0.5)
    generator = torch.Generator().manual_seed(3)
    batches = [Batch(part, torch.arange(len(part))) for part in images]
    return noted_steps(step, [(method, batch, optimizer, generator) for batch in batches], method.parameters())


def _step_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [dict(weight=draw(4, 3), images=draw(3, 6, 4)), dict(weight=draw(2, 5), images=draw(4, 5, 2))]


def _loss(method, batch, generator):
    return method.loss(method.views(batch, generator))["loss"]


def _with(loss=_loss, order="clear backward step", back=Tensor.item):
    """A step with one thing changed."""
    return lambda method, batch, optimizer, generator: descend(
        loss(method, batch, generator), optimizer, order, back)


def _same_views(method, batch, generator):
    return _loss(method, batch, generator.manual_seed(0))


def _one_view(method, batch, generator):
    a, _ = method.views(batch, generator)
    return method.loss((a, a))["loss"]


def _one_part(method, batch, optimizer, generator):
    parts = method.loss(method.views(batch, generator))
    optimizer.zero_grad()
    next(part for name, part in parts.items() if name != "loss").backward()
    optimizer.step()
    return parts["loss"].item()


def _times_batch(method, batch, optimizer, generator):
    loss = _loss(method, batch, generator)
    optimizer.zero_grad()
    (loss * len(batch.images)).backward()
    optimizer.step()
    return loss.item()


def _by_hand(method, batch, optimizer, generator):
    loss = _loss(method, batch, generator)
    return descend_by_name(loss, optimizer, method).detach()


training_step_exercise = Exercise(
    key="01.training_step", title="One training step", minutes=6, difficulty=2,
    reference=training_step, probes=_step_probes, call=_steps,
    words=STEP_WORDS,
    wrong={
        "the same views at every step": (
            _with(_same_views),
            "The generator is seeded inside the step, so each image is cropped and coloured the same way every time, "
            "and the network can learn those few views by heart. Seed once, outside; here only draw from it."),
        "a view compared with itself": (
            _with(_one_view),
            "Both views are the same tensor, so the first term of the loss is 0 from the start and teaches nothing. "
            "method.views returns a pair of two different views; give it to method.loss as it is."),
        "the gradient of one part": (
            _one_part,
            "The gradient is that of the first part of the loss; the other one, which keeps images apart, never acts. "
            'method.loss returns the parts for the log; the gradient is that of its entry "loss".'),
        "the gradient of a sum": (
            _times_batch,
            "Your gradient is N times as long: the loss is a mean over images already, do not multiply it by the size "
            "of the batch."),
        **update_mistakes(_with, [*BASIC, "the step comes before backward"]),
    },
    right={"cleared after the step": _with(order="backward step clear"), "gradients asked for by name": _by_hand},
    hints=("Four things in order: two views, a loss, its gradient, a step. One more keeps gradients from adding up.",
           'views = method.views(batch, generator); loss = method.loss(views)["loss"]',
           "views = method.views(batch, generator)\n"
           'loss = method.loss(views)["loss"]\n'
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)

EXERCISES = [knn, alignment, uniformity, training_step_exercise]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("A new method reaches the kNN accuracy of the random encoder. What has it shown?", {
        "That it does not work": "Not even that: the protocol may be saturated, or the data too easy. It has shown "
            "no effect.",
        "Nothing yet beyond its architecture": "The same network without training gets there, so training has added "
            "nothing that this measure sees.",
        "That kNN is a poor measure": "It may be, but the table does not say so; a second measure (a linear probe) "
            "would.",
    }, "Nothing yet beyond its architecture"),
    quiz("The training loss of a two-view method falls smoothly to its lowest possible value. What do you check "
         "first?", {
        "The learning rate": "It did its work: the loss fell. The question is what fell with it.",
        "The standard deviation of the vectors": "The lowest value of a pull is reached by a constant. Standard "
            "deviation and rank tell collapse from success.",
        "The accuracy on the test set": "That looks at the test set to make a decision. Validation would do, and a "
            "standard deviation needs no label at all.",
    }, "The standard deviation of the vectors"),
    quiz("Ten augmentations are compared; the best test accuracy is reported. How could it be repaired without "
         "new data?", {
        "Report the mean of the ten": "Honest, but it answers another question: how good a random one of the ten is.",
        "Pick on validation, report that one's test accuracy": "The choice no longer saw the images that judge it: "
            "luck on validation is no luck on test.",
        "Use a larger k": "k changes the noise a little, and not who saw what.",
    }, "Pick on validation, report that one's test accuracy"),
    quiz("Your views crop and mirror, and never change colours. What is the easiest way to match the two views "
         "of an image?", {
        "By the shape": "It would do, but it is not needed: with colours at 0, pixels pair more than half of such "
            "views in figure 5.",
        "By the colours": "Both views share them, they differ between images, and nothing speaks against using them.",
        "By the side the object is on": "The mirror exchanges left and right in half of the views: the two often "
            "disagree.",
    }, "By the colours"),
    quiz("Transfer: X-rays from two hospitals, one with a logo in the corner and most of the ill patients. What "
         "will two-view learning do?", {
        "Ignore the logo, as it is small": "Small is no obstacle: it is in nearly every crop of its corner, sharp, "
            "and always the same.",
        "Ignore it, since there are no labels": "Labels are not needed for a shortcut. Whatever helps to match two "
            "views may be learned.",
        "Keep it, unless crops or masks break it": "Whatever survives the augmentation and tells images apart is "
            "useful to the loss. Crop, blank or vary it.",
    }, "Keep it, unless crops or masks break it"),
]
