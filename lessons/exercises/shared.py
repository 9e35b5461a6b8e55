"""What exercises of several weeks share: probes, numbers read leniently, training steps, what goes wrong in them.

A harness hands one training step a small network and some batches, and compares what came of them. `steps` calls it,
`weights_of` and `has_gradient` read the networks; `descend` makes a step's last lines in any order, and
`update_mistakes` are the planted answers that turn them round.
"""
from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.models.layers import Queue

STEP_WORDS = {
    "['losses']": "the returned losses", "['weights']": "the weights after three steps",
    "['losses'][0]": "the first loss", "['losses'][1]": "the second loss", "['losses'][2]": "the third loss",
    "['keeps its graph']": "whether the returned loss keeps its graph",
    "['a loss that keeps its graph']": "the graph behind the loss", "['a rounded loss']": "the rounding"}
QUEUE_WORDS = {
    "['losses']": "the losses of three steps", "['keeps its graph']": "whether the loss keeps its graph",
    "['rows']": "the queue after three steps", "['pointer']": "the queue's pointer",
    "['query']": "the query encoder's weights after three steps",
    "['key']": "the key encoder's weights after three steps",
    "['gradient in the key encoder']": "whether the key encoder got a gradient"}
VIEW_WORDS = {"['loss']": "the loss", "['weights']": "the network's weights"} | {
    f"['loss'][{i}]": f"the loss of step {i + 1}" for i in range(3)} | {
    f"['weights'][{i}]": f"the network's weights after step {i + 1}" for i in range(3)}


# ------------------------------------------------------------------------------------------------ probes
def randn(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=dtype)


def rand(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=dtype)


def unit(z: Tensor, dim: int = -1) -> Tensor:
    return F.normalize(z, dim=dim)


def directions(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return unit(randn(generator, dtype, *shape))


def seeded(seed: int, dtype: torch.dtype, build: Callable[[], nn.Module]) -> Any:
    """What build() makes when torch's generator starts at `seed`; the generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().to(dtype)


def small_network(seed: int, dtype: torch.dtype, *widths: int) -> nn.Module:
    """A linear layer, batch norm, tanh and a linear layer, drawn from a seed of its own."""
    return seeded(seed, dtype, lambda: nn.Sequential(
        nn.Linear(widths[0], widths[1], bias=False), nn.BatchNorm1d(widths[1]), nn.Tanh(),
        nn.Linear(widths[1], widths[2])))


def two_encoders(generator: torch.Generator, dtype: torch.dtype, *widths: tuple[int, int, int]) -> list[dict]:
    """For each of `widths` a query encoder and a copy of it, the key encoder; the first copy asks for no gradient."""
    seeds = torch.randint(2**30, (len(widths),), generator=generator).tolist()
    queries = [small_network(seed, dtype, *sizes) for seed, sizes in zip(seeds, widths)]
    return [{"query": query, "key": copy.deepcopy(query).requires_grad_(number > 0)}
            for number, query in enumerate(queries)]


def shifted_views(generator: torch.Generator, dtype: torch.dtype, n: int, inputs: int) -> list[tuple[Tensor, Tensor]]:
    """Three batches of two views (n, inputs) of the same images, the second brighter."""
    images = randn(generator, dtype, 3, n, inputs)
    return [tuple(x + shift + 0.4 * randn(generator, dtype, n, inputs) for shift in (0.0, 0.5)) for x in images]


# ------------------------------------------------------------------------------------------------ readings
def blank(answer: Any) -> bool:
    """Whether a stub is as it was: None or `...`."""
    return answer is None or answer is Ellipsis


def number(value: Any) -> Any:
    """A float for a number or a tensor of one element; anything else as it is."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if plain or isinstance(value, Tensor) and value.numel() == 1 else value


def numbers(function, *arguments, **named):
    """A harness: what `function` returns, a number or a dict of them, each as a float."""
    found = function(*arguments, **named)
    return {key: number(value) for key, value in found.items()} if isinstance(found, dict) else number(found)


def weights_of(*networks: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for network in networks for p in network.parameters()]


def has_gradient(network: nn.Module) -> bool:
    return any(p.grad is not None for p in network.parameters())


def answers(step, inputs: Iterable[tuple], **settings) -> Any:
    """A list of what `step` returns for each of `inputs`; of an empty stub, its first answer."""
    found = []
    for given in inputs:
        found.append(step(*given, **settings))
        if blank(found[-1]):
            return found[-1]
    return found


def keeps_graph(losses: Iterable) -> bool:
    return any(isinstance(loss, Tensor) and loss.requires_grad for loss in losses)


def plain(losses: Iterable) -> list:
    return [loss.detach() if isinstance(loss, Tensor) else loss for loss in losses]


def steps(step, inputs: Iterable[tuple], **settings) -> Any:
    """{"losses": a number for each of `inputs`, "keeps its graph": bool}; of an empty stub, its first answer."""
    found = answers(step, inputs, **settings)
    if blank(found):
        return found
    return {"losses": [float(loss) for loss in plain(found)], "keeps its graph": keeps_graph(found)}


def noted_steps(step, inputs: Iterable[tuple], parameters: Iterable[Tensor]) -> Any:
    """The losses as they came, all parameters at the end in one row, and whether a loss has a graph or is rounded."""
    found = answers(step, inputs)
    if blank(found):
        return found
    return {"losses": plain(found), "weights": torch.cat([w.detach().flatten() for w in parameters]),
            "a loss that keeps its graph": keeps_graph(found),
            "a rounded loss": all(isinstance(loss, float) and loss == round(loss, 4) for loss in plain(found))}


def three_updates(step, network: nn.Module, views: list, settings: Any) -> Any:
    """The harness: three updates by SGD with momentum; the losses, and the weights after each.

    Not batch norm's running statistics: they depend on which view goes first, and either may.
    """
    network = copy.deepcopy(network).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.5)
    found = {"loss": [], "weights": []}
    for first, second in views:
        got = step(network, optimizer, first.clone(), second.clone(), copy.deepcopy(settings))
        if blank(got):
            return got
        found["loss"].append(number(got["loss"] if isinstance(got, dict) else got))
        found["weights"].append(weights_of(network))
    return found


