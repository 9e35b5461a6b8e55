"""Exercises of week 23, transfer: class means of an episode, Mahalanobis' score, steps of PGD and of fine-tuning."""
from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.exercises.spec import Exercise
from lessons.exercises.shared import blank, rand, randn, seeded, small_network, steps, unit, weights_of


# ------------------------------------------------------------------------------------------------ 23.prototypes
def class_distances(support: Tensor, queries: Tensor, mean: Tensor) -> Tensor:
    """Support (K, S, D) of K classes, queries (M, D), mean (D,) of images without labels -> distances (M, K)."""
    s, q = F.normalize(support - mean, dim=-1), F.normalize(queries - mean, dim=-1)
    prototypes = s.mean(1)  # (K, D)
    return (q[:, None] - prototypes).norm(dim=-1)


def _prototype_probes(generator, dtype):
    def probe(k, s, m, d):
        return 2 * randn(generator, dtype, k, s, d) + 1, 2 * randn(generator, dtype, m, d) + 1, randn(
            generator, dtype, d)

    return [probe(5, 3, 7, 4), probe(2, 1, 4, 6), dict(zip(("support", "queries", "mean"), probe(3, 6, 8, 5)))]


def _distances(*, centre=lambda s, q, mean: (s - mean, q - mean), lengths=(True, True), prototype=lambda s: s.mean(1),
               far=None, last=None):
    """The right one, or with one thing changed."""
    def function(support, queries, mean):
        s, q = centre(support, queries, mean)
        s, q = unit(s) if lengths[0] else s, unit(q) if lengths[1] else q
        found = far(s, q) if far else (q[:, None] - prototype(s)[None]).square().sum(-1).sqrt()
        return last(found) if last else found

    return function


def _to_each(s, q):
    """Distances of the queries to each support image: (M, K, S)."""
    return (q[:, None, None] - s[None]).norm(dim=-1)


prototypes = Exercise(
    key="23.prototypes", title="Which class mean is nearest?", minutes=8, difficulty=2,
    reference=class_distances, probes=_prototype_probes, tolerance=1e-4,
    wrong={
        "not centred": (
            _distances(centre=lambda s, q, mean: (s, q)),
            "Take `mean` off support and queries *before* they are scaled to length 1. Off afterwards, it cancels."),
        "centred on the support": (
            _distances(centre=lambda s, q, mean: (s - s.mean((0, 1)), q - s.mean((0, 1)))),
            "You took off the support's own mean, which depends on the few images that were drawn. `mean` is of many "
            "images without labels."),
        "only the queries are centred": (
            _distances(centre=lambda s, q, mean: (s, q - mean)),
            "The support is not centred. Both are to lie in the same space."),
        "not of length 1": (
            _distances(lengths=(False, False)),
            "Scale every feature to length 1 after centring: F.normalize(..., dim=-1)."),
        "the means made of length 1": (
            _distances(prototype=lambda s: unit(s.mean(1))),
            "You scaled the class means as well. A mean of unit vectors is shorter than 1 where the class scatters; "
            "leave it so."),
        "the nearest support image": (
            _distances(far=lambda s, q: _to_each(s, q).amin(2)),
            "That is the distance to the nearest *image* of each class. Asked is the distance to the class mean."),
        "the mean of the distances": (
            _distances(far=lambda s, q: _to_each(s, q).mean(2)),
            "Average the features first, then take the distance. You averaged distances."),
        "the sum of the support": (
            _distances(prototype=lambda s: s.sum(1)),
            "The class is its images' mean, not their sum."),
        "the first image only": (
            _distances(prototype=lambda s: s[:, 0]),
            "You took the first support image for the class. It is the *mean* of all its support images."),
        "absolute differences": (
            _distances(far=lambda s, q: (q[:, None] - s.mean(1)[None]).abs().sum(-1)),
            "You summed absolute differences. Euclid's distance sums squares and takes the root."),
        "one minus the dot product": (
            _distances(far=lambda s, q: 1 - q @ s.mean(1).T),
            "One minus the dot product is no distance here: class means are shorter than 1."),
        "squared": (
            _distances(last=lambda d: d.square()),
            "Those are squared distances. The order is the same, but asked is Euclid's distance."),
        "cosines": (
            _distances(far=lambda s, q: q @ s.mean(1).T),
            "You return dot products, which are largest for the nearest. Asked is the distance."),
        "averaged before length 1": (
            _distances(centre=lambda s, q, mean: ((s - mean).mean(1, keepdim=True), q - mean)),
            "You averaged the support first and scaled the mean. Each *image* gets length 1, then come the means: else "
            "a long feature weighs more than the others."),
        "divided by the deviation": (
            _distances(centre=lambda s, q, mean: [(z - mean) / (z - mean).std(-1, keepdim=True) for z in (s, q)],
                       lengths=(False, False)),
            "You divide each feature by its deviation. Length 1 means: by its norm."),
        "probabilities": (
            _distances(last=lambda d: (-d).softmax(1)),
            "Those are probabilities, a softmax of minus the distances. Asked are the distances."),
    },
    right={
        "cdist": lambda support, queries, mean: torch.cdist(
            unit(queries - mean), unit(support - mean).mean(1), compute_mode="donot_use_mm_for_euclid_dist"),
        "by dot products": _distances(far=lambda s, q: (
            (q * q).sum(1, keepdim=True) - 2 * q @ s.mean(1).T + s.mean(1).square().sum(1)).clamp(min=0).sqrt())},
    hints=("Three things happen before any distance: the mean comes off, each feature gets length 1, and each class "
           "becomes one vector.",
           "s = F.normalize(support - mean, dim=-1), likewise the queries; the prototypes are s.mean(dim=1), (K, D).",
           "s = F.normalize(support - mean, dim=-1)\n"
           "q = F.normalize(queries - mean, dim=-1)\n"
           "return (q[:, None] - s.mean(dim=1)[None]).norm(dim=-1)"),
)


