"""What the exercises of several weeks share: probes of the dtype that is asked for, and a harness of training steps."""
from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.models.layers import Queue

QUEUE_WORDS = {
    "['losses']": "the losses of three steps", "['keeps its graph']": "whether the loss keeps its graph",
    "['rows']": "the queue after three steps", "['pointer']": "the queue's pointer",
    "['query']": "the query encoder's weights after three steps",
    "['key']": "the key encoder's weights after three steps",
    "['gradient in the key encoder']": "whether the key encoder got a gradient"}


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


def queue_steps(step, query: nn.Module, key: nn.Module, rows: Tensor, inputs: list[tuple], **settings: Any):
    """The harness of a key encoder with a queue: a step of gradient descent for each of `inputs`; what came of them."""
    optimizer, queue, losses, held = torch.optim.SGD(query.parameters(), lr=0.3), Queue(*rows.shape), [], False
    queue.rows = rows.clone()
    for given in inputs:
        loss = step(query, key, optimizer, queue, *given, **settings)
        if loss is None or loss is Ellipsis:
            return loss
        held |= isinstance(loss, Tensor) and loss.requires_grad
        losses.append(float(loss.detach() if isinstance(loss, Tensor) else loss))
    return {"losses": losses, "keeps its graph": held, "rows": queue.rows.detach(), "pointer": int(queue.pointer),
            "query": [p.detach().clone() for p in query.parameters()],
            "key": [p.detach().clone() for p in key.parameters()],
            "gradient in the key encoder": any(p.grad is not None for p in key.parameters())}
