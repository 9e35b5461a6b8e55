"""Exercises of week 25, mutual information: InfoNCE, Donsker-Varadhan over places, JSD's gradient, a step of DIM."""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.information.estimators import nwj
from lessons.exercises.shared import blank, descend, randn, seeded, steps, weights_of


def _split(scores: Tensor) -> tuple[Tensor, Tensor]:
    own = torch.eye(len(scores), dtype=torch.bool)
    return scores[own], scores[~own]


# ------------------------------------------------------------------------------------------------ 25.infonce
def _infonce_probes(generator, dtype):
    # entries far enough apart that rows, columns and the whole square tell different stories
    return [(2 * randn(generator, dtype, n, n) + shift * torch.arange(n, dtype=dtype)[:, None],)
            for n, shift in ((5, 0.3), (8, -0.4), (3, 1.0))] + [
        (torch.zeros(6, 6, dtype=dtype),), (300 * randn(generator, dtype, 4, 4),),
        (randn(generator, dtype, 7, 7) + 9 * torch.eye(7, dtype=dtype),)]  # the last reads nearly log N


def _info(*, pick=lambda s: s.diagonal(), rivals=lambda s: s.logsumexp(1), total=lambda v: v.mean(),
          plus=lambda n: math.log(n), sign=1):
    """The right one, or with one thing changed."""
    return lambda scores: sign * total(pick(scores) - rivals(scores)) + plus(len(scores))


def _others(scores: Tensor) -> Tensor:
    own = torch.eye(len(scores), dtype=torch.bool)
    return scores.masked_fill(own, -torch.inf).logsumexp(1)


def _row_by_row(scores):
    """A right answer, in a loop."""
    n = len(scores)
    parts = [scores[i, i] - torch.logsumexp(scores[i], 0) + math.log(n) for i in range(n)]
    return sum(parts) / n


first = Exercise(
    key="25.infonce", title="A bound with a ceiling", minutes=6, difficulty=2, gradients=True, plain=True,
    reference="course_lib.methods.information.estimators:infonce", probes=_infonce_probes,
    wrong={
        "without log N": (
            _info(plus=lambda n: 0.0),
            "That is minus the cross-entropy, which is never above 0. The bound adds log N: a critic that knows "
            "nothing then reads 0 nats."),
        "log N taken off": (
            _info(plus=lambda n: -math.log(n)),
            "log N is added. A critic that knows nothing has a cross-entropy of log N, and is to read 0."),
        "the loss": (
            _info(sign=-1, plus=lambda n: 0.0),
            "That is the cross-entropy, a loss to be made small. The bound is log N minus it."),
        "log N plus the loss": (
            _info(sign=-1),
            "The sign is turned: the better the critic, the smaller your number. log N *minus* the cross-entropy."),
        "only the others below": (
            _info(rivals=_others),
            "The own pair is missing among those to choose from. It is one of the N, and this is why the bound cannot "
            "exceed log N."),
        "log(N - 1)": (
            _info(plus=lambda n: math.log(n - 1)),
            "x picks among all N, its own y included: log N, not log(N - 1)."),
        "columns": (
            _info(rivals=lambda s: s.logsumexp(0)),
            "In yours each y looks for its x. Here x belongs to rows, and picks among the entries of its row: "
            "logsumexp over dim 1."),
        "over the whole square": (
            _info(rivals=lambda s: s.flatten().logsumexp(0), plus=lambda n: 2 * math.log(n)),
            "Your denominator runs over all pairs: that is Donsker-Varadhan with the diagonal left in. In InfoNCE each "
            "row has a denominator of its own."),
        "in bits": (
            lambda scores: _info()(scores) / math.log(2),
            "Yours is in bits. All readings of this lesson are in nats: the natural logarithm."),
        "a sum over the rows": (
            _info(total=lambda v: v.sum()),
            "The mean over the N rows: with a sum the reading grows with the batch."),
        "the logarithm of the mean": (
            lambda scores: scores.softmax(1).diagonal().mean().log() + math.log(len(scores)),
            "You average the probabilities and take the logarithm last. The logarithm comes first, row by row."),
        "a mean in place of the sum below": (
            _info(rivals=lambda s: s.mean(1), plus=lambda n: 0.0),
            "You compare with the mean score of the row, not with the logarithm of the sum of exponentials."),
        "no logarithm": (
            lambda scores: scores.softmax(1).diagonal().mean() + math.log(len(scores)),
            "You average probabilities. Their logarithms are wanted."),
    },
    right={
        "cross-entropy": lambda scores: math.log(len(scores)) - F.cross_entropy(scores, torch.arange(len(scores))),
        "log_softmax": lambda scores: (scores.log_softmax(dim=1).diag() + math.log(scores.shape[0])).mean(),
        "row by row": _row_by_row,
    },
    hints=("Each row is a question with N answers, of which the diagonal is right. Which loss do you know for that, "
           "and what does it read if the critic knows nothing?",
           "The cross-entropy of row i with class i, from F.cross_entropy or by hand. A critic that knows nothing pays "
           "log N, and is to read 0.",
           "n = len(scores)\n"
           "return math.log(n) + (scores.diagonal() - scores.logsumexp(dim=1)).mean()"),
)


