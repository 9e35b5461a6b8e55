"""How a check draws itself: HTML without scripts, and plain text.

Every state has a colour (of Okabe and Ito's colour-blind-safe set), a symbol and a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from torch import Tensor

from course_lib.exercises.difference import Difference, describe
from course_lib.notebook.cards import LOOK, card, fold, mark, show
from course_lib.text import prose

ROWS, COLUMNS = 6, 8


@dataclass
class Check:
    """The result of a check; draws itself, also when `.use` is read.

    state: "todo", "wrong", "crashed" or "right". name, hint: of a recognised misconception; else message, where,
    difference.
    """

    key: str
    title: str
    state: str
    mine: Any
    reference: Callable
    name: str = ""
    hint: str = ""
    message: str = ""
    where: str = ""
    difference: Difference | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    printed: str = ""
    own: bool = True  # False: the library's own function was given
    solved: bool = False  # now or at an earlier check
    name_of_mine: str = "your function"
    _drawn: bool = field(default=False, repr=False)

    def wrong(self, message: str) -> Check:
        self.state, self.message = "wrong", message
        return self

    @property
    def use(self) -> Callable:
        """The learner's function if right, else the library's, for the rest of the lesson.

        Draws the card, since `f = check(...).use` shows nothing by itself.
        """
        if not self._drawn:
            self._ipython_display_()
        return self.mine if self.state == "right" else self.reference

    def _lines(self) -> list[str]:
        """The card's sentences, without the head."""
        reference = getattr(self.reference, "__name__", "answer")
        lines = []
        if self.state == "todo":
            lines.append(self.message or "Write the function above and run this cell again.")
        elif self.state == "wrong" and self.name:
            lines.append(f"This looks like: {self.name}. {self.hint}")
        elif self.state == "crashed":
            lines += [self.message, self.where, self.hint]
        else:
            lines.append(self.message)
        if self.state == "right" and not self.own:
            lines.append("This is the library's own function. To check yours, run the cell that defines it again.")
        elif self.state == "right":
            lines.append(f"From here on the lesson uses your {self.name_of_mine}.")
        else:
            lines.append(f"Until it is right, the lesson goes on with the library's {reference}.")
        if self.solved and self.state != "right":
            lines.append(f'You solved this one before: print(answer("{self.key}")) shows what you wrote.')
        return [line for line in lines if line]

    def _head(self) -> str:
        symbol, word, _ = LOOK[self.state]
        return f"{symbol} {self.key} {self.title}: {word}"

    def __repr__(self) -> str:
        parts = [self._head(), *("  " + line for line in self._lines())]
        if self.inputs:
            parts.append("  inputs: " + _inputs(self.inputs))
        if self.difference is not None and _drawable(self.difference):
            for label, value in (("yours", self.difference.got), ("expected", self.difference.expected)):
                parts.append(f"  {label}: " + "\n    ".join(_text(value)))
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        symbol, word, colour = LOOK[self.state]
        body = [prose(line) for line in self._lines()]
        if self.where and self.state == "crashed":
            body[1] = f"<code>{escape(self.where)}</code>"
        shown = []
        if self.difference is not None and _drawable(self.difference):
            shown.append(_side_by_side(self.difference))
        if self.inputs:
            shown.append(f"<small>inputs: {escape(_inputs(self.inputs))}</small>")
        at = 2 if self.state == "crashed" else 1
        body[at:at] = shown
        if self.printed.strip():
            printed = "\n".join(self.printed.strip().splitlines()[:20])
            body.append(fold("what your function printed on the first probe", f"<pre>{escape(printed)}</pre>"))
        return card(colour, f"{mark(symbol)} {escape(self.key)} {escape(self.title)}: {word}", *body)

    def _ipython_display_(self) -> None:
        self._drawn = True
        show(self._repr_html_(), repr(self))


# ------------------------------------------------------------------------------------------------ values side by side
def _inputs(inputs: Mapping[str, Any]) -> str:
    def short(value: Any) -> str:
        return (f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, (int, str))
                else describe(value))

    return ", ".join(f"{name} = {short(value)}" for name, value in inputs.items())


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, (bool, int, float, np.ndarray, np.generic)):
        array = np.asarray(value)
        return array if array.dtype.kind in "biuf" else None
    return None


