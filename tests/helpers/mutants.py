"""Small wrong versions of a function, made from its syntax tree: what a check must be able to tell from the
original.

    for mutant in mutants(variance_loss):
        print(mutant.name)         # "line 4: z.var(dim=0) -> z.var(dim=1)"
        mutant.function(z)

Signs and operators, axes, constants and defaults, mean for sum, lost roots, squares and detaches, dropped
terms, factors, keywords and statements, comparisons, unbiased for biased. Left alone: docstrings,
annotations, decorators, refusals of bad arguments (`if ...: raise ...`), casts (`.float()`, `.to(...)`),
messages.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SWAPS = {
    "mean": "sum",
    "sum": "mean",
    "max": "min",
    "min": "max",
    "amax": "amin",
    "amin": "amax",
    "argmax": "argmin",
    "argmin": "argmax",
    "sin": "cos",
    "cos": "sin",
    "zeros": "ones",
    "ones": "zeros",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "var": "std",
    "std": "var",
    "softmax": "log_softmax",
    "log_softmax": "softmax",
    "all": "any",
    "any": "all",
    "argsort": "sort",
    "triu": "tril",
    "tril": "triu",
}
# Calls that can be left out: x.detach() -> x, torch.sqrt(x) -> x.
DROPS = {
    "detach",
    "sqrt",
    "square",
    "pow",
    "abs",
    "exp",
    "log",
    "relu",
    "normalize",
    "clamp",
    "clamp_min",
    "sigmoid",
    "softplus",
    "rsqrt",
    "flip",
    "t",
    "transpose",
    "roll",
    "argsort",
    "fill_diagonal_",
    "masked_fill",
    "sort",
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS = {
    ast.Lt: ast.Gt,
    ast.Gt: ast.Lt,
    ast.LtE: ast.Lt,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
CASTS = {"float", "double", "half", "to", "type_as", "long", "int", "bool", "contiguous"}


@dataclass
class Mutant:
    name: str
    function: Callable


def mutants(function: Callable) -> Iterator[Mutant]:
    """Every mutant of a function or class that has source, compiled in its module's names."""
    original = inspect.unwrap(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(original)))
    names = dict(vars(inspect.getmodule(original)))
    untouchable = _untouchable(tree)
    seen = {ast.unparse(tree)}
    parents = {id(child): parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    named: dict[str, int] = {}
    for index, node in enumerate(ast.walk(tree)):
        if id(node) in untouchable:
            continue
        around = _around(node, parents)
        for before, change in _changes(node):
            twin = copy.deepcopy(tree)
            target = list(ast.walk(twin))[index]
            after = change(target)
            _replace(twin, target, after)
            text = ast.unparse(ast.fix_missing_locations(twin))
            if text in seen:
                continue
            seen.add(text)
            made = dict(names)
            try:
                exec(compile(text, f"<mutant of {original.__name__}>", "exec"), made)
            except Exception:
                continue  # it can't even be defined
            if around is not None:  # a constant alone says little: show what it stands in
                before, shown = ast.unparse(around), _unparse_like(twin, tree, around)
            else:
                shown = "nothing" if after is None else ast.unparse(after)
            name = f"line {node.lineno}: {_short(before)} -> {_short(shown)}"
            named[name] = named.get(name, 0) + 1
            yield Mutant(name + (f" ({named[name]})" if named[name] > 1 else ""), made[original.__name__])


def _around(node: ast.AST, parents: dict[int, ast.AST]) -> ast.AST | None:
    """The smallest readable thing that a constant stands in; None for other nodes (and for defaults)."""
    if not isinstance(node, ast.Constant):
        return None
    while (
        isinstance(node, (ast.Constant, ast.keyword, ast.UnaryOp, ast.Tuple, ast.Slice))
        and id(node) in parents
    ):
        node = parents[id(node)]
    return node if isinstance(node, (ast.expr, ast.stmt)) and not isinstance(node, ast.FunctionDef) else None


def _unparse_like(twin: ast.AST, tree: ast.AST, node: ast.AST) -> str:
    """The node of `twin` at the place that `node` has in `tree` (only a constant below it was changed)."""
    index = next(i for i, n in enumerate(ast.walk(tree)) if n is node)
    return ast.unparse(list(ast.walk(twin))[index])


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 70 else text[:67] + "..."


def _untouchable(tree: ast.AST) -> set[int]:
    """Nodes that are no part of what the function computes."""
    skip: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            skip += node.decorator_list
            skip += [node.returns] if isinstance(node, ast.FunctionDef) else []
            if (
                node.body
                and isinstance(node.body[0], ast.Expr)
                and isinstance(node.body[0].value, ast.Constant)
            ):
                skip.append(node.body[0])
        elif isinstance(node, ast.arg):
            skip.append(node.annotation)
        elif isinstance(node, ast.AnnAssign):
            skip.append(node.annotation)
        elif isinstance(node, (ast.Assert, ast.Raise, ast.JoinedStr)):
            skip.append(node)
        elif isinstance(node, ast.If) and all(isinstance(s, ast.Raise) for s in node.body):
            skip.append(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CASTS:
            skip += [*node.args, *node.keywords]
    return {id(inner) for node in skip if node is not None for inner in ast.walk(node)}


def _replace(tree: ast.AST, target: ast.AST, after: ast.AST | None) -> None:
    if after is target:
        return
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, after)
            elif isinstance(value, list) and any(v is target for v in value):
                at = next(i for i, v in enumerate(value) if v is target)
                value[at : at + 1] = [] if after is None else [after]
                if name == "body" and not value:
                    value.append(ast.Pass())


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], ast.AST | None]]]:
    """(source before, change) for one node; a change edits the node it is given or returns what takes its
    place."""
    text = ast.unparse(node) if isinstance(node, (ast.expr, ast.stmt)) else ""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield text, lambda n: _set(n, op=OPERATORS[type(n.op)]())
        if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)):
            yield text, lambda n: n.left
        if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
            yield text, lambda n: n.right
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
        yield text, lambda n: n.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield text, lambda n: _set(n, ops=[COMPARISONS[type(n.ops[0])]()])
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield ast.unparse(node.test), lambda n: _set(n, test=ast.UnaryOp(op=ast.Not(), operand=n.test))
    elif isinstance(node, ast.Constant):
        yield from _constants(node, text)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield text, lambda n: n.value
    elif isinstance(node, ast.Call):
        yield from _calls(node, text)
    elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)):
        yield text, lambda n: None


