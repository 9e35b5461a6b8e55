"""Several processes of one run: joining and leaving, checking that they agree, the error when one of them dies."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

from course_lib.collectives import rank, world_size
from course_lib.moved import signpost
from course_lib.train.checkpoint import CheckpointError

__getattr__ = signpost(__name__)  # names the new name of what has been renamed here

# The others notice a rank that dies at once, by its closed connections; for a silent one they wait this long.
SILENCE = timedelta(minutes=10)
RANKS = ("RANK", "LOCAL_RANK", "MASTER_PORT")
LOADING = timedelta(days=1)  # while one process downloads or decodes


class RankLost(RuntimeError):
    """Another rank of the run has died or hangs; the message says how to resume."""


def join(device: str = "auto") -> int:
    """Under torchrun, join the process group (NCCL on GPUs, else gloo); the rank, 0 without torchrun.

    device: as asked of `pick_device`; with "cpu" the GPUs are left alone.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal() or size != "1" and not (
            os.environ.get("MASTER_ADDR") and all(os.environ.get(name, "").isdecimal() for name in RANKS)):
        raise ValueError(f"WORLD_SIZE is {size!r} in the environment, which says that torchrun started this, but "
                         f"MASTER_ADDR and, as numbers, {', '.join(RANKS)} are not all there: start it with "
                         "--processes N, or unset WORLD_SIZE.")
    if size == "1":
        return 0
    gpu, place = torch.cuda.is_available() and device != "cpu", int(os.environ["LOCAL_RANK"])
    if gpu:
        if place >= torch.cuda.device_count():
            raise ValueError(f"process {place + 1} of this machine has no GPU of its own: torch sees "
                             f"{torch.cuda.device_count()}; start at most so many with --processes")
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if gpu else "gloo", timeout=SILENCE)
    return rank()


def leave() -> None:
    """Leave the group that this process joined, if any: gloo's threads should not outlive their process group."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def download_once_per_machine(load: Callable[[bool], Any]) -> Any:
    """load(first) on every rank: first on one process of each machine, which downloads; the others read its files."""
    if world_size() == 1:  # whatever a scheduler left in the environment
        return load(True)
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    waiting: Any = dist.new_group(timeout=LOADING, backend="gloo")
    if not first:
        dist.barrier(waiting)
    loaded = load(first)
    if first:
        dist.barrier(waiting)
    return loaded


def averaging(module: nn.Module, device: torch.device) -> nn.Module:
    """The module, wrapped over several ranks so that backward averages their gradients."""
    if world_size() == 1:
        return module
    with warnings.catch_warnings():  # the new name does something else, and torch 2.6 does not know it
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DDP(module, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False)


def check_same_start(step: int, path: Path | None, device: torch.device) -> None:
    """CheckpointError on every rank, unless all are about to start from the same step."""
    if world_size() == 1:
        return
    steps = torch.tensor([step, -step], device=device)
    dist.all_reduce(steps, dist.ReduceOp.MAX)
    last, first = int(steps[0]), -int(steps[1])
    if first != last:
        raise CheckpointError(f"the ranks would start from different steps, {first} to {last}: not all of them see "
                              f"the same {path}. The out folder must be on a disk that all machines share.")


def is_lost(error: RuntimeError) -> bool:
    """Whether ranks could not reach each other. Only the text tells: gloo raises plain RuntimeErrors."""
    return isinstance(error, dist.DistError) or bool(re.search("gloo|NCCL", str(error)))


def lost(step: int, path: Path | None) -> RankLost:
    """What a surviving rank raises when another one is gone in the middle of a step."""
    kept = "there is no checkpoint: start again"
    if path is not None and path.exists():
        kept = f"the last checkpoint is {path}: go on from it with --resume (resume=True)"
    return RankLost(f"rank {rank()} of {world_size()} stops at step {step + 1}: another rank has died or "
                    f"hangs; its own message, if it left one, says why. Nothing half-done was saved; {kept}, on any "
                    "number of ranks.")
