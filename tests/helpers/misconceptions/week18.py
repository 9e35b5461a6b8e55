"""Second spellings of the misconceptions of week 18, and mutants of its references that compute the same."""
from __future__ import annotations

import math

import torch


# ---------------------------------------------------------------- 18.responsibilities
def _bayes(join=torch.mul, over=1, finish=lambda joint, total: joint / total):
    def answer(log_pi, log_phi):
        joint = join(log_pi.exp(), log_phi.exp())
        return finish(joint, joint.sum(over, keepdim=True))

    return answer


def _chosen(log_pi, log_phi):
    q = torch.zeros_like(log_pi)
    q[torch.arange(len(q)), (log_pi + log_phi).max(1).indices] = 1
    return q


# ---------------------------------------------------------------- 18.centers
def _taken_off(dim=0, scaled=True):
    def answer(clusters, dim_):
        axes = torch.diag(torch.ones(max(clusters, dim_)))[:clusters, :dim_]
        left = axes - axes.sum(dim, keepdim=True) / axes.shape[dim]
        return left / left.norm(dim=1, keepdim=True) if scaled else left

    return answer


def _ring(clusters, dim):
    found = torch.zeros(clusters, dim)
    for k in range(clusters):
        found[k, 0], found[k, 1] = math.cos(2 * math.pi * k / clusters), math.sin(2 * math.pi * k / clusters)
    return found