def _set(node: ast.AST, **fields) -> ast.AST:
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def _constants(node: ast.Constant, text: str) -> Iterator[tuple[str, Callable]]:
    value = node.value
    if isinstance(value, bool):
        yield text, lambda n: _set(n, value=not value)
    elif isinstance(value, int):
        for other in {value + 1, value - 1 if value > 0 else value + 2}:
            yield text, lambda n, other=other: _set(n, value=other)
    elif isinstance(value, float):
        yield text, lambda n: _set(n, value=2 * value if value else 1.0)


def _calls(node: ast.Call, text: str) -> Iterator[tuple[str, Callable]]:
    method = isinstance(node.func, ast.Attribute)
    name = node.func.attr if method else getattr(node.func, "id", "")
    if name in CASTS:
        return
    if name in SWAPS:
        field = "attr" if method else "id"
        yield text, lambda n: _set(n, func=_set(n.func, **{field: SWAPS[name]}))
    if name in DROPS:
        module = (
            method
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in ("torch", "F", "np", "math")
        )
        if method and not module:
            yield text, lambda n: n.func.value
        elif node.args:
            yield text, lambda n: n.args[0]
    if name in ("var", "std") and not any(k.arg in ("unbiased", "correction") for k in node.keywords):
        yield text, lambda n: _set(n, keywords=[*n.keywords, ast.keyword("correction", ast.Constant(0))])
    for i in range(len(node.keywords)):
        yield text, lambda n, i=i: _set(n, keywords=n.keywords[:i] + n.keywords[i + 1 :])