# ------------------------------------------------------------------------------------------------ 23.mahalanobis
def mahalanobis(train: Tensor, test: Tensor) -> Tensor:
    """The score of each row of test (M, D): its squared Mahalanobis distance to train (N, D) -> (M,)."""
    away = test - train.mean(0)  # (M, D)
    covariance = torch.cov(train.T, correction=0)
    inverse = torch.linalg.pinv(covariance)
    return ((away @ inverse) * away).sum(1)


def _mahalanobis_probes(generator, dtype):
    def probe(n, m, d):
        mix = randn(generator, dtype, d, d) + torch.diag(torch.arange(1, d + 1, dtype=dtype))
        shift = 2 + randn(generator, dtype, d)
        return randn(generator, dtype, n, d) @ mix + shift, 2 * randn(generator, dtype, m, d) @ mix + shift

    empty, other = probe(24, 5, 3)
    return [probe(30, 6, 4), dict(zip(("train", "test"), probe(19, 8, 3))),
            (torch.cat([empty, torch.zeros(24, 1, dtype=dtype)], 1),
             torch.cat([other, rand(generator, dtype, 5, 1)], 1))]


def _scores(*, centre=lambda train, test: train.mean(0), spread=lambda train, test: train, correction=0,
            matrix=torch.linalg.pinv, last=lambda table: table.sum(1), second=False):
    """The right one, or with one thing changed."""
    def function(train, test):
        away, given = test - centre(train, test), spread(train, test)
        centred = given if second else given - given.mean(0)
        covariance = centred.T @ centred / (len(given) - correction)
        return last((away @ matrix(covariance)) * away)

    return function


