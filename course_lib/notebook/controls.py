"""The controls of a knob: Slider, Choice, Toggle, Patch, each with its ends, its start and its widget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.plots.drawing import SKY


@dataclass(frozen=True)
class Slider:
    """Numbers from low to high in steps; whole numbers if all four are. log=True: equal factors a step, 10**step."""

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
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            raise ValueError(f"expected a number from {self.low} to {self.high}, got {value!r}")
        return value

    def widget(self, name: str, live: bool) -> Any:
        import ipywidgets as widgets

        common = dict(description=_words(name), value=self.start, continuous_update=live, **_style())
        if self.log:
            return widgets.FloatLogSlider(base=10, min=math.log10(self.low), max=math.log10(self.high), step=self.step,
                                          readout_format=".3g", **common)
        if all(isinstance(v, int) for v in (self.low, self.high, self.start, self.step)):
            return widgets.IntSlider(min=self.low, max=self.high, step=self.step, **common)
        digits = next(d for d in range(5) if d == 4 or all(abs(round(v, d) - v) < 1e-9 for v in (self.low, self.step)))
        return widgets.FloatSlider(min=self.low, max=self.high, step=self.step, readout_format=f".{digits}f", **common)


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
        return kind(options=pairs, value=self.start, description=_words(name), **style)


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

        return widgets.Checkbox(value=self.start, description=_words(name), indent=False)


@dataclass(frozen=True)
class Patch:
    """A place in a grid, (row, column): a square of buttons to click, or to reach by Tab and press."""

    rows: int
    columns: int
    start: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or self.rows * self.columns < 2:
            raise ValueError(f"a grid needs at least two places; got {self.rows} x {self.columns}")
        object.__setattr__(self, "start", self.check(self.start))

    @property
    def ends(self) -> tuple:
        return (0, 0), (self.rows - 1, self.columns - 1)

    def check(self, value: Any) -> tuple[int, int]:
        try:
            row, column = (int(v) for v in value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected a place (row, column), got {value!r}") from error
        if not (0 <= row < self.rows and 0 <= column < self.columns):
            raise ValueError(f"expected a place in {self.rows} rows and {self.columns} columns, got {value!r}")
        return row, column

    def widget(self, name: str, live: bool) -> Any:
        import ipywidgets as widgets
        import traitlets

        class Grid(widgets.VBox):
            """The buttons; `value` is the place pressed last."""

            value = traitlets.Tuple(self.start)

        size = max(14, min(28, 224 // self.columns))
        buttons = {}
        for place in ((row, column) for row in range(self.rows) for column in range(self.columns)):
            buttons[place] = widgets.Button(
                tooltip=f"row {place[0] + 1}, column {place[1] + 1}",
                layout={"width": f"{size}px", "height": f"{size}px", "margin": "0px", "padding": "0px"})
        cells = widgets.GridBox(list(buttons.values()), layout={
            "grid_template_columns": f"repeat({self.columns}, {size}px)", "grid_gap": "1px",
            "min_height": f"{self.rows * (size + 1)}px"})  # or the last row is cut off
        grid = Grid([widgets.Label(f"{_words(name)}: click a place"), cells], layout={"padding": "0 0 8px"})

        def mark(change: Any) -> None:
            for place, colour in ((change["old"], None), (change["new"], SKY)):  # as explorers frame it
                if place in buttons:
                    buttons[place].style.button_color = colour

        for place, button in buttons.items():
            button.on_click(lambda _, place=place: setattr(grid, "value", place))
        grid.observe(mark, "value")
        mark({"old": None, "new": grid.value})
        return grid


def _words(name: str) -> str:
    """A control's name as a reader sees it."""
    return name.replace("_", " ")


def _style() -> dict:
    return dict(style={"description_width": "initial"}, layout={"width": "28em", "max_width": "95%"})
