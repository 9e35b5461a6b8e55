"""The group "augment" of figures.py: every operation and the two-view pipeline in three libraries, alternately.

Each sample gets its own parameters, as training needs. torchvision's transforms draw them once per call, so they are
called image by image; kornia draws them per sample.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from contenders import torchvision_view
from tables import at_most, devices, median, median_ratio, missing, row, seconds, take_turns
from torch import Tensor

from course_lib import augment as A
from course_lib.augment.geometry import resized_crop, sample_boxes
from course_lib.data.shapes import make_shapes

SIZES = ((32, 1024), (96, 512), (224, 256))
TARGET = 0.020  # seconds for two views of 256 images of 224 px on an H200
FULL = dict(blur_p=0.5, solarize_p=0.2)  # with every operation, also at 32 pixels


def kernel(size: int) -> int:
    """The blur's width in pixels, odd: about a tenth of the image, as in `Augment`."""
    return max(3, size // 10 // 2 * 2 + 1)


def course_operations(size: int, generator: torch.Generator) -> dict[str, Callable[[Tensor], Tensor]]:
    """This course's, on float images (B, 3, size, size) in [0, 1]."""

    def uniform(images: Tensor, low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(len(images), generator=generator)).to(images.device)

    def crop(images: Tensor) -> Tensor:
        boxes = sample_boxes(len(images), size, size, (0.2, 1.0), (3 / 4, 4 / 3), generator, images.device)
        return resized_crop(images, boxes, size, uniform(images, 0, 1) < 0.5)

    return {"crop and flip": crop,
            "brightness": lambda x: A.adjust_brightness(x, uniform(x, 0.6, 1.4)),
            "contrast": lambda x: A.adjust_contrast(x, uniform(x, 0.6, 1.4)),
            "saturation": lambda x: A.adjust_saturation(x, uniform(x, 0.8, 1.2)),
            "hue": lambda x: A.adjust_hue(x, uniform(x, -0.1, 0.1)),
            "grayscale": lambda x: A.adjust_saturation(x, 0.0),
            "solarize": lambda x: A.solarize(x, uniform(x, 0.5, 0.5)),
            "blur": lambda x: A.gaussian_blur(x, uniform(x, 0.1, 2.0), kernel(size))}


def torchvision_operations(size: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """torchvision's transforms v2, image by image."""
    from torchvision.transforms import v2

    crop = v2.Compose([v2.RandomResizedCrop(size, (0.2, 1.0), antialias=True), v2.RandomHorizontalFlip()])
    each = {"crop and flip": crop,
            "brightness": v2.ColorJitter(brightness=0.4), "contrast": v2.ColorJitter(contrast=0.4),
            "saturation": v2.ColorJitter(saturation=0.2), "hue": v2.ColorJitter(hue=0.1),
            "grayscale": v2.Grayscale(3), "solarize": v2.RandomSolarize(0.5, 1.0),
            "blur": v2.GaussianBlur(kernel(size), (0.1, 2.0))}
    return {name: by_image(transform) for name, transform in each.items()}


def by_image(transform: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda images: torch.stack([transform(image) for image in images])


def kornia_operations(size: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """kornia's, on the whole batch."""
    import kornia.augmentation as K
    from torch import nn

    crop = nn.Sequential(K.RandomResizedCrop((size, size), scale=(0.2, 1.0)), K.RandomHorizontalFlip(p=0.5))
    return {"crop and flip": crop,
            "brightness": K.ColorJitter(brightness=0.4, p=1.0), "contrast": K.ColorJitter(contrast=0.4, p=1.0),
            "saturation": K.ColorJitter(saturation=0.2, p=1.0), "hue": K.ColorJitter(hue=0.1, p=1.0),
            "grayscale": K.RandomGrayscale(p=1.0), "solarize": K.RandomSolarize(0.0, 0.0, p=1.0),
            "blur": K.RandomGaussianBlur((kernel(size),) * 2, (0.1, 2.0), p=1.0)}


def kornia_view(view: A.Augment) -> Callable[[Tensor], Tensor]:
    """`view` in kornia, for float images in [0, 1], with its default of no antialiasing."""
    import kornia.augmentation as K
    from torch import nn

    parts = [K.RandomResizedCrop((view.size, view.size), scale=view.scale, ratio=view.ratio),
             K.RandomHorizontalFlip(p=view.flip)]
    if view.jitter_p and any(view.jitter):
        parts.append(K.ColorJitter(*view.jitter, p=view.jitter_p))
    if view.gray_p:
        parts.append(K.RandomGrayscale(p=view.gray_p))
    if view.blur_p:
        parts.append(K.RandomGaussianBlur((kernel(view.size),) * 2, view.blur_sigma, p=view.blur_p))
    if view.solarize_p:
        parts.append(K.RandomSolarize(0.0, 0.0, p=view.solarize_p))
    return nn.Sequential(*parts)


def pipelines(size: int, generator: torch.Generator, kornia: bool) -> dict[str, Callable[[Tensor], object]]:
    """Two views of uint8 images (B, 3, size, size), float in [0, 1], by each library."""
    view = A.Augment(size, **FULL)
    plain = by_image(torchvision_view(view))
    found = {"course": lambda images: A.two_views(images, view, generator),
             "torchvision": lambda images: [plain(images) for _ in range(2)]}
    if kornia:
        theirs = kornia_view(view)
        found["kornia"] = lambda images: [theirs(images.float() / 255) for _ in range(2)]
    return found


def compare(what: str, size: int, batch: int, device: str, programs: dict[str, Callable], images: Tensor,
            rounds: int, least: float) -> list[dict]:
    """A row per library, measured alternately."""
    turns = take_turns({name: lambda run=run: seconds(lambda: run(images), device, least)
                        for name, run in programs.items()}, rounds)
    figure = f"{what}, {size} px x {batch}, {device}"
    ours = median(turns, "course")
    target = TARGET if (what, size, device) == ("two views", 224, "cuda") else None
    rows = [at_most(f"{figure}: course", 1000 * ours, None if target is None else 1000 * target,
                    f"{batch / ours:.0f} images/s", " ms", kind="operation", operation=what, size=size, batch=batch,
                    device=device, rounds=turns)]
    for name in programs:
        if name != "course":
            rows.append(row(f"{figure}: {name} over course", f"{median_ratio(turns, name, 'course'):.1f}x",
                            f"{1000 * median(turns, name):.2f} ms"))
    return rows


@torch.no_grad()
def augment(quick: bool = False, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[dict]:
    """The rows of the group; quick: few images, one round."""
    kornia = importlib.util.find_spec("kornia") is not None
    rows = [] if kornia else [missing("augmentation by kornia", "kornia is not installed: see requirements.txt")]
    rounds, least = (1, 0.0) if quick else (3, 0.5)
    for device in devices():
        for size, batch in sizes:
            batch = max(2, batch // 64) if quick else batch
            generator = torch.Generator().manual_seed(0)
            pictures = make_shapes(n=batch, size=size).images.to(device)
            libraries = {"course": course_operations(size, generator), "torchvision": torchvision_operations(size)}
            if kornia:
                libraries["kornia"] = kornia_operations(size)
            for name in libraries["course"]:
                programs = {library: operations[name] for library, operations in libraries.items()}
                rows += compare(name, size, batch, device, programs, A.to_float(pictures), rounds, least)
            programs = pipelines(size, generator, kornia)
            rows += compare("two views", size, batch, device, programs, pictures, rounds, least)
            print(rows[-1]["figure"], rows[-1]["value"], flush=True)
    return rows
