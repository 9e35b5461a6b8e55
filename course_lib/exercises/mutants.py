"""Small changes of a function, made on its syntax tree.

    for mutant in mutants(variance_loss):
        print(mutant.name)         # "line 4: z.var(dim=0) -> z.var(dim=1)"
        mutant.function(z)

A check must tell each mutant of the reference from the original, and a clue may say which mutant a wrong answer equals,
or which change would mend it. Signs and operators, axes, constants and defaults, mean for sum, lost roots, squares and
detaches, dropped terms, factors, keywords and statements, comparisons, unbiased for biased. Left alone: docstrings,
annotations, decorators, refusals of bad arguments (`if ...: raise ...`), casts (`.float()`, `.to(...)`), messages.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from course_lib.exercises.running import Bounded

SWAPS = {a: b for pair in (
    "mean sum", "max min", "amax amin", "argmax argmin", "sin cos", "zeros ones", "zeros_like ones_like", "var std",
    "softmax log_softmax", "all any", "triu tril") for a, b in (pair.split(), pair.split()[::-1])} | {"argsort": "sort"}
# Calls that can be left out: x.detach() -> x, torch.sqrt(x) -> x.
DROPS = set("detach sqrt square pow abs exp log relu normalize clamp clamp_min sigmoid softplus rsqrt flip t transpose "
            "roll argsort fill_diagonal_ masked_fill sort".split())
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}
SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.FloorDiv: "//", ast.Mod: "%",
         ast.BitAnd: "&", ast.BitOr: "|"}
COMPARISONS = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.Lt, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
CASTS = {"float", "double", "half", "to", "type_as", "long", "int", "bool", "contiguous"}


@dataclass
class Edit:
    """A change that stands in the tree while it is looked at: `said` as a clue calls it; drop, swap, add or reduce."""

    node: ast.AST
    after: ast.AST | None
    kind: str
    said: str


@dataclass
class Mutant:
    name: str
    function: Callable


class Source:
    """The tree of a function or class that has source, and the names its module and closure give it."""

    def __init__(self, function: Callable):
        self.original = inspect.unwrap(function)
        self.tree = ast.parse(textwrap.dedent(inspect.getsource(self.original)))
        self.names = dict(vars(inspect.getmodule(self.original)) if inspect.getmodule(self.original) else {})
        if inspect.isfunction(self.original):
            self.names = self.original.__globals__ | dict(inspect.getclosurevars(self.original).nonlocals)
        self.places = {id(child): (parent, name, at) for parent in ast.walk(self.tree)
                       for name, value in ast.iter_fields(parent)
                       for at, child in enumerate(value if isinstance(value, list) else [value])
                       if isinstance(child, ast.AST)}
        self.loops = any(isinstance(node, ast.While) for node in ast.walk(self.tree))
        skip = _untouchable(self.tree)
        self.nodes = [node for node in ast.walk(self.tree) if id(node) not in skip]

    def put(self, node: ast.AST, after: ast.AST | None, back: bool = False) -> None:
        """Set `after` at the place of `node` (None: leave it out); `back` puts the node there again."""
        parent, name, at = self.places[id(node)]
        value = getattr(parent, name)
        new = node if back else (after or ast.Pass())
        if isinstance(value, list):
            value[at] = new
        else:
            setattr(parent, name, new)

    def compiled(self) -> Callable | None:
        """The function as the tree stands now; None if it can't even be defined."""
        try:
            made = dict(self.names)
            tree = Bounded().visit(copy.deepcopy(self.tree)) if self.loops else self.tree
            tree = ast.fix_missing_locations(tree)
            exec(compile(tree, f"<mutant of {self.original.__name__}>", "exec"), made)
            return made[self.original.__name__]
        except Exception:
            return None

    def edits(self) -> Iterator[Edit]:
        """Every change in turn; it is undone when the next one is asked for."""
        for node in self.nodes:
            for kind, said, change in _changes(node):
                after = change(copy.deepcopy(node))
                self.put(node, after)
                yield Edit(node, after, kind, said)
                self.put(node, after, back=True)

    def line_of(self, node: ast.AST) -> int:
        """The line of a node as the reader counts it: 1 is `def ...`, decorators do not count."""
        return getattr(node, "lineno", 1) - getattr(self.tree.body[0], "lineno", 1) + 1

    def context(self, node: ast.AST, after: ast.AST | None = None) -> str:
        """The expression or statement that a node stands in, short; with `after` in its place if given."""
        outer = node
        small = (ast.Name, ast.Constant, ast.keyword, ast.UnaryOp, ast.Tuple, ast.Slice, ast.Attribute)
        while isinstance(outer, small):
            if id(outer) not in self.places or isinstance(self.places[id(outer)][0], (ast.arguments, ast.FunctionDef)):
                break
            outer = self.places[id(outer)][0]
        if after is None:
            return short(outer)
        if outer is node:
            return short(after)
        self.put(node, after)
        text = short(outer)
        self.put(node, after, back=True)
        return text

    def calls_on(self, node: ast.AST) -> Iterator[tuple[ast.Call, str]]:
        """The calls that take a node's value, one around the other, and the words for them: "max", "square.mean"."""
        said: list[str] = []
        while id(node) in self.places:
            parent, name, at = self.places[id(node)]
            call = self.places[id(parent)][0] if isinstance(parent, ast.Attribute) else None
            if isinstance(parent, ast.Attribute) and isinstance(call, ast.Call) and call.func is parent:
                said, node = [*said, parent.attr], call
            elif isinstance(parent, ast.Call) and name == "args" and at == 0:
                said, node = [*said, ast.unparse(parent.func).rpartition(".")[2]], parent
            else:
                return
            if said[-1] in CASTS | {"item"}:
                return
            yield node, ".".join(said)

    def around(self, node: ast.AST) -> ast.AST | None:
        """The smallest readable thing that a constant stands in; None for other nodes (and for defaults)."""
        if not isinstance(node, ast.Constant):
            return None
        outer: ast.AST = node
        while (isinstance(outer, (ast.Constant, ast.keyword, ast.UnaryOp, ast.Tuple, ast.Slice))
               and id(outer) in self.places):
            outer = self.places[id(outer)][0]
        return outer if isinstance(outer, (ast.expr, ast.stmt)) and not isinstance(outer, ast.FunctionDef) else None


