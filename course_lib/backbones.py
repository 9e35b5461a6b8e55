"""Backbones: a small conv net for CPUs, ResNets with a 32-pixel stem, and the ViT of vit.py, by name.

Each maps normalised images (B, 3, H, W) to a representation (B, dim). Convolutional ones also give `stages(images)`,
their feature maps from the largest to the smallest, with `widths` and `strides`, which SparK needs.
"""

from __future__ import annotations

from torch import Tensor, nn

from .layers import BatchNorm2d
from .vit import ViT


def mean_of_positions(maps: Tensor) -> Tensor:
    """(B, D, H, W) -> (B, D): what a convolutional backbone gives of an image.

    With the channels last while it averages: the gradient is then laid out as the map is, and the ReLU before it need not
    turn one of the two around, which on a CPU takes several times as long as all the rest of the averaging.
    """
    return maps.permute(0, 2, 3, 1).mean((1, 2))


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
        return mean_of_positions(self.stages(images)[-1])


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
        return mean_of_positions(self.stages(images)[-1])

    def export(self) -> dict[str, Tensor]:
        return self.net.state_dict()


BACKBONES = ("convnet", "resnet18", "resnet50", "vit-tiny", "vit-small")


def build_backbone(name: str = "convnet", image_size: int = 32, **options) -> nn.Module:
    """A backbone by name, with its `dim`; options go to its class (depth=, patch=, ...).

    stem=(32, 64), of a ViT: the widths of a `ConvNet` before its patches.
    """
    if options.get("stem") and name.startswith("vit"):
        options["stem"] = ConvNet(len(options["stem"]), tuple(options["stem"]))
    if name == "convnet":
        return ConvNet(**options)
    if name in ("resnet18", "resnet50"):
        return ResNet(name, image_size, **options)
    if name == "vit-tiny":
        return ViT(image_size, **{"patch": max(2, image_size // 8), **options})
    if name == "vit-small":
        return ViT(image_size, **{"patch": max(2, image_size // 8), "dim": 384, "depth": 12, "heads": 6, **options})
    raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(BACKBONES)}")
