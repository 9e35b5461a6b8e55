"""A wrong answer that one change of its source makes right, or that is the reference with one thing changed."""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Callable, Iterator
from itertools import chain

from course_lib.exercises.evidence import Evidence, asked_once
from course_lib.exercises.insertions import exchanges, insertions
from course_lib.exercises.mutants import Edit, Source, short

SECONDS = 0.4  # of processor time for each of the two searches


class OneChange(Evidence):
    """The two searches, for `Clues`."""

    @asked_once
    def mended(self) -> str:
        """One change of the learner's source that makes every value right: where it is, and of what kind."""
        return self._search(self.fn, to_mine=False)

    @asked_once
    def changed_reference(self) -> str:
        """One change of the reference that gives the learner's result."""
        return self._search(self.reference, to_mine=True)

    def _search(self, fn: Callable, to_mine: bool) -> str:
        try:
            source = Source(fn)
        except (OSError, TypeError, SyntaxError, IndexError, ValueError, KeyError):
            return ""
        name = getattr(source.tree.body[0], "name", "")
        if not inspect.isfunction(source.original) or name != source.original.__name__:
            return ""
        end, found, wanted = time.process_time() + SECONDS, "", ""
        first = () if to_mine else _other_numbers(source, self._numbers())
        for tried, (edit, made) in enumerate(chain(first, _candidates(source))):
            if tried % 16 == 0 and time.process_time() > end:
                break
            if made is None or (found and edit.said != wanted) or not self.all_equal(made, to_mine=to_mine):
                continue
            if to_mine:
                return _as_reference(source, edit)
            if edit.kind != "add":
                return _as_mending(source, edit)
            if said := self._in_its_place(source, edit):
                return said
            found, wanted = found or _as_mending(source, edit), edit.said  # further on it may stand in a call's place
        return found

    def _numbers(self) -> set[float]:
        """The fractions that stand in the reference's source; none where it has no source."""
        try:
            tree = Source(self.reference).tree
        except (OSError, TypeError, SyntaxError):
            return set()
        return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is float}

    def _in_its_place(self, source: Source, edit: Edit) -> str:
        """An operation put in may leave nothing to do for the calls around it: then it belongs in their place."""
        for call, said in source.calls_on(edit.node):
            source.put(call, edit.after)
            instead = source.compiled()
            source.put(call, edit.after, back=True)
            if instead is not None and self.all_equal(instead, to_mine=False):
                return (f"One step from right: line {source.line_of(call)}, `{short(call)}`: in place of `{said}` "
                        f"{edit.said} is needed.")
        return ""


def _other_numbers(source: Source, numbers: set[float]) -> Iterator[tuple[Edit, Callable | None]]:
    """Each of the reference's numbers in the place of each fraction."""
    for node in source.nodes:
        if isinstance(node, ast.Constant) and type(node.value) is float:
            for number in sorted(numbers - {node.value}):
                after = ast.Constant(number)
                source.put(node, after)
                function = source.compiled()
                source.put(node, after, back=True)
                yield Edit(node, after, "swap", str(node.value)), function


def _candidates(source: Source) -> Iterator[tuple[Edit, Callable | None]]:
    for edit in source.edits():
        yield edit, source.compiled()
    yield from exchanges(source)
    yield from insertions(source)


def _as_mending(source: Source, edit: Edit) -> str:
    source.put(edit.node, edit.after, back=True)  # the line is quoted as it was written
    place, line = source.context(edit.node), source.line_of(edit.node)
    what = {"drop": f"`{edit.said}` does not belong there", "swap": f"look at `{edit.said}`",
            "add": f"{edit.said} is missing around `{short(edit.node)}`", "reduce": edit.said}[edit.kind]
    return f"One step from right: line {line}, `{place}`: {what}."


def _as_reference(source: Source, edit: Edit) -> str:
    if edit.kind == "drop":
        return f"Yours is what comes out when `{edit.said}` is left out."
    if isinstance(edit.after, ast.Constant) and type(edit.after.value) in (int, float):
        source.put(edit.node, edit.after, back=True)  # as it is written
        return (f"Yours is what comes out where `{edit.said}` in `{source.context(edit.node)}` is another number, such "
                f"as {ast.unparse(edit.after)}.")
    if edit.kind in ("swap", "reduce"):
        shown = source.context(edit.node, edit.after)
        return f"Yours is what comes out with `{shown}`, which is not quite what is needed."
    return f"Yours is what comes out with {edit.said} too much, around `{short(edit.node)}`."
