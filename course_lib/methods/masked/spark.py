r"""SparK: sparse and hierarchical masked modelling. Tian et al., ICLR 2023 (spotlight), arXiv 2301.03580.

A convolution smears visible pixels over hidden ones, layer by layer, until the mask is gone. SparK keeps the mask: the
visible map a (1 = visible) on the grid of patches is enlarged to every layer's size, each convolution and pool is
followed by "times a", and batch norm counts visible positions only. The maps of all stages are then *densified*
(normalised, hidden positions filled with a learned mask embedding, projected) and a light UNet decoder draws the image.

    L = sum over hidden patches l of mean over pixels of (x_hat_l - x_l)^2 / number of hidden patches

with x_l the patch normalised by its own mean and (unbiased) deviation, 1e-6 under the root. A patch is as wide as the
encoder's total stride. Code: keyu-tian/SparK, pretrain/{encoder,decoder,spark}.py.

What other implementations get wrong: batch norm over hidden positions too; no mask after each convolution (biases leak)
or after pools; the biased variance in the target; the mean of per-image means instead of one mean over the batch's
hidden patches; skips concatenated instead of added; the mask kept in a module-level global (here it lives as long as
one forward: `sparse`).
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.augment.masks import check_hidden, enlarge, patch_mask
from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, official_crop
from course_lib.collectives import all_reduce_sum
from course_lib.data.images import Batch
from course_lib.methods.base import ReconstructionMethod
from course_lib.models.batch_norm import BatchNorm2d, convert_batch_norm
from course_lib.models.layers import ConvBackbone, check_maps
from course_lib.models.patches import hidden_total, normalize_patches, patchify
from course_lib.moved import signpost
from course_lib.optim import Group, parameter_groups
from course_lib.precision import in_float32

__getattr__ = signpost(__name__)  # says where names are that have left this file


@in_float32
def spark_loss(prediction: Tensor, images: Tensor, visible: Tensor, normalized: bool = True) -> Tensor:
    """Mean squared error on hidden patches, one mean over the hidden patches of the whole (global) batch.

    prediction, images (B, C, H, W); visible (B, f, f) or (B, 1, f, f) bool, True = visible -> scalar. ValueError where
    nothing is hidden.
    """
    visible = visible.flatten(1)  # (B, L)
    patch = images.shape[-1] // math.isqrt(visible.shape[1])
    target, guess = patchify(images, patch), patchify(prediction, patch)  # (B, L, p*p*C)
    if normalized:
        target = normalize_patches(target)[0]
    error = (guess - target).square().mean(-1)  # (B, L)
    hidden = (~visible).to(error)  # (B, L)
    return all_reduce_sum((error * hidden).sum()) / hidden_total(hidden)


@contextmanager
def sparse(encoder: nn.Module, visible: Tensor):
    """Inside this context a plain dense encoder computes on visible positions only; afterwards it is dense again.

    visible (B, 1, f, f) bool. Convolutions and pools are followed by the mask (max-pool sees hidden positions as 0,
    average pool divides by the full window), batch norms become masked, layer norms are followed by the mask, and so
    are linear layers on maps (ConvNeXt's, whose biases would leak). A plain LayerNorm or Linear has its channels last,
    a subclass of LayerNorm (torchvision's LayerNorm2d) first. Layers that would mix hidden positions in (group norm,
    global pooling) raise a ValueError when they are called.
    """
    sizes: dict[int, Tensor] = {}

    def mask(size: int) -> Tensor:
        if size not in sizes:
            sizes[size] = enlarge(visible, size)
        return sizes[size]

    def times_mask(module, inputs, output):
        if type(module) is nn.LayerNorm or isinstance(module, nn.Linear):  # channels last
            return output * mask(output.shape[1]).permute(0, 2, 3, 1) if output.dim() == 4 else output
        return output * mask(output.shape[-1])

    def begin(module, inputs):
        module.visible = mask(inputs[0].shape[-1])

    def end(module, inputs, output):
        module.visible = None

    def refuse(module, inputs):
        raise ValueError(f"{type(module).__name__} mixes visible and hidden positions: SparK needs a masked version")

    hooks = []
    for module in encoder.modules():
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.LayerNorm, nn.Linear)):
            hooks.append(module.register_forward_hook(times_mask))
        elif isinstance(module, BatchNorm2d):
            hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end, always_call=True)]
        elif isinstance(module, (nn.GroupNorm, nn.InstanceNorm2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
                                 nn.BatchNorm2d)):
            hooks.append(module.register_forward_pre_hook(refuse))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class UNetBlock(nn.Module):
    """Twice the resolution: deconvolution 4x4/2, conv-BN-ReLU6, conv-BN, no last activation; dense."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.up_sample = nn.ConvTranspose2d(before, before, 4, 2, 1)
        self.conv = nn.Sequential(
            nn.Conv2d(before, before, 3, 1, 1, bias=False), BatchNorm2d(before), nn.ReLU6(inplace=True),
            nn.Conv2d(before, after, 3, 1, 1, bias=False), BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.up_sample(x))


class LightDecoder(nn.Module):
    """log2(stride) UNet blocks whose width halves from scale to scale, skips by addition, a last 1x1 convolution."""

    def __init__(self, stride: int, width: int):
        super().__init__()
        widths = [width // 2**i for i in range(int(math.log2(stride)) + 1)]
        if widths[-1] < 1:
            raise ValueError(f"decoder width {width} cannot be halved {len(widths) - 1} times; use {stride} or more")
        self.dec = nn.ModuleList(UNetBlock(a, b) for a, b in zip(widths, widths[1:]))
        self.proj = nn.Conv2d(widths[-1], 3, 1)
        for layer in self.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, nn.Conv2d):
                nn.init.trunc_normal_(layer.weight, std=0.02)
            if isinstance(layer, (nn.ConvTranspose2d, nn.Conv2d)) and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, maps: list[Tensor | None]) -> Tensor:
        """maps from the smallest up, None (or nothing, at the end) where a scale has no skip -> (B, 3, H, W)."""
        x = 0
        for block, skip in zip(self.dec, [*maps, *[None] * (len(self.dec) - len(maps))]):
            x = block(x if skip is None else x + skip)
        return self.proj(x)


