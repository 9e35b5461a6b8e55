"""The same work by different programs: this course, torchvision's transforms in a DataLoader, lightly.

A contender has `rate(steps)`, the training views/s that its users get, and `stages(steps)`, the parts of a step's time.
All share encoder, widths, batch, views, optimizer and images in memory; pipeline, loop and precision are their own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from tables import Clock, no_clock, wait
from torch import Tensor, nn

from course_lib.augment.masks import random_masking
from course_lib.augment.views import Augment
from course_lib.data.images import Batch, ImageSet
from course_lib.data.shapes import make_shapes
from course_lib.device import pick_device, pick_precision
from course_lib.methods import build_method
from course_lib.optim import build_optimizer, parameter_groups
from course_lib.train.loop import fit

LR, DECAY, BETAS = 1e-3, 0.05, (0.9, 0.95)
# each method as in lightly: the paper's head, loss and constants
OPTIONS = {"simclr": dict(temperature=0.5), "byol": dict(norm=False, predictor_lr=1.0), "vicreg": dict(covariance=1.0),
           "swav": dict(norm=False, temperature=0.1, epsilon=0.05, iterations=3, frozen=0.0, crops=2), "mae": {}}
VIEWS = {"swav": 4, "mae": 1}  # per image; two for the others


@dataclass(frozen=True)
class Work:
    """What is measured: method, backbone, pixels, batch, number of images; on `device`; workers of a DataLoader."""

    method: str = "vicreg"
    backbone: str = "convnet"
    size: int = 32
    batch: int = 256
    images: int = 20000
    device: str = "cpu"
    workers: int = 2
    options: dict = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The method with random weights, the same on every call."""
        torch.manual_seed(0)
        return build_method(self.method, self.backbone, self.size, **{**OPTIONS.get(self.method, {}), **self.options})

    def pictures(self) -> ImageSet:
        return _pictures(self.images, self.size)

    @property
    def views(self) -> int:
        return VIEWS.get(self.method, 2)

    @property
    def name(self) -> str:
        return f"{self.method}, {self.backbone}, batch {self.batch}, {self.device}"

    @property
    def facts(self) -> dict:
        """What identifies the rows of this Work in figures.json."""
        return dict(method=self.method, backbone=self.backbone, size=self.size, batch=self.batch, device=self.device)

    def half(self) -> bool:
        """Whether half precision is fast here, so that the course uses it."""
        return pick_precision(pick_device(self.device))[0] != torch.float32


@lru_cache(maxsize=2)
def _pictures(images: int, size: int) -> ImageSet:
    return make_shapes(n=images, size=size)


def crops(method: nn.Module) -> list[Augment]:
    """The augmentations of a method, one per view."""
    if hasattr(method, "crops"):
        return method.crops
    return [method.augment] + ([method.other] if hasattr(method, "other") else [])


class Loop:
    """A standard training step; subclasses provide the views and the loss."""

    def __init__(self, work: Work, half: bool, channels_last: bool):
        self.work, self.device = work, work.device
        kind = pick_precision(pick_device(work.device))[0] if half else torch.float32
        self.cast = lambda: torch.autocast(work.device, kind, enabled=kind != torch.float32)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def prepare(self, module: nn.Module) -> nn.Module:
        return module.to(self.device, memory_format=self.layout).train()

    def update(self, views, clock=no_clock) -> None:
        with clock("own work"), self.cast():
            loss = self.loss(views)
        with clock("backward"):
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        with clock("optimizer"):
            self.optimizer.step()
        with clock("own work"):
            self.after()

    def after(self) -> None:
        """The method's work after an update: a teacher, prototypes."""

    def stages(self, steps: int) -> dict[str, float]:
        """Seconds per step by stage, in one process, after a warm-up step.

        "forward" is the networks' work, a teacher's included; "own work" is the rest of the method.
        """
        self.update(self.views(self.batch()))
        clock = Clock(self.device)
        with clock.networks(self.networks()):
            for _ in range(steps):
                with clock("data"):
                    batch = self.batch()
                with clock("augmentation"):
                    views = self.views(batch)
                self.update(views, clock)
        return {stage: spent / steps for stage, spent in clock.seconds.items()}


# ------------------------------------------------------------------------------------------------ this course
class Course(Loop):
    """`fit` as in the lessons; half=False: in float32."""

    def __init__(self, work: Work, half: bool = True):
        super().__init__(work, half, channels_last=True)
        self.precision, self.images = "auto" if half else "float32", work.pictures()
        self.method = self.prepare(work.build())
        groups = (self.method.param_groups(DECAY) if hasattr(self.method, "param_groups")
                  else parameter_groups(self.method, DECAY))
        self.optimizer = build_optimizer("adamw", groups, LR, betas=BETAS)
        self.source = self.images.images.to(work.device)
        self.generator = torch.Generator().manual_seed(0)

    def networks(self) -> list[nn.Module]:
        return list(self.method.children())

    def rate(self, steps: int) -> float:
        """Over one run of `steps` steps: `fit` checks for collapse 50 times per run, however short."""
        return fit(self.method, self.images, steps=steps, batch_size=self.work.batch, lr=LR, weight_decay=DECAY,
                   precision=self.precision, device=self.device, progress=False).views_per_second

    def batch(self) -> Batch:
        index = torch.randperm(len(self.images), generator=self.generator)[: self.work.batch].to(self.device)
        return Batch(self.source[index], index)

    @torch.no_grad()
    def views(self, batch: Batch):
        return self.method.views(batch, self.generator)

    def loss(self, views) -> Tensor:
        return self.method.loss(views, 0.5)["loss"]

    def after(self) -> None:
        if hasattr(self.method, "after_update"):
            self.method.after_update(0.5)


