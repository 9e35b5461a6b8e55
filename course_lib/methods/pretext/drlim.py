r"""DrLIM: dimensionality reduction by learning an invariant mapping. Hadsell, Chopra and LeCun, CVPR 2006.

http://yann.lecun.com/exdb/publis/pdf/hadsell-chopra-lecun-06.pdf (not on arXiv, and no official code).

The first contrastive loss. Of pairs it is only known whether they are similar (Y = 0) or not (Y = 1); an embedding G is
to put the similar ones together and the others at least a margin m apart:

    L = sum over pairs of  (1 - Y) / 2 * D^2  +  Y / 2 * max(0, m - D)^2,    D = |G(x_1) - G(x_2)|

Springs: the force of a similar pair is D, that of a dissimilar one m - D, and none from m on. Without the second term
all goes to one point. Embeddings are *not* scaled to length 1, so m sets how large the picture gets.

What other implementations get wrong: Y the other way round (most libraries); the margin on D^2; the halves; a gradient
of the root at D = 0, which is not defined, and NaN (here it is 0).

The paper knows from outside which digits are neighbours. Here two views of an image are similar, and views of other
images are not; the sum is divided by the number of images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.collectives import gather
from course_lib.methods.base import TwoViewMethod
from course_lib.models.layers import Backbone
from course_lib.precision import check_positive, in_float32


def distances(x1: Tensor, x2: Tensor) -> Tensor:
    """D of each pair, (P, E) and (P, E) -> (P,), with a gradient of 0 where it is 0."""
    return (x1 - x2).square().sum(1).clamp(min=1e-24).sqrt()


@in_float32
def pair_losses(x1: Tensor, x2: Tensor, dissimilar: Tensor, margin: float = 1.0) -> Tensor:
    """The loss of each pair: embeddings (P, E), (P, E) and Y (P,), 0 or 1 or bool -> (P,). The paper adds them up.

    ValueError for a margin that is not above 0.
    """
    check_positive("margin", margin)
    y, d = dissimilar.to(x1.dtype), distances(x1, x2)  # (P,) each
    return (1 - y) / 2 * d.square() + y / 2 * (margin - d).clamp(min=0).square()


def pairs(a: Tensor, b: Tensor, partners: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two views (N, E) of N images -> pairs (P, E), (P, E) and Y (P,), P = N * (1 + partners).

    Each first view meets its own image's second view, and those of the next images. ValueError for too few images.
    """
    n = len(a)
    if partners >= n:
        raise ValueError(f"partners is {partners}; expected at most {n - 1}, the other images of a batch of {n}: use "
                         "fewer, or a larger batch")
    others = torch.cat([b.roll(-k, 0) for k in range(1 + partners)])
    return a.repeat(1 + partners, 1), others, (torch.arange(len(others), device=a.device) >= n).to(a.dtype)


class DrLIM(TwoViewMethod):
    """The method: a backbone and a linear layer to the embedding.

    out: the embedding's width (2 in the paper). margin: m. partners: dissimilar pairs of each image. augment, other: of
    the two views; the paper shifts and turns pictures, and changes their light. recipe: for small sets and short runs.
    """

    title = "DrLIM"
    week = 26
    needs = ("negatives",)
    recipe = {"lr": 1e-3, "batch_size": 128}
    explored = ("head",)

    def __init__(self, backbone: Backbone, image_size: int = 32, out: int = 32, margin: float = 1.0, partners: int = 3,
                 augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        check_positive("margin", margin)
        if isinstance(partners, bool) or not isinstance(partners, int) or partners < 0:
            raise ValueError(f"partners is {partners!r}; expected a whole number from 0 up")
        self.backbone, self.head = backbone, nn.Linear(backbone.dim, out)
        self.margin, self.partners = margin, partners
        self.augment = augment or Augment(image_size)
        self.other = other or self.augment

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        z = self.head(self.backbone(standardize(torch.cat(views))))  # (2N, out)
        a, b = (gather(x) for x in z.chunk(2))  # (N, out) of all ranks
        each = pair_losses(*pairs(a, b, self.partners), self.margin)  # (P,)
        own = each[: len(a)].sum() / len(a)
        others = each[len(a) :].sum() / len(a)
        return {"loss": own + others, "similar": own, "dissimilar": others, "embedding": z.detach()}
