"""Exercises of week 4, SimCLR: the loss, its gradient, one training step, how the game stands, and soft labels."""
from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.simclr import nt_xent as loss_of
from course_lib.methods.contrastive.simclr import partners
from lessons.exercises.shared import (
    BASIC,
    blank,
    descend,
    descend_by_name,
    directions,
    numbers,
    rand,
    randn,
    seeded,
    small_network,
    steps,
    unit,
    update_mistakes,
    weights_of,
)


# ------------------------------------------------------------------------------------------------ 04.nt_xent
def _nt_xent_probes(generator, dtype):
    def pair(n, d, apart=1.0):
        a = randn(generator, dtype, n, d)
        return a, a + apart * randn(generator, dtype, n, d)

    first, second = pair(5, 3)
    # lengths far from 1, a small batch, and a temperature at which exp overflows in float32
    return [pair(4, 6), (3 * first, 0.5 * second, 0.5), (*pair(2, 7, 0.3), 1.0), (*pair(6, 4, 0.5), 0.01),
            dict(zip(("a", "b", "temperature"), (*pair(3, 5), 0.2)))]


def _call(function, *arguments, **keywords):
    """The accuracy as a number: it carries no gradient, so its dtype is the learner's affair."""
    out = function(*arguments, **keywords)
    if isinstance(out, dict) and isinstance(out.get("accuracy"), Tensor) and out["accuracy"].ndim == 0:
        out = {**out, "accuracy": float(out["accuracy"].detach())}
    return out


def _anchors(a, b, temperature, normalise=True, keep=None):
    """(logits without what is masked, partner)"""
    z = torch.cat([a, b])
    z = unit(z) if normalise else z
    who, others = partners(len(a))
    logits = z @ z.T / temperature
    return logits.masked_fill(~(others if keep is None else keep(others, who)), -torch.inf), who


def _result(logits, who, loss=None):
    return {"loss": F.cross_entropy(logits, who) if loss is None else loss(logits, who),
            "accuracy": (logits.argmax(1) == who).to(logits.dtype).mean()}


def _nt(loss=None, normalise=True, who=None, keep=None):
    def nt_xent(a, b, temperature=0.1):
        logits, partner = _anchors(a, b, temperature, normalise, keep)
        return _result(logits, partner if who is None else who(partner), loss)
    return nt_xent


def _only_across(a, b, temperature=0.1):
    logits = unit(a) @ unit(b).T / temperature
    who = torch.arange(len(a))
    sides = [_result(logits, who), _result(logits.T, who)]
    return {name: (sides[0][name] + sides[1][name]) / 2 for name in ("loss", "accuracy")}


def _multiplied(a, b, temperature=0.1):
    z = unit(torch.cat([a, b]))
    who, others = partners(len(a))
    return _result(z @ z.T / temperature * others, who)


def _bare_exp(a, b, temperature=0.1):
    z = unit(torch.cat([a, b]))
    who, others = partners(len(a))
    terms = (z @ z.T / temperature).exp()
    loss = -(terms.gather(1, who[:, None])[:, 0] / (terms * others).sum(1)).log().mean()
    return {"loss": loss, "accuracy": ((terms * others).argmax(1) == who).to(z.dtype).mean()}


def _half(a, b, temperature=0.1):
    logits, who = _anchors(a, b, temperature)
    return _result(logits[: len(a)], who[: len(a)])


def _log_of_mean(logits, who):
    return -logits.softmax(1).gather(1, who[:, None]).mean().log()


def _no_positive(logits, who):
    rest = logits.scatter(1, who[:, None], -torch.inf)
    return (rest.logsumexp(1) - logits.gather(1, who[:, None])[:, 0]).mean()


def _other_accuracy(hits):
    """The right loss; hits: (logits, the same with their diagonal, partner) -> what is averaged for the accuracy."""
    def nt_xent(a, b, temperature=0.1):
        logits, who = _anchors(a, b, temperature)
        bare = _anchors(a, b, temperature, keep=lambda others, who: others | True)[0]
        return {**_result(logits, who), "accuracy": hits(logits, bare, who).to(logits.dtype).mean()}
    return nt_xent


def _diagonal_at(value):
    def nt_xent(a, b, temperature=0.1):
        logits, who = _anchors(a, b, temperature)
        return _result(torch.where(logits == -torch.inf, value, logits), who)
    return nt_xent


