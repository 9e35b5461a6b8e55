"""Sums and rows of all ranks, differentiable; on one rank they change nothing.

Convention of the whole library, for losses over the *global* batch: every rank computes the loss of the
global batch, and the backward of a gather or reduction sums the gradients of all ranks. The gradient of a rank's
inputs is then W times the single-process one, and DDP's averaging of parameter gradients makes them exactly equal.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of ranks: 1 unless a process group of several ranks is running."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
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
        ctx.rows = x.shape[0]
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        start = rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def all_reduce_sum(x: Tensor) -> Tensor:
    """Sum of x over ranks, same shape; differentiable. The identity on one rank."""
    return _AllReduce.apply(x) if world_size() > 1 else x


def gather(x: Tensor) -> Tensor:
    """(N, ...) on each rank -> (W*N, ...) on every rank, in rank order; differentiable. The identity on one rank.

    Every rank must bring the same N (`fit` drops the last partial batch).
    """
    return _AllGather.apply(x) if world_size() > 1 else x
