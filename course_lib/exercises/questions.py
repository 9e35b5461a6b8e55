"""Questions with an explanation for every choice: radio buttons where there is a front end, else folded text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from course_lib.notebook import store
from course_lib.notebook.cards import LOOK, card, fold, show
from course_lib.text import prose


@dataclass
class Quiz:
    """A question. `choices`: text -> explanation; `answer`: the text of the right one. `pick(text)` -> explanation.

    What was chosen is kept, and stands there again when the cell is run again, after a restart too.
    """

    question: str
    choices: dict[str, str]
    answer: str
    _box: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.answer not in self.choices:
            raise ValueError(f"the answer {self.answer!r} is not one of the choices: {list(self.choices)}")
        bare = [text for text, explanation in self.choices.items() if not explanation.strip()]
        if len(self.choices) < 2 or bare:
            raise ValueError(f"a question needs at least two choices, each with an explanation; without one: {bare}")

    def pick(self, text: str) -> str:
        """The verdict on a choice and its explanation."""
        return f"{'✓ Right' if text == self.answer else '✗ Not quite'}. {self.choices[text]}"

    def __repr__(self) -> str:
        return "\n".join([self.question, *(f"  ( ) {text}" for text in self.choices)])

    def _repr_html_(self) -> str:
        folded = [fold(prose(text), f"<div style='margin-left:1.2em'>{prose(self.pick(text))}</div>")
                  for text in self.choices]
        return card(LOOK["todo"][2], prose(self.question), *folded, "<small>Open a choice, or run this cell.</small>")

    def _ipython_display_(self) -> None:
        if self._box is None:
            self._box = self._widget()
        show(self._repr_html_(), repr(self), self._box)

    def _widget(self) -> Any:
        import ipywidgets as widgets

        radio = widgets.RadioButtons(options=list(self.choices), value=None,
                                     layout=widgets.Layout(width="auto", max_width="60em"))
        note = widgets.HTML("")

        def explain(text: str) -> None:
            note.value = card(LOOK["right" if text == self.answer else "wrong"][2], prose(self.pick(text)))

        def chosen(change: dict) -> None:
            explain(change["new"])
            store.keep("quizzes", self.question, change["new"])

        if (before := store.answered("quizzes", self.question)) in self.choices:
            radio.value = before
            explain(before)
        radio.observe(chosen, "value")
        return widgets.VBox([widgets.HTML(f"<b>{prose(self.question)}</b>"), radio, note])


def quiz(question: str, choices: dict[str, str], answer: str) -> Quiz:
    """A question whose every choice is explained; make it the last line of its cell.

    quiz("Which term keeps dimensions apart?", {"variance": "It keeps them alive, ...", "covariance": "..."},
    "covariance")
    """
    return Quiz(question, dict(choices), answer)
