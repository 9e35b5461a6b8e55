"""A folder of your own photographs as train, validation and test sets.

Three layouts are recognised:
- `train/`, `val/` (or `validation/`), `test/`, each with one sub-folder per class or with pictures only. A missing
  validation or test set takes 10 % of train. `unlabelled/` next to them is a set of its own.
- one sub-folder per class: 80 % train, 10 % validation, 10 % test.
- pictures only, or a single sub-folder: the same, without labels.
A picture's split is a hash of its name inside the folder, so adding others does not move it. Of exact copies, one
that train has too is left out of validation and test, and one that validation has too out of test (`copies`).

JPEG, PNG and WebP files are read (`course_lib.data.photo` makes them `size` x `size` pixels); unreadable ones are
skipped and listed in one summary. Folders larger than memory are decoded into a file on disk and used from there
(`stream`).
"""
from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from course_lib.data.cache import Decoded, cache_file, map_cache, read_cache, stream_cache, write_cache
from course_lib.data.copies import fingerprints, leave_out_copies
from course_lib.data.images import SPLITS, DataError, ImageSet, Splits
from course_lib.data.photo import ENDINGS, PASSING, bits_used, decode_photo, failure_reason
from course_lib.data.splits import FolderReport, Plan, dark_note, plan_splits, shown, walk
from course_lib.device import free_memory
from course_lib.files import WriteError, data_root

CACHE_VERSION = 2                   # increase it when the same file would give other pixels
CHUNK = 64                          # pictures per decoding task


def load_folder(path: str | os.PathLike, size: int = 32, seed: int = 0, progress: bool = True,
                cache: str | os.PathLike | bool | None = None, workers: int | None = None,
                stream: bool | None = None, depth: int = 16) -> Splits:
    """The pictures under `path` as Splits of uint8 (N, 3, size, size); see above for layouts.

    seed: salt of the hash that splits. workers: decoding threads (None: one per CPU core).
    progress: show a bar while decoding and one line at the end; skipped files are reported in any case.
    cache: folder for the decoded pictures (None: `data_root()/folders`; False: no cache), valid until a file's name,
    length, time or permission changes.
    stream: leave the decoded pictures in the cache and read them as needed, for folders larger than memory. None: if
    there is a cache and they would take more than half of the memory.
    depth: how many bits the PNG files of 16 bits use; 12 for most scientific cameras.

    Raises DataError if `path` is no folder or has no readable picture.
    """
    splits, report = read_folder(path, size, seed, progress, cache, workers, stream, depth)
    if progress or report.skipped or report.notes:
        _print(report.summary())
    return splits


