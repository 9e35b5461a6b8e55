"""The containers for images that everything shares."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

SPLITS = ("train", "validation", "test", "unlabelled")

FACTOR_KINDS = ("number", "category", "circular")


class DataError(ValueError):
    """Data that is missing, cannot be downloaded, or has nothing readable in it."""


@dataclass(eq=False)         # == of tensors has no single truth value
class ImageSet:
    """The pictures of one split, all of one size, with their labels and known causes.

    images: uint8 (N, 3, H, W) on the CPU. labels: int64 (N,), indices into `classes`; None without labels.
    factors: known causes of generated images, name -> float32 (N,), NaN if a picture has none.
    kinds: factor -> "number", "category" or "circular" (in [0, 1), where 0 and 1 are the same).
    name: the data set's. split: "train", "validation", "test" or "unlabelled".
    names: the file names, if any, to find a photograph again by (split, class, name).

    Raises TypeError or ValueError if these do not fit together.
    """
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    factors: dict[str, Tensor] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    name: str = ""
    split: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images = self.images
        if not isinstance(images, Tensor) or images.dtype != torch.uint8:
            got = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"ImageSet.images is {got}; expected a uint8 tensor with values from 0 to 255.")
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"ImageSet.images has shape {tuple(images.shape)}; expected (N, 3, H, W). "
                             "Repeat a grey channel three times, and put channels before height and width.")
        n = len(images)
        self.classes, self.names = tuple(self.classes), tuple(self.names)
        if self.labels is not None:
            _check_column("labels", self.labels, torch.int64, n)
            low, high = (int(self.labels.min()), int(self.labels.max())) if n else (0, -1)
            if self.classes and not 0 <= low <= high + 1 <= len(self.classes):
                raise ValueError(f"ImageSet.labels run from {low} to {high}, but there are "
                                 f"{len(self.classes)} classes; expected 0 to {len(self.classes) - 1}.")
        for key, value in self.factors.items():
            _check_column(f"factors[{key!r}]", value, torch.float32, n)
        for key, kind in self.kinds.items():
            if key not in self.factors or kind not in FACTOR_KINDS:
                raise ValueError(f"ImageSet.kinds has {key!r}: {kind!r}; expected the name of a factor and "
                                 f"one of {', '.join(FACTOR_KINDS)}.")
        if self.names and len(self.names) != n:
            raise ValueError(f"ImageSet.names has {len(self.names)} entries for {n} images; expected {n}.")
        if self.split and self.split not in SPLITS:
            raise ValueError(f"ImageSet.split is {self.split!r}; expected one of {', '.join(SPLITS)}.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"<ImageSet {self.describe()}>"

    @property
    def size(self) -> int:
        """The pictures' height in pixels."""
        return self.images.shape[2]

    def checksum(self) -> int:
        """Of the labels and the file names: tells pictures of other sets apart without reading them."""
        labels = b"" if self.labels is None else self.labels.numpy().tobytes()
        return zlib.crc32("\0".join(self.names).encode("utf-8", "surrogateescape"), zlib.crc32(labels))

    def select(self, indices) -> ImageSet:
        """The pictures at `indices` (integer or bool tensor, list, slice), in that order; copies pixels."""
        if isinstance(indices, slice):
            indices = range(*indices.indices(len(self)))
        if not isinstance(indices, Tensor):
            indices = torch.as_tensor(list(indices))
        indices = indices.cpu()
        if indices.dtype == torch.bool:
            if indices.shape != (len(self),):
                raise IndexError(f"A mask of shape {tuple(indices.shape)} cannot select from {len(self)} "
                                 f"images; expected ({len(self)},).")
            indices = indices.nonzero().flatten()
        indices = indices.long()
        if indices.ndim != 1:
            raise IndexError(f"indices have shape {tuple(indices.shape)}; expected one dimension.")
        if len(indices) and not -len(self) <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(f"indices run from {int(indices.min())} to {int(indices.max())}, but there are "
                             f"only {len(self)} images.")
        return ImageSet(
            self.images[indices], None if self.labels is None else self.labels[indices], self.classes,
            {key: value[indices] for key, value in self.factors.items()}, dict(self.kinds), self.name,
            self.split, tuple(self.names[i] for i in indices.tolist()) if self.names else ())

    def head(self, n: int) -> ImageSet:
        """The first `n` pictures, or all if there are fewer."""
        return self.select(range(min(max(n, 0), len(self))))

    def describe(self) -> str:
        """One line: name, split, number and size of the pictures, classes, memory."""
        height, width = self.images.shape[2:]
        count = len(self.classes) or (0 if self.labels is None else len(self.labels.unique()))
        labels = "no labels" if self.labels is None else f"{count} classes"
        title = " ".join(part for part in (self.name, self.split) if part) or "images"
        megabytes = self.images.numel() / 1e6
        return f"{title}: {len(self):,} images of {height}x{width}, {labels}, {megabytes:,.1f} MB"


def _check_column(what: str, value, dtype: torch.dtype, n: int) -> None:
    if not isinstance(value, Tensor) or value.dtype != dtype:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"ImageSet.{what} is {got}; expected a {dtype} tensor.")
    if value.shape != (n,):
        raise ValueError(f"ImageSet.{what} has shape {tuple(value.shape)} for {n} images; expected ({n},).")


@dataclass(eq=False)
class Splits:
    """Train, validation and test sets: choose settings on validation, use test once."""
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    unlabelled: ImageSet | None = None

    def describe(self) -> str:
        """One line per split."""
        parts = (self.train, self.validation, self.test, self.unlabelled)
        return "\n".join(part.describe() for part in parts if part is not None)


@dataclass(eq=False)
class Batch:
    """The input of a method's `views`: images uint8 (B, 3, H, W), indices in the set and labels int64 (B,).

    source: all images of the set, uint8 (N, 3, H, W), wherever they are: for methods that pair images of the set.
    """
    images: Tensor
    indices: Tensor
    labels: Tensor | None = None
    source: Tensor | None = None

    def others(self, indices: Tensor) -> Tensor:
        """The images of the set at `indices`, int64 (n,), on the batch's device; ValueError for a batch of no set."""
        if self.source is None:
            raise ValueError("this batch does not hold the set that it is from: give Batch(..., source=images)")
        return self.source[indices.to(self.source.device)].to(self.images.device)


def draw(n: int, limit: int | None, seed: int) -> Tensor:
    """int64: `limit` of the numbers below n (None: all), ascending; drawn at random, as folders are sorted by class."""
    if limit is None or limit >= n:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:limit].sort().values
