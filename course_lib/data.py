"""Images in memory: the three containers that everything shares, and `load`.

An `ImageSet` is one uint8 tensor with what is known about its pictures. `load` makes the train, validation
and test sets of generated shapes, of torchvision's CIFAR-10, STL-10 and Fashion-MNIST, or of your own folder.
"""
from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

SPLITS = ("train", "validation", "test", "unlabelled")
FACTOR_KINDS = ("number", "category", "circular")
TORCHVISION_SETS = ("cifar10", "stl10", "fashion-mnist")


class DataError(ValueError):
    """Data that cannot be used: not there, not to be downloaded, or nothing in it that can be read."""


@dataclass(eq=False)         # == of two sets would be neither true nor false
class ImageSet:
    """Pictures of one split, all of one size, with what is known about them.

    images   uint8 (N, 3, H, W) on the CPU
    labels   int64 (N,), an index into `classes`; None where nothing is labelled
    classes  names of the classes
    factors  known causes of generated images: name -> float32 (N,), NaN where a picture has none
    kinds    factor -> "number", "category" or "circular" (in [0, 1), where 0 and 1 are the same)
    name     of the data set; split: "train", "validation", "test" or "unlabelled"
    names    file names where there are files, so that (split, class, name) finds a photograph again

    Raises TypeError or ValueError, in a sentence, where these do not fit together.
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
        """Height of the pictures in pixels."""
        return self.images.shape[2]

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
        """The first `n` pictures (all of them where there are fewer)."""
        return self.select(range(min(max(n, 0), len(self))))

    def describe(self) -> str:
        """One line: name, split, how many pictures of what size, how many classes, memory."""
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
    """Train, validation and test kept apart: settings are chosen on validation, and test is used once."""
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
    """What a method's `views` gets: images uint8 (B, 3, H, W), indices in the set and labels int64 (B,)."""
    images: Tensor
    indices: Tensor
    labels: Tensor | None = None


def data_root(path: str | os.PathLike | None = None) -> Path:
    """The folder of all data: `path`, else $COURSE_DATA, else a per-user cache folder. Does not create it."""
    if path is None:
        path = os.environ.get("COURSE_DATA") or None
    if path is not None:
        return Path(path).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ssl-course"


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a GPU; for other devices what the machine has in all, infinity where nobody tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows, and systems that do not tell
        return float("inf")


def found_sets(root: str | os.PathLike | None = None) -> dict[str, Path | None]:
    """Which of torchvision's sets are on this disk: name -> the folder it is in, or None. Loads nothing."""
    from .downloads import home_of
    return {name: home_of(name, data_root(root), only_found=True) for name in TORCHVISION_SETS}


def load(name: str | os.PathLike, *, size: int | None = None, root: str | os.PathLike | None = None,
         seed: int = 0, limit: int | None = None, progress: bool = True, stream: bool | None = None,
         **options) -> Splits:
    """Train, validation and test images of a data set.

    name      "shapes" (generated, nothing to download), "cifar10", "stl10", "fashion-mnist", or the path of a
              folder with JPEG, PNG or WebP files (see `folder`; "./cifar10" is a folder of that name)
    size      height and width in pixels. None: 32 for shapes, folders and CIFAR-10, 96 for STL-10, and for
              Fashion-MNIST 28 with a black edge of 2, so 32 (size=28: no edge). Other sizes are made with
              antialias. STL-10's 100,000 unlabelled images take 2.8 GB of memory at 96 px and 0.3 GB at 32.
    root      see `data_root`
    seed      of the generated shapes, and of the images that `limit` keeps
    limit     at most so many images of each split, drawn by `seed`
    progress  bars for downloads and decoding
    stream    a folder's: leave its decoded pictures on disk (see `load_folder`); other sets lie in memory
    options   shapes: those of `make_shapes` (relation, style, n), the same for all three splits;
              stl10: unlabelled=False leaves those images out; a folder: `load_folder`'s (cache, workers)

    No image changes its split with `seed`: validation is 10 % of torchvision's train images, drawn once and
    for all with seed 0; a folder without one is split by a hash of the file names. Shapes are drawn with a
    seed of its own for each split: n for train, the larger of n / 10 and 2000 for validation and for test.
    Raises DataError or ValueError with a sentence that says what to do.
    """
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ValueError(f"size is {size!r}; expected a number of pixels, such as 32, or None.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit!r}; expected at least 1, or None for all images.")
    key = str(name).lower().replace("-", "").replace("_", "")
    known = {known.replace("-", ""): known for known in TORCHVISION_SETS}
    if key == "shapes":
        return _load_shapes(size or 32, seed, limit, **options)
    if key in known:
        from .downloads import load_torchvision
        return load_torchvision(known[key], data_root(root), size=size, seed=seed, limit=limit,
                                progress=progress, **options)
    if not Path(name).expanduser().exists():
        raise DataError(f"There is no data set and no folder {str(name)!r}. Expected shapes, "
                        f"{', '.join(TORCHVISION_SETS)}, or the path of a folder with pictures.")
    from .folder import load_folder
    options.setdefault("cache", data_root(root) / "folders")
    splits = load_folder(name, size or 32, progress=progress, stream=stream, **options)
    return Splits(*(part if part is None else part.select(draw(len(part), limit, seed))
                    if limit is not None and limit < len(part) else part
                    for part in (splits.train, splits.validation, splits.test, splits.unlabelled)))


def draw(n: int, limit: int | None, seed: int) -> Tensor:
    """int64: `limit` of the numbers below n, in order; drawn, as folders are sorted by class. None: all."""
    if limit is None or limit >= n:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:limit].sort().values


def sample_tiles(step: int = 32, left: int = 0, right: int | None = None) -> Tensor:
    """The two photographs that scikit-learn carries (427 x 640), cut: uint8 (N, 3, 32, 32), a tile every `step` pixels.

    left, right: the columns of pixels that are cut, all by default. Real pictures where nothing may be downloaded.
    """
    from sklearn.datasets import load_sample_images
    cut = [torch.tensor(photo[:, left:right]).permute(2, 0, 1).unfold(1, 32, step).unfold(2, 32, step)
           for photo in load_sample_images().images]
    return torch.cat([tiles.permute(1, 2, 0, 3, 4).flatten(0, 1) for tiles in cut])


def _load_shapes(size: int, seed: int, limit: int | None, n: int = 20000, **options) -> Splits:
    from .shapes import make_shapes
    sizes = [n] + 2 * [max(n // 10, 2000)]
    if limit is not None:
        sizes = [min(count, limit) for count in sizes]
    # Seeds far apart: train is what make_shapes(seed=seed) gives, and no split shares its pictures.
    return Splits(*(make_shapes(n=count, seed=seed + shift, size=size, split=split, **options)
                    for count, shift, split in zip(sizes, (0, 1_000_000, 2_000_000), SPLITS)))