# ------------------------------------------------------------------------------------------------ with a DataLoader
class InMemory(torch.utils.data.Dataset):
    """Pictures in memory, augmented one at a time."""

    def __init__(self, pictures: list, transform):
        self.pictures, self.transform = pictures, transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int):
        return self.transform(self.pictures[index])


class Some(torch.utils.data.Sampler):
    """`count` random indices, drawn anew on every pass."""

    def __init__(self, length: int):
        self.length, self.count = length, length

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        return iter(torch.randint(self.length, (self.count,)).tolist())


class Loader(Loop):
    """A loop fed by a DataLoader; a subclass sets networks, `loss`, and calls `feed`."""

    def feed(self, pictures: list, transform) -> None:
        workers = self.work.workers
        self.data, self.sampler = InMemory(pictures, transform), Some(len(pictures))
        self.loader = torch.utils.data.DataLoader(
            self.data, self.work.batch, sampler=self.sampler, drop_last=True, num_workers=workers,
            persistent_workers=workers > 0, pin_memory=self.device == "cuda")

    def adam(self, *modules: nn.Module) -> None:
        params = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(params, LR, betas=BETAS, weight_decay=DECAY)

    def place(self, views: list[Tensor]) -> list[Tensor]:
        return [view.to(self.device, memory_format=self.layout, non_blocking=True) for view in views]

    def rate(self, steps: int) -> float:
        """Over `steps` steps with busy workers; the clock starts when their prefetched batches are used up.

        They prefetch as many again and then rest, so that the next contender has the machine to itself.
        """
        ahead = max(1, 2 * self.work.workers)
        self.sampler.count = (2 * ahead + steps) * self.work.batch
        began = took = 0.0
        for number, views in enumerate(self.loader, 1):
            if number <= ahead + steps:
                self.update(self.place(views))
            if number in (ahead, ahead + steps):
                wait(self.device)
            if number == ahead:
                began = time.perf_counter()
            if number == ahead + steps:
                took = time.perf_counter() - began
        return steps * self.work.batch * self.work.views / took

    def batch(self) -> list:
        return [self.data.pictures[i] for i in torch.randint(len(self.data), (self.work.batch,)).tolist()]

    def views(self, batch: list) -> list[Tensor]:
        samples = [self.data.transform(picture) for picture in batch]
        return self.place(torch.utils.data.default_collate(samples))


def torchvision_view(augment: Augment):
    """`augment` by torchvision's transforms v2, for one uint8 image (3, H, W) -> float in [0, 1]."""
    from torchvision.transforms import v2

    parts = [v2.RandomResizedCrop(augment.size, scale=augment.scale, ratio=augment.ratio, antialias=True),
             v2.RandomHorizontalFlip(augment.flip)]
    if augment.jitter_p and any(augment.jitter):
        parts.append(v2.RandomApply([v2.ColorJitter(*augment.jitter)], augment.jitter_p))
    if augment.gray_p:
        parts.append(v2.RandomGrayscale(augment.gray_p))
    if augment.blur_p:
        kernel = max(3, augment.size // 10 // 2 * 2 + 1)
        parts.append(v2.RandomApply([v2.GaussianBlur(kernel, augment.blur_sigma)], augment.blur_p))
    if augment.solarize_p:
        parts.append(v2.RandomSolarize(128, augment.solarize_p))
    return v2.Compose([*parts, v2.ToDtype(torch.float32, scale=True)])


class Several:
    """One view per transform; a class, as workers need something picklable."""

    def __init__(self, transforms: list):
        self.transforms = transforms

    def __call__(self, picture) -> list:
        return [transform(picture) for transform in self.transforms]


class TorchVision(Loader):
    """This course's method and loss, fed by torchvision's transforms v2 in a DataLoader, in a plain loop."""

    def __init__(self, work: Work, half: bool = False):
        super().__init__(work, half, channels_last=half)
        self.method = self.prepare(work.build())
        self.adam(self.method)
        self.feed(list(work.pictures().images), Several([torchvision_view(augment) for augment in crops(self.method)]))

    networks, after = Course.networks, Course.after

    def loss(self, views: list[Tensor]) -> Tensor:
        if self.work.method == "mae":
            noise = torch.rand(len(views[0]), self.method.grid**2, device=self.device)
            visible = random_masking(noise, self.method.kept)[2].view(-1, self.method.grid, self.method.grid)
            views = (views[0], visible)
        return self.method.loss(views, 0.5)["loss"]
