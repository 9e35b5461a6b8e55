"""The vision transformer that the masked methods share.

Patches become tokens; a class token stands in front. What a method needs beyond that is an option: positions (fixed
sines and cosines, learned, none), a relative position bias (one table for all layers or one each), layer scale, keys
without bias, a stem of convolutions before the patches. Hidden patches are either dropped (MAE: the encoder never sees
them) or replaced by a mask token (SimMIM, BEiT, iBOT). Attention maps are computed only when asked for.
Initialisations, by paper: `init_xavier`, `init_truncated`.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.masks import enlarge, visible_indices
from course_lib.augment.pixels import check_images
from course_lib.models.blocks import Block
from course_lib.models.layers import Backbone, ConvBackbone
from course_lib.models.positions import RelativeBias, positions_for, sincos_positions

# ------------------------------------------------------------------------------------------------ the network


def require_vit(backbone: nn.Module, why: str, image_size: int | None = None) -> None:
    """ValueError unless the backbone is a ViT, built for images of this size if one is given.

    why: what the method does that others cannot, with {} for the name of what was given.
    """
    if not isinstance(backbone, ViT):
        raise ValueError(f"{why.format(type(backbone).__name__)}; use a ViT (vit-tiny, ...)")
    built = backbone.grid * backbone.patch
    if image_size is not None and image_size != built:
        raise ValueError(f"the ViT was built for {built} pixels, the method for {image_size}: give both the same "
                         "image_size")


class ViT(Backbone):
    """Vision transformer: images (B, 3, H, W) -> (B, dim), the class token or the mean of the patches (`pool`).

    positions: "sincos" (fixed), "learned" or "none". relative: "shared" (one bias table for all layers), "layer" (one
    each) or None. layer_scale, key_bias: see `Block`, `Attention`. Images of another size than image_size (multi-crop)
    have sincos positions computed and learned ones interpolated for them, as in DINO; a relative bias has the built
    size only. drop_path: see `set_drop_path`.

    stem: a conv net with `stages`, `widths` and `strides` that sees the image first; patches are cut from its last map
    (the hybrid of arXiv 2010.11929; see arXiv 2106.14881), which lets small transformers learn much faster. Hidden
    patches are blanked before it, so that it can't tell what was there (as in ConvMAE, arXiv 2205.03892), and dropped,
    where they are, behind it.
    """

    positions: Tensor | None  # (1 + grid^2, dim): a parameter if learned, a buffer if fixed

    def __init__(self, image_size: int = 32, patch: int = 4, dim: int = 192, depth: int = 6, heads: int = 3, *,
                 mlp_ratio: float = 4.0, positions: str = "sincos", relative: str | None = None,
                 layer_scale: float | None = None, key_bias: bool = True, pool: str = "class", drop_path: float = 0.0,
                 stem: ConvBackbone | None = None):
        super().__init__()
        if image_size % patch:
            raise ValueError(f"image size {image_size} is not a multiple of the patch {patch}")
        for name, value, known in (("positions", positions, ("sincos", "learned", "none")),
                                   ("relative", relative, (None, "shared", "layer")),
                                   ("pool", pool, ("class", "mean"))):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        self.patch, self.grid, self.dim, self.pool = patch, image_size // patch, dim, pool
        self.stem = stem
        channels, stride = (3, 1) if stem is None else (stem.widths[-1], stem.strides[-1])
        if patch % stride:
            raise ValueError(f"the stem's cells have {stride} pixels: the patch must be a multiple of that, got "
                             f"{patch}")
        cut = patch // stride
        self.patch_embed = nn.Conv2d(channels, dim, cut, cut)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.learned = positions == "learned"
        if self.learned:
            self.positions = nn.Parameter(torch.zeros(1 + self.grid**2, dim))
        else:  # fixed: no part of the state dict
            table = sincos_positions(self.grid, dim) if positions == "sincos" else None
            self.register_buffer("positions", table, persistent=False)
        self.any_size = relative is None
        self.relative = RelativeBias(self.grid, heads) if relative == "shared" else None
        own = self.grid if relative == "layer" else None
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio, key_bias, layer_scale, own) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        set_drop_path(self, drop_path)
        init_xavier(self)

    # -------------------------------------------------------------------------------- images to tokens
    def _positions(self, grid: int, x: Tensor) -> Tensor | None:
        """(1 + grid^2, dim), the class token's first; None without absolute positions."""
        if self.positions is None:
            return None
        if self.learned:
            if grid == self.grid:
                return self.positions
            square = rearrange(self.positions[1:], "(h w) d -> 1 d h w", h=self.grid)
            scale = (grid + 0.1) / self.grid  # as DINO's code guards against rounding down; not the same as size=
            square = F.interpolate(square, scale_factor=scale, mode="bicubic", align_corners=False)
            return torch.cat([self.positions[:1], rearrange(square, "1 d h w -> (h w) d")])
        return positions_for(x, grid, self.positions)

    def _embed(self, images: Tensor, visible: Tensor | None = None, *, keep: Tensor | None = None,
               mask_token: Tensor | None = None) -> Tensor:
        """Tokens before the first block, (B, 1 + n, dim); the masks and their errors are those of `tokens`."""
        if keep is not None and (visible is not None or mask_token is not None):
            raise ValueError("patches can be dropped by keep= or by visible=, or replaced by a mask token, not both")
        if mask_token is not None and visible is None:
            raise ValueError("mask_token= needs visible=, which says where it goes")
        if visible is not None and mask_token is None:
            keep = visible_indices(visible)
        if keep is not None and not self.any_size:
            raise ValueError("a relative position bias needs all patches: give a mask_token= to put in hidden places")
        size = check_images(images).shape[-1]
        if images.shape[-2] != size or size % self.patch:
            raise ValueError(f"images must be square and a multiple of the patch {self.patch}, got "
                             f"{tuple(images.shape)}")
        grid = size // self.patch
        if grid != self.grid and not self.any_size:
            raise ValueError(f"a relative position bias has one size: images must have {self.grid * self.patch} "
                             f"pixels, got {size}")
        if visible is not None and visible.shape != (len(images), grid, grid):
            raise ValueError(f"visible has shape {tuple(visible.shape)}; expected {(len(images), grid, grid)}, a flag "
                             "for each patch of each image")
        if self.stem is not None:
            if keep is not None:
                visible = keep.new_zeros(len(keep), grid**2, dtype=torch.bool).scatter(1, keep, True)
            if visible is not None:  # the others grey, which is 0
                images = images * enlarge(visible.view(-1, 1, grid, grid), size)
            images = self.stem.stages(images)[-1]
        cut = self.patch_embed.kernel_size[0]
        patches = rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=cut, q=cut)
        if keep is not None:  # dropped before the projection: hidden patches cost nothing
            patches = patches.gather(1, keep[..., None].expand(-1, -1, patches.shape[-1]))
        # the convolution, patch by patch
        x = F.linear(patches, self.patch_embed.weight.flatten(1), self.patch_embed.bias)
        if mask_token is not None and visible is not None:
            x = torch.where(visible.flatten(1)[..., None], x, mask_token.to(x.dtype))
        first, positions = self.class_token, self._positions(grid, x)
        if positions is not None:
            x = x + (positions[1:] if keep is None else positions[1:][keep])
            first = first + positions[:1]
        return torch.cat([first.expand(len(x), -1, -1).to(x.dtype), x], 1)

    def _bias(self) -> Tensor | None:
        """The relative bias that all layers share, looked up once a forward."""
        return None if self.relative is None else self.relative()

    def tokens(self, images: Tensor, visible: Tensor | None = None, *, keep: Tensor | None = None,
               mask_token: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + n, dim) after the last norm, the class token first.

        visible (B, g, g) bool, True = visible. Alone: only these patches go in, in reading order, the same number in
        each image; keep (B, n) int64: the same by their numbers, in the order given. With mask_token (1, 1, dim): all
        patches go in, and the token takes the place of the hidden ones' embeddings, before positions are added; their
        number may differ. A ValueError where keep is given with either of the others, mask_token without visible,
        visible has another shape, or patches are to be dropped from a ViT with a relative position bias.
        """
        x, bias = self._embed(images, visible, keep=keep, mask_token=mask_token), self._bias()
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)

    def represent(self, tokens: Tensor) -> Tensor:
        """(B, 1 + n, dim) -> (B, dim): the class token, or the mean of the others."""
        return tokens[:, 0] if self.pool == "class" else tokens[:, 1:].mean(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.represent(self.tokens(images))

    @torch.no_grad()
    def attention(self, images: Tensor, layers: list[int] | None = None, *, visible: Tensor | None = None,
                  mask_token: Tensor | None = None) -> Tensor:
        """Attention of every layer (or of those named, in that order) and head: (layers, B, heads, T, T), row = query.

        visible, mask_token: as in `tokens`.
        """
        depth = len(self.blocks)
        layers = list(range(depth)) if layers is None else [range(depth)[layer] for layer in layers]
        x, bias, maps = self._embed(images, visible, mask_token=mask_token), self._bias(), {}
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            if number in layers:
                maps[number] = block.attn.weights(block.norm1(x), bias)
            if number == max(layers):
                break
            x = block(x, bias)
        return torch.stack([maps[layer] for layer in layers])


def set_drop_path(vit: nn.Module, rate: float) -> None:
    """Stochastic depth that grows over a ViT's blocks, linearly from 0 to `rate`, [0, 1); ValueError where it can't.

    Official: 0.1 in fine-tuning of a base-size MAE, SimMIM and BEiT and for DINO's and iBOT's students, BEiT's too. The
    recipes here leave it at 0: it is against overfitting, and in runs of minutes ViTs of a few blocks underfit.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"drop_path is the share of images that skip a branch, from 0 to below 1, got {rate}")
    blocks = [block for block in vit.modules() if isinstance(block, Block)]
    if rate and not blocks:
        raise ValueError(f"drop_path leaves out branches of a ViT's blocks, and a {type(vit).__name__} has none")
    for number, block in enumerate(blocks):
        block.drop_path = rate * number / max(1, len(blocks) - 1)


