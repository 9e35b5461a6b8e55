"""Operations that a function may lack: each of them put around each expression, as a change of its source.

What `mutants` takes away or exchanges, these put in: a square root that was forgotten, a sum, another argument.
"""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from course_lib.exercises.mutants import SIGNS, Edit, Source


def _whole(x: Any) -> Any:
    """What may be summed: no indices, whose sum means nothing."""
    if isinstance(x, torch.Tensor) and x.dtype == torch.int64 and x.ndim:
        raise TypeError("a sum of indices")
    return x


def _either(name: str) -> Callable:
    def of(x: Any) -> Any:
        if isinstance(x, int):
            raise TypeError("of a count: as a size it would fill the memory")
        return getattr(torch if isinstance(x, torch.Tensor) else math, name)(x)

    return of


OPERATIONS: dict[str, Callable] = {
    "a minus": lambda x: -x, "1 minus": lambda x: 1 - x, "a square root": lambda x: x**0.5, "a square": lambda x: x * x,
    "an absolute value (abs)": abs, "exp": _either("exp"), "log": _either("log"),
    "a factor 2": lambda x: 2 * x, "a factor 1/2": lambda x: x / 2, "+ 1": lambda x: x + 1, "- 1": lambda x: x - 1,
    "~": lambda x: ~x, "transposing": lambda x: x.mT, "argsort(1)": lambda x: x.argsort(1),
    "a sum over all": lambda x: _whole(x).sum(), "a mean over all": lambda x: x.mean(),
    "relu": torch.relu, "softmax over the last axis": lambda x: x.softmax(-1),
    "length 1 along the last axis (normalize)": lambda x: F.normalize(x, dim=-1),
    "length 1 along axis 0 (normalize)": lambda x: F.normalize(x, dim=0),
    "the mean over axis 0 taken off": lambda x: x - x.mean(0),
    "the mean over the last axis taken off": lambda x: x - x.mean(-1, keepdim=True),
    "flip(0)": lambda x: x.flip(0), "a limit at 1": lambda x: min(x, 1),
}


def insertions(source: Source) -> Iterator[tuple[Edit, Callable]]:
    """Every operation around every expression, one compiled function an expression; then other names for a name."""
    current: list[Callable] = [lambda x: x]
    source.names["__operation"] = lambda x: current[0](x)
    source.names |= {"__max": max, "__min": min}
    parameters = [a.arg for n in source.tree.body if isinstance(n, ast.FunctionDef)
                  for a in (*n.args.args, *n.args.kwonlyargs)]
    for node in source.nodes:
        parent = source.places[id(node)][0] if id(node) in source.places else None
        if (not isinstance(node, (ast.Name, ast.Call, ast.BinOp, ast.Subscript, ast.Compare))
            or isinstance(getattr(node, "ctx", ast.Load()), ast.Store)
            or (isinstance(parent, ast.Call) and parent.func is node)
            or (isinstance(node, ast.Name) and node.id in source.names and node.id not in parameters)):
            continue
        after = ast.Call(ast.Name("__operation", ast.Load()), [copy.deepcopy(node)], [])
        source.put(node, after)
        function = source.compiled()
        source.put(node, after, back=True)
        if function is not None:
            for said, operation in OPERATIONS.items():
                current[0] = operation
                yield Edit(node, after, "add", said), function
        if isinstance(node, ast.BinOp):
            for word in ("max", "min"):
                sides = [copy.deepcopy(node.left), copy.deepcopy(node.right)]
                after = ast.Call(ast.Name(f"__{word}", ast.Load()), sides, [])
                source.put(node, after)
                function = source.compiled()
                source.put(node, after, back=True)
                if function is not None:
                    yield Edit(node, ast.Call(ast.Name(word, ast.Load()), after.args, []), "swap", SIGNS.get(
                        type(node.op), "the operator")), function
        if isinstance(node, ast.Name) and node.id in parameters:
            for other in parameters:
                if other != node.id:
                    after = ast.Name(other, ast.Load())
                    source.put(node, after)
                    function = source.compiled()
                    source.put(node, after, back=True)
                    if function is not None:
                        yield Edit(node, after, "swap", node.id), function
