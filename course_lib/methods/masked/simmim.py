r"""SimMIM: a simple framework for masked image modelling. Xie et al., CVPR 2022, arXiv 2111.09886.

No decoder, no dropped patches: the whole sequence goes through the encoder, a learned token in the place of each hidden
patch's embedding, and one linear layer draws the pixels. With M = 1 on hidden *pixels* (one channel), C channels:

    L = sum over hidden pixels and channels of |x - x_hat| / ((sum of M + 1e-5) C)

x is the normalised image, not normalised per patch. The mask is drawn on a grid that is coarser than the encoder's
patches (32 pixels against 16 or 4): what matters is how far a hidden pixel is from the nearest visible one. Code:
microsoft/SimMIM, models/simmim.py, models/vision_transformer.py, data/data_simmim.py.

What other implementations get wrong: the mask drawn on the encoder's own patches; the number of hidden ones rounded
down (it is rounded up); the token put in after positions were added; the sum divided by the number of hidden pixels
only, so that the loss is three times as large; the loss over all pixels; the linear layer's channels read as MAE reads
them, (row, column, channel), where PixelShuffle means (channel, row, column).
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from course_lib.augment.masks import check_hidden, coarse_mask, enlarge, hidden_count
from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.collectives import all_reduce_sum
from course_lib.data.images import Batch
from course_lib.methods.base import ReconstructionMethod
from course_lib.models.patches import hidden_total, normalize_patches, patchify, unpatchify
from course_lib.models.vit import ViT, init_truncated, require_vit
from course_lib.optim import Group, position_bias_groups
from course_lib.precision import in_float32

# the paper's ViT: no absolute positions, one relative bias for all layers, layer scale, keys without bias
SIMMIM_VIT = {"positions": "none", "relative": "shared", "layer_scale": 0.1, "key_bias": False, "pool": "mean"}


# ------------------------------------------------------------------------------------------------ the loss


@in_float32
def simmim_loss(prediction: Tensor, images: Tensor, visible: Tensor, eps: float = 1e-5) -> Tensor:
    """Mean absolute error over the hidden pixels of the whole (global) batch.

    prediction, images (B, C, H, W); visible (B, g, g) bool, True = visible -> scalar. ValueError where nothing is
    hidden.
    """
    mask = enlarge(~visible.unsqueeze(1), images.shape[-1]).to(images)  # (B, 1, H, W), 1 where hidden
    error = ((prediction - images).abs() * mask).sum()
    return all_reduce_sum(error) / (hidden_total(mask) + eps) / images.shape[1]


def pixel_shuffle(maps: Tensor, stride: int) -> Tensor:
    """(B, C * stride^2, h, w) -> (B, C, h * stride, w * stride); channels in the order (channel, row, column)."""
    batch, channels, height, width = maps.shape
    maps = maps.view(batch, channels // stride**2, stride, stride, height, width)  # b c p q h w, p: row in the patch
    return maps.permute(0, 1, 4, 2, 5, 3).reshape(batch, -1, height * stride, width * stride)  # b c (h p) (w q)


# ------------------------------------------------------------------------------------------------ the method


class SimMIM(ReconstructionMethod):
    """The method over a ViT.

    mask_ratio: share of hidden mask patches. mask_patch: their width in pixels, a multiple of the ViT's patch (None:
    twice that, as 32 against 16 in the paper). normalized: targets normalised per patch, which the paper does not do.
    The ViT is initialised anew, from normals of deviation `std` cut at one deviation (0.02 for widths of 768; narrow
    ViTs start faster from more). bias_lr: the position bias's learning rate over that of the rest (1 in the paper;
    short runs need more). The paper's ViT has the options `SIMMIM_VIT`, which `build_method` gives a ViT by name.
    """

    title = "SimMIM"
    week = 13
    recipe = {"lr": 1.5e-3, "clip": 5.0, "betas": (0.9, 0.999)}
    backbone_options = SIMMIM_VIT
    explored = ("mask_token", "head")
    backbone: ViT
    mask_grid: int

    def __init__(self, backbone: ViT, image_size: int = 32, mask_ratio: float = 0.6,
                 mask_patch: int | None = None, normalized: bool = False, std: float = 0.02, bias_lr: float = 20.0,
                 augment: Augment | None = None):
        super().__init__()
        require_vit(backbone, "SimMIM puts mask tokens into a sequence, a {} has none", image_size)
        mask_patch = 2 * backbone.patch if mask_patch is None else mask_patch
        if mask_patch < 1 or mask_patch % backbone.patch or image_size % mask_patch:
            raise ValueError(f"mask_patch {mask_patch} must be a multiple of the ViT's patch {backbone.patch} and "
                             f"divide the image size {image_size}")
        self.backbone, self.grid, self.patch = backbone, backbone.grid, backbone.patch
        self.mask_ratio, self.mask_patch, self.normalized, self.bias_lr = mask_ratio, mask_patch, normalized, bias_lr
        self.mask_grid = image_size // mask_patch
        check_hidden(hidden_count(self.mask_grid**2, mask_ratio), self.mask_grid**2, mask_ratio)
        self.augment = augment or Augment(image_size, scale=(0.67, 1.0), jitter_p=0.0, gray_p=0.0)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        self.head = nn.Conv2d(backbone.dim, 3 * self.patch**2, 1)  # one linear layer for each position
        init_truncated(backbone, std)

    def param_groups(self, weight_decay: float) -> list[Group]:
        return position_bias_groups(self, weight_decay, self.bias_lr)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) in [0, 1] and visible (B, g, g) bool."""
        images = self.augment(batch.images, generator)
        noise = torch.rand(len(images), self.mask_grid, self.mask_grid, generator=generator, device=generator.device)
        return images, coarse_mask(noise.to(images.device), self.mask_ratio, self.mask_patch // self.patch)

    def decode(self, images: Tensor, visible: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) and visible (B, g, g) -> the drawn image (B, 3, H, W)."""
        tokens = self.backbone.tokens(images, visible, mask_token=self.mask_token)[:, 1:]  # (B, L, D)
        maps = rearrange(tokens, "b (h w) d -> b d h w", h=self.grid)  # (B, D, g, g)
        return pixel_shuffle(self.head(maps), self.patch)  # (B, 3 p^2, g, g) -> (B, 3, H, W)

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        target, visible = standardize(views[0]), views[1]
        prediction = self.decode(target, visible)  # (B, 3, H, W)
        if self.normalized:
            target = unpatchify(normalize_patches(patchify(target, self.patch))[0], self.patch)
        return {"loss": simmim_loss(prediction, target, visible), "views_per_image": 1}
