"""Exercises of week 26, before SimCLR: a memory bank that moves, NCE, a step of NPID, PIRL's two terms."""
from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.pretext.npid import nce_loss
from course_lib.methods.pretext.pirl import pirl_loss
from lessons.exercises.shared import blank, descend, directions, rand, randn, small_network, steps, unit, weights_of


# ------------------------------------------------------------------------------------------------ 26.move_rows
def move_rows(rows: Tensor, indices: Tensor, z: Tensor, momentum: float = 0.5) -> Tensor:
    """Bank (N, D), int64 (B,), embeddings of any length (B, D) -> the new bank (N, D)."""
    moved = momentum * rows[indices] + (1 - momentum) * F.normalize(z, dim=1)
    return rows.index_copy(0, indices, F.normalize(moved, dim=1))


def _rows_probes(generator, dtype):
    def probe(n, b, d, **more):
        return dict(rows=directions(generator, dtype, n, d), indices=torch.randperm(n, generator=generator)[:b],
                    z=randn(generator, dtype, b, d) * (0.5 + 2 * rand(generator, dtype, b, 1)), **more)

    return [probe(9, 4, 3), probe(7, 3, 5, momentum=0.8), probe(11, 6, 4, momentum=0.2)]


def _moved(*, length=unit, before=unit, weights=lambda m: (m, 1 - m), back=None):
    """The right one, or with one thing changed."""
    def answer(rows, indices, z, momentum=0.5):
        old, new = weights(momentum)
        moved = length(old * rows[indices] + new * before(z))
        if back is not None:
            return back(rows, moved, indices)
        out = rows.clone()
        out[indices] = moved
        return out

    return answer


def _added(rows, moved, indices):
    return torch.cat([moved, rows[len(moved):]])


first = Exercise(
    key="26.move_rows", title="A row follows its image", minutes=6, difficulty=1,
    reference=move_rows, probes=_rows_probes,
    wrong={
        "rows not of length 1": (
            _moved(length=lambda z: z),
            "The mean of two vectors of length 1 is shorter than 1, and a short row scores low whatever it is compared "
            "with. Scale the moved rows to length 1."),
        "the embedding as long as it is": (
            _moved(before=lambda z: z),
            "Embeddings come in any length, and a long one would count for more than 1 - momentum says. Scale z to "
            "length 1 *before* you mix."),
        "momentum turned round": (
            _moved(weights=lambda m: (1 - m, m)),
            "momentum is the *old* row's share: 0 would replace it."),
        "the old row is thrown away": (
            _moved(weights=lambda m: (0, 1)),
            "Your rows are the newest embeddings: the old rows have no share."),
        "added, not mixed": (
            _moved(weights=lambda m: (1, 1 - m)),
            "The two shares add up to 1: the old row gets momentum, not all of itself."),
        "the first rows mixed in": (
            lambda rows, indices, z, momentum=0.5: rows.index_copy(
                0, indices, unit(momentum * rows[:len(z)] + (1 - momentum) * unit(z))),
            "You write into the right rows, but mix with the first B rows of the bank. Image b's old row is "
            "rows[indices[b]], not rows[b]."),
        "scaled by the largest entry": (
            _moved(before=lambda z: z / z.abs().amax(1, keepdim=True)),
            "You divide z by its largest entry. Length 1 means: divided by the root of the sum of squares, "
            "z.norm(dim=1, keepdim=True)."),
        "only the batch's rows": (
            _moved(back=lambda rows, moved, indices: moved),
            "You return the B rows that moved. The bank has N rows; the others stay as they are."),
        "the first rows move": (
            _moved(back=_added),
            "You wrote into the first B rows. Row indices[b] belongs to image b of the batch."),
    },
    right={"by lerp": lambda rows, indices, z, momentum=0.5: rows.index_put(
        (indices,), unit(unit(z).lerp(rows[indices], momentum)))},
    hints=("A moving average of directions. Which lengths must be 1, and when?",
           "mixed = momentum * rows[indices] + (1 - momentum) * F.normalize(z, dim=1); scale it again, and write it "
           "into a copy of the bank.",
           "moved = momentum * rows[indices] + (1 - momentum) * F.normalize(z, dim=1)\n"
           "new = rows.clone()\n"
           "new[indices] = F.normalize(moved, dim=1)\n"
           "return new"),
)


