"""`load`: generated shapes, torchvision's sets or your own folder as train, validation and test sets."""

from __future__ import annotations

import os
import statistics
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from course_lib.data.images import SPLITS, DataError, ImageSet, Splits, draw
from course_lib.files import data_root

TORCHVISION_SETS = ("cifar10", "stl10", "fashion-mnist")


def load(name: str | os.PathLike, *, size: int | None = None, root: str | os.PathLike | None = None,
         seed: int = 0, limit: int | None = None, progress: bool = True, stream: bool | None = None,
         depth: int | None = None, **options) -> Splits:
    """Train, validation and test images of a data set.

    name: "shapes" (generated, nothing to download), "cifar10", "stl10", "fashion-mnist", or the path of a folder with
    JPEG, PNG or WebP files (see `folder`; "./cifar10" is a folder of that name).
    size: height and width in pixels. None: 32 for shapes, CIFAR-10 and Fashion-MNIST (28 and a black edge of 2; size=28
    has none), 96 for STL-10, and for a folder the one of 32, 64 and 96 that suits its pictures (`suitable_size`).
    Other sizes are resized with antialiasing. STL-10's 100,000 unlabelled images take 2.8 GB of memory at 96 px and 0.3
    GB at 32.
    root: see `data_root`. limit: at most this many images per split. progress: show bars for downloads and decoding.
    seed: for generated shapes, and for the images that `limit` keeps.
    stream: leave a folder's decoded pictures on disk (see `load_folder`); other sets are held in memory.
    depth: how many bits a folder's 16-bit PNG files use (None: 16; see `load_folder`).
    options: shapes: those of `make_shapes` (relation, style, n) for all three splits; stl10: unlabelled=False skips
    those images; folders: `load_folder`'s (cache, workers).

    `seed` never moves an image to another split: validation is a fixed 10 % of torchvision's train images, and folders
    are split by a hash of the file names. Shapes have a seed per split, n images for train and the larger of n / 10 and
    2000 for validation and for test. Raises DataError or ValueError; the message says what to do.
    """
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ValueError(f"size is {size!r}; expected a number of pixels, such as 32, or None.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit!r}; expected at least 1, or None for all images.")
    known = known_set(name)
    if depth is not None:
        if known:
            raise ValueError(f"depth is of a folder's 16-bit files; {known} has 8 bits. Leave it out.")
        options["depth"] = depth
    if known == "shapes":
        return _load_shapes(size or 32, seed, limit, **options)
    if known:
        from course_lib.data.downloads import load_torchvision
        return load_torchvision(known, data_root(root), size=size, seed=seed, limit=limit,
                                progress=progress, **options)
    if not Path(name).expanduser().exists():
        raise DataError(f"There is no data set and no folder {str(name)!r}. Expected shapes, "
                        f"{', '.join(TORCHVISION_SETS)}, or the path of a folder with pictures.")
    from course_lib.data.folder import load_folder
    options.setdefault("cache", data_root(root) / "folders")
    if size is None:
        size, typical = suitable_size(name)
        if progress and typical != (size, size):
            print(f"The pictures, {typical[0]} x {typical[1]} pixels (median), are made {size} x {size}; another size: "
                  "--image-size, or size= in Python.", file=sys.stderr)
    splits = load_folder(name, size, progress=progress, stream=stream, **options)
    if limit is None:
        return splits

    def limited(part: ImageSet) -> ImageSet:
        return part.select(draw(len(part), limit, seed)) if limit < len(part) else part

    return Splits(limited(splits.train), limited(splits.validation), limited(splits.test),
                  None if splits.unlabelled is None else limited(splits.unlabelled))


def known_set(name: str | os.PathLike) -> str:
    """"shapes" or one of TORCHVISION_SETS, however `name` spells it; "" for anything else, such as a folder's path."""
    key = str(name).lower().replace("-", "").replace("_", "")
    return {known.replace("-", ""): known for known in ("shapes", *TORCHVISION_SETS)}.get(key, "")


def suitable_size(folder: str | os.PathLike, sample: int = 200) -> tuple[int, tuple[int, int]]:
    """The largest of 32, 64 and 96 pixels that the median picture of a folder fills, and that picture's width, height.

    96 is STL-10's, about as much as a CPU can train with. Read off the headers of `sample` files over the whole folder.
    """
    from PIL import Image

    from course_lib.data.splits import FolderReport, walk
    root = Path(folder).expanduser()
    files = sorted(name for name, *_ in walk(root, FolderReport(root)))
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about single files, such as large ones
        for name in files[::max(1, len(files) // sample)]:
            with suppress(Exception), Image.open(root / name) as picture:  # a broken file may make it raise anything
                found.append(picture.size)
    if not found:  # whoever reads the folder says what is wrong with it
        return 32, (32, 32)
    width, height = (int(statistics.median(sides)) for sides in zip(*found))
    return max((size for size in (32, 64, 96) if size <= min(width, height)), default=32), (width, height)


def sample_tiles(step: int = 32, left: int = 0, right: int | None = None) -> Tensor:
    """Tiles of scikit-learn's two sample photographs (427 x 640), every `step` pixels: uint8 (N, 3, 32, 32).

    left, right: the range of pixel columns to cut. Real pictures without a download.
    """
    from sklearn.datasets import load_sample_images
    cut = [torch.tensor(photo[:, left:right]).permute(2, 0, 1).unfold(1, 32, step).unfold(2, 32, step)
           for photo in load_sample_images().images]
    return torch.cat([tiles.permute(1, 2, 0, 3, 4).flatten(0, 1) for tiles in cut])


def sample_photographs(size: int = 64) -> Tensor:
    """The centre squares of scikit-learn's two sample photographs, uint8 (2, 3, size, size): a temple, a flower."""
    from importlib.resources import as_file, files

    from course_lib.data.photo import decode_photo
    found = []
    for name in ("china.jpg", "flower.jpg"):
        with as_file(files("sklearn.datasets.images") / name) as path:
            found.append(torch.from_numpy(decode_photo(path, size).copy()).permute(2, 0, 1))
    return torch.stack(found)


def _load_shapes(size: int, seed: int, limit: int | None, n: int = 20000, **options) -> Splits:
    from course_lib.data.shapes import make_shapes
    sizes = [n] + 2 * [max(n // 10, 2000)]
    if limit is not None:
        sizes = [min(count, limit) for count in sizes]
    # seeds far apart, so that splits share no pictures; train is make_shapes(seed=seed)
    return Splits(*(make_shapes(n=count, seed=seed + shift, size=size, split=split, **options)
                    for count, shift, split in zip(sizes, (0, 1_000_000, 2_000_000), SPLITS)))
