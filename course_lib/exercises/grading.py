"""Run a function on an exercise's probes and judge it: to do, wrong (and how), crashed (and where), right."""

from __future__ import annotations

import ast
import inspect
import textwrap
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from course_lib.exercises.clues import clue
from course_lib.exercises.difference import Difference, describe, difference, leaves
from course_lib.exercises.evidence import Case, called
from course_lib.exercises.result import Check
from course_lib.exercises.running import Outcome, known, names_of, run

if TYPE_CHECKING:
    from course_lib.exercises.spec import Exercise

CASES = ((torch.float32, 0), (torch.float64, 1))  # (dtype, seed) of each pass over the probes
EMPTY = (None, Ellipsis, NotImplemented)
DTYPE_ADVICE = ("New tensors must follow the input: torch.zeros_like(z), torch.arange(n, device=z.device), or "
                "dtype=z.dtype.")


def _same(a: Outcome, b: Outcome, tolerance: float, gradients: bool = True) -> bool:
    if a.error is not None or b.error is not None:
        return type(a.error) is type(b.error) and str(a.error) == str(b.error)
    if difference(a.value, b.value, tolerance):
        return False
    return not gradients or (a.changed == b.changed and str(a.late) == str(b.late)
                             and not _gradient_difference(a, b, tolerance, []))


def _gradient_difference(mine: Outcome, reference: Outcome, tolerance: float, names: list[str]) -> Difference | None:
    for i, (g, e) in enumerate(zip(mine.gradients, reference.gradients)):
        like = e if g is None else g
        if like is None:
            continue
        g, e = (torch.zeros_like(like) if t is None else t for t in (g, e))
        found = difference(g, e, tolerance)
        if not found:
            continue
        name = names[i] if i < len(names) else f"input {i}"
        if not mine.graph:
            reason = "the value is right, but it carries no gradient (.item(), .detach(), torch.tensor, no_grad?)"
        elif not e.any():
            reason = f"the value is right, but a gradient flows into {name} that should not (detach it)"
        elif not g.any():
            reason = f"the value is right, but no gradient reaches {name} (a detach too many?)"
        else:
            reason = f"the value is right, the gradient with respect to {name} is not"
        return Difference(f"gradient of {name}", reason, g, e, True, late=True)
    return None


# ------------------------------------------------------------------------------------------------ grading
def grade(exercise: Exercise, fn: Any, cases: tuple = CASES, explain: bool = True) -> Check:
    """Judge `fn` without touching the progress; see `check`. explain=False: the verdict only, without clues."""
    reference = exercise.resolve()
    result = Check(key=exercise.key, title=exercise.title, state="todo", mine=fn, reference=reference)
    if fn is None or fn is Ellipsis:
        return result
    result.name_of_mine = getattr(fn, "__name__", type(fn).__name__)
    if not callable(fn):
        return result.wrong(f"check() was given {describe(fn)}, it expects the function itself (without brackets).")
    if fn is reference:
        result.state, result.own = "right", False
        return result
    probes = [(p, dtype, seed) for dtype, seed in ((torch.float32 if exercise.plain else d, s) for d, s in cases)
              for p in exercise.probes(torch.Generator().manual_seed(seed), dtype)]
    mine: list[Outcome] = []
    for p, _, seed in probes:
        mine.append(run(exercise, fn, p, seed))
        if isinstance(mine[-1].error, KeyboardInterrupt):
            break
    result.printed = mine[0].printed
    note = _stub(fn, mine)
    if note is not None:
        result.message = note
        return result
    if len(mine) < len(probes):
        return _crashed(result, exercise, fn, probes, mine)
    expected = [known(exercise, reference, p, seed) for p, _, seed in probes]
    verdicts = [_verdict(exercise, p, m, e) for (p, _, _), m, e in zip(probes, mine, expected)]
    if not any(verdicts):
        result.state = "right"
        return result
    named = [v for v in verdicts if v and v.reason in exercise.wrong]
    name = named[0].reason if named else _recognise(exercise, probes, mine, expected)
    if name:
        result.name, result.state, result.hint = name, "wrong", exercise.wrong[name][1]
        return result
    if any(m.error is not None and e.error is None for m, e in zip(mine, expected)):
        return _crashed(result, exercise, fn, probes, mine)
    done = [Case(p, dtype, seed, m, e) for (p, dtype, seed), m, e in zip(probes, mine, expected)]
    return _unrecognised(result, exercise, fn, done, verdicts, explain)


def _verdict(exercise: Exercise, probe: Any, mine: Outcome, expected: Outcome) -> Difference | None:
    if expected.error is not None:
        if isinstance(mine.error, type(expected.error)):
            return None
        return Difference("", f'a {type(expected.error).__name__} is expected here ("{expected.error}")', mine.value)
    if mine.error is not None:
        return Difference("", f"{type(mine.error).__name__}: {mine.error}")
    if exercise.judge:
        said = exercise.judge(mine.value, expected.value, names_of(exercise, probe))
        if said:
            return Difference("", said, mine.value, expected.value)
    else:
        found = difference(mine.value, expected.value, exercise.tolerance)
        if found:
            return found
    if mine.changed and not expected.changed:
        return Difference("", f"the value is right, but {mine.changed} is changed in place: the caller's tensor is "
                          "spoilt (an operation that ends in _, such as sub_ or fill_diagonal_, +=, or an assignment "
                          "to a part of it)", late=True)
    if mine.late is not None:
        return Difference("", "the value is right, but no gradient can be taken "
                          f"({type(mine.late).__name__}: {mine.late})", late=True)
    if exercise.gradients and not exercise.judge:
        names = [n for n, v in names_of(exercise, probe).items() for t in leaves(v) if t.is_floating_point()]
        return _gradient_difference(mine, expected, exercise.tolerance, names)
    return None


