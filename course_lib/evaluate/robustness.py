r"""Adversarial accuracy by projected gradient descent (PGD): Madry et al., ICLR 2018, arXiv 1706.06083; as an end of
pre-training: "Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning", CVPR 2020, arXiv 2003.12862.

Somebody who knows the network changes each pixel by at most epsilon so that it errs:

    x_0 = x + uniform noise in [-epsilon, epsilon],    x_{t+1} = project( x_t + step * sign(gradient of L at x_t) )

project: back to at most epsilon from x, then to [0, 1]. Pixels are in [0, 1], so normalisation belongs *into* the
classifier; else epsilon means nothing. A picture counts as right only if the classifier was right at x and at *all* x_t
of all restarts, so more steps and more restarts never raise the accuracy, and what is reported is an upper bound.

What other implementations get wrong: the attack on normalised images; only the last x_t looked at, by which an attack
seems to get weaker with more steps; batch norm in training mode; the number of steps and restarts not stated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.evaluate.features import evaluating
from course_lib.evaluate.measures import check_labels
from course_lib.methods.base import Method
from course_lib.precision import check_positive

EPSILON, STEP = 8 / 255, 2 / 255


class InPixels(nn.Module):
    """A backbone and a head as a classifier of images in [0, 1]: (B, 3, H, W) -> logits (B, K).

    backbone: a module of normalised images, or a method, whose `embed` is used, as in `features.embed`.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(self.backbone, Method):
            return self.head(self.backbone.embed(images))
        return self.head(self.backbone(standardize(images)))


def projected(x: Tensor, centre: Tensor, epsilon: float) -> Tensor:
    """x at most epsilon away from centre, pixel by pixel, and in [0, 1]."""
    return torch.minimum(torch.maximum(x, centre - epsilon), centre + epsilon).clamp(0, 1)


def pgd_step(classifier: Callable[[Tensor], Tensor], x: Tensor, centre: Tensor, labels: Tensor, epsilon: float,
             step: float) -> tuple[Tensor, Tensor]:
    """The next images (B, 3, H, W) in [0, 1], and whether the classifier was right at x, bool (B,)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = classifier(x)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), x)
    return projected(x.detach() + step * gradient.sign(), centre, epsilon), (logits.argmax(1) == labels).detach()


def pgd_accuracy(classifier: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float = EPSILON,
                 steps: Sequence[int] = (0, 10, 20), step: float = STEP, restarts: int = 1, seed: int = 0,
                 batch_size: int = 256) -> dict[int, float]:
    """Accuracy after each of `steps` (0: without an attack), with all restarts: share of images, never rising.

    classifier: images in [0, 1] -> logits, in evaluation mode; see `InPixels`. images (N, 3, H, W), floats in [0, 1].
    ValueError for images beyond [0, 1], steps or restarts that cannot be, or an epsilon or step that is not above 0.
    """
    check_positive("epsilon", epsilon)
    check_positive("step", step)
    labels, most = check_labels(labels, len(images)), max(steps)
    if not images.is_floating_point() or float(images.amin()) < 0 or float(images.amax()) > 1:
        raise ValueError("images are not floats in [0, 1]; the attack changes pixels, so give them before any "
                         "normalisation, which belongs into the classifier (`InPixels`)")
    if min(steps) < 0 or restarts < 1:
        raise ValueError(f"steps are {tuple(steps)} and restarts {restarts}; expected numbers from 0 up, and one "
                         "restart or more")
    right = torch.zeros(most + 1, dtype=torch.int64)  # after so many steps
    generator = torch.Generator().manual_seed(seed)
    with evaluating(classifier) as where:
        for part, wanted in zip(images.split(batch_size), labels.split(batch_size)):
            right += _survivors(classifier, part.to(where), wanted.to(where), epsilon, most, step, restarts, generator)
    return {number: int(right[number]) / len(images) for number in steps}


def _survivors(classifier: nn.Module, x: Tensor, labels: Tensor, epsilon: float, most: int, step: float, restarts: int,
               generator: torch.Generator) -> Tensor:
    """How many of a batch are still right after 0, 1, ..., `most` steps of all restarts: int64 (most + 1,)."""
    clean = classifier(x).argmax(1) == labels
    fell = torch.where(clean, most + 1, 0)  # (B,) the first number of steps after which it was wrong
    for _ in range(restarts if most else 0):
        noise = torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        moved = projected(x + epsilon * (2 * noise - 1), x, epsilon)
        for number in range(1, most + 2):  # the step made from x_t looks at x_t, so one more looks at the last
            if not (rows := (fell > max(1, number - 1)).nonzero().flatten()).numel():
                break
            following, correct = pgd_step(classifier, moved[rows], x[rows], labels[rows], epsilon, step)
            fell[rows] = torch.where(correct, fell[rows], fell[rows].clamp(max=max(1, number - 1)))
            moved = moved.index_copy(0, rows, following)
    return torch.stack([(fell > number).sum() for number in range(most + 1)]).cpu()


def climb(classifier: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, step: float = 0.05,
          most: int = 60) -> Tensor:
    """Up the loss in steps of one length (2-norm), until the answer is wrong: the changed images (B, 3, H, W).

    classifier: images -> logits (B, K); labels int64 (B,). After `most` steps an image is left as it then is.
    """
    moved, found, unturned = images.clone(), images.clone(), torch.ones(len(images), dtype=torch.bool)
    for _ in range(most):
        logits = classifier(moved.detach_().requires_grad_())
        found = torch.where(unturned[:, None, None, None], moved.detach(), found)
        unturned &= logits.argmax(1) == labels
        slope = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), moved)[0]
        moved = moved + step * F.normalize(slope.flatten(1), dim=1).view_as(moved)
    return found
