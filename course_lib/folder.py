"""A folder of your own photographs as train, validation and test sets.

Layouts, recognised by themselves:
- `train/`, `val/` (or `validation/`), `test/`, each with one sub-folder per class, or with pictures only.
  Where validation or test is missing, 10 % of train become it. `unlabelled/` beside them is a set of its own.
- one sub-folder per class: 80 % train, 10 % validation, 10 % test.
- pictures only (or one single sub-folder): the same, without labels.
A picture's split is a hash of its name inside the folder, so that it stays where it is when others are added.

JPEG, PNG and WebP are read, and how a file becomes `size` x `size` pixels is told in `course_lib.photo`. What
cannot be read is left out and named in one summary.
"""
from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import unicodedata
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .cache import cache_file, read_cache, write_cache
from .data import SPLITS, DataError, ImageSet, Splits, data_root
from .photo import ENDINGS, PASSING, decode_photo, failure_reason

CACHE_VERSION = 1                   # raise it when the same file would give other pixels
SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
                 "validation": "validation", "test": "test", "testing": "test",
                 "unlabelled": "unlabelled", "unlabeled": "unlabelled"}
QUIET = ("thumbs.db", "desktop.ini", "__macosx")        # left by file managers, as are .names


@dataclass
class FolderReport:
    """What became of the files of a folder.

    found    files with the ending of a JPEG, PNG or WebP file; used: those that became images
    skipped  (relative name, reason) of every file or sub-folder left out
    notes    sentences about the folder as a whole
    cached   the images came from the cache on disk
    """
    path: Path
    found: int = 0
    used: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cached: bool = False

    def summary(self, lines: int = 10) -> str:
        """At most `lines` lines: the counts, the files left out by reason, and the notes."""
        text = [f"{_shown(self.path)}: {self.used:,} of {self.found:,} pictures read"
                + (" (from the cache)" if self.cached else "")
                + (f", {len(self.skipped):,} files left out:" if self.skipped else ".")]
        reasons = Counter(reason for _, reason in self.skipped).most_common()
        for reason, count in reasons:
            names = [_shown(name) for name, why in self.skipped if why == reason][:4]
            rest = f" ... and {count - len(names):,} more" if count > len(names) else ""
            text.append(f"  {reason}: {', '.join(names)}{rest}")
        room = max(lines - len(self.notes), 2)
        if len(text) > room:
            text[room - 1:] = [f"  ... and {len(text) - room + 1} more reasons"]
        return "\n".join((text + self.notes)[:lines])


def load_folder(path: str | os.PathLike, size: int = 32, seed: int = 0, progress: bool = True,
                cache: str | os.PathLike | bool | None = None, workers: int | None = None) -> Splits:
    """The pictures under `path` as Splits of uint8 (N, 3, size, size); layouts and decoding are told above.

    seed      salt of the hash that splits; another one splits another way
    progress  a bar while decoding, and one line at the end; files left out are told in any case
    cache     folder for the decoded pictures (None: `data_root()/folders`; False: no cache). The next call
              takes them from there as long as no file's name, length, time or permission has changed.
    workers   threads that decode (None: one per CPU core)

    Raises DataError where `path` is not a folder or holds no picture that can be read.
    """
    splits, report = read_folder(path, size, seed, progress, cache, workers)
    if progress or report.skipped or report.notes:
        _say(report.summary())
    return splits


def read_folder(path: str | os.PathLike, size: int = 32, seed: int = 0, progress: bool = True,
                cache: str | os.PathLike | bool | None = None,
                workers: int | None = None) -> tuple[Splits, FolderReport]:
    """As `load_folder`, but prints no summary and returns the FolderReport beside the Splits."""
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size is {size!r}; expected a number of pixels, such as 32.")
    root = Path(os.path.abspath(Path(path).expanduser()))
    if not root.is_dir():
        what = "is a file; unpack it if it is an archive, and" if root.exists() else "does not exist;"
        raise DataError(f"{_shown(root)} {what} give the path of a folder with JPEG, PNG or WebP files.")
    report = FolderReport(root)
    files = sorted(_walk(root, report))
    report.found = len(files)
    plan = _plan([name for name, *_ in files], seed, report)
    order = [i for split in SPLITS for i, its in enumerate(plan.splits) if its == split]

    key = hashlib.blake2b(json.dumps([CACHE_VERSION, files]).encode(), digest_size=16).hexdigest()
    folder = data_root() / "folders" if cache in (None, True) else Path(cache).expanduser() if cache else None
    found = None if folder is None else _recall(cache_file(folder, root, size, seed), key, report)
    if found is None:
        images, failures = _decode_all(root, [files[i] for i in order], size, progress, workers)
        passing = any(reason.startswith(PASSING) for reason in failures.values())
        if folder is not None and len(images) and not passing:
            _keep(cache_file(folder, root, size, seed), key, images, failures, report)
    else:
        images, failures, report.cached = *found, True
    report.skipped += [(files[order[j]][0], reason) for j, reason in failures.items()]
    report.skipped.sort()
    report.used = len(images)
    if not len(images):
        endings = Counter(Path(name).suffix.lower() or "no ending" for name, _ in report.skipped)
        listing = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(6)) or "no files"
        raise DataError(
            f"No picture could be read from {_shown(root)}. Looked for JPEG, PNG and WebP files "
            f"({' '.join(ENDINGS)}) in it, in one sub-folder per class, and in train/, validation/ and test/ "
            f"with such sub-folders. Left out: {listing}.\n{report.summary()}")
    order = [i for j, i in enumerate(order) if j not in failures]
    return _assemble(images, order, [name for name, *_ in files], plan, report), report


