"""The controls of a knob: Slider, Choice, Toggle. Each knows its ends, its start and its widget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Slider:
    """Numbers from low to high in steps; whole numbers if all four are. log=True: equal factors a step,
    10**step."""

    low: float
    high: float
    start: float
    step: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.low <= self.start <= self.high and self.step > 0):
            raise ValueError(f"a slider needs low < high, low <= start <= high and step > 0; got {self}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic slider needs low > 0; got {self}")

    @property
    def ends(self) -> tuple:
        return self.low, self.high

    def check(self, value: Any) -> Any:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not self.low <= value <= self.high
        ):
            raise ValueError(f"expected a number from {self.low} to {self.high}, got {value!r}")
        return value

    def widget(self, name: str, live: bool) -> Any:
        import ipywidgets as widgets

        common = dict(description=name, value=self.start, continuous_update=live, **_style())
        if self.log:
            return widgets.FloatLogSlider(
                base=10,
                min=math.log10(self.low),
                max=math.log10(self.high),
                step=self.step,
                readout_format=".3g",
                **common,
            )
        if all(isinstance(v, int) for v in (self.low, self.high, self.start, self.step)):
            return widgets.IntSlider(min=self.low, max=self.high, step=self.step, **common)
        digits = max(0, min(4, -math.floor(math.log10(self.step) + 1e-9)))
        return widgets.FloatSlider(
            min=self.low, max=self.high, step=self.step, readout_format=f".{digits}f", **common
        )


@dataclass(frozen=True)
class Choice:
    """One of a few options (texts or numbers)."""

    options: Sequence
    start: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if len(self.options) < 2:
            raise ValueError(f"a choice needs at least two options; got {list(self.options)}")
        if self.start is None:
            object.__setattr__(self, "start", self.options[0])
        self.check(self.start)

    @property
    def ends(self) -> tuple:
        return self.options[0], self.options[-1]

    def check(self, value: Any) -> Any:
        if value not in self.options:
            raise ValueError(f"expected one of {list(self.options)}, got {value!r}")
        return value

    def widget(self, name: str, live: bool) -> Any:
        import ipywidgets as widgets

        pairs = [(str(o), o) for o in self.options]
        short = len(pairs) <= 5 and sum(len(text) for text, _ in pairs) <= 50
        kind = widgets.ToggleButtons if short else widgets.Dropdown
        style = _style()
        if short:
            style = dict(style={"description_width": "initial", "button_width": "auto"})
        return kind(options=pairs, value=self.start, description=name, **style)


@dataclass(frozen=True)
class Toggle:
    """On or off."""

    start: bool = False

    @property
    def ends(self) -> tuple:
        return False, True

    def check(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"expected True or False, got {value!r}")
        return value

    def widget(self, name: str, live: bool) -> Any:
        import ipywidgets as widgets

        return widgets.Checkbox(value=self.start, description=name, indent=False)


def _style() -> dict:
    return dict(style={"description_width": "initial"}, layout={"width": "28em", "max_width": "95%"})
