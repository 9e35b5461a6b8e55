"""A guess made before the result is shown. It has a default, so Run All never waits.

Until the learner has set the guess the result is folded, and what they set is kept: it stands there again when the cell
is run again, after a restart too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from typing import Any

from course_lib.notebook import store
from course_lib.notebook.cards import BLUE, ORANGE, SKY, Still, card, display, fold, shell, show
from course_lib.notebook.controls import Choice, Slider
from course_lib.notebook.findings import BUILDING
from course_lib.text import prose

FOLDED = "The outcome is here: set your guess above, or open"


class Prediction:
    """A question with the learner's `guess`. `reveal(value, text)` in a later cell shows guess against outcome."""

    def __init__(self, question: str, options: Sequence, default: Any = None, unit: str = ""):
        self.question, self.unit = question, unit
        numeric = isinstance(options, tuple) and len(options) == 2 and all(map(_is_number, options))
        if numeric:
            low, high = options
            whole = all(isinstance(o, int) for o in options) and high - low >= 10
            step = 1 if whole else (high - low) / 100
            middle = (low + high) // 2 if whole else (low + high) / 2
            self.control: Slider | Choice = Slider(low, high, middle if default is None else default, step)
        else:
            self.control = Choice(list(options), default)
        self.guess: Any = self.control.start
        self.changed = self._restore()
        self._widget: Any = None
        self._button: Any = None
        self._still: Still | None = None
        self._handle: Any = None
        self._outcome: tuple | None = None

    def _restore(self) -> bool:
        """Take up the guess of an earlier run of this cell, if the control still has it."""
        before = store.answered("guesses", self.question)
        if isinstance(self.control, Choice):
            found = [option for option in self.control.options if str(option) == before]
        else:
            found = [before] if _is_number(before) and self.control.low <= before <= self.control.high else []
        if found:
            self.guess = found[0]
        return bool(found)

    def _text(self, value: Any) -> str:
        return f"{value:.4g} {self.unit}".strip() if _is_number(value) else str(value)

    def show(self) -> None:
        """Draw the question and its control here; silent outside IPython."""
        if shell() is None:
            return
        import ipywidgets as widgets

        self._widget = self.control.widget("guess", False)  # a slider is set when the mouse lets go
        self._widget.value = self.guess
        self._widget.observe(lambda change: self.set(change["new"]), "value")
        self._button = widgets.Button(description="this is my guess", tooltip="keep it as it stands",
                                      layout={"width": "auto", "display": "none" if self.changed else ""})
        self._button.on_click(lambda _: self.set(self.guess))
        row = widgets.HBox([self._widget, widgets.Label(self.unit), self._button],
                           layout={"flex_flow": "row wrap", "align_items": "flex-end"})
        box = widgets.VBox([widgets.HTML(card(BLUE, self._head())), row])
        self._still = show(self._card(), repr(self), box)

    def _head(self) -> str:
        return f"Your guess first: {prose(self.question)}"

    def _card(self) -> str:
        """What stands for the control where it cannot be moved."""
        if isinstance(self.control, Choice):
            offered = "; ".join(map(str, self.control.options))
        else:
            offered = " to ".join(self._text(end) for end in self.control.ends)
        stands = f"{offered}. The guess stands at {self._text(self.guess)} (run this cell to move it)."
        return card(BLUE, self._head(), f"<small>{escape(stands)}</small>")

    def set(self, guess: Any) -> None:
        """Make this the learner's guess, keep it, and unfold the outcome. ValueError for what the control has not."""
        self.guess, self.changed = self.control.check(guess), True
        store.keep("guesses", self.question, str(guess) if isinstance(self.control, Choice) else guess)
        if self._widget is not None:
            self._widget.value, self._button.layout.display = guess, "none"
        if self._still is not None:
            self._still.update(self._card(), repr(self))
        if self._handle is not None and self._outcome is not None:
            self._handle.update(self._bundle(*self._outcome), raw=True)

    def verdict(self, value: Any) -> str:
        """Guess against outcome in words."""
        mine = self._text(self.guess) if self.changed else f"{self._text(self.guess)} (the default)"
        said = f"Guess: {mine}. Outcome: {self._text(value)}."
        if isinstance(self.control, Choice):
            return f"{said} {'✓ As guessed.' if value == self.guess else '✗ Not as guessed.'}"
        off, span = self.guess - float(value), self.control.high - self.control.low
        if abs(off) <= 0.05 * span:
            return f"{said} ✓ Close."
        return f"{said} The guess was {self._text(abs(off))} too {'high' if off > 0 else 'low'}."

    def _bundle(self, value: Any, text: str) -> dict:
        said = self.verdict(value)
        html = card(ORANGE, escape(said), self._line(value), prose(text))
        if not self.changed and not os.environ.get(BUILDING):  # the course's own notebooks show it
            html = fold(FOLDED, html)
        return {"text/html": html, "text/plain": f"{said} {text}".strip()}

    def _line(self, value: Any) -> str:
        """Guess and outcome as two marks on a line, for numbers."""
        if isinstance(self.control, Choice):
            return ""
        low, span = self.control.low, self.control.high - self.control.low
        marks = ""
        for symbol, word, at, colour in (("◇", "guess", self.guess, SKY), ("◆", "outcome", float(value), ORANGE)):
            percent = 100 * min(1.0, max(0.0, (at - low) / span))
            marks += (f"<div style='margin-left:calc({percent:.1f}% - .5em);white-space:nowrap'>"
                      f"<span style='color:rgb({colour})'>{symbol}</span> {word}</div>")
        frame = "max-width:24em;border-bottom:1px solid gray;margin:.4em 4em .4em .5em"
        return f"<div style='{frame}'>{marks}</div>"

    def reveal(self, value: Any, text: str = "") -> None:
        """Show the outcome beside the guess, folded until the guess was set.

        value: in the unit of the question's range, or one of its options.
        """
        if isinstance(self.control, Choice):
            self.control.check(value)
        self._outcome = (value, text)
        self._handle = display(self._bundle(value, text), update=True)

    def __repr__(self) -> str:
        return f"Prediction({self.question!r}, guess {self._text(self.guess)})"

    def _ipython_display_(self) -> None:
        """Nothing: it was drawn when it was made."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def predict(question: str, options: Sequence, default: Any = None, unit: str = "") -> Prediction:
    """Ask for a guess here and go on; it is `default` until the learner moves it.

    options: (low, high), a tuple of two numbers, for a slider; else a list of choices. default: the middle, or the
    first choice. unit: printed after numbers, as in "%"; range, guess and outcome are all in that unit.
    """
    made = Prediction(question, options, default, unit)
    made.show()
    return made
