"""Choosing the device and the precision; what a device can do."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import torch

UNKNOWN = "unknown device {!r}: choose auto, cpu, cuda or mps"


def pick_device(name: str = "auto") -> torch.device:
    """CUDA for "auto", else Apple's MPS, else the CPU; under torchrun the rank's own GPU.

    Raises ValueError for an unknown or missing device.
    """
    if name != "auto":
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise ValueError(UNKNOWN.format(name)) from error
        if device.type not in ("cpu", "cuda", "mps"):
            raise ValueError(UNKNOWN.format(name))
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError("device 'cuda' was asked for, but torch sees no CUDA GPU; use 'auto' or 'cpu'")
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise ValueError(f"device {name!r} was asked for, but the last that torch sees is 'cuda:"
                             f"{torch.cuda.device_count() - 1}'; use 'auto' or a lower number")
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise ValueError("device 'mps' was asked for, but torch sees none; use 'auto' or 'cpu'")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX) rather than in slow emulation."""
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):  # private; they differ between versions
        probe = getattr(torch.cpu, name, None)
        try:
            if probe is not None and probe():
                return True
        except Exception:
            continue
    return False


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_precision(device: torch.device, name: str = "auto") -> tuple[torch.dtype, str]:
    """The dtype for autocast and the reason: bfloat16 where the hardware has it, else float16 (CUDA), else float32."""
    if name != "auto":
        if name not in PRECISIONS:
            raise ValueError(f"unknown precision {name!r}: choose auto, {', '.join(PRECISIONS)}")
        return PRECISIONS[name], "asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "the GPU computes bfloat16"
        return torch.float16, "the GPU has no bfloat16; float16 with loss scaling"
    if device.type == "cpu" and cpu_has_bfloat16():
        return torch.bfloat16, "the CPU computes bfloat16"
    return torch.float32, f"no fast half precision on this {device.type}"


@lru_cache
def keep_freed_memory() -> bool:
    """Let glibc keep up to 1 GB of freed memory, for the whole process; False with any other C library.

    By default glibc returns large blocks to the OS, so every step of a small network on a CPU pays for page faults.
    """
    trim_threshold, mmap_threshold = -1, -3  # names in malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(mmap_threshold, 32 * 2**20)) and bool(mallopt(trim_threshold, 2**30))


def compiled(run: Callable) -> Callable:
    """torch.compile(run), replaced by `run` itself, with a warning that says why, if the first call fails.

    Compiling needs a C++ compiler on a CPU or Triton on a GPU, and does not support every version of Python.
    """
    chosen: list[Callable] = []

    def call(*arguments):
        if chosen:
            return chosen[0](*arguments)
        try:
            chosen.append(torch.compile(run))
            return chosen[0](*arguments)
        except Exception as error:
            result = run(*arguments)  # raises if the error is not the compiler's but that of `run`
            chosen[:] = [run]
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            warnings.warn(f"torch.compile does not work here; continuing without it ({reason.strip()})", stacklevel=2)
            return result

    return call


# where Linux says how much memory a container may have, in its two versions of control groups
CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def free_memory(device: torch.device) -> float:
    """A GPU's free bytes; for other devices the total memory of the machine, or of the container, which may have less.

    Infinity if the OS does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows, among others
        return float("inf")
    for limit in CONTAINER:
        with suppress(OSError, ValueError):  # no such file, or "max"
            total = min(total, int(Path(limit).read_text()))
    return total
