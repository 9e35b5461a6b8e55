"""Batched augmentations: the whole batch at once, on its device, every sample with parameters of its own.

Images are float tensors (B, 3, H, W) in [0, 1]; parameters are (B,) tensors or boxes (B, 4). The operations match
torchvision.transforms.functional given the same parameters (tests/test_augment.py states each tolerance); what
differs is that one call serves a batch. All randomness comes from the torch.Generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .geometry import affine, resized_crop, sample_boxes

MEAN, STD = 0.45, 0.25  # one grey level for all sets: methods see roughly centred images whatever the data


def to_float(images: Tensor) -> Tensor:
    """uint8 (0..255) -> float32 in [0, 1]; float images are passed through."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def normalize(images: Tensor) -> Tensor:
    """Images in [0, 1] or uint8 -> what backbones are fed: (x - 0.45) / 0.25, so that grey is about 0."""
    return to_float(images).sub(MEAN).div_(STD)


# ------------------------------------------------------------------------------------------------ colour
def _factor(factor: Tensor | float, images: Tensor) -> Tensor:
    return torch.as_tensor(factor, dtype=images.dtype, device=images.device).reshape(-1, 1, 1, 1)


def grayscale(images: Tensor) -> Tensor:
    """Luminance 0.2989 R + 0.587 G + 0.114 B, (B, 1, H, W)."""
    r, g, b = images.unbind(1)
    return torch.add(r * 0.2989, g, alpha=0.587).add_(b, alpha=0.114).unsqueeze(1)


