"""Exercises of week 7, SimSiam: the stop-gradient, both directions, a whole step, a meter, the best prediction."""
from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.simsiam import negative_cosine, simsiam_loss
from lessons.exercises.shared import (
    STEP_WORDS,
    blank,
    descend,
    descend_by_name,
    rand,
    randn,
    small_network,
    steps,
    unit,
    update_mistakes,
    weights_of,
)


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
    key="07.negative_cosine", title="The cosine with a stop-gradient", minutes=5, difficulty=2,
    reference="course_lib.methods.contrastive.simsiam:negative_cosine", probes=_cosine_probes, gradients=True,
    wrong={
        "no stop-gradient": (
            lambda p, z, stop=True: -_cosines(p, z).mean(),
            "The value is right, the gradient is not: with stop=True nothing may flow into z. z is the target, p moves "
            "towards it: z.detach()."),
        "the stop on p": (
            lambda p, z, stop=True: -_cosines(_stopped(p, stop), z).mean(),
            "You hold the prediction still and pull the projection towards it. It is the other way round: z is the "
            "target, p learns to name it. Here the predictor would never learn anything."),
        "p never learns": (
            lambda p, z, stop=True: -_cosines(p.detach(), z).mean(),
            "p is detached whatever `stop` says, and z is not: the roles are exchanged. p is the answer that learns, z "
            "the target that is held."),
        "a stop on both": (
            lambda p, z, stop=True: -_cosines(_stopped(p, stop), _stopped(z, stop)).mean(),
            "Both are detached, so nothing moves: backward() has nothing to do. Only z is stopped."),
        "always stopped": (
            lambda p, z, stop=True: -_cosines(p, z.detach()).mean(),
            "With stop=False z must get its gradient: the lesson switches the stop off to see what it does."),
        "the stop reversed": (
            lambda p, z, stop=True: -_cosines(p, _stopped(z, not stop)).mean(),
            "You detach z when `stop` is False, and leave it when it is True. stop=True means: no gradient into z."),
        "the cosine, not its negative": (
            lambda p, z, stop=True: _cosines(p, _stopped(z, stop)).mean(),
            "Minimising the cosine turns predictions *away* from their targets. A loss goes down when things get "
            "better."),
        "BYOL's distance": (
            lambda p, z, stop=True: 2 - 2 * _cosines(p, _stopped(z, stop)).mean(),
            "2 - 2 cos is the squared distance on the sphere, BYOL's form: the same minimum, but twice the gradient "
            "and values from 0 to 4. SimSiam's is the negative cosine, from -1 to 1."),
        "a dot product": (
            lambda p, z, stop=True: -(p * _stopped(z, stop)).sum(1).mean(),
            "Without scaling to length 1 the loss can fall without end: vectors only have to grow. The cosine looks "
            "at directions only."),
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
        "squared error of unit vectors": (
            lambda p, z, stop=True: F.mse_loss(unit(p), unit(_stopped(z, stop))),
            "The mean squared difference of unit vectors is (2 - 2 cos)/D: it prefers the same vectors, but its value "
            "and its gradient shrink as D grows. The loss is minus the cosine itself."),
        "the cosine of the means": (
            lambda p, z, stop=True: -F.cosine_similarity(p.mean(0), _stopped(z, stop).mean(0), dim=0),
            "You average the images first and compare the two averages. Compare row by row, one cosine for each "
            "image, then take the mean of the cosines."),
        "the median": (
            lambda p, z, stop=True: -_cosines(p, _stopped(z, stop)).median(),
            "The median hears one image of the batch and gives the others no gradient. Take the mean over images."),
    },
    right={
        "a squared distance": lambda p, z,
        stop=True: (unit(p) - unit(_stopped(z, stop))).square().sum(1).mean() / 2 - 1,
        "einsum and norms": lambda p, z, stop=True: -torch.einsum(
            "nd,nd->n", p / p.norm(dim=1, keepdim=True), _stopped(z, stop) / _stopped(z, stop).norm(dim=1, keepdim=True)
        ).mean(),
    },
    hints=("Two vectors per image, row i of both. Which of the two may learn from this number, and which is a fixed "
           "target?",
           "z.detach() has the same values and no history. Then the cosine of each pair of rows: "
           "F.cosine_similarity(..., dim=1).",
           "if stop:\n    z = z.detach()\ncosines = F.cosine_similarity(p, z, dim=1)\nreturn -cosines.mean()"),
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
            "p1 is compared with z1, from which it was computed: the predictor only has to become the identity, and "
            "the two views never meet. Cross them: p1 with z2, p2 with z1."),
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
            "The predictor is not used at all. Without it the stop only halves the gradient: the network collapses."),
        "the roles swapped": (
            lambda p1, p2, z1, z2, stop=True: (negative_cosine(z1, p2, stop) + negative_cosine(z2, p1, stop)) / 2,
            "negative_cosine(p, z) stops its *second* argument: you hold the predictions still. Predictions come "
            "first."),
        "one stop forgotten": (
            _detached_one,
            "One direction passes `stop` on, the other one lets the gradient through z1. Pass `stop` to both calls."),
        "stop not passed on": (
            lambda p1, p2, z1, z2, stop=True: (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2,
            "The argument `stop` has to reach negative_cosine: the toy of the lesson switches it off."),
        "never stopped": (
            lambda p1, p2, z1, z2, stop=True: simsiam_loss(p1, p2, z1, z2, False),
            "With stop=True a gradient still flows into z1 and z2: you pass False. Pass the argument `stop` on as it "
            "is: negative_cosine does the detach."),
        "the stop reversed": (
            lambda p1, p2, z1, z2, stop=True: simsiam_loss(p1, p2, z1, z2, not stop),
            "You stop when `stop` is False, and don't when it is True. Pass it on as it is."),
        "one call the wrong way round": (
            lambda p1, p2, z1, z2, stop=True: (negative_cosine(p1, z2, stop) + negative_cosine(z1, p2, stop)) / 2,
            "One of your two calls has its arguments swapped: negative_cosine(z1, p2) holds the prediction p2 and "
            "moves z1. The prediction comes first, in both calls."),
        "the smaller of the two": (
            lambda p1, p2, z1, z2, stop=True: torch.minimum(negative_cosine(p1, z2, stop),
                                                            negative_cosine(p2, z1, stop)),
            "You keep the better direction, so the other one is never trained. Take the mean of both."),
    },
    right={
        "one call on both directions": lambda p1, p2, z1, z2, stop=True: negative_cosine(
            torch.cat([p1, p2]), torch.cat([z2, z1]), stop),
        "halves first": lambda p1, p2, z1, z2, stop=True: sum(
            0.5 * negative_cosine(p, z, stop) for p, z in ((p2, z1), (p1, z2))),
    },
    hints=("Four matrices, two comparisons. Which target comes from the view that a prediction has not seen?",
           "negative_cosine(p1, z2, stop) and negative_cosine(p2, z1, stop).",
           "first = negative_cosine(p1, z2, stop)\nsecond = negative_cosine(p2, z1, stop)\n"
           "return (first + second) / 2"),
)


