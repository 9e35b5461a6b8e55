"""Operations that a function may lack: each of them put around each expression, as a change of its source.

What `mutants` takes away or exchanges, these put in: a square root that was forgotten, a sum, another argument. Before
them come a few exchanges that need no value to be looked at: another reduction, another comparison, a loop's variable.
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


def _with_axes(x: torch.Tensor) -> torch.Tensor:
    """What has rows: of a single number, length 1 and softmax are no more than its sign and 1."""
    if not x.ndim:
        raise TypeError("a single number")
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
    "a complement (~)": lambda x: ~x, "a transpose (.mT)": lambda x: x.mT, "argsort(1)": lambda x: x.argsort(1),
    "a sum over all": lambda x: _whole(x).sum(), "a mean over all": lambda x: x.mean(),
    "relu": torch.relu, "softmax over the last axis": lambda x: _with_axes(x).softmax(-1),
    "length 1 along the last axis (normalize)": lambda x: F.normalize(_with_axes(x), dim=-1),
    "length 1 along axis 0 (normalize)": lambda x: F.normalize(_with_axes(x), dim=0),
    "the mean over axis 0 taken off": lambda x: x - x.mean(0),
    "the mean over the last axis taken off": lambda x: x - x.mean(-1, keepdim=True),
    "flip(0)": lambda x: x.flip(0), "a limit at 1": lambda x: min(x, 1),
}


REDUCTIONS = ("mean", "sum", "logsumexp", "amax", "amin", "max", "min", "median")
NUMBERS = (ast.Name, ast.Call, ast.BinOp, ast.Subscript)


def exchanges(source: Source) -> Iterator[tuple[Edit, Callable]]:
    """Another reduction, == or != for a comparison, a loop's variable for a fixed index, a division by a number."""
    given = source.tree.body[0]
    numbers = []
    if isinstance(given, ast.FunctionDef):
        numbers = [a.arg for a, d in zip(given.args.args[::-1], given.args.defaults[::-1])
                   if isinstance(d, ast.Constant) and type(d.value) is float]
    loops = [n.target.id for n in ast.walk(source.tree)
             if isinstance(n, (ast.For, ast.comprehension)) and isinstance(n.target, ast.Name)]
    for node in source.nodes:
        for kind, said, after in _exchanged(source, node, list(dict.fromkeys(loops)), numbers):
            source.put(node, after)
            function = source.compiled()
            source.put(node, after, back=True)
            if function is not None:
                yield Edit(node, after, kind, said), function


def _exchanged(source: Source, node: ast.AST, loops: list[str], numbers: list[str]
               ) -> Iterator[tuple[str, str, ast.expr]]:
    """(kind, what a clue calls it, what takes the node's place)."""
    parent = source.places[id(node)][0] if id(node) in source.places else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REDUCTIONS:
        module = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
        whole = len(node.args) == module and not node.keywords
        for other in REDUCTIONS[:2 if whole else 4]:
            if other != node.func.attr:
                after = copy.deepcopy(node)
                after.func = ast.Attribute(copy.deepcopy(node.func.value), other, ast.Load())
                wanted = f"a {other} over all" if whole else f"`{other}`"
                yield "reduce", f"in place of `{node.func.attr}` {wanted} is needed", after
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in (ast.Eq, ast.NotEq):
            if not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
                yield "swap", ast.unparse(node), ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        places = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for at, place in enumerate(places):
            sign = place.operand if isinstance(place, ast.UnaryOp) else place
            for loop in loops if isinstance(sign, ast.Constant) and type(sign.value) is int else ():
                after = copy.deepcopy(node)
                name = ast.Name(loop, ast.Load())
                if isinstance(after.slice, ast.Tuple):
                    after.slice.elts[at] = name
                else:
                    after.slice = name
                yield "swap", ast.unparse(place), after
    if (isinstance(node, NUMBERS) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
            and not (isinstance(parent, ast.Call) and parent.func is node) and not isinstance(parent, ast.Attribute)
            and not (isinstance(node, ast.Name) and node.id in source.names)):
        for number in numbers:
            if ast.unparse(node) != number:
                yield "add", f"a division by {number}", ast.BinOp(node, ast.Div(), ast.Name(number, ast.Load()))


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
