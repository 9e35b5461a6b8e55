"""Knobs and the driver that tests use on every lesson."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from course_lib.exercises import quiz
from course_lib.notebook import cards, knobs
from course_lib.notebook.controls import Choice, Patch, Slider, Toggle
from course_lib.notebook.knobs import Knob, knob
from course_lib.notebook.predictions import predict
from helpers.driving import drive, drive_all, reach, same, some


def view(state):
    y = torch.sin(state["waves"] * torch.linspace(0, 6, 30)) * (2 if state["double"] else 1)
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.plot(y)
    return {"y": y, "power": state["power"]}, figure


def controls():
    return dict(
        waves=Slider(0.5, 4.0, 1.0, 0.5), double=Toggle(), power=Choice(["one", "two", "three"], "two")
    )


def test_set_state_ends_and_data():
    k = Knob(view, title="Waves", **controls())
    assert k.state == {"waves": 1.0, "double": False, "power": "two"}
    assert (
        k.ends("waves") == (0.5, 4.0)
        and k.ends("double") == (False, True)
        and k.ends("power") == ("one", "three")
    )
    before = k.data["y"]
    assert torch.allclose(k.set(double=True)["y"], 2 * before)
    assert k.set(power="one", waves=4.0)["power"] == "one"
    assert drive(k) > 10 and k.state == {"waves": 4.0, "double": True, "power": "one"}
    assert "waves = 4" in repr(k)


def test_mistakes_are_sentences():
    k = Knob(view, **controls())
    with pytest.raises(KeyError, match="no control 'wave'; it has: waves, double, power"):
        k.set(wave=1.0)
    with pytest.raises(ValueError, match="expected a number from 0.5 to 4.0, got 9"):
        k.set(waves=9)
    with pytest.raises(ValueError, match="expected one of"):
        k.set(power="four")
    with pytest.raises(ValueError, match="True or False"):
        k.set(double=1)
    with pytest.raises(ValueError, match="low <= start <= high"):
        Slider(0, 1, 2, 0.1)
    with pytest.raises(ValueError, match="low > 0"):
        Slider(0, 1, 1, 0.1, log=True)
    with pytest.raises(ValueError, match="two options"):
        Choice(["one"])
    with pytest.raises(TypeError, match="must be a Slider"):
        Knob(view, waves=(0, 1))
    with pytest.raises(ValueError, match="at least one control"):
        Knob(view)


def test_a_failing_view_says_so_and_the_knob_lives():
    def inverse(state):
        return 1 / state["x"], plt.figure()

    k = Knob(inverse, x=Slider(0, 4, 0, 1))
    assert isinstance(k.error, ZeroDivisionError) and "ZeroDivisionError" in k._bundle["text/html"]
    assert k.set(x=2) == 0.5 and k.error is None
    assert "image/png" in k._bundle
    k = Knob(lambda state: 3, x=Toggle())
    assert k.error is not None
    k = Knob(lambda state: (3, "no figure"), x=Toggle())
    assert "a view must return (data, figure)" in str(k.error)


def test_figures_are_closed_and_pictures_repeat():
    k = Knob(view, **controls())
    first = k._bundle["image/png"]
    for waves in np.arange(0.5, 4.0, 0.5):
        k.set(waves=float(waves))
    assert plt.get_fignums() == []
    k.set(waves=1.0)
    assert k._bundle["image/png"] == first


def test_one_display_is_updated(screen):
    k = knob(view, title="Waves", **controls())
    widget, card, picture = screen.shown
    assert cards.WIDGET in widget and "run this cell to move it" in card["text/html"] and "image/png" in picture
    k._widgets["waves"].value = 3.0  # what a moved slider does
    assert k.state["waves"] == 3.0 and [set(update) for update in screen.updates] == [set(card), set(picture)]
    assert screen.updates[1]["image/png"] != picture["image/png"] and "waves = 3" in screen.updates[0]["text/html"]
    k.set(waves=2.0, double=True)  # one redraw, and the widgets follow
    assert (
        len(screen.updates) == 4 and k._widgets["waves"].value == 2.0 and k._widgets["double"].value is True
    )
    k._ipython_display_()
    assert len(screen.shown) == 3, "not drawn again at the end of its own cell"
    screen.execution_count = 2
    k._ipython_display_()
    assert len(screen.shown) == 6


def test_what_is_saved_holds_the_text_apart_from_the_widget(screen):
    """Bug: opened the next day, JupyterLab showed "model not found" in place of title, question and choices."""
    knob(view, title="Waves", **controls())
    predict("Which?", ["dense", "sparse"])
    quiz("Why?", {"because": "Yes: so.", "it isn't": "No: look again."}, "because")._ipython_display_()
    for widget, card, text in ((*screen.shown[:2], "Waves"), (*screen.shown[3:5], "dense; sparse"),
                               (*screen.shown[5:7], "it isn&#x27;t")):
        assert set(widget) == {cards.WIDGET, "text/plain"} and set(card) == {"text/html", "text/plain"}
        assert text in card["text/html"] and "<script" not in card["text/html"]
        assert "run this cell" in card["text/html"].lower()


def test_widgets_fit_their_controls(screen):
    kinds = {name: type(w).__name__ for name, w in knob(view, **controls())._widgets.items()}
    assert kinds == {"waves": "FloatSlider", "double": "Checkbox", "power": "ToggleButtons"}
    assert type(Slider(1, 5, 2, 1).widget("n", True)).__name__ == "IntSlider"
    assert (
        type(Choice(["a long option " * 3, "another long option " * 3]).widget("n", True)).__name__
        == "Dropdown"
    )
    log = knob(lambda s: (s["c"], plt.figure()), c=Slider(0.1, 100, 1, 0.25, log=True))
    log._widgets["c"].value = 100.00000000000001  # a rounded end
    assert log.state["c"] <= 100


def test_moves_of_another_thread_are_drawn_once_in_the_main_thread(screen):
    pytest.importorskip("ipywidgets")
    drawn, later = [], []
    screen.kernel = SimpleNamespace(io_loop=SimpleNamespace(add_callback=later.append))

    def records(state):
        drawn.append((threading.current_thread(), state["x"]))
        return state["x"], plt.figure(figsize=(1, 1))

    made = knob(records, x=Slider(0, 5, 1, 1))
    thread = threading.Thread(target=lambda: [setattr(made._widgets["x"], "value", x) for x in (2, 3)])
    thread.start()
    thread.join()
    assert len(drawn) == 1 and len(later) == 1 and made.state == {"x": 3}
    later[0]()
    assert drawn[1:] == [(threading.main_thread(), 3)] and made.data == 3
    made._widgets["x"].value = 4
    assert len(drawn) == 3 and len(later) == 1


def test_a_cell_run_again_replaces_its_knob(screen):
    first = knob(view, title="Waves", **controls())
    screen.execution_count = 2
    second = knob(view, title="Waves", **controls())
    assert list(knobs.LIVE.values()) == [second] and first._widgets == {}
    knob(view, title="Other", **controls())
    assert drive_all() == 2


def test_knobs_of_one_run_and_of_other_cells_stay(screen):
    """Explorers share their view and title: neither a loop in one cell nor a second cell closes the first."""
    screen.cell = "a"
    screen.get_parent = lambda: {"metadata": {"cellId": screen.cell}}
    old = [knob(view, title="Waves", **controls()) for _ in range(2)]
    screen.cell, screen.execution_count = "b", 2
    other = knob(view, title="Waves", **controls())
    assert list(knobs.LIVE.values()) == [*old, other] and all(k._widgets for k in knobs.LIVE.values())
    screen.cell, screen.execution_count = "a", 3
    new = [knob(view, title="Waves", **controls()) for _ in range(2)]
    assert list(knobs.LIVE.values()) == [*new, other] and not any(k._widgets for k in old)


def test_a_grid_stands_beside_the_other_controls_and_closes_with_them(screen):
    ipywidgets = pytest.importorskip("ipywidgets")
    made = knob(lambda s: (s, plt.figure(figsize=(1, 1))), "Grid", where=Patch(2, 2), power=Slider(0, 2, 1, 1))
    title, row = made._box.children
    lines, grid = row.children
    assert isinstance(row, ipywidgets.HBox) and grid is made._widgets["where"]
    assert list(lines.children) == [made._widgets["power"]]
    button = grid.children[1].children[3]
    made.close()
    assert all(w.comm is None for w in (title, row, lines, grid, button)) and made._box is None


def test_driver_finds_what_is_not_pure():
    calls = []

    def counts(state):
        calls.append(1)
        return len(calls) + state["x"], plt.figure()

    with pytest.raises(AssertionError, match="other data than before"):
        drive(Knob(counts, x=Slider(0, 4, 1, 1)))

    kept = {}

    def remembers(state):  # data depend on the order in which two controls were moved
        kept["first"] = kept.get("first") or next((n for n in "ab" if state[n]), None)
        return {"sum": state["a"] + 2 * state["b"], "first": kept["first"]}, plt.figure()

    with pytest.raises(AssertionError, match="other data than before"):
        drive(Knob(remembers, a=Slider(0, 1, 0, 1), b=Slider(0, 1, 0, 1)))

    def rolls(state):
        return torch.rand(3) + state["x"], plt.figure()

    with pytest.raises(AssertionError, match="other data than before"):
        drive(Knob(rolls, x=Slider(0, 4, 1, 1)))


def test_driver_finds_dead_controls_errors_and_missing_data():
    with pytest.raises(AssertionError, match="moving y from end to end changes no data"):
        drive(Knob(lambda s: (s["x"], plt.figure()), x=Toggle(), y=Toggle()))
    # A control that matters only together with another isn't dead.
    drive(Knob(lambda s: (s["y"] if s["x"] else 0.0, plt.figure()), x=Toggle(), y=Slider(0, 5, 2, 1)))
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        drive(Knob(lambda s: (1 / s["x"], plt.figure()), x=Slider(0, 4, 1, 1)))
    with pytest.raises(AssertionError, match="no data"):
        drive(Knob(lambda s: (None, plt.figure()), x=Slider(0, 4, 1, 1)))


@pytest.mark.parametrize(
    "a, b, expected",
    [
        (1.0, 1.0 + 1e-9, True),
        (1.0, 1.1, False),
        (float("nan"), float("nan"), True),
        ("a", "a", True),
        ("a", "b", False),
        (torch.ones(2), np.ones(2), True),
        (torch.ones(2), torch.ones(3), False),
        ({"a": [1, 2]}, {"a": (1, 2)}, True),
        ({"a": 1}, {"b": 1}, False),
        ([1, "x"], [1, "y"], False),
        (None, None, True),
        (None, 0, False),
    ],
)
def test_same(a, b, expected):
    assert same(a, b) is expected


# ---------------------------------------------------------------- outside a notebook, and what a slider shows


def test_nothing_is_drawn_outside_a_notebook(capsys):
    predict("How much?", (0.0, 1.0)).reveal(0.3)
    knob(view, **controls())
    assert capsys.readouterr().out == ""


def test_a_slider_shows_as_many_digits_as_its_steps_have():
    steps = {0.25: ".2f", 0.1: ".1f", 0.05: ".2f", 1.0: ".0f"}
    assert {step: Slider(0.0, 2.0, 1.0, step).widget("n", True).readout_format for step in steps} == steps
    assert Slider(0.5, 2.5, 1.5, 1.0).widget("n", True).readout_format == ".1f"


# ---------------------------------------------------------------- follow the mouse; tasks
def test_a_slider_follows_the_mouse_by_warm_redraws_only(screen, monkeypatch):
    """The first draw is slow for everybody: fonts, caches, a network's first batch."""
    now, cost = [0.0], iter([9.0, 0.1, 0.1, 0.5, 0.5, 0.5])
    monkeypatch.setattr(knobs.time, "perf_counter", lambda: now[0])

    def takes(state):
        now[0] += next(cost)
        return state["x"], plt.figure(figsize=(1, 1))

    made = knob(takes, x=Slider(0, 9, 0, 1))
    widget = made._widgets["x"]
    follows = [widget.continuous_update]
    for x in range(1, 6):
        widget.value = x
        follows.append(widget.continuous_update)
    assert follows == [True, True, True, True, True, False], "the middle one of the last five redraws counts"