# ------------------------------------------------------------------------------------------------ 07.step
def simsiam_step(encoder: nn.Module, predictor: nn.Module, optimizer: torch.optim.Optimizer, view1: Tensor,
                 view2: Tensor) -> float:
    """One training step of SimSiam; -> the loss. Each view passes through the encoder (with its projector) alone."""
    z1, z2 = encoder(view1), encoder(view2)
    loss = simsiam_loss(predictor(z1), predictor(z2), z1, z2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step_probes(generator, dtype):
    seeds = torch.randint(2**30, (6,), generator=generator).tolist()
    draw = partial(randn, generator, dtype)
    return [(small_network(seeds[0], dtype, 4, 6, 3), small_network(seeds[1], dtype, 3, 5, 3), draw(3, 2, 7, 4)),
            (small_network(seeds[2], dtype, 3, 4, 2), small_network(seeds[3], dtype, 2, 6, 2), draw(3, 2, 5, 3)),
            (small_network(seeds[4], dtype, 5, 3, 4), small_network(seeds[5], dtype, 4, 2, 4), draw(3, 2, 8, 5))]


def _three_steps(step, encoder: nn.Module, predictor: nn.Module, views: Tensor):
    """The harness: three steps of gradient descent over encoder and predictor; what both hold then."""
    optimizer = torch.optim.SGD([*encoder.parameters(), *predictor.parameters()], lr=0.3)
    found = steps(step, [(encoder, predictor, optimizer, *pair) for pair in views])
    return found if blank(found) else {**found, "encoder": weights_of(encoder), "predictor": weights_of(predictor)}


def _half(p: Tensor, z: Tensor) -> Tensor:
    return negative_cosine(p, z) / 2


def _loss(predictor, z1, z2):
    return simsiam_loss(predictor(z1), predictor(z2), z1, z2)


def _each_alone(encoder, view1, view2):
    return encoder(view1), encoder(view2)


def _stepped(loss=_loss, encode=_each_alone, order="clear backward step", back=Tensor.item):
    """A step with one thing changed: loss(predictor, z1, z2), encode(encoder, view1, view2), the update's order."""
    return lambda encoder, predictor, optimizer, view1, view2: descend(
        loss(predictor, *encode(encoder, view1, view2)), optimizer, order, back)


def _loss_of(encoder, predictor, view1, view2) -> Tensor:
    z1, z2 = encoder(view1), encoder(view2)
    return simsiam_loss(predictor(z1), predictor(z2), z1, z2)


def _with(make):
    """A step whose predictions are make(predictor, z1, z2); all else is right."""
    return _stepped(lambda h, z1, z2: simsiam_loss(*make(h, z1, z2), z1, z2))


def _in_one(h: nn.Module, z1: Tensor, z2: Tensor) -> tuple[Tensor, ...]:
    return h(torch.cat([z1, z2])).chunk(2)


def _without_statistics(h: nn.Module, z1: Tensor, z2: Tensor) -> tuple[Tensor, ...]:
    h.eval()
    found = h(z1), h(z2)
    h.train()
    return found


def _clearing(cleared):
    """A step that clears the gradients of cleared(encoder, predictor) only."""
    def step(encoder, predictor, optimizer, view1, view2):
        loss = _loss_of(encoder, predictor, view1, view2)
        cleared(encoder, predictor).zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _predictor_frozen(encoder, predictor, optimizer, view1, view2):
    loss = _loss_of(encoder, predictor, view1, view2)
    optimizer.zero_grad()
    loss.backward()
    predictor.zero_grad()
    optimizer.step()
    return loss.item()


def _negative_returned(encoder, predictor, optimizer, view1, view2):
    return -simsiam_step(encoder, predictor, optimizer, view1, view2)


def _before_first(encoder, predictor, optimizer, view1, view2):
    """The update comes before the loss: it follows the last batch's gradient."""
    optimizer.step()
    return _stepped(order="clear backward")(encoder, predictor, optimizer, view1, view2)


def _one_batch(encoder, view1, view2):
    return encoder(torch.cat([view1, view2])).chunk(2)


def _in_evaluation(encoder, view1, view2):
    encoder.eval()
    found = _each_alone(encoder, view1, view2)
    encoder.train()
    return found


@torch.no_grad()
def _encoder_frozen(encoder, view1, view2):
    return _each_alone(encoder, view1, view2)


def _one_view(encoder, predictor, optimizer, view1, view2):
    return simsiam_step(encoder, predictor, optimizer, view1, view1)


def _loss_afterwards(encoder, predictor, optimizer, view1, view2):
    descend(_loss_of(encoder, predictor, view1, view2), optimizer)
    return _loss_of(encoder, predictor, view1, view2).item()


def _two_passes(encoder, predictor, optimizer, view1, view2):
    """A right answer: targets of a second pass without gradient, gradients by name."""
    p = torch.cat([predictor(encoder(view)) for view in (view1, view2)])
    with torch.no_grad():
        z = torch.cat([encoder(view) for view in (view2, view1)])
    loss = -F.cosine_similarity(p, z, dim=1).mean()
    return descend_by_name(loss, optimizer, encoder, predictor).detach()


step = Exercise(
    key="07.step", title="One step of SimSiam", minutes=8, difficulty=3,
    reference=simsiam_step, probes=_step_probes, call=_three_steps, tolerance=1e-5,
    words=STEP_WORDS | {
        "['encoder']": "the encoder's weights after three steps",
        "['predictor']": "the predictor's weights after three steps"},
    wrong={
        "each view predicts itself": (
            _stepped(lambda h, z1, z2: _half(h(z1), z1) + _half(h(z2), z2)),
            "p1 meets z1, from which it was computed, and the two views never meet. It is a bug of this lesson's hunt, "
            "and the log looks better for it. simsiam_loss(p1, p2, z1, z2), in this order."),
        "one direction only": (
            _stepped(lambda h, z1, z2: negative_cosine(h(z1), z2)),
            "The second direction is missing: view 2 predicts view 1 as well."),
        "the sum of the two directions": (
            _stepped(lambda h, z1, z2: 2 * simsiam_loss(h(z1), h(z2), z1, z2)),
            "The two directions are averaged, not added (adding is BYOL's convention): every step of yours is twice as "
            "long."),
        "no predictor": (
            _stepped(lambda h, z1, z2: simsiam_loss(z1, z2, z1, z2)),
            "The encoder's outputs are compared directly. One side passes the predictor first: p1 = predictor(z1)."),
        "a predictor on both sides": (
            _stepped(lambda h, z1, z2: simsiam_loss(h(z1), h(z2), h(z1), h(z2))),
            "The targets went through the predictor, too. The target is z, the encoder's own output."),
        "no stop-gradient": (
            _stepped(lambda h, z1, z2: simsiam_loss(h(z1), h(z2), z1, z2, stop=False)),
            "The first loss is right and the weights are not: the gradient also flows through the targets. That is "
            "the run of the hook that had the lower loss. Leave `stop` at True."),
        "the stop on the predictions": (
            _stepped(lambda h, z1, z2: _half(z1, h(z2)) + _half(z2, h(z1))),
            "simsiam_loss stops z1 and z2, its last two arguments: you gave the predictions there, so the predictor "
            "never learns."),
        "the encoder without gradient": (
            _stepped(encode=_encoder_frozen),
            "No gradient reaches the encoder (no_grad, or z detached on its way to the predictor): only the predictor "
            "learns. The stop is for z as a *target*."),
        "both views in one batch": (
            _stepped(encode=_one_batch),
            "Both views went through the encoder together, so batch norm mixed their statistics. In the official code "
            "each view passes alone."),
        **update_mistakes(_stepped),
        "the same view twice": (
            _one_view,
            "One view is used twice and the other never: a picture is compared with itself, and nothing has to be "
            "ignored. It is a bug of this lesson's hunt."),
        "the loss after the update": (
            _loss_afterwards,
            "The weights are right, and the number is that of a second look, after the update. Return the loss whose "
            "gradient you followed: a second pass costs time, too."),
        "uphill": (
            _stepped(lambda h, z1, z2: -simsiam_loss(h(z1), h(z2), z1, z2)),
            "The sign is turned: the optimizer descends, so what it gets must be negative_cosine as it is. Yours "
            "drives the views apart."),
        "two steps of the optimizer": (
            _stepped(order="clear backward step step"),
            "The update is twice as large as it should be: optimizer.step() is called twice, or the loss is doubled on "
            "its way to backward()."),
        "the encoder in evaluation mode": (
            _stepped(encode=_in_evaluation),
            "Your encoder normalises by its running statistics (eval()). In training, each batch is normalised by its "
            "own mean and variance."),
        "the predictor in evaluation mode": (
            _with(_without_statistics),
            "Your predictor normalises by its running statistics (eval()). In training, each batch is normalised by "
            "its own mean and variance."),
        "both views through the predictor in one batch": (
            _with(_in_one),
            "Both projections went through the predictor together, so its batch norm mixed the two views' statistics. "
            "Call it once for each view."),
        "projections scaled before the predictor": (
            _with(lambda h, z1, z2: (h(unit(z1)), h(unit(z2)))),
            "z is scaled to length 1 before the predictor sees it. The predictor gets z as it is; the cosine in the "
            "loss does the scaling."),
        "only the encoder's gradients cleared": (
            _clearing(lambda encoder, predictor: encoder),
            "The predictor's gradients are never cleared, so they add up from step to step. `optimizer` holds both "
            "networks: optimizer.zero_grad()."),
        "only the predictor's gradients cleared": (
            _clearing(lambda encoder, predictor: predictor),
            "The encoder's gradients are never cleared, so they add up from step to step. `optimizer` holds both "
            "networks: optimizer.zero_grad()."),
        "the predictor never updated": (
            _predictor_frozen,
            "The encoder's weights are right after the first step, and the predictor's never move: no gradient reaches "
            "them, or it is cleared before optimizer.step()."),
        "the update at the start": (
            _before_first,
            "The optimizer steps before this batch has a gradient, so every update follows the batch before it. The "
            "order is zero_grad, backward, step."),
        "the sign of the returned loss": (
            _negative_returned,
            "The weights are right; the number you return has the wrong sign. Return the loss that you followed."),
    },
    right={"targets of a second pass": _two_passes,
           "cleared after the step": _stepped(order="backward step clear", back=Tensor.detach)},
    hints=("Two projections, two predictions, a loss; then the three lines of every training step. Which of the four "
           "matrices is computed from which?",
           "z1, z2 = encoder(view1), encoder(view2); p1 = predictor(z1). Your simsiam_loss does the stop. Clear the "
           "gradients before backward, and return a number.",
           "z1, z2 = encoder(view1), encoder(view2)\n"
           "p1, p2 = predictor(z1), predictor(z2)\n"
           "loss = simsiam_loss(p1, p2, z1, z2)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)


# ------------------------------------------------------------------------------------------------ 07.target
def _target_probes(generator, dtype):
    def views(a: int, n: int, d: int) -> Tensor:
        centre = randn(generator, dtype, 1, n, d)
        noise = randn(generator, dtype, a, n, d)
        return (centre + noise) * (0.2 + 4 * rand(generator, dtype, a, n, 1))

    return [(views(5, 4, 3),), (views(3, 7, 2),), dict(z=views(4, 5, 6))]


def _nearest_view(z: Tensor) -> Tensor:
    views = unit(z)
    best = (views * views.sum(0)).sum(-1).argmax(0)
    return views[best, torch.arange(z.shape[1])]


def _principal(z: Tensor) -> Tensor:
    """The first right singular vector of each image's views, turned towards their mean."""
    views = unit(z)
    first = torch.linalg.svd(views.transpose(0, 1), full_matrices=False)[2][:, 0]
    return first * (first * views.sum(0)).sum(-1, keepdim=True).sign()


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
            "Average over the views, dim=0."),
        "the first view": (
            lambda z: unit(z[0]),
            "That is what one step of SimSiam has in hand, *one* view's vector, and it is noisy. The best prediction "
            "agrees with all views on average."),
        "the median": (
            lambda z: unit(unit(z).median(0).values),
            "The median of each coordinate minimises absolute differences. The mean cosine is linear in the "
            "prediction, so the *mean* of the unit vectors decides."),
        "the view nearest to the mean": (
            _nearest_view,
            "You picked one of the views, the one nearest to the others. Any unit vector is allowed, and their mean "
            "direction is nearer still."),
        "the principal direction": (
            _principal,
            "The first singular vector maximises the mean *squared* cosine, and knows no sign. For the mean cosine "
            "itself, average the unit vectors."),
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
           "directions = F.normalize(z, dim=-1)\nmean = directions.mean(dim=0)\nreturn F.normalize(mean, dim=-1)"),
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
            "for every D."),
        "divided by the root of D": (
            lambda features: float(unit(features).std(0, correction=0).mean() / features.shape[1] ** 0.5),
            "The value to compare with is 1/sqrt(D), so *multiply* by sqrt(D)."),
        "the spread within an image": (
            lambda features: _number(unit(features).std(1, correction=0).mean(), features.shape[1]),
            "dim=1 is the spread of the numbers of one image: it stays near 1 when all images are alike. Collapse is "
            "seen over images, dim=0."),
        "centred before scaling": (
            lambda features: _number(unit(features - features.mean(0)).std(0, correction=0).mean(), features.shape[1]),
            "Centring first takes the common part away, and that part *is* the collapse: what remains, however small, "
            "is blown up to length 1."),
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
        "the root of the mean variance": (
            lambda features: _number(unit(features).var(0, correction=0).mean().sqrt(), features.shape[1]),
            "You average the variances and take one root at the end. Take the standard deviation of each dimension, "
            "then the mean over dimensions."),
        "one minus the length of the mean": (
            lambda features: float(1 - unit(features).mean(0).norm()),
            "The length of the mean vector also falls as points spread, but this is another meter. Take the standard "
            "deviation in each dimension."),
        "one minus the mean cosine": (
            lambda features: float(1 - (unit(features) @ unit(features).T).mean()),
            "You measure how alike pairs of images are. The meter looks at one dimension at a time: its standard "
            "deviation over the images."),
        "times the root of N": (
            lambda features: _number(unit(features).std(0, correction=0).mean(), features.shape[0]),
            "You multiply by the root of N, the number of images. The value to compare with is 1/sqrt(D), D the number "
            "of dimensions: features.shape[1]."),
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


