"""Differentiable sums and gathers over all ranks; on one rank they return their input.

The library's convention for losses over the *global* batch: every rank computes the loss of the whole batch, and the
backward pass of a gather or sum adds up the gradients of all ranks. A rank's input gradients are then W times the
single-process ones, and DDP's averaging of parameter gradients restores them exactly.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """The number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's rank, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)  # NCCL takes no other
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.rows, x = x.shape[0], x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        start = rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of x over all ranks, in the shape of x; differentiable."""
    return _AllReduce.apply(x) if world_size() > 1 else x


def gather(x: Tensor) -> Tensor:
    """(N, ...) on each rank -> (W*N, ...) on every rank, in rank order; differentiable.

    Every rank must pass the same N (`fit` drops the last partial batch).
    """
    return _AllGather.apply(x) if world_size() > 1 else x