def adjust_brightness(images: Tensor, factor: Tensor | float) -> Tensor:
    """factor * image, clipped to [0, 1]."""
    return (images * _factor(factor, images)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with the image's mean luminance: factor 0 is flat grey, 1 the image."""
    factor = _factor(factor, images)
    flat = (1 - factor) * grayscale(images).mean((2, 3), keepdim=True)
    # spread over the pixels first: on a CPU that is several times faster than to add a number per image
    return torch.addcmul(flat.expand(-1, -1, *images.shape[2:]).contiguous(), images, factor).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with the grey image: factor 0 is grey, 1 the image."""
    factor = _factor(factor, images)
    return torch.addcmul((1 - factor) * grayscale(images), images, factor).clamp_(0, 1)


def adjust_hue(images: Tensor, shift: Tensor | float) -> Tensor:
    """Turn the hue by `shift` of a full circle (-0.5 .. 0.5) in HSV, keeping saturation and value.

    With M = max, c = M - min and h the hue in sixths of the circle, red is M - c + c * r(h - 3), green M - c * r(h - 2)
    and blue M - c * r(h - 4), where r(x) = clamp(|x| - 1, 0, 1): the usual piecewise formula without a table.
    """
    red, green, blue = images.unbind(1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    # c * h if blue, green or red is the largest: a lerp by 0.0 or 1.0, several times faster on a CPU than torch.where
    largest = torch.empty_like(high)
    hue = (red - green).add_(chroma, alpha=4)
    hue.lerp_((blue - red).add_(chroma, alpha=2), torch.eq(high, green, out=largest))
    hue.lerp_(green - blue, torch.eq(high, red, out=largest))
    hue.mul_(chroma.clamp(min=1e-8).reciprocal_().div_(6))
    hue.add_(_factor(shift, images)[:, 0] + 1).frac_().mul_(6)  # whole turns dropped; above 0 before, so that frac does it
    out = torch.empty_like(images)
    torch.addcmul(low, (hue - 3).abs_().sub_(1).clamp_(0, 1), chroma, out=out[:, 0])
    torch.addcmul(high, (hue - 2).abs_().sub_(1).clamp_(0, 1), chroma, value=-1, out=out[:, 1])
    torch.addcmul(high, hue.sub_(4).abs_().sub_(1).clamp_(0, 1), chroma, value=-1, out=out[:, 2])
    return out


def solarize(images: Tensor, threshold: Tensor | float = 0.5) -> Tensor:
    """Invert the pixels at or above the threshold (a threshold above 1 leaves the image alone)."""
    return torch.where(images >= _factor(threshold, images), 1 - images, images)


def gaussian_blur(images: Tensor, sigma: Tensor | float, kernel_size: int) -> Tensor:
    """Gaussian blur with a standard deviation per sample, edges mirrored; sigma 0 leaves the image alone.

    Two matrix products per image with a banded (size x size) matrix in which the mirroring is folded in.
    """
    if kernel_size % 2 == 0 or kernel_size // 2 >= min(images.shape[2:]):
        raise ValueError(f"kernel_size must be odd and below twice the image, got {kernel_size} for {tuple(images.shape)}")
    sigma = torch.as_tensor(sigma, dtype=torch.float32, device=images.device).reshape(-1).expand(images.shape[0])
    offsets = torch.arange(-(kernel_size // 2), kernel_size // 2 + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(images.dtype)

    def band(size: int) -> Tensor:
        source = (torch.arange(size, device=images.device)[:, None] + offsets).abs()
        source = torch.where(source >= size, 2 * (size - 1) - source, source)
        one_hot = F.one_hot(source, size).to(images.dtype)  # (size, kernel, size)
        return torch.einsum("bk,oks->bos", kernel, one_hot)

    rows, columns = band(images.shape[2]), band(images.shape[3])
    return rows[:, None] @ (images @ columns.mT[:, None])


# ------------------------------------------------------------------------------------------------ the pipeline
@dataclass(frozen=True)
class Augment:
    """Turn, random resized crop, flip, colour jitter, grayscale, blur and solarize: one random view of each image.

    Call it with uint8 (or float in [0, 1]) images (B, 3, H, W) and a generator; it returns float (B, 3, size, size) in
    [0, 1]. The defaults are VICReg's (BYOL's) colours without blur, which at 32 pixels is left out as SimCLR does on
    CIFAR. jitter: strengths (brightness, contrast, saturation, hue); their order is drawn once per batch, strengths
    and whether a sample is changed at all per sample. turn: degrees either way; shift: share of the side, each way;
    zoom: between these; all three at once, before the crop, and left out where they would change nothing.
    """

    size: int = 32
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    jitter_p: float = 0.8
    gray_p: float = 0.2
    blur_p: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_p: float = 0.0
    turn: float = 0.0
    shift: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        images = to_float(images)
        batch, device = images.shape[0], images.device

        def uniform(low: float, high: float) -> Tensor:
            draw = torch.rand(batch, generator=generator, device=generator.device)
            return (low + (high - low) * draw).to(device, non_blocking=True)

        if self.turn or self.shift or self.zoom != (1.0, 1.0):
            move = torch.stack([uniform(-self.shift, self.shift) * side for side in (images.shape[3], images.shape[2])], 1)
            images = affine(images, uniform(-self.turn, self.turn), move, uniform(*self.zoom))
        boxes = sample_boxes(batch, *images.shape[2:], self.scale, self.ratio, generator, device)
        images = resized_crop(images, boxes, self.size, uniform(0, 1) < self.flip)
        images = self._jitter(images, uniform, generator)
        if self.gray_p:
            gray = uniform(0, 1) < self.gray_p
            images = adjust_saturation(images, 1.0 - gray.float())
        if self.blur_p:
            sigma = uniform(*self.blur_sigma) * (uniform(0, 1) < self.blur_p)
            images = gaussian_blur(images, sigma, max(3, self.size // 10 // 2 * 2 + 1))
        if self.solarize_p:
            images = solarize(images, torch.where(uniform(0, 1) < self.solarize_p, 0.5, 2.0))
        return images

    def _jitter(self, images: Tensor, uniform, generator: torch.Generator) -> Tensor:
        if not (self.jitter_p and any(self.jitter)):
            return images
        changed = uniform(0, 1) < self.jitter_p
        ops = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
        order = torch.randperm(4, generator=generator, device=generator.device).tolist()
        for index in order:
            strength = self.jitter[index]
            if not strength:
                continue
            if index == 3:
                images = adjust_hue(images, torch.where(changed, uniform(-strength, strength), 0.0))
            else:
                factor = uniform(max(0.0, 1 - strength), 1 + strength)
                images = ops[index](images, torch.where(changed, factor, 1.0))
        return images


# what suits generated shapes: a colour says nothing about the class, and smaller crops slow most methods down
SHAPES_VIEWS = Augment(scale=(0.8, 1.0), jitter=(0.4, 0.4, 0.4, 0.5), jitter_p=1.0, gray_p=0.3)
# the same colours, and two views share neither place nor angle, and the size only roughly
TURNED_VIEWS = replace(SHAPES_VIEWS, scale=(1.0, 1.0), ratio=(1.0, 1.0), turn=180.0, shift=0.2, zoom=(0.8, 1.2))


def many_views(images: Tensor, augments: list[Augment], generator: torch.Generator) -> list[Tensor]:
    """One independent view of every image per entry of `augments` (sizes may differ: multi-crop)."""
    images = to_float(images)
    return [augment(images, generator) for augment in augments]


def two_views(images: Tensor, augment: Augment, generator: torch.Generator, other: Augment | None = None):
    """Two independent views of every image; `other` makes the pair asymmetric (BYOL, Barlow Twins, VICReg)."""
    first, second = many_views(images, [augment, other or augment], generator)
    return first, second


def byol_views(image_size: int) -> tuple[Augment, Augment]:
    """BYOL's asymmetric pair, also Barlow Twins' and VICReg's: blur always, never solarize; blur 0.1, solarize 0.2.

    Up to 64 pixels both are the plain view, without blur and solarize.
    """
    if image_size <= 64:
        plain = Augment(image_size)
        return plain, plain
    first = Augment(image_size, scale=(0.08, 1.0), blur_p=1.0)
    return first, Augment(image_size, scale=(0.08, 1.0), blur_p=0.1, solarize_p=0.2)


def moco_view(image_size: int) -> Augment:
    """MoCo v2's view, also SimSiam's: hue jitter as weak as BYOL's, saturation stronger; blur above 64 pixels."""
    return Augment(image_size, jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.5 if image_size > 64 else 0.0)


# ------------------------------------------------------------------------------------------------ masks
def patch_mask(
    batch: int, grid: int, hidden: float, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Random patch masks, (batch, grid, grid) bool, True = visible; every image keeps the same number of patches.

    round(grid^2 * (1 - hidden)) patches stay, Python's banker's rounding as in SparK's official code: those with the
    smallest noise.
    """
    if not 0 <= hidden < 1:
        raise ValueError(f"hidden must be in [0, 1): the share of patches to hide, got {hidden}")
    noise = torch.rand(batch, grid * grid, generator=generator, device=generator.device).to(device)
    return mask_from_noise(noise, hidden).view(batch, grid, grid)


def mask_from_noise(noise: Tensor, hidden: float) -> Tensor:
    """(B, L) noise -> (B, L) bool: True for the round(L * (1 - hidden)) smallest of each row (at least one)."""
    keep = max(1, round(noise.shape[1] * (1 - hidden)))
    visible = torch.zeros_like(noise, dtype=torch.bool)
    return visible.scatter_(1, noise.argsort(1)[:, :keep], True)
