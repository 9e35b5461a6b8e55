"""Judging a reconstruction: the error on hidden pixels, ways of filling them without learning, and how far they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.masks import enlarge, patch_mask
from course_lib.augment.pixels import to_float
from course_lib.data.images import ImageSet
from course_lib.methods.base import ReconstructionMethod


def hidden_error(prediction: Tensor, images: Tensor, visible: Tensor) -> float:
    """Squared error on hidden pixels over the variance of those pixels (about their mean per channel, over all images).

    prediction, images (B, 3, H, W) in one scale; visible (B, f, f) bool. 0 is perfect, 1 is "the data set's mean".
    """
    hidden = ~enlarge(visible.unsqueeze(1), images.shape[-1]).expand_as(images)
    count = hidden.sum((0, 2, 3), keepdim=True)
    mean = (images * hidden).sum((0, 2, 3), keepdim=True) / count
    variance = ((images - mean).square() * hidden).sum()
    return float(((prediction - images).square() * hidden).sum() / variance)


def fill_mean(images: Tensor, visible: Tensor) -> Tensor:
    """Hidden pixels replaced by the mean of the same image's visible pixels, per channel."""
    seen = enlarge(visible.unsqueeze(1), images.shape[-1])
    mean = images.where(seen, 0).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True)
    return torch.where(seen, images, mean)