# ------------------------------------------------------------------------------------------------ 25.dv
def _dv_probes(generator, dtype):
    def scores(n, places, codes, scale=1.5):
        u = scale * randn(generator, dtype, n, n, places, codes)
        return u + torch.arange(places, dtype=dtype)[:, None] + 2 * torch.eye(n, dtype=dtype)[:, :, None, None]

    # (4, 4, 4, 4) is where the famous code runs; scores of hundreds overflow without logsumexp
    return [(scores(5, 3, 2),), (scores(4, 4, 4),), (scores(3, 6, 1),), (scores(3, 2, 2, scale=400.0),)]


def _log_mean_exp(x: Tensor) -> Tensor:
    return x.flatten().logsumexp(0) - math.log(x.numel())


def _dv(*, joint=lambda s: _split(s)[0].mean(), product=lambda s: _log_mean_exp(_split(s)[1])):
    """The right one, or with one thing changed."""
    return lambda scores: joint(scores) - product(scores)


def _own_places(scores: Tensor) -> Tensor:
    """Which entries a mask of places would keep: (N, N, L, M)."""
    return torch.eye(*scores.shape[2:], dtype=torch.bool).expand_as(scores)


def _places_for_pairs(scores):
    own = _own_places(scores)
    return scores[own].mean() - (_log_mean_exp(scores[~own]) if bool((~own).any()) else 0.0)


def _masked_mean(scores):
    own = torch.eye(len(scores), dtype=torch.bool)[:, :, None, None]
    return (scores * own).mean() - _log_mean_exp(_split(scores)[1])


def _place_by_place(scores):
    maps = scores.flatten(2).permute(2, 0, 1)  # (L * M, N, N)
    return torch.stack([_dv()(s) for s in maps]).mean()


def _zeroed(scores):
    own = torch.eye(len(scores), dtype=torch.bool)[:, :, None, None]
    return _split(scores)[0].mean() - _log_mean_exp(scores.masked_fill(own, 0.0))


def _by_mask(scores):
    """A right answer: a mask with two more axes."""
    n, _, places, codes = scores.shape
    own = torch.eye(n, dtype=torch.bool).view(n, n, 1, 1)
    joint = scores.masked_fill(~own, 0.0).sum() / (n * places * codes)
    product = scores.masked_fill(own, -torch.inf).flatten().logsumexp(0)
    return joint - product + math.log(n * (n - 1) * places * codes)