EXERCISES = [negative, loss, step, meter, target]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("Your SimSiam log shows loss -0.99 after 200 steps and std 0.7. What do you do?", {
        "Celebrate": "The best possible loss so early is a sign of collapse, and a last batch norm holds std up for "
            "a while.",
        "Look at the effective rank": "If it is near 1, all dimensions are copies of one number: look for a missing "
            "stop-gradient or predictor.",
        "Raise the learning rate": "Nothing says that the run is slow.",
    }, "Look at the effective rank"),
    quiz("In the paper's alternating problem, what is the stop-gradient?", {
        "A regulariser": "No term is added to the loss.",
        "Step 2: the targets are held while the network is fitted to them": "In that step they are numbers, not "
            "functions of the weights.",
        "A way to save memory": "It does save some, but that is not why it is there.",
    }, "Step 2: the targets are held while the network is fitted to them"),
    quiz("Which reason does the paper give for not decaying the predictor's learning rate?", {
        "So that it keeps up with targets that go on moving": "A lagging predictor predicts an older network.",
        "Because it has few weights": "Size is not the point.",
        "So that it forgets old images": "It has no memory of images.",
    }, "So that it keeps up with targets that go on moving"),
    quiz("Transfer: a colleague trains SimSiam on sounds; the two views are two clips of one recording. The loss "
         "is -0.98 and all meters are high. What do you check first?", {
        "That the two clips of a pair are not the same clip": "Bug A: identical views leave nothing to ignore. "
            "Recompute the loss on fresh pairs.",
        "The learning rate": "It would not make everything look good.",
        "The number of negatives": "SimSiam has none.",
    }, "That the two clips of a pair are not the same clip"),
]