# ------------------------------------------------------------------------------------------------ 26.nce
def nce(scores: Tensor, log_z: float, n: int) -> dict[str, Tensor]:
    """Scores (B, 1 + K), the own row's first, the logarithm of Z, n rows -> scalars "loss", "data", "noise"."""
    parts = nce_loss(scores, log_z, n, eps=0.0)
    data, noise = parts["data"], parts["noise"]
    return {"loss": data + noise, "data": data, "noise": noise}


def _nce_probes(generator, dtype):
    def probe(b, k, n, shift, as_tensor=False):
        log_z = math.log(n) + shift if as_tensor else 0.0
        return (4 * rand(generator, dtype, b, 1 + k) - 2, torch.tensor(log_z, dtype=dtype) if as_tensor else log_z, n)

    return [probe(3, 5, 20, 0.7, True), probe(4, 2, 31, -0.4, True), probe(2, 7, 50, 1.5, True), probe(5, 3, 9, 0)]


def _constant_z(fn, scores, log_z, n):
    """The harness: Z is a constant, whether somebody detaches it or not."""
    return fn(scores, log_z.detach() if isinstance(log_z, Tensor) else log_z, n)


def _nce(*, k=lambda scores: scores.shape[1] - 1, p=lambda scores, log_z, n: (scores - log_z).exp(),
         balance=lambda k, n: k / n, noise=lambda h: -(1 - h[:, 1:]).log().sum(1), data=lambda h: -h[:, 0].log(),
         total=lambda data, noise: data + noise, over=lambda values: values.mean()):
    """The right one, or with one thing changed."""
    def answer(scores, log_z, n):
        likely = p(scores, log_z, n)
        h = likely / (likely + balance(k(scores), n))
        parts = {"data": over(data(h)), "noise": over(noise(h))}
        return {"loss": total(parts["data"], parts["noise"]), **parts}

    return answer


def _nce_of(h):
    data, noise = -h[:, 0].log().mean(), -(1 - h[:, 1:]).log().sum(1).mean()
    return {"loss": data + noise, "data": data, "noise": noise}


def _fresh_z(scores, log_z, n):
    return scores.exp() / (n * scores.exp().mean())


def _softplus(scores, log_z, n):
    """A right answer: log-odds, and the softplus of each."""
    odds = scores - log_z - math.log((scores.shape[1] - 1) / n)
    data, noise = F.softplus(-odds[:, 0]).mean(), F.softplus(odds[:, 1:]).sum(1).mean()
    return {"loss": data + noise, "data": data, "noise": noise}


