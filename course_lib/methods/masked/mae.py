r"""MAE: masked autoencoders. He et al., CVPR 2022, arXiv 2111.06377.

Three quarters of an image's patches are dropped; a ViT encodes what is left and never sees a mask token. A small
decoder gets the encoded patches in their places, one learned *mask token* in every other place, and draws the image:

    L = sum over hidden patches l of mean over pixels of (x_hat_l - x_l)^2 / number of hidden patches

with x_l the patch normalised by its own mean and (unbiased) deviation over all its pixels and channels, 1e-6 under the
root, or plain pixels. The encoder costs a quarter, attention less; the decoder is thrown away. Code:
facebookresearch/mae, models_mae.py, util/pos_embed.py.

What other implementations get wrong: tokens not put back into their places before the decoder adds its positions; the
class token among those that are put back; mask tokens without positions; positions added after the masking, so that
every image's first visible patch looks like the top left one; the biased variance in the target; a mean of per-image
means where one ratio over the batch is meant; a kept count of 0 on small grids (int(10 * (1 - 0.9)) is 0 in floats).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.masks import check_hidden, kept_count, random_masking, visible_count
from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, official_crop
from course_lib.collectives import all_reduce_sum
from course_lib.data.images import Batch
from course_lib.methods.base import ReconstructionMethod
from course_lib.models.blocks import Block
from course_lib.models.patches import hidden_total, normalize_patches, patchify
from course_lib.models.positions import positions_for, sincos_positions
from course_lib.models.vit import ViT, init_xavier, require_vit
from course_lib.precision import in_float32


def unshuffle(tokens: Tensor, mask_token: Tensor, restore: Tensor) -> Tensor:
    """(B, kept, D) shuffled tokens (no class token) -> (B, L, D) in reading order, `mask_token` (1, 1, D) elsewhere."""
    batch, kept, dim = tokens.shape
    others = mask_token.to(tokens.dtype).expand(batch, restore.shape[1] - kept, -1)  # (B, L - kept, D)
    return torch.cat([tokens, others], 1).gather(1, restore[..., None].expand(-1, -1, dim))  # (B, L, D)


# ------------------------------------------------------------------------------------------------ the loss


@in_float32
def mae_loss(prediction: Tensor, images: Tensor, visible: Tensor, normalized: bool = True) -> Tensor:
    """Mean squared error on hidden patches, one mean over the hidden patches of the whole (global) batch.

    prediction (B, L, p*p*C), a patch as (row, column, channel); images (B, C, H, W); visible (B, L) or (B, g, g) bool,
    True = visible -> scalar. ValueError where nothing is hidden.
    """
    target = patchify(images, images.shape[-1] // math.isqrt(prediction.shape[1]))  # (B, L, p*p*C)
    if normalized:
        target = normalize_patches(target)[0]
    error = (prediction - target).square().mean(-1)  # (B, L)
    hidden = (~visible.flatten(1)).to(error)  # (B, L)
    return all_reduce_sum((error * hidden).sum()) / hidden_total(hidden)


# ------------------------------------------------------------------------------------------------ the method


class Decoder(nn.Module):
    """Encoded tokens, class token first, (B, 1 + kept, dim) -> predicted patches (B, L, pixels).

    Narrower and shallower than the encoder; positions of its own (fixed sines and cosines), added to every token.
    """

    positions: Tensor  # (1 + grid^2, width)

    def __init__(self, dim: int, grid: int, pixels: int, width: int, depth: int, heads: int):
        super().__init__()
        self.grid = grid
        self.embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.register_buffer("positions", sincos_positions(grid, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pred = nn.Linear(width, pixels)
        init_xavier(self)

    def forward(self, tokens: Tensor, restore: Tensor | None) -> Tensor:
        """restore: see `random_masking`; None where the tokens are all there already, in reading order."""
        x = self.embed(tokens)  # (B, 1 + kept, width)
        first, patches = x[:, :1], x[:, 1:]
        if restore is not None:
            patches = unshuffle(patches, self.mask_token, restore)  # (B, L, width)
        x = torch.cat([first, patches], 1)  # (B, 1 + L, width)
        x = x + positions_for(x, self.grid, self.positions)
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x[:, 1:]))  # (B, L, pixels)


class MAE(ReconstructionMethod):
    """The method over a ViT with absolute positions: encode what is visible, decode all patches, compare the hidden.

    mask_ratio: share of hidden patches. width, depth, heads: the decoder's (512, 8, 16 in the paper). normalized:
    targets normalised per patch (the paper) or plain pixels. drop=False is the paper's ablation: hidden patches stay in
    the encoder, as mask tokens, which costs four times as much.
    """

    title = "MAE"
    week = 12
    recipe = {"lr": 1.5e-3}
    explored = ("decoder", "mask_token")
    backbone: ViT

    def __init__(self, backbone: ViT, image_size: int = 32, mask_ratio: float = 0.75, width: int = 96,
                 depth: int = 1, heads: int = 3, normalized: bool = True, drop: bool = True,
                 augment: Augment | None = None):
        super().__init__()
        require_vit(backbone, "MAE drops patches, which a {} cannot", image_size)
        self.backbone, self.grid, self.patch = backbone, backbone.grid, backbone.patch
        self.kept = kept_count(self.grid**2, mask_ratio)
        check_hidden(self.grid**2 - self.kept, self.grid**2, mask_ratio)
        self.mask_ratio, self.normalized, self.drop = mask_ratio, normalized, drop
        self.augment = augment or Augment(image_size, scale=(0.2, 1.0), jitter_p=0.0, gray_p=0.0,
                                          interpolation=official_crop(image_size))
        self.decoder = Decoder(backbone.dim, self.grid, 3 * self.patch**2, width, depth, heads)
        if not drop:
            self.decoder.mask_token.requires_grad_(False)  # not used then
            self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, backbone.dim))

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) in [0, 1] and visible (B, g, g) bool."""
        images = self.augment(batch.images, generator)
        noise = torch.rand(len(images), self.grid**2, generator=generator, device=generator.device)
        visible = random_masking(noise.to(images.device), self.kept)[2]  # (B, L)
        return images, visible.view(-1, self.grid, self.grid)

    def encode(self, images: Tensor, visible: Tensor, kept: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens of what is visible, class token first, (B, 1 + kept, D), and `restore` (B, L), which `Decoder` takes.

        Normalised images (B, 3, H, W), visible (B, g, g); kept: visible patches per image, if it is known already.
        """
        if not self.drop:
            return self.backbone.tokens(images, visible, mask_token=self.mask_token), None  # (B, 1 + L, D)
        kept = visible_count(visible) if kept is None else kept
        hidden = ~visible.flatten(1)  # (B, L)
        # sorted by hidden or not, visible patches come first; their order makes no difference to the encoder
        keep, restore, _ = random_masking(hidden.to(torch.uint8), kept)  # patch numbers (B, kept), places (B, L)
        return self.backbone.tokens(images, keep=keep), restore  # no other patch enters the ViT

    def decode(self, images: Tensor, visible: Tensor, kept: int | None = None) -> Tensor:
        """Encode what is visible, decode all patches: arguments as of `encode` -> predicted patches (B, L, p*p*3)."""
        tokens, restore = self.encode(images, visible, kept)
        return self.decoder(tokens, restore)

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, visible = standardize(views[0]), views[1]
        prediction = self.decode(images, visible, self.kept)  # (B, L, p*p*3)
        return {"loss": mae_loss(prediction, images, visible, self.normalized), "views_per_image": 1}
