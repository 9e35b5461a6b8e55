r"""VADeR: view-agnostic dense representation. Pinheiro, Almahairi, Benmalek, Golemo and Courville, NeurIPS 2020,
arXiv 2011.05499.

MoCo for pixels. f is an encoder with a decoder, so that every pixel of a view has a vector; f' is its moving average.
Points u of a view and u' of another that show the same point of the image are positives; the negatives n_k are a queue
of vectors of points of other images:

    L = -log( exp(f(u).f'(u') / tau) / (exp(f(u).f'(u') / tau) + sum over the queue of exp(f(u).n_k / tau)) )

Points are drawn where the two crops overlap, in the image, and each view's map is read there between its pixels
(bilinear), so nothing is rounded and a mirrored view needs no case of its own. Images whose crops do not overlap add
nothing.

Known from the paper: pixels as instances, momentum encoder, queue, start from MoCo's weights. Recalled, not looked up:
a decoder like a feature pyramid, tau 0.07, momentum 0.999, a queue of 65536, 32 points an image. No official code is
known. What goes wrong easily: negatives of the same image near the positive, which are nearly the same content (here
the queue holds other images' points only, as long as it is shorter than an epoch); points matched after rounding
without a check that both crops hold them; gradient through the keys.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.geometry import in_view
from course_lib.augment.pixels import standardize
from course_lib.augment.views import CROPPED_VIEWS, Augment, check_placed, moco_view
from course_lib.collectives import all_reduce_sum, world_size
from course_lib.data.images import Batch
from course_lib.methods.base import ComparesMaps, TwoViewMethod
from course_lib.methods.contrastive.moco import moco_logits
from course_lib.models.layers import ConvBackbone, Queue, check_maps, check_queue, normalize
from course_lib.models.teacher import EMA
from course_lib.precision import at_least_float32, check_positive, in_float32


def shared_points(first: Tensor, second: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Corners (B, 4) of two views -> n points x, y of the image that both show, (B, n, 2); whether there are any (B,).

    Where the views do not overlap the points mean nothing.
    """
    low, high = [], []
    for corners in (first, second):
        low.append(torch.minimum(corners[:, :2], corners[:, 2:]))
        high.append(torch.maximum(corners[:, :2], corners[:, 2:]))
    start, end = torch.maximum(*low), torch.minimum(*high)  # (B, 2)
    share = torch.rand(len(first), n, 2, generator=generator, device=generator.device).to(first.device)
    return start[:, None] + share * (end - start).clamp(min=0)[:, None], (end > start).all(1)


def read_at(maps: Tensor, points: Tensor) -> Tensor:
    """Maps (B, D, h, w) between their pixels, at points (B, n, 2) of the view, 0 to 1 along its sides: (B, n, D)."""
    maps = at_least_float32(maps)
    places = (2 * points[:, None] - 1).to(maps)  # -1 to 1
    found = F.grid_sample(maps, places, align_corners=False, padding_mode="border")
    return found[:, :, 0].mT


@in_float32
def vader_loss(q: Tensor, k: Tensor, negatives: Tensor, found: Tensor, temperature: float = 0.07) -> dict[str, Tensor]:
    """Raw vectors of the shared points in both views, (B, n, D) each, a queue (K, D) of unit rows, found (B,) bool.

    -> "loss" and "accuracy", means over the points of the images that have any (0 where none has), of all ranks: the
    mean of the ranks' values is that of the global batch, however unequally they share such images.
    """
    rows, own = normalize(q).flatten(0, 1), normalize(k).flatten(0, 1)  # (B * n, D) each
    logits = moco_logits(rows, own, negatives, temperature)  # (B * n, 1 + K)
    each = found.repeat_interleave(q.shape[1]).to(logits.dtype)
    weight = each * world_size() / all_reduce_sum(each.sum()).clamp(min=1)
    loss = F.cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.long), reduction="none")
    return {"loss": (weight * loss).sum(), "accuracy": (weight * (logits.argmax(1) == 0)).sum()}


class Pyramid(nn.Module):
    """Maps of all stages -> one of the largest size, (B, out, h, w): from the last on, each added to the next, twice as
    large."""

    def __init__(self, widths: tuple[int, ...], out: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, out, 1) for width in widths)
        self.last = nn.Conv2d(out, out, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        laterals = [layer(m) for layer, m in zip(self.lateral, maps)]
        total = laterals[-1]
        for finer in reversed(laterals[:-1]):
            total = finer + F.interpolate(total, size=finer.shape[2:], mode="nearest")
        return self.last(F.relu(total))


class VADeR(ComparesMaps, TwoViewMethod):
    """The method: backbone and decoder, their moving average, and a queue of points.

    out: a pixel's vector. points: of each image. queue, momentum, temperature: as in MoCo; the paper's momentum is
    recalled as 0.999, short runs need less. recipe: for small sets and short runs.
    """

    title = "VADeR"
    week = 27
    needs = ("negatives", "queue", "teacher")
    recipe = {"lr": 3e-3, "batch_size": 64}
    shapes_options = {"augment": CROPPED_VIEWS, "points": 8, "queue": 1024}
    explored = ("decoder",)
    backbone: ConvBackbone

    def __init__(self, backbone: ConvBackbone, image_size: int = 32, out: int = 64, points: int = 16,
                 queue: int = 4096, momentum: float = 0.99, temperature: float = 0.1,
                 augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        check_maps(backbone, self.title)
        check_positive("temperature", temperature)
        check_positive("points", points)
        self.backbone, self.decoder = backbone, Pyramid(backbone.widths, out)
        self.keys = EMA(nn.ModuleList([self.backbone, self.decoder]))
        self.queue, self.points = Queue(queue, out), points
        self.momentum, self.temperature = momentum, temperature
        self.augment = augment or moco_view(image_size)
        self.other = other or self.augment
        check_placed(self.title, self.augment, self.other)

    def prepare(self, images: Tensor) -> None:
        check_queue(self.queue, len(images) * self.points, False, f"points ({self.points} of each image)")

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Two views (B, 3, H, W), the shared points as places of each, (B, n, 2), and whether there are any (B,)."""
        a, first = self.augment.placed(batch.images, generator)
        b, second = self.other.placed(batch.images, generator)
        points, found = shared_points(first, second, self.points, generator)
        return a, b, in_view(points, first), in_view(points, second), found

    def maps(self, images: Tensor) -> Tensor:
        """Images in [0, 1] -> a vector for each place of the largest map, (B, out, h, w), not of length 1."""
        return self.decoder(self.backbone.stages(standardize(images)))

    def loss(self, views: tuple[Tensor, ...], progress: float = 0.0) -> dict[str, Any]:
        a, b, here, there, found = views
        maps = self.maps(a)
        with torch.no_grad():
            backbone, decoder = self.keys.module
            k = normalize(read_at(decoder(backbone.stages(standardize(b))), there))  # (B, n, out)
        q = read_at(maps, here)
        parts = vader_loss(q, k, self.queue.rows, found, self.temperature)
        if self.training:
            self.queue.enqueue(k.flatten(0, 1))
        return {**parts, "embedding": F.normalize(maps.detach().float().mean((2, 3)), dim=1)}

    def after_update(self, progress: float) -> None:
        self.keys.update(nn.ModuleList([self.backbone, self.decoder]), self.momentum)
