"""Live controls around pure functions: `knob(view, ...)`.

    def view(state):
        data = spectrum(state["gamma"])
        figure, axes = plt.subplots()
        axes.plot(data)
        return data, figure

    knob(view, title="Spectrum", gamma=Slider(0.0, 4.0, 1.0, 0.5), centred=Toggle(True),
         tasks={"make it flat": lambda data: data.std() < 0.1})

Tasks are ticked off, once and for all, when the data of a redraw fulfil them.

The figure is one displayed picture that is updated: output widgets would flicker and leak redraws into other cells, and
a picture stays in the saved file. Without a front end (a saved notebook, a run in CI) the first picture remains. Tab
reaches the controls and the arrow keys move them.
"""

from __future__ import annotations

import io
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from course_lib.notebook.cards import LOOK, RED, TEXT, Still, card, display, mark, shell, show
from course_lib.notebook.controls import Choice, Patch, Slider, Toggle
from course_lib.plots.drawing import Exact, framed
from course_lib.text import prose

FAST = 0.15  # seconds; a faster redraw follows the slider while it moves
Tasks = Mapping[str, Callable[[Any], Any]]  # what to do -> whether these data show that it is done
# every knob of this kernel, for tests to drive; a cell that runs again replaces its own
LIVE: dict[tuple, Knob] = {}


class Knob:
    """Controls around a pure view; draws itself. `.set(name=value)` -> data; `.ends(name)` -> (low, high).

    `.state`: the controls' values; `.data`: what the view returned for them; `.error`: of the last redraw, or None;
    `.done`: the tasks that have been fulfilled so far.
    """

    def __init__(self, view: Callable[[dict], tuple], title: str = "", tasks: Tasks | None = None,
                 **controls: Slider | Choice | Toggle | Patch):
        if not controls:
            raise ValueError("a knob needs at least one control, for example gamma=Slider(0.0, 4.0, 1.0, 0.5)")
        for name, control in controls.items():
            if not isinstance(control, (Slider, Choice, Toggle, Patch)):
                raise TypeError(f"{name} must be a Slider, a Choice, a Toggle or a Patch, got {control!r}")
        self.view, self.title, self.controls = view, title, controls
        self.state: dict[str, Any] = {name: control.start for name, control in controls.items()}
        self.data: Any = None
        self.error: Exception | None = None
        self.tasks, self.done = dict(tasks or {}), set()
        self._warm: deque[float] = deque(maxlen=5)  # seconds of the last redraws but the first, which is cold
        self._bundle: dict = {}
        self._handles: list = []
        self._widgets: dict[str, Any] = {}
        self._box: Any = None
        self._list: Any = None  # the widget of the tasks
        self._stills: list[Still] = []
        self._muted = self._waiting = False
        self._shown_in: Any = None
        self._redraw()
        self._warm.clear()

    @property
    def live(self) -> bool:
        """Whether sliders redraw while they are dragged: the middle one of the last warm redraws was fast, or none."""
        return not self._warm or statistics.median_low(self._warm) < FAST

    def ends(self, name: str) -> tuple:
        """The two ends of a control: a slider's low and high, a choice's first and last, False and True."""
        return self._control(name).ends

    def set(self, **state: Any) -> Any:
        """Move controls, redraw once, return the view's data. A failing view shows a sentence; see `.error`."""
        self.state.update({name: self._control(name).check(value) for name, value in state.items()})
        self._muted = True  # the widgets follow without a redraw each
        try:
            for name, value in state.items():
                if name in self._widgets:
                    self._widgets[name].value = value
        finally:
            self._muted = False
        self._redraw()
        return self.data

    def _control(self, name: str) -> Slider | Choice | Toggle | Patch:
        if name not in self.controls:
            raise KeyError(f"this knob has no control {name!r}; it has: {', '.join(self.controls)}")
        return self.controls[name]

    def _redraw(self) -> None:
        start, self._waiting = time.perf_counter(), False
        try:
            self.data, figure = self.view(dict(self.state))
            self._bundle, self.error = picture(figure, self._caption()), None
            self.done |= {task for task, test in self.tasks.items() if task not in self.done and bool(test(self.data))}
        except Exception as error:  # the learner's code may be in the view: report it and stay alive
            self.data, self.error = None, error
            what = f"{type(error).__name__}: {error}"
            text = f"The view failed at {self._caption()}: {what}. Move a control to go on."
            self._bundle = {"text/html": card(RED, f"✗ {escape(text)}"), "text/plain": text}
        for still in self._stills:
            still.update(self._card(), repr(self))
        for handle in self._handles:
            handle.update(self._bundle, raw=True)
        self._warm.append(time.perf_counter() - start)
        if self._list is not None:
            self._list.value = self._heading()
        for widget in self._widgets.values():
            if hasattr(widget, "continuous_update"):
                widget.continuous_update = self.live

    def _caption(self) -> str:
        def short(value: Any) -> str:
            return f"{value:.4g}" if isinstance(value, float) else str(value)

        return ", ".join(f"{name} = {short(value)}" for name, value in self.state.items())

    def _heading(self) -> str:
        """The title and the tasks, in the theme's own colour of text."""
        lines = [f"<b>{escape(self.title)}</b>"] if self.title else []
        for task in self.tasks:
            symbol, word, _ = LOOK["done" if task in self.done else "todo"]
            lines.append(f"{mark(symbol)} {prose(task)} <i>({word})</i>")
        return f"<div style='color:{TEXT};line-height:1.45'>{'<br>'.join(lines)}</div>" if lines else ""

    def __repr__(self) -> str:
        return f"Knob({self.title or getattr(self.view, '__name__', 'view')}: {self._caption()})"

    def show(self) -> None:
        """Draw controls and figure here; silent outside IPython. A knob may be shown more than once."""
        here = shell()
        if here is None:
            return
        if still := show(self._card(), repr(self), self._controls()):
            self._stills.append(still)
        self._handles.append(display(self._bundle, update=True))
        self._shown_in = here.execution_count

    def _card(self) -> str:
        """What stands for the controls where they cannot be moved."""
        return f"{self._heading()}<small>controls: {escape(self._caption())} (run this cell to move it)</small>"

    def _controls(self) -> Any:
        """The widgets of the controls in a box, made once."""
        import ipywidgets as widgets

        if self._box is None:
            self._widgets = {name: control.widget(name, self.live) for name, control in self.controls.items()}
            for name, widget in self._widgets.items():
                widget.value = self.state[name]
                widget.observe(lambda change, name=name: self._moved(name, change["new"]), "value")
            self._list = widgets.HTML(self._heading()) if self._heading() else None
            title = [] if self._list is None else [self._list]
            grids = [w for name, w in self._widgets.items() if isinstance(self.controls[name], Patch)]
            lines = widgets.VBox([w for w in self._widgets.values() if w not in grids])
            # A grid to click goes beside the rest, so that the figure below stays in view.
            beside = widgets.HBox([lines, *grids], layout={"flex_flow": "row wrap", "grid_gap": "0 2em"})
            self._box = widgets.VBox([*title, beside], layout={"margin": "0 0 8px 0"})  # the figure is close below
        return self._box

    def _moved(self, name: str, value: Any) -> None:
        if not self._muted:
            low, high = self.controls[name].ends
            if isinstance(self.controls[name], Slider):  # a logarithmic slider rounds its ends
                value = min(max(value, low), high)
            self.state[name] = value
            self._redraw_in_main_thread()

    def _redraw_in_main_thread(self) -> None:
        """JupyterLab reports moves in another thread, and pyplot is safe in one thread only."""
        loop = getattr(getattr(shell(), "kernel", None), "io_loop", None)
        if loop is None or threading.current_thread() is threading.main_thread():
            self._redraw()
        elif not self._waiting:  # this redraw will include the moves until then
            self._waiting = True
            loop.add_callback(self._redraw)

    def close(self) -> None:
        """Close the widgets; the picture stays."""
        for still in self._stills:
            still.close()
        self._widgets, self._box, self._list, self._handles, self._stills = {}, None, None, [], []

    def _ipython_display_(self) -> None:
        here = shell()
        if here is None or self._shown_in != here.execution_count:  # not twice when it ends its own cell
            self.show()


