"""A sentence that states what a cell has found, bound to the numbers that make it true.

    finding("BYOL finds the class of {byol:.0%} of the test images, raw pixels that of {pixels:.0%}.",
            byol > pixels, byol=byol, pixels=pixels)

It stands below the result that it speaks of. `lessons/build.py` refuses to save a lesson with a sentence that no longer
holds; on a reader's machine, where a short training may come out differently, the sentence is replaced by the numbers.
"""

from __future__ import annotations

import os
from typing import Any

from course_lib.notebook.cards import ORANGE, card, display, shell
from course_lib.text import prose

BUILDING = "COURSE_BUILD"  # set by lessons/build.py


class DoesNotHold(AssertionError):
    """A sentence of a lesson that is being built is not true any more."""


def finding(sentence: str, *holds: bool, **values: Any) -> None:
    """Show `sentence`, its {names} filled in from `values`, if all conditions `holds`.

    If one does not: DoesNotHold while a lesson is built; else a card that says that it came out differently here, what
    the lesson found (the sentence without its numbers), and `values`. ValueError without a condition, or if the
    sentence names what `values` lacks.
    """
    if not holds:
        raise ValueError(f"finding({sentence!r}): give the condition under which this sentence is true")
    try:
        text = sentence.format(**values)
    except (KeyError, IndexError) as error:
        raise ValueError(f"finding({sentence!r}): no value for {error}; there are: {', '.join(values) or 'none'}"
                         ) from None
    if all(bool(condition) for condition in holds):
        _show(f"<p>{prose(text)}</p>", text)
        return
    numbers = ", ".join(f"{name} = {_number(value)}" for name, value in values.items())
    if os.environ.get(BUILDING):
        which = [number for number, condition in enumerate(holds, 1) if not condition]
        raise DoesNotHold(f"{text!r} is not true: condition {which} of {len(holds)} fails; {numbers}")
    said = f"It came out differently on this machine: {numbers}."
    when = f"When this lesson was made: {sentence}"
    _show(card(ORANGE, prose(said), f"<small>{prose(when)}</small>"), f"{said}\n{when}")


def _show(html: str, text: str) -> None:
    if shell() is None:
        print(text)
    else:
        display({"text/html": html, "text/plain": text})


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