def _drawable(found: Difference) -> bool:
    return any(a is not None and a.size > 0 for a in map(_array, (found.got, found.expected)))


def _plane(array: np.ndarray) -> np.ndarray:
    """The first plane of an array, as a matrix: (..., H, W) -> (H, W), (N,) -> (1, N), () -> (1, 1)."""
    array = np.atleast_2d(array)
    return array.reshape(-1, *array.shape[-2:])[0]


def _corner(got: np.ndarray | None, expected: np.ndarray | None) -> tuple[int, int]:
    """The corner of the window to show: the first entry that differs, if both have one shape."""
    if got is None or expected is None or got.shape != expected.shape:
        return 0, 0
    differs = ~np.isclose(got.astype(float), expected.astype(float), rtol=1e-5, atol=1e-6, equal_nan=True)
    if not differs.any():
        return 0, 0
    r, c = np.argwhere(differs)[0]
    return (int(max(0, min(r, got.shape[0] - ROWS))), int(max(0, min(c, got.shape[1] - COLUMNS))))


def _side_by_side(found: Difference) -> str:
    arrays = [None if (a := _array(v)) is None or not a.size else _plane(a) for v in (found.got, found.expected)]
    r, c = _corner(*arrays)
    finite = np.concatenate([a[np.isfinite(a)].astype(float).ravel() for a in arrays if a is not None] + [np.zeros(1)])
    scale = max(float(np.abs(finite).max()), 1e-12)
    cells = []
    for label, value, plane, other in zip(("yours", "expected"), (found.got, found.expected), arrays, arrays[::-1]):
        if plane is None:
            inner = f"<div>{escape(describe(value))}</div>"
        else:
            same_shape = other is not None and other.shape == plane.shape
            inner = _table(plane, other if same_shape else None, r, c, scale)
        shape = _array(value)
        note = "" if shape is None or not shape.size else f" <small>shape {shape.shape}</small>"
        cells.append(f"<div><div>{label}{note}</div>{inner}</div>")
    return f"<div style='display:flex;gap:2em;flex-wrap:wrap'>{''.join(cells)}</div>"


def _table(plane: np.ndarray, other: np.ndarray | None, r: int, c: int, scale: float) -> str:
    rows = []
    for i in range(r, min(r + ROWS, plane.shape[0])):
        row = []
        for j in range(c, min(c + COLUMNS, plane.shape[1])):
            v = float(plane[i, j])
            # blue below zero, orange above; a frame and a sign mark entries that differ
            colour = "0,114,178" if v < 0 else "230,159,0"
            shade = 0.45 * min(1.0, abs(v) / scale) if np.isfinite(v) else 0
            differs = other is not None and not np.isclose(v, float(other[i, j]), rtol=1e-5, atol=1e-6, equal_nan=True)
            frame = "2px solid rgb(213,94,0)" if differs else "1px solid rgba(128,128,128,.3)"
            row.append(f"<td style='border:{frame};background:rgba({colour},{shade:.2f});text-align:right;"
                       f"padding:1px 5px;font-family:monospace'>{'≠ ' if differs else ''}{v:.4g}</td>")
        if c + COLUMNS < plane.shape[1]:
            row.append("<td>…</td>")
        rows.append(f"<tr>{''.join(row)}</tr>")
    if r + ROWS < plane.shape[0]:
        rows.append("<tr><td>…</td></tr>")
    start = f"<small>from row {r}, column {c}</small>" if r or c else ""
    return f"<table style='border-collapse:collapse'>{''.join(rows)}</table>{start}"


def _text(value: Any) -> list[str]:
    array = _array(value)
    if array is None or array.size == 0:
        return [describe(value)]
    text = np.array2string(_plane(array)[:ROWS, :COLUMNS] if array.ndim else array, precision=4, suppress_small=True)
    return [*text.splitlines()] + ([f"(a part of shape {array.shape})"] if array.size > ROWS * COLUMNS else [])
