r"""LCI: beyond local pixel statistics. Jenni, Jin and Favaro, CVPR 2020, arXiv 2004.02331; official: sjenni/LCI.

Transformations after which every small patch still looks like a patch of a picture, so that only the whole gives them
away. A network is to say which was done, T_k:

    L = mean over the images and k of  -log softmax( h(f(T_k(x))) )_k

Here T_0 to T_3 are the four turns of RotNet and T_4 is a warp. The paper's sixth, a hole filled by an autoencoder that
is trained against a discriminator, is left out.

What is easily overlooked: a transformation's own traces must be in the others, too, or they are the answer. A warp
resamples, which blurs; so the untouched and the turned are resampled as well, by a shift of less than a pixel. The
paper does the like for its autoencoder, through which some of its untouched pictures go.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.geometry import affine, warp
from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods.pretext.rotation import Rotation, four_turns, rotation_loss
from course_lib.models.layers import Backbone, normalize

WARPED = 4  # the class


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, C, S, S), each shifted by up to half a pixel either way: resampled, and not bent."""
    shift = (torch.rand(len(images), 2, generator=generator, device=generator.device) - 0.5).to(images)
    return affine(images, torch.zeros_like(shift[:, 0]), shift, torch.ones_like(shift[:, 0]))


def bent(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, C, S, S), each warped by 16 control points that move by up to a sixteenth of the side."""
    most = images.shape[-1] / 16
    draws = torch.rand(len(images), 2, 4, 4, generator=generator, device=generator.device).to(images)
    return warp(images, most * (2 * draws - 1))


class LCI(Rotation):
    """The method: RotNet with a fifth class, warped.

    resampled: False as a control, in which warped pictures alone are resampled.
    """

    title = "LCI"

    def __init__(self, backbone: Backbone, image_size: int = 32, augment: Augment | None = None,
                 resampled: bool = True):
        super().__init__(backbone, image_size, augment)
        self.head, self.resampled = nn.Linear(backbone.dim, WARPED + 1), resampled

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A view of each image turned four ways, then warped (5B, 3, S, S), and which it is, int64 (5B,)."""
        view = self.augment(batch.images, generator)
        turned, quarters = four_turns(shifted(view, generator) if self.resampled else view)
        return torch.cat([turned, bent(view, generator)]), torch.cat([quarters, torch.full_like(quarters[:len(view)],
                                                                                               WARPED)])

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, classes = views
        features = self.backbone(standardize(images))
        embedding = normalize(features.detach()[:len(images) // (WARPED + 1)])
        return {**rotation_loss(self.head(features), classes), "embedding": embedding, "views_per_image": WARPED + 1}
