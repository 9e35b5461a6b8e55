r"""DMAE: denoising masked autoencoders help robust classification. Wu et al., ICLR 2023, arXiv 2210.06983.

MAE whose visible patches are noisy; the clean image is to be drawn, so *every* patch has something to learn from:

    L = mean over images b and all patches l of  |x_hat_bl - t_bl|^2 / n,    input x + sigma * noise with 75 % hidden

with t the clean, normalised image's patch (with `normalized`, by its own mean and deviation, as in MAE). Fine-tuned on
noisy images, the encoder becomes the classifier f of a smoothed one (`course_lib.evaluate.smoothing`), whose answers
can be certified. `NoisyClassifier` does that, with two noisy copies of each image that should agree (Jeong and Shin,
NeurIPS 2020, arXiv 2006.04062):

    L = cross-entropy + lambda * (1/m) sum_i KL(p_mean || p_i) + eta * H(p_mean)

Code: quanlin-wu/dmae, models_dmae.py, util/consistency.py.

What other implementations get wrong: the loss on hidden patches only; the noisy image as target; noise after resizing
or normalisation, where sigma has no meaning in pixels and the certificate does not hold; noisy pixels clipped to
[0, 1]; one noise for all images of a batch; labels repeated in another order than the copies.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize, to_float
from course_lib.augment.views import Augment, official_crop
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.methods.masked.mae import MAE
from course_lib.models.layers import Backbone
from course_lib.models.patches import normalize_patches, patchify
from course_lib.models.vit import ViT, require_vit
from course_lib.precision import in_float32


# ------------------------------------------------------------------------------------------------ the losses
@in_float32
def dmae_loss(prediction: Tensor, images: Tensor, normalized: bool = True) -> Tensor:
    """Mean squared error over *all* patches: prediction (B, L, n), clean normalised images (B, C, H, W) -> scalar."""
    target = patchify(images, math.isqrt(prediction.shape[-1] // images.shape[1]))  # (B, L, n)
    if normalized:
        target = normalize_patches(target)[0]
    return (prediction - target).square().mean()


@in_float32
def consistency_loss(logits: list[Tensor], weight: float = 2.0, entropy: float = 0.5) -> Tensor:
    """m copies' logits (B, K) -> scalar: weight * mean_i KL(p_mean || p_i) + entropy * H(p_mean), mean over images."""
    log_p = torch.stack(logits).log_softmax(-1)  # (m, B, K)
    mean = log_p.exp().mean(0)  # p_mean, (B, K)
    spread = torch.special.entr(mean).sum(-1)  # H(p_mean), (B,)
    divergence = -(mean * log_p.mean(0)).sum(-1) - spread  # (B,): mean_i sum_k p_mean (log p_mean - log p_i)
    return (weight * divergence + entropy * spread).mean()


def noisy(images: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Images in [0, 1] plus sigma times standard normal noise, another one for every pixel; not clipped."""
    noise = torch.randn(images.shape, generator=generator, device=generator.device, dtype=images.dtype)
    return images + sigma * noise.to(images.device)


def enter(images: Tensor, size: int) -> Tensor:
    """What happens to a (noisy) image *after* the noise: bicubic resize to the network's size, then normalisation."""
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bicubic", align_corners=False)
    return standardize(images)


# ------------------------------------------------------------------------------------------------ the methods
class DMAE(MAE):
    """The method: MAE (its options too) with noise of deviation `sigma`, 0.25 in the paper whatever comes later.

    image_size: of the images, where the noise is added; a ViT built for another size gets them resized.
    """

    title = "DMAE"
    week = 16

    def __init__(self, backbone: ViT, image_size: int = 32, sigma: float = 0.25, augment: Augment | None = None,
                 **options):
        require_vit(backbone, "DMAE drops patches, which a {} cannot")
        size = backbone.grid * backbone.patch
        super().__init__(backbone, size, augment=augment, **options)
        self.sigma, self.size = sigma, size
        self.augment = augment or Augment(image_size, scale=(0.2, 1.0), jitter_p=0.0, gray_p=0.0,
                                          interpolation=official_crop(image_size))

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Clean images, noisy images (both in [0, 1] but for the noise) and what is visible."""
        images, visible = super().views(batch, generator)
        return images, noisy(images, self.sigma, generator), visible

    def loss(self, views: tuple[Tensor, Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, seen, visible = views
        prediction = self.decode(enter(seen, self.size), visible, self.kept)  # (B, L, p*p*3)
        return {"loss": dmae_loss(prediction, enter(images, self.size), self.normalized), "views_per_image": 1}

    def embed(self, images: Tensor) -> Tensor:
        return self.backbone(enter(to_float(images), self.size))


class NoisyClassifier(Method):
    """A classifier trained on noisy images: the f of a smoothed classifier. Its backbone may be pre-trained.

    sigma: of the noise, 0 for none. copies: noisy copies of each image (2: with `consistency_loss`, weighted by
    `weight` and `entropy`; 0.1 for sigma 1 in the paper). `predict(images)`: images in [0, 1], noisy or not -> logits.
    """

    recipe = {"lr": 1e-3, "weight_decay": 0.05}

    def __init__(self, backbone: Backbone, classes: int, image_size: int = 32, sigma: float = 0.25, copies: int = 2,
                 weight: float = 2.0, entropy: float = 0.5, augment: Augment | None = None):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(backbone.dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.size = backbone.grid * backbone.patch if isinstance(backbone, ViT) else image_size
        self.sigma, self.copies, self.weight, self.entropy = sigma, copies, weight, entropy
        self.augment = augment or Augment(image_size, scale=(0.5, 1.0), jitter_p=0.0, gray_p=0.0)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noisy copies, one batch after the other, (copies * B, 3, H, W), and the labels (B,)."""
        if batch.labels is None:
            raise ValueError("fine-tuning needs labelled images")
        images = self.augment(batch.images, generator)
        return torch.cat([noisy(images, self.sigma, generator) for _ in range(self.copies)]), batch.labels

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, labels = views
        logits = self.predict(images).float()  # (copies * B, classes)
        cross_entropy = F.cross_entropy(logits, labels.repeat(self.copies))
        parts = {"accuracy": (logits.argmax(1) == labels.repeat(self.copies)).float().mean(), "views_per_image": 1}
        if self.copies == 1:
            return {"loss": cross_entropy, **parts}
        agree = consistency_loss(list(logits.chunk(self.copies)), self.weight, self.entropy)
        return {"loss": cross_entropy + agree, "cross_entropy": cross_entropy, "consistency": agree, **parts}

    def predict(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], or noisy -> (B, classes) logits."""
        return self.head(self.backbone(enter(images, self.size)))

    def embed(self, images: Tensor) -> Tensor:
        return self.backbone(enter(to_float(images), self.size))
