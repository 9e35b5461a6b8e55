"""Exercises of week 22, revisiting: nine patches in pairs, their step, standardised filters, a correlation of ranks."""
from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.pretext.relative_patch import with_middle
from lessons.exercises.shared import blank, descend, randn, small_network, steps, weights_of

AROUND = [0, 1, 2, 3, 5, 6, 7, 8]


# ------------------------------------------------------------------------------------------------ 22.pair
def _pair_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [(draw(3, 9, 4),), (draw(1, 9, 2),), dict(features=draw(5, 9, 7))]


def _pair(*, middle=4, around=AROUND, order=(0, 1), join=lambda parts: torch.cat(parts, 2), of=lambda x: x):
    """The right one, or with one thing changed."""
    def answer(features):
        beside = features[:, around]
        parts = [of(features)[:, middle][:, None].expand_as(beside), beside]
        return join([parts[i] for i in order])

    return answer


pair = Exercise(
    key="22.pair", title="The middle beside each neighbour", minutes=7, difficulty=2,
    reference="course_lib.methods.pretext.relative_patch:with_middle", probes=_pair_probes, gradients=True,
    wrong={
        "the neighbour first": (
            _pair(order=(1, 0)),
            "Your rows hold the neighbour first. The middle patch comes first, its neighbour after it."),
        "the middle beside itself": (
            _pair(around=list(range(9))),
            "You made nine pairs, one of them of the middle with itself. It has eight neighbours."),
        "the first patch is the middle": (
            _pair(middle=0, around=list(range(1, 9))),
            "You took patch 0 as the middle. In reading order of 3 x 3 the middle is patch 4."),
        "the last eight are the neighbours": (
            _pair(around=list(range(1, 9))),
            "You left out patch 0, and paired the middle with itself. Patches 0 to 3 and 5 to 8 are the neighbours."),
        "column by column": (
            _pair(around=[0, 3, 6, 1, 7, 2, 5, 8]),
            "Your neighbours come column by column. Reading order goes row by row: 0, 1, 2, 3, 5, 6, 7, 8."),
        "clockwise": (
            _pair(around=[0, 1, 2, 5, 8, 7, 6, 3]),
            "Your neighbours go round the middle. Keep the reading order: 0, 1, 2, 3, 5, 6, 7, 8."),
        "the difference": (
            _pair(join=lambda parts: parts[1] - parts[0]),
            "You subtracted. The head gets both: D numbers of the middle, then D of the neighbour."),
        "stacked": (
            _pair(join=lambda parts: torch.stack(parts, 2)),
            "You stacked the two, (B, 8, 2, D). One row of 2D numbers is asked for: torch.cat along the last axis."),
        "one under the other": (
            _pair(join=lambda parts: torch.cat(parts, 1)),
            "You joined along the patches, which gives sixteen rows of D numbers. Join along the last axis."),
        "no gradient into the middle": (
            _pair(of=lambda x: x.detach()),
            "The values are right, but no gradient reaches the middle patch. It learns from all eight pairs."),
        "another picture's middle": (
            _pair(of=lambda x: x.roll(1, 0)),
            "Your middle comes from another picture of the batch."),
    },
    right={
        "a list": lambda features: torch.stack(
            [torch.cat([features[:, 4], features[:, k]], 1) for k in AROUND], 1),
        "the middle taken out": lambda features: torch.cat(
            [features[:, 4:5].repeat(1, 8, 1), torch.cat([features[:, :4], features[:, 5:]], 1)], -1)},
    hints=("Nine patches in reading order: which number has the one in the middle, and which eight are around it?",
           "around = features[:, [0, 1, 2, 3, 5, 6, 7, 8]] is (B, 8, D). Bring features[:, 4:5] to the same shape, and "
           "join the two along the last axis.",
           "around = features[:, [0, 1, 2, 3, 5, 6, 7, 8]]\n"
           "middle = features[:, 4:5].expand_as(around)\n"
           "return torch.cat([middle, around], dim=2)"),
)


