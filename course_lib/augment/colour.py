"""Colours of a whole batch at once: jitter, grayscale, solarize, blur; every sample with parameters of its own.

Images are float tensors (B, 3, H, W) in [0, 1]; parameters are numbers or tensors (B,). Each operation equals
torchvision's of the same name given the same parameters (tests/augment/test_augment.py states each tolerance).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.large import in_pieces, is_large, weighted_pixels


def _factor(factor: Tensor | float, images: Tensor) -> Tensor:
    return torch.as_tensor(factor, dtype=images.dtype, device=images.device).reshape(-1, 1, 1, 1)


def grayscale(images: Tensor) -> Tensor:
    """Luminance 0.2989 R + 0.587 G + 0.114 B, (B, 1, H, W)."""
    r, g, b = images.unbind(1)
    return torch.add(r * 0.2989, g, alpha=0.587).add_(b, alpha=0.114).unsqueeze(1)


def sobel(images: Tensor) -> Tensor:
    """How the grey image, the mean of the channels, falls to the right and downwards: (B, C, H, W) -> (B, 2, H, W).

    Sobel's 3 x 3 filters, zeros beyond the edge.
    """
    right = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]], dtype=images.dtype)
    filters = torch.stack([right, right.T])[:, None].to(images.device)
    return F.conv2d(images.mean(1, keepdim=True), filters, padding=1)


@in_pieces
def adjust_brightness(images: Tensor, factor: Tensor | float) -> Tensor:
    """factor * image, clipped to [0, 1]."""
    return (images * _factor(factor, images)).clamp_(0, 1)


@in_pieces
def adjust_contrast(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with the image's mean luminance: factor 0 is flat grey, 1 the image."""
    factor = _factor(factor, images)
    flat = (1 - factor) * grayscale(images).mean((2, 3), keepdim=True)
    # expanded to all pixels first: on a CPU several times faster than adding one number per image
    return torch.addcmul(flat.expand(-1, -1, *images.shape[2:]).contiguous(), images, factor).clamp_(0, 1)


@in_pieces
def adjust_saturation(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with the grey image: factor 0 is grey, 1 the image."""
    factor = _factor(factor, images)
    if is_large(images) and not factor.any():  # all grey, as a piece of one image may be
        return grayscale(images).clamp_(0, 1).expand_as(images)
    return torch.addcmul(grayscale(images).mul_(1 - factor), images, factor).clamp_(0, 1)


@in_pieces
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
    # whole turns dropped; above 0 before, so that frac does it
    hue.add_(_factor(shift, images)[:, 0] + 1).frac_().mul_(6)
    out = torch.empty_like(images)
    torch.addcmul(low, (hue - 3).abs_().sub_(1).clamp_(0, 1), chroma, out=out[:, 0])
    torch.addcmul(high, (hue - 2).abs_().sub_(1).clamp_(0, 1), chroma, value=-1, out=out[:, 1])
    torch.addcmul(high, hue.sub_(4).abs_().sub_(1).clamp_(0, 1), chroma, value=-1, out=out[:, 2])
    return out


@in_pieces
def solarize(images: Tensor, threshold: Tensor | float = 0.5) -> Tensor:
    """Invert the pixels at or above the threshold (a threshold above 1 leaves the image alone)."""
    inverted, bright = 1 - images, torch.empty_like(images)
    # by 0 or 1: several times faster on a CPU than torch.where
    return torch.lerp(images, inverted, torch.ge(images, _factor(threshold, images), out=bright), out=inverted)


def gaussian_blur(images: Tensor, sigma: Tensor | float, kernel_size: int) -> Tensor:
    """Gaussian blur with a standard deviation per sample, edges mirrored; sigma 0 leaves the image alone.

    Weighted sums of rows, then of columns (see `large`), or two matrix products per image with a banded
    (size x size) matrix in which the mirroring is folded in.
    """
    if kernel_size % 2 == 0 or kernel_size // 2 >= min(images.shape[2:]):
        raise ValueError(f"kernel_size must be odd and below twice the image, got {kernel_size} "
                         f"for {tuple(images.shape)}")
    sigma = torch.as_tensor(sigma, dtype=torch.float32, device=images.device).reshape(-1).expand(images.shape[0])
    offsets = torch.arange(-(kernel_size // 2), kernel_size // 2 + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(images.dtype)

    def mirrored(size: int) -> Tensor:
        """(size, kernel): the source pixels of each pixel."""
        source = (torch.arange(size, device=images.device)[:, None] + offsets).abs()
        return torch.where(source >= size, 2 * (size - 1) - source, source)

    if is_large(images):
        rows, columns = ((mirrored(size)[None], kernel[:, None].expand(-1, size, -1)) for size in images.shape[2:])
        return weighted_pixels(images, rows, columns)

    def band(size: int) -> Tensor:
        one_hot = F.one_hot(mirrored(size), size).to(images.dtype)  # (size, kernel, size)
        return torch.einsum("bk,oks->bos", kernel, one_hot)

    rows, columns = band(images.shape[2]), band(images.shape[3])
    return rows[:, None] @ (images @ columns.mT[:, None])
