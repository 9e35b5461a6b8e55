"""Exercises of week 6, BYOL: the loss of one direction, the target's update, a whole step, and what an update did."""
from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.byol import regression_loss
from course_lib.models.teacher import ema_update
from lessons.exercises.shared import (
    BASIC,
    blank,
    descend,
    descend_by_name,
    has_gradient,
    randn,
    small_network,
    steps,
    unit,
    update_mistakes,
    weights_of,
)


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
            (network(seeds[1], False), network(seeds[0], True), 0.4),  # a frozen online network counts as well
            dict(target=network(seeds[1], True), online=network(seeds[0], False), momentum=0.25)]


def _state(net: nn.Module) -> dict:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def _two_updates(fn, target: nn.Module, online: nn.Module, momentum: float):
    """The harness: one update, the online network takes a step, another update; what both networks hold then."""
    trainable, returned = [p.requires_grad for p in target.parameters()], fn(target, online, momentum)
    if blank(returned):
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


@torch.no_grad()
def _skips_frozen(target, online, momentum):
    for t, o in _pairs(target, online):
        if o.requires_grad:
            t.lerp_(o, 1 - momentum)
    return target


@torch.no_grad()
def _another_module(target, online, momentum):
    moved = copy.deepcopy(target)
    for t, o in _pairs(moved, online):
        t.lerp_(o, 1 - momentum)
    return moved


@torch.no_grad()
def _fixed_momentum(target, online, momentum):
    for t, o in _pairs(target, online):
        t.lerp_(o, 0.01)
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
        "frozen weights of the online network skipped": (
            _skips_frozen,
            "A weight of the online network with requires_grad=False is skipped by your condition. The target follows "
            "every parameter, whether it is trained at present or not."),
        "a copy is moved": (
            _another_module,
            "You moved a copy and returned it; the network that you were given stands still, and whoever holds it "
            "(the training loop does) never sees the update. Write into `target` itself."),
        "0.99 whatever is given": (
            _fixed_momentum,
            "Your target keeps 0.99 of itself at every momentum: use the argument `momentum`."),
    },
    right={"through .data": _through_data, "by name, as a difference": _by_name, "a state dict, loaded": _loaded},
    hints=("zip(target.parameters(), online.parameters()) walks through both networks. What must not be in the graph?",
           "with torch.no_grad(): change each t *in place*, e.g. t.mul_(momentum). Buffers are not parameters.",
           "with torch.no_grad():\n"
           "    for t, o in zip(target.parameters(), online.parameters()):\n"
           "        t.mul_(momentum).add_(o, alpha=1 - momentum)\n"
           "return target"),
)


