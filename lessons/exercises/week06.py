"""Exercises of week 6, BYOL: the loss of one direction, of both, the momentum of a step, and the target's update."""
from __future__ import annotations

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.byol import regression_loss
from lessons.exercises.shared import randn, unit


# ------------------------------------------------------------------------------------------------ 06.regression_loss
def _regression_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    p = draw(6, 4)
    return [(p, draw(6, 4)), (3 * draw(5, 2), 0.2 * draw(5, 2)), dict(prediction=draw(3, 7) + 2, target=draw(3, 7)),
            (2 * p, p)]


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(1).mean()


def _cosine_form(prediction: Tensor, target: Tensor) -> Tensor:
    return 2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=1).mean()


def _inner_products(prediction: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        target = target / target.norm(dim=1, keepdim=True)
    prediction = prediction / prediction.norm(dim=1, keepdim=True)
    return 2 - 2 * torch.einsum("nd,nd->n", prediction, target).mean()


regression = Exercise(
    key="06.regression_loss", title="Predict a direction", minutes=5, difficulty=2,
    reference="course_lib.methods.contrastive.byol:regression_loss", probes=_regression_probes, gradients=True,
    wrong={
        "the target is not a constant": (
            lambda prediction, target: _squares(unit(prediction), unit(target)),
            "The value is right, but the gradient also moves the target towards the prediction: the shortest way "
            "to agree is then to meet in one point. target.detach()."),
        "the prediction is the constant": (
            lambda prediction, target: _squares(unit(prediction.detach()), unit(target)),
            "You cut the gradient on the wrong side: the online network would never learn, and the target is pulled "
            "by the loss. The *target* is the constant."),
        "not scaled to length 1": (
            lambda prediction, target: _squares(prediction, target.detach()),
            "BYOL compares directions: both vectors are divided by their lengths first. Unscaled, shrinking everything "
            "is the cheapest way to a small loss."),
        "only the prediction scaled": (
            lambda prediction, target: _squares(unit(prediction), target.detach()),
            "The target has to be scaled to length 1, too; else its length counts, and the minimum is not 0."),
        "the mean over dimensions": (
            lambda prediction, target: F.mse_loss(unit(prediction), unit(target.detach())),
            "F.mse_loss averages over N *and* D. The squared distance is the sum over D, so yours is D times too small "
            "and 2 - 2 cos no longer holds."),
        "1 - cos": (
            lambda prediction, target: 1 - F.cosine_similarity(prediction, target.detach()).mean(),
            "|a - b|^2 = |a|^2 + |b|^2 - 2 a.b = 2 - 2 cos for unit vectors: yours is half of it."),
        "minus the cosine": (
            lambda prediction, target: -F.cosine_similarity(prediction, target.detach()).mean(),
            "That is SimSiam's way to write it. BYOL's squared distance is 2 - 2 cos: 0 at best, 4 at worst."),
        "scaled along the batch": (
            lambda prediction, target: _squares(unit(prediction, 0), unit(target.detach(), 0)),
            "The length is that of a sample's vector: normalise along dim=1 (or -1). Along dim=0 you scale columns "
            "over "
            "the batch."),
        "the sum over the batch": (
            lambda prediction, target: (unit(prediction) - unit(target.detach())).square().sum(),
            "Sum over dimensions, but *mean* over samples: with the sum, the step length grows with the batch."),
        "the distance, not its square": (
            lambda prediction, target: (unit(prediction) - unit(target.detach())).norm(dim=1).mean(),
            "The *squared* distance: no root. The root's slope also blows up where the two agree."),
    },
    right={"2 - 2 cos": _cosine_form, "inner products, target under no_grad": _inner_products},
    hints=("Two vectors of length 1: what is their squared distance in terms of their cosine?",
           "F.normalize(z, dim=1) scales rows to length 1. Which of the two must not carry a gradient?",
           "return 2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=1).mean()"),
)


# ------------------------------------------------------------------------------------------------ 06.byol_loss
def _byol_probes(generator, dtype):
    def four(n: int, d: int, scale: float = 1.0) -> list[Tensor]:
        return [scale * randn(generator, dtype, n, d) for _ in range(4)]

    return [tuple(four(6, 4)), tuple(four(3, 5, 2.0)), dict(zip(("p1", "p2", "z1", "z2"), four(4, 2)))]


def _no_stop(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    return 4 - 2 * F.cosine_similarity(p1, z2).mean() - 2 * F.cosine_similarity(p2, z1).mean()


def _stacked(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    return 2 * regression_loss(torch.cat([p1, p2]), torch.cat([z2, z1]))


byol = Exercise(
    key="06.byol_loss", title="Each view predicts the other", minutes=4, difficulty=2,
    reference="course_lib.methods.contrastive.byol:byol_loss", probes=_byol_probes, gradients=True,
    wrong={
        "each view predicts itself": (
            lambda p1, p2, z1, z2: regression_loss(p1, z1) + regression_loss(p2, z2),
            "p1 is made of view 1 and z1, too: nothing has to be ignored to predict that. The prediction of one view "
            "is "
            "compared with the target of the *other*: p1 with z2, p2 with z1."),
        "the mean of the two directions": (
            lambda p1, p2, z1, z2: (regression_loss(p1, z2) + regression_loss(p2, z1)) / 2,
            "BYOL adds the two directions (SimSiam averages them): the loss lies between 0 and 8, and the published "
            "learning rates belong to the sum."),
        "one direction only": (
            lambda p1, p2, z1, z2: regression_loss(p1, z2),
            "The second direction is missing: view 2 predicts the target of view 1, regression_loss(p2, z1)."),
        "one direction, doubled": (
            lambda p1, p2, z1, z2: 2 * regression_loss(p1, z2),
            "Twice the same direction is of the right size, but p2 gets no gradient: view 2 has to predict view 1 as "
            "well."),
        "predictions against predictions": (
            lambda p1, p2, z1, z2: regression_loss(p1, p2) + regression_loss(p2, p1),
            "The target network does not occur: each prediction is compared with a *target projection*, z2 or z1."),
        "prediction and target exchanged": (
            lambda p1, p2, z1, z2: regression_loss(p1, z2) + regression_loss(z1, p2),
            "The value is right, but regression_loss takes its second argument as a constant: in one of your terms "
            "that "
            "is the prediction, so half of the gradient is lost and the target gets some."),
        "a gradient into the target": (
            _no_stop,
            "The value is right, but z1 and z2 get a gradient. They are constants: use regression_loss, or detach "
            "them."),
    },
    right={"both directions in one stack": _stacked,
           "cosines": lambda p1, p2, z1, z2: 4 - 2 * sum(F.cosine_similarity(p, z.detach()).mean()
                                                         for p, z in ((p1, z2), (p2, z1)))},
    hints=("Each view has a prediction and a target. Which goes with which?",
           "There are two directions; BYOL's code adds them.",
           "return regression_loss(p1, z2) + regression_loss(p2, z1)"),
)


# ------------------------------------------------------------------------------------------------ 06.momentum_schedule
def _schedule_probes(generator, dtype):
    step = int(torch.randint(30, 70, (1,), generator=generator))
    return [(0.99, 0, 100), (0.99, step, 100), (0.9, 100, 100), (0.5, 3 * step, 400), (0.996, 7, 8),
            dict(base=0.97, step=130, total=100), (0.0, step, 300)]


def _done(step: int, total: int) -> float:
    return min(1.0, step / total)


def _half_cosine(x: float) -> float:
    return (1 + math.cos(math.pi * x)) / 2


schedule = Exercise(
    key="06.momentum_schedule", title="A target that slows down", minutes=6, difficulty=2,
    reference="course_lib.optim:ema_momentum", probes=_schedule_probes,
    wrong={
        "from 1 down to the base": (
            lambda base, step, total: 1 - (1 - base) * (1 - _half_cosine(_done(step, total))),
            "Yours starts at 1 and ends at the base: the target stands still while there is most to learn. It is to be "
            "`base` at step 0 and 1 at the end; cos(0) = 1."),
        "the learning rate's cosine": (
            lambda base, step, total: base * _half_cosine(_done(step, total)),
            "That decays to 0, as a learning rate does. With momentum 0 the target *is* the online network. What "
            "decays "
            "here is 1 - m, from 1 - base to 0."),
        "a quarter of the circle": (
            lambda base, step, total: 1 - (1 - base) * math.cos(math.pi / 2 * _done(step, total)),
            "Ends are right, the way is not: the code uses (1 + cos(pi k / K)) / 2, flat at both ends, not cos(pi k / "
            "2K)."),
        "a straight line": (
            lambda base, step, total: base + (1 - base) * _done(step, total),
            "Both ends are right, but it is a line. 1 - m follows half a cosine: slow, fast, slow."),
        "not halved": (
            lambda base, step, total: 1 - (1 - base) * (1 + math.cos(math.pi * _done(step, total))),
            "1 + cos runs from 2 to 0: divide by 2, or the momentum starts at 2 base - 1, even below 0."),
        "it turns back after the end": (
            lambda base, step, total: 1 - (1 - base) * _half_cosine(step / total),
            "Beyond `total` the cosine comes back and the target starts to chase again. Stop at the end: min(step, "
            "total)."),
        "counted in whole rounds": (
            lambda base, step, total: 1 - (1 - base) * _half_cosine(min(1, step // total)),
            "step // total is 0 until the very end: the momentum stays at its base and then jumps to 1. (The bug that "
            "counts epochs looks alike: a staircase.) Use step / total."),
        "pi is missing": (
            lambda base, step, total: 1 - (1 - base) * (1 + math.cos(_done(step, total))) / 2,
            "cos takes radians: half a turn is pi. Yours never gets to 1."),
    },
    right={"a sine": lambda base, step, total: base + (1 - base) * math.sin(math.pi / 2 * _done(step, total)) ** 2,
           "in torch": lambda base, step, total: 1 - (1 - base) * 0.5 * (1 + torch.cos(
               torch.tensor(math.pi * _done(step, total), dtype=torch.float64))),
           "written out": lambda base, step, total: 1 - 0.5 * (1 - base) - 0.5 * (1 - base) * math.cos(
               math.pi * min(step, total) / total)},
    hints=("What are m at step 0 and at the last step? Think of 1 - m: it goes from 1 - base to 0.",
           "(1 + math.cos(math.pi * k / K)) / 2 goes from 1 to 0 along half a cosine. And beyond K?",
           "return 1 - (1 - base) * (1 + math.cos(math.pi * min(step, total) / total)) / 2"),
)


# ------------------------------------------------------------------------------------------------ 06.update
def _update_probes(generator, dtype):
    def network(seed: int, frozen: bool) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False)).to(dtype)
            net(torch.randn(8, 3, dtype=dtype) + seed % 5)  # running statistics of its own
        return net.requires_grad_(not frozen)

    seeds = torch.randint(2**30, (2,), generator=generator).tolist()
    return [(network(seeds[0], True), network(seeds[1], False), 0.9),
            (network(seeds[0], False), network(seeds[1], False), 0.7),
            dict(target=network(seeds[1], True), online=network(seeds[0], False), momentum=0.25)]


def _state(net: nn.Module) -> dict:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def _two_updates(fn, target: nn.Module, online: nn.Module, momentum: float):
    """The harness: one update, the online network takes a step, another update; what both networks hold then."""
    trainable, returned = [p.requires_grad for p in target.parameters()], fn(target, online, momentum)
    if returned is None or returned is Ellipsis:
        return returned
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(1.0)
    fn(target, online, momentum)
    return {"target": _state(target), "online": _state(online), "target returned": returned is target,
            "trainable as before": trainable == [p.requires_grad for p in target.parameters()],
            "in the graph": [p.grad_fn is not None for p in target.parameters()]}


def _pairs(target: nn.Module, online: nn.Module):
    return zip(target.parameters(), online.parameters())


@torch.no_grad()
def _swapped(target, online, momentum):
    for t, o in _pairs(target, online):
        t.mul_(1 - momentum).add_(o, alpha=momentum)
    return target


@torch.no_grad()
def _everything(target, online, momentum):
    for t, o in zip(target.state_dict().values(), online.state_dict().values()):
        if t.is_floating_point():
            t.lerp_(o, 1 - momentum)
    return target


@torch.no_grad()
def _buffers_copied(target, online, momentum):
    for t, o in _pairs(target, online):
        t.lerp_(o, 1 - momentum)
    for t, o in zip(target.buffers(), online.buffers()):
        t.copy_(o)
    return target


@torch.no_grad()
def _rebound(target, online, momentum):
    for t, o in _pairs(target, online):
        t = momentum * t + (1 - momentum) * o
    return target


@torch.no_grad()
def _trainable_only(target, online, momentum):
    for t, o in _pairs(target, online):
        if t.requires_grad:
            t.lerp_(o, 1 - momentum)
    return target


@torch.no_grad()
def _wrong_network(target, online, momentum):
    for t, o in _pairs(target, online):
        o.lerp_(t, 1 - momentum)
    return target


@torch.no_grad()
def _copied(target, online, momentum):
    for t, o in _pairs(target, online):
        t.copy_(o)
    return target


def _in_the_graph(target, online, momentum):
    for t, o in _pairs(target, online):
        t.mul_(momentum).add_(o * (1 - momentum))
    return target


@torch.no_grad()
def _matrices_only(target, online, momentum):
    for t, o in _pairs(target, online):
        if t.ndim > 1:
            t.lerp_(o, 1 - momentum)
    return target


def _through_data(target, online, momentum):
    for t, o in _pairs(target, online):
        t.data = momentum * t.data + (1 - momentum) * o.data
    return target


@torch.no_grad()
def _by_name(target, online, momentum):
    theirs = dict(online.named_parameters())
    for name, t in target.named_parameters():
        t -= (1 - momentum) * (t - theirs[name])
    return target


@torch.no_grad()
def _loaded(target, online, momentum):
    state = copy.deepcopy(target.state_dict())
    for name, parameter in online.named_parameters():
        state[name] = momentum * state[name] + (1 - momentum) * parameter
    target.load_state_dict(state)
    return target


update = Exercise(
    key="06.update", title="Let the target follow", minutes=8, difficulty=3,
    reference="course_lib.models.teacher:ema_update", probes=_update_probes, call=_two_updates,
    wrong={
        "the weights exchanged": (
            _swapped,
            "Yours keeps 1 - momentum of the target: at 0.99 it is replaced nearly whole at each step. The *momentum* "
            "is "
            "what stays: m * target + (1 - m) * online."),
        "buffers averaged, too": (
            _everything,
            "The running mean and variance of batch norm moved as well (a state_dict holds buffers, too). In the "
            "official "
            "code only parameters are averaged; the target collects statistics of its own. Walk through "
            ".parameters()."),
        "buffers copied": (
            _buffers_copied,
            "The parameters are right, but you overwrite the target's batch-norm statistics by those of the online "
            "network. Leave buffers alone: the target has its own."),
        "a new name instead of a new value": (
            _rebound,
            "`t = ...` only gives the name t to a new tensor; the network keeps the old one, and the target never "
            "moves. "
            "Write into the parameter: t.lerp_(o, 1 - m), t.copy_(...), t.mul_(m).add_(...)."),
        "only what is trained": (
            _trainable_only,
            "The target's parameters have requires_grad=False (no optimizer may touch them), so your condition skips "
            "them "
            "all and the target never moves. Go through every parameter."),
        "the online network is moved": (
            _wrong_network,
            "You wrote into the online network. It is trained by the loss; the *target* follows it."),
        "the target is a copy": (
            _copied,
            "The target is replaced by the online network: that is momentum 0, whatever you are given."),
        "the update is part of the graph": (
            _in_the_graph,
            "The target now carries the history of every update (memory grows until it is full), or torch refuses to "
            "change "
            "a trained leaf in place. An update is no part of the loss: with torch.no_grad()."),
        "vectors left out": (
            _matrices_only,
            "Biases and batch norm's weights are parameters as well. (Leaving them out is a rule of LARS and of weight "
            "decay.)"),
    },
    right={"through .data": _through_data, "by name, as a difference": _by_name, "a state dict, loaded": _loaded},
    hints=("zip(target.parameters(), online.parameters()) walks through both networks. What must not be in the graph?",
           "with torch.no_grad(): change each t *in place*, e.g. t.mul_(momentum). Buffers are not parameters.",
           "with torch.no_grad():\n"
           "    for t, o in zip(target.parameters(), online.parameters()):\n"
           "        t.mul_(momentum).add_(o, alpha=1 - momentum)\n"
           "return target"),
)


EXERCISES = [regression, byol, schedule, update]
