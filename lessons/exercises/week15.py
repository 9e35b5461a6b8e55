"""Exercises of week 15, DINO and iBOT: the loss between crops, the centre, the loss on hidden patches, one training
step, attention rollout.
"""
from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.spec import Exercise
from course_lib.methods.masked.dino import dino_loss as library_loss
from course_lib.methods.masked.dino import moved_center as library_center
from course_lib.methods.masked.ibot import patch_loss as library_patches
from course_lib.models.teacher import ema_update
from lessons.exercises.shared import BASIC, blank, descend, has_gradient, rand, randn, update_mistakes


def _randn(generator, dtype, *shape: int) -> Tensor:
    return randn(generator, dtype, *shape)


def _as_buffer(*names: str):
    """The harness: a centre is a buffer, which never has a gradient, so whether an answer detaches it does not
    matter. names: of the arguments.
    """
    def call(function, *arguments, **options):
        given = dict(zip(names, arguments)) | options
        return function(**{name: value.detach() if name == "center" else value for name, value in given.items()})
    return call


# ------------------------------------------------------------------------------------------------ 15.dino_loss
def _loss_probes(generator, dtype):
    def draw(crops: int, n: int, k: int, scale: float = 0.3) -> tuple:
        student = [scale * _randn(generator, dtype, n, k) for _ in range(crops)]
        teacher = [scale * _randn(generator, dtype, n, k) for _ in range(2)]
        return student, teacher, scale * _randn(generator, dtype, k)

    names = ("student", "teacher", "center")
    return [draw(2, 5, 4), (*draw(5, 3, 6, 1.0), 0.5, 0.3), dict(zip(names, draw(3, 4, 5, 1.0)), teacher_temp=0.7),
            dict(zip(names, draw(4, 2, 3)), student_temp=0.3)]


def _target(logits: Tensor, center: Tensor, temperature: float) -> Tensor:
    return F.softmax((logits.detach() - center) / temperature, dim=-1)


def _cross(target: Tensor, logits: Tensor, temperature: float) -> Tensor:
    return -(target * F.log_softmax(logits / temperature, dim=-1)).sum(-1).mean()


def _distill(pairs=lambda q, v: q != v, target=_target, cross=_cross, reduce=lambda terms: sum(terms) / len(terms)):
    """A loss between crops in which one thing is otherwise: which pairs, the target, the term of a pair, the mean."""
    def loss(student, teacher, center, student_temp=0.1, teacher_temp=0.04):
        targets = [target(logits, center, teacher_temp) for logits in teacher]
        return reduce([cross(p, logits, student_temp) for q, p in enumerate(targets)
                       for v, logits in enumerate(student) if pairs(q, v)])
    return loss


def _swapped_temperatures(student, teacher, center, student_temp=0.1, teacher_temp=0.04):
    return _distill()(student, teacher, center, teacher_temp, student_temp)


def _student_centred(student, teacher, center, student_temp=0.1, teacher_temp=0.04):
    return _distill()([logits - center for logits in student], teacher, center, student_temp, teacher_temp)


def _in_one_stack(student, teacher, center, student_temp=0.1, teacher_temp=0.04):
    """All pairs at once, the forbidden ones struck out."""
    with torch.no_grad():
        p = torch.softmax((torch.stack(teacher) - center) / teacher_temp, -1)  # (G, N, K)
    z = torch.stack(student) / student_temp
    logs = z - z.logsumexp(-1, keepdim=True)
    table = -torch.einsum("gnk,vnk->gv", p, logs) / p.shape[1]
    other = ~torch.eye(*table.shape, dtype=torch.bool)
    return table[other].mean()