TASKS = {"double the power": lambda data: data > 3, "come to rest": lambda data: data == 0}


def speed(state):
    return state["power"] * (2 if state["double"] else 1), plt.figure(figsize=(1, 1))


def test_tasks_are_ticked_off_and_stay_done(screen):
    made = knob(speed, "Speed", tasks=TASKS, power=Slider(0, 2, 1, 1), double=Toggle())
    assert made.done == set() and made._list.value.count("(to do)") == 2
    saved = [shown.get("text/html", "") for shown in screen.shown]
    assert any("double the power" in html for html in saved), "a saved file shows them as well"
    made._widgets["power"].value = 2
    assert made.done == set()
    made._widgets["double"].value = True
    assert made.done == {"double the power"} and made._list.value.count("(done)") == 1
    made.set(power=1)
    assert made.done == {"double the power"}
    assert "tasks" not in made.controls and "--jp-ui-font-color1" in made._list.value


def test_tasks_can_be_reached_and_are_not_done_at_the_start():
    controls = dict(power=Slider(0, 2, 1, 1), double=Toggle())
    made = Knob(speed, tasks=TASKS, **controls)
    found = reach(made)
    assert found["double the power"] == {"power": 2, "double": True} and found["come to rest"]["power"] == 0
    assert made.done == set() and drive(made) and made.done == set(), "drivers leave the learner's list alone"
    with pytest.raises(AssertionError, match="no setting that was tried fulfils: fly"):
        reach(Knob(speed, tasks={**TASKS, "fly": lambda data: data > 9}, **controls))
    with pytest.raises(AssertionError, match="done at the start, before anything was moved: stand"):
        reach(Knob(speed, tasks={"stand": lambda data: data == 1}, **controls))


