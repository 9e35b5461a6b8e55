"""Run a function on one probe of an exercise, and record what it did."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from course_lib.exercises.difference import clone, leaves

if TYPE_CHECKING:
    from course_lib.exercises.spec import Exercise


ROUNDS = 1000  # of a `while` in a changed function
MOST_KEPT = 2048  # outcomes of our own functions, the oldest go first
_KEPT: dict[tuple, Outcome] = {}


class Bounded(ast.NodeTransformer):
    """`while` loops end after ROUNDS rounds, by an error: one change can make a loop endless that the learner's is not.
    """

    def visit_While(self, node: ast.While) -> ast.AST:
        self.generic_visit(node)
        stop = ast.If(ast.UnaryOp(ast.Not(), node.test), [*node.orelse, ast.Break()], [])
        rounds = ast.parse(f"range({ROUNDS})", mode="eval").body
        endless = ast.parse("raise RuntimeError('endless')").body
        return ast.copy_location(ast.For(ast.Name("_rounds", ast.Store()), rounds, [stop, *node.body], endless), node)


@dataclass
class Outcome:
    """What a function did on one probe."""

    value: Any = None
    gradients: list[Tensor | None] = field(default_factory=list)
    graph: bool = False  # the result carries a gradient
    changed: str = ""  # the argument that was changed in place
    error: BaseException | None = None
    late: BaseException | None = None  # raised only while gradients were taken
    printed: str = ""


def names_of(exercise: Exercise, probe: Any) -> dict[str, Any]:
    """The probe's arguments by name, as the harness names them or, without one, the reference's signature."""
    if isinstance(probe, dict):
        return dict(probe)
    names = [parameter.name for parameter in _positional(exercise.call)[1:]] if exercise.call else []
    if len(names) < len(probe):  # a harness that passes on whatever comes
        names = [parameter.name for parameter in _positional(exercise.resolve())]
    return {names[i] if i < len(names) else f"argument {i}": v for i, v in enumerate(probe)}


def _positional(fn: Callable) -> list[inspect.Parameter]:
    """The parameters that can be given by place and have a name; none of a built-in without a signature."""
    try:
        found = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _with_own_names(fn: Callable, reference: Callable) -> Callable:
    """`fn`, which may call its arguments otherwise than the stub does: keywords it does not know go by position."""
    if fn is reference or not (inspect.isfunction(fn) and inspect.isfunction(inspect.unwrap(reference))):
        return fn
    own, stub = list(inspect.signature(fn).parameters.values()), list(inspect.signature(reference).parameters)
    renamed = {theirs: mine.name for mine, theirs in zip(own, stub)
               if mine.name != theirs and mine.kind is mine.POSITIONAL_OR_KEYWORD}
    known = {p.name for p in own}
    if not renamed or known & set(renamed):
        return fn
    return lambda *a, **k: fn(*a, **{renamed.get(name, name): value for name, value in k.items()})


def run(exercise: Exercise, fn: Callable, probe: Any, seed: int = 0) -> Outcome:
    """Call `fn` on a clone of the probe, and note errors, in-place changes, prints and gradients; nothing is raised."""
    out = Outcome()
    names = list(names_of(exercise, probe))
    printed = io.StringIO()

    def once(arguments: Any) -> Any:
        extra = {"generator": torch.Generator().manual_seed(seed)} if exercise.seeded else {}
        positional, keywords = ((), arguments) if isinstance(arguments, dict) else (arguments, {})
        torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds every device, which takes ten times as long
        call = exercise.call or (lambda f, /, *a, **k: f(*a, **k))
        return call(_with_own_names(fn, exercise.resolve()), *positional, **keywords, **extra)

    try:
        with (torch.random.fork_rng(devices=[]), warnings.catch_warnings(), contextlib.redirect_stdout(printed),
              torch.enable_grad()):
            warnings.simplefilter("ignore")
            arguments = clone(probe)
            out.value = once(arguments)
            before = probe.values() if isinstance(probe, dict) else probe
            after = arguments.values() if isinstance(arguments, dict) else arguments
            for name, a, b in zip(names, after, before):
                if not _unchanged(a, b):
                    out.changed = name
            # A changed result may alias its input: keep what it was at this moment.
            out.value = clone(out.value) if list(leaves(out.value)) else out.value
            if exercise.gradients and not out.changed:
                try:
                    _differentiate(out, once, clone(probe), seed)
                except Exception as error:
                    out.late = error
    except BaseException as error:  # whatever it is, an interrupted endless loop too, is the result
        out.error = error
    out.printed = printed.getvalue()
    return out


def known(exercise: Exercise, fn: Callable, probe: Any, seed: int = 0) -> Outcome:
    """`run` for a function of ours (the reference, a planted mistake): its outcome is kept for the next attempt."""
    try:
        key = (fn, exercise.call, exercise.reference, exercise.seeded, exercise.gradients, seed, _contents(probe))
    except TypeError:
        return run(exercise, fn, probe, seed)
    if key not in _KEPT:
        while len(_KEPT) >= MOST_KEPT:
            del _KEPT[next(iter(_KEPT))]
        _KEPT[key] = run(exercise, fn, probe, seed)
    return _KEPT[key]


def _contents(value: Any) -> tuple:
    """Equal for equal arguments only, and a key of a dictionary. Raises TypeError for an object that may have a state.
    """
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return dict, *((name, _contents(part)) for name, part in value.items())
    if isinstance(value, nn.Module):
        return type(value), _contents(dict(vars(value)))
    if isinstance(value, (list, tuple)):
        return type(value), *map(_contents, value)
    if isinstance(value, (str, bool, int, float, set, torch.dtype, torch.device, type(None))):
        return type(value), repr(value)
    raise TypeError(f"{type(value).__name__} is compared by identity")


def _unchanged(after: Any, before: Any) -> bool:
    return all(a.shape == b.shape and torch.equal(a.detach().double().nan_to_num(), b.detach().double().nan_to_num())
               for a, b in zip(leaves(after), leaves(before)))


def _differentiate(out: Outcome, once: Callable, arguments: Any, seed: int) -> None:
    values = list(arguments.values()) if isinstance(arguments, dict) else list(arguments)
    inputs = [t.requires_grad_() for t in leaves(values) if t.is_floating_point()]
    value = once(arguments)
    if isinstance(value, dict) and "loss" in value:
        value = value["loss"]  # the parts beside it are for the log, with or without a graph
    results = [t for t in leaves(value) if t.is_floating_point()]
    carrying = [t for t in results if t.requires_grad]
    out.graph, out.gradients = bool(carrying), [None] * len(inputs)
    if not inputs or not carrying:
        return
    generator = torch.Generator().manual_seed(seed + 1)
    # random weights, so that errors of single entries cannot cancel
    weights = [torch.rand(t.shape, generator=generator, dtype=torch.float64).add(0.5).to(t.dtype) for t in results]
    weights = [w for t, w in zip(results, weights) if t.requires_grad]
    out.gradients = list(torch.autograd.grad(carrying, inputs, weights, allow_unused=True))
