"""Exercises of week 7, SimSiam: the stop-gradient, both directions, the best prediction, and a meter for collapse."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.simsiam import negative_cosine
from lessons.exercises.shared import rand, randn, unit


# ------------------------------------------------------------------------------------------------ 07.negative_cosine
def _cosine_probes(generator, dtype):
    def draw(n: int, d: int) -> Tensor:  # lengths differ a lot: who forgets them is seen
        return randn(generator, dtype, n, d) * (0.3 + 3 * rand(generator, dtype, n, 1))

    return [(draw(7, 4), draw(7, 4)), (draw(3, 6), draw(3, 6), False), dict(p=draw(5, 2), z=draw(5, 2), stop=True)]


def _stopped(z: Tensor, stop: bool) -> Tensor:
    return z.detach() if stop else z


def _cosines(p: Tensor, z: Tensor) -> Tensor:
    return (unit(p) * unit(z)).sum(1)


def _cosine_of_predictions_only(p: Tensor, z: Tensor, stop: bool = True) -> Tensor:
    return -(unit(p) * _stopped(z, stop)).sum(1).mean()


negative = Exercise(
    key="07.negative_cosine", title="Who moves, and who stands still", minutes=5, difficulty=2,
    reference="course_lib.methods.contrastive.simsiam:negative_cosine", probes=_cosine_probes, gradients=True,
    wrong={
        "no stop-gradient": (
            lambda p, z, stop=True: -_cosines(p, z).mean(),
            "The value is right, the gradient is not: with stop=True nothing may flow into z. z is the place to go to, "
            "p goes there: z.detach()."),
        "the stop on p": (
            lambda p, z, stop=True: -_cosines(_stopped(p, stop), z).mean(),
            "You hold the prediction still and pull the projection towards it. It is the other way round: z is the "
            "target, p learns to name it. Here the predictor would never learn anything."),
        "p never learns": (
            lambda p, z, stop=True: -_cosines(p.detach(), z).mean(),
            "p is detached whatever `stop` says, and z is not: the roles are exchanged. p is the answer that learns, z "
            "the "
            "target that is held."),
        "a stop on both": (
            lambda p, z, stop=True: -_cosines(_stopped(p, stop), _stopped(z, stop)).mean(),
            "Both are detached, so nobody moves: backward() has nothing to do. Only z is stopped."),
        "always stopped": (
            lambda p, z, stop=True: -_cosines(p, z.detach()).mean(),
            "With stop=False z must get its gradient: part 6 of the lesson needs it for its experiment."),
        "the cosine, not its negative": (
            lambda p, z, stop=True: _cosines(p, _stopped(z, stop)).mean(),
            "Minimising the cosine turns predictions *away* from their targets. A loss goes down when things get "
            "better."),
        "BYOL's distance": (
            lambda p, z, stop=True: 2 - 2 * _cosines(p, _stopped(z, stop)).mean(),
            "2 - 2 cos is the squared distance on the sphere, BYOL's form: the same minimum, but twice the gradient "
            "and "
            "values from 0 to 4. SimSiam's is the negative cosine, from -1 to 1."),
        "a dot product": (
            lambda p, z, stop=True: -(p * _stopped(z, stop)).sum(1).mean(),
            "Without scaling to length 1 the loss can fall without end: grow. The cosine looks at directions only."),
        "only p has length 1": (
            _cosine_of_predictions_only,
            "z keeps its length, so images with a long z count more. Both vectors are scaled to length 1."),
        "unit columns": (
            lambda p, z, stop=True: -F.cosine_similarity(p, _stopped(z, stop), dim=0).mean(),
            "You compare columns, a dimension over the batch. An image's prediction is a row: dim=1."),
        "the sum over the batch": (
            lambda p, z, stop=True: -_cosines(p, _stopped(z, stop)).sum(),
            "The mean over images: with the sum the learning rate would have to shrink as the batch grows."),
        "all pairs": (
            lambda p, z, stop=True: -(unit(p) @ unit(_stopped(z, stop)).T).mean(),
            "The matrix of all pairs pulls every prediction to every image's target. Row i belongs to row i alone: "
            "no image is compared with another one in SimSiam."),
    },
    right={
        "a squared distance": lambda p, z,
        stop=True: (unit(p) - unit(_stopped(z, stop))).square().sum(1).mean() / 2 - 1,
        "einsum and norms": lambda p, z, stop=True: -torch.einsum(
            "nd,nd->n", p / p.norm(dim=1, keepdim=True), _stopped(z, stop) / _stopped(z, stop).norm(dim=1, keepdim=True)
        ).mean(),
    },
    hints=("Two vectors per image, row i of both. Which of the two may learn from this number, and which is only "
           "looked at?",
           "z = z.detach() if stop else z. Then the cosine of each row pair: F.cosine_similarity(..., dim=1).",
           "return -F.cosine_similarity(p, z.detach() if stop else z, dim=1).mean()"),
)


# ------------------------------------------------------------------------------------------------ 07.loss
def _loss_probes(generator, dtype):
    def four(n: int, d: int) -> list[Tensor]:
        return [randn(generator, dtype, n, d) for _ in range(4)]

    return [tuple(four(6, 4)), (*four(4, 7), False), dict(zip(("p1", "p2", "z1", "z2"), four(5, 3)))]


def _detached_one(p1, p2, z1, z2, stop=True):
    return (negative_cosine(p1, z2, stop) + negative_cosine(p2, z1, False)) / 2


loss = Exercise(
    key="07.loss", title="Both directions", minutes=4, difficulty=2,
    reference="course_lib.methods.contrastive.simsiam:simsiam_loss", probes=_loss_probes, gradients=True,
    wrong={
        "each view predicts itself": (
            lambda p1, p2, z1, z2, stop=True: (negative_cosine(p1, z1, stop) + negative_cosine(p2, z2, stop)) / 2,
            "p1 is compared with z1, from which it was computed: the predictor becomes the identity and no view ever "
            "hears of the other. Cross them: p1 with z2, p2 with z1."),
        "not halved": (
            lambda p1, p2, z1, z2, stop=True: negative_cosine(p1, z2, stop) + negative_cosine(p2, z1, stop),
            "The sum of the two directions is BYOL's convention. SimSiam takes their mean: at best -1, not -2, and the "
            "published learning rates belong to that."),
        "one direction only": (
            lambda p1, p2, z1, z2, stop=True: negative_cosine(p1, z2, stop),
            "Each view is predicted from the other, in both directions: the same images give twice the signal."),
        "predictions compared with each other": (
            lambda p1, p2, z1, z2, stop=True: (negative_cosine(p1, p2, stop) + negative_cosine(p2, p1, stop)) / 2,
            "Both sides have passed the predictor. It stands on one side only: p of one view against z of the other."),
        "projections compared with each other": (
            lambda p1, p2, z1, z2, stop=True: (negative_cosine(z1, z2, stop) + negative_cosine(z2, z1, stop)) / 2,
            "The predictor is not used at all. Without it stopping the gradient changes nothing but its size, and the "
            "network collapses."),
        "the roles swapped": (
            lambda p1, p2, z1, z2, stop=True: (negative_cosine(z1, p2, stop) + negative_cosine(z2, p1, stop)) / 2,
            "negative_cosine(p, z) stops its *second* argument: you hold the predictions still. Predictions come "
            "first."),
        "one stop forgotten": (
            _detached_one,
            "One direction passes `stop` on, the other one lets the gradient through z1. One open door is enough to "
            "collapse."),
        "stop not passed on": (
            lambda p1, p2, z1, z2, stop=True: (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2,
            "The argument `stop` has to reach negative_cosine: the experiment of part 6 calls this function with "
            "stop=False."),
    },
    right={
        "one call on both directions": lambda p1, p2, z1, z2, stop=True: negative_cosine(
            torch.cat([p1, p2]), torch.cat([z2, z1]), stop),
        "halves first": lambda p1, p2, z1, z2, stop=True: sum(
            0.5 * negative_cosine(p, z, stop) for p, z in ((p2, z1), (p1, z2))),
    },
    hints=("Four matrices, two comparisons. Which prediction has never seen the target it is compared with?",
           "negative_cosine(p1, z2, stop) and negative_cosine(p2, z1, stop).",
           "return (negative_cosine(p1, z2, stop) + negative_cosine(p2, z1, stop)) / 2"),
)


# ------------------------------------------------------------------------------------------------ 07.target
def _target_probes(generator, dtype):
    def views(a: int, n: int, d: int) -> Tensor:
        centre = randn(generator, dtype, 1, n, d)
        noise = randn(generator, dtype, a, n, d)
        return (centre + noise) * (0.2 + 4 * rand(generator, dtype, a, n, 1))

    return [(views(5, 4, 3),), (views(3, 7, 2),), dict(z=views(4, 5, 6))]


target = Exercise(
    key="07.target", title="The best prediction", minutes=6, difficulty=3,
    reference="course_lib.methods.contrastive.simsiam:best_prediction", probes=_target_probes,
    wrong={
        "the mean of the raw vectors": (
            lambda z: unit(z.mean(0)),
            "The cosine ignores lengths, so every view has the same say: scale each to length 1 *before* the mean. In "
            "yours a view with a long vector outvotes the others."),
        "not scaled to length 1": (
            lambda z: unit(z).mean(0),
            "The direction is right. A vector of length 1 was asked for: scale the mean as well. (Its length before "
            "that, between 0 and 1, tells how well the views agree.)"),
        "raw mean, not scaled": (
            lambda z: z.mean(0),
            "This minimises the squared distance. For the cosine: each view to length 1, then the mean, then to length "
            "1 again."),
        "the mean over images": (
            lambda z: unit(unit(z).mean(1)),
            "You averaged over the images, dim=1: one vector per view, the same for all images, which is collapse. "
            "Average "
            "over the views, dim=0."),
        "the first view": (
            lambda z: unit(z[0]),
            "That is what one step of SimSiam has in hand, *one* view's vector, and it is noisy. The best prediction "
            "agrees with all views on average."),
        "the median": (
            lambda z: unit(unit(z).median(0).values),
            "The median of each coordinate minimises absolute differences. The mean cosine is linear in the "
            "prediction, "
            "so the *mean* of the unit vectors decides."),
        "unit over the views": (
            lambda z: unit(F.normalize(z, dim=0).mean(0)),
            "You scaled along the views (dim=0). A vector is a row of D numbers: dim=-1."),
    },
    right={
        "the sum is enough": lambda z: F.normalize(F.normalize(z, dim=2).sum(0), dim=1),
        "einsum and norms": lambda z: (lambda mean: mean / mean.norm(dim=1, keepdim=True))(
            torch.einsum("and->nd", z / torch.linalg.vector_norm(z, dim=2, keepdim=True)) / len(z)),
    },
    hints=("The mean over views of cos(p, z_a) is one dot product: of p's direction with what?",
           "z is (A, N, D). unit = F.normalize(z, dim=-1): which axis is averaged away?",
           "return F.normalize(F.normalize(z, dim=-1).mean(dim=0), dim=-1)"),
)


# ------------------------------------------------------------------------------------------------ 07.collapse_meter
def _meter_probes(generator, dtype):
    z = randn(generator, dtype, 20, 6)
    offset = 0.3 * z[:, :4] + 1.5                        # nearly collapsed: a common offset
    lengths = z[:9] * (0.1 + 5 * rand(generator, dtype, 9, 1))
    line = z[:12, :1] * torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0], dtype=dtype)   # two heaps, opposite
    return [(z,), (offset,), (lengths,), dict(features=line), (torch.full((5, 3), 0.5, dtype=dtype),)]


def _number(value: Tensor, d: int) -> float:
    return float(value * d**0.5)


meter = Exercise(
    key="07.collapse_meter", title="A meter for collapse", minutes=5, difficulty=2,
    reference="course_lib.evaluate.measures:feature_std", probes=_meter_probes, tolerance=1e-4,
    wrong={
        "raw vectors": (
            lambda features: _number(features.std(0, correction=0).mean(), features.shape[1]),
            "SimSiam's loss sees directions only. Scale each row to length 1 first, or the meter tells how long the "
            "vectors "
            "are."),
        "not times the root of D": (
            lambda features: float(unit(features).std(0, correction=0).mean()),
            "A cloud spread evenly over the sphere has deviation 1/sqrt(D) in each dimension. Times sqrt(D) that is 1 "
            "for "
            "every D."),
        "divided by the root of D": (
            lambda features: float(unit(features).std(0, correction=0).mean() / features.shape[1] ** 0.5),
            "The value to compare with is 1/sqrt(D), so *multiply* by sqrt(D)."),
        "the spread within an image": (
            lambda features: _number(unit(features).std(1, correction=0).mean(), features.shape[1]),
            "dim=1 is the spread of the numbers of one image: it stays near 1 when all images are alike. Collapse is "
            "seen "
            "over images, dim=0."),
        "centred before scaling": (
            lambda features: _number(unit(features - features.mean(0)).std(0, correction=0).mean(), features.shape[1]),
            "Centring first takes the common part away, and that part *is* the collapse: what remains, however small, "
            "is "
            "blown up to length 1."),
        "one deviation for everything": (
            lambda features: _number(unit(features).std(correction=0), features.shape[1]),
            "Pooled over all numbers, differences between dimensions count as spread. One deviation per dimension over "
            "the "
            "images, then the mean."),
        "N - 1": (
            lambda features: _number(unit(features).std(0).mean(), features.shape[1]),
            "Divide by N (correction=0): it is the spread of *these* points, which on the sphere is at most 1."),
        "the variance": (
            lambda features: _number(unit(features).var(0, correction=0).mean(), features.shape[1]),
            "Take the root: the standard deviation, not the variance."),
        "the smallest dimension": (
            lambda features: _number(unit(features).std(0, correction=0).min(), features.shape[1]),
            "The mean over dimensions was asked for; one dead dimension is not a collapse."),
    },
    right={
        "by hand": lambda features: float((lambda u: (u - u.mean(0)).square().mean(0).sqrt().mean())(
            features / features.norm(dim=1, keepdim=True)) * features.shape[1] ** 0.5),
        "against 1/sqrt(D)": lambda features: float(
            unit(features).var(dim=0, unbiased=False).sqrt().mean() / (1 / features.shape[1] ** 0.5)),
    },
    hints=("What does the loss see of a vector? And over which axis do you look for 'all images alike'?",
           "u = F.normalize(features, dim=1); one deviation per dimension over the images, divided by N.",
           "u = F.normalize(features, dim=1)\n"
           "return float(u.std(dim=0, correction=0).mean() * features.shape[1] ** 0.5)"),
)


EXERCISES = [negative, loss, target, meter]
