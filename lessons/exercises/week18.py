"""Exercises of week 18, a mixture of experts: the E-step, a gate's fixed centres, contrastive experts, MiCE's step."""
from __future__ import annotations

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.clustering.mice import expert_log_probabilities
from course_lib.models.layers import Queue
from course_lib.models.teacher import ema_update
from lessons.exercises.shared import (
    BASIC,
    blank,
    descend,
    directions,
    has_gradient,
    randn,
    small_network,
    steps,
    unit,
    update_mistakes,
    weights_of,
)


# ------------------------------------------------------------------------------------------------ 18.responsibilities
def responsibilities(log_pi: Tensor, log_phi: Tensor) -> Tensor:
    """E-step: log pi and log Phi (N, K) -> q (N, K), the probability that expert k answers for image n."""
    return (log_pi + log_phi).softmax(dim=1)


def _responsibility_probes(generator, dtype):
    draw = partial(randn, generator, dtype)

    def pair(n, k, spread):
        return F.log_softmax(draw(n, k), dim=1), -5 + spread * draw(n, k).clamp(-3, 1.5)

    return [pair(5, 3, 1.0), pair(3, 6, 2.0), dict(zip(("log_pi", "log_phi"), pair(7, 4, 0.3)))]


first = Exercise(
    key="18.responsibilities", title="Who answers for this image?", minutes=6, difficulty=1,
    reference=responsibilities, probes=_responsibility_probes,
    wrong={
        "the gate is left out": (
            lambda log_pi, log_phi: log_phi.softmax(1),
            "You ask the experts alone. The gate's log_pi says how likely each expert is before anybody has looked."),
        "the experts are left out": (
            lambda log_pi, log_phi: log_pi.exp(),
            "That is the gate alone, the *prior*. The posterior also counts how well each expert knows the image: "
            "log_phi."),
        "softmax over the images": (
            lambda log_pi, log_phi: (log_pi + log_phi).softmax(0),
            "Your columns sum to 1: images compete for an expert. It is the experts who compete for an image: over "
            "dim 1."),
        "not divided by the sum": (
            lambda log_pi, log_phi: (log_pi + log_phi).exp(),
            "These are the joint probabilities pi * Phi. Divide each row by its sum, so that somebody answers for "
            "every image."),
        "one answer, not a share": (
            lambda log_pi, log_phi: F.one_hot((log_pi + log_phi).argmax(1), log_pi.shape[1]).to(log_pi),
            "That is k-means' step: all to the likeliest. EM keeps the shares."),
        "probabilities added": (
            lambda log_pi, log_phi: (log_pi.exp() + log_phi.exp()) / (log_pi.exp() + log_phi.exp()).sum(1, True),
            "You added the probabilities. Prior and likelihood are *multiplied*; their logarithms are added."),
        "softmax of the probabilities": (
            lambda log_pi, log_phi: (log_pi + log_phi).exp().softmax(1),
            "softmax exponentiates by itself. You gave it probabilities; give it the sum of the logarithms."),
        "the logarithm comes back": (
            lambda log_pi, log_phi: (log_pi + log_phi).log_softmax(1),
            "That is log q. Wanted is q, with rows that sum to 1."),
        "subtracted": (
            lambda log_pi, log_phi: (log_phi - log_pi).softmax(1),
            "A minus divides by the prior: the less the gate trusts an expert, the more it answers. Add the two."),
    },
    right={
        "multiplied and divided": lambda log_pi, log_phi: (log_pi + log_phi).exp() / (log_pi + log_phi).exp().sum(1)[
            :, None],
        "logsumexp": lambda log_pi, log_phi: torch.exp(
            log_pi + log_phi - (log_pi + log_phi).logsumexp(1, keepdim=True)),
    },
    hints=("Bayes: posterior = prior times likelihood, divided by the sum over the experts.",
           "Add the logarithms, then softmax. Over which dim do the values sum to 1?",
           "return (log_pi + log_phi).softmax(dim=1)"),
)


# ------------------------------------------------------------------------------------------------ 18.centers
def centers(clusters: int, dim: int) -> Tensor:
    """K directions, as far from each other as they can be: (K, D) of length 1, float32; D is at least K."""
    corners = torch.eye(clusters, dim)
    return F.normalize(corners - corners.mean(dim=0), dim=1)