score = Exercise(
    key="23.mahalanobis", title="How unlike the training images?", minutes=8, difficulty=2,
    reference=mahalanobis, probes=_mahalanobis_probes, tolerance=1e-3,
    wrong={
        "divided by N - 1": (
            _scores(correction=1),
            "Your covariance is divided by N - 1. Here it is divided by N: torch.cov(..., correction=0)."),
        "Euclid": (
            _scores(matrix=lambda c: torch.eye(len(c), dtype=c.dtype)),
            "That is Euclid's distance: all directions count the same. The inverse covariance is missing."),
        "the covariance itself": (
            _scores(matrix=lambda c: c),
            "You multiply by the covariance, so that directions that vary much count most. It has to be inverted."),
        "only the variances": (
            _scores(matrix=lambda c: torch.linalg.pinv(torch.diag(c.diagonal()))),
            "You used each dimension's variance alone. Correlations between dimensions belong to it: the whole "
            "covariance."),
        "the mean of the test images": (
            _scores(centre=lambda train, test: test.mean(0)),
            "You took off the test images' mean. Then what else is in the test set changes the score of an image."),
        "the covariance of the test images": (
            _scores(spread=lambda train, test: test),
            "Your covariance is the test images'. All statistics come from training images."),
        "not centred": (
            _scores(centre=lambda train, test: 0 * train.mean(0)),
            "The training mean has to come off the test features first."),
        "second moments": (
            _scores(second=True),
            "train.T @ train / N is not the covariance: the mean has to come off the training features, too."),
        "the root": (
            _scores(last=lambda table: table.sum(1).sqrt()),
            "That is the distance. SSD's score is its square."),
        "the mean over dimensions": (
            _scores(last=lambda table: table.mean(1)),
            "Sum over the dimensions; you took their mean."),
        "one number for all": (
            _scores(last=lambda table: table.sum(1).mean()),
            "One score for each image is asked for, (M,). You averaged them."),
        "summed over the test images": (
            lambda train, test: _crossed(train, test),
            "You summed a table of test images by test images over a row. Each image's score is on its *diagonal*."),
    },
    right={
        "by eigenvectors": lambda train, test: _by_eigenvectors(train, test),
        "einsum": lambda train, test: torch.einsum(
            "md,de,me->m", test - train.mean(0), torch.linalg.pinv(torch.cov(train.T, correction=0)),
            test - train.mean(0))},
    hints=("Mean and covariance come from the training features. What has to happen to the covariance so that a "
           "direction in which they hardly vary counts most?",
           "away = test - train.mean(0); inverse = torch.linalg.pinv(torch.cov(train.T, correction=0)). Then a row "
           "vector times the matrix times the row again, for each row.",
           "away = test - train.mean(0)\n"
           "inverse = torch.linalg.pinv(torch.cov(train.T, correction=0))\n"
           "return ((away @ inverse) * away).sum(dim=1)"),
)


def _by_eigenvectors(train, test):
    values, vectors = torch.linalg.eigh(torch.cov(train.T, correction=0))
    kept = values > 1e-5 * values.max()
    return (((test - train.mean(0)) @ vectors[:, kept]).square() / values[kept]).sum(1)


def _crossed(train, test):
    away = test - train.mean(0)
    return (away @ torch.linalg.pinv(torch.cov(train.T, correction=0)) @ away.T).sum(1)


# ------------------------------------------------------------------------------------------------ 23.pgd_step
def pgd_step(classifier, x: Tensor, centre: Tensor, labels: Tensor, epsilon: float, step: float) -> Tensor:
    """One step of the attack: images x (B, 3, H, W), at most epsilon from centre -> the next ones."""
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(classifier(x), labels)
    (gradient,) = torch.autograd.grad(loss, x)
    moved = x.detach() + step * gradient.sign()
    inside = torch.minimum(torch.maximum(moved, centre - epsilon), centre + epsilon)
    return inside.clamp(0, 1)