second = Exercise(
    key="26.nce", title="Is it the image, or one of K drawn rows?", minutes=10, difficulty=3,
    reference=nce, probes=_nce_probes, gradients=True, call=_constant_z,
    wrong={
        "the noise terms averaged": (
            _nce(noise=lambda h: -(1 - h[:, 1:]).log().mean(1)),
            "The K noise terms are *summed* for each image. Averaged, the noise weighs K times less than the K in h "
            "says."),
        "Z estimated anew": (
            _nce(p=_fresh_z),
            "You worked out Z from these scores. Then Z rises with the scores, and P hardly can. Z is given: "
            "exp(log_z)."),
        "scores without Z": (
            _nce(p=lambda scores, log_z, n: scores.exp()),
            "exp(score) is not yet a probability: divide by Z, that is exp(scores - log_z)."),
        "one draw of noise": (
            _nce(balance=lambda k, n: 1 / n),
            "There are K draws of noise for one of data, so the noise in h weighs K / n, not 1 / n."),
        "the noise without 1 / n": (
            _nce(balance=lambda k, n: k),
            "Each row is drawn with the probability 1 / n, so K draws give K / n, not K."),
        "K counts the own row": (
            _nce(k=lambda scores: scores.shape[1]),
            "K is the number of drawn rows. scores has one column more: the image's own."),
        "K is the batch": (
            _nce(k=len),
            "You took the number of images for K. K is the number of drawn rows: the columns of scores, less one."),
        "n over K": (
            _nce(balance=lambda k, n: n / k),
            "Noise is drawn K times, each row with probability 1 / n: K / n, not n / K."),
        "noise beside 1": (
            lambda scores, log_z, n: _nce_of((scores - log_z).exp() / (1 + (scores.shape[1] - 1) / n)),
            "h = P / (P + K / n): the denominator adds both hypotheses, P and the noise, not 1 and the noise."),
        "Z as a score": (
            _nce(p=lambda scores, log_z, n: (scores / log_z).exp() if log_z else scores.exp()),
            "P = exp(score) / Z is exp(score - log Z): a difference of logarithms, not their ratio."),
        "the own row as noise, too": (
            _nce(noise=lambda h: -(1 - h).log().sum(1)),
            "The first column is the image's own row: it belongs to the data term. Sum the noise over columns 1 to K."),
        "noise taken for data": (
            _nce(noise=lambda h: -h[:, 1:].log().sum(1)),
            "Of a drawn row the right answer is *noise*, with the probability 1 - h: log(1 - h), not log(h)."),
        "only the data term": (
            _nce(total=lambda data, noise: data),
            "The loss has two terms. With the data alone it is smallest when every score is high."),
        "the sign turned": (
            _nce(data=lambda h: h[:, 0].log(), noise=lambda h: (1 - h[:, 1:]).log().sum(1)),
            "These are log-likelihoods, which are to be large. The loss is their negative."),
        "summed over the batch": (
            _nce(over=lambda values: values.sum()),
            "Sum over the K rows, but take the *mean* over the images of the batch."),
    },
    right={"softplus of log-odds": _softplus},
    hints=("Two hypotheses for a row: the image's own (probability P), or one of K drawn ones (K / n). What is the "
           "probability h of the first?",
           "p = exp(scores - log_z), h = p / (p + K / n). data: -log h of column 0. noise: -log(1 - h), summed over "
           "the other columns. Means over the images.",
           "k = scores.shape[1] - 1\n"
           "p = torch.exp(scores - log_z)\n"
           "h = p / (p + k / n)\n"
           "data = -torch.log(h[:, 0]).mean()\n"
           "noise = -torch.log(1 - h[:, 1:]).sum(dim=1).mean()\n"
           "return {\"loss\": data + noise, \"data\": data, \"noise\": noise}"),
)


# ------------------------------------------------------------------------------------------------ 26.npid_step
def npid_step(network: nn.Module, optimizer: torch.optim.Optimizer, bank: dict, view: Tensor, indices: Tensor,
              drawn: Tensor, temperature: float = 0.1, momentum: float = 0.5) -> float:
    """A training step with the bank {"rows": (N, D), "log_z": None until known}, which it changes -> the loss."""
    v = F.normalize(network(view), dim=1)
    columns = torch.cat([indices[:, None], drawn], dim=1)
    scores = torch.einsum("bd,bmd->bm", v, bank["rows"][columns]) / temperature
    n = len(bank["rows"])
    if bank["log_z"] is None:
        bank["log_z"] = scores.detach().exp().mean().log() + math.log(n)
    loss = nce(scores, bank["log_z"], n)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    bank["rows"] = move_rows(bank["rows"], indices, v.detach(), momentum)
    return loss.item()