def mutants(function: Callable) -> Iterator[Mutant]:
    """Every mutant of a function or class that has source, compiled in its module's names."""
    source = Source(function)
    seen, named = {ast.unparse(source.tree)}, {}
    before = {id(n): ast.unparse(source.around(n) or n) for n in source.nodes if isinstance(n, (ast.expr, ast.stmt))}
    tests = {id(n): ast.unparse(n.test) for n in source.nodes if isinstance(n, (ast.If, ast.IfExp))}
    for edit in source.edits():
        text = ast.unparse(ast.fix_missing_locations(source.tree))
        function_ = source.compiled() if text not in seen else None
        if function_ is None:
            seen.add(text)
            continue
        seen.add(text)
        shown = source.around(edit.node) or edit.after
        was = tests.get(id(edit.node), before.get(id(edit.node), ""))
        name = (f"line {getattr(edit.node, 'lineno', 0)}: {_cut(was)} -> "
                f"{_cut('nothing' if shown is None else ast.unparse(shown))}")
        named[name] = named.get(name, 0) + 1
        yield Mutant(name + (f" ({named[name]})" if named[name] > 1 else ""), function_)


def short(node: ast.AST) -> str:
    """The first 70 characters of the source of a node."""
    return _cut(ast.unparse(node))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 70 else text[:67] + "..."


def _untouchable(tree: ast.AST) -> set[int]:
    """Nodes that are no part of what the function computes."""
    skip: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            skip += node.decorator_list
            skip += [node.returns] if isinstance(node, ast.FunctionDef) else []
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                skip.append(first)
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


# ------------------------------------------------------------------------------------------------ the changes
def _changes(node: ast.AST) -> Iterator[tuple[str, str, Callable[[Any], ast.AST | None]]]:
    """(kind, what a clue calls it, change) for one node; a change edits the node it is given or returns another."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        sign = SIGNS[type(node.op)]
        yield "swap", sign, lambda n: _set(n, op=OPERATORS[type(n.op)]())
        if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)):
            right = ast.unparse(node.right)
            right = f"({right})" if isinstance(node.right, (ast.BinOp, ast.Compare)) else right
            yield "drop", f"{sign} {right}", lambda n: n.left
        if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
            left = ast.unparse(node.left)
            left = f"({left})" if isinstance(node.left, (ast.BinOp, ast.Compare)) else left
            yield "drop", f"{left} {sign}", lambda n: n.right
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
        yield "drop", {ast.USub: "-", ast.Not: "not", ast.Invert: "~"}[type(node.op)], lambda n: n.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield "swap", ast.unparse(node), lambda n: _set(n, ops=[COMPARISONS[type(n.ops[0])]()])
    elif isinstance(node, (ast.If, ast.IfExp)):
        test = ast.unparse(node.test)
        yield "swap", f"if {test}", lambda n: _set(n, test=ast.UnaryOp(op=ast.Not(), operand=n.test))
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield "drop", f".{node.attr}", lambda n: n.value
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)):
        yield "drop", ast.unparse(node), lambda n: None


def _set(node: Any, **fields) -> ast.AST:
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def _constants(node: ast.Constant) -> Iterator[tuple[str, str, Callable]]:
    value = node.value
    if isinstance(value, bool):
        yield "swap", str(value), lambda n: _set(n, value=not value)
    elif isinstance(value, int):
        for other in {value + 1, value - 1 if value > 0 else value + 2}:
            yield "swap", str(value), lambda n, other=other: _set(n, value=other)
    elif isinstance(value, float):
        yield "swap", str(value), lambda n: _set(n, value=2 * value if value else 1.0)


def _calls(node: ast.Call) -> Iterator[tuple[str, str, Callable]]:
    method = isinstance(node.func, ast.Attribute)
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in CASTS:
        return
    if name in SWAPS:
        field = "attr" if method else "id"
        yield "swap", name, lambda n: _set(n, func=_set(n.func, **{field: SWAPS[name]}))
    if name in DROPS:
        module = (isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
                  and node.func.value.id in ("torch", "F", "np", "math"))
        if method and not module:
            yield "drop", name, lambda n: n.func.value
        elif node.args:
            yield "drop", name, lambda n: n.args[0]
    if name in ("var", "std") and not any(k.arg in ("unbiased", "correction") for k in node.keywords):
        yield ("swap", f"{name}, divided by N - 1",
               lambda n: _set(n, keywords=[*n.keywords, ast.keyword("correction", ast.Constant(0))]))
    for i, keyword in enumerate(node.keywords):
        yield "drop", ast.unparse(keyword), lambda n, i=i: _set(n, keywords=n.keywords[:i] + n.keywords[i + 1:])