def read_folder(path: str | os.PathLike, size: int = 32, seed: int = 0, progress: bool = True,
                cache: str | os.PathLike | bool | None = None, workers: int | None = None,
                stream: bool | None = None, depth: int = 16) -> tuple[Splits, FolderReport]:
    """As `load_folder`, but returns the FolderReport as well instead of printing it."""
    if not isinstance(depth, int) or not 8 <= depth <= 16:
        raise ValueError(f"depth is {depth!r}; expected the bits that 16-bit files use, from 8 to 16, such as 12.")
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size is {size!r}; expected a number of pixels, such as 32.")
    root = Path(os.path.abspath(Path(path).expanduser()))
    if not root.is_dir():
        what = "is a file; unpack it if it is an archive, and" if root.exists() else "does not exist;"
        raise DataError(f"{shown(root)} {what} give the path of a folder with JPEG, PNG or WebP files.")
    report = FolderReport(root)
    files = sorted(walk(root, report))
    report.found = len(files)
    plan = plan_splits([name for name, *_ in files], seed, report)
    order = [i for split in SPLITS for i, its in enumerate(plan.splits) if its == split]

    key = hashlib.blake2b(json.dumps([CACHE_VERSION, depth, files]).encode(), digest_size=16).hexdigest()
    folder = data_root() / "folders" if cache in (None, True) else Path(cache).expanduser() if cache else None
    chosen = [files[i] for i in order]
    if stream is None:
        stream = folder is not None and len(chosen) * 3 * size * size > free_memory(torch.device("cpu")) / 2
    how: dict = dict(progress=progress, workers=workers, depth=depth)
    load = _streamed if stream else _in_memory
    images, failures, prints = load(folder, root, chosen, key, size, seed, report, how)
    report.skipped += [(files[order[j]][0], reason) for j, reason in failures.items()]
    if not len(images):
        endings = Counter(Path(name).suffix.lower() or "no ending" for name, _ in report.skipped)
        listing = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(6)) or "no files"
        raise DataError(
            f"No picture could be read from {shown(root)}. Looked for JPEG, PNG and WebP files "
            f"({' '.join(ENDINGS)}) in it, in one sub-folder per class, and in train/, validation/ and test/ "
            f"with such sub-folders. Left out: {listing}.\n{report.summary()}")
    order = [i for j, i in enumerate(order) if j not in failures]
    names, placed = [files[i][0] for i in order], [(plan.splits[i], plan.groups[i]) for i in order]
    report.notes += dark_note(prints[:, 2].tolist(), names)
    out = leave_out_copies(images, prints, names, placed, report)
    report.skipped.sort()
    report.used = len(images) - len(out)
    return _assemble(images, order, out, [name for name, *_ in files], plan, report), report


def _in_memory(folder: Path | None, root: Path, files: list[tuple], key: str, size: int, seed: int,
               report: FolderReport, how: dict) -> Decoded:
    """uint8 (N, 3, size, size) of the files that can be read, cached or decoded; position -> reason for the others;
    int64 (N, 3) fingerprints."""
    path = None if folder is None else cache_file(folder, root, size, seed)
    found = None if path is None else _load_cache(lambda: read_cache(path, key), report)
    if found is not None:
        report.cached = True
        return found
    need = len(files) * 3 * size * size
    try:
        if need > free_memory(torch.device("cpu")):
            raise MemoryError
        images = np.empty((len(files), 3, size, size), dtype=np.uint8)
    except MemoryError:
        report.skipped.sort()
        raise DataError(f"{len(files):,} pictures of {size}x{size} need {need / 1e9:.1f} GB of memory, more "
                        "than this machine has. Ask for a smaller size, give a smaller folder, or leave them on disk "
                        "(stream=True, with a cache).") from None
    prints = np.empty((len(files), 3), dtype=np.int64)
    count, failures = 0, {}
    for pixels, failed, lines in _decoded(root, files, size, **how):
        images[count:count + len(pixels)], prints[count:count + len(pixels)] = pixels, lines
        count += len(pixels)
        failures |= failed
    images, prints = images[:count], prints[:count]
    if path is not None and count and not any(reason.startswith(PASSING) for reason in failures.values()):
        _save_cache(path, key, (images, failures, prints), report)
    return images, failures, prints


def _streamed(folder: Path | None, root: Path, files: list[tuple], key: str, size: int, seed: int,
              report: FolderReport, how: dict) -> Decoded:
    """As `_in_memory`, but the pictures stay in the memory-mapped cache file."""
    if folder is None:
        raise DataError("Pictures that are streamed lie in the cache: stream=True and cache=False do not go together.")
    path = cache_file(folder, root, size, seed).with_suffix(".pixels")
    found = _load_cache(lambda: map_cache(path, key, size), report)
    report.cached = found is not None
    try:
        if found is None:
            key = stream_cache(path, key, _decoded(root, files, size, **how))
            found = map_cache(path, key, size)
    except WriteError as error:
        raise DataError(f"The decoded pictures, {len(files) * 3 * size * size / 1e9:.1f} GB, could not be written into "
                        f"{shown(folder)} ({error.reason}). Free some space or give another place "
                        "(cache=, --data-root), or a smaller size.") from error
    assert found is not None, "the file just written has this key"
    return found


