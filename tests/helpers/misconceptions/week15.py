"""Second spellings of the misconceptions of week 15, and mutants of its references that compute the same."""
from __future__ import annotations

import torch
from torch.nn import functional as F


# ---------------------------------------------------------------- 15.dino_loss
def _pairs(count=lambda q, v: q is not v, sharp=lambda z, c, t: torch.softmax(z.data / t - c / t, -1),
           say=lambda z, c, t: z / t - (z / t).logsumexp(-1, keepdim=True), sums="nk,nk->n", mean=True):
    """(q, v) run over numbers; None stands for a crop that is compared with itself."""
    def answer(student, teacher, center, student_temp=0.1, teacher_temp=0.04):
        terms = []
        for q in range(len(teacher)):
            target = sharp(teacher[q], center, teacher_temp)
            for v in range(len(student)):
                if count(q, v):
                    terms.append(torch.einsum(sums, target, -say(student[v], center, student_temp)).mean())
        total = torch.stack(terms).sum()
        return total / len(terms) if mean else total
    return answer


def _differ(q, v):
    return q - v != 0


def _exchanged(student, teacher, center, student_temp=0.1, teacher_temp=0.04):
    return _pairs(_differ)(student, teacher, center, student_temp=teacher_temp, teacher_temp=student_temp)


def _backwards(student, teacher, center, student_temp=0.1, teacher_temp=0.04):
    total, pairs = 0.0, 0
    for q, large in enumerate(teacher):
        t = (large.data - center) / teacher_temp
        logs = t - t.logsumexp(-1, keepdim=True)
        for v, crop in enumerate(student):
            if v != q:
                total, pairs = total - (torch.softmax(crop / student_temp, -1) * logs).sum() / len(crop), pairs + 1
    return total / pairs


# ---------------------------------------------------------------- 15.moved_center
def _rows(logits):
    return logits.data.reshape(-1, logits.shape[-1])


def _average(batch):
    def answer(center, logits, momentum=0.9):
        with torch.no_grad():
            return center + (1 - momentum) * (batch(center, logits) - center)
    return answer


def _forgetful(center, logits, momentum=0.9):
    with torch.no_grad():
        return torch.lerp(center, _rows(logits).mean(0).expand_as(center), momentum)


def _overwritten(center, logits, momentum=0.9):
    center.data.lerp_(_rows(logits).mean(0).expand_as(center), 1 - momentum)
    return center.data.clone()


# ---------------------------------------------------------------- 15.patch_loss
def _errors(student, teacher, center, a, b, frozen=True):
    teacher = teacher.data if frozen else teacher
    logs = student / a - torch.logsumexp(student / a, -1, keepdim=True)
    return -torch.einsum("nlk,nlk->nl", torch.softmax(teacher / b - center.flatten() / b, -1), logs)


def _weighted(weights, frozen=True, centred=True, exchange=False):
    def answer(student, teacher, visible, center, student_temp=0.1, teacher_temp=0.04):
        if exchange:
            student_temp, teacher_temp = teacher_temp, student_temp
        errors = _errors(student, teacher, center if centred else torch.zeros_like(center), student_temp,
                         teacher_temp, frozen)
        mask = 1 - visible.reshape(len(visible), -1).to(errors.dtype)
        return (errors * weights(mask)).sum()
    return answer


def _own(mask):
    return mask / torch.maximum(mask.sum(1, keepdim=True), torch.ones_like(mask[:, :1])) / len(mask)


# ---------------------------------------------------------------- 15.ibot_step
def _target(z, c):
    return torch.softmax(z / 0.04 - c / 0.04, -1)


def _surprise(target, z):
    return -(target * (z / 0.1 - torch.logsumexp(z / 0.1, -1, keepdim=True))).sum(-1)


def _blend(old, rows, m=0.9):
    return m * old + (1 - m) * rows.reshape(-1, rows.shape[-1]).mean(0)