def _pgd_probes(generator, dtype):
    def probe(b, side, classes, epsilon, step):
        seed = int(torch.randint(2**30, (1,), generator=generator))
        classifier = nn.Sequential(nn.Flatten(), small_network(seed, dtype, 3 * side * side, 7, classes)).eval()
        classifier.requires_grad_(False)
        centre = (1.6 * rand(generator, dtype, b, 3, side, side) - 0.3).clamp(0, 1)  # a good part is black or white
        noise = epsilon * (2 * rand(generator, dtype, b, 3, side, side) - 1)
        labels = torch.randint(classes, (b,), generator=generator)
        return dict(classifier=classifier, x=(centre + noise).clamp(0, 1), centre=centre, labels=labels,
                    epsilon=epsilon, step=step)

    return [probe(4, 5, 3, 0.1, 0.07), probe(3, 4, 5, 0.05, 0.08), tuple(probe(5, 3, 4, 0.2, 0.05).values())]


def _attack(*, at=lambda x, centre: x, start=lambda x, centre: x, ball=lambda x, centre: centre, sign=1,
            direction=torch.sign, project=True, pixels=True, told=lambda labels, logits: labels,
            wide=lambda epsilon, step: (epsilon, step), loss=F.cross_entropy,
            into=lambda away, radius: away.clamp(-radius, radius), last=lambda moved, centre: moved):
    """The right one, or with one thing changed."""
    def function(classifier, x, centre, labels, epsilon, step):
        radius, length = wide(epsilon, step)
        here = at(x, centre).clone().detach().requires_grad_(True)
        logits = classifier(here)
        loss(logits, told(labels, logits)).backward()
        moved = start(x, centre).detach() + sign * length * direction(here.grad)
        if project:
            middle = ball(x, centre)
            moved = middle + into(moved - middle, radius)
        return last(moved.clamp(0, 1) if pixels else moved, centre)

    return function


def _long(z):
    """The length of each image, (B, 1, 1, 1)."""
    return z.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


