"""Whether what a checkpoint holds is of the kinds that a run needs: a file may be damaged, or somebody's own."""

from __future__ import annotations

from dataclasses import fields
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from course_lib.optim import LARS, Muon
from course_lib.train.history import History

# what an optimizer remembers of a parameter that has moved; those for which it is a tensor of its shape, or a number
MEMORY: dict[type, tuple[str, ...]] = {torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"), Muon: ("mean",),
                                       torch.optim.SGD: ("momentum_buffer",), LARS: ("momentum",)}


def same_kind(value: Any, example: Any) -> bool:
    """Whether a value can stand where the example does; None and truth values are of one kind, torch's switches."""
    if example is None or isinstance(example, bool):
        return value is None or isinstance(value, bool)
    if isinstance(example, float):
        return isinstance(value, Real) and not isinstance(value, bool)
    if isinstance(example, tuple):
        return isinstance(value, (tuple, list)) and len(value) == len(example) and all(map(same_kind, value, example))
    return isinstance(value, type(example)) and not isinstance(value, bool)


def history_of(values: dict) -> History:
    """The History of a checkpoint. TypeError for values of other kinds, or curves of other lengths than their steps."""
    blank = History()
    known = {field.name for field in fields(blank)}
    for name, value in values.items():
        if name not in known or not same_kind(value, getattr(blank, name)):
            raise TypeError(f"the history's {name} cannot be {value!r}")
    history = History(**{**values, "interrupted": False})
    lists = [history.curve_steps, history.rank_steps, history.std, history.rank, *history.curves.values(),
             *history.stretches]
    if not all(isinstance(each, list) and all(same_kind(x, 0.0) for x in each) for each in lists):
        raise TypeError("the history's curves are not lists of numbers")
    if any(len(curve) != len(history.curve_steps) for curve in history.curves.values()) or not (
            len(history.rank_steps) == len(history.std) == len(history.rank)):
        raise TypeError("the history's curves have other lengths than their steps")
    return history


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Load a state that fits: torch looks at neither shapes nor kinds, and its fused steps write beyond small tensors.

    TypeError, or what torch raises, for one that does not.
    """
    blank = [{**group, "params": []} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    memory = next((names for kind, names in MEMORY.items() if isinstance(optimizer, kind)), ())
    for group, own in zip(optimizer.param_groups, blank):
        for name, example in own.items():
            if not same_kind(group.get(name), float(example) if type(example) is int else example):
                raise TypeError(f"the optimizer's {name} cannot be {group.get(name)!r}")
        for p in group["params"]:
            found = optimizer.state.get(p) or {}
            odd = [name for name, value in found.items() if not (
                value.shape in (p.shape, ()) if isinstance(value, Tensor) else same_kind(value, 0.0))]
            odd += [name for name in memory if found and not (
                isinstance(found.get(name), Tensor) and found[name].shape == (() if name == "step" else p.shape))]
            if odd:
                raise TypeError(f"the optimizer's {odd[0]} does not fit a parameter of {tuple(p.shape)}")
