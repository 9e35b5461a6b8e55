"""Sentences bound to results: shown while they hold; if not, a build stops, and a reader sees the numbers."""

from __future__ import annotations

import pytest

from course_lib.notebook import DoesNotHold, finding
from course_lib.notebook.findings import BUILDING


@pytest.fixture(autouse=True)
def a_readers_machine(monkeypatch):
    monkeypatch.delenv(BUILDING, raising=False)


def test_a_sentence_that_holds_shows_its_numbers(capsys):
    finding("{a:.0%} against {b:.0%}.", 0.5 > 0.25, a=0.5, b=0.25)
    assert capsys.readouterr().out == "50% against 25%.\n"


def test_one_that_does_not_hold_is_replaced_by_the_numbers(capsys):
    finding("{a:.0%} against {b:.0%}.", True, 0.5 < 0.25, a=0.5, b=0.25)
    said = capsys.readouterr().out
    assert said.startswith("It came out differently on this machine: a = 0.5, b = 0.25.")
    assert "50%" not in said


def test_a_build_stops_at_it(monkeypatch):
    monkeypatch.setenv(BUILDING, "1")
    finding("fine", True)
    with pytest.raises(DoesNotHold, match=r"condition \[2\] of 2 fails; a = 1"):
        finding("{a} is two", True, False, a=1)


def test_a_sentence_needs_a_condition_and_its_values():
    with pytest.raises(ValueError, match="condition"):
        finding("a sentence")
    with pytest.raises(ValueError, match="no value for 'b'; there are: a"):
        finding("{b}", True, a=1)


def test_in_a_notebook_it_is_a_paragraph(monkeypatch):
    shown = []
    monkeypatch.setattr("course_lib.notebook.findings.shell", lambda: object())
    monkeypatch.setattr("course_lib.notebook.findings.display", shown.append)
    finding("less < more", True)
    finding("no", False, a=2)
    assert shown[0] == {"text/html": "<p>less &lt; more</p>", "text/plain": "less < more"}
    assert "a = 2" in shown[1]["text/html"] and "When this lesson was made: no" in shown[1]["text/plain"]
