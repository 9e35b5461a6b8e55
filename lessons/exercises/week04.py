"""Exercises of week 4, SimCLR: who is whose partner, the loss, what each negative gets of it, and soft labels."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.exercises.spec import Exercise
from course_lib.methods.contrastive.simclr import partners
from lessons.exercises.shared import directions, randn, unit


# ------------------------------------------------------------------------------------------------ 04.partner
def _partner_probes(generator, dtype):
    return [(3,), (1,), dict(n=4), (7,)]


def _not_self(n: int) -> Tensor:
    return ~torch.eye(2 * n, dtype=torch.bool)


def _with_partner(rule):
    return lambda n: (rule(torch.arange(2 * n), n), _not_self(n))


def _with_others(rule):
    return lambda n: (torch.arange(2 * n).roll(n), rule(torch.arange(2 * n), n))


partner = Exercise(
    key="04.partner", title="Who is whose other half?", minutes=4, difficulty=1,
    reference="course_lib.methods.contrastive.simclr:partners", probes=_partner_probes,
    words={'[0]': 'partner', '[1]': 'others'},
    wrong={
        "neighbours in the list": (
            _with_partner(lambda i, n: i ^ 1),
            "That is the layout view 1, view 2, view 1, view 2, ... Here all first views stand above all second "
            "views, so rows 0 and 1 are two *different* images. The network would be taught to confuse them."),
        "each is its own partner": (
            _with_partner(lambda i, n: i),
            "You name each view itself. Its partner is the other view of the same image, N rows further."),
        "partners of the first views only": (
            lambda n: (torch.arange(n, 2 * n), _not_self(n)),
            "All 2N views are anchors, those of the second half too: theirs stand N rows above."),
        "only the first half is moved": (
            _with_partner(lambda i, n: torch.where(i < n, i + n, i)),
            "Right for the first views. A second view in row i has its partner in row i - N."),
        "the list turned round": (
            _with_partner(lambda i, n: i.flip(0)),
            "Reversing the list pairs the first view of image 0 with the second view of the *last* image. Shift it by "
            "N."),
        "the partner may not be chosen": (
            _with_others(lambda i, n: (i[:, None] - i) % n != 0),
            "Only the anchor itself is left out. If the partner is out as well, the right answer is not among the "
            "answers (and in the loss its term is missing below the fraction)."),
        "only views of the other side": (
            _with_others(lambda i, n: (i[:, None] < n) != (i < n)),
            "An anchor chooses among *all* other views, those of its own side too: 2N - 1, not N."),
        "the mask the wrong way round": (
            _with_others(lambda i, n: i[:, None] == i),
            "`others` is True where the anchor may choose: everywhere but on the diagonal."),
    },
    right={
        "remainders": lambda n: ((torch.arange(2 * n) + n) % (2 * n),
                                 torch.ones(2 * n, 2 * n).fill_diagonal_(0).bool()),
        "two halves swapped": lambda n: (torch.cat([torch.arange(n, 2 * n), torch.arange(n)]), _not_self(n)),
    },
    hints=("Write the list for N = 3: rows 0, 1, 2 are first views, rows 3, 4, 5 second views. Who belongs to whom?",
           "i goes to i + N, and from 2N on it starts again: torch.arange(2 * n).roll(n).",
           "rows = torch.arange(2 * n)\n"
           "partner = rows.roll(n)\n"
           "others = ~torch.eye(2 * n, dtype=torch.bool)\n"
           "return partner, others"),
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


nt_xent = Exercise(
    key="04.nt_xent", title="NT-Xent, the whole loss", minutes=10, difficulty=3,
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
        "the logarithm of the mean": (
            _nt(_log_of_mean),
            "Take -log for each anchor and then the mean. The logarithm of the mean probability hardly cares for the "
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
    hints=("It is a classification: each of 2N rows has 2N - 1 answers and one right class. Which function is that?",
           "z = F.normalize(torch.cat([a, b]), dim=1); logits = z @ z.T / temperature; the diagonal gets -torch.inf.",
           "z = F.normalize(torch.cat([a, b]), dim=1)\n"
           "partner, others = partners(len(a))\n"
           "logits = (z @ z.T / temperature).masked_fill(~others, -torch.inf)\n"
           "accuracy = (logits.argmax(1) == partner).float().mean()\n"
           'return {"loss": F.cross_entropy(logits, partner), "accuracy": accuracy}'),
)


def _without_diagonal(a, b, temperature):
    n = len(a)
    z = unit(torch.cat([a, b]))
    logits = (z @ z.T)[_not_self(n)].view(2 * n, 2 * n - 1) / temperature
    who = torch.cat([torch.arange(n - 1, 2 * n - 1), torch.arange(n)])  # one column to the left beyond the diagonal
    return _result(logits, who)


# ------------------------------------------------------------------------------------------------
# 04.temperature_weights
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
           "shares = (similarity / temperature).masked_fill(~others, -torch.inf).softmax(1), partner and others as "
           "before.",
           "partner, others = partners(len(similarity) // 2)\n"
           "shares = (similarity / temperature).masked_fill(~others, -torch.inf).softmax(1)\n"
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


EXERCISES = [partner, nt_xent, weights, distill]