dino_loss = Exercise(
    key="15.dino_loss", title="Say what the teacher says about another crop", minutes=9, difficulty=3,
    reference="course_lib.methods.masked.dino:dino_loss", probes=_loss_probes, gradients=True, tolerance=1e-4,
    call=_as_buffer("student", "teacher", "center", "student_temp", "teacher_temp"),
    wrong={
        "each crop also predicts itself": (
            _distill(lambda q, v: True),
            "student[q] and teacher[q] are of the same crop: agreeing there needs no invariance at all. Leave out v == "
            "q."),
        "large crops only": (
            _distill(lambda q, v: v == 1 - q),
            "Only the two large crops are compared. The small ones, student[2:], have to say what the teacher says "
            "about the "
            "large ones, too: from part to whole."),
        "each pair of crops once": (
            _distill(lambda q, v: v > q),
            "A pair counts only where v comes after q. But what is a target differs: crop 2 also has to say what the "
            "teacher says about crop 1, and the reverse. Every v but q itself."),
        "the first pair only": (
            _distill(reduce=lambda terms: terms[0]),
            "Yours is the term of the first pair alone: a return inside the loop ends it. Collect the terms of all "
            "pairs, and return after the loops."),
        "no centre": (
            _distill(target=lambda z, c, t: _target(z, 0 * c, t)),
            "The centre is not used. Subtract it from the teacher's logits: it is what forbids one score for all "
            "images."),
        "the centre added": (
            _distill(target=lambda z, c, t: _target(z, -c, t)),
            "You add the centre: the favourite score gets still more. Subtract it."),
        "the centre after the temperature": (
            _distill(target=lambda z, c, t: F.softmax(z.detach() / t - c, dim=-1)),
            "The centre is a mean of raw logits, so it is subtracted from raw logits: (z - c) / tau, not z / tau - c."),
        "only the centre divided": (
            _distill(target=lambda z, c, t: F.softmax(z.detach() - c / t, dim=-1)),
            "Only the centre is divided by the temperature: / binds more tightly than -. Parentheses: "
            "(z - c) / tau."),
        "the centre after the softmax": (
            _distill(target=lambda z, c, t: F.softmax(z.detach() / t, dim=-1) - c),
            "The centre is subtracted from the teacher's probabilities, which then do not sum to 1. It is a mean of "
            "raw logits: subtract it from these, before the softmax."),
        "the student centred too": (
            _student_centred,
            "Only the teacher is centred. Centred on both sides, the two can drift to one score together."),
        "temperatures exchanged": (
            _swapped_temperatures,
            "The *teacher* has the low temperature, 0.04: its targets are sharper than what the student says (0.1). "
            "The other "
            "way round the student is taught to be less and less sure."),
        "the student's probabilities as target": (
            _distill(target=lambda z, c, t: F.log_softmax((z.detach() - c) / t, dim=-1),
                     cross=lambda logs, z, t: -(logs * F.softmax(z / t, dim=-1)).sum(-1).mean()),
            "Cross-entropy the wrong way round: the teacher's probabilities weight the logarithm of the *student's*."),
        "a gradient into the teacher": (
            _distill(target=lambda z, c, t: F.softmax((z - c) / t, dim=-1)),
            "The value is right, but a gradient flows into the teacher: it is a constant here. Detach it."),
        "the sum over pairs": (
            _distill(reduce=sum),
            "Take the *mean* over the pairs: with the sum, two more crops would make the steps larger."),
        "the mean over scores": (
            _distill(cross=lambda p, z, t: -(p * F.log_softmax(z / t, dim=-1)).mean()),
            "A cross-entropy is a *sum* over the K scores; the mean is taken over images only. Yours is K times too "
            "small."),
    },
    right={"all pairs at once": _in_one_stack, "loops": _distill()},
    hints=("Which of the V x 2 pairs count? What is a constant, what is centred, who is sharp?",
           "P = ((teacher[q].detach() - center) / teacher_temp).softmax(-1); the student: log_softmax(z / "
           "student_temp, -1).",
           "terms = []\n"
           "for q, t in enumerate(teacher):\n"
           "    target = ((t.detach() - center) / teacher_temp).softmax(-1)\n"
           "    for v, s in enumerate(student):\n"
           "        if v != q:\n"
           "            terms.append(-(target * F.log_softmax(s / student_temp, -1)).sum(-1).mean())\n"
           "return torch.stack(terms).mean()"),
)


# ------------------------------------------------------------------------------------------------ 15.moved_center
def _center_probes(generator, dtype):
    return [(_randn(generator, dtype, 5), _randn(generator, dtype, 7, 5) + 1),
            (_randn(generator, dtype, 6), 3 * _randn(generator, dtype, 4, 2, 6), 0.6),
            dict(center=_randn(generator, dtype, 1, 3), logits=_randn(generator, dtype, 4, 3) - 2, momentum=0.25)]


def _moved(mean=lambda z, c: z.detach().flatten(0, -2).mean(0), keep=lambda m: m, move=lambda m: 1 - m):
    def answer(center, logits, momentum=0.9):
        return keep(momentum) * center.detach() + move(momentum) * mean(logits, center)
    return answer


def _with_graph(center, logits, momentum=0.9):
    return momentum * center + (1 - momentum) * logits.flatten(0, -2).mean(0)


def _in_place(center, logits, momentum=0.9):
    with torch.no_grad():
        return center.mul_(momentum).add_(logits.flatten(0, -2).mean(0), alpha=1 - momentum)


def _lerp(center, logits, momentum=0.9):
    with torch.no_grad():
        mean = logits.reshape(-1, logits.shape[-1]).mean(0)
        return torch.lerp(center, mean.expand_as(center), 1 - momentum)