def _walk(root: Path, report: FolderReport) -> list[tuple[str, int, int, int]]:
    """(relative name with /, bytes, time in ns, permission) of all files that may be pictures."""
    files: list[tuple[str, int, int, int]] = []

    def visit(folder: str, prefix: str, above: tuple[str, ...]) -> None:
        real = os.path.realpath(folder)
        if real in above:
            report.skipped.append((prefix.rstrip("/"), "a link to a folder above it"))
            return
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            report.skipped.append((prefix.rstrip("/") or ".", f"folder cannot be opened ({error.strerror})"))
            return
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith(".") or entry.name.lower() in QUIET:
                continue
            try:
                facts = entry.stat()
            except OSError:
                report.skipped.append((name, "broken link" if entry.is_symlink() else "cannot be opened"))
                continue
            if stat.S_ISDIR(facts.st_mode):
                visit(entry.path, name + "/", (*above, real))
            elif not name.lower().endswith(ENDINGS):
                report.skipped.append((name, "not a JPEG, PNG or WebP file"))
            elif not stat.S_ISREG(facts.st_mode):
                report.skipped.append((name, "not a regular file"))
            else:
                files.append((name, facts.st_size, facts.st_mtime_ns, stat.S_IMODE(facts.st_mode)))

    visit(str(root), "", ())
    return files


@dataclass
class _Plan:
    splits: list[str]           # of each file; "" where it is left out
    groups: list[str]           # its class; "" where its split has no labels
    classes: tuple[str, ...]


def _plan(names: list[str], seed: int, report: FolderReport) -> _Plan:
    """Split and class of every file, from the names alone."""
    tops = {name.split("/")[0] for name in names if "/" in name}
    given = {top: SPLIT_FOLDERS[top.lower()] for top in tops if top.lower() in SPLIT_FOLDERS}
    if given and "train" not in given.values():
        report.notes.append("There is no train/ folder, so these are read as classes: "
                            + ", ".join(sorted(given)))
        given = {}
    parts = []                              # (split folder's split or "", name inside it)
    for name in names:
        top, _, inside = name.partition("/")
        parts.append((given[top], inside) if top in given and inside else ("", name))
    labelled, lone = {}, {}
    for origin in set(given.values()) or {""}:
        inside = [rest for split, rest in parts if split == origin]
        found = {rest.split("/")[0] for rest in inside if "/" in rest}
        labelled[origin] = bool(found) and origin != "unlabelled"
        if not given and len(found) == 1 and all("/" in rest for rest in inside):
            labelled[origin], lone = False, found
    if lone:
        report.notes.append(f"There is one sub-folder only ({_shown(*lone)}), so nothing to tell apart: read "
                            "without labels. If the classes are inside it, give its path.")
    missing = {"validation", "test"} - set(given.values())
    splits, groups = [], []
    for name, (origin, rest) in zip(names, parts):
        group = rest.split("/")[0] if "/" in rest and labelled.get(origin) else ""
        reason = ""
        if given and not origin:
            reason = "beside train/, not inside it"
        elif labelled.get(origin) and not group:
            reason = "beside the class folders, not inside one"
        if reason:
            report.skipped.append((name, reason))
        splits.append("" if reason else _split(rest, origin, missing, seed))
        groups.append(group)
    for split in ("validation", "test"):
        strange = ({group for s, group in zip(splits, groups) if s == split and group}
                   - {group for s, group in zip(splits, groups) if s == "train"})
        if strange and labelled.get("train" if given else ""):
            some = ", ".join(_shown(group) for group in sorted(strange)[:5])
            report.notes.append(f"{len(strange)} classes have pictures in {split} and none in train: {some}"
                                + (", ..." if len(strange) > 5 else ""))
    if len({labelled[split] for split in labelled if split != "unlabelled"}) > 1:
        report.notes.append("No labels (no class folders) in: "
                            + ", ".join(sorted(s for s in labelled if not labelled[s] and s != "unlabelled")))
    return _Plan(splits, groups, tuple(sorted(set(groups) - {""})))


