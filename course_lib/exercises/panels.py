"""How hints, the library's source and the table of progress draw themselves."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from course_lib.notebook.cards import LOOK, card, fold
from course_lib.text import html_table, prose, text_table


@dataclass
class Hints:
    """Hints of one exercise, each folded until it is opened."""

    key: str
    title: str
    shown: tuple[str, ...]
    total: int

    def __repr__(self) -> str:
        lines = [f"hint {i} of {self.total}: " + hint.replace("\n", "\n    ") for i, hint in enumerate(self.shown, 1)]
        return "\n".join(lines) or f"{self.key} has no hints"

    def _repr_html_(self) -> str:
        folded = [fold(f"hint {i} of {self.total}", f"<pre>{escape(hint)}</pre>" if "return " in hint else prose(hint))
                  for i, hint in enumerate(self.shown, 1)]
        return card(LOOK["todo"][2], escape(f"{self.key} {self.title}"), *(folded or ["no hints"]))


@dataclass
class Solution:
    """The library's source for an exercise."""

    key: str
    title: str
    where: str
    source: str

    def __repr__(self) -> str:
        return f"# {self.where}\n{self.source}"

    def _repr_html_(self) -> str:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        # inline colours on their own ground: readable in a dark theme, too, which has its own for a <pre>
        code = highlight(self.source, PythonLexer(), HtmlFormatter(
            noclasses=True, cssstyles="padding:.5em;border-radius:6px",
            prestyles="color:#222;background:none;margin:0"))
        return card(LOOK["right"][2], escape(f"{self.key} {self.title}: the library's {self.where}"), code)


@dataclass
class Progress:
    """All exercises with what is stored about them: rows of (key, title, minutes, difficulty, entry).

    lesson: "03", whose exercises are shown, and the others folded; "": all are shown.
    """

    rows: list[tuple[str, str, int, int, dict]]
    lesson: str = ""

    @property
    def done(self) -> int:
        """How many are solved."""
        return sum(bool(entry.get("solved")) for *_, entry in self.rows)

    def parts(self) -> tuple[Progress | None, Progress]:
        """This lesson's exercises and those of the others; None without a lesson, or if it has no exercises."""
        mine = [row for row in self.rows if self.lesson and row[0].startswith(f"{self.lesson}.")]
        others = [row for row in self.rows if row not in mine]
        return Progress(mine) if mine else None, Progress(others)

    def _head(self) -> str:
        return f"{self.done} of {len(self.rows)} exercises done"

    def _lines(self) -> list[tuple[str, ...]]:
        return [(" ".join(_state(entry)[:2]), key, title, f"{minutes} min", "●" * difficulty + "○" * (5 - difficulty))
                for key, title, minutes, difficulty, entry in self.rows]

    def _table(self) -> str:
        return html_table(self._lines(), edges=[_state(entry)[2] for *_, entry in self.rows])

    def __repr__(self) -> str:
        here, others = self.parts()
        if here is None:
            return f"{self._head()}\n{text_table(self._lines(), '<<<>')}" if self.rows else self._head()
        rest = f"\nother lessons: {others._head()}" if others.rows else ""
        return f"this lesson: {here._head()}\n{text_table(here._lines(), '<<<>')}{rest}"

    def _repr_html_(self) -> str:
        here, others = self.parts()
        if here is None:
            return card(LOOK["right"][2], self._head(), self._table())
        rest = fold(f"Other lessons: {others._head()}", others._table()) if others.rows else ""
        return card(LOOK["right"][2], f"This lesson: {here._head()}", here._table(), rest)


def _state(entry: dict) -> tuple[str, str, str]:
    """Symbol, word and colour of an exercise's entry."""
    if entry.get("solved"):
        return "✓", "done", LOOK["right"][2]
    return ("◐", "tried", LOOK["wrong"][2]) if entry.get("checks") else LOOK["todo"]