moved_center = Exercise(
    key="15.moved_center", title="Where the centre goes", minutes=5, difficulty=2,
    reference="course_lib.methods.masked.dino:moved_center", probes=_center_probes, gradients=True,
    call=_as_buffer("center", "logits", "momentum"),
    wrong={
        "momentum the other way round": (
            _moved(keep=lambda m: 1 - m, move=lambda m: m),
            "Momentum is what *stays*: 0.9 of the old centre and 0.1 of the batch. Yours forgets nearly everything."),
        "the mean of probabilities": (
            _moved(mean=lambda z, c: z.detach().softmax(-1).flatten(0, -2).mean(0)),
            "The mean of the raw logits is wanted, not of their softmax: the centre is subtracted from raw logits."),
        "the mean of centred logits": (
            _moved(mean=lambda z, c: (z.detach() - c.detach()).flatten(0, -2).mean(0)),
            "Logits are averaged as they are. With the centre already subtracted it would settle at half the true "
            "mean."),
        "one mean for all scores": (
            _moved(mean=lambda z, c: z.detach().mean()),
            "Every score has a mean of its own: average over images (and patches), not over the last axis. A number "
            "that is "
            "subtracted from all scores changes no softmax."),
        "patches of the first image only": (
            _moved(mean=lambda z, c: z.detach()[0].mean(0) if z.dim() == 3 else z.detach().mean(0)),
            "With patches, (N, L, K), the mean is over *both* leading axes: logits.flatten(0, -2).mean(0)."),
        "the first patch of each image only": (
            _moved(mean=lambda z, c: z.detach()[:, 0].mean(0) if z.dim() == 3 else z.detach().mean(0)),
            "With patches, (N, L, K), only the first one of each image is averaged. All count: "
            "logits.flatten(0, -2).mean(0)."),
        "divided by images, not by patches": (
            _moved(mean=lambda z, c: z.detach().flatten(0, -2).sum(0) / len(z)),
            "With patches, (N, L, K), you add N times L rows and divide by N. Divide by the number of rows."),
        "the first two axes into one": (
            _moved(mean=lambda z, c: z.detach().flatten(0, 1).mean(0)),
            "flatten(0, 1) is right with patches, (N, L, K). Of (N, K) it leaves one long row, and its mean is one "
            "number for all scores. flatten(0, -2) keeps the last axis whatever comes."),
        "momentum times all of it": (
            _moved(move=lambda m: m * (1 - m)),
            "The batch's mean is multiplied by momentum as well. Only the old centre is: "
            "momentum * center + (1 - momentum) * mean."),
        "the sum, not the mean": (
            _moved(mean=lambda z, c: z.detach().flatten(0, -2).sum(0)),
            "The mean over the rows, not the sum: a centre does not grow with the batch."),
        "the batch's mean alone": (
            _moved(keep=lambda m: 0.0, move=lambda m: 1.0),
            "Where is the old centre? One batch alone is noisy: momentum * center + (1 - momentum) * mean."),
        "a gradient through the centre": (
            _with_graph,
            "The value is right, but it carries a gradient: the next loss would be differentiated through all the "
            "batches "
            "before. Use torch.no_grad()."),
        "changed in place": (
            _in_place,
            "The value is right, but the centre that was passed in has changed: who still has to compute this batch's "
            "loss "
            "would get the new one. Return a new tensor."),
    },
    right={"lerp": _lerp, "plain": _moved()},
    hints=("The centre has K entries. Over which axes is the batch averaged?",
           "logits.flatten(0, -2) makes rows of (N, K) and of (N, L, K). What stays, momentum or 1 - momentum?",
           "with torch.no_grad():\n"
           "    return momentum * center + (1 - momentum) * logits.flatten(0, -2).mean(0)"),
)


# ------------------------------------------------------------------------------------------------ 15.patch_loss
def _patch_probes(generator, dtype):
    def draw(n: int, side: int, k: int, scale: float = 0.3) -> tuple:
        visible = torch.rand(n, side, side, generator=generator) >= torch.linspace(0.25, 0.9, n)[:, None, None]
        visible[0] = True  # an image without a hidden patch
        visible[1:, 0, 0], visible[1:, -1, -1] = False, True
        return (scale * _randn(generator, dtype, n, side**2, k), scale * _randn(generator, dtype, n, side**2, k),
                visible, scale * _randn(generator, dtype, k))

    student, teacher, visible, center = draw(4, 3, 5)
    names = ("student", "teacher", "visible", "center")
    return [(student, teacher, visible.flatten(1), center), (*draw(3, 4, 6, 1.0), 0.5, 0.3),
            dict(zip(names, draw(5, 2, 3)), student_temp=0.3), dict(zip(names, draw(5, 3, 4, 1.0)), teacher_temp=0.2)]


