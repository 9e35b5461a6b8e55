"""Random numbers: a generator for a seed, and the state of all global generators."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch

from course_lib.precision import check_positive

T = TypeVar("T")


def generator(seed: int = 0) -> torch.Generator:
    """A new CPU generator: the same numbers for a seed on every machine."""
    return torch.Generator().manual_seed(seed)


def mix(*numbers: int) -> int:
    """A 63-bit seed from several integers, so that neighbouring steps have unrelated streams."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 31) * 0x94D049BB133111EB % 2**64
    return state >> 1


def dealt(names: Iterable[str], things: Sequence[T], seed: int) -> dict[str, T]:
    """name -> thing, dealt at random: for a hunt in a notebook, whose code must not say who has what."""
    order = torch.randperm(len(things), generator=generator(seed)).tolist()
    return {name: things[number] for name, number in zip(names, order, strict=True)}


def beta(alpha: float, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Draws from Beta(alpha, alpha), float32 of that shape on the CPU; torch's own takes no generator.

    ValueError for an alpha that is not above 0.
    """
    check_positive("alpha", alpha)
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    return torch.as_tensor(np.random.default_rng(seed).beta(alpha, alpha, shape), dtype=torch.float32)


def rng_state(device: torch.device) -> dict:
    """The state of every global random number generator: Python, NumPy, torch and the device."""
    numpy_state = np.random.get_state()
    assert isinstance(numpy_state, tuple)  # the default, legacy=True
    kind, keys, position, has_gauss, gauss = numpy_state
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
    """Restore what `rng_state` returned; a device's state only on the same kind of device."""
    torch.set_rng_state(state["torch"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    if not 0 <= position <= len(keys):  # NumPy would read beyond them
        raise ValueError(f"a generator cannot stand at {position} of {len(keys)} keys")
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    if device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])