def _recognise(exercise: Exercise, probes: list, mine: list[Outcome], expected: list[Outcome]) -> str:
    """The planted misconception that does the same on every probe, in gradients if possible, else in values."""
    if exercise.judge:
        return ""
    by_value = ""
    for name, (planted, _) in exercise.wrong.items():
        if not _same(known(exercise, planted, probes[0][0], probes[0][2]), mine[0], exercise.tolerance, False):
            continue
        theirs = [known(exercise, planted, p, seed) for p, _, seed in probes]
        if all(_same(t, m, exercise.tolerance) for t, m in zip(theirs, mine)):
            return name
        if (not by_value and all(_same(t, m, exercise.tolerance, False) for t, m in zip(theirs, mine))
            and not all(_same(t, e, exercise.tolerance, False) for t, e in zip(theirs, expected))):
            by_value = name
    return by_value


def _unrecognised(result: Check, exercise: Exercise, fn: Callable, cases: list[Case], verdicts: list,
                  explain: bool) -> Check:
    """The first difference, values before gradients, and what explains it."""
    wrong = [i for i, v in enumerate(verdicts) if v]
    at = next((i for i in wrong if not verdicts[i].late), wrong[0])
    found: Difference = verdicts[at]
    parts = [found.reason + "." if found.late else f"{called(exercise, found.where)}: {found.reason}."]
    if explain and not exercise.judge:
        parts.append(clue(exercise, fn, cases))
    first, dtype = CASES[0][0], cases[at].dtype
    if dtype != first and not any(v for v, c in zip(verdicts, cases) if c.dtype == first):
        parts.append(f"It is right in float32 and differs in {str(dtype).removeprefix('torch.')}. {DTYPE_ADVICE}")
    result.difference, result.inputs = found, names_of(exercise, cases[at].probe)
    return result.wrong(" ".join(p[0].upper() + p[1:] for p in parts if p))


# ------------------------------------------------------------------------------------------------ stubs and crashes
def _stub(fn: Callable, outcomes: list[Outcome]) -> str | None:
    """None if there is something to judge, else what to say ("" for nothing)."""

    def empty(o: Outcome) -> bool:
        if o.error is not None:
            return isinstance(o.error, NotImplementedError)
        return any(o.value is e for e in EMPTY)

    if all(empty(o) for o in outcomes):
        tree = _tree(fn)
        body = [s for s in getattr(tree, "body", [])
                if isinstance(s, (ast.Assign, ast.AugAssign, ast.For, ast.If, ast.With))]
        if body and all(o.value is None and o.error is None for o in outcomes):
            return "It returns nothing yet: if you have written your answer, is the `return` missing?"
        return ""
    # A half-filled stub (`std = ...`) fails on its first use of the hole.
    holes = _holes(_tree(fn) or ast.Pass())
    errors = [o.error for o in outcomes]
    if holes and all(e is not None and "ellipsis" in str(e).lower() for e in errors):
        return f"There is still a `...` to fill in line {holes[0]}."
    return None


def _tree(fn: Callable) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(fn))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError, ValueError):
        return None


def _holes(tree: ast.AST) -> list[int]:
    """The lines in which `...` is a value, an argument or a statement; inside z[..., None] it is an index."""
    values: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)):
            values.append(node.value)
        elif isinstance(node, ast.Call):
            values += node.args
    return [v.lineno for v in values if isinstance(v, ast.Constant) and v.value is Ellipsis]


def _crashed(result: Check, exercise: Exercise, fn: Callable, probes: list, outcomes: list[Outcome]) -> Check:
    at, error = next((i, o.error) for i, o in enumerate(outcomes) if o.error is not None)
    dtype = probes[at][1]
    result.state = "crashed"
    what = "stopped by you (an endless loop?)" if isinstance(error, KeyboardInterrupt) else str(error).strip()
    result.message = f"{type(error).__name__}: {what}" if what else type(error).__name__
    code = getattr(inspect.unwrap(fn) if inspect.isroutine(fn) else getattr(fn, "__init__", fn), "__code__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    if code and frames:
        last = frames[-1]
        first = code.co_firstlineno if last.name == code.co_name else None
        place = f"line {last.lineno - first + 1} of {last.name}" if first else f"in {last.name}"
        result.where = f"{place}: {last.line}" if last.line else place
    else:
        result.where = f"while calling {result.name_of_mine}: does it take the arguments of the signature in the stub?"
    if "backward through the graph a second time" in what:
        result.message = f"{type(error).__name__}: {what.split('.')[0].split(' (or')[0]}."
        result.hint = ("Something that an earlier step computed is in use again, with its graph. What is kept from one "
                       "step to the next (a bank, a queue, a constant) must be detached.")
    if dtype != CASES[0][0] and all(o.error is None for o, p in zip(outcomes, probes) if p[1] == CASES[0][0]):
        result.hint = f"It runs in float32 and fails in {str(dtype).removeprefix('torch.')}. {DTYPE_ADVICE}"
    result.inputs = names_of(exercise, probes[at][0])
    return result