def _per_patch(student, teacher, center, student_temp, teacher_temp):
    p = F.softmax((teacher.detach() - center.flatten()) / teacher_temp, dim=-1)
    return -(p * F.log_softmax(student / student_temp, dim=-1)).sum(-1)  # (N, L)


def _patches(reduce, error=_per_patch):
    def loss(student, teacher, visible, center, student_temp=0.1, teacher_temp=0.04):
        return reduce(error(student, teacher, center, student_temp, teacher_temp), (~visible.flatten(1)).to(student))
    return loss


def _mean_per_image(errors, hidden):
    return ((errors * hidden).sum(1) / hidden.sum(1).clamp(min=1)).mean()


def _left_out(errors, hidden):
    some = hidden.sum(1) > 0
    return ((errors * hidden).sum(1)[some] / hidden.sum(1)[some]).mean()


def _image_by_image(student, teacher, visible, center, student_temp=0.1, teacher_temp=0.04):
    total = 0 * student.sum()
    for s, t, h in zip(student, teacher, ~visible.flatten(1)):
        if h.any():
            total = total + _per_patch(s[h], t[h], center, student_temp, teacher_temp).mean()
    return total / len(student)


patch_loss = Exercise(
    key="15.patch_loss", title="Say what is behind the mask", minutes=8, difficulty=3,
    reference="course_lib.methods.masked.ibot:patch_loss", probes=_patch_probes, gradients=True, tolerance=1e-4,
    call=_as_buffer("student", "teacher", "visible", "center", "student_temp", "teacher_temp"),
    unit="patches",
    wrong={
        "one mean over all hidden patches": (
            _patches(lambda e, h: (e * h).sum() / h.sum()),
            "That is the mean over the hidden patches of the *batch*: an image with many of them counts more. Take "
            "each "
            "image's mean first, then the mean over images."),
        "images without a mask left out": (
            _patches(_left_out),
            "Right inside each image, but images with nothing hidden stay in the denominator and contribute 0: divide "
            "by N. "
            "(Clamp the number of hidden patches at 1.)"),
        "the visible patches": (
            _patches(lambda e, h: _mean_per_image(e, 1 - h)),
            "Your loss is on the patches that the student *sees*, where visible is True. Take the others: ~visible."),
        "all patches": (
            _patches(lambda e, h: e.mean()),
            "Only hidden patches count: on the visible ones copying would do."),
        "divided by all patches": (
            _patches(lambda e, h: (e * h).mean()),
            "Divide each image's sum by the number of its *hidden* patches (at least 1), not by L."),
        "the sum in each image": (
            _patches(lambda e, h: (e * h).sum(1).mean()),
            "The mean over an image's hidden patches, not their sum."),
        "no centre": (
            _patches(_mean_per_image, lambda s, t, c, a, b: _per_patch(s, t, 0 * c, a, b)),
            "Patches have a centre, too: subtract it from the teacher's logits."),
        "the centre after the temperature": (
            _patches(_mean_per_image, lambda s, t, c, a, b: -(F.softmax(t.detach() / b - c.flatten(), -1)
                                                              * F.log_softmax(s / a, -1)).sum(-1)),
            "The centre is a mean of raw logits, so it is subtracted from raw logits: (z - c) / tau, not z / tau - c."),
        "nothing hidden divides by nothing": (
            _patches(lambda e, h: ((e * h).sum(1) / h.sum(1)).mean()),
            "An image with nothing hidden divides 0 by 0, which is nan. Clamp the number of hidden patches at 1."),
        "temperatures exchanged": (
            _patches(_mean_per_image, lambda s, t, c, a, b: _per_patch(s, t, c, b, a)),
            "The teacher is divided by teacher_temp, the lower one; the student by student_temp."),
        "a gradient into the teacher": (
            _patches(_mean_per_image, lambda s, t, c, a, b: -(F.softmax((t - c.flatten()) / b, -1)
                                                              * F.log_softmax(s / a, -1)).sum(-1)),
            "The value is right, but a gradient flows into the teacher. Detach its logits."),
    },
    right={"image by image": _image_by_image, "masked means": _patches(_mean_per_image)},
    hints=("First a number for each patch, (N, L). Then two means, one after the other: over what?",
           "errors = -(P * log_softmax).sum(-1); hidden = ~visible.flatten(1) is (N, L). How many hidden patches has "
           "image "
           "b? May that be 0?",
           "hidden = ~visible.flatten(1)\n"
           "target = ((teacher.detach() - center) / teacher_temp).softmax(-1)\n"
           "errors = -(target * F.log_softmax(student / student_temp, -1)).sum(-1)\n"
           "return ((errors * hidden).sum(1) / hidden.sum(1).clamp(min=1)).mean()"),
)