def queue_steps(step, query: nn.Module, key: nn.Module, rows: Tensor, inputs: list[tuple], **settings: Any) -> Any:
    """The harness of a key encoder with a queue: a step of gradient descent for each of `inputs`; what came of them."""
    optimizer, queue = torch.optim.SGD(query.parameters(), lr=0.3), Queue(*rows.shape)
    queue.rows = rows.clone()
    found = steps(step, [(query, key, optimizer, queue, *given) for given in inputs], **settings)
    if blank(found):
        return found
    return {**found, "rows": queue.rows.detach(), "pointer": int(queue.pointer), "query": weights_of(query),
            "key": weights_of(key), "gradient in the key encoder": has_gradient(key)}


# ------------------------------------------------------------------------------------------------ steps and mistakes
def descend(loss: Tensor, optimizer: torch.optim.Optimizer, order: str = "clear backward step",
           back: Callable[[Tensor], Any] = Tensor.item, **more: Callable[[], Any]) -> Any:
    """The last lines of a training step, in the order that is asked for -> back(loss); `more`: other acts by name."""
    acts = {"clear": optimizer.zero_grad, "backward": loss.backward, "step": optimizer.step, **more}
    for act in order.split():
        acts[act]()
    return back(loss)


def descend_by_name(loss: Tensor, optimizer: torch.optim.Optimizer, *networks: nn.Module) -> Tensor:
    """A right spelling of `descend`: gradients asked for, nothing to clear -> the loss, with its graph."""
    parameters = [p for network in networks for p in network.parameters()]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
        parameter.grad = gradient
    optimizer.step()
    return loss


UPDATE = {
    "gradients never cleared": (
        {"order": "backward step"},
        "backward *adds* to .grad: from the second step on, the optimizer follows the sum of all gradients so far. "
        "optimizer.zero_grad() before backward."),
    "the weights never move": (
        {"order": "backward clear step"},
        "After all steps the weights are those of the start: optimizer.step() finds no gradient, or is never called. "
        "The order is zero_grad, backward, step."),
    "the step comes before backward": (
        {"order": "step clear backward"},
        "Each update uses the gradient of the batch before, and the first one none. The order is zero_grad, backward, "
        "step."),
    "the loss is rounded": (
        {"back": lambda loss: round(loss.item(), 3)},
        "Return the loss as it is: loss.item(). Round where you print."),
    "the loss keeps its graph": (
        {"back": lambda loss: loss},
        "You return the tensor with the whole computation behind it; a list of such losses keeps every batch in "
        "memory. Return a number: loss.item()."),
}
BASIC = ("gradients never cleared", "the weights never move", "the loss keeps its graph")


def update_mistakes(make, names: Iterable[str] = UPDATE, after: str = "") -> dict[str, tuple]:
    """Planted answers by their names in UPDATE: make(order=...) and make(back=...) are steps with those lines.

    `after`: acts that follow the three.
    """
    def changed(key: str, value: Any) -> Any:
        return f"{value} {after}".strip() if key == "order" else value

    return {name: (make(**{key: changed(key, value) for key, value in UPDATE[name][0].items()}), UPDATE[name][1])
            for name in names}


def each_view(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return network(first), network(second)


def second_held(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    a = network(first)
    with torch.no_grad():
        return a, network(second)


def evaluated(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    network.eval()
    return network(first), network(second)


def unit_length(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return unit(network(first), 1), unit(network(second), 1)


def two_view_step(loss_of):
    """-> make(embeddings, loss, order, back): a step like lesson 03's, of which one part is done otherwise.

    loss_of, loss: (a, b, settings) -> scalar; embeddings: (network, first, second) -> a, b.
    """
    def make(embeddings=each_view, loss=loss_of, order="clear backward step", back=Tensor.item):
        def step(network, optimizer, first, second, settings):
            return descend(loss(*embeddings(network, first, second), settings), optimizer, order, back)

        return step

    return make