def _step_probes(generator, dtype):
    def probe(seed, n, b, k, width, out, **more):
        batches = [(randn(generator, dtype, b, width), torch.randperm(n, generator=generator)[:b],
                    torch.randint(n, (b, k), generator=generator)) for _ in range(3)]
        return dict(network=small_network(seed, dtype, width, 6, out), rows=directions(generator, dtype, n, out),
                    batches=batches, **more)

    seeds = torch.randint(2**30, (3,), generator=generator).tolist()
    return [probe(seeds[0], 12, 7, 4, 4, 3, temperature=0.5, momentum=0.7),
            probe(seeds[1], 10, 6, 5, 5, 4, temperature=0.3, momentum=0.2), probe(seeds[2], 11, 8, 3, 4, 5)]


def _three_steps(step, network, rows, batches, **settings):
    network = copy.deepcopy(network).train()
    optimizer, bank = torch.optim.SGD(network.parameters(), lr=0.05), {"rows": rows.clone(), "log_z": None}
    known = []

    def noted(*given, **settings):
        loss = step(*given, **settings)
        known.append(float("nan") if bank["log_z"] is None else float(bank["log_z"]))
        return loss

    found = steps(noted, [(network, optimizer, bank, *batch) for batch in batches], **settings)
    if blank(found):
        return found
    return {**found, "log_z": known, "rows": bank["rows"].detach(), "weights": weights_of(network)}


def _stepped(*, z_each=False, z_of=lambda scores: scores, with_n=True, early=False, mixed=None,
             order="clear backward step", back=Tensor.item, length=unit,
             columns=lambda own, drawn: torch.cat([own, drawn], 1), moved=None, cold=True,
             part="loss", who=lambda indices, drawn: indices):
    """A step with one thing changed."""
    def step(network, optimizer, bank, view, indices, drawn, temperature=0.1, momentum=0.5):
        v = length(network(view))
        follow = moved or move_rows
        if early:
            bank["rows"] = follow(bank["rows"], indices, v.detach(), momentum)
        n = len(bank["rows"])
        scores = (v[:, None] * bank["rows"][columns(indices[:, None], drawn)]).sum(2)
        scores = scores / temperature if cold else scores
        if z_each or bank["log_z"] is None:
            z = z_of(scores.detach()).exp().mean()
            bank["log_z"] = float((z * n if with_n else z).log())
        loss = nce(scores, bank["log_z"], n)[part]
        told = descend(loss, optimizer, order, back)
        if not early:
            seen = (mixed(network, view) if mixed else v).detach()
            bank["rows"] = follow(bank["rows"], who(indices, drawn), seen, momentum)
        return told

    return step


def _after_the_step(network, view):
    with torch.no_grad():
        return network(view)