# ------------------------------------------------------------------------------------------------ 22.position_step
def position_step(encoder: nn.Module, head: nn.Module, optimizer: torch.optim.Optimizer, patches: Tensor,
                  pair=with_middle) -> float:
    """One training step of relative patch position -> the loss as a number. patches: nine of each picture, (B, 9, ...).

    encoder: (N, ...) -> (N, D). head: (N, 2D) -> (N, 8), one logit for each place around the middle.
    """
    features = encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])  # (B, 9, D)
    logits = head(pair(features).flatten(0, 1))  # (8B, 8)
    loss = F.cross_entropy(logits, torch.arange(8, device=logits.device).repeat(len(patches)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step_probes(generator, dtype):
    seeds = torch.randint(2**30, (4,), generator=generator).tolist()
    wide = dict(encoder=small_network(seeds[0], dtype, 5, 6, 3), head=small_network(seeds[1], dtype, 6, 7, 8),
                batches=randn(generator, dtype, 3, 4, 9, 5))
    narrow = dict(encoder=small_network(seeds[2], dtype, 4, 5, 2), head=small_network(seeds[3], dtype, 4, 6, 8),
                  batches=randn(generator, dtype, 3, 3, 9, 4))
    return [wide, narrow]


def _three_steps(step, encoder, head, batches):
    """Three steps of gradient descent; losses and weights."""
    encoder, head = copy.deepcopy(encoder).train(), copy.deepcopy(head).train()
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.2)
    found = steps(step, [(encoder, head, optimizer, patches.clone(), with_middle) for patches in batches])
    return found if blank(found) else {**found, "encoder": weights_of(encoder), "head": weights_of(head)}


def _all_at_once(encoder, patches):
    return encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])


def _mistaken(*, encode=_all_at_once, after=lambda features: features, paired=lambda pairs: pairs.flatten(0, 1),
              places=lambda n: torch.arange(8).repeat(n), logits=lambda x: x, reduction="mean",
              order="clear backward step", back=Tensor.item):
    """A step with one thing changed."""
    def step(encoder, head, optimizer, patches, pair):
        rows = paired(pair(after(encode(encoder, patches))))
        loss = F.cross_entropy(logits(head(rows)), places(len(patches)), reduction=reduction)
        return descend(loss, optimizer, order, back)

    return step


def _one_by_one(encoder, patches):
    return torch.stack([encoder(patches[:, k]) for k in range(9)], 1)


def _picture_by_picture(encoder, patches):
    return torch.stack([encoder(each) for each in patches])


def _mixed(encoder, patches):
    return encoder(patches.transpose(0, 1).flatten(0, 1)).unflatten(0, patches.shape[:2])


def _without_gradient(encoder, patches):
    with torch.no_grad():
        return _all_at_once(encoder, patches)


def _evaluated(encoder, patches):
    encoder.eval()
    return _all_at_once(encoder, patches)