def _center_probes(generator, dtype):
    return [(3, 4), (4, 7), dict(clusters=8, dim=16), (5, 9)]


def _cosines_of(step, clusters, dim):
    """The harness: which directions are chosen does not matter, only what lies between them."""
    got = step(clusters, dim)
    if not isinstance(got, Tensor):
        return got
    if got.shape != (clusters, dim):
        return {"shape": tuple(got.shape)}
    return {"shape": tuple(got.shape), "lengths": got.norm(dim=1), "cosines": unit(got) @ unit(got).T}


def _around_a_circle(clusters, dim):
    angle = 2 * math.pi * torch.arange(clusters) / clusters
    return F.pad(torch.stack([angle.cos(), angle.sin()], dim=1), (0, dim - 2))


def _simplex(clusters, dim):
    """A right answer: corner by corner, each at the wanted cosines with those before it."""
    found = torch.zeros(clusters, dim)
    for i in range(clusters):
        for j in range(i):
            found[i, j] = (-1 / (clusters - 1) - found[i, :j] @ found[j, :j]) / found[j, j]
        if i < clusters - 1:
            found[i, i] = (1 - found[i].square().sum()).sqrt()
    return found


second = Exercise(
    key="18.centers", title="Centres that are equally far apart", minutes=8, difficulty=3,
    reference=centers, probes=_center_probes, call=_cosines_of, plain=True, tolerance=1e-4,
    words={"['shape']": "the shape", "['lengths']": "the lengths", "['cosines']": "the table of cosines"},
    wrong={
        "at right angles": (
            lambda clusters, dim: torch.eye(clusters, dim),
            "Their cosines are 0. Two of them can be turned further apart while the others wait: all can reach "
            "-1 / (K - 1). What do the K axes have in common that you can take off?"),
        "not of length 1": (
            lambda clusters, dim: torch.eye(clusters, dim) - torch.eye(clusters, dim).mean(0),
            "The angles are right. Scale each row to length 1: a centre is a direction."),
        "the mean of each row taken off": (
            lambda clusters, dim: unit(torch.eye(clusters, dim) - torch.eye(clusters, dim).mean(1, keepdim=True)),
            "You took off 1 / D, a mean within each row. What all corners share is their mean over the *rows*: dim 0."),
        "spread around a circle": (
            _around_a_circle,
            "On a circle, neighbours come close as K grows. You have D dimensions: no two need be nearer than any "
            "others."),
        "opposite pairs": (
            lambda clusters, dim: torch.cat([torch.eye(clusters, dim)[: (clusters + 1) // 2],
                                             -torch.eye(clusters, dim)[: clusters // 2]]),
            "Opposites are as far apart as two can be, but the pairs are at right angles to each other: cosine 0. All "
            "cosines are to be the same, -1 / (K - 1)."),
    },
    right={"corner by corner": _simplex},
    hints=("torch.eye(K, D): K axes, all at right angles. They are equally far apart, but not as far as they could be.",
           "Their mean is a direction that all share. Take it off, and scale what is left.",
           "corners = torch.eye(clusters, dim)\n"
           "corners = corners - corners.mean(dim=0)\n"
           "return corners / corners.norm(dim=1, keepdim=True)"),
)


# ------------------------------------------------------------------------------------------------ 18.experts
def experts(f: Tensor, v: Tensor, prototypes: Tensor, queue: Tensor, tau: float = 0.1) -> Tensor:
    """(N, K, D), (N, K, D), (K, D), (M, K, D) -> log Phi (N, K): expert k picks v of image n out of the queue."""
    wanted = f + F.normalize(prototypes, dim=1)  # (N, K, D)
    positive = (wanted * v).sum(2, keepdim=True)  # (N, K, 1)
    others = torch.einsum("nkd,mkd->nkm", wanted, queue)
    return F.log_softmax(torch.cat([positive, others], dim=2) / tau, dim=2)[:, :, 0]


def _expert_probes(generator, dtype):
    draw = partial(directions, generator, dtype)

    def case(n, k, d, m, long):
        return draw(n, k, d), draw(n, k, d), long * draw(k, d), draw(m, k, d)

    return [case(3, 4, 5, 7, 2.0), (*case(5, 2, 3, 4, 0.4), 0.4),
            dict(zip(("f", "v", "prototypes", "queue", "tau"), (*case(2, 3, 6, 9, 1.5), 0.25)))]


def _logits(f, v, prototypes, queue, *, mu=unit, add=lambda f, mu: f + mu, far=None):
    """Positives (N, K) and negatives (N, K, M); mu: what is made of the prototypes; far: what meets the queue."""
    wanted = add(f, mu(prototypes))
    return (wanted * v).sum(2), torch.einsum("nkd,mkd->nkm", wanted if far is None else far(f, prototypes), queue)


def _expert(*, finish=None, **change):
    def answer(f, v, prototypes, queue, tau=0.1):
        positive, negative = _logits(f, v, prototypes, queue, **change)
        if finish:
            return finish(positive, negative, tau)
        return (torch.cat([positive[..., None], negative], 2) / tau).log_softmax(2)[..., 0]

    return answer


def _shared(f, v, prototypes, queue, tau=0.1):
    """All experts meet the first one's embeddings in the queue."""
    return experts(f, v, prototypes, queue[:, :1].expand(-1, f.shape[1], -1), tau)


def _in_the_batch(f, v, prototypes, queue, tau=0.1):
    scores = torch.einsum("nkd,mkd->nkm", f + unit(prototypes), v) / tau
    return scores.log_softmax(2).diagonal(dim1=0, dim2=2).T


def _written_out(f, v, prototypes, queue, tau=0.1):
    """A right answer: expert by expert."""
    found = []
    for k in range(f.shape[1]):
        wanted = f[:, k] + prototypes[k] / prototypes[k].norm()
        right = (wanted * v[:, k]).sum(1) / tau
        found.append(right - torch.cat([right[:, None], wanted @ queue[:, k].T / tau], 1).logsumexp(1))
    return torch.stack(found, dim=1)


third = Exercise(
    key="18.experts", title="Experts that tell images apart", minutes=10, difficulty=3,
    reference=experts, probes=_expert_probes, gradients=True,  # into f and the prototypes; v and queue are constants
    call=lambda fn, f, v, prototypes, queue, *rest, **named: fn(
        f, v.detach(), prototypes, queue.detach(), *rest, **named),
    wrong={
        "no prototypes": (
            _expert(add=lambda f, mu: f + 0 * mu),
            "That is MoCo, K times. Each expert adds its own prototype, f + mu: the images of its cluster lie around "
            "it."),
        "the prototypes detached": (
            _expert(mu=lambda p: unit(p).detach()),
            "The value is right, but no gradient reaches the prototypes: they learn from the loss, too."),
        "prototypes of any length": (
            _expert(mu=lambda p: p),
            "Scale the prototypes to length 1: a long one drowns f, which has length 1."),
        "prototypes scaled over the experts": (
            _expert(mu=lambda p: unit(p, 0)),
            "You scaled over dim 0, so that the *experts* have a sum of squares of 1. A prototype is a row: dim 1."),
        "the sum scaled again": (
            _expert(add=lambda f, mu: unit(f + mu)),
            "f and mu have length 1 each, and their sum is taken as it is. Scaled, it forgets how well they agree."),
        "the positive is not among the candidates": (
            _expert(finish=lambda p, n, tau: p / tau - (n / tau).logsumexp(2)),
            "The denominator sums over the queue *and* the positive. Without it, log Phi may exceed 0: a probability "
            "above 1."),
        "the queue without prototypes": (
            _expert(far=lambda f, prototypes: f),
            "You compare the queue with f alone, and the positive with f + mu. Both get the same query."),
        "no temperature": (
            _expert(finish=lambda p, n, tau: torch.cat([p[..., None], n], 2).log_softmax(2)[..., 0]),
            "All similarities are divided by tau first."),
        "times the temperature": (
            _expert(finish=lambda p, n, tau: (torch.cat([p[..., None], n], 2) * tau).log_softmax(2)[..., 0]),
            "You multiplied by tau. Similarities are *divided* by it: a small tau makes differences large."),
        "one queue for all experts": (
            _shared,
            "Every expert meets the embeddings of expert 0. The queue keeps K embeddings of each image; expert k looks "
            "at column k."),
        "the batch as negatives": (
            _in_the_batch,
            "The other images of the batch are your negatives. Here they come from the queue."),
        "probabilities, not their logarithms": (
            _expert(finish=lambda p, n, tau: (torch.cat([p[..., None], n], 2) / tau).softmax(2)[..., 0]),
            "That is Phi. Return its logarithm, log Phi: log_softmax."),
        "a loss": (
            _expert(finish=lambda p, n, tau: -(torch.cat([p[..., None], n], 2) / tau).log_softmax(2)[..., 0]),
            "The sign: log Phi is 0 or below. The loss, with its minus, comes later."),
        "all experts' negatives in one sum": (
            _expert(finish=lambda p, n, tau: p / tau - torch.logaddexp(p / tau, (n / tau).logsumexp((1, 2))[:, None])),
            "Your denominator sums over the negatives of *all* experts. Each expert has a softmax of its own."),
    },
    right={"expert by expert": _written_out},
    hints=("MoCo's softmax (lesson 05), K times side by side: for expert k the query is f_k + mu_k, the positive v_k, "
           "the negatives column k of the queue.",
           "wanted = f + F.normalize(prototypes, dim=1); positives (wanted * v).sum(2), negatives "
           'torch.einsum("nkd,mkd->nkm", wanted, queue).',
           "wanted = f + F.normalize(prototypes, dim=1)\n"
           "positive = (wanted * v).sum(dim=2, keepdim=True)\n"
           'others = torch.einsum("nkd,mkd->nkm", wanted, queue)\n'
           "logits = torch.cat([positive, others], dim=2) / tau\n"
           "return F.log_softmax(logits, dim=2)[:, :, 0]"),
)


# ------------------------------------------------------------------------------------------------ 18.mice_step
def mice_step(student, teacher, gate, prototypes: Tensor, optimizer: torch.optim.Optimizer, queue: Queue, sums: Tensor,
              views, tau: float = 0.1, momentum: float = 0.99) -> float:
    """One training step of MiCE -> the loss as a number; `sums` (K, D) gets v_k of each image whose largest q is k."""
    f = F.normalize(student(views[0]), dim=2)
    with torch.no_grad():
        v = F.normalize(teacher(views[1]), dim=2)
    joint = gate(views[2]) + expert_log_probabilities(f, v, prototypes, queue.rows, tau)
    loss = -joint.logsumexp(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema_update(teacher, student, momentum)
    queue.enqueue(v)
    sums += torch.einsum("nk,nkd->kd", F.one_hot(joint.argmax(dim=1), joint.shape[1]).to(v), v)
    return loss.item()


class _Heads(nn.Module):
    """K embeddings of each input from one small network: (N, inputs) -> (N, K, D)."""

    def __init__(self, seed: int, dtype: torch.dtype, inputs: int, clusters: int, out: int):
        super().__init__()
        self.net, self.shape = small_network(seed, dtype, inputs, 7, clusters * out), (clusters, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).unflatten(1, self.shape)


class _Gate(nn.Module):
    """log pi (N, K) of a linear layer."""

    def __init__(self, seed: int, dtype: torch.dtype, inputs: int, clusters: int):
        super().__init__()
        self.net = small_network(seed, dtype, inputs, 5, clusters)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).log_softmax(1)


def _step_probes(generator, dtype):
    def case(inputs, clusters, out, batch, rows, **settings):
        one, other = torch.randint(2**30, (2,), generator=generator).tolist()
        student = _Heads(one, dtype, inputs, clusters, out)
        return dict(student=student, teacher=copy.deepcopy(student), gate=_Gate(other, dtype, inputs, clusters),
                    prototypes=1.5 * directions(generator, dtype, clusters, out),
                    rows=directions(generator, dtype, rows, clusters, out),
                    views=randn(generator, dtype, 3, 3, batch, inputs), settings=settings)

    return [case(4, 3, 5, 8, 18, tau=0.4, momentum=0.8), case(5, 2, 4, 9, 20, tau=0.7, momentum=0.6),
            case(3, 4, 3, 7, 16)]


def _three_steps(step, student, teacher, gate, prototypes, rows, views, settings):
    """The harness: three steps of gradient descent; what came of them."""
    prototypes, sums = nn.Parameter(prototypes.clone()), torch.zeros_like(prototypes)
    parameters = [*student.parameters(), *gate.parameters(), prototypes]
    optimizer, queue = torch.optim.SGD(parameters, lr=0.2), Queue(len(rows), rows.shape[2])
    queue.rows = rows.clone()
    found = steps(step, [(student, teacher, gate, prototypes, optimizer, queue, sums, tuple(three))
                         for three in views], **settings)
    if blank(found):
        return found
    return {"gradient in the teacher": has_gradient(teacher), **found,  # the gradient is told first
            "queue": queue.rows.detach(), "pointer": int(queue.pointer), "sums": sums.detach(),
            "student": weights_of(student), "gate": weights_of(gate), "prototypes": prototypes.detach().clone(),
            "teacher": weights_of(teacher)}


def _hard_sums(q, f, v):
    return torch.einsum("nk,nkd->kd", F.one_hot(q.argmax(1), q.shape[1]).to(v), v)


def _evidence(log_pi, log_phi):
    return -(log_pi + log_phi).logsumexp(1).mean()


def _bound(log_pi, log_phi, q=lambda joint: joint.detach().softmax(1), entropy=True):
    """Minus EM's bound, at some q."""
    joint = log_pi + log_phi
    q = q(joint)
    return -(q * joint + (torch.special.entr(q) if entropy else 0)).sum(1).mean()


def _mistaken(*, lengths=(True, True), by="teacher", gradient=False, views=(0, 1, 2), value=_evidence, early=False,
              queued=lambda f, v: v, follow=ema_update, order="clear backward step", added=_hard_sums, keep="add",
              prior=lambda log_pi: log_pi, back=Tensor.item, moved=False):
    """A step with one thing changed."""
    def step(student, teacher, gate, prototypes, optimizer, queue, sums, given, tau=0.1, momentum=0.99):
        scale = [(lambda z: unit(z, 2)) if one else (lambda z: z) for one in lengths]
        f = scale[0](student(given[views[0]]))
        with torch.set_grad_enabled(gradient):
            v = scale[1]((teacher if by == "teacher" else student)(given[views[1]]))
        constant = v.detach()
        if early:
            queue.enqueue(queued(f.detach(), constant))
        wanted = f + unit(prototypes)
        positive, negative = (wanted * v).sum(2) / tau, torch.einsum("nkd,mkd->nkm", wanted, queue.rows) / tau
        log_phi = positive - torch.logaddexp(positive, negative.logsumexp(2))
        log_pi = prior(gate(given[views[2]]))
        loss = value(log_pi, log_phi)
        number = descend(loss, optimizer, order, back)
        if follow:
            follow(teacher, student, momentum)
        if not early:
            queue.enqueue(queued(f.detach(), constant))
        new = added((log_pi + log_phi).detach().softmax(1), f.detach(), constant)
        if keep == "add":
            sums += new
        elif keep == "write":
            sums.copy_(new)
        if moved:
            with torch.no_grad():
                empty = (sums == 0).all(1, keepdim=True)
                prototypes.copy_(torch.where(empty, prototypes, unit(sums)))
        return number

    return step


def _turned_round(teacher, student, momentum):
    return ema_update(teacher, student, 1 - momentum)


def _by_the_bound(student, teacher, gate, prototypes, optimizer, queue, sums, views, tau=0.1, momentum=0.99):
    """A right answer: EM's bound, with q a constant; image by image for the sums."""
    f = unit(student(views[0]), 2)
    v = unit(teacher(views[1]).detach(), 2)
    log_pi, log_phi = gate(views[2]), experts(f, v, prototypes, queue.rows, tau)
    with torch.no_grad():
        q = responsibilities(log_pi, log_phi)
    loss = -(q * (log_pi + log_phi - q.log())).sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(teacher.parameters(), student.parameters()):
            slow.mul_(momentum).add_((1 - momentum) * fast)
        for n, k in enumerate(q.argmax(1).tolist()):
            sums[k] += v[n, k]
    queue.enqueue(v)
    return float(loss)


step = Exercise(
    key="18.mice_step", title="One step of MiCE", minutes=14, difficulty=4,
    reference=mice_step, probes=_step_probes, call=_three_steps, tolerance=1e-3,
    words={"['losses']": "the losses of three steps", "['keeps its graph']": "whether the loss keeps its graph",
           "['queue']": "the queue after three steps", "['pointer']": "the queue's pointer",
           "['sums']": "the sums after three steps", "['student']": "the student's weights after three steps",
           "['gate']": "the gate's weights after three steps", "['prototypes']": "the prototypes after three steps",
           "['teacher']": "the teacher's weights after three steps",
           "['gradient in the teacher']": "whether the teacher got a gradient"},
    wrong={
        "no gate": (
            _mistaken(prior=torch.zeros_like),
            "The gate's log_pi is not in the loss: all experts are trusted alike, for every image. Add it to log_phi "
            "before the logsumexp."),
        "every expert pays alike": (
            _mistaken(value=lambda log_pi, log_phi: -(log_pi + log_phi).mean()),
            "You average over the experts: each must know every image. One that knows it is enough: logsumexp over the "
            "experts."),
        "only the best expert pays": (
            _mistaken(value=lambda log_pi, log_phi: -(log_pi + log_phi).amax(1).mean()),
            "That is k-means' hard choice: only the likeliest expert learns from an image. Sum over all of them, "
            "inside the logarithm."),
        "without the entropy": (
            _mistaken(value=partial(_bound, entropy=False)),
            "Your gradients are right, the loss is not: EM's bound also has the entropy of q, - q log q. Or use the "
            "logsumexp, to which the bound is equal."),
        "posteriors that learn, without the entropy": (
            _mistaken(value=lambda log_pi, log_phi: _bound(log_pi, log_phi, lambda joint: joint.softmax(1), False)),
            "q is in the loss with its gradient, and the entropy that would cancel it is missing. Detach q and add its "
            "entropy, or use the logsumexp."),
        "a sum over the images": (
            _mistaken(value=lambda log_pi, log_phi: -(log_pi + log_phi).logsumexp(1).sum()),
            "The loss is the mean over the images of the batch, not their sum."),
        "f of any length": (
            _mistaken(lengths=(False, True)),
            "Scale f to length 1, over its last dimension, for each expert by itself."),
        "v of any length": (
            _mistaken(lengths=(True, False)),
            "Scale the teacher's v to length 1, over its last dimension: a dot product with it is then no more than "
            "a cosine can be, and the queue holds such rows."),
        "the student makes v": (
            _mistaken(by="student"),
            "v comes out of the student. The positives, and what the queue keeps, are made by the slow teacher."),
        "a gradient into the teacher": (
            _mistaken(gradient=True),
            "The loss sends a gradient into the teacher. v is a constant: torch.no_grad()."),
        "the gate sees the student's view": (
            _mistaken(views=(0, 1, 0)),
            "The gate has a view of its own, the third."),
        "enqueued before the loss": (
            _mistaken(early=True),
            "Your v stand in the queue when the loss is computed: each image is its own negative. First the loss, then "
            "the queue."),
        "f is enqueued": (
            _mistaken(queued=lambda f, v: f),
            "The queue keeps the teacher's v, not the student's f, which changes quickly."),
        "the teacher never follows": (
            _mistaken(follow=None),
            "The teacher stays as it was: move it towards the student after the optimizer's step."),
        "the average turned round": (
            _mistaken(follow=_turned_round),
            "momentum is the share that the teacher *keeps*: momentum * teacher + (1 - momentum) * student."),
        "sums weighed by q": (
            _mistaken(added=lambda q, f, v: torch.einsum("nk,nkd->kd", q, v)),
            "You weigh by q, as a soft M-step would. MiCE's prototypes count an image for its likeliest expert only: "
            "argmax."),
        "sums of f": (
            _mistaken(added=lambda q, f, v: _hard_sums(q, f, f)),
            "The sums are of the teacher's v, as in the queue, not of f."),
        "sums over all images": (
            _mistaken(added=lambda q, f, v: v.sum(0)),
            "Each expert gets the v_k of all images. It should only get those whose largest q is its own."),
        "sums forget the batches before": (
            _mistaken(keep="write"),
            "The sums hold the last batch alone. They are of the whole epoch: add to them."),
        "sums that never arrive": (
            _mistaken(keep="none"),
            "`sums` has not changed. Change it in place, sums += ...; sums = sums + ... makes a new tensor that the "
            "caller never sees."),
        "prototypes moved in every step": (
            _mistaken(moved=True),
            "The prototypes are set from the sums once an *epoch*, elsewhere. In a step they move by their gradient "
            "only."),
        **update_mistakes(_mistaken, BASIC),
    },
    right={"the bound, with q a constant": _by_the_bound},
    hints=("Three views, three jobs: student (f), teacher (v, no gradient), gate (log_pi). Then one sum of logarithms, "
           "and who goes into the queue, when?",
           "joint = gate(views[2]) + experts(f, v, prototypes, queue.rows, tau); loss = -joint.logsumexp(1).mean(). "
           "After the update: the teacher follows, queue.enqueue(v), and each v_k of an image's likeliest k is added "
           "to sums[k].",
           "f = F.normalize(student(views[0]), dim=2)\n"
           "with torch.no_grad():\n"
           "    v = F.normalize(teacher(views[1]), dim=2)\n"
           "joint = gate(views[2]) + experts(f, v, prototypes, queue.rows, tau)\n"
           "loss = -joint.logsumexp(dim=1).mean()\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "with torch.no_grad():\n"
           "    for slow, fast in zip(teacher.parameters(), student.parameters()):\n"
           "        slow.lerp_(fast, 1 - momentum)\n"
           "    chosen = F.one_hot(joint.argmax(dim=1), joint.shape[1]).to(v)\n"
           '    sums += torch.einsum("nk,nkd->kd", chosen, v)\n'
           "queue.enqueue(v)\n"
           "return loss.item()"),
)


EXERCISES = [first, second, third, step]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("kNN on some features is right for 90 % of the images, k-means for 25 %. What does that say of the "
         "features?", {
        "Nothing good: kNN must have a bug": "Both are right. They ask different things of the same features.",
        "The nearest images share the class, and the largest differences are other causes":
            "k-means cuts where images differ most, here by place and light. Neighbours only need the class to count "
            "*near by*.",
        "K is wrong": "K is the number of classes, and what differs most does not depend on K.",
    }, "The nearest images share the class, and the largest differences are other causes"),
    quiz("Two experts answer for an image with 0.5 each, the loss is -log(sum of pi Phi). You now set q to (1, "
         "0) by hand and compute EM's bound. What happens to it?", {
        "It stays: any q gives the same": "Only the exact posterior touches the evidence.",
        "It falls below the evidence": "The bound is the evidence minus the divergence of q from the posterior. "
            "Choosing harder than the posterior costs, by log 2 here.",
        "It rises: a sure answer is worth more": "A sure answer saves entropy but leaves out the other half of the "
            "evidence.",
    }, "It falls below the evidence"),
    quiz("All experts share one embedding and one queue; only the prototypes differ. What is lost?", {
        "Nothing: K heads are a detail": "Each expert's head may look at what tells *its* images apart. With one "
            "embedding all experts solve the task alike, and only the prototype is left to tell who answers.",
        "The experts: only the prototypes can still disagree": "f and v are then the same for all; Phi differs by "
            "the prototype alone, which is close to a mixture of von Mises-Fisher on MoCo.",
        "The gate": "The gate has a head of its own in any case.",
    }, "The experts: only the prototypes can still disagree"),
    quiz("An expert is nobody's first choice for a whole epoch, so its sum of v is zero. What should the M-step "
         "do with its prototype?", {
        "Set it to the sum scaled to length 1: zero": "The official code does so. A prototype of zero makes f + mu "
            "shorter than the others' and gives no direction to come back from.",
        "Keep it as it was": "It still gets gradients through its small q, and may find images again.",
        "Remove the expert": "Then K changes during training, and with it the centres of the gate.",
    }, "Keep it as it was"),
    quiz("Transfer: photographs of animals by a camera trap, day and night, eight species. MiCE with K = 8 and "
         "views that keep brightness. What do you expect of its clusters?", {
        "Species: that is what K = 8 asks for": "K says how many groups, not by what. Whatever views share may be cut.",
        "Day and night will be among the cuts": "Brightness is shared by all views of an image and tells images "
            "apart easily. Take it out of the views first, then look what clusters tell.",
        "Nothing can be said": "The views say a lot: what they keep may be cut along.",
    }, "Day and night will be among the cuts"),
]
