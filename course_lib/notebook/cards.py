"""The one card of checks, hints, questions, guesses and claims: HTML without scripts."""

from __future__ import annotations

import sys
from typing import Any

WIDGET = "application/vnd.jupyter.widget-view+json"
# Okabe and Ito's colours, which the colour-blind can tell apart; on a translucent ground, so dark themes work.
BLUE, GREEN, ORANGE, PINK, RED, SKY = "0,114,178", "0,158,115", "230,159,0", "204,121,167", "213,94,0", "86,180,233"
TEXT = "var(--jp-ui-font-color1, inherit)"  # a text's colour: the theme's, light or dark
# state or verdict -> symbol, word, colour
LOOK = {
    "right": ("✓", "right", GREEN), "wrong": ("✗", "not yet", RED), "crashed": ("!", "crashed", PINK),
    "done": ("✓", "done", GREEN), "todo": ("○", "to do", SKY),
    "supported": ("✓", "supported", GREEN), "refuted": ("✗", "refuted", RED),
    "not separable": ("≈", "not separable", ORANGE),
}


def card(colour: str, head: str, *body: str) -> str:
    """A coloured bar, a line in bold and the parts below it, all HTML; empty parts are left out."""
    inner = "".join(f"<div style='margin-top:.4em'>{part}</div>" for part in body if part)
    return (f"<div style='border-left:6px solid rgb({colour});background:rgba({colour},.08);padding:.6em .9em;"
            f"margin:.3em 0;max-width:60em;line-height:1.45'><div><b>{head}</b></div>{inner}</div>")


def fold(title: str, inner: str) -> str:
    """HTML that opens with a click on its title."""
    return f"<details><summary style='cursor:pointer'>{title}</summary>{inner}</details>"


def mark(symbol: str) -> str:
    """A symbol that screen readers skip, because the word beside it says the same."""
    return f"<span aria-hidden='true'>{symbol}</span>"


# ------------------------------------------------------------------------------------------------ display
def shell() -> Any:
    """The IPython shell that runs this code, or None."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def show(html: str, text: str, box: Any = None) -> None:
    """Display a card at this point of the cell's output; silent outside IPython.

    box: a widget that replaces it where a front end can show widgets; others, and a saved file, show the card.
    """
    display(with_widget({"text/html": html, "text/plain": text}, box))


def with_widget(bundle: dict, box: Any = None) -> dict:
    """A mime bundle with a widget before it."""
    view = {} if box is None else {WIDGET: {"version_major": 2, "version_minor": 0, "model_id": box.model_id}}
    return {**view, **bundle}


def display(bundle: dict, update: bool = False) -> Any:
    """Display a mime bundle, silent outside IPython; update=True returns a handle to update it by."""
    if shell() is None:
        return None
    from IPython.display import display as show_here

    return show_here(bundle, raw=True, display_id=update or None)
