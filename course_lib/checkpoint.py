"""Checkpoints: written so that a kill at any moment loses nothing, read without running anybody's code."""

from __future__ import annotations

import os
import random
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

FORMAT = 1
MALFORMED = (RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError)  # by unexpected contents


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message says why and what to do."""


@contextmanager
def atomic(path: str | Path):
    """A binary file that appears at `path` whole or not at all: written beside it, flushed to disk, then renamed.

    A process that dies on the way leaves the old file whole; a full disk raises CheckpointError and leaves it whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save hides a full disk in another
        if not isinstance(cause, OSError):
            raise
        raise CheckpointError(
            f"could not write {path} ({cause.strerror}); what was there before is untouched. "
            "Free some disk space or choose another folder with --out.") from error
    finally:
        temporary.unlink(missing_ok=True)
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # of a process that was killed while writing
        left.unlink(missing_ok=True)


def save(path: str | Path, state: dict) -> Path:
    """Write `state` to `path` atomically (see `atomic`)."""
    with atomic(path) as file:
        torch.save({"format": FORMAT, **state}, file)
    return Path(path)


def write_text(path: str | Path, text: str) -> None:
    """Write a small text file atomically, UTF-8."""
    with atomic(path) as file:
        file.write(text.encode("utf-8"))


def load(path: str | Path) -> dict:
    """Read a checkpoint with `weights_only=True`: tensors and plain values, never code; its checksums must match.

    Raises FileNotFoundError where there is none, CheckpointError where it cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}; train one first, or give the path of a last.pt")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums that it wrote
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} is not a readable checkpoint ({type(error).__name__}): it may be cut short "
                              "or of another program. Delete it, or resume from another one.") from error
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"{path} is a file of tensors but not a checkpoint of this course's `fit`")
    if not isinstance(state["format"], int):
        raise CheckpointError(f"{path} has a 'format' of another program, {state['format']!r}")
    if state["format"] > FORMAT:
        raise CheckpointError(f"{path} has format {state['format']}, this version reads up to {FORMAT}: update it")
    return state


def load_method(path: str | Path) -> torch.nn.Module:
    """The trained method of a checkpoint of `fit`, built again from its settings, in evaluation mode."""
    from .methods import build_method

    state = load(path)
    settings = state.get("settings") or {}
    if not isinstance(settings, dict) or not settings.get("backbone"):
        raise CheckpointError(f"{path} does not say how its method was built (it was made from a backbone object): "
                              "build it yourself and load state['method'] into it")
    try:
        method = build_method(settings["method"], settings["backbone"], settings["image_size"],
                              backbone_options=settings["backbone_options"], **settings["options"])
        method.load_state_dict(state["method"])
    except MALFORMED as error:
        raise CheckpointError(f"{path} does not fit the method that it names, {settings.get('method')!r}: it may be of "
                              f"another version of the course ({type(error).__name__}: {error})") from error
    return method.eval()


def save_small(path: str | Path, method: torch.nn.Module) -> Path:
    """A trained method alone, its weights as float16: for `load_method`, not to resume. Stored with lessons (<= 3 MB).

    ValueError for a method that was not made by `build_method` from a backbone's name.
    """
    settings = getattr(method, "settings", {})
    if not settings.get("backbone"):
        raise ValueError("only a method that build_method made from a backbone's name can be built again: give a name")
    weights = {name: t.detach().cpu().half() if t.is_floating_point() else t.detach().cpu()
               for name, t in method.state_dict().items()}
    return save(path, dict(name=type(method).__name__, method=weights, settings=settings))


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