# ------------------------------------------------------------------------------------------------ the method


class SparK(ReconstructionMethod):
    """The method over any staged encoder (`stages(images)`, `widths`, `strides`), which stays a plain dense network.

    mask_ratio: share of hidden patches. width: the decoder's, at the smallest map. normalized: targets normalised per
    patch (the paper) or plain pixels. densify_norm: "bn" (ResNets in the paper) or "none".
    """

    title = "SparK"
    week = 2
    recipe = {"lr": 3e-3, "clip": 5.0}
    explored = ("mask_tokens", "densify_norms", "densify_projs", "dense_decoder")
    backbone: ConvBackbone

    def __init__(self, backbone: ConvBackbone, image_size: int = 32, mask_ratio: float = 0.6, width: int = 64,
                 normalized: bool = True, densify_norm: str = "bn", augment: Augment | None = None):
        super().__init__()
        check_maps(backbone, self.title)
        self.patch = backbone.strides[-1]
        if image_size % self.patch:
            raise ValueError(f"image size {image_size} is not a multiple of the encoder's stride {self.patch}")
        if any(b != 2 * a for a, b in zip(backbone.strides, backbone.strides[1:])):
            raise ValueError(f"SparK needs stages that each halve the resolution, got strides {backbone.strides}")
        if densify_norm not in ("bn", "none"):
            raise ValueError(f"densify_norm must be 'bn' or 'none', got {densify_norm!r}")
        self.backbone = convert_batch_norm(backbone)
        self.mask_ratio, self.normalized, self.grid = mask_ratio, normalized, image_size // self.patch
        patches = self.grid**2
        check_hidden(patches - max(1, round(patches * (1 - mask_ratio))), patches, mask_ratio)
        self.augment = augment or Augment(image_size, scale=(0.67, 1.0), jitter_p=0.0, gray_p=0.0,
                                          interpolation=official_crop(image_size))
        scales = [s for s in reversed(backbone.strides) if s > 1]  # a stride-1 map has no block left to enter
        widths = list(reversed(backbone.widths))[: len(scales)]
        self.mask_tokens = nn.ParameterList(nn.init.trunc_normal_(torch.empty(1, w, 1, 1), std=0.02, a=-0.02, b=0.02)
                                            for w in widths)
        self.densify_norms = nn.ModuleList(BatchNorm2d(w) if densify_norm == "bn" else nn.Identity() for w in widths)
        self.densify_projs = nn.ModuleList()
        for i, before in enumerate(widths):
            after, kernel = width // 2**i, 1 if i == 0 else 3
            same = i == 0 and before == after
            self.densify_projs.append(nn.Identity() if same else nn.Conv2d(before, after, kernel, 1, kernel // 2))
        self.dense_decoder = LightDecoder(self.patch, width)

    def param_groups(self, weight_decay: float) -> list[Group]:
        return parameter_groups(self, weight_decay, spare=("mask_tokens",))

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = self.augment(batch.images, generator)
        return images, patch_mask(len(images), self.grid, self.mask_ratio, generator, images.device)

    def encode(self, images: Tensor, visible: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W), visible (B, 1, f, f) -> sparse maps (B, width, H / stride, W / stride)."""
        with sparse(self.backbone, visible):
            return self.backbone.stages(images * enlarge(visible, images.shape[-1]))

    def densify(self, maps: list[Tensor], visible: Tensor) -> list[Tensor]:
        """Maps from the largest down, visible (B, 1, f, f) -> from the smallest up, filled, in the decoder's widths."""
        dense = []
        for token, norm, project, x in zip(self.mask_tokens, self.densify_norms, self.densify_projs, reversed(maps)):
            here = enlarge(visible, x.shape[-1])  # (B, 1, h, w)
            with sparse(norm, visible):
                x = norm(x)
            dense.append(project(torch.where(here, x, token.to(x.dtype))))
        return dense

    def decode(self, images: Tensor, visible: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) and visible (B, f, f) -> the decoder's image (B, 3, H, W)."""
        visible = visible.unsqueeze(1)
        return self.dense_decoder(self.densify(self.encode(images, visible), visible))

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, visible = views
        images = standardize(images)
        loss = spark_loss(self.decode(images, visible), images, visible, self.normalized)
        return {"loss": loss, "views_per_image": 1}