# ------------------------------------------------------------------------------------------------ initialisation


@torch.no_grad()
def init_xavier(module: nn.Module) -> nn.Module:
    """MAE's: linear layers and patch projections (as the linear layers they are) Xavier-uniform, biases zero.

    Class token and learned positions N(0, 0.02^2). Works on a ViT and on parts of one.
    """
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.xavier_uniform_(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, ViT):
            weight, bias = child.patch_embed.parameters()
            bound = math.sqrt(6 / (child.dim + weight[0].numel()))
            nn.init.uniform_(weight, -bound, bound)
            nn.init.zeros_(bias)
            nn.init.normal_(child.class_token, std=0.02)
            if isinstance(child.positions, nn.Parameter):
                nn.init.normal_(child.positions, std=0.02)
    return module


@torch.no_grad()
def init_truncated(vit: ViT, std: float = 0.02, cut: float | None = None, rescale: bool = True) -> ViT:
    """BEiT's, SimMIM's, DINO's: weights, class token and learned positions from a normal cut at +-cut, biases zero.

    cut=None cuts at +-std (BEiT, SimMIM's ViT), which leaves a deviation of 0.54 std; DINO cuts at 2, so hardly at
    all. rescale: the last layer of both branches of block i (from 1) is divided by sqrt(2 i) (not in DINO).
    """
    cut = std if cut is None else cut

    def draw(tensor: Tensor) -> None:
        nn.init.trunc_normal_(tensor, std=std, a=-cut, b=cut)

    for child in vit.modules():
        if isinstance(child, (nn.Linear, nn.Conv2d)):
            draw(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
    draw(vit.class_token)
    if isinstance(vit.positions, nn.Parameter):
        draw(vit.positions)
    if rescale:
        for number, block in enumerate(vit.blocks, 1):
            for name in ("attn.proj.weight", "mlp.2.weight"):
                block.get_parameter(name).div_(math.sqrt(2 * number))
    return vit