pgd = Exercise(
    key="23.pgd_step", title="One step of the attack", minutes=9, difficulty=3,
    reference=pgd_step, probes=_pgd_probes, tolerance=1e-4,
    wrong={
        "downhill": (
            _attack(sign=-1),
            "You make the loss smaller. An attack goes up."),
        "no sign": (
            _attack(direction=lambda g: g),
            "The step is the *sign* of the gradient: each pixel moves by the whole step."),
        "outside the ball": (
            _attack(project=False),
            "Pixels end farther than epsilon from `centre`. Project each back."),
        "outside [0, 1]": (
            _attack(pixels=False),
            "Some pixels are below 0 or above 1: that is no image. Clamp to [0, 1]."),
        "a ball around x": (
            _attack(ball=lambda x, centre: x),
            "Your ball is around x, which itself has moved: with every step the image may go epsilon farther. It is "
            "around `centre`."),
        "from the centre": (
            _attack(start=lambda x, centre: centre),
            "You step from `centre`, so nothing adds up over the steps. Step from x."),
        "the gradient at the centre": (
            _attack(at=lambda x, centre: centre),
            "The gradient is taken at `centre`. Take it at x, where the attack has come to."),
        "epsilon as the step": (
            _attack(wide=lambda epsilon, step: (epsilon, epsilon)),
            "You step by epsilon. The step has a length of its own."),
        "the step as the ball": (
            _attack(wide=lambda epsilon, step: (step, step)),
            "Your ball has radius `step`. It has radius epsilon."),
        "away from its own answer": (
            _attack(told=lambda labels, logits: logits.argmax(1)),
            "You attack what the classifier says. Attack the true label: else images that it gets wrong are led back."),
        "a gradient of length 1": (
            _attack(direction=lambda g: g / _long(g)),
            "You scale each image's gradient to length 1. That is the step for a round ball; here each pixel moves by "
            "the whole step, in the direction of the gradient's *sign*."),
        "a round ball": (
            _attack(into=lambda away, radius: away * (radius / _long(away)).clamp(max=1)),
            "You bring the whole change to length epsilon. Here each *pixel* may change by epsilon: clamp them one by "
            "one."),
        "one side of the ball": (
            _attack(into=lambda away, radius: away.clamp(max=radius)),
            "A pixel may not fall by more than epsilon either: the ball has two sides."),
        "the change alone": (
            _attack(pixels=False, last=lambda moved, centre: moved - centre),
            "You return what the attack adds. Asked is the image: centre plus that."),
        "the true logit down": (
            _attack(loss=lambda logits, labels: -logits.gather(1, labels[:, None]).sum()),
            "You push the true logit down, whatever the others do. The loss is the cross-entropy."),
    },
    right={
        "clamped difference": _attack(),
        "a sum over the images": _attack(loss=lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum")),
        "pixels first": lambda classifier, x, centre, labels, epsilon, step: torch.max(torch.min(
            _attack(project=False)(classifier, x, centre, labels, epsilon, step), centre + epsilon), centre - epsilon)},
    hints=("Up the loss, by the sign of the gradient with respect to the *image*; then back into the ball around "
           "`centre`, then back into [0, 1].",
           "x = x.detach().requires_grad_(); (g,) = torch.autograd.grad(F.cross_entropy(classifier(x), labels), x). "
           "torch.minimum and torch.maximum clamp to tensors.",
           "x = x.detach().requires_grad_()\n"
           "loss = F.cross_entropy(classifier(x), labels)\n"
           "(gradient,) = torch.autograd.grad(loss, x)\n"
           "moved = x.detach() + step * gradient.sign()\n"
           "moved = torch.minimum(torch.maximum(moved, centre - epsilon), centre + epsilon)\n"
           "return moved.clamp(0, 1)"),
)


# ------------------------------------------------------------------------------------------------ 23.tuning_step
def tuning_step(backbone: nn.Module, head: nn.Module, images: Tensor, labels: Tensor, lr: float = 0.02,
                head_lr: float = 0.2) -> float:
    """One step of fine-tuning by gradient descent, the head at a rate of its own -> the loss as a number."""
    loss = F.cross_entropy(head(backbone(images)), labels)
    for module in (backbone, head):
        module.zero_grad()
    loss.backward()
    with torch.no_grad():
        for module, rate in ((backbone, lr), (head, head_lr)):
            for p in module.parameters():
                p -= rate * p.grad
    return loss.item()


def _tuning_probes(generator, dtype):
    def probe(width, middle, classes, n):
        seed = int(torch.randint(2**30, (1,), generator=generator))
        head = seeded(seed, dtype, lambda: nn.Linear(middle, classes))
        return dict(backbone=small_network(seed, dtype, width, 5, middle), head=head,
                    images=randn(generator, dtype, 3, n, width) + 1,
                    labels=torch.randint(classes, (3, n), generator=generator))

    return [probe(4, 3, 5, 8) | dict(lr=0.1, head_lr=0.7), probe(5, 4, 3, 11) | dict(lr=0.5, head_lr=0.3),
            probe(3, 5, 4, 9)]


def _three_tunings(step, backbone, head, images, labels, **rates):
    """Three steps; losses, weights, and what batch norm has seen."""
    backbone, head = copy.deepcopy(backbone).train(), copy.deepcopy(head).train()
    found = steps(step, [(backbone, head, x, y) for x, y in zip(images, labels)], **rates)
    return found if blank(found) else {**found, "backbone": weights_of(backbone), "head": weights_of(head)}


def _tuned(*, rates=lambda lr, head_lr: (lr, head_lr), sign=-1, clear=True, cut=False, frozen=False, number=True,
           loss=F.cross_entropy, after=False, mode=True, part=slice(None)):
    """The right one, or with one thing changed."""
    def function(backbone, head, images, labels, lr=0.02, head_lr=0.2):
        backbone.train(mode)
        z = backbone(images)
        value = loss(head(z.detach() if cut else z), labels)
        if clear:
            backbone.zero_grad()
            head.zero_grad()
        value.backward()
        with torch.no_grad():
            for module, rate in list(zip((backbone, head), rates(lr, head_lr)))[part]:
                for p in module.parameters():
                    if p.grad is not None:
                        p.add_(p.grad, alpha=sign * rate)
            if after:
                value = loss(head(backbone(images)), labels)
        return value.item() if number else value

    return function


tuning = Exercise(
    key="23.tuning_step", title="One step of fine-tuning, at two rates", minutes=10, difficulty=3,
    reference=tuning_step, probes=_tuning_probes, call=_three_tunings, tolerance=1e-3,
    words={"['losses']": "the losses of three steps", "['keeps its graph']": "whether the loss keeps its graph",
           "['backbone']": "the backbone's weights after three steps",
           "['head']": "the head's weights after three steps"},
    wrong={
        "lr for both": (
            _tuned(rates=lambda lr, head_lr: (lr, lr)),
            "The head learns at `lr`, too. It is new, and has a rate of its own: head_lr."),
        "head_lr for both": (
            _tuned(rates=lambda lr, head_lr: (head_lr, head_lr)),
            "The backbone learns at the head's rate: what it has learned before is soon overwritten."),
        "the rates exchanged": (
            _tuned(rates=lambda lr, head_lr: (head_lr, lr)),
            "The rates are exchanged: lr is the backbone's, head_lr the head's."),
        "only the head": (
            _tuned(cut=True),
            "The backbone never changes: that is a linear probe."),
        "only the backbone": (
            _tuned(part=slice(0, 1)),
            "The head stays as it was drawn: it has to learn, too."),
        "gradients never cleared": (
            _tuned(clear=False),
            "backward *adds* to .grad: clear the gradients of both before it."),
        "uphill": (
            _tuned(sign=1),
            "You add the gradient. Descent subtracts it."),
        "softmax before the cross-entropy": (
            _tuned(loss=lambda logits, y: F.cross_entropy(logits.softmax(1), y)),
            "F.cross_entropy takes logits; you gave it probabilities."),
        "a sum over the images": (
            _tuned(loss=lambda logits, y: F.cross_entropy(logits, y, reduction="sum")),
            "The mean over the images, not their sum: else the rate depends on the batch."),
        "the loss after the step": (
            _tuned(after=True),
            "You return the loss after the update. Asked is the one that the step was made with."),
        "evaluation mode": (
            _tuned(mode=False),
            "The backbone is in evaluation mode, so batch norm uses its old statistics. A training step leaves the "
            "mode as it is."),
        "the loss keeps its graph": (
            _tuned(number=False),
            "You return the tensor with its whole computation. Return loss.item()."),
    },
    right={
        "one thing after another": _tuned(),
        "an optimizer with two groups": lambda backbone, head, images, labels, lr=0.02, head_lr=0.2: _by_optimizer(
            backbone, head, images, labels, lr, head_lr)},
    hints=("Forward through both, cross-entropy, backward. Which parameters move by which rate?",
           "loss.backward() fills .grad of backbone and head, if both were cleared before. Then, under "
           "torch.no_grad(), p -= rate * p.grad, with lr for backbone.parameters() and head_lr for head.parameters().",
           "loss = F.cross_entropy(head(backbone(images)), labels)\n"
           "backbone.zero_grad()\n"
           "head.zero_grad()\n"
           "loss.backward()\n"
           "with torch.no_grad():\n"
           "    for p in backbone.parameters():\n"
           "        p -= lr * p.grad\n"
           "    for p in head.parameters():\n"
           "        p -= head_lr * p.grad\n"
           "return loss.item()"),
)


def _by_optimizer(backbone, head, images, labels, lr, head_lr):
    groups = [{"params": list(backbone.parameters()), "lr": lr}, {"params": list(head.parameters()), "lr": head_lr}]
    optimizer = torch.optim.SGD(groups, lr=lr)
    loss = F.cross_entropy(head(backbone(images)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss)


EXERCISES = [prototypes, score, pgd, tuning]