# ------------------------------------------------------------------------------------------------ 15.ibot_step
def ibot_step(student, teacher, optimizer, crops, visible, center, patch_center, momentum):
    """One update of iBOT -> the loss, a number, and the two centres, of class tokens and of patches, moved.

    crops (2 N, ...): the first large crop of all images, then the second. teacher(crops) and student(crops, visible)
    give the scores of class tokens (2 N, K) and of patches (2 N, L, K).
    """
    with torch.no_grad():
        t, t_patches = teacher(crops)
    s, s_patches = student(crops, visible)
    loss = (library_loss(list(s.chunk(2)), list(t.chunk(2)), center)
            + library_patches(s_patches, t_patches, visible, patch_center))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema_update(teacher, student, momentum)
    return loss.item(), library_center(center, t), library_center(patch_center, t_patches)


class _Tokens(nn.Module):
    """A very small network of tokens: tokens (B, L, D) -> scores of all together (B, K) and of each (B, L, K)."""

    def __init__(self, draw, length: int, dim: int, width: int, out: int):
        super().__init__()
        self.embed, self.mask, self.places, self.head = (
            nn.Parameter(0.8 * draw(*shape)) for shape in ((dim, width), (width,), (length, width), (width, out)))

    def forward(self, tokens: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = tokens @ self.embed
        if visible is not None:
            x = torch.where(visible.flatten(1)[..., None], x, self.mask)
        x = x + self.places
        x = torch.tanh(x + x.mean(1, keepdim=True))
        return 0.3 * torch.tanh(x.mean(1) @ self.head), 0.3 * torch.tanh(x @ self.head)


def _three_steps(step, crops: Tensor, visible: Tensor, center: Tensor, patch_center: Tensor, momentum: float):
    """The harness: three updates of a very small student by SGD with momentum; all that is there after the first, and
    after the last.
    """
    draw = partial(randn, torch.Generator().manual_seed(7), crops.dtype)
    sizes = *crops.shape[2:], 6, len(center)
    student, teacher = _Tokens(draw, *sizes), _Tokens(draw, *sizes)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.5)
    found, centers, graphs = {}, (center.clone(), patch_center.clone()), []
    for number, (both, seen) in enumerate(zip(crops, visible)):
        got = step(student, teacher, optimizer, both.clone(), seen.clone(), *centers, momentum)
        if blank(got):
            return got
        if not isinstance(got, (tuple, list)) or len(got) != 3:
            raise ValueError("return three things: the loss, the class tokens' centre and the patches' centre")
        loss, *centers = got
        centers = tuple(c.detach().clone() if isinstance(c, Tensor) else c for c in centers)
        graphs.append(isinstance(loss, Tensor) and loss.requires_grad)
        weights = {name: torch.cat([p.detach().flatten().clone() for p in network.parameters()])
                   for name, network in (("student", student), ("teacher", teacher))}
        loss = float(loss) if isinstance(loss, (int, float, Tensor)) else loss
        parts = {"loss": loss, **weights, "center": centers[0], "patch_center": centers[1]}
        if number in (0, len(crops) - 1):
            found |= {f"{name} {('first', 'last')[number > 0]}": value for name, value in parts.items()}
    noted = {"a loss that keeps its graph": any(graphs),
             "a gradient in the teacher": has_gradient(teacher)}
    return found | {what: True for what, there in noted.items() if there}


def _step_probes(generator, dtype):
    draw = partial(randn, generator, dtype)

    def probe(n: int, length: int, dim: int, out: int, momentum: float) -> dict:
        visible = rand(generator, torch.float32, 3, 2 * n, length) > 0.4
        visible[..., 0], visible[..., -1] = False, True
        visible[:, 1] = True  # an image without a hidden patch
        return dict(crops=draw(3, 2 * n, length, dim), visible=visible, center=0.1 * draw(out),
                    patch_center=0.1 * draw(out), momentum=momentum)

    return [probe(3, 5, 4, 7, 0.6), probe(4, 9, 3, 5, 0.8)]


def _update(sees=lambda net, crops, visible: net(crops), says=lambda net, crops, visible: net(crops, visible),
            asked=lambda t: t, patches=lambda t: t, seen=lambda visible: visible, total=lambda a, b: a + b,
            targets=list, split=lambda z: z.chunk(2), patch_says=None,
            used=lambda c, p, t, tp: (c, p), moved=lambda c, p, t, tp, s, sp, visible: (
                library_center(c, t), library_center(p, tp)),
            order="clear backward step follow", pace=lambda m: m, back=lambda loss: loss.item()):
    """A step in which one thing is otherwise: what either network is given, what is compared, which centres, the
    order.
    """
    def step(student, teacher, optimizer, crops, visible, center, patch_center, momentum):
        with torch.no_grad():
            t, t_patches = sees(teacher, crops, visible)
        s, s_patches = says(student, crops, visible)
        s_patches = patch_says(student, crops, visible) if patch_says else s_patches
        one, two = used(center, patch_center, t, t_patches)
        loss = total(library_loss(list(split(s)), targets(split(asked(t))), one),
                     library_patches(s_patches, patches(t_patches), seen(visible), two))
        value = descend(loss, optimizer, order, back, follow=lambda: ema_update(teacher, student, pace(momentum)),
                       lead=lambda: ema_update(student, teacher, pace(momentum)))
        return value, *moved(center, patch_center, t, t_patches, s.detach(), s_patches.detach(), visible)

    return step


