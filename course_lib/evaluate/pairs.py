"""What a two-view method does with pairs of views that it has not been trained on, and what raw pixels do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, two_views
from course_lib.evaluate.features import embed_projected, evaluating
from course_lib.evaluate.measures import effective_rank, feature_std
from course_lib.models.layers import normalize
from course_lib.seeds import generator


def pair_measures(method: nn.Module, images: Tensor, augment: Augment, seed: int = 0) -> dict[str, float]:
    """A SimSiam measured in evaluation mode on images (N, 3, H, W), and on two fresh views of each by `augment`.

    std (1: spread over the sphere, 0: one point) and rank (effective): of the projections z of the images themselves.
    agreement: the mean cosine of the two views' z. own: of a prediction with the z that it was computed from.
    loss: minus the mean cosine of a prediction with the other view's z, both directions, as in training.
    """
    z = embed_projected(method, images)
    z1, z2 = (embed_projected(method, view) for view in two_views(images, augment, generator(seed)))
    with evaluating(method) as home:
        p1, p2 = (method.predictor(z.to(home)).float().cpu() for z in (z1, z2))  # type: ignore[operator]

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(F.cosine_similarity(a, b, dim=1).mean())

    return {"std": feature_std(z), "rank": effective_rank(z), "agreement": cosine(z1, z2),
            "own": (cosine(p1, z1) + cosine(p2, z2)) / 2, "loss": -(cosine(p1, z2) + cosine(p2, z1)) / 2}


def matched_by_pixels(first: Tensor, second: Tensor) -> float:
    """The share of images whose second view, of those of all, is the nearest to the first by the cosine of raw pixels.

    Views float (N, 3, H, W) each, minus the mean of all their numbers.
    """
    a, b = (normalize(views.flatten(1) - views.mean()) for views in (first, second))
    return float(((a @ b.T).argmax(1) == torch.arange(len(a))).float().mean())


def in_shapes(z: Tensor, steps: int) -> Tensor:
    """How far the vectors of `steps` images are from the first, in units of another shape: float (steps,).

    z (steps + classes, D), of `one_cause_moves`: the unit is the mean distance of the other shapes from the first
    image. Distances between directions.
    """
    z = normalize(z)
    distance = (z - z[0]).norm(dim=1)
    return distance[:steps] / distance[steps:].sum() * (len(z) - steps - 1)  # its own shape is at no distance


@torch.no_grad()
def signal_share(network: Callable[[Tensor], Tensor], images: Tensor, augment: Augment, views: int = 8,
                 seed: int = 7) -> float:
    """The share of the variance of a network's outputs, of length 1, that lies between images, not views of one.

    network: standardised images (N, 3, H, W) -> (N, D). images uint8 (N, 3, H, W), of which `views` are drawn.
    """
    source = generator(seed)
    z = torch.stack([normalize(network(standardize(augment(images, source)))) for _ in range(views)])  # (views, N, D)
    within = z.var(0).sum(1).mean()
    # a mean of few views holds some of their noise, within / views
    between = (z.mean(0).var(0, correction=0).sum() - within / views).clamp_min(0)
    return float(between / (between + within).clamp_min(1e-12))