def _stepped(student, teacher, optimizer, crops, visible, center, patch_center, momentum, *, teacher_mask=False,
             blind=True, own=False, cross=False, single=False, woven=False, plain=False, flip=False, terms=(1.0, 1.0),
             swap=False, shared=False, early=False, still=False, whose="teacher", hidden_only=False, mixed=False,
             order="zbsf", graph=False, leak=False, half=False, pace=False, reverse=False):
    n = len(crops) // 2
    with torch.set_grad_enabled(leak):
        z, zp = teacher(crops, visible) if teacher_mask else teacher(crops)
    y, yp = student(crops, (visible.logical_not() if reverse else visible) if blind else None)
    c, p = (patch_center, center) if swap else (center, center if shared else patch_center)
    if early:
        c, p = _blend(c, z), _blend(p, zp)
    yp = student(crops)[1] if plain else yp
    z1, z2, y1, y2 = (z[::2], z[1::2], y[::2], y[1::2]) if woven else (z[:n], z[n:], y[:n], y[n:])
    first, second = _target(z1, c), _target(z2, c)
    pairs = ((first, y1), (second, y2)) if own else ((first, y2), (second, y1))[: 1 if single else 2]
    one = sum(_surprise(a, b).mean() for a, b in pairs) / len(pairs)
    errors = _surprise(_target(torch.cat([zp[n:], zp[:n]]) if cross else zp, p), yp)
    weights = visible.to(errors.dtype) if flip else 1 - visible.to(errors.dtype)
    rows = n if half else 2 * n
    two = ((errors * weights).sum(1) / weights.sum(1).clamp_min(1.0))[:rows].sum() / rows
    loss = terms[0] * one + terms[1] * two
    for act in order:
        if act == "z":
            student.zero_grad()
        elif act == "b":
            torch.autograd.backward(loss)
        elif act == "s":
            optimizer.step()
        else:
            keep = {"f": momentum, "l": momentum, "r": 1 - momentum, "9": 0.99}[act]
            pair = (student, teacher) if act == "l" else (teacher, student)
            for mine, other in zip(*(network.parameters() for network in pair)):
                mine.data = keep * mine.data + (1 - keep) * other.data
    with torch.no_grad():
        a, b = (y, yp) if whose == "student" else (z, zp)
        b = b[visible.logical_not()] if hidden_only else b
        if mixed:
            rows = torch.cat([a, b.reshape(-1, b.shape[-1])])
            a = b = rows
        m = momentum if pace else 0.9
        following = (center, patch_center) if still else (_blend(center, a, m), _blend(patch_center, b, m))
    return (loss if graph else float(loss.detach()), *following)


def _ibot(**other):
    return lambda *given, **named: _stepped(*given, **named, **other)


# ---------------------------------------------------------------- 15.rollout
def _up(maps, residual, mixed=None):
    eye = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    return [(m.sum(1) / m.shape[1]) * (1 - residual) + eye * residual for m in maps
            ] if mixed is None else mixed(maps, eye)


def _chain(mixed=None, reverse=False):
    def answer(maps, residual=0.5):
        steps = _up(maps, residual, mixed)
        total = torch.eye(maps.shape[-1], dtype=maps.dtype).expand_as(steps[0])
        for step in steps[::-1] if reverse else steps:
            total = torch.bmm(step, total)
        return total
    return answer


def _heads(maps):
    return [m.sum(1) / m.shape[1] for m in maps]


def _product(maps, residual=0.5):
    total = torch.ones_like(maps[0, :, 0])
    for step in _up(maps, residual):
        total = torch.mul(total, step)
    return total


