"""The batches of a run: functions of the seed and the step alone, on any rank, from memory or from disk."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from course_lib.data.images import Batch, ImageSet
from course_lib.device import free_memory
from course_lib.seeds import mix


@lru_cache(maxsize=2)
def order_of(n: int, seed: int, epoch: int) -> Tensor:
    """The order of n images in an epoch, int64 (n,), the same on every rank."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(mix(seed, epoch)))


class Batches:
    """The micro-batches of each step on this rank; calling it with a step yields (Batch, generator for its views).

    Each epoch shuffles all images; a step takes the next batch_size of them (an epoch's incomplete last batch is
    dropped) and cuts them into ranks x accumulate equal blocks. Part p of rank r is block p * ranks + r, whose views
    come from a generator seeded by (seed, step, block). So the ranks split the batch without overlap, and runs with the
    same ranks x accumulate see the same views of the same blocks.

    The uint8 images are copied to `device` and gathered there. With `stream` they stay in memory or in a mapped file,
    and a thread gathers the next block while the device computes. None: stream if the images would take more than half
    of the device's free memory.
    """

    def __init__(self, images: ImageSet, device: torch.device, *, batch_size: int, seed: int = 0, accumulate: int = 1,
                 rank: int = 0, ranks: int = 1, stream: bool | None = None):
        if stream is None:
            stream = images.images.numel() > free_memory(device) / 2
        self.images = images.images if stream else images.images.to(device)
        self.labels = None if images.labels is None else images.labels.to(device)
        self.device, self.seed, self.batch_size, self.accumulate = device, seed, batch_size, accumulate
        self.rank, self.ranks, self.per_epoch = rank, ranks, len(images) // batch_size
        self.generator = torch.Generator()
        self.reader = ThreadPoolExecutor(1) if stream else None
        self.ahead: tuple[tuple[int, int], Future | None] = ((-1, -1), None)

    def __call__(self, step: int) -> Iterator[tuple[Batch, torch.Generator]]:
        for part in range(self.accumulate):
            index = self.index(step, part).to(self.device)
            images = self.images[index] if self.reader is None else self._streamed(step, part)
            self.generator.manual_seed(mix(self.seed + 1, step, part * self.ranks + self.rank))
            labels = None if self.labels is None else self.labels[index]
            yield Batch(images, index, labels, self.images), self.generator

    def index(self, step: int, part: int) -> Tensor:
        """The images of a part of a step on this rank, int64 on the CPU."""
        epoch, place = divmod(step, self.per_epoch)
        size = self.batch_size // (self.ranks * self.accumulate)
        start = place * self.batch_size + (part * self.ranks + self.rank) * size
        return order_of(len(self.images), self.seed, epoch)[start : start + size]

    def _streamed(self, step: int, part: int) -> Tensor:
        """A part's images, prefetched while the previous part was computed; starts reading the next ones."""
        assert self.reader is not None  # only a stream reads ahead
        expected, reading = self.ahead
        if reading is None or expected != (step, part):
            reading = self.reader.submit(self._read, step, part)
        following = (step, part + 1) if part + 1 < self.accumulate else (step + 1, 0)
        self.ahead = following, self.reader.submit(self._read, *following)
        return reading.result().to(self.device, non_blocking=True)

    def _read(self, step: int, part: int) -> Tensor:
        # NumPy, as torch would start a second thread pool here, whose busy waiting slows the network down
        pixels = torch.from_numpy(np.take(self.images.numpy(), self.index(step, part).numpy(), axis=0))
        return pixels.pin_memory() if self.device.type == "cuda" else pixels
