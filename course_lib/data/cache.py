"""A folder's decoded pictures on disk: written whole or not at all, and checked when read.

One pickle-free file per (folder, size, seed), with the key of the source files. Pictures that fit into memory are an
.npz, where zip adds a checksum per array; others a memory-mapped .pixels file: raw pixels, their fingerprints, the
facts as JSON, and that JSON's length in 8 bytes. Mapped files are checked by key and length only, as a checksum would
have to read everything.
"""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from course_lib.data.photo import PASSING
from course_lib.files import atomic

LENGTH = 8      # bytes of the length at the end of a .pixels file
# uint8 (n, 3, size, size), position -> reason for each skipped file, int64 (n, 3) as `copies.fingerprints` has them
Decoded = tuple[np.ndarray, dict[int, str], np.ndarray]


def cache_file(folder: Path, root: Path, size: int, seed: int) -> Path:
    """The cache file in `folder` for the pictures of `root`."""
    identity = json.dumps([os.path.realpath(root), size, seed])
    digest = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    return folder / f"{digest}-{size}px.npz"


def read_cache(path: Path, key: str) -> Decoded | None:
    """What `write_cache` wrote; None if the source files have changed.

    Raises FileNotFoundError without a cache file, any other error for a damaged one.
    """
    with np.load(path, allow_pickle=False) as stored:
        facts = json.loads(bytes(stored["facts"]))
        if facts["key"] != key:
            return None
        images, prints = stored["images"], stored["prints"]
    if images.dtype != np.uint8 or images.ndim != 4 or prints.shape != (len(images), 3):
        raise ValueError("not images")
    return images, {int(i): reason for i, reason in facts["failures"]}, prints


def write_cache(path: Path, key: str, images: np.ndarray, failures: dict[int, str], prints: np.ndarray) -> None:
    """Write the cache file. Raises WriteError."""
    facts = json.dumps({"key": key, "failures": list(failures.items())}).encode()
    with atomic(path) as file:
        np.savez(file, facts=np.frombuffer(facts, dtype=np.uint8), images=images, prints=prints)


def map_cache(path: Path, key: str, size: int) -> Decoded | None:
    """As `read_cache`, but the pixels stay on disk until used; changes to them do not reach the file."""
    with open(path, "rb") as file:
        end = file.seek(-LENGTH, os.SEEK_END)
        length = int.from_bytes(file.read(LENGTH), "little")
        file.seek(end - length)
        facts = json.loads(file.read(length))
    if facts["key"] != key:
        return None
    shape = (facts["count"], 3, size, size)
    pixels, lines = int(np.prod(shape)), 24 * facts["count"]
    if pixels + lines + length + LENGTH != path.stat().st_size:
        raise ValueError("of another length than its pictures have")
    images = np.memmap(path, np.uint8, "c", shape=shape) if facts["count"] else np.empty(shape, np.uint8)
    prints = np.fromfile(path, np.int64, 3 * facts["count"], offset=pixels).reshape(-1, 3)
    return images, {int(i): reason for i, reason in facts["failures"]}, prints


def stream_cache(path: Path, key: str, decoded: Iterable[Decoded]) -> str:
    """Write pictures as they are decoded, a few at a time, and return the key under which `map_cache` finds them.

    If another attempt may succeed, the key is valid for this run only. Raises WriteError on a full disk; writes through
    a mapped file would kill the process instead.
    """
    count, failures, lines = 0, {}, []
    with atomic(path) as file:
        for images, failed, prints in decoded:
            file.write(np.ascontiguousarray(images).data)
            count += len(images)
            failures |= failed
            lines.append(prints.tobytes())
        if any(reason.startswith(PASSING) for reason in failures.values()):
            key = f"once only: {key}"
        file.write(b"".join(lines))
        facts = json.dumps({"key": key, "count": count, "failures": list(failures.items())}).encode()
        file.write(facts + len(facts).to_bytes(LENGTH, "little"))
    return key