second = Exercise(
    key="25.dv", title="A bound over places", minutes=8, difficulty=3, gradients=True, plain=True,
    reference="course_lib.methods.information.estimators:donsker_varadhan", probes=_dv_probes,
    wrong={
        "places masked in place of pairs": (
            _places_for_pairs,
            "Your mask tells places from codes, not own pairs from others. Broadcasting aligns shapes at their *ends*: "
            "an (N, N) mask lands on the axes L and M. This is the slip of DIM's published code. Give the mask two "
            "more axes, own[:, :, None, None], or pick pairs by index: scores[own]."),
        "the diagonal left in": (
            _dv(product=_log_mean_exp),
            "Your second mean runs over all pairs, own ones too. These are no draws of the product, and the reading "
            "can then never exceed log N."),
        "own pairs set to zero": (
            _zeroed,
            "You set own pairs to 0, but exp(0) is 1: they still count, and so do their places in the mean. Leave them "
            "out."),
        "one bound for each place": (
            _place_by_place,
            "You read the bound place by place and average. There is one expectation over all pairs *and* places, and "
            "the logarithm comes after it."),
        "the mean over all pairs for the joint": (
            _dv(joint=lambda s: s.mean()),
            "Your first mean runs over all pairs. The joint is drawn by the diagonal alone."),
        "own pairs added, but divided by all": (
            _masked_mean,
            "You multiply by the mask and take the mean over all N N entries: the own pairs' mean is N times "
            "larger. Divide by the number of entries that the mask keeps."),
        "the mean of the scores": (
            _dv(product=lambda s: _split(s)[1].mean()),
            "Without exp and log that is the Wasserstein objective. The second term is log of the mean of exp."),
        "the mean of the logarithms": (
            _dv(product=lambda s: torch.stack([_log_mean_exp(row) for row in _split(s)[1].chunk(len(s))]).mean()),
            "You take the logarithm for each image and average these. One mean over all other pairs, and its "
            "logarithm last."),
        "half of the other pairs": (
            _dv(product=lambda s: _log_mean_exp(s[torch.ones(len(s), len(s)).triu(1).bool()])),
            "Your second mean runs over the pairs above the diagonal alone. x_i with y_j and x_j with y_i are two "
            "draws: all N (N - 1) pairs off the diagonal."),
        "the other half of the other pairs": (
            _dv(product=lambda s: _log_mean_exp(s[torch.ones(len(s), len(s)).tril(-1).bool()])),
            "Your second mean runs over the pairs below the diagonal alone. Those above are draws of the product, "
            "too: all N (N - 1) pairs off the diagonal."),
        "one other image for each": (
            _dv(product=lambda s: _log_mean_exp(s[torch.eye(len(s)).bool().roll(1, 0)])),
            "You pair each x with one other y, which leaves most draws of the product unused: all N (N - 1) pairs off "
            "the diagonal."),
        "a sum of exponentials": (
            _dv(product=lambda s: _split(s)[1].flatten().logsumexp(0)),
            "logsumexp is the logarithm of a *sum*. Take off the logarithm of how many entries it has."),
        "log N off a sum over pairs": (
            _dv(product=lambda s: _split(s)[1].flatten().logsumexp(0) - math.log(len(s))),
            "Your sum runs over N (N - 1) L M entries, and you take off log N. The mean divides by how many there "
            "are: math.log(others.numel())."),
        "exp of the joint": (
            _dv(joint=lambda s: _log_mean_exp(_split(s)[0])),
            "The first term is the plain mean of own scores, without exp and log."),
        "exp without logsumexp": (
            _dv(product=lambda s: _split(s)[1].exp().mean().log()),
            "exp of a score of a few hundred is infinite, and so is your reading. logsumexp subtracts the largest "
            "score first."),
        "the signs turned": (
            lambda scores: -_dv()(scores),
            "Own pairs count for the bound, others against it."),
    },
    right={"a mask with two more axes": _by_mask,
           "pairs first": lambda scores: (lambda u, own: u[own].mean() - torch.logsumexp(u[~own].reshape(-1), 0)
                                          + math.log(u[~own].numel()))(
               scores, torch.eye(scores.shape[0]).bool())},
    hints=("Which of the four axes say whether a pair is an own one? What does a mask (N, N) times a tensor "
           "(N, N, L, M) do?",
           "own = torch.eye(N, dtype=torch.bool); scores[own] is (N, L, M), scores[~own] is (N (N - 1), L, M). The "
           "logarithm of a mean of exponentials: logsumexp minus the logarithm of the number of entries.",
           "own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)\n"
           "joint, others = scores[own], scores[~own]\n"
           "log_mean = others.flatten().logsumexp(0) - math.log(others.numel())\n"
           "return joint.mean() - log_mean"),
)