third = Exercise(
    key="26.npid_step", title="A step of NPID", minutes=14, difficulty=4,
    reference=npid_step, probes=_step_probes, call=_three_steps,
    words={"['losses']": "the losses of three steps", "['log_z']": "log Z after each of three steps",
           "['rows']": "the bank after three steps", "['weights']": "the network's weights after three steps",
           "['keeps its graph']": "whether the loss keeps its graph"},
    wrong={
        "Z anew in each step": (
            _stepped(z_each=True),
            "You estimate Z in every step. It is estimated once, by the first batch, and kept: only while "
            "bank[\"log_z\"] is None."),
        "Z without n": (
            _stepped(with_n=False),
            "Z is a sum over all n rows. The mean of exp(score) over those that you have is an n-th of it: times n."),
        "Z of the drawn rows only": (
            _stepped(z_of=lambda scores: scores[:, 1:]),
            "Here Z is estimated by *all* scores of the first batch, the own rows' among them, as in the release."),
        "the bank moves first": (
            _stepped(early=True),
            "You moved the rows before the scores, so each image meets itself as it is now. First the loss, then the "
            "bank."),
        "the bank takes a second look": (
            _stepped(mixed=_after_the_step),
            "You encoded the view again after the update. The row takes in the v that the loss was computed with."),
        "the bank never moves": (
            _stepped(moved=lambda rows, *_: rows),
            "The rows stay as they were. Let the batch's rows follow: move_rows(rows, indices, v, momentum)."),
        "only the data term learns": (
            _stepped(part="data"),
            "Your loss is nce's \"data\" alone: it is smallest when *all* scores are high. Take \"loss\", with the "
            "noise."),
        "the drawn rows move": (
            _stepped(who=lambda indices, drawn: drawn[:, 0]),
            "You moved rows that were drawn as noise. v belongs to the image, so it moves row indices[b]."),
        "moved rows of any length": (
            _stepped(moved=lambda rows, indices, v, m: rows.index_copy(0, indices, m * rows[indices] + (1 - m) * v)),
            "The moved rows are shorter than 1: the mean of two directions has to be scaled again, as move_rows does."),
        "only drawn rows": (
            _stepped(columns=lambda own, drawn: drawn),
            "The image's own row is missing: column 0 must be row indices[b]."),
        "the own row last": (
            _stepped(columns=lambda own, drawn: torch.cat([drawn, own], 1)),
            "nce expects the own row in the *first* column."),
        "v of any length": (
            _stepped(length=lambda z: z),
            "A score is a cosine over the temperature: scale v to length 1."),
        "no temperature": (
            _stepped(cold=False),
            "The scores are cosines *over the temperature*."),
        "gradients never cleared": (
            _stepped(order="backward step"),
            "backward *adds* to .grad: optimizer.zero_grad() before it."),
        "the network never learns": (
            _stepped(order="clear backward"),
            "The weights are those of the start: zero_grad, backward, step."),
        "the loss keeps its graph": (
            _stepped(back=lambda loss: loss),
            "You return the tensor with its whole computation. Return loss.item()."),
    },
    right={"a step with the pieces written out": _stepped()},
    hints=("Embed, score against the own row and the drawn ones, NCE, update. When is Z worked out, and when does the "
           "bank move?",
           "columns = torch.cat([indices[:, None], drawn], 1); rows[columns] is (B, 1 + K, D). log Z: the logarithm of "
           "n times the mean of exp(scores), if bank[\"log_z\"] is None. move_rows comes last, with v.detach().",
           "v = F.normalize(network(view), dim=1)\n"
           "rows = bank[\"rows\"]\n"
           "columns = torch.cat([indices[:, None], drawn], dim=1)\n"
           "scores = (v[:, None] * rows[columns]).sum(2) / temperature\n"
           "if bank[\"log_z\"] is None:\n"
           "    bank[\"log_z\"] = torch.log(len(rows) * scores.detach().exp().mean())\n"
           "loss = nce(scores, bank[\"log_z\"], len(rows))[\"loss\"]\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "bank[\"rows\"] = move_rows(rows, indices, v.detach(), momentum)\n"
           "return loss.item()"),
)


# ------------------------------------------------------------------------------------------------ 26.pirl_terms
def pirl_terms(g: Tensor, v: Tensor, rows: Tensor, indices: Tensor, drawn: tuple[Tensor, Tensor], lam: float = 0.5,
               temperature: float = 0.1) -> dict[str, Tensor]:
    """Of pieces and pictures (B, D) each, bank (N, D), int64 (B,) and twice (B, K) -> "loss", "pieces", "image"."""
    own = indices[:, None]
    pieces, image = (torch.einsum("bd,bmd->bm", z, rows[torch.cat([own, others], dim=1)]) / temperature
                     for z, others in zip((g, v), drawn))
    return pirl_loss(pieces, image, None, len(rows), lam)


def _pirl_probes(generator, dtype):
    def probe(b, d, n, k, *more):
        drawn = tuple(torch.randint(n, (b, k), generator=generator) for _ in range(2))
        return (directions(generator, dtype, b, d), directions(generator, dtype, b, d),
                directions(generator, dtype, n, d), torch.randperm(n, generator=generator)[:b], drawn, *more)

    return [probe(3, 4, 11, 5), probe(4, 3, 9, 6, 0.2, 0.5), probe(2, 5, 8, 3, 0.7, 0.3)]


def _given_bank(fn, g, v, rows, *rest, **named):
    """The harness: no gradient goes into the bank, whether somebody detaches its rows or not."""
    return fn(g, v, rows.detach(), *rest, **named)


def _terms(*, positive=lambda g, v, own: (own, own), pick=lambda drawn: drawn, weights=lambda lam: (lam, 1 - lam),
           swap=False, top=lambda total: total, heat=lambda t: t, negatives=lambda rows, which: rows[which]):
    """The right one, or with one thing changed."""
    def answer(g, v, rows, indices, drawn, lam=0.5, temperature=0.1):
        found = []
        for z, near, which in zip((g, v), positive(g, v, rows[indices]), pick(drawn)):
            same, far = (z * near).sum(1, keepdim=True), torch.einsum("bd,bkd->bk", z, negatives(rows, which))
            scores = torch.cat([same, far], 1) / heat(temperature)
            found.append((top(scores).logsumexp(1) - scores[:, 0]).mean())
        a, b = weights(lam)
        return {"loss": a * found[0] + b * found[1], "pieces": found[swap], "image": found[1 - swap]}

    return answer


def _summed(pieces, image, lam):
    return {"loss": lam * pieces + (1 - lam) * image, "pieces": pieces, "image": image}


def _likely(g, v, rows, indices, drawn, lam=0.5, temperature=0.1):
    """The mean probability of the own row, for pieces and pictures."""
    own = indices[:, None]
    return {name: ((z[:, None] * rows[torch.cat([own, others], 1)]).sum(2) / temperature).softmax(1)[:, 0].mean()
            for name, z, others in zip(("pieces", "image"), (g, v), drawn)} | {"lam": lam}


fourth = Exercise(
    key="26.pirl_terms", title="Two terms, one row", minutes=9, difficulty=3,
    reference=pirl_terms, probes=_pirl_probes, gradients=True, call=_given_bank,
    wrong={
        "pieces against the picture": (
            _terms(positive=lambda g, v, own: (v, own)),
            "You compared the pieces with the picture's *embedding*. Both meet the picture's row of the bank, and "
            "never each other."),
        "each against the other": (
            _terms(positive=lambda g, v, own: (v, g)),
            "That is SimCLR's pair. Here both are compared with the picture's *row*."),
        "one draw for both": (
            _terms(pick=lambda drawn: (drawn[0], drawn[0])),
            "The picture's term has negatives of its own: the second draw."),
        "the draws exchanged": (
            _terms(pick=lambda drawn: (drawn[1], drawn[0])),
            "The first draw belongs to the pieces, the second to the picture."),
        "all rows of the bank": (
            lambda g, v, rows, indices, drawn, lam=0.5, temperature=0.1: _summed(
                *(F.cross_entropy(z @ rows.T / temperature, indices) for z in (g, v)), lam),
            "You compare with *all* rows, as NPID's softmax does. PIRL's terms each have K drawn rows of their own: "
            "rows[drawn[0]] for the pieces, rows[drawn[1]] for the picture."),
        "probabilities without logarithm": (
            lambda *arguments, **named: (lambda p: _summed(-p["pieces"], -p["image"], p["lam"]))(
                _likely(*arguments, **named)),
            "You take minus the probability of the own row. The loss is the cross-entropy, minus its *logarithm*."),
        "the mean of the negatives": (
            _terms(top=lambda s: torch.cat([s[:, :1], s[:, 1:] - math.log(s.shape[1] - 1)], 1)),
            "In the denominator you average over the drawn rows. The softmax adds all of them."),
        "length 1 once more": (
            lambda g, v, *rest, **named: pirl_terms(unit(g), unit(v), *rest, **named),
            "The values are right, but g and v come with length 1. Scaled again, a step along their own direction no "
            "longer counts, and the gradient changes."),
        "lam turned round": (
            _terms(weights=lambda lam: (1 - lam, lam)),
            "lam weighs the *pieces*: lam = 0 is NPID."),
        "lam for both": (
            _terms(weights=lambda lam: (lam, lam)),
            "The picture's term weighs 1 - lam."),
        "the terms added up": (
            _terms(weights=lambda lam: (1, 1)),
            "lam * pieces + (1 - lam) * image: the weights add up to 1."),
        "the two names exchanged": (
            _terms(swap=True),
            "The loss is right, but \"pieces\" holds the picture's term."),
        "the own row not in the sum": (
            _terms(top=lambda scores: scores[:, 1:]),
            "In a softmax over 1 + K rows the own row is in the denominator, too."),
        "no temperature": (
            _terms(heat=lambda t: 1),
            "The scores are cosines *over the temperature*."),
    },
    right={"row by row": _terms()},
    hints=("Whose embedding is compared with which row? How often does the bank appear in the two terms?",
           "For z, others in ((g, drawn[0]), (v, drawn[1])): scores of z with rows[indices] in column 0 and "
           "rows[others] behind it, over the temperature; cross-entropy with target 0.",
           "terms = []\n"
           "for z, others in ((g, drawn[0]), (v, drawn[1])):\n"
           "    columns = torch.cat([indices[:, None], others], dim=1)\n"
           "    scores = (z[:, None] * rows[columns]).sum(2) / temperature\n"
           "    target = torch.zeros(len(z), dtype=torch.long)\n"
           "    terms.append(F.cross_entropy(scores, target))\n"
           "loss = lam * terms[0] + (1 - lam) * terms[1]\n"
           "return {\"loss\": loss, \"pieces\": terms[0], \"image\": terms[1]}"),
)


EXERCISES = [first, second, third, fourth]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("Why does NPID move its row after the loss, and not before?", {
        "It saves memory": "Both orders keep one bank.",
        "Else the image meets its own embedding": "Moved first, the row holds half of v itself: the score is high "
            "whatever the network has learned, and the loss teaches less.",
        "The order makes no difference": "It does: half of the target would then be v.",
    }, "Else the image meets its own embedding"),
    quiz("A colleague estimates Z anew in every step, 'since the old one is out of date'. What happens?", {
        "P is better calibrated, so training is better": "It is calibrated, but NCE treats Z as a constant. An "
            "estimate from the same scores rises with them.",
        "Raising all scores together no longer changes P": "Then P says only how scores differ within the batch, and "
            "NCE's balance of P with K / n is another one than was meant.",
        "The loss is no longer finite": "It is finite.",
    }, "Raising all scores together no longer changes P"),
    quiz("A fair test of 'a bank is better than a batch' needs which control?", {
        "The same number of steps": "A step of SimCLR sees twice as many views.",
        "The same time, images, views, encoder, and a head of the same kind": "Here SimCLR has a head of two layers "
            "with batch norm, NPID a linear one. Our table compares recipes, not only banks.",
        "The same loss value": "Losses with different numbers of candidates are not comparable.",
    }, "The same time, images, views, encoder, and a head of the same kind"),
    quiz("Transfer: a stream of images, each seen once. Which of these ideas can still be used?", {
        "A memory bank with a row for each image": "A row is met again only when its image comes back. It never does.",
        "SimCLR's batch, or MoCo's queue": "Both take negatives from what has just been seen, and the positive from "
            "a second view.",
        "SeLa's labels for all images": "They are found for a fixed set.",
    }, "SimCLR's batch, or MoCo's queue"),
]
