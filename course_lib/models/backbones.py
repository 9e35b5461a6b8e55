"""Backbones: a small conv net for CPUs, ResNets with a 32-pixel stem, and the ViT of vit.py, by name.

Each maps normalised images (B, 3, H, W) to a representation (B, dim). Convolutional ones also give `stages(images)`,
their feature maps from the largest to the smallest, with `widths` and `strides`, which SparK needs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Integral, Real
from os import PathLike
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import check_images
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.bit import StandardisedConv2d, group_norm
from course_lib.models.layers import Backbone, ConvBackbone
from course_lib.models.vit import ViT


def mean_of_positions(maps: Tensor) -> Tensor:
    """(B, D, H, W) -> (B, D): a convolutional backbone's representation of an image.

    Channels come last while it averages, so the gradient has the map's memory layout and the ReLU before it need not
    reorder either, which on a CPU costs several times as much as the averaging itself.
    """
    return maps.permute(0, 2, 3, 1).mean((1, 2))


def layer_norm(width: int) -> nn.GroupNorm:
    """Over channels and places of each map alone, as CPC has it."""
    return nn.GroupNorm(1, width)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": BatchNorm2d, "layer": layer_norm, "group": group_norm}


def norm_of(kind: str) -> Callable[[int], nn.Module]:
    """width -> a norm of that kind. ValueError for an unknown one."""
    if kind not in NORMS:
        raise ValueError(f"norm is {kind!r}; expected {', '.join(NORMS)}")
    return NORMS[kind]


class Residual(nn.Module):
    """A skip connection (He et al., CVPR 2016): x + branch(x), then ReLU; the branch has none at its end."""

    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch, self.relu = branch, nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.branch(x))


class ConvNet(ConvBackbone):
    """A plain conv net of about 0.3 M parameters for CPUs: stages of 3x3 convolutions, each halving the resolution.

    depth (1..5) is the number of stages, so the total stride, and SparK's patch, is 2^depth. norm: "batch", "layer"
    or "group". standardized: convolutions standardise their filters, as BiT's do, whose norm is "group". first: the
    side of the first layer's filters, odd. skips: a skip connection around all convolutions of a stage but the one that
    halves; the parameters are the same with and without.
    """

    def __init__(self, depth: int = 3, widths: tuple[int, ...] = (32, 64, 128, 256, 256), convs: int = 1,
                 norm: str = "batch", standardized: bool = False, first: int = 3, skips: bool = False):
        super().__init__()
        if not 1 <= depth <= len(widths):
            raise ValueError(f"depth must be between 1 and {len(widths)}, got {depth}")
        if first < 1 or first % 2 == 0:
            raise ValueError(f"first must be odd, such as 3 or 7, got {first}")
        self.widths = tuple(widths[:depth])
        self.strides = tuple(2 ** (i + 1) for i in range(depth))
        self.dim = self.widths[-1]
        blocks, before = [], 3
        for width in self.widths:
            layers: list[nn.Module] = []
            for i in range(convs + 1):
                stride = 2 if i == 0 else 1
                side = 3 if blocks or i else first
                conv = (StandardisedConv2d if standardized else nn.Conv2d)(before, width, side, stride, side // 2,
                                                                           bias=False)
                layers += [conv, norm_of(norm)(width), nn.ReLU(inplace=True)]
                before = width
            if skips and convs:
                layers = [*layers[:3], Residual(nn.Sequential(*layers[3:-1]))]
            blocks.append(nn.Sequential(*layers))
        self.blocks = nn.ModuleList(blocks)

    def stages(self, images: Tensor) -> list[Tensor]:
        maps = [check_images(images)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps[1:]

    def forward(self, images: Tensor) -> Tensor:
        return mean_of_positions(self.stages(images)[-1])


class ResNet(ConvBackbone):
    """torchvision's ResNet without its classifier; up to 64 pixels with a 3x3 stride-1 stem and no max-pool.

    zero_init_residual: the last norm of each residual branch starts at 0, and so each block as the identity. norm:
    "batch", "layer" or "group".
    `export()` gives a state dict that torchvision's model of the same name loads (strict=False: no fc; for the small
    stem conv1 is 3x3).
    """

    def __init__(self, name: str = "resnet18", image_size: int = 32, zero_init_residual: bool = False,
                 norm: str = "batch"):
        super().__init__()
        import torchvision

        self.net = getattr(torchvision.models, name)(weights=None, norm_layer=norm_of(norm))
        for block in self.net.modules() if zero_init_residual else ():
            if hasattr(block, "bn2"):  # torchvision's own option knows only torch's batch norm
                nn.init.zeros_((block.bn3 if hasattr(block, "bn3") else block.bn2).weight)
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
        maps = [net.maxpool(net.relu(net.bn1(net.conv1(check_images(images)))))]
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            maps.append(layer(maps[-1]))
        return maps[1:]

    def forward(self, images: Tensor) -> Tensor:
        return mean_of_positions(self.stages(images)[-1])

    def export(self) -> dict[str, Tensor]:
        return self.net.state_dict()


class UnpaddedBlock(nn.Module):
    """k x k convolution without padding, ReLU, 1x1 convolution that starts at 0; beside it, the mean of the window."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1):
        super().__init__()
        self.kernel, self.stride, self.grown = kernel, stride, after - before
        self.conv = nn.Conv2d(before, after, kernel, stride, bias=False)
        self.last = nn.Conv2d(after, after, 1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        mean = F.avg_pool2d(x, self.kernel, self.stride)
        return F.pad(mean, (0, 0, 0, 0, 0, self.grown)) + self.last(self.conv(x).relu())


class UnpaddedNet(ConvBackbone):
    """AMDIM's encoder, smaller: no padding and no batch norm, so that each vector of a map sees a small square alone.

    Of images of 32, 64 or 128 pixels its maps are 7x7, 5x5 and 1x1. width: of the first maps (320 on CIFAR in the
    paper). dim: of the last (1280). depth: blocks of a stage, all but the first of them 1x1 (10).
    """

    def __init__(self, image_size: int = 32, width: int = 32, dim: int = 256, depth: int = 2):
        super().__init__()
        if image_size not in (32, 64, 128):
            raise ValueError(f"amdim-net is made for images of 32, 64 or 128 pixels, got {image_size}: set the image "
                             "size to one of these, or use convnet or a resnet")
        if dim < 4 * width or depth < 1:
            raise ValueError(f"amdim-net got width {width}, dim {dim} and depth {depth}; expected a dim of four times "
                             "the width or more, and a depth of 1 or more")
        self.size = image_size
        halved = [nn.Conv2d(3, width, 5, 2, 2), nn.ReLU()] if image_size == 128 else []
        first = nn.Conv2d(width if halved else 3, width, 3)
        kernels = (1, 1) if image_size == 32 else (4, 2)  # of 30x30 maps, or 62x62

        def stage(before: int, after: int, kernel: int, stride: int = 1) -> list[nn.Module]:
            return [UnpaddedBlock(before, after, kernel, stride), *(UnpaddedBlock(after, after, 1)
                                                                    for _ in range(depth - 1))]

        self.blocks = nn.ModuleList(nn.Sequential(*layers) for layers in (
            [*halved, first, nn.ReLU(), *stage(width, width, *kernels), *stage(width, 2 * width, 4, 2),
             *stage(2 * width, 4 * width, 2, 2)],
            stage(4 * width, 4 * width, 3),
            [*stage(4 * width, 4 * width, 3), *stage(4 * width, dim, 3)]))
        self.widths, self.dim = (4 * width, 4 * width, dim), dim
        self.strides = tuple(image_size // side for side in (7, 5, 1))  # about: the maps lose their edges

    def stages(self, images: Tensor) -> list[Tensor]:
        maps = [check_images(images)]
        if min(images.shape[2:]) < self.size:
            raise ValueError(f"amdim-net was built for images of {self.size} pixels, got {tuple(images.shape)}: give "
                             "larger ones, or use convnet or a resnet")
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps[1:]

    def forward(self, images: Tensor) -> Tensor:
        return mean_of_positions(self.stages(images)[-1])


BACKBONES = ("convnet", "amdim-net", "resnet18", "resnet50", "vit-tiny", "vit-small")
VITS = {"vit-tiny": {}, "vit-small": {"dim": 384, "depth": 12, "heads": 6}}


def options_of(cls: type) -> dict[str, inspect.Parameter]:
    """The keyword options of a class, with those of its bases where it passes **options on to them."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters
            found = {**{n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)},
                     **found}
            if all(p.kind != p.VAR_KEYWORD for p in parameters.values()):
                break
    return {name: p for name, p in found.items() if name not in ("self", "backbone", "image_size", "name")}


PLAIN = {"int": ("a whole number", lambda v: isinstance(v, Integral) and not isinstance(v, bool)),
         "float": ("a number", lambda v: isinstance(v, Real) and not isinstance(v, bool) and v == v),
         "bool": ("True or False", lambda v: v in (False, True)),
         "str": ("a word", lambda v: isinstance(v, (str, PathLike))), "None": ("None", lambda v: v is None)}


def check_options(of: str, cls: type, options: dict[str, Any]) -> None:
    """ValueError for an option that the class of `of` does not have, or of another kind than its annotation says.

    Only numbers, truth values, words, None and tuples of them are looked at; as a text, "no" would count as True.
    """
    known = options_of(cls)
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"{of} has no option {name!r}; it has {', '.join(sorted(known)) or 'none'}")
        kinds = str(known[name].annotation).split(" | ")
        if not any(_is(value, kind) for kind in kinds):
            typed = "; typed in a command: 64,8 or, one alone, [64]" if any("tuple[" in kind for kind in kinds) else ""
            raise ValueError(f"{name} is {value!r}; {of} expects " + " or ".join(
                PLAIN[kind][0] if kind in PLAIN else f"a {kind}" for kind in kinds) + typed)


def _is(value: Any, kind: str) -> bool:
    """Whether a value is of the kind that an annotation names; true of what is neither plain nor a tuple of such."""
    if kind in PLAIN:
        return PLAIN[kind][1](value)
    if not kind.startswith("tuple["):
        return True
    if not isinstance(value, (tuple, list)):
        return isinstance(value, str) and kind.startswith("tuple[str")  # `--set kinds=light,turn` gives one text
    kinds = kind[6:-1].split(", ")
    kinds = kinds[:1] * len(value) if kinds[-1] == "..." else kinds
    return "[" in kind[6:] or len(kinds) == len(value) and all(map(_is, value, kinds))


def build_backbone(name: str = "convnet", image_size: int = 32, **options: Any) -> Backbone:
    """A backbone by name, with its `dim`; options go to its class (depth=, patch=, ...). ValueError for unknown ones.

    stem=(32, 64), of a ViT: the widths of a `ConvNet` before its patches.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(BACKBONES)}")
    cls = ViT if name in VITS else {"convnet": ConvNet, "amdim-net": UnpaddedNet}.get(name, ResNet)
    check_options(name, cls, options)
    if name in VITS:
        if options.get("stem"):
            options["stem"] = ConvNet(len(options["stem"]), tuple(options["stem"]))
        return ViT(image_size, **{"patch": max(2, image_size // 8), **VITS[name], **options})
    if name == "amdim-net":
        return UnpaddedNet(image_size, **options)
    return ConvNet(**options) if name == "convnet" else ResNet(name, image_size, **options)