def _split(name: str, origin: str, missing: set[str], seed: int) -> str:
    """Stable under adding files, under moving the folder, and under how the system writes accents (NFC)."""
    if origin not in ("", "train"):
        return origin
    text = f"{seed}\0{unicodedata.normalize('NFC', name)}".encode("utf-8", "surrogateescape")
    place = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2 ** 64
    split = "train" if place < 0.8 else "validation" if place < 0.9 else "test"
    return split if split in missing else "train"


def _decode_all(root: Path, files: list[tuple], size: int, progress: bool,
                workers: int | None) -> tuple[np.ndarray, dict[int, str]]:
    """uint8 (N, 3, size, size) of the files that can be read, and position -> reason for the others."""
    from tqdm.auto import tqdm
    need = len(files) * 3 * size * size
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):       # not told by this system
        memory = float("inf")
    try:
        if need > memory:
            raise MemoryError
        images = np.empty((len(files), 3, size, size), dtype=np.uint8)
    except MemoryError:
        raise DataError(f"{len(files):,} pictures of {size}x{size} need {need / 1e9:.1f} GB of memory, more "
                        "than this machine has. Ask for a smaller size or give a smaller folder.") from None
    failures: dict[int, str] = {}

    def decode(start: int) -> int:
        end = min(start + 64, len(files))
        for i in range(start, end):
            if files[i][1] == 0:
                failures[i] = "empty file"
                continue
            try:
                images[i] = decode_photo(root / files[i][0], size).transpose(2, 0, 1)
            except Exception as error:      # whatever a broken file makes a decoder raise: go on with others
                failures[i] = failure_reason(error)
        return end - start

    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(max(1, min(workers, 32)))
    try:
        with warnings.catch_warnings(), tqdm(total=len(files), desc="Reading pictures", unit=" images",
                                             disable=not progress) as bar:
            warnings.simplefilter("ignore")         # Pillow's, about single files
            for count in pool.map(decode, range(0, len(files), 64)):
                bar.update(count)
    finally:
        pool.shutdown(cancel_futures=True)          # at once when interrupted
    kept = min(failures, default=len(files))
    for i in range(kept, len(files)):       # closed up in place: a copy would take the memory twice
        if i not in failures:
            images[kept] = images[i]
            kept += 1
    return images[:kept], dict(sorted(failures.items()))


def _recall(path: Path, key: str, report: FolderReport) -> tuple[np.ndarray, dict[int, str]] | None:
    try:
        return read_cache(path, key)
    except FileNotFoundError:
        return None
    except Exception:       # damaged in whatever way: it is only a copy
        report.notes.append("The cache of this folder was damaged; it is made again.")
        return None


def _keep(path: Path, key: str, images: np.ndarray, failures: dict[int, str], report: FolderReport) -> None:
    try:
        write_cache(path, key, images, failures)
    except OSError as error:
        report.notes.append(f"The decoded pictures could not be kept in {_shown(path.parent)} "
                            f"({error.strerror}); they will be decoded again next time.")


def _assemble(images: np.ndarray, order: list[int], names: list[str], plan: _Plan,
              report: FolderReport) -> Splits:
    index = {group: i for i, group in enumerate(plan.classes)}
    tensor, sets, start = torch.from_numpy(images), {}, 0
    for split in SPLITS:
        members = [i for i in order if plan.splits[i] == split]
        groups = [plan.groups[i] for i in members]
        labels = torch.tensor([index[group] for group in groups], dtype=torch.int64) if all(groups) else None
        sets[split] = ImageSet(
            tensor[start:start + len(members)], labels if plan.classes else None,
            plan.classes if labels is not None else (), name=report.path.name, split=split,
            names=tuple(names[i] for i in members))
        start += len(members)
        if not members and split != "unlabelled":
            report.notes.append(f"No picture fell to {split}: the folder has too few.")
    return Splits(sets["train"], sets["validation"], sets["test"],
                  sets["unlabelled"] if len(sets["unlabelled"]) else None)


def _shown(name: str | os.PathLike) -> str:
    """A file name that any terminal can print."""
    text = os.fspath(name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)


def _say(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