def _both_at_once(z: Tensor, patches: Tensor) -> Tensor:
    return torch.cat([z, patches.flatten(0, 1)])


def _through_the_teacher(student, teacher, optimizer, crops, visible, center, patch_center, momentum):
    """The teacher's targets keep their graph, and its weights get gradients."""
    t, t_patches = teacher(crops)
    s, s_patches = student(crops, visible)
    loss = library_loss(list(s.chunk(2)), list(t.chunk(2)), center)
    targets = ((t_patches - patch_center) / 0.04).softmax(-1)
    errors = -(targets * F.log_softmax(s_patches / 0.1, -1)).sum(-1)
    loss = loss + _mean_per_image(errors, (~visible).to(errors))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema_update(teacher, student, momentum)
    return loss.item(), library_center(center, t), library_center(patch_center, t_patches)


def _crop_by_crop(student, teacher, optimizer, crops, visible, center, patch_center, momentum):
    """A right answer: each crop passes by itself, gradients are cleared at the end, the teacher's detached."""
    pairs = list(zip(crops.chunk(2), visible.chunk(2)))
    (t1, p1), (t2, p2) = (teacher(crop) for crop, _ in pairs)
    (s1, q1), (s2, q2) = (student(crop, seen) for crop, seen in pairs)
    loss = library_loss([s1, s2], [t1, t2], center)
    for q, p, (_, seen) in zip((q1, q2), (p1, p2), pairs):
        loss = loss + library_patches(q, p, seen, patch_center) / 2
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
        for old, new in zip(teacher.parameters(), student.parameters()):
            old.mul_(momentum).add_(new, alpha=1 - momentum)
    return (float(loss.detach()), library_center(center, torch.cat([t1, t2])),
            library_center(patch_center, torch.cat([p1, p2])))


