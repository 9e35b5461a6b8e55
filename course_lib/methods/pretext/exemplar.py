r"""Exemplar: each image is a class of its own. Dosovitskiy, Fischer, Springenberg, Riedmiller and Brox, NeurIPS 2014,
arXiv 1406.6909; with triplets: Doersch and Zisserman, ICCV 2017, arXiv 1708.07860.

The first to ask that what augmentation changes be forgotten. There, a softmax over one class for each of 32,000 image
patches; it does not scale, and those who compared pretexts on ImageNet (Kolesnikov, Zhai and Beyer, CVPR 2019) took
triplets: of a batch with V views z of length 1, several of each image, for each ordered pair of views a, p of one image

    L = mean over pairs of  max(0, m + D(a, p) - D(a, n)),    D = squared distance,   n: a view of another image

n is the *semi-hard* one (FaceNet): the nearest of those farther away than p, and if there is none, the farthest of all.
The nearest of all would make the collapse to one point the easiest way out, any of them would soon cost nothing.

What other implementations get wrong: one view of each image (there is no pair then); D without the square in one place
and with it in the other; the mean over the pairs that cost something instead of over all, which changes the learning
rate in the course of training; views of the same image among the n.

The papers state neither margin nor choice of n. The choice is that of the code of Kolesnikov et al., which scales each
*dimension* to length 1, over the batch (google/revisiting-self-supervised); here each embedding is, as in FaceNet. The
margin is a usual one. The batch is that of all ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment, many_views
from course_lib.collectives import gather
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import check_positive, check_several, in_float32


def semi_hard(distance: Tensor, same: Tensor) -> Tensor:
    """D(a, n) of each pair a, p: distances (V, V), and whether two views are of one image, bool (V, V) -> (V, V)."""
    others = distance.masked_fill(same, torch.inf).sort(1).values  # (V, V), each row rising
    place = torch.searchsorted(others.detach(), distance.detach().contiguous(), right=True)  # the first that is farther
    nearest = others.gather(1, place.clamp(max=len(others) - 1))
    farthest = distance.masked_fill(same, -torch.inf).amax(1, keepdim=True)  # (V, 1)
    return torch.where(nearest.isfinite(), nearest, farthest)


@in_float32
def triplet_loss(z: Tensor, image: Tensor, margin: float = 0.5) -> dict[str, Tensor]:
    """Embeddings of any length (V, E), the image that each is a view of, int64 (V,) -> "loss", "active".

    active: the share of pairs that cost something. ValueError for a margin that is not above 0, for a single image, or
    where each image has one view only.
    """
    check_positive("margin", margin)
    same = image[:, None] == image  # (V, V)
    check_several(image.unique(), "the triplet loss")
    pairs = same & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    if not pairs.any():
        raise ValueError("each image has one view only; expected two or more, of which pairs can be made")
    z = normalize(z)
    distance = (2 - 2 * z @ z.T).clamp(min=0)  # (V, V)
    each = (margin + distance - semi_hard(distance, same)).clamp(min=0)[pairs]
    return {"loss": each.mean(), "active": (each > 0).to(each.dtype).mean()}


class Exemplar(Method):
    """The method: a backbone and a linear layer to the embedding.

    copies: views of each image in a step (8). out: the embedding's width (1000). margin: m. augment: of all views.
    recipe: for small sets and short runs, 64 images of 4 views a step.
    """

    title = "Exemplar"
    week = 22
    needs = ("negatives",)
    recipe = {"lr": 1e-3, "batch_size": 64}
    shapes_options = {"augment": SHAPES_VIEWS}
    explored = ("head",)

    def __init__(self, backbone: Backbone, image_size: int = 32, copies: int = 4, out: int = 128, margin: float = 0.5,
                 augment: Augment | None = None):
        super().__init__()
        check_positive("margin", margin)
        if isinstance(copies, bool) or not isinstance(copies, int) or copies < 2:
            raise ValueError(f"copies is {copies!r}; expected a whole number from 2 up: views of one image make a pair")
        self.backbone, self.head = backbone, nn.Linear(backbone.dim, out)
        self.copies, self.margin = copies, margin
        self.augment = augment or Augment(image_size, jitter=(0.4, 0.4, 0.4, 0.4))

    def views(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Several views of each image: (copies, B, 3, S, S)."""
        return torch.stack(many_views(batch.images, [self.augment] * self.copies, generator))

    def loss(self, views: Tensor, progress: float = 0.0) -> dict[str, Any]:
        z = self.head(self.backbone(standardize(views.flatten(0, 1))))  # (copies * B, out)
        each = gather(z.unflatten(0, views.shape[:2]).transpose(0, 1).contiguous())  # (B of all ranks, copies, out)
        image = torch.arange(len(each), device=z.device).repeat_interleave(self.copies)
        return {**triplet_loss(each.flatten(0, 1), image, self.margin), "embedding": normalize(z.detach()),
                "views_per_image": self.copies}