step = Exercise(
    key="22.position_step", title="One step: where does this patch lie?", minutes=12, difficulty=3,
    reference=position_step, probes=_step_probes, call=_three_steps, tolerance=1e-3,
    words={"['losses']": "the losses of three steps", "['keeps its graph']": "whether the loss keeps its graph",
           "['encoder']": "the encoder's weights after three steps",
           "['head']": "the head's weights after three steps"},
    wrong={
        "all first neighbours first": (
            _mistaken(places=lambda n: torch.arange(8).repeat_interleave(n)),
            "Your places go 0, 0, ..., 1, 1, ... The rows go picture by picture: 0 to 7, and again 0 to 7: repeat."),
        "patches of different pictures together": (
            _mistaken(encode=_mixed),
            "You encoded all first patches first, and then cut the rows as if they went picture by picture. Keep one "
            "order: flatten(0, 1), then unflatten(0, (B, 9))."),
        "a pass for each patch": (
            _mistaken(encode=_one_by_one),
            "You encoded the nine places in nine passes, so each has statistics of batch norm of its own: they tell "
            "the place without a look at the picture. All patches in one pass."),
        "a pass for each picture": (
            _mistaken(encode=_picture_by_picture),
            "You encoded picture by picture. All patches of all pictures go through the encoder in one pass: batch "
            "norm takes its statistics from them."),
        "the encoder gets no gradient": (
            _mistaken(encode=_without_gradient),
            "The encoder's weights stay as they are: no gradient gets past the head. The encoder is what is to learn."),
        "evaluation mode": (
            _mistaken(encode=_evaluated),
            "You put the encoder into evaluation mode. In training batch norm uses the batch's statistics."),
        "softmax before the loss": (
            _mistaken(logits=lambda x: x.softmax(1)),
            "F.cross_entropy takes logits and has the softmax in it; you took it twice."),
        "a sum over the pairs": (
            _mistaken(reduction="sum"),
            "The mean over pictures and neighbours, not their sum."),
        "the first neighbour only": (
            _mistaken(paired=lambda pairs: pairs[:, 0], places=lambda n: torch.zeros(n, dtype=torch.long)),
            "Only neighbour 0 takes part. All eight pairs of every picture are in the loss."),
        "all places are 0": (
            _mistaken(places=lambda n: torch.zeros(8 * n, dtype=torch.long)),
            "All targets are place 0. Pair k of a picture has the target k."),
        "places counted backwards": (
            _mistaken(places=lambda n: torch.arange(8).flip(0).repeat(n)),
            "Your targets go from 7 to 0. Pair k has the target k."),
        "gradients never cleared": (
            _mistaken(order="backward step"),
            "backward *adds* to .grad: optimizer.zero_grad() before it."),
        "nothing is learned": (
            _mistaken(order="clear backward"),
            "All weights are those of the start: loss.backward(), then optimizer.step()."),
        "the loss keeps its graph": (
            _mistaken(back=lambda loss: loss),
            "You return the tensor with its whole computation. Return loss.item()."),
    },
    right={"one thing after another": _mistaken(),
           "places as a grid": _mistaken(places=lambda n: torch.arange(8 * n) % 8)},
    hints=("Three shapes: (B * 9, ...) into the encoder, (B, 9, D) into pair, (B * 8, 2D) into the head. What is the "
           "target of each of the B * 8 rows?",
           "features = encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2]); logits = "
           "head(pair(features).flatten(0, 1)); the targets are 0 to 7, once for each picture. Then cross-entropy and "
           "the optimizer.",
           "features = encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])\n"
           "logits = head(pair(features).flatten(0, 1))\n"
           "places = torch.arange(8, device=logits.device).repeat(len(patches))\n"
           "loss = F.cross_entropy(logits, places)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
)


# ------------------------------------------------------------------------------------------------ 22.standardise
def _standardise_probes(generator, dtype):
    draw = partial(randn, generator, dtype)
    return [(0.3 * draw(4, 3, 3, 3) + 0.2,), (2 * draw(5, 6, 1, 1),), (draw(3, 6, 2, 2) - 1, 0.5),
            dict(weight=1e-2 * draw(2, 4, 5, 3), eps=1e-3)]


def _standardise(*, axes=(1, 2, 3), correction=0, mean=True, root=True, inside=True, of=lambda w: w, known=True):
    """The right one, or with one thing changed."""
    def answer(weight, eps=1e-10):
        eps = eps if known else 1e-10
        variance, middle = torch.var_mean(of(weight), axes, keepdim=True, correction=correction)
        below = (variance + eps) if not root else (variance + eps).sqrt() if inside else variance.sqrt() + eps
        return (weight - middle if mean else weight) / below

    return answer


standardise = Exercise(
    key="22.standardise", title="Standardised filters", minutes=6, difficulty=2,
    reference="course_lib.models.bit:standardised_weight", probes=_standardise_probes, gradients=True,
    wrong={
        "divided by n - 1": (
            _standardise(correction=1),
            "Your variance is divided by n - 1, torch's default. It is by n: correction=0."),
        "all filters together": (
            _standardise(axes=(0, 1, 2, 3)),
            "You took one mean and one variance of the whole layer. Each filter (the first axis) has its own."),
        "each kernel alone": (
            _standardise(axes=(2, 3)),
            "You standardised each k x k kernel by itself. A filter has `in` of them; they share mean and variance."),
        "each input alone": (
            _standardise(axes=(0, 2, 3)),
            "You took the statistics of each *input* channel over all filters. Of each filter: axes 1, 2, 3."),
        "across the filters": (
            _standardise(axes=(0,)),
            "You took the statistics across filters, place by place. Within each filter: axes 1, 2, 3."),
        "the mean stays": (
            _standardise(mean=False),
            "The filters' means are still there. Subtract each filter's mean."),
        "divided by the variance": (
            _standardise(root=False),
            "You divided by the variance. Divide by its root."),
        "eps outside the root": (
            _standardise(inside=False),
            "Your eps stands outside the root. It is added to the variance."),
        "std and eps": (
            _standardise(correction=1, inside=False),
            "Two things about your divisor: std divides by n - 1 (take correction=0), and eps stands outside the root "
            "(add it to the variance)."),
        "eps left out": (
            _standardise(known=False),
            "Your result does not depend on eps: add it to the variance."),
        "statistics without gradient": (
            _standardise(of=lambda w: w.detach()),
            "The values are right, the gradient is not: mean and variance depend on the filter, so no detach."),
        "length 1": (
            lambda weight, eps=1e-10: F.normalize(weight.flatten(1) - weight.flatten(1).mean(1, keepdim=True),
                                                  dim=1).view_as(weight),
            "Your filters have length 1. They are to have variance 1: divide by the standard deviation."),
    },
    right={
        "a layer norm": lambda weight, eps=1e-10: F.layer_norm(weight, weight.shape[1:], eps=eps),
        "flat": lambda weight, eps=1e-10: ((weight.flatten(1) - weight.flatten(1).mean(1, keepdim=True)) * (
            weight.flatten(1).var(1, keepdim=True, correction=0) + eps) ** -0.5).view(weight.shape)},
    hints=("weight is (out, in, k, k). A filter is all that belongs to one output. Over which axes do you average?",
           "weight.mean((1, 2, 3), keepdim=True), and weight.var((1, 2, 3), keepdim=True, correction=0); eps goes "
           "under the root.",
           "mean = weight.mean((1, 2, 3), keepdim=True)\n"
           "variance = weight.var((1, 2, 3), keepdim=True, correction=0)\n"
           "return (weight - mean) / torch.sqrt(variance + eps)"),
)


# ------------------------------------------------------------------------------------------------ 22.ranks
def _ranks_probes(generator, dtype):
    draw = partial(randn, generator, torch.float32)
    ties = torch.tensor([0.3, 0.3, 0.1, 0.9, 0.3, 0.7])
    return [(draw(7), draw(7)), (ties, draw(6)), (draw(9).exp() ** 2, draw(9)),
            dict(a=torch.tensor([0.2, 0.5, 0.5, 0.8, 0.8]), b=torch.tensor([0.1, 0.1, 0.4, 0.3, 0.9]))]


def _as_number(function, a, b):
    """A number or a scalar tensor."""
    got = function(a, b)
    return got if got is None or got is Ellipsis else torch.as_tensor(got, dtype=torch.float32)


def _mean_rank(x):
    return (x[:, None] > x).sum(1) + ((x[:, None] == x).sum(1) + 1) / 2


def _pearson(x, y, *, centred=True, divided=True):
    x, y = x.double(), y.double()
    x, y = (x - x.mean(), y - y.mean()) if centred else (x, y)
    return (x * y).sum() / (x.norm() * y.norm() if divided else len(x))


def _by(rank, other=None, **how):
    return lambda a, b: _pearson(rank(a), (other or rank)(b), **how)


def _order(x):
    return x.argsort().argsort(stable=True)


def _formula(a, b):
    n, apart = len(a), (_mean_rank(a) - _mean_rank(b)).double()
    return 1 - 6 * apart.square().sum() / (n * (n * n - 1))


def _kendall(a, b):
    agree = ((a[:, None] - a).sign() * (b[:, None] - b).sign()).double()
    return agree.sum() / (len(a) * (len(a) - 1))


ranks = Exercise(
    key="22.ranks", title="Do two rankings agree?", minutes=10, difficulty=3,
    reference="course_lib.evaluate.label_free:rank_correlation", probes=_ranks_probes, call=_as_number, plain=True,
    wrong={
        "the values, not their ranks": (
            _by(lambda x: x),
            "You correlated the values. First replace each by its rank: one outlier must not decide."),
        "argsort once": (
            _by(lambda x: x.argsort()),
            "argsort says *who* comes in place k. The rank is the reverse: in which place each one comes. Take argsort "
            "of it once more, and mind the ties."),
        "ties in the order of the list": (
            _by(_order),
            "Right without ties. Equal values must share one rank, the mean of their places."),
        "ties get the lowest place": (
            _by(lambda x: (x[:, None] > x).sum(1)),
            "Equal values get the lowest of their places in yours. They share the *mean* of them."),
        "ties get the highest place": (
            _by(lambda x: (x[:, None] >= x).sum(1)),
            "Equal values get the highest of their places in yours. They share the *mean* of them."),
        "ties count as one": (
            _by(lambda x: torch.unique(x, return_inverse=True)[1]),
            "You numbered the different values. Three equal ones take up three places, and share their mean."),
        "only one of them ranked": (
            _by(_mean_rank, lambda x: x),
            "You ranked a, and left b's values as they are. Rank both."),
        "one from the top": (
            _by(_mean_rank, lambda x: _mean_rank(-x)),
            "One of your rankings goes from the top, the other from the bottom, so the sign is reversed."),
        "the mean not subtracted": (
            _by(_mean_rank, centred=False),
            "You took the cosine of the ranks. Subtract the mean rank first, or everything looks alike."),
        "a covariance": (
            _by(_mean_rank, divided=False),
            "That is the covariance of the ranks. Divide by both standard deviations: 1 is the most."),
        "torch.cov": (
            lambda a, b: torch.cov(torch.stack([_mean_rank(a), _mean_rank(b)]))[0, 1],
            "That is the covariance of the ranks, by n - 1. Divide by both standard deviations: 1 is the most. "
            "torch.corrcoef does so."),
        "the formula for no ties": (
            _formula,
            "1 - 6 sum d^2 / (n (n^2 - 1)) holds without ties only. Take the correlation of the ranks."),
        "Kendall's tau": (
            _kendall,
            "You counted pairs in the same order, which is Kendall's tau. Asked for is the correlation of the ranks."),
        "squared": (
            lambda a, b: _by(_mean_rank)(a, b) ** 2,
            "You squared it, and the sign is gone: rankings that are each other's reverse have -1."),
    },
    right={"torch": _by(_mean_rank),
           "corrcoef": lambda a, b: torch.corrcoef(torch.stack([_mean_rank(a), _mean_rank(b)]))[0, 1]},
    hints=("The rank of a value: how many are smaller? Equal ones share the mean of their places. Then it is the "
           "ordinary correlation.",
           "smaller = (x[:, None] > x).sum(1) and equal = (x[:, None] == x).sum(1), itself included; the rank is "
           "smaller + (equal + 1) / 2. torch.corrcoef(torch.stack([...])) is a 2 x 2 matrix.",
           "rank = lambda x: (x[:, None] > x).sum(1) + ((x[:, None] == x).sum(1) + 1) / 2\n"
           "return torch.corrcoef(torch.stack([rank(a), rank(b)]))[0, 1]"),
)


EXERCISES = [pair, step, standardise, ranks]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("A paper compares your pretext with hers: yours on a ResNet, hers on a VGG, both read from the last "
         "layer. What do you ask for first?", {
        "More seeds": "They would make both numbers surer, and the comparison no fairer: two things differ.",
        "Both pretexts on both networks": "Then the pretext is the only thing that changes in each comparison.",
        "A larger probe": "The paper found that a nonlinear probe changes little.",
    }, "Both pretexts on both networks"),
    quiz("A patch puzzle's last layer reads like an untrained one, its middle layers read better. What can have "
         "happened?", {
        "The network did not learn": "It solves its puzzle on new pictures, and its middle layers are better than "
            "untrained ones.",
        "Its last layers serve the puzzle": "They keep what tells where patches were, and the class is not needed "
            "for that. Figure 6: depth takes its share, too.",
        "The probe has too few labels": "The same probe reads the same network's middle layers.",
    }, "Its last layers serve the puzzle"),
    quiz("You make the gap between patches zero, and the pretext's accuracy rises. Good news?", {
        "Yes: it understands pictures better": "Knob 1's rule does as well without understanding anything.",
        "Not by itself: edges may give the place away": "Look at what is read of the class, not at the puzzle.",
        "No: it must be a bug": "It is what is to be expected. Lines continue.",
    }, "Not by itself: edges may give the place away"),
    quiz("Transfer: you pre-train on sound by asking in which order three snippets came. What is the analogue of "
         "a gap?", {
        "Silence cut out between the snippets": "A wave that runs on from one snippet to the next tells their order, "
            "as a line does.",
        "More snippets": "A harder puzzle with the same shortcut.",
        "A larger network": "It will find the shortcut sooner.",
    }, "Silence cut out between the snippets"),
]
