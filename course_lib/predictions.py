"""A guess taken before the result is shown. It has a default, so Run All never waits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from typing import Any

from .controls import Choice, Slider

WIDGET = "application/vnd.jupyter.widget-view+json"
BLUE, ORANGE = "0,114,178", "230,159,0"


def shell() -> Any:
    """The IPython shell that runs this code, or None."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def _card(colour: str, *lines: str) -> str:
    inner = "".join(f"<div>{line}</div>" for line in lines if line)
    return (
        f"<div style='border-left:6px solid rgb({colour});background:rgba({colour},.08);padding:.6em .9em;"
        f"margin:.3em 0;max-width:60em;line-height:1.45'>{inner}</div>"
    )


class Prediction:
    """A question with the learner's `guess`. `reveal(value, text)` in a later cell shows guess against
    outcome."""

    def __init__(self, question: str, options: Sequence, default: Any = None, unit: str = ""):
        self.question, self.unit = question, unit
        numeric = (
            isinstance(options, tuple)
            and len(options) == 2
            and all(isinstance(o, (int, float)) and not isinstance(o, bool) for o in options)
        )
        if numeric:
            low, high = options
            whole = all(isinstance(o, int) for o in options) and high - low >= 10
            step = 1 if whole else (high - low) / 100
            middle = (low + high) // 2 if whole else (low + high) / 2
            self.control: Slider | Choice = Slider(low, high, middle if default is None else default, step)
        else:
            self.control = Choice(list(options), default)
        self.guess: Any = self.control.start
        self.changed = False
        self._widget: Any = None
        self._handle: Any = None
        self._outcome: tuple | None = None

    def _text(self, value: Any) -> str:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return f"{value:.4g}{' ' + self.unit if self.unit else ''}" if number else str(value)

    def show(self) -> None:
        """Draw the question and its control here; silent outside IPython."""
        if shell() is None:
            return
        from IPython.display import display

        choices = self.control.options if isinstance(self.control, Choice) else None
        offered = (
            "; ".join(map(str, choices)) if choices else " to ".join(self._text(e) for e in self.control.ends)
        )
        note = f"<small>{escape(offered)}. The guess stands at {escape(self._text(self.guess))}.</small>"
        head = f"<b>Your guess first:</b> {escape(self.question)}"
        bundle = {"text/html": _card(BLUE, head, note), "text/plain": repr(self)}
        try:
            import ipywidgets as widgets
        except ImportError:
            display(bundle, raw=True)
            return
        self._widget = self.control.widget(self.unit or "guess", True)
        self._widget.observe(self._moved, "value")
        box = widgets.VBox([widgets.HTML(_card(BLUE, head)), self._widget])
        bundle[WIDGET] = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
        display(bundle, raw=True)

    def _moved(self, change: dict) -> None:
        self.guess, self.changed = change["new"], True
        if self._handle is not None and self._outcome is not None:
            self._handle.update(self._bundle(*self._outcome), raw=True)

    def verdict(self, value: Any) -> str:
        """Guess against outcome in words."""
        mine = self._text(self.guess) if self.changed else f"{self._text(self.guess)} (the default)"
        said = f"Guess: {mine}. Outcome: {self._text(value)}."
        if isinstance(self.control, Choice):
            return f"{said} {'✓ As guessed.' if value == self.guess else '✗ Otherwise than guessed.'}"
        off, span = self.guess - float(value), self.control.high - self.control.low
        if abs(off) <= 0.05 * span:
            return f"{said} ✓ Close."
        return f"{said} The guess was {self._text(abs(off))} too {'high' if off > 0 else 'low'}."

    def _bundle(self, value: Any, text: str) -> dict:
        said = self.verdict(value)
        html = _card(ORANGE, f"<b>{escape(said)}</b>", self._line(value), escape(text))
        return {"text/html": html, "text/plain": f"{said} {text}".strip()}

    def _line(self, value: Any) -> str:
        """Guess and outcome as two marks on a line, for numbers."""
        if isinstance(self.control, Choice):
            return ""
        low, span = self.control.low, self.control.high - self.control.low
        marks = ""
        for symbol, word, at, colour in (
            ("◇", "guess", self.guess, BLUE),
            ("◆", "outcome", float(value), ORANGE),
        ):
            percent = 100 * min(1.0, max(0.0, (at - low) / span))
            marks += (
                f"<div style='margin-left:calc({percent:.1f}% - .5em);white-space:nowrap;"
                f"color:rgb({colour})'>{symbol} {word}</div>"
            )
        frame = "max-width:24em;border-bottom:1px solid gray;margin:.4em 4em .4em .5em"
        return f"<div style='{frame}'>{marks}</div>"

    def reveal(self, value: Any, text: str = "") -> None:
        """Show the outcome beside the guess. value: in the unit of the question's range, or one of its
        options."""
        if isinstance(self.control, Choice):
            self.control.check(value)
        self._outcome = (value, text)
        if shell() is not None:
            from IPython.display import display

            self._handle = display(self._bundle(value, text), raw=True, display_id=True)

    def __repr__(self) -> str:
        return f"Prediction({self.question!r}, guess {self._text(self.guess)})"

    def _ipython_display_(self) -> None:
        """Drawn when it was made; as the last line of a cell it isn't drawn a second time."""


def predict(question: str, options: Sequence, default: Any = None, unit: str = "") -> Prediction:
    """Ask for a guess here and go on: it stands at `default` until the learner moves it.

    options: (low, high), a tuple of two numbers, for a slider; else a list of choices. default: the middle,
    or the first choice. unit: printed behind numbers, as in "%": range, guess and outcome are all in that
    unit.
    """
    made = Prediction(question, options, default, unit)
    made.show()
    return made
