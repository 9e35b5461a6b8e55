r"""Certified robustness by randomized smoothing: Cohen, Rosenfeld, Kolter, ICML 2019, arXiv 1902.02918.

A classifier f is asked about many noisy copies of an image; the smoothed classifier g answers with the majority. If a
class has at least the share p of *all* noisy copies, no change of the pixels whose length (2-norm) is below sigma *
Phi^-1(p) can change g's answer, whatever f is. p is not known, only counted; a lower confidence bound takes its place:

    g(x) = argmax_c P(f(x + sigma * noise) = c),  p_low = Beta^-1(alpha; k, n - k + 1),  radius = sigma * Phi^-1(p_low)

for k of n votes; where p_low < 1/2 it abstains. Images are in [0, 1] at the size at which the certificate holds: noise
is added there, before any resizing or normalisation, which belong to f; else sigma has no meaning in pixels.

What others get wrong: a two-sided bound (alpha / 2 on each side), or the share k / n itself; the class picked from the
same votes that are then counted; noise after normalisation; an abstention counted as right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

ABSTAIN = -1


def lower_bound(votes: int | Tensor, n: int | Tensor, alpha: float = 0.001) -> Tensor:
    """One-sided Clopper-Pearson bound: the true share is above it with confidence 1 - alpha. float64, votes' shape.

    ValueError for an alpha that is not between 0 and 1.
    """
    from scipy.stats import beta  # scipy comes with scikit-learn

    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected how often the bound may be wrong, between 0 and 1")
    votes, n = torch.as_tensor(votes).double().cpu(), torch.as_tensor(n).double().cpu()
    bound = torch.as_tensor(beta.ppf(alpha, votes.clamp(min=1).numpy(), (n - votes + 1).numpy()))
    return torch.where(votes > 0, bound, 0.0)


def certified_radius(votes: int | Tensor, n: int | Tensor, sigma: float, alpha: float = 0.001) -> Tensor:
    """sigma * Phi^-1(lower bound of the share), float64; 0 where it abstains, the bound being below 1/2."""
    bound = lower_bound(votes, n, alpha)
    return torch.where(bound >= 0.5, sigma * torch.special.ndtri(bound), 0.0)


@torch.no_grad()
def count_votes(classifier: Callable[[Tensor], Tensor], image: Tensor, sigma: float, n: int, classes: int,
                generator: torch.Generator, batch_size: int = 500) -> Tensor:
    """How often `classifier` (images in [0, 1] -> logits) names each class over n noisy copies of an image (3, H, W).

    -> int64 (classes,), summing to n. ValueError for an image of bytes.
    """
    if not image.is_floating_point():
        raise ValueError(f"the image is {image.dtype}; expected floats in [0, 1], to which noise can be added")
    counts = torch.zeros(classes, dtype=torch.long)
    for start in range(0, n, batch_size):
        many = min(batch_size, n - start)
        noise = torch.randn(many, *image.shape, generator=generator, device=generator.device, dtype=image.dtype)
        found = classifier(image + sigma * noise.to(image.device)).argmax(1)
        counts += torch.bincount(found.cpu(), minlength=classes)
    return counts


def certify(classifier: Callable[[Tensor], Tensor], image: Tensor, sigma: float, classes: int,
            generator: torch.Generator, n0: int = 100, n: int = 10_000, alpha: float = 0.001,
            batch_size: int = 500) -> tuple[int, float]:
    """(class, radius) of an image (3, H, W) in [0, 1], or (ABSTAIN, 0.0).

    n0 votes select the class; n *fresh* ones estimate its share. (The official code abstains at once when the selected
    class is not the label: it saves time, and certified accuracy is the same.)
    """
    chosen = int(count_votes(classifier, image, sigma, n0, classes, generator, batch_size).argmax())
    votes = count_votes(classifier, image, sigma, n, classes, generator, batch_size)[chosen]
    if lower_bound(votes, n, alpha) < 0.5:
        return ABSTAIN, 0.0
    return chosen, float(certified_radius(votes, n, sigma, alpha))


def elections(classifier: Callable[[Tensor], Tensor], images: Tensor, sigma: float, classes: int,
              generator: torch.Generator, n0: int = 100, sizes: Sequence[int] = (100, 1000)) -> dict[str, list[int]]:
    """Votes of images (N, 3, H, W) that a record can keep, so that certificates can be computed later.

    "found": the class that n0 votes select; "votes_100" for each of the growing `sizes`: its votes among so many fresh
    ones, the smaller samples being the beginning of the largest.
    """
    row: dict[str, list[int]] = {"found": [], **{f"votes_{n}": [] for n in sizes}}
    for image in images:
        chosen, total, before = int(count_votes(classifier, image, sigma, n0, classes, generator).argmax()), 0, 0
        row["found"].append(chosen)
        for n in sizes:
            total += int(count_votes(classifier, image, sigma, n - before, classes, generator)[chosen])
            before = n
            row[f"votes_{n}"].append(total)
    return row


def certified_accuracy(found: Tensor, radii: Tensor, labels: Tensor, at: float | Tensor) -> Tensor:
    """Share of *all* images whose class is right and certified at radius `at` or beyond, for one or several radii.

    found int64 (N,), ABSTAIN where it abstained: never right. radii float (N,). -> float64, the shape of `at`.
    """
    at = torch.as_tensor(at, dtype=torch.float64)
    right = (found == labels) & (found != ABSTAIN)
    return (right & (radii.double() >= at[..., None])).double().mean(-1)


def favourite(classifier: Callable[[Tensor], Tensor], images: Tensor, sigma: float, n: int, classes: int
              ) -> tuple[int, float, float]:
    """Whether a classifier says one word in noise: the class that most images (N, 3, H, W) elect, how many of them do,
    and the mean share of the votes that a winner has. n: votes for each image.
    """
    said = torch.stack([count_votes(classifier, image, sigma, n, classes, torch.Generator().manual_seed(0), n)
                        for image in images])
    winners = said.argmax(1)
    word = winners.mode().values
    return int(word), float((winners == word).double().mean()), float((said.amax(1) / n).mean())