SECOND = {
    "15.dino_loss": {
        "each crop also predicts itself": _pairs(lambda q, v: q >= 0),
        "large crops only": _pairs(lambda q, v: {q, v} == {0, 1}),
        "no centre": _pairs(_differ, sharp=lambda z, c, t: torch.softmax(z.data / t, -1)),
        "the centre added": _pairs(_differ, sharp=lambda z, c, t: torch.softmax((z.data + c) / t, -1)),
        "the centre after the temperature": _pairs(_differ, sharp=lambda z, c, t: torch.exp(
            z.data / t - c - (z.data / t - c).logsumexp(-1, keepdim=True))),
        "only the centre divided": _pairs(_differ, sharp=lambda z, c, t: torch.softmax(z.data - c / t, 1)),
        "the centre after the softmax": _pairs(_differ, sharp=lambda z, c, t: torch.softmax(z.data / t, 1) - c),
        "each pair of crops once": _pairs(lambda q, v: q < v),
        "the first pair only": lambda student, teacher, center, student_temp=0.1, teacher_temp=0.04:
            _pairs(lambda q, v: True)(student[1:2], teacher[:1], center, student_temp, teacher_temp),
        "the student centred too": _pairs(_differ, say=lambda z, c, t: F.log_softmax((z - c) / t, -1)),
        "temperatures exchanged": _exchanged,
        "the student's probabilities as target": _backwards,
        "a gradient into the teacher": _pairs(_differ, sharp=lambda z, c, t: torch.softmax((z - c) / t, -1)),
        "the sum over pairs": _pairs(_differ, mean=False),
        "the mean over scores": lambda student, teacher, center, student_temp=0.1, teacher_temp=0.04:
            _pairs(_differ)(student, teacher, center, student_temp, teacher_temp) / center.numel(),
    },
    "15.moved_center": {
        "momentum the other way round": _forgetful,
        "the mean of probabilities": _average(lambda c, z: torch.softmax(_rows(z), 1).mean(0)),
        "the mean of centred logits": _average(lambda c, z: _rows(z).mean(0) - c),
        "one mean for all scores": _average(lambda c, z: torch.full_like(c, float(z.mean()))),
        "patches of the first image only": _average(lambda c, z: (z if z.dim() == 2 else z[0]).sum(0)
                                                    / len(z if z.dim() == 2 else z[0])),
        "the first patch of each image only": _average(
            lambda c, z: (z.data if z.dim() == 2 else z.data[:, 0]).sum(0) / len(z)),
        "divided by images, not by patches": _average(lambda c, z: _rows(z).sum(0) / z.shape[0]),
        "the first two axes into one": _average(
            lambda c, z: _rows(z).mean(0) if z.dim() == 3 else torch.full_like(c, float(z.mean()))),
        "momentum times all of it": lambda center, logits, momentum=0.9:
            momentum * (center + (1 - momentum) * _rows(logits).mean(0)).detach(),
        "the sum, not the mean": _average(lambda c, z: _rows(z).sum(0)),
        "the batch's mean alone": lambda center, logits, momentum=0.9: _rows(logits).mean(0).expand_as(center).clone(),
        "a gradient through the centre": lambda center, logits, momentum=0.9:
            center * momentum + logits.reshape(-1, logits.shape[-1]).mean(0) * (1 - momentum),
        "changed in place": _overwritten,
    },
    "15.patch_loss": {
        "one mean over all hidden patches": _weighted(lambda m: m / m.sum()),
        "images without a mask left out": _weighted(
            lambda m: m / m.sum(1, keepdim=True).clamp(min=1) / (m.sum(1) > 0).sum()),
        "the visible patches": _weighted(lambda m: _own(1 - m)),
        "all patches": _weighted(lambda m: torch.full_like(m, 1 / m.numel())),
        "divided by all patches": _weighted(lambda m: m / m.numel()),
        "the sum in each image": _weighted(lambda m: m / len(m)),
        "no centre": _weighted(_own, centred=False),
        "the centre after the temperature": lambda student, teacher, visible, center, student_temp=0.1,
            teacher_temp=0.04: _weighted(_own)(student, teacher, visible, center * teacher_temp, student_temp,
                                               teacher_temp),
        "nothing hidden divides by nothing": _weighted(lambda m: m / m.sum(1, keepdim=True) / len(m)),
        "temperatures exchanged": _weighted(_own, exchange=True),
        "a gradient into the teacher": _weighted(_own, frozen=False),
    },
    "15.ibot_step": {
        "the teacher sees the holes": _ibot(teacher_mask=True),
        "the student sees everything": _ibot(blind=False),
        "the class token of its own crop": _ibot(own=True),
        "one direction only": _ibot(single=True),
        "the crops interleaved": _ibot(woven=True),
        "the hidden patches in plain sight": _ibot(plain=True),
        "patches of the other crop": _ibot(cross=True),
        "the mask turned round": _ibot(flip=True),
        "the class tokens only": _ibot(terms=(1.0, 0.0)),
        "the patches only": _ibot(terms=(0.0, 1.0)),
        "patches of the first crop only": _ibot(half=True),
        "a patch loss for each crop, added": _ibot(terms=(1.0, 2.0)),
        "the teacher's momentum for the centres": _ibot(pace=True),
        "the student sees what is hidden": _ibot(reverse=True),
        "the mean of the two losses": _ibot(terms=(0.5, 0.5)),
        "the centres exchanged": _ibot(swap=True),
        "one centre for both": _ibot(shared=True),
        "the centres move before the loss": _ibot(early=True),
        "the centres stay": _ibot(still=True),
        "the student's scores in the centres": _ibot(whose="student"),
        "hidden patches only in the centre": _ibot(hidden_only=True),
        "the centres of one mean": _ibot(mixed=True),
        "the teacher moves first": _ibot(order="fzbs"),
        "the teacher never moves": _ibot(order="zbs"),
        "the student follows the teacher": _ibot(order="zbsl"),
        "the momentum turned round": _ibot(order="zbsr"),
        "momentum 0.99 whatever is given": _ibot(order="zbs9"),
        "gradients never cleared": _ibot(order="bsf"),
        "the weights never move": _ibot(order="zbf"),
        "the step comes before backward": _ibot(order="szbf"),
        "gradients in the teacher": _ibot(leak=True),
        "the loss keeps its graph": _ibot(graph=True),
    },
    "15.rollout": {
        "layers in the wrong order": _chain(reverse=True),
        "no residual": _chain(lambda maps, eye: _heads(maps)),
        "the identity added, not mixed": _chain(lambda maps, eye: [a + eye for a in _heads(maps)]),
        "residual and attention exchanged": lambda maps, residual=0.5: _chain()(maps, 1 - residual),
        "entry by entry": _product,
        "layers added": lambda maps, residual=0.5: torch.stack(_up(maps, residual)).sum(0),
        "the largest head": lambda maps, residual=0.5: _chain(
            lambda m, eye: [(1 - residual) * a.max(1).values + residual * eye for a in m])(maps),
        "the last layer only": lambda maps, residual=0.5: _up(maps, residual)[-1],
        "the residual once, at the end": lambda maps, residual=0.5: torch.lerp(
            _chain(lambda m, eye: _heads(m))(maps),
            torch.eye(maps.shape[-1], dtype=maps.dtype).expand_as(maps[0, :, 0]), residual),
    },
}

