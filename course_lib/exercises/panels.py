"""How hints, the library's source and the table of progress draw themselves."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from .cards import LOOK, card, fold


@dataclass
class Hints:
    """Hints of one exercise, each folded until it is opened."""

    key: str
    title: str
    shown: tuple[str, ...]
    total: int

    def __repr__(self) -> str:
        lines = [f"hint {i} of {self.total}: {hint}" for i, hint in enumerate(self.shown, 1)]
        return "\n".join(lines) or f"{self.key} has no hints"

    def _repr_html_(self) -> str:
        folded = [fold(f"hint {i} of {self.total}", escape(hint)) for i, hint in enumerate(self.shown, 1)]
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
        try:
            from pygments import highlight
            from pygments.formatters import HtmlFormatter
            from pygments.lexers import PythonLexer

            # Colours inline and on a ground of their own: readable in a dark theme as well.
            code = highlight(
                self.source, PythonLexer(), HtmlFormatter(noclasses=True, cssstyles="color:#222;padding:.5em")
            )
        except ImportError:
            code = f"<pre>{escape(self.source)}</pre>"
        return card(LOOK["right"][2], escape(f"{self.key} {self.title}: the library's {self.where}"), code)


@dataclass
class Progress:
    """All exercises with what is stored about them: rows of (key, title, minutes, difficulty, entry)."""

    rows: list[tuple[str, str, int, int, dict]]

    @staticmethod
    def _state(entry: dict) -> tuple[str, str]:
        if entry.get("solved"):
            return "✓", "done"
        return ("◐", "tried") if entry.get("checks") else ("○", "to do")

    @property
    def done(self) -> int:
        """How many are solved."""
        return sum(bool(entry.get("solved")) for *_, entry in self.rows)

    def __repr__(self) -> str:
        lines = [f"{self.done} of {len(self.rows)} exercises done"]
        for key, title, minutes, difficulty, entry in self.rows:
            state = " ".join(self._state(entry))
            lines.append(f"  {state:8} {key:18} {title} ({minutes} min, difficulty {difficulty} of 5)")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        colours = {"done": LOOK["right"][2], "tried": LOOK["wrong"][2], "to do": LOOK["todo"][2]}
        rows = []
        for key, title, minutes, difficulty, entry in self.rows:
            symbol, word = self._state(entry)
            left = "text-align:left"
            rows.append(
                f"<tr><td style='border-left:6px solid rgb({colours[word]});{left}'>{symbol} {word}</td>"
                f"<td style='{left}'>{escape(key)}</td><td style='{left}'>{escape(title)}</td>"
                f"<td>{minutes} min</td>"
                f"<td>{'●' * difficulty}{'○' * (5 - difficulty)}</td></tr>"
            )
        head = f"{self.done} of {len(self.rows)} exercises done"
        return card(LOOK["right"][2], head, f"<table>{''.join(rows)}</table>")