nt_xent = Exercise(
    key="04.nt_xent", title="NT-Xent, the whole loss", minutes=12, difficulty=3,
    reference="course_lib.methods.contrastive.simclr:nt_xent", probes=_nt_xent_probes, gradients=True, tolerance=1e-4,
    call=_call,
    wrong={
        "the anchor compared with itself": (
            _nt(keep=lambda others, who: others | True),
            "Each anchor is most similar to itself: 1 / temperature stands in every sum, and is ranked first. Fill the "
            "diagonal of the logits with -inf before anything else."),
        "the anchor multiplied by zero": (
            _multiplied,
            "A logit of 0 is not absent: exp(0) = 1 stays in the sum. Mask with -inf, whose exponential is 0."),
        "exp overflows": (
            _bare_exp,
            "exp(1 / 0.01) is infinite in float32, and infinity over infinity is NaN. Give the logits to "
            "F.cross_entropy, or "
            "use logsumexp: both subtract the largest first."),
        "the positive missing below the fraction": (
            _nt(_no_positive),
            "The sum runs over all j other than i, the partner included. Without it the loss has no lower bound (that "
            "is "
            "a method of its own, decoupled contrastive learning)."),
        "neighbours in the list as partners": (
            _nt(who=lambda who: torch.arange(len(who)) ^ 1),
            "After torch.cat([a, b]) the partner of row i is i + N, not its neighbour. This bug was shipped."),
        "the next row as partner": (
            _nt(who=lambda who: torch.arange(len(who)).roll(-1)),
            "You take the next row for the partner. After torch.cat([a, b]) the partner of row i is i + N, and from 2N "
            "on it starts again: roll by N, not by 1."),
        "accuracy before the diagonal is masked": (
            _other_accuracy(lambda logits, bare, who: bare.argmax(1) == who),
            "The loss is right. The accuracy is taken from logits that still have their diagonal, where each anchor "
            "finds itself. Mask first, then take the argmax."),
        "accuracy of the first views": (
            _other_accuracy(lambda logits, bare, who: (logits.argmax(1) == who)[:len(who) // 2]),
            "The loss is right. The accuracy counts the first views only; all 2N are anchors."),
        "the probability for the accuracy": (
            _other_accuracy(lambda logits, bare, who: logits.softmax(1)[torch.arange(len(who)), who]),
            "The loss is right. Your accuracy is the partner's mean probability; asked is how often it is the *most* "
            "similar: argmax."),
        "the diagonal at -1": (
            _diagonal_at(-1.0),
            "-1 on the diagonal is a logit like any other, and exp(-1) stays in the sum. Mask with -inf, whose "
            "exponential is 0."),
        "the logarithm of the mean": (
            _nt(_log_of_mean),
            "Take -log for each anchor and then the mean. The logarithm of the mean probability hardly sees the "
            "anchors that fail."),
        "only the other side's views": (
            _only_across,
            "a @ b.T compares each view with the *other* views only: N candidates. NT-Xent takes all 2N - 1, those of "
            "the "
            "same side too: concatenate first."),
        "only the first views as anchors": (
            _half, "All 2N views are anchors: the mean is over 2N rows."),
        "the sum of the two directions": (
            lambda a, b, temperature=0.1: {name: value * (2 if name == "loss" else 1)
                                           for name, value in _nt()(a, b, temperature).items()},
            "Twice the paper's loss: the official code adds the directions a -> b and b -> a, the paper averages over "
            "2N "
            "anchors. We follow the paper; the floor is then log(2N - 1)."),
        "the sum over anchors": (
            _nt(lambda logits, who: F.cross_entropy(logits, who, reduction="sum")),
            "The mean over the 2N anchors."),
        "embeddings of any length": (
            _nt(normalise=False),
            "Similarity is the cosine: scale each row to length 1 before the products. Otherwise the network can lower "
            "the "
            "loss by making vectors longer."),
        "multiplied by the temperature": (
            lambda a, b, temperature=0.1: _nt()(a, b, 1 / temperature),
            "Divide by the temperature: a small one makes differences large."),
        "the second view detached": (
            lambda a, b, temperature=0.1: _nt()(a, b.detach(), temperature),
            "SimCLR stops no gradient: both views are moved."),
    },
    right={
        "logsumexp minus the partner's logit": _nt(
            lambda logits, who: (logits.logsumexp(1) - logits[torch.arange(len(who)), who]).mean()),
        "log_softmax and gather": _nt(lambda logits, who: -logits.log_softmax(1).gather(1, who[:, None]).mean()),
        "the diagonal taken out": lambda a, b, temperature=0.1: _without_diagonal(a, b, temperature),
    },
    hints=("It is a classification: each of 2N rows has 2N - 1 answers and one right class. Write the list for N = 3: "
           "rows 0, 1, 2 are first views, rows 3, 4, 5 second views. Who belongs to whom?",
           "z = F.normalize(torch.cat([a, b]), dim=1); logits = z @ z.T / temperature; the diagonal gets -torch.inf. "
           "The partner of row i is i + N, and from 2N on it starts again.",
           "z = F.normalize(torch.cat([a, b]), dim=1)\n"
           "logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)\n"
           "partner = torch.arange(len(z)).roll(len(a))\n"
           "accuracy = (logits.argmax(1) == partner).float().mean()\n"
           'return {"loss": F.cross_entropy(logits, partner), "accuracy": accuracy}'),
)


def _without_diagonal(a, b, temperature):
    n = len(a)
    z = unit(torch.cat([a, b]))
    logits = (z @ z.T)[partners(n)[1]].view(2 * n, 2 * n - 1) / temperature
    who = torch.cat([torch.arange(n - 1, 2 * n - 1), torch.arange(n)])  # one column to the left beyond the diagonal
    return _result(logits, who)


# ------------------------------------------------------------------------------- 04.temperature_weights
def similarity_gradient(similarity: Tensor, temperature: float = 0.1) -> Tensor:
    """How each similarity moves its anchor's loss: s (2N, 2N) -> dL_i / ds_ij (2N, 2N), 0 on the diagonal.

    A row sums to 0: the partner's entry is negative (a pull), the others' are positive (pushes), shared out by the
    softmax: the smaller the temperature, the more of the push goes to the most similar negatives.
    """
    partner, others = partners(len(similarity) // 2, similarity.device)
    shares = (similarity / temperature).masked_fill(~others, -torch.inf).softmax(1)
    return (shares - F.one_hot(partner)) / temperature


def _weight_probes(generator, dtype):
    def cosines(n, d):
        z = directions(generator, dtype, 2 * n, d)
        return z @ z.T

    return [(cosines(3, 4),), (cosines(4, 2), 0.5), (cosines(2, 5), 2.0), (0.6 + 0.4 * cosines(5, 3), 0.002),
            dict(similarity=cosines(3, 6), temperature=0.2)]


def _pushes(similarity, temperature, keep=None, dim=1, signed=True, scale=None, overflow=False):
    who, others = partners(len(similarity) // 2)
    logits = (similarity / temperature).masked_fill(~(others if keep is None else keep(others, who)), -torch.inf)
    shares = logits.exp() / logits.exp().sum(dim, keepdim=True) if overflow else logits.softmax(dim)
    out = shares - F.one_hot(who) if signed else shares
    return out * (1 / temperature if scale is None else scale(len(similarity), temperature))


def _pulled(similarity, temperature, place):
    return _pushes(similarity, temperature, signed=False) - F.one_hot(place, len(similarity)) / temperature


def _pull_of_one(similarity, temperature=0.1):
    who = partners(len(similarity) // 2)[0]
    return _pushes(similarity, temperature, signed=False).scatter(1, who[:, None], -1 / temperature)


def _without_partner(others, who):
    return others & ~F.one_hot(who).bool()


weights = Exercise(
    key="04.temperature_weights", title="Which negatives does it push?", minutes=8, difficulty=3,
    reference=similarity_gradient, probes=_weight_probes, tolerance=1e-4,
    plain=True,
    wrong={
        "without 1 / temperature": (
            lambda similarity, temperature=0.1: _pushes(similarity, temperature, scale=lambda n, t: 1),
            "That is the derivative with respect to the logits s / temperature. The chain rule brings one more 1 / "
            "temperature."),
        "the mean over anchors": (
            lambda similarity, temperature=0.1: _pushes(similarity, temperature, scale=lambda n, t: 1 / (n * t)),
            "Row i is the derivative of anchor i's *own* loss; do not divide by 2N."),
        "the partner is not pulled": (
            lambda similarity, temperature=0.1: _pushes(similarity, temperature, signed=False),
            "These are the shares of the softmax. From the partner's share 1 is taken off: its similarity also stands "
            "alone, above the fraction."),
        "shares among the negatives only": (
            lambda similarity, temperature=0.1: _pushes(similarity, temperature, keep=_without_partner),
            "The partner stands in the sum as well, so it takes its share: a partner that is found easily leaves the "
            "negatives little to be pushed with."),
        "the anchor pushes itself": (
            lambda similarity,
            temperature=0.1: _pushes(similarity, temperature, keep=lambda others, who: others | True),
            "The anchor is not one of its own candidates. Mask the diagonal with -inf before the softmax."),
        "neighbours in the list as partners": (
            lambda similarity, temperature=0.1: _pulled(similarity, temperature, torch.arange(len(similarity)) ^ 1),
            "You take the 1 off a neighbour's share. The partner of row i is i + N, and from 2N on it starts again."),
        "the 1 taken off the diagonal": (
            lambda similarity, temperature=0.1: _pulled(similarity, temperature, torch.arange(len(similarity))),
            "You take the 1 off the anchor's own entry. It belongs to the partner, N rows on; the diagonal is 0."),
        "the diagonal emptied after the softmax": (
            lambda similarity, temperature=0.1: _pushes(similarity, temperature, keep=lambda others, who: others | True)
            * partners(len(similarity) // 2)[1],
            "The diagonal is 0 in your result, but its exponential was in the sum: each row of shares adds up to less "
            "than 1. Mask it with -inf before the softmax."),
        "-1 for the partner's share": (
            _pull_of_one,
            "The partner's entry is its share minus 1: a partner that is found already is not pulled any more. Yours "
            "is -1 whatever its share."),
        "shares along columns": (
            lambda similarity, temperature=0.1: _pushes(similarity, temperature, dim=0),
            "Rows are anchors: each *row* of the softmax sums to 1 (dim=1). Your columns do."),
        "downhill instead of uphill": (
            lambda similarity, temperature=0.1: -_pushes(similarity, temperature),
            "The derivative is positive where more similarity makes the loss larger: at the negatives. Yours is the "
            "step "
            "of gradient descent."),
        "exp overflows": (
            lambda similarity, temperature=0.1: _pushes(similarity, temperature, overflow=True),
            "exp(1 / 0.002) is infinite in float32, and infinity over infinity is NaN. softmax subtracts the largest "
            "logit first: use it."),
    },
    right={
        "by autograd": lambda similarity, temperature=0.1: _by_autograd(similarity, temperature),
        "exponentials after subtracting the largest": lambda similarity,
        temperature=0.1: _by_hand(similarity, temperature),
    },
    hints=("L_i = -s_ip / tau + log of the sum of exp(s_ij / tau). Differentiate by one s_ij; what is the derivative "
           "of a "
           "logsumexp?",
           "A softmax over each row, without the diagonal. Take 1 off where the partner stands, then remember that "
           "the logits are s / temperature.",
           "n = len(similarity) // 2\n"
           "partner = torch.arange(2 * n).roll(n)\n"
           "shares = (similarity / temperature).fill_diagonal_(-torch.inf).softmax(1)\n"
           "return (shares - F.one_hot(partner)) / temperature"),
)


def _by_autograd(similarity, temperature):
    leaf = similarity.detach().clone().requires_grad_()
    who, others = partners(len(leaf) // 2)
    with torch.enable_grad():
        loss = F.cross_entropy((leaf / temperature).masked_fill(~others, -torch.inf), who, reduction="sum")
        return torch.autograd.grad(loss, leaf)[0]


def _by_hand(similarity, temperature):
    who, others = partners(len(similarity) // 2)
    rest = similarity.masked_fill(~others, -torch.inf)
    shares = ((rest - rest.amax(1, keepdim=True)) / temperature).exp()
    shares = shares / shares.sum(1, keepdim=True)
    pull = torch.zeros_like(shares)
    pull[torch.arange(len(who)), who] = 1
    return (shares - pull) / temperature


# ------------------------------------------------------------------------------------------------ 04.simclr_step
def simclr_step(backbone: nn.Module, head: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor,
                augment: Callable[[Tensor, torch.Generator], Tensor], generator: torch.Generator,
                temperature: float) -> float:
    """One training step of SimCLR; -> the loss. Both views pass through the network together."""
    views = torch.cat([augment(images, generator), augment(images, generator)])  # two draws
    loss = loss_of(*head(backbone(views)).chunk(2), temperature)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _networks(seed: int, dtype: torch.dtype, inputs: int, width: int, out: int) -> tuple[nn.Module, nn.Module]:
    """A backbone and a head with batch norm, drawn from seeds of their own."""
    backbone = seeded(seed, dtype, lambda: nn.Sequential(
        nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.Tanh()))
    return backbone, small_network(seed + 1, dtype, width, width, out)


def _noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random view: noise added, one number drawn for each entry."""
    return images + 1.5 * torch.rand(images.shape, generator=generator, dtype=images.dtype)


def _step_probes(generator, dtype):
    seeds = torch.randint(2**30, (4,), generator=generator).tolist()
    return [(*_networks(seeds[0], dtype, 4, 6, 3), randn(generator, dtype, 3, 7, 4), seeds[2], 0.3),
            (*_networks(seeds[1], dtype, 3, 5, 2), randn(generator, dtype, 3, 8, 3), seeds[3], 0.7)]


def _three_steps(step, backbone: nn.Module, head: nn.Module, batches: Tensor, seed: int, temperature: float):
    """The harness: three steps with gradient descent over backbone and head; what both hold then."""
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.5)
    source = torch.Generator().manual_seed(seed)
    def number_from(*given):
        loss = step(*given)
        if isinstance(loss, dict):
            raise TypeError('the step must return a number; this is a dict, as nt_xent returns it: take its "loss"')
        return loss

    found = steps(number_from, [(backbone, head, optimizer, images, _noisy, source, temperature) for images in batches])
    return found if blank(found) else {**found, "backbone": weights_of(backbone), "head": weights_of(head)}


def _with(loss=None, draw=None, order="clear backward step", back=Tensor.item, sign=1):
    """A step with one thing changed. loss: (backbone, head, view1, view2, temperature) -> scalar."""
    def step(backbone, head, optimizer, images, augment, generator, temperature):
        views = draw(images, augment, generator) if draw else (augment(images, generator), augment(images, generator))
        return descend(sign * (loss or _together)(backbone, head, *views, temperature), optimizer, order, back)
    return step


def _together(backbone, head, view1, view2, temperature):
    return loss_of(*head(backbone(torch.cat([view1, view2]))).chunk(2), temperature)["loss"]


def _apart(backbone, head, view1, view2, temperature):
    return loss_of(head(backbone(view1)), head(backbone(view2)), temperature)["loss"]


def _head_apart(backbone, head, view1, view2, temperature):
    return loss_of(*map(head, backbone(torch.cat([view1, view2])).chunk(2)), temperature)["loss"]


def _every_other(backbone, head, view1, view2, temperature):
    z = head(backbone(torch.cat([view1, view2])))
    return loss_of(z[::2], z[1::2], temperature)["loss"]


def _twice_changed(images, augment, generator):
    view = augment(images, generator)
    return view, augment(view, generator)


def _headless(backbone, head, view1, view2, temperature):
    return loss_of(*backbone(torch.cat([view1, view2])).chunk(2), temperature)["loss"]


def _head_only(backbone, head, view1, view2, temperature):
    return loss_of(*head(backbone(torch.cat([view1, view2])).detach()).chunk(2), temperature)["loss"]


def _second_constant(backbone, head, view1, view2, temperature):
    a, b = head(backbone(torch.cat([view1, view2]))).chunk(2)
    return loss_of(a, b.detach(), temperature)["loss"]


def _interleaved(backbone, head, view1, view2, temperature):
    views = torch.stack([view1, view2], dim=1).flatten(0, 1)
    return loss_of(*head(backbone(views)).chunk(2), temperature)["loss"]


def _default_temperature(backbone, head, view1, view2, temperature):
    return _together(backbone, head, view1, view2, 0.1)


def _against_itself(backbone, head, view1, view2, temperature):
    a = head(backbone(torch.cat([view1, view2]))).chunk(2)[0]
    return loss_of(a, a, temperature)["loss"]


def _evaluating(backbone, head, view1, view2, temperature):
    return _together(backbone.eval(), head.eval(), view1, view2, temperature)


def _loss_afterwards(backbone, head, optimizer, images, augment, generator, temperature):
    views = augment(images, generator), augment(images, generator)
    descend(_together(backbone, head, *views, temperature), optimizer)
    return _together(backbone, head, *views, temperature).item()


def _one_draw(images, augment, generator):
    view = augment(images, generator)
    return view, view


def _image_itself(images, augment, generator):
    return augment(images, generator), images


def _same_again(images, augment, generator):
    fixed = torch.Generator().manual_seed(0)
    return augment(images, fixed), augment(images, fixed)


def _doubled(backbone, head, optimizer, images, augment, generator, temperature):
    """A right answer: the images twice in one batch, each copy with a draw of its own."""
    z = unit(head(backbone(augment(torch.cat([images, images]), generator))))
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    loss = F.cross_entropy(logits, torch.arange(len(z)).roll(len(images)))
    return descend_by_name(loss, optimizer, backbone, head).item()


step = Exercise(
    key="04.simclr_step", title="One step of SimCLR", minutes=10, difficulty=3,
    reference=simclr_step, probes=_step_probes, call=_three_steps, tolerance=1e-3,
    words={"['losses']": "the returned losses", "['backbone']": "the backbone's weights after three steps",
           "['head']": "the head's weights after three steps",
           "['keeps its graph']": "whether the returned loss keeps its graph"},
    wrong={
        "one draw for both views": (
            _with(draw=_one_draw),
            "Both views are the same tensor: partners are equal whatever the network does, and the game is won by "
            "knowing nothing. Call augment twice; each call draws anew."),
        "the image as a view": (
            _with(draw=_image_itself),
            "One side is the unchanged image. Both sides of a pair are random views."),
        "the same random numbers at every step": (
            _with(draw=_same_again),
            "You seed a generator inside the step, so every step cuts and colours alike. Use the generator you are "
            "given: it moves on."),
        "each view by itself": (
            _with(_apart),
            "You pass the views through the network one after the other, so batch norm standardises each with its own "
            "statistics. SimCLR puts all 2N views into one batch: torch.cat first."),
        "the head on each view": (
            _with(_head_apart),
            "The backbone sees both views together, the head one after the other, and its batch norm standardises each "
            "with its own statistics. Pass all 2N through the head, then .chunk(2)."),
        "even and odd rows": (
            _with(_every_other),
            "After torch.cat all first views come first: they are the first half, .chunk(2), not every other row."),
        "a view of a view": (
            _with(draw=_twice_changed),
            "Your second view is made from the first one. Both are made from the image: augment(images, generator), "
            "twice."),
        "the backbone in evaluation mode": (
            _with(lambda backbone, head, *rest: _together(backbone.eval(), head, *rest)),
            "The backbone is in evaluation mode, so its batch norm uses running statistics. While a network trains, it "
            "stays in training mode: leave .eval() out."),
        "the loss on the representation": (
            _with(_headless),
            "The head is missing: the loss acts on head(backbone(views)). The representation, before the head, is what "
            "is evaluated later."),
        "only the head learns": (
            _with(_head_only),
            "The gradient ends between backbone and head, so the backbone stays as it was. No detach, no no_grad."),
        "the second view is a constant": (
            _with(_second_constant),
            "SimCLR stops no gradient: both views of an image are moved."),
        "views interleaved": (
            _with(_interleaved),
            "Your batch is view 1, view 2, view 1, view 2, ..., but the loss expects all first views, then all second "
            "ones. Every anchor is told to find a stranger."),
        "the first view against itself": (
            _with(_against_itself),
            "You give the loss one half of the embeddings twice. The first half belongs to view 1, the second to "
            "view 2."),
        "evaluation mode": (
            _with(_evaluating),
            "In evaluation mode batch norm uses its running statistics. While a network trains, it stays in training "
            "mode: leave .eval() out."),
        "the loss of another pass": (
            _loss_afterwards,
            "The weights are right, but the number you return is of a second pass, after the update. Return the loss "
            "that was minimised."),
        "the temperature forgotten": (
            _with(_default_temperature),
            "The step is given a temperature; pass it on to the loss, which falls back to its default otherwise."),
        "uphill": (
            _with(sign=-1, back=lambda loss: -loss.item()),
            "The weights move the wrong way: you make the loss larger."),
        **update_mistakes(_with, BASIC),
    },
    right={"the images twice in one batch": _doubled,
           "cleared after the step": _with(order="backward step clear", back=Tensor.detach)},
    hints=("How many times is augment called? How many times the network?",
           "torch.cat the two views, send them through backbone and head, and .chunk(2) what comes out. Then the three "
           "lines of every training step.",
           "views = torch.cat([augment(images, generator), augment(images, generator)])\n"
           "a, b = head(backbone(views)).chunk(2)\n"
           'loss = nt_xent(a, b, temperature)["loss"]\n'
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)


# ------------------------------------------------------------------------------------------------ 04.standing
def standing(a: Tensor, b: Tensor) -> dict[str, float]:
    """How the game stands: embeddings (N, D) of two views -> the share found, mean cosines of partners and of others.

    found: share of the 2N anchors whose partner is the most similar of the 2N - 1 candidates. others: over all
    ordered pairs of views of different images.
    """
    z = unit(torch.cat([a, b]))
    partner, candidates = partners(len(a), z.device)
    cosines, rows = z @ z.T, torch.arange(len(z), device=z.device)
    nearest = cosines.masked_fill(~candidates, -torch.inf).argmax(1)
    strangers = candidates & (rows != partner[:, None])
    return {"found": float((nearest == partner).to(z.dtype).mean()),
            "partners": float(cosines[rows, partner].mean()), "others": float(cosines[strangers].mean())}


def _standing_probes(generator, dtype):
    def pair(n, d, apart):
        a = randn(generator, dtype, n, d) + 0.6
        return a, (0.3 + rand(generator, dtype, n, 1)) * (a + apart * randn(generator, dtype, n, d))

    return [pair(5, 3, 0.8), pair(8, 2, 0.6), pair(3, 6, 1.5), dict(zip("ab", pair(7, 4, 1.0)))]


def _stood(found=None, others=None, z_of=None):
    """The three readings with one thing changed."""
    def standing(a, b):
        z = unit(torch.cat([a, b])) if z_of is None else z_of(a, b)
        n, s = len(a), z @ z.T
        who, candidates = partners(n)
        rows, strangers = torch.arange(2 * n), candidates & ~F.one_hot(who).bool()
        hits = (s.masked_fill(~candidates, -torch.inf).argmax(1) == who) if found is None else found(s, who, n)
        return {"found": hits.to(z.dtype).mean(), "partners": s[rows, who].mean(),
                "others": s[strangers].mean() if others is None else others(s, strangers, candidates, n)}
    return standing


def _both_find(s, who, n):
    right = (s - 3 * torch.eye(2 * n)).argmax(1) == who
    return right & right[who]


def _across(s, who, n):
    block, rows = s[:n, n:], torch.arange(n)
    return torch.cat([block.argmax(1) == rows, block.argmax(0) == rows])


def _loop(a, b):
    """A right answer, pair by pair."""
    z, n = unit(torch.cat([a, b])), len(a)
    hits, same, different = 0, [], []
    for i in range(2 * n):
        row = [float(z[i] @ z[j]) for j in range(2 * n)]
        hits += max((j for j in range(2 * n) if j != i), key=lambda j: row[j]) == (i + n) % (2 * n)
        same.append(row[(i + n) % (2 * n)])
        different += [row[j] for j in range(2 * n) if j % n != i % n]
    return {"found": hits / (2 * n), "partners": sum(same) / len(same), "others": sum(different) / len(different)}


def _by_sums(a, b):
    """A right answer: the others by subtracting the two kinds of pairs that are not among them."""
    s = torch.nn.functional.cosine_similarity(torch.cat([a, b])[:, None], torch.cat([a, b])[None], dim=2)
    n, same = len(a), s.diagonal(offset=len(a))
    rest = (s.sum() - s.trace() - 2 * same.sum()) / (2 * n * (2 * n - 2))
    nearest = (s - 3 * torch.eye(2 * n)).topk(1).indices[:, 0]
    return {"found": (nearest == torch.arange(2 * n).roll(n)).double().mean(), "partners": same.mean(), "others": rest}


readings = Exercise(
    key="04.standing", title="How does the game stand?", minutes=8, difficulty=3,
    reference=standing, probes=_standing_probes, call=numbers, tolerance=1e-4,
    words={"['found']": "the share found", "['partners']": "the mean cosine of partners",
           "['others']": "the mean cosine of other images"},
    wrong={
        "the anchor finds itself": (
            _stood(found=lambda s, who, n: s.argmax(1) == who),
            "Each view is most similar to itself, so nobody ever finds the partner. Take the diagonal out before the "
            "argmax."),
        "candidates of the other side only": (
            _stood(found=_across),
            "You let each anchor choose among the N views of the other side. The game has 2N - 1 candidates, those of "
            "its own side too."),
        "neighbours in the list as partners": (
            _stood(found=lambda s, who, n: (s - 3 * torch.eye(2 * n)).argmax(1) == torch.arange(2 * n) ^ 1),
            "Found counts neighbours in the list. The partner of row i is i + N, and from 2N on it starts again: one "
            "of the four runs has this bug."),
        "only if both find each other": (
            _stood(found=_both_find),
            "You count a pair only when *both* views find each other. Each of the 2N anchors counts by itself."),
        "others of the same side only": (
            _stood(others=lambda s, strangers, candidates, n: s[:n, :n][strangers[:n, :n]].mean() / 2
                   + s[n:, n:][strangers[n:, n:]].mean() / 2),
            "Views of different images stand on the other side, too: 2N - 2 for each anchor, not N - 1."),
        "the mean vector squared": (
            _stood(others=lambda s, strangers, candidates, n: s.mean()),
            "The squared length of the mean vector is the mean over *all* pairs, each view with itself and partners "
            "included. `others` are views of different images."),
        "first views only": (
            _stood(found=lambda s, who, n: (s - 3 * torch.eye(2 * n)).argmax(1)[:n] == who[:n]),
            "All 2N views are anchors; your share counts the first views only."),
        "a partner nearer than the average": (
            _stood(found=lambda s, who, n: s.gather(1, who[:, None])[:, 0] > (s.sum(1) - 1) / (2 * n - 1)),
            "Found means: nearer than *every* other candidate. To be nearer than their mean is far easier."),
        "itself among the others": (
            _stood(others=lambda s, strangers, candidates, n: s[strangers | ~candidates].mean()),
            "The diagonal is among your `others`: 2N ones that say nothing of other images."),
        "partners among the others": (
            _stood(others=lambda s, strangers, candidates, n: s[candidates].mean()),
            "`others` are views of *different* images: the partners do not belong to them."),
        "others of the other side only": (
            _stood(others=lambda s, strangers, candidates, n: s[:n, n:][strangers[:n, n:]].mean()),
            "Views of different images stand on the same side, too: 2N - 2 for each anchor, not N - 1."),
        "the nearest other only": (
            _stood(others=lambda s, strangers, candidates, n: s.masked_fill(~strangers, -torch.inf).amax(1).mean()),
            "You average the *nearest* other of each anchor. Asked is the mean over all of them."),
        "embeddings of any length": (
            _stood(z_of=lambda a, b: torch.cat([a, b])),
            "A cosine is the product of vectors of length 1: scale the rows first."),
        "centred first": (
            _stood(z_of=lambda a, b: unit(torch.cat([a, b]) - torch.cat([a, b]).mean(0))),
            "You subtract the mean first (our kNN does). The loss compares uncentred directions; so do these readings, "
            "or a collapse to one direction would be invisible."),
        "the squared distance": (
            lambda a, b: {**standing(a, b), **{key: 2 - 2 * standing(a, b)[key] for key in ("partners", "others")}},
            "2 - 2 cos is the squared distance of unit vectors. Asked is the cosine itself."),
    },
    right={"pair by pair": _loop, "sums and a subtraction": _by_sums},
    hints=("One (2N, 2N) matrix of cosines holds everything. Which entries belong to an anchor itself, which to "
           "partners?",
           "Partners: s.diagonal(offset=N), twice. Others: all that is left when the diagonal and the two side "
           "diagonals are gone.",
           "z, n = F.normalize(torch.cat([a, b]), dim=1), len(a)\n"
           "s, partner = z @ z.T, torch.arange(2 * n).roll(n)\n"
           "image = torch.arange(2 * n) % n\n"
           "others = s[image[:, None] != image].mean()\n"
           "nearest = s.fill_diagonal_(-torch.inf).argmax(1)\n"
           'return {"found": (nearest == partner).float().mean(), "partners": s.diagonal(offset=n).mean(), '
           '"others": others}'),
)


# ------------------------------------------------------------------------------------------------ 04.distill
def _distill_probes(generator, dtype):
    def logits(n, classes):
        return [2 * randn(generator, dtype, n, classes) for _ in range(2)]

    return [(*logits(5, 4),), (*logits(3, 6), 2.0), (*logits(4, 3), 0.5),
            dict(zip(("student", "teacher", "temperature"), (*logits(2, 5), 4.0)))]


def _soft(soft=None, student_at=None, reduce=None):
    def distillation_loss(student, teacher, temperature=1.0):
        p = (teacher.detach() / temperature).softmax(1) if soft is None else soft(teacher, temperature)
        each = -(p * (student / (temperature if student_at is None else student_at)).log_softmax(1))
        return each.sum(1).mean() if reduce is None else reduce(each)
    return distillation_loss


def _kl(student, teacher, temperature=1.0):
    p = (teacher.detach() / temperature).softmax(1)
    return F.kl_div((student / temperature).log_softmax(1), p, reduction="batchmean")


distill = Exercise(
    key="04.distill", title="Learn from a teacher's doubts", minutes=6, difficulty=2,
    reference="course_lib.methods.contrastive.simclr_v2:distillation_loss", probes=_distill_probes, gradients=True,
    wrong={
        "hard labels": (
            _soft(soft=lambda teacher, temperature: F.one_hot(teacher.argmax(1), teacher.shape[1]).to(teacher.dtype)),
            "argmax throws the teacher's doubts away. Soft labels are its whole distribution: softmax(teacher / "
            "temperature)."),
        "the temperature on the student only": (
            _soft(soft=lambda teacher, temperature: teacher.detach().softmax(1)),
            "Both are softened by the same temperature; otherwise a student equal to its teacher is not the optimum."),
        "the temperature on the teacher only": (
            _soft(student_at=1.0),
            "Divide the student's logits as well: a student equal to its teacher must be the optimum."),
        "the teacher learns, too": (
            _soft(soft=lambda teacher, temperature: (teacher / temperature).softmax(1)),
            "The value is right, but gradient flows into the teacher: it would bend towards its pupil. detach() it."),
        "the divergence": (
            _kl,
            "KL is this loss minus the teacher's entropy: the same gradient, another number. The paper's formula is "
            "the "
            "cross-entropy."),
        "the divergence, with kl_div's default mean": (
            lambda student, teacher, temperature=1.0: _kl(student, teacher, temperature) / student.shape[1],
            "F.kl_div divides by the number of entries unless told otherwise (reduction='batchmean'), and it subtracts "
            "the "
            "teacher's entropy. The paper's formula is the cross-entropy."),
        "squared differences of logits": (
            lambda student, teacher, temperature=1.0: F.mse_loss(student / temperature, teacher.detach() / temperature),
            "You compare logits by their squared difference. Asked is the cross-entropy of two distributions: softmax "
            "of the teacher, log_softmax of the student."),
        "squared differences of probabilities": (
            lambda student, teacher, temperature=1.0: F.mse_loss((student / temperature).softmax(1),
                                                                 (teacher.detach() / temperature).softmax(1)),
            "You compare probabilities by their squared difference. Asked is the cross-entropy: -sum P_T log P_S."),
        "the temperature after the softmax": (
            lambda student, teacher, temperature=1.0: -(teacher.detach().softmax(1) / temperature
                                                        * (student.log_softmax(1) / temperature)).sum(1).mean(),
            "You divide what comes out of the softmax. The temperature belongs inside: softmax(logits / temperature)."),
        "the mean over classes": (
            _soft(reduce=lambda each: each.mean()),
            "Sum over classes, then the mean over images."),
        "the sum over images": (
            _soft(reduce=lambda each: each.sum()),
            "The mean over images: the sum grows with the batch."),
        "times the temperature squared": (
            lambda student, teacher, temperature=1.0: temperature**2 * _soft()(student, teacher, temperature),
            "That factor keeps gradients comparable when soft and true labels are mixed (Hinton's distillation). "
            "SimCLR v2 "
            "has soft labels only, and no factor."),
        "student and teacher swapped": (
            lambda student, teacher, temperature=1.0: _soft()(teacher, student, temperature),
            "The teacher gives the weights, the student the logarithm: -sum P_T log P_S."),
    },
    right={
        "cross_entropy with probabilities": lambda student, teacher, temperature=1.0: F.cross_entropy(
            student / temperature, (teacher.detach() / temperature).softmax(1)),
        "logsumexp by hand": lambda student, teacher, temperature=1.0: (
            (student / temperature).logsumexp(1)
            - ((teacher.detach() / temperature).softmax(1) * student / temperature).sum(1)).mean(),
    },
    hints=("A cross-entropy whose labels are probabilities: the teacher's. Who must not get a gradient?",
           "soft = (teacher.detach() / temperature).softmax(1); the student: (student / temperature).log_softmax(1).",
           "soft = (teacher.detach() / temperature).softmax(1)\n"
           "log_student = (student / temperature).log_softmax(1)\n"
           "return -(soft * log_student).sum(1).mean()"),
)


EXERCISES = [nt_xent, weights, step, readings, distill]


# ------------------------------------------------------------------------------------------------ questions
_FAR = 126 * math.exp(-5)  # what 126 negatives at cosine 0 and temperature 0.2 weigh beside a candidate at 1

QUIZZES = [
    quiz("'itself' with time: all partners at cosine 1, all 126 negatives at 0, temperature 0.2. What does its log "
         "say?", {
        f"{math.log(1 + _FAR):.2f}, like that of the right run": "That is the bottom with one candidate at cosine 1. "
            "How many are there now?",
        f"{math.log(2):.2f}, which is log 2": "Anchor and partner alone give log 2; at this temperature the negatives "
            "count, too.",
        f"{math.log(2 + _FAR):.2f}": "Two candidates at cosine 1, of which one is right. A bottom that lies too high "
            "is the other trace of this bug.",
    }, f"{math.log(2 + _FAR):.2f}"),
    quiz("You double the batch size and the loss rises by about 0.7. What happened?", {
        "The network got worse": "Compare with log(2N - 1), which rose by the same: twice as many candidates make the "
            "same guess harder.",
        "Nothing but arithmetic: log 2 is about 0.7": "The level of knowing nothing moved from log(2N - 1) to log(4N "
            "- 1).",
        "The learning rate is too high": "It may be, but a shift by log 2 is what a doubled number of candidates does "
            "by itself.",
    }, "Nothing but arithmetic: log 2 is about 0.7"),
    quiz("A negative has cosine 0.9 with the anchor, another 0.4. At temperature 0.1, how do their pushes compare?", {
        "9 to 4": "The shares go with exp(s / tau), not with s.",
        "about 1.6 to 1": "That is exp(0.5): divide the difference by the temperature first.",
        "about 150 to 1": "exp((0.9 - 0.4) / 0.1) = exp(5).",
    }, "about 150 to 1"),
    quiz("Two colleagues argue: the loss at temperature 0.05 is 1.9, at 0.5 it is 4.2 (same batch). Whose features "
         "are better?", {
        "Those at 0.05": "A small temperature stretches the logits: the bottom and the scale of the loss are "
            "different.",
        "One cannot tell from these numbers": "Measure kNN or a probe, with controls.",
        "Those at 0.5": "Nothing in the numbers says so.",
    }, "One cannot tell from these numbers"),
    quiz("Transfer: you pretrain on satellite images in which the *colour* of a crop tells fields apart. Which change "
         "do you try first?", {
        "A smaller temperature": "It changes whom the loss fights, not what the views allow.",
        "Weaker colour changes, with a look at whether colour alone then wins the game": "Views that keep what you "
            "need; part 1's cheap players say whether you opened a shortcut.",
        "A deeper head": "It spares the representation a little, but the loss still asks for invariance to colour.",
    }, "Weaker colour changes, with a look at whether colour alone then wins the game"),
]
