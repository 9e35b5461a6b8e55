"""Compare two results leaf by leaf, and say in words how they differ (shape, dtype, NaN, a constant factor...)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

EXACT_KINDS = (str, bytes, type(None))


@dataclass
class Difference:
    """Where two results differ: `where` is the path inside the result ("" for the whole, "['loss']", "[1]")."""

    where: str
    reason: str
    got: Any = None
    expected: Any = None
    values: bool = False  # same kind, shape and dtype: only the numbers differ
    late: bool = False  # the values agree; a gradient or an argument does not


def difference(got: Any, expected: Any, tolerance: float = 1e-5, where: str = "") -> Difference | None:
    """The first difference of two results, or None when they agree.

    Tensors must agree in shape, in kind of dtype (floating dtypes exactly) and in values, within `tolerance` times the
    larger of 1 and the largest expected magnitude; float64 within a thousandth of it. NaN equals NaN. Lists and tuples
    are interchangeable; a 0-d tensor may stand for a Python number, but not the reverse (a number has no gradient).
    """
    if isinstance(expected, np.ndarray) and isinstance(got, (np.ndarray, Tensor)):
        got, expected = torch.as_tensor(np.asarray(got)), torch.as_tensor(expected)
    if isinstance(expected, Tensor):
        return _tensors(got, expected, tolerance, where)
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return Difference(where, f"got {describe(got)}, expected {describe(expected)}")
        missing = [k for k in expected if k not in got]
        extra = [k for k in got if k not in expected]
        if missing or extra:
            said = [f"missing {missing}" if missing else "", f"not expected {extra}" if extra else ""]
            return Difference(where, "the keys differ: " + ", ".join(s for s in said if s))
        pairs = [(f"{where}[{k!r}]", got[k], expected[k]) for k in expected]
    elif isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            return Difference(where, f"got {describe(got)}, expected {describe(expected)}")
        pairs = [(f"{where}[{i}]", g, e) for i, (g, e) in enumerate(zip(got, expected))]
    else:
        return _plain(got, expected, tolerance, where)
    return next((found for path, g, e in pairs if (found := difference(g, e, tolerance, path))), None)


def _tensors(got: Any, expected: Tensor, tolerance: float, where: str) -> Difference | None:
    def because(reason: str, values: bool = False) -> Difference:
        return Difference(where, reason, got, expected, values)

    if not isinstance(got, Tensor):
        lost = " (a plain number carries no gradient)" if isinstance(got, (int, float)) else ""
        return because(f"got {describe(got)}, expected {describe(expected)}{lost}")
    if got.shape != expected.shape:
        return because(f"shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    kinds = [_kind(t) for t in (got, expected)]
    if kinds[0] != kinds[1] or (kinds[0] == "float" and got.dtype != expected.dtype):
        return because(f"dtype {_short(got.dtype)}, expected {_short(expected.dtype)}")
    g, e = got.detach(), expected.detach()
    if kinds[0] in ("bool", "whole"):
        return None if torch.equal(g.long(), e.long()) else because(_how_many(g.long() != e.long()), True)
    bound = tolerance * (1e-3 if e.dtype in (torch.float64, torch.complex128) else 1.0)
    finite = e[torch.isfinite(e)]
    bound *= max(1.0, finite.abs().max().item() if finite.numel() else 1.0)
    same = torch.isclose(g, e, rtol=0, atol=bound, equal_nan=True)
    if same.all():
        return None
    bad = ~torch.isfinite(g) & torch.isfinite(e)
    if bad.any():
        word = "NaN" if torch.isnan(g[bad]).any() else "infinite"
        return because(f"{word} in {int(bad.sum())} of {g.numel()} entries", True)
    return because(_how_many(~same), True)


def _plain(got: Any, expected: Any, tolerance: float, where: str) -> Difference | None:
    if (isinstance(got, (Tensor, np.ndarray, np.generic)) and np.ndim(got) == 0
        and not isinstance(expected, EXACT_KINDS)):
        got = got.item()
    numbers = (int, float, complex)
    if (isinstance(expected, numbers) and isinstance(got, numbers)
        and isinstance(expected, bool) == isinstance(got, bool)):
        both_nan = got != got and expected != expected
        close = both_nan or got == expected or abs(got - expected) <= tolerance * max(1.0, abs(expected))
        return None if close else Difference(where, "the values differ", got, expected, True)
    try:
        same = type(got) is type(expected) and bool(got == expected)
    except Exception:  # == is not a truth value
        same = False
    if same:
        return None
    return Difference(where, f"got {describe(got)}, expected {describe(expected)}", got, expected)


def _kind(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "complex" if tensor.is_complex() else "float" if tensor.is_floating_point() else "whole"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _how_many(mask: Tensor) -> str:
    return "the value differs" if mask.ndim == 0 else f"{int(mask.sum())} of {mask.numel()} entries differ"


def describe(value: Any) -> str:
    """A value in a few words: "a tensor (8, 4) float32", "a Python list of 3", "None"."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} {_short(value.dtype)}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array {value.shape} {value.dtype}"
    if isinstance(value, Mapping):
        return f"a dictionary with the keys {list(value)}"
    if isinstance(value, (list, tuple)):
        return f"a Python {type(value).__name__} of {len(value)}"
    if value is None or isinstance(value, (bool, int, float, str)):
        text = f"{value:.6g}" if isinstance(value, float) else repr(value)
        names = {bool: "the truth value", int: "the Python number", float: "the Python number", str: "the string"}
        return text if value is None else f"{names[type(value)] if type(value) in names else 'the value'} {text[:60]}"
    return f"an object of type {type(value).__name__}"


# ------------------------------------------------------------------------------------------------ arguments
def clone(tree: Any) -> Any:
    """A deep copy: tensors cloned and cut from any graph, generators and modules copied."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, torch.Generator):
        twin = torch.Generator(tree.device)
        twin.set_state(tree.get_state())
        return twin
    if isinstance(tree, dict):
        return {k: clone(v) for k, v in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(clone(v) for v in tree)
    try:
        return copy.deepcopy(tree)
    except Exception:  # a function, a lock, ...: cannot be copied, so it is shared
        return tree


def leaves(tree: Any) -> Iterator[Tensor]:
    """All tensors of a nest of lists, tuples, dictionaries and modules (their parameters)."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, nn.Module):
        yield from tree.parameters()
    elif isinstance(tree, Mapping):
        for key in sorted(tree, key=str):  # the same order whatever the order of the keys
            yield from leaves(tree[key])
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from leaves(value)