def _pairs(clusters, dim):
    found = torch.zeros(clusters, dim)
    for k in range(clusters):
        found[k, k % ((clusters + 1) // 2)] = 1.0 if k < (clusters + 1) // 2 else -1.0
    return found


# ---------------------------------------------------------------- 18.experts
def _one(z, dim=-1):
    return z / z.norm(dim=dim, keepdim=True)


def _picked(mu=_one, near=None, far=None, rows=lambda queue, v: queue, scale=lambda s, tau: s / tau,
            finish=lambda p, n: p - torch.logsumexp(torch.cat([p[None], n]), 0)):
    """One image and one expert at a time."""
    near, far = near or (lambda f, m: f + m), far or near or (lambda f, m: f + m)

    def answer(f, v, prototypes, queue, tau=0.1):
        m, bank = mu(prototypes), rows(queue, v)
        found = f.new_zeros(f.shape[:2])
        for n in range(f.shape[0]):
            for k in range(f.shape[1]):
                positive = scale(near(f[n, k], m[k]) @ v[n, k], tau)
                found[n, k] = finish(positive, scale(bank[:, k] @ far(f[n, k], m[k]), tau))
        return found

    return answer


def _one_pot(f, v, prototypes, queue, tau=0.1):
    wanted = f + _one(prototypes)
    positive = torch.exp((wanted * v).sum(-1) / tau)
    everybody = torch.exp(torch.einsum("nkd,mkd->nmk", wanted, queue) / tau).sum(1).sum(1, keepdim=True)
    return torch.log(positive / (positive + everybody))


def _batch(f, v, prototypes, queue, tau=0.1):
    wanted, found = f + _one(prototypes), []
    for k in range(f.shape[1]):
        scores = wanted[:, k] @ v[:, k].T / tau
        found.append(scores.diagonal() - scores.logsumexp(1))
    return torch.stack(found, 1)


# ---------------------------------------------------------------- 18.mice_step
def _average(teacher, student, momentum):
    with torch.no_grad():
        for slow, fast in zip(teacher.parameters(), student.parameters()):
            slow.copy_(momentum * slow + (1 - momentum) * fast)


def _backwards(teacher, student, momentum):
    _average(teacher, student, 1 - momentum)


def _argmax_sums(q, f, v):
    found = torch.zeros_like(v[0])
    for n, k in enumerate(q.argmax(1).tolist()):
        found[k] += v[n, k]
    return found


def _soft_sums(q, f, v):
    return (q[:, :, None] * v).sum(0)


def _every_sum(q, f, v):
    return torch.einsum("nkd->kd", v)


def _stepped(*, loss=lambda joint, log_pi, log_phi: -joint.exp().sum(1).log().mean(), f_one=True, v_one=True,
             maker="teacher", cut=True, third=2, before=False, put="v", average=_average, train=True, clear=True,
             add=_argmax_sums, how="+=", after=False, number=True, trusted=lambda log_pi: log_pi):
    """A step with one thing changed; Phi as exponentials."""
    def step(student, teacher, gate, prototypes, optimizer, queue, sums, views, tau=0.1, momentum=0.99):
        f = student(views[0])
        f = _one(f) if f_one else f
        v = student(views[1]).detach() if maker == "student" else teacher(views[1])
        v = _one(v) if v_one else v
        v = v.detach() if cut else v
        new = (v if put == "v" else f).detach()
        if before:
            queue.enqueue(new)
        wanted = f + _one(prototypes)
        p = (wanted * v).sum(-1) / tau
        log_phi = p - torch.cat([p[:, :, None], torch.einsum("nkd,mkd->nkm", wanted, queue.rows) / tau], 2).logsumexp(2)
        log_pi = trusted(gate(views[third]))
        joint = log_pi + log_phi
        value = loss(joint, log_pi, log_phi)
        if clear:
            optimizer.zero_grad()
        value.backward()
        if train:
            optimizer.step()
        if average:
            average(teacher, student, momentum)
        if not before:
            queue.enqueue(new)
        more = add(joint.detach().softmax(1), f.detach(), v.detach())
        if how == "+=":
            sums += more
        elif how == "=":
            sums[:] = more
        else:
            sums = sums + more
        if after:
            for k in range(len(sums)):
                if sums[k].abs().sum() > 0:
                    prototypes.data[k] = sums[k] / sums[k].norm()
        return value.item() if number else value

    return step


def _cross(joint, q):
    return -torch.einsum("nk,nk->n", q, joint).mean()


SECOND = {
    "18.responsibilities": {
        "the gate is left out": lambda log_pi, log_phi: log_phi.exp() / log_phi.exp().sum(1, keepdim=True),
        "the experts are left out": lambda log_pi, log_phi: log_pi.softmax(1),
        "softmax over the images": _bayes(over=0),
        "not divided by the sum": _bayes(finish=lambda joint, total: joint),
        "one answer, not a share": _chosen,
        "probabilities added": _bayes(torch.add),
        "softmax of the probabilities": _bayes(finish=lambda joint, total: joint.exp() / joint.exp().sum(1, True)),
        "the logarithm comes back": _bayes(finish=lambda joint, total: (joint / total).log()),
        "subtracted": _bayes(lambda pi, phi: phi / pi),
    },
    "18.centers": {
        "at right angles": lambda clusters, dim: torch.diag(torch.ones(dim))[:clusters],
        "not of length 1": _taken_off(scaled=False),
        "the mean of each row taken off": _taken_off(dim=1),
        "spread around a circle": _ring,
        "opposite pairs": _pairs,
    },
    "18.experts": {
        "no prototypes": _picked(near=lambda f, m: f),
        "the prototypes detached": _picked(mu=lambda p: _one(p.data, 1)),
        "prototypes of any length": _picked(mu=lambda p: p),
        "prototypes scaled over the experts": _picked(mu=lambda p: _one(p, 0)),
        "the sum scaled again": _picked(near=lambda f, m: _one(f + m)),
        "the positive is not among the candidates": _picked(finish=lambda p, n: p - n.exp().sum().log()),
        "the queue without prototypes": _picked(near=lambda f, m: f + m, far=lambda f, m: f),
        "no temperature": _picked(scale=lambda s, tau: s),
        "times the temperature": _picked(scale=torch.mul),
        "one queue for all experts": _picked(rows=lambda queue, v: queue[:, [0] * queue.shape[1]]),
        "the batch as negatives": _batch,
        "probabilities, not their logarithms": _picked(finish=lambda p, n: p.exp() / (p.exp() + n.exp().sum())),
        "a loss": _picked(finish=lambda p, n: torch.log1p((n - p).exp().sum())),
        "all experts' negatives in one sum": _one_pot,
    },
    "18.mice_step": {
        "no gate": _stepped(trusted=lambda log_pi: 0 * log_pi.detach()),
        "every expert pays alike": _stepped(loss=lambda joint, *_: -joint.mean(1).mean()),
        "only the best expert pays": _stepped(loss=lambda joint, *_: -joint.max(1).values.mean()),
        "without the entropy": _stepped(loss=lambda joint, *_: _cross(joint, joint.data.softmax(1))),
        "posteriors that learn, without the entropy": _stepped(loss=lambda joint, *_: _cross(joint, joint.softmax(1))),
        "a sum over the images": _stepped(loss=lambda joint, *_: -joint.exp().sum(1).log().sum()),
        "f of any length": _stepped(f_one=False),
        "v of any length": _stepped(v_one=False),
        "the student makes v": _stepped(maker="student"),
        "a gradient into the teacher": _stepped(cut=False),
        "the gate sees the student's view": _stepped(third=0),
        "enqueued before the loss": _stepped(before=True),
        "f is enqueued": _stepped(put="f"),
        "the teacher never follows": _stepped(average=None),
        "the average turned round": _stepped(average=_backwards),
        "the weights never move": _stepped(train=False),
        "gradients never cleared": _stepped(clear=False),
        "sums weighed by q": _stepped(add=_soft_sums),
        "sums of f": _stepped(add=lambda q, f, v: _argmax_sums(q, f, f)),
        "sums over all images": _stepped(add=_every_sum),
        "sums forget the batches before": _stepped(how="="),
        "sums that never arrive": _stepped(how="new"),
        "prototypes moved in every step": _stepped(after=True),
        "the loss keeps its graph": _stepped(number=False),
    },
}
EQUIVALENT = {
    "18.centers": {
        "line 4: F.normalize(corners - corners.mean(dim=0), dim=1) -> F.normalize(corners - corners.mean(dim=0))":
            "dim=1 is its default",
        ("line 4: F.normalize(corners - corners.mean(dim=0), dim=1) -> "
         "F.normalize(corners - corners.mean(dim=0), dim=0)"):
            "rows and columns are the same: the matrix is symmetric"},
}
