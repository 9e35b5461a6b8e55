"""What every test of a notebook's parts needs."""

from __future__ import annotations

import matplotlib
import pytest

from course_lib.notebook import knobs

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    """No test sees the knobs of another."""
    monkeypatch.setattr(knobs, "LIVE", {})
