"""A memory bank: one embedding for each image of the set, as the network saw the image last (NPID, PIRL, Local
Aggregation).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.collectives import gather
from course_lib.data.images import Batch
from course_lib.methods.clustering.shared import PerImage
from course_lib.models.layers import normalize
from course_lib.precision import at_least_float32


class MemoryBank(PerImage):
    """The rows (N, D), of length 1, and what belongs to them; all are persistent buffers, the same on each rank.

    A row follows its image's embedding: m <- normalize(momentum * m + (1 - momentum) * z), once in an epoch, so rows
    are up to an epoch old: see `age`. They are random directions at first, drawn when `fit` calls `prepare`, or what
    the untrained network makes of each image. (The official NPID starts with vectors that only have a length of about
    1; PIRL's with these.)
    """

    rows: Tensor     # (N, D)
    written: Tensor  # (N,) int64: the update that wrote each row last; 0: none yet
    updates: Tensor  # () int64: updates so far
    log_z: Tensor    # () log Z, see `log_partition`
    known: Tensor    # () bool: whether it has been estimated
    content: Tensor  # () int64: the sum of some images' pixels, which tells sets of one size apart

    def __init__(self, dim: int, momentum: float = 0.5):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"memory is {momentum}; expected a number from 0, where a row is the newest embedding, to "
                             "below 1: the old row's share")
        self.dim, self.momentum = dim, momentum
        for name, value in (("updates", 0), ("log_z", 0.0), ("known", False), ("content", 0)):
            self.register_buffer(name, torch.tensor(value))

    def prepare(self, images: Tensor, look: Callable[[Tensor], Tensor] | None = None) -> None:
        """A row for each of the images, uint8 (N, 3, H, W); ValueError if there are rows, and of another set.

        look: images (B, 3, H, W) -> embeddings (B, D), with which the rows begin; None: random directions.
        """
        content = images[:: max(1, len(images) // 64)].sum(dtype=torch.int64).to(self.content.device)
        if len(self):
            self.check(len(images), "the memory bank's rows")
            if content != self.content:
                raise ValueError(f"the memory bank's rows are those of another data set, also of {len(images)} images. "
                                 "Train on the images that they were found in, or begin a new run")
            return
        if look is None:
            first = torch.randn(len(images), self.dim, generator=torch.Generator().manual_seed(0))
        else:
            with torch.no_grad():
                first = torch.cat([look(part.to(content.device)) for part in images.split(128)]).float()
        self.fill(rows=F.normalize(first, dim=1).to(self.log_z), content=content,
                  written=torch.zeros(len(images), dtype=torch.int64, device=content.device))

    def of(self, batch: Batch) -> int:
        """How many rows there are; ValueError if they are not those of the set that the batch is from."""
        known = max(len(self), int(batch.indices.max()) + 1) if batch.source is None else len(batch.source)
        self.check(known, "the memory bank's rows")
        return len(self)

    def scores(self, z: Tensor, index: Tensor | None, temperature: float) -> Tensor:
        """Cosines over the temperature of embeddings (B, D) with the rows that are named by index (B, M) -> (B, M).

        index=None: with all of them, (B, N). In float32; rows are constants.
        """
        with torch.autocast(z.device.type, enabled=False):
            z, rows = normalize(z), self.rows.to(at_least_float32(z))
            some = z @ rows.T if index is None else torch.einsum("bd,bmd->bm", z, rows[index])
            return some / temperature

    @torch.no_grad()
    def log_partition(self, scores: Tensor) -> Tensor:
        """log Z, estimated by the first scores (B, M) that it is called with, and the same ever after: ().

        Z = N times the mean of exp(score), over the batches of all ranks.
        """
        each = gather(scores.logsumexp((0, 1))[None])  # (W,)
        estimate = each.logsumexp(0) + math.log(len(self) / (len(each) * scores.numel()))
        self.log_z = torch.where(self.known, self.log_z, estimate.to(self.log_z))
        self.known = torch.ones_like(self.known)
        return self.log_z

    @torch.no_grad()
    def update(self, indices: Tensor, z: Tensor) -> None:
        """The rows of the images `indices` (B,), of all ranks, move towards their embeddings (B, D), of any length.

        The old tensor is left as it was, so a loss of it can still be differentiated.
        """
        indices, z = gather(indices), normalize(gather(z.detach())).to(self.rows)
        moved = F.normalize(self.rows[indices].lerp(z, 1 - self.momentum), dim=1)
        self.rows, self.updates = self.rows.index_copy(0, indices, moved), self.updates + 1
        self.written = self.written.index_copy(0, indices, self.updates.expand(len(indices)))

    @property
    def age(self) -> Tensor:
        """How many updates ago each row was written, int64 (N,); of one that never was, all there were."""
        return self.updates - self.written


def draw_rows(count: int, k: int, total: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """k rows of `total` for each of `count` images, with repetition and perhaps the image's own: int64 (count, k)."""
    return torch.randint(total, (count, k), generator=generator, device=generator.device).to(device)


def first_look(augment: Augment, embed: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """For `MemoryBank.prepare`: images (B, 3, H, W) -> the embeddings (B, D) of a view of each, drawn by one seed."""
    generator = torch.Generator().manual_seed(0)
    return lambda images: embed(standardize(augment(images, generator)))