def knob(view: Callable[[dict], tuple], title: str = "", tasks: Tasks | None = None,
         **controls: Slider | Choice | Toggle | Patch) -> Knob:
    """Draw a knob here and return it. view(state: dict) -> (data, figure): pure, no globals, redraw under 150 ms.

    data: what the figure shows, as a number, tensor, array, or a list or dict of them (tests compare it).
    figure: a matplotlib Figure (closed once drawn), or anything with _repr_html_ or _repr_png_.
    tasks: {"make it collapse": lambda data: data["spread"] < 0.05}: shown with the controls, and ticked off for good as
    soon as the data say so. Tests see that none is done at the start and each can be reached (`driving.reach`).
    """
    made = Knob(view, title, tasks, **controls)
    key = _place(title, view, controls)
    if key in LIVE:
        LIVE[key].close()
    LIVE[key] = made
    made.show()
    return made


def _place(title: str, view: Callable, controls: dict) -> tuple:
    """The key of a knob: the same when its cell runs again, distinct for each knob of a run and each cell."""
    here = shell()
    cell = here.get_parent().get("metadata", {}).get("cellId") if hasattr(here, "get_parent") else None  # JupyterLab
    line = getattr(getattr(view, "__code__", None), "co_firstlineno", 0)
    key = (cell, title, getattr(view, "__qualname__", repr(view)), line, tuple(controls))
    # Explorers share their view: a loop over pictures in one cell must not close its own knobs.
    now = [k[:-1] for k, made in LIVE.items() if here is not None and made._shown_in == here.execution_count]
    return *key, now.count(key)


def picture(figure: Any, caption: str) -> dict:
    """A figure as a mime bundle; matplotlib figures are closed, so that memory stays flat."""
    if hasattr(figure, "savefig"):
        from base64 import b64encode

        from matplotlib.transforms import Bbox

        stream = io.BytesIO()
        try:
            for axes in getattr(figure, "axes", ()):
                axes.minorticks_off()  # on a log axis they take a third of a redraw
                if not axes.axison:  # and ticks that nobody sees take half of one
                    axes.set(xticks=[], yticks=[])
            # without date and software version: the same picture is the same file
            framed(figure)
            (width, height), edge = figure.get_size_inches(), 0.08
            exact = Bbox.from_extents(-edge, -edge, width + edge, height + edge)
            figure.savefig(stream, format="png", dpi=90, bbox_inches=exact if isinstance(figure, Exact) else "tight",
                           edgecolor=figure.get_edgecolor(), metadata={"Software": None})
        finally:
            close_figure(figure)
        return {"image/png": b64encode(stream.getvalue()).decode(), "text/plain": f"<figure: {caption}>"}
    for kind, method in (("text/html", "_repr_html_"), ("image/png", "_repr_png_")):
        if hasattr(figure, method):
            return {kind: getattr(figure, method)(), "text/plain": f"<figure: {caption}>"}
    raise TypeError(f"a view must return (data, figure), and the figure was {type(figure).__name__}")


def close_figure(figure: Any) -> None:
    """Close a view's figure if it is matplotlib's."""
    if hasattr(figure, "savefig"):
        import matplotlib.pyplot as plt

        plt.close(figure)