def _decoded(root: Path, files: list[tuple], size: int, progress: bool, workers: int | None,
             depth: int) -> Iterator[Decoded]:
    """As `_in_memory`, in the files' order, a chunk at a time."""
    from tqdm.auto import tqdm

    options = {} if depth == 16 else {"depth": depth}

    def decode(start: int) -> Decoded:
        pixels, failures = np.empty((min(CHUNK, len(files) - start), 3, size, size), dtype=np.uint8), {}
        bits = []
        for i in range(start, start + len(pixels)):
            if files[i][1] == 0:
                failures[i] = "empty file"
                continue
            try:
                photo = decode_photo(root / files[i][0], size, **options)
                pixels[i - start - len(failures)] = photo.transpose(2, 0, 1)
                bits.append(bits_used(root / files[i][0], photo) if depth == 16 else 0)
            except Exception as error:      # a broken file may make a decoder raise anything
                failures[i] = failure_reason(error)
        pixels = pixels[:len(pixels) - len(failures)]
        prints = fingerprints(pixels)
        prints[:, 2] = bits
        return pixels, failures, prints

    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, min(workers, 32))
    pool, starts = ThreadPoolExecutor(workers), iter(range(0, len(files), CHUNK))
    try:
        with warnings.catch_warnings(), tqdm(total=len(files), desc="Reading pictures", unit=" images",
                                             disable=not progress) as bar:
            warnings.simplefilter("ignore")         # Pillow's about single files
            # only a few chunks ahead, as decoded pictures wait in memory
            ahead = deque(pool.submit(decode, start) for start in islice(starts, 4 * workers))
            while ahead:
                pixels, failures, prints = ahead.popleft().result()
                ahead.extend(pool.submit(decode, start) for start in islice(starts, 1))
                bar.update(len(pixels) + len(failures))
                yield pixels, failures, prints
    finally:
        pool.shutdown(cancel_futures=True)          # immediately when interrupted


def _load_cache(read, report: FolderReport) -> Decoded | None:
    try:
        return read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception:       # however it is damaged, it is only a copy
        report.notes.append("The cache of this folder was damaged; it is made again.")
        return None


def _save_cache(path: Path, key: str, decoded: Decoded, report: FolderReport) -> None:
    try:
        write_cache(path, key, *decoded)
    except WriteError as error:
        report.notes.append(f"The decoded pictures could not be kept in {shown(path.parent)} "
                            f"({error.reason}); they will be decoded again next time. Another place: --data-root.")


def _assemble(images: np.ndarray, order: list[int], out: set[int], names: list[str], plan: Plan,
              report: FolderReport) -> Splits:
    index = {group: i for i, group in enumerate(plan.classes)}
    tensor, sets, start = torch.from_numpy(images), {}, 0
    for split in SPLITS:
        places = [j for j, i in enumerate(order) if plan.splits[i] == split]
        kept = [j for j in places if j not in out]
        # the last pictures move into the gaps: of mapped ones only these are read
        gaps = [j for j in places[:len(kept)] if j in out]
        moved = dict(zip(gaps, kept[len(kept) - len(gaps):]))
        images[gaps] = images[list(moved.values())]
        members = [order[moved.get(j, j)] for j in places[:len(kept)]]
        groups = [plan.groups[i] for i in members]
        labels = torch.tensor([index[group] for group in groups], dtype=torch.int64) if all(groups) else None
        sets[split] = ImageSet(
            tensor[start:start + len(members)], labels if plan.classes else None,
            plan.classes if labels is not None else (), name=report.path.name, split=split,
            names=tuple(names[i] for i in members))
        start += len(places)
        if not members and split != "unlabelled":
            report.notes.append(f"No picture fell to {split}: the folder has too few.")
    return Splits(sets["train"], sets["validation"], sets["test"],
                  sets["unlabelled"] if len(sets["unlabelled"]) else None)


def _print(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
