"""Where a view looks: random resized crops, and turns, shifts and zooms, for a whole batch at once.

Images are float tensors (B, C, H, W); every sample has parameters of its own. Each operation equals torchvision's of
the same name and parameters, except beyond the edge (tests/augment/test_augment.py).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.large import is_large, weighted_pixels

INTERPOLATIONS = ("bilinear", "bicubic")


def _resize_weights(start: Tensor, length: Tensor, source: int, size: int, interpolation: str,
                    few: bool) -> tuple[Tensor, Tensor]:
    """(B,), (B,) -> places, weights (B, size, n): output pixel o is the sum of source pixels by their weights.

    few: only the n pixels in reach; else all, n = source.
    With antialiasing, as torchvision's resize(antialias=True) has it: a triangle (bilinear) or a cubic of twice its
    width (bicubic, a = -0.5), stretched where the image shrinks, cut off at the crop's edges and normalised.
    """
    stretch = length / size
    reach = stretch.clamp(min=1)
    # large numbers have few digits after the point, so the few places are counted from the crop's edge
    edge = start if few else torch.zeros_like(start)
    start = start - edge
    centre = start[:, None] + stretch[:, None] * (torch.arange(size, device=start.device) + 0.5)
    if few:
        support = reach if interpolation == "bilinear" else 2 * reach
        taps = torch.arange(math.ceil(2 * float(support.max())), device=start.device)
        places = (centre - support[:, None] + 0.5).floor()[..., None] + taps
    else:
        places = torch.arange(source, device=start.device)
    pixel = places + 0.5
    weights = (pixel - centre[..., None]).abs() / reach[:, None, None]
    if interpolation == "bilinear":
        weights = (1 - weights).clamp_(min=0)
    else:
        near, far = (1.5 * weights - 2.5) * weights**2 + 1, ((2.5 - 0.5 * weights) * weights - 4) * weights + 2
        weights = torch.where(weights < 1, near, torch.where(weights < 2, far, 0.0))
    start, end = start[:, None, None], (start + length)[:, None, None]
    weights = weights * ((pixel > start) & (pixel < end))
    return (places + edge[:, None, None]).clamp(0, source - 1).long(), weights / weights.sum(-1, keepdim=True)


def resized_crop(images: Tensor, boxes: Tensor, size: int, flip: Tensor | None = None,
                 interpolation: str = "bilinear") -> Tensor:
    """Crop box b = (top, left, height, width) of image b, whole pixels, resize to size x size, flip where asked.

    "bicubic" may overshoot at edges: what leaves [0, 1] is cut off, as in images of bytes.
    images (B, C, H, W), boxes (B, 4), flip (B,) bool -> (B, C, size, size). ValueError for another interpolation.
    """
    return crop_by(images, *crop_weights(images, boxes, size, flip, interpolation), interpolation)


def crop_weights(images: Tensor, boxes: Tensor, size: int, flip: Tensor | None, interpolation: str):
    """The first half of `resized_crop`, on images of any type: places and weights (`_resize_weights`) of rows, columns.

    A flip reverses those of the columns.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {INTERPOLATIONS}, got {interpolation!r}")
    top, left, height, width = boxes.to(torch.float32).unbind(1)
    few = is_large(images)
    rows = _resize_weights(top, height, images.shape[2], size, interpolation, few)
    places, columns = _resize_weights(left, width, images.shape[3], size, interpolation, few)
    if flip is not None:
        # by 0 or 1: faster than torch.where
        columns = columns.lerp(columns.flip(1), flip.to(columns.dtype)[:, None, None])
        if few:
            places = torch.where(flip[:, None, None], places.flip(1), places)
    return rows, (places, columns)


def crop_by(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], interpolation: str) -> Tensor:
    """The second half: weighted sums of rows, then of columns, or two small matrix products per image (see `large`)."""
    if is_large(images):
        crops = weighted_pixels(images, rows, columns)
    else:
        down, across = rows[1].to(images.dtype), columns[1].mT.to(images.dtype)
        # channel by channel, so that no copy of the weights is made for each
        crops = torch.stack([down @ (channel @ across) for channel in images.unbind(1)], 1)
    return crops if interpolation == "bilinear" else crops.clamp_(0, 1)