step = Exercise(
    key="15.ibot_step", title="One step of iBOT", minutes=10, difficulty=3,
    reference=ibot_step, probes=_step_probes, call=_three_steps, tolerance=1e-4,
    words={f"['{name} {when}']": f"{what} {after}" for when, after in (("first", "after one step"), (
        "last", "after three steps")) for name, what in (
            ("loss", "the loss"), ("student", "the student's weights"), ("teacher", "the teacher's weights"),
            ("center", "the centre of the class tokens"), ("patch_center", "the centre of the patches"))}
    | {"['a loss that keeps its graph']": "the graph behind the loss",
       "['a gradient in the teacher']": "the gradients in the teacher"},
    wrong={
        "the teacher sees the holes": (
            _update(sees=lambda net, crops, visible: net(crops, visible)),
            "The teacher gets the mask, too: it cannot say what is behind a hole that it does not see through. "
            "teacher(crops), without the mask."),
        "the student sees everything": (
            _update(says=lambda net, crops, visible: net(crops)),
            "The student gets no mask, so the patches that it is asked about are in plain sight. student(crops, "
            "visible)."),
        "the class token of its own crop": (
            _update(asked=lambda t: t.roll(len(t) // 2, 0)),
            "The teacher's two crops are exchanged, so that each crop predicts itself. dino_loss leaves out equal "
            "numbers: both lists come in the same order."),
        "one direction only": (
            _update(targets=lambda t: t[:1]),
            "Only the teacher's answer to the first crop is used. Each of the two crops is a target for the other: "
            "hand dino_loss both, list(t.chunk(2))."),
        "the crops interleaved": (
            _update(split=lambda z: [z[::2], z[1::2]]),
            "The crops come one after the other: rows 0 to N - 1 are the first crop of all images. chunk(2) parts "
            "them; every second row mixes the crops."),
        "patches of the other crop": (
            _update(patches=lambda t: t.roll(len(t) // 2, 0)),
            "The patches are compared across crops, where patch 17 shows something else. A hidden patch is asked for "
            "what the teacher says at that place of the *same* crop."),
        "the hidden patches in plain sight": (
            _update(patch_says=lambda net, crops, visible: net(crops)[1]),
            "The patches' scores come from a student that saw the whole crop. Take them from the same call as the "
            "class token, student(crops, visible)."),
        "the mask turned round": (
            _update(seen=lambda visible: ~visible),
            "patch_loss takes the mask with True = visible and scores the hidden ones. Hand on `visible` as it is."),
        "the class tokens only": (
            _update(total=lambda a, b: a),
            "That is DINO on masked crops: the loss on the patches is missing from the sum."),
        "the patches only": (
            _update(total=lambda a, b: b),
            "The loss between the two crops is missing. Without it nothing asks a patch to be more than local."),
        "patches of the first crop only": (
            _update(patches=lambda t: t[: len(t) // 2], seen=lambda visible: visible[: len(visible) // 2],
                    patch_says=lambda net, crops, visible: net(crops, visible)[1][: len(crops) // 2]),
            "The patch loss is of the first crop only. Both are masked, and both ask their hidden patches: hand on all "
            "2 N rows."),
        "a patch loss for each crop, added": (
            _update(total=lambda a, b: a + 2 * b),
            "Your patch loss counts twice: a mean over the N images of each crop, and these added. It is one mean over "
            "all 2 N rows."),
        "the teacher's momentum for the centres": (
            lambda student, teacher, optimizer, crops, visible, center, patch_center, momentum: _update(
                moved=lambda c, p, t, tp, *rest: (library_center(c, t, momentum), library_center(p, tp, momentum)))(
                    student, teacher, optimizer, crops, visible, center, patch_center, momentum),
            "`momentum` is the teacher's. The centres have their own, moved_center's default of 0.9."),
        "the student sees what is hidden": (
            _update(says=lambda net, crops, visible: net(crops, ~visible)),
            "The student sees the hidden patches, and not the others. True = visible: student(crops, visible)."),
        "the mean of the two losses": (
            _update(total=lambda a, b: (a + b) / 2),
            "iBOT adds the two losses, each with weight 1. Yours is half of that."),
        "the centres exchanged": (
            _update(used=lambda c, p, t, tp: (p, c)),
            "`center` belongs to the class tokens, `patch_center` to the patches; you used each for the other."),
        "one centre for both": (
            _update(used=lambda c, p, t, tp: (c, c)),
            "The patches are centred by the class tokens' centre. They have one of their own, `patch_center`."),
        "the centres move before the loss": (
            _update(used=lambda c, p, t, tp: (library_center(c, t), library_center(p, tp))),
            "The loss uses the centres of the batches *before* this one. Move them after it."),
        "the centres stay": (
            _update(moved=lambda c, p, *rest: (c, p)),
            "You return the centres as they came. moved_center(center, t) and moved_center(patch_center, t_patches) "
            "are the next ones."),
        "the student's scores in the centres": (
            _update(moved=lambda c, p, t, tp, s, sp, visible: (library_center(c, s), library_center(p, sp))),
            "The centres follow the *teacher's* scores, from which they are subtracted. You averaged the student's."),
        "hidden patches only in the centre": (
            _update(moved=lambda c, p, t, tp, s, sp, visible: (library_center(c, t),
                                                               library_center(p, tp[~visible]))),
            "The patches' centre is the mean over *all* of the teacher's patches, hidden from the student or not."),
        "the centres of one mean": (
            _update(moved=lambda c, p, t, tp, s, sp, visible: (library_center(c, _both_at_once(t, tp)),
                                                               library_center(p, _both_at_once(t, tp)))),
            "Class tokens and patches are averaged together. Each kind of token has a centre of its own."),
        "the teacher moves first": (
            _update(order="follow clear backward step"),
            "The teacher follows the student of the step before. The optimizer's step comes first, then the teacher."),
        "the teacher never moves": (
            _update(order="clear backward step"),
            "The teacher is what it was: it follows the student once a step, ema_update(teacher, student, momentum)."),
        "the student follows the teacher": (
            _update(order="clear backward step lead"),
            "You averaged the teacher into the student. ema_update(teacher, student, momentum): the first argument "
            "is the one that moves."),
        "the momentum turned round": (
            _update(pace=lambda m: 1 - m),
            "Momentum is what the teacher *keeps*: yours keeps 1 - momentum and jumps after the student."),
        "momentum 0.99 whatever is given": (
            _update(pace=lambda m: 0.99), "Your teacher keeps 0.99 of itself at every momentum: pass `momentum` on."),
        "gradients in the teacher": (
            _through_the_teacher,
            "The teacher's answers are constants, and yours have a gradient. Ask the teacher under torch.no_grad()."),
        **update_mistakes(_update, [*BASIC, "the step comes before backward"], after="follow"),
    },
    right={"crop by crop": _crop_by_crop, "as written above": _update()},
    hints=("The teacher answers, the student answers with holes, two losses, an update, and three things that follow.",
           "dino_loss wants lists of crops: list(s.chunk(2)). patch_loss takes both crops at once. Teacher and centres "
           "move last.",
           "with torch.no_grad():\n"
           "    t, t_patches = teacher(crops)\n"
           "s, s_patches = student(crops, visible)\n"
           "loss = dino_loss(list(s.chunk(2)), list(t.chunk(2)), center)\n"
           "loss = loss + patch_loss(s_patches, t_patches, visible, patch_center)\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "ema_update(teacher, student, momentum)\n"
           "return loss.item(), moved_center(center, t), moved_center(patch_center, t_patches)"),
)


# ------------------------------------------------------------------------------------------------ 15.rollout
def _rollout_probes(generator, dtype):
    def maps(*shape: int) -> Tensor:
        return (2 * _randn(generator, dtype, *shape)).softmax(-1)

    return [(maps(3, 2, 4, 5, 5),), (maps(2, 1, 3, 10, 10), 0.25), dict(maps=maps(4, 3, 2, 6, 6)),
            dict(maps=maps(1, 2, 4, 5, 5), residual=0.8)]


def _rolled(heads=lambda maps: maps.mean(2), mix=lambda a, eye, r: (1 - r) * a + r * eye, join=lambda step,
            total: step @ total,
            order=list):
    def answer(maps, residual=0.5):
        eye = torch.eye(maps.shape[-1], dtype=maps.dtype)
        steps = order([mix(layer, eye, residual) for layer in heads(maps)])
        total = steps[0]
        for step in steps[1:]:
            total = join(step, total)
        return total
    return answer


def _token_by_token(maps, residual=0.5):
    """Each input token's mark, sent up through the layers."""
    layers, b, _, t, _ = maps.shape
    state = torch.eye(t, dtype=maps.dtype).expand(b, t, t)
    for layer in maps:
        state = residual * state + (1 - residual) * torch.einsum("bhij,bjk->bik", layer, state) / layer.shape[1]
    return state


rollout = Exercise(
    key="15.rollout", title="Attention through all layers", minutes=7, difficulty=3,
    reference="course_lib.evaluate.attention:rollout", probes=_rollout_probes,
    plain=True,
    wrong={
        "layers in the wrong order": (
            _rolled(join=lambda step, total: total @ step),
            "The first layer acts first, so it stands *rightmost*: total = layer @ total. Matrix products do not "
            "commute."),
        "no residual": (
            _rolled(mix=lambda a, eye, r: a),
            "A block is x + attention(x): much of a token stays where it is. Mix each map with the identity: "
            "(1 - residual) * A + residual * I."),
        "the identity added, not mixed": (
            _rolled(mix=lambda a, eye, r: a + eye),
            "A + I has rows that sum to 2, and after all layers to 2 to the power of the depth. Mix: (1 - residual) * "
            "A + "
            "residual * I."),
        "residual and attention exchanged": (
            _rolled(mix=lambda a, eye, r: r * a + (1 - r) * eye),
            "`residual` is the weight of the identity, 1 - residual that of the attention. At 0.5 nobody notices."),
        "entry by entry": (
            _rolled(join=lambda step, total: step * total),
            "* multiplies entry by entry. A path goes from token i to j and from j to k, summed over j: that is @."),
        "layers added": (
            _rolled(join=lambda step, total: step + total),
            "Layers act one after the other: multiply, don't add."),
        "the largest head": (
            _rolled(heads=lambda maps: maps.amax(2)),
            "Here heads are averaged (the paper's way). With the maximum, rows do not sum to 1 any more."),
        "the last layer only": (
            lambda maps,
            residual=0.5: (1 - residual) * maps[-1].mean(1) + residual * torch.eye(maps.shape[-1], dtype=maps.dtype),
            "That is one layer. Its tokens are mixtures already: multiply by what the layers below have done."),
        "the residual once, at the end": (
            lambda maps, residual=0.5: (1 - residual) * _rolled(mix=lambda a, eye, r: a)(maps)
            + residual * torch.eye(maps.shape[-1], dtype=maps.dtype),
            "Every block has its own residual connection: mix the identity into each layer's map before multiplying."),
    },
    right={"token by token": _token_by_token, "plain": _rolled()},
    hints=("(layers, B, heads, T, T) -> (B, T, T): what happens to heads, what to layers?",
           "mixed = (1 - residual) * maps.mean(2) + residual * I, one (B, T, T) a layer. Which layer acts first?",
           "mixed = (1 - residual) * maps.mean(2) + residual * torch.eye(maps.shape[-1])\n"
           "total = mixed[0]\n"
           "for layer in mixed[1:]:\n"
           "    total = layer @ total\n"
           "return total"),
)


EXERCISES = [dino_loss, moved_center, patch_loss, step, rollout]
