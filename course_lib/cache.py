"""The decoded pictures of a folder, kept on disk: whole or not at all, and never believed without a check.

One file without pickles for each (folder, size, seed); beside the pixels it has the key of the files that
they were made of. What fits into memory is an .npz, whose zip format carries a checksum of each array. What
does not is a .pixels file that is mapped: the pixels as they lie in memory, then the facts as JSON, then the
length of that JSON in 8 bytes. (A mapped file is checked by key and length: a checksum would have to read it all.)
"""
from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .photo import PASSING

LENGTH = 8      # bytes of the number at the end of a .pixels file


def cache_file(folder: Path, root: Path, size: int, seed: int) -> Path:
    """Where the pictures of `root` are kept under `folder`."""
    identity = json.dumps([os.path.realpath(root), size, seed])
    digest = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    return folder / f"{digest}-{size}px.npz"


def read_cache(path: Path, key: str) -> tuple[np.ndarray, dict[int, str]] | None:
    """uint8 (N, 3, size, size) and position -> reason of the files left out; None where it is of other files.

    Raises FileNotFoundError where there is none, and any other error where the file is damaged.
    """
    with np.load(path, allow_pickle=False) as stored:
        facts = json.loads(bytes(stored["facts"]))
        if facts["key"] != key:
            return None
        images = stored["images"]
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError("not images")
    return images, {int(i): reason for i, reason in facts["failures"]}


def write_cache(path: Path, key: str, images: np.ndarray, failures: dict[int, str]) -> None:
    """Written beside its place, then renamed. Raises OSError where that cannot be done."""
    facts = json.dumps({"key": key, "failures": list(failures.items())}).encode()
    with _replaced(path) as file:
        np.savez(file, facts=np.frombuffer(facts, dtype=np.uint8), images=images)


def map_cache(path: Path, key: str, size: int) -> tuple[np.ndarray, dict[int, str]] | None:
    """As `read_cache`, but the pixels stay on disk until they are looked at; changing them does not change the file."""
    with open(path, "rb") as file:
        end = file.seek(-LENGTH, os.SEEK_END)
        length = int.from_bytes(file.read(LENGTH), "little")
        file.seek(end - length)
        facts = json.loads(file.read(length))
    if facts["key"] != key:
        return None
    shape = (facts["count"], 3, size, size)
    if int(np.prod(shape)) + length + LENGTH != path.stat().st_size:
        raise ValueError("of another length than its pictures have")
    images = np.memmap(path, np.uint8, "c", shape=shape) if facts["count"] else np.empty(shape, np.uint8)
    return images, {int(i): reason for i, reason in facts["failures"]}


def stream_cache(path: Path, key: str, decoded: Iterable[tuple[np.ndarray, dict[int, str]]]) -> str:
    """Write pictures as they are decoded, a few at a time, and return the key by which `map_cache` finds them.

    decoded gives uint8 (n, 3, size, size), and position -> reason of what could not be read; where another attempt
    may read it, the key is another one, for this time only. Raises OSError where there is no room (plain writes can
    say so: a full disk below a mapped file would kill the process).
    """
    count, failures = 0, {}
    with _replaced(path) as file:
        for images, failed in decoded:
            file.write(np.ascontiguousarray(images))
            count += len(images)
            failures |= failed
        if any(reason.startswith(PASSING) for reason in failures.values()):
            key = f"once only: {key}"
        facts = json.dumps({"key": key, "count": count, "failures": list(failures.items())}).encode()
        file.write(facts + len(facts).to_bytes(LENGTH, "little"))
    return key


@contextmanager
def _replaced(path: Path):
    """A binary file that replaces the one at `path` when it is whole."""
    part = path.with_name(f"{path.stem}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for old in path.parent.glob(f"{path.stem}.*.part"):     # left by a process that was killed
            if time.time() - old.stat().st_mtime > 3600:
                old.unlink(missing_ok=True)
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