def fill_blurred(images: Tensor, visible: Tensor, width: int = 9) -> Tensor:
    """Hidden pixels from `fill_nearest`, averaged in a box of `width` pixels."""
    soft = F.avg_pool2d(F.pad(fill_nearest(images, visible), (width // 2,) * 4, mode="replicate"), width, 1)
    return torch.where(enlarge(visible.unsqueeze(1), images.shape[-1]), images, soft)


def fill_plane(images: Tensor, visible: Tensor, rounds: int = 8) -> Tensor:
    """Hidden pixels from a plane over rows and columns, one a colour, fitted to the same image's visible pixels.

    Pixels far from the plane count little (`rounds` of weighted least squares): it knows one even background, no more.
    """
    size = images.shape[-1]
    axis = torch.linspace(-1, 1, size, dtype=torch.float64, device=images.device)
    place = torch.cartesian_prod(axis, axis)
    place = torch.cat([torch.ones_like(place[:, :1]), place], 1)  # (H*W, 3)
    seen = enlarge(visible.unsqueeze(1), size)
    pixels, known = images.where(seen, 0).flatten(2).mT.double(), seen.flatten(1)  # (B, H*W, C), (B, H*W)
    weight = known.double()
    for _ in range(rounds):
        weighted = place.mT * weight[:, None]  # (B, 3, H*W)
        plane = place @ torch.linalg.solve(weighted @ place, weighted @ pixels)  # (B, H*W, C)
        apart = (pixels - plane).norm(dim=2)
        middle = apart.masked_fill(~known, torch.nan).nanmedian(1, keepdim=True).values
        weight = known / (1 + (apart / (middle + 1e-6)) ** 4)
    return torch.where(seen, images, plane.mT.reshape(images.shape).to(images))


def fill_median(images: Tensor, visible: Tensor) -> Tensor:
    """Hidden pixels replaced by the median of the same image's visible pixels, per channel: its one even colour."""
    seen = enlarge(visible.unsqueeze(1), images.shape[-1])
    known = images.masked_fill(~seen, torch.nan).flatten(2)
    return torch.where(seen, images, known.nanmedian(2).values[..., None, None])


def distance_map(visible: Tensor, size: int) -> Tensor:
    """(B, f, f) bool, True = visible -> (B, size, size): each pixel's Euclidean distance to the nearest visible one.

    In pixels, 0 where visible, inf in an image without a visible pixel.
    """
    squares, _ = _nearest_in_patches(size, visible.shape[-1], visible.device)
    found = [squares[:, patches].amin(1).sqrt() if patches.any() else squares.new_full((size**2,), torch.inf)
             for patches in visible.flatten(1)]
    return torch.stack(found).view(-1, size, size)


def average_distance(visible: Tensor, size: int) -> float:
    """SimMIM's AvgDist: the mean Euclidean distance, in pixels, from a hidden pixel to the nearest visible one.

    visible (B, f, f) bool on images of `size` pixels; over all hidden pixels of the batch, nan if there are none.
    """
    far = distance_map(visible, size)
    hidden = far[far > 0]  # visible pixels lie at 0
    return float(hidden.mean()) if len(hidden) else float("nan")


def error_by_distance(prediction: Tensor, images: Tensor, visible: Tensor, edges: Sequence[float]) -> list[float]:
    """`hidden_error` of the hidden pixels whose distance lies in (edges[i], edges[i + 1]]; nan where there are none.

    The variance is about the mean of the pixels of each interval, so that 1 is "their mean colour" everywhere.
    """
    far = distance_map(visible, images.shape[-1])
    found = []
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (far > low) & (far <= high)  # (B, H, W); visible pixels lie at 0
        true, drawn = (x.permute(0, 2, 3, 1)[inside] for x in (images, prediction))  # (pixels, 3)
        found.append(float((drawn - true).square().sum() / (true - true.mean(0)).square().sum()) if len(true) else
                     float("nan"))
    return found


def colour_error_by_distance(prediction: Tensor, images: Tensor, visible: Tensor, edges: Sequence[float],
                             where: Tensor | None = None) -> list[float]:
    """Root mean squared error of colours, for hidden pixels whose distance lies in (edges[i], edges[i + 1]].

    where: bool (B, H, W), the pixels that count; nan where there are none. In the unit of the images, for comparing
    pixels whose variances differ (an object's, a background's).
    """
    far, square = distance_map(visible, images.shape[-1]), (prediction - images).square().mean(1)
    kept = torch.ones_like(far, dtype=torch.bool) if where is None else where.bool()
    return [float(square[(far > low) & (far <= high) & kept].mean().sqrt()) for low, high in zip(edges, edges[1:])]


def _nearest_in_patches(size: int, patches: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """From each pixel to the nearest one of each patch: squared distances and pixel numbers, (H*W, patches^2)."""
    at = torch.arange(size, device=device)
    corner = torch.arange(patches, device=device) * (size // patches)
    near = torch.minimum(torch.maximum(at[:, None], corner), corner + size // patches - 1)  # (H, patches), one axis
    square = (near - at[:, None]).square()
    squares = square[:, None, :, None] + square[None, :, None, :]  # (H, W, patches, patches)
    places = near[:, None, :, None] * size + near[None, :, None, :]
    return squares.flatten(2).flatten(0, 1).float(), places.flatten(2).flatten(0, 1)


def fill_nearest(images: Tensor, visible: Tensor) -> Tensor:
    """Each hidden pixel replaced by the nearest visible pixel of its image (Euclidean; the first in reading order)."""
    size = images.shape[-1]
    seen = enlarge(visible.unsqueeze(1), size).flatten(1)  # (B, H*W)
    squares, places = _nearest_in_patches(size, visible.shape[-1], images.device)
    order = squares.long() * size**2 + places  # the smallest: nearest, then first in reading order
    out = images.clone().flatten(2)
    for picture, pixels, patches in zip(out, seen, visible.flatten(1)):
        picture[:, ~pixels] = picture[:, order[~pixels][:, patches].amin(1) % size**2]
    return out.view_as(images)


def hidden_errors(method: ReconstructionMethod, images: ImageSet, seed: int, name: str = "spark",
                  count: int = 512) -> dict[str, float]:
    """A method with pixel targets: its error on hidden pixels of test images, beside two fillings that learn nothing.

    The masks are the method's own kind: its ratio, on its grid (SimMIM's is coarser than the encoder's).
    """
    part = max(1, 32**2 * 128 // images.size**2)  # large pictures take memory: fewer of them, and fewer at once
    pictures = to_float(images.images[: min(count, 16 * part)])
    grid = method.mask_grid or method.grid
    coarse = patch_mask(len(pictures), grid, method.mask_ratio, torch.Generator().manual_seed(seed))
    visible = enlarge(coarse.unsqueeze(1), method.grid).squeeze(1)
    drawn = torch.cat([method.reconstruct(p, v) for p, v in zip(pictures.split(part), visible.split(part))])
    return {name: hidden_error(drawn, pictures, visible),
            "visible mean": hidden_error(fill_mean(pictures, visible), pictures, visible),
            "nearest visible pixel": hidden_error(fill_nearest(pictures, visible), pictures, visible)}


FILLS = {"copy": fill_nearest, "blurred copy": fill_blurred, "plane": fill_plane}  # what learns nothing


def filled(ways: Mapping[str, Callable[[Tensor, Tensor], Tensor]], images: Tensor,
           visible: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Pictures filled in each of `ways`, and `hidden_error` of each and of "one colour" (`fill_median`).

    A way takes images (B, 3, H, W) and visible (B, f, f), and gives pictures (B, 3, H, W).
    """
    pictures = {name: fill(images, visible) for name, fill in ways.items()}
    left = {name: hidden_error(picture, images, visible) for name, picture in pictures.items()}
    return pictures, left | {"one colour": hidden_error(fill_median(images, visible), images, visible)}


def errors_by_half(pictures: Mapping[str, Tensor], images: Tensor, visible: Tensor, objects: Tensor,
                   edges: Sequence[float]) -> dict[str, dict[str, Tensor]]:
    """`colour_error_by_distance` of each way to fill: "on the object" and "on the background" -> name -> (intervals,).

    objects: bool (B, H, W), where the object is.
    """
    halves = {"on the object": objects, "on the background": ~objects}
    return {title: {name: torch.tensor(colour_error_by_distance(picture, images, visible, edges, where))
                    for name, picture in pictures.items()} for title, where in halves.items()}


def object_share_at(objects: Tensor, visible: Tensor, low: float, high: float) -> float:
    """The share of object (bool (B, H, W)) among the hidden pixels whose distance lies in (low, high]."""
    far = distance_map(visible, objects.shape[-1])
    return float(objects[(far > low) & (far <= high)].float().mean())
