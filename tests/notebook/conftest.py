"""What every test of a notebook's parts needs."""

from __future__ import annotations

import matplotlib
import pytest

from course_lib.notebook import cards, knobs, predictions, store

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    """No test sees the knobs or the answers of another."""
    monkeypatch.setattr(knobs, "LIVE", {})
    monkeypatch.setattr(store, "_ANSWERS", {})
    monkeypatch.delenv("COURSE_BUILD", raising=False)


class Screen:
    """Stands for the front end: what is displayed and what is updated."""

    execution_count = 1

    def __init__(self):
        self.shown, self.updates = [], []

    def display(self, data, raw=False, display_id=None):
        self.shown.append(data)
        return self if display_id else None

    def update(self, data, raw=False):
        self.updates.append(data)


@pytest.fixture
def screen(monkeypatch):
    made = Screen()
    import IPython.display

    monkeypatch.setattr(IPython.display, "display", made.display)
    for module in (cards, knobs, predictions):
        monkeypatch.setattr(module, "shell", lambda: made)
    return made
