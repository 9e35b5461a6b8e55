"""Features of images: a network's representations, raw pixels, and the same network untrained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from course_lib.augment.pixels import standardize, to_float
from course_lib.data.images import ImageSet
from course_lib.device import pick_device
from course_lib.evaluate.measures import check_labels
from course_lib.threads import well_threaded

PIXELS = 32  # raw pixels of larger pictures are averaged down to this
LARGEST_MAP = 2**25  # numbers, 134 MB: a network keeps about four such maps at once


def embed(model: nn.Module, images: ImageSet | Tensor, batch_size: int = 512, device: str | torch.device = "auto",
          which: Tensor | None = None, bar: str = "") -> Tensor:
    """The representations of `images`: float32 (N, D) on the CPU.

    images: an ImageSet or a tensor (N, 3, H, W), uint8 or float in [0, 1]. model: with a backbone and `embed`, as a
    method has, or any module that maps normalised float images (B, 3, H, W) to (B, D). It runs in evaluation mode
    without gradients; its mode and device are restored afterwards. which: int64 (n,), only these images. bar: what to
    write before a progress bar; "" for none. ValueError for other shapes.
    """
    images = images if isinstance(images, Tensor) else images.images
    if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
        raise ValueError(f"images must have shape (N, 3, H, W) with N > 0, but have {tuple(images.shape)}.")
    with evaluating(model, pick_device(str(device))) as where, well_threaded(where) as pace:
        # of a method, also of one that a reader wrote as a plain module
        own: Callable | None = getattr(model, "embed", None) if hasattr(model, "backbone") else None
        run = own or (lambda part: model(standardize(part)))
        size = min(batch_size, _most(model, run, images[:1].to(where)))
        parts = [run(part.to(where)).float().cpu() for part in pace.over(_batches(images, which, size, bar))]
    if parts[0].ndim != 2:
        raise ValueError(f"the model gives {tuple(parts[0].shape)} for {len(parts[0])} images; expected "
                         "one vector per image, (B, D). Pool the map, for example with x.mean((2, 3)).")
    return torch.cat(parts)


def _most(model: nn.Module, run: Callable[[Tensor], Tensor], image: Tensor) -> int:
    """Images of a batch such that no layer of the model gives more than LARGEST_MAP numbers for it, found on one."""
    widest = image.numel()

    def look(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal widest
        widest = max(widest, output.numel() if isinstance(output, Tensor) else 0)

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    try:
        run(image)
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, LARGEST_MAP // widest)


def _batches(images: Tensor, which: Tensor | None, size: int, bar: str) -> Iterator[Tensor]:
    """The images in batches, with a progress bar on a terminal; images on disk are read batch by batch."""
    count = len(images) if which is None else len(which)
    places = range(0, count, size)
    for start in tqdm(places, bar, leave=False, unit="batch", disable=not bar):
        part = slice(start, start + size)
        yield images[part] if which is None else images[which[part]]


def embed_projected(method: nn.Module, images: ImageSet | Tensor, batch_size: int = 512) -> Tensor:
    """The output of a joint-embedding method's head, on which its loss acts: float32 (N, D) on the CPU.

    In evaluation mode, not scaled to length 1. ValueError for a method without a head.
    """
    head = next((getattr(method, name) for name in ("projector", "expander", "head") if hasattr(method, name)), None)
    if head is None:
        raise ValueError(f"{type(method).__name__} has no head: neither projector, expander nor head.")
    features = embed(method, images, batch_size)
    with evaluating(method) as where:
        return torch.cat([head(part.to(where)).float().cpu() for part in features.split(batch_size)])


def accuracy(classifier: nn.Module, images: ImageSet, device: str | torch.device = "auto",
             batch_size: int = 512) -> float:
    """Share of labelled images that a classifier of normalised images gets right, in evaluation mode."""
    labels = check_labels(images.labels, len(images))
    with evaluating(classifier, pick_device(str(device))) as where:
        one = images.images[:1].to(where)
        size = min(batch_size, _most(classifier, lambda part: classifier(standardize(part)), one))
        right = sum(int((classifier(standardize(x.to(where))).argmax(dim=1).cpu() == y).sum())
                    for x, y in zip(images.images.split(size), labels.split(size)))
    return right / len(images)


@contextmanager
def evaluating(model: nn.Module, device: torch.device | None = None) -> Iterator[torch.device]:
    """A model in evaluation mode and without gradients, on `device` (None: where it is); all is restored afterwards."""
    modes = {module: module.training for module in model.modules()}  # a teacher may be in eval already
    home = next((p.device for p in model.parameters()), device or torch.device("cpu"))
    device = device or home
    try:
        model.eval().to(device)
        with torch.no_grad():
            yield device
    finally:
        model.to(home)
        for module, mode in modes.items():
            module.training = mode


def raw_pixels(images: ImageSet | Tensor, which: Tensor | None = None, bar: str = "") -> Tensor:
    """The pixels themselves as features, float32 (N, 3 * H * W) in [0, 1]: what a method has to beat.

    Pictures of more than 32 pixels are averaged down to 32 x 32, as their features would not fit into memory. which,
    bar: see `embed`.
    """
    images = images if isinstance(images, Tensor) else images.images
    sides = min(images.shape[2], PIXELS), min(images.shape[3], PIXELS)
    found = torch.empty(len(images) if which is None else len(which), images.shape[1] * sides[0] * sides[1])
    size = max(1, min(512, LARGEST_MAP // images[:1].numel()))
    for rows, part in zip(found.split(size), _batches(images, which, size, bar)):
        part = to_float(part)
        rows.copy_((part if sides == tuple(part.shape[2:]) else F.adaptive_avg_pool2d(part, sides)).flatten(1))
    return found


def known_causes(images: ImageSet) -> dict[str, Tensor]:
    """The causes of generated images as features, each alone: cause -> float32 (N, D), if all images have it.

    A category is one-hot; of a circular one, in [0, 1), sine and cosine.
    """
    found = {}
    for name, values in images.factors.items():
        if not values.isfinite().all():
            continue
        kind = images.kinds.get(name, "number")
        if kind == "category":
            found[name] = F.one_hot(values.long()).float()
        elif kind == "circular":
            found[name] = torch.stack([(2 * torch.pi * values).sin(), (2 * torch.pi * values).cos()], dim=1)
        else:
            found[name] = values[:, None].float()
    return found


def reinitialise(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of `model` with new random weights, on its device: torch's own initialisation of every layer.

    Each layer's `reset_parameters` is called; batch norm's running statistics return to mean 0, variance 1. Free
    parameters of two or more dimensions (class tokens, learned positions) are drawn with standard deviation 0.02.
    ValueError for any other parameter without a way to reset it.
    """
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    fresh = copy.deepcopy(model).cpu()  # weights drawn on the CPU are the same on every machine
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for name, module in fresh.named_modules():
            if reset := getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None):
                reset()
                continue
            for own, parameter in module.named_parameters(recurse=False):
                if parameter.ndim < 2:
                    raise ValueError(f"{type(module).__name__} ({name or 'the model'}) owns {own!r} and "
                                     "cannot be re-initialised: give the class a reset_parameters() method.")
                parameter.normal_(std=0.02)
    return fresh.to(home)
