"""Backbones: a small conv net for CPUs, ResNets with a 32-pixel stem, and a ViT that shows its attention.

Each maps normalised images (B, 3, H, W) to a representation (B, dim). Convolutional ones also give `stages(images)`,
their feature maps from the largest to the smallest, with `widths` and `strides`, which SparK needs.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import BatchNorm2d


class ConvNet(nn.Module):
    """A plain conv net of about 0.3 M parameters for CPUs: stages of 3x3 convolutions, each halving the resolution.

    depth (1..5) is the number of stages, so the total stride, and SparK's patch, is 2^depth.
    """

    def __init__(self, depth: int = 3, widths: tuple[int, ...] = (32, 64, 128, 256, 256), convs: int = 1):
        super().__init__()
        if not 1 <= depth <= len(widths):
            raise ValueError(f"depth must be between 1 and {len(widths)}, got {depth}")
        self.widths = tuple(widths[:depth])
        self.strides = tuple(2 ** (i + 1) for i in range(depth))
        self.dim = self.widths[-1]
        blocks, before = [], 3
        for width in self.widths:
            layers: list[nn.Module] = []
            for i in range(convs + 1):
                stride = 2 if i == 0 else 1
                layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), BatchNorm2d(width), nn.ReLU(inplace=True)]
                before = width
            blocks.append(nn.Sequential(*layers))
        self.blocks = nn.ModuleList(blocks)

    def stages(self, images: Tensor) -> list[Tensor]:
        maps = []
        for block in self.blocks:
            images = block(images)
            maps.append(images)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images)[-1].mean((2, 3))


class ResNet(nn.Module):
    """torchvision's ResNet without its classifier; up to 64 pixels with a 3x3 stride-1 stem and no max-pool.

    `export()` gives a state dict that torchvision's model of the same name loads (strict=False: no fc; for the small
    stem conv1 is 3x3).
    """

    def __init__(self, name: str = "resnet18", image_size: int = 32):
        super().__init__()
        import torchvision

        self.net = getattr(torchvision.models, name)(weights=None, norm_layer=BatchNorm2d, zero_init_residual=False)
        self.dim = self.net.fc.in_features
        self.net.fc = nn.Identity()
        self.small = image_size <= 64
        if self.small:
            self.net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            nn.init.kaiming_normal_(self.net.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.net.maxpool = nn.Identity()
        growth = self.dim // 512
        self.widths = tuple(growth * w for w in (64, 128, 256, 512))
        self.strides = (1, 2, 4, 8) if self.small else (4, 8, 16, 32)

    def stages(self, images: Tensor) -> list[Tensor]:
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        maps = []
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = layer(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images)[-1].mean((2, 3))

    def export(self) -> dict[str, Tensor]:
        return self.net.state_dict()


# ------------------------------------------------------------------------------------------------ ViT
def sincos_positions(grid: int, dim: int, class_token: bool = True) -> Tensor:
    """Fixed 2-D sine-cosine positions, (grid^2 [+ 1], dim): half the channels for columns, half for rows (as MAE)."""
    if dim % 4:
        raise ValueError(f"dim must be a multiple of 4 for 2-D sine-cosine positions, got {dim}")
    omega = 1.0 / 10000 ** (torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")

    def embed(position: Tensor) -> Tensor:
        angle = position.flatten()[:, None].double() * omega
        return torch.cat([angle.sin(), angle.cos()], 1)

    table = torch.cat([embed(x), embed(y)], 1)
    if class_token:
        table = torch.cat([torch.zeros(1, dim, dtype=table.dtype), table])
    return table.float()


class Attention(nn.Module):
    """Multi-head self-attention, (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b t (three h d) -> three b h t d", three=3, h=self.heads)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h t d -> b t (h d)"))

    def weights(self, x: Tensor) -> Tensor:
        """Attention maps (B, heads, T, T), rows summing to 1."""
        q, k, _ = rearrange(self.qkv(x), "b t (three h d) -> three b h t d", three=3, h=self.heads)
        return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)), exact GELU."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1, self.attn = nn.LayerNorm(dim, eps=1e-6), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Vision transformer with a class token and fixed sine-cosine positions; representation: the class token.

    Masks: `tokens(images, visible)` takes (B, grid, grid) bool, the same number True in each image, and runs on the
    visible patches only. `attention(images)` returns the maps of every layer, computed only when asked for.
    """

    def __init__(self, image_size: int = 32, patch: int = 4, dim: int = 192, depth: int = 6, heads: int = 3):
        super().__init__()
        if image_size % patch:
            raise ValueError(f"image size {image_size} is not a multiple of the patch {patch}")
        self.patch, self.grid, self.dim = patch, image_size // patch, dim
        self.embed = nn.Conv2d(3, dim, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("positions", sincos_positions(self.grid, dim), persistent=False)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        nn.init.normal_(self.class_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def _embed(self, images: Tensor, visible: Tensor | None) -> Tensor:
        x = rearrange(self.embed(images), "b d h w -> b (h w) d") + self.positions[1:]
        if visible is not None:
            keep = int(visible[0].sum())
            index = visible.flatten(1).to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :keep]
            x = x.gather(1, repeat(index, "b t -> b t d", d=self.dim))
        return torch.cat([(self.class_token + self.positions[:1]).expand(len(x), -1, -1).to(x), x], 1)

    def tokens(self, images: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + patches, dim), the class token first; visible patches in reading order."""
        x = self._embed(images, visible)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, images: Tensor) -> Tensor:
        return self.tokens(images)[:, 0]

    @torch.no_grad()
    def attention(self, images: Tensor) -> Tensor:
        """Attention of every layer and head, (layers, B, heads, T, T), T = 1 + patches, row = query."""
        x, maps = self._embed(images, None), []
        for block in self.blocks:
            maps.append(block.attn.weights(block.norm1(x)))
            x = block(x)
        return torch.stack(maps)


BACKBONES = ("convnet", "resnet18", "resnet50", "vit-tiny", "vit-small")


def build_backbone(name: str = "convnet", image_size: int = 32, **options) -> nn.Module:
    """A backbone by name, with its `dim`; options go to its class (depth=, patch=, ...)."""
    if name == "convnet":
        return ConvNet(**options)
    if name in ("resnet18", "resnet50"):
        return ResNet(name, image_size, **options)
    if name == "vit-tiny":
        return ViT(image_size, **{"patch": max(2, image_size // 8), **options})
    if name == "vit-small":
        return ViT(image_size, **{"patch": max(2, image_size // 8), "dim": 384, "depth": 12, "heads": 6, **options})
    raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(BACKBONES)}")