# ------------------------------------------------------------------------------------------------ 25.jsd
def _jsd_probes(generator, dtype):
    return [(1.5 * randn(generator, dtype, *shape) + 1.5 * torch.eye(n, dtype=dtype).view(n, n, *[1] * extra) - shift,)
            for n, extra, shape, shift in ((6, 0, (6, 6), 0.5), (4, 1, (4, 4, 3), 1.0), (9, 0, (9, 9), -0.5))]


def _jsd(scores: Tensor) -> Tensor:
    joint, product = _split(scores)
    return -F.softplus(-joint).mean() - F.softplus(product).mean()


def _trick(*, value=lambda s: nwj(s + 1), objective=_jsd):
    """The right one, or with one thing changed."""
    def answer(scores):
        signal = objective(scores)
        return signal + (value(scores) - signal).detach()

    return answer


def _exchanged(scores):
    joint, product = _split(scores)
    return -F.softplus(joint).mean() - F.softplus(-product).mean()


def _everywhere(scores):
    return -F.softplus(-_split(scores)[0]).mean() - F.softplus(scores).mean()


def _own_alone(scores):
    return -F.softplus(-_split(scores)[0]).mean()


def _in_probabilities(scores):
    """A right answer: logarithms of probabilities, and the other order of the trick."""
    joint, product = _split(scores)
    jsd = joint.sigmoid().log().mean() + (-product).sigmoid().log().mean()
    return nwj(scores + 1).detach() + jsd - jsd.detach()