def test_every_knob_with_tasks_is_tried(screen):
    knob(speed, tasks={"fly": lambda data: data > 9}, power=Slider(0, 2, 1, 1), double=Toggle())
    with pytest.raises(AssertionError, match="fulfils: fly"):
        drive_all()


def test_a_task_that_fails_is_reported_as_the_views_own_failure():
    made = Knob(speed, tasks={"typo": lambda data: data["powr"]}, power=Slider(0, 2, 1, 1))
    assert made.error is not None


@pytest.mark.parametrize("control, values", [
    (Slider(0, 4, 1, 1), [1, 0, 1, 2, 3, 4]), (Slider(0.0, 1.0, 0.5, 0.1), [0.5, 0.0, 0.2, 0.5, 0.8, 1.0]),
    (Slider(0.01, 100.0, 1.0, 0.5, log=True), [1.0, 0.01, 0.1, 1.0, 10.0, 100.0]),
    (Choice(["a", "b"]), ["a", "b"]), (Toggle(), [False, True])])
def test_some_values_of_a_control(control, values):
    found = some(control, 5)
    assert found == pytest.approx(values) if isinstance(values[0], float) else found == values
    assert [type(value) for value in found] == [type(value) for value in values]
    assert all(control.check(value) is not None for value in found)


def test_some_places_of_a_grid():
    assert some(Patch(9, 9, (4, 5)), 3) == [(4, 5), *((r, c) for r in (0, 4, 8) for c in (0, 4, 8))]
    assert set(some(Patch(1, 2), 5)) == {(0, 0), (0, 1)}


def test_ticks_that_nobody_sees_are_not_laid_out():
    figure, axes = plt.subplots(1, 2)
    axes[0].set_axis_off()
    knobs.picture(figure, "")
    assert len(axes[0].get_xticks()) == 0 and len(axes[1].get_xticks()) > 0
