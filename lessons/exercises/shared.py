"""What the exercises of several weeks share: probes of the dtype that is asked for, and a harness of training steps."""
from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def randn(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=dtype)


def rand(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=dtype)


def unit(z: Tensor, dim: int = -1) -> Tensor:
    return F.normalize(z, dim=dim)


def directions(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return unit(randn(generator, dtype, *shape))


def small_network(seed: int, dtype: torch.dtype, *widths: int) -> nn.Module:
    """A linear layer, batch norm, tanh and a linear layer, drawn from a seed of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(widths[0], widths[1], bias=False), nn.BatchNorm1d(widths[1]), nn.Tanh(),
                             nn.Linear(widths[1], widths[2])).to(dtype)


def three_updates(step, network: nn.Module, views: list, settings: Any):
    """The harness: three updates by SGD with momentum; the losses, and the weights after each.

    Not batch norm's running statistics: they depend on which view goes first, and either may.
    """
    network = copy.deepcopy(network).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.5)
    found = {"loss": [], "weights": []}
    for first, second in views:
        got = step(network, optimizer, first.clone(), second.clone(), copy.deepcopy(settings))
        if got is None or got is Ellipsis:
            return got
        got = got["loss"] if isinstance(got, dict) else got
        found["loss"].append(float(got) if isinstance(got, Tensor) and got.numel() == 1 else got)
        found["weights"].append([p.detach().clone() for p in network.parameters()])
    return found