third = Exercise(
    key="25.jsd", title="Learn by one, read the other", minutes=9, difficulty=4, gradients=True,
    reference="course_lib.methods.information.estimators:nwj_by_jsd", probes=_jsd_probes,
    wrong={
        "the copied code": (
            _trick(value=nwj),
            "Your reading is that of the widely copied code, which forgets the 1: JSD's best critic is r, NWJ's is "
            "r + 1. Read nwj(scores + 1)."),
        "one taken off": (
            _trick(value=lambda s: nwj(s - 1)),
            "The 1 goes the other way: NWJ's best critic is *larger* than JSD's by 1."),
        "NWJ's own gradient": (
            lambda scores: nwj(scores + 1),
            "The reading is right, and so is its gradient: NWJ's own. The signal is to be JSD's, which is calmer."),
        "no gradient": (
            lambda scores: nwj(scores + 1).detach() + 0 * scores.sum(),
            "The reading is right, but nothing can be learned from it: the gradient is 0. Add the JSD, and subtract "
            "its detached copy."),
        "JSD as the reading": (
            _jsd,
            "You return the JSD itself. It is no estimate in nats; read NWJ, and use the JSD for its gradient alone."),
        "both gradients": (
            lambda scores: nwj(scores + 1) + _jsd(scores) - _jsd(scores).detach(),
            "The gradient is the sum of both. Detach NWJ's value too: jsd + (value - jsd).detach()."),
        "softplus exchanged": (
            _trick(objective=_exchanged),
            "You reward low scores of own pairs. JSD has softplus of *minus* T for own pairs, of T for others, both "
            "with a minus in front."),
        "the diagonal left in": (
            _trick(objective=_everywhere),
            "Your second mean runs over all pairs: own pairs push themselves down. Leave the diagonal out."),
        "own pairs alone": (
            _trick(objective=_own_alone),
            "Without the second term the critic learns to say yes to everyone."),
        "the signs turned": (
            _trick(objective=lambda s: -_jsd(s)),
            "The gradient has the wrong sign. What you return is made large, as all estimates here."),
        "a sum over pairs": (
            _trick(objective=lambda s: -F.softplus(-_split(s)[0]).sum() - F.softplus(_split(s)[1]).sum()),
            "Two *means*: with sums the N (N - 1) other pairs outweigh the N own ones."),
        "Donsker-Varadhan as the signal": (
            _trick(objective=lambda s: _split(s)[0].mean() - _log_mean_exp(_split(s)[1])),
            "That is Donsker-Varadhan's gradient. JSD has softplus in place of exp, so no single pair can take over."),
    },
    right={
        "with 2 log 2": _trick(objective=lambda s: 2 * math.log(2) + _jsd(s)),
        "in probabilities": _in_probabilities,
        "binary cross-entropy": _trick(objective=lambda s: -F.binary_cross_entropy_with_logits(
            _split(s)[0], torch.ones_like(_split(s)[0])) - F.binary_cross_entropy_with_logits(
                _split(s)[1], torch.zeros_like(_split(s)[1]))),
    },
    hints=("You want one number and another number's gradient. What is the gradient of x.detach()? And of y + "
           "(x - y).detach(), what is the value?",
           "jsd = -softplus(-joint).mean() - softplus(product).mean(); the reading is nwj(scores + 1). Which of them "
           "is y in the first hint, and which is x?",
           "own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)\n"
           "joint, product = scores[own], scores[~own]\n"
           "jsd = -F.softplus(-joint).mean() - F.softplus(product).mean()\n"
           "return jsd + (nwj(scores + 1) - jsd).detach()"),
)


# ------------------------------------------------------------------------------------------------ 25.dim_step
def dim_step(encoder, place_net, code_net, optimizer, images, estimate):
    """One update of local DIM: maps (N, C, h, w) and codes (N, d) of images, estimate(scores (N, N, L)) -> nats."""
    maps, codes = encoder(images)
    places, queries = place_net(maps).flatten(2), code_net(codes)  # (N, u, L), (N, u)
    scores = torch.einsum("nu,kul->nkl", queries, places) / places.shape[1] ** 0.5
    reading = estimate(scores)
    optimizer.zero_grad()
    (-reading).backward()
    optimizer.step()
    return reading.item()


class _MapAndCode(nn.Module):
    """A convolution, and a linear code of its mean."""

    def __init__(self):
        super().__init__()
        self.conv, self.code = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 5)
        self.drop = nn.BatchNorm2d(4)

    def forward(self, images):
        maps = self.drop(self.conv(images)).tanh()
        return maps, self.code(maps.mean((2, 3)))


def _picks(scores: Tensor) -> Tensor:
    """InfoNCE place by place: code n (rows) picks its own image's place among all images'."""
    own = scores.diagonal().T  # (N, L)
    return (own - scores.logsumexp(1)).mean() + math.log(len(scores))


def _weighed(scores: Tensor) -> Tensor:
    """An estimate in which every place counts otherwise, so that their order and number show."""
    weights = torch.arange(1, scores.shape[2] + 1, dtype=scores.dtype)
    return _picks(scores * weights) - _jsd(scores)


def _step_probes(generator, dtype):
    return [(seed, [randn(generator, dtype, n, 2, h, w) for _ in range(3)], estimate)
            for seed, n, h, w, estimate in ((3, 6, 3, 4, _picks), (5, 4, 2, 3, _weighed))]


