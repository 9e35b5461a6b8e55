"""Checkpoints: written so that a kill at any moment loses nothing, read without running anybody's code."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import torch

FORMAT = 1


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message says why and what to do."""


def save(path: str | Path, state: dict) -> Path:
    """Write `state` to `path` atomically: a temporary file in the same folder, flushed to disk, then renamed.

    A process that dies on the way leaves the old checkpoint whole; a full disk raises and leaves it whole too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CheckpointError(
            f"could not write the checkpoint {path} ({error.strerror}); the previous one is untouched. "
            "Free some disk space or choose another folder with --out.") from error
    finally:
        temporary.unlink(missing_ok=True)
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # of a process that was killed while writing
        left.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> dict:
    """Read a checkpoint with `weights_only=True`: tensors and plain values, never code."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}; train one first, or give the path of a last.pt")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} is not a readable checkpoint ({type(error).__name__}): it may be cut short "
                              "or of another program. Delete it, or resume from another one.") from error
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"{path} is a file of tensors but not a checkpoint of this course's `fit`")
    if state["format"] > FORMAT:
        raise CheckpointError(f"{path} has format {state['format']}, this version reads up to {FORMAT}: update it")
    return state


def rng_state(device: torch.device) -> dict:
    """The state of every global random number generator: Python, NumPy, torch and the device."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    state = {"torch": torch.get_rng_state(),
             "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
             "python": (version, list(internal), gauss_next)}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: dict, device: torch.device) -> None:
    """Put back what `rng_state` gave; a device's state only where that kind of device is in use again."""
    torch.set_rng_state(state["torch"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    if device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])