# ------------------------------------------------------------------------------------------------ 06.byol_step
def byol_step(online: nn.Module, predictor: nn.Module, target: nn.Module, optimizer: torch.optim.Optimizer,
              view1: Tensor, view2: Tensor, momentum: float) -> float:
    """One training step of BYOL; -> the loss, both directions added. The target moves after the optimizer has."""
    p1, p2 = predictor(online(view1)), predictor(online(view2))
    with torch.no_grad():
        z1, z2 = target(view1), target(view2)
    loss = regression_loss(p1, z2) + regression_loss(p2, z1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema_update(target, online, momentum)
    return loss.item()


def _step_probes(generator, dtype):
    seeds = torch.randint(2**30, (6,), generator=generator).tolist()
    draw = partial(randn, generator, dtype)
    turned = draw(3, 5, 3)  # views that are the same rows in another order
    return [(small_network(seeds[0], dtype, 4, 6, 3), small_network(seeds[1], dtype, 3, 5, 3),
             small_network(seeds[2], dtype, 4, 6, 3), draw(3, 2, 7, 4), 0.7),
            (small_network(seeds[4], dtype, 3, 4, 2), small_network(seeds[2], dtype, 2, 6, 2),
             small_network(seeds[1], dtype, 3, 4, 2), torch.stack([turned, turned.roll(2, 1)], dim=1), 0.4),
            (small_network(seeds[3], dtype, 3, 5, 2), small_network(seeds[4], dtype, 2, 4, 2),
             small_network(seeds[5], dtype, 3, 5, 2), draw(3, 2, 6, 3), 0.25)]


def _three_steps(step, online: nn.Module, predictor: nn.Module, target: nn.Module, views: Tensor, momentum: float):
    """The harness: three steps with gradient descent over online network and predictor; what all hold then."""
    optimizer = torch.optim.SGD([*online.parameters(), *predictor.parameters()], lr=0.3)
    found = steps(step, [(online, predictor, target, optimizer, *pair, momentum) for pair in views])
    if blank(found):
        return found
    # which view passes first is free, and shows in running statistics unless both views hold the same rows
    rows = views.sort(dim=2).values
    statistics = [b.detach().clone() for b in target.buffers()] if torch.equal(rows[:, 0], rows[:, 1]) else []
    return {**found, "online": weights_of(online), "predictor": weights_of(predictor), "target": weights_of(target),
            "statistics": statistics, "gradient in the target": has_gradient(target)}


def _four(online, predictor, target, view1, view2):
    """p1, p2, z1, z2."""
    p1, p2 = predictor(online(view1)), predictor(online(view2))
    with torch.no_grad():
        return p1, p2, target(view1), target(view2)


def _crossed(p1, p2, z1, z2):
    return regression_loss(p1, z2) + regression_loss(p2, z1)


def _with(loss=_crossed, outputs=_four, order="clear backward step follow", back=Tensor.item):
    """A step with one thing changed. loss: p1, p2, z1, z2 -> scalar; outputs: networks and views -> those four."""
    def step(online, predictor, target, optimizer, view1, view2, momentum):
        return descend(loss(*outputs(online, predictor, target, view1, view2)), optimizer, order, back,
                      follow=lambda: ema_update(target, online, momentum))

    return step


def _predictor_twice(online, predictor, target, view1, view2):
    p1, p2, z1, z2 = _four(online, predictor, target, view1, view2)
    with torch.no_grad():
        return p1, p2, predictor(z1), predictor(z2)


def _no_target(online, predictor, target, view1, view2):
    a, b = online(view1), online(view2)
    return predictor(a), predictor(b), a, b


def _with_graph(online, predictor, target, view1, view2):
    return predictor(online(view1)), predictor(online(view2)), target(view1), target(view2)


def _together(online, predictor, target, view1, view2):
    both = torch.cat([view1, view2])
    return *predictor(online(both)).chunk(2), *target(both).detach().chunk(2)


def _evaluated_target(online, predictor, target, optimizer, view1, view2, momentum):
    target.eval()
    loss = byol_step(online, predictor, target, optimizer, view1, view2, momentum)
    target.train()
    return loss


def _momentum_unused(online, predictor, target, optimizer, view1, view2, momentum):
    return byol_step(online, predictor, target, optimizer, view1, view2, 0.99)


def _asked_for(online, predictor, target, optimizer, view1, view2, momentum):
    """A right answer: gradients by name, targets detached, momentum written out."""
    p = [predictor(online(view)) for view in (view1, view2)]
    z = [target(view).detach() for view in (view2, view1)]
    loss = sum(2 - 2 * F.cosine_similarity(a, b).mean() for a, b in zip(p, z))
    descend_by_name(loss, optimizer, online, predictor)
    with torch.no_grad():
        for t, o in _pairs(target, online):
            t.copy_(momentum * t + (1 - momentum) * o)
    return loss.detach()


step = Exercise(
    key="06.byol_step", title="One step of BYOL", minutes=12, difficulty=3,
    reference=byol_step, probes=_step_probes, call=_three_steps, tolerance=1e-3,
    words={"['losses']": "the returned losses", "['online']": "the online network's weights after three steps",
           "['predictor']": "the predictor's weights after three steps",
           "['target']": "the target's weights after three steps",
           "['statistics']": "the running statistics of the target's batch norm",
           "['keeps its graph']": "whether the returned loss keeps its graph",
           "['gradient in the target']": "whether the target got a gradient"},
    wrong={
        "each view predicts itself": (
            _with(lambda p1, p2, z1, z2: _crossed(p1, p2, z2, z1)),
            "p1 is made of view 1 and z1, too: nothing has to be ignored to predict that. The prediction of one view "
            "goes with the target of the *other*: p1 with z2, p2 with z1."),
        "one direction only": (
            _with(lambda p1, p2, z1, z2: regression_loss(p1, z2)),
            "The second direction is missing: view 2 predicts the target of view 1 as well."),
        "the mean of the two directions": (
            _with(lambda *four: _crossed(*four) / 2),
            "BYOL adds the two directions (SimSiam averages them): the loss is between 0 and 8, and published learning "
            "rates belong to the sum."),
        "the target moves before the optimizer": (
            _with(order="follow clear backward step"),
            "You moved the target first, so it follows the online network of the step before. The optimizer's step "
            "comes first, then the update."),
        "the target never moves": (
            _with(order="clear backward step"),
            "The loss falls and nothing complains, but the target is what it was: call update(target, online, m) "
            "after the optimizer's step. This is one of the bugs that you will hunt later."),
        "a predictor behind the target": (
            _with(outputs=_predictor_twice),
            "The target has no predictor: its projection is what is predicted. With one on both sides the asymmetry is "
            "gone, and with it what keeps BYOL from collapse."),
        "no predictor": (
            _with(outputs=lambda online, predictor, *rest: _four(online, nn.Identity(), *rest)),
            "The online output goes through the predictor before it is compared: predictor(online(view1))."),
        "the online network as its own target": (
            _with(outputs=_no_target),
            "What is predicted comes from `target`, the slow network, not from `online`. (With a predictor and a stop "
            "of the gradient that is SimSiam, next week.)"),
        "a gradient into the target": (
            _with(lambda p1, p2, z1, z2: _squares(unit(p1), unit(z2)) + _squares(unit(p2), unit(z1)), _with_graph),
            "The weights are right, but the target got gradients: an optimizer that held it would move it. Compute its "
            "output with torch.no_grad(), or use regression_loss, which detaches it."),
        "both views in one batch": (
            _with(outputs=_together),
            "Both views went through the networks together, so batch norm mixed their statistics. In the official code "
            "each view passes by itself."),
        **update_mistakes(_with, BASIC, after="follow"),
        "two steps of the optimizer": (
            _with(order="clear backward step step follow"),
            "optimizer.step() is called twice: the same gradient is followed two times."),
        "the target in evaluation mode": (
            _evaluated_target,
            "Your target normalises by its running statistics (eval()). In BYOL it is in training mode, like the "
            "online network: each batch by its own mean and variance, and its running statistics follow."),
        "the arguments of the loss swapped": (
            _with(lambda p1, p2, z1, z2: _crossed(z1, z2, p1, p2), _with_graph),
            "regression_loss(prediction, target): you gave the target's output first. Then the prediction is the "
            "constant, and the gradient goes into the target."),
        "0.99 whatever is given": (
            _momentum_unused,
            "Your target keeps 0.99 of itself at every momentum: pass the argument `momentum` on."),
    },
    right={"gradients by name": _asked_for,
           "cleared after the step": _with(order="backward step follow clear", back=Tensor.detach)},
    hints=("Two predictions, two targets, a loss; then the three lines of every training step; and one more line.",
           "p1 = predictor(online(view1)) goes with z2 = target(view2), p2 with z1. The update comes last.",
           "p1, p2 = predictor(online(view1)), predictor(online(view2))\n"
           "with torch.no_grad():\n"
           "    z1, z2 = target(view1), target(view2)\n"
           "loss = regression_loss(p1, z2) + regression_loss(p2, z1)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "update(target, online, momentum)\n"
           "return loss.item()"),
)


# ------------------------------------------------------------------------------------------------ 06.diagnose
def diagnose(online: Tensor, before: Tensor, after: Tensor) -> dict[str, float]:
    """Flat weights (P,) -> how far the target went towards the online network, and which share it went elsewhere.

    pull: the number for which before + pull * (online - before) is nearest to `after`; 1 - m of an honest average.
    stray: what is left of the movement, over the whole movement; 0 where the target has not moved.
    """
    gap, moved = online - before, after - before
    pull = (moved @ gap) / (gap @ gap)
    stray = moved - pull * gap
    return {"pull": float(pull), "stray": float(stray.norm() / moved.norm()) if moved.any() else 0.0}


def _diagnose_probes(generator, dtype):
    def three(n: int, pull: float, stray: float) -> tuple[Tensor, Tensor, Tensor]:
        online, before, noise = (randn(generator, dtype, n) for _ in range(3))
        return online, before, before + pull * (online - before) + stray * noise

    still = three(5, 0.0, 0.0)
    tiny = tuple(1e-6 * vector for vector in three(8, 0.3, 0.2))  # small weights move a little: that is no standstill
    start = randn(generator, dtype, 4).mul(4).round()
    ways = torch.eye(4, dtype=dtype)
    across = start + 2 * ways[0], start, start + ways[1]  # a pull of exactly 0, and all of the movement stray
    return [three(7, 0.1, 0.0), three(11, 0.3, 0.2), three(6, -0.4, 0.5), still, tiny, across,
            dict(zip(("online", "before", "after"), three(9, 0.02, 0.1)))]


def _as_floats(result):
    """Numbers and tensors of one element alike."""
    if not isinstance(result, dict):
        return result
    return {key: float(v) if isinstance(v, (int, float, Tensor)) else v for key, v in result.items()}


def _found(online: Tensor, before: Tensor, after: Tensor, pull, over=None) -> dict[str, float]:
    moved = after - before
    stray = moved - pull * (online - before)
    return {"pull": float(pull), "stray": float(stray.norm() / (moved.norm() if over is None else over))
            if moved.any() else 0.0}


def _best(online: Tensor, before: Tensor, after: Tensor) -> Tensor:
    gap = online - before
    return (after - before) @ gap / (gap @ gap)


def _lengths(online, before, after):
    return _found(online, before, after, (after - before).norm() / (online - before).norm())


def _gap_after(online, before, after):
    moved, gap = after - before, online - after
    pull = moved @ gap / (gap @ gap)
    return {"pull": float(pull), "stray": float((moved - pull * gap).norm() / moved.norm()) if moved.any() else 0.0}


def _not_squared(online, before, after):
    gap = online - before
    return _found(online, before, after, (after - before) @ gap / gap.norm())


def _kept(online, before, after):
    right = diagnose(online, before, after)
    return {**right, "pull": 1 - right["pull"]}


def _angle(online, before, after):
    return _found(online, before, after, F.cosine_similarity(after - before, online - before, dim=0))


def _absolute(online, before, after):
    return _found(online, before, after, _best(online, before, after), over=1.0)


def _over_gap(online, before, after):
    return _found(online, before, after, _best(online, before, after), over=(online - before).norm())


def _no_guard(online, before, after):
    moved, pull = after - before, _best(online, before, after)
    return {"pull": float(pull), "stray": float((moved - pull * (online - before)).norm() / moved.norm())}


def _if_pulled(online, before, after):
    right = diagnose(online, before, after)
    return {**right, "stray": right["stray"] if right["pull"] else 0.0}


def _if_not_small(online, before, after):
    right = diagnose(online, before, after)
    return {**right, "stray": right["stray"] if (after - before).norm() > 1e-4 else 0.0}


def _ratios(online, before, after):
    return _found(online, before, after, ((after - before) / (online - before)).mean())


def _least_squares(online, before, after):
    pull = torch.linalg.lstsq((online - before)[:, None], (after - before)[:, None]).solution.squeeze()
    return _found(online, before, after, pull)


def _pythagoras(online, before, after):
    right, moved = diagnose(online, before, after), after - before
    along = right["pull"] * (online - before).norm()
    share = 1 - along**2 / (moved @ moved).clamp_min(1e-30)
    return {**right, "stray": share.clamp_min(0).sqrt() if moved.any() else 0.0}


reading = Exercise(
    key="06.diagnose", title="Read an update off the weights", minutes=8, difficulty=3,
    reference=diagnose, probes=_diagnose_probes, call=lambda fn, *a, **k: _as_floats(fn(*a, **k)), tolerance=2e-3,
    words={"['pull']": "the pull", "['stray']": "the stray part"},
    wrong={
        "a ratio of lengths": (
            _lengths,
            "You divided the length of the movement by the length of the gap: that is positive whatever the direction, "
            "also when the target runs away. Project: moved @ gap / (gap @ gap)."),
        "the gap that is left": (
            _gap_after,
            "Your gap is measured from where the target is *now*. The moving average pulled it from where it was "
            "before: gap = online - before."),
        "divided by the length, not its square": (
            _not_squared,
            "moved @ gap / gap.norm() is a length; the pull is a share of the gap: divide by gap @ gap."),
        "the momentum, not the pull": (
            _kept,
            "You return m. The pull is what the target took over from the online network, 1 - m."),
        "the cosine": (
            _angle,
            "The cosine tells the direction only: 1 for each honest moving average, whatever m. Divide by gap @ gap "
            "instead of both lengths."),
        "the stray part as a length": (
            _absolute,
            "The stray part is a share: divide by moved.norm(), or it depends on the size of the weights."),
        "the stray part over the gap": (
            _over_gap,
            "You divided by the length of the gap: with a momentum near 1 every movement is small beside it and looks "
            "honest. Divide by the length of the movement."),
        "0 / 0 where the target stood still": (
            _no_guard,
            "A target that did not move gives 0 / 0 = nan. Its stray part is 0."),
        "no pull, so nothing stray": (
            _if_pulled,
            "A target can move without coming nearer (at a right angle to the gap): pull 0, stray 1. The special case "
            "is a target that has not *moved*."),
        "a small movement is none": (
            _if_not_small,
            "Weights of size 1e-6 move by as little: a fixed threshold calls that standing still. Ask whether anything "
            "moved at all: moved.any()."),
        "the mean of the ratios": (
            _ratios,
            "Weights with a gap near 0 dominate a mean of ratios. The pull of all weights together is moved @ gap / "
            "(gap @ gap)."),
    },
    right={"least squares": _least_squares, "Pythagoras": _pythagoras},
    hints=("Two arrows start at `before`: to the online network (gap) and to `after` (moved). An honest average moves "
           "along the gap. How far, and what is left over?",
           "The best a in moved = a * gap is moved @ gap / (gap @ gap); the rest is moved - a * gap. What if nothing "
           "moved?",
           "gap, moved = online - before, after - before\n"
           "pull = moved @ gap / (gap @ gap)\n"
           "stray = moved - pull * gap\n"
           'return {"pull": float(pull), "stray": float(stray.norm() / moved.norm()) if moved.any() else 0.0}'),
)


EXERCISES = [regression, update, step, reading]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("All images get the same vector from both networks. What is BYOL's loss, and what is its gradient?", {
        "0, and no gradient": "A fixed point: prediction and target agree, nothing pulls anywhere. That training does "
            "not arrive there is a matter of its path, not of the loss.",
        "4, since they are not spread": "Nothing in this loss asks for spread: equal vectors have cosine 1.",
        "0, but the predictor pushes away": "The predictor is trained to agree, too.",
    }, "0, and no gradient"),
    quiz("You train for 300 steps and set the momentum to 0.999, since 'larger is better'. What do you get?", {
        "The best features": "The target keeps about three quarters of its random start (0.999 to the power of 300).",
        "Nearly the frozen teacher of part 1": "0.999 to the power of 300 is about 0.74: the target has hardly left "
            "its random start.",
        "Collapse": "A slow target makes collapse slower, if anything.",
    }, "Nearly the frozen teacher of part 1"),
    quiz("A checkpoint stores backbone, projector, predictor and optimizer, but not the target. What happens on "
         "resume?", {
        "Nothing, the target is an average of the online network": "An average over *past* networks, which are gone.",
        "The target restarts as a copy, or at random": "Either way it is another run: for about 1 / (1 - m) steps the "
            "target is not what it would have been.",
        "An error": "Only if somebody checks.",
    }, "The target restarts as a copy, or at random"),
    quiz("Transfer: in a speech model the two 'views' are the same clip with and without background music. BYOL "
         "trains well. What does its loss not ask the network to keep?", {
        "The speaker": "Both views share the speaker: it can be predicted.",
        "The music": "It is in one view only: the other cannot predict it, so nothing asks for it.",
        "The words": "Both views share them.",
    }, "The music"),
]
