"""The one card of checks, hints, questions, guesses and claims: HTML without scripts."""

from __future__ import annotations

import re
from typing import Any

from course_lib.train.interrupt import shell

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


_STILL = re.compile(r"<style>[^<]*</style><div class='course-[0-9a-f]+-still'>(.*)</div>", re.DOTALL)


# ------------------------------------------------------------------------------------------------ display
def show(html: str, text: str, box: Any = None) -> Still | None:
    """Display a card at this point of the cell's output; silent outside IPython.

    box: a widget that replaces the card for as long as it lives. The card is an output of its own below it, for
    front ends without widgets, and for a saved notebook, whose kernel has gone.
    """
    if box is None or shell() is None:
        display({"text/html": html, "text/plain": text})
        return None
    return Still(html, text, box)


def without_widget(bundle: dict) -> dict:
    """A saved mime bundle for where no kernel is: {} if it was a widget's alone, a card without its style."""
    if WIDGET in bundle and bundle.keys() <= {WIDGET, "text/plain"}:
        return {}
    bundle = {kind: value for kind, value in bundle.items() if kind != WIDGET}
    if "text/html" in bundle and (found := _STILL.fullmatch("".join(bundle["text/html"]))):
        bundle["text/html"] = found.group(1)
    return bundle


class Still:
    """A card that is seen while the widget above it is not. `update` changes it, `close` ends the widget.

    The widget brings the style that hides the card, so the card appears as soon as the widget is not drawn or has lost
    its kernel. In a trusted notebook the card's own style hides what stays of the widget: an error, dead sliders.
    """

    def __init__(self, html: str, text: str, box: Any):
        import ipywidgets as widgets

        style = widgets.HTML(layout={"display": "none"})
        self.live = widgets.VBox([box, style])
        self.name = f"course-{self.live.model_id[:12]}"
        self.live.add_class(self.name)
        alive = f":root:has(.{self.name}:not(.jupyter-widgets-disconnected))"
        style.value = f"<style>{alive} .{self.name}-still {{display: none}}</style>"
        display({WIDGET: {"version_major": 2, "version_minor": 0, "model_id": self.live.model_id}, "text/plain": ""})
        self.handle = display(self._bundle(html, text), update=True)

    def update(self, html: str, text: str) -> None:
        self.handle.update(self._bundle(html, text), raw=True)

    def close(self) -> None:
        """End the widget, all that it contains included."""

        def close(widget: Any) -> None:
            for child in getattr(widget, "children", ()):
                close(child)
            widget.close()

        close(self.live)

    def _bundle(self, html: str, text: str) -> dict:
        dead = (f".jp-OutputArea-child:has(+ .jp-OutputArea-child .{self.name}-still)"
                f":not(:has(.{self.name}:not(.jupyter-widgets-disconnected)))")
        return {"text/html": f"<style>{dead} {{display: none}}</style><div class='{self.name}-still'>{html}</div>",
                "text/plain": text}


def display(bundle: dict, update: bool = False) -> Any:
    """Display a mime bundle, silent outside IPython; update=True returns a handle to update it by."""
    if shell() is None:
        return None
    from IPython.display import display as show_here

    return show_here(bundle, raw=True, display_id=update or None)


def show_drawn(widget: Any, name: str, sentence: str, still: dict) -> None:
    """Display a widget, and below it a sentence and a picture (a mime bundle), which stand there when it is not drawn.

    name: the CSS class of what the widget draws, whose style sheet hides the two outputs below it. Where nothing is
    drawn, as in a saved notebook, the widget's own place is hidden.
    """
    display({WIDGET: {"version_major": 2, "version_minor": 1, "model_id": widget.model_id}, "text/plain": ""})
    dead = f".jp-OutputArea-child:has(> .jupyter-widgets):not(:has(.{name})):has(+ * .{name}-still)"
    display({"text/html": f"<style>{dead} {{ display: none }}</style><small class='{name}-still'>{sentence}</small>",
             "text/plain": sentence})
    display(still)
