"""Batched augmentations: the whole batch at once, on its device, every sample with parameters of its own.

Images are float tensors (B, 3, H, W) in [0, 1]; parameters are (B,) tensors or boxes (B, 4). The operations match
torchvision.transforms.functional given the same parameters (tests/augment/test_augment.py states each tolerance), but
one call serves a batch. All randomness comes from the torch.Generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor

from course_lib.augment.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    gaussian_blur,
    solarize,
)
from course_lib.augment.geometry import affine, corners_of, crop_by, crop_weights, sample_boxes
from course_lib.augment.large import in_pieces, is_large
from course_lib.augment.pixels import check_images, to_float


def _rising(low: float, high: float) -> bool:
    return 0 < low <= high


FIELDS: tuple[tuple[str, int, Callable[..., bool], str], ...] = (  # name, numbers, whether they fit, what is expected
    *((name, 1, lambda share: 0 <= share <= 1, "a share, from 0 to 1")
      for name in ("flip", "jitter_p", "gray_p", "blur_p", "solarize_p", "shift")),
    *((name, 2, _rising, "two numbers above 0, the smaller first") for name in ("ratio", "blur_sigma", "zoom")),
    ("scale", 2, lambda low, high: 0 < low <= high <= 1, "two shares of the image above 0, the smaller first"),
    ("jitter", 4, lambda *strengths: min(strengths) >= 0, "four numbers, 0 or more"),
    ("turn", 1, lambda degrees: degrees >= 0, "degrees, 0 or more"))


@dataclass(frozen=True)
class Augment:
    """Turn, random resized crop, flip, colour jitter, grayscale, blur and solarize: one random view of each image.

    Call it with uint8 (or float in [0, 1]) images (B, 3, H, W) and a generator; it returns float (B, 3, size, size) in
    [0, 1]. The defaults are VICReg's (BYOL's) colours without blur, which SimCLR leaves out at 32 pixels, on
    CIFAR. jitter: strengths (brightness, contrast, saturation, hue); their order is drawn once per batch, strengths
    and whether a sample is changed at all per sample. turn: degrees either way; shift: share of the side, each way;
    zoom: between these; all three at once, before the crop, and skipped where they would change nothing. gray_first:
    grayscale before the jitter, which then tints it (MoCo v1). interpolation: of the crop, "bilinear" or "bicubic"
    (the papers' methods' own views: bicubic above 64 pixels where the official code is; below, bilinear, with which the
    stored runs were made).
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
    gray_first: bool = False
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for name, count, fits, expected in FIELDS:
            value = getattr(self, name)
            numbers = value if isinstance(value, (tuple, list)) else (value,)
            if len(numbers) != count or not all(isinstance(x, Real) for x in numbers) or not fits(*numbers):
                raise ValueError(f"{name} of the views is {value!r}; expected {expected}")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return self.placed(images, generator)[0]

    def placed(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The views, and where each lies in its image: corners (B, 4) as x1, y1, x2, y2 in [0, 1] of its sides.

        Of a mirrored view x1 is above x2. Turns, shifts and zooms before the crop are not in the corners.
        ValueError for images without three channels, unless the view leaves their colours alone.
        """
        batch, device = check_images(images).shape[0], images.device
        if images.shape[1] != 3 and (self.gray_p or self.jitter_p and any(self.jitter[1:])):
            raise ValueError(f"images have shape {tuple(images.shape)}; expected a batch (B, 3, H, W) for changes of "
                             "colour. Repeat a grey channel three times, and put channels before height and width.")

        def uniform(low: float, high: float) -> Tensor:
            draw = torch.rand(batch, generator=generator, device=generator.device)
            return (low + (high - low) * draw).to(device, non_blocking=True)

        # which images change (None: all), how, and what is drawn for it
        steps: list[tuple] = [(None, to_float)]
        if self.turn or self.shift or self.zoom != (1.0, 1.0):
            sides = images.shape[3], images.shape[2]
            move = torch.stack([uniform(-self.shift, self.shift) * side for side in sides], 1)
            steps.append((None, affine, uniform(-self.turn, self.turn), move, uniform(*self.zoom)))
        boxes = sample_boxes(batch, images.shape[2], images.shape[3], self.scale, self.ratio, generator, device)
        flip = uniform(0, 1) < self.flip
        corners = corners_of(boxes, images.shape[2], images.shape[3], flip)
        rows, columns = crop_weights(images, boxes, self.size, flip, self.interpolation)
        steps.append((None, crop_by, rows, columns, self.interpolation))
        if not self.gray_first:
            steps += self._jitter(uniform, generator)
        if self.gray_p:
            gray = uniform(0, 1) < self.gray_p
            steps.append((gray, adjust_saturation, 1.0 - gray.float()))
        if self.gray_first:
            steps += self._jitter(uniform, generator)
        if self.blur_p:
            sigma = uniform(*self.blur_sigma) * (uniform(0, 1) < self.blur_p)
            steps.append((sigma > 0, gaussian_blur, sigma, max(3, self.size // 10 // 2 * 2 + 1)))
        if self.solarize_p:
            bright = uniform(0, 1) < self.solarize_p
            steps.append((bright, solarize, torch.where(bright, 0.5, 2.0)))
        return _in_turn(images, *steps), corners

    def _jitter(self, uniform, generator: torch.Generator) -> list[tuple]:
        if not (self.jitter_p and any(self.jitter)):
            return []
        changed, steps = uniform(0, 1) < self.jitter_p, []
        ops = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
        for index in torch.randperm(4, generator=generator, device=generator.device).tolist():
            strength = self.jitter[index]
            if not strength:
                continue
            neutral = 0.0 if index == 3 else 1.0
            factor = uniform(-strength, strength) if index == 3 else uniform(max(0.0, 1 - strength), 1 + strength)
            steps.append((changed, ops[index], torch.where(changed, factor, neutral)))
        return steps


@in_pieces
def _in_turn(images: Tensor, *steps: tuple) -> Tensor:
    """Each of `steps`, (chosen, operation, *its parameters), applied to what the one before returned."""
    for chosen, operation, *drawn in steps:
        # only few large images are here at a time, and often none is chosen
        if chosen is None or not is_large(images) or bool(chosen.any()):
            images = operation(images, *drawn)
    return images


# for generated shapes: colour says nothing about the class, and smaller crops slow most methods down
SHAPES_VIEWS = Augment(scale=(0.8, 1.0), jitter=(0.4, 0.4, 0.4, 0.5), jitter_p=1.0, gray_p=0.3)

# the same colours; a place of one view is hardly ever at the same place of the other
CROPPED_VIEWS = replace(SHAPES_VIEWS, scale=(0.3, 0.8))

# the same colours; two views share neither place nor angle, and their sizes only roughly
TURNED_VIEWS = replace(SHAPES_VIEWS, scale=(1.0, 1.0), ratio=(1.0, 1.0), turn=180.0, shift=0.2, zoom=(0.8, 1.2))


def check_placed(what: str, *views: Augment) -> None:
    """ValueError for views whose corners do not tell where their places lie in the image, which `what` has to know."""
    for view in views:
        if view.turn or view.shift or tuple(view.zoom) != (1.0, 1.0):
            raise ValueError(f"{what} has to know where the places of a view lie in the image, and knows it of crops "
                             "and flips only; expected views with turn 0, shift 0 and zoom (1, 1), got turn "
                             f"{view.turn}, shift {view.shift} and zoom {view.zoom}")


def many_views(images: Tensor, augments: list[Augment], generator: torch.Generator) -> list[Tensor]:
    """One independent view of every image per entry of `augments` (sizes may differ: multi-crop)."""
    if not is_large(check_images(images)):  # large ones: piece by piece, in each view
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
    return blurred_pair(Augment(image_size, scale=(0.08, 1.0), interpolation="bicubic"))


def blurred_pair(view: Augment) -> tuple[Augment, Augment]:
    """The view blurred always, and blurred with 0.1 and solarized with 0.2: BYOL's two views, DINO's large crops."""
    return replace(view, blur_p=1.0), replace(view, blur_p=0.1, solarize_p=0.2)


def official_crop(image_size: int) -> str:
    """The interpolation of the crops of methods whose official code has bicubic ones: see `Augment`."""
    return "bicubic" if image_size > 64 else "bilinear"


def moco_v1_view(image_size: int) -> Augment:
    """MoCo v1's view (InstDisc's): grey with 0.2, and only then a jitter as strong in hue as in the rest; no blur."""
    return Augment(image_size, jitter=(0.4, 0.4, 0.4, 0.4), jitter_p=1.0, gray_first=True)


def moco_view(image_size: int) -> Augment:
    """MoCo v2's view, also SimSiam's: hue jitter as weak as BYOL's, stronger saturation; blur above 64 pixels."""
    return Augment(image_size, jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.5 if image_size > 64 else 0.0)
