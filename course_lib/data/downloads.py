"""CIFAR-10, STL-10 and Fashion-MNIST from torchvision, as Splits.

Downloads go to `data_root()/<set>` once and are verified against torchvision's checksums; an interrupted one starts
again. (CIFAR-10 comes as Python pickles, which could run code: torchvision checks each before opening it.)
"""
from __future__ import annotations

import contextlib
import errno
import io
import socket
import warnings
import zlib
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError

import numpy as np
import torch
import torchvision.datasets as sets
from torch import Tensor

from course_lib.data.images import DataError, ImageSet, Splits, draw

VALIDATION_SEED = 0     # fixed, so that no training seed moves an image from train to validation

# our name -> (torchvision's class, title, folder of the unpacked files, size of the download)
FACTS = {
    "cifar10": ("CIFAR10", "CIFAR-10", "cifar-10-batches-py", "170 MB"),
    "stl10": ("STL10", "STL-10", "stl10_binary", "2.6 GB"),
    "fashion-mnist": ("FashionMNIST", "Fashion-MNIST", "FashionMNIST/raw", "31 MB"),
}


def home_of(name: str, root: Path) -> Path:
    """root/<set>, or root itself if torchvision has already put the set there."""
    kind, _, folder, _ = FACTS[name]
    cls = getattr(sets, kind)
    files = ([file[:-3] for file, _ in cls.resources] if name == "fashion-mnist"
             else [file for file, _ in cls.train_list + cls.test_list])
    for home in (root / name, root):
        if all((home / folder / file).is_file() for file in files):
            return home
    return root / name


def load_torchvision(name: str, root: Path, *, size: int | None = None, seed: int = 0,
                     limit: int | None = None, progress: bool = True, unlabelled: bool = True) -> Splits:
    """"cifar10", "stl10" or "fashion-mnist" as Splits; the arguments are those of `load`.

    `names` are like "train/frog/00017": the set's own split, the class, and the position in that split.
    Raises DataError if the files are missing and cannot be downloaded.
    """
    folder = FACTS[name][2]
    home, extra = home_of(name, root), None
    if name == "stl10":
        # torchvision would verify all 2.9 GB again for each part, so the other parts are read here
        test = _construct(name, home, progress, split="test")
        classes, test_x, test_y = test.classes, test.data, test.labels
        train_x, extra = (_stl10_pixels(home / folder / file) for file in ("train_X.bin", "unlabeled_X.bin"))
        train_y = np.fromfile(home / folder / "train_y.bin", dtype=np.uint8) - 1
        extra = extra if unlabelled else None
    else:
        train, test = (_construct(name, home, progress, train=flag) for flag in (True, False))
        classes, train_y, test_y = train.classes, train.targets, test.targets
        if name == "cifar10":
            train_x, test_x = (part.data.transpose(0, 3, 1, 2) for part in (train, test))
        else:
            edge = 0 if size == 28 else 2
            train_x, test_x = (_grey_pixels(part.data.numpy(), edge) for part in (train, test))

    def subset(pixels, labels, index: Tensor, origin: str, split: str) -> ImageSet:
        index = index[draw(len(index), limit, seed)]
        labels = None if labels is None else torch.as_tensor(np.asarray(labels), dtype=torch.int64)[index]
        groups = ([""] * len(index) if labels is None
                  else [classes[label].replace("/", "-") + "/" for label in labels.tolist()])
        names = tuple(f"{origin}/{group}{i:05d}" for group, i in zip(groups, index.tolist()))
        return ImageSet(_pack(pixels, index, size), labels, () if labels is None else tuple(classes),
                        name=name, split=split, names=names)

    order = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(VALIDATION_SEED))
    held_out, kept = (part.sort().values for part in order.tensor_split([len(order) // 10]))
    return Splits(subset(train_x, train_y, kept, "train", "train"),
                  subset(train_x, train_y, held_out, "train", "validation"),
                  subset(test_x, test_y, torch.arange(len(test_x)), "test", "test"),
                  None if extra is None
                  else subset(extra, None, torch.arange(len(extra)), "unlabelled", "unlabelled"))


def _stl10_pixels(path: Path) -> np.ndarray:
    # stored column by column; mapped, so that the unlabelled 2.8 GB are never in memory twice
    return np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)


def _grey_pixels(grey: np.ndarray, edge: int) -> np.ndarray:
    grey = np.pad(grey, ((0, 0), (edge, edge), (edge, edge)))
    return np.broadcast_to(grey[:, None], (len(grey), 3, *grey.shape[1:]))


def _pack(pixels: np.ndarray, index: Tensor, size: int | None) -> Tensor:
    """uint8 array (N, 3, H, W), possibly mapped or strided -> uint8 tensor of the images at `index`."""
    from torchvision.transforms.v2.functional import resize
    side: int = size or pixels.shape[-1]
    out = torch.empty(len(index), 3, side, side, dtype=torch.uint8)
    for start in range(0, len(index), 1024):
        chunk = torch.from_numpy(np.ascontiguousarray(pixels[index[start:start + 1024].numpy()]))
        if side != chunk.shape[-1]:
            chunk = resize(chunk, [side, side], antialias=True)
        out[start:start + 1024] = chunk
    return out


def _construct(name: str, home: Path, progress: bool, **arguments):
    """torchvision's data set, downloaded if missing or damaged; DataError says how to do it by hand."""
    kind, title, folder, weight = FACTS[name]
    cls, timeout, quiet = getattr(sets, kind), socket.getdefaulttimeout(), io.StringIO()
    try:
        if name == "fashion-mnist":
            _remove_truncated(home / folder)
        socket.setdefaulttimeout(30)        # torchvision sets none and would hang on a dead network
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), \
                contextlib.nullcontext() if progress else contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")     # NumPy's, about the dtype in CIFAR-10's old pickles
            return cls(home, download=True, **arguments)
    except (OSError, RuntimeError, EOFError, HTTPException, TarError, zlib.error) as error:
        if name == "fashion-mnist":
            source, place = cls.mirrors[0], home / folder
            what = "the files " + ", ".join(file for file, _ in cls.resources)
        else:
            source, place, what = cls.url, home, f"the file {cls.filename} (md5 {cls.tgz_md5})"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        again = "Try again once you are online"
        if isinstance(error, PermissionError) or getattr(error, "errno", None) in (errno.EROFS, errno.ENOSPC):
            again = "Choose another folder with --data-root or $COURSE_DATA"
        raise DataError(
            f"{title} is not in {home} and could not be downloaded ({reason}). {again}, or "
            f"get {what}, {weight}, from {source} and put it, still packed, into {place}: the next start "
            "checks and unpacks it. The data set shapes needs no download.") from error
    finally:
        socket.setdefaulttimeout(timeout)


def _remove_truncated(folder: Path) -> None:
    """Remove unpacked idx files of the wrong length, for which torchvision has no checksum."""
    for path in folder.glob("*-ubyte"):
        with path.open("rb") as file:
            head = file.read(16)
        axes = head[3] if len(head) > 3 else 99
        shape = np.frombuffer(head[4:4 + 4 * axes], dtype=">u4") if len(head) >= 4 + 4 * axes else None
        if shape is None or path.stat().st_size != 4 + 4 * axes + int(np.prod(shape, dtype=np.int64)):
            path.unlink()