def _updates(step, seed: int, batches: list, estimate):
    """The harness: three updates by SGD with momentum; readings, weights, and the mode that is left."""
    dtype = batches[0].dtype
    parts = seeded(seed, dtype, lambda: nn.ModuleList([_MapAndCode(), nn.Conv2d(4, 7, 1), nn.Linear(5, 7)]))
    encoder, place, code = parts
    with torch.no_grad():
        place.weight.mul_(6)  # some scores are above 1, as a trained critic's are
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.2, momentum=0.5)
    found = steps(step, [(encoder, place, code, optimizer, images.clone(), estimate) for images in batches])
    if blank(found):
        return found
    return {"readings": found["losses"], "keeps its graph": found["keeps its graph"], "weights": weights_of(parts)}


def _scored(places, queries, scale=True):
    return torch.einsum("nu,kul->nkl", queries, places) / (places.shape[1] ** 0.5 if scale else 1)


def _stepping(*, heads=lambda place, code, maps, codes: (place(maps).flatten(2), code(codes)), score=_scored,
              gain=lambda r: -r, order="clear backward step", returns=lambda r: r.item(), before=lambda encoder: None):
    """A step of which one part is done otherwise."""
    def step(encoder, place_net, code_net, optimizer, images, estimate):
        before(encoder)
        reading = estimate(score(*heads(place_net, code_net, *encoder(images))))
        loss = gain(reading)
        return descend(loss, optimizer, order, lambda _: returns(reading))

    return step


def _by_matmul(encoder, place_net, code_net, optimizer, images, estimate):
    """A right answer: one large matrix product, cut into images and places afterwards."""
    optimizer.zero_grad(set_to_none=False)
    maps, codes = encoder(images)
    places = place_net(maps).flatten(2).transpose(1, 2)  # (N, L, u)
    n, count, units = places.shape
    scores = (code_net(codes) @ places.reshape(n * count, units).T).view(n, n, count) * units ** -0.5
    loss = -1 * estimate(scores)
    loss.backward()
    optimizer.step()
    return -float(loss)


fourth = Exercise(
    key="25.dim_step", title="One step of local DIM", minutes=12, difficulty=3, reference=dim_step,
    probes=_step_probes, call=_updates, tolerance=1e-4,
    words={"['readings']": "the readings", "['keeps its graph']": "whether a reading keeps its graph",
           "['weights']": "the weights after three steps"},
    wrong={
        "the information made small": (
            _stepping(gain=lambda r: r),
            "You minimise the reading, so the code forgets its image. The loss is *minus* the estimate."),
        "the loss returned": (
            _stepping(returns=lambda r: -r.item()),
            "You return the loss. The reading, in nats, is wanted: what estimate(scores) says."),
        "codes and images exchanged": (
            _stepping(score=lambda p, q: _scored(p, q).transpose(0, 1)),
            "Your rows are the images that places come from. Rows belong to codes: scores[n, k, l] is code n with "
            "place l of image k."),
        "no scale": (
            _stepping(score=lambda p, q: _scored(p, q, scale=False)),
            "The inner products are divided by the root of their width u, or they are too large to learn from."),
        "divided by the width": (
            _stepping(score=lambda p, q: _scored(p, q, scale=False) / p.shape[1]),
            "You divide by u. The *root* of u keeps the scores' standard deviation near 1."),
        "cosines": (
            _stepping(score=lambda p, q: torch.einsum("nu,kul->nkl", F.normalize(q, dim=1), F.normalize(p, dim=1))),
            "You compare by cosines, which are at most 1: a critic of such a small range cannot read much. Plain inner "
            "products over the root of u."),
        "places averaged first": (
            _stepping(heads=lambda place, code, maps, codes: (place(maps).flatten(2).mean(2, keepdim=True).expand(
                -1, -1, maps.shape[2] * maps.shape[3]), code(codes))),
            "You average over the places before scoring: then the code need not know any one of them. Local DIM "
            "scores each place."),
        "reshaped in place of transposed": (
            _stepping(heads=lambda place, code, maps, codes: (place(maps).reshape(
                len(maps), -1, place(maps).shape[1]).transpose(1, 2), code(codes))),
            "A reshape of (N, u, h, w) to (N, L, u) mixes channels and places. flatten(2) gives (N, u, L)."),
        "the map without a gradient": (
            _stepping(heads=lambda place, code, maps, codes: (place(maps.detach()).flatten(2), code(codes))),
            "No gradient reaches the encoder through the map. In DIM both sides learn."),
        "the code without a gradient": (
            _stepping(heads=lambda place, code, maps, codes: (place(maps).flatten(2), code(codes.detach()))),
            "No gradient reaches the encoder through the code. In DIM both sides learn."),
        "old gradients are kept": (
            _stepping(order="backward step"),
            "The first reading is right, later ones are not: backward() adds to what is there. optimizer.zero_grad() "
            "in every step."),
        "the weights do not move": (
            _stepping(order="clear backward"),
            "The first reading is right, and no weight moves: optimizer.step() after backward()."),
        "in evaluation mode": (
            _stepping(before=lambda encoder: encoder.eval()),
            "encoder.eval() makes batch norm use its running statistics. Train as the network comes."),
        "the graph is kept": (
            _stepping(returns=lambda r: r),
            "You return a tensor with its whole computation. reading.item()."),
    },
    right={"one large matrix product": _by_matmul},
    hints=("The encoder gives two things of each image. Score every code with every place of every image: which shape "
           "has that?",
           "places = place_net(maps).flatten(2) is (N, u, L), queries = code_net(codes) is (N, u); "
           "torch.einsum(\"nu,kul->nkl\", queries, places) over the root of u; then the update, with minus the "
           "estimate as the loss.",
           "maps, codes = encoder(images)\n"
           "places, queries = place_net(maps).flatten(2), code_net(codes)\n"
           "scores = torch.einsum(\"nu,kul->nkl\", queries, places) / places.shape[1] ** 0.5\n"
           "reading = estimate(scores)\n"
           "optimizer.zero_grad()\n"
           "(-reading).backward()\n"
           "optimizer.step()\n"
           "return reading.item()"),
)