def sample_boxes(batch: int, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float],
                 generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Boxes of RandomResizedCrop, (B, 4) whole pixels: area uniform in `scale`, aspect log-uniform in `ratio`.

    torchvision redraws a box that does not fit up to ten times, then takes the largest centred box of a permitted
    aspect. Here all ten are drawn at once and the first that fits is taken, so nothing waits for the device.
    """
    draws = torch.rand(2, batch, 10, generator=generator, device=generator.device).to(device)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + (high - low) * draws[1]).exp()
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w >= 1) & (h >= 1) & (w <= width) & (h <= height)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    found = fits.any(1)
    h = torch.where(found, h.gather(1, first)[:, 0], min(height, round(width / ratio[0])))
    w = torch.where(found, w.gather(1, first)[:, 0], min(width, round(height * ratio[1])))
    place = torch.rand(2, batch, generator=generator, device=generator.device).to(device)
    place = torch.where(found, place, 0.5)
    top = (place[0] * (height - h + 1)).floor().clamp_(max=height - h)
    left = (place[1] * (width - w + 1)).floor().clamp_(max=width - w)
    return torch.stack([top, left, h, w], 1)


def corners_of(boxes: Tensor, height: int, width: int, flip: Tensor | None = None) -> Tensor:
    """Boxes (B, 4) of `sample_boxes` -> corners (B, 4), x1, y1, x2, y2 in [0, 1]; x1 and x2 change places in a flip."""
    top, left, tall, wide = boxes.to(torch.float32).unbind(1)
    x1, x2 = left / width, (left + wide) / width
    if flip is not None:
        x1, x2 = torch.where(flip, x2, x1), torch.where(flip, x1, x2)
    return torch.stack([x1, top / height, x2, (top + tall) / height], 1)


def cell_centres(corners: Tensor, rows: int, columns: int) -> Tensor:
    """Where the cells of a map over each view lie in the image: corners (B, 4) -> x, y (B, rows * columns, 2)."""
    x1, y1, x2, y2 = corners[:, :, None].unbind(1)  # (B, 1) each
    across = x1 + (x2 - x1) * (torch.arange(columns, device=corners.device) + 0.5) / columns  # (B, columns)
    down = y1 + (y2 - y1) * (torch.arange(rows, device=corners.device) + 0.5) / rows  # (B, rows)
    grid = across[:, None].expand(-1, rows, -1), down[:, :, None].expand(-1, -1, columns)  # (B, rows, columns) each
    return torch.stack(grid, -1).flatten(1, 2)


def in_view(points: Tensor, corners: Tensor) -> Tensor:
    """Points x, y (B, n, 2) of the image, as places of the view with these corners: 0 to 1 along its sides."""
    low, high = corners[:, None, :2], corners[:, None, 2:]  # (B, 1, 2)
    return (points - low) / (high - low)


def affine(images: Tensor, angle: Tensor, shift: Tensor, zoom: Tensor) -> Tensor:
    """Turn around the centre, zoom, then shift; bilinear, with the image mirrored beyond its edges.

    images (B, C, H, W), angle (B,) in degrees, clockwise, shift (B, 2) in pixels to the right and down, zoom (B,),
    above 1 larger -> (B, C, H, W).
    """
    height, width = images.shape[2:]
    angle = torch.deg2rad(angle)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    right, down = shift.unbind(1)
    # where each output pixel comes from, in units of half the width and half the height
    rows = torch.stack([cos, sin * (height / width), -(cos * right + sin * down) * (2 / width),
                        -sin * (width / height), cos, (sin * right - cos * down) * (2 / height)], 1).view(-1, 2, 3)
    grid = F.affine_grid(rows.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def warp(images: Tensor, moves: Tensor) -> Tensor:
    """Bend images: each place takes what lies at its place plus a move, bilinear, mirrored beyond the edges.

    images (B, C, S, S); moves (B, 2, n, n): pixels to the right and down at n x n control points, the outer ones at the
    corners, bilinear between them -> (B, C, S, S). Warp of LCI (Jenni, Jin and Favaro, CVPR 2020, arXiv 2004.02331):
    16 control points, up to a sixteenth of the side; theirs lie anywhere. Small enough to leave small patches alone.
    """
    size = images.shape[-1]
    between = F.interpolate(moves, size=(size, size), mode="bilinear", align_corners=True)  # (B, 2, S, S)
    places = torch.arange(size, device=images.device) + 0.5
    here = torch.stack(torch.meshgrid(places, places, indexing="xy"))  # (2, S, S): x, y
    grid = (2 * (here + between) / size - 1).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
