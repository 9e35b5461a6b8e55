"""Questions with an explanation for every choice: radio buttons where there is a front end, folded text
elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

from .cards import LOOK, card, fold

WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Quiz:
    """A question. `choices`: text -> explanation; `answer`: the text of the right one. `pick(text)` ->
    explanation."""

    question: str
    choices: dict[str, str]
    answer: str
    picked: str | None = None
    _box: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.answer not in self.choices:
            raise ValueError(f"the answer {self.answer!r} is not one of the choices: {list(self.choices)}")
        bare = [text for text, explanation in self.choices.items() if not explanation.strip()]
        if len(self.choices) < 2 or bare:
            raise ValueError(
                f"a question needs at least two choices, each with an explanation; without one: {bare}"
            )

    def pick(self, text: str) -> str:
        """Choose: the verdict and the explanation, as one sentence."""
        self.picked = text
        return f"{'✓ Right' if text == self.answer else '✗ Not quite'}. {self.choices[text]}"

    def __repr__(self) -> str:
        return "\n".join([self.question, *(f"  ( ) {text}" for text in self.choices)])

    def _repr_html_(self) -> str:
        folded = [
            fold(escape(text), f"<div style='margin-left:1.2em'>{escape(self.pick_text(text))}</div>")
            for text in self.choices
        ]
        return card(LOOK["todo"][2], escape(self.question), *folded)

    def pick_text(self, text: str) -> str:
        """As `pick`, without choosing."""
        return f"{'✓ Right' if text == self.answer else '✗ Not quite'}. {self.choices[text]}"

    def _repr_mimebundle_(self, **_: Any) -> dict:
        # The widget and the folded text are one output: a front end without widgets, or a saved file, shows
        # the text.
        bundle = {"text/plain": repr(self), "text/html": self._repr_html_()}
        box = self._widget()
        if box is not None:
            bundle[WIDGET] = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
        return bundle

    def _widget(self) -> Any:
        try:
            import ipywidgets as widgets
        except ImportError:
            return None
        if self._box is None:
            head = widgets.HTML(f"<b>{escape(self.question)}</b>")
            radio = widgets.RadioButtons(
                options=list(self.choices), value=None, layout=widgets.Layout(width="auto", max_width="60em")
            )
            note = widgets.HTML("")

            def chosen(change: dict) -> None:
                colour = LOOK["right" if change["new"] == self.answer else "wrong"][2]
                note.value = card(colour, escape(self.pick(change["new"])))

            radio.observe(chosen, "value")
            self._box = widgets.VBox([head, radio, note])
        return self._box


def quiz(question: str, choices: dict[str, str], answer: str) -> Quiz:
    """A question whose every choice is explained; make it the last line of its cell.

    quiz("Which term keeps dimensions apart?", {"variance": "It keeps them alive, ...", "covariance": "..."},
    "covariance")
    """
    return Quiz(question, dict(choices), answer)