EXERCISES = [first, second, third, fourth]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("A paper reports an InfoNCE estimate of 6.2 nats with batches of 512. What do you conclude?", {
        "The views share about 6.2 nats": "log 512 is 6.24. The reading is at its ceiling and says only: at least "
            "about that much.",
        "The batch is too small to say more than \"at least\"": "The reading cannot exceed log N, so near log N it "
            "measures the batch.",
        "The critic is overfitted": "It may be; but with these numbers no critic, however good, could read more.",
    }, "The batch is too small to say more than \"at least\""),
    quiz("You train a critic by JSD and read E[T] - E'[exp(T - 1)] from it. What do you get at the best critic?", {
        "I": "JSD's best critic is r; NWJ's is r + 1.",
        "I - 1/e": "E[r] - E'[exp(r)] / e, and E'[exp r] is 1. Add 1 to the scores first.",
        "I - 1": "The first term gives I; the second takes off 1/e, not 1.",
    }, "I - 1/e"),
    quiz("The encoder is invertible. InfoNCE's reading rises all through training. Does I(g(x); y) rise?", {
        "Yes, the bound pushes it up": "A lower bound may rise below a constant.",
        "No: it is constant; the critic reads more of it": "The code is arranged so that a simple critic can use it, "
            "and so can a linear probe.",
        "Only if the critic is an MLP": "Information does not depend on who reads it.",
    }, "No: it is constant; the critic reads more of it"),
    quiz("Transfer: two sensors on one machine. You want features of vibration that predict a failure, and "
         "maximise mutual information with the second sensor. Both hear the mains hum. What will be learned "
         "first?", {
        "What predicts failures": "Nothing in the objective knows of failures.",
        "The hum": "Shared, precise and easy to read. Views that share only what matters are the cure: change or "
            "filter the hum in one of them.",
        "Nothing, the information is too small": "A hum in phase is many nats.",
    }, "The hum"),
]
