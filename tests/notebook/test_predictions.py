"""Guesses: they stand at a default, fold the outcome until they are set, and are there again after a restart."""

from __future__ import annotations

import json

import pytest

from course_lib.exercises import quiz
from course_lib.notebook import store
from course_lib.notebook.predictions import FOLDED, predict


@pytest.fixture(autouse=True)
def a_workspace_of_its_own(tmp_path, monkeypatch):
    """Guesses are kept, so that one test would find those of another."""
    monkeypatch.setenv("COURSE_WORKSPACE", str(tmp_path))


def test_prediction_stands_at_its_default_and_is_revealed(screen):
    guess = predict("How much?", (0, 100), default=50, unit="%")
    assert guess.guess == 50 and "0 % to 100 %" in screen.shown[1]["text/html"]
    guess.reveal(20.25, "Because.")
    said = screen.shown[2]["text/plain"]
    assert said == "Guess: 50 % (the default). Outcome: 20.25 %. The guess was 29.75 % too high. Because."
    guess._widget.value = 22
    assert "✓ Close" in screen.updates[-1]["text/plain"] and "default" not in screen.updates[-1]["text/plain"]


def test_prediction_among_choices(screen):
    guess = predict("Which?", ["dense", "sparse"], default="sparse")
    assert guess.verdict("sparse").endswith("✓ As guessed.")
    assert guess.verdict("dense").endswith("✗ Not as guessed.")
    with pytest.raises(ValueError, match="expected one of"):
        guess.reveal("other")
    assert predict("Which?", ("a", "b")).guess == "a"


@pytest.mark.parametrize("how", ["moved", "confirmed", "in code"])
def test_the_outcome_is_folded_until_the_guess_is_set(screen, how):
    guess = predict("Which?", ["dense", "sparse"])
    guess.reveal("dense")
    html = screen.shown[-1]["text/html"]
    assert html.startswith("<details>") and FOLDED in html and "open" not in html.split(">")[0]
    if how == "moved":
        guess._widget.value = "sparse"
    elif how == "confirmed":
        guess._button.click()
    else:
        guess.set("dense")
    assert "<details" not in screen.updates[-1]["text/html"] and guess.changed
    assert guess._button.layout.display == "none"
    with pytest.raises(ValueError, match="expected one of"):
        guess.set("neither")


def test_the_courses_own_notebooks_show_it(screen, monkeypatch):
    monkeypatch.setenv("COURSE_BUILD", "1")
    predict("Which?", ["dense", "sparse"]).reveal("dense")
    assert "<details" not in screen.shown[-1]["text/html"]


def test_guesses_and_quizzes_are_there_again_in_a_new_kernel(screen, workspace, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "some/folder/03_vicreg.ipynb")
    predict("How much?", (0.0, 1.0)).set(0.25)
    predict("Which?", [16, 64]).set(64)
    quiz("Why?", {"so": "Yes.", "no": "No."}, "so")._widget().children[1].value = "no"
    kept = json.loads((workspace / "progress.json").read_text())
    assert kept["guesses"] == {"03": {"How much?": 0.25, "Which?": "64"}} and kept["quizzes"] == {"03": {"Why?": "no"}}
    monkeypatch.setattr(store, "_ANSWERS", {})
    again = predict("How much?", (0.0, 1.0))
    assert again.guess == again._widget.value == 0.25 and again.changed
    again.reveal(0.2)
    assert "<details" not in screen.shown[-1]["text/html"]
    assert predict("Which?", [16, 64]).guess == 64
    box = quiz("Why?", {"so": "Yes.", "no": "No."}, "so")._widget()
    assert box.children[1].value == "no" and "No." in box.children[2].value
    monkeypatch.setenv("JPY_SESSION_NAME", "04_simclr.ipynb")
    assert not predict("How much?", (0.0, 1.0)).changed  # of another lesson


def test_a_guess_that_the_control_no_longer_has_is_dropped(screen, workspace):
    predict("How much?", (0.0, 1.0)).set(0.9)
    predict("Which?", ["a", "b"]).set("b")
    assert predict("How much?", (0.0, 0.5)).guess == 0.25 and predict("Which?", ["a", "c"]).guess == "a"
    assert predict("How much?", ["a", "b"]).guess == "a"


@pytest.mark.parametrize("text", ['{"exercises": {}, "guesses": 3}', '{"exercises": {}, "guesses": {"": []}}', "{"])
def test_a_file_that_somebody_edited_stops_nothing(screen, workspace, text):
    (workspace / "progress.json").write_text(text)
    predict("Which?", ["a", "b"]).set("b")
    assert json.loads((workspace / "progress.json").read_text())["guesses"] == {"": {"Which?": "b"}}


@pytest.mark.parametrize("name, lesson", [("03_vicreg.ipynb", "03"), ("a/A1_speed.new.ipynb", "A1"), ("", "")])
def test_the_lesson_of_a_kernel(name, lesson, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", name)
    assert store.lesson() == lesson