_TWO_AXES = "these tensors have two axes, so the last is the second"
_NEVER_TAKEN = "where nothing is hidden the weight is 0 / 0, and no hidden patch takes it"
EQUIVALENT = {
    "15.dino_loss": {"line 11: -1 -> 1": _TWO_AXES, "line 11: -1 -> 1 (2)": _TWO_AXES},
    "15.patch_loss": {
        'line 9: check_positive("the student\'s temperature", student_temp) -> nothing':
            "a check of the arguments; good ones pass it",
        "line 13: -1 -> 1": _TWO_AXES, "line 13: -1 -> 1 (2)": _TWO_AXES,
        "line 11: hidden.sum(1, keepdim=True).clamp(min=1) -> hidden.sum(1, keepdim=True)": _NEVER_TAKEN,
        "line 11: hidden.sum(1, keepdim=True).clamp(min=1) -> hidden.sum(1, keepdim=True).clamp(min=0)": _NEVER_TAKEN,
    },
    "15.rollout": {
        "line 9: maps.shape[-1] -> maps.shape[-2]": "maps are square",
        "line 9: torch.eye(maps.shape[-1], dtype=mean.dtype, device=mean.device) -> "
        "torch.eye(maps.shape[-1], dtype=mean.dtype)":
            "on a CPU it is the same",
    },
}
