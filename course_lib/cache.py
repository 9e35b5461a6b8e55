"""The decoded pictures of a folder, kept on disk: whole or not at all, and never believed without a check.

One .npz file without pickles for each (folder, size, seed). Beside the pixels it has the key of the files
that they were made of; the zip format carries a checksum of each array.
"""
from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np


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
    part = path.with_name(f"{path.stem}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for old in path.parent.glob(f"{path.stem}.*.part"):     # left by a process that was killed
            if time.time() - old.stat().st_mtime > 3600:
                old.unlink(missing_ok=True)
        with open(part, "wb") as file:
            np.savez(file, facts=np.frombuffer(facts, dtype=np.uint8), images=images)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        if part.exists():
            part.unlink()
