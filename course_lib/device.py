"""Which device and which precision: chosen once, said aloud."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from functools import lru_cache

import torch


def pick_device(name: str = "auto") -> torch.device:
    """"auto": CUDA, else Apple's MPS, else the CPU; under torchrun the rank's own GPU."""
    if name != "auto":
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise ValueError(f"unknown device {name!r}: choose auto, cpu, cuda or mps") from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError("device 'cuda' was asked for, but torch sees no CUDA GPU; use 'auto' or 'cpu'")
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise ValueError("device 'mps' was asked for, but torch sees none; use 'auto' or 'cpu'")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX): otherwise it is emulated, and slow."""
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):  # private and differing between versions
        probe = getattr(torch.cpu, name, None)
        try:
            if probe is not None and probe():
                return True
        except Exception:
            continue
    return False


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_precision(device: torch.device, name: str = "auto") -> tuple[torch.dtype, str]:
    """The dtype that autocast uses, and why: bfloat16 where the hardware has it, else float16 (CUDA), else float32."""
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
    """Let glibc keep what a step frees for the next one, up to 1 GB; False where the C library is another.

    As it comes, it gives large blocks back to the system, and a small network on a CPU waits for thousands of new pages in
    every step. Holds for the whole process.
    """
    trim_threshold, mmap_threshold = -1, -3  # names in malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(mmap_threshold, 32 * 2**20)) and bool(mallopt(trim_threshold, 2**30))


def compiled(run: Callable) -> Callable:
    """torch.compile(run); where that fails at its first call, `run` itself from then on, with a warning that says why.

    It needs a C++ compiler on a CPU and Triton on a GPU, and does not know every version of Python.
    """
    chosen: list[Callable] = []

    def call(*arguments):
        if chosen:
            return chosen[0](*arguments)
        try:
            chosen.append(torch.compile(run))
            return chosen[0](*arguments)
        except Exception as error:
            result = run(*arguments)  # an error of `run` itself ends here: it has nothing to do with compiling
            chosen[:] = [run]
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            warnings.warn(f"torch.compile does not work here, so the run goes on without it ({reason.strip()})", stacklevel=2)
            return result

    return call
