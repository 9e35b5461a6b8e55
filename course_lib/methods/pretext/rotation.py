r"""Rotation (RotNet): which way up is it? Gidaris, Singh and Komodakis, ICLR 2018, arXiv 1803.07728; official:
gidariss/FeatureLearningRotNet.

A picture is turned by 0, 1, 2 or 3 quarters of a circle, and a network is to say by how many:

    L = mean over the images of  1/4  sum over k = 0..3 of  -log softmax( h(f(turn(x, k))) )_k

To know that, it has to find what is in the picture and how that stands as a rule; edges alone look alike in all four.
A quarter moves each pixel to a pixel, so nothing is interpolated and no trace of resampling gives the answer away.

What other implementations get wrong: one random turn of each image, where all four in one batch made the paper's
results clearly better; turns by other angles, whose empty corners are the answer; a flip upside down among the views,
which is half a turn and a mirror, so the label would be noise (left and right is fine); pictures that have no upper
side, such as discs or what is drawn at any angle: there is nothing to learn there.

The paper's views are a small shift and a mirror; VISSL's a random crop *after* the turn, here it is before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.models.layers import Backbone, normalize
from course_lib.precision import in_float32


def four_turns(images: Tensor) -> tuple[Tensor, Tensor]:
    """Square images (B, C, S, S) -> all four turns of each, (4B, C, S, S), and by how many quarters, int64 (4B,).

    Anticlockwise, all images by 0 quarters first, then all by 1, ... ValueError for images that are not square.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected square ones, (B, C, S, S): a quarter of a "
                         "turn would change the shape of others")
    quarters = torch.arange(4, device=images.device).repeat_interleave(len(images))
    return torch.cat([images.rot90(k, (2, 3)) for k in range(4)]), quarters


@in_float32
def rotation_loss(logits: Tensor, quarters: Tensor) -> dict[str, Tensor]:
    """Logits (4B, 4) and the true quarters, int64 (4B,) -> "loss" and "accuracy", of this rank's images."""
    accuracy = (logits.argmax(1) == quarters).to(logits.dtype).mean()
    return {"loss": F.cross_entropy(logits, quarters), "accuracy": accuracy}


class Rotation(Method):
    """The method: a backbone, and a linear layer that says by how many quarters a picture is turned.

    augment: of a picture before it is turned. recipe: for small sets and short runs, 4 x 64 pictures a step; the paper
    has SGD, 0.1 for 4 x 128 pictures of CIFAR-10, 100 epochs.
    """

    title = "Rotation"
    week = 21
    recipe = {"lr": 1e-3, "batch_size": 64}
    shapes_options = {"augment": SHAPES_VIEWS}

    def __init__(self, backbone: Backbone, image_size: int = 32, augment: Augment | None = None):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(backbone.dim, 4)
        self.augment = augment or Augment(image_size, scale=(0.6, 1.0), jitter_p=0.0, gray_p=0.0)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """All four turns of a view of each image (4B, 3, S, S), and by how many quarters (4B,)."""
        return four_turns(self.augment(batch.images, generator))

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, quarters = views
        features = self.backbone(standardize(images))  # (4B, D)
        embedding = normalize(features.detach()[: len(images) // 4])  # of the upright ones
        return {**rotation_loss(self.head(features), quarters), "embedding": embedding, "views_per_image": 4}
